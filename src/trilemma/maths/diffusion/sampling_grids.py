r"""Grids: the times at which a sampler stops on its way from noise to data.

Steps even in t are even in nothing that matters. A step's error depends on how far the noise
level s = sigma / alpha falls in it, so the better grids are laid out in s, from the largest level
s_0 to the smallest s_{n-1}, and end with a leap to s = 0, where the state is the clean estimate:

    uniform      t_i = 1 - i / n
    log-snr      ln s_i evenly spaced; ln SNR = -2 ln s
    karras       s_i^(1/rho) evenly spaced: rho -> infinity is log-snr, rho = 7 spends more of the
                 steps on small noise than on large
    log-normal   Phi((ln s_i + 1.2) / 1.2) evenly spaced: as dense as the training times of that
                 name (`maths.diffusion.training_times`), most of the steps where most is decided

A model trained on a chain of T steps has seen no noise below that of its first step, so that no
grid goes there; nor does one begin above `most`, where nothing is left to be seen of the data.

References:
    Elucidating the Design Space of Diffusion-Based Generative Models, Karras, Aittala, Aila &
    Laine, 2022 (arXiv:2206.00364), equation 5.
    DPM-Solver, Lu, Zhou, Bao, Chen, Li & Zhu, 2022 (arXiv:2206.00927), section 4.3: log-snr.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Normal

from trilemma.maths.diffusion.schedules import Schedule, Tabulated
from trilemma.maths.diffusion.training_times import DEVIATION, MEAN

__all__ = ["GRIDS", "LEVELS", "amplitudes", "grid"]

GRIDS = ("uniform", "log-snr", "karras", "log-normal")
"""How a sampler's steps may be spaced."""
LEVELS = (80.0, 0.002)
"""The largest and the smallest noise level: of images, whose large forms outlast much noise."""


def grid(
    schedule: Schedule,
    steps: int,
    kind: str = "uniform",
    *,
    most: float = LEVELS[0],
    least: float = LEVELS[1],
    rho: float = 7.0,
) -> Float[Tensor, " n"]:
    """Return falling times t_0 > … > t_steps = 0, float64.

    A sampler begins at t_0 with sigma(t_0) z, z ~ N(0, I).

    Arguments:
        schedule: Where noise levels s = sigma / alpha are looked up.
        steps: How many steps, 1 or more.
        kind: One of `GRIDS`.
        most: Largest noise level, if the schedule has a larger one; not for 'uniform'.
        least: Smallest noise level before 0, if the schedule has a smaller one.
        rho: Exponent of 'karras'.

    Raises:
        ValueError: No steps, an unknown kind, or noise levels that do not fall.

    >>> from trilemma.maths.diffusion.schedules import Rectified
    >>> [round(t, 3) for t in grid(Rectified(last=1.0), 3, "log-snr", most=9, least=1).tolist()]
    [0.9, 0.75, 0.5, 0.0]
    """
    if steps < 1:
        raise ValueError(f"a grid of {steps} steps was asked for; it has 1 or more.")
    if kind not in GRIDS:
        raise ValueError(f"grid '{kind}' was given; give {', '.join(map(repr, GRIDS))}.")
    if kind == "uniform":
        return torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    return _even_in_noise(schedule, steps, kind, most, least, rho).clone()


@lru_cache(maxsize=32)
def _even_in_noise(
    schedule: Schedule, steps: int, kind: str, most: float, least: float, rho: float
) -> Tensor:
    """Lay a grid out in the noise level, and look its times up."""
    first = 1 / schedule.steps if isinstance(schedule, Tabulated) else 0.0
    alpha, sigma = schedule(torch.tensor([1.0, first], dtype=torch.float64))
    ends = (sigma / alpha).clamp(least, most)
    if not ends[0] > ends[1]:
        raise ValueError(f"noise from {most:g} down to {least:g} was asked for; it has to fall.")
    transform, inverse_transform = _scale(kind, rho)
    first, last = transform(ends.log())
    grid = torch.lerp(first, last, torch.linspace(0, 1, steps, dtype=torch.float64))
    return torch.cat([schedule.time_of(-2 * inverse_transform(grid)), grid.new_zeros(1)])


def _scale(kind: str, rho: float) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Return what of ln s is evenly spaced, and ln s of it."""
    if kind == "log-normal":
        normal = Normal(MEAN, DEVIATION)
        return normal.cdf, normal.icdf
    if kind == "karras":
        return (lambda log_level: (log_level / rho).exp()), (lambda even: rho * even.log())
    return (lambda log_level: log_level), (lambda even: even)


def amplitudes(schedule: Schedule, times: Tensor) -> tuple[list[float], list[float], list[float]]:
    """Return alpha, sigma and lambda = ln(alpha / sigma) at the times, as floats.

    A sampler's coefficients are made of them once, before its first step.
    """
    alphas, sigmas = (number.tolist() for number in schedule(times.double().cpu()))
    return alphas, sigmas, [_log_ratio(*pair) for pair in zip(alphas, sigmas, strict=True)]


def _log_ratio(alpha: float, sigma: float) -> float:
    if alpha == 0 or sigma == 0:
        return math.inf if sigma == 0 else -math.inf
    return math.log(alpha) - math.log(sigma)
