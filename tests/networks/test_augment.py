"""Differentiable augmentation: what it does to images, row by row, and what it refuses."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from trilemma.core.batch import Examples
from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.core.noise import Block, Noise
from trilemma.families.gan import Gan
from trilemma.maths.adversarial import LOSSES, PENALTIES, squared_gradient_norm
from trilemma.networks import augment
from trilemma.networks.adversarial import ImageCritic, ImageGenerator
from trilemma.networks.augment import PARTS, DiffAugment, background, parts_of

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (2, 7, 13), (1, 9, 6), (3, 2, 3)]
EACH = [(part,) for part in PARTS] + [PARTS]


def images(shape, n=8, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(n, *shape, generator=generator) * 2 - 1).to(dtype)


def by_loops(x, T, noise):
    """Do the same to one number after another, as the paper has it."""
    height, width = x.shape[2:]
    colour, cut = noise.named("colour").uniform(3), noise.named("cutout").uniform(2)
    move = noise.named("translation").uniform(2)
    out = torch.empty_like(x)
    for k, image in enumerate(x):
        image = image + colour[k, 0] - 0.5
        grey = image.mean(0, keepdim=True)
        image = grey + 2 * colour[k, 1] * (image - grey)
        image = image.mean() + (colour[k, 2] + 0.5) * (image - image.mean())
        far = [int(side / 8 + 0.5) for side in (height, width)]
        by = [int(move[k, d] * (2 * far[d] + 1)) - far[d] for d in range(2)]
        half = [int(side / 2 + 0.5) for side in (height, width)]
        first = [
            int(cut[k, d] * ((height, width)[d] + 1 - half[d] % 2)) - half[d] // 2
            for d in range(2)
        ]
        for i in range(height):
            for j in range(width):
                a, b = i - by[0], j - by[1]
                inside = 0 <= a < height and 0 <= b < width
                hole = 0 <= i - first[0] < half[0] and 0 <= j - first[1] < half[1]
                is_visible = inside and not hole
                out[k, :, i, j] = image[:, a, b] if is_visible else T.background[:, 0, 0]
    return out


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_does_what_the_paper_says(shape):
    T, x = DiffAugment(PARTS, shape), images(shape, 6)
    T.fill(torch.linspace(-1, 0.3, shape[0]).view(-1, 1, 1))
    assert torch.allclose(T(x, Noise.of(5, 6)), by_loops(x, T, Noise.of(5, 6)), atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_brightness_and_contrast_reach_the_ends_of_their_ranges(channels):
    """Read off the image: mean and spread of its grey, which saturation leaves as they are."""
    x = images((channels, 4, 4), 4000, dtype=torch.float64)
    changed = DiffAugment(("colour",), (channels, 4, 4))(x, Noise.of(7, 4000))
    before, after = (y.mean(1).flatten(1) for y in (x, changed))
    brightness, contrast = after.mean(1) - before.mean(1), after.std(1) / before.std(1)
    for values, low, high in ((brightness, -0.5, 0.5), (contrast, 0.5, 1.5)):
        assert low - 1e-9 <= values.min() < low + 0.002
        assert high - 0.002 < values.max() <= high + 1e-9
        ends = torch.linspace(low, high, 4001, dtype=torch.float64)
        assert (values.sort().values - ends[1:]).abs().max() < 1.63 / math.sqrt(4000)  # uniform


@pytest.mark.parametrize("shape", [(1, 12, 12), (3, 12, 12)], ids=str)
@pytest.mark.parametrize("parts", EACH, ids="+".join)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_shape_dtype_and_layout(shape, parts, dtype, layout):
    T = DiffAugment(parts, shape)
    x = images(shape, dtype=dtype)
    changed = T(x.contiguous(memory_format=layout), Noise.of(1, 8))
    assert changed.shape == x.shape
    assert changed.dtype == dtype
    assert not torch.equal(changed, x)
    wide = T(x.double(), Noise.of(1, 8))
    assert torch.allclose(changed.double(), wide, atol=1e-2 if dtype == torch.bfloat16 else 1e-6)


@pytest.mark.parametrize("parts", EACH, ids="+".join)
def test_a_row_depends_on_its_own_noise_and_image_alone(parts):
    T, x = DiffAugment(parts, (1, 8, 8)), images((1, 8, 8))
    for share in (1.0, 0.5):
        full = T(x, Noise.of(2, 8), share)
        assert torch.equal(T(x[:3], Noise.of(2, 8)[:3], share), full[:3])
        assert torch.equal(T(x[3:], Noise([Block(2, 8, 3, 8)]), share), full[3:])
    one = images((1, 8, 8), 1).expand(64, -1, -1, -1)
    assert len(DiffAugment(parts, (1, 8, 8))(one, Noise.of(3, 64)).unique(dim=0)) > 6


def test_the_same_noise_is_the_same_change_whatever_was_drawn_before():
    T, x, noise = DiffAugment(PARTS, (1, 8, 8)), images((1, 8, 8)), Noise.of(4, 8)
    first = T(x, noise)
    noise.uniform(3)
    assert torch.equal(T(x, noise), first)
    assert not torch.equal(T(x, Noise.of(5, 8)), first)


def test_a_part_does_not_change_another_parts_numbers():
    x, noise = images((1, 8, 8)), Noise.of(6, 8)
    both = DiffAugment(("translation", "cutout"), (1, 8, 8))(x, noise)
    moved = DiffAugment(("translation",), (1, 8, 8))(x, noise)
    assert torch.equal(DiffAugment(("cutout",), (1, 8, 8))(moved, noise), both)


def test_the_order_in_which_parts_are_named_does_not_matter():
    x, noise = images((1, 8, 8)), Noise.of(6, 8)
    forward_parts, back = DiffAugment(PARTS, (1, 8, 8)), DiffAugment(PARTS[::-1], (1, 8, 8))
    assert torch.equal(forward_parts(x, noise), back(x, noise))


@pytest.mark.parametrize("parts", EACH, ids="+".join)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 7)], ids=str)
def test_a_share_of_none_leaves_everything(parts, shape):
    x = images(shape)
    assert torch.equal(DiffAugment(parts, shape)(x, Noise.of(7, 8), 0.0), x)


@pytest.mark.parametrize("parts", EACH, ids="+".join)
def test_a_share_of_a_half_leaves_about_half_of_the_rows(parts):
    x, T = images((1, 8, 8), 2000), DiffAugment(parts, (1, 8, 8))
    noise = Noise.of(8, 2000)
    half, full = T(x, noise, 0.5), T(x, noise)
    is_unchanged = (half == x).flatten(1).all(1)
    changed = (half == full).flatten(1).all(1)
    assert (is_unchanged | changed).all()
    unmoved = (full == x).flatten(1).all(1).float().mean().item()
    expected = 0.5 + 0.5 * unmoved
    assert abs(is_unchanged.float().mean().item() - expected) < 4 * math.sqrt(0.25 / 2000)


def test_a_larger_share_changes_the_same_rows_and_more():
    x, T, noise = images((1, 8, 8), 200), DiffAugment(("colour",), (1, 8, 8)), Noise.of(8, 200)
    low_share, many = ((T(x, noise, s) != x).flatten(1).any(1) for s in (0.3, 0.8))
    assert (low_share <= many).all()
    assert low_share.sum() < many.sum()


def test_mixed_precision_does_not_blur_it():
    T, x = DiffAugment(PARTS, (3, 8, 8)), images((3, 8, 8))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = T(x, Noise.of(0, 8))
    assert torch.equal(mixed, T(x, Noise.of(0, 8)))


def test_no_parts_is_the_identity():
    x = images((1, 8, 8))
    assert DiffAugment((), (1, 8, 8))(x, Noise.of(0, 8)) is x
    point = images((2,))
    assert DiffAugment((), (2,))(point, Noise.of(0, 8)) is point


def test_one_channel_has_no_saturation():
    x, n = images((1, 8, 8)), torch.ones(8)
    calm, wild = (augment.recolour(x, 0 * n, s * n, n) for s in (0.0, 2.0))
    assert torch.equal(calm, wild)
    assert torch.allclose(calm, x)
    assert not torch.equal(images((3, 8, 8)), augment.recolour(images((3, 8, 8)), 0 * n, 0 * n, n))


def test_fills_with_the_background_and_not_with_mid_grey():
    shape = (3, 8, 8)
    T = DiffAugment(("translation", "cutout"), shape)
    colour = torch.tensor([-0.7, 0.1, 0.9]).view(-1, 1, 1)
    T.fill(colour)
    flat = colour.expand(50, *shape)
    assert torch.equal(T(flat, Noise.of(9, 50)), flat)
    result = T(torch.full((50, *shape), 5.0), Noise.of(9, 50))
    for channel, value in enumerate(colour.flatten()):
        assert set(result[:, channel].unique().tolist()) == {5.0, value.item()}


def test_moves_by_an_eighth_at_most_and_covers_a_quarter_at_most():
    x = torch.zeros(3000, 1, 28, 28)
    x[:, :, 14, 14] = 1.0
    moved = DiffAugment(("translation",), (1, 28, 28))(x, Noise.of(1, 3000))
    at = (moved[:, 0] == 1).nonzero()[:, 1:] - 14
    assert at.amin(0).tolist() == [-4, -4]
    assert at.amax(0).tolist() == [4, 4]
    hole = DiffAugment(("cutout",), (1, 28, 28))(0 * x, Noise.of(1, 3000)) == -1
    assert hole.flatten(1).float().mean(1).max() == 0.25
    assert hole.any(0).all()


@pytest.mark.parametrize("shape", [(1, 6, 6), (3, 5, 7)], ids=str)
@pytest.mark.parametrize("parts", EACH, ids="+".join)
def test_can_be_differentiated_twice(shape, parts):
    T, x = DiffAugment(parts, shape), images(shape, 2, dtype=torch.float64).requires_grad_()

    def read(x):
        return T(x, Noise.of(3, 2)).pow(3)

    assert torch.autograd.gradcheck(read, x)
    assert torch.autograd.gradgradcheck(read, x)


def test_a_penalty_on_the_slope_goes_through_it():
    T, critic = DiffAugment(PARTS, (1, 8, 8)), ImageCritic((1, 8, 8), width=4)
    x = images((1, 8, 8)).requires_grad_()
    slope = squared_gradient_norm(critic(T(x, Noise.of(0, 8))), x).sum()
    gradients = torch.autograd.grad(slope, list(critic.parameters()), allow_unused=True)
    assert any(g is not None and g.abs().sum() > 0 for g in gradients)


def test_background_is_the_median_of_the_edge():
    x = torch.full((5, 2, 6, 7), 0.5)
    x[:, 0, 1:-1, 1:-1], x[:, 1] = 9.0, -0.25
    x[:2] += 1.0
    assert torch.equal(background(x), torch.tensor([0.5, -0.25]).view(2, 1, 1))
    ring = torch.zeros(1, 1, 4, 4)
    ring[:, :, 0, :], ring[:, :, -1, 1:], ring[:, :, 1:-1, 0] = 1.0, 2.0, 3.0
    edge = sorted([1.0] * 4 + [2.0] * 3 + [3.0] * 2 + [0.0] * 3)
    assert background(ring).item() == edge[(len(edge) - 1) // 2]


def test_the_background_is_kept_with_the_weights_and_nothing_else_is():
    T = DiffAugment(PARTS, (1, 8, 8))
    assert list(T.state_dict()) == ["background"]
    assert not list(T.parameters())
    T.fill(torch.full((1, 1, 1), 0.4))
    reloaded = DiffAugment(PARTS, (1, 8, 8))
    reloaded.load_state_dict(T.state_dict())
    x, noise = images((1, 8, 8)), Noise.of(0, 8)
    assert torch.equal(reloaded(x, noise), T(x, noise))
    assert torch.equal(copy.deepcopy(T)(x, noise), T(x, noise))


def test_it_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    DiffAugment(PARTS, (1, 8, 8))(images((1, 8, 8)), Noise.of(0, 8), 0.5)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("none", ()),
        ("colour", ("colour",)),
        ("colour+translation", ("colour", "translation")),
        ("cutout + translation", ("translation", "cutout")),
        ("colour+translation+cutout", PARTS),
    ],
)
def test_reads_parts(text, parts):
    assert parts_of(text) == parts


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("color", "did you mean 'colour'"),
        ("colour+translate", "did you mean 'translation'"),
        ("cut-out", "did you mean 'cutout'"),
        ("cutout+colour+cutout", "names 'cutout' twice"),
        ("none+colour", "'none' beside a part"),
        ("colour+", "unknown augmentation ''"),
        ("", "unknown augmentation ''"),
    ],
)
def test_refuses_what_it_does_not_know(text, says):
    with pytest.raises(BadInput, match=says.replace("(", r"\(")):
        parts_of(text)


def test_refuses_data_that_are_no_images():
    with pytest.raises(BadInput, match="acts on images"):
        DiffAugment(("cutout",), (2,))
    with pytest.raises(BadInput, match="did you mean 'colour'"):
        DiffAugment(("color",), (1, 8, 8))


# --- In the game ------------------------------------------------------------------------------

DOMAIN = Domain("image", (1, 8, 8), Levels(17))


class Copier(nn.Module):
    """A generator that has learned the data by heart, in their order."""

    def __init__(self, x):
        super().__init__()
        self.register_buffer("x", x)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, z, condition=None):
        return self.scale * self.x[: len(z)]


def copying(loss, parts=PARTS, n=32, **options):
    levels = (images((1, 8, 8), n) * 8 + 8).round().to(torch.uint8)
    batch = Examples(x=levels, noise=Noise.of(11, n))
    x = DOMAIN.values.dequantise(levels, batch.noise.named("bins"))
    critic = ImageCritic((1, 8, 8), width=8)
    T = DiffAugment(parts, (1, 8, 8)) if parts else None
    game = {"loss": LOSSES[loss], "penalty": PENALTIES["none"], "gamma": 0.0, "augment": T}
    return Gan(Copier(x), critic, DOMAIN, 4, **game, **options), batch


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_generator_that_copies_is_not_told_through_one_T(share):
    model, batch = copying("rsgan", augment_share=share)
    assert model.critic_loss(batch).value.item() == pytest.approx(math.log(2), abs=1e-6)
    assert model.generator_loss(batch).value.item() == pytest.approx(math.log(2), abs=1e-6)
    model, batch = copying("ns", augment_share=share)
    terms = model.critic_loss(batch).terms
    assert terms["real"].item() == pytest.approx(terms["fake"].item(), abs=1e-6)


@pytest.mark.parametrize("player", ["critic_loss", "generator_loss"])
@pytest.mark.parametrize("wrong", ["real alone", "fake alone", "other numbers"])
def test_a_T_that_is_not_the_same_is_seen(monkeypatch, player, wrong):
    model, batch = copying("rsgan")
    calls = []

    def broken(x, batch):
        calls.append(x)
        is_fake = (len(calls) == 1) == (player == "generator_loss")
        noise = batch.noise.named("augment")
        if wrong == "other numbers":
            return model.augment(x, noise.named("fake") if is_fake else noise)
        return model.augment(x, noise) if is_fake == (wrong == "fake alone") else x

    monkeypatch.setattr(model, "_augmented", broken)
    result = getattr(model, player)(batch).value.item()
    assert len(calls) == 2
    assert abs(result - math.log(2)) > 1e-3


def test_the_critic_has_no_slope_where_the_generator_copies():
    model, batch = copying("rsgan")
    loss = model.critic_loss(batch).value
    gradients = torch.autograd.grad(loss, list(model.critic.parameters()), allow_unused=True)
    assert max(g.abs().max() for g in gradients if g is not None) < 1e-6


@pytest.mark.parametrize("penalty", ["none", "r1", "r1+r2", "gp"])
def test_both_players_learn_through_it(penalty):
    generator, critic = ImageGenerator(4, (1, 8, 8), width=8), ImageCritic((1, 8, 8), width=8)
    T = DiffAugment(PARTS, (1, 8, 8))
    game = {"loss": LOSSES["rsgan"], "penalty": PENALTIES[penalty]}
    batch = Examples(x=torch.randint(17, (8, 1, 8, 8)).to(torch.uint8), noise=Noise.of(0, 8))
    learnt, plain = (
        [
            torch.autograd.grad(objective.loss(batch).value, list(objective.parameters))
            for objective in Gan(
                generator, critic, DOMAIN, 4, augment=augment, **game
            ).objectives()
        ]
        for augment in (T, None)
    )
    for gradients, unaltered in zip(learnt, plain, strict=True):
        assert all(g.isfinite().all() for g in gradients)
        assert sum(g.abs().sum() for g in gradients) > 0
        assert any(not torch.allclose(g, h) for g, h in zip(gradients, unaltered, strict=True))
