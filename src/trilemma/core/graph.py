"""Graphs as tensors: a graph of at most N nodes is one symmetric matrix of zeros and ones.

    x[i, j] = 1   nodes i and j are joined (i != j)
    x[i, i] = 1   node i is there

Nodes 0 … n - 1 are there and the others are not, so that the diagonal's sum is n. The order of the
nodes says nothing. Graphs are simple and undirected: no self-loops, no parallel edges, no weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

__all__ = ["adjacency", "edges", "graph", "reordered", "sizes", "stacked"]


def sizes(x: UInt8[Tensor, "*B N N"]) -> Int[Tensor, "*B"]:
    """Return the number of nodes of each graph.

    >>> sizes(graph(3, [(0, 1)], limit=5)).item()
    3
    """
    return x.diagonal(dim1=-2, dim2=-1).sum(-1, dtype=torch.int64)


def adjacency(x: UInt8[Tensor, "*B N N"]) -> UInt8[Tensor, "*B N N"]:
    """Return the matrices with zeros on their diagonals.

    >>> adjacency(graph(2, [(0, 1)])).tolist()
    [[0, 1], [1, 0]]
    """
    return x.clone().diagonal_scatter(
        torch.zeros_like(x.diagonal(dim1=-2, dim2=-1)), dim1=-2, dim2=-1
    )


def graph(
    n: int, joined: Iterable[Sequence[int]] | Tensor, limit: int | None = None
) -> UInt8[Tensor, "N N"]:
    """Make one graph of its edges; self-loops are left out and parallel edges are one.

    Arguments:
        n: Number of nodes.
        joined: Pairs of nodes 0 … n - 1.
        limit: N, rows of the matrix; n by default.

    >>> graph(2, [(0, 1), (1, 0), (1, 1)]).tolist()
    [[1, 1], [1, 1]]
    """
    x = torch.zeros(limit or n, limit or n, dtype=torch.uint8)
    pairs = torch.as_tensor(joined if isinstance(joined, Tensor) else list(joined)).long()
    if pairs.numel():
        x[pairs[:, 0], pairs[:, 1]] = 1
        x[pairs[:, 1], pairs[:, 0]] = 1
    diagonal = x.diagonal()
    diagonal.zero_()
    diagonal[:n] = 1
    return x


def stacked(
    graphs: Sequence[UInt8[Tensor, "_ _"]], limit: int | None = None
) -> UInt8[Tensor, "B N N"]:
    """Lay graphs of different sizes into one tensor; N is the largest unless a limit is given."""
    padded_size = limit or max(len(x) for x in graphs)
    out = torch.zeros(len(graphs), padded_size, padded_size, dtype=torch.uint8)
    for row, x in zip(out, graphs, strict=True):
        row[: len(x), : len(x)] = x
    return out


def edges(x: UInt8[Tensor, "N N"]) -> Int[Tensor, "E 2"]:
    """List the edges of one graph, each once, the smaller node first.

    >>> edges(graph(3, [(2, 0), (1, 2)])).tolist()
    [[0, 2], [1, 2]]
    """
    return x.triu(1).nonzero()


def reordered(x: UInt8[Tensor, "B N N"], order: Int[Tensor, "B N"]) -> UInt8[Tensor, "B N N"]:
    """Return graphs with their nodes in another order: node i is what was node order[i]."""
    rows = x.gather(1, order[:, :, None].expand_as(x))
    return rows.gather(2, order[:, None, :].expand_as(x))
