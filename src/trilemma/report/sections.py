"""The parts of a page: what is shown under each heading.

A section that has nothing to show is None, and the page leaves it out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from torch import Tensor

from trilemma.comparison.ranking import Ranking, Task
from trilemma.comparison.ranks import Rank, coverage_metric, quality_metric
from trilemma.comparison.row import Row
from trilemma.core.words import brief, duration, joined
from trilemma.metrics.cost import SPEED
from trilemma.metrics.metric import LIKELIHOOD, MEMORISED, Metric
from trilemma.metrics.registry import metrics, quantity, ranking, variants
from trilemma.metrics.score import stand_in
from trilemma.pictures.palette import hue
from trilemma.report import details
from trilemma.report.charts import frontier, triangle, trilemma_scores
from trilemma.report.details import protocols, spent
from trilemma.report.markup import Child, Markup, element, glyph, image
from trilemma.report.page import Comparison, Entry, Picture, draw, equal_counts, pairs
from trilemma.report.tables import ARROWS, Line, TableCell, columns, lines, mark
from trilemma.report.training_curves import curves, series
from trilemma.report.viewer import HINT, Scene

__all__ = [
    "answers_section",
    "curves_section",
    "exhibits_section",
    "history_section",
    "inside_section",
    "neighbours_section",
    "samples_section",
    "scores_section",
    "table_section",
    "task_section",
]

PICTURED = "Pictures and curves are of the first seed that was measured, figures are means."
SIZE = "speed and size"
"""Over the columns of costs."""


def _name(entry: Entry) -> Markup:
    return element("span", glyph(entry.family), entry.recipe, class_="name")


def samples_section(comparison: Comparison, turned: Sequence[Scene | None]) -> Child:
    """Show samples of each recipe beside as many real examples.

    Arguments:
        comparison: What was compared.
        turned: What can be turned, by `page.scenes`.
    """
    n, (real, *samples) = equal_counts(
        comparison.real, [entry.samples for entry in comparison.entries]
    )
    pictured = [
        (e, x, scene)
        for e, x, scene in zip(comparison.entries, samples, turned[1:], strict=True)
        if x is not None
    ]
    if not pictured and real is None:
        return None
    points = comparison.domain is not None and comparison.domain.kind == "points"
    truth = real if points and isinstance(real, Tensor) else None
    figures = []
    if real is not None:
        caption = element("figcaption", element("span", "Real data", class_="name"))
        picture = _over(turned[0], image(draw(real, comparison.domain), f"{n} real examples"))
        figures.append(element("figure", picture, caption, class_="real"))
    for entry, x, scene in pictured:
        measure = quality_metric([entry.row])
        score = entry.row.score(measure)
        words = [f"{measure} {brief(score.value)}"] if score else []
        seconds = entry.row.spent(SPEED.name)
        words += [f"{duration(seconds)} each"] if seconds is not None else []
        caption = element("figcaption", _name(entry), element("br"), " · ".join(words))
        alt = f"{n} samples of {entry.recipe}"
        picture = _over(scene, image(draw(x, comparison.domain, truth, entry.family), alt))
        figures.append(element("figure", picture, caption))
    kind = getattr(comparison.domain, "kind", "image")
    what = kind if kind == "points" else f"{kind}s"
    grid = "row samples" if len(figures) > 3 else "row three few"
    note = f"Not chosen: the first {n:,} {what} of each, real data from the test split."
    if points:
        note += " Grey: real data."
    if any(row.seeds for row in comparison.rows):
        note += f" {PICTURED}"
    if any(turned):
        note += f" {HINT}"
    return [element("p", note, class_="note"), element("div", figures, class_=grid)]


def _over(scene: Scene | None, picture: Markup) -> Markup:
    return picture if scene is None else scene.over(picture)


def answers_section(rows: Sequence[Row], ranking: Ranking) -> Child:
    """Rank by quality, coverage and speed, and draw the Pareto front and the triangle."""
    if not (ranking.quality or ranking.coverage or ranking.speed):
        return None
    reach = trilemma_scores(rows)
    name, measure = coverage_metric(rows), quality_metric(rows)
    lists = (
        ("Quality", measure, "nearest to unseen data", ranking.quality, 0),
        ("Coverage", name, "most of the data reached", ranking.coverage, 1),
        ("Speed", SPEED.name, "least time for a sample", ranking.speed, 2),
    )
    cards = [
        element(
            "div",
            element("h3", title),
            element("div", f"{quantity(metric).label}: {words}", class_="small"),
            element(
                "ol", [_rank_item(p, metric, reach[p.recipe][i]) for p in standings], class_="rank"
            ),
        )
        for title, metric, words, standings, i in lists
        if standings
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
        element("figure", image(triangle(rows, row.name), ""), caption)
        for row in rows
        for caption in [element("figcaption", _name(Entry(row)))]
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


def task_section(task: Task) -> Child:
    """Rank those who were trained for one reward by what they reached, and lay figures out."""
    note = (
        "A reward is a task: these leave the data on purpose, and are compared with nothing but "
        "one another."
    )
    items = [_rank_item(p, task.measure, math.nan) for p in task.ranks]
    return [
        element("p", note, class_="note"),
        element("ol", items, class_="rank") if items else None,
        table_section(task.rows),
    ]


def _rank_item(rank: Rank, metric: str, reach: float) -> Markup:
    colour = f"width:{100 * reach:.1f}%;background:var(--{hue(rank.family).name})"
    bar = element("span", element("i", style=colour), class_="bar") if reach == reach else None
    interval, written = None, quantity(metric).written
    if rank.low != rank.high and metric != SPEED.name:
        words = f"{written(rank.low)} to {written(rank.high)}"
        interval = element("span", words, class_="small")
    return element(
        "li",
        element("span", rank.span, class_="place"),
        element("span", glyph(rank.family), rank.recipe, class_="name"),
        element("span", written(rank.value), class_="figure"),
        bar,
        interval,
    )


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


def curves_section(entries: Sequence[Entry]) -> Child:
    """Draw the learning curves of each recipe."""
    figures = [
        element(
            "figure",
            element("figcaption", _name(entry), class_="above"),
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


def neighbours_section(comparison: Comparison) -> Child:
    """Show samples above their nearest training examples."""
    figures = []
    for entry in comparison.entries:
        picture = pairs(entry, comparison.domain)
        if picture is None:
            continue
        near, novel = entry.row.score("nearest_train_ratio"), entry.row.score("novel")
        words = f" distance {brief(near.value)} times that of unseen data" if near else None
        if novel:
            kind = getattr(comparison.domain, "kind", "example")
            words = f" {novel.value:.0%} of the samples are like no training {kind}"
        caption = element("figcaption", _name(entry), words)
        alt = f"samples of {entry.recipe} above their nearest training examples"
        figures.append(element("figure", image(picture, alt), caption))
    if not figures:
        return None
    words = (
        "In each pair above a sample, below the training example nearest to it. "
        "Equal pairs are copies."
    )
    return [element("p", words, class_="note"), element("div", figures, class_=_wide(figures))]


def exhibits_section(entries: Sequence[Entry]) -> Child:
    """Show the examples that scores are owed to, and what may be concluded of copies."""
    figures = [_picture(p, entry) for entry in entries for p in entry.exhibits]
    memorisation_metrics = [
        metric
        for metric in metrics()
        if metric.section == MEMORISED and any(entry.row.score(metric.name) for entry in entries)
    ]
    notes = [
        element(
            "p",
            element("strong", metric.label),
            f": {metric.meaning} {metric.failure}",
            class_="note",
        )
        for metric in memorisation_metrics
    ]
    if not figures:
        return notes or None
    return [*notes, element("div", figures, class_="row whole")]


def inside_section(entries: Sequence[Entry]) -> Child:
    """Show what belongs to one recipe alone."""
    rendered_pictures = [(p, _picture(p, entry)) for entry in entries for p in entry.pictures]
    small = [figure for picture, figure in rendered_pictures if not picture.wide]
    large = [figure for picture, figure in rendered_pictures if picture.wide]
    parts: list[Child] = []
    if small:
        parts.append(element("div", small, class_=_wide(small)))
    if large:
        parts.append(element("div", large, class_="row whole"))
    return parts or None


def _picture(picture: Picture, entry: Entry | None = None) -> Markup:
    head = [_name(entry), " · "] if entry else []
    caption = element(
        "figcaption",
        head,
        element("span", picture.title),
        element("br") if picture.caption else None,
        picture.caption or None,
    )
    content = image(picture.image, picture.title)
    if picture.wide:
        words = {"tabindex": "0", "role": "region", "aria_label": picture.title}
        content = element("div", content, class_="scroll", **words)
    return element("figure", content, caption)


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
