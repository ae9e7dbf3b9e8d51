r"""The normalizing flow: a density by an invertible map to the standard normal.

    z = f(y),  z ~ N(0, I)     ln p(y) = ln N(f(y); 0, I) + ln |det dz/dy|     y = f^-1(z)

f is a `Bijection`; the loss is -ln p(y) itself. With classes, f is another map for each, and a
tenth of the labels is hidden in training, so that "no class" has a map and a density too.

An inverse in float32 is not exact, and errors grow with the layers that they pass:
`inverse_error` and `depth_errors` measure it.

Levels are reached by spreading each over its bin. The `VariationalDequantiser` learns how, by a
flow conditioned on the image,

    eps ~ N(0, I),  h = g(eps; x),  u = Phi(h)
    ln q(u|x) = ln N(eps; 0, I) - ln |det dh/deps| - ln N(h; 0, I),

Phi the normal distribution function: while g is the identity, u is even and ln q = 0.

References:
    Density estimation using Real NVP (Dinh, Sohl-Dickstein & Bengio, 2017), arXiv:1605.08803
    Glow (Kingma & Dhariwal, 2018), https://arxiv.org/abs/1807.03039
    Flow++ (Ho, Chen, Srinivas, Duan & Abbeel, 2019), https://arxiv.org/abs/1902.00275
    Understanding and Mitigating Exploding Inverses in Invertible Neural Networks (Behrmann,
        Vicol, Wang, Grosse & Jacobsen, 2021), https://arxiv.org/abs/2006.09347
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trilemma.core.adjusting import replaced_options, with_sampling
from trilemma.core.batch import Condition
from trilemma.core.noise import Noise
from trilemma.families.dequantised_density import Continuous, Dequantiser
from trilemma.families.temperature import Tempered
from trilemma.maths.distributions import log_normal, per_example
from trilemma.maths.transforms import Bijection, exact

__all__ = ["Bijection", "NormalizingFlow", "NormalizingFlowSampling", "VariationalDequantiser"]


@dataclass(frozen=True)
class NormalizingFlowSampling(Tempered):
    """How z is drawn: an option at the call; T is the spread of z."""


class NormalizingFlow(Continuous):
    """A density of y through a bijection to the standard normal.

    Arguments:
        bijection: y to z, conditioned on a class's vector where there is an embedding.
        shape: Shape of one y.
        embedding: A condition and the number of rows to [B, E], or None.
        label_dropout: Share of examples whose class is hidden in training.
        sampling: How z is drawn; `NormalizingFlowSampling()` if none is given.
        log_volume: ln of a bin's width, where levels are spread evenly: with it the log tells
            bits per dimension of the data.
    """

    likelihood_by = "exact"

    def __init__(
        self,
        bijection: Bijection,
        shape: tuple[int, ...],
        embedding: nn.Module | None = None,
        *,
        label_dropout: float = 0.1,
        sampling: NormalizingFlowSampling | None = None,
        log_volume: float | None = None,
    ) -> None:
        super().__init__()
        self.bijection, self.shape, self.embedding = bijection, tuple(shape), embedding
        self.label_dropout, self.log_volume = label_dropout, log_volume
        self.sampling = sampling or NormalizingFlowSampling()
        self.dimensions = math.prod(shape)
        with torch.no_grad():  # the shape in which the bijection wants its z back
            z, _ = bijection(torch.zeros(1, *shape), self._embed_condition(None, 1))
        self.latent = tuple(z.shape[1:])

    def adjusted(self, **options: Any) -> Self:  # noqa: ANN401
        """Return a view of the same weights that is drawn from with other options.

        Arguments:
            options: Fields of `NormalizingFlowSampling`.

        Raises:
            BadInput: There is no such option, or its value makes no sense.
        """
        return with_sampling(self, replaced_options(self.sampling, options))

    def cost(
        self, y: Tensor, *, condition: Condition | None, noise: Noise
    ) -> tuple[Float[Tensor, " B"], Mapping[str, Tensor]]:
        """Return -ln p(y), and its two parts for the log."""
        if condition is not None and self.embedding is not None:
            condition = condition.partly_hidden(self.label_dropout, noise)
        prior, log_det = self._terms(y, condition)
        nll = -(prior + log_det)
        terms = {"prior": prior.detach().mean(), "log_det": log_det.detach().mean()}
        if self.log_volume is not None:
            nats = nll.detach().mean() / self.dimensions - self.log_volume
            terms["bits"] = nats / math.log(2)
        return nll, terms

    def log_density(
        self, y: Tensor, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Float[Tensor, " B"]:
        """Return ln p(y) in nats, exactly."""
        prior, log_det = self._terms(y, condition)
        return prior + log_det

    def draw(self, n: int, *, condition: Condition | None = None, noise: Noise) -> Tensor:
        """Draw z from N(0, T^2 I), and return the y of it, [n, *shape]."""
        z = self.sampling.temperature * noise.normal(self.dimensions)
        return self.decode(z, condition=condition)

    def encode(
        self, y: Float[Tensor, "B ..."], *, condition: Condition | None = None
    ) -> Float[Tensor, "B D"]:
        """Return z, flat."""
        return self.bijection(y, self._embed_condition(condition, len(y)))[0].flatten(1)

    def decode(
        self, z: Float[Tensor, "B D"], *, condition: Condition | None = None
    ) -> Float[Tensor, "B ..."]:
        """Return the y of a flat z; it is computed without gradients."""
        with torch.no_grad():
            cond_embedding = self._embed_condition(condition, len(z))
            return self.bijection.inverse(z.unflatten(1, self.latent), cond_embedding)

    @torch.no_grad()
    def start(self, y: Tensor, *, condition: Condition | None = None) -> None:
        """Set what starts from data, layer after layer, from one fixed batch."""
        self.bijection.start(y, self._embed_condition(condition, len(y)))

    @torch.no_grad()
    def inverse_error(
        self, y: Tensor, *, condition: Condition | None = None
    ) -> Float[Tensor, " B"]:
        """Return max |y - f^-1(f(y))| of each example, computed in float32."""
        return self._round_trip(y, self.bijection.depth, condition)

    @torch.no_grad()
    def depth_errors(
        self, y: Tensor, *, condition: Condition | None = None
    ) -> Float[Tensor, " K"]:
        """Return the largest error after 1, 2, … K layers and back, K the number of layers."""
        depths = range(1, self.bijection.depth + 1)
        return torch.stack([self._round_trip(y, k, condition).max() for k in depths])

    def _round_trip(self, y: Tensor, depth: int, condition: Condition | None) -> Tensor:
        with torch.autocast(y.device.type, enabled=False):
            cond_embedding = self._embed_condition(condition, len(y))
            reconstruction = self.bijection.round_trip(y, depth, cond_embedding)
        return (y - reconstruction).abs().flatten(1).amax(1)

    def _terms(
        self, y: Tensor, condition: Condition | None
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """Return ln N(z; 0, I) and ln|det dz/dy|."""
        z, log_det = self.bijection(y, self._embed_condition(condition, len(y)))
        return _standard(exact(z)), exact(log_det)

    def _embed_condition(
        self, condition: Condition | None, rows: int
    ) -> Float[Tensor, "B E"] | None:
        return None if self.embedding is None else self.embedding(condition, rows)


class VariationalDequantiser(Dequantiser):
    """Learns how to spread levels over their bins.

    Arguments:
        bijection: eps, [B, *shape], to h in the same shape; conditioned on what `context` gives.
        context: Scaled data, [B, *shape], to the bijection's condition.
        levels: How many levels there are.
    """

    def __init__(self, bijection: Bijection, context: nn.Module, levels: int) -> None:
        super().__init__()
        self.bijection, self.context, self.levels = bijection, context, levels

    def forward(self, x: Tensor, noise: Noise) -> tuple[Tensor, Float[Tensor, " B"]]:
        """Return u in [0, 1) and ln q(u|x), for x in data units."""
        context = self.context(x.float() * (2 / (self.levels - 1)) - 1)
        eps = noise.normal(*x.shape[1:])
        h, log_det = self.bijection(eps, context)
        log_q = _standard(eps) - log_det - _standard(h)
        return torch.special.ndtr(h).clamp(max=1 - 2**-24), log_q


def _standard(z: Tensor) -> Float[Tensor, " B"]:
    zero = torch.zeros((), dtype=z.dtype, device=z.device)
    return per_example(log_normal(z, zero, zero))
