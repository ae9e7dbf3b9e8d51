"""Charts as SVG text: transparent, ink in `currentColor`, so that they suit light and dark pages.

Every chart names what it shows beside the mark, not in a legend far away, and uses the colour
and the marker of its family (palette.py). Nothing is written to disk, and nothing touches
matplotlib's global state.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from trilemma.comparison.ranking import rank
from trilemma.comparison.ranks import baselines, coverage_metric, floor, quality_metric
from trilemma.comparison.row import Row
from trilemma.core.words import brief, duration
from trilemma.report.canvas import (
    DASHES,
    INK,
    Box,
    along,
    end_labels,
    labels,
    make_axes,
    short,
    ticks,
    write,
)
from trilemma.report.palette import CLASSES, hue

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "bound_terms",
    "frontier",
    "latent_map",
    "lines",
    "triangle",
    "trilemma_scores",
]

SLOW, FAST = 10.0, 1e-5
"""Seconds a sample at the centre and at the tip of the triangle."""
BINS = 60
"""Of a bound over the log-SNR at most."""


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


def latent_map(codes: Tensor, labels: Tensor | None = None, classes: Sequence[str] = ()) -> str:
    """Draw codes of the plane, coloured by class, each class named at its middle.

    Arguments:
        codes: [N, 2]; of more coordinates the first two are drawn.
        labels: [N], class of each.
        classes: Names of the classes.
    """
    z = codes.detach().cpu().float().numpy()[:, :2]
    figure, axes = make_axes(400, 400)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel("$z_1$")
    axes.set_ylabel("$z_2$")
    kinds = np.zeros(len(z), int) if labels is None else labels.cpu().numpy().astype(int)
    colours = [CLASSES[k % len(CLASSES)] for k in kinds]
    size = max(3.0, min(20.0, 9000 / max(len(z), 1)))
    axes.scatter(*z.T, s=size, c=colours, linewidths=0, alpha=0.75, rasterized=True)
    if labels is not None:
        for k in np.unique(kinds):
            middle = np.median(z[kinds == k], 0)
            name = str(classes[int(k)]) if k < len(classes) else str(k)
            axes.text(
                *middle,
                short(name),
                ha="center",
                va="center",
                fontsize=12,
                weight="bold",
                color=INK,
                parse_math=False,
            )
    return write(figure, "map of the codes")


def bound_terms(
    terms: Sequence[float],
    family: str = "diffusion",
    unit: str = "bits / dim",
    *,
    log_snr: Sequence[float] | None = None,
) -> str:
    """Draw the variational bound term by term, from L_0 at the left to L_T of the prior.

    Where it is known at which noise the terms look, those between are drawn over it as a density,
    so that areas are bits; else one beside the other.

    Arguments:
        terms: [T + 1]: L_0, …, L_{T-1}, L_T.
        family: Whose colour it takes.
        unit: Of the terms.
        log_snr: [T], falling: of x_1, …, x_T. Term L_{t-1} lies between those of x_{t-1} and x_t.
    """
    y = np.asarray([float(v) for v in terms])
    figure, axes = make_axes(460, 270)
    log_snr_values = None if log_snr is None else np.asarray([float(v) for v in log_snr])
    if log_snr_values is not None and (len(log_snr_values) != len(y) - 1 or len(y) < 3):
        log_snr_values = None
    if log_snr_values is None:
        edges, heights = np.arange(len(y) + 1) - 0.5, y
        axes.set_xlabel("t")
        axes.set_ylabel(unit)
    else:
        edges, heights = _density(y[1:-1], log_snr_values)
        axes.set_xlabel("log-SNR: from data at the left to noise at the right")
        axes.set_ylabel(f"{unit} / unit of log-SNR")
    axes.stairs(np.maximum(heights, 0), edges, fill=True, color=hue(family).light, lw=0)
    positive = heights[heights > 0]
    if log_snr_values is None and len(positive) and positive.max() / positive.min() > 50:
        axes.set_yscale("log")
        axes.set_ylim(positive.min() / 1.5, positive.max() * 1.5)
    axes.margins(x=0.02)
    if log_snr_values is not None:
        axes.invert_xaxis()
    ticks(axes)
    axes.set_title(_summed(y, unit), loc="left", fontsize=11, color=INK, alpha=0.85)
    return write(figure, "terms of the variational bound")


def _density(between: np.ndarray, log_snr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return edges, rising, and the terms between them for each unit of log-SNR, in few bins."""
    cuts = np.unique(np.linspace(0, len(between), min(BINS, len(between)) + 1).astype(int))
    sums = np.add.reduceat(between, cuts[:-1])
    edges = log_snr[cuts]
    return edges[::-1], (sums / np.maximum(edges[:-1] - edges[1:], 1e-12))[::-1]


