"""The layers of Glow and Real NVP: shapes, starts, exchange of halves, what they are told."""

from __future__ import annotations

import pytest
import torch

from trilemma.networks.bijections import (
    ActNorm,
    Invertible1x1,
    Logit,
    Marginals,
    Permutation,
    Squeeze,
    Unsqueeze,
)
from trilemma.networks.coupling import AffineCoupling, BijectionChain, Convolutions, MultiScale
from trilemma.networks.layers import MLP


def image_coupling(channels=4, *, chessboard=False, condition=0, per_position=False, **options):
    a, b = (channels, channels) if chessboard else (channels // 2, channels - channels // 2)
    network = Convolutions(a, 2 * b, width=6, condition=condition, per_position=per_position)
    return AffineCoupling(network, channels // 2, chessboard=chessboard, **options)


def disturb(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module


LAYERS = {
    "actnorm": lambda: ActNorm(4),
    "conv1x1": lambda: Invertible1x1(4),
    "permutation": lambda: Permutation(4),
    "squeeze": Squeeze,
    "unsqueeze": Unsqueeze,
    "logit": lambda: Logit(0.05),
    "marginals": lambda: Marginals(4, 9),
    "channels": image_coupling,
    "flipped": lambda: image_coupling(flip=True),
    "squares": lambda: image_coupling(chessboard=True),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_undo_themselves_and_stay_in_float32_under_autocast(name):
    layer, y = disturb(LAYERS[name]()), torch.rand(3, 4, 6, 4) * 1.8 - 0.9
    z, log_det = layer(y)
    assert z[0].numel() == y[0].numel()
    assert log_det.shape == (3,)
    assert torch.allclose(layer.inverse(z), y, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        repeated, log_det = layer(y)
    assert repeated.dtype == log_det.dtype == torch.float32
    if "coupling" not in type(layer).__name__.lower():  # whose network alone may be coarse
        assert torch.allclose(repeated, z, atol=1e-6)


def test_actnorm_starts_from_data_and_is_the_identity_without():
    layer, y = ActNorm(3), torch.randn(64, 3, 4, 4) * torch.tensor([0.1, 1, 9]).view(3, 1, 1) + 2
    assert torch.equal(layer(y)[0], y)
    with torch.no_grad():
        z = layer.start(y)
    assert torch.equal(z, layer(y)[0])
    assert torch.allclose(z.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(z.std((0, 2, 3)), torch.ones(3), atol=1e-3)


def test_actnorm_leaves_a_channel_without_spread_as_wide_as_it_is():
    layer, y = ActNorm(2), torch.stack([torch.full((8,), 3.0), torch.randn(8)], 1)
    with torch.no_grad():
        z = layer.start(y)
    assert layer.log_scale[0] == 0
    assert z.isfinite().all()


def test_marginals_make_the_data_normal():
    spike = torch.where(torch.rand(256, 1, 8, 8) < 0.8, 0.0, torch.rand(256, 1, 8, 8))
    y = (spike * 15).floor().add(torch.rand(256, 1, 8, 8)) / 8 - 1
    layer = Marginals(1, 16)
    with torch.no_grad():
        z = layer.start(y)
    assert z.abs().max() < 4.27
    assert z.mean().abs() < 0.05
    assert abs(float(z.std()) - 1) < 0.05
    assert layer(torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1))[0].isfinite().all()


def test_marginals_bring_wild_numbers_back_into_the_box():
    y = Marginals(2, 5).inverse(torch.tensor([[[-90.0]], [[90.0]]]).expand(3, 2, 1, 1))
    assert y.abs().max() <= 1
    assert y.isfinite().all()


def test_a_mixing_starts_as_a_rotation():
    layer, y = Invertible1x1(5), torch.randn(7, 5, 3, 3)
    z, log_det = layer(y)
    assert torch.allclose(z.square().sum(1), y.square().sum(1), atol=1e-4)
    assert torch.allclose(log_det, torch.zeros(7), atol=1e-5)


@pytest.mark.parametrize("channels", [2, 3, 16])
def test_a_permutation_moves_every_channel(channels):
    y = torch.arange(float(channels))[None]
    z, _ = Permutation(channels)(y)
    assert z.sort().values.equal(y)
    assert (z != y).all()


@pytest.mark.parametrize("options", [{}, {"flip": True}, {"chessboard": True}])
def test_a_coupling_starts_as_the_identity_and_keeps_its_half(options):
    layer, y = image_coupling(**options), torch.randn(2, 4, 4, 4)
    assert torch.equal(layer(y)[0], y)
    moved = disturb(layer)(y)[0] != y
    assert 0.4 < moved.float().mean() < 0.6
    if options == {"flip": True}:
        assert not moved[:, 2:].any()
    elif not options:
        assert not moved[:, :2].any()
    else:
        assert not moved[:, :, ::2, ::2].any()


def test_no_coupling_stretches_beyond_its_bound():
    layer = image_coupling(bound=0.5)
    with torch.no_grad():
        layer.network.last.bias.fill_(1e4)
    y = torch.randn(2, 4, 4, 4)
    assert torch.allclose(layer(y)[1], torch.full((2,), 0.5 * 2 * 16))


def test_convolutions_take_a_vector_or_a_map_as_condition():
    y = torch.randn(2, 4, 4, 6)
    for cond, per_position in ((torch.randn(2, 3), False), (torch.randn(2, 3, 4, 6), True)):
        layer = disturb(image_coupling(condition=3, per_position=per_position))
        z, _ = layer(y, cond)
        assert not torch.allclose(z, layer(y, -cond)[0])
        assert torch.allclose(layer.inverse(z, cond), y, atol=1e-5)


def two_levels(channels=1):
    wide = 4 * channels
    first = BijectionChain([Squeeze(), ActNorm(wide), Invertible1x1(wide), image_coupling(wide)])
    second = BijectionChain([Squeeze(), ActNorm(2 * wide), image_coupling(2 * wide, flip=True)])
    return disturb(MultiScale([first, second], [(wide, 4, 4), (2 * wide, 2, 2)]))


@pytest.mark.parametrize("channels", [1, 3])
def test_levels_give_one_flat_z_and_take_it_back(channels):
    flow, y = two_levels(channels), torch.randn(5, channels, 8, 8)
    z, log_det = flow(y)
    assert z.shape == (5, channels * 64)
    assert log_det.shape == (5,)
    assert torch.allclose(flow.inverse(z), y, atol=1e-4)
    with torch.no_grad():
        assert torch.equal(flow.start(y), flow(y)[0])


def test_what_leaves_is_the_second_half_beside_what_the_first_expects():
    flow, y = two_levels(), torch.randn(2, 1, 8, 8)
    first = flow.levels[0](y)[0]
    assert torch.equal(flow(y)[0][:, :32], first[:, 2:].flatten(1))


def test_round_trips_of_every_depth_come_back():
    flow, y = BijectionChain([Permutation(1), two_levels()]), torch.randn(3, 1, 8, 8)
    assert flow.depth == 8
    for depth in range(flow.depth + 1):
        assert torch.allclose(flow.round_trip(y, depth), y, atol=1e-5)
    # a layer whose inverse is wrong shows from its own depth on
    broken = flow.layers[1].levels[0].layers[2]
    broken.inverse = lambda z, cond=None: z
    wrong = [bool((flow.round_trip(y, k) - y).abs().max() > 1e-3) for k in range(9)]
    assert wrong == [False] * 4 + [True] * 5


def test_vectors_of_odd_length_are_coupled():
    layer = disturb(AffineCoupling(MLP(2, 6, width=8), 2))
    y = torch.randn(4, 5)
    assert torch.allclose(layer.inverse(layer(y)[0]), y, atol=1e-5)
