"""What a page folds away: scores by other kernels, how each was measured, settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trilemma.comparison.ranks import baselines, floor
from trilemma.comparison.row import Row
from trilemma.core.words import duration, joined
from trilemma.metrics import registry
from trilemma.metrics.registry import quantities, quantity
from trilemma.report.markup import Child, Markup, element, glyph
from trilemma.report.page import Entry

__all__ = [
    "details_section",
    "protocols",
    "settings_table",
    "spent",
    "surroundings",
    "variants",
]

LONGEST = 4
"""Parts of measuring that are named."""


def variants(rows: Sequence[Row]) -> Markup | None:
    """Lay out the variants that some row has: a line each, a column a row, and what is trivial."""
    variant_names = {name for row in rows for name in row.of.metrics} & registry.variants()
    if not variant_names:
        return None
    names = [name for name in quantities() if name in variant_names]
    marks = list(dict.fromkeys(mark for name in names for mark in baselines(rows, name)))
    heads = [
        *([glyph(row.family), row.name] for row in rows),
        "real data",
        *marks,
    ]
    lines = [
        element("tr", element("th", quantity(n).label, scope="row"), _cells(rows, n, marks))
        for n in names
    ]
    table = element(
        "table",
        element("thead", element("tr", [element("th", h, scope="col") for h in ("", *heads)])),
        element("tbody", lines),
    )
    summary = element("summary", "The discrepancies by other kernels, and as U-statistics")
    words = (
        "u: as U-statistic, unbiased, and below 0 by chance where nothing differs. tv: by total "
        "variation, as papers since GRAN have it. Numbers of different kernels do not compare."
    )
    return element(
        "details",
        summary,
        element("p", words, class_="note"),
        element("div", table, class_="scroll", tabindex="0", role="region", aria_label="Kernels"),
    )


def _cells(rows: Sequence[Row], name: str, marks: Sequence[str]) -> list[Markup]:
    trivial = baselines(rows, name)
    values = [
        *(score.value if (score := row.score(name)) else None for row in rows),
        floor(rows, name),
        *(trivial.get(mark) for mark in marks),
    ]
    return [element("td", quantity(name).written(value)) for value in values]


def protocols(rows: Sequence[Row]) -> Markup | None:
    """List in full how each score was measured."""
    uses: dict[tuple[str, str], None] = {}
    for row in rows:
        for name, score in row.of.metrics.items():
            if score.protocol and name not in registry.variants():
                uses[quantity(name).label, score.protocol] = None
    if not uses:
        return None
    items = [(element("dt", label), element("dd", words)) for label, words in uses]
    summary = element("summary", "How each score was measured")
    return element("details", summary, element("dl", items))


def spent(rows: Sequence[Row]) -> Markup | None:
    """Say where measuring spent its time: the parts that took longest, in the mean of the rows."""
    timings = [row.of.seconds for row in rows if row.of.seconds]
    if not timings:
        return None
    total = {
        name: sum(seconds.get(name, 0.0) for seconds in timings)
        for seconds in timings
        for name in seconds
    }
    longest = sorted(total, key=lambda name: -total[name])[:LONGEST]
    longest_parts = [
        f"{quantity(name).label} {duration(total[name] / len(timings))}" for name in longest
    ]
    total_time = duration(sum(total.values()) / len(timings))
    words = (
        f"Measuring took {total_time}{' each' if len(rows) > 1 else ''}: {joined(longest_parts)}."
    )
    return element("p", words, class_="note")


def details_section(
    entries: Sequence[Entry], environment: Mapping[str, str], notes: Sequence[str]
) -> Child:
    """List settings, environment and notes, folded."""
    parts: list[Child] = [
        _fold([glyph(entry.family), f"{entry.recipe}: settings"], entry.settings)
        for entry in entries
        if entry.settings
    ]
    parts += surroundings(environment, notes)
    return parts or None


def surroundings(environment: Mapping[str, str], notes: Sequence[str]) -> list[Child]:
    """List what all ran on, and what should be known of the data, folded."""
    parts: list[Child] = []
    if environment:
        parts.append(_fold("Environment", environment))
    if notes:
        items = [element("li", note) for note in notes]
        parts.append(
            element("details", element("summary", "About the data"), element("ul", items))
        )
    return parts


def settings_table(values: Mapping[str, str]) -> Markup | None:
    """Lay fields out by their names; None where there are none."""
    if not values:
        return None
    rows = [
        element(
            "tr",
            element("th", str(key).replace("_", " "), scope="row"),
            element("td", value, class_="text"),
        )
        for key, value in values.items()
    ]
    table = element("table", element("tbody", rows), class_="settings")
    return element("div", table, class_="scroll")


def _fold(title: Child, values: Mapping[str, str]) -> Markup:
    return element("details", element("summary", title), settings_table(values))
