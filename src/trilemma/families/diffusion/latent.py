r"""Latent diffusion: what can be seen is left to an autoencoder, what there is to a diffusion.

    z = E(x) in R^{c x h x w},    y = (z - m) / s,    y_t = alpha_t y + sigma_t eps,    xhat = D(z)

Most bits of an image say what nobody looks at: an autoencoder with few codes (`first_stage`) drops
them, and a diffusion learns the distribution of the codes, which are some tens of times fewer
numbers at a quarter of the sides; so each of its steps costs as much less. Diffusion wants data
of mean 0 and variance 1, and a first stage gives codes of any scale: m and s are mean and spread
of each channel over all training data, measured once between the stages and kept in the run.

The network reads a condition y through cross-attention: places of the codes ask, tokens that a
small network tau makes of a class or a caption answer,

    softmax(Q K^T / sqrt d) V,    Q = W_Q phi(z_i),  K = W_K tau(y),  V = W_V tau(y),

and tau is trained along. The weights of the softmax say for which word each place looked.

The first stage's reconstructions are the best that the whole can give: their quality is to be
read beside that of the samples.

References:
    High-Resolution Image Synthesis with Latent Diffusion Models (Rombach, Blattmann, Lorenz,
    Esser & Ommer, 2022), arXiv:2112.10752.
    What the DAAM: Interpreting Stable Diffusion Using Cross Attention (Tang et al., 2022),
    arXiv:2210.04885: maps of words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trilemma.core.adjusting import with_adjusted_part
from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.model import Model, Objective
from trilemma.core.noise import Noise
from trilemma.families.diffusion.diffusion import Diffusion
from trilemma.families.diffusion.options import DiffusionSampling
from trilemma.families.first_stage import FirstStage

__all__ = ["ConditionalLatentDiffusion", "LatentDiffusion", "RecordedMaps", "whitening"]

SMALLEST = 1e-6
"""Spread of a channel, relative to its size, below which it counts as constant."""


def whitening(z: Float[Tensor, "N c h w"]) -> tuple[Tensor, Tensor]:
    """Return mean and spread of each channel over examples and places, [c, 1, 1] each.

    >>> mean, std = whitening(torch.tensor([0.0, 4.0]).view(2, 1, 1, 1))
    >>> mean.item(), std.item()
    (2.0, 2.0)

    Arguments:
        z: Codes of a first stage.

    Raises:
        BadInput: Codes are not finite, or a channel is constant.
    """
    if not bool(z.isfinite().all()):
        raise BadInput(
            "the first stage gives codes that are not finite; train it again with a lower --lr, "
            "or with --precision fp32."
        )
    z_double = z.double()
    mean, std = z_double.mean((0, 2, 3)), z_double.std((0, 2, 3), correction=0)
    constant = [
        i
        for i, (m, s) in enumerate(zip(mean, std, strict=True))
        if s <= SMALLEST * (m.abs() + SMALLEST)
    ]
    if constant:
        raise BadInput(
            f"the first stage gives every image the same code in {len(constant)} of {len(std)} "
            "channels, as if it was not trained; give more --steps, or fewer --code-channels."
        )
    return mean[:, None, None].to(z.dtype), std[:, None, None].to(z.dtype)


class RecordedMaps(Protocol):
    """Attention weights as they are recorded."""

    def over(self, sides: tuple[int, int]) -> Float[Tensor, "B M H W"]:
        """Return each token's weight at each place, in mean over calls and heads."""
        ...

    def clear(self) -> None:
        """Forget what was recorded."""
        ...


