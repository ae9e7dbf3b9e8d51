r"""Densities, their distances, and probabilities of levels; a number for each coordinate.

    ln N(x; mu, v)          = -1/2 (ln 2 pi + ln v + (x - mu)^2 / v)
    KL(N(mu, v) || N(0, 1)) =  1/2 (mu^2 + v - ln v - 1)
    z                       =  mu + sqrt(v) eps,   eps ~ N(0, 1)         (reparameterisation)

A density is no probability of a level. For levels k = 0 … L - 1, which lie at y_k = 2 k / (L - 1)
- 1 with bins of half-width h = 1 / (L - 1), a distribution function F gives one,

    P(k) = F((y_k + h - m) / s) - F((y_k - h - m) / s),

where the lowest bin reaches to -inf and the highest to +inf, so that the sum is one. Both the
logistic and the normal F are computed as logarithms that stay exact far out in the tails. The
same of bins of any middle and half-width, such as those of a table's columns, stands in
`logistic_bin_log_prob` and `normal_bin_log_prob`.

References:
    Auto-Encoding Variational Bayes (Kingma & Welling, 2014), https://arxiv.org/abs/1312.6114
    PixelCNN++ (Salimans, Karpathy, Chen & Kingma, 2017), https://arxiv.org/abs/1701.05517
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "bernoulli_log_prob",
    "discretised_logistic_log_prob",
    "discretised_normal_log_prob",
    "kl_normal",
    "kl_normals",
    "log_logistic",
    "log_mean_exp",
    "log_normal",
    "logistic_bin_log_prob",
    "normal_bin_log_prob",
    "per_example",
    "reparameterise",
]

LOG_TWO_PI = math.log(2 * math.pi)


def per_example(x: Tensor) -> Tensor:
    """Sum over all axes but the first, [B, ...] to [B].

    >>> per_example(torch.ones(2, 3, 4)).tolist()
    [12.0, 12.0]
    """
    return x.flatten(1).sum(1)


def reparameterise(mu: Tensor, log_var: Tensor, eps: Tensor) -> Tensor:
    """Make a normal draw a smooth function of its parameters: z = mu + sigma eps."""
    return mu + (0.5 * log_var).exp() * eps


def log_normal(x: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
    """Return the log-density of a normal distribution at x, in nats."""
    return -0.5 * (LOG_TWO_PI + log_var + (x - mu) ** 2 * (-log_var).exp())


def log_logistic(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Return the log-density of a logistic distribution at x, in nats: ln s(z) s(-z) / scale.

    >>> zero = torch.zeros(())
    >>> round(log_logistic(zero, zero, zero).exp().item(), 4)
    0.25
    """
    z = (x - mean) * (-log_scale).exp()
    return functional.logsigmoid(z) + functional.logsigmoid(-z) - log_scale


def kl_normal(mu: Tensor, log_var: Tensor) -> Tensor:
    """Return KL(N(mu, e^log_var) || N(0, 1)), in nats.

    >>> kl_normal(torch.tensor(1.0), torch.tensor(0.0)).item()
    0.5
    """
    return 0.5 * (mu**2 + torch.expm1(log_var) - log_var)


def kl_normals(mu: Tensor, log_var: Tensor, other_mu: Tensor, other_log_var: Tensor) -> Tensor:
    """Return KL(N(mu, e^log_var) || N(other_mu, e^other_log_var)), in nats."""
    ratio = log_var - other_log_var
    return 0.5 * ((mu - other_mu) ** 2 * (-other_log_var).exp() + torch.expm1(ratio) - ratio)


def bernoulli_log_prob(x: Tensor, logits: Tensor) -> Tensor:
    """Return ln P(x) for x = 0 or 1, where P(1) = 1 / (1 + e^-logits)."""
    return functional.logsigmoid((2 * x.to(logits.dtype) - 1) * logits)


def discretised_logistic_log_prob(
    levels: Tensor, mean: Tensor, log_scale: Tensor, count: int
) -> Tensor:
    """Return ln P(level) under a logistic distribution cut into bins.

    Arguments:
        levels: Integers 0 … count - 1, any shape.
        mean: m, on the axis where the levels lie in [-1, 1]; it may lie beyond.
        log_scale: ln of the logistic's scale s.
        count: Number of levels L.

    Returns:
        ln P, of the levels' shape.
    """
    centre, half = _bins(levels, mean, count)
    return logistic_bin_log_prob(centre, half, log_scale, levels == 0, levels == count - 1)


