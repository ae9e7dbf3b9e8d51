r"""Networks of a hierarchical VAE, and what tells encoder and decoder a condition vector.

    up     x -> e_S at the finest size … e_1 at the coarsest, and the top's (d_0, r_0) from e_1
    down   h = W (u_0, c);   then at each level l below
           (m, ln s^2) = prior(h)     (d, r) = posterior(h, e)     u = d + e^(r/2) eps
           h <- h + E (m + s u)       and blocks, doubling, blocks, … to the image

The top is a vector, as the code of a VAE of one level; the levels below are maps of a few channels
at the sizes where convolutional networks work (`convnets.sizes`), or vectors again for
perceptrons. The last layers of prior and posterior start at zero, so that both start as N(0, I),
and E starts small, so that the noise of the many units does not drown the image.

References:
    Ladder Variational Autoencoders (Sønderby, Raiko, Maaløe, Sønderby & Winther, 2016)
    Very Deep VAEs Generalize Autoregressive Models (Child, 2021)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from trilemma.maths.distributions import reparameterise
from trilemma.networks.convnets import ConvBlock, sizes
from trilemma.networks.layers import MLP, zero_init

__all__ = [
    "ConditionalDecoder",
    "ConditionalEncoder",
    "ConvUp",
    "Down",
    "Level",
    "VectorUp",
    "conv_down",
    "size_indices",
    "vector_down",
]

SMALL = 0.1
"""What the first weights of a level's way into h are multiplied with."""


