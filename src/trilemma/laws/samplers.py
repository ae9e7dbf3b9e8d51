r"""Laws of samplers, and of the guidance that goes into them.

Two kinds of data have a known denoiser. For x ~ N(m, s^2), coordinate by coordinate,

    E[x | x_t] = (alpha s^2 x_t + sigma^2 m) / v^2,     v^2 = alpha^2 s^2 + sigma^2,

and all that a sampler computes is affine in its first state and in each number of noise, so that
the mean and the variance of what it gives are found exactly from its answers to unit impulses.

For a mixture of such in one dimension the denoiser is the components' own, weighed by what x_t
says about them. On the line the probability flow cannot change the order of points: it carries
every quantile of x_t to the same quantile of x_s, which is the exact way to compare with. A
sampler's order is measured over noise levels on which the flow is smooth; the leap to t = 0, in
which all samplers are alike, is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from trilemma.laws.law import Check, Law, at_most, equal, has_laws, states
from trilemma.laws.oracles import (
    MEAN,
    MEANS,
    SHARES,
    SPREAD,
    SPREADS,
    D,
    every_prediction,
    gaussian_denoiser,
    mixture_below,
    mixture_denoiser,
    mixture_joint,
    mixture_quantile,
)
from trilemma.maths.diffusion import (
    guidance,
    multistep,
    predictions,
    samplers,
    sampling_grids,
    schedules,
)

__all__ = ["CHECKS"]

PAPERS = {
    "ancestral": "arXiv:2006.11239, algorithm 2",
    "ddim": "arXiv:2010.02502, equation 12",
    "euler": "arXiv:2206.00364, algorithm 2",
    "heun": "arXiv:2206.00364, algorithm 2",
    "dpm++1": "arXiv:2211.01095",
    "dpm++2m": "arXiv:2211.01095, algorithm 2",
    "dpm++3m": "arXiv:2211.01095",
    "unipc": "arXiv:2302.04867, theorem 3.1",
}


def _largest(gap: Tensor) -> float:
    return float(gap.abs().max())


def _no_noise() -> Tensor:
    raise AssertionError("a sampler of the probability flow asked for noise")


def _impulses(
    sampler: samplers.Sampler,
    schedule: schedules.Schedule,
    prediction: predictions.Prediction,
    times: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of what a sampler makes of the true q(x_t)."""
    rows = len(times) + 1  # no noise at all; the first state; the noise of each step
    alpha, sigma = schedule(times[0])
    x = (alpha * MEAN).repeat(rows, 1)
    x[1] += (alpha**2 * SPREAD**2 + sigma**2).sqrt()
    step = iter(range(2, rows))

    def noise() -> Tensor:
        z = torch.zeros(rows, D, dtype=torch.float64)
        z[next(step)] = 1
        return z

    *_, last = sampler(gaussian_denoiser(schedule, prediction), schedule, x, times, noise)
    return last[0], (last[1:] - last[0]).square().sum(0).sqrt()


@states("lecture 6")
def every_sampler_has_laws() -> list[Law]:
    """Ask of each registered sampler whether its laws stand here."""
    return has_laws(samplers.SAMPLERS, PAPERS, "laws/samplers.py", "lecture 6")


@states(
    "lecture 6; arXiv:2006.11239, algorithm 2",
    "lecture 6; arXiv:2010.02502, equation 12",
    "lecture 6; arXiv:2206.00364, algorithm 2",
    "lecture 6; arXiv:2211.01095",
    "lecture 6; arXiv:2211.01095, algorithm 2",
    "lecture 6; arXiv:2302.04867, theorem 3.1",
)
def one_law() -> list[Law]:
    """Whatever the schedule, the prediction and the sampler, the same distribution comes out."""
    cases: dict[str, tuple[samplers.Sampler, float]] = {
        "ancestral": (samplers.Ancestral(), 0.2),
        "ddim": (samplers.Ddim(), 0.1),
        "ddim, eta = 0.5": (samplers.Ddim(0.5), 0.12),
        "euler": (samplers.Euler(), 0.15),
        "euler, churn = 4": (samplers.Euler(churn=4), 0.2),
        "heun": (samplers.Heun(), 0.04),
        "heun, churn = 4": (samplers.Heun(churn=4), 0.06),
        "dpm++1": (multistep.DpmSolver1(), 0.1),
        "dpm++2m": (multistep.DpmSolver2(), 0.02),
        "dpm++3m": (multistep.DpmSolver3(), 0.02),
        "unipc": (multistep.UniPc(), 0.02),
    }
    laws = []
    for name, (sampler, tolerance) in cases.items():
        worst = 0.0
        for schedule in schedules.SCHEDULES.values():
            times = sampling_grids.grid(schedule, 24, sampler.grid)
            for prediction in every_prediction(schedule).values():
                mean, spread = _impulses(sampler, schedule, prediction, times)
                worst = max(worst, _largest(mean - MEAN), _largest(spread - SPREAD))
        words = f"{name}: mean and deviation over all schedules and predictions, 24 steps"
        source = f"lecture 6; {PAPERS[name.split(',')[0]]}"
        laws.append(equal(words, source, worst, 0, tolerance))
    return laws


