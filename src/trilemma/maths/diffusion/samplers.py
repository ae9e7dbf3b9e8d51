r"""Samplers: from noise at t = 1 to data at t = 0 by asking for clean estimates on the way.

A sampler is given a `Denoise`, (x_t, t) -> E[x | x_t], a schedule and falling times t_0 > t_1 > …,
and yields the state at t_1, t_2, … in turn; the last one is the sample. It knows neither network
nor prediction. With xhat the clean estimate, ehat = (x_t - alpha_t xhat) / sigma_t is the noise
that goes with it. From t to s < t:

    ancestral   x_s ~ q(x_s | x_t, xhat) = N(mu~, beta~)
    ddim        x_s = alpha_s xhat + sqrt(sigma_s^2 - eta^2 beta~) ehat + eta sqrt(beta~) z

The others follow the probability flow, the ordinary differential equation with the same
marginals. In y = x / alpha and the noise level l = sigma / alpha it has one term,

    dy / dl = (y - xhat) / l,
    euler   y + (l_s - l_t) v
    heun    y + (l_s - l_t) (v + v') / 2,     v' that at Euler's point

and in x and clean estimates, with the ratio r = l_s / l_t of the step,

    euler   x' = sigma_s / sigma_t x + alpha_s (1 - r) xhat      (which is ddim with eta = 0)
    heun    x' + alpha_s (1 - r) / (2 r) (xhat' - xhat),         xhat' the estimate at x'

so that nothing is divided by a small alpha or sigma. The *churn* of both first goes back a little,
to a time u > t with l_u = (1 + gamma) l_t, by a draw from q(x_u | x_t): fresh noise that corrects
old errors, at the price of a longer way. `multistep.py` has the samplers that remember.

Where l_s = 0, every sampler's step is the clean estimate. All coefficients are float64, made once
before the first step.

References:
    Denoising Diffusion Probabilistic Models, Ho, Jain & Abbeel, 2020 (arXiv:2006.11239),
    algorithm 2.
    Denoising Diffusion Implicit Models, Song, Meng & Ermon, 2020 (arXiv:2010.02502), equation 12.
    Elucidating the Design Space of Diffusion-Based Generative Models, Karras, Aittala, Aila &
    Laine, 2022 (arXiv:2206.00364), algorithm 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.maths.diffusion.guidance import Denoise
from trilemma.maths.diffusion.multistep import DpmSolver1, DpmSolver2, DpmSolver3, UniPc
from trilemma.maths.diffusion.sampling_grids import amplitudes
from trilemma.maths.diffusion.schedules import Schedule, posterior, transition
from trilemma.registry import Registry

__all__ = ["SAMPLERS", "Ancestral", "Ddim", "Denoise", "Euler", "Heun", "Sampler"]


class Sampler(Protocol):
    """A way from noise to data."""

    order: ClassVar[int]
    """Order of convergence of one sample in the step size; 0 where the way itself is random."""
    calls: ClassVar[int]
    """Clean estimates asked for in a step."""
    grid: ClassVar[str]
    """The grid on which it does best; see `sampling_grids.py`."""
    fresh: ClassVar[str]
    """Its field that says how much fresh noise is put back on the way; "": there is none."""

    def __call__(
        self,
        denoise: Denoise,
        schedule: Schedule,
        x: Float[Tensor, "B ..."],
        times: Float[Tensor, " n"],
        noise: Callable[[], Float[Tensor, "B ..."]],
        variance: Callable[[Tensor, Tensor], Float[Tensor, "B ..."]] | None = None,
    ) -> Iterator[Float[Tensor, "B ..."]]:
        """Yield the states at times[1:], given the state x at times[0].

        Arguments:
            denoise: The clean estimate.
            schedule: The schedule to which it belongs.
            x: State at times[0].
            times: Falling times, usually to 0.
            noise: Draws standard normal numbers of the shape of x.
            variance: (t, s) to the variance of q(x_s | x_t) that goes with the state last given
                to `denoise`; None takes beta~. Of use to `Ancestral` alone.
        """
        ...


@dataclass(frozen=True)
class Ancestral:
    """Draw from the chain's own posterior with the clean estimate in place of x.

    On the chain's own grid its variance is beta~_t; on a coarser one that of the coarser chain.
    """

    order: ClassVar[int] = 0
    calls: ClassVar[int] = 1
    grid: ClassVar[str] = "uniform"
    fresh: ClassVar[str] = ""

    def __call__(
        self,
        denoise: Denoise,
        schedule: Schedule,
        x: Tensor,
        times: Tensor,
        noise: Callable[[], Tensor],
        variance: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Iterator[Tensor]:
        """Yield x_s = mu~(x_t, xhat) + sqrt(beta~) z, or with the variance given instead."""
        steps = zip(*_posteriors(schedule, times), times, times[1:], strict=False)
        for of_state, of_clean, fresh, t, s in steps:
            x = of_state * x + of_clean * denoise(x, t)
            if fresh > 0:
                spread = math.sqrt(fresh) if variance is None else variance(t, s).sqrt().to(x)
                x = x + spread * noise()
            yield x


@dataclass(frozen=True)
class Ddim:
    """Keep the noise that goes with the clean estimate, or a part of it.

    Arguments:
        eta: 0 keeps all (no randomness beyond the first state), 1 is `Ancestral`.
    """

    eta: float = 0.0
    order: ClassVar[int] = 1
    calls: ClassVar[int] = 1
    grid: ClassVar[str] = "uniform"
    fresh: ClassVar[str] = "eta"

    def __call__(
        self,
        denoise: Denoise,
        schedule: Schedule,
        x: Tensor,
        times: Tensor,
        noise: Callable[[], Tensor],
        variance: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Iterator[Tensor]:
        """Yield x_s = alpha_s xhat + sqrt(sigma_s^2 - eta^2 beta~) ehat + eta sqrt(beta~) z."""
        alpha, sigma, _ = amplitudes(schedule, times)
        _, _, spreads = _posteriors(schedule, times)
        for i, t in enumerate(times[:-1]):
            fresh = self.eta**2 * spreads[i]
            sigma_ratio = math.sqrt(max(sigma[i + 1] ** 2 - fresh, 0)) / sigma[i]
            x = sigma_ratio * x + (alpha[i + 1] - sigma_ratio * alpha[i]) * denoise(x, t)
            if fresh > 0:
                x = x + math.sqrt(fresh) * noise()
            yield x


@dataclass(frozen=True)
class Euler:
    """Follow the probability flow along its tangent.

    Arguments:
        churn: S_churn, how much fresh noise the whole way is given; 0 none.
        lowest: S_tmin, noise level below which none is.
        highest: S_tmax, noise level above which none is.
        inflate: S_noise, factor of the fresh noise; a little above 1 makes up for detail that an
            imperfect denoiser takes away.
    """

    churn: float = 0.0
    lowest: float = 0.0
    highest: float = math.inf
    inflate: float = 1.0
    order: ClassVar[int] = 1
    calls: ClassVar[int] = 1
    grid: ClassVar[str] = "karras"
    fresh: ClassVar[str] = "churn"

    def __call__(
        self,
        denoise: Denoise,
        schedule: Schedule,
        x: Tensor,
        times: Tensor,
        noise: Callable[[], Tensor],
        variance: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Iterator[Tensor]:
        """Yield sigma_s / sigma_t x + alpha_s (1 - r) xhat."""
        for step in _lifted(schedule, times, self.churn, self.lowest, self.highest):
            x = step.back(x, self.inflate, noise)
            x = step.sigma_ratio * x + step.of_clean * denoise(x, step.t)
            yield x


@dataclass(frozen=True)
class Heun:
    """Follow the probability flow by the mean of two derivatives; the last, to t = 0, is Euler's.

    Arguments:
        churn, lowest, highest, inflate: As in `Euler`.
    """

    churn: float = 0.0
    lowest: float = 0.0
    highest: float = math.inf
    inflate: float = 1.0
    order: ClassVar[int] = 2
    calls: ClassVar[int] = 2
    grid: ClassVar[str] = "karras"
    fresh: ClassVar[str] = "churn"

    def __call__(
        self,
        denoise: Denoise,
        schedule: Schedule,
        x: Tensor,
        times: Tensor,
        noise: Callable[[], Tensor],
        variance: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Iterator[Tensor]:
        """Yield Euler's state, corrected by what is estimated there."""
        for step in _lifted(schedule, times, self.churn, self.lowest, self.highest):
            x = step.back(x, self.inflate, noise)
            clean = denoise(x, step.t)
            x = step.sigma_ratio * x + step.of_clean * clean
            if step.of_change < math.inf:
                x = x + step.of_change * (denoise(x, step.s) - clean)
            yield x


