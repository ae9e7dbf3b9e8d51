r"""Samplers: from noise at t = 1 to data at t = 0 by asking for clean estimates on the way.

A sampler is given a `Denoise`, (x_t, t) -> E[x | x_t], a schedule and falling times t_0 > t_1 > …,
and yields the state at t_1, t_2, … in turn; the last one is the sample. It knows neither network
nor prediction. With xhat the clean estimate, ehat = (x_t - alpha_t xhat) / sigma_t is the noise
that goes with it. From t to s < t:

    ancestral   x_s ~ q(x_s | x_t, xhat) = N(mu~, beta~)
    ddim        x_s = alpha_s xhat + sqrt(sigma_s^2 - eta^2 beta~) ehat + eta sqrt(beta~) z

The two others follow the probability flow, the ordinary differential equation with the same
marginals, in coordinates without a singular end: the angle phi = atan2(sigma, alpha) and
u = x / sqrt(alpha^2 + sigma^2), which lies on u = cos(phi) x + sin(phi) eps, so that

    du / dphi = v = cos(phi) ehat - sin(phi) xhat
    euler       u + h v,                h = phi_s - phi_t
    heun        u + h (v + v') / 2,     v' the slope at Euler's point

(DDIM with eta = 0 turns by the same angle instead of going along the tangent:
u cos(h) + v sin(h).)

References:
    Denoising Diffusion Probabilistic Models, Ho, Jain & Abbeel, 2020 (arXiv:2006.11239),
    algorithm 2.
    Denoising Diffusion Implicit Models, Song, Meng & Ermon, 2020 (arXiv:2010.02502), equation 12.
    Elucidating the Design Space of Diffusion-Based Generative Models, Karras, Aittala, Aila &
    Laine, 2022 (arXiv:2206.00364), algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.maths.schedules import Schedule, posterior

__all__ = ["SAMPLERS", "Ancestral", "Ddim", "Denoise", "Euler", "Heun", "Sampler"]

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(x_t, [B, *d]; t, scalar) -> E[x | x_t], [B, *d]."""


class Sampler(Protocol):
    """A way from noise to data."""

    order: ClassVar[int]
    """Order of convergence of one sample in the step size; 0 where the way itself is random."""
    calls: ClassVar[int]
    """Clean estimates asked for in a step."""

    def __call__(
        self,
        denoise: Denoise,
        schedule: Schedule,
        x: Float[Tensor, "B ..."],
        times: Float[Tensor, " n"],
        noise: Callable[[], Float[Tensor, "B ..."]],
    ) -> Iterator[Float[Tensor, "B ..."]]:
        """Yield the states at times[1:], given the state x at times[0].

        Arguments:
            denoise: The clean estimate.
            schedule: The schedule to which it belongs.
            x: State at times[0].
            times: Falling times, usually from 1 to 0.
            noise: Draws standard normal numbers of the shape of x.
        """
        ...


@dataclass(frozen=True)
class Ancestral:
    """Draw from the chain's own posterior with the clean estimate in place of x.

    On the chain's own grid its variance is beta~_t; on a coarser one that of the coarser chain.
    """

    order: ClassVar[int] = 0
    calls: ClassVar[int] = 1

    def __call__(
        self,
        denoise: Denoise,
        schedule: Schedule,
        x: Tensor,
        times: Tensor,
        noise: Callable[[], Tensor],
    ) -> Iterator[Tensor]:
        """Yield x_s = mu~(x_t, xhat) + sqrt(beta~) z."""
        for t, s in pairwise(times):
            of_state, of_clean, variance = _like(x, *posterior(schedule, s, t))
            x = of_state * x + of_clean * denoise(x, t)
            if s > 0:
                x = x + variance.sqrt() * noise()
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

    def __call__(
        self,
        denoise: Denoise,
        schedule: Schedule,
        x: Tensor,
        times: Tensor,
        noise: Callable[[], Tensor],
    ) -> Iterator[Tensor]:
        """Yield x_s = alpha_s xhat + sqrt(sigma_s^2 - eta^2 beta~) ehat + eta sqrt(beta~) z."""
        for t, s in pairwise(times):
            alpha_t, sigma_t = schedule(t)
            alpha_s, sigma_s = schedule(s)
            fresh = self.eta**2 * posterior(schedule, s, t)[2]
            kept = (sigma_s**2 - fresh).clamp(min=0).sqrt() / sigma_t
            of_state, of_clean, spread = _like(x, kept, alpha_s - kept * alpha_t, fresh.sqrt())
            x = of_state * x + of_clean * denoise(x, t)
            if self.eta > 0 and s > 0:
                x = x + spread * noise()
            yield x


@dataclass(frozen=True)
class Euler:
    """Follow the probability flow along its tangent."""

    order: ClassVar[int] = 1
    calls: ClassVar[int] = 1

    def __call__(
        self,
        denoise: Denoise,
        schedule: Schedule,
        x: Tensor,
        times: Tensor,
        noise: Callable[[], Tensor],
    ) -> Iterator[Tensor]:
        """Yield r_s (u + h v)."""
        for t, s in pairwise(times):
            u, v = _slope(denoise, schedule, x, t)
            length, angle = _polar(schedule, s)
            h = angle - _polar(schedule, t)[1]
            x = length.to(x) * (u + h.to(x) * v)
            yield x


@dataclass(frozen=True)
class Heun:
    """Follow the probability flow by the mean of two slopes; the last step, to t = 0, has one."""

    order: ClassVar[int] = 2
    calls: ClassVar[int] = 2

    def __call__(
        self,
        denoise: Denoise,
        schedule: Schedule,
        x: Tensor,
        times: Tensor,
        noise: Callable[[], Tensor],
    ) -> Iterator[Tensor]:
        """Yield r_s (u + h (v + v') / 2); where sigma_s = 0, DDIM's step."""
        for t, s in pairwise(times):
            u, v = _slope(denoise, schedule, x, t)
            length, angle = _polar(schedule, s)
            h = (angle - _polar(schedule, t)[1]).to(x)
            length = length.to(x)
            if s > 0:
                _, ahead = _slope(denoise, schedule, length * (u + h * v), s)
                x = length * (u + h * (v + ahead) / 2)
            else:
                x = length * (u * h.cos() + v * h.sin())
            yield x


SAMPLERS: Mapping[str, Callable[..., Sampler]] = {
    "ancestral": Ancestral,
    "ddim": Ddim,
    "euler": Euler,
    "heun": Heun,
}
"""`ddim` takes eta; the others take nothing."""


def _like(x: Tensor, *numbers: Tensor) -> tuple[Tensor, ...]:
    """Give numbers computed in float64 the type of the state."""
    return tuple(number.to(x) for number in numbers)


def _polar(schedule: Schedule, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return sqrt(alpha^2 + sigma^2) and phi = atan2(sigma, alpha)."""
    alpha, sigma = schedule(t)
    return torch.hypot(alpha, sigma), torch.atan2(sigma, alpha)


def _slope(denoise: Denoise, schedule: Schedule, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return u and du / dphi = cos(phi) ehat - sin(phi) xhat = (cos(phi) u - xhat) / sin(phi)."""
    length, angle = _polar(schedule, t)
    u = x / length.to(x)
    cos, sin = _like(x, angle.cos(), angle.sin())
    return u, (cos * u - denoise(x, t)) / sin
