from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.errors import BadInput
from trilemma.core.model import Scoring, Watched, capabilities
from trilemma.core.noise import Noise
from trilemma.core.sampling import draw
from trilemma.families.gan import Gan
from trilemma.maths.adversarial import LOSSES, PENALTIES, Governor, Ramp, pulling_away, value
from trilemma.networks.adversarial import (
    ImageCritic,
    ImageGenerator,
    PointCritic,
    PointGenerator,
)
from trilemma.networks.augment import DiffAugment
from trilemma.networks.energy_critics import ImageReconstructor, PointReconstructor

GREY = Domain("image", (1, 8, 8), Levels(17))
POINT = Domain("points", (2,), Real(1.0, 3.0))


LABELLED = dataclasses.replace(GREY, classes=("a", "b", "c"), frequencies=(0.2, 0.3, 0.5))


def make_game(domain=GREY, loss=LOSSES["ns"], **options):
    classes = len(domain.classes) if options.get("conditional") else 0
    energy = loss.score == "energy"
    if domain.kind == "points":
        generator = PointGenerator(4, (2,), width=32, classes=classes)
        critic = (PointReconstructor if energy else PointCritic)((2,), width=32, classes=classes)
    else:
        generator = ImageGenerator(4, domain.shape, width=8, classes=classes)
        kind = ImageReconstructor if energy else ImageCritic
        critic = kind(domain.shape, width=8, classes=classes)
    return Gan(generator, critic, domain, 4, loss=loss, **options)


def batch(domain=GREY, n=12, seed=0):
    grey = isinstance(domain.values, Levels)
    x = torch.randint(17, (n, *domain.shape)).to(torch.uint8) if grey else torch.randn(n, 2)
    return Examples(x=x, noise=Noise.of(seed, n))


def test_the_critic_moves_first_and_players_share_nothing():
    model = make_game(critic_steps=3)
    critic, generator = model.objectives()
    assert (critic.name, critic.repeat) == ("critic", 3)
    assert (generator.name, generator.repeat) == ("generator", 1)
    assert set(critic.parameters) == set(model.critic.parameters())
    assert set(generator.parameters) == set(model.generator.parameters())
    assert set(critic.parameters) | set(generator.parameters) == set(model.parameters())
    assert capabilities(model) == ("sample",)
    assert isinstance(model, Scoring)
    assert isinstance(model, Watched)


