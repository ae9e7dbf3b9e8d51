r"""Molecules as tensors: a molecule of at most N heavy atoms is one symmetric matrix.

    x[i, i] = k   atom i is there and is the k-th element of the vocabulary, k = 1, 2, …
    x[i, j] = b   atoms i and j share b pairs of electrons: 0 not bonded, 1 single, 2 double,
                  3 triple (i != j)

Atoms 0 … n - 1 are there and the others are not. The order of the atoms says nothing. Molecules
are kekulised: aromatic rings have their single and double bonds. Atoms carry no charge and no
isotope, and stereochemistry is not kept. Hydrogen is implied: what an atom's bonds leave of its
valence,

    free_i = valence(x[i, i]) - sum_j x[i, j]

is filled with hydrogens, and `free >= 0` everywhere is what makes a molecule valid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor

__all__ = [
    "BOND_ORDERS",
    "ELEMENTS",
    "VALENCES",
    "atoms",
    "bonds",
    "free_valence",
    "molecule",
    "present",
    "sizes",
    "valences",
]

VALENCES: Mapping[str, int] = {
    "C": 4, "N": 3, "O": 2, "S": 6, "P": 5, "F": 1, "I": 1, "Cl": 1, "Br": 1,
}  # fmt: skip
"""Most that the bonds of a neutral atom may sum up to, by element."""
ELEMENTS = tuple(VALENCES)
"""The nine elements of GCPN; the k-th stands for k."""
BOND_ORDERS = 3
"""Single, double and triple."""


def atoms(x: UInt8[Tensor, "*B N N"]) -> UInt8[Tensor, "*B N"]:
    """Return which element each atom is, as a view; 0 where there is none."""
    return x.diagonal(dim1=-2, dim2=-1)


def present(x: UInt8[Tensor, "*B N N"]) -> Bool[Tensor, "*B N"]:
    """Tell which atoms are there."""
    return atoms(x) > 0


def sizes(x: UInt8[Tensor, "*B N N"]) -> Int[Tensor, "*B"]:
    """Return the number of heavy atoms of each molecule.

    >>> sizes(molecule([1, 3], [(0, 1, 1)], limit=5)).item()
    2
    """
    return present(x).sum(-1)


def bonds(x: UInt8[Tensor, "*B N N"]) -> UInt8[Tensor, "*B N N"]:
    """Return the orders of the bonds: x with zeros on its diagonal.

    >>> bonds(molecule([1, 3], [(0, 1, 2)])).tolist()
    [[0, 2], [2, 0]]
    """
    return x.clone().diagonal_scatter(torch.zeros_like(atoms(x)), dim1=-2, dim2=-1)


def valences(
    elements: Sequence[str] = ELEMENTS, device: torch.device | str = "cpu"
) -> Int[Tensor, " K"]:
    """Return the valence of each code: 0 for no atom, then that of each element.

    >>> valences(("C", "O")).tolist()
    [0, 4, 2]
    """
    return torch.tensor([0, *(VALENCES[element] for element in elements)], device=device)


def free_valence(x: UInt8[Tensor, "*B N N"], valence: Int[Tensor, " K"]) -> Int[Tensor, "*B N"]:
    """Return the bonds that each atom can still make; below 0 where there are too many.

    Arguments:
        x: Molecules.
        valence: Of each code, as `valences` gives it.

    >>> free_valence(molecule([1, 3], [(0, 1, 2)], limit=3), valences()).tolist()
    [2, 0, 0]
    """
    elements = atoms(x).long()
    return valence[elements] - (x.sum(-1, dtype=torch.int64) - elements)


def molecule(
    codes: Sequence[int], bonded: Sequence[tuple[int, int, int]], limit: int | None = None
) -> UInt8[Tensor, "N N"]:
    """Make one molecule.

    Arguments:
        codes: The element of each atom, 1, 2, ….
        bonded: Pairs of atoms with the order of their bond.
        limit: N; the number of atoms by default.

    >>> molecule([1, 3], [(0, 1, 1)]).tolist()
    [[1, 1], [1, 3]]
    """
    padded_size = limit or len(codes)
    rows = [[0] * padded_size for _ in range(padded_size)]
    for i, code in enumerate(codes):
        rows[i][i] = code
    for i, j, order in bonded:
        rows[i][j] = rows[j][i] = order
    return torch.tensor(rows, dtype=torch.uint8).view(padded_size, padded_size)
