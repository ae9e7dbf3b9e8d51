"""Pictures of molecules: sheets of many, real ones beside samples, the growth of one.

RDKit lays molecules out and draws them, in its own colours of the elements; what is written below
each is its canonical SMILES or what is given. Pictures are Pillow images on white; nothing is
written to disk here.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from trilemma.core.molecule import ELEMENTS, sizes
from trilemma.data.chemistry import NotUsable, chemistry, to_mol
from trilemma.pictures.panels import SIDE, joined, laid, shortened

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["growth", "pairs", "sheet"]

MAX_MOLECULES = 36
"""Molecules on a sheet at most."""


def sheet(
    x: Tensor,
    elements: Sequence[str] = ELEMENTS,
    words: Sequence[str] | None = None,
    columns: int | None = None,
) -> Image:
    """Draw molecules beside each other.

    Arguments:
        x: [B, N, N]; the first `MAX_MOLECULES` are drawn.
        elements: What the codes of atoms stand for.
        words: What stands below each; its SMILES by default.
        columns: Molecules in a row; about square by default.
    """
    x = x[:MAX_MOLECULES].cpu()
    captions = list(words or _spelt(x, elements))
    return laid([_panel(one, elements) for one in x], captions, columns)


def side_by_side(
    real: Tensor, samples: Tensor, elements: Sequence[str] = ELEMENTS, columns: int = 4
) -> Image:
    """Draw real molecules at the left and as many samples at the right."""
    count = min(len(real), len(samples), MAX_MOLECULES)
    halves = [
        laid(
            [_panel(one, elements) for one in x[:count].cpu()],
            _spelt(x[:count], elements),
            columns,
            title,
        )
        for title, x in (("real", real), ("samples", samples))
    ]
    return joined(halves, across=True)


def pairs(
    samples: Tensor, nearest: Tensor, elements: Sequence[str] = ELEMENTS, columns: int = 6
) -> Image:
    """Draw each sample above the training molecule that is most like it."""
    count = min(len(samples), len(nearest), MAX_MOLECULES)
    columns = max(1, min(columns, count))
    rows = []
    for start in range(0, count, columns):
        for x in (samples, nearest):
            part = x[start : min(start + columns, count)].cpu()
            panels = [_panel(one, elements) for one in part]
            rows.append(laid(panels, _spelt(part, elements), columns))
    return joined(rows, across=False)


def growth(frames: Sequence[Tensor], elements: Sequence[str] = ELEMENTS) -> list[Image]:
    """Draw molecules on their way; each atom stands where it stands in the last frame.

    Arguments:
        frames: [B, N, N] each; atom i of one frame is atom i of the next.
        elements: What the codes of atoms stand for.
    """
    frames = [x[:MAX_MOLECULES].cpu() for x in frames]
    coordinates = [_atom_coordinates(one, elements) for one in frames[-1]]
    pictures = []
    for x in frames:
        panels = [
            _panel(one, elements, atom_positions)
            for one, atom_positions in zip(x, coordinates, strict=True)
        ]
        pictures.append(laid(panels, [f"{int(n)} atoms" for n in sizes(x)], None))
    return pictures


def _spelt(x: Tensor, elements: Sequence[str]) -> list[str]:
    return [_smiles(one, elements) for one in x]


def _smiles(one: Tensor, elements: Sequence[str]) -> str:
    try:
        return shortened(chemistry().MolToSmiles(to_mol(one, elements)))
    except NotUsable:
        return "not valid"


def _atom_coordinates(one: Tensor, elements: Sequence[str]) -> Any:  # noqa: ANN401
    """Return coordinates of the atoms, [n, 2], as RDKit lays the molecule out."""
    from rdkit.Chem import rdDepictor

    try:
        mol = to_mol(one, elements)
    except NotUsable:
        return None
    rdDepictor.Compute2DCoords(mol)
    return mol.GetConformer().GetPositions()


def _panel(one: Tensor, elements: Sequence[str], coordinates: Any = None) -> Image:  # noqa: ANN401
    """Draw one molecule."""
    from PIL import Image
    from rdkit.Chem import Draw, rdDepictor
    from rdkit.Geometry import Point3D

    blank = Image.new("RGB", (SIDE, SIDE), "white")
    if not int(sizes(one[None])):
        return blank
    try:
        mol = to_mol(one, elements)
    except NotUsable:
        return blank
    canvas = Draw.MolDraw2DCairo(SIDE, SIDE)
    options = canvas.drawOptions()
    options.padding, options.bondLineWidth = 0.06, 2
    if coordinates is not None:
        chem = chemistry()
        conformer = chem.Conformer(mol.GetNumAtoms())
        for i in range(mol.GetNumAtoms()):
            conformer.SetAtomPosition(i, Point3D(*map(float, coordinates[i])))
        mol.AddConformer(conformer)
        low, high = coordinates[:, :2].min(0), coordinates[:, :2].max(0)
        from rdkit.Geometry import Point2D

        margin = 0.6
        canvas.SetScale(
            SIDE,
            SIDE,
            Point2D(*(low - margin).tolist()),
            Point2D(*(high + margin).tolist()),
        )
    else:
        rdDepictor.Compute2DCoords(mol)
    Draw.PrepareAndDrawMolecule(canvas, mol)
    canvas.FinishDrawing()
    return Image.open(io.BytesIO(canvas.GetDrawingText())).convert("RGB")
