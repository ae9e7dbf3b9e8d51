"""Pictures of data: grids, pairs, walks and scatters, as Pillow images; animations as GIF bytes.

An image on L levels is shown with level k at grey value round(255 k / (L - 1)), and enlarged by
whole pixels only: what is seen is what was drawn. Gaps are transparent. Nothing is written to
disk here.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from trilemma.core.domain import Columns, Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.pictures import molecules, point_clouds
from trilemma.pictures.films import shared
from trilemma.pictures.graphs import growth, sheet
from trilemma.pictures.graphs import palette as graph_palette
from trilemma.pictures.palette import hue
from trilemma.pictures.plane import (
    Frame,
    coordinates_of,
    figure_image,
    set_frame,
    square_frame,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL.Image import Image

__all__ = [
    "animation",
    "densities",
    "grid",
    "levels_of",
    "neighbours",
    "pairs",
    "points",
    "sequences",
    "show",
    "tiles",
    "trajectory",
]

WIDTH = 512
"""Pixels that a picture is enlarged to, about."""
GAP = 2
"""Pixels between the images of a grid."""


def grid(
    images: Tensor,
    levels: int = 256,
    columns: int | None = None,
    scale: int | None = None,
    gap: int = GAP,
) -> Image:
    """Lay images out in rows.

    Arguments:
        images: [N, C, H, W] levels, C = 1 (grey) or 3 (colour).
        levels: Number of levels L; level L - 1 is white.
        columns: Images in a row; None makes the grid about square.
        scale: Side of a pixel after enlargement; None makes the picture about 512 wide.
        gap: Transparent pixels between images.

    Returns:
        An image of mode LA or RGBA, transparent in the gaps alone; L or RGB without gaps.

    Raises:
        BadInput: Where the tensor holds no images that can be drawn.

    >>> grid(torch.full((4, 1, 8, 8), 16), levels=17, scale=2).size
    (34, 34)
    """
    pixels = tiles(images, levels)
    columns = columns or math.ceil(math.sqrt(len(pixels)))
    columns = min(columns, len(pixels))
    if scale is None:
        scale = max(1, round((WIDTH - gap * (columns - 1)) / (columns * pixels.shape[2])))
    return _image(_mosaic(_enlarge(pixels, scale), columns, gap))


def neighbours(
    samples: Tensor,
    nearest: Tensor,
    levels: int = 256,
    columns: int | None = None,
    scale: int | None = None,
) -> Image:
    """Draw each sample above the training example that lies nearest to it.

    Arguments:
        samples: [N, C, H, W] levels.
        nearest: [N, C, H, W] levels, in the same order.
        levels: Number of levels.
        columns: Pairs in a row; None makes rows of 12.
        scale: Side of a pixel after enlargement.
    """
    above, below = tiles(samples, levels), tiles(nearest, levels)
    if above.shape != below.shape:
        raise BadInput(
            f"{len(above)} samples and {len(below)} neighbours were given, or of other shapes; "
            "each sample needs one neighbour of its own shape."
        )
    columns = min(columns or 12, len(above))
    width = above.shape[2]
    scale = scale or max(1, (WIDTH - 3 * GAP * (columns - 1)) // (columns * width))
    above, below = _enlarge(above, scale), _enlarge(below, scale)
    between = np.zeros((len(above), 1, *above.shape[2:]), np.uint8)
    return _image(_mosaic(np.concatenate([above, between, below], 1), columns, 3 * GAP))


def sequences(images: Tensor, levels: int = 256, scale: int | None = None) -> Image:
    """Draw sequences of images as strips: interpolations between codes, states of sampling.

    Arguments:
        images: [N, C, H, W] for one strip, or [R, N, C, H, W] for R of them.
        levels: Number of levels.
        scale: Side of a pixel after enlargement.
    """
    columns = images.shape[-4]
    return grid(images.reshape(-1, *images.shape[-3:]), levels, columns, scale, gap=1)


def points(x: Tensor, truth: Tensor | None = None, family: str = "", size: int = WIDTH) -> Image:
    """Draw points of the plane, over those of the data in grey where they are given.

    Arguments:
        x: [N, 2]; of more coordinates the first two are drawn, of one its histogram's place.
        truth: [M, 2], points of the data; they set the frame.
        family: Whose colour the points take; dark grey without one.
        size: Side of the picture in pixels.
    """
    from matplotlib.figure import Figure

    coordinates = coordinates_of(x)
    background = None if truth is None or not len(truth) else coordinates_of(truth)
    figure = Figure(figsize=(size / 100, size / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    area = max(1.0, min(16.0, 8000 / max(len(coordinates), 1)))
    if background is not None:
        axes.scatter(*background.T, s=area * 1.5, color="#c4c4c4", linewidths=0)
    axes.scatter(
        *coordinates.T,
        s=area,
        color=hue(family).light if family else "#3a3a3a",
        linewidths=0,
        alpha=0.7,
    )
    framed = coordinates if background is None else background
    framed = framed[np.isfinite(framed).all(axis=1)]
    if len(framed):
        set_frame(axes, square_frame(framed.min(0), framed.max(0), room=0.08))
    return figure_image(figure)


def pairs(
    x: Tensor, names: Sequence[str] = (), truth: Tensor | None = None, family: str = ""
) -> Image:
    """Draw rows of a table: each column's histogram, and each pair of columns as points.

    Arguments:
        x: [N, D]; the first six columns are drawn.
        names: Names of the columns.
        truth: [M, D], rows of the data, drawn beneath in grey; they set the frames.
        family: Whose colour the points take.
    """
    from matplotlib.figure import Figure

    values = x.detach().cpu().float().numpy()
    reference = values if truth is None or not len(truth) else truth.detach().cpu().float().numpy()
    count, colour = min(values.shape[1], 6), hue(family).light if family else "#3a3a3a"
    figure = Figure(figsize=(WIDTH / 100, WIDTH / 100), dpi=100)
    grid = figure.subplots(count, count, squeeze=False)
    figure.subplots_adjust(0.06, 0.06, 0.99, 0.99, 0.06, 0.06)
    finite = np.where(np.isfinite(reference).any(0), reference, 0.0)  # of a column all missing
    low, high = (np.nanpercentile(finite, q, axis=0) for q in (0.5, 99.5))
    margin = 0.15 * (high - low) + 1e-9
    for row in range(count):
        for column in range(count):
            axes = grid[row, column]
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_xlim(low[column] - margin[column], high[column] + margin[column])
            if row == column:
                bins = np.linspace(*axes.get_xlim(), num=40)
                if truth is not None:
                    _histogram(axes, reference[:, row], bins, color="#c4c4c4")
                _histogram(axes, values[:, row], bins, histtype="step", color=colour)
            else:
                axes.set_ylim(low[row] - margin[row], high[row] + margin[row])
                if truth is not None:
                    axes.scatter(
                        reference[:, column], reference[:, row], 2, "#c4c4c4", linewidths=0
                    )
                axes.scatter(values[:, column], values[:, row], 2, colour, linewidths=0, alpha=0.6)
            if row == count - 1 and column < len(names):
                axes.set_xlabel(names[column][:16], fontsize=7)
            if column == 0 and row < len(names):
                axes.set_ylabel(names[row][:16], fontsize=7)
    return figure_image(figure)


def _histogram(axes: Axes, values: np.ndarray, bins: np.ndarray, **style: Any) -> None:  # noqa: ANN401
    """Draw the density of those of a column's values that are there."""
    present = values[np.isfinite(values)]
    if len(present):
        axes.hist(present, bins.tolist(), density=True, **style)


