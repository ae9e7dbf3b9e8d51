"""Molecules in files: canonical SMILES, a line each, or connection tables with coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from trilemma.data.chemistry import NotUsable, laid_out, to_mol, to_smiles

__all__ = ["FORMS", "write"]

FORMS = (".smi", ".sdf")


def write(x: UInt8[Tensor, "B N N"], path: Path, form: str, elements: Sequence[str]) -> None:
    """Write molecules to a file; what RDKit refuses is left out of an .sdf, an empty line of .smi.

    Arguments:
        x: Molecules.
        path: Where.
        form: One of `FORMS`.
        elements: What the codes of atoms stand for.
    """
    if form == ".smi":
        path.write_text("".join(f"{smiles}\n" for smiles in to_smiles(x, elements)))
        return
    entries = []
    for one in x:
        try:
            entries.append(laid_out(to_mol(one, elements)) + "$$$$\n")
        except NotUsable:
            continue
    path.write_text("".join(entries))
