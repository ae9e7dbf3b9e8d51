r"""Bonds of molecules in space, by the distances of their atoms; and what follows from them.

Two atoms of a pair of elements share

    3 electron pairs   where d < l_3 + 3 pm
    2                  else where d < l_2 + 5 pm
    1                  else where d < l_1 + 10 pm
    none               otherwise

with l_k the usual length of such a bond. Margins and lengths are those by which the field counts
stable atoms on QM9 (Hoogeboom et al.); they were chosen so that QM9's own molecules are stable.
An atom is *stable* if the orders of its bonds sum up to its valence; a molecule if all atoms are.
There are no charges here: zwitterions and nitro groups of real data are not stable, so that real
molecules do not reach 100 %.

References:
    Equivariant Diffusion for Molecule Generation in 3D (Hoogeboom, Garcia Satorras, Vignac &
    Welling, 2022), arXiv:2203.17003, appendix: lengths and margins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trilemma.core.point_cloud import mask_of, positions, types
from trilemma.data.chemistry import NotUsable, chemistry, muted

__all__ = ["VALENCE", "bond_orders", "is_stable", "largest_fragment", "spelt", "to_mol_in_space"]

VALENCE: Mapping[str, int] = {
    "H": 1, "C": 4, "N": 3, "O": 2, "F": 1, "B": 3, "Si": 4, "P": 5, "S": 4, "Cl": 1, "Br": 1,
    "I": 1,
}  # fmt: skip
"""Bonds of a stable atom."""
SINGLE: Mapping[str, Mapping[str, int]] = {
    "H": {"H": 74, "C": 109, "N": 101, "O": 96, "F": 92, "B": 119, "Si": 148, "P": 144, "S": 134,
          "Cl": 127, "Br": 141, "I": 161},
    "C": {"C": 154, "N": 147, "O": 143, "F": 135, "Si": 185, "P": 184, "S": 182, "Cl": 177,
          "Br": 194, "I": 214},
    "N": {"N": 145, "O": 140, "F": 136, "P": 177, "S": 168, "Cl": 175, "Br": 214, "I": 222},
    "O": {"O": 148, "F": 142, "Si": 163, "P": 163, "S": 151, "Cl": 164, "Br": 172, "I": 194},
    "F": {"F": 142, "Si": 160, "P": 156, "S": 158, "Cl": 166, "Br": 178, "I": 187},
}  # fmt: skip
"""Usual lengths in picometres, of single bonds."""
DOUBLE: Mapping[str, Mapping[str, int]] = {
    "C": {"C": 134, "N": 129, "O": 120, "S": 160},
    "N": {"N": 125, "O": 121},
    "O": {"O": 121, "P": 150},
}
TRIPLE: Mapping[str, Mapping[str, int]] = {
    "C": {"C": 120, "N": 116, "O": 113},
    "N": {"N": 110},
}
MARGINS = (10, 5, 3)
"""Picometres by which a bond of order 1, 2, 3 may be longer."""


def _limits(elements: Sequence[str]) -> Float[Tensor, "3 K K"]:
    """Return the distances in ångström below which a pair has a bond of order 1, 2, 3."""
    count = len(elements) + 1
    out = torch.zeros(3, count, count)
    for order, (table, margin) in enumerate(zip((SINGLE, DOUBLE, TRIPLE), MARGINS, strict=True)):
        for i, element_a in enumerate(elements, 1):
            for j, element_b in enumerate(elements, 1):
                length = table.get(element_a, {}).get(element_b) or table.get(element_b, {}).get(
                    element_a
                )
                if length is not None:
                    out[order, i, j] = (length + margin) / 100
    return out


def bond_orders(x: Float[Tensor, "B N 4"], elements: Sequence[str]) -> Int[Tensor, "B N N"]:
    """Return the order of the bond of each pair of atoms, 0 to 3.

    A double bond needs its single one, a triple one both, as their lengths have it.

    Arguments:
        x: Molecules in space, in ångström.
        elements: What the types are.

    >>> x = torch.tensor([[[0.0, 0, 0, 1], [1.2, 0, 0, 1], [9, 9, 9, 1]]])
    >>> bond_orders(x, ("C",))[0].tolist()
    [[0, 3, 0], [3, 0, 0], [0, 0, 0]]
    """
    coordinates, atom_types = positions(x), types(x)
    distances = (coordinates[:, :, None] - coordinates[:, None]).square().sum(-1).sqrt()
    limits = _limits(elements).to(x)[:, atom_types[:, :, None], atom_types[:, None]]
    below_limit = distances < limits
    order = (
        below_limit[0].long()
        + (below_limit[0] & below_limit[1])
        + (below_limit[0] & below_limit[1] & below_limit[2])
    )
    return order * (1 - torch.eye(x.shape[1], dtype=torch.long, device=x.device))


def is_stable(
    x: Float[Tensor, "B N 4"], elements: Sequence[str]
) -> tuple[Bool[Tensor, "B N"], Bool[Tensor, "B N"]]:
    """Tell which atoms are stable, and which atoms there are."""
    valence = torch.tensor([0, *(VALENCE.get(element, -1) for element in elements)]).to(x.device)
    mask = mask_of(x)
    return (bond_orders(x, elements).sum(-1) == valence[types(x)]) & mask, mask


def to_mol_in_space(
    x: Float[Tensor, "N 4"], elements: Sequence[str], orders: Tensor | None = None
) -> Any:  # noqa: ANN401
    """Return one molecule as a sanitised rdkit.Chem.Mol with its positions and hydrogens.

    Arguments:
        x: Atoms in space, in ångström.
        elements: What the types are.
        orders: Of the bonds, if they are known.

    Raises:
        NotUsable: RDKit does not accept it.
    """
    chem = chemistry()
    orders = bond_orders(x[None].cpu(), elements)[0] if orders is None else orders
    bond_types = (None, chem.BondType.SINGLE, chem.BondType.DOUBLE, chem.BondType.TRIPLE)
    editable, rows = chem.RWMol(), x.tolist()
    count = int(mask_of(x).sum())
    for row in rows[:count]:
        atom = chem.Atom(elements[int(row[3]) - 1])
        atom.SetNoImplicit(True)  # hydrogens are among the atoms: none is added
        editable.AddAtom(atom)
    for i, j in orders[:count, :count].triu(1).nonzero().tolist():
        editable.AddBond(i, j, bond_types[int(orders[i, j])])
    conformer = chem.Conformer(count)
    for i, row in enumerate(rows[:count]):
        conformer.SetAtomPosition(i, row[:3])
    editable.AddConformer(conformer, assignId=True)
    with muted():
        try:
            chem.SanitizeMol(editable)
        except (chem.MolSanitizeException, RuntimeError):
            raise NotUsable("is refused by RDKit") from None
    return editable.GetMol()


def largest_fragment(mol: Any) -> tuple[Any, int]:  # noqa: ANN401
    """Return the fragment of most atoms, and how many fragments there are."""
    pieces = chemistry().GetMolFrags(mol, asMols=True)
    return max(pieces, key=lambda piece: piece.GetNumAtoms()), len(pieces)


def spelt(x: Float[Tensor, "B N 4"], elements: Sequence[str]) -> list[tuple[str, bool]]:
    """Return each molecule's canonical SMILES, and whether it is in one piece.

    As the field counts: the whole must be accepted by RDKit, radicals and all, and the largest
    fragment is spelt, without hydrogens and stereochemistry; '' of what is not accepted.
    """
    chem, spellings = chemistry(), []
    orders = torch.cat([bond_orders(part, elements) for part in x.cpu().split(1024)])
    for one, order in zip(x.cpu(), orders, strict=True):
        try:
            mol, pieces = largest_fragment(to_mol_in_space(one, elements, order))
            with muted():
                smiles = chem.MolToSmiles(chem.RemoveHs(mol), isomericSmiles=False)
        except (NotUsable, chem.MolSanitizeException, RuntimeError, ValueError):
            spellings.append(("", False))
            continue
        spellings.append((smiles, pieces == 1))
    return spellings
