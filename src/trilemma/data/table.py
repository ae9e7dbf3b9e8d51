"""A table as data: a row an example, a column a coordinate.

How a column is read is decided by what stands in it, once, and stands in the domain:

    category   its values are words, or true and false
    whole      every value is a whole number
    real       anything else that is a number

A kind that is declared goes before the rule (`--columns NAME=KIND`), and `drop` leaves a column
out. Categories are kept as codes 0, 1, …, in the order of their names (numbers in theirs). Whole
numbers that reach too far for 32 bits to tell their cells apart are read as real, and a note says
so. The first line may name the columns. Each is standardised by its own mean and deviation, which
stand in the domain, so that what is said of rows is about the numbers as they lie in the file.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trilemma.core.columns import KINDS, Column, Columns, Kind
from trilemma.core.domain import Domain, Real
from trilemma.core.errors import BadInput, nearest
from trilemma.data.dataset import DataSet, Split
from trilemma.data.pictures import printable
from trilemma.data.split import content_hashes, is_test, row_hashes, split_warning

__all__ = ["dataset", "declared", "is_table", "lines", "of_arrays"]

FEWEST, WIDEST = 50, 256
"""Rows without which there is nothing to learn from, and columns beyond which it is no table."""
TEST_SHARE = 0.1
RESOLVED = 1e-5
"""Least deviation of a column, relative to its largest value, that float32 tells apart."""
CELLS, LARGEST = 2**20, 2**24
"""Whole numbers of a column at most, and the largest of them: beyond, cells are too fine for
float32 once they are standardised."""
NAMED = 12
"""Categories that a note names."""
DROP, MOLECULE = "drop", "molecule"
"""Kinds of column that a table of numbers does not have."""


def is_table(path: Path) -> bool:
    """Tell whether a file's name is that of a table."""
    return path.suffix.lower() in (".csv", ".tsv")


def declared(text: str) -> dict[str, str]:
    """Read NAME=KIND,NAME=KIND.

    >>> declared("age=real,zip code=category")
    {'age': 'real', 'zip code': 'category'}

    Raises:
        BadInput: A part is no such pair, a name stands twice, or a kind is unknown.
    """
    kinds: dict[str, str] = {}
    for part in text.split(","):
        name, sign, kind = (word.strip() for word in part.rpartition("="))
        if not sign or not name:
            raise BadInput(
                f"--columns '{printable(part)}' was given; give NAME=KIND, as in age=whole, with "
                f"commas between; kinds are {', '.join((*KINDS, DROP, MOLECULE))}."
            )
        if kind not in (*KINDS, DROP, MOLECULE):
            raise nearest("kind of a column", kind, (*KINDS, DROP, MOLECULE))
        if name in kinds:
            raise BadInput(f"--columns names '{printable(name)}' twice; give one kind for each.")
        kinds[name] = kind
    return kinds


def dataset(path: Path, kinds: Mapping[str, str] | None = None) -> DataSet:
    """Make a data set of a file of comma-, semicolon- or tab-separated values.

    Arguments:
        path: A .csv or .tsv.
        kinds: Kinds of columns by name that go before the rule, or 'drop'.

    Raises:
        BadInput: A value is missing, no finite number among numbers, or not of its column's kind
            (line and column are named), a row has another length, a column never changes or holds
            another word in nearly every row, there are too few rows, or no such column.
    """
    name = printable(path.name)
    names, rows = lines(path, name)
    _rectangular(names, rows, name)
    kinds = _checked_kinds(kinds or {}, names, name)
    locations = [f"line {line} of '{name}'" for line, _ in rows]
    column_values = {
        column: _read(column, [cells[i] for _, cells in rows], locations, kinds.get(column))
        for i, column in enumerate(names)
        if kinds.get(column) != DROP
    }
    return _assembled(name, column_values, kinds)


def of_arrays(
    name: str, columns: Mapping[str, Any], kinds: Mapping[str, str] | None = None
) -> DataSet:
    """Make a data set of columns in memory, by the same rule.

    Arguments:
        name: What the data set is called.
        columns: Arrays of one length by name, such as a pandas DataFrame or a dictionary.
            Booleans, words and what pandas keeps as a category are categories.
        kinds: Kinds of columns by name that go before the rule, or 'drop'.

    Raises:
        BadInput: As `dataset`.
    """
    names = [str(column) for column in columns]
    arrays = [np.asarray(columns[column]) for column in columns]
    kinds = dict(kinds or {})
    for column, key in zip(names, columns, strict=True):
        if str(getattr(columns[key], "dtype", "")) == "category":
            kinds.setdefault(column, "category")
    kinds = _checked_kinds(kinds, names, name)
    lengths = {array.shape for array in arrays}
    if not arrays or len(lengths) > 1 or arrays[0].ndim != 1:
        raise BadInput(
            f"'{name}' was given columns of shapes {sorted(lengths)}; give one-dimensional arrays "
            "of one length."
        )
    _enough(len(arrays[0]), name)
    locations = [f"row {i} of '{name}'" for i in range(1, len(arrays[0]) + 1)]
    column_values = {
        column: _read(
            column, [_text(value) for value in array.tolist()], locations, kinds.get(column)
        )
        for column, array in zip(names, arrays, strict=True)
        if kinds.get(column) != DROP
    }
    return _assembled(name, column_values, kinds)


