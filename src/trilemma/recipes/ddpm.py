"""The denoising diffusion model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.core.model import Model, Stage
from trilemma.data.dataset import DataSet
from trilemma.data.stream import ExampleStream
from trilemma.families.diffusion.bound import VARIANCES
from trilemma.families.diffusion.denoiser import Denoiser
from trilemma.families.diffusion.diffusion import Diffusion
from trilemma.families.diffusion.options import (
    WEIGHTINGS,
    DiffusionSampling,
    DiffusionTraining,
    ForwardProcess,
    refuse_steps,
)
from trilemma.maths.diffusion.fourier_features import of_levels
from trilemma.maths.diffusion.predictions import PREDICTIONS
from trilemma.maths.diffusion.samplers import SAMPLERS
from trilemma.maths.diffusion.sampling_grids import GRIDS
from trilemma.maths.diffusion.schedules import SCHEDULES
from trilemma.maths.diffusion.training_times import TIMES
from trilemma.networks.noisy_classifier import NoisyClassifier
from trilemma.recipes.diffusion_networks import (
    NETWORKS,
    denoiser,
    fill,
    interval,
    prompts,
    refuse_unguided,
)
from trilemma.recipes.recipe import Choice, Plot, Recipe

__all__ = ["Ddpm"]


@dataclass(frozen=True, kw_only=True)
class Ddpm(Recipe):
    """Trains a denoiser, a U-Net for images, and samples by asking it some ten times."""

    name: ClassVar[str] = "ddpm"
    family: ClassVar[str] = "diffusion"
    reference: ClassVar[str] = (
        "Denoising Diffusion Probabilistic Models, Ho, Jain & Abbeel, 2020, arXiv:2006.11239"
    )
    at_sampling: ClassVar[tuple[str, ...]] = (
        "sampler",
        "sample_steps",
        "grid",
        "eta",
        "guidance",
        "guidance_over",
    )

    batch: int = 0
    """Examples an update, over all devices and accumulated parts together; 0: 32 for images of at
    most 16 pixels a side, else 128."""
    network: Annotated[str, Choice(NETWORKS)] = "unet"
    """The denoiser of images; for points it is a perceptron."""
    width: int = 0
    """Channels at the finest size, or units of a layer for points; 0: 32 below 24 pixels, 48
    from there, 192 for a transformer, 128 for points."""
    schedule: Annotated[str, Choice(SCHEDULES)] = "cosine"
    """How signal is exchanged for noise."""
    prediction: Annotated[str, Choice(PREDICTIONS)] = "velocity"
    """What the network is asked for."""
    chain: int = 1000
    """T, steps of the chain that it is trained on; 0 for continuous time."""
    times: Annotated[str, Choice(TIMES)] = "uniform"
    """Training times: even, mostly in the middle, or by their part in the bound."""
    weighting: Annotated[str, Choice(WEIGHTINGS)] = "own"
    """Unit of the loss: the prediction's, the noise's (L_simple), nats of the bound (the network
    then sees single levels too), or the noise's up to an SNR of 5."""
    variance: Annotated[str, Choice(VARIANCES)] = "posterior"
    """Variance of a step back: the posterior's, the chain's, or between, learned by the bound."""
    label_dropout: float = 0.1
    """Share of examples whose class or caption is hidden in training."""
    classifier: bool = False
    """Train a classifier of noisy examples along, whose gradient then is the guidance."""
    sampler: Annotated[str, Choice(SAMPLERS)] = "unipc"
    """The way from noise to data."""
    sample_steps: int = 10
    """Steps of that way; heun evaluates the network twice in each."""
    grid: Annotated[str, Choice(GRIDS, "auto")] = "auto"
    """How these steps are spaced; auto: as is usual for the sampler."""
    eta: float = 0.0
    """Noise put back on the way: in ddim 0 none, 1 as much as ancestral; in euler, heun: churn."""
    guidance: float = 1.0
    """Weight of the class or caption: 1 obeys it, more exaggerates it, 0 ignores it."""
    guidance_over: str = "0:1"
    """Times FROM:TO between which guidance acts; 1 is noise, 0 is data."""

    def model(self, domain: Domain) -> Model:
        """Build the untrained model."""
        self._possible(domain)
        schedule = SCHEDULES[self.schedule]
        levels = domain.values.count if isinstance(domain.values, Levels) else 0
        frequencies = of_levels(levels) if levels and self.weighting == "bound" else ()
        classes = len(domain.classes)
        network = denoiser(
            domain,
            kind=self.network,
            width=self.width,
            in_multiple=1 + 2 * len(frequencies),
            out_multiple=2 if self.variance == "learned" else 1,
        )
        return Diffusion(
            Denoiser(
                network,
                ForwardProcess(schedule, self.chain),
                PREDICTIONS[self.prediction](schedule, 0.5 if levels else 1.0),
                frequencies,
                self.variance,
            ),
            domain,
            training=DiffusionTraining(
                times=self.times, weighting=self.weighting, label_dropout=self.label_dropout
            ),
            sampling=DiffusionSampling(
                sampler=self.sampler,
                steps=self.sample_steps,
                grid=self.grid,
                eta=self.eta,
                guidance=self.guidance,
                guidance_over=interval(self.guidance_over),
            ),
            classifier=NoisyClassifier(domain.scaled_shape, classes) if self.classifier else None,
            prompts=prompts(domain),
        )

    def stages(self, model: Model, data: DataSet, seed: int) -> Sequence[Stage]:
        """Return the one training; before it, captions are kept for samples that ask for none."""
        assert isinstance(model, Diffusion)
        batch = self.batch_for(data.domain)
        return [
            Stage(
                "model",
                model,
                lambda: ExampleStream(data.train, batch, seed),
                prepare=lambda: fill(model.prompts, data.train),
            )
        ]

    def _possible(self, domain: Domain) -> None:
        """Refuse fields that make no sense together."""
        refuse_unguided(
            self.guidance, domain, self.label_dropout, classifier_free=not self.classifier
        )
        if self.classifier and not domain.classes:
            raise BadInput("--classifier true was given for data without classes; leave it out.")
        if self.classifier and domain.vocabulary:
            raise BadInput(
                "--classifier true guides by classes, and samples of these data are asked for by "
                "captions; leave it out, and guide by --guidance."
            )
        refuse_steps(self.sample_steps, self.chain)

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
