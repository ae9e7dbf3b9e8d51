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
    "frontier",
    "triangle",
    "trilemma_scores",
]

SLOW, FAST = 10.0, 1e-5
"""Seconds a sample at the centre and at the tip of the triangle."""


def frontier(rows: Sequence[Row]) -> str:
    """Draw quality against speed: the ranking measure over seconds a sample, both on log axes.

    An unbiased measure may be zero or less for a good model: then its axis is linear about zero,
    as far as the least of the positive ones. The line joins the recipes that no other beats in
    both; what real data and the best trivial baseline score stand as horizontals. Lower left is
    better.
    """
    from matplotlib.ticker import NullFormatter

    ranking, measure = rank(rows), quality_metric(rows)
    seconds = {p.recipe: p.value for p in ranking.speed}
    plotted_recipes = [p for p in ranking.quality if seconds.get(p.recipe, 0) > 0]
    figure, axes = make_axes(430, 370)
    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("time for one sample")
    axes.set_ylabel(measure)
    marks = {"real data": floor(rows, measure)}
    baseline_scores = baselines(rows, measure)
    if baseline_scores:
        name = min(baseline_scores, key=lambda k: baseline_scores[k])
        marks[name] = baseline_scores[name]
    heights = [p.value for p in plotted_recipes] + [v for v in marks.values() if v is not None]
    if not plotted_recipes:
        axes.set_yscale("log")
        axes.set_xlim(1e-5, 1)
        axes.set_ylim(1, 1000)
        return write(figure, "quality against speed")
    xs = [seconds[p.recipe] for p in plotted_recipes]
    axes.set_xlim(min(xs) / 4, max(xs) * 8)
    _scale_heights(axes, heights)
    axes.xaxis.set_major_formatter(lambda value, _: duration(value))
    ticks(axes)
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
    for p in plotted_recipes:
        colour = hue(p.family)
        point = (seconds[p.recipe], p.value)
        ends = [max(p.low, axes.get_ylim()[0]), p.high]
        axes.plot([point[0]] * 2, ends, color=colour.light, lw=2, alpha=0.5)
        axes.plot(*point, marker=colour.marker, ms=9, color=colour.light, ls="none", mew=0)
        names.append((short(p.recipe), point, colour.light))
    labels(axes, names, boxes)
    return write(figure, "quality against speed")


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
    """Write what a horizontal line is at its right end, above it; returns where it stands."""
    axes.annotate(
        text,
        (1, value),
        (-2, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        color=INK,
        alpha=0.75,
        fontsize=10,
        parse_math=False,
    )
    right, low = axes.get_window_extent().x1 - 2, axes.transData.transform((1.0, value))[1] + 2
    return (right - 5.6 * len(text), float(low), right, float(low) + 12)


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


def triangle(rows: Sequence[Row], highlighted: str | None = None) -> str:
    """Draw the trilemma: quality, coverage and speed as the three corners of a triangle.

    Arguments:
        rows: All that is compared; they share the scales.
        highlighted: The recipe drawn in colour, the others faint behind it; None draws all in
            colour.
    """
    scores = trilemma_scores(rows)
    families = {row.name: row.family for row in rows}
    figure, axes = make_axes(*((220, 180) if highlighted is not None else (400, 327)))
    figure.set_layout_engine("none")
    axes.set_position((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(-1.22, 1.22)
    axes.set_ylim(-0.75, 1.25)
    corners = np.array([(math.cos(a), math.sin(a)) for a in np.radians([90, 210, 330])])
    for radius in (0.25, 0.5, 0.75, 1.0):
        ring = np.vstack([corners, corners[:1]]) * radius
        axes.plot(*ring.T, color=INK, alpha=0.5 if radius == 1 else 0.16, lw=0.9)
    for corner in corners:
        axes.plot([0, corner[0]], [0, corner[1]], color=INK, alpha=0.16, lw=0.9)
    font_size = 12
    for name, corner, ha, va in zip(
        ("quality", "coverage", "speed"),
        corners,
        ("center",) * 3,
        ("bottom", "top", "top"),
        strict=True,
    ):
        x = corner[0] * (0.93 if va == "top" else 1)
        axes.text(
            x, corner[1] * 1.08, name, ha=ha, va=va, fontsize=font_size, color=INK, alpha=0.85
        )
    order = sorted(scores, key=lambda name: name == highlighted)
    for name in order:
        radius = np.nan_to_num(np.array(scores[name]), nan=0.0)
        shape = corners * radius[:, None]
        colour = hue(families[name])
        if highlighted is not None and name != highlighted:
            axes.fill(*shape.T, fill=False, edgecolor=INK, alpha=0.2, lw=0.9)
            continue
        strength = 0.3 if highlighted is not None else 0.1
        axes.fill(*shape.T, facecolor=colour.light, edgecolor="none", alpha=strength)
        axes.fill(*shape.T, fill=False, edgecolor=colour.light, lw=2)
        valid_corners = shape[~np.isnan(scores[name])]
        axes.plot(
            *valid_corners.T, marker=colour.marker, ls="none", ms=6, color=colour.light, mew=0
        )
    return write(figure, f"quality, coverage and speed of {highlighted or 'all recipes'}")
