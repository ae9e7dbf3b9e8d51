"""What is looked into: a trained model, the data beside which it is drawn, what training said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from trilemma.core.batch import Condition
from trilemma.core.domain import Domain
from trilemma.core.event import Event
from trilemma.core.model import Restoring
from trilemma.core.noise import Noise
from trilemma.data.dataset import DataSet
from trilemma.pictures import figures

__all__ = [
    "ACROSS",
    "EXAMPLES",
    "MEASURED",
    "POINTS",
    "BoundTimed",
    "Estimating",
    "Noising",
    "Scored",
    "Subject",
]

EXAMPLES = 4
"""Test examples in a row of pictures."""
ACROSS = 9
"""States of a chain that are drawn."""
POINTS = 1500
"""Points of a cloud."""
MEASURED = 64
"""Real examples and samples behind a histogram."""

M = TypeVar("M")


@runtime_checkable
class Noising(Protocol):
    """Can be looked at on the way from data to noise; see `core.model.Diffusing`."""

    def forward_path(self, x: Tensor, *, frames: int, noise: Noise) -> Sequence[Tensor]:
        """Return x_t at `frames` times from 0 to 1, evenly spaced, in data units."""
        ...


@runtime_checkable
class Estimating(Noising, Protocol):
    """Expects something of each state on the way to a sample; see `core.model.Diffusing`."""

    def estimates(
        self,
        n: int,
        *,
        frames: int,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Sequence[tuple[float, Tensor, Tensor]]:
        """Return (t, x_t, E[x | x_t]) at about `frames` steps, data units."""
        ...


@runtime_checkable
class Scored(Noising, Protocol):
    """Knows grad ln p_t on that way; see `core.model.Diffusing`."""

    def score_field(self, x: Tensor, t: float, *, condition: Condition | None = None) -> Tensor:
        """Return grad ln p_t at states x_t, both in scaled coordinates."""
        ...


@runtime_checkable
class BoundTimed(Protocol):
    """Knows where on the way from data to noise each term of its bound looks."""

    def bound_over_noise(self, x: Tensor, *, draws: int, noise: Noise) -> tuple[Tensor, Tensor]:
        """Return ln SNR of x_1 … x_T, falling, [T], and about `bound_terms`, [B, T + 1].

        Of the terms between L_0 and L_T as many are computed as are drawn, and each stands for
        its neighbours.
        """
        ...


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
