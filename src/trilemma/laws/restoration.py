r"""Laws of super-resolution.

What the small image says and what it leaves open are two subspaces, kept apart exactly by the
pseudo-inverse. The network's condition is checked by holding x_t fixed: for every image x there
is a noise eps(x) = (x_t - alpha r(x)) / sigma that leads to the same x_t, and then nothing that
the network gives may depend on x.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain, Levels
from trilemma.core.noise import Noise
from trilemma.families.diffusion import super_resolution
from trilemma.families.super_resolution_regression import Regression
from trilemma.laws.law import Check, Law, at_most, equal, states
from trilemma.maths import resize
from trilemma.maths.diffusion.predictions import Velocity
from trilemma.maths.diffusion.schedules import Cosine
from trilemma.networks import tiling
from trilemma.networks.prompt_pool import Prompts

__all__ = ["CHECKS"]

SR3 = "lecture 6, super-resolution; arXiv:2104.07636"
DDNM = "arXiv:2212.00490, section 3"
SCALE, SIDE = 4, 16
IMAGES = Domain("image", (3, SIDE, SIDE), Levels(256))


def _largest(gap: Tensor) -> float:
    return float(gap.detach().abs().max())


def _draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@states("Keys, 1981", DDNM)
def resizing() -> list[Law]:
    """The matrices are torch's antialiased bicubic, and the pseudo-inverse is one from below."""
    worst = inverse = 0.0
    for source, target in ((8, 2), (28, 7), (64, 16), (64, 32), (16, 64), (7, 28), (30, 10)):
        x = _draw(1, 2, source, source, seed=source)
        matrix = resize.resizing(source, target)
        theirs = F.interpolate(
            x, size=(target, target), mode="bicubic", antialias=True, align_corners=False
        )
        worst = max(worst, _largest(matrix @ x @ matrix.T - theirs))
        if target < source:
            one = matrix @ resize.pseudo_inverse(source, target)
            inverse = max(inverse, _largest(one - torch.eye(target, dtype=torch.float64)))
    return [
        equal(
            "the bicubic matrix = torch's antialiased interpolation", "Keys, 1981", worst, 0, 1e-6
        ),
        equal("A A^+ = 1", DDNM, inverse, 0, 1e-12),
    ]


@states(DDNM)
def agreement() -> list[Law]:
    """Agreement meets the small image, and touches nothing that it leaves open."""
    x, y = _draw(2, 3, 24, 32), _draw(2, 3, 6, 8, seed=1)
    corrected = resize.agreed(x, y, SCALE)
    change = corrected - x
    projected = resize.spread_back(resize.reduced(change, SCALE), SCALE)
    corrected_twice = resize.agreed(corrected, y, SCALE)
    return [
        equal(
            "A (x + A^+ (y - A x)) = y",
            DDNM,
            _largest(resize.reduced(corrected, SCALE) - y),
            0,
            1e-12,
        ),
        equal(
            "agreement leaves the null space of A alone, (1 - A^+ A)(xhat' - xhat) = 0",
            DDNM,
            _largest(change - projected),
            0,
            1e-12,
        ),
        equal(
            "agreeing twice = agreeing once", DDNM, _largest(corrected_twice - corrected), 0, 1e-12
        ),
    ]


