r"""The first stage of latent diffusion: an autoencoder whose codes keep their places.

    z = E(x) in R^{c x h x w},      xhat = D(z)

    L = |x - xhat|  +  λ_p d(x, xhat)  +  λ_r R(z)  +  λ_c ℓ_G(critic(xhat))

in mean over coordinates (R, which is a sum over codes, is divided by the coordinates of x). It is
no generator: it is asked for no more than codes that are few, smooth and enough. So the absolute
error and not its square: where a code cannot tell on which side of an edge a pixel lies, the
square asks for the mean, which is grey and in no image, the absolute error for the median, which
is one of the two sides. d compares what a trained network sees, for texture that no pixel
decides; the critic, a second player with the hinge loss, wants every patch to look like one of
the data, and begins once there is something to judge.

R keeps codes from scattering:

    kl    E gives mu, ln sigma²;  z = mu + sigma eps;  R = KL(N(mu, sigma²) || N(0, I)), with a
          weight so small that codes carry what they must, and so much noise as the decoder bears
    vq    D is given the nearest of K vectors in place of z;  R = ‖z - stop(q)‖² per code

With vq the vectors are running means of the codes that they stand for (`maths.quantisation`);
they are written after an update and nowhere else. What is diffused later is z before it is
quantised, so that quantisation is the decoder's first layer.

References:
    High-Resolution Image Synthesis with Latent Diffusion Models (Rombach, Blattmann, Lorenz,
    Esser & Ommer, 2022), arXiv:2112.10752.
    Taming Transformers for High-Resolution Image Synthesis (Esser, Rombach & Ommer, 2021),
    arXiv:2012.09841: the perceptual term and the patch critic.
    Neural Discrete Representation Learning (van den Oord et al., 2017), arXiv:1711.00937.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.model import Loss, Model, Objective
from trilemma.core.noise import Noise, mix
from trilemma.maths import quantisation
from trilemma.maths.adversarial import LOSSES
from trilemma.maths.distributions import kl_normal, per_example, reparameterise

__all__ = ["REGULARISERS", "FirstStage"]

REGULARISERS = ("kl", "vq")
KL_WEIGHT = 1e-6
COMMITMENT = 0.25
CODES = 512
"""K, vectors of the vq regulariser."""
MEMORY = 0.99
"""d, the decay of the vectors' running means."""
DEAD = 0.05
"""Share of the average use below which a vector starts again."""
CRITIC_FROM = 0.3
"""Share of the stage after which the critic plays."""
GAME = LOSSES["hinge"]

Distance = Callable[[Tensor, Tensor], Tensor]
"""(x, y) scaled images -> [B], 0 where they are the same."""


