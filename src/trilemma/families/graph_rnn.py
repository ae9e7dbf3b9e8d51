r"""GraphRNN: a graph grows node by node, and each node's edges are drawn one after another.

Let x be a graph whose n nodes are in breadth-first order (`maths.graphs.bfs_orders`), and row i
the edges of node i to the nodes of its window, w_i = min(i - parent(i - 1), M) nodes, the oldest
first:

    h_i       = node network(h_{i-1}, row i)                          h of the graph up to node i
    p(row i)  = prod_t p(x_{i,t} | x_{i,<t}, h_{i-1})                 edge network
    p(x)      = prod_{i=1..n-1} p(row i) · c_i      ·      p(row n = 0) (1 - c)

A row without an edge has nothing to hold on to: with probability c another component begins with
it, and otherwise the graph has ended and its size is n. At the limit N it ends for certain.
So p is a distribution over graphs in breadth-first order, of any number of components, and sums to
one; no size is taken from anywhere. Nodes older than the window have no edge to node i in any
breadth-first order, so that nothing is computed of what is decided; M is the data's
(`Domain.reach`), and an edge that is older than that has no probability.

A graph in a file has labels and no order. Labels put on by chance give

    p(G) = 1/n! sum_orders p(G in this order)
    ln p(G) >= E_{order ~ q(· | G)}[ln p(G in this order) - ln q(order | G)] - ln n!

with q the random breadth-first orders; k of them within the logarithm bound it more tightly.

What differs from the released code: an explicit window and an explicit beginning of components; a
row is drawn once; orders are drawn anew for each batch, with starts and children by chance.

References:
    | GraphRNN: Generating Realistic Graphs with Deep Auto-regressive Models (You, Ying, Ren,
      Hamilton & Leskovec, 2018), https://arxiv.org/abs/1802.08773
    | Order Matters: Probabilistic Modeling of Node Sequence for Graph Generation (Chen, Han, Hu,
      Ruiz & Liu, 2021), for the bound
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.graph import adjacency, reordered, sizes
from trilemma.core.model import Loss, Model, Objective
from trilemma.core.noise import Noise
from trilemma.families.graph_sampling_state import (
    GraphSamplingState,
    Hinting,
    extremes,
    oldest,
)
from trilemma.maths.graphs.bfs_orders import BEGIN, breadth_first, log_chance, parents

__all__ = ["GraphRnn", "Links", "Nodes"]

State = tuple[Tensor, ...]


class Nodes(Protocol):
    """The node network: `networks.graph_rnn.NodeRecurrence` or its like."""

    memory: int
    """E, numbers of a node's message; 0: none."""

    def __call__(
        self, bits: Tensor, window: Tensor, joined: Tensor, counts: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Return h after each of many graphs' rows, packed, and each node's message."""
        ...

    def begin(self, rows: int) -> State:
        """Return the states before the first row."""
        ...

    def step(
        self, bits: Tensor, window: Tensor, message_sum: Tensor | None, state: State
    ) -> tuple[Tensor, Tensor | None, State]:
        """Return h after one more row, its node's message, and the states."""
        ...

    def component(self, h: Tensor) -> Tensor:
        """Return the logit of c."""
        ...


class Links(Hinting, Protocol):
    """The edge network that goes along a row: `networks.graph_rnn.LinkRecurrence`."""

    hints: bool

    def __call__(
        self,
        h: Tensor,
        before: Tensor,
        itself: Tensor | None,
        standing: Tensor | None,
        node_messages: Tensor | None,
        counts: Tensor,
    ) -> Tensor:
        """Return the logits of all edges of many rows, packed."""
        ...

    def draw(
        self,
        h: Tensor,
        window: Tensor,
        chances: Tensor,
        candidate_embedding: Tensor | None,
        standing: Tensor | None,
    ) -> Tensor:
        """Return the edges of each row over its window, drawn one after another."""
        ...

    def embed_candidates(
        self, itself: Tensor | None, node_messages: Tensor | None
    ) -> Tensor | None:
        """Return the embedding of what is known of candidates at the start of a row."""
        ...


@dataclass(frozen=True)
class AdjacencyRows:
    """All rows of a batch of graphs in breadth-first order, and the last one that ends each."""

    bits: UInt8[Tensor, "B N M"]
    """Edges of every node to its window, the oldest first, and zeros after the window."""
    window: Int[Tensor, "B N"]
    """w of every row, that of the row after the last node included."""
    parent: Int[Tensor, "B N"]
    size: Int[Tensor, " B"]
    dropped_edges: Int[Tensor, " B"]
    """Edges that are older than the window allows."""

    @classmethod
    def of(cls, x: UInt8[Tensor, "B N N"], reach: int) -> AdjacencyRows:
        """Cut graphs in breadth-first order into rows."""
        max_nodes = x.shape[-1]
        positions = torch.arange(max_nodes, device=x.device)
        parent, size = parents(x), sizes(x)
        previous_parent = parent.roll(1, dims=1)
        previous_parent[:, 0] = 0
        window = (positions - previous_parent).clamp_max(reach) * (positions <= size[:, None])
        slot = torch.arange(min(reach, max(max_nodes - 1, 1)), device=x.device)
        older = positions[:, None] - window[..., None] + slot
        in_window = slot < window[..., None]
        bits = x.gather(2, torch.where(in_window, older, 0)) * in_window
        window_edges = bits.sum((1, 2), dtype=torch.int64)
        dropped_edges = adjacency(x).sum((1, 2), dtype=torch.int64) // 2 - window_edges
        return cls(F.pad(bits, (0, reach - bits.shape[-1])), window, parent, size, dropped_edges)


class GraphRnn(Model[Examples, Tensor]):
    """A recurrent model of graphs.

    Arguments:
        nodes: Carries the graph so far.
        links: Draws a row's edges: one after another, or a module h -> logits [R, M] that draws
            them independently.
        domain: Graphs of at most N nodes, and M.
    """

    likelihood_by = "exact"

    def __init__(self, nodes: nn.Module, links: nn.Module, domain: Domain) -> None:
        super().__init__()
        self.nodes, self.links, self.domain = nodes, links, domain
        self.limit, self.reach = domain.shape[-1], domain.reach
        self.is_chained = hasattr(links, "draw")

    def objectives(self) -> Sequence[Objective[Examples]]:
        """Return the one player: nats of the graphs in random breadth-first orders."""
        return [Objective("graph", self._loss, list(self.parameters()))]

    def _loss(self, batch: Examples) -> Loss:
        assert batch.noise is not None
        y = self._ordered(batch.x, batch.noise.named("order"))
        links, ends = self._nats(y)
        nats = links + ends
        terms = {"nats": nats.mean().detach(), "ends": ends.mean().detach()}
        return Loss(nats.mean() / self.limit, terms)

    def _ordered(self, x: Tensor, noise: Noise) -> Tensor:
        return reordered(x, breadth_first(x, noise.uniform(x.shape[-1])))

    # Likelihood

    def ordered_log_prob(self, x: UInt8[Tensor, "B N N"]) -> Float[Tensor, " B"]:
        """Return ln p of graphs in the order in which their nodes lie; -inf where it is none."""
        links, ends = self._nats(x)
        never = (
            AdjacencyRows.of(x, self.reach).dropped_edges > 0
        )  # so it is in every order but breadth-first ones
        return torch.where(never, -math.inf, -(links + ends).double())

    def bound(
        self, x: Tensor, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Float[Tensor, " B"]:
        """Return a lower bound of ln p of labelled graphs, by one random order each."""
        return self.importance_bound(x, 1, condition=condition, noise=noise)

    def importance_bound(
        self,
        x: Tensor,
        k: int,
        *,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Float[Tensor, " B"]:
        """Return a lower bound of ln p of labelled graphs, by k random orders each."""
        noise = noise or Noise.fresh(len(x), x.device)
        log_weights = []
        for _ in range(k):
            y = self._ordered(x, noise)
            log_weights.append(self.ordered_log_prob(y) - log_chance(y))
        log_factorial = torch.lgamma(sizes(x).double() + 1)
        return torch.stack(log_weights).logsumexp(0) - math.log(k) - log_factorial

    def _nats(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return -ln p of the edges and of the ends of graphs in breadth-first order, [B] each."""
        rows = AdjacencyRows.of(y, self.reach)
        h, node_messages = self._states(y, rows)
        graph, node = self._rows(rows)
        state = h[graph, node - 1]
        if self.is_chained:
            row_nats = self._chained(y, rows, graph, node, state, node_messages)
        else:
            logits = self.links(state)
            bits = rows.bits[graph, node].to(logits.dtype)
            cost = F.binary_cross_entropy_with_logits(logits, bits, reduction="none")
            slot = torch.arange(self.reach, device=y.device)
            row_nats = (cost * (slot < rows.window[graph, node, None])).sum(1)
        empty = ~rows.bits[graph, node].bool().any(1)
        continues = (node < rows.size[graph]).to(state.dtype)
        end = F.binary_cross_entropy_with_logits(
            cast(Nodes, self.nodes).component(state), continues, reduction="none"
        )
        zeros = row_nats.new_zeros(len(y))
        return (
            zeros.index_add(0, graph, row_nats),
            zeros.index_add(0, graph, (end * empty).to(row_nats.dtype)),
        )

    def _states(
        self, y: Tensor, rows: AdjacencyRows
    ) -> tuple[Float[Tensor, "B N H"], Tensor | None]:
        """Return h after every node, zeros where there is none, and every node's message."""
        order = rows.size.argsort(descending=True, stable=True)
        steps = torch.arange(rows.bits.shape[1], device=order.device)
        is_present = steps[:, None] < rows.size[order]
        step, sequence = is_present.nonzero(as_tuple=True)
        counts = is_present.sum(1)
        counts, graph = counts[counts > 0].cpu(), order[sequence]
        bits, window = rows.bits[graph, step], rows.window[graph, step]
        h, node_messages = self.nodes(bits, window, adjacency(y)[order], counts)
        out = h.new_zeros(*rows.window.shape, h.shape[-1]).index_put((graph, step), h)
        return out, None if node_messages is None else node_messages[order.argsort()]

    def _rows(self, rows: AdjacencyRows) -> tuple[Tensor, Tensor]:
        """Return graph and node of all rows after the first node's, the widest window first."""
        positions = torch.arange(rows.window.shape[1], device=rows.window.device)
        is_row = (positions > 0) & (positions <= rows.size[:, None])
        graph, node = is_row.nonzero(as_tuple=True)
        widest = rows.window[graph, node].argsort(descending=True, stable=True)
        return graph[widest], node[widest]

    def _chained(
        self,
        y: Tensor,
        rows: AdjacencyRows,
        graph: Tensor,
        node: Tensor,
        state: Tensor,
        node_messages: Tensor | None,
    ) -> Tensor:
        """Return -ln p of rows whose edges come one after another."""
        links = cast(Links, self.links)
        window = rows.window[graph, node]
        slot = torch.arange(int(window.max()) if len(window) else 0, device=y.device)
        valid_mask = slot[:, None] < window
        step, row = valid_mask.nonzero(as_tuple=True)
        bits = rows.bits[graph, node]
        edge = bits[row, step]
        previous_edge = torch.where(step > 0, bits[row, (step - 1).clamp_min(0)], BEGIN).long()
        itself = standing = None
        graph, node = graph[row], node[row]
        if links.hints:
            itself, standing = self._hints(y, rows, graph, node, step)
        if node_messages is not None:
            node_messages = node_messages[graph, node - window[row] + step]
        logits = links(
            state, previous_edge, itself, standing, node_messages, valid_mask.sum(1).cpu()
        )
        cost = F.binary_cross_entropy_with_logits(logits, edge.to(logits.dtype), reduction="none")
        return cost.new_zeros(len(state)).index_add(0, row, cost)

    def _hints(
        self, y: Tensor, rows: AdjacencyRows, graph: Tensor, node: Tensor, step: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the codes of every cell's candidate, as far as the graph is known by then."""
        edges = adjacency(y)
        older = node - rows.window[graph, node] + step
        degrees = edges.cumsum(2, dtype=torch.int16)
        degree = degrees[graph, older, node - 1].long()
        positions = torch.arange(y.shape[-1], device=y.device)
        is_earlier = positions < positions[:, None]
        oldest_neighbours = oldest(edges.bool() & is_earlier, positions, len(positions))[
            graph, older
        ]
        neighbour_degrees = degrees[
            graph[:, None], oldest_neighbours.clamp_min(0), (node - 1)[:, None]
        ].long()
        parent = rows.parent
        parent_neighbours = edges.gather(1, parent[..., None].expand_as(edges)) * is_earlier
        shared = torch.bmm(parent_neighbours.float(), edges.float())[graph, node, older].long()
        first = parent[graph, node]
        parent_edge = edges[graph, first, older].long()
        links = cast(Links, self.links)
        itself = links.codes(degree, *extremes(neighbour_degrees, oldest_neighbours))
        standing = links.standing(parent_edge, shared)
        return itself, torch.where((older > first) & (first < node), standing, 0)

    # Drawing

    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Tensor:
        """Draw n graphs, [n, N, N]; the nodes lie in the order in which they came."""
        noise = noise or Noise.fresh(n, next(self.parameters()).device)
        return self._grow(noise, None)

    def complete(
        self,
        x: Tensor,
        mask: Tensor,
        *,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Tensor:
        """Let given graphs grow further: nodes and edges are added, none among those given.

        Arguments:
            x: The given graphs, [B, N, N]; each is taken in a random breadth-first order.
            mask: True where x is given, [B, N, N]: between its first nodes.
            condition: Not read.
            noise: B rows.

        Raises:
            BadInput: A given graph is empty, the mask is not that of its first nodes, or an order
                reaches further back than M.
        """
        noise = noise or Noise.fresh(len(x), x.device)
        partial_graphs = (x * mask.to(x.dtype)).to(torch.uint8)
        count = sizes(partial_graphs)
        if bool((count == 0).any()):
            raise BadInput("the given graph has no nodes; give a graph to be completed.")
        order = breadth_first(partial_graphs, noise.named("order").uniform(x.shape[-1]))
        ordered = reordered(partial_graphs, order)
        if bool((AdjacencyRows.of(ordered, self.reach).dropped_edges > 0).any()):
            raise BadInput(
                f"the given graph joins nodes that are more than {self.reach} places apart in "
                "breadth-first order, which no graph of the training data does; give another."
            )
        inverse_order = torch.where(
            torch.arange(x.shape[-1], device=x.device) < count[:, None], order.argsort(1), order
        )
        return reordered(self._grow(noise, ordered), inverse_order)

    def path(
        self,
        n: int,
        *,
        frames: int,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Sequence[Tensor]:
        """Return about `frames` states of n graphs on their way from one node to all of them."""
        x = self.sample(n, noise=noise)
        max_nodes, positions = int(sizes(x).max()), torch.arange(self.limit, device=x.device)
        states = []
        for count in sorted({max(1, round(max_nodes * (f + 1) / frames)) for f in range(frames)}):
            node_mask = (positions < count).to(x.dtype)
            states.append(x * node_mask * node_mask[:, None])
        return states

    def _grow(self, noise: Noise, partial_graphs: Tensor | None) -> Tensor:
        nodes, links = cast(Nodes, self.nodes), cast(Links, self.links)
        graphs = GraphSamplingState(
            len(noise), self.limit, self.reach, nodes.memory, next(self.parameters())
        )
        state = nodes.begin(len(noise))
        forced = None if partial_graphs is None else AdjacencyRows.of(partial_graphs, self.reach)
        for node in range(1, self.limit):
            h, node_messages, state = nodes.step(
                graphs.bits, graphs.window, graphs.message_sum, state
            )
            u = noise.uniform(self.reach + 1)[graphs.live]
            starts_component = u[:, -1] < nodes.component(h).float().sigmoid()
            graphs.open(node, node_messages)
            if self.is_chained:
                bits = self._draw_edges(links, graphs, h, u[:, :-1])
            else:
                in_window = graphs.slots < graphs.window[:, None]
                bits = (u[:, :-1] < self.links(h).float().sigmoid()) & in_window
            if forced is not None:
                is_forced = node < forced.size[graphs.live]
                bits = torch.where(
                    is_forced[:, None], forced.bits[graphs.live, node].bool(), bits.bool()
                )
                starts_component = starts_component | is_forced
            survivors = graphs.close(bits.to(torch.uint8), starts_component)
            if survivors is not None:
                state = tuple(layer[survivors] for layer in state)
            if not len(graphs.live):
                break
        return graphs.x

    def _draw_edges(
        self, links: Links, graphs: GraphSamplingState, h: Tensor, chances: Tensor
    ) -> Tensor:
        """Draw rows edge by edge."""
        widest = int(graphs.window.max())
        older = graphs.older(widest)
        itself = standing = node_messages = None
        if links.hints:
            itself, standing = graphs.hints(links, older)
        if graphs.node_messages is not None:
            node_messages = graphs.node_messages[graphs.live[:, None], older]
        return links.draw(
            h, graphs.window, chances, links.embed_candidates(itself, node_messages), standing
        )
