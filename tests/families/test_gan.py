from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.errors import BadInput
from trilemma.core.model import capabilities
from trilemma.core.noise import Noise
from trilemma.core.sampling import draw
from trilemma.families.gan import Gan
from trilemma.maths.adversarial import LOSSES, value
from trilemma.networks.adversarial import (
    ImageCritic,
    ImageGenerator,
    PointCritic,
    PointGenerator,
)

GREY = Domain("image", (1, 8, 8), Levels(17))
POINT = Domain("points", (2,), Real(1.0, 3.0))


def made(domain=GREY, **kept):
    if domain.kind == "points":
        generator, critic = PointGenerator(4, (2,), width=32), PointCritic((2,), width=32)
    else:
        generator = ImageGenerator(4, domain.shape, width=8)
        critic = ImageCritic(domain.shape, width=8)
    return Gan(generator, critic, domain, 4, **kept)


def batch(domain=GREY, n=12, seed=0):
    grey = isinstance(domain.values, Levels)
    x = torch.randint(17, (n, *domain.shape)).to(torch.uint8) if grey else torch.randn(n, 2)
    return Examples(x=x, noise=Noise.of(seed, n))


def test_the_critic_moves_first_and_players_share_nothing():
    model = made(critic_steps=3)
    critic, generator = model.objectives()
    assert (critic.name, critic.repeat) == ("critic", 3)
    assert (generator.name, generator.repeat) == ("generator", 1)
    assert set(critic.parameters) == set(model.critic.parameters())
    assert set(generator.parameters) == set(model.generator.parameters())
    assert set(critic.parameters) | set(generator.parameters) == set(model.parameters())
    assert capabilities(model) == ("sample",)


@pytest.mark.parametrize("domain", [GREY, POINT], ids=["image", "points"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("gamma", [0.0, 1.0])
def test_each_player_gets_a_gradient_for_every_parameter(domain, loss, gamma):
    model = made(domain, loss=LOSSES[loss], gamma=gamma)
    for objective in model.objectives():
        gradients = torch.autograd.grad(
            objective.loss(batch(domain)).value, list(objective.parameters)
        )
        assert all(g.isfinite().all() and g.abs().sum() > 0 for g in gradients)


def test_neither_player_moves_the_other():
    model = made()
    for objective in model.objectives():
        others = [p for p in model.parameters() if all(p is not q for q in objective.parameters)]
        model.zero_grad()
        objective.loss(batch()).value.backward(inputs=list(objective.parameters))
        assert all(p.grad is None for p in others)
        assert all(p.grad is not None for p in objective.parameters)


def test_the_generator_is_not_differentiated_in_the_critics_loss():
    model = made()
    loss = model.critic_loss(batch()).value
    found = torch.autograd.grad(loss, list(model.generator.parameters()), allow_unused=True)
    assert all(g is None for g in found)


def test_losses_are_the_negative_value_and_what_they_say():
    model, given = made(gamma=0.5), batch()
    noise = given.noise
    x = GREY.values.dequantise(given.x, noise.named("bins")).requires_grad_()
    fake = model.generator(noise.named("latent").normal(4))
    real_score, fake_score = model.critic(x), model.critic(fake)
    (slope,) = torch.autograd.grad(real_score.sum(), x, retain_graph=True)
    penalty = 0.25 * slope.square().sum((1, 2, 3)).mean()
    found = model.critic_loss(given)
    expected = -value(real_score, fake_score).mean()
    torch.testing.assert_close(found.terms["game"], expected.detach())
    torch.testing.assert_close(found.terms["penalty"], penalty)
    torch.testing.assert_close(found.value, found.terms["game"] + found.terms["penalty"])
    torch.testing.assert_close(found.terms["real"], real_score.mean().detach())
    torch.testing.assert_close(found.terms["fake"], fake_score.mean().detach())
    mover = model.generator_loss(given)
    torch.testing.assert_close(
        mover.value, nn.functional.softplus(-fake_score).mean(), rtol=1e-5, atol=1e-6
    )
    assert not any(term.requires_grad for term in {**found.terms, **mover.terms}.values())


def test_losses_are_functions_of_the_batch():
    model, given = made(), batch()
    for objective in model.objectives():
        assert torch.equal(objective.loss(given).value, objective.loss(given).value)
        assert not torch.equal(
            objective.loss(given).value,
            objective.loss(dataclasses.replace(given, noise=Noise.of(1, 12))).value,
        )


def test_losses_of_parts_average_to_the_loss_of_all():
    model, given = made(), batch()
    for objective in model.objectives():
        parts = (objective.loss(given[:6]).value + objective.loss(given[6:]).value) / 2
        torch.testing.assert_close(objective.loss(given).value, parts)


def test_noise_is_required():
    with pytest.raises(ValueError, match="noise"):
        made().critic_loss(Examples(x=batch().x))


def test_a_paired_loss_is_given_real_scores_without_a_gradient():
    seen = []

    def generator(fake, real):
        seen.append(real)
        return fake - real

    paired = dataclasses.replace(LOSSES["ns"], generator=generator, paired=True)
    model, given = made(loss=paired), batch()
    model.generator_loss(given).value.backward()
    torch.testing.assert_close(seen[0].mean(), model.critic_loss(given).terms["real"])
    assert not seen[0].requires_grad


@pytest.mark.parametrize("domain", [GREY, POINT], ids=["image", "points"])
def test_samples_are_data_and_do_not_depend_on_their_number(domain):
    model = made(domain)
    many = draw(model, 70, seed=3)
    assert many.shape == (70, *domain.shape)
    assert many.dtype == batch(domain).x.dtype
    torch.testing.assert_close(draw(model, 3, seed=3), many[:3])
    assert not torch.equal(many[0], many[1])
    assert model.sample(2).shape == (2, *domain.shape)


def test_samples_of_points_are_in_data_units():
    model = made(POINT)
    z = Noise.of(0, 5).normal(4)
    expected = model.generator(z) * 3 + 1
    torch.testing.assert_close(model.sample(5, noise=Noise.of(0, 5)), expected)


def test_a_condition_is_refused():
    with pytest.raises(BadInput, match="without classes"):
        made().sample(2, condition=Condition(label=torch.tensor([0, 1])))


@pytest.mark.parametrize("loss", LOSSES)
def test_the_game_finds_a_shifted_gaussian(loss):
    domain = Domain("points", (2,), Real(0.0, 2.0))
    model = Gan(
        PointGenerator(2, (2,), width=32, depth=2),
        PointCritic((2,), width=32, depth=2),
        domain,
        2,
        loss=LOSSES[loss],
        gamma=0.1,
    )
    centre = torch.tensor([2.0, -1.0])
    players = model.objectives()
    optimisers = [torch.optim.Adam(o.parameters, 3e-3, betas=(0.0, 0.99)) for o in players]
    far = (draw(model, 256, seed=0).mean(0) - centre).norm()
    for k in range(150):
        for player, optimiser in zip(players, optimisers, strict=True):
            x = centre + 0.5 * torch.randn(64, 2)
            optimiser.zero_grad()
            loss_now = player.loss(Examples(x=x, noise=Noise.of(k, 64))).value
            loss_now.backward(inputs=list(player.parameters))
            optimiser.step()
    near = (draw(model, 256, seed=0).mean(0) - centre).norm()
    assert near < 0.25 * far
    assert math.isfinite(near)
