"""Graphs that grow together, one node a step: what is known of them, and what edges do to it.

All graphs are at the same node. Those that end leave: `live` names the ones that go on, and what
is kept of each row follows it. Matrices stay where they are and only get rows; of the last M
nodes, which alone can be joined to the next, there are also small matrices, that move on with
each node.
"""

from __future__ import annotations

from functools import reduce
from typing import Protocol

import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor

__all__ = ["GraphSamplingState", "Hinting", "extremes", "oldest"]

OLDEST = 3
"""Of how many neighbours of a candidate, the oldest ones, the extreme degrees are coded."""


def oldest(
    joined: Bool[Tensor, "*C M"], positions: Int[Tensor, "*C M"], limit: int
) -> Int[Tensor, "*C K"]:
    """Return the oldest of the nodes that each is joined to; -1 for none.

    Arguments:
        joined: Which of some nodes each is joined to.
        positions: When these nodes came.
        limit: N, more than any position.
    """
    rank, count = torch.where(joined, positions, limit), min(OLDEST, joined.shape[-1])
    neighbours = rank.topk(count, dim=-1, largest=False, sorted=True).values
    neighbours = torch.nn.functional.pad(neighbours, (0, OLDEST - count), value=limit)
    return torch.where(neighbours < limit, neighbours, -1)


def extremes(
    degrees: Int[Tensor, "*C K"], friends: Int[Tensor, "*C K"]
) -> tuple[Int[Tensor, "*C"], Int[Tensor, "*C"]]:
    """Return the least and the largest degree among those that are there; 0 where none is."""
    valid_mask = friends >= 0
    # Column by column: a reduction along so short an axis takes several times as long.
    most = reduce(torch.maximum, torch.where(valid_mask, degrees, 0).unbind(-1))
    big = torch.iinfo(torch.int64).max
    least = reduce(torch.minimum, torch.where(valid_mask, degrees, big).unbind(-1))
    return torch.where(least < big, least, 0), most


class Hinting(Protocol):
    """Makes codes of what is known of candidates."""

    def codes(self, degree: Tensor, least: Tensor, most: Tensor) -> Tensor:
        """Return the codes of candidates themselves, [..., 2]."""
        ...

    def standing(self, joined: Tensor, shared: Tensor) -> Tensor:
        """Return the codes of candidates' standing to the parent; 0 for no parent."""
        ...


