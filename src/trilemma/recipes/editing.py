"""Samples made from a user's own pictures, graphs and fragments: completed, edited, enlarged.

A run's model draws new examples; what is made here keeps something of one that is given.
Each is a model again, so that it is sampled as any other: sample i depends on nothing but the
weights, the picture, the seed and i.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from trilemma.core.batch import Condition
from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.core.graph import adjacency, sizes, stacked
from trilemma.core.model import Completing, Editing, Improving, Model, Objective, Restoring
from trilemma.core.noise import Noise
from trilemma.core.session import Session
from trilemma.core.words import joined
from trilemma.data import graph_files
from trilemma.data.completion_inputs import in_levels
from trilemma.data.images import UnusableImage, centre_square, read_header
from trilemma.data.pictures import printable
from trilemma.maths.diffusion.samplers import SAMPLERS
from trilemma.networks.tiling import enlarge, tile_starts
from trilemma.recipes.catalog import CATALOG
from trilemma.recipes.runs import Loaded, untrained

__all__ = [
    "able",
    "blended",
    "completing",
    "editing",
    "enlarged",
    "improved",
    "photo",
    "picture",
    "refuse_completion",
    "refuse_strength",
]

LARGEST = 4_000_000
"""Pixels of an enlarged photo at most."""
LARGEST_NETWORK = 400
"""Nodes of a network that is improved at most: every act reads all of it."""
AT_ONCE = 16
"""Tiles in one evaluation."""

Make = Callable[[int, Condition | None, Noise | None], Tensor]
"""(n, condition, noise) -> n examples in data units."""


class _Derived(Model):
    """A trained model that makes something of a picture instead of drawing new ones."""

    def __init__(self, model: Model, make: Make) -> None:
        super().__init__()
        self.model, self.make = model, make

    def objectives(self) -> Sequence[Objective]:
        """Return nobody: it is not trained."""
        return []

    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Tensor:
        """Make n examples of the picture."""
        return self.make(n, condition, noise)


# What a run can do


def able(ability: type, domain: Domain) -> str:
    """Say which recipes of the catalogue have an ability on such data."""
    recipe_names = []
    for name, kind in CATALOG.items():
        with suppress(BadInput):
            if isinstance(untrained(kind(), domain, 0), ability):
                recipe_names.append(name)
    return f"{joined(recipe_names)} can" if recipe_names else "no recipe can, on such data"


def _refuse(loaded: Loaded, ability: type, what: str, hint: str = "") -> None:
    if not isinstance(loaded.model, ability):
        raise BadInput(
            f"recipe '{loaded.recipe.name}' cannot {what}; {able(ability, loaded.domain)}.{hint}"
        )


def refuse_strength(strength: float) -> None:
    """Refuse a strength of editing that is none."""
    if not 0 < strength <= 1:
        raise BadInput(
            f"strength {strength:g} was given; it is above 0, where all is kept, and at most 1, "
            "where nothing is."
        )


def refuse_completion(loaded: Loaded) -> None:
    """Refuse an image, a graph or a fragment to be completed where the run's model cannot."""
    if loaded.domain.kind == "graph":
        _refuse(loaded, Completing, "complete a graph")
    if loaded.domain.kind in ("conformer", "point-cloud"):
        _refuse(loaded, Completing, "complete a fragment")
    _refuse(loaded, Completing, "complete an image", " --cond names a class here.")


# Models that keep something of a picture


def completing(loaded: Loaded, x: Tensor, mask: Tensor) -> Model:
    """Return a model whose samples complete an image, a graph or a fragment in space.

    Arguments:
        loaded: The run.
        x: The image, the graph or the fragment, [*shape], data units.
        mask: True where x is given, [*shape] bool.
    """
    model = loaded.model
    assert isinstance(model, Completing)
    x, mask = (v.to(_device(model)) for v in (x, mask))

    def make(n: int, condition: Condition | None, noise: Noise | None) -> Tensor:
        inputs, known_mask = x.expand(n, *x.shape), mask.expand(n, *x.shape)
        return model.complete(inputs, known_mask, condition=condition, noise=noise)

    return _Derived(model, make)


