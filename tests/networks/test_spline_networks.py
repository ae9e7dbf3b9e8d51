"""Spline layers: shapes, conditions, what may depend on what, and numbers far out."""

from __future__ import annotations

import pytest
import torch

from trilemma.networks.splines import (
    Mixing,
    Reversal,
    SplineAutoregressive,
    SplineCoupling,
    SplineFlow,
    degrees,
)

SIZES = {"bins": 6, "width": 16, "depth": 2}


def bent(module, size=0.3):
    """Move every weight, so that nothing is the identity."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(size * torch.randn(parameter.shape))
    return module


FLOWS = [
    pytest.param(structure, mixing, dimensions, id=f"{structure}-{mixing}-{dimensions}")
    for structure in ("coupling", "autoregressive")
    for mixing in ("lu", "reversal")
    for dimensions in (1, 2, 3, 7)
]


@pytest.mark.parametrize(("structure", "mixing", "dimensions"), FLOWS)
@pytest.mark.parametrize("condition", [0, 4])
def test_a_flow_is_inverted_and_trains_whole(structure, mixing, dimensions, condition):
    flow = SplineFlow(
        dimensions, structure=structure, mixing=mixing, layers=2, condition=condition, **SIZES
    )
    y, cond = torch.randn(40, dimensions), torch.randn(40, 4) if condition else None
    z, log_det = bent(flow, 0.1)(y, cond)
    assert z.shape == y.shape
    assert log_det.shape == (40,)
    assert z.dtype == log_det.dtype == torch.float32
    assert (flow.inverse(z, cond) - y).abs().max() < 1e-3
    gradients = torch.autograd.grad((z.square().sum(1) - log_det).mean(), [*flow.parameters()])
    assert all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("structure", ["coupling", "autoregressive"])
def test_the_start_is_near_a_rotation(structure):
    y = torch.randn(500, 5)
    z, log_det = SplineFlow(5, structure=structure, layers=3, **SIZES)(y)
    assert (z.norm(dim=1) / y.norm(dim=1) - 1).abs().max() < 0.2
    assert log_det.abs().mean() < 0.2


def test_a_coupling_leaves_one_half_alone():
    y = torch.randn(9, 5)
    z, _ = bent(SplineCoupling(5, **SIZES))(y)
    assert torch.equal(z[:, :2], y[:, :2])
    assert (z[:, 2:] != y[:, 2:]).all()
    z, _ = bent(SplineCoupling(5, second=False, **SIZES))(y)
    assert torch.equal(z[:, 2:], y[:, 2:])
    assert (z[:, :2] != y[:, :2]).all()


def test_a_coupling_of_one_coordinate_is_refused():
    with pytest.raises(ValueError, match="two coordinates"):
        SplineCoupling(1)


@pytest.mark.parametrize(("dimensions", "width"), [(1, 5), (2, 5), (6, 16), (20, 7)])
@pytest.mark.parametrize("is_conditional", [False, True])
def test_degrees_name_coordinates_that_another_one_follows(dimensions, width, is_conditional):
    result = degrees(dimensions, width, is_conditional)
    assert len(result) == width
    assert result.min() >= 0
    assert result.max() < max(dimensions, 1)
    if width >= dimensions:
        assert set(range(1, dimensions)) <= set(result.tolist())


def test_narrow_layers_are_still_bijections():
    layer = bent(SplineAutoregressive(20, bins=4, width=7))
    y = torch.randn(30, 20)
    assert (layer.inverse(layer(y)[0]) - y).abs().max() < 1e-3


@pytest.mark.parametrize("dimensions", [1, 3])
def test_a_condition_bends_every_coordinate(dimensions):
    layer = bent(SplineAutoregressive(dimensions, condition=4, **SIZES))
    y = torch.randn(1, dimensions).expand(2, -1)
    z, log_det = layer(y, torch.randn(2, 4))
    assert (z[0] != z[1]).all()
    assert log_det[0] != log_det[1]


def test_rows_do_not_see_each_other():
    flow = bent(SplineFlow(3, **SIZES), 0.1)
    y = torch.randn(20, 3)
    z, log_det = flow(y)
    one, alone = flow(y[4:5])
    assert torch.allclose(one, z[4:5], atol=1e-5)
    assert torch.allclose(alone, log_det[4:5], atol=1e-5)
    assert torch.allclose(flow.inverse(z[4:5]), flow.inverse(z)[4:5], atol=1e-5)


@pytest.mark.parametrize("structure", ["coupling", "autoregressive"])
@pytest.mark.parametrize("far", [30.0, 1e6])
def test_points_far_out_keep_gradients_finite(structure, far):
    flow = bent(SplineFlow(4, structure=structure, **SIZES))
    y = (far * torch.randn(50, 4)).requires_grad_()
    z, log_det = flow(y)
    assert z.isfinite().all()
    assert log_det.isfinite().all()
    inputs = [y, *flow.parameters()]
    gradients = torch.autograd.grad((z.square().sum(1) / far**2 - log_det).mean(), inputs)
    assert all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("structure", ["coupling", "autoregressive"])
def test_splines_and_determinants_stay_in_float32_under_autocast(structure):
    flow = bent(SplineFlow(3, structure=structure, **SIZES), 0.1)
    y = torch.randn(30, 3)
    z, log_det = flow(y)
    with torch.autocast("cpu", torch.bfloat16):
        rough, rough_det = flow(y)
    assert rough.dtype == rough_det.dtype == torch.float32
    assert (rough - z).abs().max() < 0.1
    assert (rough_det - log_det).abs().max() < 0.2


def test_mixing_is_a_rotation_at_first_and_any_matrix_later():
    layer, y = Mixing(5), torch.randn(20, 5)
    z, log_det = layer(y)
    assert torch.allclose(z.norm(dim=1), y.norm(dim=1), atol=1e-4)
    assert log_det.abs().max() < 1e-5
    assert log_det.shape == (20,)
    z, log_det = bent(layer)(y)
    matrix = torch.autograd.functional.jacobian(lambda v: layer(v[None])[0][0], y[0])
    assert log_det[0].item() == pytest.approx(matrix.slogdet()[1].item(), abs=1e-4)
    assert torch.allclose(layer.inverse(z), y, atol=1e-3)


def test_mixing_may_begin_as_a_reversal():
    z, log_det = Mixing(3, "reversal")(torch.tensor([[1.0, 2.0, 3.0]]))
    assert z.tolist() == [[3, 2, 1]]
    assert log_det.tolist() == [0]


@pytest.mark.parametrize("structure", ["coupling", "autoregressive"])
def test_it_can_be_traced_whole_for_a_compiler(structure):
    flow = bent(SplineFlow(3, structure=structure, layers=1, **SIZES), 0.1)
    y = torch.randn(8, 3)
    plain = flow(y)
    traced = torch.export.export(flow, (y,)).module()(y)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(plain, traced, strict=True))


def test_reversal():
    z, log_det = Reversal()(torch.tensor([[1.0, 2.0, 3.0]]))
    assert z.tolist() == [[3, 2, 1]]
    assert log_det.tolist() == [0]
    assert Reversal().inverse(z).tolist() == [[1, 2, 3]]


def test_depth_and_round_trips():
    flow, y = bent(SplineFlow(3, layers=2, **SIZES), 0.1), torch.randn(10, 3)
    assert flow.depth == 5
    assert torch.equal(flow.round_trip(y, 0), y)
    for depth in range(1, 6):
        assert (flow.round_trip(y, depth) - y).abs().max() < 1e-3
