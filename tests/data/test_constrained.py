"""Given molecules are made worth more, each by its own calls, and stay like themselves."""

from __future__ import annotations

import pytest
import torch

from trilemma.core.molecule import ELEMENTS, sizes, valences
from trilemma.data.chemistry import canonical, parsed, standardised, to_smiles, to_tensors
from trilemma.data.constrained import ConstrainedSearch, similarity
from trilemma.data.properties import expression
from trilemma.data.search import CountedOracle

GIVEN = ["CC(=O)Nc1ccc(O)cc1", "NCCCO", "O=C(O)c1ccccc1"]


def tensors(smiles, limit=38):
    return to_tensors([standardised(parsed(s)) for s in smiles], limit)


def searched(worth=None, *, least=0.4, each=20, given=GIVEN, asked=32):
    made = ConstrainedSearch(
        CountedOracle(worth or expression("plogp"), "plogp"),
        tensors(given),
        least=least,
        each=each,
        elements=ELEMENTS,
        valence=valences().tolist(),
        most=38,
        limit=38,
        seed=0,
        surrogate_queries=asked,
    )
    made.open(made.start_molecules[:0])
    return made


def advanced(made, *, episodes=0, most=400):
    number = 0
    while not made.is_spent and number < most:
        x = made.starts(episodes, number) if episodes else made.start_molecules[:0]
        made.advance(x, 64, number)
        number += 1
    return number


@pytest.mark.parametrize("least", [0.0, 0.5])
def test_each_is_improved_within_the_similarity_and_its_calls(least):
    made = searched(least=least)
    begun = searched(least=least)
    assert begun.spent == 0
    advanced(begun, most=1)
    assert begun.spent == pytest.approx(sum(p.calls for p in begun.pools) / 20 / len(begun.pools))
    assert 0 < begun.spent < 1
    assert advanced(made) < 400
    assert made.spent == 1
    worth = expression("plogp")
    for pool, smiles in zip(made.pools, to_smiles(made.improved()), strict=True):
        assert 0 < pool.calls <= 20
        assert similarity(pool.smiles, smiles) >= least
        assert worth([parsed(smiles)])[0] == pytest.approx(pool.scores[0])
        assert pool.scores[0] > pool.before
    assert [pool.smiles for pool in made.pools] == [canonical(s) for s in GIVEN]


def test_where_nothing_is_better_all_stay():
    made = searched(lambda mols: [0.0] * len(mols), each=5)
    advanced(made)
    assert to_smiles(made.improved()) == [canonical(s) for s in GIVEN]


def test_one_with_nothing_like_it_is_left():
    made = searched(least=1.0, each=20)
    assert advanced(made, most=40) < 40
    assert made.is_spent
    assert to_smiles(made.improved()) == [canonical(s) for s in GIVEN]


def test_what_was_built_is_worth_what_it_gains_where_it_is_alike():
    made = searched(least=0.4, each=3)
    x = tensors(["CC(=O)Nc1ccc(O)cc1", "CCCCCCCCCC", "CC(=O)c1ccc(C)cc1"])
    gains = made.advance(x, 16, 0)
    assert gains[0] == 0  # the given one itself
    assert gains[1] == 0  # worth more, and not like it
    assert (gains >= 0).all()


def test_episodes_begin_with_parts():
    made = searched()
    x = made.starts(12, 0)
    whole = tensors(GIVEN)
    for i, one in enumerate(x):
        given = whole[i % 3]
        assert 0 < int(sizes(one[None])) <= int(sizes(given[None]))
        mol, part = parsed(to_smiles(given[None])[0]), parsed(to_smiles(one[None])[0])
        assert mol.HasSubstructMatch(part)
        assert 2 * part.GetNumAtoms() >= mol.GetNumAtoms()
    assert (sizes(x) < sizes(whole.repeat(4, 1, 1))).any()


def test_a_policy_s_molecules_are_asked_too():
    made = searched(each=10)
    advanced(made, episodes=6)
    assert made.is_spent


def test_it_goes_on_exactly_from_its_state():
    whole, first = searched(each=12, asked=16), searched(each=12, asked=16)
    advanced(whole)
    for number in range(2):
        first.advance(first.start_molecules[:0], 64, number)
    second = searched(each=12, asked=16)
    second.load_state_dict(first.state_dict())
    number = 2
    while not second.is_spent:
        second.advance(second.start_molecules[:0], 64, number)
        number += 1
    assert torch.equal(whole.improved(), second.improved())
    assert whole.oracle.scores == second.oracle.scores
