"""The arithmetic of flows: each map against its inverse and its Jacobian."""

from __future__ import annotations

import math

import pytest
import torch

from trilemma.maths.transforms import (
    affine,
    affine_inverse,
    bounded,
    exact,
    logit,
    logit_inverse,
    lu_factors,
    lu_inverse,
    lu_log_det,
    lu_matrix,
    piecewise,
    piecewise_inverse,
    squeeze,
    unsqueeze,
)


def test_affine_coupling_scales_volume_by_the_sum_of_its_log_scales():
    y, shift, log_scale = torch.randn(3, 4, 5, 2, 2).double().unbind(0)
    z, log_det = affine(y, shift, log_scale)
    assert torch.allclose(log_det, log_scale.sum((1, 2, 3)))
    assert torch.allclose(affine_inverse(z, shift, log_scale), y)


def test_a_bounded_scale_is_never_beyond_its_bound_and_starts_with_slope_one():
    raw = torch.tensor([-1e6, -3.0, 0.0, 3.0, 1e6], requires_grad=True)
    scale = bounded(raw, 2.0)
    assert scale.abs().max() <= 2
    (slope,) = torch.autograd.grad(scale.sum(), raw)
    assert slope[2] == 1
    assert slope.isfinite().all()


def test_half_precision_is_widened_and_nothing_else():
    assert exact(torch.zeros(1, dtype=torch.bfloat16)).dtype == torch.float32
    assert exact(torch.zeros(1, dtype=torch.float64)).dtype == torch.float64
    assert bounded(torch.zeros(1, dtype=torch.bfloat16), 1.0).dtype == torch.float32


@pytest.mark.parametrize("size", [1, 2, 7, 48])
def test_lu_form_multiplies_inverts_and_knows_its_determinant(size):
    w = torch.randn(size, size).double()
    p, lower, upper, s = lu_factors(w)
    assert torch.allclose(lu_matrix(p, lower, upper, s), w)
    one = torch.eye(size).double()
    assert torch.allclose(lu_inverse(p, lower, upper, s) @ w, one, atol=1e-8)
    assert torch.allclose(lu_log_det(s.abs().log(), 9), 9 * torch.linalg.slogdet(w)[1])


def test_what_stands_in_the_other_triangle_is_not_looked_at():
    p, lower, upper, s = lu_factors(torch.randn(5, 5).double())
    stray = torch.randn(5, 5).double()
    repeated = lu_matrix(p, lower + stray.triu(), upper + stray.tril(), s)
    assert torch.equal(repeated, lu_matrix(p, lower, upper, s))
    inverse = lu_inverse(p, lower + stray.triu(), upper + stray.tril(), s)
    assert torch.allclose(inverse, lu_inverse(p, lower, upper, s))


def test_squeeze_keeps_neighbours_together():
    x = torch.arange(2 * 1 * 4 * 6.0).view(2, 1, 4, 6)
    z = squeeze(x)
    assert z.shape == (2, 4, 2, 3)
    assert z[0, :, 0, 0].tolist() == [0, 1, 6, 7]
    assert torch.equal(unsqueeze(z), x)


@pytest.mark.parametrize("alpha", [1e-6, 0.05])
def test_logit_is_finite_at_the_ends_and_knows_its_slope(alpha):
    y = torch.linspace(-1, 1, 9).double()[:, None].requires_grad_()
    z, log_det = logit(y, alpha)
    (slope,) = torch.autograd.grad(z.sum(), y)
    assert z.isfinite().all()
    assert torch.allclose(log_det, slope.log()[:, 0])
    assert torch.allclose(logit_inverse(z, alpha), y, atol=1e-9)


def test_pieces_are_a_distribution_function():
    weights = torch.tensor([[0.7, 0.1, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25]]).double()
    y = torch.tensor([[-1.0, -0.5, 0.0, 0.25, 1.0]] * 2).double().T.contiguous()
    f, log_derivative = piecewise(y, weights)
    expected = [[0.0, 0.0], [0.7, 0.25], [0.8, 0.5], [0.85, 0.625], [1.0, 1.0]]
    assert torch.allclose(f, torch.tensor(expected).double())
    assert log_derivative[0].exp().tolist() == pytest.approx([1.4, 0.5])
    assert torch.allclose(piecewise_inverse(f, weights), y)


def test_pieces_on_images_of_several_channels_come_back():
    weights = torch.rand(3, 17).double().softmax(1)
    y = torch.rand(5, 3, 4, 6).double() * 2 - 1
    f, log_derivative = piecewise(y, weights)
    assert f.shape == log_derivative.shape == y.shape
    assert torch.allclose(piecewise_inverse(f, weights), y)
    # each channel has its own
    alone, _ = piecewise(y[:, 1:2], weights[1:2])
    assert torch.equal(f[:, 1:2], alone)


def test_even_pieces_change_volume_by_the_width_of_the_box():
    _, log_derivative = piecewise(torch.rand(2, 1, 3), torch.full((1, 5), 0.2))
    assert torch.allclose(log_derivative, torch.full((2, 1, 3), -math.log(2)))
