"""QM9: molecules of up to nine heavy atoms in space, with properties of quantum chemistry.

    qm9         130,831 molecules, found in a package, by the field's split
    qm9-small   the same 800 molecules as the shipped graphs

Properties, at B3LYP/6-31G(2df,p), in the units of the field:

    mu      dipole moment, debye              gap     lumo - homo, eV
    alpha   isotropic polarisability, bohr³   r2      electronic spatial extent, bohr²
    homo    energy of the highest occupied    zpve    zero-point vibrational energy, eV
            orbital, eV                       cv      heat capacity at 298.15 K, cal/(mol K)
    lumo    of the lowest unoccupied, eV

The tables have energies in hartree, 27.211386 eV.

References:
    | Quantum chemistry structures and properties of 134 kilo molecules (Ramakrishnan, Dral, Rupp &
      von Lilienfeld, 2014)
    | E(n) Equivariant Graph Neural Networks (Garcia Satorras, Hoogeboom & Welling, 2021), for the
      split into 100,000, 17,748 and 13,083
"""

from __future__ import annotations

import ast
import csv
import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.core.point_cloud import centred, positions
from trilemma.data.dataset import DataSet, Split
from trilemma.data.elements import SYMBOLS, atomic_number
from trilemma.data.pictures import Progress
from trilemma.data.point_clouds import Properties, assembled, dataset
from trilemma.data.split import is_test
from trilemma.data.wheel import Wheel, WheelSet

__all__ = ["CITED", "PROPERTIES", "QM9", "TabulatedProperty", "qm9", "qm9_small"]

ELEMENTS = ("H", "C", "N", "O", "F")
CODES = {atomic_number(symbol): k for k, symbol in enumerate(ELEMENTS, 1)}
CITED = (
    "R. Ramakrishnan et al., Quantum chemistry structures and properties of 134 kilo molecules "
    "(2014); CC0"
)
TEST_SHARE = 0.2
HARTREE = 27.211386245988
"""In electronvolts."""


@dataclass(frozen=True)
class TabulatedProperty:
    """A column of QM9's tables."""

    column: str
    unit: str
    """In which it is kept."""
    factor: float = 1.0
    """From the table's unit to this one."""

    def of(self, row: Mapping[str, str]) -> float:
        """Read it of a row."""
        return float(row[self.column]) * self.factor


PROPERTIES: Mapping[str, TabulatedProperty] = {
    "mu": TabulatedProperty("Dipole_debye", "D"),
    "alpha": TabulatedProperty("Polarizability_bohr3", "bohr³"),
    "homo": TabulatedProperty("HOMO_au", "eV", HARTREE),
    "lumo": TabulatedProperty("LUMO_au", "eV", HARTREE),
    "gap": TabulatedProperty("HOMO_LUMO_gap_au", "eV", HARTREE),
    "r2": TabulatedProperty("R2_bohr2", "bohr²"),
    "zpve": TabulatedProperty("ZPVE_au", "eV", HARTREE),
    "cv": TabulatedProperty("Heatcapacity_Cv_cal_mol_K", "cal/(mol K)"),
}
"""By name, in the order in which they are kept; one more is a line here."""


def qm9_small(names: Callable[[str], str]) -> DataSet:
    """Load the shipped part of QM9 in space.

    Arguments:
        names: Gives a SMILES its canonical spelling, by which molecules are split as their graphs
            are.
    """
    with as_file(files("trilemma.data") / "files" / "qm9-small.safetensors") as path:
        tensors = load_file(path)
    smiles_list = [names(s) for s in tensors["smiles"].numpy().tobytes().decode().split("\n")]
    test_mask = is_test([_hash(smiles.encode()) for smiles in smiles_list], TEST_SHARE)
    clouds = list(
        _typed(tensors["positions"], tensors["charges"]).split(tensors["atoms"].long().tolist())
    )
    return dataset(
        clouds,
        test_mask,
        "qm9-small",
        elements=ELEMENTS,
        names=smiles_list,
        properties=_to_properties(tensors["properties"]),
        notes=(CITED, "split by molecule, a fifth for testing"),
    )


def _hash(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")


def _to_properties(table: Float[Tensor, "M P"]) -> Properties:
    """Return the columns of the table as properties, by name and with their units."""
    columns = zip(PROPERTIES.items(), table.unbind(1), strict=True)
    return {name: (one.unit, values) for (name, one), values in columns}


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
    """Take atoms, positions, properties and SMILES of the package's tables."""
    charges, coordinates, counts, smiles_list = bytearray(), [], bytearray(), []
    numbers: list[list[float]] = []
    csv.field_size_limit(1 << 24)
    for part in (1, 2, 3):
        for row in csv.DictReader(io.StringIO(read(TABLE.format(part)).decode())):
            symbols = ast.literal_eval(row["Elements"])
            charges += bytes(SYMBOLS.index(symbol) + 1 for symbol in symbols)
            coordinate_text = row["XYZ_Ang"].replace("*^", "e").replace("[", "").replace("]", "")
            coordinates.append(np.array(coordinate_text.split(","), np.float32).reshape(-1, 3))
            counts.append(len(symbols))
            smiles_list.append(row["SMILES"])
            numbers.append([one.of(row) for one in PROPERTIES.values()])
            if progress is not None and len(smiles_list) % 1000 == 0:
                progress(len(smiles_list), MOLECULES)
    text = bytearray("\n".join(smiles_list).encode())
    return {
        "positions": torch.from_numpy(np.concatenate(coordinates)),
        "charges": torch.frombuffer(charges, dtype=torch.uint8),
        "atoms": torch.frombuffer(counts, dtype=torch.uint8),
        "properties": torch.tensor(numbers, dtype=torch.float32),
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
    tensors=("positions", "charges", "atoms", "properties", "smiles"),
)


def qm9() -> DataSet:
    """Load what was fetched of QM9, with the split of the field.

    Raises:
        BadInput: It was not fetched, or by a version that kept no properties.
    """
    cached = QM9.read()
    if cached is None:
        instructions = (
            f"'trilemma data fetch qm9' ({QM9.wheel.words}), or use 'qm9-small', which is shipped."
        )
        if QM9.available():
            raise BadInput(
                "data set 'qm9' lies here damaged, or as an earlier version kept it, without "
                f"properties; get it anew by {instructions}"
            )
        raise BadInput(f"data set 'qm9' is not on this machine; get it by {instructions}")
    tensors = cached[0]
    smiles_list = tensors["smiles"].numpy().tobytes().decode().split("\n")
    x = _dense(tensors["positions"], tensors["charges"], tensors["atoms"])
    order = torch.from_numpy(np.random.RandomState(0).permutation(len(smiles_list)))
    train, _, test = order.split(list(SPLIT))
    notes = (
        CITED,
        "the field's split: 100,000 for training, 13,083 for testing; 17,748 for validation are "
        "not used",
    )
    examples = Split(x, names=smiles_list)
    return assembled(
        "qm9", examples, (train, test), ELEMENTS, _to_properties(tensors["properties"]), notes
    )


def _dense(at: Tensor, charges: Tensor, atoms: Tensor) -> Float[Tensor, "M N 4"]:
    """Lay arrays of all atoms into one tensor, centred."""
    count = atoms.long()
    x = torch.zeros(len(count), int(count.max()), 4)
    is_atom = torch.arange(x.shape[1]) < count[:, None]
    x[is_atom] = _typed(at, charges)
    x[..., :3] = centred(positions(x), is_atom)
    return x
