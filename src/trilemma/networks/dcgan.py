r"""DCGAN: the convolutional pair with which GANs first drew well.

    generator   z -> linear -> [batch norm, relu, 4 x 4 transposed convolution of stride 2] … tanh
    critic      x -> [4 x 4 convolution of stride 2, batch norm, leaky relu] … -> linear -> score

Sizes are halved until a side has fewer than eight pixels, 28 → 14 → 7 and 64 → … → 4, and channels
doubled at each, to eight times `width` at most. The generator goes the same way back, rounding up
and cropping; the critic rounds down, and its overlapping windows see every pixel all the same.
The critic's first layer and the generator's last are not normalised; weights start at
N(0, 0.02²), those of batch norm at N(1, 0.02²). Classes enter as in `networks.adversarial`.

Batch norm makes an example's score depend on its batch while training, so that the gradient of one
example's score is not what a penalty supposes; and it undoes what a bound on the weights is for.
A critic under such a penalty is built with `normalise=False`. In evaluation both networks use
running means and variances instead: those are the training weights' own, gathered as they moved,
also where averaged weights are put in their place.

References:
    Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks
    (Radford, Metz & Chintala, 2016), arXiv:1511.06434.
    Improved Training of Wasserstein GANs (Gulrajani et al., 2017), arXiv:1704.00028: no batch norm
    in a critic whose gradient is penalised.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from trilemma.core.batch import Condition
from trilemma.networks.adversarial import ConditionedNoise, Projection, refuse_small

__all__ = ["DcganCritic", "DcganGenerator"]

NEGATIVE_SLOPE = 0.2
"""Of the critic's leaky rectifier, for negative numbers."""
DEVIATION = 0.02
"""Standard deviation of weights at the start."""
COARSE = 8
"""A side with fewer pixels than this is not halved again."""
MOST = 8
"""How many times as many channels as `width` there are at most."""


class DcganGenerator(nn.Module):
    """Makes images in [-1, 1] from noise by transposed convolutions with batch norm.

    Arguments:
        latent: Width Z of the noise.
        shape: (C, H, W) of an image.
        width: Channels at half the image's size; they double at each coarser one.
        classes: How many classes it is conditioned on; with 0 a condition is ignored.

    Raises:
        BadInput: A side has fewer than 8 pixels.

    >>> import torch
    >>> DcganGenerator(16, (1, 28, 28), width=8)(torch.zeros(3, 16)).shape
    torch.Size([3, 1, 28, 28])
    """

    def __init__(
        self, latent: int, shape: tuple[int, int, int], *, width: int = 64, classes: int = 0
    ) -> None:
        super().__init__()
        refuse_small(shape)
        self.shape = shape
        self.sizes = [shape[1:]]
        while min(self.sizes[0]) >= COARSE:
            self.sizes.insert(0, (-(-self.sizes[0][0] // 2), -(-self.sizes[0][1] // 2)))
        channels = _channels(width, len(self.sizes) - 1)[::-1]
        self.base = (channels[0], *self.sizes[0])
        self.conditioned_noise = ConditionedNoise(latent, classes)
        self.first = nn.Linear(self.conditioned_noise.outputs, math.prod(self.base), bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in channels)
        self.layers = nn.ModuleList(
            nn.ConvTranspose2d(in_channels, out_channels, 4, 2, 1, bias=False)
            for in_channels, out_channels in pairwise(channels)
        )
        self.layers.append(nn.ConvTranspose2d(channels[-1], shape[0], 4, 2, 1))
        _start(self)

    def forward(
        self, z: Float[Tensor, "B Z"], condition: Condition | None = None
    ) -> Float[Tensor, "B C H W"]:
        """Return images [B, C, H, W] for standard normal noise and the classes that are wanted."""
        h = self.first(self.conditioned_noise(z, condition)).unflatten(1, self.base)
        for norm, layer, (height, width) in zip(
            self.norms, self.layers, self.sizes[1:], strict=True
        ):
            h = layer(F.relu(norm(h)))[..., :height, :width]
        return h.tanh()


class DcganCritic(nn.Module):
    """Gives each image one number, by convolutions of stride 2.

    Arguments:
        shape: (C, H, W) of an image.
        width: Channels at half the image's size; they double at each coarser one.
        classes: How many classes it is conditioned on; with 0 a condition is ignored.
        normalise: Whether there is batch norm. In training mode a score then depends on the
            batch; leave it out where the gradient of a single example's score is wanted.

    Raises:
        BadInput: A side has fewer than 8 pixels.

    >>> import torch
    >>> DcganCritic((1, 28, 28), width=8)(torch.zeros(3, 1, 28, 28)).shape
    torch.Size([3])
    """

    score: ClassVar[str] = "number"
    """What the scores are: numbers of either sign, high on data."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        width: int = 64,
        classes: int = 0,
        normalise: bool = True,
    ) -> None:
        super().__init__()
        refuse_small(shape)
        sides, halvings = shape[1:], 0
        while min(sides) >= COARSE:
            sides, halvings = (sides[0] // 2, sides[1] // 2), halvings + 1
        channels = _channels(width, halvings)
        layers: list[nn.Module] = []
        for in_channels, out_channels in pairwise((shape[0], *channels)):
            is_normed = normalise and bool(layers)
            layers.append(nn.Conv2d(in_channels, out_channels, 4, 2, 1, bias=not is_normed))
            layers.extend([nn.BatchNorm2d(out_channels)] if is_normed else [])
            layers.append(nn.LeakyReLU(NEGATIVE_SLOPE))
        self.layers = nn.Sequential(*layers)
        self.projection = Projection(classes)
        self.last = nn.Linear(channels[-1] * math.prod(sides), self.projection.inputs)
        _start(self)

    def forward(
        self, x: Float[Tensor, "B C H W"], condition: Condition | None = None
    ) -> Float[Tensor, " B"]:
        """Return scores [B] for images near [-1, 1], as images of their classes."""
        return self.projection(self.last(self.layers(x).flatten(1)), condition)


def _channels(width: int, levels: int) -> list[int]:
    """Return the channels at each halved size, finest first."""
    return [width * min(2**level, MOST) for level in range(levels)]


def _start(network: nn.Module) -> None:
    """Start weights at N(0, 0.02²), those of batch norm at N(1, 0.02²), and biases at 0."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.BatchNorm2d):
            nn.init.normal_(layer.weight, float(isinstance(layer, nn.BatchNorm2d)), DEVIATION)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
