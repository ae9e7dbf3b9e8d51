"""The energy-based model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import nn

from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.model import Model, Stage
from trilemma.data.dataset import DataSet
from trilemma.data.stream import ExampleStream
from trilemma.families.energy import Contrastive, Energy, EnergySampling, Matched
from trilemma.networks.energy import ImageEnergy, PointEnergy
from trilemma.recipes.recipe import Recipe, is_small

__all__ = ["EnergyBased"]

LOOK = 10_000
"""Training examples by which the Gaussian is set."""


@dataclass(frozen=True, kw_only=True)
class EnergyBased(Recipe):
    """Trains an energy whose valleys are the data, against chains that look for others."""

    name: ClassVar[str] = "ebm"
    family: ClassVar[str] = "energy"
    reference: ClassVar[str] = (
        "Implicit Generation and Modeling with Energy-Based Models, Du & Mordatch, 2019, "
        "arXiv:1903.08689"
    )
    at_sampling: ClassVar[tuple[str, ...]] = ("sample_steps", "ais_steps")
    batch: int = 0
    """Examples an update, over all devices and accumulated parts together; 0: 32 for images of at
    most 16 pixels a side, else 128."""
    lr: float = 1e-3
    """Peak learning rate of AdamW."""

    training: Literal["cd", "dsm"] = "cd"
    """Contrastive divergence with persistent chains, or denoising score matching."""
    width: int = 0
    """Channels after the first layer, or units of a layer for points; 0: 32 or 128."""
    chains: int = 1024
    """Chains that are kept from update to update, at least a batch of them (cd)."""
    chain_steps: int = 0
    """Langevin steps an update (cd); 0: 5 for images of at most 16 pixels a side, else 20."""
    step_size: float = 0.0
    """Langevin's eta, data of spread 1; 0: data_noise squared times 1 for points, 0.5 for images,
    0.2 for dsm."""
    langevin_noise: float = 1.0
    """Share of Langevin's own noise in training; less than 1 makes chains colder than p (cd)."""
    data_noise: float = 0.0
    """Noise on data of spread 1; for dsm the smallest; 0: 0.1 for images, 0.05 for points."""
    restart: float = 0.01
    """Share of chains begun anew at the Gaussian, an update (cd)."""
    regulariser: float = 0.01
    """Weight of the squared energies, a coordinate (cd)."""
    gap: float = 0.0
    """Nats by which energies of data and chains may part; 0: 50 and one a coordinate (cd)."""
    sample_steps: int = 100
    """Langevin steps of a sample, from the kept chains (cd) or from noise (dsm)."""
    ais_steps: int = 1000
    """Temperatures by which Z is estimated."""

    def model(self, domain: Domain) -> Model:
        """Build the untrained model."""
        self._refuse(domain)
        points = domain.kind == "points"
        sigma = self.data_noise or (0.05 if points else 0.1)
        share = 0.2 if self.training == "dsm" else 1.0 if points else 0.5
        shared: dict[str, Any] = {
            "sigma": sigma,
            "step_size": self.step_size or share * sigma**2,
            "sampling": EnergySampling(self.sample_steps, self.ais_steps),
        }
        network = self.network(domain)
        if self.training == "dsm":
            return Matched(network, domain, **shared)
        return Contrastive(
            network,
            domain,
            chains=self.chains,
            chain_steps=self.chain_steps or (5 if is_small(domain) else 20),
            temperature=self.langevin_noise,
            restart=self.restart,
            regulariser=self.regulariser,
            gap=self.gap or 50.0 + domain.scaled_dimensions,
            **shared,
        )

    def network(self, domain: Domain) -> nn.Module:
        """Return f for the domain."""
        noise_conditional = self.training == "dsm"
        if domain.kind == "points":
            return PointEnergy(
                domain.scaled_dimensions,
                width=self.width or 128,
                noise_conditional=noise_conditional,
            )
        return ImageEnergy(
            domain.scaled_shape, width=self.width or 32, noise_conditional=noise_conditional
        )

    def stages(self, model: Model, data: DataSet, seed: int) -> Sequence[Stage]:
        """Return the one part of training; before it the Gaussian is set from the data."""
        assert isinstance(model, Energy)
        batch = self.batch_for(data.domain)
        return [
            Stage(
                "model",
                model,
                lambda: ExampleStream(data.train, batch, seed),
                prepare=lambda: model.fit_base(data.train.x[:LOOK]),
            )
        ]

    def _refuse(self, domain: Domain) -> None:
        """Refuse numbers that make no chain."""
        batch = self.batch_for(domain)
        if self.training == "cd" and self.chains < batch:
            raise BadInput(
                f"a batch of {batch} moves as many chains, and there are {self.chains}; "
                f"give --chains {batch} or more, or a smaller --batch."
            )
        for name in ("step_size", "langevin_noise", "data_noise", "regulariser", "gap"):
            if getattr(self, name) < 0:
                raise BadInput(
                    f"--{name.replace('_', '-')} {getattr(self, name):g} was given; "
                    "give 0 or more."
                )
        if not 0 <= self.restart <= 1:
            raise BadInput(f"--restart {self.restart:g} was given; give a share from 0 to 1.")
