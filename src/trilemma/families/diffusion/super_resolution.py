r"""Super-resolution: draw a large image x that goes with a small one y (SR3).

    y = A x, rounded                     the small image, `maths.resize`
    u = bicubic enlargement of y         what everybody can guess
    r = (x - u) / s                      the residual, s its root mean square over training images
    r_t = alpha_t r + sigma_t eps        what is diffused; the network reads r_t, u and ln SNR_t

So SR3 is `Diffusion` with a network that reads the small image, of the residual instead of the
image: the residual has mean 0 and spread 1 by construction, so that no step is spent on finding
again what y says already, and an untrained network gives the bicubic image and no tint of its own.
As u is known, diffusing r or x is the same process on another clock.

With the option `consistent`, each clean estimate is brought into agreement with y before the
sampler uses it,

    xhat = u + s rhat,  cut to the range of levels;    xhat <- xhat + A^+ (y - A xhat),

so that the sample, reduced, gives y again, up to rounding to levels.

There is no likelihood here: p(x | y) of one y says nothing of p(x), and the classes of this page
do not pretend. Samples that nobody asked for take small images of the training split.

References:
    | Image Super-Resolution via Iterative Refinement (Saharia, Ho, Chan, Salimans, Fleet &
      Norouzi, 2021, arXiv:2104.07636)
    | SRDiff (Li et al., 2021, arXiv:2104.14951): the diffusion of residuals
    | Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model (Wang, Yu & Zhang,
      2022, arXiv:2212.00490)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trilemma.core.adjusting import replaced_options, with_sampling
from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain, Real
from trilemma.core.errors import BadInput
from trilemma.core.model import Loss, Model, Objective
from trilemma.core.noise import Noise
from trilemma.families.diffusion.denoiser import Denoiser
from trilemma.families.diffusion.diffusion import Diffusion
from trilemma.families.diffusion.options import (
    DiffusionSampling,
    DiffusionTraining,
    ForwardProcess,
)
from trilemma.maths.broadcasting import per_row
from trilemma.maths.diffusion.predictions import Prediction
from trilemma.maths.diffusion.samplers import Sampler
from trilemma.maths.diffusion.schedules import Schedule
from trilemma.maths.resize import agreed, enlarged, reduced

__all__ = ["Pairing", "SuperResolution", "SuperResolutionSampling", "sampling_inputs"]


class Pairing(nn.Module):
    """Large images, the small ones that go with them, and what lies between; no parameters.

    Arguments:
        domain: Where the large images lie.
        scale: How many times as long the sides of the large ones are.

    >>> from trilemma.core.domain import Levels
    >>> pairing = Pairing(Domain("image", (1, 8, 8), Levels(17)), 4)
    >>> pairing.shrink(torch.full((2, 1, 8, 8), 16, dtype=torch.uint8)).tolist()[0]
    [[[16, 16], [16, 16]]]
    """

    spread: Tensor

    def __init__(self, domain: Domain, scale: int) -> None:
        super().__init__()
        _refuse(domain, scale)
        self.domain, self.scale = domain, scale
        self.register_buffer("spread", torch.ones(()))

    @property
    def small_shape(self) -> tuple[int, int, int]:
        """Return the shape of the small images that go with the domain's."""
        channels, height, width = self.domain.shape
        return channels, height // self.scale, width // self.scale

    def shrink(self, x: Tensor) -> Tensor:
        """Return the small images of large ones, data units: A x to the nearest level."""
        values = self.domain.values
        return values.unscale(reduced(values.scale(x), self.scale))

    def paired(self, batch: Examples, *, mirror: bool = False) -> Examples:
        """Return a batch whose condition is the small image of each example, and nothing else.

        Arguments:
            batch: Large images with the batch's noise.
            mirror: Whether each is turned left to right with probability 1/2.
        """
        x = batch.x
        if mirror and batch.noise is not None:
            turned = batch.noise.named("mirror").uniform() < 0.5
            x = torch.where(per_row(turned, x), x.flip(-1), x)
        return dataclasses.replace(batch, x=x, condition=Condition(image=self.shrink(x)))

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Measure s, the root mean square of x - u, on training images in data units."""
        large, small = self.domain.values.scale(x), self.shrink(x)
        residual = large - self._up(small)
        self.spread.copy_(residual.square().mean().sqrt().clamp_min(1e-3))

    def residual(self, x: Tensor, small: Tensor) -> Float[Tensor, "B C H W"]:
        """Return r = (x - u) / s of large images in data units."""
        return (self.domain.values.scale(x) - self._up(small)) / self.spread

    def from_residual(self, residual: Float[Tensor, "B C H W"], small: Tensor) -> Tensor:
        """Return the image u + s r in data units."""
        return self.domain.values.unscale(self._up(small) + self.spread * residual)

    def constrain(
        self, residual: Float[Tensor, "B C H W"], small: Tensor, *, consistent: bool = True
    ) -> Float[Tensor, "B C H W"]:
        """Return an estimate of r within the range of levels, if `consistent` agreeing with y."""
        upsampled = self._up(small)
        x = (upsampled + self.spread * residual).clamp(-1, 1)
        if consistent:
            x = agreed(x, self.domain.values.scale(small), self.scale)
        return (x - upsampled) / self.spread

    def _up(self, small: Tensor) -> Tensor:
        return enlarged(self.domain.values.scale(small), self.scale)


@dataclass(frozen=True)
class SuperResolutionSampling:
    """The way from noise to a large image: options at the call.

    Arguments:
        sampler: A name in `SAMPLERS`, or a sampler with settings of its own.
        steps: Steps of the way.
        temperature: Of its noise: 1 draws all that the small image leaves open, 0 none of it.
        consistent: Whether the large image, reduced, gives the small one again.

    Raises:
        BadInput: The sampler is not known, or a number is out of its range.
    """

    sampler: str | Sampler = "ddim"
    steps: int = 10
    temperature: float = 1.0
    consistent: bool = True

    def __post_init__(self) -> None:
        """Refuse what the way of the residual refuses."""
        _ = self.of_residual

    @property
    def of_residual(self) -> DiffusionSampling:
        """Return the way from noise to the residual."""
        return DiffusionSampling(
            sampler=self.sampler, steps=self.steps, temperature=self.temperature
        )


class SuperResolution(Model[Examples, Tensor]):
    """SR3: `Diffusion` of the residual, whose network reads the small image.

    Arguments:
        network: (r_t [B, C, H, W], log-SNR [B], condition with its image) to [B, C, H, W].
        pairing: Large images and small ones.
        schedule: t to (alpha, sigma).
        prediction: What the network's output means.
        prompts: Gives small images for samples without a condition.
        sampling: The way from noise to the image; `SuperResolutionSampling()` if none is given.
    """

    def __init__(
        self,
        network: nn.Module,
        pairing: Pairing,
        schedule: Schedule,
        prediction: Prediction,
        *,
        prompts: nn.Module,
        sampling: SuperResolutionSampling | None = None,
    ) -> None:
        super().__init__()
        self.pairing, self.prompts = pairing, prompts
        self.process, self.prediction = ForwardProcess(schedule, chain=0), prediction
        self.sampling = sampling or SuperResolutionSampling()
        self.diffusion = self._over(pairing.domain.shape, network)

    def adjusted(self, **options: Any) -> Self:  # noqa: ANN401
        """Return a view of the same weights that enlarges with other options.

        Arguments:
            options: Fields of `SuperResolutionSampling`.

        Raises:
            BadInput: There is no such option, or its value makes no sense.
        """
        view = with_sampling(self, replaced_options(self.sampling, options))
        view.diffusion = view._over(self.domain.shape, self.network)
        return view

    @property
    def domain(self) -> Domain:
        """Return where the large images lie."""
        return self.pairing.domain

    @property
    def scale(self) -> int:
        """Return how many times as long the sides become."""
        return self.pairing.scale

    @property
    def network(self) -> nn.Module:
        """Return the network that reads the small image."""
        return self.diffusion.network

    def _over(self, shape: Sequence[int], network: nn.Module) -> Diffusion:
        """Return the diffusion of residuals of a shape."""

        def constrain(residual: Tensor, condition: Condition | None) -> Tensor:
            assert condition is not None
            assert condition.image is not None
            return self.pairing.constrain(
                residual, condition.image, consistent=self.sampling.consistent
            )

        return Diffusion(
            Denoiser(network, self.process, self.prediction),
            Domain("image", tuple(shape), Real()),
            training=DiffusionTraining(label_dropout=0.0),
            sampling=self.sampling.of_residual,
            agree=constrain,
        )

    def objectives(self) -> Sequence[Objective[Examples]]:
        """Return the one player."""
        return [Objective("denoiser", self.loss, list(self.network.parameters()))]

    def loss(self, batch: Examples) -> Loss:
        """Return the mean square error of the prediction of the residual, per coordinate."""
        assert batch.condition is not None
        assert batch.condition.image is not None
        residual = self.pairing.residual(batch.x, batch.condition.image)
        return self.diffusion.loss(dataclasses.replace(batch, x=residual))

    @torch.no_grad()
    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Tensor:
        """Draw n large images in data units.

        Arguments:
            n: How many.
            condition: Their small images; None takes some of the training split.
            noise: n rows.
        """
        noise, image_condition, small = sampling_inputs(n, condition, noise, self.prompts)
        return self.pairing.from_residual(
            self.diffusion.sample(n, condition=image_condition, noise=noise), small
        )

    @torch.no_grad()
    def path(
        self,
        n: int,
        *,
        frames: int,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Sequence[Tensor]:
        """Return about `frames` images u + s r_t, from noise over u to the sample."""
        noise, image_condition, small = sampling_inputs(n, condition, noise, self.prompts)
        states = self.diffusion.path(n, frames=frames, condition=image_condition, noise=noise)
        return [self.pairing.from_residual(state, small) for state in states]

    def shrink(self, x: Tensor) -> Tensor:
        """Return the small images, [B, C, H / scale, W / scale], of large ones, data units."""
        return self.pairing.shrink(x)

    @torch.no_grad()
    def restore(
        self,
        small: Tensor,
        *,
        noise: Noise | None = None,
        network: nn.Module | None = None,
    ) -> Tensor:
        """Draw a large image for each small one, data units, whatever the size.

        Arguments:
            small: [B, C, h, w], data units.
            noise: B rows.
            network: Used in place of the model's network, e.g. one that works in tiles.
        """
        noise = Noise.fresh(len(small), small.device) if noise is None else noise
        height, width = (side * self.scale for side in small.shape[-2:])
        diffusion = self._over((small.shape[1], height, width), network or self.network)
        residual = diffusion.sample(len(small), condition=Condition(image=small), noise=noise)
        return self.pairing.from_residual(residual, small)


def sampling_inputs(
    n: int, condition: Condition | None, noise: Noise | None, prompts: nn.Module
) -> tuple[Noise, Condition, Tensor]:
    """Return noise, a condition with a small image for each of n samples, and these images.

    Raises:
        BadInput: A condition was given without images.
    """
    noise = Noise.fresh(n, next(prompts.buffers()).device) if noise is None else noise
    if condition is None:
        condition = prompts(noise.named("prompt"))
    assert isinstance(condition, Condition)
    if condition.image is None:
        raise BadInput(
            "a model that enlarges was asked for something that is no image; give it a small "
            "image, as --cond photo.png."
        )
    return noise, Condition(image=condition.image), condition.image


def _refuse(domain: Domain, scale: int) -> None:
    """Refuse a scale that does not divide the sides, and name those that do."""
    if domain.kind != "image":
        raise BadInput(f"{domain.kind} cannot be enlarged; give a data set of images.")
    height, width = domain.shape[1:]
    fits = [s for s in range(2, min(height, width) // 2 + 1) if height % s == width % s == 0]
    if scale not in fits:
        names = ", ".join(map(str, fits)) or "none"
        raise BadInput(
            f"--scale {scale} was given for images of {width}x{height} pixels; the scale must "
            f"divide both sides and leave at least 2 pixels: {names}."
        )
