r"""Laws of the normalizing flow with affine couplings.

Every layer is held to the change of variables: its ln|det dz/dy| against the determinant of the
Jacobian that automatic differentiation gives, its inverse against the identity. The whole is held
to what makes it a density: the integral over a grid, and, on levels, the sum of the integrals over
all bins. Networks are small and disturbed from their start, so that no layer is the identity.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from trilemma.core.domain import Column, Columns, Domain, Levels
from trilemma.core.noise import Noise
from trilemma.families.dequantised_density import (
    Dequantiser,
    OnLevels,
    Tightened,
    UniformDequantiser,
)
from trilemma.families.flow import NormalizingFlow, VariationalDequantiser
from trilemma.laws.law import Check, Law, at_most, equal, states
from trilemma.maths import transforms
from trilemma.maths.transforms import Bijection
from trilemma.networks import bijections, coupling
from trilemma.networks.layers import MLP

__all__ = ["CHECKS"]

SOURCE = "lecture §5; Dinh, Sohl-Dickstein & Bengio 2017, eq. 2"
GLOW = "lecture §5; Kingma & Dhariwal 2018, table 1"
LEVELS = "lecture §5; Theis, van den Oord & Bethge 2016, section 3.1"
FLOW_PLUS = "lecture §5; Ho et al. 2019, section 3.1"
COUNT = 3
"""Levels of the tiny alphabet."""


def _disturbed(module: nn.Module, seed: int = 0, size: float = 0.3) -> nn.Module:
    """Return the module in float64, its weights moved from where they start."""
    draw = torch.Generator().manual_seed(seed)
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            step = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
            parameter.add_(size * step)
    return module


def _points(*shape: int, seed: int = 1) -> Tensor:
    """Return values of [-1, 1]."""
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=draw, dtype=torch.float64) * 1.9 - 0.95


def _image_coupling(channels: int, **kwargs: bool) -> Bijection:
    squares = kwargs.get("chessboard", False)
    a, b = (channels, channels) if squares else (channels // 2, channels - channels // 2)
    network = coupling.Convolutions(a, 2 * b, width=4)
    return coupling.AffineCoupling(network, channels // 2, **kwargs)


def _point_coupling(size: int, **kwargs: bool) -> Bijection:
    identity_size = size // 2
    network = MLP(identity_size, 2 * (size - identity_size), width=8, depth=1)
    return coupling.AffineCoupling(network, identity_size, **kwargs)


def _vector_flow(size: int, steps: int, first: Sequence[Bijection] = ()) -> NormalizingFlow:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        layers: list[Bijection] = list(first)
        for _ in range(steps):
            mixing = bijections.Invertible1x1(size)
            layers += [bijections.ActNorm(size), mixing, _point_coupling(size)]
        flow = NormalizingFlow(coupling.BijectionChain(layers), (size,))
    _disturbed(flow, size=0.15)
    return flow


def _layers() -> Mapping[str, tuple[Bijection, tuple[int, ...]]]:
    """Return each kind of layer, disturbed, and the shape that it is given."""
    image_shape, vector_shape = (4, 2, 2), (5,)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        layers: dict[str, tuple[Bijection, tuple[int, ...]]] = {
            "ActNorm": (bijections.ActNorm(4), image_shape),
            "1x1 convolution": (bijections.Invertible1x1(4), image_shape),
            "LU mixing of a vector": (bijections.Invertible1x1(5), vector_shape),
            "permutation": (bijections.Permutation(4), image_shape),
            "squeeze": (bijections.Squeeze(), (1, 4, 4)),
            "unsqueeze": (bijections.Unsqueeze(), image_shape),
            "logit": (bijections.Logit(0.05), vector_shape),
            "marginals": (bijections.Marginals(4, 7), image_shape),
            "coupling of channels": (_image_coupling(4, flip=True), image_shape),
            "coupling of squares": (_image_coupling(1, chessboard=True), (1, 4, 4)),
            "coupling of a vector": (_point_coupling(5), vector_shape),
        }
    return {k: (_as_bijection(_disturbed(b)), shape) for k, (b, shape) in layers.items()}


def _as_bijection(module: nn.Module) -> Bijection:
    assert isinstance(module, Bijection)
    return module


def _glow() -> Bijection:
    """Return two levels over an image of 1 x 4 x 4, with everything in them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        first = [
            bijections.Marginals(1, 5),
            _image_coupling(1, chessboard=True),
            bijections.Squeeze(),
            bijections.ActNorm(4),
            bijections.Invertible1x1(4),
            _image_coupling(4),
        ]
        second = [
            bijections.Squeeze(),
            bijections.ActNorm(8),
            bijections.Permutation(8),
            _image_coupling(8),
        ]
        levels = [coupling.BijectionChain(first), coupling.BijectionChain(second)]
        return _as_bijection(_disturbed(coupling.MultiScale(levels, [(4, 2, 2), (8, 1, 1)])))


