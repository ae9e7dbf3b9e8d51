"""Looking at what a model makes of examples that are given: edits, words, restorations.

completed       the upper half is given, the lower drawn
edits           noise up to a time in the middle of the way, and back (SDEdit)
between         the way from one example to another through their codes in noise space
there and back  what the codes' decoding leaves of examples
words           what was drawn for captions, and where each word was looked at
first stage     examples, and what a first stage leaves of them
restoration     small image, bicubic, restored, original
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from trilemma.core.model import (
    Coded,
    Completing,
    Editing,
    Explaining,
    Reconstructing,
    Restoring,
    Sequential,
)
from trilemma.core.noise import Noise
from trilemma.core.words import brief
from trilemma.report import plane
from trilemma.report.page import Picture
from trilemma.report.strips import attended, captioned, halved, strips
from trilemma.report.subject import EXAMPLES, POINTS, Subject

__all__ = ["EDITS"]

STRENGTHS = (0.25, 0.5, 0.75)
SAID = 12
"""Captions that are drawn."""
WORDS = 6
"""Words of a caption whose attention is drawn at most."""
PATIENCE = 8.0
"""Seconds that a completion may take in a report."""


def _completed(subject: Subject) -> list[Picture]:
    model = subject.model
    if not isinstance(model, Completing) or not subject.is_image or isinstance(model, Restoring):
        return []
    rows = subject.rows(2 * EXAMPLES)
    x = subject.data.test.x[rows]
    if isinstance(model, Sequential) and model.sampling_seconds(2 * len(x)) > PATIENCE:
        return []
    known = torch.zeros_like(x, dtype=torch.bool)
    known[:, :, : x.shape[2] // 2] = True
    condition = subject.condition(rows)
    ways = [
        model.complete(x, known, condition=condition, noise=Noise.of(seed, len(x)))
        for seed in (0, 1)
    ]
    lines = [halved(x, known, subject.levels), *ways, x]
    names = ("given", "completed", "again", "original")
    drawn = strips(lines, subject.levels, left=names)
    said = "The upper half of test examples is given, and the lower drawn twice."
    return [Picture("half an image completed", drawn, said, wide=True)]


def _edited(subject: Subject) -> list[Picture]:
    model = subject.model
    if not isinstance(model, Editing) or not subject.is_image or isinstance(model, Restoring):
        return []
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
    said = "Test examples after noise up to time ‘strength’, and the way back (SDEdit)."
    return [Picture("edits", strips(lines, subject.levels, left=names), said, wide=True)]


def _between(subject: Subject) -> list[Picture]:
    model = subject.model
    if not isinstance(model, Editing) or isinstance(model, Restoring):
        return []
    rows = subject.rows(2 * (EXAMPLES - 1) if subject.is_image else 2 * POINTS)
    x = subject.data.test.x[rows]
    if len(x) < 2:
        return []
    half = len(x) // 2
    frames = 6
    way = model.between(x[:half], x[half : 2 * half], frames)
    said = "The ways between pairs of test examples through their codes in noise space."
    if subject.is_image:
        drawn = strips(list(way.transpose(0, 1)), subject.levels)
    else:
        above = [f"{i / max(len(way) - 1, 1):.1f}" for i in range(len(way))]
        frame = plane.frame_of(subject.data.test.x[:POINTS], room=0.25)
        drawn = plane.clouds([list(way)], frame, above=above, family=subject.family)
    return [Picture("between two examples", drawn, said, wide=True)]


def _there_and_back(subject: Subject) -> list[Picture]:
    """Draw what the way to noise and back leaves of examples, where the way is a diffusion's."""
    model = subject.model
    if not isinstance(model, Coded) or not isinstance(model, Editing):
        return []
    if isinstance(model, Restoring | Reconstructing):  # those codes are a first stage's
        return []
    rows = subject.rows(2 * EXAMPLES if subject.is_image else POINTS)
    x = subject.data.test.x[rows]
    codes = model.encode(x)
    back = model.decode(codes)
    error = (back.double() - x.double()).abs()
    if subject.is_image:
        levels = subject.levels
        apart = (error / max(levels - 1, 1) * 255).round().to(torch.uint8)
        apart = apart if levels == 256 else (error.clamp(max=levels - 1)).to(torch.uint8)
        drawn = strips([x, back, apart], levels, left=("original", "back", "difference"))
        said = (
            f"Test examples, and what comes back from their codes in noise space: wrong by "
            f"{brief(float(error.mean()))} of {levels} levels in mean, "
            f"{brief(float(error.max()))} at most."
        )
    else:
        flat = codes.view(len(x), -1)
        frame = plane.frame_of(x, flat)
        above = ("data", "codes", "back")
        drawn = plane.clouds([[x, flat, back]], frame, above=above, family=subject.family)
        said = (
            f"Wrong by {brief(float(error.mean()))} in mean and {brief(float(error.max()))} at "
            "most, of data as they lie in the file."
        )
    return [Picture("there and back", drawn, said, wide=True)]


