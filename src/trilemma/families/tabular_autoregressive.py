r"""An autoregressive model of the rows of a table, with an exact ln p(x).

    p(x) = prod_{d=1..D} p(x_d | x_1, …, x_{d-1})

Each factor is a choice among bins, then among the parts of a bin, then even within the part
(`families.table_bins`),

    ln p(x_d | x_<d) = ln P(k | x_<d) + ln P(j | k, x_<d) - ln volume,

a probability where the column holds whole numbers or categories, and a density, which sums to one
over bins and tails, where it is real: both without dequantisation, so that ln p(x) is no bound. A
network that is causal over columns gives all factors in one pass. Drawing takes the columns in
turn, for all rows at once, with the network's memory of the columns before.

A column that may be missing comes after the flag that says so. Where it is missing, its value is
the fill with probability one, and later columns do not look at it.

Dropout hides whole values, as well as numbers of tokens and of what blocks add. It takes its
numbers from the batch, and is there in every loss and in no likelihood.

References:
    Neural Autoregressive Distribution Estimation (Uria, Côté, Gregor, Murray & Larochelle, 2016),
        https://arxiv.org/abs/1605.02226
    TabularARGN (Tiwald, Krchova, Sidorenko, Vargas Vieyra, Scriminaci & Platzer, 2025),
        https://arxiv.org/abs/2501.12012
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from trilemma.core.adjusting import replaced_options, with_sampling
from trilemma.core.batch import Condition, Examples
from trilemma.core.columns import Column, Columns
from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.core.model import Loss, Model, Objective
from trilemma.core.noise import Noise
from trilemma.families.table_bins import PARTS, TableBins
from trilemma.families.temperature import Tempered

__all__ = ["ColumnNetwork", "TabularAutoregressive", "TabularSampling", "columns_in_order"]

Value = tuple[Int[Tensor, "n 1"], Float[Tensor, "n 1 F"], Bool[Tensor, "n 1"]]
"""Bin, features and visibility of one column's values."""


class ColumnNetwork(Protocol):
    """A network over columns whose output at a column sees only the columns before it."""

    width: int
    """Numbers of h."""
    masks: int
    """Masks of dropout that a row takes."""
    bias: nn.Parameter
    """Logits of all bins, [D K], where nothing else is known."""

    def __call__(
        self,
        bins: Int[Tensor, "B D"],
        features: Float[Tensor, "B D F"],
        visible: Bool[Tensor, "B D"],
        condition: Condition | None = None,
        keep: Float[Tensor, "B L width"] | None = None,
    ) -> Float[Tensor, "B D width"]:
        """Return h of every column in one pass."""
        ...

    def start(self, n: int, condition: Condition | None, device: torch.device) -> Any:  # noqa: ANN401
        """Return an empty memory for n rows."""
        ...

    def step(self, memory: Any, column: int, before: Value | None) -> Tensor:  # noqa: ANN401
        """Return h of one column, [n, 1, width]; the same as the whole pass gives there."""
        ...

    def logits(self, h: Tensor, columns: slice = ...) -> Float[Tensor, "B D K"]:
        """Return the logits of the bins of some columns."""
        ...

    def part_logits(
        self, h: Tensor, bins: Tensor, columns: Sequence[int]
    ) -> Float[Tensor, "B R S"]:
        """Return the logits of the parts of a bin of some columns."""
        ...


@dataclass(frozen=True)
class TabularSampling(Tempered):
    """How rows are drawn: an option at the call; the logits of bins are divided by T."""


