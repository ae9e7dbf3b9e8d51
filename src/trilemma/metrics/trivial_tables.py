"""Tables that nobody would call a model's: what scores of tables are held against.

independent   each column drawn from the training rows by itself
mixture       rows of a mixture of ten products, fitted to the training rows (`table_mixture`)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.domain import Columns
from trilemma.core.noise import mix
from trilemma.data.dataset import DataSet
from trilemma.metrics.table_mixture import fit_mixture

__all__ = ["TRIVIAL", "independent_columns", "shallow_mixture"]


def independent_columns(data: DataSet, count: int, seed: int) -> Float[Tensor, "count D"]:
    """Draw each column from the training rows, whatever stands beside it there."""
    generator = torch.Generator().manual_seed(mix(seed, "independent columns"))
    train = data.train.x
    rows = torch.randint(len(train), (count, train.shape[1]), generator=generator)
    values = data.domain.values
    if isinstance(values, Columns):  # a value and whether it is missing are one column of a file
        for column, flag in enumerate(values.flags):
            if flag >= 0:
                rows[:, flag] = rows[:, column]
    return train.gather(0, rows)


def shallow_mixture(data: DataSet, count: int, seed: int) -> Float[Tensor, "count D"]:
    """Draw rows of a mixture of products, the same for every seed but for the draws."""
    return fit_mixture(data.domain, data.train.x).sample(count, seed)


TRIVIAL: Mapping[str, Callable[[DataSet, int, int], Tensor]] = {
    "independent": independent_columns,
    "mixture": shallow_mixture,
}
"""By name: data, number and seed to rows."""
