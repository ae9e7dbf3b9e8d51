"""What a recipe is: a page of plain numbers that says how to build, feed and train one model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.model import Model, Stage
from trilemma.data.dataset import DataSet
from trilemma.data.stream import ExampleStream

__all__ = ["Plot", "Recipe", "classes_told"]


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
    """Fields that may be changed after training, when sampling."""

    batch: int = 128
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

    @property
    def reward(self) -> str | None:
        """Return the name of the reward that is sought; None where the data are imitated."""
        return None

    @abstractmethod
    def model(self, domain: Domain) -> Model:
        """Build the untrained model for data of this domain."""

    def stages(self, model: Model, data: DataSet, seed: int) -> Sequence[Stage]:
        """Return the parts of training; one, on the data, unless a recipe says otherwise."""
        return [Stage("model", model, lambda: ExampleStream(data.train, self.batch, seed))]

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


def classes_told(domain: Domain, conditional: bool) -> int:
    """Return how many classes a model is told: none unless it is conditional.

    Raises:
        BadInput: It is, and the data have no classes.
    """
    if conditional and not domain.classes:
        raise BadInput(
            "--conditional was given for data without classes; leave it out, or give a data set "
            "with labels."
        )
    return len(domain.classes) if conditional else 0
