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
from trilemma.pictures import scatter
from trilemma.pictures.image_strips import attended, captioned, halved, strips
from trilemma.report.model_view import EXAMPLES, POINTS, Subject
from trilemma.report.page import Picture

__all__ = ["EDITS"]

STRENGTHS = (0.25, 0.5, 0.75)
MAX_CAPTIONS = 12
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
    caption = "Test examples after noise up to time ‘strength’, and the way back (SDEdit)."
    return [Picture("edits", strips(lines, subject.levels, row_labels=names), caption, wide=True)]


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


# Words


def _spoken(subject: Subject) -> list[Picture]:
    """Draw what is made of captions, and where each word was looked at."""
    model, split, domain = subject.model, subject.data.test, subject.data.domain
    if not isinstance(model, Explaining) or not subject.is_image:
        return []
    if not split.captions or split.tokens is None or split.mask is None:
        return []
    first: dict[str, int] = {}
    for index, caption in enumerate(split.captions):
        if caption.strip() and bool(split.mask[index].any()):
            first.setdefault(caption, index)
    rows = torch.tensor(list(first.values())[:: max(1, len(first) // MAX_CAPTIONS)][:MAX_CAPTIONS])
    if not len(rows):
        return []
    condition = subject.condition(rows)
    assert condition is not None
    samples, weights = model.attention(condition, noise=Noise.for_samples(0, 0, len(rows)))
    captions = [str(split.captions[int(i)]) for i in rows]
    description = (
        "Captions of test examples, none of which were trained on, and one sample for each."
    )
    pictures = [
        Picture(
            "drawn for captions",
            captioned(samples, captions, subject.levels, columns=6),
            description,
            wide=True,
        )
    ]
    maps, words = [], []
    for row, weight in zip(rows.tolist()[:EXAMPLES], weights, strict=False):
        caption_words = _words(split.tokens[row], domain.vocabulary)
        word_positions = [
            j
            for j, word in enumerate(caption_words)
            if bool(split.mask[row, j]) and (word == "?" or any(c.isalnum() for c in word))
        ][:WORDS]
        maps.append(weight[word_positions])
        words.append([caption_words[j] for j in word_positions])
    image = attended(samples[: len(maps)], maps, words, subject.levels)
    description = (
        "Where each word was looked at while the image was drawn, in mean over layers, heads and "
        "steps; beside the word its mean weight. A row has one scale."
    )
    return [*pictures, Picture("attention, word by word", image, description, wide=True)]


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
    reconstruction = model.reconstruct(x)
    error = (reconstruction.double() - x.double()).square().mean()
    top = max(subject.levels - 1, 1)
    caption = (
        "Test examples above, below what is left of them after the first stage: "
        f"{10 * math.log10(top**2 / max(float(error), 1e-12)):.1f} dB PSNR. No sample can be "
        "sharper than this."
    )
    image = strips([x, reconstruction], subject.levels, row_labels=("original", "reconstructed"))
    return [Picture("the first stage", image, caption, wide=True)]


def _restored(subject: Subject) -> list[Picture]:
    model = subject.model
    if not isinstance(model, Restoring) or not subject.is_image:
        return []
    x = subject.data.test.x[subject.rows(2 * EXAMPLES)]
    small = model.shrink(x)
    restorations = [model.restore(small, noise=Noise.for_samples(k, 0, len(x))) for k in (0, 1)]
    pixels = small.repeat_interleave(model.scale, 2).repeat_interleave(model.scale, 3)
    lines = [pixels, _bicubic(small, model.scale, subject.levels), *restorations, x]
    names = ("small", "bicubic", "restored", "again", "original")
    image = strips(lines, subject.levels, row_labels=names)
    caption = f"Test examples made {model.scale} times smaller, and large again: drawn twice."
    return [Picture("small images made large", image, caption, wide=True)]


def _bicubic(small: Tensor, scale: int, levels: int) -> Tensor:
    """Enlarge images of levels by Pillow's bicubic filter."""
    from PIL import Image

    top, (height, width) = max(levels - 1, 1), small.shape[-2:]
    size = (width * scale, height * scale)
    grey_values = small.detach().cpu().float() * (255 / top)
    planes = [
        [
            np.asarray(Image.fromarray(channel.numpy()).resize(size, Image.Resampling.BICUBIC))
            for channel in one
        ]
        for one in grey_values
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
