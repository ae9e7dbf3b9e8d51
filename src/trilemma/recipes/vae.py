"""The variational autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from trilemma.core.domain import Domain
from trilemma.core.model import Model
from trilemma.families.likelihood import likelihood
from trilemma.families.vae import Vae
from trilemma.recipes.autoencoder import networks
from trilemma.recipes.recipe import Recipe

__all__ = ["VariationalAutoencoder"]


@dataclass(frozen=True, kw_only=True)
class VariationalAutoencoder(Recipe):
    """Trains encoder and decoder by the bound on ln p(x)."""

    name: ClassVar[str] = "vae"
    family: ClassVar[str] = "vae"
    reference: ClassVar[str] = (
        "Auto-Encoding Variational Bayes, Kingma & Welling, 2014, arXiv:1312.6114"
    )
    at_sampling: ClassVar[tuple[str, ...]] = ("draw",)

    decay: ClassVar[float] = 0.3
    """Without it the bound of unseen digits falls after some 1,500 updates."""

    latent: int = 16
    """Numbers of a code."""
    network: Literal["auto", "conv", "mlp"] = "auto"
    """Convolutional or fully connected; auto: conv for images of 16 pixels and more."""
    channels: int = 32
    """Channels at the finest size (conv); they grow to four times as many."""
    blocks: int = 1
    """Residual blocks at each size (conv)."""
    units: int = 128
    """Units of a hidden layer (mlp)."""
    layers: int = 3
    """Hidden layers of the encoder and of the decoder (mlp)."""
    likelihood: Literal["auto", "bernoulli", "gaussian", "discretised-logistic"] = "auto"
    """p(x|z); auto: bernoulli on two levels, discretised-logistic on more, gaussian on reals."""
    c: float = 0.0
    """Variance of the gaussian likelihood, data scaled to [-1, 1]; 0 learns it."""
    beta: float = 1.0
    """Weight of the KL term in the loss; the reported bound always has 1."""
    draw: Literal["mean", "sample"] = "mean"
    """What a code is decoded to: the likelihood's middle, or a draw with its noise."""

    def model(self, domain: Domain) -> Model:
        """Build the untrained model."""
        given = likelihood(self.likelihood, domain, c=self.c)
        encoder, decoder = networks(
            self,
            domain,
            codes=(2 * self.latent, self.latent),
            outputs=given.outputs,
        )
        return Vae(
            encoder,
            decoder,
            domain,
            self.latent,
            likelihood=given,
            beta=self.beta,
            draw=self.draw,
        )
