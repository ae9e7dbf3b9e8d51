r"""Columns one by one, and two by two: how alike samples of a table and test rows are there.

column_shapes   mean over columns of

    1 - max_v |F(v) - G(v)|             numbers: Kolmogorov and Smirnov's distance
    1 - 1/2 sum_c |P(c) - Q(c)|         categories: total variation

pair_trends     mean over pairs of columns of

    1 - 1/2 |r - r'|                    two numbers: Pearson's correlations
    1 - 1/2 sum_ab |P(a, b) - Q(a, b)|  a category in the pair: total variation of both together

as SDMetrics has them, for whoever compares with published tables; but numbers beside a category
are binned by the deciles of the training rows and not by ten bins of one width, of which one
outlier leaves one, and a column of categories has `CATEGORIES` bins at most, and one for the
names that are rarer. The correlation of a column that never changes counts as 0.

Both are below 1 by chance where nothing differs: by about 0.9 √(1/n + 1/m) a column of numbers,
and more where there are many categories. The floor says by how much.

All pairs are counted at once: with Z the rows' bins as zeros and ones, Zᵀ Z / n holds the shares
of all pairs of bins.

References:
    | The Synthetic Data Vault (Patki, Wedge & Veeramachaneni, 2016); SDMetrics' KSComplement,
      TVComplement, CorrelationSimilarity and ContingencySimilarity
    | Statistical Properties of the Kolmogorov–Smirnov distance (Massey, 1951)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from trilemma.metrics.coverage import BY_SUBSETS
from trilemma.metrics.features import FeatureReference, SampleFeatures, of_features
from trilemma.metrics.metric import EQUAL, Metric, Unmeasured
from trilemma.metrics.score import Chance, Trials, subset_spreads
from trilemma.metrics.table_encoding import (
    TABLE,
    frequent_categories,
    is_category,
    ranked_codes,
    table_rows,
)

__all__ = [
    "METRICS",
    "PairBins",
    "column_shapes",
    "ks_distances",
    "pair_trends",
    "total_variation",
]

DECILES = np.arange(1, 10) / 10
WIDEST = 64
"""Columns of which pairs are compared, the first of a wider table."""
WORST = 3
"""Columns and pairs that a protocol names."""


def ks_distances(x: Float[Tensor, "N C"], y: Float[Tensor, "M C"]) -> Float[Tensor, " C"]:
    """Return the greatest gap between the distribution functions of each column.

    >>> ks_distances(torch.tensor([[1.0], [2.0]]), torch.tensor([[2.0], [3.0]])).tolist()
    [0.5]
    """
    a, b = (z.double().T.contiguous().sort(1).values for z in (x, y))
    at = torch.cat([a, b], 1)
    below = [torch.searchsorted(z, at, right=True).double() / z.shape[1] for z in (a, b)]
    return (below[0] - below[1]).abs().amax(1)


def total_variation(x: Float[Tensor, " N"], y: Float[Tensor, " M"]) -> float:
    """Return half of the sum over codes of the difference of their shares.

    >>> total_variation(torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.tensor([1.0, 2.0]))
    0.5
    """
    count = int(max(x.max(), y.max())) + 1
    p, q = (torch.bincount(z.long(), minlength=count).double() / len(z) for z in (x, y))
    return (p - q).abs().sum().item() / 2


def column_shapes(
    x: Float[Tensor, "N D"], y: Float[Tensor, "M D"], categories: Bool[Tensor, " D"]
) -> Float[Tensor, " D"]:
    """Return how alike each column of two tables is, 1 where it is the same."""
    alike = torch.ones(x.shape[1], dtype=torch.float64)
    if not categories.all():
        alike[~categories] = 1 - ks_distances(x[:, ~categories], y[:, ~categories])
    for column in categories.nonzero()[:, 0].tolist():
        alike[column] = 1 - total_variation(x[:, column], y[:, column])
    return alike


@dataclass(frozen=True)
class PairBins:
    """Into what bins each column is cut where it stands beside a category."""

    categories: Bool[Tensor, " D"]
    frequent: Mapping[int, Tensor]
    """Categories with a bin each, by column."""
    edges: Mapping[int, Float[Tensor, " E"]]
    """Ends of the bins of each column of numbers, ascending."""

    @classmethod
    def of(
        cls,
        train: Float[Tensor, "T D"],
        categories: Bool[Tensor, " D"],
        frequent: Mapping[int, Tensor],
    ) -> PairBins:
        """Cut numbers at the deciles of training rows."""
        edges = {
            column: torch.from_numpy(np.unique(np.quantile(train[:, column].numpy(), DECILES)))
            for column in (~categories).nonzero()[:, 0].tolist()
        }
        return cls(categories, frequent, edges)

    @property
    def widths(self) -> Int[Tensor, " D"]:
        """Return the number of bins of each column."""
        by_column = {**self.frequent, **self.edges}
        return torch.tensor([len(by_column[d]) + 1 for d in range(len(self.categories))])

    def indicators(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N B"]:
        """Return a column of zeros and ones for each bin of each column."""
        bins = ranked_codes(x, self.frequent).long()
        for column, edges in self.edges.items():
            bins[:, column] = torch.bucketize(x[:, column].double().contiguous(), edges)
        parts = zip(bins.T, self.widths.tolist(), strict=True)
        return torch.cat([one_hot(codes, width).float() for codes, width in parts], 1)

    def variation(self, x: Float[Tensor, "N D"], y: Float[Tensor, "M D"]) -> Float[Tensor, "D D"]:
        """Return the total variation of each pair of columns together."""
        widths = self.widths
        column_of_bin = torch.repeat_interleave(torch.arange(len(widths)), widths)
        in_category = self.categories[column_of_bin]
        tables = []
        for rows in (x, y):
            z = self.indicators(rows)
            tables.append((z[:, in_category].T @ z).double() / len(z))
        gaps = (tables[0] - tables[1]).abs()
        membership = one_hot(column_of_bin, len(widths)).double()
        half = membership[in_category].T @ gaps @ membership / 2
        return torch.where(self.categories[:, None], half, half.T)


def correlations(x: Float[Tensor, "N D"]) -> Float[Tensor, "D D"]:
    """Return Pearson's correlations of columns; 0 of a column that never changes."""
    centred = x.double() - x.double().mean(0)
    norms = centred.norm(dim=0)
    is_constant = norms <= 1e-9 * (1 + x.double().abs().amax(0)) * len(x) ** 0.5
    scaled = centred / torch.where(is_constant, torch.inf, norms)
    return scaled.T @ scaled


