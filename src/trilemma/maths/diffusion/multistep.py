r"""Multistep samplers: high order for one clean estimate a step, by remembering earlier ones.

In the time lambda = ln(alpha / sigma) the probability flow is linear in the state but for the
clean estimate m, and over a step from lambda_t to lambda_s = lambda_t + h its solution is

    x_s = sigma_s / sigma_t x_t + alpha_s  int_0^h e^(-(h - u)) m(lambda_t + u) du.

Put for m the polynomial in tau = u / h that goes through estimates m_j at places tau_j: 0 is the
present, -h'/h one step back, 1 the end of the step. With the moments

    M_n = int_0^h e^(-(h - u)) (u / h)^n du,     M_0 = 1 - e^-h,     M_n = 1 - n / h M_{n-1},

the step is x_s = sigma_s / sigma_t x_t + alpha_s sum_j w_j m_j, where w_j is the integral of the
polynomial that is 1 at tau_j and 0 at the others: an Adams method, kept exact in the linear part.

    dpm++1   m_0                M_0                  order 1; DDIM(0)
    dpm++2m  m_0, m_-1          M_0, M_0 / 2         order 2
    dpm++3m  m_0, m_-1, m_-2    M_0, M_1, M_2 / 2    order 2, with a smaller error
    unipc    m_0, m_-1, m_-2    M_0, M_1, M_2        order 3, being corrected: once m_1 is known at
                                                     the state so predicted, the step is taken
                                                     anew with m_1, m_0, … and one moment more

M_0 / 2 for M_1, the papers' short cut wherever two estimates are used, differs by O(h^2) and
keeps the second order. M_2 / 2 for M_2 is what the authors' code of the third sampler computes,
and the codes derived from it: the second difference of the estimates is taken for their second
derivative, which is twice as large. The whole M_2 would not make its order 3 either, because the
first step, which remembers nothing, has the first.

At t = 0, lambda is infinite. The last step has the first order there, which makes its state the
clean estimate; and a way with few steps to go lowers its order before that, as the first steps
raise it while there is little to remember.

In ten steps or less high orders overshoot where lambda leaps, so that an even grid in t, whose
lambda hardly moves in the middle and leaps at the ends alone, is the safer one; from twenty on
log-snr is the better one.

References:
    DPM-Solver++, Lu, Zhou, Bao, Chen, Li & Zhu, 2022 (arXiv:2211.01095), algorithm 2.
    UniPC, Zhao, Bai, Rao, Zhou & Lu, 2023 (arXiv:2302.04867), with
    B_2(h) = e^h - 1: its conditions on the coefficients are those of the moments above.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from trilemma.maths.diffusion.guidance import Denoise
from trilemma.maths.diffusion.sampling_grids import amplitudes
from trilemma.maths.diffusion.schedules import Schedule

__all__ = ["DpmSolver1", "DpmSolver2", "DpmSolver3", "UniPc"]

FEW_STEPS = 15
"""Steps below which DPM-Solver++ lowers its order towards the end."""


@dataclass(frozen=True)
class DpmSolver1:
    """Hold the clean estimate still over the step; DDIM(0) by another name."""

    order: ClassVar[int] = 1
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
        """Yield sigma_s / sigma_t x + alpha_s M_0 m_0."""
        return _remembering(
            denoise, x, times, _steps(schedule, times, 1, lower=len(times) <= FEW_STEPS)
        )


@dataclass(frozen=True)
class DpmSolver2:
    """Continue the clean estimate along the line through the last two."""

    order: ClassVar[int] = 2
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
        """Yield sigma_s / sigma_t x + alpha_s M_0 (m_0 + (m_0 - m_-1) / (2 r)), r = h' / h."""
        return _remembering(
            denoise, x, times, _steps(schedule, times, 2, lower=len(times) <= FEW_STEPS)
        )


@dataclass(frozen=True)
class DpmSolver3:
    """Continue the clean estimate along a parabola through the last three, of half its curvature.

    Of the second order, with a much smaller error than `DpmSolver2`.
    """

    order: ClassVar[int] = 2
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
        """Yield sigma_s / sigma_t x + alpha_s (w_0 m_0 + w_1 m_-1 + w_2 m_-2)."""
        steps = _steps(schedule, times, 3, lower=len(times) <= FEW_STEPS)
        return _remembering(denoise, x, times, steps, curvature=0.5)


