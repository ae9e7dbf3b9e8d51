from __future__ import annotations

import pytest
import torch

from trilemma.core.errors import BadInput
from trilemma.networks.convnets import Decoder, Encoder

SHAPES = [(1, 8, 8), (3, 9, 13), (1, 16, 16), (3, 17, 23), (1, 28, 28), (3, 64, 48)]


@pytest.mark.parametrize("shape", SHAPES)
def test_there_and_back(shape):
    encoder, decoder = Encoder(shape, 6, width=4), Decoder(6, shape, width=4)
    x = torch.randn(2, *shape)
    z = encoder(x)
    assert z.shape == (2, 6)
    out = decoder(z)
    assert out.shape == x.shape
    out.square().sum().backward()
    for parameter in (*encoder.parameters(), *decoder.parameters()):
        assert parameter.grad is not None
        assert bool(parameter.grad.isfinite().all())


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 17, 23)])
def test_every_pixel_is_seen_and_drawn(shape):
    encoder, decoder = Encoder(shape, 6, width=8), Decoder(6, shape, width=8)
    x = torch.randn(1, *shape, requires_grad=True)
    encoder(x).square().sum().backward()
    assert bool((x.grad != 0).all())
    z = torch.randn(2, 6)
    assert bool((decoder(z)[0] != decoder(z)[1]).all())


def test_memory_layout_changes_nothing():
    encoder = Encoder((3, 16, 16), 5, width=8).double()
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    before = encoder(x)
    after = encoder.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(before, after)


def test_too_small_an_image_is_refused():
    with pytest.raises(BadInput, match="8 x 8 or more"):
        Encoder((1, 4, 28), 3)
