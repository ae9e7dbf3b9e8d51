"""Predictions: the same clean estimate, whatever the network is asked for."""

from __future__ import annotations

import pytest
import torch

from trilemma.maths.diffusion.predictions import Clean, Edm, NoisePrediction, Velocity
from trilemma.maths.diffusion.schedules import SCHEDULES, Cosine, Rectified

ALL = [NoisePrediction(), Clean(), Velocity(1), Velocity(2), Edm(0.5), Edm(1.3)]
T = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)[:, None]


@pytest.fixture
def pair():
    return torch.randn(2, 50, 3, dtype=torch.float64).unbind()


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("prediction", ALL, ids=str)
def test_target_means_x(prediction, name, pair):
    x, noise = pair
    alpha, sigma = SCHEDULES[name](T)
    target = prediction.target(x, noise, alpha, sigma)
    torch.testing.assert_close(
        prediction.denoised(target, alpha * x + sigma * noise, alpha, sigma), x
    )


def test_rectified_velocity_is_noise_minus_data(pair):
    x, noise = pair
    target = Velocity(Rectified.power).target(x, noise, *Rectified()(T))
    torch.testing.assert_close(target, noise - x)


def test_velocity_is_the_tangent_of_the_circle(pair):
    x, noise = pair
    alpha, sigma = Cosine()(T)
    angle = torch.atan2(sigma, alpha).requires_grad_()
    state = angle.cos() * x[:, :1] + angle.sin() * noise[:, :1]
    (tangent,) = torch.autograd.grad(state.sum(), angle)
    torch.testing.assert_close(Velocity(2).target(x, noise, alpha, sigma)[:, :1], tangent)


def test_edm_is_the_papers_preconditioning(pair):
    x_t, output = pair
    alpha, sigma = Cosine()(T)
    noise, spread = sigma / alpha, 0.5
    skip = spread**2 / (noise**2 + spread**2)
    out = noise * spread / (noise**2 + spread**2).sqrt()
    expected = skip * x_t / alpha + out * output
    torch.testing.assert_close(Edm(0.5).denoised(output, x_t, alpha, sigma), expected)
    into = 1 / (noise**2 + spread**2).sqrt()
    torch.testing.assert_close(Edm(0.5).scale(alpha, sigma) * x_t, into * x_t / alpha)


def test_edm_standardises_input_and_target():
    x, noise = 0.5 * torch.randn(50, 20_000), torch.randn(50, 20_000)
    alpha, sigma = Cosine()(T.float())
    network_input = Edm(0.5).scale(alpha, sigma) * (alpha * x + sigma * noise)
    target = Edm(0.5).target(x, noise, alpha, sigma)
    for number in (network_input, target):
        torch.testing.assert_close(number.std(1), torch.ones(50), atol=0.03, rtol=0)
    correlation = (network_input * target).mean(1)
    torch.testing.assert_close(correlation, torch.zeros(50), atol=0.04, rtol=0)
