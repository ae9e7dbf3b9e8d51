"""A data set in memory: examples as they lie in the file, labels, captions, and a fixed split."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import torch
from torch import Tensor

from trilemma.core.domain import Columns, Domain

__all__ = ["Centres", "DataSet", "Rule", "Split"]


@dataclass(frozen=True)
class Split:
    """Some of the examples, resident."""

    x: Tensor
    """[N, C, H, W] uint8 levels, [N, D] float32, or graphs, [N, n, n] uint8 (`core.graph`)."""
    labels: Tensor | None = None
    """[N] int64, or None."""
    captions: Sequence[str] | None = None
    names: Sequence[str] | None = None
    """File of each example, relative to the folder they are from."""
    shades: Tensor | None = None
    """Grey levels 0 … top from which a training batch draws black and white anew, like x."""
    top: int = 0
    """The level of `shades` that is always white."""
    tokens: Tensor | None = None
    """The captions as token indices, [N, M] int64, 0 where there is no token."""
    mask: Tensor | None = None
    """Which tokens are real, [N, M] bool."""
    further: Sequence[Sequence[str]] | None = None
    """Captions of each training example beyond its first, where some have several."""
    alternatives: Tensor | None = None
    """All captions of each as token indices, [N, K, M] int64, those with words first, of which
    a training batch draws one."""
    alternative_mask: Tensor | None = None
    """Which of these tokens are real, [N, K, M] bool."""
    properties: Tensor | None = None
    """Properties of each example in their units, [N, P] float32, in the order of the domain's;
    NaN where one is missing."""

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.x)

    def select(self, rows: Tensor) -> Split:
        """Return some examples, [K] int64, with all that belongs to them."""

        def of(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[rows]

        chosen = rows.tolist()
        return replace(
            self,
            x=self.x[rows],
            labels=of(self.labels),
            shades=of(self.shades),
            tokens=of(self.tokens),
            mask=of(self.mask),
            properties=of(self.properties),
            alternatives=of(self.alternatives),
            alternative_mask=of(self.alternative_mask),
            captions=None if self.captions is None else [self.captions[i] for i in chosen],
            further=None if self.further is None else [self.further[i] for i in chosen],
            names=None if self.names is None else [self.names[i] for i in chosen],
        )


@dataclass(frozen=True)
class Centres:
    """The modes of a density that is a mixture of equal Gaussians."""

    at: Tensor
    """Their means, [K, D]."""
    deviation: float
    """Their standard deviation in every coordinate."""


@dataclass(frozen=True)
class Rule:
    """What every graph of a set is by the way in which the set was made."""

    words: str
    """What is asked of a graph, such as 'is a grid'."""
    holds: Callable[[Tensor], Tensor]
    """Tells of graphs, [B, n, n], which keep the rule, [B] bool."""


@dataclass(frozen=True)
class DataSet:
    """What a recipe is trained on and judged by."""

    name: str
    domain: Domain
    train: Split
    test: Split
    notes: Sequence[str] = field(default_factory=tuple)
    """What the reader of a report should know: licence, files skipped, duplicates found."""
    extractor: str | None = None
    """Name of the feature extractor made for this data; None lets the metrics choose."""
    truth: Callable[[Tensor], Tensor] | None = None
    """ln p(x) in nats, [N], of the density that the data were drawn from, where it is known."""
    centres: Centres | None = None
    """The modes of that density, where it is a mixture of equal Gaussians."""
    rule: Rule | None = None
    """What every graph of the set is, where that is known."""
    views: Mapping[str, Callable[[], DataSet]] = field(default_factory=dict)
    """The same examples as data of another kind, such as molecules in space, by that kind."""
    aside: Split | None = None
    """Training examples that a generator conditioned on a property does not see: a regressor of
    the property is trained on them."""

    def __post_init__(self) -> None:
        """Have each view made once, when it is first asked for."""
        object.__setattr__(self, "views", {kind: cache(make) for kind, make in self.views.items()})

    def viewed(self, kinds: Sequence[str]) -> DataSet:
        """Return the data as the first of these kinds that they are; as they are where none is."""
        if self.domain.kind in kinds:
            return self
        kind = next((kind for kind in kinds if kind in self.views), None)
        return self if kind is None else self.views[kind]()

    @property
    def fingerprint(self) -> str:
        """Return a hash of all training and test examples and what is said of them.

        Of a table with whole numbers or categories also of what each column is.

        It is compared on resuming a run.
        """
        digest = _digest(self.train, self.test, *([] if self.aside is None else [self.aside]))
        if isinstance(self.domain.values, Columns):  # the same numbers mean other things
            digest.update(json.dumps(self.domain.values.to_json()).encode())
        return digest.hexdigest()[:16]

    @property
    def test_fingerprint(self) -> str:
        """Return a hash of the test examples and of what they are examples of.

        Two data sets that have it in common measure alike, whatever is trained on: the same test
        examples, of the same kind, values and scale.
        """
        digest = _digest(self.test)
        described = {k: v for k, v in self.domain.to_json().items() if k != "frequencies"}
        digest.update(json.dumps(described, sort_keys=True).encode())
        return digest.hexdigest()[:16]


def _digest(*splits: Split) -> hashlib._Hash:
    """Return the hash of all examples of splits and of what is said of them."""
    digest = hashlib.sha256()
    for split in splits:
        tensors = (split.x, split.labels, split.shades, split.tokens, split.mask)
        further = (split.alternatives, split.alternative_mask)
        for tensor in (*tensors, split.properties, *further):
            if tensor is not None:
                digest.update(str((tuple(tensor.shape), tensor.dtype)).encode())
                digest.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return digest
