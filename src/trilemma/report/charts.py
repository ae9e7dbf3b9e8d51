"""Charts as SVG text: transparent, ink in `currentColor`, so that they suit light and dark pages.

Every chart names what it shows beside the mark, not in a legend far away, and uses the colour
and the marker of its family (palette.py). Nothing is written to disk, and nothing touches
matplotlib's global state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from trilemma.comparison.ranking import rank
from trilemma.comparison.ranks import baselines, coverage_metric, floor, quality_metric
from trilemma.comparison.row import Row
from trilemma.core.words import brief, duration
from trilemma.pictures.canvas import (
    INK,
    TEXT,
    Box,
    along,
    labels,
    make_axes,
    short,
    ticks,
    write,
)
from trilemma.pictures.palette import hue

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "NARROW",
    "mark_size",
    "triangle",
    "trilemma",
    "trilemma_scores",
]

WIDE, NARROW = 670, 345
"""Breadth of the large picture on a page, and on a phone, pixels."""
LARGEST_MARK = 28.0
"""Breadth in pixels of a mark that stands for all of the data."""
SLOW, FAST = 10.0, 1e-5
"""Seconds a sample at the centre and at the tip of the triangle."""


def trilemma(rows: Sequence[Row], width: float = WIDE) -> str:
    """Draw quality, coverage and speed in one picture: height, area of the mark, and breadth.

    Up is nearer to real data by the measure that ranks, right is less time for a sample, both on
    log axes, and the area of a mark is the share of the data that is reached, of what real data
    reach; where coverage was not measured the mark is open. An unbiased measure may be zero or
    less for a good model: then its axis is linear about zero, as far as the least of the positive
    ones. The line joins the recipes that no other beats in quality and speed; what real data and
    the best trivial baseline score stand as horizontals. What was not ranked is not drawn.

    Arguments:
        rows: What is compared.
        width: Pixels.

    Returns:
        The chart; '' where none has both quality and speed.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    ranking, measure = rank(rows), quality_metric(rows)
    seconds = {p.recipe: p.value for p in ranking.speed}
    plotted_recipes = [p for p in ranking.quality if seconds.get(p.recipe, 0) > 0]
    if not plotted_recipes:
        return ""
    is_narrow = width < WIDE
    figure, axes = make_axes(width, (1.15 if is_narrow else 0.62) * width)
    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("time for one sample: right is faster")
    axes.set_ylabel(f"{measure}: up is nearer to real data")
    marks = {"real data": floor(rows, measure)}
    baseline_scores = baselines(rows, measure)
    if baseline_scores:
        name = min(baseline_scores, key=lambda k: baseline_scores[k])
        marks[name] = baseline_scores[name]
    heights = [p.value for p in plotted_recipes] + [v for v in marks.values() if v is not None]
    xs = [seconds[p.recipe] for p in plotted_recipes]
    axes.set_xlim(max(xs) * (6 if is_narrow else 4), min(xs) / (12 if is_narrow else 8))
    _scale_heights(axes, heights)
    axes.xaxis.set_major_locator(LogLocator(numticks=5 if is_narrow else 7))
    axes.xaxis.set_major_formatter(lambda value, _: duration(value))
    ticks(axes)
    axes.invert_yaxis()
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # places are final: names are laid out in pixels
    boxes: list[Box] = []
    for name, value in marks.items():
        if value is not None:
            axes.axhline(value, color=INK, alpha=0.45, lw=0.9, dashes=(4, 3))
            boxes.append(_level(axes, f"{name}, {brief(value)}", value))
    best = [p for name in ranking.frontier for p in plotted_recipes if p.recipe == name]
    axes.plot(
        [seconds[p.recipe] for p in best],
        [p.value for p in best],
        color=INK,
        alpha=0.35,
        lw=1.2,
        zorder=1,
    )
    boxes += along(axes, [(seconds[p.recipe], p.value) for p in best])
    names = []
    shares = trilemma_scores(rows)
    for p in plotted_recipes:
        colour, share = hue(p.family), shares[p.recipe][1]
        point = (seconds[p.recipe], p.value)
        ends = [max(p.low, min(axes.get_ylim())), p.high]
        axes.plot([point[0]] * 2, ends, color=colour.light, lw=1.6, alpha=0.45)
        is_measured = not math.isnan(share)
        axes.plot(
            *point,
            marker=colour.marker,
            ms=mark_size(share if is_measured else 0.25),
            mfc=colour.light if is_measured else "none",
            mec=colour.light,
            mew=0 if is_measured else 1.4,
            ls="none",
        )
        names.append((short(p.recipe), point, colour.light))
        radius = mark_size(share if is_measured else 0.25) / 2
        x, y = axes.transData.transform(point)
        boxes.append((x - radius, y - radius, x + radius, y + radius))
    labels(axes, names, boxes)
    return write(figure, "quality, coverage and speed of all recipes")


def mark_size(share: float) -> float:
    """Return the breadth in pixels of a mark whose area stands for a share of the data.

    >>> mark_size(1.0), mark_size(0.25)
    (28.0, 14.0)
    """
    return LARGEST_MARK * math.sqrt(max(share, 0.02))


