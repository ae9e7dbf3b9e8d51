r"""Between tensors of molecules (`core.molecule`) and RDKit's: reading, spelling, standardising.

A molecule of a file is made one of ours so:

    fragments           the one of most heavy atoms is kept
    isotopes            labels are taken off
    charges             are neutralised by moving hydrogens; what then has one still is left out
    radicals            are filled with hydrogen
    stereochemistry     is taken off
    aromatic rings      get their single and double bonds

What changed a molecule, and why one is left out, is said of each, to be counted. The atoms lie in
the order of the canonical SMILES, so that one molecule is one tensor however it was spelt.

RDKit comes with the extra `molecules`; it is imported where a molecule is first asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.core.molecule import BOND_ORDERS, ELEMENTS, VALENCES

__all__ = [
    "MISSING",
    "Molecule",
    "NotUsable",
    "canonical",
    "fingerprints",
    "laid_out",
    "muted",
    "parsed",
    "rdkit_version",
    "scaffold",
    "standardised",
    "to_mol",
    "to_smiles",
    "to_tensors",
]

MISSING = "molecules need RDKit, which is not installed; pip install 'trilemma[molecules]'."
UNREADABLE = "does not parse or kekulise"

Mol = Any
"""rdkit.Chem.Mol."""


class NotUsable(Exception):
    """Why a molecule is left out, in a few words that are equal for equal reasons."""


@dataclass(frozen=True)
class Molecule:
    """A molecule as it is trained on."""

    x: UInt8[Tensor, "n n"]
    smiles: str
    """Canonical, without stereochemistry, by the installed version of RDKit."""
    changes: frozenset[str] = frozenset()
    """What was changed: 'fragments', 'isotopes', 'charges', 'radicals', 'stereochemistry'."""


@cache
def chemistry() -> Any:  # noqa: ANN401
    """Return the module rdkit.Chem.

    Raises:
        BadInput: It is not installed.
    """
    try:
        from rdkit import Chem
    except ImportError:
        raise BadInput(MISSING) from None
    return Chem


def rdkit_version() -> str:
    """Return the version by which molecules are spelt and judged."""
    chemistry()
    import rdkit

    return rdkit.__version__


@contextmanager
def muted() -> Iterator[None]:
    """Keep RDKit's own warnings off the terminal: what is left out is counted instead."""
    chemistry()
    from rdkit import rdBase

    block = rdBase.BlockLogs()
    try:
        yield
    finally:
        del block


def parsed(smiles: str) -> Mol:
    """Read a SMILES.

    Raises:
        NotUsable: RDKit does not read it.
    """
    with muted():
        mol = chemistry().MolFromSmiles(smiles)
    if mol is None:
        raise NotUsable(UNREADABLE)
    return mol


def canonical(smiles: str) -> str | None:
    """Return the canonical spelling of a SMILES as it stands; None where it is none."""
    try:
        return chemistry().MolToSmiles(parsed(smiles))
    except NotUsable:
        return None


def standardised(
    mol: Mol, *, elements: Sequence[str] = ELEMENTS, most: int | None = None
) -> Molecule:
    """Make a molecule one of ours.

    Arguments:
        mol: A sanitised rdkit.Chem.Mol; it is not changed.
        elements: The vocabulary.
        most: Heavy atoms that a molecule may have; None for any number.

    Raises:
        NotUsable: It cannot be: the reason.
    """
    chem, changes = chemistry(), set()
    with muted():
        try:
            smiles = chem.MolToSmiles(mol)
            if not _is_plain(smiles):
                mol, changes = _changed(mol)
                smiles = chem.MolToSmiles(mol)
            # In the order of the canonical spelling, so that one molecule is one tensor.
            reparsed = chem.MolFromSmiles(smiles)
            if reparsed is None:
                raise NotUsable(UNREADABLE)
            x = _tensor(reparsed, elements, most)
            if not _is_plain(smiles) and to_smiles(x[None], elements)[0] != smiles:
                raise NotUsable("has a valence that hydrogens do not fill")
        except (chem.MolSanitizeException, RuntimeError):
            raise NotUsable(UNREADABLE) from None
    return Molecule(x, smiles, frozenset(changes))


def _is_plain(smiles: str) -> bool:
    """Tell of a canonical SMILES whether it has one fragment and no atom with a mark."""
    return not set(smiles.replace("[nH]", "")) & set("[./\\@")


def _changed(mol: Mol) -> tuple[Mol, set[str]]:
    """Return a molecule without fragments, isotopes, charges, radicals and stereochemistry."""
    chem, changes = chemistry(), set()
    if len(pieces := chem.GetMolFrags(mol, asMols=True)) > 1:
        mol = max(pieces, key=lambda piece: piece.GetNumHeavyAtoms())
        changes.add("fragments")
    mol = chem.Mol(mol)
    for atom in mol.GetAtoms():
        if atom.GetIsotope():
            changes.add("isotopes")
            atom.SetIsotope(0)
    mol = chem.RemoveHs(mol)
    if chem.GetFormalCharge(mol) or any(atom.GetFormalCharge() for atom in mol.GetAtoms()):
        changes.add("charges")
        mol = _uncharger().uncharge(mol)
    is_marked = False
    for atom in mol.GetAtoms():
        is_marked |= bool(atom.GetChiralTag())
        if atom.GetNumRadicalElectrons():
            changes.add("radicals")
            atom.SetNumRadicalElectrons(0)
            atom.SetNoImplicit(False)
    if "radicals" in changes:
        chem.SanitizeMol(mol)
    if is_marked or any(bond.GetStereo() for bond in mol.GetBonds()):
        changes.add("stereochemistry")
        chem.RemoveStereochemistry(mol)
    return mol, changes


