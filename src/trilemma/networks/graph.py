r"""Networks over whole graphs: embeddings of nodes by passing messages, and what is read off them.

With A the adjacency and h a vector a node,

    m_i = sum_j A_ij h_j / sqrt(1 + degree_i),      g = mean of h over the nodes that are there
    h_i <- h_i + W_2 relu(norm(W_1 [h_i, m_i, max of neighbours' h, g]))

All graphs of a batch are computed together, padded; nodes that are not there are zero and tell
nothing. Embeddings go with the nodes when these are put in another order, and what is read off a
whole graph does not change.

References:
    | Neural Message Passing for Quantum Chemistry (Gilmer, Schoenholz, Riley, Vinyals & Dahl,
      2017)
    | How Powerful are Graph Neural Networks? (Xu, Hu, Leskovec & Jegelka, 2019)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from trilemma.core.graph import sizes

__all__ = ["ActNetwork", "Embedding", "GraphCritic", "features"]

DEGREES = 12
"""Degrees that are told apart; those above share the last."""
RECENT = 6
"""Latest nodes of a graph that grows that are told apart."""
FEATURES = DEGREES + 3


def features(x: UInt8[Tensor, "B N N"]) -> Float[Tensor, "B N F"]:
    """Return the features of every node: its degree, and the graph's size and density."""
    node_mask = x.diagonal(dim1=1, dim2=2)
    n = node_mask.sum(1, dtype=torch.int64)
    degree = x.sum(2, dtype=torch.int64) - node_mask
    codes = F.one_hot(degree.clamp_max(DEGREES - 1), DEGREES).float()
    size = (n.float() / x.shape[1])[:, None].expand_as(degree)
    share = degree.float() / (n[:, None] - 1).clamp_min(1)
    mean = (degree.sum(1) / n.clamp_min(1)).float()[:, None].expand_as(degree) / DEGREES
    combined = torch.cat([codes, torch.stack([size, share, mean], -1)], -1)
    return combined * node_mask[..., None]


class Embedding(nn.Module):
    """Embeds nodes.

    Arguments:
        inputs: Numbers of a node.
        width: H.
        layers: Rounds of messages.
    """

    def __init__(self, inputs: int, width: int, layers: int) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, width)
        self.hear = nn.ModuleList(nn.Linear(4 * width, width) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.leave = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))

    def forward(
        self, x: UInt8[Tensor, "B N N"], inputs: Float[Tensor, "B N F"]
    ) -> Float[Tensor, "B N H"]:
        """Return an embedding of each node, zero for those that are not there."""
        node_mask = x.diagonal(dim1=1, dim2=2).to(inputs.dtype)[..., None]
        adjacency = x.to(inputs.dtype) - torch.diag_embed(node_mask[..., 0])
        scale = (1 + adjacency.sum(2, keepdim=True)).rsqrt()
        count = node_mask.sum(1, keepdim=True).clamp_min(1)
        h = self.enter(inputs) * node_mask
        for message, norm, update in zip(self.hear, self.norms, self.leave, strict=True):
            neighbour_sums = adjacency.to(h.dtype) @ h * scale
            neighbour_max = _most(h, adjacency)
            mean = (h.sum(1, keepdim=True) / count).expand_as(h)
            new = message(
                torch.cat([h, neighbour_sums.to(h.dtype), neighbour_max, mean.to(h.dtype)], -1)
            )
            h = (h + update(norm(new).relu())) * node_mask
        return h


def _most(h: Tensor, joined: Tensor) -> Tensor:
    """Return the largest of a smooth kind among neighbours: a mean weighted by exp(h)."""
    weight = h.clamp(-8, 8).exp()
    joined = joined.to(h.dtype)
    return (joined @ (weight * h)) / (joined @ weight + 1e-6)


def pooled(h: Float[Tensor, "B N H"], x: UInt8[Tensor, "B N N"]) -> Float[Tensor, "B 2H"]:
    """Return mean and largest of a graph's embeddings, which do not grow with its size."""
    node_mask = x.diagonal(dim1=1, dim2=2)
    mean = h.sum(1) / node_mask.sum(1, keepdim=True).clamp_min(1)
    maximum = torch.where(node_mask[..., None].bool(), h, -torch.inf).amax(1)
    return torch.cat([mean, maximum], 1)


