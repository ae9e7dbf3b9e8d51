r"""An environment in which graphs are built: many at once, as tensors, impossible acts masked.

A state is a graph and, perhaps, a node in hand. With N places for nodes there are 2 N + 2 acts:

    0 … N - 1      join the node in hand to node j
    N … 2 N - 1    growing: add a node joined to node j, and take it in hand
                   otherwise: take node j in hand
    2 N            growing: add a node joined to none, and take it in hand
    2 N + 1        stop

A graph that grows begins with one node and ends by stopping, or when it has had all its acts. One
that does not gets `budget` edges: a node is taken in hand, joined to another, and laid down again,
until the budget is spent or no pair is left; it never stops of itself. What cannot be done is not
allowed: joins to oneself, to a neighbour, to a node that is not there; a node beyond N; taking a
node that is joined to all. So no state leaves simple graphs.

References:
    | Graph Convolutional Policy Network for Goal-Directed Molecular Graph Generation (You, Liu,
      Ying, Pande & Leskovec, 2018), for building as acts
    | Goal-directed graph construction using reinforcement learning (Darvariu, Hailes & Musolesi,
      2021), arXiv:2001.11279, for edges in two acts
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

__all__ = ["Site", "acted", "allowed", "begun", "expert", "gathered"]


@dataclass(frozen=True)
class Site:
    """Graphs on their way."""

    x: UInt8[Tensor, "B N N"]
    """Graphs (a diagonal of ones for the nodes that are there)."""
    hand: Int[Tensor, " B"]
    """The node in hand; -1 for none."""
    left: Int[Tensor, " B"]
    """Growing: acts that are left; else edges that are left."""
    done: Bool[Tensor, " B"]

    def __len__(self) -> int:
        """Return the number of graphs."""
        return len(self.x)

    def rows(self, rows: Tensor) -> Site:
        """Take some of the graphs."""
        return Site(self.x[rows], self.hand[rows], self.left[rows], self.done[rows])


def begun(count: int, limit: int, acts: int, device: torch.device | str = "cpu") -> Site:
    """Begin graphs that grow: one node each, in hand.

    Arguments:
        count: B.
        limit: N.
        acts: Acts that each has, the last of which it may only stop with.
        device: Where.
    """
    x = torch.zeros(count, limit, limit, dtype=torch.uint8, device=device)
    x[:, 0, 0] = 1
    whole = torch.full((count,), acts, device=device)
    return Site(x, torch.zeros_like(whole), whole, torch.zeros_like(whole, dtype=torch.bool))


def gathered(x: UInt8[Tensor, "B N N"], budget: Int[Tensor, " B"]) -> Site:
    """Begin with given graphs, each of which gets so many edges."""
    hand = torch.full_like(budget, -1)
    site = Site(x.clone(), hand, budget.clone(), budget < 1)
    return replace(site, done=site.done | ~_open(site).any(1))


def _open(site: Site) -> Bool[Tensor, "B N"]:
    """Tell which nodes are there and not joined to all others."""
    here = site.x.diagonal(dim1=1, dim2=2).bool()
    return here & (site.x.sum(2, dtype=torch.int64) < here.sum(1, keepdim=True))


def allowed(site: Site, grows: bool) -> Bool[Tensor, "B A"]:
    """Tell which acts can be done, A = 2 N + 2; a graph that is done may only stop.

    >>> acts = allowed(begun(1, 2, 9), grows=True)[0]
    >>> [i for i, can in enumerate(acts.tolist()) if can]  # a joined node, one alone, stop
    [2, 4, 5]
    """
    batch, room = site.x.shape[:2]
    rows = torch.arange(batch, device=site.x.device)
    here = site.x.diagonal(dim1=1, dim2=2).bool()
    held = site.hand >= 0
    join = here & ~site.x[rows, site.hand.clamp_min(0)].bool() & held[:, None]
    may = torch.zeros(batch, 2 * room + 2, dtype=torch.bool, device=site.x.device)
    if grows:
        space = (here.sum(1) < room) & (site.left > 1)
        may[:, :room] = join & (site.left > 1)[:, None]
        may[:, room : 2 * room] = here & space[:, None]
        may[:, 2 * room] = space
        may[:, 2 * room + 1] = True
    else:
        may[:, :room] = join
        may[:, room : 2 * room] = _open(site) & ~held[:, None]
    may &= ~site.done[:, None]
    may[:, 2 * room + 1] |= site.done
    return may


def acted(site: Site, act: Int[Tensor, " B"], grows: bool) -> Site:
    """Return the states after an act each, which must be allowed."""
    room = site.x.shape[1]
    x, hand = site.x.clone(), site.hand.clone()
    size = x.diagonal(dim1=1, dim2=2).sum(1, dtype=torch.int64)
    joins = act < room
    takes = (act >= room) & (act < 2 * room)
    alone = act == 2 * room
    other = act % room
    if grows:
        hand = torch.where(takes | alone, size, hand)
        new = (takes | alone).nonzero()[:, 0]
        x[new, size[new], size[new]] = 1
        tied = (joins | takes).nonzero()[:, 0]
    else:
        tied = joins.nonzero()[:, 0]
    x[tied, hand[tied], other[tied]] = 1
    x[tied, other[tied], hand[tied]] = 1
    if grows:
        left = site.left - (~site.done).long()
        done = site.done | (act == 2 * room + 1) | (left < 1)
        return Site(x, hand, left, done)
    hand = torch.where(takes, other, torch.where(joins, -1, hand))
    after = Site(x, hand, site.left - joins.long(), site.done)
    spent = (after.left < 1) | ~_open(after).any(1)
    return replace(after, done=site.done | (joins & spent))


def expert(
    x: UInt8[Tensor, "B N N"], parent: Int[Tensor, "B N"], u: Float[Tensor, " B"]
) -> tuple[Site, Int[Tensor, " B"]]:
    """Stop the building of given graphs at a random act, and tell what the act is.

    Node after node of a breadth-first order comes with its edges, the oldest first.

    Arguments:
        x: Graphs in breadth-first order.
        parent: First of the nodes before each that it is joined to; itself for none.
        u: Uniform numbers that choose the act.

    Returns:
        The state before the act, and the act.
    """
    batch, room = x.shape[:2]
    place = torch.arange(room, device=x.device)
    n = x.diagonal(dim1=1, dim2=2).sum(1, dtype=torch.int64)
    lower = x.bool() & (place < place[:, None])
    edges = lower.sum(2, dtype=torch.int64)
    # A node takes as many acts as it has earlier edges, one if it has none; the last act stops.
    acts = edges.clamp_min(1) * ((place > 0) & (place < n[:, None]))
    total = acts.sum(1) + 1
    chosen = (u.double() * total).long().clamp_max(total - 1)
    after = acts.cumsum(1)
    node = (after <= chosen[:, None]).sum(1)  # whose act it is; n for the stop
    node = torch.where(chosen == total - 1, n, node)
    rows = torch.arange(batch, device=x.device)
    at = node.clamp_max(room - 1)
    begun_at = torch.where(at > 0, after[rows, (at - 1).clamp_min(0)], 0)
    done = torch.where(node < n, chosen - begun_at, 0)
    rank = lower[rows, at].cumsum(1)
    wanted = (lower[rows, at] & (rank == done[:, None] + 1)).long().argmax(1)
    known = place < node[:, None]
    state = x * known[:, :, None] * known[:, None]
    partly = (done > 0) & (node < n)
    row = (lower[rows, at] & (rank <= done[:, None]) & partly[:, None]).to(torch.uint8)
    some = partly.nonzero()[:, 0]
    state[some, at[some]] = row[some]
    state[some, :, at[some]] = row[some]
    state[some, at[some], at[some]] = 1
    is_root = (parent[rows, at] == at) & (node < n)
    act = torch.where(partly, wanted, room + wanted)
    act = torch.where(is_root, 2 * room, act)
    act = torch.where(node >= n, 2 * room + 1, act)
    hand = torch.where(partly, at, node - 1)
    left = torch.full_like(hand, room * room)
    return Site(state, hand, left, torch.zeros_like(hand, dtype=torch.bool)), act
