"""Networks on point clouds: behind one interface, and nothing is seen of what is not there."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from trilemma.core.batch import Condition
from trilemma.networks.egnn import Egnn, EgnnDenoiser, EgnnForm
from trilemma.networks.point_transformer import PointTransformerDenoiser
from trilemma.networks.property_condition import PropertyCondition

PAPER = EgnnForm(width=16, layers=2)
SMALL = EgnnForm(width=16, layers=2, pairs=8, basis=6, is_normed=True)


def denoisers():
    torch.manual_seed(0)
    return [
        EgnnDenoiser(2, SMALL),
        EgnnDenoiser(2, PAPER, properties=PropertyCondition([75.0], [8.0])),
        PointTransformerDenoiser(2, width=32, layers=2),
        PointTransformerDenoiser(
            2, width=32, layers=2, properties=PropertyCondition([75.0], [8.0])
        ),
    ]


def shaken(network):
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network


MASK = torch.arange(9) < torch.tensor([[9], [4], [1]])


@pytest.mark.parametrize("network", denoisers(), ids=lambda n: type(n).__name__)
def test_padding_and_neighbours_in_the_batch_change_nothing(network):
    network = shaken(network)
    x = torch.randn(3, 9, 5) * MASK[..., None]
    clock = torch.tensor([0.0, 1.0, -1.0])
    full = network(x, clock, Condition(points=MASK))
    assert full.shape == x.shape
    assert float(full[~MASK].abs().max()) == 0
    alone = network(x[1:2], clock[1:2], Condition(points=MASK[1:2]))
    assert torch.allclose(full[1:2], alone, atol=1e-5)
    filled = network(x + 5 * (~MASK)[..., None], clock, Condition(points=MASK))
    assert torch.allclose(full, filled, atol=1e-5)
    assert float(full[..., :3].sum(1).abs().max()) < 1e-4
    assert float((full - x).abs().max()) > 1e-2


@pytest.mark.parametrize("network", denoisers(), ids=lambda n: type(n).__name__)
def test_the_order_of_points_is_the_order_of_answers(network):
    network = shaken(network)
    x, order = torch.randn(2, 6, 5), torch.randperm(6)
    clock = torch.zeros(2)
    assert torch.allclose(network(x, clock)[:, order], network(x[:, order], clock), atol=1e-5)


def test_symmetry_is_of_one_of_them_alone():
    turn = torch.linalg.qr(torch.randn(3, 3)).Q
    x, clock = torch.randn(2, 6, 5), torch.zeros(2)
    turned = torch.cat([x[..., :3] @ turn, x[..., 3:]], -1)
    gaps = []
    for network in map(shaken, (denoisers()[0], denoisers()[2])):
        plain, moved = network(x, clock), network(turned, clock)
        gaps.append(float((moved[..., :3] - plain[..., :3] @ turn).abs().max()))
    assert gaps[0] < 1e-4 < 1e-2 < gaps[1]


@pytest.mark.parametrize("kind", [EgnnDenoiser, PointTransformerDenoiser])
def test_properties_are_seen_where_they_are_said(kind):
    how = {"form": SMALL} if kind is EgnnDenoiser else {"width": 16, "layers": 2}
    network = shaken(kind(2, **how, properties=PropertyCondition([75.0], [8.0])))
    x, clock = torch.randn(2, 6, 5), torch.zeros(2)
    mask = torch.ones(2, 6, dtype=torch.bool)
    condition = Condition(points=mask, properties=torch.tensor([[83.0], [67.0]]))
    unconditional = network(x, clock, Condition(points=mask))
    assert not torch.allclose(network(x, clock, condition), unconditional, atol=1e-3)
    assert torch.allclose(network(x, clock, condition.null()), unconditional, atol=1e-6)
    half = network(x, clock, condition.dropped(torch.tensor([True, False])))
    assert torch.allclose(half[0], unconditional[0], atol=1e-6)
    assert torch.allclose(half[1], network(x, clock, condition)[1], atol=1e-6)
    assert condition.unconditional().properties is None


def test_properties_are_told_in_units_of_their_deviation_and_nothing_is_not_the_mean():
    standardised = PropertyCondition([75.0, 1.0], [8.0, 0.5])
    x = torch.zeros(2, 3)
    condition = Condition(
        properties=torch.tensor([[83.0, 0.5], [75.0, 1.0]]), present=torch.tensor([True, True])
    )
    assert standardised.width == 3
    assert standardised(condition, x).tolist() == [[1.0, -1.0, 1.0], [0.0, 0.0, 1.0]]
    assert standardised(condition.null(), x).tolist() == [[0.0] * 3] * 2
    assert standardised(None, x).tolist() == [[0.0] * 3] * 2


def test_pair_networks_may_be_separate():
    torch.manual_seed(0)
    counts = [
        sum(p.numel() for p in Egnn(2, 2, replace(PAPER, is_separate=separate)).parameters())
        for separate in (False, True)
    ]
    assert counts[1] > 1.3 * counts[0]
    out, features = Egnn(2, 2, replace(PAPER, is_separate=True))(
        torch.randn(1, 4, 3), torch.randn(1, 4, 2), torch.ones(1, 4, dtype=torch.bool)
    )
    assert out.shape == (1, 4, 3)
    assert features.shape == (1, 4, 2)


@pytest.mark.parametrize("at_once", [1, 2 * 9 * 9 * 14, 9 * 9 * 14])
def test_a_batch_in_parts_is_the_batch(at_once, monkeypatch):
    network = shaken(Egnn(2, 3, SMALL))
    x, h = torch.randn(3, 9, 3, requires_grad=True), torch.randn(3, 9, 2)
    full = network(x, h, MASK)
    (slope,) = torch.autograd.grad(full[1].square().sum(), x)
    monkeypatch.setattr("trilemma.networks.egnn.AT_ONCE", at_once)
    shapes = []
    monkeypatch.setattr(
        network.layers[0],
        "forward",
        lambda *parts, real=network.layers[0].forward: (
            shapes.append(len(parts[0])) or real(*parts)
        ),
    )
    parts = network(x, h, MASK)
    # The largest array of a pair holds its two distances in a basis of 6 Gaussians and themselves.
    assert shapes == {1: [1, 1, 1], 2 * 9 * 9 * 14: [2, 1], 9 * 9 * 14: [1, 1, 1]}[at_once]
    for one, other in zip(full, parts, strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    (other_gradient,) = torch.autograd.grad(parts[1].square().sum(), x)
    assert torch.allclose(slope, other_gradient, atol=1e-5)


def test_clouds_of_unlike_size_are_computed_in_rooms_of_their_own(monkeypatch):
    network, sizes = shaken(Egnn(2, 3, SMALL)), torch.tensor([9, 1, 2, 1] * 5)
    mask = torch.arange(9) < sizes[:, None]
    x, h = torch.randn(20, 9, 3, requires_grad=True), torch.randn(20, 9, 2)
    shapes = []
    monkeypatch.setattr(
        network.layers[0],
        "forward",
        lambda *parts, real=network.layers[0].forward: (
            shapes.append(parts[0].shape) or real(*parts)
        ),
    )
    parts = network(x, h, mask)
    assert [tuple(shape) for shape in shapes] == [(5, 1, 3), (5, 1, 3), (5, 2, 3), (5, 9, 3)]
    (slope,) = torch.autograd.grad(parts[1].square().sum(), x)
    monkeypatch.setattr("trilemma.networks.egnn.UNEVEN", 100)
    full = network(x, h, mask)
    assert tuple(shapes[-1]) == (20, 9, 3)
    for one, other in zip(full, parts, strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    (other_gradient,) = torch.autograd.grad(full[1].square().sum(), x)
    assert torch.allclose(slope, other_gradient, atol=1e-5)


def test_of_no_clouds_nothing_is_given():
    moved, features = Egnn(2, 3, SMALL)(torch.zeros(0, 4, 3), torch.zeros(0, 4, 2), MASK[:0, :4])
    assert moved.shape == (0, 4, 3)
    assert features.shape == (0, 4, 3)
