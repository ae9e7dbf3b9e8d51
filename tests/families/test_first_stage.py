"""The first stage: losses, players, vectors that live, codes that do not depend on the batch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trilemma.core.batch import Examples
from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.core.model import Coded, Reconstructing
from trilemma.core.noise import Noise
from trilemma.families import first_stage as module
from trilemma.families.first_stage import FirstStage
from trilemma.networks.first_stage import CodeDecoder, CodeEncoder, PatchCritic

DOMAIN = Domain("image", (1, 8, 8), Levels(17))


def make_stage(regulariser="kl", critic=0.0):
    torch.manual_seed(0)
    outputs = 4 if regulariser == "kl" else 2
    return FirstStage(
        CodeEncoder(DOMAIN.shape, outputs, factor=2, width=8),
        CodeDecoder(2, DOMAIN.shape, factor=2, width=8),
        DOMAIN,
        (2, 4, 4),
        regulariser=regulariser,
        critic=PatchCritic(1, width=8) if critic else None,
        critic_weight=critic,
    )


def batch(rows=16):
    noise = Noise.of(3, rows)
    return Examples(noise.named("x").integers(17, 1, 8, 8).to(torch.uint8), None, noise)


@pytest.mark.parametrize("regulariser", ["kl", "vq"])
def test_it_does_what_it_says(regulariser):
    model, x = make_stage(regulariser), batch(4).x
    assert isinstance(model, Coded)
    assert isinstance(model, Reconstructing)
    assert model.codes(x).shape == (4, 2, 4, 4)
    assert model.encode(x).shape == (4, 32)
    back = model.reconstruct(x)
    assert back.shape == x.shape
    assert back.dtype == torch.uint8
    assert torch.equal(model.decode(model.encode(x)), back)
    assert model.sample(3, noise=Noise.of(0, 3)).shape == (3, 1, 8, 8)


@pytest.mark.parametrize("regulariser", ["kl", "vq"])
def test_the_loss_is_a_mean_over_examples_and_the_same_in_evaluation(regulariser):
    model, full = make_stage(regulariser), batch(16)
    value = model.loss(full).value
    parts = [model.loss(full[:8]).value, model.loss(full[8:]).value]
    torch.testing.assert_close(sum(parts) / 2, value, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.loss(full).value, value)
    model.eval()
    torch.testing.assert_close(model.loss(full).value, value)


def test_codes_are_sampled_in_training_and_means_outside():
    model, some = make_stage(), batch(4)
    assert torch.equal(model.codes(some.x), model.codes(some.x))
    sampled_codes = model.codes(some.x, noise=Noise.of(1, 4))
    assert not torch.equal(sampled_codes, model.codes(some.x))
    assert torch.equal(sampled_codes, model.codes(some.x, noise=Noise.of(1, 4)))
    other = Examples(some.x, None, Noise.of(8, 4))
    assert not torch.equal(
        model._coded(DOMAIN.values.scale(some.x), some.noise)[0],
        model._coded(DOMAIN.values.scale(some.x), other.noise)[0],
    )


def test_half_precision_gives_finite_losses_in_float32():
    model = make_stage(critic=0.1)
    model._set_progress(1, 0.9)
    with torch.autocast("cpu", torch.bfloat16):
        for objective in model.objectives():
            loss = objective.loss(batch())
            assert loss.value.dtype == torch.float32
            assert loss.value.isfinite()


def train(model, steps, share=lambda i: 0.0, lr=2e-3):
    """Play some updates as the trainer does."""
    players = model.objectives()
    optimisers = [torch.optim.Adam(o.parameters, lr) for o in players]
    values = []
    for i in range(steps):
        for objective, optimiser in zip(players, optimisers, strict=True):
            if objective.before is not None:
                objective.before(i, share(i))
            loss = objective.loss(batch(32))
            loss.value.backward(inputs=list(objective.parameters))
            optimiser.step()
            optimiser.zero_grad()
            if objective.after is not None:
                with torch.no_grad():
                    objective.after()
        values.append(float(loss.value.detach()))
    return values


def test_vectors_are_written_after_an_update_only_and_live():
    model = make_stage("vq")
    before = model.sums.clone()
    (player,) = model.objectives()
    player.before(0, 0.0)
    player.loss(batch())
    assert torch.equal(model.sums, before)
    with torch.no_grad():
        player.after()
    assert not torch.equal(model.sums, before)
    z = module._flat(model.codes(batch().x)).detach()
    apart = torch.cdist(model.vectors, z).min(1).values
    assert apart.max() < 1e-3, "at the first update every vector is set onto a code"
    values = train(model, 25)
    assert values[-1] < values[1]
    assert model.vectors.isfinite().all()
    assert (model.counts > 0).all()


def test_dead_vectors_start_again():
    model = make_stage("vq")
    train(model, 3)
    model.counts[7], model.sums[7] = 1e-6, 1.0
    train_one = model.objectives()[0]
    train_one.before(5, 0.5)
    train_one.loss(batch())
    with torch.no_grad():
        train_one.after()
    z = module._flat(model.codes(batch().x)).detach()
    assert torch.cdist(model.vectors[7:8], z).min() < 1e-3


def test_vectors_of_parts_are_those_of_the_whole():
    one, two, full = make_stage("vq"), make_stage("vq"), batch(16)
    for model, parts in ((one, [full]), (two, [full[:8], full[8:]])):
        (player,) = model.objectives()
        for update in (0, 1):
            player.before(update, 0.0)
            for part in parts:
                player.loss(part)
            with torch.no_grad():
                player.after()
    torch.testing.assert_close(one.sums, two.sums, atol=1e-4, rtol=1e-4)


def test_looking_leaves_no_trace():
    model = make_stage("vq")
    model.eval()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    model.loss(batch())
    model.reconstruct(batch().x)
    assert not model._batch_codes
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


def test_the_critic_begins_after_a_share_of_the_stage():
    model = make_stage(critic=0.1)
    names = [o.name for o in model.objectives()]
    assert names == ["critic", "autoencoder"]
    assert model.objectives()[1].reuse_batch
    critic, autoencoder = model.objectives()
    critic.before(0, 0.0)
    early = critic.loss(batch())
    assert early.value.item() == 0
    early.value.backward(inputs=list(critic.parameters))
    assert all(p.grad is not None for p in critic.parameters)
    autoencoder.before(0, 0.0)
    assert autoencoder.loss(batch()).terms["game"].item() == 0
    critic.before(9, 0.5)
    late = critic.loss(batch())
    gradients = torch.autograd.grad(late.value, list(critic.parameters))
    assert any(g.abs().sum() > 0 for g in gradients)
    assert autoencoder.loss(batch()).terms["game"].item() != 0
    assert late.terms.keys() == early.terms.keys()
    assert all(v < 10 for v in train(model, 6, share=lambda i: i / 6))


def test_a_perceptual_distance_takes_part_and_is_not_kept():
    model = make_stage()
    plain = model.loss(batch())
    model.judge(lambda x, y: (x - y).square().flatten(1).mean(1), 2.0)
    judged = model.loss(batch())
    expected = plain.value + 2 * judged.terms["perceptual"]
    torch.testing.assert_close(judged.value, expected)
    assert make_stage().state_dict().keys() == model.state_dict().keys()


def test_mistakes_are_refused():
    with pytest.raises(BadInput, match="'kl' or 'vq'"):
        make_stage("none")
    with pytest.raises(BadInput, match="critic"):
        FirstStage(nn.Identity(), nn.Identity(), DOMAIN, (1, 8, 8), critic_weight=1.0)
