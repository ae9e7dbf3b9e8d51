"""Clipped density and coverage against their definitions, point by point."""

from __future__ import annotations

import math
import statistics

import pytest
import torch

from trilemma.core.domain import Domain, Real
from trilemma.core.errors import BadInput
from trilemma.core.session import Session
from trilemma.data.dataset import DataSet, Split
from trilemma.metrics import clipped, neighbours
from trilemma.metrics.clipped import clipped_coverage, clipped_density, expected, good
from trilemma.metrics.extractors import extractor
from trilemma.metrics.features import FeatureReference, feature_reference
from trilemma.metrics.judge import judge_samples

NAMES = ("clipped_density", "clipped_coverage")


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def off(x, share):
    """Move a share of the rows far from everything."""
    moved = x.clone()
    moved[: round(share * len(x))] += 1000
    return moved


def direct(samples, reference, k=5):
    """Compute both by their definitions, with explicit loops; f by the draws of a ball's share."""
    x, y = reference.double().tolist(), samples.double().tolist()
    n, m = len(x), len(y)
    r = [
        sorted(math.dist(a, b) for j, b in enumerate(x) if j != i)[k - 1] for i, a in enumerate(x)
    ]
    cap = statistics.median(r)
    near = 1 + 1e-12  # rounding

    def crowd(point, without=None):
        balls = 0
        for i in range(n):
            if i != without and math.dist(point, x[i]) <= near * min(r[i], cap):
                balls += 1
        return min(1, balls / k)

    own = sum(crowd(x[i], without=i) for i in range(n)) / n
    density = min(1, sum(crowd(point) for point in y) / m / own)
    value = 0
    for i in range(n):
        value += min(k, sum(math.dist(point, x[i]) <= near * r[i] for point in y)) / k / n

    def f(good):
        total = 0
        for j in range(good + 1):
            log = math.lgamma(k + j) + math.lgamma(n - k + good - j) - math.lgamma(n + good)
            log -= math.lgamma(k) + math.lgamma(n - k) - math.lgamma(n)
            total += min(j, k) * math.comb(good, j) * math.exp(log)
        return total / k

    for i in range(m):
        if f(i) <= value <= f(i + 1):
            return density, (i + (value - f(i)) / (f(i + 1) - f(i))) / m
    return density, 1.0


@pytest.mark.parametrize("scale", [0.4, 1.3, 2.0])
@pytest.mark.parametrize("m", [25, 60])
def test_agrees_with_the_definitions(scale, m):
    samples, reference = off(scale * normal(m, 3, seed=1), 0.1), normal(40, 3)
    density, coverage = direct(samples, reference)
    assert 0 < coverage < 1
    assert clipped_density(samples, reference) == pytest.approx(density, abs=1e-10)
    assert clipped_coverage(samples, reference) == pytest.approx(coverage, abs=1e-10)


def test_the_expectation_is_that_of_draws():
    """The share of a ball is Beta(k, N - k), and its samples are so many trials."""
    n, m, draws = 40, 30, 200_000
    torch.manual_seed(0)
    share = torch.distributions.Beta(5.0, float(n - 5)).sample((draws,))
    counted = torch.distributions.Binomial(m, share).sample().clamp_max(5) / 5
    error = counted.std().item() / math.sqrt(draws)
    assert expected(m, n)[m].item() == pytest.approx(counted.mean().item(), abs=4 * error)


@pytest.mark.parametrize(("count", "n"), [(1, 6), (30, 40), (5000, 5000)])
def test_the_expectation_rises_from_nothing(count, n):
    f = expected(count, n)
    assert f[0].item() == pytest.approx(0, abs=1e-12)
    assert (f.diff() > 0).all()
    assert f[-1].item() < 1


def test_the_inverse_goes_on_beyond_all_samples():
    f = torch.tensor([0.0, 0.4, 0.6])
    assert good(0.7, f) == pytest.approx(1.25)
    assert good(0.0, f) == 0


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_both_fall_with_the_share_of_bad_samples_as_a_straight_line_does(share):
    reference, samples = normal(600, 4), off(normal(600, 4, seed=1), share)
    for measure in (clipped_density, clipped_coverage):
        assert measure(samples, reference) == pytest.approx(1 - share, abs=0.05)


def test_an_outlier_of_either_set_changes_little():
    reference, samples = normal(300, 4), 1.2 * normal(300, 4, seed=1)
    lonely, odd = reference.clone(), samples.clone()
    lonely[0], odd[0] = 1e4, -1e4
    for measure in (clipped_density, clipped_coverage):
        usual = measure(samples, reference)
        assert measure(samples, lonely) == pytest.approx(usual, abs=0.01)
        assert measure(odd, reference) == pytest.approx(usual, abs=0.01)


def test_repeated_values_are_no_reason_to_be_bad():
    reference, samples = (normal(200, 1, seed=s).sign() for s in (0, 1))
    assert clipped_density(samples, reference) == 1
    assert clipped_coverage(samples, reference) == 1
    lost = clipped_coverage(torch.ones(200, 1), reference)
    assert 0.4 < lost < 0.7


def test_chunks_change_nothing(monkeypatch):
    samples, reference = 1.5 * normal(30, 3, seed=1), normal(40, 3)
    full_values = [m(samples, reference) for m in (clipped_density, clipped_coverage)]
    monkeypatch.setattr(neighbours, "ENTRIES", 120)
    assert [m(samples, reference) for m in (clipped_density, clipped_coverage)] == full_values


def test_too_few_examples_are_refused():
    with pytest.raises(BadInput, match=r"5 points.*give 6 or more"):
        clipped_coverage(normal(9, 2), normal(5, 2))


@pytest.fixture
def reference():
    data = DataSet("gaussian", Domain("points", (2,), Real()), *(
        Split(normal(n, 2, seed=seed)) for n, seed in ((300, 0), (200, 1))
    ))  # fmt: skip
    return feature_reference(data, extractor("coordinates", data), n=150, session=Session(seed=3))


def test_the_judge_measures_the_same(reference: FeatureReference):
    samples = 1.4 * normal(150, 2, seed=2)
    scores = judge_samples(samples, reference, session=Session(), only=NAMES).metrics
    pair = reference.extract(samples).pair
    for measure in (clipped_density, clipped_coverage):
        score = scores[measure.__name__]
        assert score.value == pytest.approx(measure(*pair), abs=1e-12)
        assert 0 < score.low < score.value < score.high <= 1
        assert score.floor > 0.9
        assert "5 neighbours" in score.protocol
    assert scores["clipped_coverage"].baselines["mean"] < 0.1
    assert scores["clipped_density"].baselines["mean"] == 1  # in the densest place


def test_what_the_examples_alone_decide_is_made_once(reference, monkeypatch):
    calls = []
    right = clipped.own_crowd
    judge_samples(normal(150, 2, seed=2), reference, session=Session(), only=NAMES)
    rows = len(reference.extract(normal(150, 2)).pair[1])

    def counts_calls(x, narrow):
        calls.append(len(x))
        return right(x, narrow)

    monkeypatch.setattr(clipped, "own_crowd", counts_calls)
    judge_samples(normal(150, 2, seed=4), reference, session=Session(), only=NAMES)
    assert calls
    assert rows not in calls  # of subsets alone
