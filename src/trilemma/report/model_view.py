"""What is looked into: a trained model, the data beside which it is drawn, what training said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor

from trilemma.core.batch import Condition
from trilemma.core.domain import Domain
from trilemma.core.event import Event
from trilemma.core.model import Estimating, Restoring
from trilemma.data.dataset import DataSet
from trilemma.pictures import figures

__all__ = ["ACROSS", "EXAMPLES", "MEASURED", "POINTS", "Subject"]

EXAMPLES = 4
"""Test examples in a row of pictures."""
ACROSS = 9
"""States of a chain that are drawn."""
POINTS = 1500
"""Points of a cloud."""
MEASURED = 64
"""Real examples and samples behind a histogram."""

M = TypeVar("M")


@dataclass(frozen=True)
class Subject(Generic[M]):
    """A trained model, the data beside which it is drawn, and what was kept of its run."""

    model: M
    """None where the run has no model that can be loaded."""
    data: DataSet
    """Of the kind that the model draws."""
    family: str = ""
    """Whose colour charts take; no picture depends on it otherwise."""
    events: Sequence[Event] = ()
    """Events of its training."""
    samples: Tensor | None = None
    """The samples that were measured, [N, *domain.shape], data units."""
    folder: Path | None = None
    """The run directory."""

    @property
    def domain(self) -> Domain:
        """Return what one example is."""
        return self.data.domain

    @property
    def is_image(self) -> bool:
        """Tell whether examples are images."""
        return self.domain.kind == "image"

    @property
    def levels(self) -> int:
        """Return the number of levels of images."""
        return figures.levels_of(self.domain)

    def rows(self, n: int) -> Tensor:
        """Choose n test examples, of different classes as far as there are: their places."""
        split = self.data.test
        if not self.is_image or split.labels is None:
            return torch.arange(min(n, len(split)))
        firsts: dict[int, list[int]] = {}
        for index, label in enumerate(split.labels[:1000].tolist()):
            firsts.setdefault(label, []).append(index)
        interleaved_rows = [
            members[k]
            for k in range(n)
            for _, members in sorted(firsts.items())
            if k < len(members)
        ]
        return torch.tensor(interleaved_rows[:n])

    def condition(self, rows: Tensor) -> Condition | None:
        """Return the condition of test examples, as the model takes it."""
        split, domain = self.data.test, self.domain
        if isinstance(self.model, Restoring):
            return Condition(image=self.model.shrink(split.x[rows]))
        if not isinstance(self.model, Estimating):
            return None
        labels = split.labels[rows] if split.labels is not None and domain.classes else None
        if split.tokens is not None and split.mask is not None and domain.words:
            return Condition(labels, split.tokens[rows], split.mask[rows])
        return Condition(labels) if labels is not None else None
