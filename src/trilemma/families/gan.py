r"""Generative adversarial networks: a generator against a critic.

    x = G(z, y), z ~ N(0, I);    D: (x, y) -> a score;    y a class, in a conditional GAN

    critic:     min_D  E[ℓ_D(D(T(x)), D(T(G(z))))] + k γ/2 E(‖∇_x D(T(x))‖ - c)²     (G fixed)
    generator:  min_G  E[ℓ_G(D(T(G(z))), D(T(x)))] + λ PT(codes of T(G(z)))           (D fixed)

with the losses ℓ and the penalties of `maths.adversarial`, by turns, `critic_steps` updates of D
for one of G. Each update of D has a batch and noise of its own; G has those of the last of them,
so that its fakes are made once for both. The penalty may be taken in every k-th update only, k
times as heavy; its weight γ may fall during training. T is a differentiable random augmentation,
one and the same for real and fake, in both players (Zhao et al.): a generator that copied the data
would not be told from it. It may change a share of the rows only, which rises with training or
follows how sure the critic is of its training examples (`Governor`). PT, for critics that are
autoencoders, pushes the codes of fakes apart.

Both players live in scaled space. Data on levels are spread over their bins there, and a sample is
the level in whose bin the generator's output lies: otherwise the critic would tell data by their
lying exactly on levels, which no network's output does.

References:
    Generative Adversarial Networks (Goodfellow et al., 2014), arXiv:1406.2661.
    Which Training Methods for GANs do actually Converge? (Mescheder, Geiger & Nowozin, 2018),
    arXiv:1801.04406.
    Differentiable Augmentation for Data-Efficient GAN Training (Zhao et al., 2020),
    arXiv:2006.10738.
    cGANs with Projection Discriminator (Miyato & Koyama, 2018), arXiv:1802.05637.
    Analyzing and Improving the Image Quality of StyleGAN (Karras et al., 2020), arXiv:1912.04958:
    penalties taken now and then, so much the heavier.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.model import Loss, Model, Objective
from trilemma.core.noise import Noise
from trilemma.core.sampling import evaluation_mode
from trilemma.families.gan_diagnostics import alarms
from trilemma.maths.adversarial import (
    LOSSES,
    PENALTIES,
    AdversarialLoss,
    Governor,
    Penalty,
    Ramp,
    pulling_away,
    squared_gradient_norm,
)
from trilemma.maths.broadcasting import per_row

__all__ = ["Gan"]


class Gan(Model[Examples, Tensor]):
    """A generator and a critic that train each other.

    Arguments:
        generator: G, noise [B, Z] and a condition to examples [B, *shape] in scaled space.
        critic: D, examples [B, *shape] in scaled space and a condition to scores [B]; no
            example's score may depend on another example where a penalty is taken. It says by
            `score` what it gives, "number" or "energy".
        domain: What an example is.
        latent: Z, width of the noise.
        loss: What the players make small, one of `maths.adversarial.LOSSES`.
        penalty: On the critic's gradient, one of `maths.adversarial.PENALTIES`.
        gamma: γ, its weight, over the share of training that is done.
        every: k, updates of the critic from one penalty to the next.
        augment: T, given examples, noise and the share of rows that it changes; None for none.
        augment_share: That share, over the share of training that is done; or what governs it.
        after: Called after each update of the critic, to hold its weights in bounds.
        critic_steps: Updates of the critic for each of the generator.
        pulling_away: λ, weight of PT.
        conditional: Whether generator and critic are conditioned on the class.

    Raises:
        BadInput: The critic does not give what the loss wants.
    """

    run_buffers: ClassVar[tuple[str, ...]] = ("augmented",)

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        domain: Domain,
        latent: int,
        *,
        loss: AdversarialLoss = LOSSES["ns"],
        penalty: Penalty = PENALTIES["r1"],
        gamma: Ramp | float = 1.0,
        every: int = 1,
        augment: nn.Module | None = None,
        augment_share: Ramp | Governor | float = 1.0,
        after: Callable[[], None] | None = None,
        critic_steps: int = 1,
        pulling_away: float = 0.0,
        conditional: bool = False,
    ) -> None:
        super().__init__()
        kind = getattr(critic, "score", "number")
        if kind != loss.score:
            raise BadInput(
                f"the loss wants a critic that gives {_SCORES[loss.score]}, and {_SCORES[kind]} "
                "is what this one gives; choose another loss or another critic."
            )
        if pulling_away and loss.score != "energy":
            raise BadInput(
                f"a pulling-away term of {pulling_away:g} was asked for, and it acts on the codes "
                "of an autoencoder, which this critic is not; leave it out, or take ebgan."
            )
        self.generator, self.critic, self.augment = generator, critic, augment
        self.domain, self.latent, self.conditional = domain, latent, conditional
        self.game, self.penalty, self.every = loss, penalty, every
        self.gamma = _ramp(gamma)
        self.governor = augment_share if isinstance(augment_share, Governor) else None
        self.augment_share = None if isinstance(augment_share, Governor) else _ramp(augment_share)
        if self.governor is not None:
            self.register_buffer("augmented", torch.zeros((), dtype=torch.float64))
        self.after, self.critic_steps, self.pulling_away = after, critic_steps, pulling_away
        self._update, self._share = 0, 0.0
        self._changed = 0.0 if self.augment_share is None else self.augment_share(0.0)
        self._fake_cache: tuple[Examples, Tensor] | None = None

    def objectives(self) -> Sequence[Objective[Examples]]:
        """Return the critic, who moves first, and the generator.

        Raises:
            BadInput: The penalty wants the critic's gradient to be differentiable, and it is not.
        """
        if self.penalty.points:
            self._differentiate_twice()
        return [
            Objective(
                "critic",
                self.critic_loss,
                list(self.critic.parameters()),
                repeat=self.critic_steps,
                before=self._set_progress,
                after=self.after,
                observe=None if self.governor is None else self._govern,
            ),
            Objective(
                "generator",
                self.generator_loss,
                list(self.generator.parameters()),
                reuse_batch=True,
            ),
        ]

    def critic_loss(self, batch: Examples) -> Loss:
        """Compute E[ℓ_D] and, where it is due, the penalty, with the generator fixed."""
        x, generated = self._real(batch), self._fixed(batch)
        gamma = self.gamma(self._share) * self.every
        due = self.penalty.points if gamma and self._update % self.every == 0 else ()
        x.requires_grad_("real" in due)
        generated.requires_grad_("fake" in due)
        real, fake = self._scores(x, batch), self._scores(generated, batch)
        game = self.game.critic(real, fake).mean()
        terms = {"game": game, "real": real.mean(), "fake": fake.mean()}
        if self.governor is not None:
            terms |= {"sure": real.sign().mean(), "augmented": real.new_tensor(self._changed)}
        if not due:
            return Loss(game, _detached(terms))
        scored = {"real": (real, x), "fake": (fake, generated)}
        if "between" in due:
            u = per_row(_noise(batch).named("between").uniform(), x)
            between = (u * x + (1 - u) * generated).requires_grad_()
            scored["between"] = self._scores(between, batch), between
        squared_norms = [squared_gradient_norm(*scored[name]) for name in due]
        costs = torch.stack(
            [self.penalty.cost(squared_norm).mean() for squared_norm in squared_norms]
        )
        penalty = gamma * costs.sum()
        return Loss(game + penalty, _detached(terms | {"penalty": penalty}))

    def generator_loss(self, batch: Examples) -> Loss:
        """Compute E[ℓ_G], to be differentiated in the generator's weights alone."""
        generated, codes = self._moving(batch), None
        if self.pulling_away:
            fake, codes = self.critic.energy_and_codes(
                self._augmented(generated, batch), self._of(batch)
            )  # type: ignore[operator]
        else:
            fake = self._scores(generated, batch)
        real = None
        if self.game.paired:
            with torch.no_grad():
                real = self._scores(self._real(batch), batch)
        game = self.game.generator(fake, real).mean()
        terms = {"game": game, "fake": fake.mean(), "variance": self._variance(generated, batch)}
        if codes is None:
            return Loss(game, _detached(terms))
        pulling_away_term = self.pulling_away * pulling_away(codes.float())
        return Loss(game + pulling_away_term, _detached(terms | {"apart": pulling_away_term}))

    def resolve_condition(self, condition: Condition | None, noise: Noise) -> Condition | None:
        """Return the condition, or for None a class of a conditional game by its share."""
        if self.conditional and condition is None:
            return Condition.sample(self.domain.frequencies, noise.named("label"))
        return condition

    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Tensor:
        """Draw n examples in data units, one pass of the generator.

        Raises:
            BadInput: A condition is given, and this game was played without.
        """
        if condition is not None and not self.conditional:
            raise BadInput(
                "this GAN was trained without classes and cannot draw a given one; "
                "sample it without a condition, or train one with --conditional true."
            )
        device = next(self.generator.parameters()).device
        noise = noise if noise is not None else Noise.fresh(n, device)
        condition = self.resolve_condition(condition, noise)
        y = self.generator(noise.normal(self.latent), condition)
        return self.domain.values.quantise(y)

    def score(self, x: Tensor, *, condition: Condition | None = None) -> Float[Tensor, " B"]:
        """Return how real examples in data units look to the critic; minus an energy."""
        score = self.critic(self.domain.values.scale(x), condition)
        return -score if self.game.score == "energy" else score

    def alarms(self, history: Sequence[Mapping[str, float]]) -> Mapping[str, str]:
        """Return what goes wrong in the game, by its terms; see `families.gan_diagnostics`."""
        return alarms(history, energy=self.game.score == "energy")

    def _set_progress(self, update: int, share: float) -> None:
        self._update, self._share = update, share
        if self.augment_share is not None:
            self._changed = self.augment_share(share)
        else:
            self._changed = float(self.get_buffer("augmented"))

    def _govern(self, terms: Mapping[str, float]) -> None:
        assert self.governor is not None
        self.get_buffer("augmented").fill_(self.governor(self._changed, terms["sure"]))

    def _real(self, batch: Examples) -> Tensor:
        """Return the real examples in scaled space."""
        return self.domain.values.dequantise(batch.x, _noise(batch).named("bins"))

    def _fake(self, batch: Examples) -> Tensor:
        """Return as many generated ones."""
        z = _noise(batch).named("latent").normal(self.latent)
        return self.generator(z, self._of(batch))

    def _fixed(self, batch: Examples) -> Tensor:
        """Return fakes that the critic sees; its last update makes them for the generator too."""
        is_last = self._update % self.critic_steps == self.critic_steps - 1
        if not (self.training and is_last and torch.is_grad_enabled()):
            with torch.no_grad():
                return self._fake(batch)
        self._fake_cache = batch, self._fake(batch)
        return self._fake_cache[1].detach()

    def _moving(self, batch: Examples) -> Tensor:
        """Return fakes to be differentiated: those that were made of this very batch, if any."""
        cached, self._fake_cache = self._fake_cache, None
        return cached[1] if cached is not None and cached[0] is batch else self._fake(batch)

    def _of(self, batch: Examples) -> Condition | None:
        return batch.condition if self.conditional else None

    def _augmented(self, x: Tensor, batch: Examples) -> Tensor:
        """Return T(x), with the same T for every x of a batch's row."""
        if self.augment is None:
            return x
        return self.augment(x, _noise(batch).named("augment"), self._changed)

    def _scores(self, x: Tensor, batch: Examples) -> Tensor:
        """Return D(T(x)) in float32 at least, as losses want it."""
        score = self.critic(self._augmented(x, batch), self._of(batch))
        return score.to(torch.promote_types(score.dtype, torch.float32))

    @torch.no_grad()
    def _variance(self, generated: Tensor, batch: Examples) -> Tensor:
        """Return the fakes' variance, summed over coordinates, over that of the batch's data."""
        real = self.domain.values.scale(batch.x)
        of = [x.float().flatten(1).var(0, correction=0).sum() for x in (generated, real)]
        return of[0] / of[1].clamp_min(1e-12)

    def _differentiate_twice(self) -> None:
        """Check that the critic's gradient is differentiable."""
        parameters = list(self.critic.parameters())
        like = {"device": parameters[0].device, "dtype": parameters[0].dtype}
        x = torch.zeros(2, *self.domain.scaled_shape, **like, requires_grad=True)
        try:
            with evaluation_mode(self.critic):  # nothing is to be remembered of this
                # Not `inputs=`: that would leave out the very layer that has something to say.
                squared_gradient_norm(self.critic(x, None), x).sum().backward()
        except RuntimeError as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise BadInput(
                "the penalty needs the critic's second derivatives, and a layer of this "
                f"critic has none ({reason}); leave the penalty out, clip the weights, or use "
                "layers that can be differentiated twice."
            ) from error
        finally:
            for parameter in parameters:
                parameter.grad = None


_SCORES: Mapping[Any, str] = {
    "number": "a number that is high on data",
    "energy": "an energy, as an autoencoder's error",
}


def _ramp(number: Ramp | float) -> Ramp:
    return number if isinstance(number, Ramp) else Ramp(number, number)


def _noise(batch: Examples) -> Noise:
    if batch.noise is None:
        raise ValueError("a GAN's loss needs the batch's noise.")
    return batch.noise


def _detached(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: term.detach() for name, term in terms.items()}
