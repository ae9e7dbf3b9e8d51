r"""Annealed importance sampling: ln Z of an energy, from below and from above.

Between a Gaussian p_0 = exp(-E_0), which is normalised, and exp(-E) / Z lies the geometric path

    E_b = (1 - b) E_0 + b E,      0 = b_0 < b_1 < … < b_T = 1.

Forward. y_0 ~ p_0; then for t = 1 … T the weight takes the change of temperature, and the chain
a MALA step at the new one:

    ln w += (b_t - b_{t-1}) (E_0(y) - E(y)),      y ~ MALA at b_t;      E[w] = Z.

Reverse. From y ~ exp(-E) / Z the same steps the other way, ln w' -= …, and E[w'] = 1 / Z. So, by
Jensen's inequality, over n chains each way,

    E[ln 1/n sum w]  <=  ln Z  <=  E[-ln 1/n sum w'],

the second only as far as the reverse chains do begin at the model: chains that are not there yet
make it an estimate and no bound.

Either end has its own chance, over independent chains by the delta method

    deviation of ln 1/n sum w  =  deviation of w / (mean of w * sqrt(n)).

E and its gradient do not depend on b, so that a temperature costs one evaluation. What is tuned is
tuned before: a pilot run of other chains finds a step size for each temperature by the
acceptance, and how fast E_0 - E varies there; the final temperatures lie where the thermodynamic
length, the integral of its standard deviation, is cut into equal parts. The final run has all of
that given, and is a valid annealed importance sampling.

References:
    Annealed Importance Sampling (Neal, 2001), https://arxiv.org/abs/physics/9803008
    Accurate and Conservative Estimates of MRF Log-likelihood using Reverse Annealing (Burda,
        Grosse & Salakhutdinov, 2015), https://arxiv.org/abs/1412.8566
    Sandwiching the marginal likelihood using bidirectional Monte Carlo (Grosse, Ghahramani &
        Adams, 2015), https://arxiv.org/abs/1511.02543
    Annealing between Distributions by Averaging Moments (Grosse, Maddison & Salakhutdinov, 2013)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trilemma.maths import distributions
from trilemma.maths.langevin import (
    ChainState,
    Draw,
    Energy,
    accepted,
    chosen,
    evaluate,
    log_ratio,
    proposal,
)

__all__ = [
    "Annealed",
    "AnnealingPlan",
    "Gaussian",
    "effective_size",
    "forward",
    "log_mean_error",
    "log_mean_exp",
    "pilot",
    "resampled",
    "reverse",
]

TARGET_ACCEPTANCE = 0.6
"""Share of proposals that MALA should take; 0.574 is best for many coordinates (Roberts &
Rosenthal, 1998)."""
GAIN = 0.4
"""How fast the pilot moves ln eta for each unit of acceptance it is off."""


@dataclass(frozen=True)
class Gaussian:
    """The start of the path, N(mean, std^2), with its energy normalised."""

    mean: Tensor
    """[...], the shape of one chain."""
    std: Tensor
    """[...] or a number of no axes."""

    def evaluate(self, y: Float[Tensor, "N ..."]) -> ChainState:
        """Return E_0 = -ln p_0 and its gradient."""
        away = (y - self.mean) / self.std
        logs = self.std.log().expand(y.shape[1:]).sum() + y[0].numel() / 2 * math.log(2 * math.pi)
        return ChainState(y, away.flatten(1).square().sum(1) / 2 + logs, away / self.std)

    def at(self, xi: Float[Tensor, "N ..."]) -> Float[Tensor, "N ..."]:
        """Return the draws that standard normal numbers make."""
        return self.mean + self.std * xi


@dataclass(frozen=True)
class AnnealingPlan:
    """Temperatures, and MALA's step size at each."""

    betas: Sequence[float]
    """b_0 = 0 … b_T = 1."""
    etas: Sequence[float]
    """A step size for each of them; the first and the last are not used."""


@dataclass(frozen=True)
class Annealed:
    """What a run over all temperatures gave."""

    log_weights: Float[Tensor, " N"]
    y: Float[Tensor, "N ..."]
    """Where the chains ended."""
    acceptance: float
    """Share of proposals that were taken."""