class _Mixing(nn.Module):
    """A network of two convolutions that remembers its outputs."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.second = nn.Conv2d(6, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)
        self.outputs: list[Tensor] = []

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        self.outputs.append(self.second(torch.tanh(self.first(x))))
        return self.outputs[-1]


class _Leading(Noise):
    """The noise that leads from r to a fixed x_t at a fixed time."""

    def __init__(self, residual: Tensor, state: Tensor, t: float) -> None:
        super().__init__(Noise.of(0, len(state)).blocks)
        self.residual, self.state, self.t = residual, state, t

    def normal(self, *shape: int) -> Tensor:
        alpha, sigma = Cosine()(torch.tensor(self.t))
        return (self.state - alpha * self.residual) / sigma

    def uniform(self, *shape: int) -> Tensor:
        return torch.full((len(self), *shape), 1 - self.t)

    def named(self, name: str) -> Noise:
        return self


def _model() -> tuple[super_resolution.SuperResolution, _Mixing]:
    inner = _Mixing()
    pairing = super_resolution.Pairing(IMAGES, SCALE)
    prompts = Prompts(1, image=pairing.small_shape)
    network = tiling.Reading(inner, IMAGES, SCALE)
    return (
        super_resolution.SuperResolution(network, pairing, Cosine(), Velocity(2), prompts=prompts),
        inner,
    )


@states(SR3)
def conditioned() -> list[Law]:
    """What the network gives depends on the small image, and on the large one by x_t alone."""
    model, inner = _model()
    levels = torch.Generator().manual_seed(2)
    x = torch.randint(256, (2, 3, SIDE, SIDE), generator=levels).float()
    state = _draw(2, 3, SIDE, SIDE).float()

    def output_of(x: Tensor, small: Tensor) -> Tensor:
        residual = model.pairing.residual(x, small)
        batch = Examples(x, Condition(image=small), _Leading(residual, state, 0.4))
        model.loss(batch)
        return inner.outputs.pop()

    def paired(x: Tensor) -> Tensor:
        condition = model.pairing.paired(Examples(x)).condition
        assert condition is not None
        assert condition.image is not None
        return condition.image

    small = paired(x)
    target = x.clone().requires_grad_()
    output = output_of(target, paired(target))
    (leak,) = torch.autograd.grad((output * output.detach()).sum(), target)
    other_target = _with_the_same_small_image(x)
    differs = float((other_target != x).float().mean())
    return [
        equal(
            "the gradient of what SR3's network gives with respect to the target, given x_t, is 0",
            SR3,
            _largest(leak),
            0,
            1e-6,
        ),
        equal(
            f"targets that differ in {differs:.0%} of their numbers and share small image and "
            "x_t get one answer",
            SR3,
            _largest(output_of(other_target, paired(other_target)) - output_of(x, small)),
            0,
            1e-5,
        ),
        at_most(
            "another small image changes what SR3's network gives (1 if it does not)",
            SR3,
            float(torch.allclose(output_of(x, 255 - small), output_of(x, small), atol=1e-3)),
            0,
        ),
    ]


def _with_the_same_small_image(x: Tensor) -> Tensor:
    """Return x with up to six levels more or less at each pixel where y does not show it."""
    shrink = super_resolution.Pairing(IMAGES, SCALE).shrink
    small, changed = shrink(x), x.clone()
    for pixel in range(SIDE * SIDE):
        row, column = divmod(pixel, SIDE)
        trial = changed.clone()
        trial[..., row, column] += 6 - 12 * ((row + column) % 2)
        unseen = (shrink(trial) == small).flatten(2).all(2) & (trial >= 0).flatten(2).all(2)
        unseen &= (trial <= 255).flatten(2).all(2)
        changed = torch.where(unseen[:, :, None, None], trial, changed)
    return changed


class _Equivariant(nn.Module):
    """A network of convolutions that see three pixels around."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.layers = nn.ModuleList(
                nn.Conv2d(2, 2, 3, padding=1, dtype=torch.float64) for _ in range(3)
            )

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x


@states("images of any size, in tiles")
@torch.no_grad()
def tiles() -> list[Law]:
    """Blended tiles are the whole, where the network's reach is within the margin."""
    unity = 0.0
    for length, tile, overlap in ((64, 64, 16), (100, 64, 16), (257, 32, 8), (90, 32, 31)):
        total = torch.zeros(length, dtype=torch.float64)
        for start, weight in tiling.window(length, tile, overlap).items():
            total[start : start + tile] += weight
        unity = max(unity, _largest(total - 1))
    network, x, level = _Equivariant(), _draw(2, 2, 75, 110), torch.zeros(2)
    untiled = network(x, level)
    tiled = tiling.Tiled(network, 32, 12, at_once=5)(x, level)
    return [
        equal(
            "weights of blended tiles sum to one", "images of any size, in tiles", unity, 0, 1e-12
        ),
        equal(
            "tiles of a translation-equivariant network = the whole",
            "images of any size, in tiles",
            _largest(tiled - untiled),
            0,
            1e-12,
        ),
    ]


