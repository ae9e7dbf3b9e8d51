r"""Geometric latent diffusion: a diffusion over the codes of point clouds, in the centred space.

    z = E(x, h),    y = (z_x / s_x, (z_h - m) / s_h),    y_t = alpha_t y + sigma_t eps

with eps of the centred space's standard normal distribution, and a network that turns as the
clouds do: eps_theta(R y_x + t, y_h) = (R eps_x, eps_h). The network gives a difference, which is
rotated and never translated. Noise and network being so, the samples' distribution is invariant,
p(y_x, y_h) = p(R y_x, y_h), and the mean of the positions is 0 at every step of every sampler.

The scales s_x and s_h, one number for the positions and one for all features, and the features'
means m are measured on the training data between the stages. Positions then have a spread of 1
and features one of 1/4, as in EDM: at the noise at which positions show what is bound to what,
features are still open. Were they as large, they would be settled long before.

How many points a sample has is drawn from the training clouds: together with its property,
p(N, c), where the diffusion is conditioned on one, and as p(N | c) of those near c, where c is
asked for. A fragment may be kept while the rest is drawn (`fragments`); sizes are then those of
clouds that are larger than it.

With an autoencoder that has a likelihood the whole has a bound,

    ln p(x, h) >= E_q[ln p(x, h | z) - ln q(z | x, h)] + bound of ln p(z),

about the shape of clouds of n labelled points: a density on centred positions, in nats, given n.

References:
    Geometric Latent Diffusion Models for 3D Molecule Generation (Xu, Powers, Dror, Ermon &
    Leskovec, 2023), arXiv:2305.01140.
    Equivariant Diffusion for Molecule Generation in 3D (Hoogeboom, Garcia Satorras, Vignac &
    Welling, 2022), arXiv:2203.17003.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trilemma.core.adjusting import with_adjusted_part
from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain, PropertyStatistics
from trilemma.core.errors import BadInput
from trilemma.core.model import Model, Objective
from trilemma.core.noise import Noise
from trilemma.core.point_cloud import mask_of
from trilemma.families.diffusion.diffusion import Diffusion
from trilemma.families.diffusion.fragments import fragment_projection, in_frame
from trilemma.families.diffusion.options import DiffusionSampling, named_sampler
from trilemma.families.point_cloud_vae import PointCloudCodes, PointCloudVae
from trilemma.maths.diffusion.samplers import Ancestral, Sampler
from trilemma.maths.diffusion.spaces import Centred
from trilemma.maths.distributions import log_normal

__all__ = ["GeometricDiffusion", "GeometricLatentDiffusion", "cloud_grid"]


TOGETHER = 32
"""Samples of like size that are drawn together: a network computes what the largest needs."""
FEATURES = 0.25
"""Spread of the features, where that of the positions is 1."""


def cloud_grid(sampler: str | Sampler, chain: int) -> str:
    """Return the grid of a sampler of clouds: in continuous time ancestral takes log-normal steps.

    What is bound to what is settled at noise levels between 0.2 and 1, where the log-normal grid
    makes half of its steps, and one that is even in ln SNR one of seven.

    Arguments:
        sampler: Its name, or itself.
        chain: T; 0: continuous time.
    """
    is_ancestral = isinstance(named_sampler(sampler), Ancestral)
    return "log-normal" if is_ancestral and not chain else "auto"


class GeometricDiffusion(Model[Examples, Tensor]):
    """Codes of clouds, and a diffusion over them in units of their spread, features in quarters.

    Its own objectives are those of the codes; `diffusion` is a model of its own, trained in a
    later stage.

    Arguments:
        first_stage: Clouds to codes and back.
        diffusion: Over codes [N, 3 + k], in the centred space; its prompts draw sizes.
        domain: Where the clouds lie.
    """

    position_scale: Tensor
    feature_mean: Tensor
    feature_scale: Tensor

    def __init__(self, first_stage: PointCloudCodes, diffusion: Diffusion, domain: Domain) -> None:
        super().__init__()
        self.first_stage, self.diffusion, self.domain = first_stage, diffusion, domain
        self.register_buffer("position_scale", torch.ones(()))
        self.register_buffer("feature_mean", torch.zeros(first_stage.features))
        self.register_buffer("feature_scale", torch.ones(()))

    def objectives(self) -> Sequence[Objective[Examples]]:
        """Return the player of the first stage, if it has one."""
        return self.first_stage.objectives()

    @torch.no_grad()
    def measure(self, z: Float[Tensor, "M N D"], mask: Bool[Tensor, "M N"]) -> None:
        """Take scales and means from codes of the training data.

        Raises:
            BadInput: Codes are not finite, or do not differ.
        """
        if not bool(z.isfinite().all()):
            raise BadInput(
                "the first stage gives codes that are not finite; train it again with a lower "
                "--lr."
            )
        z_double = z.double()
        squares = z_double[..., :3].square().sum()
        degrees = (3 * (mask.sum(1) - 1)).sum().clamp_min(1)
        features = z_double[..., 3:][mask]
        mean = features.mean(0)
        spread = (features - mean).square().mean().sqrt()
        self.position_scale.copy_((squares / degrees).sqrt())
        self.feature_mean.copy_(mean)
        # Features of clouds of one type are all alike: nothing is to be learnt of them.
        self.feature_scale.copy_(spread / FEATURES if spread > 1e-6 else torch.ones(()))
        if not bool(self.position_scale > 0):
            raise BadInput("all points of every cloud lie at one place.")

    def standardised(
        self, z: Float[Tensor, "B N D"], mask: Bool[Tensor, "B N"]
    ) -> Float[Tensor, "B N D"]:
        """Return y of codes."""
        features = (z[..., 3:] - self.feature_mean) / self.feature_scale
        return torch.cat([z[..., :3] / self.position_scale, features], -1) * mask[..., None]

    def codes_of(
        self, y: Float[Tensor, "B N D"], mask: Bool[Tensor, "B N"]
    ) -> Float[Tensor, "B N D"]:
        """Undo `standardised`."""
        features = y[..., 3:] * self.feature_scale + self.feature_mean
        return torch.cat([y[..., :3] * self.position_scale, features], -1) * mask[..., None]

    def latents(self, x: Float[Tensor, "B N 4"]) -> Float[Tensor, "B N D"]:
        """Return y of clouds in data units."""
        return self.standardised(self.first_stage.codes(x), mask_of(x))

    def clouds(self, y: Float[Tensor, "B N D"], mask: Bool[Tensor, "B N"]) -> Tensor:
        """Return clouds in data units of y."""
        return self.first_stage.clouds(self.codes_of(y, mask), mask)

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
        if "sampler" in options and "grid" not in options:
            options["grid"] = cloud_grid(options["sampler"], self.diffusion.chain)
        if options.get("guidance", 1) != 1 and not self.properties:
            raise BadInput(
                f"guidance {options['guidance']:g} was given for a model without a property; "
                "leave it out, or train with --property NAME."
            )
        return with_adjusted_part(self, "diffusion", options)

    @property
    def properties(self) -> tuple[PropertyStatistics, ...]:
        """Return the properties that samples can be asked to have; none without a condition."""
        return self.domain.properties

    def sized(
        self,
        condition: Condition | None,
        noise: Noise,
        least: Int[Tensor, " B"] | None = None,
    ) -> tuple[Condition, Bool[Tensor, "B N"]]:
        """Return a condition that says which points there are, and these points.

        Where nothing is said, all that is asked of a sample is drawn as the data have it; where a
        property is, sizes are those of training clouds near it.

        Arguments:
            condition: What is asked for.
            noise: B rows.
            least: Points that a cloud has at least, where its size is drawn; None: any number.

        Raises:
            BadInput: No training cloud has so many points.
        """
        prompts, source = self.diffusion.prompts, noise.named("prompt")
        assert prompts is not None
        if condition is None:
            sized: Condition = prompts(source, least)
        elif condition.points is not None:
            sized = condition
        elif condition.properties is not None:
            points = prompts.sizes_near(condition.properties, source, least)  # type: ignore[operator]
            sized = replace(condition, points=points)
        else:
            sized = replace(condition, points=prompts(source, least).points)
        assert sized.points is not None
        return sized, sized.points

    @torch.no_grad()
    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Tensor:
        """Draw n clouds in data units, centred.

        Arguments:
            n: How many.
            condition: Which points they have, and wanted properties; drawn as the data have them
                where nothing is said.
            noise: n rows.
        """
        noise = Noise.fresh(n, self.position_scale.device) if noise is None else noise
        condition, points = self.sized(condition, noise)
        by_size = points.sum(1).argsort(stable=True)
        batches = [
            self.diffusion.sample(
                len(rows), condition=condition.reordered(rows), noise=noise.reordered(rows)
            )
            for rows in by_size.split(TOGETHER)
        ]
        return self.clouds(torch.cat(batches)[by_size.argsort()], points)

    @torch.no_grad()
    def path(
        self,
        n: int,
        *,
        frames: int,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Sequence[Tensor]:
        """Return about `frames` states from noise to `sample`'s clouds, decoded."""
        noise = Noise.fresh(n, self.position_scale.device) if noise is None else noise
        condition, points = self.sized(condition, noise)
        states = self.diffusion.path(n, frames=frames, condition=condition, noise=noise)
        return [self.clouds(y, points) for y in states]

    @torch.no_grad()
    def complete(
        self,
        x: Float[Tensor, "B N 4"],
        mask: Bool[Tensor, "B N 4"],
        *,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Float[Tensor, "B N 4"]:
        """Return clouds in data units that hold a fragment as it lies: x where `mask` is true.

        The fragment may be in several pieces. Its points keep their positions, which are not
        centred, and their types; the others are drawn around it.

        Arguments:
            x: The fragment's points in data units, anything else not being read.
            mask: True in the rows of its points, of which a sample has at least one more; where
                it is false everywhere the clouds are samples.
            condition: Which points there are, and wanted properties; None draws how many there
                are as training clouds that are larger than the fragment have them.
            noise: B rows.

        Raises:
            BadInput: No training cloud is larger than the fragment, or the points that are asked
                for are not the fragment's and at least one more.
        """
        noise = Noise.fresh(len(x), x.device) if noise is None else noise
        fragment_mask = mask.all(-1) & mask_of(x)
        fragment = torch.where(fragment_mask[..., None], x, 0.0)
        last_index = (fragment_mask * torch.arange(1, x.shape[1] + 1, device=x.device)).amax(1)
        min_points = (
            torch.maximum(fragment_mask.sum(1) + 1, last_index)
            if bool(fragment_mask.any())
            else None
        )
        condition, points = self.sized(condition, noise, min_points)
        if not bool(((points | ~fragment_mask).all(1) & (points & ~fragment_mask).any(1)).all()):
            raise BadInput(
                "the points that are asked for are not those of the fragment and at least one "
                "more; ask for more of them."
            )

        def agree(clean: Tensor, sample_condition: Condition | None) -> Tensor:
            clouds = in_frame(self.clouds(clean, points), fragment, fragment_mask)
            return fragment_projection(self.latents(clouds), fragment_mask)(
                clean, sample_condition
            )

        y = self.diffusion.inpaint(agree, condition=condition, noise=noise)
        return in_frame(self.clouds(y, points), fragment, fragment_mask)


class GeometricLatentDiffusion(GeometricDiffusion):
    """With an autoencoder of which it is known what it keeps, and how likely data are.

    Arguments:
        first_stage: The autoencoder.
        diffusion: Over its codes.
        domain: Where the clouds lie.
    """

    first_stage: PointCloudVae

    def __init__(self, first_stage: PointCloudVae, diffusion: Diffusion, domain: Domain) -> None:
        super().__init__(first_stage, diffusion, domain)

    @torch.no_grad()
    def reconstruct(self, x: Tensor, *, noise: Noise | None = None) -> Tensor:
        """Return what the autoencoder makes of clouds, in data units."""
        return self.first_stage.reconstruct(x, noise=noise)

    @torch.no_grad()
    def bound(
        self, x: Tensor, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Float[Tensor, " B"]:
        """Return an estimate whose mean is at most ln p(x, h | n) of centred clouds, in nats.

        Arguments:
            x: Clouds in data units.
            condition: Wanted properties.
            noise: B rows.
        """
        first = self.first_stage
        noise = Noise.fresh(len(x), x.device) if noise is None else noise
        positions, one_hot, mask = first.scaled(x)
        space, mu = Centred(mask), first.encoded(positions, one_hot, mask)
        z = first.sampled_codes(mu, space, noise)
        log_x, log_h, _ = first.log_likelihood(z, positions, one_hot, mask)
        spread = torch.full_like(mu, first.log_var)
        log_q = space.total(log_normal(z, mu, spread), lambda: log_normal(mu, mu, spread))
        degrees = 3 * (mask.sum(1) - 1)
        volume = degrees * self.position_scale.log()
        volume = volume + mask.sum(1) * first.features * self.feature_scale.log()
        conditioned = replace(condition or Condition(), points=mask)
        prior = self.diffusion.bound(
            self.standardised(z, mask), condition=conditioned, noise=noise.named("diffusion")
        )
        return log_x + log_h - log_q + prior - volume - degrees * math.log(first.spread)
