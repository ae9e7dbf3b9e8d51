"""HTML that is escaped unless it was made here: a string is text, `Markup` is markup."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from trilemma.pictures.palette import FAMILIES, OTHER, Hue, hue

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Child", "Markup", "element", "glyph", "image", "inline", "name_of"]

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and those that turn writing round: neither shows, and none may steer."""
VOID = frozenset({"img", "meta", "br", "link", "col"})


class Markup(str):
    """Text that is HTML already."""


Child: TypeAlias = "str | int | Iterable[Child] | None"


def element(tag: str, *children: Child, **attributes: str | bool | None) -> Markup:
    """Make an element. Strings are escaped, None is left out, and lists are opened.

    An attribute's name loses a trailing underscore; False and None leave it out.

    >>> element("p", "a < b", element("b", "!"), class_="x")
    '<p class="x">a &lt; b<b>!</b></p>'
    """
    parts = [tag]
    for name, value in attributes.items():
        plain = name.rstrip("_").replace("_", "-")
        if value is True:
            parts.append(plain)
        elif value is not None and value is not False:
            parts.append(f'{plain}="{_escape(value)}"')
    start = f"<{' '.join(parts)}>"
    return Markup(start if tag in VOID else f"{start}{text(children)}</{tag}>")


def text(child: Child) -> Markup:
    """Escape what is not markup, and join."""
    if child is None:
        return Markup("")
    if isinstance(child, Markup):
        return child
    if isinstance(child, str | int):
        return Markup(_escape(child))
    return Markup("".join(text(part) for part in child))


def _escape(value: str | int) -> str:
    return html.escape(CONTROL.sub("\ufffd", str(value)), quote=True)


def image(picture: Image | bytes | str, alt: str, **attributes: str | bool | None) -> Markup:
    """Put a picture into the page: a Pillow image, the bytes of a PNG or GIF, or a chart's SVG.

    Arguments:
        picture: The picture.
        alt: Its name.
        attributes: Of the element, where it is not a chart.
    """
    if isinstance(picture, str):
        return inline(picture)
    if not isinstance(picture, bytes):
        file = io.BytesIO()
        picture.save(file, "PNG", optimize=True)
        picture = file.getvalue()
    kind = "gif" if picture[:3] == b"GIF" else "png"
    source = f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
    return element("img", src=source, alt=alt, **attributes)


def inline(svg: str) -> Markup:
    """Put a chart into the page, with the families' colours as variables of the page.

    It is as wide as it was laid out, so that its words have the size that they were given;
    namespaces are not needed within HTML.
    """
    start, end = CONTROL.sub("\ufffd", svg).split(">", 1)
    start = re.sub(r' (?:xmlns(?::\w+)?|width|height|version)="[^"]*"', "", start)
    if box := re.search(r'viewBox="0 0 ([\d.]+) ', start):
        start = f'{start} style="width:{float(box[1]):g}px"'
    for family in (*FAMILIES.values(), OTHER):
        end = end.replace(family.light, f"var(--{family.name})")
    return Markup(f"{start}>{end}".strip())


@cache
def glyph(family: str) -> Markup:
    """Draw a family's marker in its colour, to stand beside a name."""
    from matplotlib.markers import MarkerStyle

    colour: Hue = hue(family)
    marker = MarkerStyle(colour.marker)
    path = marker.get_path().transformed(marker.get_transform())
    shape = np.asarray(path.to_polygons(closed_only=True)[0])
    span = np.abs(shape).max()
    corners = " ".join(f"{x / span * 7:.1f},{-y / span * 7:.1f}" for x, y in shape)
    polygon = element("polygon", points=corners, fill=f"var(--{colour.name})")
    return element("svg", polygon, class_="glyph", viewBox="-8 -8 16 16", aria_hidden="true")


def name_of(family: str, recipe: str) -> Markup:
    """Write a recipe's name behind the marker of its family."""
    return element("span", glyph(family), element("bdi", recipe), class_="name")
