r"""Mixtures of Gaussians with full covariances, fitted by expectation-maximisation.

    p(x) = sum_k w_k N(x; mu_k, L_k L_k^T)

    E   r_ik    = w_k N(x_i; mu_k, Sigma_k) / p(x_i)                  N_k = sum_i r_ik
    M   w_k     = (N_k + nu / K) / (N + nu)                           mu_k = sum_i r_ik x_i / N_k
        Sigma_k = (sum_i r_ik (x_i - mu_k)(x_i - mu_k)^T + nu S) / (N_k + nu)

nu examples' worth of prior keep a component from shrinking to a point: a Dirichlet prior on the
weights and an inverse Wishart prior on the covariances, whose centre S is the data's covariance
divided by K^(2/D), the share of its volume that falls to each of K components. With nu = 0 this is
maximum likelihood, and the likelihood never falls; with nu > 0 likelihood times prior never falls.
One component is the Gaussian with the data's own mean and covariance, whatever nu.

References:
    Maximum Likelihood from Incomplete Data via the EM Algorithm (Dempster, Laird & Rubin, 1977)
    Bayesian Regularization for Normal Mixture Estimation (Fraley & Raftery, 2007)
    k-means++: The Advantages of Careful Seeding (Arthur & Vassilvitskii, 2007)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trilemma.maths.distributions import LOG_TWO_PI

__all__ = ["Fit", "Gaussians", "em_step", "fit_gaussians", "spread_out"]

AT_ONCE = 4096
"""Points whose distances to all components are held at once."""


@dataclass(frozen=True)
class Gaussians:
    """A mixture of K Gaussians in D dimensions."""

    log_weights: Tensor
    """ln w, [K]."""
    means: Tensor
    """mu, [K, D]."""
    factors: Tensor
    """L, lower triangular with a positive diagonal, [K, D, D]; the covariance is L L^T."""

    def joint(self, x: Tensor) -> Tensor:
        """Return ln w_k + ln N(x; mu_k, Sigma_k), [B, K]."""
        residuals = (x[:, None] - self.means).movedim(0, -1)  # [K, D, B]
        white = torch.linalg.solve_triangular(self.factors, residuals, upper=False)
        log_det = self.factors.diagonal(dim1=1, dim2=2).log().sum(1)
        inside = x.shape[1] * LOG_TWO_PI + (white**2).sum(1).T
        return self.log_weights - log_det - 0.5 * inside

    def log_prob(self, x: Tensor) -> Tensor:
        """Return ln p(x), [B], of points [B, D]."""
        return self.joint(x).logsumexp(1)

    def at(self, which: Tensor, eps: Tensor) -> Tensor:
        """Return mu_k + L_k eps for the components `which`, [B], and normal numbers, [B, D]."""
        return self.means[which] + (self.factors[which] @ eps[:, :, None])[:, :, 0]

    def components(self, uniform: Tensor) -> Tensor:
        """Choose components by uniform numbers in [0, 1), [B]: the inverse of the weights' sum."""
        steps = self.log_weights.exp().cumsum(0)
        return torch.searchsorted(steps, uniform * steps[-1], right=True).clamp_(
            max=len(self.means) - 1
        )


@dataclass(frozen=True)
class Fit:
    """What expectation-maximisation came to."""

    gaussians: Gaussians
    log_likelihood: tuple[float, ...]
    """Mean ln p(x) of the data before each step, in nats."""


def spread_out(x: Tensor, uniform: Tensor) -> Tensor:
    """Choose K of the points [N, D] far from one another (k-means++), by K uniform numbers.

    Each is drawn with a probability in proportion to its squared distance from those before it.
    """
    chosen = [x[int(uniform[0] * len(x))]]
    distance = ((x - chosen[0]) ** 2).sum(1)
    for u in uniform[1:]:
        steps = distance.cumsum(0)
        pick = torch.searchsorted(steps, u * steps[-1], right=True).clamp(max=len(x) - 1)
        chosen.append(x[pick])
        distance = torch.minimum(distance, ((x - chosen[-1]) ** 2).sum(1))
    return torch.stack(chosen)


def em_step(x: Tensor, old: Gaussians, prior: Tensor, strength: float) -> tuple[Gaussians, Tensor]:
    """Take one step of expectation-maximisation.

    Arguments:
        x: Points, [N, D].
        old: The mixture before.
        prior: S, the covariance towards which small components are drawn, [D, D].
        strength: nu, in examples.

    Returns:
        The mixture after, and the mean log-likelihood of the mixture before.
    """
    joint = torch.cat([old.joint(part) for part in x.split(AT_ONCE)])
    log_prob = joint.logsumexp(1)
    responsibilities = (joint - log_prob[:, None]).exp()  # r, [N, K]
    return _maximise(x, responsibilities, old.means, prior, strength), log_prob.mean()


def fit_gaussians(
    x: Tensor, uniform: Tensor, *, strength: float | None = None, steps: int = 60
) -> Fit:
    """Fit a mixture of K Gaussians to points.

    Arguments:
        x: Points, [N, D]; computed in float64.
        uniform: K numbers in [0, 1) that choose the start.
        strength: nu, in examples; None means (D + 2) / 3.
        steps: Most steps; it ends before when one gains less than 1e-4 nats a point.

    Returns:
        The mixture, in x's precision, and the way there.
    """
    points, parts = x.double(), len(uniform)
    size, width = points.shape
    centred = points - points.mean(0)
    covariance = centred.T @ centred / size
    covariance = covariance + 1e-8 * covariance.diagonal().mean().clamp_min(1e-12) * torch.eye(
        width, dtype=torch.float64, device=x.device
    )
    prior = covariance / parts ** (2 / width)
    strength = (width + 2) / 3 if strength is None else strength

    starts = spread_out(points, uniform.double())
    nearest = torch.cdist(points, starts).argmin(1)
    responsibilities = torch.nn.functional.one_hot(nearest, parts).double()
    gaussians = _maximise(points, responsibilities, starts, prior, max(strength, 1.0))

    log_likelihoods: list[float] = []
    for _ in range(steps):
        gaussians, value = em_step(points, gaussians, prior, strength)
        log_likelihoods.append(float(value))
        if len(log_likelihoods) > 1 and abs(log_likelihoods[-1] - log_likelihoods[-2]) < 1e-4:
            break
    fitted = Gaussians(
        gaussians.log_weights.to(x.dtype),
        gaussians.means.to(x.dtype),
        gaussians.factors.to(x.dtype),
    )
    return Fit(fitted, tuple(log_likelihoods))


def _maximise(
    x: Tensor, share: Tensor, old_means: Tensor, prior: Tensor, strength: float
) -> Gaussians:
    """Return the mixture that is likeliest for given shares [N, K] of the points [N, D]."""
    size, parts = share.shape
    strength = max(strength, 1e-9)  # an empty component keeps a covariance
    counts = share.sum(0)
    empty = counts < 1e-9
    counts = counts.clamp_min(1e-9)
    weights = (counts + strength / parts) / (size + strength)
    means = torch.where(empty[:, None], old_means, (share.T @ x) / counts[:, None])
    factors = []
    for k in range(parts):
        residuals = x - means[k]
        scatter = (share[:, k, None] * residuals).T @ residuals
        factors.append(
            torch.linalg.cholesky((scatter + strength * prior) / (counts[k] + strength))
        )
    return Gaussians(weights.log(), means, torch.stack(factors))