SAMPLERS: Registry[type[Sampler]] = Registry(
    "sampler",
    [
        ("ancestral", Ancestral),
        ("ddim", Ddim),
        ("euler", Euler),
        ("heun", Heun),
        ("dpm++1", DpmSolver1),
        ("dpm++2m", DpmSolver2),
        ("dpm++3m", DpmSolver3),
        ("unipc", UniPc),
    ],
)
"""By name; the fields of each have defaults."""


def _posteriors(schedule: Schedule, times: Tensor) -> list[list[float]]:
    """Return the weights of state and clean estimate and beta~ of every step."""
    times = times.double().cpu()
    return [number.tolist() for number in posterior(schedule, times[1:], times[:-1])]


@dataclass(frozen=True)
class _Step:
    """A step of Euler's from t, which may lie above where the last one ended, to s."""

    t: Tensor
    s: Tensor
    renoise_weights: tuple[float, float]
    """The weights of the state and of fresh noise that bring x back up to t."""
    sigma_ratio: float
    """sigma_s / sigma_t."""
    of_clean: float
    """alpha_s (1 - r)."""
    of_change: float
    """alpha_s (1 - r) / (2 r); infinite where r = 0."""

    def back(self, x: Tensor, inflate: float, noise: Callable[[], Tensor]) -> Tensor:
        """Return a draw from q(x_t | x), x being where the last step ended."""
        alpha_ts, sigma_ts = self.renoise_weights
        return alpha_ts * x + sigma_ts * inflate * noise() if sigma_ts > 0 else x


