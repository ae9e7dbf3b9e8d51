"""Calls are counted once for each molecule, and the best are kept."""

from __future__ import annotations

import math

import pytest
import torch

from trilemma.core.errors import BadInput
from trilemma.core.molecule import ELEMENTS, free_valence, sizes, valences
from trilemma.core.noise import Noise
from trilemma.data import genetic
from trilemma.data import search as search_module
from trilemma.data.chemistry import parsed, standardised, to_smiles, to_tensors
from trilemma.data.genetic import Bonded, children, crossover, mutated, rank_weights
from trilemma.data.search import CountedOracle, Search

SMILES = ["CCO", "c1ccccc1O", "CC(=O)N", "C1CC1CN", "CCCCCC", "O=C1CCCN1", "CCSC", "FC(F)F"]
VALENCE = valences().tolist()


def tensors(smiles, limit=20):
    return to_tensors([standardised(parsed(s)) for s in smiles], limit)


def atoms(mols):
    return [float(mol.GetNumAtoms()) for mol in mols]


class RecordingOracle:
    """Counts how often each molecule is asked."""

    def __init__(self, worth=atoms):
        self.worth, self.scored = worth, []

    def __call__(self, mols):
        from rdkit.Chem import MolToSmiles

        self.scored += [MolToSmiles(mol) for mol in mols]
        return self.worth(mols)


def search(oracle, limit=20):
    return Search(oracle, elements=ELEMENTS, valence=VALENCE, most=12, limit=limit, seed=0)


class TestOracle:
    def test_each_molecule_is_asked_once(self):
        recorder = RecordingOracle()
        oracle = CountedOracle(recorder, "size")
        assert oracle(["CCO", "CCN", "CCO"]) == [3, 3, 3]
        assert oracle(["CCO", "C", ""]) == [3, 1, 0]
        assert recorder.scored == ["CCO", "CCN", "C"]
        assert list(oracle.scores) == ["CCO", "CCN", "C"]
        assert not oracle.is_spent
        assert oracle.spent == 0  # of any number

    def test_a_budget_is_not_exceeded(self):
        recorder = RecordingOracle()
        oracle = CountedOracle(recorder, "size", calls=2)
        assert oracle(["C"]) == [1]
        assert search(oracle).spent == oracle.spent == 0.5
        assert oracle(["C", "CC", "CCC", "C"]) == [1, 2, None, 1]
        assert oracle.is_spent
        assert oracle(["CCCC", "CC"]) == [None, 2]
        assert len(recorder.scored) == 2

    @pytest.mark.parametrize(
        "bad", [math.nan, math.inf, None, "much"], ids=["nan", "inf", "none", "word"]
    )
    def test_what_is_no_number_is_worth_nothing(self, bad):
        oracle = CountedOracle(
            lambda mols: [bad if mol.GetNumAtoms() == 2 else 1.0 for mol in mols], "odd"
        )
        assert oracle(["C", "CC", "CCC"]) == [1, 0, 1]
        assert oracle.failed == 1

    def test_one_that_raises_costs_its_own_molecule(self):
        def worth(mols):
            if any(mol.GetNumAtoms() == 2 for mol in mols):
                raise ZeroDivisionError("two")
            return [1.0] * len(mols)

        assert CountedOracle(worth, "odd")(["C", "CC", "CCC"]) == [1, 0, 1]

    def test_a_wrong_length_is_asked_again_one_by_one(self):
        assert CountedOracle(lambda mols: [7.0], "short")(["C", "CC"]) == [7, 7]

    def test_too_many_failures_end_the_search(self):
        def worth(mols):
            raise ValueError("no licence")

        oracle = CountedOracle(worth, "costly")
        with pytest.raises(
            BadInput, match=r"'costly' failed for .* raised ValueError: no licence"
        ):
            oracle(["C" * k for k in range(1, 150)])


class TestSearch:
    def test_the_best_come_first_and_once(self):
        search_state = search(CountedOracle(atoms, "size"))
        scores = search_state.score(tensors(SMILES + SMILES[:2]))
        assert scores.tolist() == [3, 7, 4, 5, 6, 6, 4, 4, 3, 7]
        assert search_state.best_scores == sorted([3, 7, 4, 5, 6, 6, 4, 4], reverse=True)
        assert to_smiles(search_state.best[:1]) == ["Oc1ccccc1"]
        search_state.score(tensors(SMILES))
        assert len(search_state.best) == 8

    def test_what_was_not_asked_is_no_better_than_the_worst(self):
        search_state = search(CountedOracle(lambda mols: [-a for a in atoms(mols)], "small", 3))
        assert search_state.score(tensors(SMILES[:4])).tolist() == [-3, -7, -4, -7]
        assert len(search_state.best) == 3

    def test_replay_prefers_the_best(self):
        search_state = search(CountedOracle(atoms, "size"))
        search_state.score(tensors(SMILES))
        replayed = to_smiles(search_state.replay(Noise.of(0, 400)))
        counts = [replayed.count(s) for s in to_smiles(search_state.best)]
        assert counts[0] > 0.6 * 400
        assert sum(counts) == 400

    def test_it_goes_on_exactly(self):
        search_state, other = (search(CountedOracle(atoms, "size", 50)) for _ in range(2))
        search_state.score(tensors(SMILES))
        other.load_state_dict(search_state.state_dict())
        assert torch.equal(search_state.propose(10, 3), other.propose(10, 3))
        assert other.oracle.scores == search_state.oracle.scores
        assert not torch.equal(search_state.propose(10, 3), search_state.propose(10, 4))


