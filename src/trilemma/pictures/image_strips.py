"""Rows of images with words beside them: chains over time, edits, captions, maps of attention.

Images keep their pixels, enlarged by whole numbers; the words around them are a grey that can be
read on light and dark pages alike. Gaps are transparent. Nothing is written to disk here.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.pictures.figures import tiles

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["attended", "captioned", "strips"]

WIDE, HIGH = 1080, 460
"""Pixels that a picture is enlarged to at most."""
INK = (128, 128, 128, 255)
"""Of words: contrast 3.9 to 1 on white, and 4.6 to 1 on the dark page."""
TEXT, LINE = 14, 18
"""Size of the words and the height of a line, pixels."""
GAP, APART = 2, 14
"""Pixels between images, and between rows that do not belong together."""


def strips(
    rows: Sequence[Tensor],
    levels: int = 256,
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    together: int = 0,
    scale: int | None = None,
) -> Image:
    """Lay images out in rows, with a label at the left of each row and above each column.

    Arguments:
        rows: [N, C, H, W] each, levels; all of one shape.
        levels: Number of levels; the last is white.
        row_labels: What each row is.
        column_labels: What each column is.
        together: Rows that belong together; a wider gap follows them. 0: all.
        scale: Side of a pixel after enlargement; None makes the picture as large as is handy.

    Raises:
        BadInput: There is no row, or they differ in shape.
    """
    if not rows or len({row.shape for row in rows}) != 1:
        raise BadInput(f"{len(rows)} rows of images were given; wanted some, all of one shape.")
    count, _, height, width = rows[0].shape
    margin = max((_wide(word) for word in row_labels), default=0) + (12 if any(row_labels) else 0)
    if scale is None:
        across = (WIDE - margin - GAP * (count - 1)) / (count * width)
        down = (HIGH - GAP * len(rows)) / (len(rows) * height)
        scale = max(1, min(int(across), int(down)))
    step_x, step_y = width * scale + GAP, height * scale + GAP
    heads = [_fitted(word, step_x, 1) for word in column_labels]
    head = LINE + 2 if any(column_labels) else 0
    breaks = (len(rows) - 1) // together if together else 0
    canvas = _canvas(
        margin + count * step_x - GAP, head + len(rows) * step_y - GAP + breaks * APART
    )
    for j, lines in enumerate(heads):
        _write(canvas, lines, margin + j * step_x + (step_x - GAP) / 2, 0, "ma")
    for i, row in enumerate(rows):
        top = head + i * step_y + (i // together * APART if together else 0)
        if i < len(row_labels):
            _write(canvas, [row_labels[i]], margin - 10, top + (step_y - GAP) / 2, "rm")
        for j, tile in enumerate(_pictures(row, levels, scale)):
            canvas.paste(tile, (margin + j * step_x, top))
    return canvas


def captioned(
    images: Tensor,
    captions: Sequence[str],
    levels: int = 256,
    *,
    columns: int | None = None,
    lines: int = 2,
) -> Image:
    """Lay images out in rows, each with its caption below it.

    Arguments:
        images: [N, C, H, W] levels.
        captions: [N]; what does not fit is cut.
        levels: Number of levels.
        columns: Images in a row.
        lines: Lines of a caption at most.

    Raises:
        BadInput: There are no images, or not as many captions.
    """
    if not len(images) or len(images) != len(captions):
        raise BadInput(
            f"{len(images)} images and {len(captions)} captions were given; wanted one for each."
        )
    columns = min(columns or min(8, math.ceil(math.sqrt(len(images)))), len(images))
    height, width = images.shape[-2:]
    scale = max(1, math.ceil(96 / width), min(128 // width, WIDE // (columns * width)))
    text = [_fitted(caption, width * scale, lines) for caption in captions]
    below = LINE * max(map(len, text)) + 6
    step_x, step_y = width * scale + 10, height * scale + below + 4
    rows = -(-len(images) // columns)
    canvas = _canvas(columns * step_x - 10, rows * step_y - 4)
    for i, (tile, words) in enumerate(zip(_pictures(images, levels, scale), text, strict=True)):
        at = (i % columns * step_x, i // columns * step_y)
        canvas.paste(tile, at)
        _write(canvas, words, at[0] + width * scale / 2, at[1] + height * scale + 3, "ma")
    return canvas


def attended(
    images: Tensor,
    maps: Sequence[Tensor],
    words: Sequence[Sequence[str]],
    levels: int = 256,
) -> Image:
    """Draw each image, and beside it where it was drawn by each word of its caption.

    A row's maps share one scale, black to light at the largest weight in the row; above each
    stands its word with the mean of its weights.

    Arguments:
        images: [N, C, H, W] levels.
        maps: [M, h, w] of each image, weights from 0 to 1; h and w may be smaller than H and W.
        words: [M] of each image.
        levels: Number of levels.
    """
    from matplotlib import colormaps
    from PIL import Image

    height, width = images.shape[-2:]
    max_words = max((len(m) for m in maps), default=0)
    scale = max(1, min(WIDE // ((max_words + 1) * width), 144 // width))
    side_x, side_y = width * scale, height * scale
    step_x, step_y = side_x + 6, side_y + LINE + 10
    canvas = _canvas((max_words + 1) * step_x - 6, len(images) * step_y - 8)
    for i, tile in enumerate(_pictures(images, levels, scale)):
        top = i * step_y + LINE + 2
        canvas.paste(tile, (0, top))
        weights = maps[i].detach().cpu().double().nan_to_num(0).numpy()
        peak = max(float(weights.max(initial=0)), 1e-12)
        for j, (weight, word) in enumerate(zip(weights, words[i], strict=True)):
            shades = (colormaps["magma"](weight / peak)[..., :3] * 255).astype(np.uint8)
            heat_map = Image.fromarray(shades).resize((side_x, side_y), Image.Resampling.BICUBIC)
            left = (j + 1) * step_x
            canvas.paste(heat_map, (left, top))
            share = f" {weight.mean():.0%}"
            label = _fitted(word, side_x - _wide(share), 1)[0] + share
            _write(canvas, [label], left + side_x / 2, i * step_y, "ma")
    return canvas


def _pictures(images: Tensor, levels: int, scale: int) -> list[Any]:
    """Return each image enlarged, as a Pillow image of mode RGBA."""
    from PIL import Image

    pixels = tiles(images, levels).repeat(scale, 1).repeat(scale, 2)
    if pixels.shape[-1] == 2:
        pixels = pixels[..., [0, 0, 0, 1]]
    return [Image.fromarray(one) for one in pixels]


def _canvas(width: float, height: float) -> Any:  # noqa: ANN401
    from PIL import Image

    return Image.new("RGBA", (max(1, int(width)), max(1, int(height))), (0, 0, 0, 0))


@functools.cache
def _font() -> Any:  # noqa: ANN401
    """Return the font that comes with matplotlib, which knows most alphabets."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), TEXT)


