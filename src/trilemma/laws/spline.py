"""The laws of splines and of the flows made of them.

A spline is small enough to be looked at whole: its inverse, its slope and its ends are computed
and compared, and a flow in the plane is summed over a grid. Everything is in float64 and from
fixed seeds.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trilemma.core.noise import Noise
from trilemma.families.flow import NormalizingFlow
from trilemma.laws.law import Check, Law, at_most, equal, states
from trilemma.maths import splines
from trilemma.maths.transforms import Bijection
from trilemma.networks.splines import Mixing, SplineAutoregressive, SplineCoupling, SplineFlow

__all__ = ["CHECKS"]

PAPER = "lecture §5; Durkan et al. 2019"
TAIL, BINS = 3.0, 7


def _normal(seed: int, *shape: int) -> Tensor:
    return Noise.of(seed, shape[0]).normal(*shape[1:]).double()


def _knots(rows: int, seed: int = 0) -> splines.Knots:
    return splines.knots(1.5 * _normal(seed, 3 * BINS - 1, rows), TAIL)


def _points(rows: int, seed: int = 1) -> Tensor:
    """Return numbers of which some lie beyond the tails' beginning."""
    return (Noise.of(seed, rows).uniform().double() - 0.5) * 2.6 * TAIL


def _disturb(module: nn.Module, seed: int = 2) -> None:
    """Put it in float64 with the weights of a fixed seed: bent, but no more than data bend it."""
    module.double()
    gentle = {id(p) for m in module.modules() if isinstance(m, Mixing) for p in m.parameters()}
    with torch.no_grad():
        for index, parameter in enumerate(module.parameters()):
            size = 0.2 if id(parameter) in gentle else 0.3
            parameter.copy_(size * _normal(seed + index, *parameter.shape))


def _layers() -> dict[str, tuple[Bijection, int]]:
    """Return each kind of layer, conditioned on a vector of 3, with its number of coordinates."""
    sizes = {"bins": BINS, "tail": TAIL, "width": 12, "depth": 2, "condition": 3}
    layers: dict[str, tuple[Bijection, int]] = {
        "a coupling": (SplineCoupling(5, **sizes), 5),
        "a coupling the other way round": (SplineCoupling(5, second=False, **sizes), 5),
        "an autoregressive layer": (SplineAutoregressive(5, **sizes), 5),
        "an autoregressive layer of one coordinate": (SplineAutoregressive(1, **sizes), 1),
        "a flow of couplings": (SplineFlow(4, structure="coupling", layers=2, **sizes), 4),
        "a flow of autoregressive layers": (SplineFlow(3, mixing="reversal", **sizes), 3),
    }
    for module, _ in layers.values():
        _disturb(module)
    return layers


@states("lecture §5; Durkan et al. 2019, eqs. 6-8", "lecture §5; Durkan et al. 2019, eq. 5")
@torch.no_grad()
def spline_inverse() -> list[Law]:
    """There and back, and the logarithms of the derivatives there and back."""
    knots, x = _knots(400), _points(400)
    y, log_derivative = splines.forward(x, knots)
    restored, inverse_log_derivative = splines.inverse(y, knots)
    return [
        equal(
            "a spline's inverse undoes it",
            f"{PAPER}, eqs. 6-8",
            float((restored - x).abs().max()),
            0,
            1e-9,
        ),
        equal(
            "ln dx/dy = -ln dy/dx",
            f"{PAPER}, eq. 5",
            float((inverse_log_derivative + log_derivative).abs().max()),
            0,
            1e-9,
        ),
    ]


@states("lecture §5; Durkan et al. 2019, eq. 5")
def spline_derivative() -> list[Law]:
    """The closed form of the derivative against automatic differentiation."""
    knots, x = _knots(400), _points(400).requires_grad_()
    y, log_derivative = splines.forward(x, knots)
    (derivative,) = torch.autograd.grad(y.sum(), x)
    gap = (derivative.log() - log_derivative).abs().max()
    return [
        equal(
            "a spline's slope = its derivative by automatic differentiation",
            f"{PAPER}, eq. 5",
            float(gap.detach()),
            0,
            1e-9,
        )
    ]


@states(
    "lecture §5; Durkan et al. 2019, section 3.1",
    "lecture §5; Durkan et al. 2019, section 3.1; Gregory & Delbourgo 1982",
)
@torch.no_grad()
def spline_rises() -> list[Law]:
    """The least step of y along a fine line of x, and whether the knots are met."""
    knots = _knots(50)
    line = torch.linspace(-1.2 * TAIL, 1.2 * TAIL, 4001, dtype=torch.float64)
    y = splines.forward(line[:, None].expand(-1, 50), knots)[0]
    x_k, y_k, d_k = knots.points
    y_at_knots, log_derivative = splines.forward(x_k, knots)
    knot_gap = (y_at_knots - y_k).abs().max() + (log_derivative - d_k.log())[1:-1].abs().max()
    return [
        at_most(
            "a spline rises everywhere",
            f"{PAPER}, section 3.1",
            float(-y.diff(dim=0).min()),
            0,
            -1e-9,
        ),
        equal(
            "a spline meets its knots with their slopes",
            f"{PAPER}, section 3.1; Gregory & Delbourgo 1982",
            float(knot_gap),
            0,
            1e-8,
        ),
    ]


