"""Colour emoji with their names as captions, split by character.

Pictures are the bitmaps of Noto Color Emoji, laid on white, their middle square of 128 pixels
reduced by an antialiased bicubic filter. Captions are the short names of the Unicode Common Locale
Data Repository as they stand in emoji-test.txt: "red heart", "thumbs up: dark skin tone". Classes
are that file's groups. Sequences (flags, skin tones, families) are laid out by Pillow's Raqm.

Variants of a character are no test of anything once one of them was seen. So the side of the split
belongs to the *character*: what is left of a sequence without skin tones, hair and gender signs,
with man and woman taken for person. Characters whose pictures are the same (flags of one design)
are one. Of sequences with two different skin tones (couples) none is used: there are 260, in which
names of nineteen words differ by some pixels.

References:
    | Unicode Technical Standard 51, Unicode Emoji (version 15.0, 2022)
"""

from __future__ import annotations

import hashlib
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, features
from torch import Tensor

from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.data import cache
from trilemma.data.dataset import DataSet, Split
from trilemma.data.debian_source import Bundle, Debian
from trilemma.data.split import frequencies, is_test
from trilemma.data.text import with_words

__all__ = ["BUNDLE", "LICENCE", "ORIGIN", "SIZES", "USUAL", "Emoji", "base", "dataset", "parsed"]

USUAL, SIZES = 32, range(16, 129)
"""Side of the pictures, pixels: without being asked, and what can be asked for."""
TEST_SHARE = 0.1
"""Share of the characters that are for testing."""
ORIGIN = "Noto Color Emoji 2.042 (Google), names of emoji-test.txt 15.0 (Unicode)"
LICENCE = "SIL Open Font License 1.1 (pictures), Unicode License (names)"

FONT = "usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
NAMES = "usr/share/unicode/emoji/emoji-test.txt"
FORM = 1
"""Number of this way of drawing; pictures in the cache of another are drawn anew."""
STRIKE, ADVANCE, NATIVE = 109, 136, 128
"""The font's only size, and its bitmaps' width and height; four pixels at the sides are empty."""

LINE = re.compile(r"([0-9A-F ]+?) *; fully-qualified +# \S+ E\d+\.\d+ (.+)")
GROUP = "# group:"
JOINER, VARIATION = 0x200D, 0xFE0F
TONES, HAIR, SIGNS = range(0x1F3FB, 0x1F400), range(0x1F9B0, 0x1F9B4), (0x2640, 0x2642)
PERSON, CHILD, HEART, KISS, FAMILY = 0x1F9D1, 0x1F9D2, 0x2764, 0x1F48B, 0x1F46A
ALIKE: Mapping[int, tuple[int, ...]] = {
    **dict.fromkeys((0x1F468, 0x1F469), (PERSON,)),  # man, woman
    **dict.fromkeys((0x1F466, 0x1F467), (CHILD,)),  # boy, girl
    **dict.fromkeys((0x1F474, 0x1F475), (0x1F9D3,)),  # old man, old woman
    **dict.fromkeys((0x1F934, 0x1F478), (0x1FAC5,)),  # prince, princess
    **dict.fromkeys((0x1F930, 0x1FAC3), (0x1FAC4,)),  # pregnant woman, man
    **dict.fromkeys((0x1F385, 0x1F936), (PERSON, 0x1F384)),  # Santa Claus, Mrs. Claus
    0x1F57A: (0x1F483,),  # man dancing
    **dict.fromkeys((0x1F46B, 0x1F46C, 0x1F46D), (PERSON, 0x1F91D, PERSON)),  # holding hands
    0x1F48F: (PERSON, HEART, KISS, PERSON),
    0x1F491: (PERSON, HEART, PERSON),
}
"""Characters that another character or sequence says without gender."""


@dataclass(frozen=True)
class Emoji:
    """One line of the list."""

    points: tuple[int, ...]
    """Its code points, in order."""
    name: str
    group: str

    @property
    def text(self) -> str:
        """Return it as text."""
        return "".join(map(chr, self.points))

    @property
    def codes(self) -> str:
        """Return its code points as people write them: 2764-FE0F."""
        return "-".join(f"{point:04X}" for point in self.points)


