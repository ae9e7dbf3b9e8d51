"""Pictures of graphs: sheets of many, real ones beside samples, the growth of one, added edges.

Every graph is laid out by the one rule of `pictures.layout`, so that real and generated ones can
be compared. A node's colour tells how many neighbours it has, on one scale for all graphs and
pictures; edges are the fainter, the more of them there are. Pictures are Pillow images on white;
nothing is written to disk here.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trilemma.core.graph import adjacency, edges, sizes
from trilemma.pictures.layout import layout

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

__all__ = ["change", "growth", "pairs", "palette", "sheet", "side_by_side"]

MAX_GRAPHS = 36
"""Graphs on a sheet at most."""
ENTRIES = 6_000_000
"""Entries of the matrices of a sheet's graphs at most, but for the first four: larger ones take
long."""
SIDE, WORDS, GAP, KEY = 176, 18, 10, 22
"""Pixels of a graph's panel, of the words below it, between panels, and of the key to colours."""
MARGIN = 0.05
"""Share of a panel that stays free at each side."""
FINE, FILMED = 3, 2
"""How much finer a picture, and a frame of a film, is drawn than shown."""
COLOURS, PALE = 128, 247
"""Colours of a picture at most, and values from which on one is taken for white."""
LINE, ADDED = (84, 98, 117), (214, 40, 57)
PLAIN, NEW, INK = "#708096", "#d62839", "#5b6470"
DEGREES = {
    0: "#8a97a6",
    1: "#fdb42f",
    2: "#f48849",
    3: "#df6263",
    4: "#c23b81",
    8: "#8f0da4",
    16: "#3b0399",
}
"""Colours of nodes by their neighbours; between 4 and 8, and 8 and 16, they are mixed."""

Pairs = list[tuple[int, int]]


# Pictures


def sheet(x: Tensor, columns: int | None = None) -> Image:
    """Draw graphs beside each other, each with its numbers of nodes and edges.

    Arguments:
        x: [B, N, N]; the first `MAX_GRAPHS` are drawn, fewer if they are very large.
        columns: Graphs in a row; about square by default.

    >>> from trilemma.core.graph import graph
    >>> sheet(graph(3, [(0, 1), (1, 2)])[None]).mode
    'P'
    """
    panels = [_Panel.of(one) for one in _head(x)]
    return _flat(
        _with_key(_laid([p.picture(_height(panels)) for p in panels], _words(x), columns))
    )


def side_by_side(real: Tensor, samples: Tensor, columns: int = 4) -> Image:
    """Draw real graphs at the left and as many samples at the right."""
    count = min(len(_head(real)), len(_head(samples)))
    parts = {"real": real[:count], "samples": samples[:count]}
    panels = {title: [_Panel.of(one) for one in x.cpu()] for title, x in parts.items()}
    height = _height([panel for some in panels.values() for panel in some])
    halves = [
        _laid([p.picture(height) for p in panels[title]], _words(x), columns, title)
        for title, x in parts.items()
    ]
    return _flat(_with_key(_joined(halves)))


def pairs(samples: Tensor, nearest: Tensor, columns: int = 6) -> Image:
    """Draw each sample above the training graph that lies nearest to it."""
    count = min(len(_head(samples)), len(_head(nearest)))
    columns = max(1, min(columns, count))
    rows = []
    for start in range(0, max(count, 1), columns):
        stop = min(start + columns, count)
        rows += [samples[start:stop], nearest[start:stop]]
    panels = [[_Panel.of(one) for one in x.cpu()] for x in rows]
    height = _height([panel for row in panels for panel in row])
    row_images = [
        _laid([p.picture(height) for p in row], _words(x), columns)
        for row, x in zip(panels, rows, strict=True)
    ]
    return _flat(_with_key(_stacked(row_images, together=2)))


def growth(frames: Sequence[Tensor]) -> list[Image]:
    """Draw graphs on their way; each node stands where it stands in the last frame.

    Arguments:
        frames: [B, N, N] each; node i of one frame is node i of the next.
    """
    states = [_head(x) for x in frames]
    panels = [_Panel.of(one) for one in states[-1]]
    height = _height(panels)
    films = [list(panel.film([x[i] for x in states], height)) for i, panel in enumerate(panels)]
    return [_with_key(_laid([film[t] for film in films], _words(x))) for t, x in enumerate(states)]


