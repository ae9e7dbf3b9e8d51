r"""Langevin dynamics: chains that go down an energy and are shaken on the way.

    ULA     y' = y - eta grad E(y) + sqrt(2 eta) xi,   xi ~ N(0, I)
    MALA    the same proposal, taken with probability min(1, e^r), else y' = y,

    r = E(y) - E(y') + ln q(y|y') - ln q(y'|y),
    ln q(y'|y) = -||y' - y + eta grad E(y)||^2 / (4 eta) + a constant.

MALA leaves exp(-E) / Z as it is, whatever eta. ULA does not: on E = k y^2 / 2 it comes to rest at
the variance (1/k) / (1 - eta k / 2) instead of 1/k, and where eta k > 2 it runs away.

All chains go together as rows of one batch. A step costs one forward and one backward pass *to
the input*: gradients of the energy's weights are never formed. Chains are detached from whatever
made them.

References:
    Exponential convergence of Langevin distributions and their discrete approximations
        (Roberts & Tweedie, 1996)
    Bayesian Learning via Stochastic Gradient Langevin Dynamics (Welling & Teh, 2011)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from trilemma.maths.broadcasting import per_row

__all__ = [
    "ChainState",
    "Draw",
    "Energy",
    "accepted",
    "chosen",
    "evaluate",
    "log_ratio",
    "mala",
    "proposal",
    "stationary_variance",
    "ula",
]

Energy = Callable[[Tensor], Tensor]
"""Energies [N] of chains [N, ...]; a row's energy depends on that row alone."""

Draw = Callable[[], Tensor]
"""Draws the next numbers, a row a chain."""


@dataclass(frozen=True)
class ChainState:
    """Chains, their energies and the gradients there; all detached."""

    y: Float[Tensor, "N ..."]
    energy: Float[Tensor, " N"]
    gradient: Float[Tensor, "N ..."]
    """grad E(y)."""


def evaluate(energy: Energy, y: Float[Tensor, "N ..."]) -> ChainState:
    """Evaluate the energy and its gradient in y, and no other gradient."""
    with torch.enable_grad():
        y = y.detach().requires_grad_()
        values = energy(y)
        (gradient,) = torch.autograd.grad(values.sum(), y)
    return ChainState(y.detach(), values.detach(), gradient)


def proposal(
    state: ChainState, eta: float | Tensor, xi: Float[Tensor, "N ..."]
) -> Float[Tensor, "N ..."]:
    """Return y - eta grad E(y) + sqrt(2 eta) xi."""
    return state.y - eta * state.gradient + (2 * eta) ** 0.5 * xi


def log_ratio(now: ChainState, then: ChainState, eta: float | Tensor) -> Float[Tensor, " N"]:
    """Return Metropolis's r = ln [p(y') q(y|y') / p(y) q(y'|y)] for the way from now to then."""
    log_forward = _log_step(now, then, eta)
    log_backward = _log_step(then, now, eta)
    return now.energy - then.energy + log_backward - log_forward


def accepted(r: Float[Tensor, " N"], uniform: Float[Tensor, " N"]) -> Bool[Tensor, " N"]:
    """Tell which proposals are taken; none whose r is no number."""
    return uniform.log() < r


def ula(
    energy: Energy,
    y: Float[Tensor, "N ..."],
    eta: float | Tensor,
    normal: Draw,
    *,
    steps: int = 1,
) -> Float[Tensor, "N ..."]:
    """Make steps of unadjusted Langevin.

    Arguments:
        energy: E.
        y: Where the chains stand.
        eta: Step size, in the square of y's unit over nats.
        normal: Draws xi, of y's shape; scaled by less than 1 it makes a colder chain.
        steps: How many.
    """
    for _ in range(steps):
        y = proposal(evaluate(energy, y), eta, normal())
    return y


def mala(
    energy: Energy,
    y: Float[Tensor, "N ..."],
    eta: float | Tensor,
    normal: Draw,
    uniform: Draw,
    *,
    steps: int = 1,
) -> tuple[Float[Tensor, "N ..."], Float[Tensor, " N"]]:
    """Make steps of Metropolis-adjusted Langevin.

    Arguments:
        energy: E.
        y: Where the chains stand.
        eta: Step size.
        normal: Draws xi, of y's shape.
        uniform: Draws numbers in [0, 1), [N].
        steps: How many.

    Returns:
        Where the chains stand then, and the share of proposals that each took.
    """
    current, accept_count = evaluate(energy, y), torch.zeros(len(y), device=y.device)
    for _ in range(steps):
        proposed = evaluate(energy, proposal(current, eta, normal()))
        is_accepted = accepted(log_ratio(current, proposed, eta), uniform())
        current = _moved(is_accepted, current, proposed)
        accept_count = accept_count + is_accepted
    return current.y, accept_count / max(steps, 1)


def stationary_variance(k: float, eta: float) -> float:
    """Return the variance at which ULA on E = k y^2 / 2 rests; infinite where it runs away.

    >>> stationary_variance(1.0, 0.5)
    1.3333333333333333
    """
    return 1 / (k * (1 - eta * k / 2)) if eta * k < 2 else math.inf


def chosen(take: Bool[Tensor, " N"], new: Tensor, old: Tensor) -> Tensor:
    """Return the rows of `new` where `take` is true, and else those of `old`."""
    return torch.where(per_row(take, old), new, old)


def _moved(take: Tensor, now: ChainState, then: ChainState) -> ChainState:
    return ChainState(
        chosen(take, then.y, now.y),
        chosen(take, then.energy, now.energy),
        chosen(take, then.gradient, now.gradient),
    )


def _log_step(start: ChainState, end: ChainState, eta: float | Tensor) -> Tensor:
    """Return ln q(end|start) without its constant."""
    away = end.y - start.y + eta * start.gradient
    return -away.flatten(1).square().sum(1) / (4 * eta)
