"""The laws of augmentation hold, and each fails when the code is broken."""

from __future__ import annotations

import pytest
import torch

from trilemma.laws import augment as laws
from trilemma.networks import augment
from trilemma.networks.augment import DiffAugment

RECOLOUR = augment.recolour
TRANSLATE = augment.translate
WINDOW = augment.window
OVER = augment._over
SAMPLE_PART = DiffAugment._sample_part
FORWARD = DiffAugment.forward


def straight_through(broken):
    """Keep the value, and give another function's gradient."""

    def changed(x, *rest):
        return broken(x, *rest) + (RIGHT[broken](x, *rest) - broken(x, *rest)).detach()

    return changed


def calm(x, b, s, c):
    return RECOLOUR(x, b, s, torch.ones_like(c))


def twice(x, shift):
    return 2 * TRANSLATE(x, shift)


def leaking(behind, x, visible_mask):
    return OVER(behind, x, torch.ones_like(visible_mask))


RIGHT = {calm: RECOLOUR, twice: TRANSLATE, leaking: OVER}


def leaking_through(behind, x, visible_mask):
    return OVER(behind, x, visible_mask) + 0.1 * (x - x.detach())


def about_the_brightest(x, b, s, c):
    return RECOLOUR(x, b, s, c) + x.flatten(1).amax(1).view(-1, 1, 1, 1)


def towards_the_bright_side(x, shift):
    return TRANSLATE(x, shift + (x[:, 0, 3, 3] > 0.3).long()[:, None])


def squared(behind, x, visible_mask):
    return OVER(behind, x * x, visible_mask)


def mid_grey(behind, x, visible_mask):
    return OVER(0 * behind, x, visible_mask)


def other_way(x, shift):
    return TRANSLATE(x, -shift)


def saturated_about_the_mean(x, b, s, c):
    mean = x.mean((1, 2, 3), True)
    return mean + s.view(-1, 1, 1, 1) * (RECOLOUR(x, b, 0 * s + 1, c) - mean)


def clamped_contrast(x, b, s, c):
    """Stop just before the ends of the range."""
    return RECOLOUR(x, b, s, c.clamp(0.51, 1.49))


def dimmed_first(x, b, s, c):
    return RECOLOUR(x, b * c, s, c)


def lopsided(self, part, noise, chosen):
    sampled_part = SAMPLE_PART(self, part, noise, chosen)
    return sampled_part.clamp(max=0) if part == "translation" else sampled_part


def inside_alone(self, part, noise, chosen):
    sampled_part = SAMPLE_PART(self, part, noise, chosen)
    return sampled_part.clamp(0, 4) if part == "cutout" else sampled_part


def wider(first, size, x):
    return WINDOW(first, [side + 1 if side < 8 else side for side in size], x)


def new_numbers(self, x, noise, share=1.0):
    """Draw anew at each call, as from a global generator."""
    COUNT.append(share)
    return FORWARD(self, x, noise.named(str(len(COUNT))), share)


COUNT: list[float] = []


def nothing(self, x, noise, share=1.0):
    return x


def every_other(self, x, noise, share=1.0):
    """Leave every other batch as it is."""
    COUNT.append(share)
    return FORWARD(self, x, noise, share) if len(COUNT) % 2 else x


def always_whole(self, x, noise, share=1.0):
    return FORWARD(self, x, noise)


def now_and_then(self, x, noise, share=1.0):
    """Change fewer rows of every other batch."""
    COUNT.append(share)
    return FORWARD(self, x, noise, 1.0 if len(COUNT) % 2 else 0.3)


BROKEN = [
    ("gradients", "colour: the gradient", augment, "recolour", straight_through(calm)),
    ("gradients", "translation: the gradient", augment, "translate", straight_through(twice)),
    ("gradients", "cutout: the gradient", augment, "_over", leaking_through),
    ("gradients", "all parts: the gradient", augment, "_over", straight_through(leaking)),
    ("one_affine_function", "colour: one noise", augment, "recolour", about_the_brightest),
    (
        "one_affine_function",
        "translation: one noise",
        augment,
        "translate",
        towards_the_bright_side,
    ),
    ("one_affine_function", "cutout: one noise", augment, "_over", squared),
    ("one_affine_function", "all parts: one noise", DiffAugment, "forward", new_numbers),
    ("translation_keeps", "pixels that stay", augment, "translate", other_way),
    ("translation_keeps", "has its share", DiffAugment, "_sample_part", lopsided),
    ("translation_keeps", "translation: a picture of the background", augment, "_over", mid_grey),
    ("cutout_covers", "a number is kept", augment, "_over", mid_grey),
    ("cutout_covers", "the mean share", DiffAugment, "_sample_part", inside_alone),
    ("cutout_covers", "the most that is covered", augment, "window", wider),
    ("cutout_covers", "cutout: a picture of the background", augment, "_over", mid_grey),
    ("colour_in_turn", "one sum, three channels", augment, "recolour", dimmed_first),
    ("colour_in_turn", "one sum, three channels", augment, "recolour", clamped_contrast),
    ("colour_in_turn", "one sum on one channel", augment, "recolour", clamped_contrast),
    ("colour_in_turn", "where there is one", augment, "recolour", saturated_about_the_mean),
    ("copies_are_indistinguishable", "rsgan's loss", laws, "paired", laws.real_alone),
    ("copies_are_indistinguishable", "their scores", DiffAugment, "forward", every_other),
    ("copies_are_indistinguishable", "each of 8 random critics", DiffAugment, "forward", nothing),
    ("copies_are_indistinguishable", "the changed image", DiffAugment, "forward", new_numbers),
    ("the_optimum_stays", "has no slope", laws, "paired", laws.real_alone),
    ("the_optimum_stays", "is pulled away", laws, "real_alone", laws.paired),
    ("the_optimum_stays", "other draws", DiffAugment, "forward", now_and_then),
    ("the_optimum_stays", "T on data alone: a fitted", laws, "real_alone", laws.paired),
    ("the_optimum_stays", "a weaker T", DiffAugment, "forward", always_whole),
]


@pytest.mark.parametrize(
    ("check", "law", "where", "name", "broken"),
    BROKEN,
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_each_law_can_fail(breaks, check, law, where, name, broken):
    COUNT.clear()
    breaks(laws, check, law, where, name, broken)


def test_every_law_is_broken_once(unbroken):
    assert not unbroken(laws, BROKEN)


@pytest.mark.parametrize("wrong", ["rsgan's loss", "their scores"])
def test_swapping_T_between_real_and_fake_is_seen(monkeypatch, wrong):
    """Each way in which the two may see another T."""

    def fake_alone(T, x, noise):
        return laws.real_alone(T, x, noise)[::-1]

    def shuffled(T, x, noise):
        return T(x, noise), T(x.roll(1, 0), noise).roll(-1, 0)

    def other_draws(T, x, noise):
        return T(x, noise), T(x, noise.named("fake"))

    def weaker(T, x, noise):
        return T(x, noise), T(x, noise, 0.5)

    for broken in (fake_alone, shuffled, other_draws, weaker):
        monkeypatch.setattr(laws, "paired", broken)
        (matching,) = [law for law in laws.copies_are_indistinguishable() if wrong in law.name]
        assert not matching.holds, (broken.__name__, matching)


def test_laws_leave_the_global_generator_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    for check in laws.CHECKS:
        check()
    assert torch.equal(before, torch.get_rng_state())
