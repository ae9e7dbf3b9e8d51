r"""Noise schedules: how signal is exchanged for noise as time runs from t = 0 (data) to t = 1.

    x_t = alpha(t) x + sigma(t) eps,    eps ~ N(0, I),    SNR(t) = alpha(t)^2 / sigma(t)^2

A schedule is the map t -> (alpha, sigma) and nothing else; SNR falls from infinity to near zero.
Seen from an earlier time s < t, the same process is a Markov step

    q(x_t | x_s) = N(alpha_ts x_s, sigma_ts^2 I),
    alpha_ts = alpha_t / alpha_s,    sigma_ts^2 = sigma_t^2 - alpha_ts^2 sigma_s^2,

and, once x is known, a step back

    q(x_s | x_t, x) = N(mu~, beta~ I),    beta~ = sigma_ts^2 sigma_s^2 / sigma_t^2,
    mu~ = alpha_ts sigma_s^2 / sigma_t^2 x_t + alpha_s sigma_ts^2 / sigma_t^2 x.

The lecture's chain is a schedule looked at on the grid t = 1/T, 2/T, …, 1. Where alpha^2 + sigma^2
= 1 (variance preserving), sigma_ts^2 = beta_t, alpha_ts^2 = alpha_t = 1 - beta_t of the lecture,
and abar_t = prod_{i <= t} alpha_i is the square of this file's alpha.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.registry import Registry

__all__ = [
    "SCHEDULES",
    "Cosine",
    "DiscreteChain",
    "Linear",
    "Rectified",
    "Schedule",
    "Tabulated",
    "chain",
    "grid",
    "posterior",
    "transition",
]

EARLIEST = 2.0**-50
"""The least time that is returned: at 0 there is no noise, and no log-SNR."""


class Schedule(ABC):
    """A map from time to the amplitudes of signal and noise."""

    power: ClassVar[int]
    """p of the curve alpha^p + sigma^p = 1 on which the schedule runs: 2 or 1."""

    @abstractmethod
    def __call__(self, t: Float[Tensor, "*shape"]) -> tuple[Tensor, Tensor]:
        """Return (alpha, sigma) at times in [0, 1], each of the shape of t."""

    def log_snr(self, t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return ln(alpha^2 / sigma^2), the only clock that a network is shown."""
        alpha, sigma = self(t)
        return 2 * (alpha.log() - sigma.log())

    @abstractmethod
    def time_of(self, log_snr: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the times of a log-SNR, float64; the nearest of `EARLIEST` … 1 of one beyond."""


class Tabulated(Schedule):
    """A variance-preserving schedule given by betas of `steps` steps.

    At t = i / steps it is exactly the chain of those betas; between, ln abar is interpolated.
    """

    power = 2
    steps: int

    @abstractmethod
    def betas(self) -> Float[Tensor, " T"]:
        """Return beta_1 … beta_T, float64."""

    def __call__(self, t: Float[Tensor, "*shape"]) -> tuple[Tensor, Tensor]:
        """Return alpha = sqrt(abar) and sigma = sqrt(1 - abar)."""
        table = _log_abar(self, t.device, t.dtype)
        position = t * self.steps
        low = position.floor().clamp(0, self.steps - 1)
        i = low.long()
        log_abar = torch.lerp(table[i], table[i + 1], position - low)
        return (log_abar / 2).exp(), (-torch.expm1(log_abar)).sqrt()

    def time_of(self, log_snr: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the times of a log-SNR, where ln abar = -ln(1 + 1 / SNR)."""
        table = _log_abar(self, log_snr.device, torch.float64)
        log_abar = -torch.nn.functional.softplus(-log_snr.double())
        i = torch.searchsorted(-table, -log_abar).clamp(1, self.steps)
        fraction = (table[i - 1] - log_abar) / (table[i - 1] - table[i])
        return ((i - 1 + fraction) / self.steps).clamp(EARLIEST, 1)


@lru_cache(maxsize=32)
def _log_abar(schedule: Tabulated, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return ln abar_0 = 0, ln abar_1, …, ln abar_T; the product of each runs to t, not to T."""
    table = torch.log1p(-schedule.betas()).cumsum(0)
    return torch.cat([table.new_zeros(1), table]).to(device, dtype)


@dataclass(frozen=True)
class Linear(Tabulated):
    """Variances rising evenly from `first` to `last` in `steps` steps.

    References:
        Denoising Diffusion Probabilistic Models, Ho, Jain & Abbeel, 2020 (arXiv:2006.11239).

    >>> alpha, sigma = Linear()(torch.tensor([0.0, 0.5, 1.0]))
    >>> [round(v, 3) for v in (alpha**2).tolist()]
    [1.0, 0.079, 0.0]
    """

    steps: int = 1000
    first: float = 1e-4
    last: float = 0.02

    def betas(self) -> Float[Tensor, " T"]:
        """Return beta_1 … beta_T, float64."""
        return torch.linspace(self.first, self.last, self.steps, dtype=torch.float64)


@dataclass(frozen=True)
class Cosine(Tabulated):
    """abar falling as a squared cosine, slowly at both ends.

    abar(t) = f(t) / f(0),  f(t) = cos^2((t + s) / (1 + s) pi / 2),  beta_t at most `largest`.

    References:
        Improved Denoising Diffusion Probabilistic Models, Nichol & Dhariwal, 2021
        (arXiv:2102.09672), equation 17.
    """

    steps: int = 1000
    s: float = 0.008
    largest: float = 0.999

    def betas(self) -> Float[Tensor, " T"]:
        """Return beta_1 … beta_T, float64."""
        t = torch.linspace(0, 1, self.steps + 1, dtype=torch.float64)
        f = torch.cos((t + self.s) / (1 + self.s) * (math.pi / 2)) ** 2
        return (1 - f[1:] / f[:-1]).clamp(max=self.largest)


@dataclass(frozen=True)
class Rectified(Schedule):
    """A straight line from data to noise: alpha = 1 - t, sigma = t, as in flow matching.

    Time is stretched to end at `last`, a little before pure noise, so that a network which
    predicts the noise still says something about x there. With clean, velocity or EDM
    predictions `last` may be 1.

    References:
        Flow Straight and Fast, Liu, Gong & Liu, 2022 (arXiv:2209.03003); Flow Matching for
        Generative Modeling, Lipman, Chen, Ben-Hamu, Nickel & Le, 2022 (arXiv:2210.02747).

    >>> Rectified(last=1.0)(torch.tensor([0.0, 0.25]))
    (tensor([1.0000, 0.7500]), tensor([0.0000, 0.2500]))
    """

    power = 1
    last: float = 0.999

    def __call__(self, t: Float[Tensor, "*shape"]) -> tuple[Tensor, Tensor]:
        """Return alpha = 1 - t and sigma = t, on the stretched clock."""
        sigma = self.last * t
        return 1 - sigma, sigma

    def time_of(self, log_snr: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the times of a log-SNR, where sigma = 1 / (1 + alpha / sigma).

        >>> Rectified(last=1.0).time_of(torch.tensor(0.0)).item()
        0.5
        """
        return ((-log_snr.double() / 2).sigmoid() / self.last).clamp(EARLIEST, 1)


SCHEDULES: Registry[Schedule] = Registry(
    "schedule",
    [
        ("linear", Linear()),
        ("cosine", Cosine()),
        ("rectified", Rectified()),
    ],
)


def transition(
    schedule: Schedule, s: Float[Tensor, "*shape"], t: Float[Tensor, "*shape"]
) -> tuple[Tensor, Tensor]:
    """Return alpha_ts and sigma_ts^2 of q(x_t | x_s), for s < t."""
    alpha_s, sigma_s = schedule(s)
    alpha_t, sigma_t = schedule(t)
    alpha_ts = alpha_t / alpha_s
    return alpha_ts, sigma_t**2 - alpha_ts**2 * sigma_s**2


def posterior(
    schedule: Schedule, s: Float[Tensor, "*shape"], t: Float[Tensor, "*shape"]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what q(x_s | x_t, x) is made of: the weights of x_t and of x, and beta~.

    References:
        Ho et al. 2020, equations 6 and 7; for any schedule, Variational Diffusion Models,
        Kingma, Salimans, Poole & Ho, 2021 (arXiv:2107.00630), appendix A.
    """
    alpha_s, sigma_s = schedule(s)
    _, sigma_t = schedule(t)
    alpha_ts, variance_ts = transition(schedule, s, t)
    of_state = alpha_ts * sigma_s**2 / sigma_t**2
    of_clean = alpha_s * variance_ts / sigma_t**2
    return of_state, of_clean, variance_ts * sigma_s**2 / sigma_t**2


@dataclass(frozen=True)
class DiscreteChain:
    """The lecture's tables; entry t - 1 of each belongs to step t = 1 … T. Float64."""

    times: Float[Tensor, " T"]
    """t / T."""
    betas: Float[Tensor, " T"]
    """Variance added by step t."""
    alphas: Float[Tensor, " T"]
    """Share of the signal's variance kept by step t; 1 - beta_t if variance preserving."""
    abar: Float[Tensor, " T"]
    """prod_{i <= t} alpha_i."""
    noise: Float[Tensor, " T"]
    """Variance of the noise in x_t; 1 - abar_t if variance preserving."""
    beta_tilde: Float[Tensor, " T"]
    """Variance of q(x_{t-1} | x_t, x_0); zero at t = 1."""


def chain(schedule: Schedule, steps: int) -> DiscreteChain:
    """Look at a schedule in T steps.

    >>> c = chain(Linear(), 1000)
    >>> round(c.betas[-1].item(), 6), torch.allclose(c.abar, c.alphas.cumprod(0))
    (0.02, True)
    """
    times = torch.arange(steps + 1, dtype=torch.float64) / steps
    before, after = times[:-1], times[1:]
    alpha_ts, betas = transition(schedule, before, after)
    alpha, sigma = schedule(after)
    _, _, beta_tilde = posterior(schedule, before, after)
    return DiscreteChain(after, betas, alpha_ts**2, alpha**2, sigma**2, beta_tilde)


def grid(steps: int) -> Float[Tensor, " n"]:
    """Return the times 1 = t_0 > t_1 > … > t_steps = 0 of a sampler, float64."""
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64)
