"""Super-resolution by diffusion, and the regression with which it is compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.core.model import Model, Stage, Stream
from trilemma.core.noise import mix
from trilemma.data.dataset import DataSet
from trilemma.data.stream import ExampleStream
from trilemma.families.diffusion.super_resolution import (
    Pairing,
    SuperResolution,
    SuperResolutionSampling,
)
from trilemma.families.super_resolution_regression import Regression, RegressionSampling
from trilemma.maths.diffusion.predictions import PREDICTIONS
from trilemma.maths.diffusion.samplers import SAMPLERS
from trilemma.maths.diffusion.schedules import SCHEDULES
from trilemma.networks.prompt_pool import Prompts
from trilemma.networks.tiling import Reading
from trilemma.recipes.diffusion_networks import denoiser
from trilemma.recipes.recipe import Choice, Recipe

__all__ = ["Pairs", "Sr3"]

MAX_PROMPTS = 256
"""Small training images kept in the run, for samples that nobody asked for."""
LOOKED_AT = 2048
"""Training images on which the spread of the rest is measured."""


@dataclass(frozen=True, kw_only=True)
class Sr3(Recipe):
    """Trains on pairs of large and small images, and draws large images of small ones."""

    name: ClassVar[str] = "sr3"
    family: ClassVar[str] = "super-resolution"
    reference: ClassVar[str] = (
        "Image Super-Resolution via Iterative Refinement, Saharia, Ho, Chan, Salimans, Fleet & "
        "Norouzi, 2021, arXiv:2104.07636"
    )
    kinds: ClassVar[tuple[str, ...]] = ("image",)
    is_generator: ClassVar[bool] = False
    at_sampling: ClassVar[tuple[str, ...]] = (
        "sampler",
        "sample_steps",
        "temperature",
        "consistent",
    )

    batch: int = 32
    """Examples an update, over all devices and accumulated parts together."""
    scale: int = 4
    """How many times as long the sides become; it divides the sides of the training images."""
    method: Literal["diffusion", "regression"] = "diffusion"
    """Draw one of the images that fit, or give their mean, which is blurred."""
    consistent: bool = True
    """Make the large image give the small one again when it is reduced."""
    width: int = 0
    """Channels at the finest size; 0: 32 below 24 pixels, 48 from there."""
    mirror: bool = True
    """Turn training images left to right by chance; images with classes are never turned."""
    schedule: Annotated[str, Choice(SCHEDULES)] = "cosine"
    """How signal is exchanged for noise."""
    prediction: Annotated[str, Choice(PREDICTIONS)] = "velocity"
    """What the network is asked for."""
    sampler: Annotated[str, Choice(SAMPLERS)] = "dpm++2m"
    """The way from noise to data."""
    sample_steps: int = 5
    """Steps of that way; heun evaluates the network twice in each."""
    temperature: float = 1.0
    """Of the noise that is turned into what the small image leaves open: 1 draws all of it, 0
    none, and between them there is less grain and less detail."""

    def model(self, domain: Domain) -> Model:
        """Build the untrained model."""
        sampling = SuperResolutionSampling(
            self.sampler, self.sample_steps, self.temperature, self.consistent
        )
        if domain.kind == "image" and not isinstance(domain.values, Levels):
            raise BadInput("images of real numbers cannot be enlarged; give images of levels.")
        pairing = Pairing(domain, self.scale)
        inner = denoiser(domain, width=self.width, in_multiple=2, is_conditional=False)
        network = Reading(inner, domain, self.scale)
        prompts = Prompts(MAX_PROMPTS, image=pairing.small_shape)
        if self.method == "regression":
            options = RegressionSampling(self.consistent)
            return Regression(network, pairing, prompts=prompts, sampling=options)
        schedule = SCHEDULES[self.schedule]
        return SuperResolution(
            network,
            pairing,
            schedule,
            PREDICTIONS[self.prediction](schedule, 1.0),
            prompts=prompts,
            sampling=sampling,
        )

    def stages(self, model: Model, data: DataSet, seed: int) -> Sequence[Stage]:
        """Return the one stage; before it, the spread of the rest is measured."""
        assert isinstance(model, SuperResolution | Regression)
        pairing, prompts = model.pairing, model.prompts
        mirror = self.mirror and not data.domain.classes

        def prepare() -> None:
            images = _some(data.train.x, LOOKED_AT, seed).to(pairing.spread.device)
            pairing.fit(images)
            assert isinstance(prompts, Prompts)
            prompts.fill(Condition(image=pairing.shrink(images[:MAX_PROMPTS])))

        def stream() -> Stream[Examples]:
            return Pairs(ExampleStream(data.train, self.batch, seed), pairing, mirror=mirror)

        return [Stage("model", model, stream, prepare=prepare)]


class Pairs(Stream[Examples]):
    """Batches of another stream, each example with its small image as the condition.

    Arguments:
        large: Where the large images come from.
        pairing: Makes the small ones.
        mirror: Whether images are turned left to right by chance.
    """

    def __init__(self, large: Stream[Examples], pairing: Pairing, *, mirror: bool) -> None:
        self.large, self.pairing, self.mirror = large, pairing, mirror

    def batch(self, k: int) -> Examples:
        """Return the k-th batch: a pure function of what the other stream is one of."""
        return self.pairing.paired(self.large.batch(k), mirror=self.mirror)


def _some(x: Tensor, count: int, seed: int) -> Tensor:
    """Return at most `count` examples, drawn by the seed."""
    generator = torch.Generator().manual_seed(mix(seed, "looked at"))
    return x[torch.randperm(len(x), generator=generator)[:count]]
