"""Figures as tables: of a comparison, and of one run, with what each means and why some lack.

A section that has nothing to show is None, and the page leaves it out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from trilemma.comparison.row import Row
from trilemma.core.words import joined
from trilemma.metrics.metric import LIKELIHOOD, Metric
from trilemma.metrics.registry import quantity, ranking, variants
from trilemma.metrics.score import stand_in
from trilemma.report import details
from trilemma.report.details import protocols, spent
from trilemma.report.markup import Child, Markup, element, glyph
from trilemma.report.tables import ARROWS, Line, TableCell, columns, lines, mark

__all__ = ["scores_section", "table_section"]

SIZE = "speed and size"
"""Over the columns of costs."""


def table_section(rows: Sequence[Row]) -> Child:
    """Lay all figures out, and say what each means and how it was measured."""
    names = columns(rows)
    if not names:
        return None
    body = {kind: [] for kind in ("recipe", "marks")}
    for line in lines(rows):
        body["recipe" if line.kind == "recipe" else "marks"].append(_line(line, names))
    table = element(
        "table",
        element("caption", element("span", _protocol(rows))),
        element("thead", _groups(names), element("tr", _heads(names))),
        element("tbody", body["recipe"]),
        element("tbody", body["marks"], class_="marks") if body["marks"] else None,
    )
    return [
        element("div", table, class_="scroll", tabindex="0", role="region", aria_label="Figures"),
        _explained(names),
        details.variants(rows),
        _skipped(rows),
        protocols(rows),
        spent(rows),
    ]


def _groups(names: Sequence[str]) -> Markup:
    """Head the columns by what they are about; those of one section stand together."""
    titles = [_section(name) for name in names]
    cells = [element("th", "")]
    for title in dict.fromkeys(titles):
        span = str(titles.count(title))
        cells.append(element("th", title, colspan=span, scope="colgroup"))
    return element("tr", cells, class_="group")


def _section(name: str) -> str:
    about = quantity(ranking(LIKELIHOOD)[0] if name == LIKELIHOOD else name)
    return about.section if isinstance(about, Metric) else SIZE


def _heads(names: Sequence[str]) -> list[Markup]:
    family = element("small", "family")
    heads = [element("th", "recipe", family, scope="col")]
    for name in names:
        about = quantity(name)
        title = f"{about.label}\u00a0{ARROWS.get(about.better, '')}".strip()
        heads.append(element("th", title, scope="col", title=_words(name) or None))
    return heads


def _words(name: str) -> str:
    """Say what a quantity means, and where it fails."""
    about = quantity(name)
    return f"{about.meaning} {about.failure}" if isinstance(about, Metric) else about.meaning


def _line(line: Line, names: Sequence[str]) -> Markup:
    mark = glyph(line.family) if line.kind == "recipe" else None
    cells = [_cell(line.cells.get(name, TableCell(""))) for name in names]
    family = element("small", line.family) if line.family not in ("", line.name) else None
    head = element("th", mark, element("span", line.name), family, scope="row")
    return element("tr", head, cells)


def _cell(cell: TableCell) -> Markup:
    figure = element("b", cell.text) if cell.best else cell.text
    interval = element("small", cell.interval) if cell.interval else None
    by = element("small", cell.by) if cell.by else None
    return element(
        "td", figure, interval, by, class_="best" if cell.best else None, title=cell.reason or None
    )


def _protocol(rows: Sequence[Row]) -> str:
    """Say on how many examples of which split, with which extractor and seed, it was measured."""

    def every(values: Iterable[object]) -> str:
        return joined(list(dict.fromkeys(str(value) for value in values if value)))

    facts = []
    if n := every(row.of.n for row in rows):
        facts.append(f"n = {n} samples")
    if split := every(row.of.split for row in rows):
        facts.append(f"{split} split")
    seeds = list(dict.fromkeys(s for row in rows for s in row.seeds or (row.of.seed,)))
    if seeds:
        seed_names = joined([str(seed) for seed in seeds])
        facts.append(f"{'seed' if len(seeds) == 1 else 'seeds'} {seed_names}")
    if device := every(row.of.device for row in rows):
        facts.append(f"on {device}")
    scores = [metric_score for row in rows for metric_score in row.of.metrics.values()]
    used = [re.search(r"features (?:of )?([^;]+)", score.protocol) for score in scores]
    if extractors := every(match[1].strip() for match in used if match):
        facts.append(f"features of {extractors}")
    words = f"{', '.join(facts)}. " if facts else ""
    if len(rows) > 1:
        words += "Bold: the best of the column, and all whose interval overlaps its own. "
    if any(score.spread is not None for score in scores):
        words += "±: the sample standard deviation over the seeds, beside their mean. "
    if any(math.isfinite(score.low) for score in scores):
        words += "Small: intervals of 95 %"
        kinds = list(dict.fromkeys(score.interval for score in scores if score.interval))
        words += f", {joined(kinds, 'or')}. " if kinds else ". "
    if any(score.floor is not None for score in scores):
        words += "Real data: the floor, training examples measured as if they were samples. "
    return words.strip()


def _explained(names: Sequence[str]) -> Markup | None:
    items = [
        (element("dt", quantity(name).label), element("dd", words))
        for name in names
        if (words := _words(name))
    ]
    return element("dl", items) if items else None


def _skipped(rows: Sequence[Row]) -> Child:
    """Say what was not measured and why; recipes with the same reasons stand together."""
    rows_by_reasons: dict[tuple[tuple[str, str], ...], list[Row]] = {}
    for row in rows:
        by_reason: dict[str, list[str]] = {}
        for name, reason in row.of.skipped.items():
            by_reason.setdefault(reason, []).append(quantity(name).label)
        reasons = tuple((", ".join(names), reason) for reason, names in by_reason.items())
        rows_by_reasons.setdefault(reasons, []).append(row)
    items = []
    for reasons, same in rows_by_reasons.items():
        recipe_items = [element("div", glyph(row.family), row.name) for row in same]
        reason_items = [element("div", f"{names}: {reason}") for names, reason in reasons]
        if reason_items:
            items.append((element("dt", recipe_items), element("dd", reason_items)))
    if not items:
        return None
    return [element("h3", "Not measured"), element("dl", items)]


def scores_section(row: Row) -> Child:
    """Lay one run's scores out, a line each, beside what real data and trivial models score."""
    metrics, cost = row.of.metrics, row.of.cost.measured()
    if not metrics and not cost:
        return None
    units = any(score.unit for score in metrics.values())
    marks = list(dict.fromkeys(b for score in metrics.values() for b in score.baselines))
    body = []
    column_names = [name for name in columns([row]) if name in metrics]
    for name in [*column_names, *(name for name in ranking(LIKELIHOOD) if name in metrics)]:
        score, about = metrics[name], quantity(name)
        interval = (
            f"{about.written(score.low)} to {about.written(score.high)}"
            if math.isfinite(score.low) and math.isfinite(score.high)
            else None
        )
        value = mark(name, score) + about.written(score.value)
        body.append(
            element(
                "tr",
                element("th", f"{about.label} {ARROWS.get(about.better, '')}", scope="row"),
                element("td", element("b", value)),
                element("td", interval),
                element("td", about.written(score.floor)),
                [element("td", about.written(score.baselines.get(m))) for m in marks],
                element("td", score.unit, class_="text") if units else None,
            )
        )
    costs = [
        element(
            "tr",
            element("th", quantity(name).label, scope="row"),
            element("td", quantity(name).written(value)),
        )
        for name, value in cost.items()
    ]
    heads = ("score", "this run", "interval", "real data", *map(stand_in, marks))
    head = element(
        "tr",
        [element("th", h, scope="col") for h in heads],
        element("th", "unit", class_="text") if units else None,
    )
    table = element(
        "table",
        element("caption", element("span", _protocol([row]))),
        element("thead", head),
        element("tbody", body),
    )
    return [
        element("div", table, class_="scroll", tabindex="0", role="region", aria_label="Scores")
        if body
        else None,
        _explained([name for name in metrics if name not in variants()]),
        details.variants([row]),
        element("h3", "Cost") if costs else None,
        element("div", element("table", element("tbody", costs)), class_="scroll cost")
        if costs
        else None,
        _skipped([row]),
        protocols([row]),
        spent([row]),
    ]
