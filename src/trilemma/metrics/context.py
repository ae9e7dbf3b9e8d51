"""What the judge gives to every metric: one model, its samples and its data, each seen once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from trilemma.core.model import Model
from trilemma.core.noise import CHUNK
from trilemma.core.session import Session
from trilemma.data.dataset import DataSet
from trilemma.metrics.metric import Memo

__all__ = ["AT_ONCE", "DRAWS", "Context", "Reference"]

AT_ONCE = 4 * CHUNK
"""Samples, or test examples, that are looked at together."""
DRAWS = 64
"""k, draws of the importance-weighted bound unless another number is asked for."""

T = TypeVar("T")


class Reference(Protocol):
    """What samples of a data set are held against; it serves every model that is compared."""

    data: DataSet
    n: int
    """How many samples it was made for."""
    seed: int

    @property
    def name(self) -> str:
        """Return the name of what is compared of examples, such as an extractor's."""
        ...

    @property
    def note(self) -> str:
        """Say in a sentence what that is."""
        ...

    def once(self, make: Callable[[Any], T]) -> T:
        """Return what is made of it, once for all models."""
        ...

    def neighbours(self, context: Context) -> Tensor:
        """Return the training examples nearest to the first samples, data units."""
        ...


@dataclass(eq=False)
class Context(Memo):
    """One model with its samples, the data that they are held against, and how to measure."""

    samples: Tensor
    """[n, *shape], data units, on the CPU."""
    reference: Reference
    session: Session
    """Seed of samples, bounds, baselines and intervals; device of the model and of features;
    processes that share likelihoods and captioned samples."""
    model: Model[Any, Any] | None = None
    """On the session's device; None where samples are all that there is."""
    draws: int = DRAWS
    baselines: Mapping[str, Tensor] = field(default_factory=dict)
    """Samples of trivial models of what this one was asked, by name, beside those of the data."""

    @property
    def data(self) -> DataSet:
        """Return the data set."""
        return self.reference.data

    @property
    def seed(self) -> int:
        """Return the session's seed."""
        return self.session.seed

    @property
    def device(self) -> torch.device:
        """Return the session's device."""
        return self.session.device

    @property
    def n(self) -> int:
        """Return the number of samples."""
        return len(self.samples)

    @property
    def required_model(self) -> Any:  # noqa: ANN401
        """Return the model, of which a metric has declared what it needs."""
        assert self.model is not None
        return self.model

    @property
    def test(self) -> Tensor:
        """Return at most n test examples, drawn by the seed: files are often sorted."""
        return self.once(_test)

    def share(self, n: int) -> tuple[int, int]:
        """Return the rows [start, stop) of n that this process computes."""
        rows = self.session.world.span(n)
        return rows.start, rows.stop

    def gather(self, mine: Tensor, n: int) -> Tensor:
        """Return the n rows of all processes."""
        return self.session.world.gather(mine, n)


def test_rows(data: DataSet, n: int, seed: int) -> Tensor:
    """Return at most n test examples, drawn by the seed."""
    generator = torch.Generator().manual_seed(seed)
    return data.test.x[torch.randperm(len(data.test), generator=generator)[:n]]


def _test(context: Context) -> Tensor:
    return test_rows(context.data, context.n, context.seed)
