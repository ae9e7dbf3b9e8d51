r"""Breadth-first orders of graphs: the orders in which a graph is built node by node.

A breadth-first order starts at a node; then come the neighbours of the first node, those of the
second that have not come yet, and so on. Let the *parent* of node i be the first of the nodes
before it that it is joined to. In a breadth-first order parents never go back:

    parent(1) <= parent(2) <= … <= parent(n - 1)

and an order whose parents never go back is breadth-first. So node i may be joined to nodes
parent(i - 1) … i - 1 alone, its *window*; what is older has all its neighbours. Where a node has
no parent, all nodes before it have all their neighbours: a new component begins with it, which
counts as its own parent.

A random order takes its start uniformly from all nodes, the children of each parent in random
order, and the start of each further component from the nodes that are left. With c(p) children of
parent p, and components that begin when r nodes are left,

    q(order | graph) = prod_begins 1 / r · prod_p 1 / c(p)!

References:
    | GraphRNN: Generating Realistic Graphs with Deep Auto-regressive Models (You, Ying, Ren,
      Hamilton & Leskovec, 2018), section 2.3.4
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

__all__ = [
    "BEGIN",
    "breadth_first",
    "is_breadth_first",
    "log_chance",
    "parents",
    "widest",
    "windows",
]

BEGIN = 2
"""What stands before the first edge of a row of edges to earlier nodes; 0 and 1 are edges."""


def breadth_first(x: UInt8[Tensor, "B N N"], u: Float[Tensor, "B N"]) -> Int[Tensor, "B N"]:
    """Return random breadth-first orders, of many graphs at once.

    Arguments:
        x: Graphs: symmetric, a diagonal of ones for the nodes that are there, these first.
        u: Uniform numbers, one for each node: starts and children come by them, the least first.

    Returns:
        The node that comes at each place; nodes that are not there come last.

    >>> path = torch.tensor([[[1, 1, 0], [1, 1, 1], [0, 1, 1]]], dtype=torch.uint8)
    >>> breadth_first(path, torch.tensor([[0.5, 0.9, 0.1]])).tolist()
    [[2, 1, 0]]
    """
    return _visited(x, u)[0]


def widest(x: UInt8[Tensor, "B N N"], u: Float[Tensor, "B N"]) -> int:
    """Return the widest of the windows of random breadth-first orders (`windows`).

    The visit knows each node's parent, so that no graph is reordered and searched for it.

    Arguments:
        x: Graphs, as of `breadth_first`.
        u: Uniform numbers, as of `breadth_first`.

    >>> path = torch.tensor([[[1, 1, 0], [1, 1, 1], [0, 1, 1]]], dtype=torch.uint8)
    >>> widest(path, torch.tensor([[0.5, 0.1, 0.9]]))
    2
    """
    positions = torch.arange(u.shape[1], device=x.device)
    previous_parent = _visited(x, u)[1].roll(1, dims=1)
    previous_parent[:, :1] = 0
    node_mask = x.diagonal(dim1=1, dim2=2).long()
    return int(((positions - previous_parent) * node_mask).max()) if node_mask.numel() else 0


def _visited(
    x: UInt8[Tensor, "B N N"], u: Float[Tensor, "B N"]
) -> tuple[Int[Tensor, "B N"], Int[Tensor, "B N"]]:
    """Return the node that comes at each place, and the place of its parent: itself where none."""
    batch, max_nodes = u.shape
    rows = torch.arange(batch, device=x.device)
    node_mask = x.diagonal(dim1=1, dim2=2).bool()
    edges, u, unreached = x.bool(), u.double(), node_mask.clone()
    # When a node comes: [0, N) by its parent's place, [N, N + 1) unreached, then who is not there.
    key = torch.where(
        node_mask, max_nodes + u, 2.0 * max_nodes + torch.arange(max_nodes, device=x.device)
    )
    order = torch.arange(max_nodes, device=x.device).repeat(batch, 1)
    parent = order.clone()
    max_size = int(node_mask.sum(1).max()) if batch else 0
    for position in range(max_size):
        chosen = key.argmin(1)
        chosen_key = key[rows, chosen]
        order[:, position] = chosen
        parent[:, position] = chosen_key.clamp_max(position).long()
        key[rows, chosen] = 4.0 * max_nodes
        unreached[rows, chosen] = False
        reached = edges[rows, chosen] & unreached
        unreached ^= reached
        key = torch.where(reached, position + u, key)
    if max_size < max_nodes:
        order[:, max_size:] = key.argsort(1)[:, : max_nodes - max_size]
    return order, parent


def parents(x: UInt8[Tensor, "B N N"]) -> Int[Tensor, "B N"]:
    """Return the first of the nodes before each that it is joined to; itself where none is.

    >>> parents(torch.ones(1, 3, 3, dtype=torch.uint8)).tolist()
    [[0, 0, 0]]
    """
    max_nodes = x.shape[-1]
    positions = torch.arange(max_nodes, device=x.device)
    earlier = x.bool() & (positions < positions[:, None])
    return torch.where(earlier, positions, positions[:, None]).amin(-1)


def windows(x: UInt8[Tensor, "B N N"]) -> Int[Tensor, "B N"]:
    """Return how many nodes each may be joined to in breadth-first order; 0 for absent ones.

    >>> windows(torch.ones(1, 3, 3, dtype=torch.uint8)).tolist()
    [[0, 1, 2]]
    """
    node_mask = x.diagonal(dim1=1, dim2=2).long()
    positions = torch.arange(x.shape[-1], device=x.device)
    previous_parent = parents(x).roll(1, dims=1)
    previous_parent[:, 0] = 0
    return (positions - previous_parent) * node_mask


def is_breadth_first(x: UInt8[Tensor, "B N N"]) -> Bool[Tensor, " B"]:
    """Tell which graphs have their nodes in a breadth-first order.

    >>> star = torch.tensor([[[1, 0, 1], [0, 1, 1], [1, 1, 1]]], dtype=torch.uint8)
    >>> is_breadth_first(star).item()
    False
    """
    node_mask = x.diagonal(dim1=1, dim2=2).bool()
    decreases = parents(x).diff(dim=1) < 0
    return ~(decreases & node_mask[:, 1:]).any(1)


def log_chance(x: UInt8[Tensor, "B N N"]) -> Float[Tensor, " B"]:
    """Return ln q(order | graph) of graphs whose nodes are in breadth-first order.

    >>> chance = log_chance(torch.ones(1, 3, 3, dtype=torch.uint8)).exp().item()
    >>> round(chance * 6, 9)  # a start of three, then two children in either order
    1.0
    """
    node_mask = x.diagonal(dim1=1, dim2=2).bool()
    parent, positions = parents(x), torch.arange(x.shape[-1], device=x.device)
    is_root = (parent == positions) & node_mask
    remaining = (node_mask.sum(1, keepdim=True) - positions).clamp_min(1).double()
    is_child = (node_mask & ~is_root).double()
    children = torch.zeros_like(is_child).scatter_add_(1, parent, is_child)
    return -(remaining.log() * is_root).sum(1) - torch.lgamma(children + 1).sum(1)
