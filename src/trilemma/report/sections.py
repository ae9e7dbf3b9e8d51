"""The parts of a page: what is shown under each heading.

A section that has nothing to show is None, and the page leaves it out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from trilemma.comparison.places import LIKELIHOOD, Place, coverage_metric, quality_metric
from trilemma.comparison.ranking import Ranking
from trilemma.core.words import brief, duration, joined
from trilemma.metrics.words import VARIANTS, meaning, score, stand_in
from trilemma.report.charts import frontier, triangle, trilemma_scores
from trilemma.report.courses import curves, series
from trilemma.report.folded import protocols, variants
from trilemma.report.markup import Child, Markup, element, glyph, image
from trilemma.report.page import Comparison, Entry, Picture, drawn, pairs, shown
from trilemma.report.palette import hue
from trilemma.report.tables import COST, Cell, Line, columns, lines, mark

__all__ = [
    "answers_section",
    "curves_section",
    "history_section",
    "inside_section",
    "neighbours_section",
    "samples_section",
    "scores_section",
    "table_section",
]

PICTURED = "Pictures and curves are of the first seed that was measured, figures are means."
ARROWS = {"lower": "↓", "higher": "↑", "one": "→ 1"}
GROUPS = (
    ("quality and coverage", None),
    ("likelihood", ("bits_per_dim", "likelihood", "ode_log_prob", "ode_bits_per_dim")),
    ("speed and size", COST),
)


def _named(entry: Entry) -> Markup:
    return element("span", glyph(entry.family), entry.recipe, class_="name")


def samples_section(made: Comparison) -> Child:
    """Show samples of each recipe beside as many real examples."""
    n, (real, *samples) = shown(made.real, [entry.samples for entry in made.entries])
    found = [(e, x) for e, x in zip(made.entries, samples, strict=True) if x is not None]
    if not found and real is None:
        return None
    points = made.domain is not None and made.domain.kind == "points"
    truth = real if points and isinstance(real, Tensor) else None
    figures = []
    if real is not None:
        caption = element("figcaption", element("span", "Real data", class_="name"))
        picture = image(drawn(real, made.domain), f"{n} real examples")
        figures.append(element("figure", picture, caption, class_="real"))
    for entry, x in found:
        metrics = entry.row.get("metrics", {})
        measure = quality_metric([entry.row])
        value = (metrics.get(measure) or {}).get("value")
        words = [f"{measure} {brief(value)}"] if value is not None else []
        seconds = entry.row.get("cost", {}).get("sample_seconds_each")
        words += [f"{duration(seconds)} each"] if seconds is not None else []
        caption = element("figcaption", _named(entry), element("br"), " · ".join(words))
        alt = f"{n} samples of {entry.recipe}"
        figures.append(
            element("figure", image(drawn(x, made.domain, truth, entry.family), alt), caption)
        )
    what = {"points": "points", "graph": "graphs"}.get(getattr(made.domain, "kind", ""), "images")
    grid = "row samples" if len(figures) > 3 else "row three few"
    note = f"Not chosen: the first {n:,} {what} of each, real data from the test split."
    if points:
        note += " Grey: real data."
    if any("seeds" in row for row in made.rows):
        note += f" {PICTURED}"
    return [element("p", note, class_="note"), element("div", figures, class_=grid)]


def answers_section(rows: Sequence[Mapping[str, Any]], ranking: Ranking) -> Child:
    """Rank by quality, coverage and speed, and draw the Pareto front and the triangle."""
    if not (ranking.quality or ranking.coverage or ranking.speed):
        return None
    reach = trilemma_scores(rows)
    name, measure = coverage_metric(rows), quality_metric(rows)
    lists = (
        ("Quality", measure, "nearest to unseen data", ranking.quality, 0),
        ("Coverage", name, "most of the data reached", ranking.coverage, 1),
        ("Speed", "sample_seconds_each", "least time for a sample", ranking.speed, 2),
    )
    cards = [
        element(
            "div",
            element("h3", title),
            element("div", f"{meaning(metric).label}: {words}", class_="small"),
            element("ol", [_place(p, metric, reach[p.recipe][i]) for p in places], class_="rank"),
        )
        for title, metric, words, places, i in lists
        if places
    ]
    note = (
        "A place is a span: from one more than the number of recipes certainly better, to all "
        "less those certainly worse. Certainly: the intervals do not touch, or the "
        "times differ by more than a quarter. Intervals are over drawing again, not retraining."
    )
    parts: list[Child] = [
        element("p", note, class_="note"),
        element("div", cards, class_="row three"),
    ]
    if len(rows) < 2:
        return parts
    triangles = [
        element("figure", image(triangle(rows, str(row.get("recipe", "?"))), ""), caption)
        for row in rows
        for caption in [element("figcaption", _named(Entry(row)))]
    ]
    words = (
        "Quality: from the worst trivial baseline at the centre to real data at the tip, by the "
        f"logarithm of {measure}. Coverage: from 0 to what real data reach. Speed: from 10 s to "
        "10 µs a sample, by the logarithm. Faint: the other recipes."
    )
    trio = element(
        "div",
        element("h3", "The triangle"),
        element(
            "div", triangles, class_="row triangles" if len(rows) > 4 else "row triangles pair"
        ),
        element("p", words, class_="note"),
    )
    front = "The line joins the recipes that no other beats in both. Lower left is better."
    pareto = element(
        "figure",
        element("h3", "Quality against speed"),
        image(frontier(rows), "Quality against speed"),
        element("figcaption", front),
    )
    return [*parts, element("div", pareto, trio, class_="row two", style="margin-top:2.6rem")]


def _place(place: Place, metric: str, reach: float) -> Markup:
    colour = f"width:{100 * reach:.1f}%;background:var(--{hue(place.family).name})"
    bar = element("span", element("i", style=colour), class_="bar") if reach == reach else None
    interval = None
    if place.low != place.high and metric != "sample_seconds_each":
        words = f"{score(metric, place.low)} to {score(metric, place.high)}"
        interval = element("span", words, class_="small")
    return element(
        "li",
        element("span", place.span, class_="place"),
        element("span", glyph(place.family), place.recipe, class_="name"),
        element("span", score(metric, place.value), class_="figure"),
        bar,
        interval,
    )


def table_section(rows: Sequence[Mapping[str, Any]]) -> Child:
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
        element("thead", _groups(names), element("tr", _heads(rows, names))),
        element("tbody", body["recipe"]),
        element("tbody", body["marks"], class_="marks") if body["marks"] else None,
    )
    return [
        element("div", table, class_="scroll", tabindex="0", role="region", aria_label="Figures"),
        _explained(names),
        variants(rows),
        _skipped(rows),
        protocols(rows),
    ]


def _groups(names: Sequence[str]) -> Markup:
    taken = {name for _, members in GROUPS if members for name in members}
    cells = [element("th", "")]
    for title, members in GROUPS:
        own = [n for n in names if (n in members if members else n not in taken)]
        if own:
            cells.append(element("th", title, colspan=str(len(own)), scope="colgroup"))
    return element("tr", cells, class_="group")


def _heads(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[Markup]:
    family = element("small", "family")
    heads = [element("th", "recipe", family, scope="col")]
    for name in names:
        stated = next((r["metrics"][name] for r in rows if name in r.get("metrics", {})), {})
        about = meaning(name, str(stated.get("better", "")))
        arrow = ARROWS.get(about.better, "")
        heads.append(
            element(
                "th", f"{about.label}\u00a0{arrow}".strip(), scope="col", title=about.words or None
            )
        )
    return heads


def _line(line: Line, names: Sequence[str]) -> Markup:
    mark = glyph(line.family) if line.kind == "recipe" else None
    cells = [_cell(line.cells.get(name, Cell(""))) for name in names]
    family = element("small", line.family) if line.family not in ("", line.name) else None
    head = element("th", mark, element("span", line.name), family, scope="row")
    return element("tr", head, cells)


def _cell(cell: Cell) -> Markup:
    figure = element("b", cell.text) if cell.best else cell.text
    interval = element("small", cell.interval) if cell.interval else None
    by = element("small", cell.by) if cell.by else None
    return element(
        "td", figure, interval, by, class_="best" if cell.best else None, title=cell.reason or None
    )


def _protocol(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say on how many examples of which split, with which extractor and seed, it was measured."""

    def every(key: str) -> str:
        return joined(list(dict.fromkeys(str(r[key]) for r in rows if r.get(key) is not None)))

    facts = []
    if every("n"):
        facts.append(f"n = {every('n')} samples")
    if every("split"):
        facts.append(f"{every('split')} split")
    seeds = list(dict.fromkeys(seed for row in rows for seed in _seeds_of(row)))
    if seeds:
        facts.append(f"{'seed' if len(seeds) == 1 else 'seeds'} {joined(seeds)}")
    if every("device"):
        facts.append(f"on {every('device')}")
    scores = [found for row in rows for found in row.get("metrics", {}).values()]
    used = [re.search(r"features (?:of )?([^;]+)", str(s.get("protocol", ""))) for s in scores]
    extractors = joined(list(dict.fromkeys(match[1].strip() for match in used if match)))
    if extractors:
        facts.append(f"features of {extractors}")
    words = f"{', '.join(facts)}. " if facts else ""
    if len(rows) > 1:
        words += "Bold: the best of the column, and all whose interval overlaps its own. "
    if any(s.get("spread") is not None for s in scores):
        words += "±: the sample standard deviation over the seeds, beside their mean. "
    if any(s.get("low") is not None for s in scores):
        words += "Small: intervals of 95 %"
        kinds = list(dict.fromkeys(str(s["interval"]) for s in scores if s.get("interval")))
        words += f", {joined(kinds, 'or')}. " if kinds else ". "
    if any(s.get("floor") is not None for s in scores):
        words += "Real data: the floor, training examples measured as if they were samples. "
    return words.strip()


