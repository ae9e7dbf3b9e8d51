"""Given molecules are made worth more, each by its own calls, and stay like themselves."""

from __future__ import annotations

import pytest
import torch

from trilemma.core.molecule import ELEMENTS, sizes, valences
from trilemma.data.chemistry import canonical, parsed, standardised, to_smiles, to_tensors
from trilemma.data.constrained import ConstrainedSearch, similarity
from trilemma.data.rewards import expression
from trilemma.data.search import CountedOracle

STARTS = ["CC(=O)Nc1ccc(O)cc1", "NCCCO", "O=C(O)c1ccccc1"]


def tensors(smiles, limit=38):
    return to_tensors([standardised(parsed(s)) for s in smiles], limit)


def searched(worth=None, *, least=0.4, each=20, starts=STARTS, per_step=32):
    search = ConstrainedSearch(
        CountedOracle(worth or expression("plogp"), "plogp"),
        tensors(starts),
        least=least,
        each=each,
        elements=ELEMENTS,
        valence=valences().tolist(),
        most=38,
        limit=38,
        seed=0,
        surrogate_queries=per_step,
    )
    search.open(search.start_molecules[:0])
    return search


def advanced(search, *, episodes=0, most=400):
    number = 0
    while not search.is_spent and number < most:
        x = search.starts(episodes, number) if episodes else search.start_molecules[:0]
        search.advance(x, 64, number)
        number += 1
    return number


@pytest.mark.parametrize("least", [0.0, 0.5])
def test_each_is_improved_within_the_similarity_and_its_calls(least):
    search = searched(least=least)
    unmoved = searched(least=least)
    assert unmoved.spent == 0
    advanced(unmoved, most=1)
    assert unmoved.spent == pytest.approx(
        sum(p.calls for p in unmoved.pools) / 20 / len(unmoved.pools)
    )
    assert 0 < unmoved.spent < 1
    assert advanced(search) < 400
    assert search.spent == 1
    worth = expression("plogp")
    for pool, smiles in zip(search.pools, to_smiles(search.improved()), strict=True):
        assert 0 < pool.calls <= 20
        assert similarity(pool.smiles, smiles) >= least
        assert worth([parsed(smiles)])[0] == pytest.approx(pool.scores[0])
        assert pool.scores[0] > pool.before
    assert [pool.smiles for pool in search.pools] == [canonical(s) for s in STARTS]


def test_where_nothing_is_better_all_stay():
    search = searched(lambda mols: [0.0] * len(mols), each=5)
    advanced(search)
    assert to_smiles(search.improved()) == [canonical(s) for s in STARTS]


def test_one_with_nothing_like_it_is_left():
    search = searched(least=1.0, each=20)
    assert advanced(search, most=40) < 40
    assert search.is_spent
    assert to_smiles(search.improved()) == [canonical(s) for s in STARTS]


def test_what_was_built_is_worth_what_it_gains_where_it_is_alike():
    search = searched(least=0.4, each=3)
    x = tensors(["CC(=O)Nc1ccc(O)cc1", "CCCCCCCCCC", "CC(=O)c1ccc(C)cc1"])
    gains = search.advance(x, 16, 0)
    assert gains[0] == 0  # the given one itself
    assert gains[1] == 0  # worth more, and not like it
    assert (gains >= 0).all()


def test_episodes_begin_with_parts():
    search = searched()
    x = search.starts(12, 0)
    full_starts = tensors(STARTS)
    for i, one in enumerate(x):
        start = full_starts[i % 3]
        assert 0 < int(sizes(one[None])) <= int(sizes(start[None]))
        mol, part = parsed(to_smiles(start[None])[0]), parsed(to_smiles(one[None])[0])
        assert mol.HasSubstructMatch(part)
        assert 2 * part.GetNumAtoms() >= mol.GetNumAtoms()
    assert (sizes(x) < sizes(full_starts.repeat(4, 1, 1))).any()


def test_a_policy_s_molecules_are_asked_too():
    search = searched(each=10)
    advanced(search, episodes=6)
    assert search.is_spent


def test_it_goes_on_exactly_from_its_state():
    full_starts, first = searched(each=12, per_step=16), searched(each=12, per_step=16)
    advanced(full_starts)
    for number in range(2):
        first.advance(first.start_molecules[:0], 64, number)
    second = searched(each=12, per_step=16)
    second.load_state_dict(first.state_dict())
    number = 2
    while not second.is_spent:
        second.advance(second.start_molecules[:0], 64, number)
        number += 1
    assert torch.equal(full_starts.improved(), second.improved())
    assert full_starts.oracle.scores == second.oracle.scores
