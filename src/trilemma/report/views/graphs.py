"""How sampled graphs are beside those of the data."""

from __future__ import annotations

from typing import Any

from trilemma.pictures.histograms import histograms
from trilemma.report.model_view import MEASURED, Subject
from trilemma.report.page import Picture
from trilemma.report.view import View

__all__ = ["VIEWS"]


def _statistics(subject: Subject[Any]) -> list[Picture]:
    """Draw histograms of degrees, clustering, sizes and pieces, over those of test graphs."""
    if subject.samples is None:
        return []
    real, samples = subject.data.test.x[:MEASURED], subject.samples[:MEASURED]
    chart = histograms(real, samples, subject.family)
    caption = (
        f"{len(real)} test graphs (grey) and {len(samples)} samples (line). Nodes "
        "count so that every graph counts once; the last bar holds what lies beyond."
    )
    return [Picture("degrees, clustering, sizes and pieces", chart, caption)]


VIEWS = (
    View(
        name="graph statistics", section="likeness", needs=(), kinds=("graph",), draw=_statistics
    ),
)
