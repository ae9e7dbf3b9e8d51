"""Choices by name come from their registries: what is registered can be chosen everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.errors import BadInput
from trilemma.core.noise import Noise
from trilemma.maths import adversarial
from trilemma.maths.diffusion import samplers
from trilemma.recipes.ddpm import Ddpm
from trilemma.recipes.fields import fields, parse
from trilemma.recipes.gan import AdversarialNet
from trilemma.recipes.geoldm import GeometricLatentDiffusing
from trilemma.recipes.latent_diffusion import LatentDiffusing
from trilemma.recipes.sr3 import Sr3

POINTS = Domain("points", (2,), Real())


@dataclass(frozen=True)
class Leap:
    """One leap to the clean estimate, with fresh noise that is then not there."""

    spill: float = 0.0
    order: ClassVar[int] = 1
    calls: ClassVar[int] = 1
    grid: ClassVar[str] = "uniform"
    fresh: ClassVar[str] = "spill"

    def __call__(self, denoise, schedule, x, times, noise, variance=None):
        for t in times[:-1]:
            yield denoise(x, t) + self.spill


@pytest.mark.parametrize("recipe", [Ddpm, GeometricLatentDiffusing, LatentDiffusing, Sr3])
def test_a_registered_sampler_can_be_chosen(recipe, monkeypatch):
    with pytest.raises(BadInput, match="leap"):
        parse(recipe, ["--sampler", "leap"])
    monkeypatch.setitem(samplers.SAMPLERS, "leap", Leap)
    assert parse(recipe, ["--sampler", "leap"]).sampler == "leap"
    (field,) = (field for field in fields(recipe) if field.name == "sampler")
    assert "leap" in field.choices
    assert field.type is str


def test_a_sampler_says_which_of_its_numbers_eta_sets(monkeypatch):
    monkeypatch.setitem(samplers.SAMPLERS, "leap", Leap)
    plain, spilt = (
        parse(Ddpm, ["--sampler", "leap", "--width", "8", "--eta", eta]).model(POINTS)
        for eta in ("0", "2")
    )
    spilt.load_state_dict(plain.state_dict())
    samples = [model.sample(3, noise=Noise.of(0, 3)) for model in (plain, spilt)]
    torch.testing.assert_close(samples[1], samples[0] + 2)
    with pytest.raises(BadInput, match="ddim, euler, heun and leap put noise back"):
        parse(Ddpm, ["--sampler", "unipc", "--eta", "1"]).model(POINTS)


def test_a_registered_loss_can_be_chosen(monkeypatch):
    monkeypatch.setitem(adversarial.LOSSES, "mine", adversarial.LOSSES["hinge"])
    game = parse(AdversarialNet, ["--loss", "mine", "--width", "8"])
    model = game.model(Domain("image", (1, 8, 8), Levels(17)))
    assert model.game is adversarial.LOSSES["hinge"]
    with pytest.raises(BadInput, match="penalty 'r3'"):
        parse(AdversarialNet, ["--penalty", "r3"])
