r"""A trivial density of a table: its columns independent of one another.

    whole numbers and categories   the training counts of each cell, plus one
    real numbers                   a Gaussian of the training mean and variance

    ln p(x) = sum_d ln p_d(x_d)

Of a table without real columns it is a probability, never above 0, beside which a bound may stand.
A Gaussian of whole numbers would be a density, which stands for nothing there.
"""

from __future__ import annotations

import math

import torch

from trilemma.core.domain import Columns
from trilemma.data.dataset import DataSet

__all__ = ["independent"]


def independent(data: DataSet) -> float:
    """Return the mean ln p(x) of test rows under independent columns, nats.

    Arguments:
        data: A table with columns in cells.
    """
    values = data.domain.values
    assert isinstance(values, Columns)
    total = 0.0
    for d, column in enumerate(values.columns):
        train, test = data.train.x[:, d].double(), data.test.x[:, d].double()
        if column.in_cells:
            cells = (train - column.low).long()
            counts = torch.bincount(cells, minlength=column.count).double() + 1
            total += float((counts / counts.sum()).log()[(test - column.low).long()].mean())
        else:
            mean, variance = train.mean(), train.var(correction=0)
            each = -0.5 * ((test - mean).square() / variance + (2 * math.pi * variance).log())
            total += float(each.mean())
    return total
