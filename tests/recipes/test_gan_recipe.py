from __future__ import annotations

import pytest
import torch

from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.errors import BadInput
from trilemma.core.noise import Noise
from trilemma.maths.adversarial import LOSSES
from trilemma.recipes.fields import fields
from trilemma.recipes.gan import AdversarialNet

DOMAINS = {
    "digits": Domain("image", (1, 8, 8), Levels(17), tuple("0123456789"), (0.1,) * 10),
    "fashion": Domain("image", (1, 28, 28), Levels(256)),
    "odd": Domain("image", (3, 33, 50), Levels(256)),
    "moons": Domain("points", (2,), Real()),
}


@pytest.mark.parametrize("name", DOMAINS)
def test_fits(name):
    domain = DOMAINS[name]
    x = AdversarialNet(width=8).model(domain).sample(2, noise=Noise.of(0, 2))
    assert x.shape == (2, *domain.shape)
    assert x.dtype == (torch.uint8 if isinstance(domain.values, Levels) else torch.float32)


def test_fields_reach_the_model():
    recipe = AdversarialNet(latent=5, loss="saturating", gamma=0.5, critic_steps=4)
    model = recipe.model(DOMAINS["digits"])
    assert (model.latent, model.critic_steps) == (5, 4)
    assert model.game is LOSSES["saturating"]
    assert model.gamma == 0.5 * 8


def test_the_penalty_is_for_each_coordinate():
    gammas = [AdversarialNet(gamma=0.1).model(DOMAINS[n]).gamma for n in ("moons", "fashion")]
    assert gammas == pytest.approx([0.1 * 2**0.5, 2.8])


def test_every_loss_of_the_library_can_be_chosen():
    (loss,) = [field for field in fields(AdversarialNet) if field.name == "loss"]
    assert set(loss.choices) == set(LOSSES)


def test_widths_follow_the_data_unless_given():
    def size(name, **kept):
        return sum(p.numel() for p in AdversarialNet(**kept).model(DOMAINS[name]).parameters())

    assert size("digits") == size("digits", width=16, depth=1)
    assert size("fashion") == size("fashion", width=32, depth=1)
    assert size("moons") == size("moons", width=128, depth=3)


def test_other_data_are_refused():
    with pytest.raises(BadInput, match="gan"):
        AdversarialNet().check(Domain("graph", (1,), Real()))