def _scale_heights(axes: Axes, heights: Sequence[float]) -> None:
    """Choose the scale of a measure: logarithmic, or beside it linear about zero."""
    positive = [height for height in heights if height > 0]
    most = max(positive, default=1.0)
    if len(positive) == len(heights):
        axes.set_yscale("log")
        axes.set_ylim(min(positive) / 1.7, most * 1.9)
        return
    least = max(min(positive, default=1.0), most / 1000)
    axes.set_yscale("symlog", linthresh=least, linscale=0.6)
    axes.set_ylim(min(*heights, -0.5 * least) * 1.5, most * 1.9)


def _level(axes: Axes, text: str, value: float) -> Box:
    """Write what a horizontal line is at its slow end, above it; returns where it stands."""
    axes.annotate(
        text,
        (0, value),
        (4, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="left",
        color=INK,
        alpha=0.75,
        fontsize=TEXT,
        parse_math=False,
    )
    left_edge = axes.get_window_extent().x0 + 4
    low = float(axes.transData.transform((axes.get_xlim()[0], value))[1]) + 2
    return (left_edge, low, left_edge + 6.6 * len(text), low + 14)


def trilemma_scores(rows: Sequence[Row]) -> dict[str, tuple[float, float, float]]:
    """Return each recipe's place on the triangle's three axes, 0 at the centre and 1 at the tip.

    quality   log fd (of graphs, log mmd), from the worst trivial baseline (0) to real data (1)
    coverage  coverage or recall, from 0 to what real data reach
    speed     log seconds a sample, from 10 s (0) to 10 µs (1)

    A score that is missing is nan.
    """
    ranking, measure = rank(rows), quality_metric(rows)
    baseline_scores, real_floor = baselines(rows, measure), floor(rows, measure)
    values = [p.value for p in ranking.quality if p.value > 0]
    worst = max(list(baseline_scores.values()) or [2 * v for v in values], default=math.nan)
    best = real_floor if real_floor and real_floor > 0 else min(values, default=math.nan)
    most = floor(rows, coverage_metric(rows)) or 1.0

    def part(value: float, bottom: float, top: float) -> float:
        return min(max((value - bottom) / (top - bottom), 0.0), 1.0) if top != bottom else 1.0

    def log(value: float) -> float:
        return math.log(value) if value > 0 else math.nan

    scores = {}
    for row in rows:
        name = row.name
        q, c, s = (ranking.rank_of(which, name) for which in ("quality", "coverage", "speed"))
        scores[name] = (
            part(log(max(q.value, best)), log(worst), log(best))
            if q and worst > best
            else math.nan,
            part(c.value, 0.0, most) if c else math.nan,
            part(log(s.value), log(SLOW), log(FAST)) if s else math.nan,
        )
    return scores


def triangle(rows: Sequence[Row], highlighted: str) -> str:
    """Draw what one recipe reaches of quality, coverage and speed, before all others.

    A corner that was not measured, or not ranked, has no mark and no side: nothing is made up.

    Arguments:
        rows: All that is compared; they share the scales.
        highlighted: The recipe drawn in colour, the others faint behind it.

    Returns:
        The chart; '' where the recipe has none of the three.
    """
    scores = trilemma_scores(rows)
    if all(math.isnan(value) for value in scores[highlighted]):
        return ""
    families = {row.name: row.family for row in rows}
    figure, axes = make_axes(300, 250)
    figure.set_layout_engine("none")
    axes.set_position((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(-1.3, 1.3)
    axes.set_ylim(-0.83, 1.33)
    corners = np.array([(math.cos(a), math.sin(a)) for a in np.radians([90, 210, 330])])
    for radius in (0.25, 0.5, 0.75, 1.0):
        ring = np.vstack([corners, corners[:1]]) * radius
        axes.plot(*ring.T, color=INK, alpha=0.5 if radius == 1 else 0.16, lw=0.9)
    for corner in corners:
        axes.plot([0, corner[0]], [0, corner[1]], color=INK, alpha=0.16, lw=0.9)
    for name, corner, va in zip(
        ("quality", "coverage", "speed"), corners, ("bottom", "top", "top"), strict=True
    ):
        x = corner[0] * (0.93 if va == "top" else 1)
        y = corner[1] * 1.08
        axes.text(x, y, name, ha="center", va=va, fontsize=TEXT, color=INK, alpha=0.85)
    for name in sorted(scores, key=lambda name: name == highlighted):
        is_own = name == highlighted
        tint = hue(families[name]).light if is_own else INK
        _outline(axes, corners * np.array(scores[name])[:, None], tint, is_own)
    own_corners = corners * np.array(scores[highlighted])[:, None]
    colour = hue(families[highlighted])
    axes.plot(*own_corners.T, marker=colour.marker, ls="none", ms=8, color=colour.light, mew=0)
    return write(figure, f"quality, coverage and speed of {highlighted}")


def _outline(axes: Axes, shape: np.ndarray, tint: str, is_own: bool) -> None:
    """Draw the sides between the corners that there are; filled where all three are."""
    alpha, width = (1.0, 2.0) if is_own else (0.2, 0.9)
    if is_own and not np.isnan(shape).any():
        axes.fill(*shape.T, facecolor=tint, edgecolor="none", alpha=0.3)
    for start, end in ((0, 1), (1, 2), (2, 0)):
        side = shape[[start, end]]
        if not np.isnan(side).any():
            axes.plot(*side.T, color=tint, alpha=alpha, lw=width)