def pair_trends(
    x: Float[Tensor, "N D"], y: Float[Tensor, "M D"], bins: PairBins
) -> Float[Tensor, "D D"]:
    """Return how alike each pair of columns of two tables is, 1 where it is the same."""
    alike = 1 - (correlations(x) - correlations(y)).abs() / 2
    categories = bins.categories
    if categories.any():
        has_category = categories[:, None] | categories
        alike = torch.where(has_category, 1 - bins.variation(x, y), alike)
    return alike


def _upper(pairs: Float[Tensor, "D D"]) -> Float[Tensor, " P"]:
    """Return the value of each pair of two columns."""
    return pairs[tuple(torch.triu_indices(*pairs.shape, offset=1))]


def _shapes(it: SampleFeatures) -> Tensor:
    return column_shapes(*table_rows(it), is_category(it.reference.data.domain))


def _bins(reference: FeatureReference) -> PairBins:
    frequent = reference.once(frequent_categories)
    return PairBins.of(
        reference.data.train.x[:, :WIDEST],
        is_category(reference.data.domain)[:WIDEST],
        {column: codes for column, codes in frequent.items() if column < WIDEST},
    )


def _pair_rows(it: SampleFeatures) -> tuple[Tensor, Tensor]:
    samples, tests = table_rows(it)
    if samples.shape[1] < 2:
        raise Unmeasured("a single column has no pairs")
    return samples[:, :WIDEST], tests[:, :WIDEST]


