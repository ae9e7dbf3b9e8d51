"""Charts of a training, from the events of a run: learning curves, the health of a game, classes.

SVG text in the dress of `charts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from trilemma.core.event import Event
from trilemma.core.words import brief
from trilemma.pictures.canvas import DASHES, INK, TEXT, end_labels, make_axes, short, ticks, write
from trilemma.pictures.charts import lines
from trilemma.pictures.palette import hue

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["critic", "curves", "health", "heat", "quality", "series"]

Curve: TypeAlias = "tuple[np.ndarray, np.ndarray]"
"""Steps, and the values there."""
WARNING = "#c01d3a"
"""Colour of an alert."""


def series(events: Sequence[Event]) -> dict[str, Curve]:
    """Read learning curves from events: (steps, values) of each term, by 'objective term'.

    A step's values are numbers named 'objective/term'; gradients' norms and other events are
    passed over. Where there are several stages, their names go before.

    >>> series([Event("step", 1, "", {"critic/loss": 2.0})])["critic loss"][1].tolist()
    [2.0]
    """
    term_curves = _series(events)
    return {f"{o} {t.replace('_', ' ')}": c for (o, t), c in term_curves.items() if t != "norm"}


def _series(events: Sequence[Event], terms: Sequence[str] = ()) -> dict[tuple[str, str], Curve]:
    """Read (steps, values) by (objective, term), of all terms or of these."""
    points: dict[tuple[str, str], list[tuple[float, float]]] = {}
    has_stages = len({event.stage for event in events if event.stage}) > 1
    for event in events:
        if event.kind != "step":
            continue
        stage = f"{event.stage}·".lstrip("·") if has_stages else ""
        for key, value in event.values.items():
            objective, _, term = key.partition("/")
            if term and (not terms or term in terms) and isinstance(value, int | float):
                pairs = points.setdefault((f"{stage}{objective}", term), [])
                pairs.append((float(event.step), float(value)))
    return {name: tuple(np.array(pairs).T) for name, pairs in points.items()}


def curves(events: Sequence[Event], family: str = "") -> str:
    """Draw the terms of the loss over the steps, smoothed, with what was measured behind.

    Terms share axes where they belong to one objective; an axis is logarithmic where all its
    values are above 0 and spread over more than a factor of 20. What `health` draws of a game is
    left to it.

    Arguments:
        events: Events of a run, see `series`.
        family: Whose colour it takes.
    """
    groups: dict[str, dict[str, Curve]] = {}
    health_terms = (
        {t for panel in HEALTH for t in panel.terms} if _critic(_series(events)) else set()
    )
    for name, curve in series(events).items():
        objective, _, term = name.partition(" ")
        if term in health_terms:
            continue
        terms = groups.setdefault(objective, {})
        if not any(
            np.array_equal(curve[1], existing_curve[1], equal_nan=True)
            for existing_curve in terms.values()
        ):
            terms[term] = curve
    panels = len(groups) or 1
    figure, panel = make_axes(430, 150 * panels + 40, rows=panels)
    panel = panel if panels > 1 else [panel]
    colour = hue(family).light
    all_ends = []
    for axes, (objective, terms) in zip(panel, groups.items(), strict=False):
        axes.set_title(
            objective, loc="left", fontsize=TEXT, color=INK, alpha=0.85, parse_math=False
        )
        values = np.concatenate([y for _, y in terms.values()])
        values = values[np.isfinite(values)]
        if len(values) and values.min() > 0 and values.max() / values.min() > 20:
            axes.set_yscale("log")
        ends = []
        for i, (term, (x, y)) in enumerate(terms.items()):
            smooth = _smooth(y)
            axes.plot(x, y, color=colour, alpha=0.18, lw=0.8)
            axes.plot(x, smooth, color=colour, ls=DASHES[i % len(DASHES)], lw=1.7)
            ends.append((float(x[-1]), float(smooth[-1]), term))
        _robust(axes, values)
        all_ends.append((axes, ends))
        axes.margins(x=0.01)
        ticks(axes)
    panel[-1].set_xlabel("step")
    end_labels(figure, all_ends)
    return write(figure, "learning curves")


@dataclass(frozen=True)
class _Panel:
    """What of a game's health stands on one pair of axes."""

    title: str
    terms: Mapping[str, str]
    """Terms of the objectives, and how each is named; '' for the name of the objective."""
    is_log: bool = False
    right: float | None = None
    """The value that is right, if one is."""


HEALTH = (
    _Panel("score of the critic", {"real": "data", "fake": "fakes"}),
    _Panel("gradient norm", {"norm": ""}, is_log=True),
    _Panel("variance of fakes / of data", {"variance": "fakes"}, is_log=True, right=1.0),
)


