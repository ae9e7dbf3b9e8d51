r"""What a decoder's numbers mean: p(x|z), about the data as they lie in the file.

    bernoulli   P(x = 1) = s(f)                                             values on two levels
    gaussian    N(x; f, c I): a density for real values,
                and for levels its integral over each level's bin           c fixed or learned
    discretised-logistic
                logistic with location m and scale s, both from the decoder,
                integrated over each level's bin                            values on levels

Of a table's columns (`core.columns`) whole numbers and categories are integrated over their cells,
and real ones have the density; the cells at a column's ends reach to infinity. Names with a
coordinate each have the softmax of `logits`.

A Bernoulli is no density of grey levels: used as one, its "likelihoods" do not sum to one and
cannot stand beside others, so it is refused there.

References:
    Auto-Encoding Variational Bayes (Kingma & Welling, 2014), appendix C
    PixelCNN++ (Salimans, Karpathy, Chen & Kingma, 2017), https://arxiv.org/abs/1701.05517
    Simple and Effective VAE Training with Calibrated Decoders (Rybkin, Daniilidis & Levine, 2021)
    The continuous Bernoulli: fixing a pervasive error in variational autoencoders
        (Loaiza-Ganem & Cunningham, 2019)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trilemma.core.domain import Columns, Domain, Levels, Real
from trilemma.core.errors import BadInput, nearest
from trilemma.core.noise import Noise
from trilemma.maths.distributions import (
    bernoulli_log_prob,
    discretised_logistic_log_prob,
    discretised_normal_log_prob,
    log_logistic,
    log_normal,
    logistic_bin_log_prob,
    normal_bin_log_prob,
    per_example,
)

__all__ = [
    "LIKELIHOODS",
    "LOGISTIC",
    "NORMAL",
    "BernoulliLikelihood",
    "Family",
    "GaussianLikelihood",
    "Likelihood",
    "Logistic",
    "columns_log_prob",
    "likelihood",
]


@dataclass(frozen=True)
class Family:
    """A location-scale family: its density, and its probability of a bin."""

    density: Callable[[Tensor, Tensor, Tensor], Tensor]
    """(y, location, ln scale) to ln p(y)."""
    in_bin: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
    """(middle less location, half-width, ln scale, lowest, highest) to ln P(bin)."""


NORMAL = Family(lambda y, mean, log_std: log_normal(y, mean, 2 * log_std), normal_bin_log_prob)
LOGISTIC = Family(log_logistic, logistic_bin_log_prob)


def columns_log_prob(
    values: Columns,
    x: Float[Tensor, "B D"],
    mean: Float[Tensor, "B W"],
    log_scale: Float[Tensor, "B W"],
    family: Family,
) -> Float[Tensor, " B"]:
    """Return ln p(x) of a table's rows, columns independent, in nats.

    Of names that have a coordinate each, P(k) is the share of the k-th among the densities of
    what stands for each of them (`logits`). What is missing has no part.

    Arguments:
        values: What the columns are.
        x: Data units.
        mean: Location of each number, scaled.
        log_scale: ln of its scale, scaled.
        family: Of each number: its density for real columns, its bins' probabilities for others.
    """
    y, total = values.scale(x).to(mean.dtype), mean.new_zeros(len(x))
    columns, at = values.numbers.to(x.device), values.number_coordinates.to(x.device)
    present, in_cells = values.present(x)[:, columns], values.in_cells(x)[columns]
    spread = values.spread(x)[columns].to(mean.dtype)
    for binned in (True, False):
        i = (in_cells == binned).nonzero()[:, 0]
        location, scale = mean[:, at[i]], log_scale[:, at[i]]
        if binned:
            lowest, highest = (end[:, columns[i]] for end in values.ends(x))
            centre, half = y[:, at[i]] - location, 0.5 / spread[i]
            log_probs = family.in_bin(centre, half, scale, lowest, highest)
        else:
            log_probs = family.density(y[:, at[i]], location, scale) - spread[i].log()
        total = total + log_probs.where(present[:, i], torch.zeros_like(log_probs)).sum(1)
    for block in values.blocks:
        part = slice(block.start, block.stop)
        log_probs = logits(mean[:, part], log_scale[:, part], family).log_softmax(1)
        total = total + log_probs.gather(1, x[:, block.column, None].long())[:, 0]
    return total


def logits(mean: Tensor, log_scale: Tensor, family: Family) -> Tensor:
    """Return ln of the density of 1 over that of -1, at each coordinate of names.

    What stands for the k-th name, 1 there and -1 elsewhere, differs from all others in these
    alone, so that the softmax of them is each name's share of the densities.
    """
    one = torch.ones_like(mean)
    return family.density(one, mean, log_scale) - family.density(-one, mean, log_scale)


def _with_names(
    values: Levels | Real | Columns, y: Tensor, scores: Tensor, noise: Noise | None = None
) -> Tensor:
    """Return coordinates, those of names replaced by scores, of which the largest counts.

    With a noise it is the largest of scores and Gumbel numbers: name k by chance, softmax(k).
    """
    if not isinstance(values, Columns) or not values.blocks:
        return y
    if noise is not None:
        uniform = noise.uniform(*y.shape[1:]).clamp(1e-12, 1 - 1e-7)
        scores = scores - (-uniform.log()).log()
    return torch.where(values.named.to(y.device), scores, y)


class Likelihood(nn.Module, ABC):
    """A distribution of x whose parameters are a decoder's output f.

    f has the data's shape with `outputs` times as many channels (coordinates, for points).
    """

    outputs: ClassVar[int] = 1
    """Numbers for each coordinate of x."""

    def __init__(self, domain: Domain) -> None:
        super().__init__()
        self.domain = domain

    @abstractmethod
    def log_prob(self, x: Float[Tensor, "B ..."], f: Float[Tensor, "B ..."]) -> Tensor:
        """Return ln p(x|f) in nats per example, [B], of x in data units."""

    @abstractmethod
    def mean(self, f: Tensor) -> Tensor:
        """Return the middle of the distribution, in data units."""

    @abstractmethod
    def draw(self, f: Tensor, noise: Noise) -> Tensor:
        """Draw x, in data units."""


class BernoulliLikelihood(Likelihood):
    """Two levels; f is the logit of the upper one."""

    def __init__(self, domain: Domain) -> None:
        super().__init__(domain)
        if not isinstance(domain.values, Levels) or domain.values.count != 2:
            kind = _describe(domain)
            choices = "discretised-logistic or gaussian" if domain.values.binned else "gaussian"
            raise BadInput(
                f"likelihood 'bernoulli' was given for {kind}, and it is a distribution of two "
                f"levels only; give --likelihood {choices}."
            )

    def log_prob(self, x: Tensor, f: Tensor) -> Tensor:
        """Return ln P(x|f), [B]."""
        return per_example(bernoulli_log_prob(x, f.float()))

    def mean(self, f: Tensor) -> Tensor:
        """Return the likelier level."""
        return self.domain.values.unscale(f.float().sign())

    def draw(self, f: Tensor, noise: Noise) -> Tensor:
        """Draw a level."""
        upper = noise.uniform(*f.shape[1:]) < f.float().sigmoid()
        return self.domain.values.unscale(2 * upper.float() - 1)


class GaussianLikelihood(Likelihood):
    """N(x; f, c I) around f in scaled units, c one number for all coordinates.

    Arguments:
        domain: Where the data lie.
        c: The variance; 0 learns it, which sets the balance between the two terms of the bound
            at C = 1 / (2 c) by maximum likelihood.
    """

    run_buffers: ClassVar[tuple[str, ...]] = ("log_c",)

    def __init__(self, domain: Domain, c: float = 0.0) -> None:
        super().__init__(domain)
        if c < 0:
            raise BadInput(
                f"a variance c of {c:g} was given; give a positive one, or 0 to learn it."
            )
        start = torch.tensor(math.log(c or 0.1))
        if c:
            self.register_buffer("log_c", start)
        else:
            self.log_c = nn.Parameter(start)

    def log_prob(self, x: Tensor, f: Tensor) -> Tensor:
        """Return ln p(x|f), [B]."""
        values, f = self.domain.values, f.float()
        log_std = (0.5 * self.log_c).expand_as(f)
        if isinstance(values, Levels):
            return per_example(discretised_normal_log_prob(x, f, log_std, values.count))
        if isinstance(values, Columns):
            return columns_log_prob(values, x, f, log_std, NORMAL)
        density = log_normal(values.scale(x), f, self.log_c)
        return per_example(density) + self.domain.dimensions * values.log_volume

    def mean(self, f: Tensor) -> Tensor:
        """Return f in data units."""
        return self.domain.values.unscale(f)

    def draw(self, f: Tensor, noise: Noise) -> Tensor:
        """Return f with noise of variance c on every coordinate, and names by their chances."""
        y = f.float() + (0.5 * self.log_c).exp() * noise.normal(*f.shape[1:])
        scores = logits(f.float(), (0.5 * self.log_c).expand_as(f), NORMAL)
        return self.domain.values.unscale(
            _with_names(self.domain.values, y, scores, noise.named("names"))
        )


class Logistic(Likelihood):
    """Levels or columns under a logistic with its own location and scale at every coordinate."""

    outputs = 2

    def __init__(self, domain: Domain) -> None:
        super().__init__(domain)
        if not domain.values.binned:
            raise BadInput(
                f"likelihood 'discretised-logistic' was given for {_describe(domain)}, and it is "
                "a distribution of levels; give --likelihood gaussian."
            )

    def log_prob(self, x: Tensor, f: Tensor) -> Tensor:
        """Return ln P(x|f), [B]; of real columns beside others the density."""
        values = self.domain.values
        mean, log_scale = self._parts(f)
        if isinstance(values, Columns):
            return columns_log_prob(values, x, mean, log_scale, LOGISTIC)
        assert isinstance(values, Levels)
        return per_example(discretised_logistic_log_prob(x, mean, log_scale, values.count))

    def mean(self, f: Tensor) -> Tensor:
        """Return the level at the location, and of names the likeliest."""
        mean, log_scale = self._parts(f)
        scores = logits(mean, log_scale, LOGISTIC)
        return self.domain.values.unscale(_with_names(self.domain.values, mean, scores))

    def draw(self, f: Tensor, noise: Noise) -> Tensor:
        """Draw a level: the logistic's inverse distribution function of a uniform number."""
        mean, log_scale = self._parts(f)
        uniform = noise.uniform(*mean.shape[1:]).clamp(1e-6, 1 - 1e-6)
        y = mean + log_scale.exp() * uniform.logit()
        scores = logits(mean, log_scale, LOGISTIC)
        return self.domain.values.unscale(
            _with_names(self.domain.values, y, scores, noise.named("names"))
        )

    def _parts(self, f: Tensor) -> tuple[Tensor, Tensor]:
        """Split f into location and log-scale, which starts at e^-2 and stays above e^-7."""
        mean, log_scale = f.float().chunk(2, dim=1)
        return mean, (log_scale - 2).clamp(-7, 3)


