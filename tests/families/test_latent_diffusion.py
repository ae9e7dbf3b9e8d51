"""Latent diffusion: whitening, what it can do, maps of words, what reaches what."""

from __future__ import annotations

import pytest
import torch

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.errors import BadInput
from trilemma.core.model import (
    Coded,
    Editing,
    Estimating,
    Explaining,
    Gradual,
    Reconstructing,
    Scored,
)
from trilemma.core.noise import Noise
from trilemma.families.diffusion.denoiser import Denoiser
from trilemma.families.diffusion.diffusion import Diffusion
from trilemma.families.diffusion.latent import (
    ConditionalLatentDiffusion,
    LatentDiffusion,
    whitening,
)
from trilemma.families.diffusion.options import DiffusionSampling, ForwardProcess
from trilemma.families.first_stage import FirstStage
from trilemma.maths.diffusion.predictions import Velocity
from trilemma.maths.diffusion.schedules import SCHEDULES
from trilemma.networks.attention import record_maps
from trilemma.networks.condition_encoder import ConditionEncoder
from trilemma.networks.first_stage import CodeDecoder, CodeEncoder
from trilemma.networks.unet import UNet

DOMAIN = Domain("image", (1, 12, 12), Levels(17), vocabulary=("a", "b", "c"), words=3)


def make_model(is_conditional=True, guidance=1.0, multipliers=(1, 2)):
    torch.manual_seed(0)
    first = FirstStage(
        CodeEncoder(DOMAIN.shape, 4, factor=2, width=8),
        CodeDecoder(2, DOMAIN.shape, factor=2, width=8),
        DOMAIN,
        (2, 6, 6),
    )
    context = ConditionEncoder(16, words=3, length=3, depth=1, head=16) if is_conditional else None
    network = UNet(2, width=16, multipliers=multipliers, patch=1, context=context)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    schedule = SCHEDULES["cosine"]
    diffusion = Diffusion(
        Denoiser(network, ForwardProcess(schedule), Velocity(schedule.power)),
        Domain("image", (2, 6, 6), Real()),
        sampling=DiffusionSampling(steps=3, guidance=guidance),
    )
    if not is_conditional:
        return LatentDiffusion(first, diffusion, DOMAIN)
    return ConditionalLatentDiffusion(first, diffusion, DOMAIN, recorded=record_maps)


def images(rows=8):
    return Noise.of(5, rows).integers(17, 1, 12, 12).to(torch.uint8)


