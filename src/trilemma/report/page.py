"""What a page is made from: plain values and tensors, gathered by whoever ran the models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from trilemma.comparison.row import Row
from trilemma.core.domain import Domain
from trilemma.core.event import Event
from trilemma.data.dataset import DataSet
from trilemma.pictures import graphs, molecules, point_clouds
from trilemma.pictures.figures import grid, levels_of, neighbours, show
from trilemma.report.viewer import Scene, scene

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Comparison", "Entry", "Picture", "Portrait"]

MAX_SAMPLES = 64
"""Samples in a picture at most, and as many real examples beside them."""
GRAPHS = 16
"""Graphs in a picture at most."""
PAIRS = 24
"""Samples shown with their nearest training example at most."""


@dataclass(frozen=True)
class Picture:
    """Something to look at, with its words."""

    title: str
    image: Image | bytes | str
    """A Pillow image, the bytes of a PNG or GIF, or a chart's SVG; '' where it was not drawn."""
    caption: str = ""
    wide: bool = False
    """Whether it takes the whole width of the page."""

    @classmethod
    def missing(cls, title: str, reason: str) -> Picture:
        """Return what stands in the place of a picture that could not be drawn."""
        return cls(title, "", f"not drawn: {reason}")


@dataclass(frozen=True)
class Entry:
    """One recipe's result: its figures, and what it drew."""

    row: Row
    """Its figures."""
    samples: Tensor | Image | None = None
    """[N, *domain.shape], data units; or a picture already drawn."""
    neighbours: tuple[Tensor, Tensor] | Image | None = None
    """Samples and, in the same order, the training examples nearest to them."""
    events: Sequence[Event] = ()
    """Events of its training, for the learning curves."""
    pictures: Sequence[Picture] = ()
    """What belongs to it alone: a map of the codes, a walk, the way from noise to sample."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Fields of the recipe, by name, as they are shown; see `core.words.written`."""
    exhibits: Sequence[Picture] = ()
    """Examples that its scores are owed to most."""
    scene: Scene | None = None
    """Its samples in space, where the page's data are of another kind and samples a picture."""

    @property
    def recipe(self) -> str:
        """Return the name of the recipe, or the label that stands for it."""
        return self.row.name

    @property
    def family(self) -> str:
        """Return the name of its family."""
        return self.row.family


@dataclass(frozen=True)
class Portrait:
    """One trained run, for a page of its own."""

    entry: Entry
    real: Tensor | Image | None = None
    """[N, *domain.shape]: real examples to stand beside the samples."""
    domain: Domain | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    date: str = ""
    history: Sequence[Picture] = ()
    """Previews from the first steps to the last."""
    notes: Sequence[str] = ()
    """What a reader should know of the data: licence, files left out."""


@dataclass(frozen=True)
class Comparison:
    """Several recipes with the same budget, or runs that existed, on the same data."""

    data: str
    entries: Sequence[Entry]
    minutes: float | None = None
    """Budget of each recipe; None of runs that existed."""
    seed: int | Sequence[int] | None = None
    """Of all, or each of several."""
    real: Tensor | Image | None = None
    """[N, *domain.shape]: real examples to stand beside the samples."""
    domain: Domain | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    date: str = ""
    verdict: str | None = None
    """One sentence in place of the one that the ranking writes."""
    notes: Sequence[str] = ()
    """What a reader should know of the data: licence, files left out."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Fields that all were given, other than by default."""
    differences: Sequence[str] = ()
    """What differs among runs that existed, a sentence each."""

    @property
    def rows(self) -> list[Row]:
        """Return the figures of all entries."""
        return [entry.row for entry in self.entries]


def equal_counts(
    real: Tensor | Image | None, samples: Sequence[Tensor | Image | None]
) -> tuple[int, list[Tensor | Image | None]]:
    """Cut real examples and samples to one number, so that nobody is shown with more.

    Returns:
        The number, and the real examples followed by the samples.
    """
    examples = [real, *samples]
    counts = [len(x) for x in examples if isinstance(x, Tensor) and len(x)]
    ndims = {x.ndim for x in examples if isinstance(x, Tensor)}
    n = min([2000 if ndims <= {2} else GRAPHS if ndims == {3} else MAX_SAMPLES, *counts])
    return n, [x[:n] if isinstance(x, Tensor) else x for x in examples]


def scenes(comparison: Comparison) -> list[Scene | None]:
    """Return what can be turned: of the real examples, then of the samples of each entry."""
    _, examples = equal_counts(comparison.real, [entry.samples for entry in comparison.entries])
    fallbacks = [None, *(entry.scene for entry in comparison.entries)]
    domain = comparison.domain
    if domain is None or domain.kind != "conformer":
        return fallbacks
    return [
        scene(x, domain.elements) if isinstance(x, Tensor) else fallback
        for x, fallback in zip(examples, fallbacks, strict=True)
    ]


def draw(
    x: Tensor | Image, domain: Domain | None, truth: Tensor | None = None, family: str = ""
) -> Image:
    """Draw tensors by their domain; a picture stays as it is."""
    if not isinstance(x, Tensor):
        return x
    return show(x, domain or _guess(x), truth, family)


def pairs(entry: Entry, domain: Domain | None) -> Image | None:
    """Draw an entry's samples above their nearest training examples, where it has them."""
    nearest_pair = entry.neighbours
    if not isinstance(nearest_pair, tuple):
        return nearest_pair
    samples, nearest = nearest_pair
    if samples.ndim < 3 or not len(samples):
        return None
    return _above(samples[:PAIRS], nearest[:PAIRS], domain)


def exhibit(samples: Tensor, training_examples: Tensor | None, data: DataSet) -> Image:
    """Draw the examples that a score is owed to most.

    Arguments:
        samples: [N, *domain.shape], data units.
        training_examples: As many, each drawn below its sample; points and rows are drawn over
            the data instead.
        data: What they are samples of.
    """
    if samples.ndim >= 3 and training_examples is not None and len(training_examples):
        return _above(samples, training_examples, data.domain)
    if samples.ndim == 4:
        return grid(samples, levels_of(data.domain), len(samples), gap=4)
    return show(samples, data.domain, data.test.x[:2000])


def _above(samples: Tensor, below: Tensor, domain: Domain | None) -> Image:
    if domain is not None and domain.kind == "molecule":
        return molecules.pairs(samples, below, domain.elements)
    if domain is not None and domain.kind in ("conformer", "point-cloud"):
        return point_clouds.pairs(samples, below, domain.elements)
    if samples.ndim == 3:
        return graphs.pairs(samples, below)
    levels = getattr(domain.values, "count", 256) if domain else 256
    return neighbours(samples, below, levels)


def _guess(x: Tensor) -> Domain:
    from trilemma.core.domain import Levels, Real

    if x.ndim == 4:
        return Domain("image", tuple(x.shape[1:]), Levels(256))
    if x.ndim == 3:
        return Domain("graph", tuple(x.shape[1:]), Levels(2))
    return Domain("points", tuple(x.shape[1:]), Real())