def change(before: Tensor, after: Tensor, columns: int | None = None) -> Image:
    """Draw graphs with what was added to them in red.

    Arguments:
        before: [B, N, N].
        after: [B, N, N] with the same first nodes; laid out as they were before, unless there are
            new ones.
        columns: Graphs in a row; about square by default.
    """
    panels, words = [], []
    for one, more in zip(_head(before), _head(after), strict=True):
        panels.append(_Panel.grown(one, more))
        words.append(_added(one, more))
    laid = _laid([p.picture(_height(panels)) for p in panels], words, columns)
    return _flat(_with_key(laid, "", {"given": PLAIN, "new": NEW}))


def _added(one: Tensor, more: Tensor) -> str:
    """Say how many nodes and edges there were, and how many came.

    >>> from trilemma.core.graph import graph
    >>> _added(graph(2, [(0, 1)], limit=3), graph(3, [(0, 1), (1, 2)]))
    '2 + 1 nodes, 1 + 1 edges'
    """
    nodes, num_edges = int(sizes(one)), len(edges(one))
    new_nodes, new_edges = int(sizes(more)) - nodes, len(edges(more)) - num_edges
    size = f"{nodes:,} + {new_nodes:,} nodes" if new_nodes else _count(nodes, "node")
    return f"{size}, {num_edges:,} + {new_edges:,} edges"