def logistic_bin_log_prob(
    centre: Tensor, half: Tensor, log_scale: Tensor, lowest: Tensor, highest: Tensor
) -> Tensor:
    r"""Return ln P of a bin under a logistic distribution around 0.

    With a > b the ends of the bin in units of the scale and s the logistic function,
    s(a) - s(b) = s(a) s(-b) (1 - e^(b - a)): three logarithms, none of which cancels.

    Arguments:
        centre: Middles of the bins, less the distribution's location.
        half: Half the width of each.
        log_scale: ln of the logistic's scale s.
        lowest: Which bins reach to -inf.
        highest: Which reach to +inf.

    Returns:
        ln P, of the middles' shape.
    """
    inverse = (-log_scale).exp()
    upper, lower = (centre + half) * inverse, (centre - half) * inverse
    below_upper, above_lower = functional.logsigmoid(upper), functional.logsigmoid(-lower)
    inside = below_upper + above_lower + _log1mexp(2 * half * inverse)
    ends = torch.where(lowest, below_upper, above_lower)
    return torch.where(lowest | highest, ends, inside)


def discretised_normal_log_prob(
    levels: Tensor, mean: Tensor, log_std: Tensor, count: int
) -> Tensor:
    """Return ln P(level) under a normal distribution cut into bins.

    Arguments:
        levels: Integers 0 … count - 1, any shape.
        mean: m, on the axis where the levels lie in [-1, 1]; it may lie beyond.
        log_std: ln of the standard deviation.
        count: Number of levels L.

    Returns:
        ln P, of the levels' shape.
    """
    centre, half = _bins(levels, mean, count)
    return normal_bin_log_prob(centre, half, log_std, levels == 0, levels == count - 1)


def normal_bin_log_prob(
    centre: Tensor, half: Tensor, log_std: Tensor, lowest: Tensor, highest: Tensor
) -> Tensor:
    r"""Return ln P of a bin under a normal distribution around 0.

    A bin above the mean is reflected below it. There ln(F(a) - F(b)) = ln F(a) + ln(1 - e^(ln F(b)
    - ln F(a))), and where the bin is so narrow that this would cancel, the integral is its middle
    value times its width d, corrected to third order: d N(u) (1 + d^2 (u^2 - 1) / 24).

    Arguments:
        centre: Middles of the bins, less the distribution's mean.
        half: Half the width of each.
        log_std: ln of the standard deviation.
        lowest: Which bins reach to -inf.
        highest: Which reach to +inf.

    Returns:
        ln P, of the middles' shape.
    """
    inverse = (-log_std).exp()
    middle, width = -centre.abs() * inverse, 2 * half * inverse

    is_narrow = width * middle.abs().clamp_min(1) < 0.1
    safe_width = torch.where(is_narrow, torch.ones_like(width), width)
    log_upper = torch.special.log_ndtr(middle + safe_width / 2)
    gap = log_upper - torch.special.log_ndtr(middle - safe_width / 2)
    wide_value = log_upper + _log1mexp(gap.clamp_min(torch.finfo(gap.dtype).tiny))
    narrow_width = torch.where(is_narrow, width, torch.zeros_like(width))
    narrow_middle = torch.where(is_narrow, middle, torch.zeros_like(middle))
    narrow_value = (
        log_normal(narrow_middle, torch.zeros_like(narrow_middle), torch.zeros_like(narrow_middle))
        + width.log()
        + torch.log1p(narrow_width**2 * (narrow_middle**2 - 1) / 24)
    )
    inside = torch.where(is_narrow, narrow_value, wide_value)

    below_upper = torch.special.log_ndtr((centre + half) * inverse)
    above_lower = torch.special.log_ndtr((half - centre) * inverse)
    ends = torch.where(lowest, below_upper, above_lower)
    return torch.where(lowest | highest, ends, inside)


def log_mean_exp(x: Tensor, dim: int) -> Tensor:
    """Return ln of the mean of e^x over one axis."""
    return x.logsumexp(dim) - math.log(x.shape[dim])


def _bins(levels: Tensor, mean: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return each level's place relative to the mean, and half the width of a bin."""
    half = 1 / (count - 1)
    width = torch.tensor(half, dtype=mean.dtype, device=mean.device)
    return levels.to(mean.dtype) * (2 * half) - 1 - mean, width


def _log1mexp(d: Tensor) -> Tensor:
    """Return ln(1 - e^-d) for d > 0."""
    return (-torch.expm1(-d)).log()
