r"""Sets of molecules: those that have a name, and what is made of files.

    qm9-small   800 of QM9's molecules, shipped; also as they lie in space (`data.qm9`)
    qm9         all of QM9 in space, also as graphs
    moses       50,000 + 5,000 of MOSES's training and test molecules, found in somebody's package

Molecules lie in matrices of N places (`core.molecule`), N at least `ROOM`, so that larger ones
than those of the data can be built. A molecule's side of the split follows from its canonical
SMILES.

References:
    | Quantum chemistry structures and properties of 134 kilo molecules (Ramakrishnan, Dral, Rupp &
      von Lilienfeld, 2014)
    | Molecular Sets (MOSES): A Benchmarking Platform for Molecular Generation Models (Polykovskiy
      et al., 2020), arXiv:1811.12823
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.core.molecule import BOND_ORDERS, ELEMENTS
from trilemma.core.noise import mix
from trilemma.data import cache, point_cloud_files, point_clouds
from trilemma.data import qm9 as tables
from trilemma.data.chemistry import (
    UNREADABLE,
    Molecule,
    parsed,
    rdkit_version,
    standardised,
    to_tensors,
)
from trilemma.data.dataset import DataSet, Split
from trilemma.data.molecule_files import MoleculeContents, of_molecules, structures
from trilemma.data.pictures import Progress
from trilemma.data.split import is_test
from trilemma.data.wheel import Wheel, WheelSet

__all__ = ["MOSES", "dataset", "in_space", "moses", "of_found", "qm9", "qm9_small"]

ROOM = 48
"""Heavy atoms that there is room for at least."""
FEWEST = 10
TEST_SHARE = 0.2


def dataset(
    molecules: Sequence[Molecule],
    name: str,
    *,
    notes: Sequence[str] = (),
) -> DataSet:
    """Make a data set of different molecules.

    Arguments:
        molecules: Each once.
        name: Of the set.
        notes: What a reader should know.

    Raises:
        BadInput: There are too few.
    """
    if len(molecules) < FEWEST:
        raise BadInput(
            f"'{name}' holds {len(molecules)} molecule{'s' * (len(molecules) != 1)} that can be "
            f"used, and {FEWEST} or more are needed, to learn from and to measure against."
        )
    test_mask = is_test([_hash(one.smiles) for one in molecules], TEST_SHARE)
    x, smiles_list = to_tensors(molecules), [one.smiles for one in molecules]
    parts = [
        (x[rows], [smiles_list[i] for i in rows.nonzero()[:, 0].tolist()])
        for rows in (~test_mask, test_mask)
    ]
    note = "split by molecule, whatever its spelling, a fifth for testing"
    return _assembled(name, parts, (*notes, note))


def _assembled(
    name: str, parts: Sequence[tuple[Tensor, Sequence[str]]], notes: Sequence[str]
) -> DataSet:
    """Make a data set of molecules and their SMILES, for training and for testing."""
    size = max(ROOM, *(x.shape[-1] for x, _ in parts))
    train, test = (
        Split(F.pad(x, (0, size - x.shape[-1]) * 2), names=tuple(smiles)) for x, smiles in parts
    )
    count = max(len(ELEMENTS), BOND_ORDERS) + 1
    domain = Domain("molecule", (size, size), Levels(count), elements=ELEMENTS)
    return DataSet(name, domain, train, test, notes)


def _hash(smiles: str) -> int:
    return int.from_bytes(hashlib.blake2b(smiles.encode(), digest_size=8).digest(), "big")


def of_found(contents: MoleculeContents, name: str) -> DataSet:
    """Make a data set of what was found in files.

    Raises:
        BadInput: There is too little of it; says why molecules were left out.
    """
    if not contents.molecules:
        reason = "; ".join(contents.notes()) or "it is empty"
        raise BadInput(f"'{name}' holds no molecule that can be used: {reason}.")
    note = f"canonical forms by RDKit {rdkit_version()}"
    return dataset(contents.molecules, name, notes=(*contents.notes(), note))


def in_space(path: Path, name: str) -> DataSet:
    """Make a data set of the molecules of structure files as they lie in space.

    Raises:
        BadInput: There are too few that have coordinates in space.
    """
    contents = point_cloud_files.PointCloudContents()
    for location, mol in structures(path):
        contents.entries += 1
        try:
            contents.frames.append(point_cloud_files.checked(_frame(mol, contents)))
        except point_cloud_files.UnusableFrame as reason:
            contents.left_out.setdefault(str(reason), []).append(location)
    return point_clouds.of_found(contents, name)


def _frame(mol: Any, contents: point_cloud_files.PointCloudContents) -> point_cloud_files.Frame:  # noqa: ANN401
    """Return the atoms of a molecule with their positions."""
    if mol is None:
        raise point_cloud_files.UnusableFrame(UNREADABLE)
    if not mol.GetNumConformers() or not mol.GetConformer().Is3D():
        raise point_cloud_files.UnusableFrame("is drawn in the plane, without places in space")
    symbols = tuple(atom.GetSymbol() for atom in mol.GetAtoms())
    if "H" not in symbols and any(atom.GetTotalNumHs() for atom in mol.GetAtoms()):
        contents.changes["molecules whose hydrogens are not in the file; none are added"] += 1
    coordinates = torch.tensor(mol.GetConformer().GetPositions(), dtype=torch.float32)
    return point_cloud_files.Frame(coordinates.view(-1, 3), symbols)


# QM9


def qm9_small() -> DataSet:
    """Load the shipped part of QM9 as graphs."""
    with as_file(files("trilemma.data") / "files" / "qm9-small.safetensors") as path:
        smiles_list = load_file(path)["smiles"].numpy().tobytes().decode().split("\n")
    contents = of_molecules(smiles_list)
    notes = (tables.CITED, *contents.notes())
    data = dataset(contents.molecules, "qm9-small", notes=notes)
    return replace(data, views={"conformer": lambda: tables.qm9_small(_canonical)})


def _canonical(smiles: str) -> str:
    """Return the spelling by which a molecule is known here."""
    return standardised(parsed(smiles)).smiles


def qm9() -> DataSet:
    """Load QM9 in space, and as graphs where that is asked for.

    Raises:
        BadInput: It was not fetched.
    """
    data = tables.qm9()
    return replace(data, views={"molecule": lambda: _as_graphs(data)})


def _as_graphs(data: DataSet) -> DataSet:
    """Return molecules in space as graphs, each once, on the sides that they have."""
    parts, notes = [], list(data.notes)
    for part, split in (("train", data.train), ("test", data.test)):
        contents = of_molecules(split.names or ())
        parts.append((to_tensors(contents.molecules), [one.smiles for one in contents.molecules]))
        notes += [f"{part}: {note}" for note in contents.notes()]
    return _assembled(data.name, parts, notes)


# MOSES


PARTS = {"train": 50_000, "test": 5_000}
"""Molecules that are taken of each part, by a fixed seed."""
TABLES = {part: f"moses/dataset/data/{part}.csv.gz" for part in PARTS}


def _of_moses(
    read: Callable[[str], bytes], progress: Progress | None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Take molecules of MOSES's own tables."""
    tensors: dict[str, Tensor] = {}
    notes: list[str] = []
    for part, count in PARTS.items():
        smiles_list = _first_column(gzip.decompress(read(TABLES[part])).decode())
        generator = torch.Generator().manual_seed(mix(0, "moses", part))
        rows = torch.randperm(len(smiles_list), generator=generator)[:count].sort().values
        contents = of_molecules(_counted([smiles_list[i] for i in rows.tolist()], progress))
        text = "\n".join(one.smiles for one in contents.molecules).encode()
        tensors[f"{part}.smiles"] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        tensors[f"{part}.x"] = to_tensors(contents.molecules)
        notes += [f"{part}: {note}" for note in contents.notes()]
    return tensors, {"rdkit": rdkit_version(), "notes": notes}


