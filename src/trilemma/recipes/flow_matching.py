"""Flow matching: straight lines from noise to data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from trilemma.core.domain import Columns, Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.core.model import Model
from trilemma.families.dequantised_density import dequantised_density
from trilemma.families.flow_matching import (
    PAIRINGS,
    TIMES,
    Divergence,
    FlowMatching,
    FlowMatchingSampling,
    FlowMatchingTraining,
    Preconditioning,
)
from trilemma.maths.diffusion.fourier_features import of_levels
from trilemma.maths.ode import SOLVERS, refined
from trilemma.recipes.diffusion_networks import NETWORKS, denoiser, refuse_unguided
from trilemma.recipes.recipe import Choice, Plot, Recipe

__all__ = ["FlowMatchingRecipe"]


@dataclass(frozen=True, kw_only=True)
class FlowMatchingRecipe(Recipe):
    """Trains a velocity, a U-Net for images, that carries noise to data; its density is known."""

    name: ClassVar[str] = "flow-matching"
    family: ClassVar[str] = "flow"
    reference: ClassVar[str] = (
        "Flow Matching for Generative Modeling, Lipman, Chen, Ben-Hamu, Nickel & Le, 2022, "
        "arXiv:2210.02747"
    )
    at_sampling: ClassVar[tuple[str, ...]] = ("sampler", "sample_steps", "guidance")

    batch: int = 0
    """Examples an update, over all devices and accumulated parts together; 0: 32 for images of at
    most 16 pixels a side, else 128."""
    network: Annotated[str, Choice(NETWORKS)] = "unet"
    """The velocity of images; for points it is a perceptron."""
    width: int = 0
    """Channels at the finest size, or units of a layer for points; 0: 32 below 24 pixels, 48
    from there, 128 for points."""
    pairing: Annotated[str, Choice(PAIRINGS)] = "independent"
    """Which noise is led to which example: any, or the nearest by an assignment in the batch."""
    times: Annotated[str, Choice(TIMES)] = "likelihood"
    """Training times: half uniform and half near the data, all uniform, or around the middle."""
    label_dropout: float = 0.1
    """Share of examples whose class is hidden in training."""
    sampler: Annotated[str, Choice(SOLVERS)] = "heun"
    """The solver that draws samples; dopri5 chooses its own steps."""
    sample_steps: int = 10
    """Its steps; midpoint and heun evaluate the network twice in each, rk4 four times."""
    guidance: float = 1.0
    """Weight of the class: 1 obeys it, more exaggerates it, 0 ignores it."""
    probes: int = 1
    """Random probes of the divergence for images; that of points is computed exactly."""

    def model(self, domain: Domain) -> Model:
        """Build the untrained model."""
        self._possible(domain)
        values = domain.values
        levels = values.count if isinstance(values, Levels) else 0
        frequencies = _frequencies(domain)
        inner = FlowMatching(
            denoiser(
                domain,
                kind=self.network,
                width=self.width,
                in_multiple=1 + 2 * len(frequencies),
            ),
            domain.scaled_shape,
            preconditioning=Preconditioning(0.5 if levels else 1.0, _finest(domain), frequencies),
            training=FlowMatchingTraining(self.pairing, self.times, self.label_dropout),
            sampling=FlowMatchingSampling(self.sampler, self.sample_steps, self.guidance),
            divergence=Divergence(probes=0 if domain.kind == "points" else self.probes),
            shares=domain.frequencies if domain.classes else (),
        )
        return dequantised_density(inner, domain)

    def _possible(self, domain: Domain) -> None:
        """Refuse fields that make no sense together."""
        refuse_unguided(self.guidance, domain, self.label_dropout)
        if domain.kind == "image" and self.probes < 1:
            raise BadInput(
                f"{self.probes} probes were given for images; give --probes 1 or more, for the "
                f"exact divergence of {domain.dimensions} coordinates takes as many passes."
            )

    @classmethod
    def plots(cls) -> Mapping[str, Plot]:
        """Return where times near the data stand: time, and the noise that is left."""
        u = torch.linspace(0, 1, 200)
        finest = {"256 levels": FINEST, "17 levels": 1 / 544, "real numbers": REAL}
        times = {name: refined(u, d).tolist() for name, d in finest.items()}
        noise = {name: (1 - refined(u[:-1], d)).tolist() for name, d in finest.items()}
        return {
            "times": Plot(u.tolist(), times, "share of the times", "time t"),
            "noise": Plot(u[:-1].tolist(), noise, "share of the times", "noise 1 - t", log=True),
        }


def _finest(domain: Domain) -> float:
    """Return the finest noise: a 64th of a bin, of columns no more than real numbers have."""
    values = domain.values
    if isinstance(values, Levels):
        return 1 / (32 * values.count)
    if not isinstance(values, Columns):
        return REAL
    return max(FINEST, min(REAL, values.narrowest / 64))


def _frequencies(domain: Domain) -> tuple[float, ...]:
    """Return the waves that a network is shown.

    Of levels, those of a bin's width and more; of points in few dimensions, four that help a
    perceptron with edges; a wide table has enough columns.
    """
    if not isinstance(domain.values, Levels):
        return (1.5, 3.0, 6.0, 12.0) if domain.scaled_dimensions <= PLANE else ()
    return of_levels(domain.values.count)


REAL = 5e-3
"""The finest noise for real numbers, in units of their spread."""

FINEST = 1 / 8192
"""The finest noise at all: that of 256 levels."""

PLANE = 3
"""Dimensions up to which points are shown with waves."""
