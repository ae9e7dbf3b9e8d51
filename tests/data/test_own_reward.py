"""Functions of one's own are rewards, and rewards can be asked in processes."""

from __future__ import annotations

import pytest

from trilemma.core.errors import BadInput
from trilemma.data.chemistry import parsed
from trilemma.data.properties import expression
from trilemma.data.search import CountedOracle

MINE = """
def length(smiles):
    return [len(s) for s in smiles]

def few(smiles):
    return [1.0]

def breaks(smiles):
    if "N" in "".join(smiles):
        raise ValueError("nitrogen")
    return [1.0 for _ in smiles]

number = 3
"""


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def mols(*smiles):
    return [parsed(s) for s in smiles]


def test_a_function_takes_smiles_and_stands_in_expressions(mine):
    assert expression(f"python({mine}:length)")(mols("CCO", "C")) == [3, 1]
    assert expression(f"0.5 * python({mine}:length) + qed * 0")(mols("CCO")) == [1.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{path}", "write python"),
        ("{path}:none", "has no function 'none'"),
        ("{path}:number", "has no function 'number'"),
        ("nowhere.py:length", "there is no file 'nowhere.py'"),
        ("{path}:length, many", "'many' is no number of processes"),
        ("{broken}:length", "cannot be run: NameError"),
    ],
)
def test_what_is_no_function_is_one_sentence(mine, tmp_path, text, message):
    broken = tmp_path / "broken.py"
    broken.write_text("undefined + 1")
    with pytest.raises(BadInput, match=message):
        expression(f"python({text.format(path=mine, broken=broken)})")


def test_one_that_fails_costs_its_own_molecules(mine):
    wrong = CountedOracle(expression(f"python({mine}:few)"), "few")
    assert wrong(["CCO", "CCC"]) == [1.0, 1.0]  # each was asked alone
    raising = CountedOracle(expression(f"python({mine}:breaks)"), "breaks")
    assert raising(["CCO", "CCN", "CCC"]) == [1.0, 0.0, 1.0]
    assert raising.failed == 1


def test_processes_give_what_one_gives(mine):
    smiles = ["C" * n for n in range(1, 12)]
    alone, shared = (expression(f"python({mine}:length{n}) + logp") for n in ("", ", 2"))
    assert shared(mols(*smiles)) == alone(mols(*smiles))
    oracle = CountedOracle(expression(f"python({mine}:breaks, 1)"), "breaks")
    assert oracle(["CCO", "CCN"]) == [1.0, 0.0]