MOSES = WheelSet(
    "moses",
    Wheel(
        "molsets",
        "0.3.1",
        {
            TABLES["train"]: "786f0313aa6b9ba5514df685f885742a70ea8d86f1a4fa48115f7f80a634265c",
            TABLES["test"]: "f896fbf3764f88d94670b9959e5872c600c12152a18233823e820761b7a791b2",
        },
    ),
    _of_moses,
    "moses: D. Polykovskiy et al., Molecular Sets (MOSES), 2020. Licence: MIT; the molecules are "
    "of ZINC (T. Sterling & J. Irwin, 2015).",
)


def _counted(spelt: Sequence[str], progress: Progress | None) -> Iterator[str]:
    """Yield what there is, and tell now and then how much of it is done."""
    for processed, text in enumerate(spelt, 1):
        yield text
        if progress is not None and (processed % 200 == 0 or processed == len(spelt)):
            progress(processed, len(spelt))


def moses() -> DataSet:
    """Load what was fetched of MOSES.

    Raises:
        BadInput: It was not.
    """
    cached = cache.read(MOSES.cache_path)
    if cached is None:
        raise BadInput(
            "data set 'moses' is not on this machine; get it by 'trilemma data fetch moses' "
            f"({MOSES.wheel.words}), or give a .smi file of your own."
        )
    tensors, facts = cached
    parts = []
    for part in PARTS:
        smiles_list = tensors[f"{part}.smiles"].numpy().tobytes().decode().split("\n")
        parts.append((tensors[f"{part}.x"], smiles_list))
    notes = (
        "D. Polykovskiy et al., Molecular Sets (MOSES), 2020; MIT",
        f"{len(parts[0][1]):,} of 1,584,663 training and {len(parts[1][1]):,} of 176,074 test "
        "molecules, by a fixed seed; the authors' own split",
        *facts["notes"],
        f"canonical forms by RDKit {facts['rdkit']}",
    )
    return _assembled("moses", parts, notes)


def _first_column(text: str) -> list[str]:
    rows = csv.reader(io.StringIO(text))
    next(rows)
    return [row[0] for row in rows if row]
