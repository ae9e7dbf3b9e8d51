r"""Densities of continuous values put over a domain: the one place of dequantisation.

A `Continuous` knows a density of y near [-1, 1] and nothing of files. Over real-valued data it is
exact, by the change of variables y = (x - location) / spread,

    ln p(x) = ln p(y) - sum_d ln spread_d.

Over values on L levels it becomes a bound: each level is a bin of width 2 / L, over which a
dequantiser spreads it by q(u|x), u in [0, 1)^D, y = 2 (x + u) / L - 1,

    ln P(x) = ln ∫ p(y(x, u)) (2/L)^D du  >=  E_q[ln p(y) - ln q(u|x)] + D ln (2 / L),

with q uniform, ln q = 0, or learned (variational). k draws of u tighten it as in importance
weighting, ln 1/k sum_i p(y_i) / q(u_i|x).

A table may have columns of both sorts (`core.columns`): real ones have their log-determinant,
whole numbers and categories are spread over their cells, and what comes out is a bound. Where all
are counted, an estimate above 0 is cut there, for ln P is below it (`Domain.at_most_certain`).

References:
    A note on the evaluation of generative models (Theis, van den Oord & Bethge, 2016)
    Flow++ (Ho, Chen, Srinivas, Duan & Abbeel, 2019), https://arxiv.org/abs/1902.00275
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, Self, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trilemma.core.adjusting import with_adjusted_part
from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Columns, Domain, Real
from trilemma.core.errors import RanAway
from trilemma.core.model import Gradual, Loss, Model, Objective
from trilemma.core.noise import Noise
from trilemma.families.diffusion.options import refuse_guidance

__all__ = [
    "Continuous",
    "Coupling",
    "Dequantiser",
    "OnLevels",
    "OnReals",
    "Tightened",
    "UniformDequantiser",
    "dequantised_density",
    "sound",
]

FAR = 1e3
"""A standardised value that no sample of a sound model has."""


class Continuous(nn.Module, ABC):
    """A density of y, [B, *shape], data scaled to about [-1, 1]."""

    likelihood_by: str = "exact"
    """How `log_density` is come by, as tables say it."""

    @abstractmethod
    def cost(
        self, y: Tensor, *, condition: Condition | None, noise: Noise
    ) -> tuple[Float[Tensor, " B"], Mapping[str, Tensor]]:
        """Return what training makes small for each example, and detached means for the log."""

    @abstractmethod
    def log_density(
        self, y: Tensor, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Float[Tensor, " B"]:
        """Return ln p(y) in nats, or with noise an unbiased estimate of it."""

    @abstractmethod
    def draw(self, n: int, *, condition: Condition | None = None, noise: Noise) -> Tensor:
        """Draw y, [n, *shape]."""

    def resolve_condition(self, condition: Condition | None, noise: Noise) -> Condition | None:
        """Return what draws of a noise are of: the condition, where none is drawn."""
        return condition


@runtime_checkable
class Coupling(Protocol):
    """A density in whose training noise is chosen for the examples of a batch as a whole."""

    def coupled(self, y: Tensor, label: Tensor | None, noise: Noise) -> Noise:
        """Return the noise in the order in which its rows go with those of y."""
        ...


class Dequantiser(nn.Module, ABC):
    """Spreads levels over their bins."""

    @abstractmethod
    def forward(self, x: Tensor, noise: Noise) -> tuple[Tensor, Float[Tensor, " B"]]:
        """Return u in [0, 1) of x's shape and ln q(u|x), for x in data units."""


class UniformDequantiser(Dequantiser):
    """q(u|x) = 1."""

    def forward(self, x: Tensor, noise: Noise) -> tuple[Tensor, Float[Tensor, " B"]]:
        """Return uniform numbers and zeros."""
        return noise.uniform(*x.shape[1:]), torch.zeros(len(x), device=x.device)