class GraphSamplingState:
    """Graphs on their way, each begun with one node.

    Arguments:
        count: B, graphs.
        limit: N, nodes of a graph at most.
        reach: M, widest window.
        memory: E, numbers of each node's message; 0: none.
        like: A weight, on whose device and in whose numbers memories are kept.
    """

    def __init__(self, count: int, limit: int, reach: int, memory: int, like: Tensor) -> None:
        self.limit, self.reach, device = limit, reach, like.device
        self._lower: UInt8[Tensor, "B N N"] = torch.zeros(
            count, limit, limit, dtype=torch.uint8, device=device
        )
        self._lower[:, 0, 0] = 1
        self.live = torch.arange(count, device=device)
        """Graphs that have not ended, [K]."""
        self.bits = torch.zeros(count, reach, dtype=torch.uint8, device=device)
        """The last row of each, over its window, [K, M]."""
        self.window = torch.zeros(count, dtype=torch.int64, device=device)
        """Nodes that the present one may be joined to, [K]."""
        self.slots = torch.arange(reach, device=device)
        self.node_messages = like.new_zeros(count, limit, memory) if memory else None
        """The message of each node, [B, N, E]."""
        self.message_sum = like.new_zeros(count, memory) if memory else None
        """Sum of the messages of the last node's neighbours, [K, E]."""
        self._parent = torch.zeros(count, dtype=torch.int64, device=device)
        self._degree = torch.zeros(count, limit, dtype=torch.int64, device=device)
        self._oldest = torch.full((count, limit, OLDEST), -1, device=device)
        self._joined: Tensor | None = None
        """Of the last M nodes, the latest at the end: which are joined, [K, M, M], for hints."""
        self._shared: Tensor | None = None
        """How many neighbours two of them share, [K, M, M]."""
        self._node = 0

    @property
    def x(self) -> UInt8[Tensor, "B N N"]:
        """Return the graphs as they are."""
        return self._lower | self._lower.transpose(1, 2)

    def open(self, node: int, node_messages: Tensor | None = None) -> None:
        """Go to the next node; `node_messages` are those of the one before, [K, E]."""
        self._node = node
        self.window = (node - self._parent).clamp_max(self.reach)
        if self.node_messages is not None and node_messages is not None:
            self.node_messages[self.live, node - 1] = node_messages.to(self.node_messages.dtype)

    def older(self, widest: int) -> Int[Tensor, "K W"]:
        """Return which nodes lie in the windows; after a window's end its last one."""
        slot = self.slots[:widest]
        return (self._node - self.window[:, None] + slot).clamp_max(self._node - 1)

    def hints(
        self, links: Hinting, older: Int[Tensor, "K W"]
    ) -> tuple[Int[Tensor, "K W 2"], Int[Tensor, "K V W"]]:
        """Return what is known of candidates: their degrees, and their standing to each parent.

        Arguments:
            links: Makes codes of degrees, edges and numbers of shared neighbours.
            older: The candidates, by `older`.

        Returns:
            Codes of every candidate itself; and how each of the last W nodes, the newest last,
            stands to each of them, with a last row of zeros that stands for no parent yet.
        """
        if self._joined is None or self._shared is None:  # before the second node
            shape = (len(self.live), self.reach, self.reach)
            self._joined = torch.zeros(shape, device=self.live.device)
            self._shared = torch.zeros(shape, device=self.live.device)
        graph, low = self.live[:, None], self.reach - older.shape[1]
        degree, neighbours = self._degree[graph, older], self._oldest[graph, older]
        neighbour_degrees = self._degree[graph[..., None], neighbours.clamp_min(0)]
        itself = links.codes(degree, *extremes(neighbour_degrees, neighbours))
        standing = links.standing(self._joined[:, low:, low:], self._shared[:, low:, low:])
        return itself, torch.nn.functional.pad(standing.int(), (0, 0, 0, 1))

    def close(self, bits: UInt8[Tensor, "K M"], starts_component: Tensor) -> Tensor | None:
        """Add a node with the edges of a row, or end.

        Arguments:
            bits: Edges of each row over its window.
            starts_component: Whether a row without edges begins a component, [K] bool.

        Returns:
            Which rows go on, [K'], or None if all do.
        """
        node, has_edges = self._node, bits.bool().any(1)
        continues = has_edges | starts_component
        survivors = None
        self.bits = bits
        if not bool(continues.all()):
            survivors = continues.nonzero()[:, 0]
            self.live, self.window = self.live[survivors], self.window[survivors]
            self.bits, has_edges = bits[survivors], has_edges[survivors]
            if self._joined is not None and self._shared is not None:
                self._joined, self._shared = self._joined[survivors], self._shared[survivors]
        first = self.bits.argmax(1)
        self._parent = torch.where(has_edges, node - self.window + first, node)
        self._join()
        return survivors

    def _join(self) -> None:
        node, live = self._node, self.live
        older = self.older(self.reach)
        if self.node_messages is not None:
            window_values = self.node_messages[live[:, None], older]
            self.message_sum = torch.bmm(
                self.bits[:, None].to(window_values.dtype), window_values
            )[:, 0]
        row = torch.zeros(len(live), node, dtype=torch.uint8, device=live.device)
        row.scatter_add_(1, older, self.bits)
        self._lower[live, node, :node] = row
        self._lower[live, node, node] = 1
        low = max(0, node - self.reach)
        window_row = row[:, low:]
        if self._joined is not None and self._shared is not None:
            padded_row = torch.nn.functional.pad(
                window_row.float(), (self.reach - window_row.shape[1], 0)
            )
            window_values = torch.bmm(padded_row[:, None], self._joined)[:, 0]
            self._shared.baddbmm_(padded_row[:, :, None], padded_row[:, None])
            self._joined, self._shared = (
                _moved(self._joined, padded_row),
                _moved(self._shared, window_values),
            )
        self._oldest[live, node] = oldest(self.bits.bool(), older, self.limit)
        self._degree[live, low:node] += window_row
        self._degree[live, node] = window_row.sum(1, dtype=torch.int64)


def _moved(pairs: Tensor, row: Tensor) -> Tensor:
    """Leave out the oldest node of matrices, and add one with these entries at the end."""
    after = torch.zeros_like(pairs)
    after[:, :-1, :-1] = pairs[:, 1:, 1:]
    after[:, -1, :-1] = row[:, 1:]
    after[:, :-1, -1] = row[:, 1:]
    return after
