r"""An equivariant variational autoencoder of point clouds.

A cloud has positions x and types h; its latents are a point z_x and k numbers z_h for each point,

    (z_x, z_h) = E(x, h),      (x, h) ~ p(. | z_x, z_h) around D(z_x, z_h),

and both networks move as the cloud does: (R z_x + t, z_h) = E(R x + t, h), and so for D. A pose is
not lost and needs no code of its own. The posterior and the likelihood live in the centred space,

    q(z | x, h) = N(mu_x, s^2 I) N(mu_h, s^2 I),          mu = E(x, h), s a fixed number
    p(x | z)    = N(x; D_x(z), c^2 I),  c learned;        p(h | z) = softmax of D_h(z)

    loss = -E_q[ln p(x | z) + ln p(h | z)] + KL(q(z | x, h) || N(0, I))

in nats a point. KL and likelihood count 3 (n - 1) degrees of freedom of the positions of n points.

`codes = "fixed"` leaves the encoder as it was born, with z_x = x: what the released code of the
paper does; and `ScaledPointCloud` has no autoencoder at all, but positions and one-hot types, as
equivariant diffusion (EDM) has them.

References:
    Geometric Latent Diffusion Models for 3D Molecule Generation (Xu, Powers, Dror, Ermon &
    Leskovec, 2023), arXiv:2305.01140.
    Equivariant Diffusion for Molecule Generation in 3D (Hoogeboom, Garcia Satorras, Vignac &
    Welling, 2022), arXiv:2203.17003.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain, Real
from trilemma.core.model import Loss, Model, Objective
from trilemma.core.noise import Noise
from trilemma.core.point_cloud import centred, mask_of, positions, types
from trilemma.maths.diffusion.spaces import Centred
from trilemma.maths.distributions import kl_normal, log_normal, reparameterise

__all__ = ["PointCloudCodes", "PointCloudVae", "ScaledPointCloud"]

SCALES = (1e-4, 1.0)
"""Least and largest c, in units of the spread of positions."""
BORN = 0.01
"""c at birth. Both networks are born as nearly the identity of positions, which a c of this size
keeps: were it near 1, the prior would first draw the codes' positions together, where the noise s
weighs as much more, and the diffusion would have to be as much finer."""


class PointCloudCodes(Model[Examples, Tensor]):
    """Codes [B, N, 3 + k] of clouds [B, N, 4], positions first, and clouds of codes.

    Arguments:
        domain: Where the clouds lie: its values' spread is that of centred positions.
        features: k.
    """

    def __init__(self, domain: Domain, features: int) -> None:
        super().__init__()
        assert isinstance(domain.values, Real)
        assert isinstance(domain.values.spread, float)
        self.domain, self.features, self.spread = domain, features, domain.values.spread
        self.kinds = max(1, len(domain.elements))

    @property
    def shape(self) -> tuple[int, int]:
        """Return the shape of one cloud's codes, (N, 3 + k)."""
        return self.domain.shape[0], 3 + self.features

    @abstractmethod
    def codes(self, x: Float[Tensor, "B N 4"]) -> Float[Tensor, "B N D"]:
        """Return the codes of clouds in data units, centred."""

    @abstractmethod
    def clouds(self, z: Float[Tensor, "B N D"], mask: Bool[Tensor, "B N"]) -> Tensor:
        """Return clouds in data units, centred, of codes."""

    def reconstruct(self, x: Tensor, *, noise: Noise | None = None) -> Tensor:
        """Return what the codes keep of clouds, in data units."""
        return self.clouds(self.codes(x), mask_of(x))

    def scaled(self, x: Float[Tensor, "B N 4"]) -> tuple[Tensor, Tensor, Tensor]:
        """Return centred positions in units of their spread, one-hot types, and the mask."""
        mask = mask_of(x)
        one_hot = F.one_hot((types(x) - 1).clamp_min(0), self.kinds).to(x) * mask[..., None]
        return centred(positions(x), mask) / self.spread, one_hot, mask

    def assembled(self, at: Tensor, scores: Tensor, mask: Tensor) -> Float[Tensor, "B N 4"]:
        """Return clouds of scaled positions and scores of the types, the highest of which wins."""
        kinds = scores.argmax(-1, keepdim=True) + 1
        weights = mask[..., None].to(at)
        return torch.cat([at * self.spread, kinds.to(at)], dim=-1) * weights

    @torch.no_grad()
    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Tensor:
        """Return the clouds of codes from N(0, I), which are not the data's."""
        device = self.device_of()
        noise = Noise.fresh(n, device) if noise is None else noise
        mask = torch.ones(n, self.shape[0], dtype=torch.bool, device=device)
        if condition is not None and condition.points is not None:
            mask = condition.points
        return self.clouds(Centred(mask).normal(noise.named("state"), self.shape), mask)

    def device_of(self) -> torch.device:
        """Return where the parameters lie."""
        return next((p.device for p in self.parameters()), torch.device("cpu"))


