"""Laws of autoregressive models: total probability, causality, the cache, and draws.

Everything is done on tiny alphabets, where all images can be listed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from trilemma.core.domain import Domain, Levels
from trilemma.core.noise import Noise
from trilemma.families import autoregressive as family
from trilemma.laws.law import Check, Law, at_most, equal, states
from trilemma.maths import pixel_distributions as heads
from trilemma.networks import pixelcnn

__all__ = ["CHECKS"]

SOURCE = "lecture §5; van den Oord, Kalchbrenner & Kavukcuoglu 2016, eq. 1"
GATED = "lecture §5; van den Oord et al. 2016 (gated PixelCNN), section 2.2"
NAMES = ("bernoulli", "categorical", "mixture")


def _model(
    name: str = "categorical",
    shape: tuple[int, int, int] = (1, 2, 2),
    *,
    count: int = 3,
    patch: int = 1,
    blocks: int = 2,
) -> family.Autoregressive:
    """Return a model with weights large enough that every conditional is far from flat."""
    domain = Domain("image", shape, Levels(2 if name == "bernoulli" else count))
    channels, height, width = shape
    head, numbers = family.head(name, domain, components=2), channels * patch**2
    grid = (height // patch, width // patch)
    trunk = pixelcnn.ConvolutionalTrunk(numbers, grid, width=6, blocks=blocks)
    cell = pixelcnn.CellPerceptron(6, numbers, head.parameters, units=5)
    model = family.Autoregressive(trunk, cell, head, domain, patch).double()
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.4 * torch.randn(weight.shape, generator=draw, dtype=torch.float64))
    return model


def _all_images(model: family.Autoregressive) -> Tensor:
    """List every image of the model's domain."""
    levels = torch.arange(model.head.count, dtype=torch.uint8)
    return torch.cartesian_prod(*[levels] * model.domain.dimensions).view(-1, *model.domain.shape)


@states(SOURCE)
@torch.no_grad()
def sums_to_one() -> list[Law]:
    """Each head and patch: the probabilities of all images, added up."""
    laws = []
    for name in NAMES:
        for patch in (1, 2):
            model = _model(name, (1, 2, 4) if name == "bernoulli" else (1, 2, 2), patch=patch)
            total = float(model.log_prob(_all_images(model)).exp().sum())
            laws.append(
                equal(
                    f"p(x) sums to one over all images: {name}, patch {patch}",
                    SOURCE,
                    total,
                    1,
                    1e-9,
                )
            )
    return laws


def _order(model: family.Autoregressive) -> Tensor:
    """Return the position of each folded number in the order of drawing, [D_cell, h, w]."""
    height, width = model.grid
    position = torch.arange(height * width).view(1, height, width) * model.numbers
    return position + torch.arange(model.numbers)[:, None, None]


def _influence(model: family.Autoregressive) -> Tensor:
    """Return |d g_i / d x_j|, g_i a random sum of f_i's parameters, in drawing order, [N, N]."""
    numbers, (height, width) = model.numbers, model.grid
    draw = torch.Generator().manual_seed(1)
    start = torch.rand(1, numbers, height, width, generator=draw, dtype=torch.float64) * 2 - 1

    def parameters(y: Tensor) -> Tensor:
        h = model.trunk(y).permute(0, 2, 3, 1)
        f = model.cell(h, y.permute(0, 2, 3, 1))[0]
        weights = torch.rand(f.shape, generator=draw, dtype=torch.float64) + 0.5
        return (f * weights).sum(-1).flatten()  # cells, then numbers: the order of drawing

    jacobian = torch.autograd.functional.jacobian(parameters, start)
    magnitudes = jacobian.abs().flatten(1)
    by_order = torch.empty_like(magnitudes)
    by_order[:, _order(model).flatten()] = magnitudes
    return by_order


@states(SOURCE, GATED)
def causality() -> list[Law]:
    """Gradients of each number's parameters: none by itself or later, some by every earlier."""
    laws = []
    for name in NAMES:
        for channels, patch in ((1, 1), (2, 2)):
            side = 6 if patch == 1 else 8
            model = _model(name, (channels, side, side), patch=patch, blocks=3)
            influence = _influence(model)
            earlier = torch.ones_like(influence).tril(-1).bool()
            case = f"{name}, {channels} channels, patch {patch}"
            laws += [
                equal(
                    f"no number's distribution depends on itself or a later one: {case}",
                    SOURCE,
                    float(influence[~earlier].max()),
                    0,
                    0,
                ),
                equal(
                    f"every number's distribution depends on all earlier ones: {case}",
                    GATED,
                    float((influence[earlier] == 0).double().mean()),
                    0,
                    0,
                ),
            ]
    return laws