class LatentDiffusion(Model[Examples, Tensor]):
    """A first stage, and a diffusion over its whitened codes.

    Its own objectives are those of the first stage; `diffusion` is a model with an objective of
    its own, trained in a later stage on codes. Until the whitening is measured it changes nothing.

    Arguments:
        first_stage: Images to codes and back.
        diffusion: Over a domain of kind 'image', of the codes' shape, with real values.
        domain: Where the images lie.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, first_stage: FirstStage, diffusion: Diffusion, domain: Domain) -> None:
        super().__init__()
        if tuple(diffusion.domain.shape) != first_stage.shape:
            raise ValueError(
                f"the first stage gives codes of {first_stage.shape}, and the diffusion is over "
                f"{diffusion.domain.shape}."
            )
        self.first_stage, self.diffusion, self.domain = first_stage, diffusion, domain
        self.register_buffer("mean", torch.zeros(first_stage.shape[0], 1, 1))
        self.register_buffer("std", torch.ones(first_stage.shape[0], 1, 1))

    def objectives(self) -> Sequence[Objective[Examples]]:
        """Return the players of the first stage."""
        return self.first_stage.objectives()

    # Between images and whitened codes

    @torch.no_grad()
    def measure(self, z: Float[Tensor, "N c h w"]) -> None:
        """Take the whitening from codes of the training data.

        Raises:
            BadInput: They are not finite, or a channel is constant.
        """
        mean, std = whitening(z)
        self.mean.copy_(mean)
        self.std.copy_(std)

    def whiten(self, z: Float[Tensor, "B c h w"]) -> Float[Tensor, "B c h w"]:
        """Return y = (z - m) / s."""
        return (z - self.mean) / self.std

    def unwhiten(self, y: Float[Tensor, "B c h w"]) -> Float[Tensor, "B c h w"]:
        """Return z = m + s y."""
        return self.mean + self.std * y

    def latents(
        self, x: Float[Tensor, "B C H W"], *, noise: Noise | None = None
    ) -> Float[Tensor, "B c h w"]:
        """Return whitened codes of images in data units."""
        return self.whiten(self.first_stage.codes(x, noise=noise))

    def images(self, y: Float[Tensor, "B c h w"]) -> Float[Tensor, "B C H W"]:
        """Return images in data units of whitened codes."""
        return self.first_stage.images(self.unwhiten(y))

    @torch.no_grad()
    def encode(
        self, x: Float[Tensor, "B ..."], *, noise: Noise | None = None
    ) -> Float[Tensor, "B Z"]:
        """Return the whitened codes of the first stage, flat; without noise, their mean."""
        return self.latents(x, noise=noise).flatten(1)

    @torch.no_grad()
    def decode(self, z: Float[Tensor, "B Z"]) -> Tensor:
        """Return images in data units of flat whitened codes."""
        return self.images(z.unflatten(1, self.first_stage.shape))

    @torch.no_grad()
    def reconstruct(self, x: Tensor, *, noise: Noise | None = None) -> Tensor:
        """Return what the first stage makes of images, in data units."""
        return self.first_stage.reconstruct(x, noise=noise)

    # Sampling

    @property
    def sampling(self) -> DiffusionSampling:
        """Return the way from noise to codes."""
        return self.diffusion.sampling

    def adjusted(self, **options: Any) -> Self:  # noqa: ANN401
        """Return a view of the same weights whose diffusion is sampled with other options.

        Arguments:
            options: Fields of `DiffusionSampling`.

        Raises:
            BadInput: There is no such option, or its value makes no sense for this model.
        """
        return with_adjusted_part(self, "diffusion", options)

    def resolve_condition(self, condition: Condition | None, noise: Noise) -> Condition | None:
        """Return the condition, or for None one drawn as the data have it."""
        return self.diffusion.resolve_condition(condition, noise)

    @torch.no_grad()
    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Tensor:
        """Draw n images in data units: codes from the diffusion, then decoded.

        Arguments:
            n: How many.
            condition: What they are to be; None draws one as the training data have them.
            noise: n rows.
        """
        return self.images(self.diffusion.sample(n, condition=condition, noise=noise))

    @torch.no_grad()
    def path(
        self,
        n: int,
        *,
        frames: int,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Sequence[Tensor]:
        """Return about `frames` states from noise to `sample`'s images, decoded."""
        states = self.diffusion.path(n, frames=frames, condition=condition, noise=noise)
        return [self.images(y) for y in states]

    # What there is to be seen

    @torch.no_grad()
    def forward_path(self, x: Tensor, *, frames: int, noise: Noise) -> Sequence[Tensor]:
        """Return y_t at `frames` times from 0 to 1, evenly spaced, decoded."""
        states = self.diffusion.forward_path(self.latents(x), frames=frames, noise=noise)
        return [self.images(y) for y in states]

    @torch.no_grad()
    def estimates(
        self,
        n: int,
        *,
        frames: int,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Sequence[tuple[float, Tensor, Tensor]]:
        """Return t, y_t and E[y | y_t] at about `frames` steps of `sample`'s way, decoded."""
        trajectory = self.diffusion.estimates(n, frames=frames, condition=condition, noise=noise)
        return [(t, self.images(state), self.images(clean)) for t, state, clean in trajectory]

    def score_field(
        self, x: Tensor, t: float, *, condition: Condition | None = None
    ) -> Float[Tensor, "B ..."]:
        """Return grad ln p_t at whitened codes y_t, [B, c, h, w]."""
        return self.diffusion.score_field(x, t, condition=condition)

    # Editing

    @torch.no_grad()
    def edit(
        self,
        x: Tensor,
        strength: float,
        *,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Tensor:
        """Return x after noise on its codes up to time `strength`, and the way back (SDEdit)."""
        y = self.latents(x)
        return self.images(self.diffusion.edit(y, strength, condition=condition, noise=noise))

    @torch.no_grad()
    def between(
        self, a: Tensor, b: Tensor, count: int, *, condition: Condition | None = None
    ) -> Tensor:
        """Return [count, B, *shape] on the way from a to b, through the noise of their codes."""
        y = self.diffusion.between(self.latents(a), self.latents(b), count, condition=condition)
        return self.images(y.flatten(0, 1)).unflatten(0, (count, -1))


class ConditionalLatentDiffusion(LatentDiffusion):
    """Latent diffusion whose network reads a condition through cross-attention.

    Arguments:
        first_stage: Images to codes and back.
        diffusion: Over the codes; its network reads a condition.
        domain: Where the images lie.
        recorded: Opens a block in which a network's attention weights are recorded.
        first: First token of the context that stands for something said: before it is the start.
    """

    def __init__(
        self,
        first_stage: FirstStage,
        diffusion: Diffusion,
        domain: Domain,
        *,
        recorded: Callable[[nn.Module], AbstractContextManager[RecordedMaps]],
        first: int = 1,
    ) -> None:
        super().__init__(first_stage, diffusion, domain)
        self.recorded, self.first = recorded, first

    @torch.no_grad()
    def attention(
        self, condition: Condition, *, noise: Noise | None = None
    ) -> tuple[Tensor, Float[Tensor, "B M H W"]]:
        """Return samples and the weight of each token at each place, in mean over the network.

        What guidance compares with is not looked at. The weights of a place sum to at most 1: the
        rest goes to the token that is always there.

        Arguments:
            condition: Classes (M = 1) or captions of M words, B rows.
            noise: B rows.

        Raises:
            BadInput: Guidance is 0, so that the condition is never read.
        """
        if self.sampling.guidance == 0:
            raise BadInput("guidance 0 never reads the condition; give --guidance 1 or more.")
        attention_maps: list[Tensor] = []
        with self._record_attention(attention_maps):
            x = self.sample(len(condition), condition=condition, noise=noise)
        tokens = 1 if condition.tokens is None else condition.tokens.shape[1]
        return x, torch.stack(attention_maps).mean(0)[:, self.first : self.first + tokens]

    @contextmanager
    def _record_attention(self, attention_maps: list[Tensor]) -> Iterator[None]:
        """Collect the mean map [B, L, H, W] of each call of the network that reads a condition."""
        network, (height, width) = self.diffusion.network, self.domain.shape[1:]
        grid = tuple(self._padded(side) for side in self.first_stage.shape[1:])
        scale = height // self.first_stage.shape[1]
        with self.recorded(network) as maps:

            def record(module: nn.Module, args: tuple, kwargs: dict, output: Tensor) -> None:
                condition = kwargs.get("condition", args[2] if len(args) > 2 else None)
                if condition is not None:
                    attention_map = maps.over((grid[0] * scale, grid[1] * scale))
                    attention_maps.append(attention_map[:, :, :height, :width])
                maps.clear()

            handle = network.register_forward_hook(record, with_kwargs=True)
            try:
                yield
            finally:
                handle.remove()

    def _padded(self, side: int) -> int:
        """Return a side of the codes as the network pads it."""
        multiple = getattr(self.diffusion.network, "multiple", 1)
        return -(-side // multiple) * multiple
