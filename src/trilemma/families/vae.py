r"""The variational autoencoder.

    p(z) = N(0, I)     p(x|z) = a likelihood around f(z)     q(z|x) = N(g(x), diag h(x))

    ln p(x) = KL(q(z|x) || p(z|x)) + ELBO
    ELBO    = E_q[ln p(x|z)] - KL(q(z|x) || p(z))  <=  ln p(x)
    loss    = -E_q[ln p(x|z)] + beta_k sum_j max(KL_j, lambda),     z = mu + sigma eps

With p(x|z) = N(f(z), c I) the first term is C ||x - f(z)||^2 and a constant, C = 1 / (2 c). The
loss takes one z for each example; `bound` reports the same estimate with beta = 1 and lambda = 0,
and `importance_bound` the one that nears ln p(x) as k grows,

    E[ln 1/k sum_i p(x, z_i) / q(z_i|x)]  <=  ln p(x).

lambda, the *free bits*, is a number of nats that each unit of the code may spend for nothing, and
beta_k = beta min(1, (k + 1) / K) *warms up* over the first K updates. Both keep units from being
given up before the decoder has learned to read them.

Everything but how z is found and decoded stands in `Variational`, which the VAE of one level and
the hierarchical one share.

References:
    Auto-Encoding Variational Bayes (Kingma & Welling, 2014), https://arxiv.org/abs/1312.6114
    beta-VAE (Higgins et al., 2017)
    Importance Weighted Autoencoders (Burda, Grosse & Salakhutdinov, 2016),
        https://arxiv.org/abs/1509.00519
    Improving Variational Inference with Inverse Autoregressive Flow (Kingma, Salimans,
        Jozefowicz, Chen, Sutskever & Welling, 2016), appendix C.8 for free bits,
        https://arxiv.org/abs/1606.04934
    Ladder Variational Autoencoders (Sønderby, Raiko, Maaløe, Sønderby & Winther, 2016), section
        2.3 for the warm-up, https://arxiv.org/abs/1602.02282
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trilemma.core.adjusting import replaced_options, with_sampling
from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.model import Activity, Loss, Model, Objective
from trilemma.core.noise import Noise
from trilemma.families.likelihood import Likelihood
from trilemma.maths.distributions import kl_normal, log_normal, per_example, reparameterise

__all__ = ["ACTIVE", "LatentPosterior", "Vae", "VaeSampling", "Variational"]

ACTIVE = 0.01
"""Variance over examples from which a unit's mean counts as saying something (Burda et al.)."""
HIDDEN = 0.1
"""Share of training examples whose class is hidden from a conditional model."""
MEMORY = 2**26
"""Numbers that decoding may hold at once, about 256 MB."""
BUFFERS = 64
"""Numbers that decoding holds for each number of the decoder's output, roughly."""
LARGEST = 1024
"""Examples decoded together at most: more are no faster."""


@dataclass(frozen=True)
class LatentPosterior:
    """q(z|x) = N(mu, diag e^log_var), for a batch."""

    mu: Float[Tensor, "B J"]
    log_var: Float[Tensor, "B J"]

    def at(self, eps: Float[Tensor, "B J"]) -> Float[Tensor, "B J"]:
        """Return the z of standard normal numbers."""
        return reparameterise(self.mu, self.log_var, eps)

    def kl_of_units(self) -> Float[Tensor, "B J"]:
        """Return KL(q(z_j|x) || N(0, 1)) of each unit, in nats."""
        return kl_normal(self.mu, self.log_var)

    def kl(self) -> Float[Tensor, " B"]:
        """Return KL(q(z|x) || N(0, I)) in nats."""
        return per_example(self.kl_of_units())

    def log_ratio(self, z: Float[Tensor, "B J"]) -> Float[Tensor, " B"]:
        """Return ln N(z; 0, I) - ln q(z|x)."""
        zeros = torch.zeros_like(z)
        return per_example(log_normal(z, zeros, zeros) - log_normal(z, self.mu, self.log_var))


@dataclass(frozen=True)
class Inferred:
    """One z for each example, how it was found, and what it decodes to."""

    f: Float[Tensor, "B ..."]
    """What the likelihood is around."""
    z: Float[Tensor, "B J"]
    posterior: LatentPosterior
    """q of each unit given x and, with several levels, the units above."""


@dataclass(frozen=True)
class VaeSampling:
    """What a code is decoded to: an option at the call.

    Arguments:
        draw: What `sample` gives for a z: 'mean', the likelihood's middle, or 'sample', a draw
            from it. Only the second is a draw from the model's p(x), and it carries the
            likelihood's noise, independent from pixel to pixel; pictures are shown without.

    Raises:
        BadInput: It is neither.
    """

    draw: str = "mean"

    def __post_init__(self) -> None:
        """Refuse an unknown way."""
        if self.draw not in ("mean", "sample"):
            raise BadInput(f"draw '{self.draw}' was given; give 'mean' or 'sample'.")