class TabularAutoregressive(Model[Examples, Tensor]):
    """A causal network over columns, and the bins among which it chooses.

    Without a condition, a conditional model uses its null, which the examples whose class was
    hidden have trained: `sample` and `log_prob` are about the same p(x).

    Arguments:
        network: A `ColumnNetwork` and an `nn.Module`, for columns in the order of `bins`.
        bins: Bins of the columns, in the order of `columns_in_order`.
        domain: Where the data lie: points.
        dropout: Share of the numbers that are dropped in training.
        hidden: Share of the values that are hidden from the columns after them in training.
        label_dropout: Share of training examples whose condition is hidden.
        sampling: How rows are drawn; `TabularSampling()` if none is given.

    Raises:
        BadInput: The data are no points, or a share is not in [0, 1).
    """

    likelihood_by = "exact"
    order: Tensor

    def __init__(
        self,
        network: nn.Module,
        bins: TableBins,
        domain: Domain,
        *,
        dropout: float = 0.0,
        hidden: float = 0.0,
        label_dropout: float = 0.1,
        sampling: TabularSampling | None = None,
    ) -> None:
        super().__init__()
        if domain.kind != "points":
            raise BadInput(
                f"{domain.kind} of shape {domain.shape} were given, and a tabular autoregressive "
                "model is for points: the rows of a table."
            )
        for name, share in (("dropout", dropout), ("hidden", hidden)):
            if not 0 <= share < 1:
                raise BadInput(f"{name} {share:g} was given; give a share from 0 to below 1.")
        self.network, self.bins, self.domain = network, bins, domain
        self.dropout, self.hidden, self.label_dropout = dropout, hidden, label_dropout
        self.sampling = sampling or TabularSampling()
        order, columns = columns_in_order(domain)
        self.register_buffer("order", torch.tensor(order), persistent=False)
        self.fills = {d: column.fill for d, column in enumerate(columns) if column.optional}
        """What stands for a missing value, by the position of its column in the order."""

    @property
    def columns(self) -> ColumnNetwork:
        """Return the network by what it can do."""
        return cast("ColumnNetwork", self.network)

    def adjusted(self, **options: Any) -> Self:  # noqa: ANN401
        """Return a view of the same weights that is drawn from with other options.

        Arguments:
            options: Fields of `TabularSampling`.

        Raises:
            BadInput: There is no such option, or its value makes no sense.
        """
        return with_sampling(self, replaced_options(self.sampling, options))

    # Training

    @torch.no_grad()
    def fit(self, x: Float[Tensor, "N D"]) -> None:
        """Take bins from training rows, data units, and begin with each column's own shares."""
        rows = x[:, self.order.to(x.device)]
        shares = self.bins.fit(rows, self._present(rows))
        self.columns.bias.copy_(shares.flatten())

    def objectives(self) -> Sequence[Objective[Examples]]:
        """Return the one player."""
        return [Objective("model", self.loss, list(self.parameters()))]

    def loss(self, batch: Examples) -> Loss:
        """Return -ln p(x) in nats per example, under dropout."""
        assert batch.noise is not None
        condition, n = batch.condition, batch.noise
        if condition is not None:
            condition = condition.partly_hidden(self.label_dropout, n)
        keep = visible = None
        if self.dropout:
            u = n.named("dropout").uniform(self.columns.masks, self.columns.width)
            keep = (u >= self.dropout).float() / (1 - self.dropout)
        if self.hidden:
            visible = n.named("hidden values").uniform(self.domain.dimensions) >= self.hidden
        return Loss(-self._terms(batch.x, condition, visible, keep).sum(1).mean())

    # Likelihood

    def log_prob(self, x: Tensor, *, condition: Condition | None = None) -> Float[Tensor, " B"]:
        """Return ln p(x) in nats per example, exactly, by one pass.

        A row with a value that its column does not have, such as a half among whole numbers, has
        probability zero: -inf.

        Raises:
            BadInput: Rows of another length than the domain's.
        """
        return self.conditionals(x, condition=condition).sum(1)

    def conditionals(
        self, x: Tensor, *, condition: Condition | None = None
    ) -> Float[Tensor, "B D"]:
        """Return ln p(x_d | what is before it in the order) at the place of each column."""
        if tuple(x.shape[1:]) != tuple(self.domain.shape):
            raise BadInput(
                f"examples of shape {tuple(x.shape[1:])} were given, and this model is of shape "
                f"{tuple(self.domain.shape)}; give rows with these columns."
            )
        terms = self._terms(x, condition)
        return terms[:, self.order.argsort()]

    def _terms(
        self,
        x: Tensor,
        condition: Condition | None,
        visible: Bool[Tensor, "B D"] | None = None,
        keep: Tensor | None = None,
    ) -> Float[Tensor, "B D"]:
        """Return the factors' logarithms in the order."""
        rows = x[:, self.order]
        present = self._present(rows)
        visible = present if visible is None else present & visible
        located = self.bins.locate(rows)
        h = self.columns(located.bins, located.features, visible, condition, keep)
        log_p = self._log_bins(h).gather(2, located.bins[..., None])[..., 0]
        if self.bins.refined:
            refined = list(self.bins.refined)
            log_parts = self._log_parts(h[:, refined], located.bins[:, refined], refined)
            each = log_parts.gather(2, located.parts[:, refined, None])[..., 0]
            log_p = log_p.index_add(1, torch.tensor(refined, device=x.device), each)
        terms = log_p - located.log_volume.to(log_p.dtype)
        return torch.where(present, terms, torch.zeros_like(terms))

    def _log_bins(self, h: Tensor, columns: slice = slice(None)) -> Float[Tensor, "B D K"]:
        logits = _exact(self.columns.logits(h, columns))
        return logits.masked_fill(~self.bins.exists(columns), -torch.inf).log_softmax(2)

    def _log_parts(self, h: Tensor, bins: Tensor, columns: Sequence[int]) -> Tensor:
        logits = _exact(self.columns.part_logits(h, bins, columns))
        counts = self.bins.part_counts(bins, columns)
        index = torch.arange(PARTS, device=h.device)
        return logits.masked_fill(index >= counts[..., None], -torch.inf).log_softmax(2)

    def _present(self, rows: Float[Tensor, "B D"]) -> Bool[Tensor, "B D"]:
        """Tell which values are there: all but those that the flag before them calls missing."""
        present = torch.ones(rows.shape, dtype=torch.bool, device=rows.device)
        for d in self.fills:
            present[:, d] = rows[:, d - 1] != 1
        return present

    # Drawing

    @torch.no_grad()
    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Tensor:
        """Draw n rows in data units, column after column, with the network's memory.

        Each value takes three uniform numbers by inverse distribution functions: one for the bin,
        one for the part, one for the position in it.
        """
        device = self.order.device
        noise = Noise.fresh(n, device) if noise is None else noise
        u = noise.uniform(self.domain.dimensions, 3).double()
        memory = self.columns.start(n, condition, u.device)
        values: list[Tensor] = []
        before: Value | None = None
        for d in range(self.domain.dimensions):
            h = self.columns.step(memory, d, before)
            x, visible = self._draw(h, d, u[:, d]), torch.ones_like(u[:, d, :1], dtype=torch.bool)
            if d in self.fills:
                visible = values[-1][:, None] != 1
                x = torch.where(visible[:, 0], x, torch.full_like(x, self.fills[d]))
            values.append(x)
            located = self.bins.locate(x[:, None], slice(d, d + 1))
            before = located.bins, located.features, visible
        rows = torch.stack(values, 1)[:, self.order.argsort()]
        return rows.to(torch.uint8) if isinstance(self.domain.values, Levels) else rows

    def _draw(self, h: Float[Tensor, "n 1 F"], d: int, u: Tensor) -> Float[Tensor, " n"]:
        """Draw one column."""
        log_bins = self._log_bins(h, slice(d, d + 1))[:, 0] / self.sampling.temperature
        bins = _inverse(log_bins, u[:, 0])
        parts = torch.zeros_like(bins)
        if d in self.bins.refined:
            parts = _inverse(self._log_parts(h, bins[:, None], [d])[:, 0], u[:, 1])
        return self.bins.value(d, bins, parts, u[:, 2])


