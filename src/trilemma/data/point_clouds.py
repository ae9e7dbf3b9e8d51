r"""Sets of point clouds and of molecules in space: those that have a name, and what files hold.

    shapes3d    a dozen surfaces, drawn by chance: 64 to 128 points of each, turned at random

and QM9, in `data.qm9`.

A cloud is [N, 4] (`core.point_cloud`): positions, then the type. Molecules are of kind
'conformer', their positions in ångström and hydrogens among their atoms; other clouds are of kind
'point-cloud'. Positions are stored centred, and their spread

    s² = sum |x_i|² / sum 3 (n - 1)        over the training clouds

is the unit in which networks see them. Properties of molecules are of the files that have them.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.domain import Domain, Real
from trilemma.core.errors import BadInput
from trilemma.core.noise import mix
from trilemma.core.point_cloud import centred, mask_of, positions, stacked
from trilemma.core.words import joined
from trilemma.data.dataset import DataSet, Split
from trilemma.data.elements import SYMBOLS
from trilemma.data.example_properties import statistics
from trilemma.data.point_cloud_files import Frame, PointCloudContents
from trilemma.data.split import is_test

__all__ = ["Properties", "assembled", "dataset", "of_found", "shapes3d"]

FEWEST = 10
TEST_SHARE = 0.2
SHAPES_TRAIN, SHAPES_TEST = 2400, 600

Properties = Mapping[str, tuple[str, Float[Tensor, " M"]]]
"""Unit and values of each property, by its name; NaN where one is missing."""


def dataset(
    clouds: Sequence[Float[Tensor, "n 4"]],
    test_mask: Tensor,
    name: str,
    *,
    elements: Sequence[str] = (),
    names: Sequence[str] | None = None,
    properties: Properties | None = None,
    notes: Sequence[str] = (),
) -> DataSet:
    """Make a data set of clouds.

    Arguments:
        clouds: Of any size, with types 1, 2, ….
        test_mask: Which are for testing, [M] bool.
        name: Of the set.
        elements: What the types are; empty for points that are no atoms.
        names: What each is called, such as its SMILES.
        properties: What is known of each.
        notes: What a reader should know.

    Raises:
        BadInput: There are too few.
    """
    if len(clouds) < FEWEST:
        raise BadInput(
            f"'{name}' holds {len(clouds)} clouds that can be used, and {FEWEST} or more are "
            "needed, to learn from and to measure against."
        )
    size = max(len(cloud) for cloud in clouds)
    x = stacked(clouds, size)
    x[..., :3] = centred(positions(x), mask_of(x))
    sides = ((~test_mask).nonzero()[:, 0], test_mask.nonzero()[:, 0])
    return assembled(name, Split(x, names=names), sides, elements, properties or {}, notes)


def assembled(
    name: str,
    every: Split,
    sides: tuple[Tensor, Tensor],
    elements: Sequence[str],
    properties: Properties,
    notes: Sequence[str],
) -> DataSet:
    """Make a data set of clouds in one tensor.

    Arguments:
        name: Of the set.
        every: All clouds, centred.
        sides: Rows for training and for testing.
        elements: What the types are; empty for points that are no atoms.
        properties: What is known of each cloud.
        notes: What a reader should know.
    """
    if properties:
        table = torch.stack([values for _, values in properties.values()], 1)
        every = replace(every, properties=table)
    train, test = (every.select(rows) for rows in sides)
    kind = "conformer" if elements else "point-cloud"
    unit = "Å" if elements else ""
    domain = Domain(
        kind,
        (train.x.shape[1], 4),
        Real(0.0, _spread(train.x), unit),
        elements=tuple(elements),
        properties=tuple(
            statistics(property_name, property_unit, values[sides[0]])
            for property_name, (property_unit, values) in properties.items()
        ),
    )
    return DataSet(name, domain, train, test, notes)


def _spread(x: Float[Tensor, "M N 4"]) -> float:
    """Return s, in the units of the data."""
    degrees = (3 * (mask_of(x).sum(1) - 1)).clamp_min(0).sum()
    total = sum(part.double().square().sum() for part in positions(x).split(8192))
    return math.sqrt(float(total) / max(float(degrees), 1.0))


def of_found(contents: PointCloudContents, name: str) -> DataSet:
    """Make a data set of what was found in files.

    Raises:
        BadInput: There is too little of it, or atoms and other points together.
    """
    if not contents.frames:
        reason = "; ".join(contents.notes()) or "it is empty"
        raise BadInput(f"'{name}' holds no point cloud that can be used: {reason}.")
    elements = sorted({s for frame in contents.frames for s in frame.symbols}, key=SYMBOLS.index)
    code = {symbol: k for k, symbol in enumerate(elements, 1)}
    clouds, keys = [], []
    for frame in contents.frames:
        kinds = torch.ones(len(frame.positions), 1)
        if frame.symbols:
            kinds[:, 0] = torch.tensor([float(code[symbol]) for symbol in frame.symbols])
        clouds.append(torch.cat([frame.positions, kinds], 1))
        keys.append(_hash(clouds[-1].numpy().tobytes()))
    test_mask = is_test(keys, TEST_SHARE)
    properties = _of_comments(contents.frames)
    notes = [
        *contents.notes(),
        "split by content, a fifth for testing",
        *_property_notes(properties),
    ]
    return dataset(clouds, test_mask, name, elements=elements, properties=properties, notes=notes)


def _of_comments(frames: Sequence[Frame]) -> Properties:
    """Return what the frames' comments say, in the order of the names' first appearance."""
    names = Counter(name for frame in frames for name in frame.properties)
    return {
        name: ("", torch.tensor([frame.properties.get(name, math.nan) for frame in frames]))
        for name in names
    }


def _property_notes(properties: Properties) -> list[str]:
    """Name the properties, and of how many clouds each is missing."""
    if not properties:
        return []
    descriptions = []
    for name, (_, values) in properties.items():
        missing = int((~values.isfinite()).sum())
        descriptions.append(f"{name} (missing of {missing:,})" if missing else name)
    return [f"properties by the comments: {joined(descriptions)}"]


def _hash(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")


# Shapes


def shapes3d() -> DataSet:
    """Draw the surfaces, always the same."""
    count = SHAPES_TRAIN + SHAPES_TEST
    generator = torch.Generator().manual_seed(mix(0, "shapes3d"))
    names, clouds = [], []
    for i in range(count):
        name = list(SURFACES)[i % len(SURFACES)]
        point_count = int(torch.randint(64, 129, (), generator=generator))
        u = torch.rand(point_count, 3, generator=generator, dtype=torch.float64)
        scale = 0.75 + 0.5 * torch.rand(3, generator=generator, dtype=torch.float64)
        surface_points = SURFACES[name](u) * scale
        rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q
        clouds.append(
            torch.cat([surface_points @ rotation.T, torch.ones(point_count, 1)], 1).float()
        )
        names.append(name)
    test_mask = torch.arange(count) >= SHAPES_TRAIN
    notes = (f"{', '.join(SURFACES)}: stretched and turned by chance, from a fixed seed",)
    return dataset(clouds, test_mask, "shapes3d", names=names, notes=notes)


def _sphere(u: Tensor) -> Tensor:
    height, angle = 2 * u[:, 0] - 1, 2 * math.pi * u[:, 1]
    radius = (1 - height.square()).sqrt()
    return torch.stack([radius * angle.cos(), radius * angle.sin(), height], 1)


def _cube(u: Tensor) -> Tensor:
    side = (u[:, 2] * 6).long()
    flat = 2 * u[:, :2] - 1
    out = torch.empty(len(u), 3, dtype=u.dtype)
    for axis in range(3):
        rows = side % 3 == axis
        out[rows, axis] = (2 * (side[rows] // 3) - 1).to(u)
        out[rows, (axis + 1) % 3], out[rows, (axis + 2) % 3] = flat[rows].T
    return out


def _torus(u: Tensor, thick: float = 0.35) -> Tensor:
    # Points are even on the surface: the outer half is longer than the inner.
    around, across = 2 * math.pi * u[:, 0], 2 * math.pi * u[:, 1]
    across = torch.where(2 * u[:, 2] < 1 + thick * across.cos(), across, across + math.pi)
    radius = 1 + thick * across.cos()
    return torch.stack([radius * around.cos(), radius * around.sin(), thick * across.sin()], 1)


def _cylinder(u: Tensor) -> Tensor:
    angle = 2 * math.pi * u[:, 0]
    return torch.stack([0.6 * angle.cos(), 0.6 * angle.sin(), 2 * u[:, 1] - 1], 1)


def _cone(u: Tensor) -> Tensor:
    angle, down = 2 * math.pi * u[:, 0], u[:, 1].sqrt()
    return torch.stack([down * angle.cos(), down * angle.sin(), 1 - 2 * down], 1)


def _disc(u: Tensor) -> Tensor:
    angle, out = 2 * math.pi * u[:, 0], u[:, 1].sqrt()
    return torch.stack([out * angle.cos(), out * angle.sin(), 0.02 * (u[:, 2] - 0.5)], 1)


def _helix(u: Tensor) -> Tensor:
    angle = 6 * math.pi * u[:, 0]
    return torch.stack([0.7 * angle.cos(), 0.7 * angle.sin(), 2 * u[:, 0] - 1], 1)


def _moebius(u: Tensor) -> Tensor:
    angle, across = 2 * math.pi * u[:, 0], 0.8 * (u[:, 1] - 0.5)
    radius = 1 + across * (angle / 2).cos()
    return torch.stack([radius * angle.cos(), radius * angle.sin(), across * (angle / 2).sin()], 1)


def _saddle(u: Tensor) -> Tensor:
    x, y = 2 * u[:, 0] - 1, 2 * u[:, 1] - 1
    return torch.stack([x, y, x.square() - y.square()], 1)


def _cross(u: Tensor) -> Tensor:
    out = torch.zeros(len(u), 3, dtype=u.dtype)
    axis = (u[:, 2] * 3).long()
    out[torch.arange(len(u)), axis] = 2 * u[:, 0] - 1
    return out + 0.08 * (u - 0.5)


def _tetrahedron(u: Tensor) -> Tensor:
    corners = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=u.dtype)
    face = (u[:, 2] * 4).long()
    a, b, c = (corners[(face + k) % 4] for k in range(3))
    root = u[:, :1].sqrt()
    return (1 - root) * a + root * (1 - u[:, 1:2]) * b + root * u[:, 1:2] * c


def _rings(u: Tensor) -> Tensor:
    angle, which = 2 * math.pi * u[:, 0], (u[:, 2] < 0.5).to(u)
    flat = torch.stack([angle.cos() - 0.5, angle.sin(), 0 * angle], 1)
    upright = torch.stack([angle.cos() + 0.5, 0 * angle, angle.sin()], 1)
    return which[:, None] * flat + (1 - which[:, None]) * upright


SURFACES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "sphere": _sphere,
    "cube": _cube,
    "torus": _torus,
    "cylinder": _cylinder,
    "cone": _cone,
    "disc": _disc,
    "helix": _helix,
    "Möbius strip": _moebius,
    "saddle": _saddle,
    "cross": _cross,
    "tetrahedron": _tetrahedron,
    "linked rings": _rings,
}
"""From even numbers [n, 3] in [0, 1) to points of a surface of about unit size."""