def _text(value: object) -> str:
    """Return a value as it would stand in a file; what is missing is empty."""
    text = "" if value is None else str(value)
    return "" if text in ("nan", "NaT", "<NA>") else text


class _Values:
    """The values of one column: what they are, as numbers and as categories."""

    def __init__(self, kind: Kind, x: np.ndarray, categories: Sequence[str] = ()) -> None:
        self.kind: Kind = kind
        self.x, self.categories, self.note = x, tuple(categories), ""

    def column(self) -> Column:
        """Return the column, standardised by the moments of what a density sees of it."""
        location, spread = float(self.x.mean()), float(self.x.std())
        if self.kind == "real":
            return Column("real", location, spread)
        low = int(self.x.min())
        return Column(
            self.kind,
            location + 0.5,
            math.sqrt(spread**2 + 1 / 12),  # u is independent of x, and of variance 1 / 12
            low,
            int(self.x.max()) - low + 1,
            self.categories,
        )

    def describe(self) -> str:
        """Return what a note says of it after its name."""
        if self.kind == "real":
            return ""
        if self.kind == "whole":
            return f" {self.x.min():.0f} to {self.x.max():.0f}"
        examples = ", ".join(f"'{printable(word)}'" for word in self.categories[:NAMED])
        ellipsis = ", …" if len(self.categories) > NAMED else ""
        return f" ({len(self.categories)}: {examples}{ellipsis})"


def _read(column: str, cells: Sequence[str], where: Sequence[str], kind: str | None) -> _Values:
    """Read a column by its kind, or by the rule."""
    for position, cell in zip(where, cells, strict=True):
        if not cell:
            raise _unusable(position, column, "a value is missing")
    numbers = [_number(cell) for cell in cells]
    words = all(number is None for number in numbers)
    if kind == "category" or (kind is None and words):
        return _categories(column, cells, numbers, where[0])
    for position, cell, number in zip(where, cells, numbers, strict=True):
        if number is None or not math.isfinite(number):
            suggest_words = number is None and kind is None
            raise _unusable(
                position, column, f"'{printable(cell)}' is no finite number", words=suggest_words
            )
    x = np.array(numbers, dtype=np.float64)
    is_whole = x == np.floor(x)
    fits = np.abs(x).max() <= LARGEST and x.max() - x.min() < CELLS
    if kind == "whole" and not is_whole.all():
        first = int(np.argmin(is_whole))
        raise _unusable(where[first], column, f"'{printable(cells[first])}' is no whole number")
    if kind == "whole" and not fits:
        raise BadInput(
            f"column '{printable(column)}' was declared whole and reaches from {x.min():.0f} to "
            f"{x.max():.0f}, more than 32 bits tell apart: at most {CELLS:,} whole numbers, none "
            f"beyond {LARGEST:,}; divide it, subtract a constant, or declare it real."
        )
    column_kind: Kind = "whole" if is_whole.all() and fits and kind != "real" else "real"
    values = _Values(column_kind, x)
    if is_whole.all() and not fits and kind is None:
        values.note = (
            f"column '{printable(column)}' holds whole numbers that reach too far for 32 bits; it "
            "is read as real, and its density is one of numbers between them too"
        )
    return values


def _categories(
    column: str, cells: Sequence[str], numbers: Sequence[float | None], first: str
) -> _Values:
    """Give words their codes."""
    number_of = dict(zip(cells, numbers, strict=True))
    numeric = all(number is not None for number in numbers)
    names = sorted(number_of, key=lambda word: (number_of[word] if numeric else 0.0, word))  # type: ignore[arg-type,return-value]
    if 2 * len(names) > len(cells):
        raise BadInput(
            f"column '{printable(column)}' of {first.partition(' of ')[2]} holds {len(names)} "
            f"different words in {len(cells)} rows: a name for nearly each of them, and no "
            f"category; leave it out, as by --columns '{printable(column)}={DROP}'."
        )
    code = {word: i for i, word in enumerate(names)}
    return _Values("category", np.array([code[cell] for cell in cells], dtype=np.float64), names)


def _unusable(where: str, column: str, what: str, *, words: bool = False) -> BadInput:
    name = printable(column)
    hint = f", or read all of it as words (--columns '{name}=category')" if words else ""
    return BadInput(
        f"{where}, column '{name}': {what}; mend or remove the row, or leave out the column "
        f"(--columns '{name}={DROP}'){hint}."
    )