def _log_det_gap(layer: Bijection, y: Tensor) -> float:
    """Return the largest gap between a layer's ln|det| and that of its Jacobian."""

    def flat(row: Tensor) -> Tensor:
        return layer(row.view(1, *y.shape[1:]))[0].flatten()

    rows = [torch.autograd.functional.jacobian(flat, row.flatten()) for row in y]
    by_hand = torch.linalg.slogdet(torch.stack(rows))[1]  # type: ignore[arg-type]
    return float((layer(y)[1] - by_hand).abs().max().detach())


def _inverse_gap(layer: Bijection, y: Tensor) -> float:
    with torch.no_grad():
        return float((layer.inverse(layer(y)[0]) - y).abs().max())


@states(SOURCE)
def determinants() -> list[Law]:
    """The log-determinant of each layer, and of a whole multi-scale flow."""
    laws = [
        equal(
            f"ln|det| of {name} = that of its Jacobian",
            SOURCE,
            _log_det_gap(layer, _points(2, *shape)),
            0,
            1e-9,
        )
        for name, (layer, shape) in _layers().items()
    ]
    flow_gap = _log_det_gap(_glow(), _points(2, 1, 4, 4))
    return [
        *laws,
        equal("ln|det| of a flow of two levels = its Jacobian's", SOURCE, flow_gap, 0, 1e-8),
    ]


@states(SOURCE)
def inverses() -> list[Law]:
    """Each layer's inverse, and that of a whole flow."""
    laws = [
        equal(
            f"inverse of {name} undoes it",
            SOURCE,
            _inverse_gap(layer, _points(4, *shape)),
            0,
            1e-9,
        )
        for name, (layer, shape) in _layers().items()
    ]
    flow_gap = _inverse_gap(_glow(), _points(4, 1, 4, 4))
    return [*laws, equal("inverse of a flow of two levels undoes it", SOURCE, flow_gap, 0, 1e-8)]


@states(GLOW)
@torch.no_grad()
def factors() -> list[Law]:
    """The LU form of the 1x1 convolution against dense linear algebra."""
    draw = torch.Generator().manual_seed(5)
    w = torch.randn(6, 6, generator=draw, dtype=torch.float64)
    p, lower, upper, s = transforms.lu_factors(w)
    reconstructed = transforms.lu_matrix(p, lower, upper, s)
    product = transforms.lu_inverse(p, lower, upper, s) @ w
    num_pixels = 49
    by_hand = num_pixels * torch.linalg.slogdet(w)[1]
    log_det = transforms.lu_log_det(s.abs().log(), num_pixels)
    identity = torch.eye(6, dtype=torch.float64)
    return [
        equal("P L (U + diag s) = W", GLOW, float((reconstructed - w).abs().max()), 0, 1e-12),
        equal("H W sum ln|s| = H W ln|det W|", GLOW, float(log_det), float(by_hand), 1e-9),
        equal(
            "two triangular solves invert W",
            GLOW,
            float((product - identity).abs().max()),
            0,
            1e-10,
        ),
    ]