class _Chains:
    """Chains on the path, with both energies where they stand."""

    def __init__(self, energy: Energy, base: Gaussian, y: Tensor) -> None:
        self.energy, self.base = energy, base
        self.first, self.last = base.evaluate(y), evaluate(energy, y)

    @property
    def fall(self) -> Float[Tensor, " N"]:
        """E_0 - E, by which a step of temperature is weighed."""
        return (self.first.energy - self.last.energy).double()

    def step(self, beta: float, eta: float, xi: Tensor, uniform: Tensor) -> Tensor:
        """Make a MALA step at a temperature; return which proposals were taken."""
        current = _mixed(self.first, self.last, beta)
        y = proposal(current, eta, xi)
        first, last = self.base.evaluate(y), evaluate(self.energy, y)
        is_accepted = accepted(log_ratio(current, _mixed(first, last, beta), eta), uniform)
        self.first, self.last = (
            _select(is_accepted, self.first, first),
            _select(is_accepted, self.last, last),
        )
        return is_accepted


def forward(
    energy: Energy, base: Gaussian, plan: AnnealingPlan, normal: Draw, uniform: Draw
) -> Annealed:
    """Anneal from the Gaussian to the energy; the log-weights' mean exp estimates Z.

    Arguments:
        energy: E.
        base: p_0.
        plan: Temperatures and step sizes, made before and of other chains.
        normal: Draws standard normal numbers, [N, ...].
        uniform: Draws numbers in [0, 1), [N].
    """
    indices = range(1, len(plan.betas))
    return _annealed(_Chains(energy, base, base.at(normal())), plan, indices, normal, uniform)


def reverse(
    energy: Energy,
    base: Gaussian,
    plan: AnnealingPlan,
    y: Float[Tensor, "N ..."],
    normal: Draw,
    uniform: Draw,
) -> Annealed:
    """Anneal from samples of exp(-E) / Z to the Gaussian; E[w'] = 1 / Z.

    Arguments:
        energy: E.
        base: p_0.
        plan: As for `forward`.
        y: Where the chains begin; exact samples, for the estimate to be a bound.
        normal: Draws standard normal numbers, [N, ...].
        uniform: Draws numbers in [0, 1), [N].
    """
    indices = range(len(plan.betas) - 2, -1, -1)
    return _annealed(_Chains(energy, base, y), plan, indices, normal, uniform)


def pilot(
    energy: Energy,
    base: Gaussian,
    steps: int,
    normal: Draw,
    uniform: Draw,
    *,
    pilot_steps: int | None = None,
) -> AnnealingPlan:
    """Find temperatures and step sizes by chains that are then thrown away.

    Arguments:
        energy: E.
        base: p_0.
        steps: T of the plan.
        normal: Draws standard normal numbers, [N, ...], for a few chains.
        uniform: Draws numbers in [0, 1), [N].
        pilot_steps: Temperatures looked at; T if None.
    """
    looks = max(pilot_steps or steps, 2)
    betas = [(t / looks) ** 2 for t in range(looks + 1)]  # energies fall steeply at the start
    chains = _Chains(energy, base, base.at(normal()))
    variance = float(base.std.square().min())
    log_eta = math.log(variance) - math.log(chains.last.y[0].numel()) / 3
    etas, spreads = [], []
    for beta in betas:
        for _ in range(10 if beta == 0 else 1):
            take = chains.step(beta, math.exp(log_eta), normal(), uniform())
            log_eta += GAIN * (float(take.float().mean()) - TARGET_ACCEPTANCE)
        etas.append(log_eta)
        spreads.append(float(chains.fall.std()))
    return _planned(betas, _smooth(etas), _smooth(spreads), steps)


def log_mean_exp(log_weights: Float[Tensor, " N"]) -> float:
    """Return ln 1/n sum w."""
    return float(distributions.log_mean_exp(log_weights.double(), 0))


def log_mean_error(log_weights: Float[Tensor, " N"]) -> float:
    """Return the standard error of ln 1/n sum w over independent chains, by the delta method.

    That of the mean over the mean: sqrt((n / n_eff - 1) / (n - 1)) with the effective size n_eff.
    One chain does not know its error, which is infinite.

    >>> log_mean_error(torch.zeros(8)), round(log_mean_error(torch.tensor([0.0, 1.0])), 3)
    (0.0, 0.462)
    """
    n = len(log_weights)
    if n < 2:
        return math.inf
    return math.sqrt(max(n / effective_size(log_weights) - 1, 0.0) / (n - 1))


