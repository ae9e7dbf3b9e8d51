r"""Sets of point clouds and of molecules in space: those that have a name, and what files hold.

    qm9         130,831 molecules of up to nine heavy atoms with coordinates, found in a package
    qm9-small   the same 800 molecules as the shipped graphs
    shapes3d    a dozen surfaces, drawn by chance: 64 to 128 points of each, turned at random

A cloud is [N, 4] (`core.point_cloud`): positions, then the type. Molecules are of kind
'conformer', their positions in ångström and hydrogens among their atoms; other clouds are of kind
'point-cloud'. Positions are stored centred, and their spread

    s² = sum |x_i|² / sum 3 (n - 1)        over the training clouds

is the unit in which networks see them.

References:
    | Quantum chemistry structures and properties of 134 kilo molecules (Ramakrishnan, Dral, Rupp &
      von Lilienfeld, 2014)
    | E(n) Equivariant Graph Neural Networks (Garcia Satorras, Hoogeboom & Welling, 2021), for the
      split of QM9 into 100,000, 17,748 and 13,083
"""

from __future__ import annotations

import ast
import csv
import hashlib
import io
import math
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import as_file, files
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from trilemma.core.domain import Domain, Real
from trilemma.core.errors import BadInput
from trilemma.core.noise import mix
from trilemma.core.point_cloud import centred, mask_of, positions, stacked
from trilemma.data import cache
from trilemma.data.dataset import DataSet, Split
from trilemma.data.elements import SYMBOLS, atomic_number
from trilemma.data.pictures import Progress
from trilemma.data.point_cloud_files import Contents
from trilemma.data.split import is_test
from trilemma.data.wheel import Wheel, WheelSet

__all__ = ["QM9", "dataset", "of_found", "qm9", "qm9_small", "shapes3d"]

FEWEST = 10
TEST_SHARE = 0.2
SHAPES_TRAIN, SHAPES_TEST = 2400, 600


def dataset(
    clouds: Sequence[Float[Tensor, "n 4"]],
    held: Tensor,
    name: str,
    *,
    elements: Sequence[str] = (),
    names: Sequence[str] | None = None,
    notes: Sequence[str] = (),
) -> DataSet:
    """Make a data set of clouds.

    Arguments:
        clouds: Of any size, with types 1, 2, ….
        held: Which are for testing, [M] bool.
        name: Of the set.
        elements: What the types are; empty for points that are no atoms.
        names: What each is called, such as its SMILES.
        notes: What a reader should know.

    Raises:
        BadInput: There are too few.
    """
    if len(clouds) < FEWEST:
        raise BadInput(
            f"'{name}' holds {len(clouds)} clouds that can be used, and {FEWEST} or more are "
            "needed, to learn from and to measure against."
        )
    room = max(len(cloud) for cloud in clouds)
    x = stacked(clouds, room)
    x[..., :3] = centred(positions(x), mask_of(x))
    parts = []
    for rows in ((~held).nonzero()[:, 0], held.nonzero()[:, 0]):
        called = None if names is None else [names[int(i)] for i in rows]
        parts.append(Split(x[rows], names=called))
    return _assembled(name, parts[0], parts[1], elements, notes)


def _assembled(
    name: str, train: Split, test: Split, elements: Sequence[str], notes: Sequence[str]
) -> DataSet:
    kind = "conformer" if elements else "point-cloud"
    unit = "Å" if elements else ""
    domain = Domain(
        kind, (train.x.shape[1], 4), Real(0.0, _spread(train.x), unit), elements=tuple(elements)
    )
    return DataSet(name, domain, train, test, notes)


def _spread(x: Float[Tensor, "M N 4"]) -> float:
    """Return s, in the units of the data."""
    degrees = (3 * (mask_of(x).sum(1) - 1)).clamp_min(0).sum()
    total = sum(part.double().square().sum() for part in positions(x).split(8192))
    return math.sqrt(float(total) / max(float(degrees), 1.0))