def editing(loaded: Loaded, path: str | Path, strength: float) -> Model:
    """Return a model whose samples are a picture after noise, and the way back (SDEdit).

    Arguments:
        loaded: The run.
        path: The picture, of any size: its centre square is used, at the model's size.
        strength: Time up to which noise is put on it: near 0 all is kept, at 1 nothing.

    Raises:
        BadInput: The model edits no images, or the strength is not in (0, 1].
    """
    _refuse(loaded, Editing, "edit an image")
    refuse_strength(strength)
    model = loaded.model
    assert isinstance(model, Editing)
    x = picture(path, loaded.domain).to(_device(loaded.model))

    def make(n: int, condition: Condition | None, noise: Noise | None) -> Tensor:
        return model.edit(x.expand(n, *x.shape), strength, condition=condition, noise=noise)

    return _Derived(model, make)


@torch.no_grad()
def blended(loaded: Loaded, a: str | Path, b: str | Path, count: int) -> Tensor:
    """Return pictures on the way from one to another through their codes, [count, C, H, W].

    Raises:
        BadInput: The model has no such way, or fewer than two pictures are asked for.
    """
    _refuse(loaded, Editing, "go from one image to another")
    if count < 2:
        raise BadInput(f"-n {count} was given; a way from one image to another has 2 or more.")
    model = loaded.model
    device = _device(model)
    assert isinstance(model, Editing)
    first, last = (picture(path, loaded.domain)[None].to(device) for path in (a, b))
    return model.between(first, last, count)[:, 0].cpu()


@torch.no_grad()
def enlarged(
    loaded: Loaded,
    path: str | Path,
    session: Session,
) -> Tensor:
    """Enlarge a photo of any size, by overlapping tiles.

    Arguments:
        loaded: A run whose model makes large images of small ones.
        path: The photo; grey or colour, turned upright, transparency laid on white.
        session: Its seed is that of what is drawn; told of the evaluations done, and about how
            many there will be.

    Returns:
        [C, scale h, scale w] uint8, 0 … 255.

    Raises:
        BadInput: The model enlarges nothing, or the photo is too small or too large for it.
    """
    _refuse(loaded, Restoring, "enlarge a photo")
    model = loaded.model
    assert isinstance(model, Restoring)
    small = photo(path)
    height, width = (side * model.scale for side in small.shape[1:])
    if height * width > LARGEST:
        raise BadInput(
            f"'{printable(str(path))}' would become {width} by {height} pixels, and at most "
            f"{LARGEST // 1_000_000} megapixels are drawn; give a smaller photo."
        )
    total, done = _evaluations(loaded, height, width), 0

    def checked() -> None:
        nonlocal done
        session.report("", min(done, total), total)
        done += 1

    noise = Noise.for_samples(session.seed, 0, 1, _device(loaded.model))
    large = enlarge(model, small, noise=noise, at_once=AT_ONCE, check=checked)  # type: ignore[arg-type]
    session.progress("", total, total)
    return large


