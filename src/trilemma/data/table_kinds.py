"""What the columns of a table are, by one rule, and their cells as numbers.

    category   its cells are words, or true and false; or words and numbers, at most `MIXED` in all
    date       every cell is a date, all of one form; where it is declared, also as in 20240131
    whole      every cell is a whole number
    real       every cell is a number

Missing cells have no say in it. A kind that is declared goes before the rule.

Categories have codes 0, 1, …, in the order of their names (numbers in theirs); a missing one is a
category, whose name is empty. A date is the number of whole units after the first, the coarsest of
day, hour, minute and second by which all are whole; where there would be more than `CELLS` of
them, they are cut off to a coarser one, and a note says so. So does one of whole numbers that
reach too far for 32 bits to tell their cells apart, which are read as real.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trilemma.core.columns import DAY, PRESENCE, Column, Kind
from trilemma.core.errors import BadInput
from trilemma.data.pictures import printable
from trilemma.data.table_cells import UNSETTLED, Cells, moments, no_date

__all__ = [
    "DROP",
    "NO_NAME",
    "Values",
    "coded",
    "is_constant",
    "presence",
    "read",
    "spelled",
    "unusable",
]

DROP = "drop"
"""What is declared of a column that is left out."""
MIXED = 20
"""Different words at most of a category that has numbers too."""
RESOLVED = 1e-5
"""Least deviation of a column, relative to its largest value, that float32 tells apart."""
CELLS, LARGEST = 2**20, 2**24
"""Whole numbers of a column at most, and the largest of them: beyond, cells are too fine for
float32 once they are standardised."""
LARGEST_FLOAT = float(np.finfo(np.float32).max)
UNITS = {"day": DAY, "hour": 3600, "minute": 60, "second": 1}
"""Of dates, in seconds, the coarsest first."""
NAMED = 12
"""Categories that a note names."""
NO_NAME = ""
"""Name of the category of what is missing."""

Where = Callable[[int], str]
"""Names the place of a row."""


@dataclass(frozen=True)
class Values:
    """The values of one column."""

    kind: Kind
    x: np.ndarray
    """[N] float64; NaN where a value is missing."""
    categories: tuple[str, ...] = ()
    unit: int = 0
    """Of a date, in seconds."""
    origin: str = ""
    """The date of cell 0."""
    notes: tuple[str, ...] = ()
    """What was not certain or lost, each to follow the column's name."""

    @property
    def missing(self) -> np.ndarray:
        """Tell which values are missing, [N] bool."""
        return np.isnan(self.x)

    def column(self) -> Column:
        """Return the column, standardised by the moments of what a density sees of it."""
        x, optional = self.x[~self.missing], bool(self.missing.any())
        location, spread = float(x.mean()), float(x.std())
        if self.kind == "real":
            return Column("real", location, spread, optional=optional)
        low = int(x.min())
        return Column(
            self.kind,
            location + 0.5,
            math.sqrt(spread**2 + 1 / 12),  # u is independent of x, and of variance 1 / 12
            low,
            len(self.categories) or int(x.max()) - low + 1,
            self.categories,
            self.unit,
            self.origin,
            optional,
        )

    def describe(self) -> str:
        """Return what a note says of it after its name."""
        if self.kind == "real":
            return ""
        if self.kind == "category":
            examples = ", ".join(spelled(word) for word in self.categories[:NAMED])
            ellipsis = ", …" if len(self.categories) > NAMED else ""
            return f" ({len(self.categories)}: {examples}{ellipsis})"
        column, x = self.column(), self.x[~self.missing]
        return f" {column.word(x.min())} to {column.word(x.max())}"


def spelled(word: str) -> str:
    """Return a category's name as notes and messages spell it.

    >>> spelled("red"), spelled("")
    ("'red'", 'missing')
    """
    return f"'{printable(word)}'" if word != NO_NAME else "missing"


def presence(values: Values) -> Values:
    """Return the column that tells which values are missing."""
    return Values("category", values.missing.astype(np.float64), PRESENCE)


def is_constant(cells: Cells) -> bool:
    """Tell whether all cells of a column are alike: one value, or all missing."""
    if len(cells.words) == 1:
        return True
    if cells.are_numbers.all():
        return len(np.unique(cells.numbers)) == 1
    return bool(cells.missing.all())