def of_found(contents: Contents, name: str) -> DataSet:
    """Make a data set of what was found in files.

    Raises:
        BadInput: There is too little of it, or atoms and other points together.
    """
    if not contents.frames:
        why = "; ".join(contents.notes()) or "it is empty"
        raise BadInput(f"'{name}' holds no point cloud that can be used: {why}.")
    known = sorted({s for frame in contents.frames for s in frame.symbols}, key=SYMBOLS.index)
    code = {symbol: k for k, symbol in enumerate(known, 1)}
    clouds, keys = [], []
    for frame in contents.frames:
        kinds = torch.ones(len(frame.positions), 1)
        if frame.symbols:
            kinds[:, 0] = torch.tensor([float(code[symbol]) for symbol in frame.symbols])
        clouds.append(torch.cat([frame.positions, kinds], 1))
        keys.append(_hash(clouds[-1].numpy().tobytes()))
    held = is_test(keys, TEST_SHARE)
    note = "split by content, a fifth for testing"
    return dataset(clouds, held, name, elements=known, notes=(*contents.notes(), note))


def _hash(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")


# QM9

ELEMENTS = ("H", "C", "N", "O", "F")
CODES = {atomic_number(symbol): k for k, symbol in enumerate(ELEMENTS, 1)}
CITED = (
    "R. Ramakrishnan et al., Quantum chemistry structures and properties of 134 kilo molecules "
    "(2014); CC0"
)


def qm9_small(names: Callable[[str], str]) -> DataSet:
    """Load the shipped part of QM9 in space.

    Arguments:
        names: Gives a SMILES its canonical spelling, by which molecules are split as their graphs
            are.
    """
    with as_file(files("trilemma.data") / "files" / "qm9-small.safetensors") as path:
        kept = load_file(path)
    spelt = [names(s) for s in kept["smiles"].numpy().tobytes().decode().split("\n")]
    held = is_test([_hash(smiles.encode()) for smiles in spelt], TEST_SHARE)
    clouds = _flat(kept["positions"], kept["charges"], kept["atoms"])
    notes = (CITED, "split by molecule, a fifth for testing")
    return dataset(clouds, held, "qm9-small", elements=ELEMENTS, names=spelt, notes=notes)


def _flat(at: Tensor, charges: Tensor, atoms: Tensor) -> list[Tensor]:
    """Return clouds of arrays that hold all atoms one after another."""
    return list(_typed(at, charges).split(atoms.long().tolist()))


def _typed(at: Tensor, charges: Tensor) -> Float[Tensor, "A 4"]:
    """Put the types of atoms beside their positions."""
    code = torch.zeros(128)
    for number, k in CODES.items():
        code[number or 0] = k
    return torch.cat([at, code[charges.long()][:, None]], 1)


MOLECULES = 130_831
SPLIT = (100_000, 17_748, 13_083)
"""Molecules for training, for validation and for testing."""
TABLE = "qm9pack/data/qm9_part{}.csv"


def _of_qm9(
    read: Callable[[str], bytes], progress: Progress | None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Take atoms, positions and SMILES of the package's tables."""
    charges, places, counts, spelt = bytearray(), [], bytearray(), []
    csv.field_size_limit(1 << 24)
    for part in (1, 2, 3):
        for row in csv.DictReader(io.StringIO(read(TABLE.format(part)).decode())):
            symbols = ast.literal_eval(row["Elements"])
            charges += bytes(SYMBOLS.index(symbol) + 1 for symbol in symbols)
            numbers = row["XYZ_Ang"].replace("*^", "e").replace("[", "").replace("]", "")
            places.append(np.array(numbers.split(","), np.float32).reshape(-1, 3))
            counts.append(len(symbols))
            spelt.append(row["SMILES"])
            if progress is not None and len(spelt) % 1000 == 0:
                progress(len(spelt), MOLECULES)
    text = bytearray("\n".join(spelt).encode())
    return {
        "positions": torch.from_numpy(np.concatenate(places)),
        "charges": torch.frombuffer(charges, dtype=torch.uint8),
        "atoms": torch.frombuffer(counts, dtype=torch.uint8),
        "smiles": torch.frombuffer(text, dtype=torch.uint8),
    }, {}


QM9 = WheelSet(
    "qm9",
    Wheel(
        "qm9pack",
        "1.0.3",
        {
            TABLE.format(1): "19f0a5d595462d52cd82eef3370f3e9eb55a1f52cb14985657200349568deff3",
            TABLE.format(2): "2bca113fdc0b28a13563c80ed9b240e934f3da6c64c64fe74ddb4f0f36036e61",
            TABLE.format(3): "9c5efb5733d2af149db8d95d36ff198b4ffed12d9f7b344220a1e5877d5c6a43",
        },
    ),
    _of_qm9,
    f"qm9: {CITED}.",
)


def qm9() -> DataSet:
    """Load what was fetched of QM9, with the split of the field.

    Raises:
        BadInput: It was not fetched.
    """
    kept = cache.read(QM9.kept)
    if kept is None:
        raise BadInput(
            "data set 'qm9' is not on this machine; get it by 'trilemma data fetch qm9' "
            f"({QM9.wheel.words}), or use 'qm9-small', which is shipped."
        )
    tensors = kept[0]
    spelt = tensors["smiles"].numpy().tobytes().decode().split("\n")
    x = _dense(tensors["positions"], tensors["charges"], tensors["atoms"])
    order = torch.from_numpy(np.random.RandomState(0).permutation(len(spelt)))
    train, _, test = order.split(list(SPLIT))
    sides = [
        Split(x[rows], names=tuple(spelt[i] for i in rows.tolist())) for rows in (train, test)
    ]
    notes = (
        CITED,
        "the field's split: 100,000 for training, 13,083 for testing; 17,748 for validation are "
        "not used",
    )
    return _assembled("qm9", sides[0], sides[1], ELEMENTS, notes)


def _dense(at: Tensor, charges: Tensor, atoms: Tensor) -> Float[Tensor, "M N 4"]:
    """Lay arrays of all atoms into one tensor, centred."""
    count = atoms.long()
    x = torch.zeros(len(count), int(count.max()), 4)
    here = torch.arange(x.shape[1]) < count[:, None]
    x[here] = _typed(at, charges)
    x[..., :3] = centred(positions(x), here)
    return x


# Shapes


def shapes3d() -> DataSet:
    """Draw the surfaces, always the same."""
    count = SHAPES_TRAIN + SHAPES_TEST
    draw = torch.Generator().manual_seed(mix(0, "shapes3d"))
    names, clouds = [], []
    for i in range(count):
        name = list(SURFACES)[i % len(SURFACES)]
        points = int(torch.randint(64, 129, (), generator=draw))
        u = torch.rand(points, 3, generator=draw, dtype=torch.float64)
        stretch = 0.75 + 0.5 * torch.rand(3, generator=draw, dtype=torch.float64)
        at = SURFACES[name](u) * stretch
        turn = torch.linalg.qr(torch.randn(3, 3, generator=draw, dtype=torch.float64)).Q
        clouds.append(torch.cat([at @ turn.T, torch.ones(points, 1)], 1).float())
        names.append(name)
    held = torch.arange(count) >= SHAPES_TRAIN
    notes = (f"{', '.join(SURFACES)}: stretched and turned by chance, from a fixed seed",)
    return dataset(clouds, held, "shapes3d", names=names, notes=notes)


def _sphere(u: Tensor) -> Tensor:
    height, angle = 2 * u[:, 0] - 1, 2 * math.pi * u[:, 1]
    round_ = (1 - height.square()).sqrt()
    return torch.stack([round_ * angle.cos(), round_ * angle.sin(), height], 1)


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
    wide = 1 + thick * across.cos()
    return torch.stack([wide * around.cos(), wide * around.sin(), thick * across.sin()], 1)


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
    wide = 1 + across * (angle / 2).cos()
    return torch.stack([wide * angle.cos(), wide * angle.sin(), across * (angle / 2).sin()], 1)


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
