r"""Laws of differentiable augmentation: what T does to an image, and that a game survives it.

Given its noise, T is one affine function of the image. A generator that copied the data cannot be
told from them through T, whatever the critic; through T on the real examples alone it can, and the
generator that cannot be told any more is the one that makes changed images. All is in float64.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trilemma.core.noise import Noise
from trilemma.laws.law import Check, Law, at_most, equal, states
from trilemma.maths.adversarial import LOSSES
from trilemma.networks import augment
from trilemma.networks.augment import PARTS, DiffAugment

__all__ = [
    "CHECKS",
    "colour_in_turn",
    "copies_are_indistinguishable",
    "cutout_covers",
    "gradients",
    "one_affine_function",
    "paired",
    "real_alone",
    "the_optimum_stays",
    "translation_keeps",
]

SOURCE = "lecture §4; Zhao et al. 2020"
WIDE = torch.float64


def paired(T: DiffAugment, x: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
    """Return what the critic sees of x and of a copy of x: one T on both."""
    return T(x, noise), T(x.clone(), noise)


def real_alone(T: DiffAugment, x: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
    """Return what it would see were only the real examples augmented."""
    return T(x, noise), x.clone()


@states(SOURCE)
def gradients() -> Sequence[Law]:
    """Compare T's gradient with finite differences in random directions, part by part."""
    x, noise = _images(3, 6), Noise.of(1, 6)
    weights, *directions = torch.randn(5, *x.shape, generator=_seeded(2), dtype=WIDE)
    laws = []
    for parts in (*((part,) for part in PARTS), PARTS):
        T = _augmentation(parts, x)

        def read(x: Tensor, T: DiffAugment = T) -> Tensor:
            return (weights * T(x, noise).tanh()).sum()

        inputs = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(read(inputs), inputs)
        gaps = [
            (gradient * d).sum() - (read(x + 1e-5 * d) - read(x - 1e-5 * d)) / 2e-5
            for d in directions
        ]
        name = f"{_called(parts)}: the gradient through T is that of finite differences"
        laws.append(equal(name, SOURCE, max(abs(gap.item()) for gap in gaps), 0, 1e-7))
    return laws


@states(SOURCE)
def one_affine_function() -> Sequence[Law]:
    """Use one noise for two batches and for their mixture: T(ax + by) = aT(x) + bT(y)."""
    x, y, noise = _images(3, 64), _images(3, 64, seed=9), Noise.of(3, 64)
    laws = []
    for parts in (*((part,) for part in PARTS), PARTS):
        T = _augmentation(parts, x)
        mixed = T(1.7 * x - 0.7 * y, noise)
        gap = (mixed - 1.7 * T(x, noise) + 0.7 * T(y, noise)).abs().max().item()
        name = f"{_called(parts)}: one noise is one affine function of the image"
        laws.append(equal(name, SOURCE, gap, 0, 1e-12))
    return laws


@states(SOURCE)
def translation_keeps() -> Sequence[Law]:
    """Look for the move of each image among all moves, built by cutting and filling."""
    x, noise = _images(2, 4000), Noise.of(4, 4000)
    T = _augmentation(("translation",), x)
    x = x + torch.rand(x.shape, generator=_seeded(10), dtype=WIDE)  # up to the edge
    moved, background = T(x, noise), T.background.expand_as(x)
    gaps = []
    for a, b in itertools.product((-1, 0, 1), repeat=2):  # 1/8 of a side of 8 is one pixel
        shifted = torch.nn.functional.pad(x - background, (1, 1, 1, 1))[
            ..., 1 - a : 9 - a, 1 - b : 9 - b
        ]
        gaps.append((shifted + background - moved).flatten(1).abs().amax(1))
    nearest = torch.stack(gaps).min(0)
    shares = nearest.indices.bincount(minlength=9) / len(x)
    return [
        equal(
            "translation: pixels that stay are kept, the rest is background",
            SOURCE,
            nearest.values.max().item(),
            0,
            1e-12,
        ),
        equal(
            "translation: each of the 9 moves of an image of 8 x 8 has its share of 1/9",
            SOURCE,
            (shares - 1 / 9).abs().max().item(),
            0,
            4 * math.sqrt(8 / 81 / len(x)),
        ),
        equal(
            "translation: a picture of the background is unchanged",
            SOURCE,
            (T(background, noise) - background).abs().max().item(),
            0,
            0,
        ),
    ]


