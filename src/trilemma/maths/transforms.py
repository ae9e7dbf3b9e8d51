r"""Invertible maps and what they do to volume: the arithmetic of normalizing flows.

If z = f(y) is invertible, a density of z gives one of y,

    ln p(y) = ln p(f(y)) + ln |det dz/dy|,

and the logarithms of a chain's determinants add. The maps here have triangular Jacobians:

    affine coupling   z_a = y_a,  z_b = y_b e^s(y_a) + t(y_a)        ln|det| = sum s
    1x1 convolution   z = W y at each place, W = P L (U + diag s)    ln|det| = H W sum ln|s|
    squeeze           2 x 2 pixels become 4 channels                 ln|det| = 0
    logit             z = ln(p / (1 - p)), p = a + (1 - 2 a)(y + 1)/2
    Gaussianisation   z = Phi^-1(F(y)), F a distribution function with linear pieces

P is a permutation, L is lower triangular with ones on its diagonal, U is strictly upper
triangular. The scale is kept between -c and c by s = c tanh(r / c), so that no number of steps can
make a layer collapse or blow up.

References:
    Density estimation using Real NVP (Dinh, Sohl-Dickstein & Bengio, 2017), arXiv:1605.08803
    Glow (Kingma & Dhariwal, 2018), https://arxiv.org/abs/1807.03039
    Gaussianization (Chen & Gopinath, 2000)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "Bijection",
    "affine",
    "affine_inverse",
    "bounded",
    "exact",
    "logit",
    "logit_inverse",
    "lu_factors",
    "lu_inverse",
    "lu_log_det",
    "lu_matrix",
    "piecewise",
    "piecewise_inverse",
    "squeeze",
    "unsqueeze",
]


class Bijection(nn.Module, ABC):
    """An invertible map of examples, [B, ...], that knows how it changes volume.

    A subclass with layers inside also says its `depth` and its `round_trip`; one whose start
    depends on data also says its `start`. A map of an image may give z in any shape of as many
    numbers; its inverse takes that shape.
    """

    @abstractmethod
    def forward(
        self, y: Tensor, cond: Tensor | None = None
    ) -> tuple[Float[Tensor, "B ..."], Float[Tensor, " B"]]:
        """Return z and ln|det dz/dy|, both in float32 or better.

        Arguments:
            y: Examples, [B, ...].
            cond: What the map is conditioned on, e.g. class embeddings, [B, E].
        """

    @abstractmethod
    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Float[Tensor, "B ..."]:
        """Return the y of which `forward` makes z."""

    @property
    def depth(self) -> int:
        """Return the number of layers."""
        return 1

    def round_trip(self, y: Tensor, depth: int, cond: Tensor | None = None) -> Tensor:
        """Return y after the first `depth` layers and back through their inverses."""
        return self.inverse(self(y, cond)[0], cond) if depth else y

    def start(self, y: Tensor, cond: Tensor | None = None) -> Tensor:
        """Set what is to start from data, and return z; most maps set nothing."""
        return self(y, cond)[0]


def exact(x: Tensor) -> Tensor:
    """Return float32 for half precision, and wider numbers as they are."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def bounded(raw: Tensor, bound: float) -> Tensor:
    """Return c tanh(r / c): like r near 0, and never beyond ±c.

    >>> bounded(torch.tensor([0.01, 100.0]), 2.0).round(decimals=4).tolist()
    [0.009999999776482582, 2.0]
    """
    return bound * torch.tanh(exact(raw) / bound)


def affine(
    y: Float[Tensor, "B ..."], shift: Tensor, log_scale: Tensor
) -> tuple[Float[Tensor, "B ..."], Float[Tensor, " B"]]:
    """Return y e^s + t and its ln|det|, shift and log-scale of y's shape."""
    return y * log_scale.exp() + shift, log_scale.flatten(1).sum(1)


def affine_inverse(z: Tensor, shift: Tensor, log_scale: Tensor) -> Tensor:
    """Undo `affine`."""
    return (z - shift) * (-log_scale).exp()


