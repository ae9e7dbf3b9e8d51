r"""How much a network withstands: what share of its nodes must go until it falls apart.

Nodes are removed in an order; the *critical fraction* of the order is k / n with k the first
number of removals after which the rest is in more than one piece, and 1 where it never is. Over
orders,

    random      the mean over orders that are equally likely
    targeted    the mean over orders by falling degree in the whole graph, ties by chance

References:
    | Goal-directed graph construction using reinforcement learning (Darvariu, Hailes & Musolesi,
      2021), arXiv:2001.11279
    | Error and attack tolerance of complex networks (Albert, Jeong & Barabási, 2000)
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

__all__ = ["critical_fraction", "orders", "robustness"]

AT_ONCE = 1 << 23
"""Numbers of matrices at once."""


def orders(
    x: UInt8[Tensor, "B N N"], u: Float[Tensor, "B K N"], removal: str
) -> Int[Tensor, "B K N"]:
    """Return K orders in which the nodes of each graph go; those that are not there come last.

    Arguments:
        x: Graphs.
        u: Uniform numbers.
        removal: 'random' or 'targeted'.
    """
    node_mask = x.diagonal(dim1=1, dim2=2).bool()
    key = u.double()
    if removal == "targeted":
        key = key - x.sum(2, dtype=torch.int64)[:, None]
    return torch.where(node_mask[:, None], key, torch.inf).argsort(dim=2, stable=True)


def critical_fraction(
    x: UInt8[Tensor, "B N N"], order: Int[Tensor, "B K N"]
) -> Float[Tensor, "B K"]:
    """Return the critical fraction of each order of each graph.

    What is left after k removals is connected if and only if every node of it but the last in the
    order reaches a later one through nodes that come no earlier than itself: k is found from the
    back, by the pieces that form as nodes return.
    """
    batch, count, max_nodes = order.shape
    out = torch.zeros(batch, count, dtype=torch.float64, device=x.device)
    chunk_size = max(1, AT_ONCE // max(1, count * max_nodes * max_nodes))
    for low in range(0, batch, chunk_size):
        rows = slice(low, low + chunk_size)
        out[rows] = _fractions(x[rows], order[rows])
    return out


def _fractions(x: Tensor, order: Tensor) -> Tensor:
    batch, count, max_nodes = order.shape
    n = x.diagonal(dim1=1, dim2=2).sum(1, dtype=torch.int64)
    expanded = x[:, None].expand(batch, count, max_nodes, max_nodes)
    permuted = expanded.gather(2, order[..., None].expand_as(expanded))
    permuted = permuted.gather(3, order[:, :, None].expand_as(expanded)).flatten(0, 1).bool()
    size = n.repeat_interleave(count)
    positions = torch.arange(max_nodes, device=x.device)
    label = positions.expand(len(permuted), max_nodes).clone()
    pieces = torch.zeros(len(permuted), dtype=torch.int64, device=x.device)
    first = torch.full_like(pieces, max_nodes)
    # Nodes return, the last that went first; label: the earliest node of each one's piece so far.
    for k in reversed(range(int(n.max()) if batch else 0)):
        is_present = k < size
        neighbours = permuted[:, k] & (positions > k) & (positions < size[:, None])
        touched = torch.zeros(len(permuted), max_nodes + 1, dtype=torch.bool, device=x.device)
        touched.scatter_(1, torch.where(neighbours, label, max_nodes), True)
        touched[:, max_nodes] = False
        merged = touched.gather(1, label) & (positions > k)
        pieces = torch.where(is_present, pieces + 1 - touched.sum(1), pieces)
        label = torch.where(merged & is_present[:, None], k, label)
        # After k removals the nodes from k on are left.
        first = torch.where(is_present & (pieces > 1), k, first)
    fraction = torch.where(first < size, first.double() / size.clamp_min(1), 1.0)
    return fraction.view(batch, count)


def robustness(
    x: UInt8[Tensor, "B N N"], u: Float[Tensor, "B K N"], removal: str
) -> Float[Tensor, " B"]:
    """Return the mean critical fraction; `removal` may be 'both', the mean of the two kinds.

    >>> star = torch.eye(4, dtype=torch.uint8)[None].clone()
    >>> star[0, 0], star[0, :, 0] = 1, 1
    >>> robustness(star, torch.rand(1, 2, 4), "targeted").item()  # the centre goes first
    0.25
    """
    kinds = ("random", "targeted") if removal == "both" else (removal,)
    fractions = [critical_fraction(x, orders(x, u, kind)).mean(1) for kind in kinds]
    return torch.stack(fractions).mean(0)
