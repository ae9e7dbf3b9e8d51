"""Who is better: the trilemma in one picture, rankings, priorities, and tasks for a reward.

A section that has nothing to show is None, and the page leaves it out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from trilemma.comparison.priorities import AXES, STEPS, priorities
from trilemma.comparison.ranking import Ranking, Task
from trilemma.comparison.ranks import Rank, coverage_metric, quality_metric
from trilemma.comparison.row import Row
from trilemma.metrics.cost import SPEED
from trilemma.metrics.registry import quantity
from trilemma.pictures.palette import hue
from trilemma.report.charts import NARROW, mark_size, trilemma, trilemma_scores
from trilemma.report.markup import CONTROL, Child, Markup, element, glyph, image
from trilemma.report.score_sections import is_below_floor, table_section

__all__ = ["answers_section", "priorities_panel", "task_section", "trilemma_figure"]


def answers_section(rows: Sequence[Row], ranking: Ranking) -> Child:
    """Rank by quality, coverage and speed."""
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
                "ol",
                [
                    _rank_item(p, metric, reach[p.recipe][i], _floor_words(rows, p, metric))
                    for p in standings
                ],
                class_="rank",
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
    return parts


def trilemma_figure(rows: Sequence[Row]) -> Child:
    """Draw the trilemma, and say in two sentences what it is."""
    if len(rows) < 2:
        return None
    wide = trilemma(rows)
    if not wide:
        return None
    sizes = [
        (element("span", class_="disc", style=f"width:{d:.0f}px;height:{d:.0f}px"), f"{share:.0%}")
        for share in (0.25, 0.5, 1.0)
        for d in (mark_size(share),)
    ]
    words = (
        "A model can be good at three things, and most give one up: samples like real data "
        "(high), little time for a sample (right), and much of the data reached (a large mark). "
        "No other beats those on the line in both quality and speed; strokes are intervals."
    )
    return element(
        "figure",
        element("div", image(wide, ""), class_="on-wide"),
        element("div", image(trilemma(rows, NARROW), ""), class_="on-narrow"),
        element("figcaption", words, " ", element("span", "Reached: ", sizes, class_="discs")),
    )


def priorities_panel(rows: Sequence[Row]) -> Child:
    """Put the answers to a reader's own priorities into the page, for its script to look up.

    Arguments:
        rows: All that are compared.
    """
    worked_out = priorities(rows)
    if len(worked_out.available) < 2:
        return None
    plain = json.dumps(
        {
            "axes": AXES,
            "available": worked_out.available,
            "steps": STEPS,
            "grid": worked_out.grid,
            "answers": [CONTROL.sub("\ufffd", answer.words) for answer in worked_out.answers],
        },
        ensure_ascii=False,
    )
    plain = CONTROL.sub("\ufffd", plain).replace("<", "\\u003c")
    return element(
        "div",
        element("script", Markup(plain), type="application/json"),
        class_="interactive priorities",
    )


def task_section(task: Task) -> Child:
    """Rank those who were trained for one reward by what they reached, and lay figures out."""
    note = (
        "A reward is a task: these leave the data on purpose, and are compared with nothing but "
        "one another."
    )
    items = [_rank_item(p, task.measure, math.nan, "") for p in task.ranks]
    return [
        element("p", note, class_="note"),
        element("ol", items, class_="rank") if items else None,
        table_section(task.rows),
    ]


def _floor_words(rows: Sequence[Row], rank: Rank, metric: str) -> str:
    """Say where a score is less than what real data have."""
    score = next((row.score(metric) for row in rows if row.name == rank.recipe), None)
    if score is None or not is_below_floor(score, metric):
        return ""
    real = quantity(metric).written(score.floor)
    return f"below real data’s {real}: this measure cannot tell it from them"


def _rank_item(rank: Rank, metric: str, reach: float, remark: str) -> Markup:
    colour = f"width:{100 * reach:.1f}%;background:var(--{hue(rank.family).name})"
    bar = element("span", element("i", style=colour), class_="bar") if reach == reach else None
    interval, written = None, quantity(metric).written
    if rank.low != rank.high and metric != SPEED.name:
        words = f"{written(rank.low)} to {written(rank.high)}"
        interval = element("span", words, class_="small")
    return element(
        "li",
        element("span", rank.span, class_="place"),
        element("span", glyph(rank.family), element("bdi", rank.recipe), class_="name"),
        element("span", written(rank.value), class_="figure"),
        bar,
        interval,
        element("span", remark, class_="small") if remark else None,
    )
