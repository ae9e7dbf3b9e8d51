"""Panels in rows with words below each, and pictures joined: for sheets of small drawings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["INK", "LETTERS", "SIDE", "joined", "laid", "shortened"]

SIDE, WORDS, GAP, HEAD = 190, 18, 10, 24
"""Pixels of a panel's side, of the words below it, between panels, and of a title."""
LETTERS = 30
"""Letters of the words below a panel at most."""
INK = "#5b6470"


def shortened(text: str) -> str:
    """Cut words to what has room below a panel."""
    return text if len(text) <= LETTERS else text[: LETTERS - 1] + "…"


def laid(
    panels: Sequence[Image], words: Sequence[str], columns: int | None, title: str = ""
) -> Image:
    """Lay panels out in rows, with words below each."""
    from PIL import Image, ImageDraw

    count = max(1, len(panels))
    columns = columns or math.ceil(math.sqrt(count * 1.4))
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    head = HEAD if title else 0
    size = (
        columns * (SIDE + GAP) + GAP,
        head + rows * (SIDE + WORDS + GAP) + GAP,
    )
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    if title:
        draw.text((GAP, 6), title, fill=INK, font_size=14)
    for i, (panel, text) in enumerate(zip(panels, words, strict=True)):
        x = GAP + i % columns * (SIDE + GAP)
        y = head + GAP + i // columns * (SIDE + WORDS + GAP)
        picture.paste(panel, (x, y))
        draw.text((x + SIDE / 2, y + SIDE + 2), text, fill=INK, anchor="ma", font_size=11)
    return picture


def joined(pictures: Sequence[Image], *, across: bool) -> Image:
    """Put pictures beside or below each other."""
    from PIL import Image

    widths, heights = [p.width for p in pictures], [p.height for p in pictures]
    size = (sum(widths), max(heights)) if across else (max(widths), sum(heights))
    canvas = Image.new("RGB", size, "white")
    offset = 0
    for picture in pictures:
        canvas.paste(picture, (offset, 0) if across else (0, offset))
        offset += picture.width if across else picture.height
    return canvas