def _checked_kinds(kinds: Mapping[str, str], names: Sequence[str], name: str) -> dict[str, str]:
    """Refuse names that stand twice, kinds of columns that are not there, and an empty table."""
    repeated = [column for i, column in enumerate(names) if column in names[:i]]
    if repeated:
        raise BadInput(
            f"'{name}' has two columns '{printable(repeated[0])}'; give each a name of its own."
        )
    for column, kind in kinds.items():
        if column not in names:
            raise nearest(f"column of '{name}'", column, names)
        if kind not in (*KINDS, DROP):
            raise nearest("kind of a column", kind, (*KINDS, DROP))
    if all(kinds.get(column) == DROP for column in names):
        raise BadInput(f"all columns of '{name}' are dropped; leave one at least.")
    return dict(kinds)


def _assembled(name: str, read: Mapping[str, _Values], kinds: Mapping[str, str]) -> DataSet:
    """Make the data set of columns that were read."""
    for column, values_of in read.items():
        _refuse_constant(column, values_of, name)
    columns = [values.column() for values in read.values()]
    x = torch.from_numpy(np.stack([v.x for v in read.values()], 1).astype(np.float32))
    contents = content_hashes(x)
    hashes = row_hashes(contents)
    order = sorted(range(len(hashes)), key=hashes.__getitem__)
    test = is_test(hashes, TEST_SHARE)
    warning = split_warning(contents, test.tolist(), TEST_SHARE)
    x, test = x[order], test[order]
    values: Real | Columns = Columns(tuple(columns))
    if not values.binned:
        values = Real(tuple(c.location for c in columns), tuple(c.spread for c in columns))
    domain = Domain("points", (len(read),), values, columns=tuple(read))
    copies = len(contents) - len(set(contents))
    notes = _notes(read, kinds)
    if copies:
        notes.append(f"copies of another row: {copies}; rows are split one by one")
    notes += [warning] if warning else []
    return DataSet(name, domain, Split(x[~test]), Split(x[test]), notes, "coordinates")


def _notes(read: Mapping[str, _Values], kinds: Mapping[str, str]) -> list[str]:
    """Say how each column was read, and why."""
    explanations: Mapping[Kind, str] = {
        "real": "numbers",
        "whole": "every value is a whole number",
        "category": "words",
    }
    notes = []
    for kind in KINDS:
        descriptions = [
            printable(column) + values.describe() + (" as declared" if column in kinds else "")
            for column, values in read.items()
            if values.kind == kind
        ]
        if descriptions:
            notes.append(f"{kind} columns ({explanations[kind]}): {', '.join(descriptions)}")
    if any(values.kind != "real" for values in read.values()):
        notes.append(
            "whole numbers and categories are spread over cells, so that a density gives a bound"
        )
    notes.append("each column standardised by its mean and deviation")
    dropped = [printable(column) for column, kind in kinds.items() if kind == DROP]
    if dropped:
        notes.append(f"columns left out as declared: {', '.join(dropped)}")
    return notes + [values.note for values in read.values() if values.note]


def _refuse_constant(column: str, values: _Values, name: str) -> None:
    """Refuse a column that never changes, and a real one that changes by too little."""
    x, column = values.x, printable(column)
    mean, spread, largest = x.mean(), x.std(), np.abs(x).max()
    if spread == 0:
        what = printable(values.categories[0]) if values.categories else f"{mean:g}"
        end = (
            "and a density of it would be infinite; remove the column."
            if values.kind == "real"
            else f"and there is nothing to learn of it; remove the column (--columns "
            f"'{column}={DROP}')."
        )
        raise BadInput(f"column '{column}' of '{name}' is {what} in every row, {end}")
    if values.kind == "real" and spread < RESOLVED * largest:
        raise BadInput(
            f"column '{column}' of '{name}' varies by {spread:.3g} around {mean:.6g}, less than "
            "can be told apart in 32 bits; subtract a constant from it first."
        )


def lines(path: Path, name: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Read the columns' names and the rows, each with the number of its line.

    Raises:
        BadInput: It is no text, is empty, or has too many columns.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"'{name}' cannot be read as text ({error}); give a .csv file.") from None
    head = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(text.splitlines(), delimiter=delimiter)
    rows = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if cells]
    if not rows:
        raise BadInput(f"'{name}' is empty; give a .csv file with a row an example.")
    first = rows[0][1]
    if len(first) > WIDEST:
        raise BadInput(
            f"'{name}' has {len(first)} columns, and a table of at most {WIDEST} was wanted."
        )
    if any(_number(cell) is not None for cell in first):
        return [f"column {i}" for i in range(1, len(first) + 1)], rows
    names = [cell or f"column {i}" for i, cell in enumerate(first, 1)]
    return names, rows[1:]


def _rectangular(
    names: Sequence[str], lines: Sequence[tuple[int, Sequence[str]]], name: str
) -> None:
    """Refuse rows that are too few or of another length."""
    _enough(len(lines), name)
    for line, cells in lines:
        if len(cells) != len(names):
            raise BadInput(
                f"line {line} of '{name}' has {len(cells)} values, and there are {len(names)} "
                "columns; mend or remove it."
            )


def _enough(rows: int, name: str) -> None:
    if rows < FEWEST:
        raise BadInput(
            f"'{name}' holds {rows} rows; at least {FEWEST} are wanted, and some hundreds "
            "to learn from."
        )


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