@states(SOURCE)
def cutout_covers() -> Sequence[Law]:
    """Count the pixels that are cut out of images of 8 x 8, over many draws."""
    x, noise = _images(2, 10000), Noise.of(5, 10000)
    T = _augmentation(("cutout",), x)
    cut, behind = T(x, noise), T.background.expand_as(x)
    covered = (T(behind + 1, noise) == behind).all(1).to(WIDE).mean((1, 2))
    # Windows of 4 begin at -2 … 6; along a side they cover so many of 8 pixels in mean.
    side = sum(min(first + 4, 8) - max(first, 0) for first in range(-2, 7)) / 9
    stray = torch.minimum((cut - x).abs(), (cut - behind).abs())
    return [
        equal(
            "cutout: a number is kept, or it is the background's",
            SOURCE,
            stray.max().item(),
            0,
            0,
        ),
        equal(
            "cutout: the mean share that is covered is that of all windows, (5/12)²",
            SOURCE,
            covered.mean().item(),
            (side / 8) ** 2,
            4 * covered.std().item() / math.sqrt(len(x)),
        ),
        equal(
            "cutout: the most that is covered is a quarter", SOURCE, covered.max().item(), 1 / 4, 0
        ),
        equal(
            "cutout: a picture of the background is unchanged",
            SOURCE,
            (T(behind, noise) - behind).abs().max().item(),
            0,
            0,
        ),
    ]


@states(SOURCE)
def colour_in_turn() -> Sequence[Law]:
    """Compare `recolour` with its three changes in turn, the ends of their ranges among them."""
    x = _images(3, 20)
    u = torch.rand(3, 20, 1, 1, 1, generator=_seeded(6), dtype=WIDE)
    ends = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)), dtype=WIDE)
    u[:, : len(ends), 0, 0, 0] = ends.T
    brightness, saturation, contrast = u[0] - 0.5, 2 * u[1], u[2] + 0.5

    def gap(x: Tensor) -> float:
        bright = x + brightness
        pure = (bright - bright.mean(1, True)) * saturation + bright.mean(1, True)
        mean = pure.mean((1, 2, 3), True)
        in_turn = (pure - mean) * contrast + mean
        at_once = augment.recolour(x, brightness, saturation, contrast)
        return (at_once - in_turn).abs().max().item()

    grey = x[:, :1]
    dull, vivid = (
        augment.recolour(grey, brightness, torch.full_like(saturation, s), contrast)
        for s in (0.0, 2.0)
    )
    return [
        equal(
            "colour: brightness, saturation and contrast in turn are one sum, three channels",
            SOURCE,
            gap(x),
            0,
            1e-12,
        ),
        equal(
            "colour: brightness and contrast in turn are one sum on one channel",
            SOURCE,
            gap(grey),
            0,
            1e-12,
        ),
        equal(
            "colour: saturation changes nothing where there is one channel",
            SOURCE,
            (vivid - dull).abs().max().item(),
            0,
            0,
        ),
    ]


@states(SOURCE)
def copies_are_indistinguishable() -> Sequence[Law]:
    """Let a generator copy the data row by row, and random critics look at both through T."""
    x, noise = _images(1, 64), Noise.of(7, 64)
    T = _augmentation(PARTS, x)
    critics = [_critic(x, seed) for seed in range(8)]
    real, fake = paired(T, x, noise)
    losses = [LOSSES["rsgan"].critic(D(real), D(fake)).mean().item() for D in critics]
    gaps = [(D(real) - D(fake)).abs().max().item() for D in critics]
    unpaired_gaps = [_gap(D, *real_alone(T, x, noise)) for D in critics]
    augmented = T(x, noise)  # a generator that makes changed images, and is not augmented itself
    augmented_gaps = [_gap(D, real_alone(T, x, noise)[0], augmented) for D in critics]
    return [
        equal(
            "one T on data and copies: rsgan's loss is ln 2 for any critic",
            SOURCE,
            max(losses, key=lambda loss: abs(loss - math.log(2))),
            math.log(2),
            1e-12,
        ),
        equal("one T on data and copies: their scores are equal", SOURCE, max(gaps), 0, 1e-12),
        at_most(
            "T on data alone: each of 8 random critics gives copies another mean score",
            SOURCE,
            -min(unpaired_gaps),
            -1e-3,
        ),
        equal(
            "T on data alone: what cannot be told is the changed image",
            SOURCE,
            max(augmented_gaps),
            0,
            1e-12,
        ),
    ]


