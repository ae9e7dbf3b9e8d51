r"""Monotone rational-quadratic splines of [-T, T] on itself, the identity beyond.

Between the knots (x_k, y_k) and (x_{k+1}, y_{k+1}), with derivatives d_k and d_{k+1} there,

    w = x_{k+1} - x_k     h = y_{k+1} - y_k     s = h / w     t = (x - x_k) / w,   u = t (1 - t)

    y     = y_k + h (s t^2 + d_k u) / (s + (d_k + d_{k+1} - 2 s) u)
    dy/dx = s^2 (d_{k+1} t^2 + 2 s u + d_k (1 - t)^2) / (s + (d_k + d_{k+1} - 2 s) u)^2

Knots rise and derivatives are positive, so y rises with x; derivatives are 1 at both ends, so
value and derivative go on smoothly into the identity. The inverse is the root in [0, 1] of a
quadratic: with r = (y - y_k) / h,

    a t^2 + b t - s r = 0,     a = s - d_k + r (d_k + d_{k+1} - 2 s),     b = s - a,
    t = 2 s r / (b + sqrt(b^2 + 4 a s r)).

Every element is computed, those in the tails at their nearest end, and chosen afterwards: no shape
depends on the data, and no gradient meets a number that is not finite. The axis of the bins comes
first, so that what is done along it is done for many numbers side by side; and derivatives are
made positive only after those of the right bin were picked.

References:
    Neural Spline Flows (Durkan, Bekasov, Murray & Papamakarios, 2019),
        https://arxiv.org/abs/1906.04032
    Piecewise rational quadratic interpolation (Gregory & Delbourgo, 1982)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.maths.transforms import bounded

__all__ = ["LEAST", "STEEPEST", "Knots", "forward", "inverse", "knots", "through"]

LEAST = 1e-2
"""Least width and height of a bin, as a share of an even bin's."""
STEEPEST = 1e3
"""Greatest derivative at a knot; the least is one by it."""


@dataclass(frozen=True)
class Knots:
    """What a spline goes through: the ends of K bins, and its derivatives between them."""

    shares: Float[Tensor, "2 K ..."]
    """Shares of [-T, T] that the bins' widths and heights take, but for their least sizes."""
    bends: Float[Tensor, "K-1 ..."]
    """Unconstrained derivatives at the inner knots: 0 stands for 1."""
    tail: float
    """T: beyond [-T, T] the spline is the identity."""

    @property
    def points(self) -> Float[Tensor, "3 K+1 ..."]:
        """Return x and y of the knots, and the derivatives there."""
        bins = self.shares.shape[1]
        sizes = (1 - LEAST) * self.shares + LEAST / bins
        zeros = torch.zeros_like(sizes[:, :1])
        knot_positions = self.tail * (2 * torch.cat([zeros, sizes.cumsum(1)], 1) - 1)
        derivatives = torch.cat([zeros[0], self.bends, zeros[0]])
        return torch.cat([knot_positions, _derivative(derivatives)[None]])


def knots(raw: Float[Tensor, "P ..."], tail: float) -> Knots:
    """Make knots of unconstrained numbers; of zeros, those of the identity.

    Arguments:
        raw: K numbers for widths, K for heights and K - 1 for derivatives, P = 3 K - 1, on the
            first axis.
        tail: T > 0.
    """
    bins = (len(raw) + 1) // 3
    sizes, bends = raw.split([2 * bins, bins - 1])
    return Knots(sizes.unflatten(0, (2, bins)).softmax(1), bends, tail)


def through(points: Float[Tensor, "3 K+1 ..."]) -> Knots:
    """Make knots of x, y and derivatives; x, y run from -T to T, the outer derivatives are 1."""
    tail, bins = float(points[0, -1].max()), points.shape[1] - 1
    shares = (points[:2].diff(dim=1) / (2 * tail) - LEAST / bins) / (1 - LEAST)
    top = math.log(STEEPEST)
    return Knots(shares, top * torch.atanh(points[2, 1:-1].log() / top), tail)