def read(name: str, cells: Cells, where: Where, kind: str | None) -> Values:
    """Read a column by its kind, or by the rule.

    Arguments:
        name: Of the column.
        cells: Of all rows.
        where: Names the place of a row.
        kind: What is declared of it, if anything.

    Raises:
        BadInput: A cell is none of its kind, or the column is none that can be learned.
    """
    chosen = kind or _ruled(cells)
    if chosen == "category":
        return _categories(name, cells, where)
    if chosen == "date":
        return _dates(name, cells, where)
    numbers = _numbers(name, cells, where, kind)
    is_whole = bool((numbers == np.floor(numbers))[~cells.missing].all())
    present = numbers[~cells.missing]
    fits = np.abs(present).max() <= LARGEST and present.max() - present.min() < CELLS
    if kind == "whole":
        _refuse_fractions(name, cells, where)
        if not fits:
            raise BadInput(
                f"column '{printable(name)}' was declared whole and reaches from "
                f"{present.min():.0f} to {present.max():.0f}, more than 32 bits tell apart: at "
                f"most {CELLS:,} whole numbers, none beyond {LARGEST:,}; divide it, subtract a "
                "constant, or declare it real."
            )
    if is_whole and fits and kind != "real":
        return Values("whole", numbers[cells.codes])
    note = (
        "holds whole numbers that reach too far for 32 bits; it is read as real, and its density "
        "is one of numbers between them too"
    )
    _refuse_unresolved(name, cells)
    return Values("real", numbers[cells.codes], notes=(note,) if is_whole and not kind else ())


def _ruled(cells: Cells) -> str:
    """Return what a column is by the rule: 'number' stands for whole and real."""
    present = ~cells.missing
    are_numbers = cells.are_numbers[present]
    different = int(present.sum())
    if different == 1 and cells.missing.any():
        return "category"
    if are_numbers.all() or cells.mark == UNSETTLED:
        return "number"
    if not are_numbers.any():
        return "date" if moments(list(cells.words[present])) is not None else "category"
    return "category" if different <= MIXED else "number"


def _numbers(name: str, cells: Cells, where: Where, kind: str | None) -> np.ndarray:
    """Return the number of each word, NaN where it is missing."""
    if cells.mark == UNSETTLED:
        _refuse_comma(name, cells, where)
    is_bad = ~cells.missing & ~np.isfinite(cells.numbers)
    if is_bad.any():
        row = cells.row_of(is_bad)
        suggest_words = kind is None and not cells.are_numbers[cells.codes[row]]
        raise unusable(
            where(row), name, f"{_cell(cells, row)} is no finite number", words=suggest_words
        )
    is_large = ~cells.missing & (np.abs(cells.numbers) > LARGEST_FLOAT)
    if is_large.any():
        row = cells.row_of(is_large)
        raise unusable(
            where(row),
            name,
            f"{_cell(cells, row)} is beyond what 32 bits hold ({LARGEST_FLOAT:.2g})",
        )
    return cells.numbers


def _categories(name: str, cells: Cells, where: Where) -> Values:
    """Give words their codes."""
    numeric = bool(cells.are_numbers[~cells.missing].all())
    present = [i for i, missing in enumerate(cells.missing) if not missing]
    present.sort(key=lambda i: (cells.numbers[i] if numeric else 0.0, cells.words[i]))
    rows = int(cells.counts[present].sum())
    if 2 * len(present) > rows:
        file = where(0).partition(" of ")[2]
        raise BadInput(
            f"column '{printable(name)}' of {file} holds {len(present)} different words in {rows} "
            "rows: a name for nearly each of them, and no category; leave it out, as by --columns "
            f"'{printable(name)}={DROP}'."
        )
    names = [str(cells.words[i]) for i in present]
    codes = np.zeros(len(cells.words))
    has_missing = bool(cells.missing.any())
    codes[present] = np.arange(len(names)) + has_missing
    mixed = not numeric and bool(cells.are_numbers[~cells.missing].any())
    notes = ("has numbers among its words, and is read as words",) if mixed else ()
    categories = ([NO_NAME] if has_missing else []) + names
    return Values("category", codes[cells.codes], tuple(categories), notes=notes)


