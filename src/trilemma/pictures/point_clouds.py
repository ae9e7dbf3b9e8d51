"""Pictures of point clouds and molecules in space: sheets, films of the way and of a turn.

Points are spheres, farther ones smaller and paler; atoms have the colours of their elements,
and bonds are drawn where their distances say so. Each cloud is turned so that its longest axis
lies across. Pictures are Pillow images on white; nothing is written to disk here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.point_cloud import mask_of, positions, types
from trilemma.data.bond_perception import bond_orders, spelt
from trilemma.data.elements import COLOURS, RADII
from trilemma.pictures.panels import SIDE, joined, laid, shortened

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["captions", "denoising", "pairs", "sheet", "turning"]

MAX_CLOUDS = 36
"""Clouds on a sheet at most."""
FINE = 2
"""How much larger a picture is drawn than it is shown: edges are smooth then."""
TILT = 0.35
"""Radians by which a cloud is seen from above."""
TILTED = torch.tensor(
    [
        [1.0, 0.0, 0.0],
        [0.0, math.cos(TILT), -math.sin(TILT)],
        [0.0, math.sin(TILT), math.cos(TILT)],
    ]
)
SCATTERED = 1.5
"""How much farther than nine clouds of ten one may go and still be shown whole."""
TURNS, FILMED = 36, 12
"""Frames of a turn, and clouds in a film."""
PLAIN = "#2a6f97"
"""Of points that are no atoms."""
DEPTH = 0.55
"""How pale the farthest points are."""


def sheet(
    x: Float[Tensor, "B N 4"],
    elements: Sequence[str] = (),
    words: Sequence[str] | None = None,
    columns: int | None = None,
) -> Image:
    """Draw clouds beside each other.

    Arguments:
        x: Clouds; the first `MAX_CLOUDS` are drawn.
        elements: What the types are; empty for points that are no atoms.
        words: What stands below each; by default what a molecule is, or the number of points.
        columns: Clouds in a row; about square by default.
    """
    x = x[:MAX_CLOUDS].cpu().float()
    below = list(words) if words is not None else captions(x, elements)
    return _render(x, elements, [_pose(one) for one in x], _reach(x), below, columns)


def turning(x: Float[Tensor, "B N 4"], elements: Sequence[str] = ()) -> list[Image]:
    """Draw clouds once around, a picture a step of the turn."""
    x = x[:FILMED].cpu().float()
    below, reach, poses = captions(x, elements), _reach(x), [_pose(one) for one in x]
    angles = [2 * math.pi * k / TURNS for k in range(TURNS)]
    return [
        _render(x, elements, [_turn(angle) @ pose for pose in poses], reach, below)
        for angle in angles
    ]


def denoising(states: Sequence[Tensor], elements: Sequence[str] = ()) -> list[Image]:
    """Draw clouds on their way, each in the pose that suits its end.

    Arguments:
        states: [B, N, 4] each.
        elements: What the types are.
    """
    states = [x[:FILMED].cpu().float() for x in states]
    end = states[-1]
    below, reach, poses = captions(end, elements), _reach(end), [_pose(one) for one in end]
    return [_render(x, elements, poses, reach, below) for x in states]


def _render(
    x: Tensor,
    elements: Sequence[str],
    poses: Sequence[Tensor],
    reach: float,
    below: Sequence[str],
    columns: int | None = None,
) -> Image:
    panels = [_panel(one, elements, reach, pose) for one, pose in zip(x, poses, strict=True)]
    return laid(panels, [shortened(words) for words in below], columns)


def pairs(samples: Tensor, below: Tensor, elements: Sequence[str] = (), columns: int = 6) -> Image:
    """Draw each sample above the cloud that belongs to it."""
    count = min(len(samples), len(below), MAX_CLOUDS)
    columns = max(1, min(columns, count))
    rows = [
        sheet(x[start : min(start + columns, count)], elements, columns=columns)
        for start in range(0, count, columns)
        for x in (samples, below)
    ]
    return joined(rows, across=False)


def captions(x: Float[Tensor, "B N 4"], elements: Sequence[str] = ()) -> list[str]:
    """Say what each cloud is: a molecule's SMILES, that RDKit refuses it, or how many points."""
    sizes = mask_of(x).sum(1).tolist()
    if not elements:
        return [f"{n} points" for n in sizes]
    try:
        spellings = spelt(x, elements)
    except Exception:  # without RDKit a molecule is its size
        return [f"{n} atoms" for n in sizes]
    return [
        f"{n} atoms: refused" if not smiles else smiles if is_connected else f"{smiles} + more"
        for (smiles, is_connected), n in zip(spellings, sizes, strict=True)
    ]