def forward(
    x: Float[Tensor, " ..."], spline: Knots
) -> tuple[Float[Tensor, " ..."], Float[Tensor, " ..."]]:
    """Return y and ln dy/dx, elementwise.

    Arguments:
        x: Any numbers.
        spline: Knots for each of them; axes after the bins' as those of x, or such as spread over
            them.
    """
    nearest = x.clamp(-spline.tail, spline.tail)
    position = nearest / (2 * spline.tail) + 0.5
    (x0, y0), (w, h), (d0, d1) = _bin(position, spline, 0)
    value, log_derivative = _rational(((position - x0) / w).clamp(0, 1), h / w, d0, d1)
    is_inside, y = x == nearest, spline.tail * (2 * (y0 + h * value) - 1)
    return torch.where(is_inside, y, x), torch.where(is_inside, log_derivative, 0.0)


def inverse(
    y: Float[Tensor, " ..."], spline: Knots
) -> tuple[Float[Tensor, " ..."], Float[Tensor, " ..."]]:
    """Return x and ln dx/dy, elementwise: what `forward` undoes.

    Arguments:
        y: Any numbers.
        spline: Knots for each of them.
    """
    nearest = y.clamp(-spline.tail, spline.tail)
    position = nearest / (2 * spline.tail) + 0.5
    (x0, y0), (w, h), (d0, d1) = _bin(position, spline, 1)
    s, r = h / w, ((position - y0) / h).clamp(0, 1)
    a = s - d0 + r * (d0 + d1 - 2 * s)
    b = s - a
    root = (b * b + 4 * a * s * r).clamp(min=torch.finfo(b.dtype).tiny).sqrt()
    t = (2 * s * r / (b + root)).clamp(0, 1)
    is_inside, x = y == nearest, spline.tail * (2 * (x0 + w * t) - 1)
    return torch.where(is_inside, x, y), torch.where(is_inside, -_rational(t, s, d0, d1)[1], 0.0)


def _bin(
    position: Float[Tensor, " ..."], spline: Knots, axis: int
) -> tuple[Float[Tensor, "2 ..."], Float[Tensor, "2 ..."], Float[Tensor, "2 ..."]]:
    """Return start, size and derivatives of the bins of values, all in shares of [-T, T].

    Arguments:
        position: Values as shares of [-T, T].
        spline: The knots.
        axis: 0 where the values are x, 1 where they are y.
    """
    shares, bends = _broadcast(spline.shares, 2, position), _broadcast(spline.bends, 1, position)
    bins = shares.shape[1]
    with torch.no_grad():
        even = torch.arange(1, bins, dtype=position.dtype, device=position.device) * (LEAST / bins)
        ends = shares[axis].cumsum(0)[:-1] * (1 - LEAST) + even.view(-1, *[1] * position.dim())
        reached = position >= ends
        index, passed = reached.sum(0, keepdim=True), reached.to(position.dtype)
    start = (shares[:, :-1] * passed).sum(1) * (1 - LEAST) + index.to(position.dtype) * (
        LEAST / bins
    )
    size = shares.gather(1, index.expand(2, *index.shape)).squeeze(1)
    pair = torch.cat([index - 1, index])
    knot_bends = bends.gather(0, pair.clamp(0, bins - 2))
    derivatives = _derivative(torch.where((pair >= 0) & (pair < bins - 1), knot_bends, 0.0))
    return start, size * (1 - LEAST) + LEAST / bins, derivatives


def _broadcast(t: Tensor, leading: int, like: Tensor) -> Tensor:
    """Broadcast all axes of a tensor but some first ones to those of another."""
    leading_shape, trailing_shape = t.shape[:leading], t.shape[leading:]
    if trailing_shape == like.shape:
        return t
    missing = [1] * (like.dim() - len(trailing_shape))
    return t.reshape(*leading_shape, *missing, *trailing_shape).expand(*leading_shape, *like.shape)


def _derivative(bend: Tensor) -> Tensor:
    """Return a derivative between 1 / STEEPEST and STEEPEST."""
    return bounded(bend, math.log(STEEPEST)).exp()


def _rational(t: Tensor, s: Tensor, d0: Tensor, d1: Tensor) -> tuple[Tensor, Tensor]:
    """Return the share of a bin's height that is reached at t, and ln dy/dx there."""
    one_minus_t = 1 - t
    u = t * one_minus_t
    denominator = s + (d0 + d1 - 2 * s) * u
    value = t * (s * t + d0 * one_minus_t) / denominator
    derivative_numerator = d1 * (t * t) + 2 * s * u + d0 * (one_minus_t * one_minus_t)
    return value, (derivative_numerator * (s / denominator) ** 2).log()