@states("lecture §5; Durkan et al. 2019, section 3.1")
def spline_tails() -> list[Law]:
    """Identity beyond the ends; value and slope from within approach those of the identity."""
    knots = _knots(60)
    outside = torch.tensor([-50.0, -TAIL - 1e-3, TAIL + 1e-3, 1e6], dtype=torch.float64)[:, None]
    inputs = outside.expand(-1, 60).clone().requires_grad_()
    y, log_derivative = splines.forward(inputs, knots)
    (gradient,) = torch.autograd.grad((y + log_derivative).sum(), inputs)
    outside_gap = (
        (y - outside).abs().max() + log_derivative.abs().max() + (gradient - 1).abs().max()
    )
    step = 1e-11
    near = torch.tensor([-TAIL + step, TAIL - step], dtype=torch.float64)[:, None]
    y, log_derivative = splines.forward(near.expand(-1, 60), knots)
    source = f"{PAPER}, section 3.1"
    return [
        equal(
            "beyond its ends a spline is the identity",
            source,
            float(outside_gap.detach()),
            0,
            1e-9,
        ),
        equal(
            "at its ends a spline's value goes on smoothly",
            source,
            float((y - near).abs().max()),
            0,
            1e-7,
        ),
        equal(
            "at its ends a spline's slope goes on smoothly",
            source,
            float(log_derivative.abs().max()),
            0,
            1e-5,
        ),
    ]


@states("lecture §5; Durkan et al. 2019, section 2")
def jacobians() -> list[Law]:
    """Each layer's log-determinant against the Jacobian by automatic differentiation."""
    laws = []
    for name, (layer, dimensions) in _layers().items():
        y, condition = _normal(7, 6, dimensions), _normal(8, 6, 3)
        _, log_det = layer(y, condition)
        exact = [
            torch.linalg.slogdet(_jacobian(layer, y[i], condition[i]))[1] for i in range(len(y))
        ]
        gap = (log_det - torch.stack(exact)).abs().max()
        laws.append(
            equal(
                f"{name}: ln|det| = that of its Jacobian",
                f"{PAPER}, section 2",
                float(gap.detach()),
                0,
                1e-8,
            )
        )
    return laws


def _jacobian(layer: Bijection, y: Tensor, cond: Tensor) -> Tensor:
    jacobian = torch.autograd.functional.jacobian(lambda v: layer(v[None], cond[None])[0][0], y)
    assert isinstance(jacobian, Tensor)
    return jacobian


@states("lecture §5; Durkan et al. 2019, section 2")
@torch.no_grad()
def inverses() -> list[Law]:
    """Each layer, there and back."""
    laws = []
    for name, (layer, dimensions) in _layers().items():
        y, condition = 2 * _normal(9, 50, dimensions), _normal(10, 50, 3)
        restored = layer.inverse(layer(y, condition)[0], condition)
        gap = float((restored - y).abs().max())
        laws.append(equal(f"{name}: its inverse undoes it", f"{PAPER}, section 2", gap, 0, 1e-7))
    return laws


@states("lecture §5; Germain et al. 2015, section 3")
def causality() -> list[Law]:
    """The gradient of each spline's knots by the coordinates that may not bend it."""
    laws = []
    for conditioned in (False, True):
        size = {"bins": BINS, "tail": TAIL, "width": 13, "condition": 3 if conditioned else 0}
        layer = SplineAutoregressive(5, **size)
        _disturb(layer)
        y = _normal(11, 4, 5).requires_grad_()
        points = layer.knots(y, _normal(12, 4, 3) if conditioned else None).points
        gradients = [
            torch.autograd.grad(points[:, :, i].sum(), y, retain_graph=True)[0] for i in range(5)
        ]
        influence = torch.stack(gradients).abs().amax(1)  # [spline, coordinate]
        kind = "conditional" if conditioned else "unconditional"
        source = "lecture §5; Germain et al. 2015, section 3"
        least = min(float(influence[i, :i].min()) for i in range(1, 5))
        laws += [
            equal(
                f"a spline is bent by no coordinate from its own on ({kind})",
                source,
                float(influence.triu().max()),
                0,
                0,
            ),
            at_most(f"and by each one before it ({kind})", source, -least, 0, -1e-9),
        ]
    return laws


@states("lecture §5; Durkan et al. 2019, eq. 1")
@torch.no_grad()
def mass() -> list[Law]:
    """The density of a flow in the plane, summed over a grid, for each structure."""
    laws = []
    side = torch.linspace(-8, 8, 241, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    for structure in ("coupling", "autoregressive"):
        flow = SplineFlow(2, structure=structure, layers=2, bins=5, tail=TAIL, width=8, depth=1)
        model = NormalizingFlow(flow, (2,))
        _disturb(model)
        density = model.log_density(grid).exp()
        total = float(density.sum() * (side[1] - side[0]) ** 2)
        laws.append(
            equal(
                f"the density of a flow sums to one over the plane ({structure})",
                f"{PAPER}, eq. 1",
                total,
                1,
                2e-3,
            )
        )
    return laws


CHECKS: Sequence[Check] = (
    spline_inverse,
    spline_derivative,
    spline_rises,
    spline_tails,
    jacobians,
    inverses,
    causality,
    mass,
)