@cache
def _uncharger() -> Any:  # noqa: ANN401
    from rdkit.Chem.MolStandardize import rdMolStandardize

    return rdMolStandardize.Uncharger()


def _tensor(mol: Mol, elements: Sequence[str], most: int | None) -> Tensor:
    """Return a molecule in the order of its atoms.

    Raises:
        NotUsable: It has what ours have not.
    """
    chem = chemistry()
    mol = chem.Mol(mol)
    chem.Kekulize(mol, clearAromaticFlags=True)
    atoms = list(mol.GetAtoms())
    if not mol.GetNumHeavyAtoms():
        raise NotUsable("has no heavy atom")
    symbols = [atom.GetSymbol() for atom in atoms]
    if unknown_elements := sorted(set(symbols) - set(elements)):
        raise NotUsable(f"has atoms outside the vocabulary: {', '.join(unknown_elements)}")
    if any(atom.GetFormalCharge() for atom in atoms):
        raise NotUsable("has charges that cannot be neutralised")
    if most is not None and len(atoms) > most:
        raise NotUsable(f"has more than {most} heavy atoms")
    orders = torch.from_numpy(chem.GetAdjacencyMatrix(mol, useBO=True))
    if bool((orders != orders.round()).any()) or bool((orders > BOND_ORDERS).any()):
        raise NotUsable("has a bond that is neither single, double nor triple")
    most_bonds = torch.tensor([VALENCES[symbol] for symbol in symbols])
    if bool((orders.sum(1) > most_bonds).any()):
        raise NotUsable("has a valence beyond those of the vocabulary")
    code = {symbol: k for k, symbol in enumerate(elements, 1)}
    codes = torch.tensor([code[symbol] for symbol in symbols])
    return (orders.long() + codes.diag()).to(torch.uint8)


def to_mol(x: UInt8[Tensor, "N N"], elements: Sequence[str] = ELEMENTS) -> Mol:
    """Return one molecule as a sanitised rdkit.Chem.Mol.

    Raises:
        NotUsable: RDKit does not accept it.
    """
    chem = chemistry()
    editable = chem.RWMol()
    rows = x.tolist()
    atom_rows = [i for i in range(len(rows)) if rows[i][i]]
    atom_index = {i: editable.AddAtom(chem.Atom(elements[rows[i][i] - 1])) for i in atom_rows}
    bond_types = (None, chem.BondType.SINGLE, chem.BondType.DOUBLE, chem.BondType.TRIPLE)
    for i in atom_rows:
        for j in atom_rows:
            if j > i and rows[i][j]:
                editable.AddBond(atom_index[i], atom_index[j], bond_types[rows[i][j]])
    with muted():
        try:
            chem.SanitizeMol(editable)
        except (chem.MolSanitizeException, RuntimeError):
            raise NotUsable("is refused by RDKit") from None
    return editable.GetMol()


def to_smiles(x: UInt8[Tensor, "B N N"], elements: Sequence[str] = ELEMENTS) -> list[str]:
    """Return canonical SMILES; '' for what RDKit does not accept, and for no atoms."""
    chem, smiles_list = chemistry(), []
    for one in x.cpu():
        try:
            smiles_list.append(chem.MolToSmiles(to_mol(one, elements)))
        except NotUsable:
            smiles_list.append("")
    return smiles_list


@lru_cache(maxsize=2**14)
def scaffold(smiles: str) -> str:
    """Return the Bemis-Murcko scaffold: rings and what links them; '' where there is no ring."""
    from rdkit.Chem.Scaffolds import MurckoScaffold

    with muted():
        return MurckoScaffold.MurckoScaffoldSmiles(mol=chemistry().MolFromSmiles(smiles))


def fingerprints(smiles: Sequence[str], radius: int = 2, bits: int = 2048) -> Tensor:
    """Return Morgan fingerprints of SMILES, [N, bits] of zeros and ones; zeros of ''."""
    chem = chemistry()
    from rdkit.Chem import rdFingerprintGenerator

    generator = rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=bits)
    out = torch.zeros(len(smiles), bits)
    with muted():
        for row, text in zip(out, smiles, strict=True):
            if text:
                row += torch.from_numpy(generator.GetFingerprintAsNumPy(chem.MolFromSmiles(text)))
    return out


def laid_out(mol: Mol) -> str:
    """Return a molecule as a connection table (V2000), laid out in the plane."""
    from rdkit.Chem import rdDepictor

    rdDepictor.Compute2DCoords(mol)
    return chemistry().MolToMolBlock(mol)


def to_tensors(molecules: Iterable[Molecule], limit: int | None = None) -> UInt8[Tensor, "B N N"]:
    """Lay molecules into one tensor; N is the largest unless a limit is given."""
    matrices = [one.x for one in molecules]
    size = limit or max((len(x) for x in matrices), default=1)
    out = torch.zeros(len(matrices), size, size, dtype=torch.uint8)
    for row, x in zip(out, matrices, strict=True):
        row[: len(x), : len(x)] = x
    return out
