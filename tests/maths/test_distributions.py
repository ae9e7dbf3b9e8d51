from __future__ import annotations

import math

import pytest
import torch

from trilemma.maths.distributions import (
    bernoulli_log_prob,
    discretised_logistic_log_prob,
    discretised_normal_log_prob,
    kl_normal,
    kl_normals,
    log_mean_exp,
    log_normal,
    reparameterise,
)

DISCRETISED = [
    (discretised_logistic_log_prob, torch.sigmoid),
    (discretised_normal_log_prob, torch.special.ndtr),
]


def test_log_normal_is_torchs():
    x, mu, log_var = torch.randn(3, 50, dtype=torch.float64)
    expected = torch.distributions.Normal(mu, (log_var / 2).exp())
    torch.testing.assert_close(log_normal(x, mu, log_var), expected.log_prob(x))


def test_kl_is_torchs():
    mu, log_var, other, other_var = torch.randn(4, 50, dtype=torch.float64)
    normal = torch.distributions.Normal
    q, p = normal(mu, (log_var / 2).exp()), normal(other, (other_var / 2).exp())
    expected = torch.distributions.kl_divergence(q, p)
    torch.testing.assert_close(kl_normals(mu, log_var, other, other_var), expected)
    zero = torch.zeros_like(mu)
    torch.testing.assert_close(kl_normal(mu, log_var), kl_normals(mu, log_var, zero, zero))


def test_reparameterised_draws_have_the_moments():
    eps = torch.randn(200_000, dtype=torch.float64)
    z = reparameterise(torch.tensor(2.0), torch.tensor(math.log(9.0)), eps)
    assert z.mean().item() == pytest.approx(2, abs=0.03)
    assert z.var().item() == pytest.approx(9, rel=0.02)


def test_bernoulli_is_exact_far_out():
    logits = torch.tensor([-200.0, -3.0, 0.0, 3.0, 200.0])
    one, log_zero = (
        bernoulli_log_prob(torch.ones(5), logits),
        bernoulli_log_prob(torch.zeros(5), logits),
    )
    assert one[0].item() == -200
    assert log_zero[-1].item() == -200
    torch.testing.assert_close(one.exp() + log_zero.exp(), torch.ones(5))


@pytest.mark.parametrize(("log_prob", "cumulative"), DISCRETISED)
@pytest.mark.parametrize("count", [2, 3, 17, 256])
def test_bins_are_differences_of_the_distribution_function(log_prob, cumulative, count):
    levels = torch.arange(count)
    mean, log_scale = torch.tensor(0.13, dtype=torch.float64), torch.tensor(-0.7).double()
    edges = (2 * torch.arange(count + 1).double() - 1) / (count - 1) - 1
    at = cumulative((edges - mean) / log_scale.exp())
    at[0], at[-1] = 0, 1
    probabilities = log_prob(levels, mean.expand(count), log_scale.expand(count), count).exp()
    torch.testing.assert_close(probabilities, at.diff(), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(("log_prob", "cumulative"), DISCRETISED)
@pytest.mark.parametrize("spread", [-7.0, -3.0, 0.0, 3.0])
def test_bins_sum_to_one_in_float32(log_prob, cumulative, spread):
    points = torch.linspace(-2, 2, 41)[:, None].expand(41, 256)
    levels = torch.arange(256).expand(41, 256)
    total = log_prob(levels, points, torch.full_like(points, spread), 256).exp().sum(1)
    torch.testing.assert_close(total, torch.ones(41), rtol=0, atol=1e-4)


def test_the_narrow_and_the_wide_branch_meet():
    levels, count = torch.full((2001,), 3), 8
    mean = torch.linspace(-3, 3, 2001, dtype=torch.float64)
    for spread in (0.2, 0.9, 1.3, 2.0):
        value = discretised_normal_log_prob(levels, mean, torch.full_like(mean, spread), count)
        centre, half = 6 / 7 - 1 - mean, 1 / 7
        scale = math.exp(spread)
        upper, lower = (centre + half) / scale, (centre - half) / scale
        exact = (torch.special.ndtr(upper) - torch.special.ndtr(lower)).log()
        torch.testing.assert_close(value, exact, rtol=1e-6, atol=1e-6)


def test_log_mean_exp_does_not_overflow():
    assert log_mean_exp(torch.tensor([[1000.0, 1000.0]]), 1).item() == pytest.approx(1000)