@states("Ramachandran et al. 2017 (fast generation), section 2")
@torch.no_grad()
def cache() -> list[Law]:
    """Cached drawing against whole passes, and a trunk's steps against its pass."""
    source = "Ramachandran et al. 2017 (fast generation), section 2"
    laws = []
    for patch in (1, 2):
        model = _model("mixture", (2, 6, 8), count=40, patch=patch, blocks=4)
        cached = model.sample(16, noise=Noise.of(0, 16))
        naive = family.draw_by_whole_passes(model, 16, Noise.of(0, 16))
        laws.append(
            equal(
                f"cached samples = samples by whole passes (share that differs): patch {patch}",
                source,
                float((cached != naive).double().mean()),
                0,
                0,
            )
        )
        laws.append(
            equal(
                f"h of a whole pass = h of the steps (largest gap): patch {patch}",
                source,
                _gap_of_steps(model, cached),
                0,
                1e-9,
            )
        )
    return laws


def _gap_of_steps(model: family.Autoregressive, x: Tensor) -> float:
    y = model._scaled(model.fold(x))
    full_pass, cells = model.trunk(y).flatten(2), y.flatten(2)
    trunk = model.trunk
    assert isinstance(trunk, pixelcnn.ConvolutionalTrunk)
    state, gap = trunk.start(len(x), None, x.device), 0.0
    for index in range(cells.shape[2]):
        h = trunk.step(state, index, cells[:, :, index - 1] if index else None)
        gap = max(gap, float((h - full_pass[:, :, index]).abs().max()))
    return gap


@states(SOURCE)
@torch.no_grad()
def stepwise() -> list[Law]:
    """Ln p(x) of one pass against a sum of conditionals, each with the later numbers hidden."""
    laws = []
    for name in NAMES:
        model = _model(name, (1, 4, 4), patch=2)
        x = model.sample(8, noise=Noise.of(3, 8))
        total = torch.zeros(8, dtype=torch.float64)
        levels, order = model.fold(x), _order(model)
        for i in range(order.numel()):
            prefix = torch.where(order >= i, torch.zeros_like(levels), levels)
            d, row, column = (int(k) for k in (order == i).nonzero()[0])
            f = model.distributions(prefix)[:, row, column, d]
            total += model.head.log_prob(levels[:, d, row, column], f)
        gap = float((model.log_prob(x) - total).abs().max())
        laws.append(
            equal(
                f"ln p(x) of one pass = sum of ln p(x_i | x_<i), one by one: {name}",
                SOURCE,
                gap,
                0,
                1e-9,
            )
        )
    return laws


@states("lecture §5; inverse distribution function")
@torch.no_grad()
def draws() -> list[Law]:
    """Evenly spaced uniform numbers: the share of each level against its probability."""
    laws, count = [], 20_000
    u = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    draw = torch.Generator().manual_seed(2)
    cases: tuple[tuple[str, heads.Head], ...] = (
        ("bernoulli", heads.Bernoulli()),
        ("categorical", heads.Categorical(7)),
        ("mixture", heads.LogisticMixture(12, 3)),
    )
    for name, head in cases:
        worst = 0.0
        for _ in range(4):
            f = torch.randn(head.parameters, generator=draw, dtype=torch.float64)
            levels = torch.arange(head.count)
            expected = head.log_prob(levels, f.expand(head.count, -1)).exp()
            samples = head.draw(u, f.expand(count, -1)).long()
            frequencies = torch.bincount(samples, minlength=head.count).double() / count
            worst = max(worst, float((frequencies - expected).abs().max()))
        laws.append(
            at_most(
                f"levels are drawn with their probabilities (largest gap): {name}",
                "lecture §5; inverse distribution function",
                worst,
                8 / count,
            )
        )
    return laws


@states(SOURCE)
@torch.no_grad()
def completion() -> list[Law]:
    """With a beginning known, the rest is drawn from p(rest | beginning): all rests, listed."""
    model = _model("categorical", (1, 2, 2))
    start = torch.tensor([2, 0], dtype=torch.uint8)
    images = _all_images(model)
    consistent = images[(images.flatten(1)[:, :2] == start).all(1)]
    expected = model.log_prob(consistent).softmax(0)
    count = 20_000
    x = torch.zeros(count, 1, 2, 2, dtype=torch.uint8)
    x[:, 0, 0] = start
    known_mask = torch.zeros_like(x, dtype=torch.bool)
    known_mask[:, 0, 0] = True
    completions = model.complete(x, known_mask, noise=Noise.of(4, count)).flatten(1)
    matches = (completions[:, None] == consistent.flatten(1)).all(2).double()
    gap = float((matches.mean(0) - expected).abs().max())
    return [
        equal(
            "a completion keeps what is known (share that differs)",
            SOURCE,
            float((completions[:, :2] != start).double().mean()),
            0,
            0,
        ),
        at_most(
            "completions of a beginning follow p(rest | beginning) (largest gap)",
            SOURCE,
            gap,
            4 * math.sqrt(0.25 / count),
        ),
    ]


CHECKS: Sequence[Check] = (sums_to_one, causality, cache, stepwise, draws, completion)
