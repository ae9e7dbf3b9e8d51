"""Images, graphs and molecules of which a part is given, and what says which part.

The mask of an image is one of the same size, white where something is to be drawn and black where
the image is to be kept; or a word: `bottom`, `right`, `top` or `left` for the half to be drawn.
Of graphs and of molecules in space the whole file is given, and more is drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.core.point_cloud import mask_of, point_cloud
from trilemma.core.words import joined
from trilemma.data import fragment_files, graph_files
from trilemma.data.images import SUFFIXES, UnusableImage, centre_square, read_header
from trilemma.data.pictures import printable

__all__ = [
    "HALVES",
    "in_levels",
    "is_fragment",
    "is_image",
    "read_fragment",
    "read_graph",
    "read_image_with_mask",
]

HALVES = ("bottom", "right", "top", "left")
GREY = np.array([0.299, 0.587, 0.114])


def is_image(text: str) -> bool:
    """Tell whether a word is the path of an image rather than the name of a class."""
    return Path(text).suffix.lower() in SUFFIXES


def is_fragment(text: str) -> bool:
    """Tell whether a word is the path of a fragment in space.

    >>> is_fragment("core.sdf"), is_fragment("alpha=80.5")
    (True, False)
    """
    return Path(text).suffix.lower() in fragment_files.FORMS


def read_image_with_mask(image: str, mask: str, domain: Domain) -> tuple[Tensor, Tensor]:
    """Read an image and its mask.

    Arguments:
        image: Path of the image.
        mask: Path of the mask, or one of `HALVES`.
        domain: The space of the model's images.

    Returns:
        The image in data units, [C, H, W], and the mask, [C, H, W] bool, true where it is given.

    Raises:
        BadInput: A file cannot be read or has another size than the model's images, or the mask
            leaves nothing to be drawn.
    """
    if domain.kind != "image" or not isinstance(domain.values, Levels):
        raise BadInput("--cond with an image completes images, and this run's data are points.")
    channels, height, width = domain.shape
    x = in_levels(_read(image, "the image", height, width), channels, domain.values)
    inpaint_mask = torch.zeros(height, width, dtype=torch.bool)
    if mask in HALVES:
        rows, columns = slice(None), slice(None)
        if mask in ("bottom", "top"):
            rows = slice(height // 2, None) if mask == "bottom" else slice(height // 2)
        else:
            columns = slice(width // 2, None) if mask == "right" else slice(width // 2)
        inpaint_mask[rows, columns] = True
    else:
        inpaint_mask = torch.from_numpy(_read(mask, "the mask", height, width).mean(-1) >= 128)
    if not inpaint_mask.any():
        raise BadInput(
            f"the mask '{printable(mask)}' is black all over, so nothing is to be drawn."
        )
    return x, (~inpaint_mask).expand(channels, height, width)


def read_graph(path: str, domain: Domain) -> tuple[Tensor, Tensor]:
    """Read a graph that is to be completed.

    Arguments:
        path: A file of one graph.
        domain: The space of the model's graphs.

    Returns:
        The graph with places for as many nodes as the model's have, [N, N], and where it is known:
        between its own nodes, [N, N] bool.

    Raises:
        BadInput: The file holds no graph, or one that is as large as the model's largest.
    """
    network, limit = graph_files.read(Path(path)), domain.shape[0]
    if network.nodes >= limit:
        raise BadInput(
            f"the graph '{printable(path)}' has {network.nodes:,} nodes, and this run's graphs "
            f"have {limit:,} at most, so that there is nothing to be added; give a smaller one."
        )
    x = graph_files.dense(network, limit)
    is_node = x.diagonal().bool()
    return x, is_node[:, None] & is_node


def read_fragment(path: str, domain: Domain, warn: Callable[[str], None]) -> tuple[Tensor, Tensor]:
    """Read a fragment of a molecule, or of another point cloud, that is to be completed.

    Arguments:
        path: A file of one fragment, or of several whose mutual positions are kept.
        domain: The space of the model's clouds.
        warn: Called with what was read as something else.

    Returns:
        The fragment where it lies, with room for as many points as the model's clouds have,
        [N, 4], and where it is known: in the rows of its points, [N, 4] bool.

    Raises:
        BadInput: The data are no clouds, or points where the fragment is of atoms; the file holds
            no fragment that can be used; it has an element that the data have not, or as many
            points as the largest cloud.
    """
    name = printable(Path(path).name)
    if domain.kind not in ("conformer", "point-cloud"):
        raise BadInput(
            f"--cond {printable(path)} is a file of a fragment in space, and this run's model, of "
            f"data of kind '{domain.kind}', cannot complete one; give a run of molecules in space."
        )
    fragment, changes = fragment_files.read(Path(path))
    for change in changes:
        warn(f"'{name}' has {change}")
    elements, limit, count = domain.elements, domain.shape[0], len(fragment.positions)
    if bool(fragment.symbols) != bool(elements):
        kinds = ("points that are no atoms", "atoms")
        raise BadInput(
            f"'{name}' holds {kinds[bool(fragment.symbols)]}, and this run's data are of "
            f"{kinds[bool(elements)]}; give a fragment of such."
        )
    if missing := sorted(set(fragment.symbols) - set(elements)):
        raise BadInput(
            f"the fragment of '{name}' has {joined(missing)}, and this run's molecules are of "
            f"{joined(elements)} alone; give a fragment of these."
        )
    what = "atoms" if elements else "points"
    if count >= limit:
        raise BadInput(
            f"the fragment of '{name}' has {count:,} {what}, and this run's largest example has "
            f"{limit:,}, so that there is nothing to be added; give a smaller one."
        )
    kinds_of_points = [elements.index(symbol) + 1 for symbol in fragment.symbols] or None
    x = point_cloud(fragment.positions, kinds_of_points, limit)
    return x, mask_of(x)[:, None].expand(limit, 4)


def in_levels(picture: np.ndarray, channels: int, values: Levels) -> Tensor:
    """Return a colour picture, [H, W, 3] 0 … 255, as levels, [channels, H, W]; 1 makes it grey."""
    shades = picture if channels == 3 else (picture @ GREY)[..., None]
    top = values.count - 1
    return torch.from_numpy(np.rint(shades * (top / 255)).astype(np.uint8)).permute(2, 0, 1)


def _read(path: str, what: str, height: int, width: int) -> np.ndarray:
    """Read an image of exactly this size, [H, W, 3]."""
    name = printable(path)
    if not Path(path).exists():
        hint = f"; a mask is a file or one of {', '.join(HALVES)}" if what == "the mask" else ""
        raise BadInput(f"there is no file '{name}' for {what}{hint}.")
    try:
        image_head = read_header(Path(path))
        if (image_head.width, image_head.height) != (width, height):
            raise BadInput(
                f"{what} '{name}' is {image_head.width} by {image_head.height} pixels, and the "
                f"model's images are {width} by {height}; resize it first."
            )
        return centre_square(Path(path), width).transpose(1, 2, 0)
    except UnusableImage as error:
        raise BadInput(f"{what} '{name}' cannot be used: {error}.") from None
