r"""An order of a graph's nodes that is the same whichever order they lie in, nearly always.

Colours are refined (`maths.graphs.weisfeiler_lehman`) until no class of nodes of one colour splits
any more. Nodes with the same neighbours are told apart anyhow, since exchanging them changes
nothing. Then a node of the class with the least colour, among classes of several nodes, gets a
colour of its own, and so on until all differ: their order is the canonical one.

Where the nodes of a class are alike, which the refinement of most graphs attains (of all trees and
nearly all graphs, of grids and ladders), it does not matter which was taken, and graphs that are
the same but for their order become equal matrices. Where they are not, equal matrices still mean
the same graph, and different ones leave it open. Different colours of the refined graphs mean
different graphs in any case.

References:
    | Practical graph isomorphism (McKay, 1981): individualisation and refinement
    | Random graph isomorphism (Babai, Erdős & Selkow, 1980)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from trilemma.maths.graphs.graphlets import by_size
from trilemma.maths.graphs.weisfeiler_lehman import FIRST, SECOND, mixed

__all__ = ["canonical", "edge_ends", "first_tied", "hash_of", "refined", "stable_colours"]

AT_ONCE = 2**22
"""Entries of the matrices of graphs that are ordered together."""


def canonical(
    x: UInt8[Tensor, "B N N"], check: Callable[[], None] | None = None
) -> tuple[Int[Tensor, "B N"], Int[Tensor, " B"]]:
    """Return an order of each graph's nodes, and a hash of its refined colours.

    Arguments:
        x: Graphs whose nodes come first; those that are not there have zeros on the diagonal.
        check: Called before each individualisation; raises to stop.

    Returns:
        The node at each place, those that are not there last; and a number that is the same for
        graphs that are the same but for their order.

    >>> path = torch.tensor([[[1, 1, 0], [1, 1, 1], [0, 1, 1]]], dtype=torch.uint8)
    >>> star = path[:, [1, 0, 2]][:, :, [1, 0, 2]]
    >>> (one,), (other,) = canonical(path)[0], canonical(star)[0]
    >>> torch.equal(path[0][one][:, one], star[0][other][:, other])
    True
    """
    order = torch.arange(x.shape[1], device=x.device).repeat(len(x), 1)
    hashes = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    for rows, n in by_size(x, AT_ONCE):
        order[rows, :n], hashes[rows] = _ordered(x[rows, :n, :n], check)
    return order, hashes


def _ordered(
    x: UInt8[Tensor, "b n n"], check: Callable[[], None] | None
) -> tuple[Int[Tensor, "b n"], Int[Tensor, " b"]]:
    node_mask = x.diagonal(dim1=1, dim2=2).bool()
    owner, first, second = edge_ends(x)
    colour, hashes = _stable(x, first, second)
    while len(tied := (colour.sort(1).values.diff(dim=1) == 0).any(1).nonzero()[:, 0]):
        if check is not None:
            check()
        in_tied = torch.isin(owner, tied)
        owner, first, second = owner[in_tied], first[in_tied], second[in_tied]
        node = first_tied(colour[tied])
        colour[tied, node] = mixed(colour[tied, node] + SECOND)
        colour = refined(colour, first, second, tied)
    by_colour = colour.argsort(1)
    sort_key = torch.where(node_mask.gather(1, by_colour), 0, by_colour + 1)
    return by_colour.gather(1, sort_key.argsort(dim=1, stable=True)), hashes


def stable_colours(x: UInt8[Tensor, "b n n"]) -> Int[Tensor, "b n"]:
    """Return colours that no refinement splits, nodes with the same neighbours told apart."""
    _, first, second = edge_ends(x)
    return _stable(x, first, second)[0]


def _stable(x: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return stable colours with twins told apart, and the hash of those without."""
    node_mask = x.diagonal(dim1=1, dim2=2).bool()
    positions = torch.arange(x.shape[1], device=x.device)
    # Nodes that are not there have colours of their own, which no refinement makes equal.
    colour = refined(torch.where(node_mask, 0, positions + 1), first, second)
    hashes = hash_of(colour, node_mask)
    for own in (0, 1):
        colour = _twins(colour, own, first, second)
    return refined(colour, first, second), hashes


