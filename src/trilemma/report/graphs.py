"""Pictures of graphs: sheets of many, the growth of one, added edges.

Every graph is laid out by the one rule of `report.layout`, so that real and generated ones can be
compared. Pictures are Pillow images on white; nothing is written to disk here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trilemma.core.graph import edges, sizes
from trilemma.report.layout import layout

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["change", "growth", "sheet"]

SHOWN = 36
"""Graphs on a sheet at most."""
SIDE, WORDS, GAP = 176, 18, 10
"""Pixels of a graph's panel, of the words below it, and between panels."""
FINE = 3
"""How much finer it is drawn than shown."""
LINE, DOT, ADDED, INK = "#9aa5b1", "#1f5fa8", "#d1495b", "#5b6470"


def sheet(x: Tensor, columns: int | None = None) -> Image:
    """Draw graphs beside each other, each with its numbers of nodes and edges.

    Arguments:
        x: [B, N, N]; the first `SHOWN` are drawn.
        columns: Graphs in a row; about square by default.
    """
    shown = x[:SHOWN].cpu()
    return _laid([_panel(one, layout(one)) for one in shown], _words(shown), columns)


def growth(frames: Sequence[Tensor]) -> list[Image]:
    """Draw graphs on their way; each node stands where it stands in the last frame.

    Arguments:
        frames: [B, N, N] each; nodes come and stay.
    """
    last = frames[-1][:SHOWN].cpu()
    places = [layout(one) for one in last]
    columns = math.ceil(math.sqrt(len(last)))
    return [
        _laid(
            [_panel(one, at) for one, at in zip(x[:SHOWN].cpu(), places, strict=True)],
            _words(x[:SHOWN].cpu()),
            columns,
        )
        for x in frames
    ]


def change(before: Tensor, after: Tensor, columns: int | None = None) -> Image:
    """Draw graphs with what was added to them in another colour, laid out as they were before."""
    panels, words = [], []
    for one, more in zip(before[:SHOWN].cpu(), after[:SHOWN].cpu(), strict=True):
        added = (more > one).to(torch.uint8)
        panels.append(_panel(one, layout(one), added))
        words.append(f"{int(sizes(one))} nodes, {len(edges(one))} + {len(edges(added))} edges")
    return _laid(panels, words, columns)


def _words(x: Tensor) -> list[str]:
    return [f"{int(sizes(one))} nodes, {len(edges(one))} edges" for one in x]


def _panel(x: Tensor, at: Tensor, added: Tensor | None = None) -> Image:
    """Draw one graph; nodes that `at` has no place for yet are not there."""
    from PIL import Image, ImageDraw

    fine = SIDE * FINE
    picture = Image.new("RGB", (fine, fine), "white")
    draw = ImageDraw.Draw(picture)
    n = int(sizes(x))
    if n == 0:
        return picture.resize((SIDE, SIDE))
    spots = _fitted(at, fine)
    radius = fine * min(0.022, 0.3 / math.sqrt(max(len(at), 1)) / 2)
    width = max(2, round(radius * 0.55))
    for a, b in edges(x).tolist():
        draw.line([spots[a], spots[b]], fill=LINE, width=width)
    for a, b in edges(added).tolist() if added is not None else ():
        draw.line([spots[a], spots[b]], fill=ADDED, width=2 * width)
    for x0, y0 in spots[:n]:
        draw.ellipse([x0 - radius, y0 - radius, x0 + radius, y0 + radius], fill=DOT)
    return picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def _fitted(at: Tensor, side: int) -> list[tuple[float, float]]:
    """Bring places into a panel, all by the same scale."""
    low, high = at.amin(0), at.amax(0)
    span = max(float((high - low).max()), 2.0)
    moved = (at - (low + high) / 2) / span * side * 0.9 + side / 2
    return [(float(a), float(b)) for a, b in moved]


def _laid(panels: list[Image], words: list[str], columns: int | None) -> Image:
    from PIL import Image, ImageDraw, ImageFont

    columns = min(columns or math.ceil(math.sqrt(max(len(panels), 1))), max(len(panels), 1))
    rows = -(-len(panels) // columns) or 1
    step_x, step_y = SIDE + GAP, SIDE + WORDS + GAP
    canvas = Image.new("RGB", (columns * step_x + GAP, rows * step_y + GAP), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=11)
    for i, (panel, text) in enumerate(zip(panels, words, strict=True)):
        left, top = GAP + i % columns * step_x, GAP + i // columns * step_y
        canvas.paste(panel, (left, top))
        draw.text((left + SIDE / 2, top + SIDE + 2), text, fill=INK, font=font, anchor="ma")
    return canvas
