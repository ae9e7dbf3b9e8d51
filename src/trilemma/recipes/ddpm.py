"""The denoising diffusion model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.core.model import Model
from trilemma.families.diffusion import Diffusion
from trilemma.maths.predictions import Clean, Edm, NoisePrediction, Prediction, Velocity
from trilemma.maths.samplers import SAMPLERS
from trilemma.maths.schedules import SCHEDULES
from trilemma.networks.unet import Perceptron, UNet
from trilemma.recipes.recipe import Plot, Recipe

__all__ = ["Ddpm"]


@dataclass(frozen=True, kw_only=True)
class Ddpm(Recipe):
    """Trains a denoiser, a U-Net for images, and samples by asking it some twenty times."""

    name: ClassVar[str] = "ddpm"
    family: ClassVar[str] = "diffusion"
    reference: ClassVar[str] = (
        "Denoising Diffusion Probabilistic Models, Ho, Jain & Abbeel, 2020, arXiv:2006.11239"
    )
    at_sampling: ClassVar[tuple[str, ...]] = ("sampler", "sample_steps", "eta", "guidance")

    width: int = 0
    """Channels at the finest size, or units of a layer for points; 0: 32 below 24 pixels, 48
    from there, 128 for points."""
    schedule: Literal["linear", "cosine", "rectified"] = "cosine"
    """How signal is exchanged for noise."""
    prediction: Literal["noise", "clean", "velocity", "edm"] = "velocity"
    """What the network is asked for."""
    chain: int = 1000
    """T, steps of the chain that it is trained on."""
    label_dropout: float = 0.1
    """Share of examples whose class is hidden in training."""
    sampler: Literal["ancestral", "ddim", "euler", "heun"] = "ddim"
    """The way from noise to data."""
    sample_steps: int = 20
    """Steps of that way; heun evaluates the network twice in each."""
    eta: float = 0.0
    """Noise put back in each step of ddim: 0 none, 1 as much as ancestral."""
    guidance: float = 1.0
    """Weight of the class: 1 obeys it, more exaggerates it, 0 ignores it."""

    def model(self, domain: Domain) -> Model:
        """Build the untrained model."""
        if self.guidance != 1 and domain.classes and self.label_dropout == 0:
            raise BadInput(
                f"guidance {self.guidance:g} compares with a model that was told no class, and "
                "label dropout 0 trains none; give --label-dropout 0.1 or --guidance 1."
            )
        schedule = SCHEDULES[self.schedule]
        predictions: dict[str, Prediction] = {
            "noise": NoisePrediction(),
            "clean": Clean(),
            "velocity": Velocity(schedule.power),
            "edm": Edm(0.5 if isinstance(domain.values, Levels) else 1.0),
        }
        sampler = SAMPLERS[self.sampler]
        return Diffusion(
            self.network(domain),
            domain,
            schedule,
            predictions[self.prediction],
            chain=self.chain,
            label_dropout=self.label_dropout,
            sampler=sampler(self.eta) if self.sampler == "ddim" else sampler(),
            steps=self.sample_steps,
            guidance=self.guidance,
        )

    @classmethod
    def plots(cls) -> Mapping[str, Plot]:
        """Return the schedules: the signal that is left, and its ratio to the noise."""
        t = torch.linspace(0.001, 0.999, 200)
        signal = {name: (s(t)[0] ** 2).tolist() for name, s in SCHEDULES.items()}
        ratio = {name: s.log_snr(t).tolist() for name, s in SCHEDULES.items()}
        return {
            "signal": Plot(t.tolist(), signal, "time t", "share of signal, alpha²"),
            "log snr": Plot(t.tolist(), ratio, "time t", "log-SNR, ln(alpha² / sigma²)"),
        }

    def network(self, domain: Domain) -> nn.Module:
        """Return a denoiser for the domain: a U-Net whose coarsest side is 4 to 8 pixels."""
        classes = len(domain.classes)
        if domain.kind == "points":
            return Perceptron(domain.dimensions, width=self.width or 128, classes=classes)
        side = min(domain.shape[1:])
        patch = 1 if side < 24 else 2
        halvings = max(1, round(side / patch / 7).bit_length() - 1)
        return UNet(
            domain.shape[0],
            width=self.width or (32 if side < 24 else 48),
            multipliers=(1, *[2] * halvings),
            patch=patch,
            classes=classes,
        )