def effective_size(log_weights: Float[Tensor, " N"]) -> float:
    """Return (sum w)^2 / sum w^2: n where all weights are alike, 1 where one has it all.

    >>> effective_size(torch.zeros(8)), effective_size(torch.tensor([0.0, 99.0]))
    (8.0, 1.0)
    """
    log_weights = log_weights.double()
    return round(math.exp(float(2 * log_weights.logsumexp(0) - (2 * log_weights).logsumexp(0))), 9)


def resampled(log_weights: Float[Tensor, " N"], uniform: Float[Tensor, " N"]) -> Int[Tensor, " N"]:
    """Draw indices of chains in proportion to their weights, one for each uniform number."""
    edges = log_weights.double().softmax(0).cumsum(0)
    return torch.searchsorted(edges, uniform.double()).clamp(max=len(edges) - 1)


def _annealed(
    chains: _Chains, plan: AnnealingPlan, indices: range, normal: Draw, uniform: Draw
) -> Annealed:
    """Go through the temperatures at `indices`; the first and last need no step of their own."""
    log_weights = torch.zeros_like(chains.fall)
    acceptance, moves, previous_beta = 0.0, 0, plan.betas[indices[0] - indices.step]
    for index in indices:
        beta = plan.betas[index]
        log_weights = log_weights + (beta - previous_beta) * chains.fall
        if index != indices[-1]:
            is_accepted = chains.step(beta, plan.etas[index], normal(), uniform())
            acceptance, moves = acceptance + float(is_accepted.float().mean()), moves + 1
        previous_beta = beta
    return Annealed(log_weights, chains.last.y, acceptance / max(moves, 1))


def _mixed(first: ChainState, last: ChainState, beta: float) -> ChainState:
    """Return (1 - b) E_0 + b E."""
    return ChainState(
        last.y,
        (1 - beta) * first.energy + beta * last.energy,
        (1 - beta) * first.gradient + beta * last.gradient,
    )


def _select(take: Tensor, old: ChainState, new: ChainState) -> ChainState:
    return ChainState(
        chosen(take, new.y, old.y),
        chosen(take, new.energy, old.energy),
        chosen(take, new.gradient, old.gradient),
    )


def _smooth(values: Sequence[float]) -> list[float]:
    """Take the mean over neighbours within a fortieth of the way."""
    reach = max(len(values) // 40, 1)
    windows = (values[max(i - reach, 0) : i + reach + 1] for i in range(len(values)))
    return [sum(w) / len(w) for w in windows]


def _planned(
    betas: Sequence[float], log_etas: Sequence[float], spreads: Sequence[float], steps: int
) -> AnnealingPlan:
    """Put T temperatures where half of the way is thermodynamic length, half the pilot's own."""
    pilot_betas = torch.tensor(betas, dtype=torch.float64)
    width = torch.tensor(spreads, dtype=torch.float64)
    length = torch.cat(
        [pilot_betas[:1], ((width[1:] + width[:-1]) / 2 * pilot_betas.diff()).cumsum(0)]
    )
    coordinate = torch.linspace(0, 1, len(pilot_betas), dtype=torch.float64)
    if float(length[-1]) > 0 and bool(length.isfinite().all()):
        coordinate = (length / length[-1] + coordinate) / 2
    targets = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    new_betas = _interpolated(targets, coordinate, pilot_betas)
    etas = _interpolated(new_betas, pilot_betas, torch.tensor(log_etas, dtype=torch.float64)).exp()
    new_betas[0], new_betas[-1] = 0.0, 1.0
    return AnnealingPlan(new_betas.tolist(), etas.tolist())


def _interpolated(at: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return y(at), linear between the points (x, y) with rising x."""
    upper = torch.searchsorted(x, at).clamp(1, len(x) - 1)
    lower = upper - 1
    fraction = ((at - x[lower]) / (x[upper] - x[lower])).clamp(0, 1)
    return y[lower] + fraction * (y[upper] - y[lower])
