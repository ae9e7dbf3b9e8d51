r"""Distributions of one pixel's level, made of a network's numbers f; drawn by one uniform number.

    bernoulli     P(1) = s(f)                                                  2 levels
    categorical   P(k) = e^{f_k} / sum_j e^{f_j}                               any levels
    mixture       P(k) = sum_j pi_j P_j(k),                                    any levels
                  P_j  a logistic (m_j, s_j) cut into the levels' bins

Every one sums to one over the levels 0 … count - 1 and gives nothing to any other. A mixture
needs 3 K numbers whatever the count, and knows that neighbouring levels are alike; a categorical
needs a number for each level, and is free.

Draws invert a distribution function of u ~ U[0, 1). The mixture's u first falls into one of the
intervals of length pi_j, and its place within that interval is uniform again: it is carried
through the inverse of logistic j, m_j + s_j ln(u / (1 - u)), to the nearest level.

References:
    Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner & Kavukcuoglu, 2016),
        https://arxiv.org/abs/1601.06759
    PixelCNN++ (Salimans, Karpathy, Chen & Kingma, 2017), https://arxiv.org/abs/1701.05517
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from trilemma.maths.distributions import bernoulli_log_prob, discretised_logistic_log_prob

__all__ = ["Bernoulli", "Categorical", "Head", "LogisticMixture"]

SMALLEST = -7.0
"""Least ln s of a logistic, an eighth of a bin of 256 levels; it keeps the gradients finite."""


class Head(ABC):
    """A distribution of levels 0 … `count` - 1 whose parameters are the last axis of f."""

    count: int
    """Levels."""

    @property
    @abstractmethod
    def parameters(self) -> int:
        """Return P, the numbers that one distribution takes."""

    @abstractmethod
    def log_prob(self, levels: Tensor, f: Tensor) -> Tensor:
        """Return ln P(level), of the levels' shape.

        Arguments:
            levels: Integers 0 … count - 1, [...]; others are the caller's to refuse.
            f: [..., P].
        """

    @abstractmethod
    def draw(self, u: Tensor, f: Tensor) -> Tensor:
        """Return a level for each uniform number, uint8.

        Arguments:
            u: In [0, 1), [...].
            f: [..., P].
        """


@dataclass(frozen=True)
class Bernoulli(Head):
    """Two levels; f is the logit of the upper one.

    >>> Bernoulli().draw(torch.tensor([0.4, 0.6]), torch.zeros(2, 1)).tolist()
    [0, 1]
    """

    count: int = 2

    @property
    def parameters(self) -> int:
        """Return 1."""
        return 1

    def log_prob(self, levels: Tensor, f: Tensor) -> Tensor:
        """Return ln P(level)."""
        return bernoulli_log_prob(levels, f[..., 0])

    def draw(self, u: Tensor, f: Tensor) -> Tensor:
        """Return 1 where u lies above P(0)."""
        return (u >= torch.sigmoid(-f[..., 0])).to(torch.uint8)


@dataclass(frozen=True)
class Categorical(Head):
    """A free probability for every level; f holds their logits.

    >>> f = torch.tensor([0.2, 0.5, 0.3]).log().expand(3, 3)
    >>> Categorical(3).draw(torch.tensor([0.1, 0.6, 0.9]), f).tolist()
    [0, 1, 2]
    """

    count: int

    @property
    def parameters(self) -> int:
        """Return a number for each level."""
        return self.count

    def log_prob(self, levels: Tensor, f: Tensor) -> Tensor:
        """Return ln P(level)."""
        chosen = f.gather(-1, levels.long().unsqueeze(-1)).squeeze(-1)
        return chosen - f.logsumexp(-1)

    def draw(self, u: Tensor, f: Tensor) -> Tensor:
        """Return the number of levels whose cumulative probability u has passed."""
        below = f.softmax(-1).cumsum(-1)[..., :-1]
        return (u.unsqueeze(-1) >= below).sum(-1).to(torch.uint8)


@dataclass(frozen=True)
class LogisticMixture(Head):
    """K logistics, cut into bins; f holds K logits, K places, K log-scales.

    Where f is zero the places are spread evenly over [-1, 1] and the scales are e^-2, so that the
    logistics differ from the start.
    """

    count: int
    components: int

    @property
    def parameters(self) -> int:
        """Return 3 K."""
        return 3 * self.components

    def log_prob(self, levels: Tensor, f: Tensor) -> Tensor:
        """Return ln sum_j pi_j P_j(level)."""
        logits, mean, log_scale = self._parts(f)
        log_probs = discretised_logistic_log_prob(
            levels.unsqueeze(-1), mean, log_scale, self.count
        )
        return (logits.log_softmax(-1) + log_probs).logsumexp(-1)

    def draw(self, u: Tensor, f: Tensor) -> Tensor:
        """Return the level at the inverse of the logistic into whose interval u falls."""
        logits, mean, log_scale = self._parts(f)
        weights, u = logits.softmax(-1), u.unsqueeze(-1)
        below = weights.cumsum(-1) - weights
        chosen = (u >= below[..., 1:]).sum(-1, keepdim=True)
        limits = torch.finfo(weights.dtype)
        component_u = (u - below.gather(-1, chosen)) / weights.gather(-1, chosen).clamp_min(
            limits.tiny
        )
        standard_draw = component_u.clamp(limits.eps, 1 - limits.eps).logit()
        y = mean.gather(-1, chosen) + log_scale.gather(-1, chosen).exp() * standard_draw
        top = self.count - 1
        return ((y.squeeze(-1) + 1) * (top / 2)).round_().clamp_(0, top).to(torch.uint8)

    def _parts(self, f: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, places and log-scales, [..., K] each."""
        logits, mean, log_scale = f.chunk(3, dim=-1)
        offsets = torch.linspace(-1, 1, self.components, dtype=f.dtype, device=f.device)
        return logits, mean + offsets, (log_scale - 2).clamp(SMALLEST, 3)
