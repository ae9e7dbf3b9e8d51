"""Splines agree with another implementation, keep to their shapes, and stay finite anywhere."""

from __future__ import annotations

import math

import pytest
import torch

from trilemma.maths import splines

DRAW = torch.Generator


def normal(*shape, seed=0, scale=1.0, dtype=torch.float32):
    return scale * torch.randn(shape, generator=DRAW().manual_seed(seed), dtype=dtype)


def test_noughts_make_the_identity():
    x = torch.linspace(-6, 6, 101)
    spline = splines.knots(torch.zeros(23, 101), 4.0)
    y, log_derivative = splines.forward(x, spline)
    assert torch.allclose(y, x, atol=1e-5)
    assert log_derivative.abs().max() < 1e-5


@pytest.mark.parametrize("bins", [2, 3, 16, 40])
def test_knots_rise_from_end_to_end(bins):
    x, y, slopes = splines.knots(normal(3 * bins - 1, 50, scale=5.0), 2.5).points
    for knots_of in (x, y):
        assert knots_of.shape == (bins + 1, 50)
        assert (knots_of[0] == -2.5).all()
        assert (knots_of[-1] - 2.5).abs().max() < 1e-5
        assert knots_of.diff(dim=0).min() > 0.9 * splines.LEAST * 5 / bins
    assert (slopes[[0, -1]] == 1).all()
    assert slopes.min() >= 0.999 / splines.STEEPEST
    assert slopes.max() <= 1.001 * splines.STEEPEST


@pytest.mark.parametrize("shape", [(), (3,), (4, 5), (2, 3, 4)])
def test_any_leading_axes(shape):
    spline, x = splines.knots(normal(11, *shape), 3.0), normal(*shape, seed=1, scale=2.0)
    for transform in (splines.forward, splines.inverse):
        value, log_derivative = transform(x, spline)
        assert value.shape == log_derivative.shape == shape


def test_knots_may_be_shared():
    one, x = splines.knots(normal(11, 5), 3.0), normal(200, 5, seed=1)
    many = splines.Knots(
        one.shares[:, :, None].repeat(1, 1, 200, 1), one.bends[:, None].repeat(1, 200, 1), 3.0
    )
    for transform in (splines.forward, splines.inverse):
        for a, b in zip(transform(x, one), transform(x, many), strict=True):
            assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_there_and_back(dtype):
    spline = splines.knots(normal(47, 5000, dtype=dtype), 4.0)
    x = normal(5000, seed=1, scale=2.0, dtype=dtype)
    y, log_derivative = splines.forward(x, spline)
    back, log_back = splines.inverse(y, spline)
    fine = 5e-3 if dtype == torch.float32 else 1e-10
    assert y.dtype == log_derivative.dtype == dtype
    assert (back - x).abs().max() < fine
    assert (log_derivative + log_back).abs().max() < 10 * fine


def test_knots_themselves_and_the_ends_are_met():
    spline = splines.knots(normal(14, 20), 3.0)
    x, y, slopes = spline.points
    value, log_derivative = splines.forward(x, spline)
    assert torch.allclose(value, y, atol=1e-5)
    assert torch.allclose(log_derivative, slopes.log(), atol=1e-3)
    assert torch.allclose(splines.inverse(y, spline)[0], x, atol=1e-5)


@pytest.mark.parametrize("transform", [splines.forward, splines.inverse])
@pytest.mark.parametrize("scale", [1.0, 30.0, 1e4])
def test_gradients_are_finite_wherever_points_and_knots_lie(transform, scale):
    ends = torch.tensor([-4.0, 4.0, -4.0 - 1e-6, 4.0 + 1e-6, 0.0, 1e4, -1e30, 3e38])
    x = torch.cat([ends, normal(2000, scale=4.0)]).requires_grad_()
    raw = normal(23, len(x), seed=1, scale=scale).requires_grad_()
    value, log_derivative = transform(x, splines.knots(raw, 4.0))
    assert value.isfinite().all()
    assert log_derivative.isfinite().all()
    by_x, by_raw = torch.autograd.grad((value.clamp(-9, 9) + log_derivative).sum(), [x, raw])
    assert by_x.isfinite().all()
    assert by_raw.isfinite().all()
    assert (by_raw[:, 5:8] == 0).all()  # far out no knot matters


def test_far_out_it_is_the_identity_bit_for_bit():
    x = torch.tensor([-1e30, -77.7, 4.0000005, 5.0, 1e5])
    for transform in (splines.forward, splines.inverse):
        value, log_derivative = transform(x, splines.knots(normal(23, 5), 4.0))
        assert torch.equal(value, x)
        assert (log_derivative == 0).all()


def test_agrees_with_zuko():
    zuko = pytest.importorskip("zuko")
    widths, heights = (normal(300, 8, seed=i, dtype=torch.float64) for i in (1, 2))
    theirs = zuko.transforms.MonotonicRQSTransform(
        widths, heights, normal(300, 7, seed=3, dtype=torch.float64), bound=3.0
    )
    points = torch.stack([theirs.horizontal.T, theirs.vertical.T, theirs.derivatives.T])
    spline = splines.through(points)
    assert torch.allclose(spline.points, points, atol=1e-9)
    x = normal(300, seed=4, scale=2.0, dtype=torch.float64)
    y, log_derivative = splines.forward(x, spline)
    their_y, their_slope = theirs.call_and_ladj(x)
    assert torch.allclose(y, their_y, atol=1e-12)
    assert torch.allclose(log_derivative, their_slope, atol=1e-12)
    assert torch.allclose(splines.inverse(x, spline)[0], theirs.inv(x), atol=1e-9)


def test_a_spline_of_two_bins_by_hand():
    """Knots (-1, -1), (0, 1/2), (1, 1) with slopes 1, 1, 1, at x = -1/2."""
    points = torch.tensor([[-1.0, 0, 1], [-1, 0.5, 1], [1, 1, 1]]).double()
    # s = 3/2, t = 1/2, u = 1/4: below = 3/2 - 1/4
    y, log_derivative = splines.forward(torch.tensor(-0.5).double(), splines.through(points))
    assert y.item() == pytest.approx(-1 + 1.5 * (1.5 / 4 + 1 / 4) / 1.25)
    assert log_derivative.item() == pytest.approx(math.log(2.25 * (0.25 + 0.75 + 0.25) / 1.25**2))
