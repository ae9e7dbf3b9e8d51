"""Pairs: the assignment is exact, quick, and copes with what is awkward."""

from __future__ import annotations

import time

import pytest
import torch

from trilemma.maths.minibatch_optimal_transport import AT_ONCE, assignment, paired, square_distance


def costs(n, d, seed=0):
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(n, d, generator=generator) for _ in range(2))
    return square_distance(a, b / 2 + 1)


def total(cost, pi):
    return float(cost[torch.arange(len(pi)), pi].sum())


@pytest.mark.parametrize(("n", "d"), [(1, 1), (2, 2), (7, 1), (40, 2), (128, 64), (128, 2)])
def test_it_is_scipys_assignment(n, d):
    optimize = pytest.importorskip("scipy.optimize")
    cost = costs(n, d)
    pi = assignment(cost)
    rows, columns = optimize.linear_sum_assignment(cost.numpy())
    assert sorted(pi.tolist()) == list(range(n))
    assert total(cost, pi) == pytest.approx(float(cost[rows, columns].sum()), rel=1e-10)


def test_it_is_pots_plan():
    ot = pytest.importorskip("ot")
    cost = costs(30, 2)
    even = torch.full((30,), 1 / 30, dtype=torch.float64).numpy()
    plan = torch.as_tensor(ot.emd(even, even, cost.numpy()))
    assert total(cost, assignment(cost)) == pytest.approx(
        30 * float((plan * cost).sum()), rel=1e-9
    )


@pytest.mark.parametrize(
    "cost",
    [
        torch.zeros(9, 9),
        torch.randint(3, (50, 50), generator=torch.Generator().manual_seed(0)).double(),
        -5 * costs(20, 2),
        1e9 * costs(20, 2),
        1e-9 * costs(20, 2) + 1,
        torch.eye(12) * 1e6,
        1e6 * (1 - torch.eye(12)),
        torch.zeros(0, 0),
    ],
    ids=["equal", "ties", "negative", "huge", "tiny", "avoid", "forced", "empty"],
)
def test_awkward_costs(cost):
    optimize = pytest.importorskip("scipy.optimize")
    pi = assignment(cost)
    assert sorted(pi.tolist()) == list(range(len(cost)))
    rows, columns = optimize.linear_sum_assignment(cost.numpy())
    assert total(cost, pi) == pytest.approx(float(cost[rows, columns].sum()), rel=1e-9, abs=1e-9)


def test_repeated_points_are_paired_once_each():
    a = torch.zeros(20, 2)
    assert sorted(paired(a, torch.randn(20, 2)).tolist()) == list(range(20))


def test_large_clouds_are_paired_in_runs():
    a, b = torch.randn(AT_ONCE + 40, 1), torch.randn(AT_ONCE + 40, 1)
    pi = paired(a, b)
    assert sorted(pi[:AT_ONCE].tolist()) == list(range(AT_ONCE))
    order = a[AT_ONCE:, 0].argsort()
    assert (b[pi[AT_ONCE:][order], 0].diff() >= 0).all()  # on a line the best pairs keep the order


def test_kinds_are_kept_apart():
    kinds = torch.tensor([0, 1, 0, 1, 2, 0])
    pi = paired(torch.randn(6, 2), torch.randn(6, 2), kinds)
    assert torch.equal(kinds[pi], kinds)
    assert sorted(pi.tolist()) == list(range(6))


@pytest.mark.parametrize(
    ("cost", "message"),
    [(torch.zeros(2, 3), "square"), (torch.full((2, 2), float("nan")), "finite")],
)
def test_nonsense_is_refused(cost, message):
    with pytest.raises(ValueError, match=message):
        assignment(cost)


def test_a_batch_takes_no_longer_than_a_training_step():
    cost, seconds = costs(128, 64), []
    for _ in range(5):
        start = time.perf_counter()
        assignment(cost)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.1  # about 2 ms on a free core