# Words


def _spoken(subject: Subject) -> list[Picture]:
    """Draw what is made of captions, and where each word was looked at."""
    model, split, domain = subject.model, subject.data.test, subject.data.domain
    if not isinstance(model, Explaining) or not subject.is_image:
        return []
    if not split.captions or split.tokens is None or split.mask is None:
        return []
    first: dict[str, int] = {}
    for place, caption in enumerate(split.captions):
        if caption.strip() and bool(split.mask[place].any()):
            first.setdefault(caption, place)
    rows = torch.tensor(list(first.values())[:: max(1, len(first) // SAID)][:SAID])
    if not len(rows):
        return []
    condition = subject.condition(rows)
    assert condition is not None
    samples, weights = model.attention(condition, noise=Noise.for_samples(0, 0, len(rows)))
    captions = [str(split.captions[int(i)]) for i in rows]
    said = "Captions of test examples, none of which were trained on, and one sample for each."
    pictures = [
        Picture(
            "drawn for captions",
            captioned(samples, captions, subject.levels, columns=6),
            said,
            wide=True,
        )
    ]
    maps, words = [], []
    for row, weight in zip(rows.tolist()[:EXAMPLES], weights, strict=False):
        said_here = _words(split.tokens[row], domain.vocabulary)
        places = [
            j
            for j, word in enumerate(said_here)
            if bool(split.mask[row, j]) and (word == "?" or any(c.isalnum() for c in word))
        ][:WORDS]
        maps.append(weight[places])
        words.append([said_here[j] for j in places])
    drawn = attended(samples[: len(maps)], maps, words, subject.levels)
    said = (
        "Where each word was looked at while the image was drawn, in mean over layers, heads and "
        "steps; beside the word its mean weight. A row has one scale."
    )
    return [*pictures, Picture("attention, word by word", drawn, said, wide=True)]


def _words(tokens: Tensor, vocabulary: Sequence[str]) -> list[str]:
    """Write tokens as words; one that is not in the vocabulary is a question mark.

    >>> _words(torch.tensor([2, 0]), ("red", "heart"))
    ['heart', '?']
    """
    return [vocabulary[int(t) - 1] if 0 < t <= len(vocabulary) else "?" for t in tokens]


# First stages and restoration


def _first_stage(subject: Subject) -> list[Picture]:
    model = subject.model
    if not isinstance(model, Reconstructing) or not subject.is_image:
        return []
    x = subject.data.test.x[subject.rows(3 * EXAMPLES)]
    back = model.reconstruct(x)
    error = (back.double() - x.double()).square().mean()
    top = max(subject.levels - 1, 1)
    said = (
        "Test examples above, below what is left of them after the first stage: "
        f"{10 * math.log10(top**2 / max(float(error), 1e-12)):.1f} dB PSNR. No sample can be "
        "sharper than this."
    )
    drawn = strips([x, back], subject.levels, left=("original", "reconstructed"))
    return [Picture("the first stage", drawn, said, wide=True)]


def _restored(subject: Subject) -> list[Picture]:
    model = subject.model
    if not isinstance(model, Restoring) or not subject.is_image:
        return []
    x = subject.data.test.x[subject.rows(2 * EXAMPLES)]
    small = model.shrink(x)
    ways = [model.restore(small, noise=Noise.for_samples(k, 0, len(x))) for k in (0, 1)]
    pixels = small.repeat_interleave(model.scale, 2).repeat_interleave(model.scale, 3)
    lines = [pixels, _bicubic(small, model.scale, subject.levels), *ways, x]
    names = ("small", "bicubic", "restored", "again", "original")
    drawn = strips(lines, subject.levels, left=names)
    said = f"Test examples made {model.scale} times smaller, and large again: drawn twice."
    return [Picture("small images made large", drawn, said, wide=True)]


def _bicubic(small: Tensor, scale: int, levels: int) -> Tensor:
    """Enlarge images of levels by Pillow's bicubic filter."""
    from PIL import Image

    top, (height, width) = max(levels - 1, 1), small.shape[-2:]
    size = (width * scale, height * scale)
    shown = small.detach().cpu().float() * (255 / top)
    planes = [
        [
            np.asarray(Image.fromarray(channel.numpy()).resize(size, Image.Resampling.BICUBIC))
            for channel in one
        ]
        for one in shown
    ]
    shades = torch.from_numpy(np.array(planes))
    return (shades * (top / 255)).round().clamp(0, top).to(torch.uint8)


EDITS = (
    _completed,
    _edited,
    _between,
    _there_and_back,
    _spoken,
    _first_stage,
    _restored,
)
"""Each a look at a subject that returns its pictures, none where the model lacks the ability."""
