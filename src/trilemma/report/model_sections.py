"""A folded section a model: its figures in a line, and beneath all that belongs to it alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from trilemma.comparison.ranks import coverage_metric, quality_metric
from trilemma.comparison.row import Row
from trilemma.core.errors import attempted
from trilemma.core.words import duration
from trilemma.metrics.cost import SPEED
from trilemma.metrics.registry import quantity
from trilemma.report.charts import triangle
from trilemma.report.details import settings_table
from trilemma.report.markup import Child, Markup, element, glyph, image
from trilemma.report.page import Comparison, Entry
from trilemma.report.picture_sections import (
    curves_section,
    exhibits_section,
    inside_section,
    neighbours_section,
    not_drawn,
)

__all__ = ["fold", "models_section"]


def fold(title: Child, *body: Child, **attributes: str) -> Markup:
    """Make a section that the page's script folds; without scripts it lies open."""
    return element(
        "details",
        element("summary", title),
        *body,
        class_="interactive fold",
        open=True,
        **attributes,
    )


def models_section(comparison: Comparison, prefix: str) -> Child:
    """Show what belongs to each model, a folded section each.

    Arguments:
        comparison: What was compared.
        prefix: Of the sections' keys, where it is one of several sets on the page.
    """
    return [
        _model(comparison, entry, f"{prefix}model-{i}")
        for i, entry in enumerate(comparison.entries, 1)
    ] or None


def _model(comparison: Comparison, entry: Entry, key: str) -> Markup:
    alone = replace(comparison, entries=[entry])
    makers: tuple[tuple[str, Callable[[], Child]], ...] = (
        ("What it reaches", partial(_triangle, comparison.rows, entry.recipe)),
        ("Learning curves", partial(curves_section, [entry])),
        ("What gives samples away", partial(exhibits_section, [entry])),
        ("Nearest training examples", partial(neighbours_section, alone)),
        ("Inside the model", partial(inside_section, [entry])),
        ("Settings", partial(settings_table, entry.settings)),
    )
    parts = [
        [element("h3", title), body]
        for title, make in makers
        if (body := attempted(make, not_drawn))
    ]
    family = entry.family if entry.family not in ("", entry.recipe) else None
    words = " · ".join(part for part in (family, *_figures(comparison, entry)) if part)
    title = [
        glyph(entry.family),
        element("bdi", entry.recipe, class_="name"),
        element("span", words, class_="small"),
    ]
    missing = element("p", "Nothing was drawn of it.", class_="note")
    return fold(title, element("div", parts or missing, class_="model"), id=key)


def _triangle(rows: Sequence[Row], recipe: str) -> Child:
    """Draw what a model reaches of quality, coverage and speed, before the others."""
    if len(rows) < 2 or recipe not in {row.name for row in rows if not row.of.reward}:
        return None
    chart = triangle([row for row in rows if not row.of.reward], recipe)
    if not chart:
        return None
    words = (
        "Quality from the worst trivial baseline at the centre to real data at the tip, coverage "
        "from 0 to what real data reach, speed from 10 s to 10 µs a sample. Faint: the others."
    )
    return element("figure", image(chart, ""), element("figcaption", words))


def _figures(comparison: Comparison, entry: Entry) -> list[str]:
    """Write what a model reaches in quality, coverage and speed."""
    figures = []
    for name in (quality_metric(comparison.rows), coverage_metric(comparison.rows)):
        score = entry.row.score(name)
        if score is not None:
            about = quantity(name)
            figures.append(f"{about.label} {about.written(score.value)}")
    seconds = entry.row.spent(SPEED.name)
    return figures if seconds is None else [*figures, f"{duration(seconds)} a sample"]