class ActNetwork(nn.Module):
    """Gives every action of `maths.graphs.graph_environment` a logit, and every state a value.

    Arguments:
        width: H.
        layers: Rounds of messages.
        budget: Edges that a graph gets, as a share of its own; 0 where graphs grow.
    """

    def __init__(self, *, width: int = 64, layers: int = 3, budget: float = 0.0) -> None:
        super().__init__()
        self.budget = budget
        self.embed = Embedding(FEATURES + 2 + RECENT + 1, width, layers)
        self.join = _perceptron(4 * width, width, 1)
        self.take = _perceptron(3 * width, width, 1)
        self.alone = _perceptron(3 * width, width, 2)
        self.value = _perceptron(3 * width, width, 1)

    def forward(
        self,
        x: UInt8[Tensor, "B N N"],
        current_node: Int[Tensor, " B"],
        remaining: Int[Tensor, " B"],
    ) -> tuple[Float[Tensor, "B A"], Float[Tensor, " B"]]:
        """Return logits of the 2 N + 2 actions, masked or not, and the state's value.

        Arguments:
            x: Graphs.
            current_node: A node, or -1 for none.
            remaining: Edges that are left; not read where graphs grow.
        """
        h = self.embed(
            x, torch.cat([features(x), self._state_features(x, current_node, remaining)], -1)
        )
        rows = torch.arange(len(x), device=x.device)
        current_embedding = h[rows, current_node.clamp_min(0)] * (current_node >= 0)[:, None].to(
            h.dtype
        )
        graph_embedding = torch.cat([pooled(h, x).to(h.dtype), current_embedding], 1)
        mean = graph_embedding[:, : h.shape[2]]
        context = torch.cat([mean, current_embedding], 1)[:, None].expand(-1, h.shape[1], -1)
        join_logits = self.join(torch.cat([h, context, h * current_embedding[:, None]], -1))[
            ..., 0
        ]
        take_logits = self.take(torch.cat([h, context], -1))[..., 0]
        logits = torch.cat([join_logits, take_logits, self.alone(graph_embedding)], 1)
        return logits.float(), self.value(graph_embedding)[:, 0].float()

    def _state_features(self, x: Tensor, current_node: Tensor, remaining: Tensor) -> Tensor:
        """Tell which node is the current one, which were the latest, and how much is left."""
        padded_size = x.shape[1]
        positions = torch.arange(padded_size, device=x.device)
        node_mask = x.diagonal(dim1=1, dim2=2).bool()
        is_current = (positions == current_node[:, None]).float()
        if self.budget:
            share = self._left_over(x, remaining)[:, None].expand(-1, padded_size)
            recent = torch.zeros(*node_mask.shape, RECENT, device=x.device)
            age = torch.zeros_like(share)
        else:
            n = node_mask.sum(1, keepdim=True)
            steps_since = (n - 1 - positions).clamp(0, RECENT)
            recent = F.one_hot(steps_since, RECENT + 1)[..., :RECENT].float()
            age = positions / n.clamp_min(1)
            share = torch.zeros_like(age)
        combined = torch.cat([torch.stack([is_current, share, age], -1), recent], -1)
        return combined * node_mask[..., None]

    def _left_over(self, x: Tensor, remaining: Tensor) -> Float[Tensor, " B"]:
        """Return which share of its budget a graph still has: 1 at first, whatever its size."""
        edges = (x.sum((1, 2), dtype=torch.int64) - sizes(x)) // 2
        initial_budget = (edges + remaining).float() * self.budget / (1 + self.budget)
        return remaining.float() / initial_budget.clamp_min(1)


class GraphCritic(nn.Module):
    """Tells how real a whole graph looks.

    Arguments:
        width: H.
        layers: Rounds of messages.
    """

    def __init__(self, *, width: int = 64, layers: int = 3) -> None:
        super().__init__()
        self.embed = Embedding(FEATURES, width, layers)
        self.score = _perceptron(2 * width, width, 1)

    def forward(self, x: UInt8[Tensor, "B N N"]) -> Float[Tensor, " B"]:
        """Return a logit, higher where a graph looks more real."""
        h = self.embed(x, features(x))
        return self.score(pooled(h, x).to(h.dtype))[:, 0].float()


def _perceptron(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, outputs))
