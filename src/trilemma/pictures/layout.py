r"""Where the nodes of a graph are drawn: one rule for all graphs, without chance.

Every component is laid out by itself so that distances in the plane come near distances along
edges: with d_ij the number of edges between nodes i and j, the *stress*

    sum_{i < j} w_ij (|y_i - y_j| - d_ij)^2,        w_ij = d_ij^-2

is made small by majorisation from the classical scaling of d (two eigenvectors of the centred
squares). A grid comes out as a grid. What is very long is wound up. The components stand side by
side, the largest first.

References:
    | Graph Drawing by Stress Majorization (Gansner, Koren & North, 2004)
    | An algorithm for drawing general undirected graphs (Kamada & Kawai, 1989)
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from trilemma.core.graph import adjacency, sizes

__all__ = ["hops", "layout"]

ROUNDS = ((150, 40), (600, 20), (2**31, 10))
"""Rounds of majorisation of graphs up to a size: a round costs the square of the nodes, and the
start is good."""
EXACT = 600
"""Nodes up to which eigenvectors are exact; of larger graphs they are found by iteration."""
TURNS = 60
"""Iterations of that."""
LONG = 10.0
"""How many times as long as broad a drawing is that is wound up."""
APART = 1.5
"""Edges' lengths between components."""


def hops(x: UInt8[Tensor, "N N"]) -> Float[Tensor, "n n"]:
    """Return the number of edges between all nodes of one graph; infinite between components."""
    n = int(sizes(x))
    adjacency_matrix = adjacency(x)[:n, :n].float().cpu().to_sparse()
    distances = torch.full((n, n), math.inf)
    distances.fill_diagonal_(0)
    frontier = torch.eye(n)
    for step in range(1, n):
        newly_reached = (torch.sparse.mm(adjacency_matrix, frontier) > 0) & distances.isinf()
        if not newly_reached.any():
            break
        distances[newly_reached] = step
        frontier = newly_reached.float()
    return distances


def layout(x: UInt8[Tensor, "N N"]) -> Float[Tensor, "n 2"]:
    """Return where each node of one graph is drawn, in lengths of an edge."""
    distances = hops(x)
    positions = torch.zeros(len(distances), 2)
    components = _components(distances)
    boxes = []
    for members in components:
        component_positions = _component_layout(distances[members][:, members])
        low = component_positions.amin(0)
        positions[members] = component_positions - low
        boxes.append((component_positions - low).amax(0))
    for members, corner in zip(components, _packed(boxes), strict=True):
        positions[members] += corner
    return positions


def _components(distances: Tensor) -> list[Int[Tensor, " k"]]:
    """List the components, the largest first."""
    components, unvisited = [], set(range(len(distances)))
    for node in range(len(distances)):
        if node in unvisited:
            members = distances[node].isfinite().nonzero()[:, 0]
            unvisited -= set(members.tolist())
            components.append(members)
    return sorted(components, key=len, reverse=True)


def _component_layout(hop_counts: Tensor) -> Tensor:
    """Lay out one component."""
    n = len(hop_counts)
    if n == 1:
        return torch.zeros(1, 2)
    d = hop_counts.double() if n <= EXACT else hop_counts
    positions = _scaled(d)
    weight = torch.where(d > 0, d, 1.0).pow(-2)
    weight.fill_diagonal_(0)
    root = torch.linalg.cholesky(torch.diag(weight.sum(1)) - weight + 1 / n)
    pulled = weight * d
    for _ in range(next(rounds for most, rounds in ROUNDS if n <= most)):
        distances = torch.cdist(positions, positions)
        pull = torch.where(distances > 1e-6, pulled / distances.clamp_min(1e-6), 0.0)
        positions = torch.cholesky_solve(
            pull.sum(1, keepdim=True) * positions - pull @ positions, root
        )
    return _upright(positions).float()


def _scaled(d: Tensor) -> Tensor:
    """Return the classical scaling of distances to the plane."""
    n = len(d)
    squares = d * d
    mean = squares.mean(0)
    values, vectors = _leading(-0.5 * (squares - mean - mean[:, None] + mean.mean()))
    positions = vectors * values.clamp_min(1e-9).sqrt()
    # A little of the order keeps nodes apart that all distances take for one.
    angle = torch.arange(n, dtype=d.dtype) * 2.399963
    return positions + 0.05 * torch.stack([angle.cos(), angle.sin()], 1)


def _leading(a: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two largest eigenvalues of a symmetric matrix, and their vectors."""
    n = len(a)
    if n > EXACT:
        index = torch.arange(n, dtype=a.dtype)[:, None] + 1
        basis = torch.linalg.qr(torch.cos(index * torch.arange(1, 7))).Q
        for _ in range(TURNS):
            basis = torch.linalg.qr(a @ basis).Q
        values, rotation = torch.linalg.eigh(basis.T @ a @ basis)
        return values[-2:], (basis @ rotation)[:, -2:]
    values, vectors = torch.linalg.eigh(a)
    return values[-2:], vectors[:, -2:]


def _upright(at: Tensor) -> Tensor:
    """Turn a drawing so that it fills its box best: its box is then the smallest."""
    best, smallest = at, math.inf
    for angle in torch.linspace(0, math.pi / 2, 19, dtype=at.dtype)[:-1]:
        c, s = angle.cos(), angle.sin()
        rotated = at @ torch.stack([torch.stack([c, -s]), torch.stack([s, c])])
        width, height = (rotated.amax(0) - rotated.amin(0)).tolist()
        if width * height + 0.1 * max(width, height) < smallest - 1e-6:
            best, smallest = rotated, width * height + 0.1 * max(width, height)
    width, height = (best.amax(0) - best.amin(0)).tolist()
    if height > width:
        best, width, height = best.flip(1), height, width
    return best if width < LONG * (height + 1) else _wound(best, width, height)


def _wound(at: Tensor, wide: float, high: float) -> Tensor:
    """Wind what is long and narrow into a spiral whose turns are a node's breadth apart."""
    low = at.amin(0)
    along, across = at[:, 0] - low[0], at[:, 1] - low[1]
    pitch = high + 2.0
    # The area of a band as long as the way is what lies within the spiral's radius.
    inner_radius = pitch
    radius = (inner_radius**2 + along * pitch / math.pi).sqrt()
    angle = 2 * math.pi * (radius - inner_radius) / pitch
    return torch.stack([angle.cos(), angle.sin()], 1) * (radius + across)[:, None]


def _packed(boxes: list[Tensor]) -> list[Tensor]:
    """Return a corner for each box: in rows about as wide as all of them are high."""
    if not boxes:
        return []
    area = sum(float((box[0] + APART) * (box[1] + APART)) for box in boxes)
    row_width = max(float(boxes[0][0]) + APART, math.sqrt(area) * 1.2)
    corners, x, y, row_height = [], 0.0, 0.0, 0.0
    for box in boxes:
        width = float(box[0]) + APART
        if x and x + width > row_width:
            x, y, row_height = 0.0, y + row_height, 0.0
        corners.append(torch.tensor([x, y]))
        x, row_height = x + width, max(row_height, float(box[1]) + APART)
    return corners
