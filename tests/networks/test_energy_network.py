from __future__ import annotations

import pytest
import torch
from torch import nn

from trilemma.core.errors import BadInput
from trilemma.networks.energy import ImageEnergy, PointEnergy

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 9, 13), (3, 65, 40)]


def woken(network):
    nn.init.normal_(network.last.weight, std=0.1)
    return network


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("noise_conditional", [False, True])
def test_one_number_for_each_image(shape, noise_conditional):
    network = woken(ImageEnergy(shape, width=8, noise_conditional=noise_conditional))
    level = torch.zeros(3) if noise_conditional else None
    y = torch.randn(3, *shape)
    assert network(y, level).shape == (3,)
    torch.testing.assert_close(
        network(y, level)[1:2], network(y[1:2], None if level is None else level[1:2])
    )


def test_an_untrained_energy_is_nought():
    assert torch.equal(ImageEnergy((1, 8, 8))(torch.randn(2, 1, 8, 8)), torch.zeros(2))
    assert torch.equal(PointEnergy(2)(torch.randn(2, 2)), torch.zeros(2))


def test_small_images_are_refused():
    with pytest.raises(BadInput, match="8 pixels or more"):
        ImageEnergy((1, 6, 28))


@pytest.mark.parametrize("depth", [0, 2])
def test_blocks_are_added(depth):
    network = ImageEnergy((1, 8, 8), width=8, depth=depth)
    assert len(network.blocks[0]) == depth


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (ImageEnergy((1, 8, 8), width=8, noise_conditional=True), (1, 8, 8)),
        (PointEnergy(2, width=16, noise_conditional=True), (2,)),
    ],
)
def test_noise_levels_are_told_apart_and_slopes_have_slopes(network, shape):
    woken(network)
    y = torch.randn(4, *shape, requires_grad=True)
    low, high = network(y, torch.full((4,), -4.0)), network(y, torch.full((4,), 4.0))
    assert not torch.allclose(low, high)
    (slope,) = torch.autograd.grad(low.sum(), y, create_graph=True)
    gradients = torch.autograd.grad(slope.square().sum(), list(network.parameters()))
    assert all(bool(g.isfinite().all()) for g in gradients)


@pytest.mark.parametrize("shape", [(1, 8, 8), (2,)])
def test_the_sum_is_float32_under_autocast(shape):
    network = woken(ImageEnergy(shape, width=8) if len(shape) > 1 else PointEnergy(2, width=16))
    y = torch.randn(5, *shape)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = network(y)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, network(y), rtol=0.05, atol=0.02)
    assert network.double()(y.double()).dtype == torch.float64
