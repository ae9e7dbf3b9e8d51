"""Make src/trilemma/data/files/qm9-small.safetensors from the PyPI package qm9pack.

Run with the extra 'molecules': python scripts/make_qm9_small.py qm9pack-1.0.3-py3-none-any.whl
"""

from __future__ import annotations

import ast
import csv
import io
import sys
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from trilemma.data.chemistry import NotUsable, parsed, standardised
from trilemma.data.qm9 import PROPERTIES

TO = Path(__file__).parent.parent / "src" / "trilemma" / "data" / "files" / "qm9-small.safetensors"
PARTS = tuple(f"qm9pack/data/qm9_part{k}.csv" for k in (1, 2, 3))
EVERY, COUNT = 160, 800
"""One row in so many is looked at, until so many molecules are found."""
CODES = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9}


def main(wheel: str) -> None:
    """Write SMILES, charges of nuclei, coordinates in ångström, properties, and QM9's numbers."""
    smiles, charges, places, counts, properties, numbers = [], [], [], [], [], []
    csv.field_size_limit(1 << 24)
    row = 0
    with zipfile.ZipFile(wheel) as packed:
        for part in PARTS:
            with packed.open(part) as file:
                for entry in csv.DictReader(io.TextIOWrapper(file, "utf-8")):
                    row += 1
                    if row % EVERY or len(smiles) == COUNT or not _is_usable(entry["SMILES"]):
                        continue
                    elements = entry["Elements"].strip("[]").replace("'", "").split(",")
                    smiles.append(entry["SMILES"])
                    charges += [CODES[symbol.strip()] for symbol in elements]
                    places += ast.literal_eval(entry["XYZ_Ang"].replace("*^", "e"))
                    counts.append(len(elements))
                    properties.append([one.of(entry) for one in PROPERTIES.values()])
                    numbers.append(int(entry["Index"]))
    text = bytearray("\n".join(smiles).encode())
    tensors = {
        "smiles": torch.frombuffer(text, dtype=torch.uint8),
        "charges": torch.tensor(charges, dtype=torch.uint8),
        "positions": torch.tensor(places, dtype=torch.float32),
        "atoms": torch.tensor(counts, dtype=torch.uint8),
        "properties": torch.tensor(properties, dtype=torch.float32),
        "index": torch.tensor(numbers, dtype=torch.int32),
    }
    save_file(tensors, TO)
    print(f"{len(smiles)} molecules, {TO.stat().st_size:,} bytes")


def _is_usable(smiles: str) -> bool:
    try:
        standardised(parsed(smiles))
    except NotUsable:
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1])