@states("arXiv:2010.02502, 4.1", "arXiv:2010.02502, 4.3", "arXiv:2211.01095, 4.1")
def implicit() -> list[Law]:
    """What is one sampler under two names agrees state by state."""
    draw = torch.Generator().manual_seed(0)
    start = torch.randn(8, generator=draw, dtype=torch.float64)
    z = torch.randn(12, 8, generator=draw, dtype=torch.float64)

    def states(sampler: samplers.Sampler, schedule: schedules.Schedule, kind: str) -> Tensor:
        numbers, times = iter(z), sampling_grids.grid(schedule, 12, kind)
        run = sampler(mixture_denoiser(schedule), schedule, start, times, lambda: next(numbers))
        return torch.stack(list(run))

    pairs: dict[str, tuple[samplers.Sampler, samplers.Sampler, str]] = {
        "DDIM(eta = 1) = ancestral": (samplers.Ddim(1.0), samplers.Ancestral(), "2010.02502, 4.1"),
        "Euler = DDIM(eta = 0)": (samplers.Euler(), samplers.Ddim(), "2010.02502, 4.3"),
        "DPM-Solver++(1) = DDIM(eta = 0)": (
            multistep.DpmSolver1(),
            samplers.Ddim(),
            "2211.01095, 4.1",
        ),
    }
    laws = []
    for words, (first, second, paper) in pairs.items():
        runs = product(schedules.SCHEDULES.values(), sampling_grids.GRIDS)
        gap = max(_largest(states(first, *run) - states(second, *run)) for run in runs)
        name = f"{words}, state by state over all schedules and grids"
        laws.append(equal(name, f"arXiv:{paper}", gap, 0, 1e-9))
    return laws


def _error(sampler: samplers.Sampler, schedule: schedules.Schedule, steps: int) -> float:
    """Return the largest error of a few trajectories between noise levels 3 and 0.1."""
    log_level = torch.linspace(math.log(3), math.log(0.1), steps + 1, dtype=torch.float64)
    times = schedule.time_of(-2 * log_level)
    alpha, sigma = schedule(times)
    p = torch.tensor([0.1, 0.45, 0.7, 0.9], dtype=torch.float64)
    x = mixture_quantile(p, alpha[0], sigma[0])
    *_, last = sampler(mixture_denoiser(schedule), schedule, x, times, _no_noise)
    return _largest(last - mixture_quantile(p, alpha[-1], sigma[-1]))


@states(
    "arXiv:2010.02502, equation 12",
    "arXiv:2206.00364, algorithm 2",
    "arXiv:2211.01095",
    "arXiv:2211.01095, algorithm 2",
    "arXiv:2302.04867, theorem 3.1",
)
def orders() -> list[Law]:
    """The samplers that follow the probability flow converge at their order."""
    solvers: dict[str, samplers.Sampler] = {
        "ddim": samplers.Ddim(),
        "euler": samplers.Euler(),
        "heun": samplers.Heun(),
        "dpm++1": multistep.DpmSolver1(),
        "dpm++2m": multistep.DpmSolver2(),
        "dpm++3m": multistep.DpmSolver3(),
        "unipc": multistep.UniPc(),
        "unipc, points = 2": multistep.UniPc(2),
    }
    laws, errors = [], {}
    for name, schedule in (("cosine", schedules.Cosine()), ("rectified", schedules.Rectified())):
        for kind, sampler in solvers.items():
            coarse, fine = (_error(sampler, schedule, steps) for steps in (40, 80))
            errors[kind] = fine
            shortfall = sampler.order - math.log2(coarse / fine)
            words = f"{kind}, {name}: order of convergence {sampler.order}"
            source = PAPERS[kind.split(",")[0]]
            if kind in ("dpm++3m", "unipc"):  # what they owe to their first steps is small
                laws.append(at_most(f"{words} or more, what is short", source, shortfall, 0, 0.1))
            else:
                laws.append(equal(f"{words}, what is short", source, shortfall, 0, 0.2))
        for better, worse in (("dpm++3m", "dpm++2m"), ("unipc", "unipc, points = 2")):
            words = f"{better}, {name}: error, at most half of that of {worse}"
            source = PAPERS[better]
            laws.append(at_most(words, source, errors[better], errors[worse] / 2))
    return laws


