r"""Predictions: what a denoising network is asked for, and the clean estimate that follows.

With x_t = alpha x + sigma eps, a network may be trained to give any mixture of x and eps. The
*target* is that mixture; `denoised` solves for x, so that the output whose mean square error is
least becomes the clean estimate E[x | x_t]. Samplers and bounds see this estimate alone.

    noise      eps
    clean      x
    velocity   alpha^(p-1) eps - sigma^(p-1) x,  with alpha^p + sigma^p = 1
    rest       what the best linear guess leaves of x, for data of spread sigma_d
    edm        the same, standardised

Velocity is the tangent of the curve on which the schedule runs: alpha eps - sigma x on the circle
(p = 2, variance preserving), eps - x on the straight line (p = 1, rectified flow). In both,
x = alpha^(p-1) x_t - sigma v.

At the far end of the way x_t holds next to nothing of x. An output that errs by e there means, of
`noise`, a clean estimate that errs by sigma / alpha e: on the cosine schedule, whose sigma / alpha
ends at 20,000, hundreds of times the data's spread. `faint` is the noise level sigma / alpha from
which on an estimate is no better than the mean of the data.

`gain` is how much the squared error of the output exceeds that of the clean estimate:
||target - output||^2 = gain ||x - denoised||^2. With it a loss can be stated in one unit whatever
the network predicts; for `noise` it is the SNR.

References:
    Denoising Diffusion Probabilistic Models, Ho, Jain & Abbeel, 2020 (arXiv:2006.11239).
    Progressive Distillation, Salimans & Ho, 2022 (arXiv:2202.00512): velocity.
    Elucidating the Design Space of Diffusion-Based Generative Models, Karras, Aittala, Aila &
    Laine, 2022 (arXiv:2206.00364): preconditioning, table 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.maths.diffusion.schedules import Schedule
from trilemma.registry import Registry

__all__ = [
    "PREDICTIONS",
    "Clean",
    "Edm",
    "NoisePrediction",
    "Prediction",
    "Residual",
    "Velocity",
]


class Prediction(Protocol):
    """What a network's output means. Alpha and sigma broadcast against x."""

    faint: ClassVar[float]
    """Noise level sigma / alpha above which the output says less of standardised data than their
    mean does, though it errs by a hundredth of its own spread only; infinite if never."""

    def scale(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the factor by which x_t is multiplied before the network sees it."""
        ...

    def target(
        self,
        x: Float[Tensor, "B ..."],
        noise: Float[Tensor, "B ..."],
        alpha: Tensor,
        sigma: Tensor,
    ) -> Float[Tensor, "B ..."]:
        """Return what the output should be."""
        ...

    def denoised(
        self,
        output: Float[Tensor, "B ..."],
        x_t: Float[Tensor, "B ..."],
        alpha: Tensor,
        sigma: Tensor,
    ) -> Float[Tensor, "B ..."]:
        """Return the clean estimate that the output stands for."""
        ...

    def gain(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return ||target - output||^2 / ||x - denoised||^2."""
        ...


@dataclass(frozen=True)
class NoisePrediction:
    """The network gives eps; the lecture's choice. Undefined where alpha = 0."""

    faint: ClassVar[float] = 100.0

    def scale(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return 1."""
        return torch.ones_like(alpha)

    def target(self, x: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return eps."""
        return noise

    def denoised(self, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return (x_t - sigma eps) / alpha."""
        return (x_t - sigma * output) / alpha

    def gain(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the SNR."""
        return (alpha / sigma) ** 2


@dataclass(frozen=True)
class Clean:
    """The network gives x itself."""

    faint: ClassVar[float] = math.inf

    def scale(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return 1."""
        return torch.ones_like(alpha)

    def target(self, x: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return x."""
        return x

    def denoised(self, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the output."""
        return output

    def gain(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return 1."""
        return torch.ones_like(alpha)


@dataclass(frozen=True)
class Velocity:
    """The network gives the tangent of the schedule's curve, defined at both of its ends.

    Arguments:
        power: p of the curve, `schedule.power`; with another schedule's p the estimate is still
            right, but the output is no longer the velocity.
    """

    faint: ClassVar[float] = math.inf
    power: int = 2

    def scale(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return 1."""
        return torch.ones_like(alpha)

    def target(self, x: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return alpha^(p-1) eps - sigma^(p-1) x."""
        return alpha ** (self.power - 1) * noise - sigma ** (self.power - 1) * x

    def denoised(self, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return (alpha^(p-1) x_t - sigma v) / (alpha^p + sigma^p), the last being 1."""
        length = alpha**self.power + sigma**self.power
        return (alpha ** (self.power - 1) * x_t - sigma * output) / length

    def gain(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return (alpha^p + sigma^p)^2 / sigma^2."""
        return ((alpha**self.power + sigma**self.power) / sigma) ** 2


@dataclass(frozen=True)
class Edm:
    """The network sees standardised input and gives a standardised residual.

    With v^2 = alpha^2 sigma_d^2 + sigma^2, the variance of x_t, and F the output for x_t / v,

        E[x | x_t] = (alpha sigma_d^2 / v^2) x_t + (sigma sigma_d / v) F,

    which is Karras et al.'s c_skip, c_out and c_in for x_t / alpha at noise sigma / alpha.

    Arguments:
        spread: sigma_d, the root mean square of the scaled data.
    """

    faint: ClassVar[float] = math.inf
    spread: float = 0.5

    def scale(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return 1 / v."""
        return (alpha**2 * self.spread**2 + sigma**2).rsqrt()

    def target(self, x: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return (sigma x / sigma_d - alpha sigma_d eps) / v, which has variance 1."""
        v = self.scale(alpha, sigma)
        return v * (sigma / self.spread) * x - v * (alpha * self.spread) * noise

    def denoised(self, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return c_skip x_t + c_out F."""
        return self.guess(x_t, alpha, sigma) + self.c_out(alpha, sigma) * output

    def gain(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return 1 / c_out^2."""
        return self.c_out(alpha, sigma) ** -2

    def guess(self, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return c_skip x_t, the best linear guess."""
        return alpha * (self.spread * self.scale(alpha, sigma)) ** 2 * x_t

    def c_out(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return c_out, the standard deviation of the residual of the guess."""
        return sigma * self.spread * self.scale(alpha, sigma)


@dataclass(frozen=True)
class Residual(Edm):
    """`Edm` without the factor of F: the network gives the residual of the best linear guess of x.

        E[x | x_t] = (alpha sigma_d^2 / v^2) x_t + F

    An error of F is one of the clean estimate, at every noise level: a loss of F's own mean
    square weighs large noise most, and a network whose finest answers are coarser than the least
    noise is not asked for more.

    Arguments:
        spread: sigma_d, the root mean square of the scaled data.
    """

    def target(self, x: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return x - c_skip x_t."""
        return self.c_out(alpha, sigma) * super().target(x, noise, alpha, sigma)

    def denoised(self, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return c_skip x_t + F."""
        return self.guess(x_t, alpha, sigma) + output

    def gain(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return 1."""
        return torch.ones_like(alpha)


def _of_noise(schedule: Schedule, spread: float) -> Prediction:
    """Return that of eps."""
    return NoisePrediction()


def _of_clean(schedule: Schedule, spread: float) -> Prediction:
    """Return that of x."""
    return Clean()


def _of_velocity(schedule: Schedule, spread: float) -> Prediction:
    """Return that of the velocity along the schedule's curve."""
    return Velocity(schedule.power)


def _of_edm(schedule: Schedule, spread: float) -> Prediction:
    """Return EDM's, for data of this spread."""
    return Edm(spread)


def _of_rest(schedule: Schedule, spread: float) -> Prediction:
    """Return that of what the best linear guess leaves."""
    return Residual(spread)


PREDICTIONS: Registry[Callable[[Schedule, float], Prediction]] = Registry(
    "prediction",
    [
        ("noise", _of_noise),
        ("clean", _of_clean),
        ("velocity", _of_velocity),
        ("edm", _of_edm),
        ("rest", _of_rest),
    ],
)
"""By name, for a schedule and the spread of the data."""
