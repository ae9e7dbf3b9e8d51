"""Images as a data set: their order, their split and what to know of both.

Examples are put in the order of their content's hash, which also makes the split, so that neither
depends on the names or the order of what was given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trilemma.core.domain import Domain, Levels
from trilemma.data.dataset import DataSet, Split
from trilemma.data.pictures import printable
from trilemma.data.split import content_hashes, frequencies, is_test, split_warning
from trilemma.data.text import with_words

__all__ = ["ImageSet", "dataset"]

TEST_SHARE = 0.1

Captions = Callable[[Sequence[str]], tuple[Sequence[Sequence[str]] | None, Sequence[str]]]


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Images and what is known of each, before they are split."""

    x: Tensor
    """[N, C, H, W] uint8."""
    names: Sequence[str]
    """Of the images, which put copies of one image in order."""
    levels: int = 256
    classes: tuple[str, ...] = ()
    labels: Sequence[int] = ()
    """The class of each; nothing without classes."""
    captions: Captions | None = None
    """Gives the captions of each image by its name, and notes."""


def dataset(name: str, images: ImageSet, notes: Sequence[str] = ()) -> DataSet:
    """Split images by their content and put them together with what is known of them."""
    hashes = content_hashes(images.x)
    indices = images.labels or [0] * len(hashes)
    order = sorted(range(len(hashes)), key=lambda i: (hashes[i], indices[i], images.names[i]))
    hashes, names = [hashes[i] for i in order], [images.names[i] for i in order]
    labels = [indices[i] for i in order]
    test = is_test(hashes, TEST_SHARE, labels)
    texts, caption_notes = images.captions(names) if images.captions else (None, ())
    firsts = (
        None if texts is None else [texts[i][0] if texts[i] else "" for i in range(len(names))]
    )
    x = images.x[torch.tensor(order)]

    def part(rows: Tensor) -> Split:
        positions = rows.nonzero().flatten()
        return Split(
            x[positions],
            torch.tensor(labels)[positions] if images.classes else None,
            None if firsts is None else [firsts[i] for i in positions.tolist()],
            [printable(names[i]) for i in positions.tolist()],
        )

    train, test_split = part(~test), part(test)
    if texts is not None and max(map(len, texts)) > 1:
        further = [texts[i][1:] for i in (~test).nonzero().flatten().tolist()]
        train = replace(train, further=further)
    sentences = list(notes)
    copies = len(hashes) - len(set(hashes))
    if copies:
        sentences.append(f"copies of another image, on the same side of the split: {copies}")
    warning = split_warning(hashes, test.tolist(), TEST_SHARE)
    sentences += [warning] if warning else []
    sentences.append(f"split by content: {len(train)} for training, {len(test_split)} for testing")
    domain = Domain(
        "image",
        tuple(x.shape[1:]),
        Levels(images.levels),
        images.classes,
        frequencies(train, images.classes),
    )
    return with_words(DataSet(name, domain, train, test_split, (*sentences, *caption_notes)))
