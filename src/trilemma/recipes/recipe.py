"""What a recipe is: a page of plain numbers that says how to build, feed and train one model."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.model import Model, Stage
from trilemma.data.dataset import DataSet
from trilemma.data.example_properties import without_properties
from trilemma.data.stream import ExampleStream

__all__ = [
    "SMALL_BATCH",
    "Choice",
    "Plot",
    "Recipe",
    "conditional_classes",
    "is_small",
    "updates_wanted",
]


LEAST = 200
"""Updates without which no recipe is ranked."""
BATCH = 128
"""Examples an update, usually."""
SMALL = 16
"""Pixels a side of images that are small."""
SMALL_BATCH = 32
"""Examples an update of recipes that take fewer where images are small."""


@dataclass(frozen=True)
class Plot:
    """Curves that belong to a recipe, whatever it is trained on."""

    x: Sequence[float]
    ys: Mapping[str, Sequence[float]]
    across: str = ""
    """What x is."""
    up: str = ""
    """What the curves are."""
    log: bool = False
    """Whether the upright axis is logarithmic."""


class Choice:
    """What a field of names may be: the names of a registry, looked up when they are asked for.

    `sampler: Annotated[str, Choice(SAMPLERS)]` takes every sampler that is registered, those of a
    plug-in among them.

    Arguments:
        registry: Its keys, or itself, are the names.
        extra_names: Further names, which stand before them: "auto", "none".
    """

    def __init__(self, registry: Collection[str], *extra_names: str) -> None:
        self.registry, self.extra_names = registry, extra_names

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names."""
        return tuple(dict.fromkeys((*self.extra_names, *self.registry)))


