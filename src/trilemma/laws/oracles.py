r"""What the laws compare with: the exact answers for data of which all is known.

Gaussian data x ~ N(m, s^2), coordinate by coordinate, have x_t ~ N(alpha m, v^2) with
v^2 = alpha^2 s^2 + sigma^2, and the clean estimate

    E[x | x_t] = (alpha s^2 x_t + sigma^2 m) / v^2.

A mixture of such on the line has the components' own, weighed by what x_t says about them. Data
on a few known points have the mean of these, weighed alike. The Gaussian whose mean is linear in
a Gaussian code has a density in closed form.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trilemma.core.batch import Condition
from trilemma.core.domain import Domain, Real
from trilemma.core.noise import Noise
from trilemma.maths.diffusion import predictions, samplers, schedules

__all__ = [
    "MEAN",
    "MEANS",
    "POINTS",
    "SHARES",
    "SPREAD",
    "SPREADS",
    "Cubature",
    "D",
    "GaussianNetwork",
    "JointCubature",
    "clean_estimate",
    "every_prediction",
    "gaussian_denoiser",
    "linear_log_prob",
    "mean_of_points",
    "mixture_below",
    "mixture_denoiser",
    "mixture_joint",
    "mixture_quantile",
]

# --- Gaussian data -------------------------------------------------------------------------------

MEAN = torch.tensor([0.4, -0.7], dtype=torch.float64)
SPREAD = torch.tensor([0.5, 1.3], dtype=torch.float64)
D = len(MEAN)
POINTS = Domain("points", (D,), Real())


def clean_estimate(x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return E[x | x_t]."""
    s, m = SPREAD.to(x), MEAN.to(x)
    return (alpha * s**2 * x + sigma**2 * m) / (alpha**2 * s**2 + sigma**2)


def every_prediction(schedule: schedules.Schedule) -> Mapping[str, predictions.Prediction]:
    """Return each registered prediction, for data of spread 0.6."""
    return {name: kind(schedule, 0.6) for name, kind in predictions.PREDICTIONS.items()}


class GaussianNetwork(nn.Module):
    """A network that gives the posterior mean of the noise, and a little of x_t on top."""

    def __init__(self) -> None:
        super().__init__()
        self.extra = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, log_snr: Tensor, condition: Condition | None) -> Tensor:
        """Return E[eps | x_t] + extra x_t."""
        alpha, sigma = (torch.sigmoid(sign * log_snr)[:, None].sqrt() for sign in (1, -1))
        return (x - alpha * clean_estimate(x, alpha, sigma)) / sigma + self.extra * x


class JointCubature(Noise):
    """Half of the coordinates of the points ±sqrt(2D) e_j as eps; the other half is for x."""

    points = torch.cat([math.sqrt(2 * D) * torch.eye(2 * D), -math.sqrt(2 * D) * torch.eye(2 * D)])

    def __init__(self, copies: int = 1) -> None:
        super().__init__(Noise.of(0, 4 * D * copies).blocks)
        self.copies = copies

    @property
    def x(self) -> Tensor:
        """Return the data that go with the noise."""
        return (MEAN + SPREAD * self.points[:, :D]).float().repeat(self.copies, 1)

    def normal(self, *shape: int) -> Tensor:
        """Return eps."""
        return self.points[:, D:].repeat(self.copies, 1)

    def uniform(self, *shape: int) -> Tensor:
        """Return what makes the steps of a chain of as many steps as copies, in turn."""
        return 1 - torch.arange(1, self.copies + 1).repeat_interleave(4 * D) / self.copies

    def named(self, name: str) -> Noise:
        """Return itself: there is one draw."""
        return self


def gaussian_denoiser(
    schedule: schedules.Schedule, prediction: predictions.Prediction
) -> samplers.Denoise:
    """Return the Gaussian's denoiser, by way of what a perfect network would predict."""

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = schedule(t)
        clean = clean_estimate(x, alpha, sigma)
        output = prediction.target(clean, (x - alpha * clean) / sigma, alpha, sigma)
        return prediction.denoised(output, x, alpha, sigma)

    return denoise


# --- A mixture on the line -----------------------------------------------------------------------

SHARES = torch.tensor([0.3, 0.7], dtype=torch.float64)
MEANS = torch.tensor([-0.8, 0.9], dtype=torch.float64)
SPREADS = torch.tensor([0.4, 0.5], dtype=torch.float64)


def mixture_joint(x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Return ln p(k, x_t) up to a constant and E[x | x_t, k] of the mixture, [..., 2] each."""
    v2 = alpha**2 * SPREADS**2 + sigma**2
    deviation = x[..., None] - alpha * MEANS
    clean = (alpha * SPREADS**2 * x[..., None] + sigma**2 * MEANS) / v2
    return SHARES.log() - 0.5 * v2.log() - 0.5 * deviation**2 / v2, clean


def mixture_denoiser(schedule: schedules.Schedule) -> samplers.Denoise:
    """Return the mixture's denoiser."""

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        log_p, clean = mixture_joint(x, *schedule(t))
        return (log_p.softmax(-1) * clean).sum(-1)

    return denoise


def mixture_below(x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return P(x_t < x) of the mixture."""
    v = (alpha**2 * SPREADS**2 + sigma**2).sqrt()
    return (SHARES * torch.special.ndtr((x[..., None] - alpha * MEANS) / v)).sum(-1)


def mixture_quantile(p: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return the x with P(x_t < x) = p, by bisection."""
    low, high = torch.full_like(p, -10), torch.full_like(p, 10)
    for _ in range(60):
        middle = (low + high) / 2
        is_below = mixture_below(middle, alpha, sigma) < p
        low, high = torch.where(is_below, middle, low), torch.where(is_below, high, middle)
    return high


# --- Data on known points ------------------------------------------------------------------------


def mean_of_points(y: Tensor, points: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return E[x | x_t] of data that are alike on each of some points of the line.

    Arguments:
        y: x_t.
        points: The points.
        alpha: What is left of x.
        sigma: Deviation of the noise.
    """
    gap = (y[..., None] - alpha[..., None] * points) / sigma[..., None]
    return ((-gap.square() / 2).softmax(-1) * points).sum(-1)


# --- A Gaussian code and a linear mean -----------------------------------------------------------


class Cubature(Noise):
    """The points ±sqrt(J) e_j, one a row, in place of normal numbers."""

    def normal(self, *shape: int) -> Tensor:
        """Return the points for a code of `shape` numbers."""
        (wide,) = shape
        cross = math.sqrt(wide) * torch.eye(wide)
        return torch.cat([cross, -cross]).repeat(len(self) // (2 * wide), 1)


def linear_log_prob(x: Tensor, w: Tensor, b: Tensor, c: float) -> Tensor:
    """Return ln N(x; b, W W^T + c I) of each row."""
    covariance, gap = w @ w.T + c * torch.eye(x.shape[1]), x - b
    distance = (gap * torch.linalg.solve(covariance, gap.T).T).sum(1)
    return -0.5 * (distance + torch.logdet(2 * torch.pi * covariance))