def health(events: Sequence[Event], family: str = "") -> str:
    """Draw what tells whether a game goes well: scores, gradient norms, spread; and its alerts.

    There is a game where two objectives told the norms of their gradients, and one of them its
    scores on real and on fake examples; otherwise the answer is empty.

    Arguments:
        events: Events of a run; those of kind 'alert' are marked where they came.
        family: Whose colour the generator and its fakes take; data and the critic are dashed.
    """
    term_curves = _series(events, ("real", "fake", "norm", "variance"))
    critic = _critic(term_curves)
    if critic is None:
        return ""
    alerts = [(e.step, str(e.values.get("trouble", ""))) for e in events if e.kind == "alert"]
    chosen = [(panel, _of_panel(panel, term_curves, critic)) for panel in HEALTH]
    chosen = [(panel, panel_curves) for panel, panel_curves in chosen if panel_curves]
    figure, rows = make_axes(430, 125 * len(chosen) + 40, rows=len(chosen))
    ends = [
        (axes, _health_panel(axes, panel, panel_curves, alerts, hue(family).light))
        for axes, (panel, panel_curves) in zip(np.atleast_1d(rows), chosen, strict=True)
    ]
    np.atleast_1d(rows)[-1].set_xlabel("step")
    end_labels(figure, ends)
    return write(figure, "health of the game")


def _critic(curves: Mapping[tuple[str, str], Curve]) -> str | None:
    """Return the objective that scores real and fake examples against another's, if one does."""
    critics = [o for o, term in curves if term == "real" and (o, "fake") in curves]
    norms = [o for o, term in curves if term == "norm"]
    return critics[0] if critics and len(norms) > 1 else None


def _of_panel(
    panel: _Panel, curves: Mapping[tuple[str, str], Curve], critic: str
) -> list[tuple[str, Curve]]:
    """Return a panel's curves by name; scores are those that the critic told."""
    return [
        (panel.terms[term] or objective, curve)
        for (objective, term), curve in curves.items()
        if term in panel.terms and (term not in ("real", "fake") or objective == critic)
    ]


def _health_panel(
    axes: Axes,
    panel: _Panel,
    curves: Sequence[tuple[str, Curve]],
    alerts: Sequence[tuple[float, str]],
    colour: str,
) -> list[tuple[float, float, str]]:
    """Draw curves, smoothed, and a line where each alert came; return the curves' ends."""
    axes.set_title(panel.title, loc="left", fontsize=TEXT, color=INK, alpha=0.85)
    values = np.concatenate([y for _, (_, y) in curves])
    values = values[np.isfinite(values) & ((values > 0) | (not panel.is_log))]
    if panel.is_log and len(values):
        axes.set_yscale("log")
    if panel.right is not None:
        axes.axhline(panel.right, color=INK, alpha=0.4, lw=0.9, dashes=(4, 3))
    ends = []
    for i, (name, (x, y)) in enumerate(curves):
        is_fake, smooth = i == len(curves) - 1, _smooth(y)
        tint, dash = (colour, DASHES[0]) if is_fake else (INK, DASHES[1])
        axes.plot(x, y, color=tint, alpha=0.18, lw=0.8)
        axes.plot(x, smooth, color=tint, ls=dash, lw=1.6)
        ends.append((float(x[-1]), float(smooth[-1]), name))
    for step, kind in alerts:
        axes.axvline(step, color=WARNING, lw=1.2)
        axes.annotate(
            kind,
            (step, 1),
            (3, -1),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            va="top",
            color=WARNING,
            fontsize=TEXT,
            parse_math=False,
        )
    _robust(axes, values)
    axes.margins(x=0.01)
    ticks(axes)
    return ends


def quality(events: Sequence[Event], family: str = "") -> tuple[str, str]:
    """Draw fd as training goes on, from the events of previews that measured it.

    Returns:
        The chart and what to say beside it; both empty where fewer than two previews did.
    """
    previews = [e for e in events if e.kind == "preview"]
    fd_points = [(e.step, fd) for e in previews if (fd := e.number("fd")) is not None]
    if len(fd_points) < 2:
        return "", ""
    steps, values = [step for step, _ in fd_points], [fd for _, fd in fd_points]
    last = next(e for e in reversed(previews) if e.number("fd") is not None)
    real = last.number("fd_floor")
    floor = real if real and real > 0 else None
    figure, axes = make_axes(460, 300)
    marks = values if floor is None else [*values, floor]
    if min(marks) > 0 and max(marks) / min(marks) > 5:
        axes.set_yscale("log")
    if min(steps) > 0 and max(steps) / min(steps) > 50:
        axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    colour = hue(family)
    axes.plot(steps, values, color=colour.light, lw=1.8, marker=colour.marker, ms=5, mew=0)
    ends = [(float(steps[-1]), values[-1], brief(values[-1]))]
    if floor is not None:
        axes.axhline(floor, color=INK, alpha=0.45, lw=0.9, dashes=(4, 3))
        ends.append((float(steps[-1]), floor, f"real data, {brief(floor)}"))
    axes.set_xlabel("step")
    count = last.values.get("fd_n", last.values.get("samples"))
    axes.set_ylabel(f"fd, n = {count:,}" if isinstance(count, int) else "fd")
    ticks(axes)
    end_labels(figure, [(axes, ends)])
    by = f" in the features of {last.values['fd_by']}" if last.values.get("fd_by") else ""
    of = f" of {count:,} samples" if isinstance(count, int) else ""
    caption = (
        f"Fréchet distance{of} of the averaged weights to test examples{by}, seen on the way. Few "
        "samples give a larger fd than many: compare it with itself, and with the dashed line, as "
        "many training examples measured alike; the table's own fd is by another count."
    )
    return write(figure, "fd as training goes on"), caption