LIKELIHOODS: Mapping[str, type[Likelihood]] = {
    "bernoulli": BernoulliLikelihood,
    "gaussian": GaussianLikelihood,
    "discretised-logistic": Logistic,
}


def likelihood(name: str, domain: Domain, *, c: float = 0.0) -> Likelihood:
    """Make a likelihood by name.

    Arguments:
        name: One of `LIKELIHOODS`, or 'auto': bernoulli for two levels, discretised-logistic
            for more and for tables with whole numbers or categories, gaussian for real values.
        domain: Where the data lie.
        c: The Gaussian's variance in scaled units; 0 learns it.

    Raises:
        BadInput: The name is unknown or the likelihood is none of such data.
    """
    if name == "auto":
        is_binary = isinstance(domain.values, Levels) and domain.values.count == 2
        non_binary = "discretised-logistic" if domain.values.binned else "gaussian"
        name = "bernoulli" if is_binary else non_binary
    if name not in LIKELIHOODS:
        raise nearest("likelihood", name, ["auto", *LIKELIHOODS])
    return GaussianLikelihood(domain, c) if name == "gaussian" else LIKELIHOODS[name](domain)


def _describe(domain: Domain) -> str:
    values = domain.values
    if isinstance(values, Levels):
        return f"values on {values.count} levels"
    return (
        f"columns that are {', '.join(dict.fromkeys(domain.kinds))}"
        if values.binned
        else "real values"
    )