class _Table(nn.Module):
    """A network that gives, for a dark or a light small image, a number of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = nn.Parameter(torch.zeros(2, 1, 4, 4))

    def forward(self, x: Tensor, log_snr: Tensor, condition: Condition | None = None) -> Tensor:
        assert condition is not None
        assert condition.image is not None
        light = condition.image.flatten(1).float().mean(1) > 8
        return self.answer[light.long()]


@states("lecture 6, super-resolution; arXiv:2104.07636, section 4")
def regression() -> list[Law]:
    """Of two small images with several large ones each, least squares gives the means."""
    domain = Domain("image", (1, 4, 4), Levels(17))
    pairing = super_resolution.Pairing(domain, 2)
    shade = torch.tensor([3.0, 3.0, 3.0, 13.0, 13.0])
    stripe = torch.tensor([2.0, 2.0, -2.0, 2.0, -1.0])
    pattern = torch.tensor([1.0, -1.0, -1.0, 1.0])
    x = shade.view(-1, 1, 1, 1) + stripe.view(-1, 1, 1, 1) * torch.outer(pattern, pattern)
    x = x.to(torch.uint8)
    small = shade.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    residual = pairing.residual(x, small)
    network = _Table()
    model = Regression(network, pairing, prompts=Prompts(1, image=pairing.small_shape))
    with torch.no_grad():
        network.answer.copy_(torch.stack([residual[:3].mean(0), residual[3:].mean(0)]))
    batch = Examples(x, Condition(image=small), Noise.of(0, len(x)))
    loss = model.loss(batch).value
    (gradient,) = torch.autograd.grad(loss, network.answer)
    least_loss = sum(
        float(((group - group.mean(0)) ** 2).sum()) for group in (residual[:3], residual[3:])
    )
    return [
        equal(
            "the regression's minimiser is E[r | y]: the loss's gradient there is 0",
            f"{SR3}, section 4",
            _largest(gradient),
            0,
            1e-7,
        ),
        equal(
            "the regression's least loss = Var[r | y], per coordinate",
            f"{SR3}, section 4",
            float(loss.detach()),
            least_loss / residual.numel(),
            1e-7,
        ),
    ]


@states(SR3, DDNM)
def rests() -> list[Law]:
    """The residual and the bicubic image together are the image; estimates are kept in range."""
    pairing = super_resolution.Pairing(IMAGES, SCALE)
    levels = torch.Generator().manual_seed(4)
    x = torch.randint(256, (2, 3, SIDE, SIDE), generator=levels, dtype=torch.uint8)
    pairing.fit(x)
    small = pairing.shrink(x)
    residual = pairing.residual(x, small)
    gap = (pairing.from_residual(residual, small).float() - x.float()).abs().max()
    power = float(residual.square().mean())
    believed = pairing.constrain(_draw(*x.shape).float(), small)
    image = resize.enlarged(pairing.domain.values.scale(small), SCALE)
    y = resize.reduced(image + pairing.spread * believed, SCALE)
    return [
        equal("u + s r = x on levels", SR3, float(gap), 0, 0),
        equal("E r^2 = 1 on the images that s was measured on", SR3, power, 1, 1e-5),
        equal(
            "an estimate that was made to agree gives y",
            DDNM,
            _largest(y - pairing.domain.values.scale(small)),
            0,
            1e-5,
        ),
    ]


CHECKS: tuple[Check, ...] = (
    resizing,
    agreement,
    rests,
    conditioned,
    tiles,
    regression,
)