def columns_in_order(domain: Domain) -> tuple[list[int], list[Column]]:
    """Return the order in which columns are drawn, and the columns in it, of any points.

    The order is that of the table, but that a flag comes before the value that it is about.
    """
    values, count = domain.values, domain.dimensions
    if isinstance(values, Columns):
        order = list(range(count))
        for d, flag in enumerate(values.flags):
            if flag >= 0:
                order[d], order[flag] = flag, d
        return order, [values.columns[d] for d in order]
    if isinstance(values, Levels):
        middle, spread = values.count / 2, max(values.count / 12**0.5, 1e-6)
        column = Column("whole", middle, spread, 0, values.count)
        return list(range(count)), [column] * count
    location, spread = (
        number if isinstance(number, tuple) else (number,) * count
        for number in (values.location, values.spread)
    )
    reals = [Column("real", *moments) for moments in zip(location, spread, strict=True)]
    return list(range(count)), reals


def _inverse(logits: Float[Tensor, "n K"], u: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Return the first index at which the distribution function exceeds u."""
    cumulative = logits.double().softmax(1).cumsum(1)
    return (u[:, None] * cumulative[:, -1:] >= cumulative).sum(1).clamp(max=logits.shape[1] - 1)


def _exact(logits: Tensor) -> Tensor:
    """Leave half precision: probabilities are computed in float32 or better."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
