"""Molecules and other point clouds in space: an equivariant autoencoder, then a diffusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from trilemma.core.batch import Condition
from trilemma.core.domain import Domain, PropertyStatistics, Real
from trilemma.core.errors import BadInput, nearest
from trilemma.core.model import Model, Stage
from trilemma.core.noise import mix
from trilemma.core.point_cloud import mask_of
from trilemma.data.dataset import DataSet
from trilemma.data.example_properties import with_property
from trilemma.data.point_cloud_stream import PointCloudStream
from trilemma.families.diffusion.denoiser import Denoiser
from trilemma.families.diffusion.diffusion import Diffusion
from trilemma.families.diffusion.geometric import (
    GeometricDiffusion,
    GeometricLatentDiffusion,
    cloud_grid,
)
from trilemma.families.diffusion.options import (
    DiffusionSampling,
    DiffusionTraining,
    ForwardProcess,
)
from trilemma.families.point_cloud_vae import PointCloudCodes, PointCloudVae, ScaledPointCloud
from trilemma.maths.diffusion.predictions import PREDICTIONS
from trilemma.maths.diffusion.samplers import SAMPLERS
from trilemma.maths.diffusion.schedules import SCHEDULES
from trilemma.maths.diffusion.spaces import Centred
from trilemma.maths.diffusion.training_times import TIMES
from trilemma.networks.egnn import LARGEST, Egnn, EgnnDenoiser, EgnnForm
from trilemma.networks.point_transformer import HEAD, PointTransformerDenoiser
from trilemma.networks.prompt_pool import Prompts
from trilemma.networks.property_condition import PropertyCondition
from trilemma.recipes.diffusion_networks import refuse_unguided
from trilemma.recipes.recipe import Choice, Recipe

__all__ = ["GeometricLatentDiffusing"]

SHARE = 0.15
"""Of the budget, for the autoencoder."""
SIZES = 4096
"""Training clouds whose sizes are kept, to be drawn from."""
ENCODED_AT_ONCE = 512
CHAIN = 1000
WEIGHED = 100.0
"""SNR up to which the loss weighs an error the more the less noise there is: bond lengths are
settled at noise of a tenth of the spread."""
NOISE_RANGE = 5.0, 0.01
"""Noise levels of a sample's way: beyond 5 times the spread of positions nothing is seen of a
cloud, and at a hundredth nothing is left open. What is bound to what is settled between 0.2 and 1:
the log-normal grid makes half of its steps there, and one that is even from 80 on one of seven."""
DENOISER = EgnnForm(width=192, layers=6, pairs=32, basis=16, is_normed=True)
CODER = EgnnForm(width=64, layers=4, pairs=32, basis=16, is_normed=True)
"""The equivariant networks, and those of the autoencoder."""
TRANSFORMER = 128, 6
"""Width and layers of the other network."""


@dataclass(frozen=True, kw_only=True)
class GeometricLatentDiffusing(Recipe):
    """Trains an equivariant autoencoder of point clouds, then diffuses its codes."""

    name: ClassVar[str] = "geoldm"
    family: ClassVar[str] = "molecule diffusion"
    reference: ClassVar[str] = (
        "Geometric Latent Diffusion Models for 3D Molecule Generation, Xu, Powers, Dror, Ermon & "
        "Leskovec, 2023, arXiv:2305.01140"
    )
    kinds: ClassVar[tuple[str, ...]] = ("conformer", "point-cloud")
    at_sampling: ClassVar[tuple[str, ...]] = ("sampler", "sample_steps", "guidance")
    batch: int = 64
    """Clouds an update, over all devices and accumulated parts together."""
    lr: float = 2e-3
    """Peak learning rate of AdamW."""
    autoencoder: Literal["trained", "fixed", "none"] = "trained"
    """The codes: of a trained encoder; of one that is never trained, as the paper's release has
    it; or positions and one-hot types themselves, which is EDM."""
    features: int = 2
    """Numbers of each point's code beside its position."""
    code_noise: float = 0.003
    """Spread of the autoencoder's posterior, in units of the spread of positions."""
    process: Literal["flow", "vp"] = "flow"
    """Straight lines from noise to data, sampled in few steps; or the paper's chain of 1,000
    variance-preserving steps, which predicts noise."""
    prediction: Annotated[str, Choice(PREDICTIONS)] = "rest"
    """What the network of `flow` gives; the clean estimate follows from each. Rest: what the best
    linear guess leaves of it."""
    times: Annotated[str, Choice(TIMES)] = "log-normal"
    """How often training sees each time of `flow`: mostly small noise, or all alike."""
    network: Literal["egnn", "transformer"] = "egnn"
    """What denoises: an equivariant network, or a transformer of clouds turned at random."""
    width: int = 0
    """Numbers of a point within the networks; 0: 192, of a transformer 128, of the autoencoder
    64."""
    layers: int = 0
    """Layers of each network; 0: 6, of the autoencoder 4."""
    sampler: Annotated[str, Choice(SAMPLERS, "auto")] = "auto"
    """The way from noise to codes; auto: ancestral, whose fresh noise mends what a step errs."""
    sample_steps: int = 0
    """Steps of that way; 0: 50 for flow, 1,000 for vp."""
    property: str = ""
    """A property of the data, such as alpha of qm9, that samples can be asked to have; half of
    the training examples are then kept for the regressor by which that is judged."""
    label_dropout: float = 0.1
    """Share of examples whose property is hidden in training."""
    guidance: float = 1.0
    """Weight of the property: 1 obeys it, more exaggerates it, 0 ignores it."""

    def data_for(self, data: DataSet) -> DataSet:
        """Return the data in space, with one property and half of them where it is asked for."""
        if not self.property:
            return super().data_for(data)
        return with_property(data.viewed(self.kinds), self.property)

    def model(self, domain: Domain) -> Model:
        """Build the untrained model.

        Raises:
            BadInput: A field is out of its range, clouds are too large, or the property is not
                known of them.
        """
        domain = replace(domain, properties=self._condition_properties(domain))
        self._refuse(domain)
        first = self.first_stage(domain)
        schedule = SCHEDULES["rectified" if self.process == "flow" else "cosine"]
        is_flow = self.process == "flow"
        process = ForwardProcess(schedule, 0 if is_flow else CHAIN, Centred())
        name = self.sampler if self.sampler != "auto" else "ancestral"
        diffusion = Diffusion(
            Denoiser(
                self.denoiser(first.features, domain.properties),
                process,
                PREDICTIONS[self.prediction if is_flow else "noise"](schedule, 1.0),
            ),
            Domain("point-cloud", first.shape, Real()),
            training=DiffusionTraining(
                times=self.times if is_flow else "uniform",
                weighting="min-snr" if is_flow else "own",
                max_snr=WEIGHED,
                label_dropout=self.label_dropout if domain.properties else 0.0,
            ),
            sampling=DiffusionSampling(
                sampler=name,
                steps=self.sample_steps or (50 if is_flow else CHAIN),
                grid=cloud_grid(name, process.chain),
                noise_range=NOISE_RANGE,
                guidance=self.guidance,
            ),
            prompts=Prompts(SIZES, points=domain.shape[0], properties=len(domain.properties)),
        )
        if isinstance(first, PointCloudVae):
            return GeometricLatentDiffusion(first, diffusion, domain)
        return GeometricDiffusion(first, diffusion, domain)

    def first_stage(self, domain: Domain) -> PointCloudCodes:
        """Build what makes codes of clouds."""
        if self.autoencoder == "none":
            return ScaledPointCloud(domain)
        kinds = max(1, len(domain.elements))
        form = self._sized(CODER) if self.network == "egnn" else CODER
        return PointCloudVae(
            Egnn(kinds, self.features, form),
            Egnn(self.features, kinds, form),
            domain,
            features=self.features,
            noise=self.code_noise,
            is_trained=self.autoencoder == "trained",
        )

    def denoiser(self, features: int, properties: Sequence[PropertyStatistics] = ()) -> nn.Module:
        """Build the denoiser of codes of so many features, conditioned on these properties."""
        mean, deviation = ([getattr(p, k) for p in properties] for k in ("mean", "deviation"))
        property_condition = PropertyCondition(mean, deviation) if properties else None
        if self.network == "egnn":
            return EgnnDenoiser(features, self._sized(DENOISER), properties=property_condition)
        width, layers = self.width or TRANSFORMER[0], self.layers or TRANSFORMER[1]
        if width % HEAD:
            raise BadInput(f"--width {width} was given; of a transformer it is a multiple of 16.")
        return PointTransformerDenoiser(
            features, width=width, layers=layers, properties=property_condition
        )

    def _sized(self, form: EgnnForm) -> EgnnForm:
        """Return a form with the width and the number of layers that are asked for."""
        return replace(form, width=self.width or form.width, layers=self.layers or form.layers)

    def stages(self, model: Model, data: DataSet, seed: int) -> Sequence[Stage]:
        """Return the training of the autoencoder, and that of the diffusion of its codes."""
        assert isinstance(model, GeometricDiffusion)
        mask = mask_of(data.train.x)
        properties = data.train.properties if self.property else None
        code_cache: list[Tensor] = []

        def prepare() -> None:
            code_cache[:] = [_codes(model.first_stage, data.train.x)]
            device = model.position_scale.device
            model.measure(code_cache[0].to(device), mask.to(device))
            assert isinstance(model.diffusion.prompts, Prompts)
            generator = torch.Generator().manual_seed(mix(seed, "sizes"))
            order = torch.randperm(len(mask), generator=generator)  # a set may be sorted by size
            rows = order[:SIZES]
            row_properties = None if properties is None else properties[rows]
            model.diffusion.prompts.fill(Condition(points=mask[rows], properties=row_properties))

        def stream() -> PointCloudStream:
            """Encode the data once: a step of training touches no encoder."""
            z = code_cache.pop() if code_cache else _codes(model.first_stage, data.train.x)
            device = model.position_scale.device
            y = model.standardised(z.to(device), mask.to(device)).cpu()
            return PointCloudStream(
                y,
                mask,
                self.batch,
                mix(seed, "codes"),
                properties=properties,
                is_turned=self.network == "transformer",
            )

        share = 1 - SHARE * (self.autoencoder != "none")
        diffusion = Stage("diffusion", model.diffusion, stream, share=share, prepare=prepare)
        if self.autoencoder == "none":
            return [diffusion]

        def clouds() -> PointCloudStream:
            return PointCloudStream(data.train.x, mask, self.batch, seed)

        return [Stage("autoencoder", model, clouds, share=SHARE), diffusion]

    def _condition_properties(self, domain: Domain) -> tuple[PropertyStatistics, ...]:
        """Return the property that conditions the diffusion; none unless `property` names one."""
        if not self.property:
            return ()
        available_properties = {one.name: one for one in domain.properties}
        if not available_properties:
            raise BadInput(f"--property {self.property} was given, and no property is known here.")
        if self.property not in available_properties:
            raise nearest("property", self.property, available_properties)
        return (available_properties[self.property],)

    def _refuse(self, domain: Domain) -> None:
        if self.guidance != 1 and not domain.properties:
            raise BadInput(
                f"guidance {self.guidance:g} was given for a model without a property; "
                "leave it out, or train with --property NAME."
            )
        refuse_unguided(self.guidance, domain, self.label_dropout)
        if self.features < 1:
            raise BadInput("--features takes 1 or more.")
        for name in ("width", "layers", "sample_steps"):
            if getattr(self, name) < 0:
                raise BadInput(f"--{name.replace('_', '-')} takes 0 or more.")
        if not 0 < self.code_noise < 1:
            raise BadInput(
                f"--code-noise {self.code_noise:g} was given; it is a share of the spread of "
                "positions, above 0 and below 1."
            )
        if domain.shape[0] > LARGEST:
            pairs = domain.shape[0] ** 2 * DENOISER.pairs * 4 * self.batch / 2**30
            raise BadInput(
                f"the largest cloud has {domain.shape[0]} points, and every pair of at most "
                f"{LARGEST} is looked at: a layer would take {pairs:.1f} GiB."
            )


@torch.no_grad()
def _codes(first: PointCloudCodes, x: Tensor) -> Tensor:
    """Return the codes of resident clouds, on the CPU."""
    device = first.device_of()
    parts = []
    for part in x.split(ENCODED_AT_ONCE):
        max_points = int(mask_of(part).sum(1).max())
        codes = first.codes(part[:, :max_points].to(device)).cpu()
        parts.append(torch.nn.functional.pad(codes, (0, 0, 0, x.shape[1] - max_points)))
    return torch.cat(parts)
