"""The generative adversarial network: any loss, penalty and augmentation, on the same networks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch

from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.families.gan import Gan
from trilemma.maths.adversarial import LOSSES, PENALTIES, Governor, energy_based
from trilemma.networks.augment import DiffAugment
from trilemma.recipes.gan_networks import Game, bounds, players
from trilemma.recipes.recipe import Choice, Plot

__all__ = ["AdversarialNet"]

GAMMA = 0.08
"""The usual weight of the other penalties, over the root of the number of coordinates."""
SIGNED = ("ns", "saturating", "hinge")
"""Losses whose critic is undecided at a score of 0."""
WEIGHT = {"gp": 20.0, "clip": 0.01}
"""γ of the gradient penalty (twice Gulrajani's λ), and the largest weight left by clipping."""


@dataclass(frozen=True, kw_only=True)
class AdversarialNet(Game):
    """Trains a generator against a critic of small gradient, and samples in one pass."""

    name: ClassVar[str] = "gan"
    reference: ClassVar[str] = (
        "Generative Adversarial Networks, Goodfellow et al., 2014, arXiv:1406.2661"
    )

    lr: float = 1e-3
    """Peak learning rate of AdamW, for both players."""
    network: Literal["residual", "dcgan"] = "residual"
    """Residual blocks without normalisation, or DCGAN's layers with batch normalisation."""
    loss: Annotated[str, Choice(LOSSES)] = "ns"
    """What the players make small."""
    penalty: Annotated[str, Choice(PENALTIES, "auto")] = "auto"
    """What bounds the critic's gradient; auto: gp for wgan, none for ebgan, else r1."""
    gamma: float = 0.0
    """Weight of the penalty, for clip the largest weight; 0: 0.08 times the root of the number
    of coordinates, 20 for gp, 0.01 for clip."""
    every: int = 1
    """Updates of the critic from one penalty to the next, which is so much the heavier."""
    critic_steps: int = 1
    """Updates of the critic for each of the generator."""
    adaptive: bool = False
    """Whether --augment changes only as many rows as keep the critic unsure of its examples."""
    margin: float = 0.25
    """Of ebgan: the energy up to which the critic pushes fakes."""
    pulling_away: float = 0.0
    """Of ebgan: weight of the term that pushes the codes of fakes apart."""

    def game(self, domain: Domain, augment: DiffAugment | None) -> Gan:
        """Build the untrained game."""
        penalty = self.bound()
        generator, critic = players(
            domain,
            self.latent,
            width=self.width,
            network=self.network,
            energy=self.loss == "ebgan",
            normalise=penalty in ("none", "clip"),
            conditional=self.conditional,
        )
        gamma = self.gamma or WEIGHT.get(penalty) or GAMMA * math.sqrt(domain.scaled_dimensions)
        return Gan(
            generator,
            critic,
            domain,
            self.latent,
            loss=energy_based(self.margin) if self.loss == "ebgan" else LOSSES[self.loss],
            penalty=PENALTIES[penalty],
            gamma=gamma,
            every=self.every,
            augment=augment,
            augment_share=Governor() if self.adaptive else 1.0,
            after=bounds(critic, penalty, gamma),
            critic_steps=self.critic_steps,
            pulling_away=self.pulling_away,
            conditional=self.conditional,
        )

    def bound(self) -> str:
        """Return the penalty's name."""
        if self.penalty == "auto":
            return {"wgan": "gp", "ebgan": "none"}.get(self.loss, "r1")
        return self.penalty

    def refuse(self, domain: Domain) -> None:
        """Refuse choices that do not go together, with the reason."""
        penalty = self.bound()
        if self.loss == "wgan" and penalty not in ("gp", "clip", "spectral"):
            raise BadInput(
                f"--loss wgan with --penalty {penalty} has no minimum: a critic that is not "
                "bounded in slope everywhere scores twice as well with twice the slope; give gp, "
                "clip or spectral."
            )
        if self.loss == "ebgan" and penalty in ("gp", "clip"):
            why = (
                "asks for a slope of 1, and an energy is flat where data are"
                if penalty == "gp"
                else "keeps an autoencoder's weights too small to reconstruct anything"
            )
            raise BadInput(
                f"--penalty {penalty} does not go with --loss ebgan: it {why}; give none, r1, r2, "
                "r1+r2 or spectral."
            )
        if self.margin <= 0:
            raise BadInput(
                f"--margin {self.margin:g} was given, and ebgan's critic pushes fakes up to this "
                "energy, so that it must be above 0; try 0.25."
            )
        if self.loss != "ebgan" and (self.margin != type(self).margin or self.pulling_away):
            what = "--pulling-away" if self.pulling_away else "--margin"
            raise BadInput(f"{what} belongs to --loss ebgan, and the loss is {self.loss}.")
        if self.adaptive and self.augment.strip() == "none":
            raise BadInput(
                "--adaptive true says how many rows --augment changes, and it is 'none'; give "
                "--augment colour+translation+cutout, or some of these."
            )
        if self.adaptive and self.loss not in SIGNED:
            raise BadInput(
                f"--adaptive true reads off the sign of the critic's scores how sure it is, and "
                f"under --loss {self.loss} a sign means nothing; take one of {', '.join(SIGNED)}."
            )
        if penalty in ("none", "spectral") and self.gamma:
            raise BadInput(
                f"--gamma {self.gamma:g} weighs a penalty, and --penalty {penalty} has no weight."
            )
        if self.every > 1 and not PENALTIES[penalty].points:
            raise BadInput(
                f"--every {self.every} spaces out penalties, and --penalty {penalty} is not one "
                "that is computed now and then."
            )
        if self.network == "dcgan" and domain.kind != "image":
            raise BadInput(
                f"--network dcgan is for images, and these data are {domain.kind}; leave it out."
            )
        if self.network == "dcgan" and self.ema:
            raise BadInput(
                f"--ema {self.ema:g} averages weights, and the running statistics of DCGAN's "
                "batch normalisation are those of the weights as they are; give --ema 0."
            )

    @classmethod
    def plots(cls) -> Mapping[str, Plot]:
        """Return the lecture's two plots: each player's loss against the critic's score."""
        # Scores (real, fake) at which the other part of the critic's loss costs nothing.
        idle = {"ns": (1e4, -1e4), "lsgan": (1.0, 0.0), "hinge": (1e4, -1e4), "ebgan": (0.0, 1e4)}
        score = torch.linspace(-3, 3, 241)
        zeros = torch.zeros_like(score)
        critic, generator = {}, {}
        for name, loss in LOSSES.items():
            valid_score = score.where(score >= 0, torch.nan) if loss.score == "energy" else score
            generator[name] = loss.generator(valid_score, zeros).tolist()
            if name in idle:
                real, fake = idle[name]
                critic[f"{name}, real"] = loss.critic(valid_score, zeros + fake).tolist()
                critic[f"{name}, fake"] = loss.critic(zeros + real, valid_score).tolist()
            elif name != "saturating":  # its critic's loss is that of ns
                critic[f"{name}, real - fake"] = loss.critic(score, zeros).tolist()
        x, x_label = score.tolist(), "score of the critic, D"
        return {
            "critic": Plot(x, critic, x_label, "loss of the critic"),
            "generator": Plot(x, generator, x_label, "loss of the generator"),
        }