class ScaledPointCloud(PointCloudCodes):
    """No autoencoder: positions in units of their spread, and types as one-hot numbers.

    Arguments:
        domain: Where the clouds lie.
    """

    def __init__(self, domain: Domain) -> None:
        super().__init__(domain, max(1, len(domain.elements)))

    def objectives(self) -> Sequence[Objective[Examples]]:
        """Return none: nothing is learnt."""
        return []

    def codes(self, x: Float[Tensor, "B N 4"]) -> Float[Tensor, "B N D"]:
        """Return scaled positions and one-hot types."""
        positions, one_hot, _ = self.scaled(x)
        return torch.cat([positions, one_hot], dim=-1)

    def clouds(self, z: Float[Tensor, "B N D"], mask: Bool[Tensor, "B N"]) -> Tensor:
        """Return clouds whose types are those of the largest number."""
        return self.assembled(z[..., :3], z[..., 3:], mask)


class PointCloudVae(PointCloudCodes):
    """The autoencoder.

    Arguments:
        encoder: (positions, one-hot types, mask) to (positions, k numbers a point).
        decoder: (positions, k numbers a point, mask) to (positions, a score of each type).
        domain: Where the clouds lie.
        features: k.
        noise: s, the spread of q, in units of the spread of positions.
        is_trained: Whether the encoder is trained; else z_x = x, and z_h is a fixed function.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        domain: Domain,
        *,
        features: int = 2,
        noise: float = 0.003,
        is_trained: bool = True,
    ) -> None:
        super().__init__(domain, features)
        self.encoder, self.decoder, self.is_trained = encoder, decoder, is_trained
        self.log_var = 2 * math.log(noise)
        self.log_scale = nn.Parameter(torch.tensor(math.log(BORN)))

    def objectives(self) -> Sequence[Objective[Examples]]:
        """Return the one player."""
        parameters = [*self.decoder.parameters(), self.log_scale]
        if self.is_trained:
            parameters += self.encoder.parameters()
        return [Objective("autoencoder", self.loss, parameters)]

    def encoded(self, at: Tensor, one_hot: Tensor, mask: Tensor) -> Float[Tensor, "B N D"]:
        """Return mu of scaled clouds as they lie."""
        mean_positions, features = self.encoder(at, one_hot, mask)
        if not self.is_trained:
            mean_positions, features = at, features.detach()
        return torch.cat([mean_positions, features], dim=-1)

    def codes(self, x: Float[Tensor, "B N 4"]) -> Float[Tensor, "B N D"]:
        """Return mu, the mean of q."""
        return self.encoded(*self.scaled(x))

    def clouds(self, z: Float[Tensor, "B N D"], mask: Bool[Tensor, "B N"]) -> Tensor:
        """Return the mean of p(x | z) and the likeliest types."""
        positions, scores = self.decoder(z[..., :3], z[..., 3:], mask)
        return self.assembled(positions, scores, mask)

    def reconstruct(self, x: Tensor, *, noise: Noise | None = None) -> Tensor:
        """Return the clouds of codes of q, with its noise; of its mean where none is given."""
        z, mask = self.codes(x), mask_of(x)
        if noise is not None:
            z = self.sampled_codes(z, Centred(mask), noise)
        return self.clouds(z, mask)

    def loss(self, batch: Examples) -> Loss:
        """Return the negative bound with a standard normal prior, in nats a point."""
        assert batch.noise is not None
        positions, one_hot, mask = self.scaled(batch.x)
        space, mu = Centred(mask), self.encoded(positions, one_hot, mask)
        z = self.sampled_codes(mu, space, batch.noise)
        log_x, log_h, error = self.log_likelihood(z, positions, one_hot, mask)
        spread = torch.full_like(mu, self.log_var)
        kl = space.total(kl_normal(mu, spread), lambda: kl_normal(torch.zeros_like(mu), spread))
        points = mask.sum(1)
        losses = (kl - log_x - log_h) / points
        return Loss(
            losses.mean(),
            {
                "kl": (kl / points).detach().mean(),
                "positions": (-log_x / points).detach().mean(),
                "types": (-log_h / points).detach().mean(),
                "rmsd": (error / points).sqrt().mean().detach() * self.spread,
            },
        )

    def sampled_codes(self, mu: Tensor, space: Centred, noise: Noise) -> Float[Tensor, "B N D"]:
        """Draw z of q."""
        eps = space.normal(noise.named("code"), tuple(mu.shape[1:]))
        return reparameterise(mu, torch.full_like(mu, self.log_var), eps)

    def log_likelihood(
        self, z: Tensor, at: Tensor, one_hot: Tensor, mask: Tensor
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"], Float[Tensor, " B"]]:
        """Return ln p(x | z) of scaled positions, ln P(h | z), and the squared error.

        Arguments:
            z: Codes.
            at: Scaled positions, centred.
            one_hot: Types.
            mask: Which points are there.
        """
        decoded, scores = self.decoder(z[..., :3], z[..., 3:], mask)
        log_var = 2 * self.log_scale.clamp(*map(math.log, SCALES)).expand_as(at)
        density = log_normal(at, decoded, log_var)
        log_x = Centred(mask).total(density, lambda: log_normal(at, at, log_var))
        log_h = (scores.float().log_softmax(-1) * one_hot).flatten(1).sum(1)
        return log_x, log_h, (at - decoded).square().flatten(1).sum(1)
