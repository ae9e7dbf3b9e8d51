r"""Laws of a property as a condition: symmetry under it, its absence, guidance, sizes beside it.

Networks are small, in float64, with weights large enough that nothing holds by being nearly zero.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain, Real
from trilemma.core.noise import Noise
from trilemma.core.point_cloud import centred
from trilemma.families.diffusion.denoiser import Denoiser
from trilemma.families.diffusion.diffusion import Diffusion
from trilemma.families.diffusion.options import (
    DiffusionSampling,
    DiffusionTraining,
    ForwardProcess,
)
from trilemma.laws.law import Check, Law, at_most, equal, states
from trilemma.maths.diffusion.predictions import Clean
from trilemma.maths.diffusion.schedules import SCHEDULES
from trilemma.maths.diffusion.spaces import Centred
from trilemma.metrics import property_regressor
from trilemma.metrics.property_error import mean_absolute_error
from trilemma.networks.egnn import EgnnDenoiser, EgnnForm
from trilemma.networks.prompt_pool import Prompts
from trilemma.networks.property_condition import PropertyCondition

__all__ = ["CHECKS"]

PAPER = "Hoogeboom, Garcia Satorras, Vignac & Welling 2022, section 5.2"
GUIDANCE = "lecture §9; Ho & Salimans 2022, eq. 6"
SIZES = (6, 2, 4)
"""Points of the clouds."""
ROOM, FEATURES = 6, 2
MEAN, DEVIATION = 75.0, 8.0
TARGETS = (83.0, 60.0, 71.0)


def _mask() -> Tensor:
    return torch.arange(ROOM) < torch.tensor(SIZES)[:, None]


def _states() -> Tensor:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(len(SIZES), ROOM, 3 + FEATURES, generator=draw, dtype=torch.float64)
    x = x * _mask()[..., None]
    return torch.cat([centred(x[..., :3], _mask()), x[..., 3:]], -1)


def _rotation() -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.linalg.qr(torch.randn(3, 3, generator=draw, dtype=torch.float64)).Q


def _network() -> nn.Module:
    """Return a denoiser conditioned on a property, with weights of a size that matters."""
    properties = PropertyCondition([MEAN], [DEVIATION])
    network = EgnnDenoiser(FEATURES, EgnnForm(width=8, layers=2), properties=properties).double()
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=draw).double())
    return network


def _model(guidance: float = 1.0, dropout: float = 0.1) -> Diffusion:
    return Diffusion(
        Denoiser(
            _network().float(), ForwardProcess(SCHEDULES["rectified"], 0, Centred()), Clean()
        ),
        Domain("point-cloud", (ROOM, 3 + FEATURES), Real()),
        training=DiffusionTraining(label_dropout=dropout),
        sampling=DiffusionSampling(guidance=guidance),
    )


def _condition() -> Condition:
    return Condition(points=_mask(), properties=torch.tensor(TARGETS)[:, None])


def _gap(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max().clamp_min(1e-12))


@states(PAPER)
@torch.no_grad()
def symmetry() -> list[Law]:
    """A wanted property is the same for every pose and point, so that symmetry is kept."""
    network, x, clock = _network(), _states(), torch.tensor([-1.0, 0.5, 2.0]).double()
    rotation = _rotation()
    plain = network(x, clock, _condition())
    turned = torch.cat([x[..., :3] @ rotation.T, x[..., 3:]], -1)
    expected = torch.cat([plain[..., :3] @ rotation.T, plain[..., 3:]], -1)
    unconditional = network(x, clock, Condition(points=_mask()))
    order = torch.tensor([1, 0, 2, 3, 4, 5])
    swapped = network(x[:, order], clock, _condition())
    return [
        equal(
            "eps(R x, h, c) = R eps(x, h, c)",
            PAPER,
            _gap(network(turned, clock, _condition()), expected),
            0,
            1e-10,
        ),
        equal(
            "points in another order, under a property",
            PAPER,
            _gap(swapped, plain[:, order]),
            0,
            1e-10,
        ),
        at_most("…which is seen", PAPER, -_gap(plain, unconditional), 0.0, -1e-2),
        equal(
            "the mean of the noise of each cloud, under a property",
            PAPER,
            float(plain[..., :3].sum(1).abs().max()),
            0,
            1e-10,
        ),
    ]


@states(GUIDANCE, PAPER)
@torch.no_grad()
def absence() -> list[Law]:
    """A hidden property is as none: the same answers, and the same loss of training."""
    network, x, clock = _network(), _states(), torch.zeros(len(SIZES)).double()
    unconditional = network(x, clock, Condition(points=_mask()))
    units = torch.tensor(TARGETS)[:, None] * 2.0
    scaled = Condition(points=_mask(), properties=units)
    rescaled_network = _network()
    assert isinstance(rescaled_network.properties, PropertyCondition)
    rescaled_network.properties.mean.mul_(2.0)
    rescaled_network.properties.deviation.mul_(2.0)
    batch = Examples(x, _condition(), Noise.of(0, len(SIZES)))
    bare = Examples(x, Condition(points=_mask()), Noise.of(0, len(SIZES)))
    dropped = _model(dropout=1.0).loss(batch).value
    return [
        equal(
            "a property that is not present is as none",
            GUIDANCE,
            _gap(network(x, clock, _condition().null()), unconditional),
            0,
            1e-12,
        ),
        equal(
            "a loss with all properties hidden is the unconditional loss",
            GUIDANCE,
            float(dropped),
            float(_model().loss(bare).value),
            1e-6,
        ),
        equal(
            "a property in other units, with its mean and deviation, is the same",
            PAPER,
            _gap(rescaled_network(x, clock, scaled), network(x, clock, _condition())),
            0,
            1e-6,
        ),
    ]


@states(GUIDANCE)
@torch.no_grad()
def guidance() -> list[Law]:
    """The guided estimate lies on the line through the two that it is made of."""
    x, t = _states().float(), torch.tensor(0.6)
    plain = _model()
    without = plain.denoised(x, t, Condition(points=_mask()))
    with_c = plain.denoised(x, t, _condition())
    laws = []
    for weight in (0.0, 1.0, 2.5):
        model = _model(weight)
        guided = model.denoiser.cut(model._guided(_condition())(x, t))
        line = without + weight * (with_c - without)
        laws.append(equal(f"guided by {weight:g}", GUIDANCE, _gap(guided, line), 0, 1e-5))
    return laws


ROWS = 64 * 8
"""Kept clouds of the law of sizes, of which 8 are near to a property."""


@states(PAPER)
@torch.no_grad()
def joint_sizes() -> list[Law]:
    """Sizes are drawn with the property of the same cloud, or as clouds near a property have them.

    Kept are clouds of 1 to 4 points whose property is their size and a number below one half.
    """
    prompts, count = Prompts(ROWS, points=4, properties=1), 4000
    sizes = torch.arange(ROWS) % 4 + 1
    inner = torch.linspace(-0.4, 0.4, ROWS).double()
    prompts.fill(
        Condition(
            points=torch.arange(4) < sizes[:, None],
            properties=(sizes + inner).float()[:, None],
        )
    )
    samples = prompts(Noise.of(0, count))
    assert samples.points is not None
    assert samples.properties is not None
    size_gap = (samples.properties[:, 0].round() - samples.points.sum(1)).abs().max()
    share = (samples.points.sum(1) == 3).double().mean()
    near = prompts.sizes_near(torch.full((count, 1), 3.1), Noise.of(1, count)).sum(1)
    # Half-way between clouds of 2 and of 3 points, as many of either are the nearest.
    between_sizes = prompts.sizes_near(torch.full((count, 1), 2.5), Noise.of(2, count)).sum(1)
    error = 4 * math.sqrt(0.25 / count)
    return [
        equal("p(N, c): a size and a property of one cloud", PAPER, float(size_gap), 0, 1e-6),
        equal("p(N): as the data have it", PAPER, float(share), 0.25, error),
        equal("p(N | c): the size of clouds near c", PAPER, float((near - 3).abs().max()), 0, 0),
        equal(
            "p(N | c) between two sizes",
            PAPER,
            float((between_sizes == 2).double().mean()),
            0.5,
            error,
        ),
    ]


@states(PAPER)
@torch.no_grad()
def regressor() -> list[Law]:
    """The regressor knows no pose, no order and no room; the error is a mean of distances."""
    draw = torch.Generator().manual_seed(3)
    network = property_regressor.Regressor(2, width=8, layers=2).double()
    for parameter in network.parameters():
        parameter.copy_(0.4 * torch.randn(parameter.shape, generator=draw).double())
    kinds = torch.randint(1, 3, (len(SIZES), ROOM, 1), generator=draw)
    x = torch.cat([_states()[..., :3], kinds.double()], -1) * _mask()[..., None]
    plain, reflection = network(x), -_rotation()
    moved = torch.cat([(x[..., :3] @ reflection.T + 3.0) * _mask()[..., None], x[..., 3:]], -1)
    order = torch.tensor([1, 0, 2, 3, 4, 5])
    padded = torch.nn.functional.pad(x, (0, 0, 0, 3))
    filled = x + (~_mask())[..., None] * torch.tensor([9.0, 1.0, 2.0, 0.0]).double()
    requested, predicted = torch.tensor([1.0, 4.0, -2.0]), torch.tensor([2.0, 4.5, -5.0])
    return [
        equal(
            "property of a cloud moved and reflected", PAPER, _gap(network(moved), plain), 0, 1e-10
        ),
        equal(
            "property of points in another order",
            PAPER,
            _gap(network(x[:, order]), plain),
            0,
            1e-10,
        ),
        equal(
            "property in a larger room, and of what is no point",
            PAPER,
            _gap(network(padded), plain) + _gap(network(filled), plain),
            0,
            1e-10,
        ),
        equal(
            "mean absolute error of three",
            PAPER,
            mean_absolute_error(requested, predicted),
            1.5,
            1e-12,
        ),
    ]


CHECKS: tuple[Check, ...] = (symmetry, absence, guidance, joint_sizes, regressor)