def critic(events: Sequence[Event]) -> tuple[str, str]:
    """Draw how real a critic finds examples that it has seen, that it has not, and samples.

    Returns:
        The chart and what to say beside it; both empty where fewer than two previews told it.
    """
    previews = [e for e in events if e.kind == "preview" and e.number("score_test") is not None]
    if len(previews) < 2:
        return "", ""
    names = {"training": "score_train", "test": "score_test", "samples": "score_samples"}
    scores = {name: [e.number(key) or 0.0 for e in previews] for name, key in names.items()}
    r = previews[-1].number("overfitting")
    end = "at the end training examples and samples differ by no more than chance"
    if r is not None:
        end = f"at the end r = {r:.2f}, where 0 is right and 1 is all by heart"
    caption = (
        "Mean score by the critic (averaged weights). Test examples are unseen: where their line "
        "leaves that of the training examples for that of the samples, the critic overfits; "
        f"{end}."
    )
    return lines([e.step for e in previews], scores, "step", "the critic's score"), caption


def heat(
    steps: Sequence[int],
    counts: Sequence[Sequence[float]],
    names: Sequence[str],
    expected: Sequence[float] = (),
    family: str = "",
) -> str:
    """Draw how examples are spread over classes as training goes on: a row a class.

    Arguments:
        steps: [T], at least one.
        counts: [T, K]; each time's are drawn as shares.
        names: [K].
        expected: [K], the data's shares, drawn as a column of their own.
        family: Whose colour it takes; full from three times the data's largest share on.
    """
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import to_rgba

    table = np.asarray(counts, float)
    table = table / np.maximum(table.sum(1, keepdims=True), 1)
    full_share = min(3 * max([*expected, 1 / max(len(names), 1)]), 1.0)
    positions = [float(t) for t in range(len(table))]
    labels = [f"{step:,}" for step in steps]
    if len(expected):
        table = np.vstack([table, np.asarray(expected, float)])
        positions, labels = [*positions, 1.05 * len(positions) + 0.3], [*labels, "data"]
    figure, axes = make_axes(460, 17 * len(names) + 60)
    colour = hue(family).light
    strengths = np.minimum(table / full_share, 1)
    cells = [(t, k) for t in positions for k in range(len(names))]
    corners = np.array([(-0.47, -0.45), (0.47, -0.45), (0.47, 0.45), (-0.47, 0.45)])
    axes.add_collection(
        PolyCollection(
            [corners + cell for cell in cells],
            facecolors=[to_rgba(colour, strength) for strength in strengths.flat],
            linewidths=0,
        ),
        autolim=False,
    )
    never = [cell for cell, share in zip(cells, table.flat, strict=True) if not share]
    if never:
        axes.plot(*zip(*never, strict=True), ".", ms=2.5, color=INK, alpha=0.4, mew=0)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), [short(str(name)) for name in names], parse_math=False)
    stride, last = -(-len(steps) // 9), len(steps) - 1
    tick_indices = [i for i in range(len(positions)) if i > last or (last - i) % stride == 0]
    axes.set_xticks([positions[i] for i in tick_indices], [labels[i] for i in tick_indices])
    axes.set_xlim(-0.6, positions[-1] + 0.6)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xlabel("step")
    axes.set_title(
        f"share of the samples; full colour from {full_share:.0%}",
        loc="left",
        fontsize=TEXT,
        color=INK,
        alpha=0.85,
        parse_math=False,
    )
    return write(figure, "classes of the samples as training goes on")


def _smooth(y: np.ndarray) -> np.ndarray:
    """Return a running mean whose window is a fortieth of the curve, whole at both ends."""
    window = max(1, len(y) // 40)
    finite = np.isfinite(y)
    kernel = np.ones(2 * window + 1)
    weight = np.convolve(finite.astype(float), kernel, "same")[: len(y)]
    total = np.convolve(np.where(finite, y, 0.0), kernel, "same")[: len(y)]
    if len(y) < len(kernel):
        return y
    return np.divide(total, weight, out=np.full(len(y), np.nan), where=weight > 0)


def _robust(axes: Axes, values: np.ndarray) -> None:
    """Let no single spike set the frame."""
    if len(values) < 20:
        return
    low, high = np.percentile(values, [0.2, 99.5])
    margin = (high - low) * 0.06
    if axes.get_yscale() == "log":
        axes.set_ylim(low / 1.15, high * 1.15)
    elif high > low:
        axes.set_ylim(low - margin, high + margin)