def _reach(x: Tensor) -> float:
    """Return how far from the middle clouds go, but for a few that are scattered."""
    distances = positions(x).norm(dim=-1).amax(1)
    distances = distances[distances.isfinite()]
    if not len(distances):
        return 1.0
    return max(float(torch.minimum(distances.max(), SCATTERED * distances.quantile(0.9))), 1e-6)


def _pose(x: Float[Tensor, "N 4"]) -> Float[Tensor, "3 3"]:
    """Return the rotation that lays the longest axis across and the shortest towards the eye."""
    points = positions(x)[mask_of(x)].double()
    if len(points) < 3 or not bool(points.isfinite().all()):
        return torch.eye(3)
    points = points - points.mean(0)
    axes = torch.linalg.eigh(points.T @ points).eigenvectors.flip(1)
    axes[:, 2] *= torch.linalg.det(axes).sign()
    return axes.T.float()


def _turn(angle: float) -> Float[Tensor, "3 3"]:
    """Return the rotation about the upright axis."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return torch.tensor([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])


def _panel(x: Float[Tensor, "N 4"], elements: Sequence[str], reach: float, pose: Tensor) -> Image:
    """Draw one cloud."""
    from PIL import Image, ImageDraw

    side = SIDE * FINE
    picture = Image.new("RGB", (side, side), "white")
    mask = mask_of(x)
    if not bool(positions(x).isfinite().all()) or not bool(mask.any()):
        return picture.resize((SIDE, SIDE))
    pen = ImageDraw.Draw(picture)
    coordinates, kind = positions(x)[mask], types(x)[mask].tolist()
    coordinates = (coordinates - coordinates.mean(0)) @ (TILTED @ pose).T
    scale = side / 2 / reach * 0.9
    middle = side / 2
    pixel_positions = (coordinates * torch.tensor([1.0, -1.0, 1.0]) * scale).clamp(
        -1.4 * middle, 1.4 * middle
    )
    depth = ((coordinates[:, 2] / reach + 1) / 2).clamp(0, 1).tolist()
    across, down = (pixel_positions[:, k] + middle for k in (0, 1))
    across, down = across.tolist(), down.tolist()
    shapes: list[tuple[float, int, int]] = [(depth[i], i, -1) for i in range(len(kind))]
    if elements:
        orders = bond_orders(x[None, : int(mask.sum())], elements)[0]
        for i, j in orders.triu(1).nonzero().tolist():
            shapes.append(((depth[i] + depth[j]) / 2 - 1e-3, i, j))
    for nearness, i, j in sorted(shapes):
        if j >= 0:
            ends = [(across[i], down[i]), (across[j], down[j])]
            pen.line(
                ends,
                fill=_paled("#888888", nearness),
                width=min(max(2, round(0.16 * scale)), side // 20),
            )
            continue
        element = str(elements[kind[i] - 1]) if elements else ""
        size = (0.62 * RADII.get(element, 1.0) if elements else 0.035 * reach) * scale
        size = min(max(size * (0.75 + 0.35 * nearness), 1.5), side / 6)
        colour = COLOURS.get(element, "#b060b0") if elements else PLAIN
        box = [across[i] - size, down[i] - size, across[i] + size, down[i] + size]
        pen.ellipse(box, fill=_paled(colour, nearness), outline=_paled("#444444", nearness))
    return picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def _paled(colour: str, near: float) -> tuple[int, int, int]:
    """Return a colour, the paler the farther it is."""
    share = DEPTH * (1 - near)
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    red, green, blue = (round(part + (255 - part) * share) for part in parts)
    return red, green, blue
