"""The U-Net: any size, no example looking at another, nothing that a batch decides."""

from __future__ import annotations

import pytest
import torch

from trilemma.core.batch import Condition
from trilemma.networks.attention import CrossAttention
from trilemma.networks.condition_encoder import ConditionEncoder
from trilemma.networks.unet import Perceptron, UNet


def awake(network):
    """Give the layers that start at zero something to say."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            if not weight.any():
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.1)
    return network


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((1, 8, 8), {"patch": 1}),
        ((1, 28, 28), {}),
        ((3, 32, 32), {"attention": True}),
        ((3, 64, 64), {"multipliers": (1, 2, 2)}),
        ((1, 9, 23), {"multipliers": (1, 2, 3)}),
        ((3, 12, 10), {"multipliers": (1,), "blocks": 2}),
    ],
    ids=str,
)
def test_any_image(shape, options):
    network = awake(UNet(shape[0], width=16, **options))
    x = torch.randn(2, *shape)
    out = network(x, torch.zeros(2))
    assert out.shape == x.shape
    (gradient,) = torch.autograd.grad(out.square().sum(), network.enter.weight)
    assert gradient.isfinite().all()
    assert gradient.any()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_row_depends_on_that_row_alone(layout):
    network = awake(UNet(1, width=16, classes=3, attention=True)).to(memory_format=layout)
    x, s = torch.randn(5, 1, 12, 12), torch.linspace(-5, 5, 5)
    condition = Condition(label=torch.tensor([0, 1, 2, 0, 1]))
    together = network(x, s, condition)
    alone = network(x[3:4], s[3:4], condition[3:4])
    torch.testing.assert_close(together[3:4], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("make", [lambda: UNet(1, width=16, classes=3), lambda: None])
def test_noise_level_and_condition_are_heard(make):
    network = awake(make() or Perceptron(2, width=16, classes=3))
    x = torch.randn(4, 1, 8, 8) if isinstance(network, UNet) else torch.randn(4, 2)
    condition = Condition(label=torch.tensor([0, 0, 1, 1]))
    plain = network(x, torch.zeros(4), condition)
    assert not torch.allclose(plain, network(x, torch.ones(4), condition))
    assert not torch.allclose(plain, network(x, torch.zeros(4), condition.null()))
    torch.testing.assert_close(
        network(x, torch.zeros(4), condition.null()), network(x, torch.zeros(4), None)
    )


def test_an_untrained_network_says_zero():
    assert not UNet(1, width=16)(torch.randn(2, 1, 8, 8), torch.zeros(2)).any()
    assert not Perceptron(2, width=16)(torch.randn(2, 2), torch.zeros(2)).any()


def test_padding_changes_nothing_inside():
    """Rows of zeros added by hand at the far edges are what the network adds itself."""
    network = awake(UNet(1, width=16))
    x = torch.randn(1, 1, 10, 7)
    padded = torch.nn.functional.pad(x, (0, 1, 0, 2))
    torch.testing.assert_close(
        network(x, torch.zeros(1)), network(padded, torch.zeros(1))[:, :, :10, :7]
    )


def test_layouts_agree():
    network = awake(UNet(3, width=16, attention=True))
    x = torch.randn(2, 3, 16, 16)
    plain = network(x, torch.zeros(2))
    network.to(memory_format=torch.channels_last)
    torch.testing.assert_close(network(x, torch.zeros(2)), plain, atol=1e-5, rtol=1e-4)


def test_bf16_is_near():
    network = awake(UNet(1, width=16, attention=True))
    x = torch.randn(2, 1, 28, 28)
    plain = network(x, torch.zeros(2))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = network(x, torch.zeros(2)).float()
    assert (mixed - plain).norm() < 0.05 * plain.norm()


def test_size_of_the_benchmark():
    network = UNet(1, width=64, multipliers=(1, 2, 2), blocks=2, patch=1, attention=True)
    count = sum(weight.numel() for weight in network.parameters())
    assert 3.9e6 / 1.2 < count < 3.9e6 * 1.2


def captions():
    """Return captions of 2, 1 and 3 words."""
    words = torch.tensor([[5, 2, 0], [1, 0, 0], [3, 3, 4]])
    return Condition(tokens=words, mask=words > 0)


def conditional_network(**options):
    return UNet(1, width=16, context=ConditionEncoder(32, words=9, length=3), **options)


def test_captions_are_heard_through_attention_alone():
    network, x = awake(conditional_network(patch=1)), torch.randn(3, 1, 8, 8)
    plain = network(x, torch.zeros(3), captions())
    other = Condition(tokens=captions().tokens + 1, mask=captions().mask)
    assert not torch.isclose(network(x, torch.zeros(3), other), plain).flatten(1).all(1).any()
    for module in network.modules():
        if isinstance(module, CrossAttention):
            torch.nn.init.zeros_(module.out.weight)
    torch.testing.assert_close(
        network(x, torch.zeros(3), other), network(x, torch.zeros(3), captions())
    )


@pytest.mark.parametrize(
    ("multipliers", "sites"),
    [
        ((1,), ["down_0", "up_0", "middle"]),
        ((1, 2), ["down_0", "down_1", "up_0", "up_1", "middle"]),
        ((1, 2, 2), ["down_1", "down_2", "up_1", "up_2", "middle"]),
    ],
)
def test_the_two_coarsest_levels_and_the_middle_ask(multipliers, sites):
    assert list(conditional_network(multipliers=multipliers).cross_attentions) == sites


def test_nothing_said_is_no_condition():
    network, x = awake(conditional_network()), torch.randn(3, 1, 9, 14)
    torch.testing.assert_close(
        network(x, torch.zeros(3), captions().null()), network(x, torch.zeros(3), None)
    )


@pytest.mark.parametrize(
    "message", [captions(), captions().null(), None], ids=["said", "null", "-"]
)
def test_every_parameter_has_a_gradient(message):
    network = conditional_network(attention=True)
    network(torch.randn(3, 1, 8, 8), torch.zeros(3), message).square().sum().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_told_row_depends_on_that_row_alone(layout):
    network = awake(conditional_network()).to(memory_format=layout)
    x, s, captioned = torch.randn(3, 1, 12, 12), torch.linspace(-5, 5, 3), captions()
    together = network(x, s, captioned)
    torch.testing.assert_close(together[1:2], network(x[1:2], s[1:2], captioned[1:2]))


def test_features_keep_their_layout_through_the_questions():
    network = awake(conditional_network()).to(memory_format=torch.channels_last)
    hook_calls = []
    for module in network.cross_attentions.values():
        module.register_forward_hook(lambda _, inputs, out: hook_calls.append((inputs[0], out)))
    network(torch.randn(3, 1, 16, 16), torch.zeros(3), captions())
    assert len(hook_calls) == 5
    for tensors in hook_calls:
        for h in tensors:
            assert h.is_contiguous(memory_format=torch.channels_last)


def test_told_networks_in_bf16_are_near():
    network, x = awake(conditional_network(attention=True)), torch.randn(3, 1, 28, 28)
    plain = network(x, torch.zeros(3), captions())
    with torch.autocast("cpu", torch.bfloat16):
        mixed = network(x, torch.zeros(3), captions())
    assert (mixed.float() - plain).norm() < 0.05 * plain.norm()
    mixed.float().sum().backward()
    assert all(weight.grad.isfinite().all() for weight in network.parameters())


def test_a_context_adds_nothing_at_first():
    torch.manual_seed(1)
    plain = awake(UNet(1, width=16))
    network = conditional_network()
    assert network.load_state_dict(plain.state_dict(), strict=False).unexpected_keys == []
    x = torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(network(x, torch.zeros(3), captions()), plain(x, torch.zeros(3)))
