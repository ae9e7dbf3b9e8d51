"""Each law of the measures holds, and each sees a broken measure."""

from __future__ import annotations

import math

import torch

from trilemma.laws import metrics as laws
from trilemma.metrics import (
    clipped,
    coverage,
    divergence,
    frechet,
    likelihood,
    nearest_training,
    neighbours,
    trivial_densities,
)
from trilemma.metrics import energy_distance as shape
from trilemma.metrics.frechet import Moments


def broken(check):
    """Return the names of the laws of a check that do not hold."""
    return [law.name for law in check() if not law.holds]


def test_frechet_without_the_mean(monkeypatch):
    right = frechet.frechet
    monkeypatch.setattr(
        frechet, "frechet", lambda a, b: right(Moments(b.mean, a.covariance, a.n), b)
    )
    assert "Fréchet distance, diagonal Gaussians" in broken(laws.frechet_of_gaussians)
    assert "Fréchet distance of a set moved by m is |m|²" in broken(laws.frechet_of_equal_sets)


def test_frechet_with_square_roots_that_are_taken_to_commute(monkeypatch):
    def commuting(a, b):
        one, two = (torch.linalg.eigvalsh(m.covariance).clamp_min(0).sqrt() for m in (a, b))
        return ((a.mean - b.mean).square().sum() + (one - two).square().sum()).item()

    monkeypatch.setattr(frechet, "frechet", commuting)
    names = broken(laws.frechet_of_gaussians)
    assert "Fréchet distance, covariances that do not commute" in names
    assert "Fréchet distance, a singular covariance" in names


def test_frechet_with_a_variance_for_its_root(monkeypatch):
    monkeypatch.setattr(frechet, "factor", lambda covariance: covariance)
    assert len(broken(laws.frechet_of_gaussians)) == 3


def test_frechet_without_the_factor_of_two(monkeypatch):
    right = frechet.factor
    monkeypatch.setattr(frechet, "factor", lambda covariance: right(covariance) / 2**0.5)
    assert len(broken(laws.frechet_of_equal_sets)) == 2


def test_kernel_distance_with_the_diagonal_is_biased(monkeypatch):
    def biased(x, y):
        means = [frechet._kernel(a, b).mean() for a, b in ((x, x), (y, y), (x, y))]
        return (means[0] + means[1] - 2 * means[2]).item()

    monkeypatch.setattr(frechet, "kernel_distance", biased)
    assert broken(laws.kernel_is_unbiased)


def test_neighbours_without_a_radius(monkeypatch):
    monkeypatch.setattr(coverage, "radii", lambda x, k: torch.full((len(x),), -1.0).double())
    names = broken(laws.neighbours_of_known_sets)
    for metric in ("precision", "recall", "density", "coverage"):
        assert f"{metric} of identical sets" in names


def test_neighbours_with_a_radius_that_takes_in_all(monkeypatch):
    monkeypatch.setattr(coverage, "radii", lambda x, k: torch.full((len(x),), 1e9).double())
    names = broken(laws.neighbours_of_known_sets)
    for metric in ("precision", "recall", "coverage"):
        assert f"{metric} of far sets" in names


def test_density_with_the_wrong_number_of_neighbours(monkeypatch):
    right = neighbours.radii
    monkeypatch.setattr(coverage, "radii", lambda x, k: right(x, k + 1))
    assert "density of identical sets" in broken(laws.neighbours_of_known_sets)


END = "clipped density beside the end of a line"
HALF = "clipped density, half of the samples far off"
LONELY = "clipped density of samples in the ball of one example far off"
ORDERS = "clipped coverage: f by the orders of the points"
UNDONE = "clipped coverage: g undoes f"
ORIGINAL_DRAW = "clipped coverage: 16 good samples of 24, in the mean over draws"


def test_clipped_density_with_radii_as_they_are(monkeypatch):
    monkeypatch.setattr(clipped, "narrowed", lambda wide: wide)
    assert LONELY in broken(laws.clipped_density_of_known_sets)


def test_clipped_density_that_counts_an_examples_own_ball(monkeypatch):
    right = clipped.own_crowd
    monkeypatch.setattr(clipped, "own_crowd", lambda x, narrow: right(x, narrow) + 1)
    assert broken(laws.clipped_density_of_known_sets) == [END]


def test_clipped_density_that_clips_no_counts(monkeypatch):
    monkeypatch.setattr(clipped, "clip", lambda counts: (counts / 5).mean().item())
    assert END in broken(laws.clipped_density_of_known_sets)
    assert ORIGINAL_DRAW in broken(laws.clipped_coverage_of_known_shares)


