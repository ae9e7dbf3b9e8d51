"""Who is looked into: a trained model, the data beside which it is drawn, and what it can show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trilemma.core.batch import Condition
from trilemma.core.model import Estimating, Model, Restoring
from trilemma.data.dataset import DataSet
from trilemma.pictures import figures

__all__ = ["ACROSS", "EXAMPLES", "POINTS", "Subject"]

EXAMPLES = 4
"""Test examples in a row of pictures."""
ACROSS = 9
"""States of a chain that are drawn."""
POINTS = 1500
"""Points of a cloud."""


@dataclass(frozen=True)
class Subject:
    """A trained model, the data beside which it is drawn, and how else it can sample."""

    model: Model
    data: DataSet
    family: str = ""
    at_steps: Callable[[int], Model] | None = None
    """Returns the model that samples in so many steps; None where there is no such choice."""

    @property
    def is_image(self) -> bool:
        """Tell whether examples are images."""
        return self.data.domain.kind == "image"

    @property
    def levels(self) -> int:
        """Return the number of levels of images."""
        return figures.levels_of(self.data.domain)

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
        split, domain = self.data.test, self.data.domain
        if isinstance(self.model, Restoring):
            return Condition(image=self.model.shrink(split.x[rows]))
        if not isinstance(self.model, Estimating):
            return None
        labels = split.labels[rows] if split.labels is not None and domain.classes else None
        if split.tokens is not None and split.mask is not None and domain.words:
            return Condition(labels, split.tokens[rows], split.mask[rows])
        return Condition(labels) if labels is not None else None
