"""Films of pictures that have few colours: one palette for all frames, so that files are small."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["shared"]

COLOURS = 96
"""Colours of a film."""


def shared(
    pictures: Sequence[Image],
    milliseconds: int,
    hold: int = 2500,
    chosen: Callable[[Image], Image] | None = None,
) -> bytes:
    """Put pictures of few colours one after another, all with one palette and undithered.

    Arguments:
        pictures: Of one size.
        milliseconds: Time of a picture.
        hold: Time of the last one.
        chosen: Makes an image with the palette of a picture; by default the median cut's.
    """
    from PIL import Image

    sampled_frames = pictures[:: max(1, len(pictures) // 8)]
    width, height = pictures[0].size
    strip = Image.new("RGB", (width * len(sampled_frames), height))
    for i, picture in enumerate(sampled_frames):
        strip.paste(picture, (i * width, 0))
    median = Image.Quantize.MEDIANCUT
    palette = chosen(strip) if chosen else strip.quantize(COLOURS, method=median)
    flat = [p.quantize(palette=palette, dither=Image.Dither.NONE) for p in pictures]
    file = io.BytesIO()
    times = [milliseconds] * (len(flat) - 1) + [hold]
    flat[0].save(
        file, "GIF", save_all=True, append_images=flat[1:], duration=times, loop=0, disposal=1
    )
    return file.getvalue()