class TestProposer:
    def test_children_are_valid_and_different(self):
        children_made = children(
            tensors(SMILES), 200, worth=range(len(SMILES), 0, -1), valence=VALENCE, most=12, seed=0
        )
        assert len(children_made) == 200
        assert (free_valence(children_made, valences()) >= 0).all()
        assert int(sizes(children_made).max()) <= 12
        spelt = to_smiles(children_made)
        assert all(spelt)
        assert not any("." in s for s in spelt)
        assert len(set(spelt)) > 60

    def test_rings_may_be_crossed(self):
        import random

        ring = [[1 if i == j or abs(i - j) in (1, 5) else 0 for j in range(6)] for i in range(6)]
        crossed = [
            crossover(Bonded.of(ring), Bonded.of(ring), most=12, source=random.Random(seed))
            for seed in range(20)
        ]
        assert any(crossed)
        assert all(sum(map(sum, x)) for x in crossed if x)

    @pytest.mark.parametrize("mutation", genetic.MUTATIONS, ids=lambda m: m.__name__)
    def test_each_mutation_changes_one_thing(self, mutation, monkeypatch):
        import random

        monkeypatch.setattr(genetic, "MUTATIONS", (mutation,))
        x = [[1, 1, 0, 1], [1, 1, 1, 0], [0, 1, 3, 1], [1, 0, 1, 1]]
        new = mutated(x, valence=VALENCE, most=6, source=random.Random(1))
        assert new is not None
        assert new != x
        size = torch.zeros(6, 6, dtype=torch.uint8)
        size[: len(new), : len(new)] = torch.tensor(new)
        assert (free_valence(size[None], valences()) >= 0).all()
        assert to_smiles(size[None])[0]

    def test_ranks_are_weighed_as_the_paper_has_it(self):
        weights = rank_weights(range(100, 0, -1))
        assert weights[0] == 1.0
        assert weights[1] == pytest.approx(0.5)
        assert weights == sorted(weights, reverse=True)
        assert rank_weights([1.0] * 4) == [rank_weights([1.0] * 4)[0]] * 4


class TestPool:
    def test_few_of_a_scaffold_are_parents_and_all_of_the_best_are_kept(self, monkeypatch):
        monkeypatch.setattr(search_module, "ALIKE", 2)
        children_made = search(CountedOracle(atoms, "size"))
        rings = ["c1ccccc1" + "C" * n for n in range(1, 6)]
        children_made.score(tensors([*rings, "CCO", "CCCN", "CC"]))
        # Of the ring's scaffold the two largest; what has no ring is a kind of its own each.
        assert sorted(children_made.pool_names, key=len) == [
            "CC",
            "CCO",
            "CCCN",
            *sorted([standardised(parsed(s)).smiles for s in rings[-2:]], key=len),
        ]
        assert len(children_made.best) == 8
        assert children_made.best_scores == sorted(children_made.best_scores, reverse=True)
        assert to_smiles(children_made.pool) == children_made.pool_names


class TestAdvance:
    def started(self, budget, calls=0, worth=atoms):
        counted = RecordingOracle(worth)
        searcher = Search(
            CountedOracle(counted, "size", calls),
            elements=ELEMENTS,
            valence=VALENCE,
            most=12,
            limit=20,
            seed=0,
            surrogate_queries=budget,
        )
        searcher.score(tensors(SMILES))
        return searcher, counted

    def test_without_a_surrogate_all_are_asked(self):
        children_made, counted = self.started(0)
        x = tensors(["CCCCO", "CCO"])
        values = children_made.advance(x, 5, 0)
        assert values.tolist() == [5, 3]
        assert len(counted.scored) > len(SMILES) + 1

    def test_a_surrogate_asks_so_many_and_no_more(self):
        children_made, counted = self.started(4)
        values = children_made.advance(tensors(["CCCCO", "CCO"]), 40, 0)
        assert len(counted.scored) == len(SMILES) + 4
        assert values[1] == 3  # known before
        expected = children_made.surrogate.mean(["CCCCO"])[0]
        assert values[0] == (5 if "CCCCO" in counted.scored else expected)

    def test_a_policy_alone_is_asked_what_promises_most(self):
        children_made, counted = self.started(1)
        children_made.advance(tensors(["C", "CCCCCCCC"]), 0, 0)
        assert counted.scored[len(SMILES) :] == ["CCCCCCCC"]

    def test_a_budget_ends_it(self):
        children_made, counted = self.started(4, calls=len(SMILES) + 2)
        for number in range(3):
            children_made.advance(tensors(["CCCCO"]), 20, number)
        assert children_made.oracle.is_spent
        assert len(counted.scored) == len(SMILES) + 2

    @pytest.mark.parametrize("per_step", [0, 6])
    def test_a_scaffold_that_must_stay_stays(self, per_step):
        counted = RecordingOracle()
        children_made = Search(
            CountedOracle(counted, "size"),
            elements=ELEMENTS,
            valence=VALENCE,
            most=12,
            limit=20,
            seed=0,
            surrogate_queries=per_step,
            keep=["c1ccccc1", "C1CC1"],
        )
        children_made.open(tensors(SMILES))
        assert counted.scored == ["Oc1ccccc1", "NCC1CC1"]
        for number in range(3):
            children_made.advance(tensors(["Cc1ccccc1"]), 20, number)
        patterns = [parsed("c1ccccc1"), parsed("C1CC1")]
        assert len(counted.scored) > 8
        for smiles in counted.scored:
            assert any(parsed(smiles).HasSubstructMatch(it) for it in patterns)

    def test_nothing_known_is_asked_without_one(self):
        children_made = search(CountedOracle(atoms, "size"))
        assert children_made.advance(tensors(["CCO", "CC"]), 5, 0).tolist() == [3, 2]
