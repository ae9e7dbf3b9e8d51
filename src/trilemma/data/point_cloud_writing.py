"""Point clouds and molecules in space in files: .xyz, and .sdf with perceived bonds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.core.point_cloud import mask_of
from trilemma.data.bond_perception import bond_orders, to_mol_in_space
from trilemma.data.chemistry import NotUsable, chemistry

__all__ = ["FORMS", "connection_table", "write"]

FORMS = (".xyz", ".sdf")


def write(x: Float[Tensor, "B N 4"], path: Path, form: str, elements: Sequence[str]) -> int:
    """Write clouds to a file.

    An .xyz has every cloud, points that are no atoms under the symbol X; an .sdf has molecules
    with the bonds that their distances say, and leaves out what RDKit refuses.

    Returns:
        How many were left out.

    Raises:
        BadInput: An .sdf of points that are no atoms, or of molecules none of which is accepted.
    """
    if form == ".xyz":
        path.write_text("".join(_frame(one, elements) for one in x.tolist()), encoding="utf-8")
        return 0
    if not elements:
        raise BadInput("an .sdf holds molecules, and these are points; use .xyz or .npz.")
    entries = []
    for one in x.cpu():
        try:
            mol = to_mol_in_space(one, elements)
        except NotUsable:
            continue
        entries.append(chemistry().MolToMolBlock(mol) + "$$$$\n")
    if not entries and len(x):
        raise BadInput(
            f"RDKit accepts none of these {int(mask_of(x).any(1).sum())} molecules, so that an "
            ".sdf would be empty; use .xyz, which holds atoms alone."
        )
    path.write_text("".join(entries), encoding="utf-8")
    return len(x) - len(entries)


def connection_table(x: Float[Tensor, "N 4"], elements: Sequence[str]) -> str:
    """Return one molecule as a connection table V2000, whether or not RDKit accepts it.

    It is an entry of an .sdf without its last line: positions in ångström to four decimals, and
    the bonds that their distances say.

    Arguments:
        x: Atoms in space, in ångström.
        elements: What the types are.

    Raises:
        BadInput: There are more than 999 atoms or bonds, or positions that are not finite or
            beyond 9,999 Å, which have no room in the table.
    """
    count = int(mask_of(x).sum())
    rows = x[:count].tolist()
    orders = bond_orders(x[None, :count].cpu(), elements)[0]
    bonds = [(i, j, int(orders[i, j])) for i, j in orders.triu(1).nonzero().tolist()]
    if max(count, len(bonds)) > 999 or not all(abs(v) < 9999 for row in rows for v in row[:3]):
        raise BadInput("a connection table has room for 999 atoms and bonds within 9,999 Å.")
    atoms = [
        f"{a:10.4f}{b:10.4f}{c:10.4f} {elements[int(kind) - 1]:<3}" + " 0" + "  0" * 11
        for a, b, c, kind in rows
    ]
    lines = [
        "",
        f"  trilemma{'3D':>12}",
        "",
        f"{count:3d}{len(bonds):3d}" + "  0" * 8 + "999 V2000",
        *atoms,
        *(f"{i + 1:3d}{j + 1:3d}{order:3d}  0" for i, j, order in bonds),
        "M  END",
    ]
    return "\n".join(lines) + "\n"


def _frame(rows: Sequence[Sequence[float]], elements: Sequence[str]) -> str:
    atoms = [row for row in rows if row[3] > 0]
    lines = [
        f"{elements[int(row[3]) - 1] if elements else 'X'} {row[0]:.6f} {row[1]:.6f} {row[2]:.6f}"
        for row in atoms
    ]
    return "\n".join([str(len(atoms)), "trilemma", *lines]) + "\n"
