"""Guidance costs what it uses, and spaces draw what they say."""

from __future__ import annotations

import pytest
import torch

from trilemma.core.noise import Noise
from trilemma.maths.diffusion.guidance import classifier_guided, guided
from trilemma.maths.diffusion.schedules import Cosine
from trilemma.maths.diffusion.spaces import Euclidean


def named(calls, name, value):
    return lambda x, t: (calls.append(name), value * x)[1]


@pytest.mark.parametrize(("weight", "calls"), [(0, "u"), (1, "c"), (2, "uc")])
def test_calls(weight, calls):
    results = []
    x = torch.ones(2)
    way = guided(named(results, "c", 3.0), named(results, "u", 1.0), weight)
    assert way(x, torch.ones(())).tolist() == [1 + 2 * weight] * 2
    assert "".join(results) == calls


@pytest.mark.parametrize(
    ("weight", "t", "calls"),
    [
        (2, 0.1, "c"),
        (2, 0.3, "uc"),
        (2, 0.5, "uc"),
        (2, 0.7, "uc"),
        (2, 0.9, "c"),
        (0, 0.5, "u"),
        (0, 0.9, "c"),
        (1, 0.5, "c"),
    ],
)
def test_an_interval_saves_calls_outside(weight, t, calls):
    results = []
    x, over = torch.ones(2), (0.3, 0.7)
    way = guided(named(results, "c", 3.0), named(results, "u", 1.0), weight, over)
    value = {"c": 3.0, "u": 1.0, "uc": 5.0}[calls]
    assert way(x, torch.tensor(t, dtype=torch.float64)).tolist() == [value] * 2
    assert "".join(results) == calls


def test_a_classifier_is_asked_for_each_row_and_without_a_trace():
    schedule, x = Cosine(), torch.randn(5, 1, 2, 2)
    t = torch.tensor(0.5, dtype=torch.float64)
    alpha, sigma = schedule(t)

    def log_prob(x, t):
        return -0.5 * x.flatten(1).square().sum(1) * torch.arange(5)

    with torch.no_grad():
        out = classifier_guided(lambda x, t: 0 * x, log_prob, schedule, 2.0)(x, t)
    expected = -2 * float(sigma**2 / alpha) * x * torch.arange(5)[:, None, None, None]
    torch.testing.assert_close(out, expected)
    assert out.dtype == torch.float32
    assert not x.requires_grad
    assert not out.requires_grad


def test_a_classifier_without_weight_is_not_asked():
    def alone(x, t):
        return x

    assert classifier_guided(alone, lambda x, t: 1 / 0, Cosine(), 0.0) is alone


def test_euclidean_noise_is_standard_normal():
    z = Euclidean().normal(Noise.of(0, 2000), (3, 2))
    assert z.shape == (2000, 3, 2)
    torch.testing.assert_close(torch.cov(z.flatten(1).T), torch.eye(6), atol=0.1, rtol=0)
