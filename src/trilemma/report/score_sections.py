"""Figures as tables: of a comparison, and of one run, with what each means and why some lack.

A section that has nothing to show is None, and the page leaves it out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Sequence

from trilemma.comparison.row import Row
from trilemma.core.words import joined
from trilemma.metrics.cost import SPEED
from trilemma.metrics.metric import COVERAGE, LIKELIHOOD, QUALITY, Metric
from trilemma.metrics.registry import quantity, ranking, variants
from trilemma.metrics.score import Score, stand_in
from trilemma.report import details
from trilemma.report.details import protocols, spent
from trilemma.report.markup import Child, Markup, element, glyph
from trilemma.report.tables import ARROWS, Line, TableCell, columns, lines, mark

__all__ = ["BELOW", "is_below_floor", "scores_section", "skipped", "table_section"]

SIZE = "speed and size"
"""Over the columns of costs."""
BELOW = "below the floor"
"""Beside a score that is better than that of real data."""


def table_section(rows: Sequence[Row]) -> Child:
    """Lay all figures out, and say what each means and how it was measured.

    Columns of one subject stand together. With scripts a subject shows the column that ranks, and
    unfolds; lines are sorted by a press on a head, and sifted by name or family.
    """
    names = columns(rows)
    if not names:
        return None
    body = {kind: [] for kind in ("recipe", "marks")}
    leads = _leads(names)
    for line in lines(rows):
        kind = "recipe" if line.kind == "recipe" else "marks"
        body[kind].append(_line(line, names, leads, rows))
    table = element(
        "table",
        element("caption", element("span", f"{_protocol(rows)} {_below_words(rows)}".strip())),
        element("thead", _groups(names), element("tr", _heads(names, leads, rows))),
        element("tbody", body["recipe"]),
        element("tbody", body["marks"], class_="marks") if body["marks"] else None,
        class_="interactive figures",
    )
    return [
        element("div", table, class_="scroll", tabindex="0", role="region", aria_label="Figures"),
        _explained(names),
        details.variants(rows),
    ]


def _groups(names: Sequence[str]) -> Markup:
    """Head the columns by what they are about; those of one section stand together."""
    titles = [_section(name) for name in names]
    cells = [element("th", "")]
    for title in dict.fromkeys(titles):
        span = str(titles.count(title))
        cells.append(element("th", title, colspan=span, scope="colgroup", data_group=_key(title)))
    return element("tr", cells, class_="group")


def _section(name: str) -> str:
    about = quantity(ranking(LIKELIHOOD)[0] if name == LIKELIHOOD else name)
    return about.section if isinstance(about, Metric) else SIZE


def _key(section: str) -> str:
    return section.replace(" ", "-")


def _leads(names: Sequence[str]) -> set[str]:
    """Return the column of each section that ranks, or else its first."""
    ranked = {
        next((name for name in ranking(what) if name in names), "") for what in (QUALITY, COVERAGE)
    }
    leads = {name for name in names if name in (*ranked, LIKELIHOOD, SPEED.name)}
    sections = {_section(name) for name in leads}
    for name in names:
        if _section(name) not in sections:
            sections.add(_section(name))
            leads.add(name)
    return leads


def _column(name: str, leads: Collection[str]) -> dict[str, str]:
    """Return what marks a cell of a column."""
    more = {} if name in leads else {"data_more": ""}
    return {"data_group": _key(_section(name)), **more}


def _heads(names: Sequence[str], leads: Collection[str], rows: Sequence[Row]) -> list[Markup]:
    family = element("small", "family")
    heads = [element("th", "recipe", family, scope="col")]
    for name in names:
        about = quantity(name)
        title = f"{about.label}\u00a0{ARROWS.get(about.better, '')}".strip()
        used = dict.fromkeys(s.protocol for row in rows if (s := row.score(name)) and s.protocol)
        tip = " ".join(filter(None, (_words(name), f"How: {next(iter(used))}." if used else "")))
        heads.append(element("th", title, scope="col", title=tip or None, **_column(name, leads)))
    return heads


def _words(name: str) -> str:
    """Say what a quantity means, and where it fails."""
    about = quantity(name)
    return f"{about.meaning} {about.failure}" if isinstance(about, Metric) else about.meaning


def _line(line: Line, names: Sequence[str], leads: Collection[str], rows: Sequence[Row]) -> Markup:
    mark = glyph(line.family) if line.kind == "recipe" else None
    row = next((r for r in rows if line.kind == "recipe" and r.name == line.name), None)
    cells = [_cell(line.cells.get(name, TableCell("")), name, leads, row) for name in names]
    family = element("small", line.family) if line.family not in ("", line.name) else None
    head = element("th", mark, element("bdi", line.name), family, scope="row")
    return element("tr", head, cells, data_words=f"{line.name} {line.family}".lower())


def _cell(cell: TableCell, name: str, leads: Collection[str], row: Row | None) -> Markup:
    figure = element("b", cell.text) if cell.best else cell.text
    interval = element("small", cell.interval) if cell.interval else None
    by = element("small", cell.by) if cell.by else None
    score = row.score(name) if row else None
    value = score.value if score else row.spent(name) if row and _section(name) == SIZE else None
    below = element("small", BELOW) if score and is_below_floor(score, name) else None
    tip = cell.reason
    if score is not None:
        facts = [
            cell.text,
            cell.interval and f"95 % {cell.interval}",
            score.n and f"n {score.n:,}",
        ]
        tip = ", ".join(str(fact) for fact in facts if fact)
    return element(
        "td",
        figure,
        interval,
        by,
        below,
        class_="best" if cell.best else None,
        title=tip or None,
        data_value=None if value is None else repr(float(value)),
        **_column(name, leads),
    )


def is_below_floor(score: Score, name: str) -> bool:
    """Tell whether a score by which quality is ranked is less than what real data score."""
    floor = score.floor
    return name in ranking(QUALITY) and floor is not None and score.value < floor


def _below_words(rows: Sequence[Row]) -> str:
    """Say what a score below its floor means, where one is."""
    scores = ((row, name, score) for row in rows for name, score in row.of.metrics.items())
    if not any(row.score(name) and is_below_floor(score, name) for row, name, score in scores):
        return ""
    return (
        "Below the floor: less than what as many training examples score. Nothing is nearer to "
        "unseen data than real data are; such a score says that this measure can no longer tell "
        "the samples from real data."
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
    if not items:
        return None
    return element("details", element("summary", "What each figure means"), element("dl", items))


def skipped(rows: Sequence[Row]) -> Markup | None:
    """Say, folded, what was not measured and why: a reason once, with those whom it concerns."""
    rows_by_reason: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        labels: dict[str, list[str]] = {}
        for name, reason in row.of.skipped.items():
            labels.setdefault(reason, []).append(quantity(name).label)
        for reason, names in labels.items():
            rows_by_reason.setdefault((", ".join(names), reason), []).append(row)
    if not rows_by_reason:
        return None
    items = [
        (
            element("dt", names),
            element("dd", reason, _concerned(same, rows)),
        )
        for (names, reason), same in rows_by_reason.items()
    ]
    summary = element("summary", f"Not measured, and why ({len(items)})")
    return element("details", summary, element("dl", items))


def _concerned(same: Sequence[Row], rows: Sequence[Row]) -> Child:
    """Name those whom a reason concerns, where they are several or not all."""
    if len(rows) < 2:
        return None
    if len(same) == len(rows):
        return element("div", "all", class_="small")
    names = [element("span", glyph(row.family), row.name) for row in same]
    return element("div", names, class_="small names")


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
        skipped([row]),
        protocols([row]),
        spent([row]),
    ]