def test_clipped_density_that_leaves_out_bad_samples(monkeypatch):
    right = clipped.clip
    monkeypatch.setattr(clipped, "clip", lambda counts: right(counts[counts > 0]))
    assert HALF in broken(laws.clipped_density_of_known_sets)


def test_clipped_coverage_with_another_number_of_neighbours(monkeypatch):
    monkeypatch.setattr(clipped, "K", 4)
    assert {ORDERS, ORIGINAL_DRAW} <= set(broken(laws.clipped_coverage_of_known_shares))


def test_clipped_coverage_whose_example_is_among_the_others(monkeypatch):
    right = clipped.expected
    monkeypatch.setattr(clipped, "expected", lambda count, n: right(count, n + 1))
    assert broken(laws.clipped_coverage_of_known_shares) == [ORDERS]


def test_clipped_coverage_without_an_inverse(monkeypatch):
    monkeypatch.setattr(clipped, "good", lambda value, f: value / f[-1].item())
    assert broken(laws.clipped_coverage_of_known_shares) == [UNDONE]


def test_clipped_coverage_by_the_balls_of_samples(monkeypatch):
    right = coverage.manifold
    monkeypatch.setattr(coverage, "manifold", lambda y, x: right(x, y))
    assert ORIGINAL_DRAW in broken(laws.clipped_coverage_of_known_shares)


def test_ratio_upside_down(monkeypatch):
    right = nearest_training.nearest_ratio
    monkeypatch.setattr(
        nearest_training, "nearest_ratio", lambda samples, test: right(test, samples)
    )
    assert "nearest_train_ratio of copies" in broken(laws.nearest_training_examples)


def test_ratio_of_a_sum(monkeypatch):
    monkeypatch.setattr(
        nearest_training,
        "nearest_ratio",
        lambda samples, test: (samples.sum() / test.mean()).item(),
    )
    assert "nearest_train_ratio of test examples" in broken(laws.nearest_training_examples)


def test_nats_for_bits(monkeypatch):
    monkeypatch.setattr(likelihood, "bits_per_dim", lambda nats, dimensions: -nats / dimensions)
    assert len(broken(laws.bits_of_uniform_noise)) == 4


def test_a_baseline_of_one_level_too_few(monkeypatch):
    monkeypatch.setattr(trivial_densities, "uniform", lambda d, count: -d * math.log(count - 1))
    assert len(broken(laws.bits_of_uniform_noise)) == 2


def test_energy_distance_with_a_factor_forgotten(monkeypatch):
    monkeypatch.setattr(shape, "discrepancy", lambda xx, xy, yy: xx.mean + yy.mean - xy.mean)
    assert "energy distance of two point masses" in broken(laws.shape_of_known_sets)


def test_energy_distance_with_points_paired_with_themselves(monkeypatch):
    def biased(x, y):
        own = torch.cdist(x, x).mean() + torch.cdist(y, y).mean()
        return (2 * torch.cdist(x, y).mean() - own).item()

    monkeypatch.setattr(shape, "energy_distance", biased)
    assert broken(laws.shape_of_known_sets) == ["energy distance is unbiased at n = 6, m = 9"]


def test_sliced_wasserstein_with_directions_longer_than_one(monkeypatch):
    right = shape.directions
    monkeypatch.setattr(shape, "directions", lambda d: 2 * right(d))
    assert broken(laws.shape_of_known_sets) == [
        "sliced Wasserstein of a set moved by m in the plane is |m| / √2"
    ]


def test_sliced_wasserstein_that_pairs_rows_unsorted(monkeypatch):
    def unsorted(x, y):
        w = shape.directions(x.shape[1])
        return ((x[: len(y)] @ w - (y @ w).flip(0)).square().mean()).sqrt().item()

    monkeypatch.setattr(shape, "sliced_wasserstein", unsorted)
    assert len(broken(laws.shape_of_known_sets)) == 2


def test_a_divergence_that_forgets_the_models_own_density(monkeypatch):
    monkeypatch.setattr(divergence, "excess", lambda q, p: -p)
    assert len(broken(laws.divergence_of_gaussians)) == 3


def test_a_divergence_the_other_way_round(monkeypatch):
    right = divergence.excess
    monkeypatch.setattr(divergence, "excess", lambda q, p: right(p, q))
    assert len(broken(laws.divergence_of_gaussians)) == 3
