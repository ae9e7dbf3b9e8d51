r"""Maximum mean discrepancy: how far two sets lie apart, by a kernel.

With x_1 … x_n and y_1 … y_m,

    MMD² = mean k(x, x') + mean k(y, y') - 2 mean k(x, y)

as *V-statistic* over all pairs, i = j included, which is what is published of graphs, and which is
above zero by about (1 - mean k) (1/n + 1/m) for sets from one source; or as *U-statistic* over the
pairs i ≠ j, which has mean zero then, and so may be negative. With k(x, x) = 1 and u the mean over
pairs i ≠ j of one set,

    V = U + (1 - u_x) / n + (1 - u_y) / m

Kernels are exp(-d² / 2 σ²) of a distance d between histograms p and q, or vectors:

    emd       sum_b |P_b - Q_b| w, P and Q the sums of p and q up to bin b, w the width of a bin:
              the earth mover's distance on a line, in closed form
    tv        sum_b |p_b - q_b| / 2, the total variation; of vectors, half the sum of differences
    gaussian  |p - q|

Only `gaussian` is sure to be positive definite: of the others even a V-statistic may be negative.

References:
    | A Kernel Two-Sample Test (Gretton, Borgwardt, Rasch, Schölkopf & Smola, 2012)
    | GraphRNN (You et al., 2018), arXiv:1802.08773: emd
    | Efficient Graph Generation with Graph Recurrent Attention Networks (Liao et al., 2019),
      arXiv:1910.00760: tv
    | Evaluation Metrics for Graph Generative Models: Problems, Pitfalls, and Practical Solutions
      (O'Bray, Horn, Rieck & Borgwardt, 2022), arXiv:2106.01098: how much depends on σ and bins
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.metrics.chance import Sums, chance
from trilemma.metrics.score import Chance

__all__ = ["Gram", "Kernel", "distances", "mmd"]

Distance = Literal["emd", "tv", "gaussian"]


def distances(
    x: Float[Tensor, "N K"], y: Float[Tensor, "M L"], kind: Distance, width: float = 1.0
) -> Float[Tensor, "N M"]:
    """Return the distance of each row of x to each of y, float64.

    Arguments:
        x: Histograms that sum to one, or vectors; the shorter of x and y is filled with zeros.
        y: The same.
        kind: Which distance.
        width: Of a bin, for `emd`.

    >>> p = torch.tensor([[1.0, 0, 0]])
    >>> distances(p, p.flip(1), "emd").item(), distances(p, p.flip(1), "tv").item()
    (2.0, 1.0)
    """
    length = max(x.shape[1], y.shape[1])
    padded_x = F.pad(x.double(), (0, length - x.shape[1]))
    padded_y = padded_x if y is x else F.pad(y.double(), (0, length - y.shape[1]))
    if kind == "gaussian":
        return _apart(padded_x, padded_y, 2)
    if kind == "tv":
        return _apart(padded_x, padded_y, 1) / 2
    cumulative = padded_x.cumsum(1)
    return _apart(cumulative, cumulative if y is x else padded_y.cumsum(1), 1) * width


def _apart(x: Tensor, y: Tensor, p: int) -> Float[Tensor, "N M"]:
    """Return sum_k |x_ik - y_jk|^p to the power 1 / p; of a set with itself, each pair once."""
    if y is not x:
        return torch.cdist(x, y, p=p, compute_mode="donot_use_mm_for_euclid_dist")
    upper = x.new_zeros(len(x), len(x))
    upper_mask = torch.ones_like(upper, dtype=torch.bool).triu(1)
    upper.masked_scatter_(upper_mask, torch.pdist(x, p=p))
    return upper + upper.T


@dataclass(frozen=True)
class Kernel:
    """exp(-d² / 2 σ²)."""

    kind: Distance
    sigma: float
    width: float = 1.0

    def __call__(self, x: Float[Tensor, "N K"], y: Float[Tensor, "M L"]) -> Float[Tensor, "N M"]:
        """Return k of each row of x with each of y.

        >>> Kernel("gaussian", 1.0)(torch.zeros(1, 1), torch.zeros(1, 1)).item()
        1.0
        """
        d = distances(x, y, self.kind, self.width)
        return torch.exp(-d.square() / (2 * self.sigma**2))

    def __str__(self) -> str:
        """Name it as protocols do.

        >>> str(Kernel("emd", 0.1, 0.01))
        'emd kernel, bins 0.01 wide, sigma 0.1'
        """
        bins = f", bins {self.width:g} wide" if self.kind == "emd" else ""
        return f"{self.kind} kernel{bins}, sigma {self.sigma:g}"


@dataclass(frozen=True)
class Gram:
    """A kernel's values among samples, from samples to reference, and among the reference."""

    xx: Float[Tensor, "N N"]
    xy: Float[Tensor, "N M"]
    yy: Float[Tensor, "M M"]

    def squared(self, *, unbiased: bool = False) -> float:
        """Return MMD²; `unbiased`: as U-statistic, without the pairs of a graph with itself."""
        within_means = _mean_over_pairs(self.xx, unbiased) + _mean_over_pairs(self.yy, unbiased)
        return within_means - 2 * self.xy.mean().item()

    def chance(self, *, unbiased: bool = False) -> Chance:
        """Return the chance in MMD² over fresh rows of both sets."""
        xx, yy = (Sums.of(k, same_set=True) for k in (self.xx, self.yy))
        return chance(xx, Sums.of(self.xy), yy, unbiased=unbiased)


def _mean_over_pairs(k: Tensor, unbiased: bool) -> float:
    """Return the mean of k over pairs, or over pairs of different rows."""
    if not unbiased:
        return k.mean().item()
    return ((k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1))).item()


def mmd(
    x: Float[Tensor, "N K"],
    y: Float[Tensor, "M L"],
    kernel: Kernel,
    *,
    unbiased: bool = False,
) -> float:
    """Return MMD² between two sets.

    Arguments:
        x: One set.
        y: The other.
        kernel: By which they are compared.
        unbiased: Whether as U-statistic.

    Raises:
        BadInput: A set is empty, or has one row and a U-statistic is asked for.

    >>> x = torch.eye(3)
    >>> mmd(x, x, Kernel("tv", 1.0)), mmd(x, x.flip(1)[:2], Kernel("tv", 1.0)) > 0
    (0.0, True)
    """
    min_rows = 2 if unbiased else 1
    if min(len(x), len(y)) < min_rows:
        raise BadInput(
            f"sets of {len(x)} and {len(y)} were given, and "
            f"{'a U-statistic' if unbiased else 'a discrepancy'} wants {min_rows} or more of each."
        )
    gram = Gram(kernel(x, x), kernel(x, y), kernel(y, y))
    return gram.squared(unbiased=unbiased)
