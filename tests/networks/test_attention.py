"""Attention: the formula, whoever computes it, and what is recorded of it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trilemma.networks import attention
from trilemma.networks.attention import (
    Attention,
    AttentionMaps,
    CrossAttention,
    SelfAttention,
    dot_product_attention,
    record_maps,
    weights,
)


def awake(module):
    """Give the layers that start at zero something to say."""
    for weight in module.parameters():
        if not weight.any():
            nn.init.normal_(weight, std=0.1)
    return module


def parts(n=7, m=5, dtype=torch.float32):
    return (torch.randn(3, 2, length, 8).to(dtype) for length in (n, m, m))


MASK = torch.tensor([[1, 1, 0, 1, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]]).bool()


@pytest.mark.parametrize("mask", [None, MASK], ids=["all", "some"])
@pytest.mark.parametrize(
    ("dtype", "near"), [(torch.float32, 1e-5), (torch.float64, 1e-12), (torch.bfloat16, 0.03)]
)
@pytest.mark.parametrize("plain", [0, 2**16])
def test_every_way_gives_the_same(monkeypatch, mask, dtype, near, plain):
    monkeypatch.setattr(attention, "PLAIN", plain)
    q, k, v = parts(dtype=dtype)
    exact = weights(q.double(), k.double(), mask) @ v.double()
    output = dot_product_attention(q, k, v, mask)
    assert output.dtype == dtype
    torch.testing.assert_close(output.double(), exact, atol=near, rtol=near)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(
            dot_product_attention(q, k, v, mask).double(), exact, atol=0.03, rtol=0.03
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_who_sees_nothing_gathers_nothing(dtype):
    q, k, v = (part.requires_grad_() for part in parts(dtype=dtype))
    mask = MASK & torch.tensor([[True], [False], [True]])
    output = dot_product_attention(q, k, v, mask)
    assert not output[1].any()
    assert output[0].any()
    output.sum().backward()
    assert all(part.grad.isfinite().all() for part in (q, k, v))


def test_weights_are_never_half_precise():
    q, k, _ = parts(dtype=torch.bfloat16)
    assert weights(q, k, MASK).dtype == torch.float32
    assert weights(q.double(), k.double()).dtype == torch.float64
    assert weights(100 * q, 100 * k, MASK).isfinite().all()


def test_attention_sees_every_pixel():
    attend = awake(Attention(32))
    x = torch.randn(1, 32, 5, 6, requires_grad=True)
    attend(x)[0, :, 0, 0].sum().backward()
    assert (x.grad[0].abs().sum(0) > 0).all()


def test_sequences_see_what_is_shown():
    attend = SelfAttention(16, 2)
    x = torch.randn(3, 5, 16, requires_grad=True)
    attend(x, MASK)[:, 0].sum().backward()
    heard = x.grad.abs().sum(2) > 0
    assert (heard[:, 1:] == MASK[:, 1:]).all()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [16, 48, 96, 50])
def test_shapes_and_layouts(layout, channels):
    attend = awake(CrossAttention(channels, 12))
    assert channels % attend.heads == 0
    x = torch.randn(3, channels, 4, 6).contiguous(memory_format=layout)
    out = attend(x, torch.randn(3, 5, 12), MASK)
    assert out.shape == x.shape
    assert out.is_contiguous(memory_format=layout)


def test_pixels_that_ask_get_what_answers():
    """With keys along their channels, each pixel gathers the token of its own kind."""
    attend = CrossAttention(32, 32, head=32)
    attend.before = nn.Identity()
    with torch.no_grad():
        attend.ask.weight.copy_(100 * torch.eye(32))
        attend.answer.weight.copy_(torch.eye(32).repeat(2, 1))
        attend.out.weight.copy_(torch.eye(32))
    tokens = torch.eye(32)[None, :5]
    kinds = torch.tensor([[0, 3, 1], [4, 2, 0]])
    x = torch.eye(32)[kinds].permute(2, 0, 1)[None]
    with record_maps(attend) as maps:
        out = attend(x, tokens, None)
    torch.testing.assert_close(out, 2 * x)
    assert (maps.over((2, 3)).argmax(1)[0] == kinds).all()


class Two(nn.Module):
    """Asks at two resolutions, the coarse one first."""

    def __init__(self):
        super().__init__()
        self.first, self.second = awake(CrossAttention(32, 12)), awake(CrossAttention(64, 12))

    def forward(self, tokens, mask):
        self.second(torch.randn(3, 64, 2, 3), tokens, mask)
        return self.first(torch.randn(3, 32, 4, 6), tokens, mask)


def test_maps_come_in_the_order_of_the_calls():
    network, tokens = Two(), torch.randn(3, 5, 12, requires_grad=True)
    with record_maps(network) as maps:
        network(tokens, MASK)
    network(tokens, MASK)
    assert [tuple(share.shape) for share in maps] == [(3, 2, 6, 5), (3, 2, 24, 5)]
    assert maps.sides == [(2, 3), (4, 6)]
    assert not any(share.requires_grad for share in maps)
    over = maps.over((8, 12))
    assert over.shape == (3, 5, 8, 12)
    torch.testing.assert_close(over.sum(1), torch.ones(3, 8, 12))
    assert not over[~MASK].any()
    maps.clear()
    assert (maps, maps.sides) == ([], [])


def test_maps_are_not_kept_after_an_error_and_blocks_can_be_nested():
    network, tokens = Two(), torch.randn(3, 5, 12)
    with pytest.raises(RuntimeError), record_maps(network):
        raise RuntimeError
    with record_maps(network) as outer:
        network(tokens, MASK)
        with record_maps(network.first) as inner:
            network(tokens, MASK)
        network(tokens, MASK)
    assert (len(outer), len(inner)) == (5, 1)
    assert network.first.recorder is network.second.recorder is None
    assert "recorder" not in network.first.state_dict()


def test_a_network_without_questions_has_no_maps():
    with record_maps(Attention(16)) as maps:
        pass
    assert maps == []
    assert isinstance(maps, AttentionMaps)


def test_recording_under_autocast():
    network, tokens = Two(), torch.randn(3, 5, 12)
    with torch.autocast("cpu", torch.bfloat16), record_maps(network) as maps:
        network(tokens, MASK)
    assert len(maps) == 2
    for share in maps:
        assert share.dtype == torch.float32
        torch.testing.assert_close(share.sum(3), torch.ones(share.shape[:3]))
