r"""Continuous evaluation: the Fréchet distance during training, for a tenth of its time beside.

256 samples, always of the same noise, are held against the test split (`metrics/frechet.py`). All
that this takes, the features of the test split included, is accounted: after T seconds of training
alone, and S of looks beside, a look that is expected to take E seconds is put off until

    S + E <= T / 10

and looks come at growing intervals besides, each `GROWTH` times as late as the one before. What a
look will take is known from those before it; what the first will take, from a few samples and
test examples, and only these few are taken, unseen, to need `GUESS` seconds.

256 samples overstate the distance, all of a run alike: the numbers are for comparing with each
other and with that of 256 training examples, which stands beside, not with an evaluation's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.core.model import Model
from trilemma.core.noise import Noise
from trilemma.data.dataset import DataSet
from trilemma.metrics.extractors import Extractor, extractor
from trilemma.metrics.frechet import frechet_distance

__all__ = ["SHARE", "Watch"]

SHARE = 0.1
"""Most that its looks may take, as a share of the training's seconds, and beside them."""
GROWTH = 1.15
"""How much later, by the training clock, the next look comes than the one before, at least."""
GUESS = 2.0
"""Seconds that the first few samples and features are taken to need."""
CAUTION = 1.25
"""By how much a look is expected to take longer than it should."""
SEEN_BY = 256
"""Samples of a look."""
HELD_AGAINST = 4096
"""Test examples that they are held against, at most."""
FIRST = 16
"""Samples and test examples from which it is known how long a look will take."""


class Watch:
    """Measures the Fréchet distance of samples on the way, for a tenth of its time beside.

    Arguments:
        data: Whose test split samples are held against.
        seed: Seed of the samples.
        clock: Tells seconds.
    """

    def __init__(self, data: DataSet, seed: int, clock: Callable[[], float]) -> None:
        self.data, self.seed = data, seed
        self.spent = 0.0
        """Seconds that looks and what they need have taken."""
        self._clock = clock
        self._began: float | None = None
        self._trained = 0.0
        self._next, self._is_over, self._is_asked = 0.0, len(data.test) == 0, False
        self._step, self._looked = -1, -1
        self._sample, self._row, self._took = 0.0, 0.0, 0.0
        self._extractor: Extractor | None = None
        self._test: Tensor | None = None
        self._floor = 0.0

    def advance(self, trained: float) -> None:
        """Learn how many seconds were trained, of which those before the first call count not."""
        self._began = trained if self._began is None else self._began
        self._trained = trained - self._began

    def timed(self, count: int, seconds: float) -> None:
        """Learn how long samples take."""
        self._sample = seconds / max(count, 1)

    def due(self, step: int, trained: float) -> bool:
        """Tell whether it is time for a look; asked again at a step, it is not.

        Arguments:
            step: Steps done.
            trained: Seconds of training so far.
        """
        self.advance(trained)
        if step == self._step:
            return False
        self._step = step
        if self._trained < self._next or not self.affords():
            return False
        self._next, self._is_asked = GROWTH * self._trained, True
        return True

    def is_asked(self) -> bool:
        """Tell whether the last answer of `due` was yes, and take it back."""
        requested, self._is_asked = self._is_asked, False
        return requested

    def affords(self) -> bool:
        """Tell whether what comes next fits into its share of the training so far."""
        return not self._is_over and self.spent + self.expected() <= SHARE * self._trained

    def expected(self) -> float:
        """Return how many seconds what comes next is expected to take."""
        if self._extractor is None:
            return GUESS
        rows = SEEN_BY if self._test is not None else SEEN_BY + len(self._rows())
        first = rows * self._row + (SEEN_BY * self._sample if self._test is not None else 0.0)
        return CAUTION * (self._took or first)

    def __call__(self, model: Model, step: int) -> Mapping[str, Any]:
        """Do what the time is enough for: begin, learn the test split, look.

        Returns:
            'fd' and the like of a look; nothing where the time is not enough for one.
        """
        metrics: dict[str, Any] = {}
        if step == self._looked:
            return metrics
        try:
            if self._extractor is None and self.affords():
                self._accounted(lambda: self._begin(model))
            if self._extractor is not None and self._test is None:
                self._next = 0.0  # as soon as there is time
                if self.affords():
                    self._accounted(self._learn)
            if self._test is not None and self.affords():
                self._took = max(
                    self._took, self._accounted(lambda: metrics.update(self._measure(model)))
                )
                self._next, self._looked = GROWTH * self._trained, step
        except BadInput as refusal:
            self._is_over = True
            return {"fd_skipped": str(refusal)}
        return metrics

    def _accounted(self, work: Callable[[], None]) -> float:
        start = self._clock()
        try:
            work()
        finally:
            elapsed = self._clock() - start
            self.spent += elapsed
        return elapsed

    def _begin(self, model: Model) -> None:
        """Make the extractor, and learn how long features and samples take."""
        device = next(model.parameters()).device
        feature_extractor = extractor(None, self.data, n=SEEN_BY, device=device)
        test_examples = self.data.test.x[:FIRST]
        feature_extractor(test_examples)  # the first time is slow
        start = self._clock()
        feature_extractor(test_examples)
        self._row = (self._clock() - start) / len(test_examples)
        if self._sample == 0:
            start = self._clock()
            model.sample(FIRST, noise=Noise.for_samples(self.seed, 0, FIRST, device))
            self._sample = (self._clock() - start) / FIRST
        self._extractor = feature_extractor

    def _rows(self) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randperm(len(self.data.test), generator=generator)[:HELD_AGAINST]

    def _learn(self) -> None:
        """Take the features of the test split, and the distance of training examples to it."""
        assert self._extractor is not None
        test = self._extractor(self.data.test.x[self._rows()])
        generator = torch.Generator().manual_seed(self.seed)
        train_rows = torch.randperm(len(self.data.train), generator=generator)[:SEEN_BY]
        self._floor = frechet_distance(self._extractor(self.data.train.x[train_rows]), test)
        self._test = test

    def _measure(self, model: Model) -> Mapping[str, Any]:
        assert self._extractor is not None
        assert self._test is not None
        start, device = self._clock(), next(model.parameters()).device
        x = model.sample(SEEN_BY, noise=Noise.for_samples(self.seed, 0, SEEN_BY, device))
        if x.is_floating_point() and not x.isfinite().all():
            return {"fd_skipped": "some samples are not finite numbers"}
        return {
            "fd": frechet_distance(self._extractor(x), self._test),
            "fd_n": len(x),
            "fd_floor": self._floor,
            "fd_by": self._extractor.name,
            "took_fd": self._clock() - start,
        }