def parsed(text: str) -> list[Emoji]:
    r"""Read emoji-test.txt: what is fully qualified, but for those of two different skin tones.

    >>> parsed("# group: Food\n1F34E ; fully-qualified     # X E0.6 red apple")[0].name
    'red apple'

    Raises:
        BadInput: There is nothing of the kind in it.
    """
    group, emoji_list = "", []
    for line in text.splitlines():
        if line.startswith(GROUP):
            group = line.removeprefix(GROUP).strip()
        elif match := LINE.match(line):
            points = tuple(int(code, 16) for code in match[1].split())
            if len({point for point in points if point in TONES}) < 2:
                emoji_list.append(Emoji(points, match[2].strip(), group))
    if not emoji_list:
        raise BadInput("the list of emoji holds no names; a file emoji-test.txt is wanted.")
    return emoji_list


def base(points: Sequence[int]) -> tuple[int, ...]:
    """Return the character of which a sequence is a variant.

    >>> [hex(p) for p in base([0x1F469, 0x1F3FE, 0x200D, 0x1F692])]  # woman firefighter, dark
    ['0x1f9d1', '0x1f692']
    """
    base_points: list[int] = []
    for point in points:
        if point in (JOINER, VARIATION, *SIGNS) or point in TONES or point in HAIR:
            continue
        base_points.extend(ALIKE.get(point, (point,)))
    if len(base_points) > 1 and set(base_points) <= {PERSON, CHILD}:
        return (FAMILY,)
    # A gender sign may be all there is: the characters ♀ and ♂ themselves.
    return tuple(base_points) or tuple(point for point in points if point != VARIATION)


def _files_as_tensors(files: Mapping[str, bytes]) -> dict[str, Tensor]:
    """Keep the two files as they are, that every size can be drawn from them."""
    return {
        name: torch.frombuffer(bytearray(files[path]), dtype=torch.uint8)
        for name, path in (("font", FONT), ("names", NAMES))
    }


BUNDLE = Bundle(
    "emoji",
    (
        Debian(
            "fonts-noto-color-emoji",
            {FONT: "e5899ed38b8ed83e08bd3ac5de09791e9d19d288333a796de1d35ad17396f1ec"},
        ),
        Debian(
            "unicode-data",
            {NAMES: "8445f23ac8388e096be19d0262e14fceff856ff52093f2356dc89485f1a853db"},
        ),
    ),
    _files_as_tensors,
)


def dataset(size: int | None = None) -> DataSet:
    """Load the emoji at a size, drawing them the first time.

    Arguments:
        size: Side of the pictures, pixels, 16 to 128; None takes 32.

    Raises:
        BadInput: There is no such size, the files are not here, or they cannot be drawn.
    """
    side = USUAL if size is None else size
    if side not in SIZES:
        raise BadInput(
            f"--size {side} is not offered for 'emoji'; give {SIZES.start} to {SIZES.stop - 1} "
            f"pixels, such as {USUAL} or 64."
        )
    path = BUNDLE.cache_path.with_name(f"emoji-{side}.safetensors")
    cached = cache.read(path)
    if cached is None or cached[1].get("form") != FORM:
        files = BUNDLE.tensors()
        listed = parsed(files["names"].numpy().tobytes().decode())
        x, pictures = _render(files["font"].numpy().tobytes(), listed, side)
        facts = {
            "form": FORM,
            "emoji": [(e.codes, e.name, e.group) for e in listed],
            "test": sides(listed, pictures).tolist(),
        }
        cached = {"x": x}, facts
        with suppress(OSError):  # a cache that cannot be written costs only time
            cache.write(path, *cached)
    return _dataset(cached[0]["x"], cached[1]["emoji"], torch.tensor(cached[1]["test"]))


def _render(font: bytes, listed: Sequence[Emoji], side: int) -> tuple[Tensor, list[bytes]]:
    """Draw all, [N, 3, side, side] uint8, and hash each picture at the font's own size."""
    loaded_font = _letters(font)
    x = np.empty((len(listed), 3, side, side), np.uint8)
    pictures = []
    for i, emoji in enumerate(listed):
        native = draw(loaded_font, emoji.text)
        pictures.append(hashlib.blake2b(native.tobytes(), digest_size=8).digest())
        small = native.resize((side, side), Image.Resampling.BICUBIC) if side != NATIVE else native
        x[i] = np.asarray(small).transpose(2, 0, 1)
    if (x == x[:, :1]).all():
        raise BadInput(
            "the emoji font was drawn without colour, so Pillow's FreeType cannot read its "
            "bitmaps; install Pillow from its own wheel ('pip install --force-reinstall pillow')."
        )
    return torch.from_numpy(x), pictures


