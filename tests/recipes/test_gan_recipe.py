from __future__ import annotations

import pytest
import torch

from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.errors import BadInput
from trilemma.core.noise import Noise
from trilemma.data import sources
from trilemma.maths.adversarial import LOSSES, PENALTIES
from trilemma.networks.adversarial import ImageCritic
from trilemma.networks.dcgan import DcganCritic
from trilemma.recipes.fields import fields
from trilemma.recipes.gan import AdversarialNet
from trilemma.recipes.r3gan import R3Gan

DOMAINS = {
    "digits": Domain("image", (1, 8, 8), Levels(17), tuple("0123456789"), (0.1,) * 10),
    "fashion": Domain("image", (1, 28, 28), Levels(256)),
    "odd": Domain("image", (3, 33, 50), Levels(256)),
    "moons": Domain("points", (2,), Real()),
}


@pytest.mark.parametrize("kind", [AdversarialNet, R3Gan])
@pytest.mark.parametrize("name", DOMAINS)
def test_fits(name, kind):
    domain = DOMAINS[name]
    x = kind(width=8).model(domain).sample(2, noise=Noise.of(0, 2))
    assert x.shape == (2, *domain.shape)
    assert x.dtype == (torch.uint8 if isinstance(domain.values, Levels) else torch.float32)


def test_fields_reach_the_model():
    recipe = AdversarialNet(latent=5, loss="saturating", gamma=0.5, critic_steps=4, every=3)
    model = recipe.model(DOMAINS["digits"])
    assert (model.latent, model.critic_steps, model.every) == (5, 4, 3)
    assert model.game is LOSSES["saturating"]
    assert model.penalty is PENALTIES["r1"]
    assert model.gamma(0.0) == model.gamma(1.0) == 0.5


def test_the_usual_penalty_goes_with_the_root_of_the_coordinates():
    gammas = [AdversarialNet().model(DOMAINS[n]).gamma(0.3) for n in ("moons", "fashion")]
    assert gammas == pytest.approx([0.08 * 2**0.5, 0.08 * 28])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["digits", "moons"])
def test_every_loss_can_be_chosen_and_brings_what_it_needs(loss, name):
    (field,) = [field for field in fields(AdversarialNet) if field.name == "loss"]
    assert set(field.choices) == set(LOSSES)
    model = AdversarialNet(loss=loss, width=8).model(DOMAINS[name])
    expected = {"wgan": "gp", "ebgan": "none"}.get(loss, "r1")
    assert model.penalty == PENALTIES[expected]
    assert model.critic.score == LOSSES[loss].score


@pytest.mark.parametrize(
    ("choice", "domain", "reason"),
    [
        ({"loss": "wgan", "penalty": "none"}, "digits", "no minimum"),
        ({"loss": "wgan", "penalty": "r1"}, "digits", "bounded in slope"),
        ({"loss": "ebgan", "penalty": "gp"}, "digits", "flat where data are"),
        ({"loss": "ebgan", "penalty": "clip"}, "digits", "too small"),
        ({"loss": "ebgan", "margin": 0.0}, "digits", "above 0"),
        ({"loss": "ns", "margin": 2.0}, "digits", "belongs to --loss ebgan"),
        ({"loss": "ns", "pulling_away": 0.1}, "digits", "belongs to --loss ebgan"),
        ({"penalty": "none", "gamma": 1.0}, "digits", "no weight"),
        ({"penalty": "clip", "every": 4}, "digits", "now and then"),
        ({"network": "dcgan"}, "digits", "--ema 0"),
        ({"network": "dcgan", "ema": 0.0}, "moons", "for images"),
        ({"augment": "colour"}, "moons", "pixels"),
        ({"augment": "color"}, "digits", "colour"),
        ({"adaptive": True}, "digits", "it is 'none'"),
        ({"adaptive": True, "augment": "cutout", "loss": "lsgan"}, "digits", "one of ns"),
        ({"conditional": True}, "moons", "without classes"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(choice, domain, reason):
    recipe = AdversarialNet(**choice)
    with pytest.raises(BadInput, match=reason):
        recipe.check(DOMAINS[domain])
    with pytest.raises(BadInput, match=reason):
        recipe.model(DOMAINS[domain])


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"settle": 0.0}, "share of training"),
        ({"augmented": 1.5}, "share of the rows"),
        ({"augment": "rotation"}, "rotation"),
    ],
)
def test_r3gan_refuses_numbers_without_sense(choice, reason):
    with pytest.raises(BadInput, match=reason):
        R3Gan(**choice).check(DOMAINS["digits"])


def test_dcgan_normalises_unless_a_slope_is_wanted():
    def critic(**options):
        return AdversarialNet(network="dcgan", ema=0.0, width=8, **options).model(
            DOMAINS["fashion"]
        )

    norms = torch.nn.BatchNorm2d
    assert any(isinstance(m, norms) for m in critic(penalty="none").critic.modules())
    assert not any(isinstance(m, norms) for m in critic(penalty="r1").critic.modules())
    assert isinstance(critic(penalty="spectral").critic, DcganCritic)
    assert isinstance(AdversarialNet(width=8).model(DOMAINS["fashion"]).critic, ImageCritic)


def test_clipping_holds_after_an_update():
    model = AdversarialNet(loss="wgan", penalty="clip", width=8).model(DOMAINS["digits"])
    (critic, _) = model.objectives()
    with torch.no_grad():
        critic.after()
    assert max(p.abs().max() for p in model.critic.parameters()) <= 0.01 + 1e-7


def test_r3gan_plays_the_paired_game_under_both_penalties_that_fall():
    model = R3Gan(width=8, augment="translation").model(DOMAINS["fashion"])
    assert model.game is LOSSES["rsgan"]
    assert model.penalty is PENALTIES["r1+r2"]
    assert model.gamma(1.0) == pytest.approx(0.1 * model.gamma(0.0))
    assert (model.augment_share(0.0), model.augment_share(1.0)) == (0.0, 0.55)


def test_the_background_is_that_of_the_data():
    data = sources.load("digits")
    recipe = AdversarialNet(augment="translation", width=8)
    model = recipe.model(data.domain)
    (stage,) = recipe.stages(model, data, 0)
    model.augment.background.fill_(0.3)
    stage.prepare()
    assert -1.0 < model.augment.background.item() < 2 / 17 - 1  # inside the bin of level 0


def test_plots_have_a_curve_for_every_loss():
    plots = AdversarialNet.plots()
    assert set(plots["generator"].ys) == set(LOSSES)
    assert {name.split(",")[0] for name in plots["critic"].ys} == set(LOSSES) - {"saturating"}


@pytest.mark.parametrize("kind", [AdversarialNet, R3Gan])
def test_other_data_are_refused(kind):
    with pytest.raises(BadInput, match="gan"):
        kind().check(Domain("graph", (1,), Real()))