def lu_factors(w: Float[Tensor, "C C"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return P, L, U and s with w = P L (U + diag s); L and U only hold their own triangles."""
    p, lower, upper = torch.linalg.lu(w)
    return p, lower.tril(-1), upper.triu(1), upper.diagonal().clone()


def lu_matrix(p: Tensor, lower: Tensor, upper: Tensor, s: Tensor) -> Float[Tensor, "C C"]:
    """Return P (L + I)(U + diag s); what stands in the other triangles is not looked at."""
    one = torch.eye(len(s), dtype=s.dtype, device=s.device)
    return p @ (lower.tril(-1) + one) @ (upper.triu(1) + torch.diag(s))


def lu_inverse(p: Tensor, lower: Tensor, upper: Tensor, s: Tensor) -> Float[Tensor, "C C"]:
    """Return the inverse of `lu_matrix` by two triangular solves."""
    one = torch.eye(len(s), dtype=s.dtype, device=s.device)
    half = torch.linalg.solve_triangular(
        lower.tril(-1) + one, p.T, upper=False, unitriangular=True
    )
    return torch.linalg.solve_triangular(upper.triu(1) + torch.diag(s), half, upper=True)


def lu_log_det(log_s: Tensor, position_count: int = 1) -> Float[Tensor, ""]:
    """Return ln|det| of a matrix applied at each position, sum ln|s| times their number."""
    return position_count * log_s.sum()


def squeeze(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
    """Make each 2 x 2 pixels four channels.

    >>> squeeze(torch.arange(4.0).view(1, 1, 2, 2)).flatten().tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    return functional.pixel_unshuffle(x, 2)


def unsqueeze(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
    """Undo `squeeze`."""
    return functional.pixel_shuffle(x, 2)


def logit(y: Tensor, alpha: float) -> tuple[Tensor, Float[Tensor, " B"]]:
    """Return ln(p / (1 - p)) for p = a + (1 - 2 a)(y + 1)/2, and its ln|det|.

    Values a little beyond [-1, 1], at most by 2 a / (1 - 2 a), still have a finite logit.
    """
    inner = 1 - 2 * alpha
    p = alpha + inner * (y + 1) / 2
    log_p, log_rest = p.log(), (-p).log1p()
    log_det = math.log(inner / 2) - log_p - log_rest
    return log_p - log_rest, log_det.flatten(1).sum(1)


def logit_inverse(z: Tensor, alpha: float) -> Tensor:
    """Undo `logit`."""
    return (torch.sigmoid(z) - alpha) * (2 / (1 - 2 * alpha)) - 1


def piecewise(
    y: Float[Tensor, "B C ..."], weights: Float[Tensor, "C K"]
) -> tuple[Float[Tensor, "B C ..."], Float[Tensor, "B C ..."]]:
    """Return F(y) and ln dF/dy for a distribution on [-1, 1] that is even within each of K bins.

    Arguments:
        y: Values; those beyond [-1, 1] are taken for the end.
        weights: Share of each bin, a row for each channel, of sum one.
    """
    bins = weights.shape[1]
    position = (y.clamp(-1, 1) + 1) * (bins / 2)
    k = position.detach().floor().clamp_(0, bins - 1)
    cdf_below = weights.cumsum(1) - weights
    weight, cdf_start = _of_channel(weights, k), _of_channel(cdf_below, k)
    return cdf_start + weight * (position - k), weight.log() + math.log(bins / 2)


def piecewise_inverse(
    p: Float[Tensor, "B C ..."], weights: Float[Tensor, "C K"]
) -> Float[Tensor, "B C ..."]:
    """Undo `piecewise`, p in [0, 1]."""
    bins = weights.shape[1]
    cdf = weights.cumsum(1)
    flat = p.transpose(0, 1).flatten(1)
    k = torch.searchsorted(cdf, flat.contiguous()).clamp_(max=bins - 1)
    weight = weights.gather(1, k)
    fraction = ((flat - (cdf.gather(1, k) - weight)) / weight).clamp(0, 1)
    y = (k + fraction) * (2 / bins) - 1
    return y.unflatten(1, (p.shape[0], *p.shape[2:])).transpose(0, 1)


def _of_channel(table: Float[Tensor, "C K"], k: Tensor) -> Tensor:
    """Look up each channel's k in its own row of a table."""
    rows, bins = table.shape
    offset = torch.arange(rows, device=k.device).view(-1, *[1] * (k.dim() - 2)) * bins
    return functional.embedding(k.long() + offset, table.reshape(-1, 1)).squeeze(-1)