def _letters(font: bytes) -> ImageFont.FreeTypeFont:
    if not features.check("raqm"):
        raise BadInput(
            "flags and skin tones need Pillow with Raqm, which is not here; install FriBidi "
            "('apt-get install libfribidi0' or 'brew install fribidi') or another Pillow."
        )
    try:
        layout = ImageFont.Layout.RAQM
        return ImageFont.truetype(io.BytesIO(font), STRIKE, layout_engine=layout)
    except OSError as error:
        raise BadInput(
            f"the emoji font cannot be opened at its size of {STRIKE} ({error}), so it is not "
            "Noto Color Emoji in bitmaps, or Pillow was built without PNG bitmaps."
        ) from None


def draw(font: ImageFont.FreeTypeFont, text: str) -> Image.Image:
    """Draw one emoji on white, the middle square of its bitmap, 128 pixels a side.

    Raises:
        BadInput: The font has no one picture for it.
    """
    if font.getlength(text) > ADVANCE:
        codes = "-".join(f"{ord(c):04X}" for c in text)
        raise BadInput(f"the emoji font has no one picture for {codes}; get the font again.")
    canvas = Image.new("RGB", (ADVANCE, NATIVE), "white")
    ImageDraw.Draw(canvas).text((0, 0), text, font=font, embedded_color=True, anchor="lt")
    margin = (ADVANCE - NATIVE) // 2
    return canvas.crop((margin, 0, margin + NATIVE, NATIVE))


def sides(listed: Sequence[Emoji], pictures: Sequence[bytes]) -> Tensor:
    """Choose the test emoji, [N] bool: about a tenth of the characters, with all their variants.

    Arguments:
        listed: The emoji.
        pictures: A hash of each one's picture; characters that share one are taken for one.
    """
    bases = [base(emoji.points) for emoji in listed]
    parent: dict[tuple[int, ...], tuple[int, ...]] = {b: b for b in bases}

    def led(b: tuple[int, ...]) -> tuple[int, ...]:
        while parent[b] != b:
            b = parent[b]
        return b

    first: dict[bytes, tuple[int, ...]] = {}
    for b, picture in zip(bases, pictures, strict=True):
        low_root, high_root = sorted((led(first.setdefault(picture, b)), led(b)))
        parent[high_root] = low_root
    hashes = {b: _hash(led(b)) for b in parent}
    return is_test([hashes[b] for b in bases], TEST_SHARE)


def _hash(character: Sequence[int]) -> int:
    text = "-".join(f"{point:04X}" for point in character)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _dataset(x: Tensor, listed: Sequence[Sequence[str]], test: Tensor) -> DataSet:
    codes, captions, groups = zip(*listed, strict=True)
    classes = tuple(dict.fromkeys(groups))
    class_index = {group: i for i, group in enumerate(classes)}
    labels = torch.tensor([class_index[group] for group in groups])

    def part(rows: Tensor) -> Split:
        chosen = rows.nonzero().flatten()
        indices = chosen.tolist()
        return Split(
            x[chosen], labels[chosen], [captions[i] for i in indices], [codes[i] for i in indices]
        )

    train, test_split = part(~test), part(test)
    shares = frequencies(train, classes)
    domain = Domain("image", tuple(x.shape[1:]), Levels(256), classes, shares)
    notes = (
        f"{ORIGIN}; licence: {LICENCE}",
        f"split by character, all variants on one side: {_counts(train, classes)} for training; "
        f"{_counts(test_split, classes)} for testing",
        f"with a skin tone: {_toned(train)} of {len(train)} for training, {_toned(test_split)} of "
        f"{len(test_split)} for testing; sequences of two different skin tones are left out",
    )
    return with_words(DataSet("emoji", domain, train, test_split, notes))


def _counts(split: Split, classes: Sequence[str]) -> str:
    assert split.labels is not None
    counts = Counter(split.labels.tolist())
    return ", ".join(f"{name} {counts[i]}" for i, name in enumerate(classes))


def _toned(split: Split) -> int:
    assert split.names is not None
    return sum(any(int(p, 16) in TONES for p in codes.split("-")) for codes in split.names)
