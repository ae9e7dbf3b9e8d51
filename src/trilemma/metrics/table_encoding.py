r"""The columns of a table as metrics see them, in one way for all.

A table is a set of points whose columns have names. Numbers stay numbers, real or in cells. A
category is

    one_hot         a column of zeros and ones for each of its `CATEGORIES` most frequent names
    ranked_codes    the place of its name in the order of frequency, all others of one place more

by the training examples, whatever is compared with them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from trilemma.core.domain import Columns, Domain
from trilemma.metrics.features import FeatureReference, SampleFeatures
from trilemma.metrics.metric import Unmeasured

__all__ = [
    "CATEGORIES",
    "TABLE",
    "encoded",
    "frequent_categories",
    "is_category",
    "one_hot",
    "ranked_codes",
    "table_rows",
]

CATEGORIES = 32
"""Categories of a column that have a column each, the most frequent."""
TABLE = "columns of a table"
"""The section of what is asked of tables alone."""


def is_category(domain: Domain) -> Bool[Tensor, " D"]:
    """Return which columns hold categories; the others hold numbers."""
    return torch.tensor([kind == "category" for kind in domain.kinds])


def table_rows(it: SampleFeatures) -> tuple[Float[Tensor, "N D"], Float[Tensor, "M D"]]:
    """Return as many rows of samples as stand-ins have, and the test rows, data units.

    Raises:
        Unmeasured: The examples are no rows of a table, or there is only one on a side.
    """
    reference = it.reference
    if not reference.data.domain.columns:
        raise Unmeasured("the data are no table: their columns have no names")
    samples = it.x[: reference.count]
    tests = reference.data.test.x[reference.test_rows]
    if min(len(samples), len(tests)) < 2:
        raise Unmeasured(
            f"{len(samples)} samples and {len(tests)} test rows are too few to compare columns; "
            "take at least 2 of each"
        )
    return samples, tests


def frequent_categories(reference: FeatureReference) -> dict[int, Tensor]:
    """Return the most frequent categories of each column of categories, by its place."""
    train = reference.data.train.x
    frequent = {}
    for column, kind in enumerate(reference.data.domain.kinds):
        if kind == "category":
            codes, counts = train[:, column].unique(return_counts=True)
            order = counts.argsort(descending=True, stable=True)
            frequent[column] = codes[order[:CATEGORIES]]
    return frequent


def one_hot(
    numbers: Float[Tensor, "R D"], x: Float[Tensor, "R D"], frequent: Mapping[int, Tensor]
) -> Float[Tensor, "R F"]:
    """Return numbers with a column of zeros and ones for each of the frequent categories.

    Arguments:
        numbers: What stands for each column that holds numbers, such as the standardised rows.
        x: The rows, data units: categories as codes.
        frequent: Codes by column, of `frequent_categories`.
    """
    parts = []
    for column in range(numbers.shape[1]):
        if column in frequent:
            parts.append((x[:, column, None] == frequent[column]).to(numbers.dtype))
        else:
            parts.append(numbers[:, column, None])
    return torch.cat(parts, 1)


def encoded(
    features: Float[Tensor, "R F"], x: Tensor, reference: FeatureReference
) -> Float[Tensor, "R G"]:
    """Return features, of tables with categories as `one_hot` has them.

    Arguments:
        features: What an extractor makes of examples.
        x: The examples, data units.
        reference: Whose training examples say which categories are frequent.
    """
    values = reference.data.domain.values
    if not isinstance(values, Columns) or "category" not in values.kinds:
        return features
    if features.shape[1] != values.width:
        return features
    numbers = torch.zeros(len(x), len(values.columns), dtype=features.dtype)
    numbers[:, values.numbers] = features[:, values.number_coordinates]
    return one_hot(numbers, x, reference.once(frequent_categories))


def ranked_codes(x: Float[Tensor, "R D"], frequent: Mapping[int, Tensor]) -> Float[Tensor, "R D"]:
    """Return rows whose categories are numbered by frequency, 0 the most frequent.

    >>> ranked_codes(torch.tensor([[7.0], [2.0], [5.0]]), {0: torch.tensor([2.0, 7.0])}).tolist()
    [[1.0], [0.0], [2.0]]
    """
    ranked = x.clone()
    for column, codes in frequent.items():
        is_code = x[:, column, None] == codes
        rank = torch.where(is_code.any(1), is_code.double().argmax(1), len(codes))
        ranked[:, column] = rank.to(x.dtype)
    return ranked