def _seeds_of(row: Mapping[str, Any]) -> list[str]:
    found = row.get("seed")
    if isinstance(found, Sequence) and not isinstance(found, str):
        return [str(seed) for seed in found]
    return [] if found is None else [str(found)]


def _explained(names: Sequence[str]) -> Markup | None:
    known = [meaning(name) for name in names if meaning(name).words]
    items = [(element("dt", m.label), element("dd", m.words)) for m in known]
    return element("dl", items) if items else None


def _skipped(rows: Sequence[Mapping[str, Any]]) -> Child:
    """Say what was not measured and why; recipes with the same reasons stand together."""
    alike: dict[tuple[tuple[str, str], ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        by_reason: dict[str, list[str]] = {}
        for name, reason in row.get("skipped", {}).items():
            by_reason.setdefault(str(reason), []).append(meaning(name).label)
        reasons = tuple((", ".join(names), reason) for reason, names in by_reason.items())
        alike.setdefault(reasons, []).append(row)
    items = []
    for reasons, same in alike.items():
        every = [
            element("div", glyph(str(row.get("family", ""))), str(row.get("recipe", "?")))
            for row in same
        ]
        told = [element("div", f"{names}: {reason}") for names, reason in reasons]
        if told:
            items.append((element("dt", every), element("dd", told)))
    if not items:
        return None
    return [element("h3", "Not measured"), element("dl", items)]


def scores_section(row: Mapping[str, Any]) -> Child:
    """Lay one run's scores out, a line each, beside what real data and trivial models score."""
    metrics, cost = row.get("metrics", {}), row.get("cost", {})
    if not metrics and not cost:
        return None
    units = any(found.get("unit") for found in metrics.values())
    marks = list(dict.fromkeys(b for m in metrics.values() for b in m.get("baselines") or {}))
    body = []
    shown = [name for name in columns([row]) if name in metrics]
    for name in [*shown, *(name for name in LIKELIHOOD if name in metrics)]:
        found = metrics[name]
        about = meaning(name, str(found.get("better", "")))
        bound = mark(name, found)
        low, high = found.get("low"), found.get("high")
        interval = (
            None if low is None or high is None else f"{score(name, low)} to {score(name, high)}"
        )
        body.append(
            element(
                "tr",
                element("th", f"{about.label} {ARROWS.get(about.better, '')}", scope="row"),
                element("td", element("b", bound + score(name, found.get("value")))),
                element("td", interval),
                element("td", score(name, found.get("floor"))),
                [element("td", score(name, (found.get("baselines") or {}).get(m))) for m in marks],
                element("td", found.get("unit") or "", class_="text") if units else None,
            )
        )
    costs = [
        element(
            "tr",
            element("th", meaning(name).label, scope="row"),
            element("td", score(name, value) if isinstance(value, int | float) else str(value)),
        )
        for name, value in cost.items()
        if value is not None
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
        _explained([n for n in metrics if not VARIANTS.fullmatch(n)]),
        variants([row]),
        element("h3", "Cost") if costs else None,
        element("div", element("table", element("tbody", costs)), class_="scroll cost")
        if costs
        else None,
        _skipped([row]),
        protocols([row]),
    ]


def curves_section(entries: Sequence[Entry]) -> Child:
    """Draw the learning curves of each recipe."""
    figures = [
        element(
            "figure",
            element("figcaption", _named(entry), class_="above"),
            image(curves(entry.events, entry.family), ""),
        )
        for entry in entries
        if series(entry.events)
    ]
    if not figures:
        return None
    words = (
        "Each objective’s own loss and its terms, as trained; pale what was measured, strong its "
        "running mean. Losses of different families are not comparable."
    )
    return [element("p", words, class_="note"), element("div", figures, class_=_wide(figures))]


def neighbours_section(made: Comparison) -> Child:
    """Show samples above their nearest training examples."""
    figures = []
    for entry in made.entries:
        picture = pairs(entry, made.domain)
        if picture is None:
            continue
        found = (entry.row.get("metrics", {}).get("nearest_train_ratio") or {}).get("value")
        words = None if found is None else f" distance {brief(found)} times that of unseen data"
        novel = (entry.row.get("metrics", {}).get("novel") or {}).get("value")
        words = (
            words if novel is None else f" {novel:.0%} of the samples are like no training graph"
        )
        caption = element("figcaption", _named(entry), words)
        alt = f"samples of {entry.recipe} above their nearest training examples"
        figures.append(element("figure", image(picture, alt), caption))
    if not figures:
        return None
    words = (
        "In each pair above a sample, below the training example nearest to it. "
        "Equal pairs are copies."
    )
    return [element("p", words, class_="note"), element("div", figures, class_=_wide(figures))]


def inside_section(entries: Sequence[Entry]) -> Child:
    """Show what belongs to one recipe alone."""
    every = [(p, _picture(p, entry)) for entry in entries for p in entry.pictures]
    small = [figure for picture, figure in every if not picture.wide]
    large = [figure for picture, figure in every if picture.wide]
    parts: list[Child] = []
    if small:
        parts.append(element("div", small, class_=_wide(small)))
    if large:
        parts.append(element("div", large, class_="row whole"))
    return parts or None


def _picture(picture: Picture, entry: Entry | None = None) -> Markup:
    head = [_named(entry), " · "] if entry else []
    caption = element(
        "figcaption",
        head,
        element("span", picture.title),
        element("br") if picture.caption else None,
        picture.caption or None,
    )
    shown = image(picture.image, picture.title)
    if picture.wide:
        words = {"tabindex": "0", "role": "region", "aria_label": picture.title}
        shown = element("div", shown, class_="scroll", **words)
    return element("figure", shown, caption)


def _wide(figures: Sequence[Markup]) -> str:
    """Two columns for one, two or four, else three: no row with one alone."""
    return "row two" if len(figures) in (1, 2, 4) else "row wide"


def history_section(pictures: Sequence[Picture]) -> Child:
    """Show previews from the first steps to the last."""
    if not pictures:
        return None
    words = "The same noise, drawn again as training went on."
    figures = [_picture(picture) for picture in pictures]
    strip = element("div", figures, class_="strip", tabindex="0", role="region", aria_label=words)
    return [element("p", words, class_="note"), strip]
