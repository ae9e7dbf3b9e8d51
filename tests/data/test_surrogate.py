"""The surrogate learns what an oracle says, and asks where much is to be expected."""

from __future__ import annotations

import torch

from trilemma.data import surrogate as module
from trilemma.data.chemistry import fingerprints, parsed
from trilemma.data.rewards import expression
from trilemma.data.surrogate import Surrogate

CHAINS = ["C" * n + head for n in range(1, 9) for head in ("O", "N", "S", "Cl", "C(=O)O")]


def scores(names, worth="logp"):
    return dict(zip(names, expression(worth)([parsed(s) for s in names]), strict=True))


def learnt(names, seed=0):
    surrogate = Surrogate(seed)
    surrogate.learn(scores(names), 0)
    return surrogate


def test_it_knows_the_order_of_what_it_was_not_told():
    training, candidates = CHAINS[::2], CHAINS[1::2]
    expected = learnt(training).mean(candidates)
    true = torch.tensor(list(scores(candidates).values()), dtype=torch.float64)
    assert torch.corrcoef(torch.stack([expected, true]))[0, 1] > 0.8


def test_it_chooses_what_is_worth_much_and_nothing_twice():
    training, candidates = CHAINS[::2], CHAINS[1::2]
    chosen = learnt(training).choose(candidates, 5, 0)
    true = list(scores(candidates).values())
    assert len(set(chosen)) == 5
    assert sum(true[i] for i in chosen) / 5 > sum(true) / len(true) + 0.3


def test_a_choice_is_of_its_seed_and_number():
    training, candidates = CHAINS[:6], CHAINS[6:]
    assert learnt(training).choose(candidates, 6, 3) == learnt(training).choose(candidates, 6, 3)
    other_choices = [
        learnt(training, seed).choose(candidates, 6, n) for seed, n in ((0, 4), (1, 3))
    ]
    assert learnt(training).choose(candidates, 6, 3) not in other_choices


def test_fewer_candidates_than_calls_are_all_chosen():
    surrogate = learnt(CHAINS[:6])
    assert sorted(surrogate.choose(CHAINS[6:9], 64, 0)) == [0, 1, 2]
    assert surrogate.choose([], 64, 0) == []
    assert surrogate.mean([]).tolist() == []


def test_it_learns_from_the_best_and_some_others(monkeypatch):
    monkeypatch.setattr(module, "LEARNT", 10)
    surrogate = Surrogate(0)
    surrogate.learn(scores(CHAINS), 0)
    best = sorted(scores(CHAINS), key=lambda name: -scores(CHAINS)[name])[:5]
    training = {tuple(row.tolist()) for row in surrogate._train_fingerprints}
    assert len(surrogate._train_fingerprints) == 10
    assert {tuple(row.tolist()) for row in fingerprints(best)} <= training