class DomainDensity(Model[Examples, Tensor]):
    """A continuous density over a domain: what reals and levels share."""

    def __init__(self, inner: Continuous, domain: Domain) -> None:
        super().__init__()
        self.inner, self.domain, self.likelihood_by = inner, domain, inner.likelihood_by

    @abstractmethod
    def loss(self, batch: Examples) -> Loss:
        """Return the mean cost of a batch."""

    def objectives(self) -> Sequence[Objective[Examples]]:
        """Return the one player."""
        batch_coupling = self.coupled if isinstance(self.inner, Coupling) else None
        return [
            Objective(
                "density", self.loss, list(self.parameters()), transform_batch=batch_coupling
            )
        ]

    def coupled(self, batch: Examples) -> Examples:
        """Return a whole batch, each example with the noise that goes with it.

        All numbers of a row go along, so that what it costs depends on no other row. A
        dequantiser's are not seen by the coupling, to which examples are scaled levels.
        """
        assert isinstance(self.inner, Coupling)
        assert batch.noise is not None
        y = self.domain.values.scale(batch.x)
        label = None if batch.condition is None else batch.condition.label
        return replace(batch, noise=self.inner.coupled(y, label, batch.noise[:]))

    @property
    def sampling(self) -> Any:  # noqa: ANN401
        """Return how the density is drawn from; of one that is drawn from in one way, nothing."""
        return self.inner.sampling

    def adjusted(self, **options: Any) -> Self:  # noqa: ANN401
        """Return a view of the same weights that is drawn from with other options.

        Arguments:
            options: Fields of `inner.sampling`.

        Raises:
            BadInput: There is no such option, or its value makes no sense for this model.
        """
        refuse_guidance(
            options.get("guidance", 1.0),
            conditional=bool(self.domain.classes or self.domain.vocabulary),
            dropout=1.0,
        )
        return with_adjusted_part(self, "inner", options)

    def resolve_condition(self, condition: Condition | None, noise: Noise) -> Condition | None:
        """Return what samples of a noise are of, as the density draws them."""
        return self.inner.resolve_condition(condition, noise)

    @property
    def volume(self) -> float:
        """Return what a density of y lacks to one of x, in nats."""
        return self.domain.dimensions * self.domain.values.log_volume

    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Tensor:
        """Draw x in data units; on levels, those in whose bins y lies.

        Raises:
            RanAway: Some samples are not numbers, or lie far beyond the data.
        """
        noise = noise or Noise.fresh(n, next(self.parameters()).device)
        y = self.inner.draw(n, condition=condition, noise=noise)
        return self.domain.values.quantise(sound(y))