def _summed(terms: np.ndarray, unit: str) -> str:
    """Write how a bound adds up.

    >>> _summed(np.array([1.0, 0.5, 0.25, 0.0]), "bits / dim")
    'L₀ 1  +  L₁ … L₂ 0.75  +  L₃ 0  =  1.75 bits / dim'
    """
    total = brief(float(terms.sum()))
    if len(terms) < 3:
        return f"sum {total} {unit}"
    last = len(terms) - 1
    between = _below(1) if last == 2 else f"{_below(1)} … L{_below(last - 1)}"
    parts = (
        f"L₀ {brief(float(terms[0]))}",
        f"L{between} {brief(float(terms[1:-1].sum()))}",
        f"L{_below(last)} {brief(float(terms[-1]))}",
    )
    return f"{'  +  '.join(parts)}  =  {total} {unit}"


def _below(number: int) -> str:
    """Write a number as an index."""
    return str(number).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def lines(
    x: Sequence[float],
    ys: Mapping[str, Sequence[float]],
    across: str = "",
    up: str = "",
    log: bool = False,
) -> str:
    """Draw functions of one variable: losses against the critic's score, a schedule over time.

    Arguments:
        x: [N].
        ys: [N] for each name; the name stands at the line's end, and lines that are the same are
            one with all their names.
        across: Label of x.
        up: Label of y.
        log: Whether y is on a log axis.
    """
    figure, axes = make_axes(460, 300)
    if log:
        axes.set_yscale("log")
    ends, colours = [], {}
    for i, (name, y) in enumerate(_merged(ys).items()):
        colours[name] = CLASSES[i % len(CLASSES)]
        dash = DASHES[(i // len(CLASSES) + i) % len(DASHES)]
        axes.plot(x, y, color=colours[name], lw=1.8, ls=dash)
        ends.append((float(x[-1]), float(y[-1]), name))
    if not log:
        _frame(axes, ys)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    end_labels(figure, axes, ends, colours)
    return write(figure, up or "chart")


def _merged(ys: Mapping[str, Sequence[float]]) -> dict[str, Sequence[float]]:
    """Give lines that are the same one name together.

    >>> list(_merged({"a": [0.0, 1.0], "b": [0.0, 2.0], "c": [0.0, 1.0]}))
    ['a = c', 'b']
    """
    merged_lines: list[tuple[str, Sequence[float]]] = []
    for name, y in ys.items():
        for i, (label, values) in enumerate(merged_lines):
            if len(y) == len(values) and np.allclose(y, values, 1e-5, 1e-5, equal_nan=True):
                merged_lines[i] = (f"{label} = {name}", values)
                break
        else:
            merged_lines.append((name, y))
    return dict(merged_lines)


def _frame(axes: Axes, ys: Mapping[str, Sequence[float]]) -> None:
    """Let one line that shoots up leave the frame, where it would press the others flat."""
    ends = [(min(finite), max(finite)) for y in ys.values() if (finite := _finite(y))]
    if len(ends) < 3:
        return
    low, high = sorted(end[0] for end in ends), sorted(end[1] for end in ends)
    typical_range = high[len(high) // 2] - low[len(low) // 2]
    if typical_range > 0 and high[-1] - low[0] > 3 * typical_range:
        axes.set_ylim(
            max(low[0], low[len(low) // 2] - typical_range) - 0.05 * typical_range,
            min(high[-1], high[len(high) // 2] + typical_range) + 0.05 * typical_range,
        )


def _finite(y: Sequence[float]) -> list[float]:
    return [value for value in y if math.isfinite(value)]
