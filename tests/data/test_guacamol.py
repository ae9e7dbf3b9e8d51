"""GuacaMol's goals are what their parts say, by RDKit's older functions where it has them."""

from __future__ import annotations

import math

import pytest

from trilemma.data import guacamol
from trilemma.data.chemistry import parsed
from trilemma.data.guacamol import TASKS, above, below, gaussian, up_to
from trilemma.data.rewards import expression

SMILES = [
    "CC(=O)Nc1ccc(O)cc1",
    "CN1CCN(CC1)Cc1ccc(cc1)C(=O)Nc1ccc(C)c(c1)Nc1nccc(n1)-c1cccnc1",
    "Fc1ccc(cc1)C(=O)NCCO",
    guacamol.FEXOFENADINE,
    guacamol.SITAGLIPTIN,
]


def mols():
    return [parsed(s) for s in SMILES]


def likeness(smiles, kind):
    from rdkit import DataStructs
    from rdkit.Chem import rdMolDescriptors as old

    make = {
        "ECFC4": lambda mol: old.GetMorganFingerprint(mol, 2),
        "ECFC6": lambda mol: old.GetMorganFingerprint(mol, 3),
        "FCFC4": lambda mol: old.GetMorganFingerprint(mol, 2, useFeatures=True),
        "AP": lambda mol: old.GetAtomPairFingerprint(mol, maxLength=10),
    }[kind]
    target_fingerprint = make(parsed(smiles))
    return [DataStructs.TanimotoSimilarity(target_fingerprint, make(mol)) for mol in mols()]


@pytest.mark.parametrize("kind", ["ECFC4", "ECFC6", "FCFC4", "AP"])
def test_fingerprints_are_those_of_the_paper(kind):
    ours = guacamol.like(guacamol.OSIMERTINIB, kind)()(mols())
    assert ours == pytest.approx(likeness(guacamol.OSIMERTINIB, kind), abs=1e-12)


def test_numbers_are_brought_to_the_unit_interval():
    assert gaussian(2, 0.5)(2.5) == pytest.approx(math.exp(-0.5))
    assert below(1, 1)(-3) == 1
    assert below(1, 1)(2) == pytest.approx(math.exp(-0.5))
    assert above(7, 1)(9) == 1
    assert above(7, 1)(6) == pytest.approx(math.exp(-0.5))
    assert [up_to(0.8)(x) for x in (0, 0.4, 0.8, 1)] == pytest.approx([0, 0.5, 1, 1])


def test_fexofenadine_by_hand():
    from rdkit.Chem import Crippen, rdMolDescriptors

    objective = expression("fexofenadine_mpo")(mols())
    for value, alike, mol in zip(
        objective, likeness(guacamol.FEXOFENADINE, "AP"), mols(), strict=True
    ):
        surface, partition = rdMolDescriptors.CalcTPSA(mol), Crippen.MolLogP(mol)
        parts = [
            min(alike / 0.8, 1),
            1 if surface >= 90 else math.exp(-0.5 * ((surface - 90) / 10) ** 2),
            1 if partition <= 4 else math.exp(-0.5 * (partition - 4) ** 2),
        ]
        assert value == pytest.approx(math.prod(parts) ** (1 / 3))


def test_what_molecules_are_worth_themselves():
    worth = {
        name: TASKS[name]([parsed(smiles)])[0]
        for name, smiles in {
            "albuterol_similarity": guacamol.ALBUTEROL,
            "mestranol_similarity": guacamol.MESTRANOL,
            "deco_hop": guacamol.HOP,
            "scaffold_hop": guacamol.HOP,
            "sitagliptin_mpo": guacamol.SITAGLIPTIN,
            "valsartan_smarts": guacamol.SITAGLIPTIN,
        }.items()
    }
    # The hops: alike and the kernel, of four; alike and the decorations, of three.
    assert worth == pytest.approx(
        {
            "albuterol_similarity": 1,
            "mestranol_similarity": 1,
            "deco_hop": 0.5,
            "scaffold_hop": 2 / 3,
            "sitagliptin_mpo": 0,
            "valsartan_smarts": 0,
        },
        abs=1e-5,
    )


def test_every_goal_is_a_reward_from_0_to_1():
    assert len(TASKS) == 14
    for name in TASKS:
        assert all(0 <= value <= 1 for value in expression(name)(mols()))


def test_pmo_has_its_23_tasks():
    from benchmarks.pmo import TASKS as pmo_tasks

    assert len(pmo_tasks) == 23
    for reward in pmo_tasks.values():
        if reward not in ("jnk3", "gsk3b", "drd2"):
            expression(reward)(mols()[:1])
