"""What is made of examples that are given: completions, edits, what lies between, their codes.

completed       the upper half is given, the lower drawn
edits           noise up to a time in the middle of the way, and back (SDEdit)
between         the way from one example to another through their codes in noise space
there and back  what the codes' decoding leaves of examples
"""

from __future__ import annotations

import torch

from trilemma.core.model import (
    Coded,
    Completing,
    Editing,
    Reconstructing,
    Restoring,
    Sequential,
)
from trilemma.core.noise import Noise
from trilemma.core.words import brief
from trilemma.pictures import scatter
from trilemma.pictures.image_strips import halved, strips
from trilemma.report.model_view import EXAMPLES, POINTS, Subject
from trilemma.report.page import Picture
from trilemma.report.view import View

__all__ = ["VIEWS"]

STRENGTHS = (0.25, 0.5, 0.75)
PATIENCE = 8.0
"""Seconds that a completion may take in a report."""


def _completed(subject: Subject[Completing]) -> list[Picture]:
    """Draw test examples whose lower half is completed, twice."""
    model = subject.model
    rows = subject.rows(2 * EXAMPLES)
    x = subject.data.test.x[rows]
    if isinstance(model, Sequential) and model.sampling_seconds(2 * len(x)) > PATIENCE:
        return []
    observed_mask = torch.zeros_like(x, dtype=torch.bool)
    observed_mask[:, :, : x.shape[2] // 2] = True
    condition = subject.condition(rows)
    completions = [
        model.complete(x, observed_mask, condition=condition, noise=Noise.of(seed, len(x)))
        for seed in (0, 1)
    ]
    lines = [halved(x, observed_mask, subject.levels), *completions, x]
    names = ("given", "completed", "again", "original")
    image = strips(lines, subject.levels, row_labels=names)
    caption = "The upper half of test examples is given, and the lower drawn twice."
    return [Picture("half an image completed", image, caption, wide=True)]


def _edited(subject: Subject[Editing]) -> list[Picture]:
    """Draw test examples after noise of some strengths, and the way back."""
    model = subject.model
    rows = subject.rows(2 * EXAMPLES)
    x, condition = subject.data.test.x[rows], subject.condition(rows)
    lines = [
        x,
        *(
            model.edit(x, strength, condition=condition, noise=Noise.of(0, len(x)))
            for strength in STRENGTHS
        ),
    ]
    names = ("original", *(f"strength {strength:g}" for strength in STRENGTHS))
    caption = "Test examples after noise up to time ‘strength’, and the way back (SDEdit)."
    return [Picture("edits", strips(lines, subject.levels, row_labels=names), caption, wide=True)]


def _between(subject: Subject[Editing]) -> list[Picture]:
    """Draw the ways between pairs of test examples through their codes."""
    model = subject.model
    rows = subject.rows(2 * (EXAMPLES - 1) if subject.is_image else 2 * POINTS)
    x = subject.data.test.x[rows]
    if len(x) < 2:
        return []
    half = len(x) // 2
    frames = 6
    interpolation = model.between(x[:half], x[half : 2 * half], frames)
    caption = "The ways between pairs of test examples through their codes in noise space."
    if subject.is_image:
        image = strips(list(interpolation.transpose(0, 1)), subject.levels)
    else:
        above = [f"{i / max(len(interpolation) - 1, 1):.1f}" for i in range(len(interpolation))]
        frame = scatter.frame_of(subject.data.test.x[:POINTS], room=0.25)
        image = scatter.clouds(
            [list(interpolation)], frame, column_labels=above, family=subject.family
        )
    return [Picture("between two examples", image, caption, wide=True)]


def _there_and_back(subject: Subject[Coded]) -> list[Picture]:
    """Draw what the way to noise and back leaves of examples, where the way is a diffusion's."""
    model = subject.model
    rows = subject.rows(2 * EXAMPLES if subject.is_image else POINTS)
    x = subject.data.test.x[rows]
    codes = model.encode(x)
    decoded = model.decode(codes)
    error = (decoded.double() - x.double()).abs()
    if subject.is_image:
        levels = subject.levels
        difference = (error / max(levels - 1, 1) * 255).round().to(torch.uint8)
        difference = difference if levels == 256 else (error.clamp(max=levels - 1)).to(torch.uint8)
        image = strips(
            [x, decoded, difference], levels, row_labels=("original", "back", "difference")
        )
        caption = (
            f"Test examples, and what comes back from their codes in noise space: wrong by "
            f"{brief(float(error.mean()))} of {levels} levels in mean, "
            f"{brief(float(error.max()))} at most."
        )
    else:
        flat_codes = codes.view(len(x), -1)
        frame = scatter.frame_of(x, flat_codes)
        above = ("data", "codes", "back")
        image = scatter.clouds(
            [[x, flat_codes, decoded]], frame, column_labels=above, family=subject.family
        )
        caption = (
            f"Wrong by {brief(float(error.mean()))} in mean and {brief(float(error.max()))} at "
            "most, of data as they lie in the file."
        )
    return [Picture("there and back", image, caption, wide=True)]


VIEWS = (
    View(
        name="completions",
        section="edits",
        needs=(Completing,),
        unless=(Restoring,),
        kinds=("image",),
        draw=_completed,
    ),
    View(
        name="edits",
        section="edits",
        needs=(Editing,),
        unless=(Restoring,),
        kinds=("image",),
        draw=_edited,
    ),
    View(
        name="between two examples",
        section="edits",
        needs=(Editing,),
        unless=(Restoring,),
        draw=_between,
    ),
    View(
        name="codes there and back",
        section="edits",
        needs=(Coded, Editing),
        unless=(Restoring, Reconstructing),  # those codes are a first stage's
        draw=_there_and_back,
    ),
)