class GradualDensity(DomainDensity):
    """One whose draws can be looked at on the way."""

    def path(
        self,
        n: int,
        *,
        frames: int,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Sequence[Tensor]:
        """Return about `frames` states from noise to `sample`'s examples, in data units."""
        noise = noise or Noise.fresh(n, next(self.parameters()).device)
        assert isinstance(self.inner, Gradual)
        states = self.inner.path(n, frames=frames, condition=condition, noise=noise)
        return [self.domain.values.quantise(sound(y)) for y in states]


class OnReals(DomainDensity):
    """A continuous density of real-valued data.

    Arguments:
        inner: The density of standardised values.
        domain: Where the data lie.
    """

    def loss(self, batch: Examples) -> Loss:
        """Return the mean cost."""
        assert batch.noise is not None
        y = self.domain.values.scale(batch.x)
        costs, terms = self.inner.cost(y, condition=batch.condition, noise=batch.noise[:])
        return Loss(costs.mean(), terms)

    def log_prob(self, x: Tensor, *, condition: Condition | None = None) -> Float[Tensor, " B"]:
        """Return ln p(x) in nats, about the data as they lie in the file."""
        y = self.domain.values.scale(x)
        return self.inner.log_density(y, condition=condition) + self.volume


class OnLevels(DomainDensity):
    """A continuous density of data on levels or with columns in cells, through a dequantiser.

    Arguments:
        inner: The density of dequantised values.
        domain: Where the data lie.
        dequantiser: Spreads levels over their bins; uniform if none is given.
    """

    def __init__(
        self, inner: Continuous, domain: Domain, dequantiser: Dequantiser | None = None
    ) -> None:
        super().__init__(inner, domain)
        self.dequantiser = dequantiser or UniformDequantiser()

    def loss(self, batch: Examples) -> Loss:
        """Return the mean cost, with that of the dequantiser."""
        assert batch.noise is not None
        noise = batch.noise[:]
        y, log_q = self.spread(batch.x, noise)
        costs, terms = self.inner.cost(y, condition=batch.condition, noise=noise)
        return Loss((costs + log_q).mean(), terms)

    def spread(self, x: Tensor, noise: Noise) -> tuple[Tensor, Float[Tensor, " B"]]:
        """Return the y of x + u, which of levels is 2 (x + u) / L - 1, and ln q(u|x).

        Columns have their own way (`Columns.dequantised`).
        """
        assert not isinstance(self.domain.values, Real)
        if isinstance(self.domain.values, Columns):
            return self.domain.values.dequantised(x, noise)
        u, log_q = self.dequantiser(x, noise)
        return self.domain.values.in_bin(x, u), log_q

    def bound(
        self,
        x: Tensor,
        *,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Float[Tensor, " B"]:
        """Return ln p(y) - ln q(u|x) + ln of the bins' volume for one u, in nats per example."""
        noise = noise or Noise.fresh(len(x), x.device)
        return self.domain.at_most_certain(self.log_weight(x, condition, noise))

    def log_weight(self, x: Tensor, condition: Condition | None, noise: Noise) -> Tensor:
        """Return ln w of one u, [B], where w has the mean P(x)."""
        y, log_q = self.spread(x, noise)
        return self.inner.log_density(y, condition=condition, noise=noise) - log_q + self.volume


class GradualOnReals(GradualDensity, OnReals):
    """Real-valued data whose draws can be looked at on the way."""


class GradualOnLevels(GradualDensity, OnLevels):
    """Data on levels whose draws can be looked at on the way."""


class Tightened(OnLevels):
    """One whose inner density is exact, so that more draws of u tighten the bound.

    An estimate with noise of its own would make ln mean exp of it exceed ln p.
    """

    def importance_bound(
        self,
        x: Tensor,
        k: int,
        *,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Float[Tensor, " B"]:
        """Return the bound with k draws of u, in nats per example."""
        noise = noise or Noise.fresh(len(x), x.device)
        log_weights = [self.log_weight(x, condition, noise) for _ in range(k)]
        return self.domain.at_most_certain(torch.stack(log_weights).logsumexp(0) - math.log(k))


def dequantised_density(
    inner: Continuous, domain: Domain, dequantiser: Dequantiser | None = None
) -> OnReals | OnLevels:
    """Put a density over a domain: exact on reals, a bound where some values lie in bins."""
    gradual = isinstance(inner, Gradual)
    if not domain.values.binned:
        return (GradualOnReals if gradual else OnReals)(inner, domain)
    if inner.likelihood_by == "exact":
        return Tightened(inner, domain, dequantiser)
    return (GradualOnLevels if gradual else OnLevels)(inner, domain, dequantiser)


def sound(y: Tensor) -> Tensor:
    """Return standardised samples, or refuse them: one that ran away is none, however it looks.

    Raises:
        RanAway: Some are not numbers, or lie far beyond the data.
    """
    bad = ~(y.abs() < FAR).flatten(1).all(1)  # not a number counts as far
    if bad.any():
        raise RanAway(
            f"{int(bad.sum())} of {len(y)} samples ran away (values beyond {FAR:g} times the "
            "data's spread, or no numbers): the model cannot be followed there. Train longer, or "
            "with a lower --lr; with a smaller --step-size where chains were walked."
        )
    return y