@dataclass(frozen=True, kw_only=True)
class Recipe(ABC):
    """The fields that every recipe has; a recipe adds its own, about fifteen in all.

    The docstring under a field is its help on the command line.
    """

    name: ClassVar[str]
    family: ClassVar[str]
    reference: ClassVar[str]
    """Title, authors, year, arXiv number."""
    kinds: ClassVar[tuple[str, ...]] = ("image", "points")
    """Kinds of data that it fits."""
    is_generator: ClassVar[bool] = True
    """Whether it learns how data are distributed, so that comparisons take it unasked."""
    at_sampling: ClassVar[tuple[str, ...]] = ()
    """Fields that may be changed after training, when sampling: options of the model's `adjusted`
    by the same name, but that `sample_steps` is `steps` there."""

    batch: int = BATCH
    """Examples an update, over all devices and accumulated parts together."""
    accumulate: int = 1
    """Parts into which a batch is cut, one after another, to save memory."""
    lr: float = 1e-3
    """Peak learning rate of AdamW."""
    warmup: int = 100
    """Updates over which the learning rate rises."""
    clip: float = 1.0
    """Largest norm of an objective's gradient; 0 leaves it alone."""
    ema: float = 0.999
    """Decay of the averaged weights; it warms up as (1 + k) / (10 + k)."""

    betas: ClassVar[tuple[float, float]] = (0.9, 0.99)
    """AdamW's memory of the gradient and of its square."""
    decay: ClassVar[float] = 0.0
    """AdamW's weight decay."""
    bf16: ClassVar[bool] = True
    """Whether training in bf16 was measured to be faster where the processor has it."""
    least_updates: ClassVar[int] = 200
    """Fewest updates at which a comparison ranks it; 200 unless measured otherwise, never less."""

    @property
    def goal(self) -> str | None:
        """Return the name of the reward that is sought; None where the data are imitated."""
        return None

    def entries(self) -> Collection[tuple[str, str]]:
        """Return what it uses of registries beside the choices of its fields: kind and name."""
        return ()

    @abstractmethod
    def model(self, domain: Domain) -> Model:
        """Build the untrained model for data of this domain."""

    def notes(self) -> Sequence[str]:
        """Say what a user should know of what was given, such as what of it cannot be used."""
        return ()

    def data_for(self, data: DataSet) -> DataSet:
        """Return a data set as this recipe learns it: of its kind, and without properties.

        Raises:
            BadInput: The data lack what a field of the recipe asks of them.
        """
        return without_properties(data.viewed(self.kinds))

    def stages(self, model: Model, data: DataSet, seed: int) -> Sequence[Stage]:
        """Return the parts of training; one, on the data, unless a recipe says otherwise."""
        batch = self.batch_for(data.domain)
        return [Stage("model", model, lambda: ExampleStream(data.train, batch, seed))]

    def batch_for(self, domain: Domain) -> int:
        """Return the examples an update on data of a domain: `batch`, unless 0 lets it choose.

        In the same time, the more updates of fewer examples were worth more for small images, by
        far: networks of many pixels have many losses an example.
        """
        return self.batch or (SMALL_BATCH if is_small(domain) else BATCH)

    def fitted(self, rows: int, domain: Domain, *, processes: int = 1) -> tuple[Self, str]:
        """Choose the batch for the data, no larger than they are.

        Arguments:
            rows: Training examples.
            domain: Where they lie.
            processes: How many share a batch.

        Returns:
            The recipe, with the largest batch that the examples fill and that parts and processes
            share evenly; and a sentence that names both numbers where a batch was too large.

        Raises:
            BadInput: There are fewer examples than processes.
        """
        batch_size = self.batch_for(domain)
        if batch_size <= rows and self.batch:
            return self, ""
        if rows < processes:
            raise BadInput(
                f"there are {rows} training examples, and {processes} processes take at least "
                "one each; give more data, or fewer processes."
            )
        max_batch = min(batch_size, rows)
        accumulate = max(1, min(self.accumulate, max_batch // processes))
        batch = max(max_batch - max_batch % (accumulate * processes), processes)
        note = (
            f"a batch of recipe '{self.name}' takes {batch_size} examples, and there are {rows} "
            f"to train on; it takes {batch} now."
        )
        recipe = replace(self, batch=batch, accumulate=accumulate)
        return recipe, note if rows < batch_size else ""

    @property
    def steps(self) -> int:
        """Return the steps that it takes where no budget is given; 0: it takes a minute."""
        return 0

    def decay_for(self, data: DataSet) -> float:
        """Return AdamW's weight decay on a data set."""
        return self.decay

    @classmethod
    def plots(cls) -> Mapping[str, Plot]:
        """Return curves by name that need no training; none unless a recipe has some."""
        return {}

    def check(self, domain: Domain) -> None:
        """Refuse data that the recipe does not fit."""
        if domain.kind not in self.kinds:
            raise BadInput(
                f"recipe '{self.name}' is for {' or '.join(self.kinds)}, and this data set holds "
                f"{domain.kind} of shape {domain.shape}; 'trilemma list' shows what fits it."
            )


def updates_wanted(recipe: Recipe, data_rows: int) -> int:
    """Return the updates at which a comparison ranks a recipe: those of all stages together.

    As many as the recipe declares, no fewer than 200, and one pass over the data.

    Arguments:
        recipe: With the batch that is trained, as `fitted` chooses it; of one that has still to
            choose, the smallest that it may choose counts.
        data_rows: Training examples.
    """
    batch = recipe.batch or SMALL_BATCH
    return max(recipe.least_updates, LEAST, math.ceil(data_rows / batch))


def is_small(domain: Domain) -> bool:
    """Tell whether the data are images of at most 16 pixels a side, for which less will do."""
    return domain.kind == "image" and max(domain.shape[1:]) <= SMALL


def conditional_classes(domain: Domain, conditional: bool) -> int:
    """Return how many classes a model is conditioned on: none unless it is conditional.

    Raises:
        BadInput: It is, and the data have no classes.
    """
    if conditional and not domain.classes:
        raise BadInput(
            "--conditional was given for data without classes; leave it out, or give a data set "
            "with labels."
        )
    return len(domain.classes) if conditional else 0
