"""A share of a data set: `fashion-mnist@10%` is a tenth of its training examples.

What a method needs of data is seen by giving it less. The examples are the first of a fixed order
drawn from a constant seed, in which every run from the start holds the classes in their own
proportion, to within one example a class: the j-th of the N_c members of class c, in random order,
stands at (j + 1/2) / N_c. So 5 % lie within 10 %. The test split stays whole, that numbers remain
comparable with those of the whole data set.
"""

from __future__ import annotations

import dataclasses
import re

import torch
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.core.noise import mix
from trilemma.data.dataset import DataSet
from trilemma.data.split import frequencies

__all__ = ["SIGN", "parted", "share_of"]

SIGN = "@"
"""Stands between a data set's name and the share."""

PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,9})?|\.\d{1,9})%")


def parted(text: str) -> tuple[str, float | None]:
    """Part a data set's name from the share that is asked of it, in percent.

    >>> parted("fashion-mnist@10%"), parted("digits@2.5%"), parted("digits")
    (('fashion-mnist', 10.0), ('digits', 2.5), ('digits', None))

    Raises:
        BadInput: What follows the sign is not a share above 0 and up to 100 %.
    """
    name, separator, share_text = text.partition(SIGN)
    if not separator:
        return text, None
    match = PERCENT.fullmatch(share_text)
    percent = float(match[1]) if match else 0.0
    if not 0 < percent <= 100:
        raise BadInput(
            f"'{SIGN}{share_text[:20]}' is no share of a data set; give more than 0 and at most "
            f"100 percent, as in '{name}{SIGN}10%'."
        )
    return name, percent


def share_of(data: DataSet, percent: float) -> DataSet:
    """Return the data set with a share of its training examples and the whole test split.

    Arguments:
        data: The whole.
        percent: Above 0, at most 100.

    Raises:
        BadInput: The share holds no example, or fewer than there are classes.
    """
    n, total = round(percent / 100 * len(data.train)), len(data.train)
    least = max(1, len(data.domain.classes))
    if n < least:
        raise BadInput(
            f"{percent:g} % of the {total:,} training examples of '{data.name}' is {n}, and "
            f"{least} are needed; ask for {SIGN}{-(-1000 * least // total) / 10:g}% or more."
        )
    labels = data.train.labels
    rows = _order(total, labels)[:n].sort().values
    train = data.train.select(rows)
    note = (
        f"{percent:g} % of the training examples: {n:,} of {total:,}, "
        f"{'each class in its proportion, ' if labels is not None else ''}"
        "the first of an order drawn from a fixed seed; the test split is whole"
    )
    domain = data.domain
    if labels is not None:
        domain = dataclasses.replace(domain, frequencies=frequencies(train, domain.classes))
    return dataclasses.replace(
        data,
        name=f"{data.name}{SIGN}{percent:g}%",
        domain=domain,
        train=train,
        notes=(*data.notes, note),
    )


def _order(n: int, labels: Tensor | None) -> Tensor:
    """Return the fixed order of n examples, in which classes are evenly spread, [n]."""
    position = torch.empty(n, dtype=torch.float64)
    for label in [None] if labels is None else labels.unique().tolist():
        members = torch.arange(n) if labels is None else (labels == label).nonzero().flatten()
        count = len(members)
        generator = torch.Generator().manual_seed(mix("share", str(label), count))
        permutation = torch.randperm(count, generator=generator)
        position[members] = (permutation.double() + 0.5) / count
    return torch.argsort(position, stable=True)
