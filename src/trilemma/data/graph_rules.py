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
    room = x.shape[-1]
    joined = adjacency(x).float()
    seen = torch.nn.functional.one_hot(start, room).float()
    far, edge = torch.full(x.shape[:2], room), seen
    far[seen.bool()] = 0
    for step in range(1, room):
        edge = torch.bmm(edge[:, None], joined)[:, 0].clamp_max(1) * (1 - seen)
        if not edge.any():
            break
        far[edge.bool()] = step
        seen = seen + edge
    return far


def is_grid(x: Tensor) -> Tensor:
    """Tell which graphs are grids of at least 2 × 2 nodes.

    A corner is a node with two neighbours. From a corner a the next corner b gives a side, and
    with distances d_a and d_b a node lies in column (d_a - d_b + side) / 2 and row d_a - column.
    If these places are different, n of them, and exactly nodes of neighbouring places are joined,
    the graph is that grid.
    """
    return torch.cat([_is_grid(some) for some in x.split(max(1, AT_ONCE // x.shape[1] ** 2))])


def _is_grid(x: Tensor) -> Tensor:
    n, joined, room = sizes(x), adjacency(x), x.shape[-1]
    here = x.diagonal(dim1=1, dim2=2).bool()
    degree = joined.sum(2, dtype=torch.int64)
    corner = here & (degree == 2)
    a = corner.long().argmax(1)
    far = distances(x, a)
    near = torch.where(corner & (far > 0), far, room)
    b = near.argmin(1)
    side = near.gather(1, b[:, None])
    other = distances(x, b)
    twice = far - other + side
    column, row = twice // 2, far - twice // 2
    whole = (twice % 2 == 0) & (column >= 0) & (column <= side) & (row >= 0) & (row < room)
    place = torch.where(here & whole, row * (room + 1) + column, -1 - torch.arange(room))
    different = place.sort(1).values.diff(dim=1).ne(0).all(1)
    apart = (row[:, :, None] - row[:, None]).abs() + (column[:, :, None] - column[:, None]).abs()
    both = here[:, :, None] & here[:, None]
    same = ((apart == 1) == joined.bool()) | ~both
    full = (side[:, 0] + 1) * (torch.where(here, row, 0).amax(1) + 1) == n
    corners = corner.sum(1) == 4
    return corners & different & (whole | ~here).all(1) & same.flatten(1).all(1) & full & (n > 3)


def is_ladder(x: Tensor) -> Tensor:
    """Tell which graphs are grids of two rows."""
    n, edges = sizes(x), adjacency(x).sum((1, 2), dtype=torch.int64) // 2
    return is_grid(x) & (2 * edges == 3 * n - 4)


def is_connected(x: Tensor) -> Tensor:
    """Tell which graphs are in one piece."""
    start = torch.zeros(len(x), dtype=torch.int64)
    here = x.diagonal(dim1=1, dim2=2).bool()
    return ((distances(x, start) < x.shape[-1]) | ~here).all(1) & (sizes(x) > 0)


def has_communities(x: Tensor) -> Tensor:
    """Tell which graphs are connected and fall into two communities.

    The second eigenvector of the normalised Laplacian parts the nodes by sign; each part has a
    third of the nodes or more, and within the parts pairs are joined at least `DENSER` times as
    often as between them.
    """
    joined = adjacency(x).double()
    here = x.diagonal(dim1=1, dim2=2).bool()
    degree = joined.sum(2)
    scale = torch.where(degree > 0, degree, 1).rsqrt()
    laplacian = -scale[:, :, None] * joined * scale[:, None]
    laplacian.diagonal(dim1=1, dim2=2).copy_(torch.where(here, 1.0, 3.0))
    second = torch.linalg.eigh(laplacian).eigenvectors[:, :, 1]
    one, two = here & (second * scale >= 0), here & (second * scale < 0)
    counts = torch.stack([one.sum(1), two.sum(1)]).double()
    within = _pairs(joined, one, one) + _pairs(joined, two, two)
    between = 2 * _pairs(joined, one, two)
    inner = (counts * (counts - 1)).sum(0).clamp_min(1)
    outer = (2 * counts[0] * counts[1]).clamp_min(1)
    balanced = 3 * counts.amin(0) >= sizes(x)
    return is_connected(x) & balanced & (within / inner >= DENSER * between / outer)


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