def densities(panels: Mapping[str, Tensor], scatters: Mapping[str, Tensor], frame: Frame) -> Image:
    """Draw densities of the plane and points side by side, all in one frame.

    Arguments:
        panels: By title, p(x) on a grid, [R, R]: row i at the i-th ordinate from below; all
            share one scale, black to light.
        scatters: By title, points [N, 2].
        frame: Left, right, bottom and top.
    """
    from matplotlib.figure import Figure

    count = len(panels) + len(scatters)
    figure = Figure(figsize=(WIDTH / 100 * 1.6, WIDTH / 100 * 1.6 / count + 0.3), dpi=100)
    grid = figure.subplots(1, count, squeeze=False)[0]
    figure.subplots_adjust(0.005, 0.01, 0.995, 0.9, 0.03, 0)
    brightest = max((float(p[p.isfinite()].max()) for p in panels.values()), default=1.0)
    for axes, (title, p) in zip(grid, panels.items(), strict=False):
        axes.imshow(
            p.clamp(min=0).sqrt().numpy(),
            cmap="magma",
            vmin=0,
            vmax=math.sqrt(brightest),
            origin="lower",
            extent=frame,
            interpolation="bilinear",
        )
        axes.set_title(title, fontsize=9)
    for axes, (title, x) in zip(grid[len(panels) :], scatters.items(), strict=True):
        axes.scatter(*coordinates_of(x).T, s=1.2, color="#3a3a3a", linewidths=0, alpha=0.7)
        axes.set_title(title, fontsize=9)
        set_frame(axes, frame)
        axes.set_aspect("equal")
    for axes in grid:
        axes.set_xticks([])
        axes.set_yticks([])
    return figure_image(figure)


