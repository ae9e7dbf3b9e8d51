"""What is drawn for captions, and where each of their words was looked at."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trilemma.core.model import Explaining
from trilemma.core.noise import Noise
from trilemma.pictures.image_strips import attended, captioned
from trilemma.report.model_view import EXAMPLES, Subject
from trilemma.report.page import Picture
from trilemma.report.view import View

__all__ = ["VIEWS"]

MAX_CAPTIONS = 12
"""Captions that are drawn."""
WORDS = 6
"""Words of a caption whose attention is drawn at most."""


def _captioned(subject: Subject[Explaining]) -> list[Picture]:
    """Draw what is made of captions, and where each word was looked at."""
    model, split, domain = subject.model, subject.data.test, subject.domain
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


VIEWS = (
    View(
        name="captions and attention",
        section="captions",
        needs=(Explaining,),
        kinds=("image",),
        draw=_captioned,
    ),
)