def size_indices(levels: int, count: int) -> list[int]:
    """Return the index of the size of each level below the top, the coarsest, 0, first.

    >>> size_indices(2, 3), size_indices(3, 3), size_indices(4, 3), size_indices(6, 3)
    ([1], [1, 2], [0, 1, 2], [0, 1, 1, 2, 2])
    """
    return [(i + 1) * count // levels for i in range(levels - 1)]


class Level(nn.Module):
    """A level below the top: its prior, its posterior, and its way into the state.

    Arguments:
        prior: State to m and ln s^2, stacked along the channels.
        posterior: State and finding, stacked, to d and r, stacked.
        enter: Latent to what is added to the state.
        shape: Of the latent.
    """

    def __init__(
        self, prior: nn.Module, posterior: nn.Module, enter: nn.Module, shape: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.prior, self.posterior, self.enter, self.shape = prior, posterior, enter, shape

    def forward(
        self, h: Tensor, eps: Float[Tensor, "B J"], finding: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the next state, and u, d and r, [B, J] each; without a finding u is eps."""
        u = eps.unflatten(1, self.shape)
        shift = log_var = torch.zeros_like(u)
        if finding is not None:
            posterior_params = self.posterior(torch.cat([h, finding], 1)).float()
            shift, log_var = posterior_params.chunk(2, 1)
            u = reparameterise(shift, log_var, u)
        mean, log_spread = self.prior(h).float().chunk(2, 1)
        h = h + self.enter(reparameterise(mean, log_spread, u))
        return h, u.flatten(1), shift.flatten(1), log_var.flatten(1)


class Down(nn.Module):
    """The way down: the top, and then by turns some levels and a part that makes the state finer.

    Arguments:
        latent: Numbers of the top.
        first: Top's latent, and condition vector if any, [B, J + E], to the first state.
        levels: Those below the top.
        rests: What follows after some of the levels; the last gives the image.
        stops: How many of the levels come before each of `rests`.
    """

    sizes: tuple[int, ...]

    def __init__(
        self,
        latent: int,
        first: nn.Module,
        levels: Sequence[Level],
        rests: Sequence[nn.Module],
        stops: Sequence[int],
    ) -> None:
        super().__init__()
        self.first, self.levels = first, nn.ModuleList(levels)
        self.rests, self.stops = nn.ModuleList(rests), tuple(stops)
        self.sizes = (latent, *(math.prod(level.shape) for level in levels))

    def forward(
        self, u: Float[Tensor, "B J"], cond: Float[Tensor, "B E"] | None = None
    ) -> Float[Tensor, "B ..."]:
        """Return what the code u decodes to."""
        return self._descend(u.split(self.sizes, 1), None, cond)[0]

    def infer(
        self,
        eps: Float[Tensor, "B J"],
        features: Sequence[Tensor],
        cond: Float[Tensor, "B E"] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what u = d + e^(r / 2) eps decodes to, and u, d and r, [B, J] each.

        Arguments:
            eps: Standard normal numbers.
            features: What the way up has found: the top's d and r, then a tensor a level.
            cond: Condition vectors.
        """
        return self._descend(eps.split(self.sizes, 1), features, cond)

    def _descend(
        self, eps: Sequence[Tensor], features: Sequence[Tensor] | None, cond: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        u = eps[0]
        shift = log_var = torch.zeros_like(u)
        if features is not None:
            shift, log_var = features[0].float().chunk(2, 1)
            u = reparameterise(shift, log_var, u)
        h = self.first(u if cond is None else torch.cat([u, cond], 1))
        level_latents, first_level = [(u, shift, log_var)], 0
        for stage, stop in zip(self.rests, self.stops, strict=True):
            for level in range(first_level, stop):
                finding = None if features is None else features[level + 1]
                h, *parts = self.levels[level](h, eps[level + 1], finding)
                level_latents.append((parts[0], parts[1], parts[2]))
            h, first_level = stage(h), stop
        u, shift, log_var = (torch.cat(parts, 1) for parts in zip(*level_latents, strict=True))
        return h, u, shift, log_var


class ConvUp(nn.Module):
    """An image to the top's numbers and a map for each level below, as `convnets.Encoder`.

    Arguments:
        shape: (C, H, W) of the image, sides of 8 or more.
        latent: Numbers of the top's code.
        levels: Levels in all.
        width: Channels at the finest size; they double at each coarser one, up to four times.
        depth: Residual blocks at each size.
    """

    def __init__(
        self, shape: tuple[int, ...], latent: int, *, levels: int, width: int = 32, depth: int = 1
    ) -> None:
        super().__init__()
        channels, *size = shape
        resolutions = sizes(size[0], size[1])
        widths = _widths(width, len(resolutions))
        stride = 1 if resolutions[0] == tuple(size) else 2
        self.stem = nn.Conv2d(channels, width, 3, stride, padding=1)
        self.stages = nn.ModuleList(
            nn.Sequential(*(ConvBlock(block_width) for _ in range(depth)))
            for block_width in widths
        )
        self.joints = nn.ModuleList(
            nn.Conv2d(fine, coarse, 3, 2, padding=1) for fine, coarse in pairwise(widths)
        )
        self.last = zero_init(nn.Linear(widths[-1] * math.prod(resolutions[-1]), 2 * latent))
        self.size_indices, self.activation = size_indices(levels, len(resolutions)), nn.SiLU()

    def forward(self, x: Float[Tensor, "B C H W"]) -> tuple[Tensor, ...]:
        """Return the top's d and r, [B, 2 J], then a map for each level, from the top down."""
        maps = [self.stages[0](self.stem(x))]
        for joint, stage in zip(self.joints, list(self.stages)[1:], strict=True):
            maps.append(stage(joint(maps[-1])))
        top = self.last(self.activation(maps[-1]).flatten(1))
        return top, *(maps[-1 - index] for index in self.size_indices)


class _Finer(nn.Module):
    """Blocks at one size, then a convolution at the next."""

    def __init__(self, stage: nn.Module, joint: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.stage, self.joint, self.size = stage, joint, size

    def forward(self, h: Tensor) -> Tensor:
        return functional.interpolate(self.joint(self.stage(h)), size=self.size, mode="nearest")


class _Image(nn.Module):
    """Blocks at the finest size, then the image."""

    def __init__(self, stage: nn.Module, last: nn.Module, shuffle: int, size: list[int]) -> None:
        super().__init__()
        self.stage, self.last, self.shuffle, self.size = stage, last, shuffle, size
        self.activation = nn.SiLU()

    def forward(self, h: Tensor) -> Tensor:
        h = self.last(self.activation(self.stage(h)))
        if self.shuffle > 1:
            h = functional.pixel_shuffle(h, self.shuffle)[:, :, : self.size[0], : self.size[1]]
        return h


def conv_down(
    shape: tuple[int, ...],
    latent: int,
    *,
    levels: int,
    channels: int,
    width: int = 32,
    depth: int = 1,
    condition: int = 0,
) -> Down:
    """Build the way from a code to an image, as `convnets.Decoder` with levels in it.

    Arguments:
        shape: (C, H, W) of what it gives, sides of 8 or more.
        latent: Numbers of the top's code.
        levels: Levels in all.
        channels: Of the latent maps below the top.
        width: Channels at the finest size; they double at each coarser one, up to four times.
        depth: Residual blocks at each size.
        condition: Width of the condition vector; 0 for none.
    """
    image_channels, *size = shape
    resolutions = sizes(size[0], size[1])[::-1]
    widths = _widths(width, len(resolutions))[::-1]
    shuffle = 1 if resolutions[-1] == tuple(size) else 2
    count = widths[0] * math.prod(resolutions[0])
    first = nn.Sequential(
        nn.Linear(latent + condition, count), nn.Unflatten(1, (widths[0], *resolutions[0]))
    )
    level_sizes = size_indices(levels, len(resolutions))
    stages = [
        nn.Sequential(*(ConvBlock(block_width) for _ in range(depth))) for block_width in widths
    ]
    rests: list[nn.Module] = [
        _Finer(stages[i], nn.Conv2d(widths[i], widths[i + 1], 3, padding=1), resolutions[i + 1])
        for i in range(len(resolutions) - 1)
    ]
    last = nn.Conv2d(widths[-1], image_channels * shuffle**2, 3, padding=1)
    rests.append(_Image(stages[-1], last, shuffle, size))
    return Down(
        latent,
        first,
        [_map_level(widths[i], channels, resolutions[i]) for i in level_sizes],
        rests,
        [sum(size_index <= i for size_index in level_sizes) for i in range(len(resolutions))],
    )


class VectorUp(nn.Module):
    """Numbers of one example to the top's numbers and one vector for all levels below.

    Arguments:
        inputs: Numbers of one example; more axes than one are flattened.
        latent: Numbers of the top's code.
        levels: Levels in all.
        width: Units of a hidden layer.
        depth: Hidden layers.
    """

    def __init__(
        self, inputs: int, latent: int, *, levels: int, width: int = 128, depth: int = 3
    ) -> None:
        super().__init__()
        self.layers, self.levels = MLP(inputs, width, width=width, depth=depth), levels
        self.last, self.activation = zero_init(nn.Linear(width, 2 * latent)), nn.SiLU()

    def forward(self, x: Float[Tensor, "B ..."]) -> tuple[Tensor, ...]:
        """Return the top's d and r, [B, 2 J], then a vector for each level below."""
        hidden = self.activation(self.layers(x))
        return self.last(hidden), *([hidden] * (self.levels - 1))


class _More(nn.Module):
    """A residual layer of units."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer, self.activation = nn.Linear(width, width), nn.SiLU()

    def forward(self, h: Tensor) -> Tensor:
        return h + self.activation(self.layer(h))


def vector_down(
    outputs: tuple[int, ...],
    latent: int,
    *,
    levels: int,
    width: int = 128,
    depth: int = 3,
    condition: int = 0,
) -> Down:
    """Build the way from a code to numbers of a shape, every level a vector of `latent` numbers.

    Arguments:
        outputs: Shape of what it gives.
        latent: Numbers of each level's code.
        levels: Levels in all.
        width: Units of a hidden layer.
        depth: Hidden layers after the last level; one stands between any two.
        condition: Width of the condition vector; 0 for none.
    """
    end = MLP(width, outputs, width=width, depth=depth)
    return Down(
        latent,
        nn.Sequential(nn.Linear(latent + condition, width), nn.SiLU()),
        [_vector_level(width, latent) for _ in range(levels - 1)],
        [*(_More(width) for _ in range(levels - 1)), end],
        range(levels),
    )


class ConditionalEncoder(nn.Module):
    """A network of x conditioned on a vector: a linear map of it is added to its input.

    Arguments:
        network: Of x, [B, *shape].
        shape: Of one example.
        condition: Width of the vector.
    """

    def __init__(self, network: nn.Module, shape: tuple[int, ...], condition: int) -> None:
        super().__init__()
        self.network, self.shape = network, shape
        self.plane = nn.Linear(condition, math.prod(shape), bias=False)

    def forward(self, x: Float[Tensor, "B ..."], cond: Float[Tensor, "B E"]) -> Any:  # noqa: ANN401
        """Return what the network finds."""
        return self.network(x + self.plane(cond).unflatten(1, self.shape))


class ConditionalDecoder(nn.Module):
    """A network of a code conditioned on a vector, which is concatenated to the code.

    Arguments:
        network: Of [B, J + E].
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Float[Tensor, "B J"], cond: Float[Tensor, "B E"]) -> Tensor:
        """Return what the network makes."""
        return self.network(torch.cat([z, cond.to(z.dtype)], 1))


def _map_level(width: int, channels: int, size: tuple[int, int]) -> Level:
    """Return a level whose latent is a map."""

    def head(inputs: int) -> nn.Module:
        return nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(inputs, width, 3, padding=1),
            nn.SiLU(),
            zero_init(nn.Conv2d(width, 2 * channels, 1)),
        )

    enter = _quiet(nn.Conv2d(channels, width, 1))
    return Level(head(width), head(2 * width), enter, (channels, *size))


def _vector_level(width: int, latent: int) -> Level:
    """Return a level whose latent is a vector."""

    def head(inputs: int) -> nn.Module:
        return nn.Sequential(
            nn.Linear(inputs, width), nn.SiLU(), zero_init(nn.Linear(width, 2 * latent))
        )

    return Level(head(width), head(2 * width), _quiet(nn.Linear(latent, width)), (latent,))


@torch.no_grad()
def _quiet(layer: nn.Module) -> nn.Module:
    """Start a layer small."""
    for parameter in layer.parameters():
        parameter.mul_(SMALL)
    return layer


def _widths(width: int, levels: int) -> list[int]:
    """Return the channels of each size, from the finest to the coarsest."""
    return [width * min(2**i, 4) for i in range(levels)]
