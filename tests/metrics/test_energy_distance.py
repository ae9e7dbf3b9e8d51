"""Energy distance and sliced Wasserstein: against others' code, and what fd does not see."""

from __future__ import annotations

import math

import ot
import pytest
import scipy.stats
import torch

from trilemma.core.domain import Domain, Real
from trilemma.core.session import Session
from trilemma.data import sources
from trilemma.data.dataset import DataSet, Split
from trilemma.metrics.energy_distance import (
    directions,
    energy_chance,
    energy_distance,
    sliced_spread,
    sliced_wasserstein,
)
from trilemma.metrics.extractors import extractor
from trilemma.metrics.features import feature_reference
from trilemma.metrics.frechet import frechet_distance
from trilemma.metrics.judge import judge_samples
from trilemma.metrics.score import Score, subset_spreads


def normal(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_energy_distance_agrees_with_scipy_in_one_dimension():
    """Scipy's is the root of the biased estimate, in which points pair with themselves."""
    x, y = normal(60, 1), 1.5 * normal(40, 1, 1) + 0.3
    n, m = len(x), len(y)
    own = torch.cdist(x, x).mean() / (n - 1) + torch.cdist(y, y).mean() / (m - 1)
    theirs = scipy.stats.energy_distance(x[:, 0].numpy(), y[:, 0].numpy()) ** 2
    assert energy_distance(x, y) == pytest.approx(theirs - own.item(), rel=1e-9)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_sliced_wasserstein_agrees_with_pot(d):
    x, y = normal(70, d), 1.5 * normal(40, d, 1) + 0.3
    theirs = ot.sliced_wasserstein_distance(
        x.numpy(), y.numpy(), projections=directions(d).numpy()
    )
    assert sliced_wasserstein(x, y) == pytest.approx(float(theirs), rel=1e-9)


def test_energy_distance_is_zero_in_the_mean_for_equal_distributions():
    values = [energy_distance(normal(8, 2, 2 * i), normal(5, 2, 2 * i + 1)) for i in range(600)]
    deviations = torch.tensor(values)
    assert abs(deviations.mean()) < 4 * deviations.std() / math.sqrt(len(deviations))
    assert (deviations < 0).float().mean() > 0.3


def test_a_gaussian_of_the_right_moments_is_seen_on_two_moons():
    data = sources.load("two-moons")
    reference = feature_reference(data, extractor(None, data), n=2000, session=Session())
    cloud = data.train.x.double()
    root = torch.linalg.cholesky(torch.cov(cloud.T))
    blob = (cloud.mean(0) + normal(2000, 2) @ root.T).float()
    names = ("energy_distance", "sliced_wasserstein", "fd")
    scores = judge_samples(blob, reference, session=Session(), only=names).metrics
    for name in ("energy_distance", "sliced_wasserstein"):
        score = scores[name]
        assert score.low > 2 * abs(score.floor)
        assert score.baselines["normal"] == pytest.approx(score.value, rel=0.5)
        assert score.baselines["noise"] > abs(score.floor)
    # What these see, a Fréchet distance of coordinates does not.
    assert scores["fd"].value < 3 * scores["fd"].floor + 0.01


def test_floor_and_score_of_true_samples_are_equal_in_the_mean():
    """Training examples are no nearer than fresh ones: both are as many."""
    data = sources.load("two-moons")
    reference = feature_reference(data, extractor(None, data), n=1000, session=Session())
    assert reference.count == 1000
    fresh = reference.train[1000:]
    values = [frechet_distance(part, reference.test) for part in fresh.split(1000)[:8]]
    spread = torch.tensor(values).std().item()
    names = ("fd", "nearest_train_ratio")
    scores = judge_samples(data.test.x[:1000], reference, session=Session(), only=names).metrics
    assert abs(sum(values) / len(values) - scores["fd"].floor) < 4 * spread
    assert scores["nearest_train_ratio"].floor == 1.0


def test_deviations_are_those_of_fresh_rows_of_both_sides():
    """The mean difference of two sets has a variance that is known: of both, of every row."""
    x, y = normal(400, 1), 3 * normal(100, 1, 1)
    x[200:] *= 10  # rows of one half alone would not tell

    def gap(a, b):
        return {"gap": (a.mean() - b.mean()).item()}

    truth = math.sqrt(float(x.var() / 400 + y.var() / 100))
    deviations = [subset_spreads(x, y, gap, seed=seed)["gap"] for seed in range(20)]
    assert sum(deviations) / len(deviations) == pytest.approx(truth, rel=0.1)


def hit_rate(distance, interval, shift, repetitions=100, m=60):
    """Return how often the interval holds the mean."""
    scores = []
    for seed in range(repetitions):
        x, y = normal(80, 2, seed) + shift, normal(m, 2, 1000 + seed)
        scores.append(Score(distance(x, y)).with_interval(interval(x, y)))
    mean = sum(s.value for s in scores) / repetitions
    return sum(s.low <= mean <= s.high for s in scores) / repetitions


@pytest.mark.parametrize("shift", [0.0, 0.2, 0.8])
def test_the_interval_of_the_energy_distance_holds_as_often_as_it_says(shift):
    """By subsets of half it holds always between equal sets, nearly twice as wide."""
    assert 0.91 <= hit_rate(energy_distance, energy_chance, shift) <= 0.99


@pytest.mark.parametrize("shift", [0.2, 0.8])
def test_the_interval_of_the_sliced_distance_holds_apart(shift):
    assert hit_rate(sliced_wasserstein, lambda x, y: sliced_spread(x, y, seed=0), shift) >= 0.9


def test_the_sliced_deviation_of_a_shift_is_that_of_the_means():
    """Far apart in one dimension the distance is the difference of means."""
    x, y = normal(300, 1) + 50, 2 * normal(100, 1, 1)
    truth = math.sqrt(float(x.var() / 300 + y.var() / 100))
    assert sliced_spread(x, y, seed=0) == pytest.approx(truth, rel=0.02)
    assert sliced_spread(x, x, seed=0) == 0


@pytest.mark.parametrize(("n", "m"), [(6, 6), (9, 300)])
def test_as_few_points_as_can_be_measured_have_an_interval(n, m):
    """Half of them have no fifth neighbour: such subsets ended the whole evaluation."""
    points = normal(n + m, 2).float()
    domain = Domain("points", (2,), Real())
    data = DataSet("few", domain, Split(points), Split(points[:m]))
    reference = feature_reference(data, extractor("coordinates", data), n=n, session=Session())
    deviations = judge_samples(points[m:], reference, session=Session())
    assert "coverage" in deviations.metrics
    assert "coverage" not in deviations.skipped
    for name, score in deviations.metrics.items():
        assert score.low <= score.value <= score.high, name
