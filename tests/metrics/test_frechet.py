"""Fréchet and kernel distances, against closed forms and against torchmetrics."""

from __future__ import annotations

import math

import pytest
import torch

from trilemma.core.errors import BadInput
from trilemma.metrics.frechet import (
    factor,
    frechet,
    frechet_distance,
    frechet_spread,
    kernel_distance,
    kernel_spread,
    moments,
)
from trilemma.metrics.score import resamples


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

    def test_weighted_moments_are_those_of_the_repeated_rows(self):
        x, _ = sets(n=50)
        weights = resamples(50, seed=0, count=1)[0]
        repeated = x.repeat_interleave(weights.long(), dim=0)
        got, want = moments(x, weights), moments(repeated)
        torch.testing.assert_close(got.mean, want.mean)
        torch.testing.assert_close(got.covariance, want.covariance)

    def test_factor_of_a_matrix_with_rounding_below_zero(self):
        s = torch.tensor([[1.0, 1.0], [1.0, 1.0 - 1e-15]], dtype=torch.float64)
        torch.testing.assert_close(factor(s) @ factor(s).T, s)

    def test_interval_is_of_the_right_size(self):
        g = torch.Generator().manual_seed(0)
        y = torch.randn(4000, 4, generator=g)
        drawn = [torch.randn(200, 4, generator=g) + 1 for _ in range(60)]
        truth = torch.tensor([frechet(moments(x), moments(y)) for x in drawn]).std().item()
        assert frechet_spread(drawn[0], y, seed=0) == pytest.approx(truth, rel=0.4)


class TestKernel:
    def test_agrees_with_torchmetrics(self):
        kid = pytest.importorskip("torchmetrics.image.kid")
        x, y = sets(n=300)
        oracle = kid.poly_mmd(y.double(), x.double()).item()
        assert kernel_distance(x, y) == pytest.approx(oracle, rel=1e-9)

    def test_chunks_change_nothing(self, monkeypatch):
        x, y = sets()
        whole = kernel_distance(x, y)
        monkeypatch.setattr("trilemma.metrics.frechet.ROWS", 37)
        assert kernel_distance(x, y) == pytest.approx(whole, rel=1e-12)

    def test_grows_with_a_shift(self):
        _, y = sets()
        values = [kernel_distance(y[:150] + s, y[150:]) for s in (0.0, 0.5, 1.0)]
        assert values[0] < values[1] < values[2]

    def test_interval_is_of_the_right_size(self):
        g = torch.Generator().manual_seed(0)
        y = torch.randn(500, 4, generator=g)
        drawn = [torch.randn(200, 4, generator=g) + 1 for _ in range(60)]
        truth = torch.tensor([kernel_distance(x, y) for x in drawn]).std().item()
        assert kernel_spread(drawn[0], y, seed=0) == pytest.approx(truth, rel=0.4)
        assert math.isfinite(truth)


def test_the_spread_of_the_kernel_distance_is_that_of_fresh_samples():
    """The terms within and across move together: with the wrong sign the spread would grow."""
    test = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)).double()

    def fresh(seed):
        return torch.randn(200, 3, generator=torch.Generator().manual_seed(seed)).double() + 0.3

    values = torch.tensor([kernel_distance(fresh(1 + i), test) for i in range(200)])
    found = [kernel_spread(fresh(1 + i), test, seed=i) for i in range(20)]
    assert sum(found) / len(found) == pytest.approx(values.std().item(), rel=0.25)
