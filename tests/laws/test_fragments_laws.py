"""The laws of a kept fragment hold, and each fails when the code is broken."""

from __future__ import annotations

import pytest
import torch

from trilemma.families.diffusion import fragments
from trilemma.laws import fragments as laws

PROJECTION, IN_FRAME = fragments.fragment_projection, fragments.in_frame


def pinned(codes, is_fixed):
    """A fragment that lies where it was given, whatever the rest does."""

    def agree(clean, condition):
        return torch.where(is_fixed[..., None], codes, clean)

    return agree


def forgets(codes, is_fixed):
    """Clean estimates that stay as they are."""
    return lambda clean, condition: clean


def forgets_features(codes, is_fixed):
    agree = PROJECTION(codes, is_fixed)
    return lambda clean, condition: torch.cat(
        [agree(clean, condition)[..., :3], clean[..., 3:]], -1
    )


def halfway(codes, is_fixed):
    """A step towards the fragment."""
    agree = PROJECTION(codes, is_fixed)
    return lambda clean, condition: (agree(clean, condition) + clean) / 2


def at_the_origin(codes, is_fixed):
    """A fragment about the origin, the rest moved so that the mean is 0."""

    def agree(clean, condition):
        at = codes[..., :3] - fragments.mean_position(codes, is_fixed)
        fixed_codes = torch.cat([at, codes[..., 3:]], -1)
        completed_codes = torch.where(is_fixed[..., None], fixed_codes, clean)
        shift = (
            fragments.mean_position(completed_codes, condition.points)
            * condition.points[..., None]
        )
        return torch.cat([completed_codes[..., :3] - shift, completed_codes[..., 3:]], -1)

    return agree


def posed(codes, is_fixed):
    """A rest that sees the axes."""
    agree = PROJECTION(codes, is_fixed)
    return lambda clean, condition: agree(clean.abs(), condition)


def squeezed(codes, is_fixed):
    """Always the same estimate."""
    agree = PROJECTION(codes, is_fixed)
    return lambda clean, condition: agree(torch.zeros_like(clean), condition)


def as_drawn(sampled, x, is_fixed):
    return sampled


def placed_alone(sampled, x, is_fixed):
    """The fragment moved, the rest left behind."""
    return torch.where(is_fixed[..., None], x, sampled)


BROKEN = [
    ("projection", "nearest: P P y", fragments, "fragment_projection", halfway),
    ("projection", "nearest: y - P y", fragments, "fragment_projection", at_the_origin),
    ("projection", "what is not known stays", fragments, "fragment_projection", at_the_origin),
    ("projection", "a translated fragment", fragments, "fragment_projection", pinned),
    ("projection", "P(R y; R f)", fragments, "fragment_projection", posed),
    ("completion", "mean of a cloud on its way", fragments, "fragment_projection", pinned),
    ("completion", "distances of known points", fragments, "fragment_projection", forgets),
    ("completion", "features of known points", fragments, "fragment_projection", forgets_features),
    ("completion", "other noise, another rest", fragments, "fragment_projection", squeezed),
    ("frame", "lie where they were given", fragments, "in_frame", as_drawn),
    ("frame", "distances within", fragments, "in_frame", placed_alone),
    ("frame", "moved with its fragment", fragments, "in_frame", placed_alone),
]


@pytest.mark.parametrize(
    ("check", "law", "where", "name", "broken"), BROKEN, ids=[f"{b[0]}-{b[1]}" for b in BROKEN]
)
def test_a_break_is_seen(check, law, where, name, broken, breaks):
    breaks(laws, check, law, where, name, broken)


def test_every_law_has_a_break(unbroken):
    assert unbroken(laws, BROKEN) == []
