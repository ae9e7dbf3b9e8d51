"""The variational autoencoder, of one level or several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import nn

from trilemma.core.domain import Columns, Domain
from trilemma.core.errors import BadInput
from trilemma.core.model import Model
from trilemma.data.dataset import DataSet
from trilemma.families.hierarchical import HierarchicalVae
from trilemma.families.likelihood import likelihood
from trilemma.families.vae import Vae, VaeSampling
from trilemma.networks.hierarchical import (
    ConditionalDecoder,
    ConditionalEncoder,
    ConvUp,
    VectorUp,
    conv_down,
    vector_down,
)
from trilemma.networks.layers import ConditionEmbedding
from trilemma.recipes.autoencoder import networks
from trilemma.recipes.recipe import Recipe, conditional_classes

__all__ = ["VariationalAutoencoder"]

FEW_EXAMPLES = 1500
"""Training examples for which `decay` was chosen."""
COND_WIDTH = 16
"""Width of the vector for a class."""


@dataclass(frozen=True)
class _Networks:
    """What encoder and decoder are made of, as `recipes.autoencoder.networks` reads it."""

    network: str
    channels: int
    blocks: int
    units: int
    layers: int


@dataclass(frozen=True, kw_only=True)
class VariationalAutoencoder(Recipe):
    """Trains encoder and decoder by the bound on ln p(x)."""

    name: ClassVar[str] = "vae"
    family: ClassVar[str] = "vae"
    reference: ClassVar[str] = (
        "Auto-Encoding Variational Bayes, Kingma & Welling, 2014, arXiv:1312.6114"
    )
    at_sampling: ClassVar[tuple[str, ...]] = ("draw",)

    decay: ClassVar[float] = 0.15
    """Without it the bound of 400 unseen digits falls after some 1,500 updates."""

    batch: int = 64
    """Examples an update, over all devices and accumulated parts together."""
    lr: float = 2e-3
    """Peak learning rate of AdamW."""
    latent: int = 32
    """Numbers of a code, with several levels of the coarsest; what is not needed costs nothing."""
    network: Literal["auto", "conv", "mlp"] = "auto"
    """Convolutional or fully connected; auto: conv for images of 16 pixels and more."""
    width: int = 0
    """Channels at the finest size (conv), or units of a hidden layer (mlp); 0: 32 or 128."""
    depth: int = 0
    """Residual blocks at each size (conv), or hidden layers (mlp); 0: 1 or 3."""
    levels: int = 1
    """Levels of the code; with 2 or more each is found given those above."""
    likelihood: Literal["auto", "bernoulli", "gaussian", "discretised-logistic"] = "auto"
    """p(x|z); auto: bernoulli on two levels, discretised-logistic on more and on tables with whole
    numbers or categories, gaussian on reals."""
    c: float = 0.0
    """Variance of the gaussian likelihood, data scaled to [-1, 1]; 0 learns it."""
    beta: float = 1.0
    """Weight of the KL term in the loss; the reported bound always has 1."""
    free_bits: float = 0.0
    """Nats that each unit of the code, or each level of several, may spend for nothing."""
    kl_warmup: int = 0
    """Updates over which the weight of the KL term rises to beta; 0: none."""
    conditional: bool = False
    """Whether encoder and decoder are conditioned on the class, so that --cond can name one."""
    draw: Literal["auto", "mean", "sample"] = "auto"
    """What a code is decoded to: the likelihood's middle, or a draw with its noise; auto: a draw
    for tables with whole numbers or categories, whose middle is no value among others."""

    def decay_for(self, data: DataSet) -> float:
        """Return the weight decay for a data set: in inverse proportion to its examples.

        Weights then forget what they have learned over the same number of passes through the
        data, whatever their number (Wang & Aitchison, "How to set AdamW's weight decay as you
        scale model and dataset size", 2024, arXiv:2405.13698).
        """
        return self.decay * min(1.0, FEW_EXAMPLES / len(data.train))

    def model(self, domain: Domain) -> Model:
        """Build the untrained model."""
        classes = conditional_classes(domain, self.conditional)
        if self.levels < 1:
            raise BadInput(f"levels {self.levels} was given; give 1, or more for a hierarchy.")
        distribution = likelihood(self.likelihood, domain, c=self.c)
        options: dict[str, Any] = {
            "likelihood": distribution,
            "embed": ConditionEmbedding(classes, COND_WIDTH) if classes else None,
            "beta": self.beta,
            "free_bits": self.free_bits,
            "kl_warmup": self.kl_warmup,
            "sampling": VaeSampling(self.draw_mode(domain)),
        }
        if self.levels > 1:
            return HierarchicalVae(
                *self._hierarchy(domain, distribution.outputs), domain, **options
            )
        encoder, decoder = self._pair(domain, distribution.outputs)
        return Vae(encoder, decoder, domain, self.latent, **options)

    def draw_mode(self, domain: Domain) -> str:
        """Return what a code is decoded to: 'mean' or 'sample'."""
        if self.draw != "auto":
            return self.draw
        return "sample" if isinstance(domain.values, Columns) else "mean"

    def _pair(self, domain: Domain, outputs: int) -> tuple[nn.Module, nn.Module]:
        """Return encoder and decoder of one level."""
        cond_width = COND_WIDTH if self.conditional else 0
        settings = _Networks(
            self.network,
            channels=self.width or 32,
            blocks=self.depth or 1,
            units=self.width or 128,
            layers=self.depth or 3,
        )
        codes = (2 * self.latent, self.latent + cond_width)
        encoder, decoder = networks(settings, domain, codes=codes, outputs=outputs)
        if not cond_width:
            return encoder, decoder
        return ConditionalEncoder(encoder, domain.scaled_shape, cond_width), ConditionalDecoder(
            decoder
        )

    def _hierarchy(self, domain: Domain, outputs: int) -> tuple[nn.Module, nn.Module]:
        """Return the way up and the way down of several levels."""
        cond_width = COND_WIDTH if self.conditional else 0
        shape = (outputs * domain.scaled_shape[0], *domain.scaled_shape[1:])
        large = domain.kind == "image" and min(domain.shape[1:]) >= 16
        shared: dict[str, int] = {"levels": self.levels}
        if domain.kind == "image" and (
            self.network == "conv" or (self.network == "auto" and large)
        ):
            shared |= {"width": self.width or 32, "depth": self.depth or 1}
            channels = max(1, self.latent // 8)
            up: nn.Module = ConvUp(domain.shape, self.latent, **shared)
            down = conv_down(shape, self.latent, channels=channels, condition=cond_width, **shared)
        else:
            shared |= {"width": self.width or 128, "depth": self.depth or 3}
            up = VectorUp(domain.scaled_dimensions, self.latent, **shared)
            down = vector_down(shape, self.latent, condition=cond_width, **shared)
        return (
            ConditionalEncoder(up, domain.scaled_shape, cond_width) if cond_width else up
        ), down
