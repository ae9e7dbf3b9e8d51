r"""The networks of a graph that grows node by node: one for its nodes, one for a node's edges.

The rows of a graph's matrix are given window by window: `bits` [R, M] holds, from the oldest node
of the window to the newest, which of them the new node is joined to, and zeros after the window.

    NodeRecurrence        h_i = GRU(h_{i-1}, embedding of row i), in layers
    LinkRecurrence        a GRU along the window, begun at a function of h: one logit an edge
    IndependentLinks      a perceptron of h: all logits of the row at once

The edge network's inputs about a candidate, besides the edge before, are three codes: how
many neighbours the candidate has so far; how many its oldest neighbours have, the least and the
most, which are older than the window or soon will be; and how it stands to the new node's parent
once this is known: whether the two are joined, and how many neighbours they share. All are known
when the edge is drawn, so that the product of the conditionals stays an exact distribution.
Without hints the network is the paper's.

References:
    | GraphRNN: Generating Realistic Graphs with Deep Auto-regressive Models (You, Ying, Ren,
      Hamilton & Leskovec, 2018)
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from trilemma.maths.graphs.bfs_orders import BEGIN
from trilemma.networks.graph_gru import GraphGRU
from trilemma.networks.recurrent import Recurrent, State

__all__ = ["IndependentLinks", "LinkRecurrence", "NodeRecurrence"]

EXACT, DEGREES = 12, 16
"""Degrees below EXACT have codes of their own; larger ones share the others by octaves."""
BOUNDS = torch.tensor([*range(1, EXACT), *(EXACT << k for k in range(DEGREES - EXACT))])
"""The least degree of each code but the first."""
SHARED = 8
"""Numbers of shared neighbours that have codes of their own."""
STANDINGS = 1 + 2 * SHARED
"""Codes of how a candidate stands to the parent; 0 while there is no parent."""


def codes_of(
    degree: Int[Tensor, "*C"], least: Int[Tensor, "*C"], most: Int[Tensor, "*C"]
) -> Int[Tensor, "*C 2"]:
    """Return the codes of a candidate itself, and of what is around it.

    Arguments:
        degree: Neighbours that the candidate has so far.
        least: Neighbours that the least of its oldest neighbours has so far; 0 without any.
        most: The same of that which has most.

    >>> codes_of(*torch.tensor([24, 3, 4])).tolist()
    [211, 52]
    """
    around = degree_code(least)
    itself = DEGREES * degree_code(degree) + around
    return torch.stack([itself, DEGREES * around + degree_code(most)], -1)


def standing_of(joined: Int[Tensor, "*C"], shared: Int[Tensor, "*C"]) -> Int[Tensor, "*C"]:
    """Return the code of a candidate's standing to the parent; 0 stands for no parent yet.

    Arguments:
        joined: Whether it is joined to the parent, 0 or 1.
        shared: Neighbours that it has in common with the parent.

    >>> standing_of(torch.tensor(1), torch.tensor(2)).item()
    11
    """
    return 1 + SHARED * joined + shared.clamp_max(SHARED - 1)


def degree_code(degree: Int[Tensor, "*C"]) -> Int[Tensor, "*C"]:
    """Return the code of a number of neighbours.

    >>> degree_code(torch.tensor([0, 3, 11, 12, 24, 5000])).tolist()
    [0, 3, 11, 12, 13, 15]
    """
    return torch.bucketize(degree, BOUNDS.to(degree.device), right=True)


class NodeRecurrence(nn.Module):
    """Carries the graph so far.

    Arguments:
        reach: M, widest window.
        width: Numbers of a row's embedding.
        hidden: H, numbers of a state.
        layers: Layers.
        memory: E, numbers of a node's message to those that will be joined to it
            (`networks.graph_gru`); 0: none, as in the paper.
    """

    def __init__(
        self, reach: int, *, width: int = 64, hidden: int = 128, layers: int = 4, memory: int = 0
    ) -> None:
        super().__init__()
        self.reach, self.hidden, self.memory = reach, hidden, memory
        self.embed = nn.Sequential(nn.Linear(reach + 2, width), nn.ReLU())
        self.first = GraphGRU(width, hidden, memory) if memory else None
        upper_layers = layers - 1 if memory else layers
        self.rnn = (
            Recurrent(hidden if memory else width, hidden, upper_layers) if upper_layers else None
        )
        self.component_head = nn.Linear(hidden, 1)

    def forward(
        self,
        bits: Tensor,
        window: Int[Tensor, " C"],
        joined: Tensor,
        counts: Int[Tensor, " T"],
    ) -> tuple[Float[Tensor, "C H"], Tensor | None]:
        """Return the state after each row of many graphs, and each node's message, [R, N, E].

        Arguments:
            bits: Rows of all graphs, packed as `Recurrent` says.
            window: Width of each row's window.
            joined: The graphs' matrices, [R, N, N], zeros on the diagonal.
            counts: k_t, graphs with a node t.
        """
        x, node_messages = self.embed(self._row_features(bits, window)), None
        if self.first is not None:
            x, node_messages = self.first(x, joined, counts, self.reach)
        return (x if self.rnn is None else self.rnn(x, counts)), node_messages

    def begin(self, rows: int) -> State:
        """Return the states before the first row."""
        zero = self.component_head.weight.new_zeros(rows, self.hidden)
        upper_layers = 0 if self.rnn is None else self.rnn.layers
        return (zero,) * (upper_layers + (self.first is not None))

    def step(
        self, bits: Tensor, window: Int[Tensor, " R"], message_sum: Tensor | None, state: State
    ) -> tuple[Float[Tensor, "R H"], Tensor | None, State]:
        """Return the state after one more row, its node's message, and all layers' states.

        Arguments:
            bits: The row.
            window: Width of its window.
            message_sum: Sum of its neighbours' messages, [R, E]; None without a memory.
            state: All layers' states.
        """
        x, node_message = self.embed(self._row_features(bits, window)), None
        next_state: State = ()
        if self.first is not None:
            assert message_sum is not None
            x = self.first.step(x, message_sum, state[0])
            node_message, next_state, state = self.first.message(x), (x,), state[1:]
        if self.rnn is not None:
            next_state = (*next_state, *self.rnn.step(x, state))
        return next_state[len(next_state) - 1], node_message, next_state

    def component(self, h: Float[Tensor, "R H"]) -> Float[Tensor, " R"]:
        """Return the logit of another component after a row without edges, which else ends all."""
        return self.component_head(h)[:, 0]

    def _row_features(self, bits: Tensor, window: Tensor) -> Tensor:
        weight = self.component_head.weight
        window_features = torch.stack([window / self.reach, window == 0], -1)
        return torch.cat([bits.to(weight.dtype), window_features.to(weight.dtype)], -1)


class LinkRecurrence(nn.Module):
    """Draws a row's edges one after another.

    Arguments:
        state_size: H, numbers of the graph's state.
        width: Numbers of an edge's embedding.
        hidden: Numbers of a state.
        layers: Layers.
        hints: Whether the candidates' codes are inputs, besides the edge before.
        memory: E, numbers of each candidate's message, which is an input too; 0: none.
    """

    def __init__(
        self,
        state_size: int,
        *,
        width: int = 8,
        hidden: int = 16,
        layers: int = 4,
        hints: bool = True,
        memory: int = 0,
    ) -> None:
        super().__init__()
        self.hints = hints
        enter_width = max(hidden, state_size // 2)
        self.enter = nn.Sequential(
            nn.Linear(state_size, enter_width), nn.ReLU(), nn.Linear(enter_width, layers * hidden)
        )
        self.before = nn.Embedding(BEGIN + 1, width)
        self.itself = nn.Embedding(DEGREES**2, width) if hints else None
        self.around = nn.Embedding(DEGREES**2, width) if hints else None
        self.toward = nn.Embedding(STANDINGS, width) if hints else None
        self.recall = nn.Linear(memory, width, bias=False) if memory else None
        self.rnn = Recurrent(width, hidden, layers)
        self.leave = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(
        self,
        h: Float[Tensor, "R H"],
        before: Int[Tensor, " C"],
        itself: Int[Tensor, "C 2"] | None,
        standing: Int[Tensor, " C"] | None,
        node_messages: Float[Tensor, "C E"] | None,
        counts: Int[Tensor, " T"],
    ) -> Float[Tensor, " C"]:
        """Return the logits of all edges of many rows, packed as `Recurrent` says.

        Arguments:
            h: The graph's state before each row.
            before: The edge before each, or BEGIN.
            itself: Codes of the candidates themselves; read with hints alone.
            standing: Codes of how candidates stand to the parent; read with hints alone.
            node_messages: Messages of the candidates; read with a memory alone.
            counts: k_t, rows whose windows have a place t.
        """
        state = self.enter(h).unflatten(1, (self.rnn.layers, -1)).transpose(0, 1)
        inputs, candidate_embedding = (
            self.before(before),
            self.embed_candidates(itself, node_messages),
        )
        if candidate_embedding is not None:
            inputs = inputs + candidate_embedding
        if self.toward is not None:
            inputs = inputs + self.toward(standing)
        return self.leave(self.rnn(inputs.relu(), counts, state))[:, 0]

    def draw(
        self,
        h: Float[Tensor, "R H"],
        window: Int[Tensor, " R"],
        chances: Float[Tensor, "R M"],
        candidate_embedding: Float[Tensor, "R W E"] | None,
        standing: Int[Tensor, "R V W"] | None,
    ) -> UInt8[Tensor, "R M"]:
        """Draw rows edge by edge: an edge where its chance lies below the sigmoid of its logit.

        An edge costs the recurrence and little else. The embedding of the edge before and of
        the candidate's standing is one row of a table; chances are compared as logits; rows lie
        with the widest windows first, so that those that go on are the first ones.

        Arguments:
            h: The graph's state before each row.
            window: Width of each row's window, W at most.
            chances: Uniform numbers.
            candidate_embedding: What is known of the candidates at the start of the row, by
                `embed_candidates`.
            standing: Codes of how each of the last W nodes stands to each of them, the newest
                last, and a last row of zeros for no parent yet, V = W + 1; read with hints alone.
        """
        window, order = window.sort(descending=True, stable=True)
        window_widths, n_candidates, standing_codes = window.tolist(), 0, None
        n_active = len(window_widths)
        with torch.autocast(h.device.type, enabled=False):
            table = self.before.weight
            thresholds = chances[order].logit().T.contiguous()
            bits = torch.zeros_like(thresholds, dtype=torch.bool)
            cells = self.rnn.cells()
            state = list(self.enter(h[order].to(table.dtype)).chunk(len(cells), 1))
            hidden_layer, output_layer = (
                cast(nn.Linear, self.leave[0]),
                cast(nn.Linear, self.leave[2]),
            )
            if candidate_embedding is not None:
                candidate_embedding = candidate_embedding.transpose(0, 1).index_select(1, order)
            # Where the codes of the parent and of the oldest node begin, if they are read.
            parent_offset = oldest_offset = window
            if self.toward is not None and standing is not None:
                table = (table[:, None] + self.toward.weight).flatten(0, 1)
                standing_codes, n_candidates = standing.flatten(), standing.shape[-1]
                oldest_offset = order * standing[0].numel() + (n_candidates - window)
                parent_offset, oldest_offset = (
                    oldest_offset + n_candidates * n_candidates,
                    oldest_offset + n_candidates * (n_candidates - window),
                )
            n_codes = len(table) // (BEGIN + 1)
            code = torch.full_like(window, BEGIN * n_codes)
            for column in range(max(window_widths, default=0)):
                while window_widths[n_active - 1] <= column:
                    n_active -= 1
                if n_active < len(code):
                    code, parent_offset, oldest_offset = (
                        code[:n_active],
                        parent_offset[:n_active],
                        oldest_offset[:n_active],
                    )
                    state = [layer[:n_active] for layer in state]
                if standing_codes is not None:
                    code = code + standing_codes.take(parent_offset + column)
                x = table.index_select(0, code)
                if candidate_embedding is not None:
                    x = x + candidate_embedding[column, :n_active]
                x = x.relu()
                for layer, cell in enumerate(cells):
                    x = state[layer] = torch.gru_cell(x, state[layer], *cell)
                x = F.linear(x, hidden_layer.weight, hidden_layer.bias).relu()
                logits = F.linear(x, output_layer.weight, output_layer.bias)[:, 0]
                is_edge = bits[column, :n_active] = logits > thresholds[column, :n_active]
                code = is_edge * n_codes
                if standing_codes is not None:  # the first edge of a row leads to the parent
                    parent_offset = torch.where(
                        is_edge,
                        torch.minimum(parent_offset, oldest_offset + column * n_candidates),
                        parent_offset,
                    )
        sorted_rows = bits.T.to(torch.uint8)
        return torch.zeros_like(sorted_rows).index_copy(0, order, sorted_rows)

    def embed_candidates(
        self, itself: Int[Tensor, "*C 2"] | None, node_messages: Float[Tensor, "*C E"] | None
    ) -> Float[Tensor, "*C W"] | None:
        """Return the embedding of what is known of candidates before a row is drawn."""
        embedding = None
        if self.itself is not None and self.around is not None:
            assert itself is not None
            embedding = self.itself(itself[..., 0]) + self.around(itself[..., 1])
        if self.recall is not None and node_messages is not None:
            recalled = self.recall(node_messages)
            embedding = recalled if embedding is None else embedding + recalled
        return embedding

    def codes(self, degree: Tensor, least: Tensor, most: Tensor) -> Tensor:
        """Return the codes of candidates, as `codes_of` makes them."""
        return codes_of(degree, least, most)

    def standing(self, joined: Tensor, shared: Tensor) -> Tensor:
        """Return the codes of candidates' standing, as `standing_of` makes them."""
        return standing_of(joined, shared)


class IndependentLinks(nn.Module):
    """Draws a row's edges independently of each other, given the graph (GraphRNN-S).

    Arguments:
        state_size: H, numbers of the graph's state.
        reach: M, widest window.
        width: Units of the inner layer.
    """

    def __init__(self, state_size: int, reach: int, *, width: int = 64) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(state_size, width), nn.ReLU(), nn.Linear(width, reach))

    def forward(self, h: Float[Tensor, "R H"]) -> Float[Tensor, "R M"]:
        """Return the logits of whole rows, from the window's oldest node on."""
        return self.net(h)
