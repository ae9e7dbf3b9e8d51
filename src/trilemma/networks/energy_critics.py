r"""Critics whose score is an energy: how badly an autoencoder gives an example back.

    E(x) = mean over coordinates of (Dec(Enc(x)) - x)²

An autoencoder with a narrow code can copy only what lies near some surface of as many dimensions
as its code has numbers. Trained to make E small on data and large, up to a margin, on generated
examples, it puts that surface through the data. E is never negative, and low on data: losses for
such critics have the opposite sign of the others (`maths.adversarial`, ebgan).

An untrained one gives everything back as nearly zero: at first blank grey has the least energy
of all images, and data get below it only with training.

Images are coded by the convolutions of `networks.convnets` to 64 numbers. Points need a code of
fewer numbers than they have coordinates, or the copy is perfect everywhere and E tells nothing:
half as many, rounded down. So a point in the plane is given back from its place on one curve. A
perceptron bends a curve slowly: the decoder gets cosines and sines of the place beside the
place itself, which leaves data among several clusters a smaller share of the energy of noise.

A conditional critic adds the vector of the class to the code, between Enc and Dec, so
that an example of another class than it is said to be is given back badly.

Reference:
    Energy-based Generative Adversarial Network (Zhao, Mathieu & LeCun, 2017), arXiv:1609.03126.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trilemma.core.batch import Condition
from trilemma.core.errors import BadInput
from trilemma.networks.adversarial import refuse_small
from trilemma.networks.convnets import Decoder, Encoder
from trilemma.networks.layers import MLP, ConditionEmbedding, Waves

__all__ = ["ImageReconstructor", "PointReconstructor"]

WAVES = 8
"""Frequencies at which cosines and sines of a point's code enter its decoder."""
LOW, HIGH = 0.5, 8.0
"""The lowest and the highest of these."""

EnergyAndCodes = tuple[Float[Tensor, " B"], Float[Tensor, "B F"]]


class Reconstructor(nn.Module):
    """An autoencoder as a critic.

    Arguments:
        encoder: Examples [B, *shape] to codes [B, F].
        decoder: Codes [B, F] to examples.
        code: F.
        classes: How many classes it is conditioned on; with 0 a condition is ignored.
    """

    score: ClassVar[str] = "energy"
    """What the scores are: energies, never negative, low on data."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, code: int, classes: int) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.embed = ConditionEmbedding(classes, code) if classes else None
        if self.embed is not None:
            nn.init.zeros_(self.embed.table.weight)

    def forward(
        self, x: Float[Tensor, "B ..."], condition: Condition | None = None
    ) -> Float[Tensor, " B"]:
        """Return energies [B], as of examples of their classes."""
        return self.energy_and_codes(x, condition)[0]

    def energy_and_codes(
        self, x: Float[Tensor, "B ..."], condition: Condition | None = None
    ) -> EnergyAndCodes:
        """Return energies [B], float32 at least, and codes [B, F] as the encoder gives them."""
        codes = self.encoder(x)
        decoder_input = codes if self.embed is None else codes + self.embed(condition, len(x))
        reconstruction = self.decoder(decoder_input)
        dtype = torch.promote_types(x.dtype, torch.float32)
        gap = reconstruction.to(dtype) - x.to(dtype)
        return gap.square().flatten(1).mean(1), codes


class ImageReconstructor(Reconstructor):
    """Gives each image the energy of an autoencoder of convolutions.

    Arguments:
        shape: (C, H, W) of an image.
        code: Numbers F of the code.
        width: Channels at the finest inner size; they double at each coarser one, up to four
            times.
        classes: How many classes it is conditioned on; with 0 a condition is ignored.

    Raises:
        BadInput: A side has fewer than 8 pixels.

    >>> critic = ImageReconstructor((1, 28, 28), width=8)
    >>> energy, codes = critic.energy_and_codes(torch.zeros(3, 1, 28, 28))
    >>> energy.shape, codes.shape
    (torch.Size([3]), torch.Size([3, 64]))
    """

    def __init__(
        self, shape: tuple[int, int, int], *, code: int = 64, width: int = 32, classes: int = 0
    ) -> None:
        refuse_small(shape)
        encoder = Encoder(shape, code, width=width)
        super().__init__(encoder, Decoder(code, shape, width=width), code, classes)


class PointReconstructor(Reconstructor):
    """Gives each point the energy of an autoencoder of perceptrons, in float32 throughout.

    A code of one number would hardly tell places apart in bfloat16, and networks so small are no
    slower without.

    Arguments:
        shape: (D,), of a point.
        code: Numbers F of the code, fewer than D; 0: half as many as D, rounded down.
        width: Units of a hidden layer.
        depth: Hidden layers of the encoder, and of the decoder.
        classes: How many classes it is conditioned on; with 0 a condition is ignored.

    Raises:
        BadInput: The code is not narrower than the point.

    >>> energy, codes = PointReconstructor((2,), width=8).energy_and_codes(torch.zeros(3, 2))
    >>> energy.shape, codes.shape
    (torch.Size([3]), torch.Size([3, 1]))
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        code: int = 0,
        width: int = 128,
        depth: int = 3,
        classes: int = 0,
    ) -> None:
        dimensions = shape[0]
        code = code or dimensions // 2
        if not 0 < code < dimensions:
            raise BadInput(
                f"points of {dimensions} coordinates were given to a critic that gives them back "
                f"from a code of {code or 1}, and wants a code of fewer numbers than coordinates, "
                "or it copies anything; take another loss than ebgan, or points of 2 coordinates "
                "or more."
            )
        encoder = Exact(MLP(dimensions, code, width=width, depth=depth))
        waves = Waves(code, WAVES, low=LOW, high=HIGH)
        decoder = nn.Sequential(waves, MLP(waves.outputs, dimensions, width=width, depth=depth))
        super().__init__(encoder, Exact(decoder), code, classes)


class Exact(nn.Module):
    """A network in float32 at least, also where others compute in bfloat16."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Float[Tensor, "B N"]) -> Float[Tensor, "B M"]:
        """Return what the network gives."""
        with torch.autocast(x.device.type, enabled=False):
            return self.inner(x.to(torch.promote_types(x.dtype, torch.float32)))