@dataclass(frozen=True)
class UniPc:
    """Predict a state, ask for the clean estimate there, and use it to correct the state.

    The corrected state needs no further estimate: the next step starts from it with the estimate
    of the predicted one. The states that are yielded are predicted ones; the last is clean.

    Arguments:
        points: Estimates that a prediction is made of, 2 or 3; a correction has one more.
    """

    points: int = 3
    order: ClassVar[int] = 3
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
        """Yield the predicted states."""
        estimates: deque[Tensor] = deque(maxlen=self.points + 1)
        start, previous_step = x, None
        for t, step in zip(times, _steps(schedule, times, self.points, lower=True), strict=False):
            estimates.appendleft(denoise(x, t))
            if previous_step is not None and previous_step.h < math.inf:
                start = _advance(
                    start,
                    previous_step,
                    estimates,
                    _weights([1.0, *previous_step.taus], previous_step.h),
                )
            x = _advance(start, step, estimates, _weights(step.taus, step.h))
            previous_step = step
            yield x


@dataclass(frozen=True)
class _Step:
    """What the schedule says of a step."""

    sigma_ratio: float
    """sigma_s / sigma_t."""
    signal: float
    """alpha_s."""
    h: float
    """lambda_s - lambda_t, infinite where the step leaves pure noise or arrives at data."""
    taus: list[float]
    """tau of the estimates that it is made of, the present one first; as many as its order."""


def _steps(schedule: Schedule, times: Tensor, order: int, *, lower: bool) -> list[_Step]:
    """Return the steps of a way, none of more than the given order.

    Arguments:
        schedule: The schedule.
        times: Falling times.
        order: That of the steps in the middle.
        lower: Whether the step k before the last, on a way to t = 0, has no more than order k + 1.
    """
    alphas, sigmas, clock = amplitudes(schedule, times)
    steps, n = [], len(clock) - 1
    for i in range(n):
        h = clock[i + 1] - clock[i]
        step_order = min(order, i + 1, n - i if lower and sigmas[-1] == 0 else order)
        while step_order > 1 and not (h < math.inf and clock[i - step_order + 1] > -math.inf):
            step_order -= 1
        taus = [(clock[i - j] - clock[i]) / h if j else 0.0 for j in range(step_order)]
        steps.append(_Step(sigmas[i + 1] / sigmas[i], alphas[i + 1], h, taus))
    return steps


def _remembering(
    denoise: Denoise, x: Tensor, times: Tensor, steps: Sequence[_Step], curvature: float = 1.0
) -> Iterator[Tensor]:
    """Take each step with the estimates known by then; M_2 counts with the given factor."""
    estimates: deque[Tensor] = deque(maxlen=3)
    for t, step in zip(times, steps, strict=False):
        estimates.appendleft(denoise(x, t))
        x = _advance(x, step, estimates, _weights(step.taus, step.h, curvature))
        yield x


def _advance(
    x: Tensor, step: _Step, estimates: Sequence[Tensor], weights: Sequence[float]
) -> Tensor:
    """Return sigma_s / sigma_t x + alpha_s sum_j w_j m_j."""
    x = step.sigma_ratio * x
    for estimate, weight in zip(estimates, weights, strict=False):
        x.add_(estimate, alpha=step.signal * weight)
    return x


def _moments(h: float, count: int) -> list[float]:
    """Return M_0, M_1, …; of two alone, M_0 and M_0 / 2.

    >>> [round(m, 6) for m in _moments(2.0, 3)]
    [0.864665, 0.567668, 0.432332]
    """
    first = -math.expm1(-h)
    if count <= 2:
        return [first, first / 2][:count]
    if h >= 1:
        moments = [first]
        for n in range(1, count):
            moments.append(1 - n / h * moments[-1])
        return moments
    # Upwards, the recurrence would lose all digits of a small step; downwards it gains them.
    term = top = h / count
    for j in range(16):
        term *= -h / (count + 1 + j)
        top += term
    moments = [top]
    for n in range(count - 1, 0, -1):
        moments.append((1 - moments[-1]) * h / n)
    return moments[::-1]


def _weights(taus: Sequence[float], h: float, curvature: float = 1.0) -> list[float]:
    """Return the weight of the estimate at each tau: its polynomial's integral.

    Arguments:
        taus: tau of each.
        h: The step.
        curvature: Factor of M_2.
    """
    moments = _moments(h, len(taus))
    moments[2:3] = [curvature * moment for moment in moments[2:3]]
    weights = []
    for j, tau in enumerate(taus):
        polynomial = [1.0]  # coefficients of 1, tau, tau^2, …
        for other_tau in (*taus[:j], *taus[j + 1 :]):
            shifted = zip((0.0, *polynomial), (*polynomial, 0.0), strict=True)
            polynomial = [(low - other_tau * high) / (tau - other_tau) for low, high in shifted]
        weights.append(sum(c * m for c, m in zip(polynomial, moments, strict=True)))
    return weights
