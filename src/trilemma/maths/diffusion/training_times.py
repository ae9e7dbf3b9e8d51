r"""Training times: how often a denoiser is shown each noise level.

A loss E_t[w(t) l(t)], t uniform, may be estimated by times of another density p if each is
weighted by 1 / p(t). A density without this correction is a weighting of its own.

    uniform      t uniform over (0, 1], or over the chain's steps 1/T, …, 1
    log-normal   ln(sigma / alpha) ~ N(mean, deviation^2), uncorrected: the middle of the way,
                 where there is most to be learnt about how data look
    importance   in proportion to what the step would cost in the bound were the data standard
                 normal, ln((1 + SNR_s) / (1 + SNR_t)), corrected: with the bound's weights, whose
                 terms differ by powers of ten, this is what keeps the loss from being all noise

References:
    Elucidating the Design Space of Diffusion-Based Generative Models, Karras, Aittala, Aila &
    Laine, 2022 (arXiv:2206.00364), table 1.
    Improved Denoising Diffusion Probabilistic Models, Nichol & Dhariwal, 2021
    (arXiv:2102.09672), section 3.3, whose proportions are learnt on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.maths.diffusion.schedules import Schedule

__all__ = [
    "DEVIATION",
    "MEAN",
    "TIMES",
    "falls",
    "importance",
    "log_normal",
    "on_chain",
    "uniform",
]

TIMES = ("uniform", "log-normal", "importance")
"""How training times are drawn."""
MEAN, DEVIATION = -1.2, 1.2
"""Of the logarithm of the noise level, as EDM has them."""

EVEN = 0.02
"""Share of importance-sampled continuous times that is even in t, so that no weight explodes."""
TABLE_SIZE = 10_000
"""Times at which noise levels are tabled, between which is interpolated."""


def on_chain(t: Float[Tensor, " B"], chain: int) -> Float[Tensor, " B"]:
    """Return the step i / T of a chain in whose interval ((i - 1) / T, i / T] t lies.

    Arguments:
        t: Times in (0, 1].
        chain: T; 0 leaves continuous times as they are.

    >>> on_chain(torch.tensor([0.01, 0.25, 0.26, 1.0]), 4).tolist()
    [0.25, 0.25, 0.5, 1.0]
    """
    return ((t * chain - 1e-4).ceil().clamp(1, chain) / chain) if chain else t


def uniform(u: Float[Tensor, " B"], chain: int = 0) -> Float[Tensor, " B"]:
    """Return uniform times in (0, 1], or steps of a chain, from uniform numbers in [0, 1)."""
    return on_chain(1 - u, chain)


def log_normal(
    z: Float[Tensor, " B"],
    schedule: Schedule,
    chain: int = 0,
    *,
    mean: float = MEAN,
    deviation: float = DEVIATION,
) -> Float[Tensor, " B"]:
    """Return times at which ln(sigma / alpha) = mean + deviation z, as near as the schedule goes.

    Arguments:
        z: Standard normal numbers.
        schedule: t to (alpha, sigma).
        chain: T; 0 for continuous time.
        mean: Of the logarithm.
        deviation: Of the logarithm.
    """
    t = _time_at(_levels(schedule, z.device), mean + deviation * z.double())
    return on_chain(t.to(z), chain)


def importance(
    u: Float[Tensor, " B"], schedule: Schedule, chain: int = 0
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Return times in proportion to their part in the bound, and 1 / p(t), of mean 1.

    Arguments:
        u: Uniform numbers in [0, 1).
        schedule: t to (alpha, sigma).
        chain: T; 0 for continuous time, whose least is 1e-4.
    """
    if not chain:
        return _continuous(u, schedule)
    weights = _shares(schedule, chain, u.device)
    edges = weights.cumsum(0)
    i = torch.bucketize(u.double() * edges[-1], edges[:-1], right=True)
    return ((i + 1) / chain).float(), (1 / (weights[i] * chain)).float()


def falls(schedule: Schedule, t: Tensor, of: Callable[[Tensor], Tensor]) -> Tensor:
    """Return -d/dt of a function of the log-SNR at times t > 0, float64."""
    t = t.double()
    h = 1e-3 * torch.minimum(t, 1 - t).clamp(min=1e-6)
    ends = (of(schedule.log_snr(end)) for end in (t - h, (t + h).clamp(max=1)))
    before, after = ends
    return (before - after) / ((t + h).clamp(max=1) - (t - h))


def _continuous(u: Tensor, schedule: Schedule) -> tuple[Tensor, Tensor]:
    """Return times even in ln(1 + SNR), but for a share of them even in t, and 1 / p(t)."""
    softplus, table = torch.nn.functional.softplus, _levels(schedule, u.device)
    first, last = softplus(-2 * table[[0, -1]])
    fraction = ((u.double() - EVEN) / (1 - EVEN)).clamp(min=0)
    t = _time_at(table, -torch.lerp(first, last, fraction).expm1().log() / 2)
    t = torch.where(u < EVEN, 1 - u.double() / EVEN, t)
    density = falls(schedule, t, softplus) / (first - last)
    return t.float(), (1 / (EVEN + (1 - EVEN) * density)).float()


def _time_at(table: Tensor, level: Tensor) -> Tensor:
    """Return the times of ln(sigma / alpha), between those of the table, float64."""
    level = level.clamp(float(table[0]), float(table[-1]))
    high = torch.searchsorted(table, level).clamp(1, len(table) - 1)
    low = table[high - 1]
    return (high + (level - low) / (table[high] - low)) / len(table)


@lru_cache(maxsize=16)
def _levels(schedule: Schedule, device: torch.device) -> Float[Tensor, " n"]:
    """Return ln(sigma / alpha) at t = 1/n, 2/n, …, 1, rising, float64."""
    t = torch.arange(1, TABLE_SIZE + 1, dtype=torch.float64, device=device) / TABLE_SIZE
    return -schedule.log_snr(t) / 2


@lru_cache(maxsize=16)
def _shares(schedule: Schedule, steps: int, device: torch.device) -> Float[Tensor, " T"]:
    """Return the share of each step in the information about standard normal data, float64.

    The first step begins at half the noise of its end, as a chain must begin somewhere; no step
    gets less than a thousandth of an even share, so that no weight explodes.
    """
    t = torch.arange(1, steps + 1, dtype=torch.float64, device=device) / steps
    after = torch.nn.functional.softplus(schedule.log_snr(t))
    before = torch.cat([after[:1] + 2 * torch.log(torch.tensor(2.0)).double(), after[:-1]])
    weights = (before - after).clamp(min=0)
    weights = weights / weights.sum()
    return (weights + 1e-3 / steps) / (1 + 1e-3)