def _grid(nodes: int, edges: Sequence[float], axes: int) -> tuple[Tensor, Tensor]:
    """Return Gauss-Legendre points of each cell between edges along each axis, and weights."""
    x, w = _legendre(nodes)
    starts = torch.tensor(edges[:-1], dtype=torch.float64)[:, None]
    widths = torch.tensor(edges, dtype=torch.float64).diff()[:, None]
    positions, weights = (starts + widths * (x + 1) / 2).flatten(), (widths * w / 2).flatten()
    points = torch.cartesian_prod(*[positions] * axes)
    return points, torch.cartesian_prod(*[weights] * axes).prod(1)


def _legendre(nodes: int) -> tuple[Tensor, Tensor]:
    """Return points and weights of Gauss-Legendre quadrature by Golub and Welsch's matrix."""
    k = torch.arange(1, nodes, dtype=torch.float64)
    beta = k / (4 * k**2 - 1).sqrt()
    values, vectors = torch.linalg.eigh(torch.diag(beta, 1) + torch.diag(beta, -1))
    return values, 2 * vectors[0] ** 2


@states(SOURCE)
@torch.no_grad()
def one() -> list[Law]:
    """The density of a flow of points, summed over a fine grid."""
    flow = _vector_flow(2, 3)
    y, weights = _grid(6, torch.linspace(-12, 12, 61).tolist(), 2)
    total = float((flow.log_density(y).exp() * weights).sum())
    return [
        equal("the density of a flow integrates to one over the plane", SOURCE, total, 1, 1e-3)
    ]


