"""What all charts share: bare axes, labels that do not overlap, and SVG without loose ends."""

from __future__ import annotations

import hashlib
import html
import io
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from trilemma.core.words import brief

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "DASHES",
    "INK",
    "TEXT",
    "Box",
    "along",
    "end_labels",
    "labels",
    "make_axes",
    "short",
    "ticks",
    "write",
]

INK = "#010203"
"""Stands for the page's own text colour until the chart is written."""
TEXT = 12
"""Size of all words of a chart, pixels of the page."""
DASHES = ("-", (0, (4, 2)), (0, (1, 1.4)), (0, (6, 2, 1, 2)), (0, (2, 2)), (0, (8, 3)))
"""How the lines of one chart are told apart beside their colours."""


def make_axes(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, Any]:
    """Make a figure of width x height points with bare axes; one column shares its x."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"font.size": TEXT, "axes.linewidth": 0.8}):
        figure = Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")
        figure.patch.set_visible(False)
        panels = figure.subplots(rows, columns, sharex=columns == 1)
    for axes in np.atleast_1d(panels).flat:
        axes.patch.set_visible(False)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set(color=INK, alpha=0.4)
        axes.tick_params(which="both", color=INK, labelcolor=INK, labelsize=TEXT, length=3)
        axes.tick_params(which="minor", length=0)
        axes.xaxis.label.set(color=INK, fontsize=TEXT)
        axes.yaxis.label.set(color=INK, fontsize=TEXT)
    return figure, panels


Box: TypeAlias = tuple[float, float, float, float]


def along(axes: Axes, path: Sequence[tuple[float, float]]) -> list[Box]:
    """Return small boxes along a line and its corners, for labels to keep clear of."""
    pixels = [axes.transData.transform(p) for p in path]
    points = [
        a + (b - a) * part
        for a, b in itertools.pairwise(pixels)
        for part in np.linspace(0, 1, 2 + int(np.hypot(*(b - a)) / 6))
    ]
    return [(x - 3, y - 3, x + 3, y + 3) for x, y in points]


def labels(
    axes: Axes,
    names: Sequence[tuple[str, tuple[float, float], str]],
    boxes: Sequence[Box] = (),
) -> list[Box]:
    """Write beside each mark what it is, clear of all marks and of each other.

    Those with the most neighbours choose first, each the nearest place where least stands
    already: beside its mark, or further away with a line that leads there.

    Arguments:
        axes: Where; its limits are final.
        names: Text, place and colour of each mark.
        boxes: What else is to be kept clear of, in pixels.

    Returns:
        Where each text stands, in the order given, in pixels.
    """
    frame = axes.get_window_extent()
    spots = [axes.transData.transform(at) for _, at, _ in names]
    marks = [(float(x), float(y)) for x, y in spots]
    occupied_boxes: list[Box] = [*boxes, *((x - 6, y - 6, x + 6, y + 6) for x, y in marks)]
    limit = (frame.x0, frame.y0, frame.x1, frame.y1)

    def crowd(i: int) -> int:
        return sum(math.dist(marks[i], mark) < 60 for mark in marks)

    label_boxes: dict[int, Box] = {}
    for i in sorted(range(len(names)), key=lambda i: (-crowd(i), marks[i])):
        text, _, colour = names[i]
        box, is_far = _free(marks[i], _width(text), occupied_boxes, limit)
        occupied_boxes.append(box)
        label_boxes[i] = box
        _written(axes, text, marks[i], box, colour, is_far)
    return [label_boxes[i] for i in range(len(names))]


def _width(text: str) -> float:
    """Return the width of a bold name, pixels; browsers' own letters are at most so wide."""
    return 8.4 * len(text)


def _free(
    mark: tuple[float, float], wide: float, occupied: Sequence[Box], limit: Box
) -> tuple[Box, bool]:
    """Return the best place for a name beside its mark, and whether it is away from it."""

    def cost(box: Box) -> float:
        outside = sum(
            max(0.0, limit[k] - box[k]) + max(0.0, box[k + 2] - limit[k + 2]) for k in (0, 1)
        )
        hits = sum(
            max(0.0, min(box[2], b[2]) - max(box[0], b[0]))
            * max(0.0, min(box[3], b[3]) - max(box[1], b[1]))
            for b in occupied
        )
        return 30 * outside + 4 * hits

    (x, y), height = mark, 13.0
    best, min_penalty, is_far = (x, y, x + wide, y + height), math.inf, False
    for radius in (9.0, 12.5, 16.0, 26.0, 38.0, 52.0, 68.0, 86.0, 106.0, 130.0, 160.0, 200.0):
        for angle in (0.0, math.pi, *(math.pi * k / 8 for k in range(1, 16) if k != 8)):
            cx, cy = x + radius * math.cos(angle), y + 1.25 * radius * math.sin(angle)
            lean = (1 - math.cos(angle)) / 2  # the text ends at its mark where it is at its left
            left = cx - wide * lean
            box = (left, cy - height / 2, left + wide, cy + height / 2)
            penalty = cost(box) + radius / 3
            if radius > 16 and penalty < min_penalty:
                penalty += 60 * _crossed(mark, box, occupied)
            if penalty < min_penalty:
                best, min_penalty, is_far = box, penalty, radius > 16
    return best, is_far


