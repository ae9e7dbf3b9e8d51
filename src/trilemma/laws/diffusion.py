r"""Laws of diffusion.

The exact ground is data x ~ N(m, s^2), coordinate by coordinate. Then x_t ~ N(alpha m, v^2) with
v^2 = alpha^2 s^2 + sigma^2, the clean estimate is

    E[x | x_t] = (alpha s^2 x_t + sigma^2 m) / v^2,   with error  s^2 sigma^2 / v^2,

and the probability flow takes x_1 to x_0 = m + s (x_1 - alpha_1 m) / v_1.

Everything computed from it is affine in the data and in each number of noise. So means of squares
over (x, eps) in R^(2D) are found exactly by the 4 D points ±sqrt(2D) e_j, which have the moments
of the standard normal up to the third. What samplers make of the same ground is in `samplers`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from trilemma.core.batch import Examples
from trilemma.core.noise import Noise
from trilemma.families.diffusion.denoiser import Denoiser
from trilemma.families.diffusion.diffusion import Diffusion
from trilemma.families.diffusion.options import ForwardProcess
from trilemma.laws.law import Check, Law, at_most, equal, states
from trilemma.laws.oracles import (
    MEAN,
    POINTS,
    SPREAD,
    GaussianNetwork,
    JointCubature,
    every_prediction,
)
from trilemma.maths.diffusion import predictions, schedules
from trilemma.maths.distributions import kl_normals

__all__ = ["CHECKS"]

LECTURE = "lecture 6; arXiv:2006.11239"


def _largest(gap: Tensor) -> float:
    return float(gap.abs().max())


def _model(steps: int, schedule: schedules.Schedule | None = None) -> Diffusion:
    schedule = schedule or schedules.Linear()
    process = ForwardProcess(schedule, steps)
    return Diffusion(Denoiser(GaussianNetwork(), process, predictions.NoisePrediction()), POINTS)


@states(LECTURE)
def forward() -> list[Law]:
    """Step by step, the chain gives q(x_t | x_0), and abar is a product that runs to t."""
    laws = []
    for name, schedule in schedules.SCHEDULES.items():
        c = schedules.chain(schedule, 100)
        running_abar = variance = worst = 0.0
        for t in range(100):
            running_abar = (running_abar if t else 1.0) * float(c.alphas[t])
            variance = float(c.alphas[t]) * variance + float(c.betas[t])
            worst = max(
                worst, abs(running_abar - float(c.abar[t])), abs(variance - float(c.noise[t]))
            )
        laws.append(
            equal(
                f"{name}: 100 steps of q(x_t|x_{{t-1}}) give q(x_t|x_0)", LECTURE, worst, 0, 1e-9
            )
        )
    betas = schedules.Linear().betas()
    abar = torch.stack([(1 - betas[:t]).prod() for t in range(1, 1001)])
    gap = _largest(schedules.chain(schedules.Linear(), 1000).abar - abar)
    laws.append(equal("abar_t = prod_{i<=t} (1 - beta_i)", LECTURE, gap, 0, 1e-12))
    return laws


@states("lecture 6; arXiv:2006.11239, equations 6, 7 and 11")
def backward() -> list[Law]:
    """The posterior by Bayes' rule, and its mean in three forms."""
    c = schedules.chain(schedules.Linear(), 1000)
    previous_times = torch.cat([torch.zeros(1, dtype=torch.float64), c.times])[1:-1]
    of_state, of_clean, variance = schedules.posterior(
        schedules.Linear(), previous_times, c.times[1:]
    )
    beta, alpha, abar, previous_abar = c.betas[1:], c.alphas[1:], c.abar[1:], c.abar[:-1]
    draw = torch.Generator().manual_seed(0)
    x, eps = (torch.randn(999, generator=draw, dtype=torch.float64) for _ in range(2))
    x_t = abar.sqrt() * x + (1 - abar).sqrt() * eps
    mean = of_state * x_t + of_clean * x

    precision = alpha / beta + 1 / (1 - previous_abar)
    bayes = (
        alpha.sqrt() / beta * x_t + previous_abar.sqrt() / (1 - previous_abar) * x
    ) / precision
    lecture = alpha.sqrt() * (1 - previous_abar) / (1 - abar) * x_t
    lecture = lecture + previous_abar.sqrt() * beta / (1 - abar) * x
    noise = (x_t - beta / (1 - abar).sqrt() * eps) / alpha.sqrt()
    where = f"{LECTURE}, equations 6, 7 and 11"
    return [
        equal("beta~_t by Bayes' rule", where, _largest(variance * precision - 1), 0, 1e-9),
        equal("mu~_t by Bayes' rule", where, _largest(mean - bayes), 0, 1e-9),
        equal("mu~_t from x_t and x_0", where, _largest(mean - lecture), 0, 1e-9),
        equal("mu~_t from x_t and eps", where, _largest(mean - noise), 0, 1e-9),
    ]


@states(LECTURE)
def ends() -> list[Law]:
    """SNR falls, from data to noise."""
    laws, t = [], torch.linspace(0, 1, 1001, dtype=torch.float64)
    for name, schedule in schedules.SCHEDULES.items():
        alpha, sigma = schedule(t)
        rise = float(schedule.log_snr(t[1:]).diff().max())
        ends = max(abs(float(alpha[0]) - 1), abs(float(sigma[0])), float(alpha[-1]))
        on_curve = _largest(alpha**schedule.power + sigma**schedule.power - 1)
        laws += [
            at_most(f"{name}: SNR never rises (largest step of its logarithm)", LECTURE, rise, 0),
            at_most(f"{name}: starts as data, ends as noise", LECTURE, ends, 0, 0.01),
            equal(f"{name}: alpha^p + sigma^p = 1", LECTURE, on_curve, 0, 1e-9),
        ]
    return laws