def _dequantiser() -> VariationalDequantiser:
    """Return a learned one for two coordinates, disturbed; in float32, as noise is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        inner = coupling.BijectionChain(
            [_conditional_coupling(), bijections.ActNorm(2), _conditional_coupling(flip=True)]
        )
        dequantiser = VariationalDequantiser(inner, MLP(2, 3, width=8, depth=1), COUNT)
    _disturbed(dequantiser, size=0.2)
    dequantiser.float()
    return dequantiser


def _conditional_coupling(**kwargs: bool) -> Bijection:
    network = MLP(1, 2, width=8, depth=1, condition=3)
    return coupling.AffineCoupling(network, 1, **kwargs)


@states(LEVELS, FLOW_PLUS)
@torch.no_grad()
def levels() -> list[Law]:
    """On three levels in two coordinates: the sum over bins, and bounds beside the integrals."""
    inner = _vector_flow(2, 2, [bijections.Logit(0.05)])
    edges = torch.linspace(-1, 1, COUNT + 1, dtype=torch.float64)
    x = torch.tensor(list(itertools.product(range(COUNT), repeat=2)), dtype=torch.uint8)
    unit, weights = _grid(12, [0.0, 1.0], 2)
    width = float(edges[1] - edges[0])
    y = edges[x.long()][:, None] + width * unit
    densities = inner.log_density(y.flatten(0, 1)).view(len(x), -1).exp()
    exact = (densities * weights).sum(1).log() + 2 * math.log(width)
    laws = [
        at_most(
            "P(x), integrated over bins, sums to at most one", LEVELS, float(exact.exp().sum()), 1
        ),
    ]
    inner.float()
    domain, rows = Domain("points", (2,), Levels(COUNT)), 3000
    repeated = x.repeat_interleave(rows, 0)
    for name, dequantiser in (("even", UniformDequantiser()), ("learned", _dequantiser())):
        model = Tightened(inner, domain, dequantiser)
        bounds = (
            model.bound(repeated, noise=Noise.of(7, len(repeated))).view(len(x), rows).double()
        )
        mean, spread = bounds.mean(1), bounds.std(1) / math.sqrt(rows)
        weight = (bounds.logsumexp(1) - math.log(rows) - exact).abs().max()
        laws += [
            at_most(
                f"bound by {name} dequantisation <= ln P(x), largest excess over 9 images",
                FLOW_PLUS,
                float((mean - exact - 4 * spread).max()),
                0,
            ),
            equal(
                f"mean of p(y) / q(u|x) by {name} dequantisation = P(x), in logarithms",
                FLOW_PLUS,
                float(weight),
                0,
                0.1,
            ),
        ]
    return laws


def _dequantisations() -> Mapping[str, Callable[[Tensor, Noise], tuple[Tensor, Tensor]]]:
    """Return every way of spreading levels: (x, noise) to y and the weight of each row."""
    domain = Domain("points", (2,), Levels(COUNT))
    flow = _vector_flow(2, 1)

    def through(dequantiser: Dequantiser) -> Callable[[Tensor, Noise], tuple[Tensor, Tensor]]:
        def spread(x: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
            y, log_q = OnLevels(flow, domain, dequantiser).spread(x, noise)
            return y, (-log_q.double()).exp()

        return spread

    def plain(x: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        return domain.values.dequantise(x, noise), torch.ones(len(x), dtype=torch.float64)

    def columns(x: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        middle, half = COUNT / 2, COUNT / 2
        column = Column("whole", location=middle + 0.3, spread=0.7, count=COUNT)
        v = Columns((column, column)).dequantise(x.float(), noise) * 0.7 + middle + 0.3
        return (v - middle) / half, torch.ones(len(x), dtype=torch.float64)

    return {
        "of a domain": plain,
        "of columns": columns,
        "even": through(UniformDequantiser()),
        "learned": through(_dequantiser()),
    }


@states(LEVELS)
@torch.no_grad()
def spreading() -> list[Law]:
    """Levels equally often, spread over their bins, are even over [-1, 1]^2, however spread."""
    x = torch.tensor(list(itertools.product(range(COUNT), repeat=2)), dtype=torch.uint8)
    x = x.repeat(10_000, 1)
    laws, corners = [], torch.linspace(-1, 1, 25)
    for name, spread in _dequantisations().items():
        y, weight = spread(x, Noise.of(11, len(x)))
        below = (y[:, :, None] <= corners).double()
        cdf = (below[:, 0] * weight[:, None]).T @ below[:, 1] / len(x)
        exact = torch.outer((corners + 1) / 2, (corners + 1) / 2)
        strayed = Levels(COUNT).quantise(y) != x
        laws += [
            equal(
                f"dequantisation {name}: levels alike often fill [-1, 1]^2 evenly",
                LEVELS,
                float((cdf - exact).abs().max()),
                0,
                0.03,
            ),
            at_most(  # the largest u below 1 may round to the next bin
                f"dequantisation {name}: share of values outside their own bin",
                LEVELS,
                float(strayed.double().mean()),
                1e-3,
            ),
        ]
    return laws


@states(LEVELS)
@torch.no_grad()
def images() -> list[Law]:
    """All images of 2 x 2 pixels on two levels: their probabilities add up to one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8)
        layers = [
            bijections.Marginals(1, 2),
            bijections.Squeeze(),
            bijections.ActNorm(4),
            bijections.Invertible1x1(4),
            _image_coupling(4),
        ]
        body = coupling.MultiScale([coupling.BijectionChain(layers)], [(4, 1, 1)])
        flow = NormalizingFlow(body, (1, 2, 2))
    _disturbed(flow, size=0.15)
    first = layers[0]
    edge, zero = 4.2648, torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    middle = float(first(zero)[0])  # where the two bins meet, after the first layer
    # over its normal numbers s the density is smooth: p(s) = p(y) dy/ds
    s, weights = _grid(5, [-edge, middle - 2, middle, middle + 2, edge], 4)
    y = first.inverse(s.view(-1, 1, 2, 2))
    value = flow.log_density(y) - first(y)[1]
    image_index = ((y.flatten(1) > 0) * torch.tensor([8, 4, 2, 1])).sum(1)
    probabilities = torch.zeros(16, dtype=torch.float64).index_add_(
        0, image_index, value.exp() * weights
    )
    name = "P of the 16 images of 2 x 2 bits adds up to"
    return [
        at_most(f"{name} at most one", LEVELS, float(probabilities.sum()), 1),
        equal(f"{name} one, but for the ends", LEVELS, float(probabilities.sum()), 1, 1e-3),
    ]


CHECKS: Sequence[Check] = (determinants, inverses, factors, one, levels, spreading, images)