def _pairs(it: SampleFeatures) -> Tensor:
    return pair_trends(*_pair_rows(it), it.reference.once(_bins))


def _shapes_spread(it: SampleFeatures) -> float | Chance | Trials:
    categories = is_category(it.reference.data.domain)
    return _spread(it, table_rows(it), lambda x, y: column_shapes(x, y, categories))


def _pairs_spread(it: SampleFeatures) -> float | Chance | Trials:
    bins = it.reference.once(_bins)
    return _spread(it, _pair_rows(it), lambda x, y: _upper(pair_trends(x, y, bins)))


def _spread(
    it: SampleFeatures,
    sides: tuple[Tensor, Tensor],
    similarities: Callable[[Tensor, Tensor], Tensor],
) -> float | Chance | Trials:
    return subset_spreads(
        *sides,
        lambda x, y: {"": similarities(x, y).mean().item()},
        seed=it.reference.seed,
        part=0.5,
    )[""]


def _counts(it: SampleFeatures) -> str:
    samples, tests = table_rows(it)
    return f"{len(samples)} samples against {len(tests)} test rows"


def _shapes_protocol(it: SampleFeatures) -> str:
    names, alike = it.reference.data.domain.columns, it.once(_shapes)
    least = alike.argsort()[:WORST].tolist()
    worst = ", ".join(f"{names[column]} {alike[column]:.2f}" for column in least)
    return f"{_counts(it)}, {len(alike)} columns; least alike: {worst}"


def _pairs_protocol(it: SampleFeatures) -> str:
    names, pairs = it.reference.data.domain.columns, it.once(_pairs)
    first, second = torch.triu_indices(*pairs.shape, offset=1).tolist()
    alike = _upper(pairs)
    worst = ", ".join(
        f"{names[first[pair]]} and {names[second[pair]]} {alike[pair]:.2f}"
        for pair in alike.argsort()[:WORST].tolist()
    )
    return f"{_counts(it)}, {len(alike)} pairs of columns; least alike: {worst}"


METRICS = (
    Metric(
        name="column_shapes",
        label="column shapes",
        better="higher",
        unit="similarity",
        section=TABLE,
        meaning="How alike each column of the samples is to that of unseen rows, in the mean over "
        "columns: 1 for the same. The protocol names the worst.",
        failure="What columns have to do with one another is not seen: rows whose columns are "
        "drawn independently pass. It is below 1 by chance.",
        kinds=("points",),
        least=0.0,
        most=1.0,
        too_wide=EQUAL,
        write=lambda value: f"{value:.3f}",
        measure=of_features(
            lambda it: it.once(_shapes).mean().item(),
            deviation=_shapes_spread,
            protocol=_shapes_protocol,
            interval=lambda _: BY_SUBSETS,
            floor="training rows",
        ),
    ),
    Metric(
        name="pair_trends",
        label="pair trends",
        better="higher",
        unit="similarity",
        section=TABLE,
        meaning="How alike each two columns of the samples go together as in unseen rows, in the "
        "mean over pairs: 1 for the same. The protocol names the worst.",
        failure="Of two numbers it sees the straight part alone, and most pairs of a table are "
        "nearly independent, so that rows without any trend score high too: read it beside "
        "independent columns. It is below 1 by chance.",
        kinds=("points",),
        least=0.0,
        most=1.0,
        too_wide=EQUAL,
        write=lambda value: f"{value:.3f}",
        measure=of_features(
            lambda it: _upper(it.once(_pairs)).mean().item(),
            deviation=_pairs_spread,
            protocol=_pairs_protocol,
            interval=lambda _: BY_SUBSETS,
            floor="training rows",
        ),
    ),
)
