"""The integrals of the multistep samplers, and the order of each of their steps."""

from __future__ import annotations

import math

import pytest
import torch

from trilemma.maths.diffusion import multistep
from trilemma.maths.diffusion.multistep import DpmSolver1, DpmSolver2, DpmSolver3, UniPc
from trilemma.maths.diffusion.sampling_grids import grid
from trilemma.maths.diffusion.schedules import Cosine, Linear, Rectified


@pytest.mark.parametrize("h", [1e-4, 0.03, 0.5, 0.999, 1.001, 3.0, 40.0])
def test_moments_are_the_integrals(h):
    tau = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    moments = multistep._moments(h, 4)
    for n, moment in enumerate(moments):
        expected = float((h * torch.exp(-h * (1 - tau)) * tau**n).mean())
        assert moment == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("h", [1e-3, 0.2, 2.0])
@pytest.mark.parametrize("nodes", [[0.0, -0.7, -1.9], [1.0, 0.0, -0.7], [1.0, 0.0, -0.7, -1.9]])
def test_weights_integrate_polynomials_exactly(nodes, h):
    weights = multistep._weights(nodes, h)
    for n, moment in enumerate(multistep._moments(h, len(nodes))):
        total = sum(w * tau**n for w, tau in zip(weights, nodes, strict=True))
        assert total == pytest.approx(moment, rel=1e-9, abs=1e-12)


def test_two_estimates_have_the_papers_short_cut():
    r = 0.6
    now, before = multistep._weights([0.0, -r], 0.8)
    first = 1 - math.exp(-0.8)
    assert before == pytest.approx(-first / (2 * r))
    assert now == pytest.approx(first * (1 + 1 / (2 * r)))


@pytest.mark.parametrize("sampler", [DpmSolver1(), DpmSolver2(), DpmSolver3(), UniPc()], ids=str)
def test_a_constant_estimate_is_followed_exactly(sampler):
    """With one point as data every step is exact, of whatever length."""
    schedule, point = Rectified(), torch.tensor([0.3, -0.8], dtype=torch.float64)
    eps = torch.randn(2, dtype=torch.float64)
    times = grid(schedule, 5)
    alpha, sigma = schedule(times)
    way = sampler(lambda x, t: point, schedule, alpha[0] * point + sigma[0] * eps, times, None)
    for i, state in enumerate(way, 1):
        torch.testing.assert_close(state, alpha[i] * point + sigma[i] * eps)


@pytest.mark.parametrize(
    ("steps", "lower", "orders"),
    [
        (1, True, [1]),
        (2, True, [1, 1]),
        (4, True, [1, 2, 2, 1]),
        (6, True, [1, 2, 3, 3, 2, 1]),
        (6, False, [1, 2, 3, 3, 3, 1]),
    ],
)
def test_orders_rise_and_fall(steps, lower, orders):
    moments = multistep._steps(Cosine(), grid(Cosine(), steps), 3, lower=lower)
    assert [len(step.taus) for step in moments] == orders


def test_a_way_that_stops_before_the_data_keeps_its_order():
    times = grid(Cosine(), 8)[:-2]
    moments = multistep._steps(Cosine(), times, 3, lower=True)
    assert [len(step.taus) for step in moments] == [1, 2, 3, 3, 3, 3]


def test_pure_noise_is_not_a_place():
    """At alpha = 0 the log-SNR is minus infinity: its estimate cannot be interpolated."""
    times = grid(Rectified(last=1.0), 5)
    moments = multistep._steps(Rectified(last=1.0), times, 3, lower=False)
    assert [len(step.taus) for step in moments] == [1, 1, 2, 3, 1]
    assert all(math.isfinite(tau) for step in moments for tau in step.taus)


def test_unipc_corrects_with_what_it_saw():
    """One step of two estimates by hand, from the trapezoid with the exponential's weight."""
    schedule = Linear()
    times = schedule.time_of(torch.tensor([-2.0, 0.0, 1.0]))
    alpha, sigma = (number.tolist() for number in schedule(times))
    x = torch.tensor([0.4, -1.0], dtype=torch.float64)
    estimates = []

    def denoise(x, t):
        estimates.append(torch.sin(3 * x) + t)
        return estimates[-1]

    _, last = UniPc(2)(denoise, schedule, x, times, None)
    h, following = 1.0, 0.5  # lambda is half the log-SNR
    corrected = sigma[1] / sigma[0] * x
    corrected += alpha[1] * (1 - math.exp(-h)) * (estimates[0] + estimates[1]) / 2
    slope = (estimates[1] - estimates[0]) / (2 * h / following)
    expected = sigma[2] / sigma[1] * corrected
    expected += alpha[2] * (1 - math.exp(-following)) * (estimates[1] + slope)
    torch.testing.assert_close(last, expected)
    assert len(estimates) == 2


def test_the_third_sampler_has_half_the_curvature():
    """What tells this sampler from a parabola's own integral."""
    schedule = Linear()
    times = schedule.time_of(torch.tensor([-3.0, -2.0, -1.0, 0.0]))
    numbers = iter(torch.tensor([1.0, 0.0, 1.0]).double())  # second difference 2
    x = torch.zeros((), dtype=torch.float64)
    *_, before, last = DpmSolver3()(lambda x, t: next(numbers), schedule, x, times, None)
    alpha, sigma = schedule(times)
    m0, m1, m2 = multistep._moments(0.5, 3)
    expected = sigma[3] / sigma[2] * before + alpha[3] * (m0 + 2 * m1 + 1 * m2 / 2)
    torch.testing.assert_close(last, expected)
