"""Encoder, decoder and judges of a first stage: shapes, layouts, sizes that do not fit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trilemma.core.errors import BadInput
from trilemma.networks.first_stage import (
    CodeDecoder,
    CodeEncoder,
    PatchCritic,
    Perception,
    factors,
)

LAYERS = [nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 4, 3, stride=2)]


@pytest.mark.parametrize(
    ("shape", "factor"), [((1, 8, 8), 2), ((1, 28, 28), 4), ((3, 32, 64), 8), ((2, 16, 16), 4)]
)
def test_there_and_back_have_the_shapes(shape, factor):
    small = (4, shape[1] // factor, shape[2] // factor)
    z = CodeEncoder(shape, 4, factor=factor, width=8)(torch.randn(3, *shape))
    assert z.shape == (3, *small)
    assert CodeDecoder(4, shape, factor=factor, width=8)(z).shape == (3, *shape)


@pytest.mark.parametrize(
    ("side", "can"), [(8, (2, 4)), (28, (2, 4)), (30, (2,)), (64, (2, 4, 8, 16)), (27, ())]
)
def test_factors_are_those_that_divide(side, can):
    assert factors(side, side) == can


@pytest.mark.parametrize(
    ("side", "factor", "words"),
    [(28, 8, "give 2, 4"), (27, 2, "even"), (32, 3, "give 2, 4, 8, 16")],
)
def test_a_factor_that_does_not_fit_is_refused(side, factor, words):
    with pytest.raises(BadInput, match=words):
        CodeEncoder((1, side, side), 4, factor=factor)


def test_memory_layout_changes_nothing():
    torch.manual_seed(0)
    network, x = CodeEncoder((3, 16, 16), 4, factor=4, width=8), torch.randn(2, 3, 16, 16)
    plain = network(x)
    for weight in network.parameters():
        if weight.dim() == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(network(x), plain, atol=1e-5, rtol=1e-4)


def test_an_example_does_not_depend_on_its_batch():
    torch.manual_seed(0)
    network = nn.Sequential(
        CodeEncoder((1, 8, 8), 2, factor=2, width=8), CodeDecoder(2, (1, 8, 8), factor=2, width=8)
    )
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.2)
    x = torch.randn(5, 1, 8, 8)
    torch.testing.assert_close(network(x)[:2], network(x[:2]), atol=1e-5, rtol=1e-4)


def test_the_critic_is_bounded_and_sees_patches():
    torch.manual_seed(0)
    critic = PatchCritic(3, width=8)
    x = torch.randn(1, 3, 32, 32)
    assert critic(x).shape == (1, 8, 8)
    changed = x.clone()
    changed[:, :, :4, :4] += 1
    gap = (critic(changed) - critic(x)).abs()[0]
    assert gap[0, 0] > 0
    assert gap[4:, 4:].max() < 1e-6
    before = critic.layers[0].weight.detach().clone()
    critic.layers[0].parametrizations.weight.original.data.mul_(3)
    critic.renew()
    torch.testing.assert_close(critic.layers[0].weight, before, atol=1e-3, rtol=1e-2)


def test_perception_is_differentiable_frozen_and_no_part_of_a_model():
    perceive = Perception(LAYERS, (1, 2), size=16)
    model = nn.Linear(1, 1)
    model.perceive = perceive
    assert len(list(model.parameters())) == 2
    assert all(not p.requires_grad for p in perceive.layers.parameters())
    assert all(p.requires_grad for layer in LAYERS for p in layer.parameters())
    x, y = torch.randn(2, 2, 1, 8, 8)
    x.requires_grad_()
    result = perceive(x, y)
    assert result.shape == (2,)
    result.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad.abs().sum() > 0


def test_perception_refuses_two_channels():
    with pytest.raises(BadInput, match="perceptual 0"):
        Perception(LAYERS, (1,))(torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 8, 8))


def test_perception_of_equal_images_has_a_finite_gradient():
    x = torch.zeros(1, 3, 16, 16, requires_grad=True)
    Perception(LAYERS, (0, 2), size=16)(x, torch.zeros(1, 3, 16, 16)).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
