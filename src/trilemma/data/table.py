"""A table of numbers as data: a row an example, a column a coordinate.

The first line may name the columns. Each column is standardised by its own mean and deviation,
which stand in the domain, so that densities are about the numbers as they lie in the file.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from trilemma.core.domain import Domain, Real
from trilemma.core.errors import BadInput
from trilemma.data.dataset import DataSet, Split
from trilemma.data.pictures import shown
from trilemma.data.split import content_hashes, is_test, row_hashes, split_warning

__all__ = ["dataset", "is_table"]

FEWEST, WIDEST = 50, 256
"""Rows without which there is nothing to learn from, and columns beyond which it is no table."""
TEST_SHARE = 0.1
RESOLVED = 1e-5
"""Least deviation of a column, relative to its largest value, that float32 tells apart."""


def is_table(path: Path) -> bool:
    """Tell whether a file's name is that of a table."""
    return path.suffix.lower() in (".csv", ".tsv")


def dataset(path: Path) -> DataSet:
    """Make a data set of a file of comma-, semicolon- or tab-separated numbers.

    Raises:
        BadInput: A value is missing or no finite number (row and column are named), a row has
            another length, a column never changes, or there are too few rows.
    """
    name = shown(path.name)
    names, rows = _numbers(*_lines(path, name), name)
    mean, spread = rows.mean(0), rows.std(0)
    for column, m, s, largest in zip(names, mean, spread, np.abs(rows).max(0), strict=True):
        if s == 0:
            raise BadInput(
                f"column '{column}' of '{name}' is {m:g} in every row, and a density of it would "
                "be infinite; remove the column."
            )
        if s < RESOLVED * largest:
            raise BadInput(
                f"column '{column}' of '{name}' varies by {s:.3g} around {m:.6g}, less than can "
                "be told apart in 32 bits; subtract a constant from it first."
            )
    x = torch.from_numpy(rows.astype(np.float32))
    contents = content_hashes(x)
    hashes = row_hashes(contents)
    order = sorted(range(len(hashes)), key=hashes.__getitem__)
    test = is_test(hashes, TEST_SHARE)
    warning = split_warning(contents, test.tolist(), TEST_SHARE)
    x, test = x[order], test[order]
    values = Real(tuple(mean.tolist()), tuple(spread.tolist()))
    domain = Domain("points", (len(names),), values, columns=tuple(names))
    copies = len(contents) - len(set(contents))
    notes = [f"columns: {', '.join(names)}; each standardised by its mean and deviation"]
    if copies:
        notes.append(f"copies of another row: {copies}; rows are split one by one")
    notes += [warning] if warning else []
    return DataSet(name, domain, Split(x[~test]), Split(x[test]), notes, "coordinates")


def _lines(path: Path, name: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Read the columns' names and the rows, each with the number of its line."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"'{name}' cannot be read as text ({error}); give a .csv file.") from None
    head = text.split("\n", 1)[0]
    mark = max(",;\t", key=head.count)
    reader = csv.reader(text.splitlines(), delimiter=mark)
    lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if cells]
    if not lines:
        raise BadInput(f"'{name}' is empty; give a .csv file with a row an example.")
    first = lines[0][1]
    if len(first) > WIDEST:
        raise BadInput(
            f"'{name}' has {len(first)} columns, and a table of at most {WIDEST} was wanted."
        )
    if any(_number(cell) is not None for cell in first):
        return [f"column {i}" for i in range(1, len(first) + 1)], lines
    names = [cell or f"column {i}" for i, cell in enumerate(first, 1)]
    return names, lines[1:]


def _numbers(
    names: list[str], lines: Sequence[tuple[int, list[str]]], name: str
) -> tuple[list[str], np.ndarray]:
    """Return the names and the rows, [N, D] float64."""
    if len(lines) < FEWEST:
        raise BadInput(
            f"'{name}' holds {len(lines)} rows; at least {FEWEST} are wanted, and some hundreds "
            "to learn from."
        )
    for line, cells in lines:
        if len(cells) != len(names):
            raise BadInput(
                f"line {line} of '{name}' has {len(cells)} values, and there are {len(names)} "
                "columns; mend or remove it."
            )
    found = [[_number(cell) for cell in cells] for _, cells in lines]
    for (line, cells), row in zip(lines, found, strict=True):
        for column, cell, value in zip(names, cells, row, strict=True):
            if value is None or not math.isfinite(value):
                what = f"'{shown(cell)}' is no finite number" if cell else "a value is missing"
                raise BadInput(
                    f"line {line} of '{name}', column '{shown(column)}': {what}; mend or remove "
                    "the row, or leave out the column."
                )
    return names, np.array(found, dtype=np.float64)


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
