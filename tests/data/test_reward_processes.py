"""Rewards of one's own stand in expressions, and can be asked in processes."""

from __future__ import annotations

import dataclasses

import pytest

from trilemma import plugins
from trilemma.core.errors import BadInput
from trilemma.data.chemistry import parsed
from trilemma.data.rewards import REWARDS, Reward, expression, named_in
from trilemma.data.search import CountedOracle
from trilemma.registry import BadEntry

MINE = """
import trilemma as tl

def length(mols):
    return [mol.GetNumAtoms() for mol in mols]

def few(mols):
    return [1.0]

def breaks(mols):
    if any(atom.GetSymbol() == "N" for mol in mols for atom in mol.GetAtoms()):
        raise ValueError("nitrogen")
    return [1.0 for _ in mols]

for function in (length, few, breaks):
    name = function.__name__
    tl.REWARDS[name] = tl.Reward(name, "of my own", function)
tl.REWARDS["far-length"] = tl.Reward("far-length", "of my own", length, processes=2)
"""


@pytest.fixture(scope="module", autouse=True)
def mine(tmp_path_factory):
    """Read a plug-in of rewards, and leave nothing of it."""
    path = tmp_path_factory.mktemp("plug-in") / "own_rewards.py"
    path.write_text(MINE)
    plugin = plugins.read(path)
    yield plugin
    plugin.withdraw()
    plugins._LOADED.pop(plugin.name)


def sorted_by_size(mols: list) -> list:
    """Return no numbers."""
    return mols


def mols(*smiles):
    return [parsed(s) for s in smiles]


def test_a_function_takes_molecules_and_stands_in_expressions(mine):
    assert expression("length")(mols("CCO", "C")) == [3, 1]
    assert expression("0.5 * length + qed * 0")(mols("CCO")) == [1.5]
    assert expression("length[2, 4]")(mols("CCO", "CCCCC")) == [1.0, 0.5]
    assert ("reward", "far-length") in mine.entries
    assert named_in("length * qed + far-length[1, 2] * similar(CCO)") == {
        "length",
        "qed",
        "far-length",
    }


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (len, "has no docstring"),
        (sorted_by_size, "is no Reward"),
        (Reward("Two Words", "", len), "has a name that no expression can hold"),
        (Reward("number", "", 3), "has no function"),  # type: ignore[arg-type]
        (Reward("qed", "", len), "is there already"),
    ],
)
def test_what_is_no_reward_is_refused(entry, message):
    with pytest.raises(BadEntry, match=message):
        REWARDS[getattr(entry, "name", "mine")] = entry


def test_an_unknown_one_names_the_nearest():
    with pytest.raises(BadInput, match="unknown reward 'lenght'; did you mean 'length'"):
        expression("lenght")


def test_one_that_fails_costs_its_own_molecules():
    wrong = CountedOracle(expression("few"), "few")
    assert wrong(["CCO", "CCC"]) == [1.0, 1.0]  # each was asked alone
    raising = CountedOracle(expression("breaks"), "breaks")
    assert raising(["CCO", "CCN", "CCC"]) == [1.0, 0.0, 1.0]
    assert raising.failed == 1


def test_processes_give_what_one_gives():
    smiles = ["C" * n for n in range(1, 12)]
    alone, shared = (expression(f"{name} + logp") for name in ("length", "far-length"))
    assert dataclasses.replace(REWARDS["far-length"], processes=0)(mols("CC")) == [2.0]
    assert shared(mols(*smiles)) == alone(mols(*smiles))
