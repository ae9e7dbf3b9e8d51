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
    joined = adjacency(x)[:n, :n].float().cpu().to_sparse()
    far = torch.full((n, n), math.inf)
    far.fill_diagonal_(0)
    front = torch.eye(n)
    for step in range(1, n):
        fresh = (torch.sparse.mm(joined, front) > 0) & far.isinf()
        if not fresh.any():
            break
        far[fresh] = step
        front = fresh.float()
    return far


def layout(x: UInt8[Tensor, "N N"]) -> Float[Tensor, "n 2"]:
    """Return where each node of one graph is drawn, in lengths of an edge."""
    far = hops(x)
    at = torch.zeros(len(far), 2)
    parts = _components(far)
    boxes = []
    for members in parts:
        placed = _placed(far[members][:, members])
        low = placed.amin(0)
        at[members] = placed - low
        boxes.append((placed - low).amax(0))
    for members, corner in zip(parts, _packed(boxes), strict=True):
        at[members] += corner
    return at


def _components(far: Tensor) -> list[Int[Tensor, " k"]]:
    """List the components, the largest first."""
    found, left = [], set(range(len(far)))
    for node in range(len(far)):
        if node in left:
            members = far[node].isfinite().nonzero()[:, 0]
            left -= set(members.tolist())
            found.append(members)
    return sorted(found, key=len, reverse=True)


def _placed(far: Tensor) -> Tensor:
    """Lay out one component."""
    n = len(far)
    if n == 1:
        return torch.zeros(1, 2)
    d = far.double() if n <= EXACT else far
    at = _scaled(d)
    weight = torch.where(d > 0, d, 1.0).pow(-2)
    weight.fill_diagonal_(0)
    root = torch.linalg.cholesky(torch.diag(weight.sum(1)) - weight + 1 / n)
    pulled = weight * d
    for _ in range(next(rounds for most, rounds in ROUNDS if n <= most)):
        apart = torch.cdist(at, at)
        pull = torch.where(apart > 1e-6, pulled / apart.clamp_min(1e-6), 0.0)
        at = torch.cholesky_solve(pull.sum(1, keepdim=True) * at - pull @ at, root)
    return _upright(at).float()


def _scaled(d: Tensor) -> Tensor:
    """Return the classical scaling of distances to the plane."""
    n = len(d)
    squares = d * d
    mean = squares.mean(0)
    values, vectors = _leading(-0.5 * (squares - mean - mean[:, None] + mean.mean()))
    at = vectors * values.clamp_min(1e-9).sqrt()
    # A little of the order keeps nodes apart that all distances take for one.
    turn = torch.arange(n, dtype=d.dtype) * 2.399963
    return at + 0.05 * torch.stack([turn.cos(), turn.sin()], 1)


def _leading(a: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two largest eigenvalues of a symmetric matrix, and their vectors."""
    n = len(a)
    if n > EXACT:
        place = torch.arange(n, dtype=a.dtype)[:, None] + 1
        some = torch.linalg.qr(torch.cos(place * torch.arange(1, 7))).Q
        for _ in range(TURNS):
            some = torch.linalg.qr(a @ some).Q
        values, turn = torch.linalg.eigh(some.T @ a @ some)
        return values[-2:], (some @ turn)[:, -2:]
    values, vectors = torch.linalg.eigh(a)
    return values[-2:], vectors[:, -2:]


def _upright(at: Tensor) -> Tensor:
    """Turn a drawing so that it fills its box best: its box is then the smallest."""
    best, least = at, math.inf
    for turn in torch.linspace(0, math.pi / 2, 19, dtype=at.dtype)[:-1]:
        c, s = turn.cos(), turn.sin()
        turned = at @ torch.stack([torch.stack([c, -s]), torch.stack([s, c])])
        wide, high = (turned.amax(0) - turned.amin(0)).tolist()
        if wide * high + 0.1 * max(wide, high) < least - 1e-6:
            best, least = turned, wide * high + 0.1 * max(wide, high)
    wide, high = (best.amax(0) - best.amin(0)).tolist()
    if high > wide:
        best, wide, high = best.flip(1), high, wide
    return best if wide < LONG * (high + 1) else _wound(best, wide, high)


def _wound(at: Tensor, wide: float, high: float) -> Tensor:
    """Wind what is long and narrow into a spiral whose turns are a node's breadth apart."""
    low = at.amin(0)
    along, across = at[:, 0] - low[0], at[:, 1] - low[1]
    pitch = high + 2.0
    # The area of a band as long as the way is what lies within the spiral's radius.
    begun = pitch
    radius = (begun**2 + along * pitch / math.pi).sqrt()
    angle = 2 * math.pi * (radius - begun) / pitch
    return torch.stack([angle.cos(), angle.sin()], 1) * (radius + across)[:, None]


def _packed(boxes: list[Tensor]) -> list[Tensor]:
    """Return a corner for each box: in rows about as wide as all of them are high."""
    if not boxes:
        return []
    area = sum(float((box[0] + APART) * (box[1] + APART)) for box in boxes)
    room = max(float(boxes[0][0]) + APART, math.sqrt(area) * 1.2)
    corners, x, y, high = [], 0.0, 0.0, 0.0
    for box in boxes:
        wide = float(box[0]) + APART
        if x and x + wide > room:
            x, y, high = 0.0, y + high, 0.0
        corners.append(torch.tensor([x, y]))
        x, high = x + wide, max(high, float(box[1]) + APART)
    return corners