@states(SOURCE)
def the_optimum_stays() -> Sequence[Law]:
    """Compute the gradient of ns's critic where it is undecided, which is best for copies.

    Then fit critics on some rows and ask them about others: what they tell there is no chance.
    """
    x, noise = _images(1, 1500), Noise.of(8, 1500)
    T = _augmentation(PARTS, x)
    shared_draw = paired(T, x, noise)
    real_only = real_alone(T, x, noise)
    fresh_draws = T(x, noise), T(x, noise.named("other draws"))
    weaker = T(x, noise), T(x, noise.named("other draws"), 0.3)
    low, high = math.log(2) - 0.02, math.log(2)
    return [
        equal(
            "one T on data and copies: the undecided critic has no slope",
            SOURCE,
            _pull(*shared_draw).item(),
            0,
            1e-12,
        ),
        at_most(
            "T on data alone: the undecided critic is pulled away",
            SOURCE,
            -_pull(*real_only).item(),
            -0.01,
        ),
        at_most(
            "other draws of T on copies: a fitted critic tells nothing on new rows",
            SOURCE,
            high - _critic_loss(*fresh_draws),
            0,
            0.005,
        ),
        at_most(
            "T on data alone: a fitted critic tells new rows",
            SOURCE,
            _critic_loss(*real_only),
            low,
        ),
        at_most(
            "a weaker T on copies: a fitted critic tells new rows",
            SOURCE,
            _critic_loss(*weaker),
            low,
        ),
    ]


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _images(channels: int, n: int, seed: int = 0) -> Tensor:
    """Return images of 8 x 8 with a textured square on a background, [N, C, 8, 8]."""
    generator = _seeded(seed)
    behind = torch.linspace(-0.9, -0.5, channels, dtype=WIDE)
    x = behind.view(-1, 1, 1).expand(n, -1, 8, 8).clone()
    x[:, :, 2:6, 2:6] = torch.rand(n, channels, 4, 4, generator=generator, dtype=WIDE) - 0.2
    return x


def _augmentation(parts: Sequence[str], x: Tensor) -> DiffAugment:
    """Return T with the background of x."""
    T = DiffAugment(parts, tuple(x.shape[1:])).to(x.dtype)
    T.fill(augment.background(x))
    return T


def _called(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else "all parts"


def _critic(x: Tensor, seed: int) -> nn.Module:
    """Return a random critic with a hidden layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.Linear(x[0].numel(), 16), nn.Tanh(), nn.Linear(16, 1)
        return nn.Sequential(nn.Flatten(), *layers, nn.Flatten(0)).to(x.dtype)


def _gap(critic: nn.Module, real: Tensor, fake: Tensor) -> float:
    """Return the difference of the mean scores."""
    with torch.no_grad():
        return abs((critic(real).mean() - critic(fake).mean()).item())


def _features(x: Tensor) -> Tensor:
    """Return what tells a changed image: its size, and where it is bright, [B, 4]."""
    edge = torch.cat([x[:, :, 0], x[:, :, -1], x[:, :, :, 0], x[:, :, :, -1]], -1)
    return torch.stack([v.flatten(1).mean(1) for v in (x, x.square(), edge, edge.square())], dim=1)


def _pull(real: Tensor, fake: Tensor) -> Tensor:
    """Return the norm of the gradient of ns's critic D = w·features at w = 0."""
    w = torch.zeros(4, dtype=real.dtype, requires_grad=True)
    loss = LOSSES["ns"].critic(_features(real) @ w, _features(fake) @ w).mean()
    (gradient,) = torch.autograd.grad(loss, w)
    return gradient.norm()


def _critic_loss(real: Tensor, fake: Tensor) -> float:
    """Fit D = w·features by Newton's method on half of the rows; return rsgan's loss on others."""
    gap = _features(real) - _features(fake)
    fit, new = gap[::2], gap[1::2]
    w = gap.new_zeros(4)
    for _ in range(20):
        probability = (fit @ w).sigmoid()
        gradient = -(1 - probability) @ fit / len(fit) + 1e-3 * w
        hessian = fit.T * (probability * (1 - probability)) @ fit / len(fit) + 1e-3 * torch.eye(
            4, dtype=w.dtype
        )
        w = w - torch.linalg.solve(hessian, gradient)
    return LOSSES["rsgan"].critic(new @ w, torch.zeros_like(new[:, 0])).mean().item()


CHECKS: Sequence[Check] = (
    gradients,
    one_affine_function,
    translation_keeps,
    cutout_covers,
    colour_in_turn,
    copies_are_indistinguishable,
    the_optimum_stays,
)
