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

from trilemma.report.words import brief

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "DASHES",
    "INK",
    "Box",
    "along",
    "end_labels",
    "label",
    "make_axes",
    "short",
    "ticks",
    "write",
]

INK = "#010203"
"""Stands for the page's own text colour until the chart is written."""
DASHES = ("-", (0, (4, 2)), (0, (1, 1.4)), (0, (6, 2, 1, 2)), (0, (2, 2)), (0, (8, 3)))
"""How the lines of one chart are told apart beside their colours."""


def make_axes(width: float, height: float, rows: int = 1) -> tuple[Figure, Any]:
    """Make a figure of width x height points with bare axes."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"font.size": 11, "axes.linewidth": 0.8}):
        figure = Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")
        figure.patch.set_visible(False)
        panels = figure.subplots(rows, 1, sharex=True)
    for axes in np.atleast_1d(panels):
        axes.patch.set_visible(False)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set(color=INK, alpha=0.4)
        axes.tick_params(which="both", color=INK, labelcolor=INK, labelsize=10, length=3)
        axes.tick_params(which="minor", length=0)
        axes.xaxis.label.set(color=INK, fontsize=11)
        axes.yaxis.label.set(color=INK, fontsize=11)
    return figure, panels


Box: TypeAlias = tuple[float, float, float, float]


def along(axes: Axes, path: Sequence[tuple[float, float]]) -> list[Box]:
    """Return small boxes along a line and its corners, for labels to keep clear of."""
    at = [axes.transData.transform(p) for p in path]
    spots = [
        a + (b - a) * part
        for a, b in itertools.pairwise(at)
        for part in np.linspace(0, 1, 2 + int(np.hypot(*(b - a)) / 6))
    ]
    return [(x - 3, y - 3, x + 3, y + 3) for x, y in spots]


def label(
    axes: Axes,
    text: str,
    at: tuple[float, float],
    colour: str,
    boxes: list[Box],
) -> None:
    """Write beside a mark, on the side where least stands already."""
    x, y = axes.transData.transform(at)
    frame = axes.get_window_extent()
    w, h = 6.6 * len(text), 13.0

    def cost(box: Box) -> float:
        outside = max(0, frame.x0 - box[0]) + max(0, box[2] - frame.x1)
        outside += max(0, frame.y0 - box[1]) + max(0, box[3] - frame.y1)
        hits = sum(
            max(0.0, min(box[2], b[2]) - max(box[0], b[0]))
            * max(0.0, min(box[3], b[3]) - max(box[1], b[1]))
            for b in boxes
        )
        return 10 * outside + hits

    places = [
        (dx, dy, (x + dx - (w if dx < 0 else w / 2 if dx == 0 else 0), y + dy - h / 2))
        for dx, dy in ((9, 0), (-9, 0), (9, 11), (9, -11), (0, 15), (0, -15), (-9, 11), (-9, -11))
    ]
    dx, dy, corner = min(places, key=lambda p: cost((*p[2], p[2][0] + w, p[2][1] + h)))
    boxes.append((*corner, corner[0] + w, corner[1] + h))
    boxes.append((x - 6, y - 6, x + 6, y + 6))
    axes.annotate(
        text,
        at,
        (dx, dy),
        textcoords="offset points",
        ha="left" if dx > 0 else "right" if dx < 0 else "center",
        va="center",
        color=colour,
        fontsize=12,
        weight="bold",
        parse_math=False,
    )


def end_labels(
    figure: Figure,
    axes: Axes,
    ends: Sequence[tuple[float, float, str]],
    colours: Mapping[str, str] | None = None,
) -> None:
    """Write each line's name at its end, moved apart where they would overlap.

    Arguments:
        figure: Where.
        axes: Where in it.
        ends: x and y of each line's end, and its name.
        colours: By name; ink for others.
    """
    figure.canvas.draw()
    frame = axes.get_window_extent()
    heights = []
    for x, y, text in ends:
        height = axes.transData.transform((x, y))[1]
        heights.append(
            (min(max(height, frame.y0), frame.y1) if math.isfinite(height) else frame.y0, text)
        )
    heights.sort()
    for (_, text), at in zip(heights, _apart([h for h, _ in heights], frame.y1), strict=True):
        axes.annotate(
            text,
            (1.0, (at - frame.y0) / frame.height),
            (5, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            va="center",
            color=(colours or {}).get(text, INK),
            fontsize=10.5,
            annotation_clip=False,
            parse_math=False,
        )


def _apart(heights: Sequence[float], top: float, room: float = 13.0) -> list[float]:
    """Move sorted heights apart, upwards, and down again where they would pass the top.

    >>> _apart([0.0, 95.0, 100.0], top=100.0)
    [0.0, 87.0, 100.0]
    """
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + room) if placed else height)
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], top - room * (len(placed) - 1 - i))
    return placed


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