def hash_of(colour: Int[Tensor, "b n"], node_mask: Tensor | None = None) -> Int[Tensor, " b"]:
    """Return a hash of the colours of the nodes in the mask as a multiset."""
    node_mask = torch.ones_like(colour) if node_mask is None else node_mask
    return mixed((mixed(colour) * node_mask).sum(1) + SECOND * node_mask.sum(1))


def edge_ends(x: UInt8[Tensor, "b n n"]) -> tuple[Tensor, Tensor, Tensor]:
    """Return graph and both ends of all edges, each twice, the nodes of all graphs in a row."""
    graph, i, j = x.nonzero(as_tuple=True)
    is_edge = i != j
    graph = graph[is_edge]
    return graph, graph * x.shape[1] + i[is_edge], graph * x.shape[1] + j[is_edge]


def _around(value: Int[Tensor, "b n"], first: Tensor, second: Tensor) -> Int[Tensor, "b n"]:
    """Return the sum of the neighbours' mixed values, modulo 2^64."""
    total = torch.zeros_like(value).view(-1)
    return total.index_add_(0, first, mixed(value).view(-1)[second]).view_as(value)


def refined(
    colour: Int[Tensor, "b n"],
    first: Int[Tensor, " e"],
    second: Int[Tensor, " e"],
    rows: Int[Tensor, " r"] | None = None,
) -> Int[Tensor, "b n"]:
    """Refine colours until no class splits; each graph takes the rounds that it needs itself.

    The last round, which splits nothing, is kept: its colours tell the neighbours' colours, such
    as the degree of a regular graph.

    Arguments:
        colour: Of all nodes.
        first: One end of every edge, the nodes of all graphs in a row.
        second: Its other end.
        rows: The graphs that are refined; all by default.
    """
    classes, splits = _classes(colour), torch.zeros_like(colour[:, :1], dtype=torch.bool)
    splits[slice(None) if rows is None else rows] = True
    while bool(splits.any()):
        finer = mixed(colour + FIRST * _around(colour, first, second))
        colour, count = torch.where(splits, finer, colour), _classes(finer)
        splits = splits & (count > classes)[:, None]
        classes = torch.maximum(classes, count)
    return colour


def _classes(colour: Int[Tensor, "b n"]) -> Int[Tensor, " b"]:
    return colour.sort(1).values.diff(dim=1).ne(0).sum(1)


def _twins(colour: Int[Tensor, "b n"], own: int, first: Tensor, second: Tensor) -> Tensor:
    """Tell nodes with the same neighbours apart, all at once: their order is of no meaning.

    Arguments:
        colour: Of all nodes.
        own: Whether a node counts as its own neighbour.
        first: One end of every edge.
        second: Its other end.
    """
    positions = torch.arange(colour.shape[1], device=colour.device).expand_as(colour).contiguous()
    neighbourhood, order = (_around(positions, first, second) + own * mixed(positions)).sort(
        dim=1, stable=True
    )
    is_first = torch.ones_like(neighbourhood, dtype=torch.bool)
    is_first[:, 1:] = neighbourhood.diff(dim=1) != 0
    rank = positions - torch.where(is_first, positions, 0).cummax(1).values
    rank = torch.zeros_like(rank).scatter_(1, order, rank)
    return torch.where(rank > 0, mixed(colour + SECOND * rank), colour)


def first_tied(colour: Int[Tensor, "b n"]) -> Int[Tensor, " b"]:
    """Return a node of the least colour that several nodes have."""
    ordered = colour.sort(1).values
    first_repeat = (ordered.diff(dim=1) == 0).byte().argmax(1)
    least = ordered.gather(1, first_repeat[:, None])
    return (colour == least).byte().argmax(1)
