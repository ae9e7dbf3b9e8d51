r"""Gaussian processes: what values are likely where a function was not asked.

A function f with prior mean m and covariance s^2 k(x, x'), asked at x_1 … x_N with errors of
variance s^2 noise, has the posterior

    mean(x)       m + k(x, X) (K + noise I)^-1 (y - m)
    cov(x, x')    s^2 (k(x, x') - k(x, X) (K + noise I)^-1 k(X, x'))

with m and s the mean and the standard deviation of the y. Thompson sampling draws functions of the
posterior and takes the place where each is largest: where much is to be found, by what is
likely, and by what is not known.

    tanimoto      k(a, b) = <a, b> / (<a, a> + <b, b> - <a, b>), a covariance of sets of bits

References:
    | Gaussian Processes for Machine Learning (Rasmussen & Williams, 2006), algorithm 2.1
    | On the likelihood that one unknown probability exceeds another (Thompson, 1933)
    | Graph kernels for chemical informatics (Ralaivola, Swamidass, Saigo & Baldi, 2005), for
      Tanimoto's
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["Posterior", "tanimoto", "thompson"]

JITTER = 1e-6
"""Added to the diagonal of a covariance that is to be drawn from."""


def tanimoto(a: Float[Tensor, "M D"], b: Float[Tensor, "N D"]) -> Float[Tensor, "M N"]:
    """Return Tanimoto's similarity of rows of bits; 1 of two rows without any.

    Bits are counted without error in any precision; shares are in double precision, for rounded
    ones would be no covariance.

    >>> tanimoto(torch.tensor([[1.0, 1, 0]]), torch.tensor([[1.0, 0, 1], [1, 1, 0]])).tolist()
    [[0.3333333333333333, 1.0]]
    """
    intersection = (a @ b.T).double()
    union = (a * a).sum(1).double()[:, None] + (b * b).sum(1).double() - intersection
    return torch.where(union > 0, intersection / union.clamp_min(1e-12), 1.0)


class Posterior:
    """What is known of a function after it was asked.

    Arguments:
        k: Covariances of what was asked, without s^2.
        y: What was answered.
        noise: Variance of the errors, as a share of s^2.
    """

    def __init__(self, k: Float[Tensor, "N N"], y: Float[Tensor, " N"], noise: float) -> None:
        self.mean_of_all, self.scale = y.mean(), y.std(correction=0).clamp_min(1e-12)
        eye = torch.eye(len(k), dtype=k.dtype, device=k.device)
        self._root = torch.linalg.cholesky(k + noise * eye)
        standard = (y - self.mean_of_all) / self.scale
        self._weights = torch.cholesky_solve(standard[:, None], self._root)[:, 0]

    def mean(self, across: Float[Tensor, "M N"]) -> Float[Tensor, " M"]:
        """Return the mean where it was not asked.

        Arguments:
            across: Covariances with what was asked.
        """
        return self.mean_of_all + self.scale * (across @ self._weights)

    def covariance(
        self, across: Float[Tensor, "M N"], own: Float[Tensor, "M M"]
    ) -> Float[Tensor, "M M"]:
        """Return the covariance where it was not asked.

        Arguments:
            across: Covariances with what was asked.
            own: Covariances among themselves.
        """
        whitened = torch.linalg.solve_triangular(self._root, across.T, upper=False)
        return self.scale**2 * (own - whitened.T @ whitened)

    def draws(
        self,
        across: Float[Tensor, "M N"],
        own: Float[Tensor, "M M"],
        eps: Float[Tensor, "S M"],
    ) -> Float[Tensor, "S M"]:
        """Return functions drawn from the posterior.

        Arguments:
            across: Covariances with what was asked.
            own: Covariances among themselves.
            eps: Standard normal numbers.
        """
        covariance = self.covariance(across, own) / self.scale**2
        covariance.diagonal().add_(JITTER)
        root = torch.linalg.cholesky(covariance)
        return self.mean(across) + self.scale * (eps @ root.T)


def thompson(draws: Float[Tensor, "S M"]) -> Int[Tensor, " S"]:
    """Return for each drawn function where it is largest, among what none before has taken.

    >>> thompson(torch.tensor([[1.0, 3.0, 2.0], [0.0, 9.0, 1.0]])).tolist()
    [1, 2]
    """
    draws = draws.clone()
    selected = []
    for i in range(min(draws.shape)):
        best = draws[i].argmax()
        selected.append(best)
        draws[:, best] = -torch.inf
    return torch.stack(selected) if selected else torch.zeros(0, dtype=torch.int64)
