r"""The chance in a squared discrepancy of two sets, over fresh rows of both, in closed form.

With a kernel k, x_1 … x_n and y_1 … y_m,

    T = mean_{i≠j} k(x_i, x_j) + mean_{i≠j} k(y_i, y_j) - 2 mean k(x_i, y_j)

has by Hoeffding's decomposition a part that is linear in the rows and one that is quadratic,

    Var T = 4 Var f(x) / n + 4 Var g(y) / m                               linear
          + 2 s_xx² / n² + 2 s_yy² / m² + 4 s_xy² / n m                   quadratic
    f(x) = E k(x, x') - E k(x, y),    g(y) = E k(y, y') - E k(x, y)

s² being the variance of k(a, b) - E_b k - E_a k + E k. Where the sets are from one source the
linear part is zero, and what resamples find of it is chance: f of the rows at hand varies by
s_xx² / n + s_xy² / m about the true one. That is taken off. (A bootstrap leaves it in, and is √3
times too wide there.)

The linear part grows with the discrepancy itself, by a slope of about (linear part as found) /
(T with the pairs i = j), and with the skewness of f and g (`score.linear_chance`): so that an
interval is narrow below and wide above, as that of a share.

References:
    | A class of statistics with asymptotically normal distribution (Hoeffding, 1948)
    | Generative Models and Model Criticism via Optimized Maximum Mean Discrepancy (Sutherland et
      al., 2017), arXiv:1611.04488
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.metrics.score import Chance, linear_chance

__all__ = ["Sums", "chance", "discrepancy", "summed"]

ROWS = 1024
"""Rows of a matrix computed at once."""


@dataclass(frozen=True)
class Sums:
    """What is needed of the kernel's values between two sets, or within one."""

    rows: Float[Tensor, " N"]
    """Mean of each row, the pair of a point with itself left out."""
    columns: Float[Tensor, " M"]
    square: float
    """Mean of k², without the pairs of a point with itself."""
    own: float
    """Mean of k(x, x) within a set."""

    @property
    def mean(self) -> float:
        """Return the mean of k."""
        return self.rows.mean().item()

    @property
    def variance(self) -> float:
        """Return the variance of what is left of k when rows and columns are centred."""
        means = self.rows.square().mean() + self.columns.square().mean()
        return max(self.square - means.item() + self.mean**2, 0.0)

    @classmethod
    def of(cls, k: Float[Tensor, "N M"], *, same_set: bool = False) -> Sums:
        """Sum up a matrix; `same_set`: of a set with itself."""
        return summed(lambda rows: k[rows].clone(), len(k), same_set=same_set)


def summed(block: Callable[[slice], Tensor], n: int, *, same_set: bool = False) -> Sums:
    """Sum up a matrix that is computed some rows at a time.

    Arguments:
        block: Rows to the kernel's values from them to the other set, or to the whole set: a
            tensor of its own, whose diagonal is written over.
        n: Number of rows.
        same_set: Whether the other set is the same.
    """
    rows, columns, square, diagonal_mean = [], torch.zeros(()), 0.0, 0.0
    m = n
    for start in range(0, n, ROWS):
        block_values = block(slice(start, start + ROWS)).double()
        m = block_values.shape[1]
        if same_set:
            diagonal = block_values.diagonal(start)
            diagonal_mean += diagonal.sum().item() / n
            diagonal.zero_()
        rows.append(block_values.sum(1))
        columns = columns + block_values.sum(0)
        square += block_values.flatten().dot(block_values.flatten()).item()
    self_pairs = 1 if same_set else 0
    pairs_per_row, pairs_per_column = max(m - self_pairs, 1), max(n - self_pairs, 1)
    return Sums(
        torch.cat(rows) / pairs_per_row,
        columns / pairs_per_column,
        square / (n * pairs_per_row),
        diagonal_mean,
    )


def discrepancy(xx: Sums, xy: Sums, yy: Sums) -> float:
    """Return T, without bias: the pairs of a point with itself are left out."""
    return xx.mean + yy.mean - 2 * xy.mean


def chance(xx: Sums, xy: Sums, yy: Sums, *, unbiased: bool = True) -> Chance:
    """Return the variance of a squared discrepancy, and how it grows with it.

    Arguments:
        xx: Of the samples.
        xy: From samples to reference.
        yy: Of the reference.
        unbiased: Whether pairs i = j are left out of the value; else all pairs count.
    """
    n, m = len(xx.rows), len(yy.rows)
    share_x, share_y = (1.0, 1.0) if unbiased else ((n - 1) / n, (m - 1) / m)
    f, g = share_x * xx.rows - xy.rows, share_y * yy.rows - xy.columns
    if min(n, m) < 2:
        return Chance(math.inf)
    linear_variance, skew = linear_chance(2 * f, 2 * g)
    linear_bias = 4 * (
        (share_x**2 * xx.variance / n + xy.variance / m) / n
        + (share_y**2 * yy.variance / m + xy.variance / n) / m
    )
    quadratic = (
        2 * share_x**2 * xx.variance / n**2
        + 2 * share_y**2 * yy.variance / m**2
        + 4 * xy.variance / (n * m)
    )
    v_statistic = (
        xx.mean * (n - 1) / n + xx.own / n + yy.mean * (m - 1) / m + yy.own / m - 2 * xy.mean
    )
    variance_slope = skew + (linear_variance / v_statistic if v_statistic > 0 else 0.0)
    return Chance(max(linear_variance - linear_bias, 0.0) + quadratic, variance_slope)
