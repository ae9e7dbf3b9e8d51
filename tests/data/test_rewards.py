"""Rewards that are written down."""

from __future__ import annotations

import pytest
from rdkit import Chem
from rdkit.Chem import QED, Crippen

from trilemma.core.errors import BadInput
from trilemma.data.chemistry import parsed
from trilemma.data.rewards import REWARDS, expression

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"


def of(text, *smiles):
    return expression(text)([parsed(s) for s in smiles or (ASPIRIN,)])


def test_properties_are_rdkits():
    mol = Chem.MolFromSmiles(ASPIRIN)
    assert of("qed") == pytest.approx([QED.qed(mol)])
    assert of("logp") == pytest.approx([Crippen.MolLogP(mol)])
    assert of("weight") == pytest.approx([180.16], abs=0.01)
    assert of("tpsa") == pytest.approx([63.6], abs=0.01)


def test_penalised_logp_is_that_of_the_field():
    # Values that the literature's code gives: straight chains win it, which a cap must stop.
    assert of("plogp", "C" * 38) == pytest.approx([11.19], abs=0.01)
    small, large = of("plogp", "C1CCCCC1", "C1CCCCCCCCC1")
    assert large < small - 4 / 0.286 + 6  # rings beyond six are punished


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("similar(CC(=O)Oc1ccccc1C(=O)O)", 1.0),
        ("rediscover(CC(=O)Oc1ccccc1C(=O)O)", 1.0),
        ("isomer(C9H8O4)", 1.0),
        ("scaffold(c1ccccc1)", 1.0),
        ("scaffold(C1CCCCC1)", 0.0),
        ("weight[180, 181]", 1.0),
        ("weight[181, 183]", 1 - (181 - 180.159) / 2),
        ("weight[100, 102]", 0.0),
        ("0.5 * scaffold(c1ccccc1) + 0.25*isomer(C9H8O4)", 0.75),
        ("scaffold(C1CCCCC1) * qed", 0.0),
        ("2", None),
    ],
)
def test_expressions(text, value):
    if value is None:
        with pytest.raises(BadInput, match="without a property"):
            expression(text)
        return
    assert of(text) == pytest.approx([value], abs=2e-3)


def test_brackets_of_smiles_are_no_signs():
    assert of("similar(C[C@H](N)C(=O)O) + 0*qed", "CC(N)C(=O)O") == pytest.approx([1.0])


def test_no_molecules_are_worth_nothing():
    assert expression("qed")([]) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("qd", "did you mean 'qed'"),
        ("", "unknown reward ''"),
        ("foo(CC)", "unknown function of a reward 'foo'"),
        ("logp[5,4]", "must rise"),
        ("logp[a,b]", "no band"),
        ("similar(xx)", "no SMILES that RDKit reads"),
        ("isomer(cc)", "no formula"),
        ("qed +", "unknown reward ''"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(text, message):
    with pytest.raises(BadInput, match=message.replace("(", r"\(")):
        expression(text)


def test_every_property_says_what_it_is():
    assert all(one.meaning and one.name == name for name, one in REWARDS.items())
