r"""Generative adversarial networks: a generator against a critic.

    x = G(z), z ~ N(0, I);    D: x -> a score

    critic:     min_D  E[ℓ_D(D(x), D(G(z)))] + γ/2 E‖∇_x D(x)‖²     (x real; G fixed)
    generator:  min_G  E[ℓ_G(D(G(z)))]                              (D fixed)

with the losses ℓ of `maths.adversarial`, by turns, `critic_steps` updates of D for one of G, each
on a batch and noise of its own. Both players live in scaled space. Data on levels are spread over
their bins there, and a sample is the level in whose bin the generator's output lies: otherwise
the critic would tell data by their lying exactly on levels, which no network's output does.

References:
    Generative Adversarial Networks (Goodfellow et al., 2014), arXiv:1406.2661.
    Which Training Methods for GANs do actually Converge? (Mescheder, Geiger & Nowozin, 2018),
    arXiv:1801.04406.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.model import Loss, Model, Objective
from trilemma.core.noise import Noise
from trilemma.maths.adversarial import LOSSES, AdversarialLoss, squared_slope

__all__ = ["Gan"]


class Gan(Model[Examples, Tensor]):
    """A generator and a critic that train each other.

    Arguments:
        generator: G, noise [B, Z] to examples [B, *shape] in scaled space.
        critic: D, examples [B, *shape] in scaled space to scores [B]; no example's score may
            depend on another example.
        domain: What an example is.
        latent: Z, width of the noise.
        loss: What the players make small, one of `maths.adversarial.LOSSES`.
        gamma: γ, weight of the penalty R1; 0 leaves it out.
        critic_steps: Updates of the critic for each of the generator.
    """

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        domain: Domain,
        latent: int,
        *,
        loss: AdversarialLoss = LOSSES["ns"],
        gamma: float = 1.0,
        critic_steps: int = 1,
    ) -> None:
        super().__init__()
        self.generator, self.critic = generator, critic
        self.domain, self.latent = domain, latent
        self.game, self.gamma, self.critic_steps = loss, gamma, critic_steps

    def objectives(self) -> Sequence[Objective[Examples]]:
        """Return the critic, who moves first, and the generator."""
        return [
            Objective(
                "critic",
                self.critic_loss,
                list(self.critic.parameters()),
                repeat=self.critic_steps,
            ),
            Objective("generator", self.generator_loss, list(self.generator.parameters())),
        ]

    def critic_loss(self, batch: Examples) -> Loss:
        """Compute E[ℓ_D(D(x), D(G(z)))] + γ/2 E‖∇_x D(x)‖², with the generator fixed."""
        x = self._real(batch)
        with torch.no_grad():
            generated = self._fake(batch)
        real = self._scores(x.requires_grad_(self.gamma > 0))
        fake = self._scores(generated)
        game = self.game.critic(real, fake).mean()
        terms = {"game": game, "real": real.mean(), "fake": fake.mean()}
        if self.gamma == 0:
            return Loss(game, _detached(terms))
        penalty = self.gamma / 2 * squared_slope(real, x).mean()
        return Loss(game + penalty, _detached(terms | {"penalty": penalty}))

    def generator_loss(self, batch: Examples) -> Loss:
        """Compute E[ℓ_G(D(G(z)))], to be differentiated in the generator's weights alone."""
        fake = self._scores(self._fake(batch))
        real = None
        if self.game.paired:
            with torch.no_grad():
                real = self._scores(self._real(batch))
        game = self.game.generator(fake, real).mean()
        return Loss(game, _detached({"game": game, "fake": fake.mean()}))

    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Tensor:
        """Draw n examples in data units, one pass of the generator.

        Raises:
            BadInput: A condition is given; this game has none.
        """
        if condition is not None:
            raise BadInput(
                "this GAN was trained without classes and cannot be told what to draw; "
                "sample it without a condition."
            )
        device = next(self.generator.parameters()).device
        noise = noise if noise is not None else Noise.fresh(n, device)
        return self.domain.values.quantise(self.generator(noise.normal(self.latent)))

    def _real(self, batch: Examples) -> Tensor:
        """Return the real examples in scaled space."""
        return self.domain.values.dequantise(batch.x, _noise(batch).named("bins"))

    def _fake(self, batch: Examples) -> Tensor:
        """Return as many generated ones."""
        return self.generator(_noise(batch).named("latent").normal(self.latent))

    def _scores(self, x: Tensor) -> Tensor:
        """Return D(x) in float32 at least, as losses want it."""
        score = self.critic(x)
        return score.to(torch.promote_types(score.dtype, torch.float32))


def _noise(batch: Examples) -> Noise:
    if batch.noise is None:
        raise ValueError("a GAN's loss needs the batch's noise.")
    return batch.noise


def _detached(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: term.detach() for name, term in terms.items()}