def _head(x: Tensor) -> Tensor:
    """Take the first graphs, as many as are drawn."""
    most = max(4, ENTRIES // max(1, x.shape[-1] ** 2))
    return x[: min(MAX_GRAPHS, most)].cpu()


def _words(x: Tensor) -> list[str]:
    counts = [(int(sizes(one)), len(edges(one))) for one in _head(x)]
    return [f"{_count(nodes, 'node')}, {_count(joined, 'edge')}" for nodes, joined in counts]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


# One graph


@dataclass(frozen=True)
class _Panel:
    """A graph and where its nodes are drawn."""

    x: Tensor
    """[N, N]."""
    at: Tensor
    """[n, 2], in lengths of an edge."""
    before: Tensor | None = None
    """What there was already, [N, N]; what is new is drawn in red then."""

    @classmethod
    def of(cls, x: Tensor) -> _Panel:
        return cls(x, layout(x))

    @classmethod
    def grown(cls, before: Tensor, after: Tensor) -> _Panel:
        same = bool(sizes(before) == sizes(after))
        return cls(after, layout(before if same else after), before)

    @property
    def span(self) -> tuple[float, float]:
        """Return width and height, in lengths of an edge."""
        if not len(self.at):
            return 0.0, 0.0
        wide, high = (self.at.amax(0) - self.at.amin(0)).tolist()
        return wide, high

    def picture(self, height: int) -> Image:
        """Draw the graph in a panel as wide as `SIDE`."""
        canvas = _Canvas(self, height, FINE)
        if self.before is None:
            canvas.join(self._joined(self.x), LINE)
            return canvas.picture(_degrees(self.x))
        canvas.join(self._joined(self.before), LINE)
        canvas.join(self._joined((self.x > self.before).to(torch.uint8)), ADDED)
        old, now = int(sizes(self.before)), int(sizes(self.x))
        return canvas.picture([PLAIN] * old + [NEW] * (now - old))

    def film(self, states: Sequence[Tensor], height: int) -> Iterator[Image]:
        """Draw the graph on its way to what it is."""
        canvas = _Canvas(self, height, FILMED)
        drawn_edges: set[tuple[int, int]] = set()
        for x in states:
            edge_pairs = self._joined(x)
            if not drawn_edges <= set(edge_pairs):
                canvas, drawn_edges = _Canvas(self, height, FILMED), set()
            canvas.join([pair for pair in edge_pairs if pair not in drawn_edges], LINE)
            drawn_edges = set(edge_pairs)
            yield canvas.picture(_degrees(x))

    @staticmethod
    def _joined(x: Tensor) -> Pairs:
        return [(a, b) for a, b in edges(x).tolist()]


class _Canvas:
    """Edges of a graph as they are drawn so far, some times finer than they are shown."""

    def __init__(self, panel: _Panel, height: int, fine: int) -> None:
        from PIL import Image, ImageDraw

        self.small = (SIDE, height)
        width, height = SIDE * fine, height * fine
        self.spots = _fitted(panel.at, width, height)
        room = math.sqrt(width * height / max(len(panel.at), 1))
        self.radius = min(0.022 * width, 0.17 * room)
        self.image = Image.new("RGB", (width, height), "white")
        self.pen = ImageDraw.Draw(self.image, "RGBA")
        ink = self._ink(panel.x) * self.radius * 0.5 / (width * height)
        self.width = max(1, round(self.radius * (0.5 if ink < 0.5 else 0.25)))
        self.strength = round(255 * _strength(ink))

    def _ink(self, x: Tensor) -> float:
        """Return the length of all edges in pixels."""
        ends = torch.tensor(self.spots, dtype=torch.float64).reshape(-1, 2)[edges(x)]
        return float((ends[:, 0] - ends[:, 1]).norm(dim=1).sum())

    def join(self, joined: Pairs, colour: tuple[int, int, int]) -> None:
        """Draw edges; new ones are stronger."""
        strength = self.strength if colour == LINE else max(210, self.strength)
        width = self.width if colour == LINE else max(2, round(1.5 * self.width))
        for a, b in joined:
            self.pen.line([self.spots[a], self.spots[b]], fill=(*colour, strength), width=width)

    def picture(self, colours: Sequence[str]) -> Image:
        """Return the picture with its first nodes in colours, one each."""
        from PIL import Image, ImageDraw

        image, r = self.image.copy(), self.radius
        pen = ImageDraw.Draw(image)
        for (x, y), colour in zip(self.spots, colours, strict=False):
            pen.ellipse([x - r, y - r, x + r, y + r], fill=colour)
        return image.resize(self.small, Image.Resampling.LANCZOS)


def _strength(ink: float) -> float:
    """Return how dark an edge is where edges cover so many times the panel.

    >>> [round(_strength(ink), 2) for ink in (0.1, 1.0, 2.0, 30.0)]
    [0.62, 0.28, 0.17, 0.02]
    """
    return min(0.62, max(0.28 / max(ink, 1e-9), min(0.17, 0.7 / max(ink, 1e-9))))


def _fitted(at: Tensor, width: int, height: int) -> list[tuple[float, float]]:
    """Bring places into a panel, by one scale for both directions."""
    if not len(at):
        return []
    low, high = at.amin(0), at.amax(0)
    span, free = (high - low).clamp_min(2.0), 1 - 2 * MARGIN
    scale = min(width * free / float(span[0]), (height - 2 * MARGIN * width) / float(span[1]))
    middle = torch.tensor([width / 2, height / 2])
    return [(float(a), float(b)) for a, b in (at - (low + high) / 2) * scale + middle]


def _degrees(x: Tensor) -> list[str]:
    """Return the colour of each node that is there."""
    degree = adjacency(x).sum(0, dtype=torch.int64)[: int(sizes(x))]
    return [_colour(d) for d in degree.tolist()]


@functools.cache
def _colour(degree: int) -> str:
    """Return the colour of nodes with so many neighbours.

    >>> _colour(0), _colour(4), _colour(6), _colour(400)
    ('#8a97a6', '#c23b81', '#a42095', '#3b0399')
    """
    stops = sorted(DEGREES)
    d = min(max(degree, stops[0]), stops[-1])
    low, high = max(k for k in stops if k <= d), min(k for k in stops if k >= d)
    fraction = math.log(d / low) / math.log(high / low) if high > low else 0.0
    ends = [[int(DEGREES[k][i : i + 2], 16) for i in (1, 3, 5)] for k in (low, high)]
    mixed = [round(a + fraction * (b - a)) for a, b in zip(*ends, strict=True)]
    return "#" + "".join(f"{value:02x}" for value in mixed)


# Many


def _height(panels: Sequence[_Panel]) -> int:
    """Return how high panels are, for the highest drawing to fit: graphs are often flat."""
    most = 0.0
    for width, height in (panel.span for panel in panels):
        most = max(most, height / max(width, height, 2.0))
    return round(SIDE * min(1.0, max(most * (1 - 2 * MARGIN) + 2 * MARGIN, 0.34)))


@functools.cache
def _font(size: int = 10) -> Any:  # noqa: ANN401
    """Return the font that comes with matplotlib."""
    import matplotlib
    from PIL import ImageFont

    path = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")
    return ImageFont.truetype(path, size)


def _laid(
    pictures: Sequence[Image], words: Sequence[str], columns: int | None = None, title: str = ""
) -> Image:
    """Lay pictures of one size out in rows, with words below each and a title above all."""
    count = max(len(pictures), 1)
    columns = columns or math.ceil(math.sqrt(count))
    columns, rows = columns if count > columns else count, -(-count // columns)
    height = pictures[0].height if pictures else SIDE // 3
    step_x, step_y = SIDE + GAP, height + WORDS + GAP
    head = WORDS + 6 if title else 0
    canvas, pen = _blank(columns * step_x + GAP, rows * step_y + GAP + head)
    if title:
        pen.text((canvas.width / 2, GAP), title, fill=INK, font=_font(14), anchor="ma")
    for i, (picture, text) in enumerate(zip(pictures, words, strict=True)):
        left, top = GAP + i % columns * step_x, head + GAP + i // columns * step_y
        canvas.paste(picture, (left, top))
        pen.text((left + SIDE / 2, top + height + 2), text, fill=INK, font=_font(), anchor="ma")
    return canvas


def _blank(width: int, height: int) -> tuple[Image, ImageDraw]:
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (width, height), "white")
    return canvas, ImageDraw.Draw(canvas)


def _joined(halves: Sequence[Image]) -> Image:
    """Put pictures side by side, with a line between."""
    spacing = 2 * GAP
    width = sum(half.width + spacing for half in halves) - spacing
    canvas, pen = _blank(width, max(half.height for half in halves))
    x = 0
    for half in halves:
        if x:
            pen.line([(x - GAP, GAP), (x - GAP, canvas.height - GAP)], fill="#d5d9de")
        canvas.paste(half, (x, 0))
        x += half.width + spacing
    return canvas


def _stacked(rows: Sequence[Image], together: int) -> Image:
    """Put pictures below each other, with a line after each few that belong together."""
    gaps = [GAP if i and i % together == 0 else 0 for i in range(len(rows))]
    canvas, pen = _blank(
        max(row.width for row in rows), sum(row.height for row in rows) + sum(gaps)
    )
    top = 0
    for row, gap in zip(rows, gaps, strict=True):
        if gap:
            pen.line([(GAP, top + gap // 2), (canvas.width - GAP, top + gap // 2)], fill="#d5d9de")
        canvas.paste(row, (0, top + gap))
        top += row.height + gap
    return canvas


def _with_key(
    picture: Image, title: str = "neighbours", colours: Mapping[str, str] | None = None
) -> Image:
    """Say below a picture what colours mean: by default, those of nodes."""
    canvas, pen = _blank(picture.width, picture.height + KEY)
    canvas.paste(picture, (0, 0))
    middle, font = picture.height + KEY / 2 - 4, _font()
    last = max(DEGREES)
    colours = colours or {f"{k} or more" if k == last else f"{k}": c for k, c in DEGREES.items()}
    widths = [18 + font.getlength(name) for name in colours]
    head = font.getlength(title) + 12 if title else 0.0
    x = max(GAP, (canvas.width - sum(widths) - head) / 2)
    pen.text((x, middle), title, fill=INK, font=font, anchor="lm")
    x += head
    for (name, colour), width in zip(colours.items(), widths, strict=True):
        pen.ellipse([x - 3, middle - 3, x + 3, middle + 3], fill=colour)
        pen.text((x + 7, middle), name, fill=INK, font=font, anchor="lm")
        x += width
    return canvas


def _flat(picture: Image) -> Image:
    """Return a picture with few colours, which takes a quarter of the room in a file."""
    from PIL import Image

    return picture.quantize(palette=palette(picture), dither=Image.Dither.NONE)


def palette(picture: Image) -> Image:
    """Return an image whose palette has the colours of a picture, rare ones too, and white."""
    from PIL import Image

    quantised_image = picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE)
    values = quantised_image.getpalette() or []
    for i in range(0, len(values), 3):
        if min(values[i : i + 3]) >= PALE:
            values[i : i + 3] = [255, 255, 255]
    quantised_image.putpalette(values)
    return quantised_image