class Variational(Model[Examples, Tensor]):
    """A model of x by a code z ~ N(0, I), trained by the bound on ln p(x).

    Arguments:
        domain: Where the data lie.
        latent: J, numbers of a code.
        likelihood: What the decoder's numbers mean.
        embed: Condition and number of rows to vectors [B, E], the second argument of encoder and
            decoder; in training a tenth of the conditions is hidden. None for an unconditional
            model.
        beta: Weight of KL in the loss; 1 for the bound itself.
        free_bits: Nats lambda that each unit, or each level of several, may spend for nothing:
            the loss counts max(KL, lambda) of each example. Kingma et al. take the mean over the
            minibatch inside the maximum, which lets examples share what is free, but makes the
            loss of a batch another than the mean of its parts' losses.
        kl_warmup: K, updates over which the weight of KL rises to beta. They are counted in a
            buffer, so that a run that is resumed goes on where it was.
        sampling: What a code is decoded to; `VaeSampling()` if none is given.

    Raises:
        BadInput: A number lies outside its range.
    """

    run_buffers: ClassVar[tuple[str, ...]] = ("updates",)
    updates: Tensor

    def __init__(
        self,
        domain: Domain,
        latent: int,
        *,
        likelihood: Likelihood,
        embed: nn.Module | None = None,
        beta: float = 1.0,
        free_bits: float = 0.0,
        kl_warmup: int = 0,
        sampling: VaeSampling | None = None,
    ) -> None:
        super().__init__()
        if beta < 0:
            raise BadInput(f"beta {beta:g} was given; give 0 or more, 1 for the bound itself.")
        if free_bits < 0 or kl_warmup < 0:
            raise BadInput(
                f"free bits {free_bits:g} and a KL warm-up of {kl_warmup} updates were given; "
                "give 0 or more, 0 for none."
            )
        self.likelihood, self.embed = likelihood, embed
        self.domain, self.latent, self.beta = domain, latent, beta
        self.sampling = sampling or VaeSampling()
        self.free_bits, self.kl_warmup = free_bits, kl_warmup
        outputs = domain.scaled_dimensions * likelihood.outputs
        self.together = max(1, min(LARGEST, MEMORY // (BUFFERS * outputs)))
        """Examples decoded together where many are; changes memory and nothing else."""
        if kl_warmup:
            self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def adjusted(self, **options: Any) -> Self:  # noqa: ANN401
        """Return a view of the same weights that is drawn from with other options.

        Arguments:
            options: Fields of `VaeSampling`.

        Raises:
            BadInput: There is no such option, or its value makes no sense.
        """
        return with_sampling(self, replaced_options(self.sampling, options))

    @abstractmethod
    def features(
        self, x: Float[Tensor, "B ..."], cond: Float[Tensor, "B E"] | None
    ) -> tuple[Tensor, ...]:
        """Return what the encoder finds in x: all that q needs, computed once for many z."""

    @abstractmethod
    def inferred(
        self,
        features: Sequence[Tensor],
        eps: Float[Tensor, "B J"],
        cond: Float[Tensor, "B E"] | None,
    ) -> Inferred:
        """Return the z of standard normal numbers under q."""

    @abstractmethod
    def generated(
        self, z: Float[Tensor, "B J"], cond: Float[Tensor, "B E"] | None
    ) -> Float[Tensor, "B ..."]:
        """Return what the likelihood is around."""

    @abstractmethod
    def grouped(self, kl: Float[Tensor, "B J"]) -> Float[Tensor, "B G"]:
        """Return the KL of what has free bits together, from that of each unit."""

    # Training

    def objectives(self) -> Sequence[Objective[Examples]]:
        """Return the one player."""
        after = self._count if self.kl_warmup else None
        return [Objective("vae", self.loss, list(self.parameters()), after=after)]

    def loss(self, batch: Examples) -> Loss:
        """Return -E_q[ln p(x|z)] + beta_k sum max(KL, lambda), in nats per example."""
        assert batch.noise is not None
        noise = batch.noise[:]  # from its start: the same batch gives the same loss again
        condition = batch.condition
        if self.embed is not None and condition is not None:
            condition = condition.partly_hidden(HIDDEN, batch.noise)
        inferred = self._sample_posterior(batch.x, condition, noise)
        reconstruction = self.likelihood.log_prob(batch.x, inferred.f).mean()
        kl_of_units = inferred.posterior.kl_of_units()
        kl = per_example(kl_of_units).mean()
        free_bits_kl = per_example(self.grouped(kl_of_units).clamp_min(self.free_bits)).mean()
        value = -reconstruction + self._weight() * (free_bits_kl if self.free_bits else kl)
        terms = {
            "distortion": -reconstruction.detach(),
            "kl": kl.detach(),
            "bound": (reconstruction - kl).detach(),
        }
        return Loss(value, terms)

    def _weight(self) -> Tensor | float:
        """Return beta_k, the present weight of KL."""
        if not self.kl_warmup:
            return self.beta
        return self.beta * ((self.updates + 1) / self.kl_warmup).clamp_max(1)

    def _count(self) -> None:
        self.updates += 1

    # Bounds

    def terms(
        self, x: Float[Tensor, "B ..."], noise: Noise, condition: Condition | None = None
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """Return ln p(x|z) for one z of each example, and KL(q(z|x) || p(z))."""
        inferred = self._sample_posterior(x, condition, noise)
        return self.likelihood.log_prob(x, inferred.f), inferred.posterior.kl()

    def bound(
        self,
        x: Float[Tensor, "B ..."],
        *,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Float[Tensor, " B"]:
        """Return an unbiased estimate of the ELBO by one z, in nats per example.

        Without a condition it is about the model's own p(x), also where it is conditional.
        """
        reconstruction, kl = self.terms(x, noise or Noise.fresh(len(x), x.device), condition)
        return reconstruction - kl

    def importance_bound(
        self,
        x: Float[Tensor, "B ..."],
        k: int,
        *,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Float[Tensor, " B"]:
        """Return the importance-weighted bound with k draws of z, in nats per example.

        x is encoded once. Draws are decoded some at a time, as many as `MEMORY` allows, and
        their weights summed as they come, so that k = 5,000 needs no more memory than k = 50.

        Arguments:
            x: Data units, [B, ...].
            k: Draws; the bound rises with it towards ln p(x).
            condition: What x is; None says nothing.
            noise: B rows; the same give the same bound, however the draws are cut.

        Raises:
            BadInput: k is less than 1.
        """
        if k < 1:
            raise BadInput(f"an importance bound of k = {k} draws was asked for; give 1 or more.")
        noise, rows = noise or Noise.fresh(len(x), x.device), self.together
        parts = [
            self._importance(
                x[low : low + rows],
                k,
                None if condition is None else condition[low : low + rows],
                noise[low : low + rows],
            )
            for low in range(0, len(x), rows)
        ]
        return self.domain.at_most_certain(torch.cat(parts))

    def _importance(
        self, x: Tensor, k: int, condition: Condition | None, noise: Noise
    ) -> Float[Tensor, " B"]:
        cond_embedding = self._embed_condition(condition, len(x))
        features, total = self.features(x, cond_embedding), None
        chunk_size = max(1, self.together // len(x))
        for start in range(0, k, chunk_size):
            # One draw after another, whatever their number: their cutting changes nothing.
            eps = [noise.normal(self.latent) for _ in range(min(chunk_size, k - start))]
            part = (
                self._log_weights(x, features, torch.stack(eps, 1), cond_embedding)
                .double()
                .logsumexp(1)
            )
            total = part if total is None else torch.logaddexp(total, part)
        assert total is not None
        return (total - math.log(k)).to(features[0].dtype)

    def _log_weights(
        self, x: Tensor, features: Sequence[Tensor], eps: Tensor, cond: Tensor | None
    ) -> Float[Tensor, "B k"]:
        """Return ln p(x, z) / q(z|x) for the z of eps, [B, k, J]."""
        k = eps.shape[1]
        repeated = [feature.repeat_interleave(k, 0) for feature in features]
        cond = None if cond is None else cond.repeat_interleave(k, 0)
        inferred = self.inferred(repeated, eps.flatten(0, 1), cond)
        log_x = self.likelihood.log_prob(x.repeat_interleave(k, 0), inferred.f)
        return (log_x + inferred.posterior.log_ratio(inferred.z)).view(len(x), k)

    # Codes

    def encode(
        self, x: Float[Tensor, "B ..."], *, noise: Noise | None = None
    ) -> Float[Tensor, "B J"]:
        """Return the mean of q, of each unit given the means above, or with noise a draw."""
        cond_embedding = self._embed_condition(None, len(x))
        features = self.features(x, cond_embedding)
        eps = torch.zeros(len(x), self.latent, device=x.device)
        eps = eps.to(features[0].dtype) if noise is None else noise.normal(self.latent)
        return self.inferred(features, eps, cond_embedding).z

    def decode(self, z: Float[Tensor, "B J"]) -> Tensor:
        """Return the middle of p(x|z), in data units."""
        return self.likelihood.mean(self.generated(z, self._embed_condition(None, len(z))))

    @torch.no_grad()
    def active_units(self, x: Float[Tensor, "B ..."]) -> Float[Tensor, " J"]:
        """Return Var_x(E_q[z_j]) over the examples, of each unit.

        A unit that says nothing of x has the prior for q, and so the same mean for every x. With
        several levels the mean is taken given the means above, relative to the level's prior.
        """
        parts = [self.encode(part) for part in x.split(self.together)]
        return torch.cat(parts).var(0, correction=0)

    @torch.no_grad()
    def latent_activity(self, x: Float[Tensor, "B ..."], noise: Noise | None = None) -> Activity:
        """Return how many units are active on examples, and the mean KL of each.

        Arguments:
            x: Data units; a few hundred tell.
            noise: B rows, for the units above in a model of several levels.
        """
        noise, rows = noise or Noise.fresh(len(x), x.device), self.together
        total = torch.zeros(self.latent, device=x.device)
        for low in range(0, len(x), rows):
            inferred = self._sample_posterior(x[low : low + rows], None, noise[low : low + rows])
            total = total + inferred.posterior.kl_of_units().sum(0)
        active = int((self.active_units(x) > ACTIVE).sum())
        return Activity(active, self.latent, total / len(x))

    # Samples

    def resolve_condition(self, condition: Condition | None, noise: Noise) -> Condition | None:
        """Return the condition, or for None a class of a conditional model by its share."""
        if condition is None and self.embed is not None and self.domain.classes:
            return Condition.sample(self.domain.frequencies, noise.named("label"))
        return condition

    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Tensor:
        """Draw z from N(0, I), and x as the option `draw` says, in data units.

        A conditional model draws classes by their frequencies where none are given.
        """
        noise = noise or Noise.fresh(n, next(self.parameters()).device)
        condition = self.resolve_condition(condition, noise)
        f = self.generated(noise.normal(self.latent), self._embed_condition(condition, n))
        is_mean = self.sampling.draw == "mean"
        return self.likelihood.mean(f) if is_mean else self.likelihood.draw(f, noise)

    def _sample_posterior(self, x: Tensor, condition: Condition | None, noise: Noise) -> Inferred:
        """Return one z of each example."""
        cond_embedding = self._embed_condition(condition, len(x))
        return self.inferred(
            self.features(x, cond_embedding), noise.normal(self.latent), cond_embedding
        )

    def _embed_condition(
        self, condition: Condition | None, rows: int
    ) -> Float[Tensor, "B E"] | None:
        return None if self.embed is None else self.embed(condition, rows)


class Vae(Variational):
    """One level: a code whose units are independent under q(z|x).

    Arguments:
        encoder: [B, *shape] scaled to [B, 2 J]: mu and ln sigma^2.
        decoder: [B, J] to what the likelihood wants, [B, outputs * C, ...].
        domain: Where the data lie.
        latent: J, numbers of a code.
        likelihood: What the decoder's numbers mean.
        kwargs: Further arguments of `Variational`.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        domain: Domain,
        latent: int,
        *,
        likelihood: Likelihood,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(domain, latent, likelihood=likelihood, **kwargs)
        self.encoder, self.decoder = encoder, decoder

    def posterior(
        self, x: Float[Tensor, "B ..."], cond: Float[Tensor, "B E"] | None = None
    ) -> LatentPosterior:
        """Return q(z|x) of data in data units."""
        y = self.domain.values.scale(x)
        parameters = self.encoder(y) if cond is None else self.encoder(y, cond)
        return LatentPosterior(*parameters.float().chunk(2, dim=1))

    def features(self, x: Tensor, cond: Tensor | None) -> tuple[Tensor, ...]:
        """Return mu and ln sigma^2."""
        posterior = self.posterior(x, cond)
        return posterior.mu, posterior.log_var

    def inferred(self, features: Sequence[Tensor], eps: Tensor, cond: Tensor | None) -> Inferred:
        """Return z = mu + sigma eps, and what it decodes to."""
        posterior = LatentPosterior(*features)
        z = posterior.at(eps)
        return Inferred(self.generated(z, cond), z, posterior)

    def generated(self, z: Tensor, cond: Tensor | None) -> Tensor:
        """Return the decoder's numbers."""
        return self.decoder(z) if cond is None else self.decoder(z, cond)

    def grouped(self, kl: Tensor) -> Tensor:
        """Return the KL of each unit: every one has its own free bits."""
        return kl
