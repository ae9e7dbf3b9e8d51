"""What the graphs of a set are by the way in which it was made, as a test of any graph.

A graph is tested as it is, whatever the order of its nodes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trilemma.core.graph import adjacency, sizes
from trilemma.data.dataset import Rule

__all__ = ["COMMUNITIES", "CONNECTED", "GRID", "LADDER", "distances"]

AT_ONCE = 1 << 23
DENSER = 3.0
"""How many times as dense communities are within as between, at least."""


def distances(x: Tensor, start: Tensor) -> Tensor:
    """Return how many edges lie between a node of each graph and every other, [B, N].

    Arguments:
        x: [B, N, N].
        start: [B], a node of each.

    Returns:
        N for nodes that are not reached.
    """
    size = x.shape[-1]
    adjacent = adjacency(x).float()
    visited = torch.nn.functional.one_hot(start, size).float()
    hops, frontier = torch.full(x.shape[:2], size), visited
    hops[visited.bool()] = 0
    for step in range(1, size):
        frontier = torch.bmm(frontier[:, None], adjacent)[:, 0].clamp_max(1) * (1 - visited)
        if not frontier.any():
            break
        hops[frontier.bool()] = step
        visited = visited + frontier
    return hops


def is_grid(x: Tensor) -> Tensor:
    """Tell which graphs are grids of at least 2 × 2 nodes.

    A corner is a node with two neighbours. From a corner a the next corner b gives a side, and
    with distances d_a and d_b a node lies in column (d_a - d_b + side) / 2 and row d_a - column.
    If these places are different, n of them, and exactly nodes of neighbouring places are joined,
    the graph is that grid.
    """
    return torch.cat([_is_grid(chunk) for chunk in x.split(max(1, AT_ONCE // x.shape[1] ** 2))])


def _is_grid(x: Tensor) -> Tensor:
    n, adjacent, size = sizes(x), adjacency(x), x.shape[-1]
    is_node = x.diagonal(dim1=1, dim2=2).bool()
    degree = adjacent.sum(2, dtype=torch.int64)
    corner = is_node & (degree == 2)
    a = corner.long().argmax(1)
    d_a = distances(x, a)
    corner_distance = torch.where(corner & (d_a > 0), d_a, size)
    b = corner_distance.argmin(1)
    side = corner_distance.gather(1, b[:, None])
    d_b = distances(x, b)
    doubled_column = d_a - d_b + side
    column, row = doubled_column // 2, d_a - doubled_column // 2
    is_valid = (
        (doubled_column % 2 == 0) & (column >= 0) & (column <= side) & (row >= 0) & (row < size)
    )
    cell = torch.where(is_node & is_valid, row * (size + 1) + column, -1 - torch.arange(size))
    are_distinct = cell.sort(1).values.diff(dim=1).ne(0).all(1)
    manhattan = (row[:, :, None] - row[:, None]).abs() + (
        column[:, :, None] - column[:, None]
    ).abs()
    pair_mask = is_node[:, :, None] & is_node[:, None]
    edges_match = ((manhattan == 1) == adjacent.bool()) | ~pair_mask
    is_complete = (side[:, 0] + 1) * (torch.where(is_node, row, 0).amax(1) + 1) == n
    corners = corner.sum(1) == 4
    return (
        corners
        & are_distinct
        & (is_valid | ~is_node).all(1)
        & edges_match.flatten(1).all(1)
        & is_complete
        & (n > 3)
    )


def is_ladder(x: Tensor) -> Tensor:
    """Tell which graphs are grids of two rows."""
    n, edges = sizes(x), adjacency(x).sum((1, 2), dtype=torch.int64) // 2
    return is_grid(x) & (2 * edges == 3 * n - 4)


def is_connected(x: Tensor) -> Tensor:
    """Tell which graphs are in one piece."""
    start = torch.zeros(len(x), dtype=torch.int64)
    is_node = x.diagonal(dim1=1, dim2=2).bool()
    return ((distances(x, start) < x.shape[-1]) | ~is_node).all(1) & (sizes(x) > 0)


def has_communities(x: Tensor) -> Tensor:
    """Tell which graphs are connected and fall into two communities.

    The second eigenvector of the normalised Laplacian parts the nodes by sign; each part has a
    third of the nodes or more, and within the parts pairs are joined at least `DENSER` times as
    often as between them.
    """
    adjacent = adjacency(x).double()
    is_node = x.diagonal(dim1=1, dim2=2).bool()
    degree = adjacent.sum(2)
    scale = torch.where(degree > 0, degree, 1).rsqrt()
    laplacian = -scale[:, :, None] * adjacent * scale[:, None]
    laplacian.diagonal(dim1=1, dim2=2).copy_(torch.where(is_node, 1.0, 3.0))
    eigenvector = torch.linalg.eigh(laplacian).eigenvectors[:, :, 1]
    community_a, community_b = (
        is_node & (eigenvector * scale >= 0),
        is_node & (eigenvector * scale < 0),
    )
    counts = torch.stack([community_a.sum(1), community_b.sum(1)]).double()
    within_edges = _pairs(adjacent, community_a, community_a) + _pairs(
        adjacent, community_b, community_b
    )
    between_edges = 2 * _pairs(adjacent, community_a, community_b)
    within_pairs = (counts * (counts - 1)).sum(0).clamp_min(1)
    between_pairs = (2 * counts[0] * counts[1]).clamp_min(1)
    balanced = 3 * counts.amin(0) >= sizes(x)
    return (
        is_connected(x)
        & balanced
        & (within_edges / within_pairs >= DENSER * between_edges / between_pairs)
    )


def _pairs(joined: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.einsum("bij,bi,bj->b", joined, a.double(), b.double())


GRID = Rule("is a grid", is_grid)
LADDER = Rule("is a ladder", is_ladder)
CONNECTED = Rule("is in one piece", is_connected)
COMMUNITIES = Rule(
    "is in one piece and has two communities: parted by the second eigenvector of the normalised "
    "Laplacian, each a third of the nodes or more, pairs within joined at least three times as "
    "often as between",
    has_communities,
)
