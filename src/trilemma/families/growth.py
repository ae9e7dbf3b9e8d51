"""Graphs that grow together, one node a step: what is known of them, and what edges do to it.

All graphs are at the same node. Those that end leave: `live` names the ones that go on, and what
is kept of each row follows it. Matrices stay where they are and only get rows; of the last M
nodes, which alone can be joined to the next, small matrices are kept beside, that move on with
each node.
"""

from __future__ import annotations

from typing import Protocol

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

__all__ = ["OLDEST", "Growth", "extremes", "oldest"]

OLDEST = 3
"""Of so many neighbours of a candidate, the oldest ones, the extreme degrees are told."""


def oldest(joined: UInt8[Tensor, "B N N"]) -> Int[Tensor, "B N K"]:
    """Return the oldest neighbours of each node among those that came before it; -1 for none."""
    room = joined.shape[-1]
    place = torch.arange(room, device=joined.device)
    count = min(OLDEST, room)
    rank = torch.where(joined.bool() & (place < place[:, None]), place, room)
    found = rank.topk(count, dim=2, largest=False, sorted=True).values
    found = torch.nn.functional.pad(found, (0, OLDEST - count), value=room)
    return torch.where(found < room, found, -1)


def extremes(
    degrees: Int[Tensor, "*C K"], friends: Int[Tensor, "*C K"]
) -> tuple[Int[Tensor, "*C"], Int[Tensor, "*C"]]:
    """Return the least and the largest degree among those that are there; 0 where none is."""
    there = friends >= 0
    most = torch.where(there, degrees, 0).amax(-1)
    least = torch.where(there, degrees, torch.iinfo(torch.int64).max).amin(-1)
    return torch.where(there.any(-1), least, 0), most


class Hinting(Protocol):
    """Makes codes of what is known of candidates."""

    def codes(self, degree: Tensor, least: Tensor, most: Tensor) -> Tensor:
        """Return what is told of candidates themselves, [..., 2]."""
        ...

    def standing(self, joined: Tensor, shared: Tensor) -> Tensor:
        """Return what is told of candidates' standing to the parent."""
        ...


class Growth:
    """Graphs on their way, each begun with one node.

    Arguments:
        count: B, graphs.
        limit: N, nodes of a graph at most.
        reach: M, widest window.
        memory: E, numbers that each node leaves; 0: none.
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
        self.left = like.new_zeros(count, limit, memory) if memory else None
        """What each node left, [B, N, E]."""
        self.heard = like.new_zeros(count, memory) if memory else None
        """Sum of what the neighbours of the last node left, [K, E]."""
        self._parent = torch.zeros(count, dtype=torch.int64, device=device)
        self._degree = torch.zeros(count, limit, dtype=torch.int64, device=device)
        self._oldest = torch.full((count, limit, OLDEST), -1, device=device)
        self._joined: Tensor | None = None
        """Of the last M nodes, the latest at the end: which are joined, [K, M, M], for hints."""
        self._shared: Tensor | None = None
        """How many neighbours two of them share, [K, M, M]."""
        self._place = 0

    @property
    def x(self) -> UInt8[Tensor, "B N N"]:
        """Return the graphs as they are."""
        return self._lower | self._lower.transpose(1, 2)

    def open(self, place: int, left: Tensor | None = None) -> None:
        """Go to the next node; `left` is what the one before leaves, [K, E]."""
        self._place = place
        self.window = (place - self._parent).clamp_max(self.reach)
        if self.left is not None and left is not None:
            self.left[self.live, place - 1] = left.to(self.left.dtype)

    def older(self, widest: int) -> Int[Tensor, "K W"]:
        """Return which nodes lie in the windows; after a window's end its last one."""
        slot = self.slots[:widest]
        return (self._place - self.window[:, None] + slot).clamp_max(self._place - 1)

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
            room = (len(self.live), self.reach, self.reach)
            self._joined = torch.zeros(room, device=self.live.device)
            self._shared = torch.zeros(room, device=self.live.device)
        graph, low = self.live[:, None], self.reach - older.shape[1]
        degree, friends = self._degree[graph, older], self._oldest[graph, older]
        among = self._degree[graph[..., None], friends.clamp_min(0)]
        itself = links.codes(degree, *extremes(among, friends))
        standing = links.standing(self._joined[:, low:, low:], self._shared[:, low:, low:])
        return itself, torch.nn.functional.pad(standing.int(), (0, 0, 0, 1))

    def close(self, bits: UInt8[Tensor, "K M"], again: Tensor) -> Tensor | None:
        """Add a node with the edges of a row, or end.

        Arguments:
            bits: Edges of each row over its window.
            again: Whether a row without edges begins a component, [K] bool.

        Returns:
            Which rows go on, [K'], or None if all do.
        """
        place, found = self._place, bits.bool().any(1)
        goes = found | again
        kept = None
        self.bits = bits
        if not bool(goes.all()):
            kept = goes.nonzero()[:, 0]
            self.live, self.window = self.live[kept], self.window[kept]
            self.bits, found = bits[kept], found[kept]
            if self._joined is not None and self._shared is not None:
                self._joined, self._shared = self._joined[kept], self._shared[kept]
        first = self.bits.argmax(1)
        self._parent = torch.where(found, place - self.window + first, place)
        self._join()
        return kept

    def _join(self) -> None:
        place, live = self._place, self.live
        older = self.older(self.reach)
        if self.left is not None:
            beside = self.left[live[:, None], older]
            self.heard = torch.bmm(self.bits[:, None].to(beside.dtype), beside)[:, 0]
        row = torch.zeros(len(live), place, dtype=torch.uint8, device=live.device)
        row.scatter_add_(1, older, self.bits)
        self._lower[live, place, :place] = row
        self._lower[live, place, place] = 1
        low = max(0, place - self.reach)
        near = row[:, low:]
        if self._joined is not None and self._shared is not None:
            now = torch.nn.functional.pad(near.float(), (self.reach - near.shape[1], 0))
            beside = torch.bmm(now[:, None], self._joined)[:, 0]
            self._shared.baddbmm_(now[:, :, None], now[:, None])
            self._joined, self._shared = _moved(self._joined, now), _moved(self._shared, beside)
        rank = torch.where(self.bits.bool(), older, self.limit)
        found = rank.topk(min(OLDEST, self.reach), dim=1, largest=False, sorted=True).values
        known = torch.where(found < self.limit, found, -1)
        self._oldest[live, place, : known.shape[1]] = known
        self._degree[live, low:place] += near
        self._degree[live, place] = near.sum(1, dtype=torch.int64)


def _moved(pairs: Tensor, row: Tensor) -> Tensor:
    """Leave out the oldest node of matrices, and add one with these entries at the end."""
    after = torch.zeros_like(pairs)
    after[:, :-1, :-1] = pairs[:, 1:, 1:]
    after[:, -1, :-1] = row[:, 1:]
    after[:, :-1, -1] = row[:, 1:]
    return after
