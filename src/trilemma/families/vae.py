r"""The variational autoencoder.

    p(z) = N(0, I)     p(x|z) = a likelihood around f(z)     q(z|x) = N(g(x), diag h(x))

    ln p(x) = KL(q(z|x) || p(z|x)) + ELBO
    ELBO    = E_q[ln p(x|z)] - KL(q(z|x) || p(z))  <=  ln p(x)
    loss    = -E_q[ln p(x|z)] + beta KL(q(z|x) || p(z)),     z = mu + sigma eps

With p(x|z) = N(f(z), c I) the first term is C ||x - f(z)||^2 and a constant, C = 1 / (2 c). The
loss takes one z for each example; `bound` reports the same estimate with beta = 1, and
`importance_bound` the one that nears ln p(x) as k grows,

    E[ln 1/k sum_i p(x, z_i) / q(z_i|x)]  <=  ln p(x).

References:
    Auto-Encoding Variational Bayes (Kingma & Welling, 2014), https://arxiv.org/abs/1312.6114
    beta-VAE (Higgins et al., 2017)
    Importance Weighted Autoencoders (Burda, Grosse & Salakhutdinov, 2016),
        https://arxiv.org/abs/1509.00519
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.model import Loss, Model, Objective
from trilemma.core.noise import Noise
from trilemma.families.likelihood import Likelihood
from trilemma.maths.distributions import kl_normal, log_normal, per_example, reparameterise

__all__ = ["Posterior", "Vae"]


@dataclass(frozen=True)
class Posterior:
    """q(z|x) = N(mu, diag e^log_var), for a batch."""

    mu: Float[Tensor, "B J"]
    log_var: Float[Tensor, "B J"]

    def at(self, eps: Float[Tensor, "B J"]) -> Float[Tensor, "B J"]:
        """Return the z of standard normal numbers."""
        return reparameterise(self.mu, self.log_var, eps)

    def kl(self) -> Float[Tensor, " B"]:
        """Return KL(q(z|x) || N(0, I)) in nats."""
        return per_example(kl_normal(self.mu, self.log_var))


class Vae(Model[Examples, Tensor]):
    """An encoder and a decoder, trained together by the bound on ln p(x).

    Arguments:
        encoder: [B, *shape] scaled to [B, 2 J]: mu and ln sigma^2.
        decoder: [B, J] to what the likelihood wants, [B, outputs * C, ...].
        domain: Where the data lie.
        latent: J, numbers of a code.
        likelihood: What the decoder's numbers mean.
        beta: Weight of KL in the loss; 1 for the bound itself.
        draw: What `sample` gives for a z: 'mean', the likelihood's middle, or 'sample', a draw
            from it. Only the second is a draw from the model's p(x), and it carries the
            likelihood's noise, independent from pixel to pixel; pictures are shown without.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        domain: Domain,
        latent: int,
        *,
        likelihood: Likelihood,
        beta: float = 1.0,
        draw: str = "mean",
    ) -> None:
        super().__init__()
        if draw not in ("mean", "sample"):
            raise BadInput(f"draw '{draw}' was given; give 'mean' or 'sample'.")
        if beta < 0:
            raise BadInput(f"beta {beta:g} was given; give 0 or more, 1 for the bound itself.")
        self.encoder, self.decoder, self.likelihood = encoder, decoder, likelihood
        self.domain, self.latent, self.beta, self.draw = domain, latent, beta, draw

    def objectives(self) -> Sequence[Objective[Examples]]:
        """Return the one player."""
        return [Objective("vae", self.loss, list(self.parameters()))]

    def loss(self, batch: Examples) -> Loss:
        """Return -E_q[ln p(x|z)] + beta KL, in nats per example."""
        assert batch.noise is not None
        noise = batch.noise[:]  # from its start: the same batch gives the same loss again
        reconstruction, kl = (term.mean() for term in self.terms(batch.x, noise))
        value = -reconstruction + self.beta * kl
        return Loss(
            value,
            {
                "distortion": -reconstruction.detach(),
                "kl": kl.detach(),
                "bound": (reconstruction - kl).detach(),
            },
        )

    def terms(
        self, x: Float[Tensor, "B ..."], noise: Noise
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """Return ln p(x|z) for one z of each example, and KL(q(z|x) || p(z))."""
        posterior = self.posterior(x)
        z = posterior.at(noise.normal(self.latent))
        return self.likelihood.log_prob(x, self.decoder(z)), posterior.kl()

    def bound(
        self,
        x: Float[Tensor, "B ..."],
        *,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Float[Tensor, " B"]:
        """Return an unbiased estimate of the ELBO by one z, in nats per example."""
        reconstruction, kl = self.terms(x, noise or Noise.fresh(len(x), x.device))
        return reconstruction - kl

    def importance_bound(
        self,
        x: Float[Tensor, "B ..."],
        k: int,
        *,
        noise: Noise | None = None,
        at_once: int = 16,
    ) -> Float[Tensor, " B"]:
        """Return the importance-weighted bound with k draws of z, in nats per example.

        Arguments:
            x: Data units, [B, ...].
            k: Draws; the bound rises with it towards ln p(x).
            noise: B rows.
            at_once: Draws decoded together.
        """
        noise = noise or Noise.fresh(len(x), x.device)
        posterior, weights = self.posterior(x), []
        for done in range(0, k, at_once):
            parts = min(at_once, k - done)
            eps = noise.normal(parts, self.latent)
            mu, log_var = posterior.mu[:, None], posterior.log_var[:, None]
            z = reparameterise(mu, log_var, eps)
            f = self.decoder(z.flatten(0, 1))
            log_x = self.likelihood.log_prob(x.repeat_interleave(parts, 0), f)
            nought = torch.zeros_like(z)
            log_ratio = log_normal(z, nought, nought) - log_normal(z, mu, log_var)
            weights.append(log_x.view(len(x), parts) + log_ratio.sum(2))
        return torch.cat(weights, 1).logsumexp(1) - math.log(k)

    def posterior(self, x: Float[Tensor, "B ..."]) -> Posterior:
        """Return q(z|x) of data in data units."""
        mu, log_var = self.encoder(self.domain.values.scale(x)).float().chunk(2, dim=1)
        return Posterior(mu, log_var)

    def encode(
        self, x: Float[Tensor, "B ..."], *, noise: Noise | None = None
    ) -> Float[Tensor, "B J"]:
        """Return mu, or with noise a draw from q(z|x)."""
        posterior = self.posterior(x)
        return posterior.mu if noise is None else posterior.at(noise.normal(self.latent))

    def decode(self, z: Float[Tensor, "B J"]) -> Tensor:
        """Return the middle of p(x|z), in data units."""
        return self.likelihood.mean(self.decoder(z))

    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Tensor:
        """Draw z from N(0, I), and x by `draw`, in data units."""
        noise = noise or Noise.fresh(n, next(self.parameters()).device)
        f = self.decoder(noise.normal(self.latent))
        return self.likelihood.mean(f) if self.draw == "mean" else self.likelihood.draw(f, noise)
