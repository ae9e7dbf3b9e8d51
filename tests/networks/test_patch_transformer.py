"""The patch transformer: what a U-Net can do, for one size."""

from __future__ import annotations

import pytest
import torch

from trilemma.core.batch import Condition
from trilemma.core.errors import BadInput
from trilemma.networks.attention import record_maps
from trilemma.networks.condition_encoder import ConditionEncoder
from trilemma.networks.patch_transformer import PatchTransformer, position_encodings


def awake(network):
    """Give the layers that start at zero something to say."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            if not weight.any():
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.1)
    return network


def small(shape=(1, 8, 8), **options):
    return PatchTransformer(shape, **{"patch": 2, "width": 32, "depth": 2, "head": 16} | options)


def captions():
    words = torch.tensor([[5, 2, 0], [1, 0, 0], [3, 3, 4]])
    return Condition(label=torch.tensor([0, 1, 2]), tokens=words, mask=words > 0)


def conditional_network(**options):
    return small(classes=3, context=ConditionEncoder(32, words=9, length=3), **options)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((1, 8, 8), {}),
        ((1, 28, 28), {"patch": 4}),
        ((3, 12, 20), {"patch": 4}),
        ((3, 6, 9), {"patch": 3}),
        ((4, 16, 16), {"patch": 1}),
        ((1, 5, 5), {"patch": 5}),
    ],
    ids=str,
)
def test_any_image_that_the_patch_divides(shape, options):
    network = awake(small(shape, **options))
    x = torch.randn(2, *shape)
    out = network(x, torch.zeros(2))
    assert out.shape == x.shape
    (gradient,) = torch.autograd.grad(out.square().sum(), network.enter.weight)
    assert gradient.isfinite().all()
    assert gradient.any()


def test_channels_may_differ():
    network = small((3, 8, 8), inputs=9, outputs=6)
    assert network(torch.randn(2, 9, 8, 8), torch.zeros(2)).shape == (2, 6, 8, 8)


def test_an_untrained_network_says_zero():
    assert not conditional_network()(torch.randn(3, 1, 8, 8), torch.zeros(3), captions()).any()


def test_patches_go_where_they_came_from():
    """Without blocks, what is said of a pixel depends on its own patch."""
    network = awake(small(depth=0))
    x = torch.randn(1, 1, 8, 8, requires_grad=True)
    network(x, torch.zeros(1))[0, 0, 2, 5].backward()
    heard = x.grad[0, 0] != 0
    assert heard[2:4, 4:6].all()
    assert heard.sum() == 4


def test_every_patch_sees_every_other():
    network = awake(small(depth=1))
    x = torch.randn(1, 1, 8, 8, requires_grad=True)
    network(x, torch.zeros(1))[0, 0, 2, 5].backward()
    assert (x.grad != 0).all()


def test_where_a_patch_is_matters():
    network, x = awake(small()), torch.randn(1, 1, 8, 8)
    moved = network(x.roll(2, 3), torch.zeros(1)).roll(-2, 3)
    assert not torch.allclose(moved, network(x, torch.zeros(1)), atol=1e-3)
    assert position_encodings((3, 5), 16).shape == (15, 16)


@pytest.mark.parametrize("which", ["level", "class", "caption"])
def test_noise_level_class_and_caption_are_heard(which):
    network, captioned, x = awake(conditional_network()), captions(), torch.randn(3, 1, 8, 8)
    levels, other = torch.zeros(3), captions()
    if which == "level":
        levels = torch.ones(3)
    if which == "class":
        other = Condition(
            label=(captioned.label + 1) % 3, tokens=captioned.tokens, mask=captioned.mask
        )
    if which == "caption":
        other = Condition(label=captioned.label, tokens=captioned.tokens + 1, mask=captioned.mask)
    plain = network(x, torch.zeros(3), captioned)
    assert not torch.isclose(network(x, levels, other), plain).flatten(1).all(1).any()


def test_nothing_said_is_no_condition():
    network, x = awake(conditional_network()), torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(
        network(x, torch.zeros(3), captions().null()), network(x, torch.zeros(3), None)
    )


def test_a_row_depends_on_that_row_alone():
    network, captioned = awake(conditional_network()), captions()
    x, s = torch.randn(3, 1, 8, 8), torch.linspace(-5, 5, 3)
    alone = network(x[1:2], s[1:2], captioned[1:2])
    torch.testing.assert_close(network(x, s, captioned)[1:2], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "message", [captions(), captions().null(), None], ids=["said", "null", "-"]
)
def test_every_parameter_has_a_gradient(message):
    network = conditional_network()
    network(torch.randn(3, 1, 8, 8), torch.zeros(3), message).square().sum().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []


def test_maps_of_its_questions():
    network = awake(conditional_network(shape=(1, 8, 12)))
    with record_maps(network) as maps:
        network(torch.randn(3, 1, 8, 12), torch.zeros(3), captions())
    assert [tuple(share.shape) for share in maps] == [(3, 2, 24, 4)] * 2
    assert maps.sides == [(4, 6)] * 2


def test_bf16_is_near():
    network, x = awake(conditional_network(shape=(1, 28, 28))), torch.randn(3, 1, 28, 28)
    plain = network(x, torch.zeros(3), captions())
    with torch.autocast("cpu", torch.bfloat16):
        mixed = network(x, torch.zeros(3), captions())
    assert (mixed.float() - plain).norm() < 0.05 * plain.norm()
    mixed.float().sum().backward()
    assert all(weight.grad.isfinite().all() for weight in network.parameters())


def test_it_learns():
    network = small((1, 8, 8), patch=4)
    x, s = torch.randn(16, 1, 8, 8), torch.zeros(16)
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for _ in range(30):
        loss = (network(x, s) - x).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1, 28, 28), {"patch": 3}, "28 x 28; give a side of 1, 2, 4, 7, 14 or 28"),
        ((1, 8, 12), {"patch": 8}, "8 x 12; give a side of 1, 2 or 4"),
        ((1, 7, 12), {"patch": 2}, "give a side of 1\\."),
        ((1, 8, 8), {"patch": 0}, "0 x 0"),
        ((1, 8, 8), {"width": 40, "head": 16}, "divides by 16, such as 32"),
        ((1, 8, 8), {"width": 30, "head": 15}, "divides by 60, such as 60"),
        ((1, 8, 8), {"head": 0}, "heads of 0"),
        ((1, 8, 8), {"width": 0}, "such as 16"),
    ],
)
def test_sizes_that_do_not_fit(shape, options, message):
    with pytest.raises(BadInput, match=message):
        small(shape, **options)


def test_images_of_another_size():
    with pytest.raises(BadInput, match=r"8 x 12 were given .* made for 8 x 8"):
        small()(torch.zeros(2, 1, 8, 12), torch.zeros(2))