def _dates(name: str, cells: Cells, where: Where) -> Values:
    """Count units after the first date."""
    seconds, notes = _seconds(name, cells, where)
    exact = next(word for word, unit in UNITS.items() if not (seconds % unit).any())
    reach = int(seconds.max()) - int(seconds.min())
    fitting = [word for word, unit in UNITS.items() if reach // unit < CELLS - 1]
    if not fitting:
        raise BadInput(
            f"column '{printable(name)}' reaches over {reach // (365 * DAY):,} years, more than "
            f"{CELLS:,} days; leave it out (--columns '{printable(name)}={DROP}')."
        )
    chosen = exact if exact in fitting else fitting[-1]
    if chosen != exact:
        notes += (
            f"is cut off to the {chosen}: there are too many {exact}s between its first and last",
        )
    unit = UNITS[chosen]
    first = int(seconds.min()) // unit
    numbers = np.full(len(cells.words), np.nan)
    numbers[~cells.missing] = seconds // unit - first
    origin = np.datetime64(first, "D") if unit == DAY else np.datetime64(first * unit, "s")
    return Values("date", numbers[cells.codes], (), unit, str(origin), notes)


def _seconds(name: str, cells: Cells, where: Where) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the dates of the words that are not missing, and what is to be said of them."""
    words = list(cells.words[~cells.missing])
    parsed = moments(words, compact=True)
    if parsed is not None:
        return parsed.seconds, parsed.notes
    bad = no_date(words)
    row = cells.row_of(cells.words == words[bad])
    form = f", or not of the form of '{printable(words[0])}'" if bad else ""
    raise unusable(
        where(row), name, f"{_cell(cells, row)} is no date{form} (2024-01-31 and 31.1.2024 are)"
    )


def coded(name: str, cells: Cells, column: Column, where: Where) -> np.ndarray:
    """Return the cells of a column that is known, [N] float64; NaN where one is missing.

    Arguments:
        name: Of the column.
        cells: Of all rows.
        column: What it is in the data.
        where: Names the place of a row.

    Raises:
        BadInput: A cell is none of its kind, is missing where none is in the data, or a category
            that the data do not have.
    """
    if column.kind == "category":
        return _category_codes(name, cells, column, where)
    if cells.missing.any() and not column.optional:
        position = where(cells.row_of(cells.missing))
        raise BadInput(
            f"{position}, column '{printable(name)}': a value is missing, and none is in the data."
        )
    if cells.missing.all():
        return np.full(len(cells), np.nan)
    if column.kind != "date":
        return _numbers(name, cells, where, column.kind)[cells.codes]
    numbers = np.full(len(cells.words), np.nan)
    origin = np.datetime64(column.origin, "s").astype(np.int64)
    numbers[~cells.missing] = (_seconds(name, cells, where)[0] - origin) // column.unit
    return numbers[cells.codes]


def _category_codes(name: str, cells: Cells, column: Column, where: Where) -> np.ndarray:
    """Return the codes of categories that have them."""
    code = {word: float(i) for i, word in enumerate(column.categories)}
    of_missing = code.get(NO_NAME, math.nan)
    codes = np.array([
        code.get(word, of_missing if is_missing else math.nan)
        for word, is_missing in zip(cells.words, cells.missing, strict=True)
    ])  # fmt: skip
    if np.isnan(codes).any():
        row = cells.row_of(np.isnan(codes))
        examples = ", ".join(spelled(word) for word in column.categories[:6])
        raise BadInput(
            f"{where(row)}, column '{printable(name)}': {_cell(cells, row)} is none of the data's "
            f"categories ({examples})."
        )
    return codes[cells.codes]


# Refusals


def _cell(cells: Cells, row: int) -> str:
    return spelled(cells.word_at(row))


def unusable(where: str, column: str, what: str, *, words: bool = False) -> BadInput:
    """Return the error of a cell that cannot be used, with what to do about it."""
    name = printable(column)
    hint = f", or read all of it as words (--columns '{name}=category')" if words else ""
    return BadInput(
        f"{where}, column '{name}': {what}; mend or remove the row, or leave out the column "
        f"(--columns '{name}={DROP}'){hint}."
    )


def _refuse_comma(name: str, cells: Cells, where: Where) -> None:
    row = cells.row_of(np.array(["," in word for word in cells.words]))
    word = printable(cells.word_at(row))
    raise BadInput(
        f"{where(row)}, column '{printable(name)}': '{word}' may be {word.replace(',', '.')} or "
        f"{word.replace(',', '')}, and no other number of the file tells which; write numbers "
        f"without marks between thousands, or read them as words (--columns "
        f"'{printable(name)}=category')."
    )


def _refuse_fractions(name: str, cells: Cells, where: Where) -> None:
    is_fraction = ~cells.missing & (cells.numbers != np.floor(cells.numbers))
    if is_fraction.any():
        row = cells.row_of(is_fraction)
        raise unusable(where(row), name, f"{_cell(cells, row)} is no whole number")


def _refuse_unresolved(name: str, cells: Cells) -> None:
    """Refuse real numbers that vary by too little for float32."""
    x = cells.numbers[cells.codes]
    x = x[~np.isnan(x)]
    mean, spread, largest = x.mean(), x.std(), np.abs(x).max()
    if spread < RESOLVED * largest or spread == 0:
        raise BadInput(
            f"column '{printable(name)}' varies by {spread:.3g} around {mean:.6g}, less than can "
            "be told apart in 32 bits; subtract a constant from it first."
        )
