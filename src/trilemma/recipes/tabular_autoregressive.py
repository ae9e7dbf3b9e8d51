"""The autoregressive model of the rows of a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.model import Model, Stage, Stream
from trilemma.core.noise import Noise, mix
from trilemma.core.sampling import evaluation_mode
from trilemma.data.dataset import DataSet, Split
from trilemma.data.stream import ExampleStream
from trilemma.families.table_bins import FEATURES, PARTS, TableBins
from trilemma.families.tabular_autoregressive import (
    TabularAutoregressive,
    TabularSampling,
    columns_in_order,
)
from trilemma.networks.column_transformer import ColumnTransformer
from trilemma.recipes.recipe import Recipe, conditional_classes
from trilemma.training.ema import Average

__all__ = ["StoppingStream", "TabularAutoregression"]

HELD_OUT = 0.1
"""Share of the training rows by which training is stopped."""
MOST, FEWEST = 2000, 20
"""How many they are at most; where they would be fewer than that, all rows are trained on."""
EVERY = 25
"""Updates between two looks at them."""
PATIENCE = 500
"""Updates after which training ends, beyond twice those that led to the best weights."""


@dataclass(frozen=True, kw_only=True)
class TabularAutoregression(Recipe):
    """Trains a causal transformer over columns by the exact likelihood, until it overfits."""

    name: ClassVar[str] = "tabular-autoregressive"
    family: ClassVar[str] = "autoregressive"
    reference: ClassVar[str] = (
        "TabularARGN, Tiwald et al., 2025, arXiv:2501.12012; Neural Autoregressive Distribution "
        "Estimation, Uria et al., 2016, arXiv:1605.02226"
    )
    kinds: ClassVar[tuple[str, ...]] = ("points",)
    bf16: ClassVar[bool] = False
    """Its products are small, and bins are chosen in float32."""
    decay: ClassVar[float] = 0.5
    at_sampling: ClassVar[tuple[str, ...]] = ("temperature",)

    batch: int = 128
    """Examples an update, over all devices and accumulated parts together."""

    lr: float = 2e-3
    """Peak learning rate of AdamW."""
    width: int = 64
    """Numbers of a token."""
    depth: int = 2
    """Blocks of attention and perceptron."""
    heads: int = 4
    """Heads of the attention; width / heads is a multiple of 4."""
    dropout: float = 0.1
    """Share of the numbers that are dropped in training."""
    hidden: float = 0.1
    """Share of the values that are hidden from the columns after them in training."""
    stop: bool = True
    """Whether a tenth of the training rows is held out: training ends where it gets no more
    likely, and the weights are those that made it likeliest."""
    temperature: float = 1.0
    """At sampling: below 1 rows are likelier than the data's, and more alike."""
    conditional: bool = False
    """Whether it is conditioned on the class, hidden from a tenth of the training examples."""

    def fitted(self, rows: int, domain: Domain, *, processes: int = 1) -> tuple[Self, str]:
        """Choose a batch no larger than the rows that are not held out."""
        return super().fitted(rows - self._held_out(rows), domain, processes=processes)

    def model(self, domain: Domain) -> Model:
        """Build the untrained model."""
        self.check(domain)
        if min(self.width, self.depth, self.heads) < 1:
            raise BadInput(
                f"width {self.width}, depth {self.depth} and heads {self.heads} were given; give "
                "1 or more of each."
            )
        classes = conditional_classes(domain, self.conditional)
        _, columns = columns_in_order(domain)
        bins = TableBins(columns)
        network = ColumnTransformer(
            bins.capacities,
            [column.kind != "category" for column in columns],
            bins.refined,
            parts=PARTS,
            features=FEATURES,
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            classes=classes,
        )
        return TabularAutoregressive(
            network,
            bins,
            domain,
            dropout=self.dropout,
            hidden=self.hidden,
            sampling=TabularSampling(self.temperature),
        )

    def stages(self, model: Model, data: DataSet, seed: int) -> Sequence[Stage]:
        """Return the one part of training, before which bins are taken from the rows."""
        assert isinstance(model, TabularAutoregressive)
        rows = Noise.of(mix(seed, "held out"), len(data.train)).uniform().argsort()
        count = self._held_out(len(data.train))
        batch = self.batch_for(data.domain)

        def stream() -> Stream[Examples]:
            if not count:
                return ExampleStream(data.train, batch, seed)
            inner = ExampleStream(data.train.select(rows[count:]), batch, seed)
            return StoppingStream(inner, model, data.train.select(rows[:count]), ema=self.ema)

        def prepare() -> None:
            model.fit(data.train.x)

        def finish(stream: Stream[Examples]) -> None:
            if isinstance(stream, StoppingStream):
                stream.restore()

        return [Stage("model", model, stream, prepare=prepare, finish=finish)]

    def _held_out(self, rows: int) -> int:
        """Return how many training rows are held out."""
        count = min(MOST, round(HELD_OUT * rows))
        return count if self.stop and count >= FEWEST else 0


