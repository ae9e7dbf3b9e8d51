"""Codes that mean something: their map, and interpolation between two of them."""

from __future__ import annotations

import torch
from torch import Tensor

from trilemma.core.model import Coded, Editing, Reconstructing
from trilemma.maths.latent_space import codes, discontinuities, interpolate
from trilemma.metrics.extractors import SHIPPED, classifier
from trilemma.pictures import charts, figures
from trilemma.report.model_view import Subject
from trilemma.report.page import Picture
from trilemma.report.view import View

__all__ = ["VIEWS"]

LOOKED_AT = 500
"""Test examples whose codes are looked at."""
NEIGHBOURS = 32
"""Nearest codes of the same class that are paired with each."""


def _codes(subject: Subject[Coded]) -> list[Picture]:
    """Draw the map of the codes, interpolate between two classes, and count discontinuities.

    Codes of a diffusion are its noise, and have no map unless a first stage makes them.
    """
    model, data = subject.model, subject.data
    if isinstance(model, Editing) and not isinstance(model, Reconstructing):
        return []
    labels = data.test.labels
    labels = labels[:LOOKED_AT] if labels is not None else None
    z = codes(model.encode, data.test.x[:LOOKED_AT])
    pictures = [_map(subject, z, labels)]
    if subject.is_image:
        start, stop = _ends(labels, len(z))
        interpolation = model.decode(interpolate(z[start], z[stop], 12))
        pictures.append(
            Picture(
                "a walk between two codes",
                figures.sequences(interpolation, subject.levels),
                "The straight way between the codes of two test examples, decoded.",
            )
        )
    return pictures


def _map(subject: Subject[Coded], z: Tensor, labels: Tensor | None) -> Picture:
    """Draw codes in the plane, and count where neighbours of one class have another between."""
    model, data = subject.model, subject.data
    projection, description = z, "The code's two numbers"
    if z.shape[1] > 2:
        centred = z - z.mean(0)
        projection = centred @ torch.linalg.svd(centred, full_matrices=False).Vh[:2].T
        description = f"The two principal directions of {z.shape[1]} numbers"
    if z.shape[1] == 1:
        up = torch.linspace(-1, 1, len(z)) if labels is None else labels
        projection = torch.stack([z[:, 0], up.to(z)], 1)
        description = "The code's one number; up, " + (
            "the order of the examples" if labels is None else "their class"
        )
    caption = f"{description}, of {len(z):,} test examples."
    if labels is not None and data.extractor in SHIPPED and not isinstance(model, Reconstructing):
        classify = classifier(data.extractor, data.domain).classify
        breaks = discontinuities(z, labels, model.decode, classify, neighbours=NEIGHBOURS)
        caption += (
            f" Between neighbouring codes of one class, {breaks.count:,} of "
            f"{breaks.pairs:,} midpoints ({breaks.fraction:.1%}) "
            "decode to another class."
        )
    chart = charts.latent_map(projection, labels, subject.domain.classes)
    return Picture("map of the codes", chart, caption)


def _ends(labels: Tensor | None, count: int) -> tuple[int, int]:
    """Choose two examples, of different classes where there are any."""
    if labels is None:
        return 0, count - 1
    other_class_rows = (labels != labels[0]).nonzero()
    return 0, int(other_class_rows[0]) if len(other_class_rows) else count - 1


VIEWS = (View(name="codes", section="codes", needs=(Coded,), draw=_codes),)