@states(
    "arXiv:2006.11239, algorithm 2",
    "arXiv:2010.02502, equation 12",
    "arXiv:2206.00364, algorithm 2",
    "arXiv:2211.01095, algorithm 2",
    "arXiv:2211.01095",
    "arXiv:2302.04867, theorem 3.1",
)
def whole_distribution() -> list[Law]:
    """Of a mixture, every sampler draws the whole distribution."""
    cases: dict[str, tuple[samplers.Sampler, float]] = {
        "ancestral": (samplers.Ancestral(), 0.04),
        "ddim": (samplers.Ddim(), 0.025),
        "euler": (samplers.Euler(), 0.05),
        "heun": (samplers.Heun(), 0.01),
        "heun, churn = 10": (samplers.Heun(churn=10), 0.03),
        "dpm++2m": (multistep.DpmSolver2(), 0.01),
        "dpm++3m": (multistep.DpmSolver3(), 0.01),
        "unipc": (multistep.UniPc(), 0.005),
    }
    schedule = schedules.Cosine()
    mean = (SHARES * MEANS).sum()
    deviation = ((SHARES * (MEANS**2 + SPREADS**2)).sum() - mean**2).sqrt()
    alpha, sigma = schedule(torch.zeros((), dtype=torch.float64))
    laws = []
    for name, (sampler, tolerance) in cases.items():
        draw, n = torch.Generator().manual_seed(0), 4000 if tolerance >= 0.03 else 500
        probabilities = (torch.arange(n, dtype=torch.float64) + 0.5) / n

        def noise(draw: torch.Generator = draw, n: int = n) -> Tensor:
            return torch.randn(n, generator=draw, dtype=torch.float64)

        times = sampling_grids.grid(schedule, 50, sampler.grid)
        x = mixture_quantile(probabilities, *schedule(times[0]))
        *_, last = sampler(mixture_denoiser(schedule), schedule, x, times, noise)
        gap = _largest(mixture_below(last.sort().values, alpha, sigma) - probabilities)
        moments = max(abs(float(last.mean() - mean)), abs(float(last.std() - deviation)))
        source = PAPERS[name.split(",")[0]]
        laws += [
            equal(f"{name}: P(sample < x) of a mixture, 50 steps", source, gap, 0, tolerance),
            equal(f"{name}: mean and deviation of a mixture", source, moments, 0, tolerance),
        ]
    return laws


@states("arXiv:2207.12598; arXiv:2404.07724")
def intervals() -> list[Law]:
    """Guidance acts in its interval alone; elsewhere the condition is obeyed."""
    x = torch.ones(4, 2)
    laws = []
    cases = {
        (1.0, 0.5): ("1 is the conditional estimate", 2.0),
        (0.0, 0.5): ("0 is the unconditional estimate", 5.0),
        (3.0, 0.5): ("3 is linear", -4.0),
        (3.0, 0.1): ("3 is the conditional estimate before its interval", 2.0),
        (0.0, 0.9): ("0 is the conditional estimate after its interval", 2.0),
    }
    for (weight, t), (words, expected) in cases.items():
        guided_denoiser = guidance.guided(
            lambda x, t: 2 * x, lambda x, t: 5 * x, weight, over=(0.2, 0.8)
        )
        gap = _largest(guided_denoiser(x, torch.tensor(t)) - expected)
        source = "arXiv:2207.12598; arXiv:2404.07724"
        laws.append(equal(f"guidance with weight {words}", source, gap, 0, 1e-6))
    return laws


@states("arXiv:2105.05233, 4.2")
def classified() -> list[Law]:
    """The true classifier turns the mixture's denoiser into that of one component."""
    laws, x = [], torch.linspace(-3, 3, 25, dtype=torch.float64)
    for name, schedule in schedules.SCHEDULES.items():

        def log_prob(x: Tensor, t: Tensor, schedule: schedules.Schedule = schedule) -> Tensor:
            return mixture_joint(x, *schedule(t))[0].log_softmax(-1)[..., 0]

        guided_denoiser = guidance.classifier_guided(
            mixture_denoiser(schedule), log_prob, schedule, 1.0
        )
        worst = 0.0
        for t in torch.tensor([0.05, 0.3, 0.6, 0.9], dtype=torch.float64):
            worst = max(
                worst, _largest(guided_denoiser(x, t) - mixture_joint(x, *schedule(t))[1][..., 0])
            )
        words = f"{name}: E[x|x_t] + sigma^2/alpha grad ln p(c|x_t) = E[x|x_t, c]"
        laws.append(equal(words, "arXiv:2105.05233, 4.2", worst, 0, 1e-9))
    return laws


CHECKS: Sequence[Check] = (
    every_sampler_has_laws,
    one_law,
    implicit,
    orders,
    whole_distribution,
    intervals,
    classified,
)
