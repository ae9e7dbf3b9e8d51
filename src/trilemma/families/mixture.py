r"""A mixture of Gaussians as a generative model of points or of another model's codes.

    p(x) = sum_k w_k N(x; mu_k, L_k L_k^T)

Fitted at once by expectation-maximisation (`fit`), and trained further, or instead, by gradient:
loss = -ln p(x). Points are standardised first, coordinate by coordinate, by the location and the
scale that `fit` records, so that one learning rate suits all; densities are about the points as
they were given. Before it is fitted it is the standard normal distribution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trilemma.core.batch import Condition, Examples
from trilemma.core.errors import BadInput
from trilemma.core.model import Loss, Model, Objective
from trilemma.core.noise import Noise
from trilemma.maths.mixtures import Fit, Gaussians, fit_gaussians

__all__ = ["Mixture"]

FLOOR = 1e-3
"""Least standard deviation of a component given the coordinates before, in standardised units."""

ENOUGH = 8_192
"""Points that expectation-maximisation looks at, at most; the gradient sees them all."""


class Mixture(Model[Examples, Tensor]):
    """K Gaussians with full covariances in D dimensions.

    Arguments:
        dimensions: D.
        components: K; 1 for a Gaussian.
    """

    location: Tensor
    scale: Tensor

    def __init__(self, dimensions: int, components: int = 1) -> None:
        super().__init__()
        if components < 1:
            raise BadInput(f"{components} components were given; a mixture takes one or more.")
        self.dimensions, self.components = dimensions, components
        self.register_buffer("location", torch.zeros(dimensions))
        self.register_buffer("scale", torch.ones(dimensions))
        self.logits = nn.Parameter(torch.zeros(components))
        self.means = nn.Parameter(torch.zeros(components, dimensions))
        self.below = nn.Parameter(torch.zeros(components, dimensions, dimensions))
        self.log_diagonal = nn.Parameter(torch.ones(components, dimensions).sub_(FLOOR).log_())

    def gaussians(self) -> Gaussians:
        """Return the mixture of standardised points."""
        diagonal = self.log_diagonal.exp() + FLOOR
        return Gaussians(
            self.logits.log_softmax(0),
            self.means,
            self.below.tril(-1) + torch.diag_embed(diagonal),
        )

    @torch.no_grad()
    def fit(self, x: Float[Tensor, "N D"], noise: Noise) -> Fit:
        """Take the mixture to which expectation-maximisation comes.

        Arguments:
            x: Points, more than there are components; of very many, every n-th is taken.
            noise: Its first row chooses the start.
        """
        if len(x) <= self.components:
            raise BadInput(
                f"{len(x)} points were given for a mixture of {self.components} Gaussians; "
                "give more data, or fewer --components."
            )
        x = x[:: -(-len(x) // ENOUGH)]
        spread = x.double().std(0, correction=0)
        self.location.copy_(x.double().mean(0))
        self.scale.copy_(spread.clamp_min(1e-4 * spread.max().clamp_min(1e-6)))
        uniform = noise.uniform(self.components)[0].to(x.device)
        fitted = fit_gaussians((x - self.location) / self.scale, uniform)
        diagonal = fitted.gaussians.factors.diagonal(dim1=1, dim2=2)
        self.logits.copy_(fitted.gaussians.log_weights)
        self.means.copy_(fitted.gaussians.means)
        self.below.copy_(fitted.gaussians.factors.tril(-1))
        self.log_diagonal.copy_((diagonal - FLOOR).clamp_min(1e-6).log())
        return fitted

    def objectives(self) -> Sequence[Objective[Examples]]:
        """Return the one player."""
        return [Objective("codes", self.loss, list(self.parameters()))]

    def loss(self, batch: Examples) -> Loss:
        """Return -ln p(x) in nats per example."""
        value = -self.log_prob(batch.x).mean()
        return Loss(value, {"nats": value.detach()})

    def log_prob(
        self, x: Float[Tensor, "B D"], *, condition: Condition | None = None
    ) -> Float[Tensor, " B"]:
        """Return ln p(x), [B]."""
        with torch.autocast(x.device.type, enabled=False):
            standard = (x.to(self.scale.dtype) - self.location) / self.scale
            return self.gaussians().log_prob(standard) - self.scale.log().sum()

    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Float[Tensor, "n D"]:
        """Draw points."""
        noise = noise or Noise.fresh(n, self.means.device)
        gaussians = self.gaussians()
        components = gaussians.components(noise.uniform())
        return gaussians.at(components, noise.normal(self.dimensions)) * self.scale + self.location
