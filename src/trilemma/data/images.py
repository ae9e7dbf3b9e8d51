"""One image file to a square of pixels, and why a file cannot be used.

    file -> first frame -> 8 bits -> upright (EXIF) -> on white -> RGB -> centre square -> resized

Grey of 16 bits is scaled, v -> round(255 v / white), where white is 65,535 or less: cameras and
microscopes write 12 bits into 16, which would be nearly black. Of colour of 16 bits Pillow keeps
the upper 8.

The file's head tells its size before anything is decoded, so that a small file which unfolds to
gigabytes is refused unread. Resizing is Pillow's bicubic filter, which widens with the reduction
and so does not alias.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

__all__ = [
    "OWN_SHEET",
    "SOFTWARE",
    "SUFFIXES",
    "WHITE",
    "ImageHeader",
    "UnusableImage",
    "brightest",
    "centre_square",
    "read_header",
]

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp")
LARGEST = 40_000_000
"""Pixels of the largest image that is decoded."""
ORIENTATION = 0x0112
"""EXIF tag: 1 is upright, 5 to 8 lie on their side."""
WHITE = 65535
"""Greatest value of 16 bits."""

SOFTWARE, OWN_SHEET = "Software", "trilemma: a sheet of examples"
"""Keyword of a PNG's text, and what a sheet has there that is no example itself."""


class UnusableImage(Exception):
    """An image file that cannot be used; the message is the reason, equal for like files."""


@dataclass(frozen=True)
class ImageHeader:
    """What is known of an image before it is decoded."""

    width: int
    """Pixels across, the image upright."""
    height: int
    traits: tuple[str, ...] = ()
    """What has to be done to the image beyond resizing."""
    is_deep: bool = False
    """Whether it is grey of 16 bits."""
    is_own: bool = False
    """Whether it says of itself that it is a sheet of several examples, drawn by `trilemma`."""


def read_header(path: Path) -> ImageHeader:
    """Read an image's size and nature, not its pixels.

    Raises:
        UnusableImage: It cannot be opened, is no image, or is too small or too large.
    """
    with _open_image(path) as image:
        width, height = image.size
        if _orientation(image) >= 5:
            width, height = height, width
        is_own = image.info.get(SOFTWARE) == OWN_SHEET
        return ImageHeader(width, height, _traits(image), _is_deep(image), is_own)


def brightest(path: Path) -> int:
    """Decode an image of 16-bit grey, and return its greatest value.

    Raises:
        UnusableImage: It cannot be opened or decoded.
    """
    with _open_image(path) as image:
        return int(np.asarray(image).max())


def centre_square(path: Path, size: int, white: int = WHITE) -> np.ndarray:
    """Decode an image to its centre square.

    Arguments:
        path: The file.
        size: Side of the square, pixels.
        white: The value of 16-bit grey that is white.

    Returns:
        RGB, [3, size, size] uint8.

    Raises:
        UnusableImage: It cannot be opened or decoded.
    """
    with _open_image(path) as image:
        # A JPEG can be decoded at a half, a quarter or an eighth of its size, much faster.
        image.draft(None, (3 * size, 3 * size))
        image.load()
        frame = _eight_bits(image, white)
        with contextlib.suppress(Exception):  # damaged EXIF: the image is taken as it lies
            frame = ImageOps.exif_transpose(frame)
        frame = _opaque(frame)
        side = min(frame.size)
        x, y = (frame.width - side) / 2, (frame.height - side) / 2
        square = frame.resize(
            (size, size),
            Image.Resampling.BICUBIC,
            box=(x, y, x + side, y + side),
            reducing_gap=3.0,
        )
        return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))


@contextlib.contextmanager
def _open_image(path: Path):  # noqa: ANN202
    """Open an image and turn whatever goes wrong with it into a reason."""
    try:
        file_stat = os.stat(path)
        if not stat.S_ISREG(file_stat.st_mode):
            raise UnusableImage("no ordinary file")
        if file_stat.st_size == 0:
            raise UnusableImage("empty file")
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            if width * height > LARGEST:
                raise UnusableImage(f"larger than {LARGEST // 1_000_000} megapixels")
            if min(width, height) < 2:
                raise UnusableImage("one pixel wide or high")
            yield image
    except UnusableImage:
        raise
    except Image.DecompressionBombError:
        raise UnusableImage(f"larger than {LARGEST // 1_000_000} megapixels") from None
    except UnidentifiedImageError:
        raise UnusableImage("not an image of a known kind") from None
    except PermissionError:
        raise UnusableImage("no permission to read it") from None
    except FileNotFoundError:
        raise UnusableImage("a link to nothing") from None
    except OSError as error:
        is_loop = error.errno == errno.ELOOP
        raise UnusableImage("a link to nothing" if is_loop else "damaged or cut short") from None
    except Exception:  # Pillow's decoders raise SyntaxError, ValueError, EOFError, …
        raise UnusableImage("damaged or cut short") from None


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged EXIF is no reason to refuse the pixels
        return 1


def _traits(image: Image.Image) -> tuple[str, ...]:
    traits = []
    if image.format != "MPO" and getattr(image, "is_animated", False):
        traits.append("animated, first frame taken")
    if image.has_transparency_data:
        traits.append("transparency laid on white")
    if image.mode == "CMYK":
        traits.append("CMYK converted to RGB")
    if image.mode.startswith("I") or any(
        ";16" in str(tile[3]) for tile in getattr(image, "tile", ())
    ):
        traits.append("16 bits reduced to 8")
    if _orientation(image) not in (0, 1):
        traits.append("turned upright by EXIF")
    return tuple(traits)


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I")


def _eight_bits(image: Image.Image, white: int) -> Image.Image:
    """Scale 16-bit grey to 8 bits; Pillow has reduced 16-bit colour already."""
    if not _is_deep(image):
        return image
    values = np.asarray(image).astype(np.uint32)
    scaled = ((values * 255 + white // 2) // white).clip(0, 255).astype(np.uint8)
    grey = Image.fromarray(scaled)
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return grey
    alpha = Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8))
    frame = Image.merge("LA", (grey, alpha))
    frame.info |= {name: v for name, v in image.info.items() if name != "transparency"}
    return frame


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