class FirstStage(Model[Examples, Tensor]):
    """An encoder and a decoder of images, with codes that keep their places.

    Arguments:
        encoder: x [B, C, H, W] scaled to [B, 2 c, h, w] (kl: mean and log-variance) or
            [B, c, h, w] (vq).
        decoder: [B, c, h, w] to [B, C, H, W] scaled.
        domain: Where the images lie.
        shape: (c, h, w).
        regulariser: 'kl' or 'vq'.
        weight: λ_r; None for the regulariser's own.
        critic: Images to scores [B, ...]; `renew`, where it has one, is called after its updates.
            None for a single player.
        critic_weight: λ_c.

    Raises:
        BadInput: There is no such regulariser, or a critic and its weight do not go together.
    """

    counts: Tensor
    sums: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        domain: Domain,
        shape: tuple[int, ...],
        *,
        regulariser: str = "kl",
        weight: float | None = None,
        critic: nn.Module | None = None,
        critic_weight: float = 0.0,
    ) -> None:
        super().__init__()
        if regulariser not in REGULARISERS:
            raise BadInput(f"regulariser '{regulariser}' was given; give 'kl' or 'vq'.")
        if (critic is None) != (critic_weight == 0):
            raise BadInput("a critic wants a weight above 0, and a weight wants a critic.")
        self.encoder, self.decoder, self.critic = encoder, decoder, critic
        self.domain, self.shape, self.regulariser = domain, tuple(shape), regulariser
        default_weight = KL_WEIGHT if regulariser == "kl" else COMMITMENT
        self.weight = default_weight if weight is None else weight
        self.critic_weight = critic_weight
        self.distance: Distance | None = None
        """d, set for training alone: no part of the model's state."""
        self.perceptual = 0.0
        """λ_p."""
        if regulariser == "vq":
            self.register_buffer("counts", torch.ones(CODES))
            self.register_buffer("sums", torch.randn(CODES, self.shape[0]))
        self._update, self._share = 0, 0.0
        self._batch_codes: list[tuple[Tensor, Tensor]] = []

    # Training

    def judge(self, distance: Distance, weight: float) -> None:
        """Let a perceptual distance take part in training; it becomes no part of the model."""
        self.distance, self.perceptual = distance, weight

    def objectives(self) -> Sequence[Objective[Examples]]:
        """Return the one player, or the critic, who moves first, and the autoencoder."""
        parameters = [*self.encoder.parameters(), *self.decoder.parameters()]
        autoencoder = Objective(
            "autoencoder",
            self.loss,
            parameters,
            before=self._set_progress,
            after=self._renew_vectors if self.regulariser == "vq" else None,
            reuse_batch=self.critic is not None,
        )
        if self.critic is None:
            return [autoencoder]
        critic = Objective(
            "critic",
            self.critic_loss,
            list(self.critic.parameters()),
            before=self._set_progress,
            after=getattr(self.critic, "renew", None),
        )
        return [critic, autoencoder]

    def loss(self, batch: Examples) -> Loss:
        """Return the autoencoder's loss, a mean over examples and coordinates of x."""
        y = self.domain.values.scale(batch.x)
        z, price = self._coded(y, batch.noise)
        xhat = self.decoder(z).float()
        terms = {
            "absolute_error": (y - xhat).abs().mean(),
            self.regulariser: price.mean() / self.domain.dimensions,
        }
        value = terms["absolute_error"] + self.weight * terms[self.regulariser]
        if self.perceptual and self.distance is not None:
            terms["perceptual"] = self.distance(y, xhat).float().mean()
            value = value + self.perceptual * terms["perceptual"]
        if self.critic is not None:
            terms["game"] = self._game(xhat)
            value = value + self.critic_weight * terms["game"]
        if self.regulariser == "vq":
            indices = self._code_indices(z.detach())
            terms["vectors_used"] = quantisation.perplexity(indices, CODES)
        return Loss(value, {name: term.detach() for name, term in terms.items()})

    def critic_loss(self, batch: Examples) -> Loss:
        """Return the critic's loss; until its share of the stage has come, zero."""
        assert self.critic is not None
        if self._share < CRITIC_FROM:
            zero = 0 * torch.stack([p.sum() for p in self.critic.parameters()]).sum()
            return Loss(zero, {"real": zero.detach(), "fake": zero.detach()})
        y = self.domain.values.scale(batch.x)
        with torch.no_grad():
            xhat = self.decoder(self._coded(y, batch.noise, training=False)[0]).float()
        real, fake = self.critic(y).float(), self.critic(xhat).float()
        return Loss(
            GAME.critic(real, fake).mean(),
            {"real": real.detach().mean(), "fake": fake.detach().mean()},
        )

    def _game(self, xhat: Tensor) -> Tensor:
        """Return the autoencoder's loss in the game."""
        assert self.critic is not None
        if self._share < CRITIC_FROM:
            return xhat.new_zeros(())
        return GAME.generator(self.critic(xhat).float(), None).mean()

    def _coded(
        self, y: Tensor, noise: Noise | None, *, training: bool = True
    ) -> tuple[Float[Tensor, "B c h w"], Float[Tensor, " B"]]:
        """Return what the decoder is given, with the encoder's gradient, and R of each example."""
        output = self.encoder(y).float()
        if self.regulariser == "kl":
            mu, log_var = _split(output)
            assert noise is not None
            eps = noise.named("code").normal(*self.shape)
            return reparameterise(mu, log_var, eps), per_example(kl_normal(mu, log_var))
        if training and self.training and torch.is_grad_enabled():
            flat = _flat(output.detach())
            self._batch_codes.append((flat, quantisation.nearest(flat, self.vectors)))
        q = self.quantised(output.detach())
        price = per_example((output - q).square())
        return quantisation.straight_through(output, q), price

    # The vectors

    @property
    def vectors(self) -> Float[Tensor, "K c"]:
        """Return the vectors e_k of the vq regulariser."""
        return quantisation.codebook(self.counts, self.sums)

    def quantised(self, z: Float[Tensor, "B c h w"]) -> Float[Tensor, "B c h w"]:
        """Return the nearest vectors in place of codes; codes of the kl regulariser stay."""
        if self.regulariser == "kl":
            return z
        rows, _, height, width = z.shape
        q = self.vectors[quantisation.nearest(_flat(z.float()), self.vectors)]
        return q.view(rows, height, width, -1).permute(0, 3, 1, 2).contiguous()

    def _code_indices(self, z: Tensor) -> Int[Tensor, " N"]:
        return quantisation.nearest(_flat(z), self.vectors)

    def _set_progress(self, update: int, share: float) -> None:
        self._update, self._share = update, share
        self._batch_codes.clear()

    def _renew_vectors(self) -> None:
        """Move the vectors towards the codes of the update, and set dead ones anew.

        At the first update all are: codes of data are a better start than numbers from nowhere.
        """
        if not self._batch_codes:
            return
        z, indices = (torch.cat(parts) for parts in zip(*self._batch_codes, strict=True))
        self._batch_codes.clear()
        if self._update > 0:
            counts, sums = quantisation.moved(self.counts, self.sums, z, indices, MEMORY)
            is_dead = quantisation.dead(counts, DEAD)
        else:
            counts, sums = self.counts, self.sums
            is_dead = torch.ones_like(counts, dtype=torch.bool)
        draws = Noise.of(mix("vectors", self._update), CODES, z.device)
        counts, sums = quantisation.revived(counts, sums, is_dead, z[draws.integers(len(z))])
        self.counts.copy_(counts)
        self.sums.copy_(sums)

    # Codes and images

    def codes(
        self, x: Float[Tensor, "B C H W"], *, noise: Noise | None = None
    ) -> Float[Tensor, "B c h w"]:
        """Return z of images in data units: with kl the mean, or a draw where noise is given."""
        output = self.encoder(self.domain.values.scale(x)).float()
        if self.regulariser == "vq":
            return output
        mu, log_var = _split(output)
        if noise is None:
            return mu
        return reparameterise(mu, log_var, noise.named("code").normal(*self.shape))

    def images(self, z: Float[Tensor, "B c h w"]) -> Float[Tensor, "B C H W"]:
        """Return images in data units of codes, quantised first where they were in training."""
        return self.domain.values.unscale(self.decoder(self.quantised(z)))

    def reconstruct(self, x: Tensor, *, noise: Noise | None = None) -> Tensor:
        """Return D(E(x)) in data units."""
        return self.images(self.codes(x, noise=noise))

    def encode(
        self, x: Float[Tensor, "B ..."], *, noise: Noise | None = None
    ) -> Float[Tensor, "B Z"]:
        """Return the codes, flat."""
        return self.codes(x, noise=noise).flatten(1)

    def decode(self, z: Float[Tensor, "B Z"]) -> Tensor:
        """Return images in data units of flat codes."""
        return self.images(z.unflatten(1, self.shape))

    @torch.no_grad()
    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Tensor:
        """Decode codes drawn from N(0, I), which are not the data's: no generator by itself."""
        noise = Noise.fresh(n, next(self.parameters()).device) if noise is None else noise
        return self.images(noise.named("state").normal(*self.shape))


def _split(output: Float[Tensor, "B K h w"]) -> tuple[Tensor, Tensor]:
    """Return mean and log-variance, the latter between e^-30 and e^10."""
    mu, log_var = output.chunk(2, dim=1)
    return mu, log_var.clamp(-30, 10)


def _flat(z: Float[Tensor, "B c h w"]) -> Float[Tensor, "N c"]:
    """Return the codes of all places as rows."""
    return z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])
