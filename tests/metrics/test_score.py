"""Scores, intervals and what becomes of them in JSON."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from trilemma.metrics.score import (
    Chance,
    Exhibit,
    Score,
    Trials,
    linear_chance,
    mean_chance,
    student,
    subset_spreads,
    wilson,
)


def test_json_has_the_documented_fields_and_no_nan():
    score = Score(2.0, floor=None, unit="nats", n=3, baselines={"uniform": -math.inf})
    plain = json.loads(json.dumps(score.to_json(), allow_nan=False))
    assert set(plain) == {
        "value", "low", "high", "unit", "better", "floor", "baselines", "n", "by", "protocol",
    }  # fmt: skip
    assert plain["value"] == 2.0
    assert plain["low"] is None
    assert plain["baselines"] == {"uniform": None}


def test_json_is_read_as_it_was_written():
    score = Score(
        2.0, floor=1.0, unit="nats", n=3, baselines={"mean": 4.0}, by="exact"
    ).with_interval(1)
    assert Score.from_json(json.loads(json.dumps(score.to_json()))) == score
    several = replace(score, spread=0.5, seeds=3, interval="over seeds")
    assert Score.from_json(several.to_json()) == several
    with_exhibit = replace(score, exhibit=Exhibit("Copies.", (3, 1), (40, 2)))
    assert Score.from_json(json.loads(json.dumps(with_exhibit.to_json()))) == with_exhibit
    with pytest.raises(TypeError, match="is no number"):
        Score.from_json(score.to_json() | {"value": "many"})
    with pytest.raises(KeyError, match="baselines"):
        Score.from_json({k: v for k, v in score.to_json().items() if k != "baselines"})


def hit_rate(make, truth, repetitions=1000):
    """Return how often the interval of a fresh score holds the truth."""
    scores = [make(torch.Generator().manual_seed(i)) for i in range(repetitions)]
    return sum(s.low <= truth <= s.high for s in scores) / repetitions


def test_the_ends_solve_their_equation():
    down, up = Chance(0.3, 0.8).reach()
    for off in (-down, up):
        assert off**2 == pytest.approx(1.96**2 * (0.3 + 0.8 * off))


def test_of_zeros_and_ones_a_mean_has_wilsons_interval():
    x = (torch.arange(2000) < 60).double()
    score = Score(x.mean().item()).with_interval(mean_chance(x))
    low, high = wilson(0.03, 2000)
    assert score.low == pytest.approx(low, rel=0.01)
    assert score.high == pytest.approx(high, rel=0.01)


def test_a_mean_of_few_is_held_as_often_as_it_says():
    """With the normal factor in the place of Student's it is held in 88 of 100."""

    def score(draw):
        x = torch.randn(5, generator=draw)
        return Score(x.mean().item()).with_interval(mean_chance(x))

    assert 0.935 < hit_rate(score, 0.0) < 0.97


def test_a_skewed_mean_is_held_as_often_as_it_says():
    """A symmetrical interval holds it in 89 of 100, and the mean lies above it in 10."""

    def score(draw):
        x = torch.empty(15).exponential_(generator=draw)
        return Score(x.mean().item()).with_interval(mean_chance(x))

    assert 0.92 < hit_rate(score, 1.0) < 0.97


def test_one_value_says_nothing_of_its_mean():
    score = Score(3.0).with_interval(mean_chance(torch.tensor([3.0])))
    assert (score.low, score.high) == (-math.inf, math.inf)


@pytest.mark.parametrize("freedom", [1, 2, 3, 5, 10, 31, 1000])
def test_students_point_is_scipys(freedom):
    stats = pytest.importorskip("scipy.stats")
    assert student(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=2e-3)


def test_a_sum_of_means_has_the_sum_of_their_moments():
    draw = torch.Generator().manual_seed(0)
    x, y = torch.rand(40, generator=draw).double() ** 3, torch.randn(30, generator=draw).double()
    variance, slope = linear_chance(x, y)
    assert variance == pytest.approx((x.var() / 40 + y.var() / 30).item())
    third = sum(((z - z.mean()) ** 3).mean() / len(z) ** 2 for z in (x, y))
    assert slope == pytest.approx((third / variance).item())


@pytest.mark.parametrize("p", [0.0013, 0.02, 0.5, 0.98, 0.9987])
def test_a_share_is_held_though_it_be_rare(p):
    """By Wilson's formula alone a share of 0.0013 of 100 is held in 88 of 100."""

    def score(draw):
        share = (torch.rand(100, generator=draw) < p).double().mean().item()
        return Score(share).with_interval(Trials(100))

    assert hit_rate(score, p) > 0.925


def test_a_share_of_all_is_not_sure():
    score = Score(1.0).with_interval(Trials(50))
    assert score.high == 1
    assert 0.9 < score.low < 0.95


def test_subsets_of_a_share_tell_how_many_trials_it_is():
    """Of independent rows, as many as there are."""
    draw = torch.Generator().manual_seed(0)
    x = (torch.rand(1000, generator=draw) < 0.3).double()

    def of(x, seed):
        measure = lambda a, b: {"share": a.mean().item()}  # noqa: E731
        return subset_spreads(x, x, measure, seed=seed, shares=["share"])["share"].n

    trials = [of(x, seed) for seed in range(20)]
    assert sum(trials) / len(trials) == pytest.approx(1000, rel=0.15)
    always = subset_spreads(x, x, lambda a, b: {"s": 1.0}, seed=0, shares=["s"])["s"]
    assert always == Trials(1000)


def test_where_no_subset_can_be_measured_nothing_is_known():
    x = torch.rand(6, 2)
    trials = subset_spreads(x, x, lambda a, b: {"gap": 0.5}, seed=0, least=6)
    score = Score(0.5).with_interval(trials["gap"])
    assert (score.low, score.high) == (-math.inf, math.inf)
    fewest = []
    subset_spreads(
        torch.rand(9, 2), x, lambda a, b: fewest.append(len(b)) or {"gap": 0.5}, seed=0, least=5
    )
    assert min(fewest) == 5
