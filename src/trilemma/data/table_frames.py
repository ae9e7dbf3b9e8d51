"""Rows of a table as a pandas DataFrame, with the types that its columns have."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from torch import Tensor

from trilemma.core.columns import MISSING, Column, Columns
from trilemma.core.domain import Domain
from trilemma.data.table_cells import frames

__all__ = ["frame"]


def frame(x: Tensor, domain: Domain, labels: Tensor | None = None) -> Any:  # noqa: ANN401
    """Return rows as a DataFrame: numbers, whole numbers, dates and categories as such.

    Arguments:
        x: [N, D], data units.
        domain: Where they lie.
        labels: The class of each row, [N] int64, for the column of which they are the words.
    """
    pandas, values = frames(), domain.values
    names = list(domain.columns) or [f"x{i + 1}" for i in range(x.shape[1])]
    if not isinstance(values, Columns):
        return pandas.DataFrame(dict(zip(names, x.double().numpy().T, strict=True)))
    columns = {
        names[i]: _series(column, x[:, i], None if flag < 0 else x[:, flag] == MISSING, pandas)
        for i, (column, flag) in enumerate(zip(values.columns, values.flags, strict=True))
        if i not in values.flags
    }
    if domain.target and labels is not None:
        classes = pandas.CategoricalDtype(list(domain.classes))
        words = [domain.classes[int(i)] for i in labels.tolist()]
        columns[domain.target] = pandas.Series(words, dtype=classes)
    for name, word in domain.constants:
        columns[name] = pandas.Series([_constant(word)] * len(x))
    return pandas.DataFrame(
        {name: columns[name] for name in domain.order or columns if name in columns}
    )


def _constant(word: str) -> Any:  # noqa: ANN401
    """Return what stands in a column that never changes: a number, a word or nothing."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(word)
    return word or None


def _series(column: Column, values: Tensor, missing: Tensor | None, pandas: Any) -> Any:  # noqa: ANN401
    """Return a column's values, with what is missing as pandas has it."""
    absent = np.zeros(len(values), bool) if missing is None else missing.numpy()
    if column.kind == "real":
        return pandas.Series(np.where(absent, np.nan, values.double().numpy()))
    words: Sequence[str | None] = [
        None if is_absent else column.word(value)
        for value, is_absent in zip(values.tolist(), absent.tolist(), strict=True)
    ]
    if column.kind == "date":
        return pandas.to_datetime(pandas.Series(words))
    if column.kind == "whole":
        kind = "int64" if missing is None else "Int64"
        return pandas.Series([None if word is None else int(word) for word in words], dtype=kind)
    return pandas.Series(words, dtype=pandas.CategoricalDtype(list(column.categories) or None))
