"""Who is better: rankings, the triangle, the Pareto front, and tasks for a reward.

A section that has nothing to show is None, and the page leaves it out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from trilemma.comparison.ranking import Ranking, Task
from trilemma.comparison.ranks import Rank, coverage_metric, quality_metric
from trilemma.comparison.row import Row
from trilemma.metrics.cost import SPEED
from trilemma.metrics.registry import quantity
from trilemma.pictures.palette import hue
from trilemma.report.charts import frontier, triangle, trilemma_scores
from trilemma.report.markup import Child, Markup, element, glyph, image, name_of
from trilemma.report.score_sections import table_section

__all__ = ["answers_section", "task_section"]


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
    if len(rows) < 2 or not ranking.speed:
        return parts
    triangles = [
        element("figure", image(triangle(rows, row.name), ""), caption)
        for row in rows
        for caption in [element("figcaption", name_of(row.family, row.name))]
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