def _evaluations(loaded: Loaded, height: int, width: int) -> int:
    """Return about how many network evaluations enlarging takes."""
    tile = min(loaded.domain.shape[1:])
    if min(height, width) < tile:
        return 1
    tiles = math.prod(len(tile_starts(side, tile, tile // 4)) for side in (height, width))
    recipe = loaded.recipe
    steps = getattr(recipe, "sample_steps", 1)
    if getattr(recipe, "method", "diffusion") != "diffusion":
        steps = 1
    calls = getattr(SAMPLERS.get(getattr(recipe, "sampler", "")), "calls", 1)
    return -(-tiles // AT_ONCE) * steps * (calls if isinstance(calls, int) else 1)


# Networks as they are given


@dataclass(frozen=True)
class Improved:
    """Networks, and what a policy has made of them."""

    before: UInt8[Tensor, "B N N"]
    after: UInt8[Tensor, "B N N"]
    what: str
    """What was raised."""
    worth: tuple[float, float]
    """Mean of it before and after."""

    def sentence(self) -> str:
        """Say what was raised, and by how much."""
        added = (int(self.after.sum()) - int(self.before.sum())) // 2
        return (
            f"{self.what}: {self.worth[0]:.4f} before, {self.worth[1]:.4f} after; networks: "
            f"{len(self.before):,}, edges added: {added:,}"
        )


@torch.no_grad()
def improved(loaded: Loaded, path: str | Path, seed: int) -> Improved:
    """Improve the networks of a file by a run that was trained to, of any size it can take.

    Arguments:
        loaded: A run whose model improves networks.
        path: A file or a folder of graphs.
        seed: Of the chances by which worth is estimated.

    Raises:
        BadInput: The model improves nothing, the file holds no network, or one that is too large
            or has every edge.
    """
    model = loaded.model
    assert isinstance(model, Improving)
    _require_file(path)
    contents = graph_files.read_graphs(Path(path))
    if contents.unreadable:
        reason, names = next(iter(contents.unreadable.items()))
        raise BadInput(f"'{printable(names[0])}' cannot be improved: {reason}.")
    largest = max((one.nodes for one in contents.graphs), default=0)
    if not largest or largest > LARGEST_NETWORK:
        size = f"a network of {largest:,} nodes" if largest else "no network"
        raise BadInput(
            f"'{printable(str(path))}' holds {size}; a policy takes networks of 2 to "
            f"{LARGEST_NETWORK} nodes."
        )
    x = stacked([graph_files.dense(one, largest) for one in contents.graphs])
    pairs = sizes(x) * (sizes(x) - 1) // 2
    if bool((adjacency(x).sum((1, 2)) // 2 >= pairs).any()):
        raise BadInput(
            f"'{printable(str(path))}' holds a network of which every two nodes are joined, to "
            "which no edge can be added."
        )
    x = x.to(_device(loaded.model))
    after = model.improve(x)
    worth = [float(model.worth(graphs, seed=seed).double().mean()) for graphs in (x, after)]
    return Improved(x.cpu(), after.cpu(), model.improves, (worth[0], worth[1]))


# Pictures as they are given


def picture(path: str | Path, domain: Domain) -> Tensor:
    """Read a picture's centre square at the size and in the levels of a model's images.

    Returns:
        [C, H, W], data units.

    Raises:
        BadInput: The model's images are no squares of levels, or the file cannot be used.
    """
    if domain.kind != "image" or not isinstance(domain.values, Levels):
        raise BadInput("--cond with an image wants a model of images, and this run's are points.")
    channels, height, width = domain.shape
    if height != width:
        raise BadInput(
            f"this run's images are {width} by {height} pixels, and pictures are read as squares."
        )
    _require_file(path)
    try:
        pixel_values = centre_square(Path(path), width).transpose(1, 2, 0)
    except UnusableImage as error:
        raise BadInput(f"the image '{printable(str(path))}' cannot be used: {error}.") from None
    return in_levels(pixel_values, channels, domain.values)


def photo(path: str | Path) -> Tensor:
    """Read a photo whole, upright, [C, h, w] uint8; C is 1 where the file is grey.

    Raises:
        BadInput: The file cannot be used.
    """
    _require_file(path)
    try:
        read_header(Path(path))
        with Image.open(path) as image:
            image.load()
            is_grey = image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;")
            frame = image
            if image.mode.startswith("I"):
                wide_values = np.asarray(image).astype(np.uint32)
                frame = Image.fromarray((wide_values * 255 // 65535).astype(np.uint8))
            with suppress(Exception):  # damaged EXIF: the image is taken as it lies
                frame = ImageOps.exif_transpose(frame)
            if frame.has_transparency_data:
                frame = frame.convert("RGBA")
                white = Image.new("RGBA", frame.size, "white")
                frame = Image.alpha_composite(white, frame)
            values = np.array(frame.convert("L" if is_grey else "RGB"))
    except (UnusableImage, OSError, ValueError, SyntaxError) as error:
        why = error if isinstance(error, UnusableImage) else "damaged or cut short"
        raise BadInput(f"the image '{printable(str(path))}' cannot be used: {why}.") from None
    return torch.from_numpy(values[..., None] if values.ndim == 2 else values).permute(2, 0, 1)


def _require_file(path: str | Path) -> None:
    if not Path(path).exists():
        raise BadInput(f"there is no file '{printable(str(path))}'.")


def _device(model: torch.nn.Module) -> torch.device:
    return next(model.parameters()).device
