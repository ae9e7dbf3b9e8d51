r"""Rules between the columns of a table: what holds in every row of the data, and of samples.

Between two columns there is one rule at most, of the first kind that there is:

    combinations   two categories: pairs of names that never stand together. Either each of them is
                   expected `SUPPORT` times or more, or one name goes with a single other one
    function       y = f(x): equal x have equal y; or y lies between those of the two nearest x,
                   up to a hundredth of the deviation of y where that is real. Between training
                   values of x the same is asked of samples; of an x beyond them, nothing
    order          x <= y: two numbers, neither of which varies more than `LIKE` times as much as
                   the other

A rule is one that no training row and no test row breaks, and that at least `SUPPORT` training
rows would break if the two columns were independent: for functions and orders these are counted
after a shuffle of y, for combinations the counts of both names are multiplied. So chance makes one
with a probability of about e^-`SUPPORT`. Of more than `MOST` rules those with the most such rows
are taken.

The value is the mean over samples of the share of the rules asked of it that it keeps. Data keep
all of them, so that the floor is 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trilemma.core.domain import Columns, Domain
from trilemma.core.noise import mix
from trilemma.metrics.features import FeatureReference, SampleFeatures, of_features
from trilemma.metrics.metric import NEAR_ONE, Metric, Unmeasured
from trilemma.metrics.score import Trials
from trilemma.metrics.table_encoding import TABLE, is_category, table_rows

__all__ = [
    "METRICS",
    "ColumnRule",
    "Combinations",
    "FunctionRule",
    "OrderRule",
    "kept_share",
    "rules_of",
]

SUPPORT = 20
"""Training rows that would break a rule if columns were independent, at least."""
LIKE = 10.0
"""Between deviations of numbers of like units."""
RESOLUTION = 0.01
"""Of a deviation: the error up to which a real number is a function of another."""
MOST, WIDEST, ROWS = 100, 64, 20_000
"""Rules; columns, the first of a wider table; and training rows that rules are sought in."""
WORST = 5
"""Rules that the protocol names beside their number."""


class ColumnRule(Protocol):
    """What every row of the data keeps."""

    @property
    def columns(self) -> tuple[int, int]:
        """Return the two columns that it is about."""
        ...

    @property
    def words(self) -> str:
        """Say the rule."""
        ...

    @property
    def support(self) -> float:
        """Return how many training rows would break it if columns were independent."""
        ...

    def asked_of(self, x: Float[Tensor, "N D"]) -> Bool[Tensor, " N"]:
        """Tell of which rows it says something."""
        ...

    def breaks(self, x: Float[Tensor, "N D"]) -> Bool[Tensor, " N"]:
        """Tell which rows break it, of those that it is asked of."""
        ...


@dataclass(frozen=True)
class Combinations:
    """Names of two columns that never stand together."""

    words: str
    support: float
    columns: tuple[int, int]
    forbidden: Bool[Tensor, "A B"]

    def asked_of(self, x: Float[Tensor, "N D"]) -> Bool[Tensor, " N"]:
        """Tell of which rows it says something: of all."""
        return torch.ones(len(x), dtype=torch.bool)

    def breaks(self, x: Float[Tensor, "N D"]) -> Bool[Tensor, " N"]:
        """Tell which rows have names that never stand together."""
        first, second = (x[:, column].long() for column in self.columns)
        return self.forbidden[first, second]


@dataclass(frozen=True)
class OrderRule:
    """One number is at most another."""

    words: str
    support: float
    columns: tuple[int, int]

    def asked_of(self, x: Float[Tensor, "N D"]) -> Bool[Tensor, " N"]:
        """Tell of which rows it says something: of all."""
        return torch.ones(len(x), dtype=torch.bool)

    def breaks(self, x: Float[Tensor, "N D"]) -> Bool[Tensor, " N"]:
        """Tell in which rows the first number is the greater."""
        first, second = self.columns
        return x[:, first] > x[:, second]


@dataclass(frozen=True)
class FunctionRule:
    """One column is a function of another, known where training rows are."""

    words: str
    support: float
    columns: tuple[int, int]
    """x and y."""
    keys: Float[Tensor, " U"]
    """Values of x in training rows, ascending."""
    low: Float[Tensor, " U"]
    high: Float[Tensor, " U"]
    """Least and greatest y of each."""
    tolerance: float
    interpolates: bool
    """Whether y between training values of x lies between theirs."""

    def _between(self, x: Tensor) -> tuple[Int[Tensor, " N"], Int[Tensor, " N"]]:
        """Return the places of the training values around x, one twice where x is one."""
        values = x[:, self.columns[0]].contiguous()
        last = len(self.keys) - 1
        above = torch.searchsorted(self.keys, values).clamp_max(last)
        is_key = self.keys[above] == values
        return torch.where(is_key, above, (above - 1).clamp_min(0)), above

    def asked_of(self, x: Float[Tensor, "N D"]) -> Bool[Tensor, " N"]:
        """Tell of which rows it says something: where training rows have x, or lie around it."""
        below, above = self._between(x)
        values = x[:, self.columns[0]]
        is_inside = (values >= self.keys[0]) & (values <= self.keys[-1])
        return is_inside if self.interpolates else is_inside & (below == above)

    def breaks(self, x: Float[Tensor, "N D"]) -> Bool[Tensor, " N"]:
        """Tell in which rows y is not what it is beside such x in training rows."""
        below, above = self._between(x)
        y = x[:, self.columns[1]]
        low = torch.minimum(self.low[below], self.low[above]) - self.tolerance
        high = torch.maximum(self.high[below], self.high[above]) + self.tolerance
        return self.asked_of(x) & ((y < low) | (y > high))


@dataclass(frozen=True)
class _Groups:
    """Rows sorted by one column, and what the others are where it is the same."""

    keys: Float[Tensor, " U"]
    low: Float[Tensor, "U D"]
    high: Float[Tensor, "U D"]

    @classmethod
    def of(cls, x: Float[Tensor, " N"], rows: Float[Tensor, "N D"]) -> _Groups:
        keys, group = x.unique(return_inverse=True)
        shape, index = (len(keys), rows.shape[1]), group[:, None].expand_as(rows)
        low, high = (
            torch.zeros(shape).scatter_reduce(0, index, rows, how, include_self=False)
            for how in ("amin", "amax")
        )
        return cls(keys, low, high)

    def unequal(self, tolerance: Float[Tensor, " D"]) -> Int[Tensor, " D"]:
        """Count the values of x that have more than one y."""
        return (self.high - self.low > tolerance).sum(0)

    def outside(self, tolerance: Float[Tensor, " D"]) -> Int[Tensor, " D"]:
        """Count the values of x whose y do not lie between those of its neighbours."""
        low = torch.minimum(self.low[:-2], self.low[2:]) - tolerance
        high = torch.maximum(self.high[:-2], self.high[2:]) + tolerance
        return ((self.low[1:-1] < low) | (self.high[1:-1] > high)).sum(0)


def rules_of(
    train: Float[Tensor, "N D"], test: Float[Tensor, "M D"], domain: Domain, seed: int
) -> list[ColumnRule]:
    """Find the rules that all rows keep, those with the most support first.

    Arguments:
        train: Training rows, data units.
        test: Test rows.
        domain: What the columns are.
        seed: Seed of the shuffle.
    """
    generator = torch.Generator().manual_seed(mix(seed, "rules"))
    order = torch.randperm(len(train), generator=generator)
    rows = train[order[:ROWS], :WIDEST]
    # Two orders drawn by chance: what stands in a row of one is independent of the other's.
    shuffled = rows[torch.randperm(len(rows), generator=generator)]
    rules: list[ColumnRule] = [*_combinations(rows, test, domain)]
    functions = list(_functions(rows, shuffled, domain))
    rules += _best_of_pairs(functions, test)
    pairs = {frozenset(rule.columns) for rule in rules}
    rules += [
        rule
        for rule in _orders(rows, shuffled, domain)
        if frozenset(rule.columns) not in pairs and not rule.breaks(test).any()
    ]
    return sorted(rules, key=lambda rule: -rule.support)[:MOST]


def _combinations(rows: Tensor, test: Tensor, domain: Domain) -> Iterator[Combinations]:
    values = domain.values
    if not isinstance(values, Columns):
        return
    categories = [i for i, kind in enumerate(values.kinds[: rows.shape[1]]) if kind == "category"]
    for first, second in combinations(categories, 2):
        a, b = values.columns[first], values.columns[second]
        in_train, in_test = (
            torch.bincount(x[:, first].long() * b.count + x[:, second].long(),
                           minlength=a.count * b.count).reshape(a.count, b.count)
            for x in (rows, test)
        )  # fmt: skip
        counts = in_train.double()
        expected = counts.sum(1, keepdim=True) * counts.sum(0) / len(rows)
        forbidden = expected >= SUPPORT
        # Of a name that goes with one other alone all the rest is forbidden.
        for along, table in ((1, counts), (0, counts)):
            single = table.amax(along, keepdim=True) == table.sum(along, keepdim=True)
            missed = (expected * (counts == 0)).sum(along, keepdim=True)
            forbidden = forbidden | (single & (missed >= SUPPORT))
        forbidden = forbidden & (in_train + in_test == 0)
        support = float(expected[forbidden].sum())
        if support < SUPPORT:
            continue
        likeliest = int(torch.where(forbidden, expected, -1.0).argmax())
        words = (
            f"{domain.columns[first]} and {domain.columns[second]}: {int(forbidden.sum())} "
            f"combinations never stand together, such as '{a.categories[likeliest // b.count]}' "
            f"with '{b.categories[likeliest % b.count]}'"
        )
        yield Combinations(words, support, (first, second), forbidden)


def _functions(rows: Tensor, shuffled: Tensor, domain: Domain) -> Iterator[FunctionRule]:
    categories = is_category(domain)[: rows.shape[1]]
    is_real = torch.tensor([kind == "real" for kind in domain.kinds[: rows.shape[1]]])
    tolerance = torch.where(is_real, RESOLUTION * rows.std(0), torch.zeros(rows.shape[1]))
    for column in range(rows.shape[1]):
        groups = _Groups.of(rows[:, column], rows)
        by_chance = _Groups.of(rows[:, column], shuffled)
        same = groups.unequal(tolerance) == 0
        support = by_chance.unequal(tolerance)
        between = torch.zeros_like(same)
        if not categories[column] and len(groups.keys) > 2:
            between = same & ~categories & (groups.outside(tolerance) == 0)
            outside = by_chance.outside(tolerance)
            between &= outside >= SUPPORT
            support = torch.where(between, support.maximum(outside), support)
        for other in (same & (support >= SUPPORT)).nonzero()[:, 0].tolist():
            if other == column or (categories[column] and categories[other]):
                continue
            yield FunctionRule(
                f"{domain.columns[other]} is a function of {domain.columns[column]}",
                float(support[other]),
                (column, other),
                groups.keys,
                groups.low[:, other],
                groups.high[:, other],
                float(tolerance[other]),
                bool(between[other]),
            )


def _best_of_pairs(functions: Sequence[FunctionRule], test: Tensor) -> list[FunctionRule]:
    """Return of a function and its inverse the one with more support."""
    best: dict[frozenset[int], FunctionRule] = {}
    for rule in functions:
        pair = frozenset(rule.columns)
        if rule.breaks(test).any() or (pair in best and best[pair].support >= rule.support):
            continue
        best[pair] = rule
    return list(best.values())


def _orders(rows: Tensor, shuffled: Tensor, domain: Domain) -> Iterator[OrderRule]:
    numbers = (~is_category(domain)[: rows.shape[1]]).nonzero()[:, 0].tolist()
    deviation = rows.std(0).double()
    for first in numbers:
        x = rows[:, first, None]
        is_kept = ~(x > rows).any(0)
        support = (x > shuffled).sum(0)
        ratio = deviation / deviation[first]
        is_like = (ratio <= LIKE) & (ratio >= 1 / LIKE)
        for second in numbers:
            if second == first or not is_kept[second] or not is_like[second]:
                continue
            if support[second] >= SUPPORT:
                words = f"{domain.columns[first]} ≤ {domain.columns[second]}"
                yield OrderRule(words, float(support[second]), (first, second))


def kept_share(rules: Sequence[ColumnRule], x: Float[Tensor, "N D"]) -> Float[Tensor, " R"]:
    """Return of each row that any rule says something of the share of these that it keeps."""
    requested = torch.stack([rule.asked_of(x) for rule in rules]).double()
    broken = torch.stack([rule.breaks(x) for rule in rules]).double()
    share = 1 - broken.sum(0) / requested.sum(0).clamp_min(1)
    return share[requested.sum(0) > 0]


def _rules(reference: FeatureReference) -> list[ColumnRule]:
    data = reference.data
    return rules_of(data.train.x, data.test.x, data.domain, reference.seed)


def _shares(it: SampleFeatures) -> Tensor:
    samples, _ = table_rows(it)
    rules = it.reference.once(_rules)
    if not rules:
        raise Unmeasured(
            "no rule between two columns holds in all rows of the data: no function of one other "
            "column, no order of two, no categories that never stand together"
        )
    shares = kept_share(rules, samples)
    if not len(shares):
        raise Unmeasured("every sample lies beyond the values of which the rules say something")
    return shares


def _trials(it: SampleFeatures) -> Trials:
    """Return how many independent trials vary as the share that rows keep does."""
    shares = it.once(_shares)
    value, n = shares.mean().item(), len(shares)
    variance = shares.var().item() / n if n > 1 else 0.0
    return Trials(value * (1 - value) / variance if variance > 0 else n)


def _protocol(it: SampleFeatures) -> str:
    rules, (samples, _) = it.reference.once(_rules), table_rows(it)
    broken = [
        (float(rule.breaks(samples).sum() / rule.asked_of(samples).sum().clamp_min(1)), rule.words)
        for rule in rules
    ]
    broken.sort(key=lambda pair: -pair[0])
    worst = "; ".join(f"{words} ({share:.1%} broken)" for share, words in broken[:WORST])
    ending = "" if len(rules) <= WORST else f"; and {len(rules) - WORST} more"
    return f"{len(samples)} samples, {len(rules)} rules: {worst}{ending}"


METRICS = (
    Metric(
        name="rules",
        label="rules kept",
        better="higher",
        unit="share",
        section=TABLE,
        meaning="Share of the rules between columns that samples keep: functions of another "
        "column, orders of two, categories that never stand together, each true in every row of "
        "the data. The protocol names them.",
        failure="Rules of three columns are not sought, and a rule that holds in every row may "
        "hold by chance of a few rare cases; one example again and again keeps all of them.",
        kinds=("points",),
        least=0.0,
        most=1.0,
        too_wide=NEAR_ONE,
        write=lambda value: f"{value:.3f}",
        measure=of_features(
            lambda it: it.once(_shares).mean().item(),
            deviation=_trials,
            protocol=_protocol,
            interval=lambda _: "over fresh samples, Wilson's of as many trials as rows vary like",
            floor="training rows, by construction 1",
        ),
    ),
)
