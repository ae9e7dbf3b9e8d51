"""The autoencoder, with a density fitted to its codes so that it can be drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Protocol, Self

from torch import Tensor, nn

from trilemma.core.domain import Domain
from trilemma.core.model import Model, Stage
from trilemma.core.noise import Noise, mix
from trilemma.core.sampling import evaluation_mode
from trilemma.data.dataset import DataSet, Split
from trilemma.data.stream import ExampleStream
from trilemma.families.autoencoder import Autoencoder
from trilemma.families.mixture import Mixture
from trilemma.maths.latent_space import codes
from trilemma.networks.convnets import Decoder, Encoder
from trilemma.networks.layers import MLP
from trilemma.recipes.recipe import Recipe

__all__ = ["Autoencoding"]

FITTED = 5000
"""Codes from which the mixture starts; the gradient then goes on with all of them."""


@dataclass(frozen=True, kw_only=True)
class Autoencoding(Recipe):
    """Trains encoder and decoder for most of the budget, then the density of the codes."""

    name: ClassVar[str] = "autoencoder"
    family: ClassVar[str] = "autoencoder"
    reference: ClassVar[str] = (
        "Reducing the Dimensionality of Data with Neural Networks, Hinton & Salakhutdinov, 2006; "
        "From Variational to Deterministic Autoencoders, Ghosh et al., 2020, arXiv:1903.12436"
    )

    latent: int = 16
    """Numbers of a code; no more are taken than the data have coordinates."""
    network: Literal["auto", "conv", "mlp"] = "auto"
    """Convolutional or fully connected; auto: conv for images of 16 pixels and more."""
    channels: int = 32
    """Channels at the finest size (conv); they grow to four times as many."""
    blocks: int = 1
    """Residual blocks at each size (conv)."""
    units: int = 256
    """Units of a hidden layer (mlp)."""
    layers: int = 3
    """Hidden layers of the encoder and of the decoder (mlp)."""
    prior: Literal["gaussian", "mixture"] = "mixture"
    """What is fitted to the codes."""
    components: int = 32
    """Gaussians of the mixture; at most one for every four training examples."""

    def fitted(self, rows: int, domain: Domain, *, processes: int = 1) -> tuple[Self, str]:
        """Choose a batch no larger than the data, and the mixture no finer."""
        recipe, note = super().fitted(rows, domain, processes=processes)
        max_components = max(1, rows // 4)
        if self.prior == "gaussian" or self.components <= max_components:
            return recipe, note
        message = (
            f"a mixture of {self.components} Gaussians has {max_components} now, for {rows} "
            "examples."
        )
        return replace(recipe, components=max_components), f"{note} {message}".strip()

    def model(self, domain: Domain) -> Model:
        """Build the untrained model."""
        latent = min(self.latent, domain.scaled_dimensions)
        encoder, decoder = networks(self, domain, codes=(latent, latent), outputs=1)
        parts = 1 if self.prior == "gaussian" else self.components
        return Autoencoder(encoder, decoder, domain, latent, prior=Mixture(latent, parts))

    def stages(self, model: Model, data: DataSet, seed: int) -> Sequence[Stage]:
        """Return the training of encoder and decoder, and that of the density of their codes."""
        assert isinstance(model, Autoencoder)

        def train_codes() -> Tensor:
            return _codes(model, data.train.x)

        def fit() -> None:
            source = Noise.of(mix(seed, "codes"), len(data.train))
            rows = source.uniform().argsort()[:FITTED]
            z = _codes(model, data.train.x[rows])
            model.prior.fit(z, Noise.of(mix(seed, "mixture"), 1))

        return [
            Stage(
                "autoencoder",
                model,
                lambda: ExampleStream(data.train, self.batch, seed),
                share=0.9,
            ),
            Stage(
                "codes",
                model.prior,
                lambda: ExampleStream(Split(train_codes()), self.batch, mix(seed, "codes")),
                share=0.1,
                prepare=fit,
            ),
        ]


class Networks(Protocol):
    """The fields that say what encoder and decoder are made of."""

    @property
    def network(self) -> str: ...
    @property
    def channels(self) -> int: ...
    @property
    def blocks(self) -> int: ...
    @property
    def units(self) -> int: ...
    @property
    def layers(self) -> int: ...


def networks(
    settings: Networks, domain: Domain, *, codes: tuple[int, int], outputs: int
) -> tuple[nn.Module, nn.Module]:
    """Build an encoder and a decoder for data of a domain; points are given perceptrons.

    Arguments:
        settings: What they are made of.
        domain: Where the data lie.
        codes: Numbers that the encoder gives, and that the decoder takes.
        outputs: Numbers that the decoder gives for each coordinate.
    """
    shape = (outputs * domain.scaled_shape[0], *domain.scaled_shape[1:])
    large = domain.kind == "image" and min(domain.shape[1:]) >= 16
    if domain.kind == "image" and (
        settings.network == "conv" or (settings.network == "auto" and large)
    ):
        size = {"width": settings.channels, "depth": settings.blocks}
        return Encoder(domain.shape, codes[0], **size), Decoder(codes[1], shape, **size)
    size = {"width": settings.units, "depth": settings.layers}
    return MLP(domain.scaled_dimensions, codes[0], **size), MLP(codes[1], shape, **size)


def _codes(model: Autoencoder, x: Tensor) -> Tensor:
    """Return the codes of resident examples, on the CPU, whatever mode the model is in."""
    device = next(model.parameters()).device
    with evaluation_mode(model):
        return codes(lambda part: model.encode(part.to(device)).cpu(), x)
