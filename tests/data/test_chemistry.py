"""Between tensors and RDKit: what is changed, what is left out, and that nothing else is lost."""

from __future__ import annotations

import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from trilemma.core.errors import BadInput
from trilemma.core.molecule import bonds, free_valence, sizes, valences
from trilemma.data import chemistry
from trilemma.data.chemistry import (
    NotUsable,
    canonical,
    fingerprints,
    parsed,
    standardised,
    to_mol,
    to_smiles,
    to_tensors,
)
from trilemma.maths.graphs.molecule_environment import MoleculeEnvironment

DRUGS = (
    "CC(=O)Oc1ccccc1C(=O)O",
    "CN1C=NC2=C1C(=O)N(C)C(=O)N2C",
    "c1ccc2[nH]ccc2c1",
    "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
    "FC(F)(F)c1ccc(Br)cc1I",
    "CS(=O)(=O)N",
    "OP(=O)(O)OCC",
    "C#CC1=CC=NC=C1",
)


@pytest.mark.parametrize("smiles", DRUGS)
def test_there_and_back_is_the_same_molecule(smiles):
    one = standardised(parsed(smiles))
    assert one.smiles == canonical(smiles)
    assert not one.changes
    assert to_smiles(one.x[None]) == [one.smiles]
    mol = Chem.MolFromSmiles(smiles)
    assert int(sizes(one.x)) == mol.GetNumAtoms()
    assert int((bonds(one.x) > 0).sum()) // 2 == mol.GetNumBonds()
    hydrogens = sum(atom.GetTotalNumHs() for atom in mol.GetAtoms())
    unusual = {"S", "P", "I", "Br"} & {atom.GetSymbol() for atom in mol.GetAtoms()}
    if not unusual:
        assert int(free_valence(one.x, valences()).sum()) == hydrogens


@pytest.mark.parametrize(
    ("smiles", "expected", "change"),
    [
        ("CC(=O)[O-].[Na+]", "CC(=O)O", {"charges", "fragments"}),
        ("[13CH3][2H]", "C", {"isotopes"}),
        ("C[C@H](N)C(=O)O", "CC(N)C(=O)O", {"stereochemistry"}),
        ("C/C=C/C", "CC=CC", {"stereochemistry"}),
        ("C[CH2]", "CC", {"radicals"}),
        ("CC[NH3+]", "CCN", {"charges"}),
        ("[Cl-].CCO.C", "CCO", {"fragments"}),
    ],
)
def test_what_is_changed_is_said(smiles, expected, change):
    one = standardised(parsed(smiles))
    assert (one.smiles, one.changes) == (expected, change)


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("C[N+](=O)[O-]", "charges that cannot be neutralised"),
        ("C[Si](C)C", "outside the vocabulary: Si"),
        ("[H][H]", "no heavy atom"),
        ("C[SH3]", "a valence that hydrogens do not fill"),
        ("[C-]#[O+]", "charges"),
        ("C" * 12, "more than 10 heavy atoms"),
    ],
)
def test_what_cannot_be_used_has_its_reason(smiles, reason):
    with pytest.raises(NotUsable, match=reason):
        standardised(parsed(smiles), most=10)


@pytest.mark.parametrize("smiles", ["xx", "c1ccc1c", "C(C)(C)(C)(C)C", "C1CC"])
def test_what_is_no_smiles_is_not_read(smiles, capfd):
    with pytest.raises(NotUsable, match="parse"):
        parsed(smiles)
    assert canonical(smiles) is None
    assert capfd.readouterr().err == ""


def test_ten_spellings_are_one_tensor():
    mol = Chem.MolFromSmiles("Cc1cc(O)c(CN2CCOCC2)cc1F")
    spelt = {Chem.MolToSmiles(mol, doRandom=True) for _ in range(10)}
    assert len(spelt) > 3
    first, *rest = [standardised(parsed(one)) for one in sorted(spelt)]
    assert all(torch.equal(one.x, first.x) for one in rest)


def test_a_tensor_that_is_no_molecule_has_no_smiles():
    x = torch.zeros(2, 3, 3, dtype=torch.uint8)
    x[0, 0, 0] = x[0, 1, 1] = 6  # two fluorines
    x[0, 0, 1] = x[0, 1, 0] = 3
    assert to_smiles(x) == ["", ""]
    with pytest.raises(NotUsable):
        to_mol(x[0])


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_whatever_the_environment_builds_rdkit_accepts(seed):
    draw = torch.Generator().manual_seed(seed)
    rules = MoleculeEnvironment(valences(), 12, 40)
    state = rules.reset(16, 12)
    while not bool(state.done.all()):
        go = rules.stop_mask(state)[:, 0]
        first = chosen(rules.first_mask(state), draw)
        old, new = rules.second_mask(state, first)
        second = chosen(torch.cat([old, new], 1), draw)
        second = torch.where(second < 12, second, 12 - second - 1)
        bond = chosen(rules.bond_mask(state, first, second), draw) + 1
        stop = (~go | (torch.rand(16, generator=draw) < 0.1)).long()
        state = rules.step(state, torch.stack([stop, first, second, bond], 1))
    assert (free_valence(state.x, valences()) >= 0).all()
    assert torch.equal(free_valence(state.x, valences()), state.free)
    assert all(to_smiles(state.x))


def chosen(mask, draw):
    safe = mask.double()
    safe[~mask.any(1), 0] = 1
    return torch.multinomial(safe, 1, generator=draw)[:, 0]


def test_fingerprints_are_rdkits():
    from rdkit import DataStructs
    from rdkit.Chem import rdFingerprintGenerator

    make = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    bits = fingerprints(["CCO", "CCN", ""])
    assert bits[2].sum() == 0
    both = float((bits[0] * bits[1]).sum() / ((bits[0] + bits[1]) > 0).sum())
    one, other = (make.GetFingerprint(Chem.MolFromSmiles(s)) for s in ("CCO", "CCN"))
    assert both == pytest.approx(DataStructs.TanimotoSimilarity(one, other))


def test_they_are_laid_into_one_tensor():
    x = to_tensors([standardised(parsed(s)) for s in ("C", "CCO")], 5)
    assert x.shape == (2, 5, 5)
    assert sizes(x).tolist() == [1, 3]


def test_without_rdkit_one_sentence_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "rdkit", None)
    chemistry.chemistry.cache_clear()
    try:
        with pytest.raises(BadInput, match=r"pip install 'trilemma\[molecules\]'"):
            parsed("C")
    finally:
        monkeypatch.undo()
        chemistry.chemistry.cache_clear()