def show(x: Tensor, domain: Domain, truth: Tensor | None = None, family: str = "") -> Image:
    """Draw examples of a domain: images, points, a table's columns, graphs or molecules.

    Arguments:
        x: [N, *domain.shape], data units.
        domain: What an example is.
        truth: Points of the data, to be drawn beneath; images ignore it.
        family: Whose colour points take; images ignore it.
    """
    if domain.kind == "image":
        return grid(x, levels_of(domain))
    if domain.kind == "graph":
        return sheet(x)
    if domain.kind == "molecule":
        return molecules.sheet(x, domain.elements)
    if domain.kind in ("conformer", "point-cloud"):
        return point_clouds.sheet(x, domain.elements)
    if domain.dimensions <= 2:
        return points(x, truth, family)
    names = domain.columns or [f"x{i + 1}" for i in range(domain.dimensions)]
    if isinstance(domain.values, Columns):
        names = domain.values.header(names)
        data = None if truth is None else _without_gaps(truth, domain.values)
        return pairs(_without_gaps(x, domain.values), names, data, family)
    return pairs(x, names, truth, family)


def _without_gaps(x: Tensor, columns: Columns) -> Tensor:
    """Return rows without the columns that tell what is missing, which is NaN."""
    present = columns.present(x)
    visible = [i for i in range(x.shape[1]) if i not in columns.flags]
    return x.masked_fill(~present, torch.nan)[:, visible]


def trajectory(states: Sequence[Tensor], domain: Domain) -> bytes:
    """Film the trajectory of samples, one state after another.

    Arguments:
        states: [N, *domain.shape] each, data units; of graphs, nodes keep their places.
        domain: What an example is.

    Returns:
        A GIF file.
    """
    if domain.kind == "graph":
        return shared(growth(states), 120, chosen=graph_palette)
    if domain.kind == "molecule":
        return animation(molecules.growth(states, domain.elements), 160)
    if domain.kind in ("conformer", "point-cloud"):
        return animation(point_clouds.denoising(states, domain.elements), 120)
    return animation([show(x, domain) for x in states])


def levels_of(domain: Domain) -> int:
    """Return the number of levels of a domain's images, 256 where none is stated."""
    return domain.values.count if isinstance(domain.values, Levels) else 256


def animation(frames: Sequence[Image], milliseconds: int = 80, hold: int = 1500) -> bytes:
    """Put pictures of one size one after another, for ever.

    Arguments:
        frames: The pictures; transparent parts become white.
        milliseconds: Time of a picture.
        hold: Time of the last one.

    Returns:
        A GIF file.
    """
    from PIL import Image

    if not frames:
        raise BadInput("an animation needs at least one picture, and none was given.")
    flat = []
    for frame in frames:
        rgba = frame.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        flat.append(Image.alpha_composite(white, rgba).convert("RGB"))
    if all(frame.mode in ("L", "LA") for frame in frames):
        flat = [frame.convert("L") for frame in flat]
    file = io.BytesIO()
    times = [milliseconds] * (len(flat) - 1) + [hold]
    flat[0].save(
        file, "GIF", save_all=True, append_images=flat[1:], duration=times, loop=0, disposal=1
    )
    return file.getvalue()


def tiles(images: Tensor, levels: int) -> np.ndarray:
    """Return [N, H, W, C + 1] uint8: the values shown, and full opacity."""
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
        raise BadInput(
            f"a tensor of shape {tuple(images.shape)} was given as images; wanted "
            "[N, C, H, W] with at least one image and C = 1 (grey) or 3 (colour)."
        )
    top = max(levels - 1, 1)
    x = images.detach().cpu().double().nan_to_num(0).clamp(0, top)
    pixels = (x * (255 / top)).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return np.concatenate([pixels, np.full((*pixels.shape[:3], 1), 255, np.uint8)], -1)


def _enlarge(tiles: np.ndarray, scale: int) -> np.ndarray:
    return tiles.repeat(scale, 1).repeat(scale, 2)


def _mosaic(tiles: np.ndarray, columns: int, gap: int) -> np.ndarray:
    """Place tiles [N, H, W, K] in rows; gaps and empty places stay transparent."""
    n, h, w, k = tiles.shape
    rows = -(-n // columns)
    full = np.zeros((rows * (h + gap) - gap, columns * (w + gap) - gap, k), np.uint8)
    for i, tile in enumerate(tiles):
        y, x = (i // columns) * (h + gap), (i % columns) * (w + gap)
        full[y : y + h, x : x + w] = tile
    return full


def _image(pixels: np.ndarray) -> Image:
    from PIL import Image

    if (pixels[..., -1] == 255).all():
        pixels = pixels[..., :-1]
    h, w, k = pixels.shape
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[k]
    return Image.frombytes(mode, (w, h), pixels.tobytes())