def _lifted(
    schedule: Schedule, times: Tensor, churn: float, lowest: float, highest: float
) -> Iterator[_Step]:
    """Yield the steps, each lifted by gamma = min(churn / steps, sqrt(2) - 1) where it may be."""
    start_times, end_times = times[:-1].double().cpu(), times[1:]
    lifted = start_times
    if churn > 0:
        alpha, sigma = schedule(start_times)
        level = sigma / alpha
        gamma = min(churn / len(start_times), math.sqrt(2) - 1)
        lifted_times = schedule.time_of(-2 * (level * (1 + gamma)).log())
        lifted = torch.where((lowest <= level) & (level <= highest), lifted_times, start_times)
    alpha_ts, variance_ts = (
        number.tolist() for number in transition(schedule, start_times, lifted)
    )
    alphas, sigmas, _ = amplitudes(schedule, lifted)
    end_alphas, end_sigmas, _ = amplitudes(schedule, end_times)
    starts = lifted.to(times) if churn > 0 else times
    for i in range(len(start_times)):
        sigma_ratio = end_sigmas[i] / sigmas[i]
        of_clean = end_alphas[i] - sigma_ratio * alphas[i]
        ratio = sigma_ratio * alphas[i] / end_alphas[i]
        of_change = of_clean / (2 * ratio) if ratio > 0 else math.inf
        noisy = (alpha_ts[i], math.sqrt(variance_ts[i]) if variance_ts[i] > 0 else 0.0)
        yield _Step(starts[i], end_times[i], noisy, sigma_ratio, of_clean, of_change)
