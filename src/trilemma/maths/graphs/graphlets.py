r"""How often each node stands at each place of a graph of two, three or four nodes.

A connected induced subgraph of at most four nodes is an edge, a path, a triangle, a path of four,
a star, a square, a triangle with a tail, a square with one diagonal, or complete. Nodes that an
automorphism exchanges are at the same place, which leaves 15 places, numbered as is customary:

    0 edge · path of three: 1 end, 2 middle · 3 triangle · path of four: 4 end, 5 middle
    star: 6 leaf, 7 centre · 8 square · triangle with a tail: 9 its tip, 10 far from it, 11 at it
    square with a diagonal: 12 off it, 13 on it · 14 complete graph of four

Nothing is searched for. With A the adjacency, d = A 1, C = A² (common neighbours), T = A ∘ C
(triangles on an edge) and t = T 1 / 2, the subgraphs that need *not* be induced are counted in
closed form, such as sum_j A_ij binom(T_ij, 2) squares whose diagonal ends in i, and

    not induced at a place = sum over places of (how often the one lies in the other) · induced

is triangular: solved from the complete graph downwards. Complete graphs of four are counted from
the edges that are in two triangles. All numbers are integers and exact.

References:
    | Uncovering Biological Network Function via Graphlet Degree Signatures (Milenković & Pržulj,
      2008), for the places and their numbers
    | A combinatorial approach to graphlet counting (Hočevar & Demšar, 2014), for the equations
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

__all__ = ["ORBITS", "by_size", "orbits"]

ORBITS = 15
ENTRIES = 2**21
"""Entries of the matrices that are worked on at once."""
LISTED = 2**22
"""Entries of the rows of edges that are looked at at once."""
SMALL = 32
"""Nodes up to which all pairs are looked at, joined or not."""
EXACT = 4096
"""Nodes up to which every entry of a matrix is an integer that float32 knows, below N²."""


def orbits(x: UInt8[Tensor, "B N N"]) -> Float[Tensor, "B N 15"]:
    """Count for each node how often it stands at each of the 15 places, float64.

    Arguments:
        x: Symmetric matrices of zeros and ones; the diagonal, which tells which nodes are there,
            is only read for their number.

    >>> square_with_a_diagonal = torch.ones(1, 4, 4, dtype=torch.uint8)
    >>> square_with_a_diagonal[0, [0, 1], [1, 0]] = 0
    >>> [int(k) for k in orbits(square_with_a_diagonal)[0, 0]]
    [2, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]
    """
    out = torch.zeros(*x.shape[:2], ORBITS, dtype=torch.float64, device=x.device)
    for rows, n in by_size(x, ENTRIES):
        real = torch.float32 if n <= EXACT else torch.float64
        a = x[rows, :n, :n].to(real)
        a.diagonal(dim1=1, dim2=2).zero_()
        out[rows, :n] = _counted(a)
    return out


def by_size(x: UInt8[Tensor, "B N N"], entries: int) -> Iterator[tuple[Int[Tensor, " b"], int]]:
    """Yield rows of graphs of like size, and the nodes of the largest of them, at least 1.

    Arguments:
        x: Graphs whose nodes come first; the diagonal tells how many there are.
        entries: Entries of their matrices at once, if that is more than one graph.
    """
    sizes = x.diagonal(dim1=1, dim2=2).sum(1, dtype=torch.int64)
    order = sizes.argsort(descending=True, stable=True)
    start = 0
    while start < len(x):
        n = max(int(sizes[order[start]]), 1)
        rows = order[start : start + max(1, entries // n**2)]
        yield rows, n
        start += len(rows)


def _counted(a: Float[Tensor, "B n n"]) -> Float[Tensor, "B n 15"]:
    """Return the induced counts of adjacency matrices."""
    common = a @ a
    on_edge = a * common
    full = _complete(on_edge)
    d, t = _sum(a), _sum(on_edge) / 2
    (beyond,) = _along(a, d - 1)
    far, fork, tail = _along(a, beyond, _pairs(d - 1), t)
    (tri,) = _along(on_edge, d - 2)
    # Subgraphs that need not be induced, from the densest to the sparsest, and what of each lies
    # in denser ones.
    on, off = _sum(_pairs(on_edge)) - 3 * full, _sum(a * (a @ on_edge)) / 2 - t - 3 * full
    square = _sum(_pairs(common)) - _pairs(d) - off - on - 3 * full
    at = t * (d - 2) - 2 * on - 3 * full
    aside = tri - 2 * off - 2 * on - 6 * full
    tip = tail - 2 * t - 2 * off - 3 * full
    centre = d * (d - 1) * (d - 2) / 6 - at - on - full
    leaf = fork - tip - aside - 2 * off - on - 3 * full
    ends = far - d * (d - 1) - 2 * t
    ends = ends - 2 * square - 2 * tip - aside - 4 * off - 2 * on - 6 * full
    middle = (d - 1) * beyond - 2 * t
    middle = middle - 2 * square - 2 * at - aside - 2 * off - 4 * on - 6 * full
    three = (d, beyond - 2 * t, _pairs(d) - t, t)
    four = (ends, middle, leaf, centre, square, tip, aside, at, off, on, full)
    return torch.stack((*three, *four), dim=-1)


def _sum(entries: Float[Tensor, "B n n"]) -> Float[Tensor, "B n"]:
    return entries.sum(-1, dtype=torch.float64)


def _pairs(k: Tensor) -> Tensor:
    return k * (k - 1) / 2


def _along(a: Float[Tensor, "B n n"], *values: Float[Tensor, "B n"]) -> tuple[Tensor, ...]:
    """Return A v of each v, exactly."""
    return (a.double() @ torch.stack(values, -1)).unbind(-1)


def _complete(on_edge: Float[Tensor, "B n n"]) -> Float[Tensor, "B n"]:
    """Count the complete graphs of four nodes that each node is in.

    Those on an edge are the edges among its ends' common neighbours, m: m A m / 2.
    """
    dense = on_edge >= 2  # an edge of such a graph is in two triangles
    if dense.shape[1] <= SMALL:
        rows = max(1, LISTED // dense.shape[1] ** 3)
        return torch.cat([_of_all_pairs(a) for a in dense.to(on_edge.dtype).split(rows)])
    totals = torch.zeros(on_edge.shape[:2], dtype=torch.float64, device=on_edge.device)
    for row in dense.any((1, 2)).nonzero()[:, 0].tolist():
        a = dense[row].to(on_edge.dtype)
        for edges in dense[row].triu(1).nonzero().split(max(1, LISTED // len(a))):
            common = a[edges[:, 0]] * a[edges[:, 1]]
            count = _sum((common @ a) * common) / 2
            totals[row].index_add_(0, edges.flatten(), count.repeat_interleave(2))
    return totals / 3  # by each of the three edges at a node


def _of_all_pairs(a: Float[Tensor, "B n n"]) -> Float[Tensor, "B n"]:
    """Count them from all pairs of nodes at once, which few nodes have few of."""
    common = a[:, :, None] * a[:, None] * a[..., None]
    return ((common.flatten(1, 2) @ a).view_as(common) * common).sum(
        (2, 3), dtype=torch.float64
    ) / 6