@states("arXiv:2206.00364, table 1", "arXiv:2202.00512")
def invertible() -> list[Law]:
    """Every prediction's target means x, and its error is gain times that of x."""
    laws, draw = [], torch.Generator().manual_seed(0)
    x, eps, perturbation = (
        torch.randn(999, 2, generator=draw, dtype=torch.float64) for _ in range(3)
    )
    t = torch.arange(1, 1000, dtype=torch.float64)[:, None] / 1000
    for name in every_prediction(schedules.Cosine()):
        worst = ratio = 0.0
        for schedule in schedules.SCHEDULES.values():
            prediction = every_prediction(schedule)[name]
            alpha, sigma = schedule(t)
            x_t = alpha * x + sigma * eps
            target = prediction.target(x, eps, alpha, sigma)
            clean = prediction.denoised(target, x_t, alpha, sigma)
            error = x - prediction.denoised(target + perturbation, x_t, alpha, sigma)
            worst = max(worst, _largest(clean - x))
            gain = prediction.gain(alpha, sigma) * error**2 / perturbation**2
            ratio = max(ratio, _largest(gain - 1))
        laws += [
            equal(f"{name}: denoised(target) = x", "arXiv:2206.00364, table 1", worst, 0, 1e-9),
            equal(f"{name}: error = gain x error of x", "arXiv:2202.00512", ratio, 0, 1e-6),
        ]
    return laws


@states("lecture 6; arXiv:2006.11239, equation 5")
def bounded() -> list[Law]:
    """On Gaussian data the bound's terms are known; they add up, and stay below ln p."""
    laws, where = [], f"{LECTURE}, equation 5"
    noise = JointCubature()
    truth = float(-(0.5 + 0.5 * math.log(2 * math.pi) + SPREAD.log()).sum())
    gaps = {}
    for spacing, steps in product(("time", "information"), (25, 75, 300)):
        terms = _model(steps).bound_terms(noise.x, noise=noise, spacing=spacing).mean(0)
        gap = gaps[spacing, steps] = truth + float(terms.sum())
        laws.append(
            at_most(f"bound <= E ln p(x), {steps} steps even in {spacing}", where, -gap, 0)
        )
    truncated = schedules.Linear(last=0.01)  # ends early, so that L_T is not next to nothing
    terms = _model(25, truncated).bound_terms(noise.x, noise=noise, spacing="time").mean(0)
    terms_gap = _largest(terms.double() - _terms(25, truncated))
    laws.append(equal("L_0, …, L_T: each against its closed form", where, terms_gap, 0, 1e-4))
    gap = gaps["information", 25]
    half = gaps["information", 75] / 2
    laws.append(
        at_most(
            "gap of the bound at T = 300, against half of that at 75",
            where,
            gaps["information", 300],
            half,
        )
    )
    cubature = JointCubature(copies=400)
    estimate = float(_model(25).bound(cubature.x, noise=_Strata(cubature)).mean())
    name = "bound with terms drawn = sum of all terms"
    laws.append(equal(name, where, estimate, truth - gap, 0.02))
    return laws


class _Strata(JointCubature):
    """Cubature for eps, true random numbers for which term is drawn."""

    def __init__(self, of: JointCubature) -> None:
        super().__init__(of.copies)
        self._random = Noise.of(1, len(of))

    def uniform(self, *shape: int) -> Tensor:
        return self._random.uniform(*shape)


def _terms(steps: int, schedule: schedules.Schedule) -> Tensor:
    """Return E L_0, …, E L_T for the Gaussian, from the posterior's own mean and variance."""
    m, s = MEAN, SPREAD
    times = torch.arange(steps + 1, dtype=torch.float64)[:, None] / steps
    alpha, sigma = schedule(times)
    error = s**2 * sigma**2 / (alpha**2 * s**2 + sigma**2)
    _, of_clean, variance = schedules.posterior(schedule, times[1:-1], times[2:])
    zero = torch.zeros_like(variance)
    middle = kl_normals(zero, variance.log(), zero, variance.log())
    middle = middle + of_clean**2 * error[2:] / (2 * variance)
    first = (sigma[1] / alpha[1]) ** 2
    start = 0.5 * (math.log(2 * math.pi) + first.log() + error[1] / first)
    end = 0.5 * (alpha[-1] ** 2 * (m**2 + s**2) + sigma[-1] ** 2 - 2 * sigma[-1].log() - 1)
    return torch.cat([start.sum()[None], middle.sum(1), end.sum()[None]])


@states("lecture 6; arXiv:2006.11239, equation 14")
def simple() -> list[Law]:
    """L_simple is least at the posterior mean, where it is the variance left of eps."""
    steps, where = 50, f"{LECTURE}, equation 14"
    model, noise = _model(steps), JointCubature(copies=50)
    loss = model.loss(Examples(noise.x, noise=noise)).value
    extra = model.network.get_parameter("extra")
    (gradient,) = torch.autograd.grad(loss, extra)
    alpha, sigma = schedules.Linear()(torch.arange(1, steps + 1).double()[:, None] / steps)
    residual_variance = (alpha**2 * SPREAD**2 / (alpha**2 * SPREAD**2 + sigma**2)).mean()
    return [
        equal("L_simple's slope at eps = E[eps|x_t]", where, float(gradient), 0, 1e-5),
        equal(
            "L_simple there = E Var[eps|x_t]",
            where,
            float(loss.detach()),
            float(residual_variance),
            1e-4,
        ),
    ]


CHECKS: Sequence[Check] = (
    forward,
    backward,
    ends,
    invertible,
    bounded,
    simple,
)