def _wide(word: str) -> int:
    return math.ceil(_font().getlength(word))


def _write(canvas: Image, lines: Sequence[str], x: float, y: float, anchor: str) -> None:
    from PIL import ImageDraw

    pen = ImageDraw.Draw(canvas)
    for i, line in enumerate(lines):
        pen.text((x, y + i * LINE), line, fill=INK, font=_font(), anchor=anchor)


def _fitted(text: str, width: float, lines: int) -> list[str]:
    """Break a text into lines of a width in pixels; what is left over becomes three dots.

    >>> _fitted("one two three", 1000, 2), _fitted("one two three", 20, 1)[0][-1]
    (['one two three'], '…')
    """
    wrapped_lines: list[str] = [""]
    for word in text.split():
        longer = f"{wrapped_lines[-1]} {word}".strip()
        if not wrapped_lines[-1] or _wide(longer) <= width:
            wrapped_lines[-1] = longer
        else:
            wrapped_lines.append(word)
    if len(wrapped_lines) > lines:
        wrapped_lines = [*wrapped_lines[: lines - 1], " ".join(wrapped_lines[lines - 1 :])]
    return [_cut(line, width) for line in wrapped_lines]


def _cut(line: str, width: float) -> str:
    if _wide(line) <= width:
        return line
    while line and _wide(f"{line}…") > width:
        line = line[:-1]
    return f"{line.rstrip()}…"


def halved(images: Tensor, mask: Tensor, levels: int) -> Tensor:
    """Return images whose unknown part is grey."""
    return torch.where(mask, images, torch.full_like(images, max(levels - 1, 1) // 2))