@pytest.mark.parametrize("domain", [GREY, POINT], ids=["image", "points"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("penalty", ["none", "r1", "r2", "r1+r2", "gp"])
def test_each_player_gets_a_gradient_for_every_parameter(domain, loss, penalty):
    model = make_game(domain, loss=LOSSES[loss], penalty=PENALTIES[penalty])
    for objective in model.objectives():
        gradients = torch.autograd.grad(
            objective.loss(batch(domain)).value, list(objective.parameters)
        )
        assert all(g.isfinite().all() for g in gradients)
        # A score's constant cancels out of a difference of scores; an autoencoder's blocks begin
        # as the identity.
        zero_gradients = [g for g in gradients if g.numel() > 1 and g.abs().sum() == 0]
        assert len(zero_gradients) < len(gradients) / 2
        assert not zero_gradients or LOSSES[loss].score == "energy"


def test_neither_player_moves_the_other():
    model = make_game()
    for objective in model.objectives():
        other_parameters = [
            p for p in model.parameters() if all(p is not q for q in objective.parameters)
        ]
        model.zero_grad()
        objective.loss(batch()).value.backward(inputs=list(objective.parameters))
        assert all(p.grad is None for p in other_parameters)
        assert all(p.grad is not None for p in objective.parameters)


def test_the_generator_is_not_differentiated_in_the_critics_loss():
    model = make_game()
    loss = model.critic_loss(batch()).value
    critic_loss = torch.autograd.grad(loss, list(model.generator.parameters()), allow_unused=True)
    assert all(g is None for g in critic_loss)


def test_losses_are_the_negative_value_and_what_they_say():
    model, examples = make_game(gamma=0.5), batch()
    noise = examples.noise
    x = GREY.values.dequantise(examples.x, noise.named("bins")).requires_grad_()
    fake = model.generator(noise.named("latent").normal(4))
    real_score, fake_score = model.critic(x), model.critic(fake)
    (slope,) = torch.autograd.grad(real_score.sum(), x, retain_graph=True)
    penalty = 0.25 * slope.square().sum((1, 2, 3)).mean()
    loss = model.critic_loss(examples)
    expected = -value(real_score, fake_score).mean()
    torch.testing.assert_close(loss.terms["game"], expected.detach())
    torch.testing.assert_close(loss.terms["penalty"], penalty)
    torch.testing.assert_close(loss.value, loss.terms["game"] + loss.terms["penalty"])
    torch.testing.assert_close(loss.terms["real"], real_score.mean().detach())
    torch.testing.assert_close(loss.terms["fake"], fake_score.mean().detach())
    mover = model.generator_loss(examples)
    torch.testing.assert_close(
        mover.value, nn.functional.softplus(-fake_score).mean(), rtol=1e-5, atol=1e-6
    )
    assert not any(term.requires_grad for term in {**loss.terms, **mover.terms}.values())


def test_losses_are_functions_of_the_batch():
    model, examples = make_game(), batch()
    for objective in model.objectives():
        assert torch.equal(objective.loss(examples).value, objective.loss(examples).value)
        assert not torch.equal(
            objective.loss(examples).value,
            objective.loss(dataclasses.replace(examples, noise=Noise.of(1, 12))).value,
        )


def test_losses_of_parts_average_to_the_loss_of_all():
    model, examples = make_game(), batch()
    for objective in model.objectives():
        parts = (objective.loss(examples[:6]).value + objective.loss(examples[6:]).value) / 2
        torch.testing.assert_close(objective.loss(examples).value, parts)


def test_noise_is_required():
    with pytest.raises(ValueError, match="noise"):
        make_game().critic_loss(Examples(x=batch().x))


def test_a_paired_loss_is_given_real_scores_without_a_gradient():
    seen_inputs = []

    def generator(fake, real):
        seen_inputs.append(real)
        return fake - real

    paired = dataclasses.replace(LOSSES["ns"], generator=generator, paired=True)
    model, examples = make_game(loss=paired), batch()
    model.generator_loss(examples).value.backward()
    torch.testing.assert_close(seen_inputs[0].mean(), model.critic_loss(examples).terms["real"])
    assert not seen_inputs[0].requires_grad


@pytest.mark.parametrize("domain", [GREY, POINT], ids=["image", "points"])
def test_samples_are_data_and_do_not_depend_on_their_number(domain):
    model = make_game(domain)
    many = draw(model, 70, seed=3)
    assert many.shape == (70, *domain.shape)
    assert many.dtype == batch(domain).x.dtype
    torch.testing.assert_close(draw(model, 3, seed=3), many[:3])
    assert not torch.equal(many[0], many[1])
    assert model.sample(2).shape == (2, *domain.shape)


def test_samples_of_points_are_in_data_units():
    model = make_game(POINT)
    z = Noise.of(0, 5).normal(4)
    expected = model.generator(z) * 3 + 1
    torch.testing.assert_close(model.sample(5, noise=Noise.of(0, 5)), expected)


def test_a_condition_is_refused():
    with pytest.raises(BadInput, match="without classes"):
        make_game().sample(2, condition=Condition(label=torch.tensor([0, 1])))


@pytest.mark.parametrize("loss", LOSSES)
def test_the_game_finds_a_shifted_gaussian(loss):
    domain = Domain("points", (2,), Real(0.0, 2.0))
    energy = LOSSES[loss].score == "energy"
    model = Gan(
        PointGenerator(2, (2,), width=32, depth=2),
        (PointReconstructor if energy else PointCritic)((2,), width=32, depth=2),
        domain,
        2,
        loss=LOSSES[loss],
        penalty=PENALTIES["none" if energy else "r1+r2"],
        gamma=1.0 if loss == "wgan" else 0.1,
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


# --- penalties ---------------------------------------------------------------------------------


def slope(model, x):
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(model.critic(x).sum(), x)
    return gradient.flatten(1).norm(dim=1)


def test_each_penalty_is_taken_where_it_says():
    examples = batch()
    noise = examples.noise
    for name in ("r1", "r2", "r1+r2", "gp"):
        model = make_game(penalty=PENALTIES[name], gamma=0.6)
        real = GREY.values.dequantise(examples.x, noise.named("bins"))
        fake = model.generator(noise.named("latent").normal(4)).detach()
        u = noise.named("between").uniform().view(-1, 1, 1, 1)
        mixed = u * real + (1 - u) * fake
        expected = {
            "r1": 0.3 * slope(model, real).square().mean(),
            "r2": 0.3 * slope(model, fake).square().mean(),
            "gp": 0.3 * (slope(model, mixed) - 1).square().mean(),
        }
        expected["r1+r2"] = expected["r1"] + expected["r2"]
        loss = model.critic_loss(examples).terms["penalty"]
        torch.testing.assert_close(loss, expected[name], rtol=1e-4, atol=1e-5)


def test_a_lazy_penalty_comes_every_kth_update_and_so_much_the_heavier():
    model, examples = make_game(every=4, gamma=0.5), batch()
    often = make_game(gamma=0.5)
    often.load_state_dict(model.state_dict())
    (critic, _) = model.objectives()
    seen_inputs = []
    for update in range(8):
        critic.before(update, 0.0)
        seen_inputs.append(model.critic_loss(examples).terms.get("penalty"))
    assert [k for k, penalty in enumerate(seen_inputs) if penalty is not None] == [0, 4]
    torch.testing.assert_close(seen_inputs[0], 4 * often.critic_loss(examples).terms["penalty"])


def test_the_penalty_falls_as_training_goes_on():
    model, examples = make_game(gamma=Ramp(1.0, 0.1, over=0.5)), batch()
    (critic, _) = model.objectives()
    first = model.critic_loss(examples).terms["penalty"]
    critic.before(9, 0.7)
    torch.testing.assert_close(model.critic_loss(examples).terms["penalty"], 0.1 * first)


def test_no_penalty_costs_no_gradient_of_the_examples():
    assert "penalty" not in make_game(penalty=PENALTIES["none"]).critic_loss(batch()).terms
    assert "penalty" not in make_game(gamma=0.0).critic_loss(batch()).terms


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return gradient * 2


class OnceDifferentiable(nn.Module):
    score = "number"

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x, condition=None):
        return Once.apply(self.layer(x)).square().squeeze(1)


def test_a_critic_without_a_second_derivative_is_refused_where_one_is_needed():
    generator = PointGenerator(4, (2,), width=8)
    with pytest.raises(BadInput, match="differentiated twice"):
        Gan(generator, OnceDifferentiable(), POINT, 4).objectives()
    free = Gan(generator, OnceDifferentiable(), POINT, 4, penalty=PENALTIES["none"])
    assert len(free.objectives()) == 2


@pytest.mark.parametrize("is_same_batch", [True, False])
def test_the_fakes_of_one_batch_are_made_once_for_both_players(is_same_batch):
    model, examples = make_game(critic_steps=2), batch()
    alone = model.generator_loss(examples)
    calls = []
    model.generator.register_forward_hook(lambda *_: calls.append(1))
    (critic, generator) = model.objectives()
    assert generator.reuse_batch
    for turn in range(2):
        critic.before(turn, 0.0)
        model.critic_loss(batch(seed=turn))
    critic.before(3, 0.0)
    model.critic_loss(examples)
    loss = model.generator_loss(examples if is_same_batch else dataclasses.replace(examples))
    assert len(calls) == (
        3 if is_same_batch else 4
    )  # the critic's three, and one more for another batch
    assert torch.equal(loss.value, alone.value)
    gradients = torch.autograd.grad(loss.value, [*generator.parameters])
    expected = torch.autograd.grad(alone.value, [*generator.parameters])
    torch.testing.assert_close(gradients, expected)


# --- critics that are autoencoders -------------------------------------------------------------


def test_a_critic_of_the_wrong_kind_is_refused():
    generator, number = PointGenerator(4, (2,)), PointCritic((2,))
    with pytest.raises(BadInput, match="energy"):
        Gan(generator, number, POINT, 4, loss=LOSSES["ebgan"])
    with pytest.raises(BadInput, match="high on data"):
        Gan(generator, PointReconstructor((2,)), POINT, 4, loss=LOSSES["hinge"])
    with pytest.raises(BadInput, match="pulling-away"):
        Gan(generator, number, POINT, 4, pulling_away=0.1)


def test_the_pulling_away_term_is_of_the_codes_of_fakes():
    model, examples = (
        make_game(loss=LOSSES["ebgan"], penalty=PENALTIES["none"], pulling_away=0.3),
        batch(),
    )
    loss = model.generator_loss(examples)
    energy, codes = model.critic.energy_and_codes(
        model.generator(examples.noise.named("latent").normal(4)), None
    )
    torch.testing.assert_close(loss.value, energy.mean() + 0.3 * pulling_away(codes))


def test_scores_are_higher_where_the_critic_sees_data():
    x = torch.randn(5, 2)
    number = make_game(POINT)
    torch.testing.assert_close(number.score(x), number.critic(POINT.values.scale(x)))
    energy = make_game(POINT, loss=LOSSES["ebgan"])
    torch.testing.assert_close(energy.score(x), -energy.critic(POINT.values.scale(x)))


# --- classes -----------------------------------------------------------------------------------


def test_a_told_game_draws_what_it_is_asked_for():
    model = make_game(LABELLED, conditional=True)
    condition = Condition(label=torch.tensor([0, 1, 2, 0]))
    noise = Noise.of(0, 4)
    first = model.sample(4, condition=condition, noise=noise)
    other = model.sample(4, condition=Condition(label=torch.tensor([1, 2, 0, 1])), noise=noise[:])
    assert not torch.equal(first, other)
    assert model.sample(3).shape == (3, 1, 8, 8)
    labelled = dataclasses.replace(batch(n=4), condition=condition)
    for objective in model.objectives():
        gradients = torch.autograd.grad(objective.loss(labelled).value, [*objective.parameters])
        assert all(g.isfinite().all() for g in gradients)


def test_a_game_that_is_not_told_ignores_labels():
    model, examples = make_game(LABELLED), batch()
    condition = dataclasses.replace(examples, condition=Condition(label=torch.zeros(12).long()))
    assert torch.equal(model.critic_loss(examples).value, model.critic_loss(condition).value)


# --- augmentation and health -------------------------------------------------------------------


def test_real_and_fake_go_through_the_same_augmentation():
    seen_inputs = []

    class Spy(nn.Module):
        def forward(self, x, noise, share):
            seen_inputs.append((noise.uniform(), share))
            return x

    model, examples = make_game(loss=LOSSES["rsgan"], augment=Spy(), augment_share=0.4), batch()
    model.critic_loss(examples)
    model.generator_loss(examples)
    assert len(seen_inputs) == 4
    assert all(torch.equal(u, seen_inputs[0][0]) and share == 0.4 for u, share in seen_inputs)


class Counting(nn.Module):
    """Keeps the shares that it is asked for."""

    def __init__(self):
        super().__init__()
        self.shares = []

    def forward(self, x, noise, share):
        self.shares.append(share)
        return x


def test_a_critic_that_is_sure_of_its_examples_sees_more_of_them_changed():
    augment = Counting()
    model = make_game(augment=augment, augment_share=Governor(updates=10))
    critic, generator = model.objectives()
    for r, expected in [(0.9, 0.0), (0.9, 0.1), (0.2, 0.2), (0.2, 0.1)]:
        critic.before(0, 0.0)
        terms = critic.loss(batch()).terms
        generator.loss(batch())
        assert set(augment.shares) == {expected}
        assert float(terms["augmented"]) == pytest.approx(expected)
        assert -1 <= float(terms["sure"]) <= 1
        augment.shares.clear()
        critic.observe({"sure": r})
    is_same_batch = make_game(augment=augment, augment_share=Governor(updates=10))
    is_same_batch.load_state_dict(model.state_dict())
    is_same_batch.objectives()[0].before(0, 0.0)
    is_same_batch.critic_loss(batch())
    assert set(augment.shares) == {0.0}  # 0.2 - 2 / 10
    model.get_buffer("augmented").fill_(0.5)
    is_same_batch.load_state_dict(model.state_dict())
    is_same_batch.objectives()[0].before(0, 0.0)
    is_same_batch.generator_loss(batch())
    assert augment.shares[-1] == 0.5


def test_augmented_games_can_be_differentiated_twice():
    augment = DiffAugment(("colour", "translation", "cutout"), (1, 8, 8))
    model = make_game(augment=augment, penalty=PENALTIES["r1+r2"])
    for objective in model.objectives():
        gradients = torch.autograd.grad(objective.loss(batch()).value, [*objective.parameters])
        assert all(g.isfinite().all() for g in gradients)
        assert sum(g.abs().sum() for g in gradients) > 0


def test_the_variance_is_that_of_fakes_over_that_of_data():
    model, examples = make_game(POINT), batch(POINT)
    fake = model.generator(examples.noise.named("latent").normal(4))
    expected = fake.var(0, correction=0).sum()
    expected = expected / POINT.values.scale(examples.x).var(0, correction=0).sum()
    torch.testing.assert_close(model.generator_loss(examples).terms["variance"], expected.detach())