def _crossed(mark: tuple[float, float], box: Box, occupied: Sequence[Box]) -> int:
    """Count what stands in the way of a line from a mark to its name."""
    x, y = min(max(mark[0], box[0]), box[2]), min(max(mark[1], box[1]), box[3])
    parts = [(mark[0] + u * (x - mark[0]), mark[1] + u * (y - mark[1])) for u in (0.5, 0.7, 0.9)]
    return sum(
        any(b[0] < px < b[2] and b[1] < py < b[3] for px, py in parts)
        for b in occupied
        if not (b[0] <= mark[0] <= b[2] and b[1] <= mark[1] <= b[3])
    )


def _written(
    axes: Axes, text: str, mark: tuple[float, float], box: Box, colour: str, far: bool
) -> None:
    """Write a name in its box, with a line to its mark where it stands away from it."""
    to_data = axes.transData.inverted()
    if far:
        near = (min(max(mark[0], box[0]), box[2]), min(max(mark[1], box[1]), box[3]))
        ends = np.array([to_data.transform(mark), to_data.transform(near)])
        axes.plot(*ends.T, color=colour, lw=0.8, alpha=0.7, zorder=1, scalex=False, scaley=False)
    middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    is_left = middle[0] < mark[0] - 3
    edge = box[2] if is_left else box[0]
    axes.annotate(
        text,
        tuple(to_data.transform((edge, middle[1]))),
        ha="right" if is_left else "left",
        va="center",
        color=colour,
        fontsize=TEXT,
        weight="bold",
        parse_math=False,
    )


def end_labels(
    figure: Figure,
    ends: Sequence[tuple[Axes, Sequence[tuple[float, float, str]]]],
    colours: Mapping[str, str] | None = None,
) -> None:
    """Write each line's name at its end, moved apart where they would overlap.

    The figure is laid out once for all, which is most of what a small one costs: call it once,
    when all else is drawn.

    Arguments:
        figure: Where.
        ends: Axes of the figure; of each, x and y of each line's end, and its name.
        colours: By name; ink for others.
    """
    engine = figure.get_layout_engine()
    assert engine is not None, "a figure of make_axes has one"
    engine.execute(figure)
    for axes, lines in ends:
        frame = axes.get_window_extent()
        heights = []
        for x, y, text in lines:
            height = axes.transData.transform((x, y))[1]
            heights.append(
                (min(max(height, frame.y0), frame.y1) if math.isfinite(height) else frame.y0, text)
            )
        heights.sort()
        for (_, text), position in zip(
            heights, _apart([h for h, _ in heights], frame.y1), strict=True
        ):
            axes.annotate(
                text,
                (1.0, (position - frame.y0) / frame.height),
                (5, 0),
                xycoords="axes fraction",
                textcoords="offset points",
                va="center",
                color=(colours or {}).get(text, INK),
                fontsize=TEXT,
                annotation_clip=False,
                parse_math=False,
            )


def _apart(heights: Sequence[float], top: float, room: float = 14.0) -> list[float]:
    """Move sorted heights apart, upwards, and down again where they would pass the top.

    >>> _apart([0.0, 95.0, 100.0], top=100.0)
    [0.0, 86.0, 100.0]
    """
    positions: list[float] = []
    for height in heights:
        positions.append(max(height, positions[-1] + room) if positions else height)
    for i in reversed(range(len(positions))):
        positions[i] = min(positions[i], top - room * (len(positions) - 1 - i))
    return positions


def ticks(axes: Axes) -> None:
    """Write the ticks of y as sentences do; a short log axis has them at 2 and 5 too."""
    axes.yaxis.set_major_formatter(lambda value, _: brief(value))
    if axes.get_yscale() != "log":
        return
    from matplotlib.ticker import LogLocator

    low, high = axes.get_ylim()
    axes.yaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
    axes.yaxis.set_minor_formatter(lambda v, _: brief(v) if high < 150 * low else "")


def short(name: str, most: int = 20) -> str:
    """Cut a name that would not fit.

    >>> short("abcdef", 4)
    'abc…'
    """
    return name if len(name) <= most else f"{name[: most - 1]}…"


def write(figure: Figure, title: str) -> str:
    """Write a figure as SVG without prologue, dates or outside references."""
    from matplotlib import rc_context

    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "trilemma"}):
        figure.savefig(
            file,
            format="svg",
            transparent=True,
            dpi=144,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    text = text.replace(INK, "currentColor")
    text = re.sub(
        r"font: ((?:bold |italic |700 )*[\d.]+px)[^;\"]*", r"font: \1 system-ui, sans-serif", text
    )
    text = re.sub(r'font-family: [^;"]*', "font-family: system-ui, sans-serif", text)
    label = f'<svg role="img" aria-label="{html.escape(title, quote=True)}" '
    return _own_ids(text).replace("<svg ", label, 1)


def _own_ids(text: str) -> str:
    """Keep only the ids that are referred to, with a prefix that no other chart has."""
    prefix = "c" + hashlib.sha256(text.encode()).hexdigest()[:8]
    used = set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text))

    def own(match: re.Match[str]) -> str:
        return f' id="{prefix}{match[1]}"' if match[1] in used else ""

    text = re.sub(r' id="([^"]*)"', own, text)
    text = re.sub(r"url\(#", f"url(#{prefix}", text)
    return re.sub(r'href="#', f'href="#{prefix}', text)
