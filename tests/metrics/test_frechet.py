"""Fréchet and kernel distances, against closed forms and against torchmetrics."""

from __future__ import annotations

import math

import pytest
import torch

from trilemma.core.errors import BadInput
from trilemma.metrics.frechet import (
    factor,
    frechet_chance,
    frechet_distance,
    kernel_chance,
    kernel_distance,
    moments,
)
from trilemma.metrics.score import Score


def sets(n=400, m=300, f=16):
    g = torch.Generator().manual_seed(1)
    mix = torch.randn(f, f, generator=g)
    return torch.randn(n, f, generator=g) @ mix, torch.randn(m, f, generator=g) + 0.3


class TestFrechet:
    def test_agrees_with_torchmetrics(self):
        fid = pytest.importorskip("torchmetrics.image.fid")
        x, y = sets()

        class Identity(torch.nn.Module):
            num_features = 16

            def forward(self, x):
                return x

        oracle = fid.FrechetInceptionDistance(
            feature=Identity(), normalize=True, input_img_size=(1, 4, 4)
        ).set_dtype(torch.float64)
        oracle.update(x.double(), real=False)
        oracle.update(y.double(), real=True)
        assert frechet_distance(x, y) == pytest.approx(oracle.compute().item(), rel=1e-6)

    def test_is_symmetric(self):
        x, y = sets()
        assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x), rel=1e-10)

    def test_repeated_example_is_measured_and_not_nan(self):
        x, y = sets()
        value = frechet_distance(x[:1].expand(400, -1), y)
        trace = moments(y).covariance.trace() + (x[0].double() - y.double().mean(0)).square().sum()
        assert value == pytest.approx(trace.item(), rel=1e-9)

    def test_dead_feature_does_no_harm(self):
        x, y = sets()
        x[:, 3], y[:, 3] = 0, 0
        assert frechet_distance(x, y) == pytest.approx(
            frechet_distance(
                torch.cat([x[:, :3], x[:, 4:]], 1), torch.cat([y[:, :3], y[:, 4:]], 1)
            ),
            rel=1e-9,
        )

    def test_large_offset_keeps_its_digits(self):
        x, y = sets()
        moved = frechet_distance(x.double() + 1e5, y.double() + 1e5)
        assert moved == pytest.approx(frechet_distance(x, y), rel=1e-6)

    def test_too_few_samples_are_refused_with_the_number_that_would_do(self):
        x, y = sets()
        with pytest.raises(BadInput, match=r"31 samples are too few.*at least 32.*at most 15"):
            frechet_distance(x[:31], y)
        with pytest.raises(BadInput, match=r"20 reference examples.*at least 32"):
            frechet_distance(x, y[:20])

    def test_factor_of_a_matrix_with_rounding_below_zero(self):
        s = torch.tensor([[1.0, 1.0], [1.0, 1.0 - 1e-15]], dtype=torch.float64)
        torch.testing.assert_close(factor(s) @ factor(s).T, s)


class TestKernel:
    def test_agrees_with_torchmetrics(self):
        kid = pytest.importorskip("torchmetrics.image.kid")
        x, y = sets(n=300)
        oracle = kid.poly_mmd(y.double(), x.double()).item()
        assert kernel_distance(x, y) == pytest.approx(oracle, rel=1e-9)

    def test_chunks_change_nothing(self, monkeypatch):
        x, y = sets()
        full = kernel_distance(x, y)
        monkeypatch.setattr("trilemma.metrics.chance.ROWS", 37)
        assert kernel_distance(x, y) == pytest.approx(full, rel=1e-12)

    def test_grows_with_a_shift(self):
        _, y = sets()
        values = [kernel_distance(y[:150] + s, y[150:]) for s in (0.0, 0.5, 1.0)]
        assert values[0] < values[1] < values[2]


def draw_rows(n, f, draw, shift=0.0):
    x = torch.randn(n, f, generator=draw)
    x[:, 0] += shift
    return x


CASES = {"equal": (3, 0.0, 90), "shifted": (3, 0.7, 90), "unequal numbers": (2, 0.3, 40)}


@pytest.mark.parametrize(
    ("distance", "chance"),
    [(frechet_distance, frechet_chance), (kernel_distance, kernel_chance)],
    ids=["frechet", "kernel"],
)
class TestIntervals:
    """By a bootstrap intervals of equal sets hold in all of 120 repetitions."""

    @pytest.mark.parametrize("case", CASES)
    def test_held_as_often_as_they_say(self, distance, chance, case):
        f, shift, m = CASES[case]
        scores = []
        for seed in range(300):
            draw = torch.Generator().manual_seed(seed)
            x, y = draw_rows(90, f, draw, shift), draw_rows(m, f, draw)
            scores.append(Score(distance(x, y)).with_interval(chance(x, y)))
        mean = sum(s.value for s in scores) / len(scores)
        hit_rate = sum(s.low <= mean <= s.high for s in scores) / len(scores)
        assert 0.92 <= hit_rate <= 0.985

    def test_far_apart_the_variance_is_that_of_fresh_rows_of_both(self, distance, chance):
        values, chances = [], []
        for seed in range(200):
            draw = torch.Generator().manual_seed(seed)
            x, y = draw_rows(150, 4, draw, 1.5), draw_rows(60, 4, draw)
            values.append(distance(x, y))
            chances.append(chance(x, y).variance)
        assert sum(chances) / 200 == pytest.approx(torch.tensor(values).var().item(), rel=0.3)

    def test_a_dead_feature_changes_nothing(self, distance, chance):
        draw = torch.Generator().manual_seed(0)
        x, y = draw_rows(90, 3, draw, 0.5), draw_rows(60, 3, draw)
        if distance is kernel_distance:
            pytest.skip("its kernel is divided by the number of features")
        chances, expected = chance(pad(x), pad(y)), chance(x, y)
        assert chances.variance == pytest.approx(expected.variance, rel=1e-6)
        assert chances.variance_slope == pytest.approx(expected.variance_slope, rel=1e-6)

    def test_one_image_again_and_again(self, distance, chance):
        draw = torch.Generator().manual_seed(0)
        x, y = draw_rows(1, 3, draw).expand(90, 3), draw_rows(60, 3, draw)
        chances = chance(x, y)
        assert math.isfinite(chances.variance)
        assert chances.variance > 0


def pad(x):
    return torch.nn.functional.pad(x, (1, 0))


def test_few_rows_for_many_features_do_not_widen_it():
    """By a bootstrap it is 2.2 times as wide as it should be, of 256 rows of 64 features."""
    values, chances = [], []
    for seed in range(30):
        draw = torch.Generator().manual_seed(seed)
        x, y = draw_rows(128, 32, draw), draw_rows(128, 32, draw)
        values.append(frechet_distance(x, y))
        chances.append(frechet_chance(x, y).variance ** 0.5)
    assert sum(chances) / 30 < 1.7 * torch.tensor(values).std().item()