class StoppingStream(Stream[Examples]):
    """Batches until rows that are not among them get no more likely: early stopping.

    It averages the weights as training does, looks how likely the averages make the held-out
    rows, and keeps the best of them, which `restore` puts into the model.

    Arguments:
        inner: The batches.
        model: What is trained.
        held_out: The rows that are looked at.
        ema: Decay of the averaged weights.
    """

    ending = "rows that are held out get no more likely"

    def __init__(
        self,
        inner: Stream[Examples],
        model: TabularAutoregressive,
        held_out: Split,
        *,
        ema: float = 0.999,
    ) -> None:
        self.inner, self.model, self.held_out = inner, model, held_out
        self.average = Average(dict(model.named_parameters()), ema)
        self.best_weights = [value.clone() for value in self.average.values]
        self.best_loss, self.best_step, self.step = math.inf, 0, 0

    @property
    def is_over(self) -> bool:
        """Tell whether there was no new best for as long as it took to the best, and longer."""
        return self.step >= 2 * self.best_step + PATIENCE

    def batch(self, k: int) -> Examples:
        """Return the k-th batch; before some of them, look at the held-out rows."""
        if k > self.step:
            self.average.update()
            self.step = k
            if k % EVERY == 0:
                self._look()
        return self.inner.batch(k)

    def restore(self) -> None:
        """Put the best averages into the model, unless what it has is better still."""
        if self.best_loss < self._loss():
            with torch.no_grad():
                torch._foreach_copy_(self.average.parameters, self.best_weights)  # pyright: ignore[reportPrivateImportUsage]

    def state_dict(self) -> dict[str, Any]:
        """Return the averages, the best of them, and when and how good they were."""
        return {
            "average": list(self.average.values),
            "count": self.average.count,
            "best_weights": list(self.best_weights),
            "best": [self.best_loss, self.best_step, self.step],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what `state_dict` gave."""
        for name, values in (
            ("average", self.average.values),
            ("best_weights", self.best_weights),
        ):
            for value, saved in zip(values, state[name], strict=True):
                value.copy_(saved)
        self.average.count = state["count"]
        self.best_loss, self.best_step, self.step = state["best"]

    def _look(self) -> None:
        """Compare the averages with the best."""
        with self.average.applied():
            loss = self._loss()
        if loss < self.best_loss:
            self.best_loss, self.best_step = loss, self.step
            self.best_weights = [value.clone() for value in self.average.values]

    @torch.no_grad()
    def _loss(self) -> float:
        """Return -ln p of the held-out rows, nats per row."""
        device = next(self.model.parameters()).device
        labels = self.held_out.labels

        def nats(part: slice) -> Tensor:
            condition = None if labels is None else Condition(label=labels[part].to(device))
            return self.model.log_prob(self.held_out.x[part].to(device), condition=condition)

        with evaluation_mode(self.model):
            starts = range(0, len(self.held_out), 512)
            log_p = torch.cat([nats(slice(low, low + 512)).double() for low in starts])
        return -log_p.mean().item()