def condition_of(rows=2):
    tokens = torch.tensor([[1, 2, 0], [3, 0, 0]]).repeat(rows // 2, 1)
    return Condition(tokens=tokens, mask=tokens > 0)


def test_abilities():
    for kind in (Coded, Gradual, Reconstructing, Estimating, Scored, Editing):
        assert isinstance(make_model(), kind)
    assert isinstance(make_model(), Explaining)
    assert not isinstance(make_model(is_conditional=False), Explaining)


def test_everything_is_in_data_units():
    model, x, noise = make_model(), images(2), Noise.of(0, 2)
    model.measure(model.first_stage.codes(images()).detach())
    path = model.path(2, frames=3, condition=condition_of(), noise=noise)
    way = model.estimates(2, frames=3, condition=condition_of(), noise=noise)
    forward = model.forward_path(x, frames=3, noise=noise)
    between = model.between(x, x.flip(0), 4)
    assert between.shape == (4, 2, 1, 12, 12)
    pictures = [*path, *forward, *(part for step in way for part in step[1:]), *between]
    pictures += [
        model.reconstruct(x),
        model.decode(model.encode(x)),
        model.edit(x, 0.5, condition=condition_of(), noise=noise),
        model.sample(2, noise=noise),
    ]
    for x in pictures:
        assert x.shape == (2, 1, 12, 12)
        assert x.dtype == torch.uint8
    assert torch.equal(path[-1], model.sample(2, condition=condition_of(), noise=Noise.of(0, 2)))
    assert model.score_field(torch.zeros(2, 2, 6, 6), 0.5).shape == (2, 2, 6, 6)


def test_codes_are_whitened_and_reconstruction_does_not_mind():
    model, x = make_model(), images(64)
    plain = model.reconstruct(x)
    model.measure(model.first_stage.codes(x).detach())
    y = model.latents(x)
    assert y.mean((0, 2, 3)).abs().max() < 1e-4
    assert (y.var((0, 2, 3), correction=0) - 1).abs().max() < 1e-3
    assert torch.equal(model.reconstruct(x), plain)
    assert (model.decode(model.encode(x)) != plain).float().mean() < 0.01
    assert {"mean", "std"} <= model.state_dict().keys()


def test_whitening_refuses_codes_that_say_nothing():
    z = torch.randn(4, 3, 2, 2)
    for bad, words in (
        (z * float("nan"), "not finite"),
        (torch.full_like(z, 3.0), "3 of 3"),
        (torch.cat([z[:, :2], torch.zeros(4, 1, 2, 2)], 1), "1 of 3"),
    ):
        with pytest.raises(BadInput, match=words):
            whitening(bad)


def test_a_step_of_the_diffusion_touches_no_encoder():
    model = make_model()

    def never(*_):
        raise AssertionError("the encoder was called")

    model.first_stage.encoder.register_forward_pre_hook(never)
    model.first_stage.decoder.register_forward_pre_hook(never)
    (player,) = model.diffusion.objectives()
    noise = Noise.of(0, 2)
    loss = player.loss(Examples(noise.normal(2, 6, 6), condition_of(), noise)).value
    gradients = torch.autograd.grad(loss, list(player.parameters))
    assert all(g.isfinite().all() for g in gradients)
    owned = set(map(id, model.first_stage.parameters()))
    assert not owned & set(map(id, player.parameters))


def test_tau_is_trained_along():
    model = make_model()
    (player,) = model.diffusion.objectives()
    owned = set(map(id, player.parameters))
    assert all(id(p) in owned for p in model.diffusion.network.context.parameters())


def test_sample_i_does_not_depend_on_n():
    model = make_model()
    one = model.sample(2, condition=condition_of(), noise=Noise.of(0, 4)[:2])
    many = model.sample(4, condition=condition_of(4), noise=Noise.of(0, 4))[:2]
    assert (one != many).float().mean() < 0.01


def test_a_hidden_condition_is_none():
    model, noise = make_model().diffusion, Noise.of(0, 2)
    unconditional = model.sample(2, condition=condition_of().null(), noise=noise[:])
    torch.testing.assert_close(unconditional, model.sample(2, noise=noise[:]))
    conditional = model.sample(2, condition=condition_of(), noise=noise[:])
    assert (unconditional - conditional).abs().max() > 1e-3


@pytest.mark.parametrize("multipliers", [(1, 2), (1, 1, 2)])  # the second pads 6 x 6 to 8 x 8
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_attention_maps_each_word(multipliers, guidance):
    model = make_model(guidance=guidance, multipliers=multipliers)
    x, maps = model.attention(condition_of(), noise=Noise.of(0, 2))
    assert torch.equal(x, model.sample(2, condition=condition_of(), noise=Noise.of(0, 2)))
    assert maps.shape == (2, 3, 12, 12)
    assert (maps >= 0).all()
    assert maps.sum(1).max() <= 1 + 1e-5
    assert maps[~condition_of().mask].abs().max() == 0, "a masked word is not looked at"
    assert (maps[condition_of().mask].flatten(1).max(1).values > 0).all()


def test_attention_leaves_nothing_behind():
    model = make_model()
    hooks = len(model.diffusion.network._forward_hooks)
    model.attention(condition_of(), noise=Noise.of(0, 2))
    assert len(model.diffusion.network._forward_hooks) == hooks


def test_attention_wants_a_condition_that_is_read():
    with pytest.raises(BadInput, match="guidance 0"):
        make_model(guidance=0.0).attention(condition_of(), noise=Noise.of(0, 2))


def test_shapes_that_do_not_fit_are_refused():
    model = make_model(is_conditional=False)
    other = FirstStage(
        CodeEncoder(DOMAIN.shape, 4, factor=4, width=8),
        CodeDecoder(2, DOMAIN.shape, factor=4, width=8),
        DOMAIN,
        (2, 3, 3),
    )
    with pytest.raises(ValueError, match="over"):
        LatentDiffusion(other, model.diffusion, DOMAIN)
