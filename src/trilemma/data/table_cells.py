"""The cells of a table's column: what is missing, what is a number, what is a date.

Each different word is looked at once, however often it stands there.

    missing   an empty cell, NA, N/A, n/a, NaN, nan, NaT, null, NULL, None, #N/A, <NA>, ?, and a
              - that stands alone, unless the column has a + that does
    number    what Python reads as one; in a file also with a decimal comma, and with marks between
              groups of three digits, as in 1.234,5 and 1,234.5, where a column tells them apart:
              1,234 alone may be either, and is what the file's other columns say
    date      ISO 8601, or one of `DAYS`, perhaps with one of `TIMES`, by one form in every cell;
              which of 03/04 is the month is told by cells of which only one reading is a date
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np

from trilemma.data.pictures import printable

__all__ = [
    "DATE_LIKE",
    "DAYS",
    "MISSING_WORDS",
    "TIMES",
    "UNSETTLED",
    "Cells",
    "Moments",
    "frames",
    "moments",
    "no_date",
    "with_marks",
]

ALONE = "-"
"""It is missing where it stands alone, and a word beside +."""
BLANKS = " \t\n\xa0"
"""What is no part of a word before and after it."""
MISSING_WORDS = frozenset(
    ("", "NA", "N/A", "n/a", "NaN", "nan", "NaT", "null", "NULL", "None", "#N/A", "<NA>", "?")
)
DAYS = (
    "%d.%m.%Y", "%d.%m.%y", "%d/%m/%Y", "%m/%d/%Y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%Y",
    "%m-%d-%Y", "%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%b %d, %Y", "%B %d, %Y",
)  # fmt: skip
TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
DATE_LIKE = re.compile(r"\d{1,4}[-./ ]\w{1,9}[-./ ,]+\d{1,4}|[A-Za-z]{3,9} \d{1,2}, \d{4}")
"""How each date begins."""
COMPACT = re.compile(r"[12]\d{7}")
"""A date as a number."""
ZONE = re.compile(r"\d(Z|[+-]\d\d:?\d\d)$")
"""How a time with a zone ends."""
MICROSECONDS = 1_000_000

POINT, COMMA, GROUPS, UNSETTLED = ".", ",", ",.", "?"
"""A point before a fraction; a comma; a point, and commas between thousands; one of the latter."""
BEGINNINGS = "+-.,0123456789"
"""How a number begins."""
DECIMAL_COMMA = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d*),\d+([eE][+-]?\d+)?")
GROUPED_COMMA = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")
GROUPED_DOT = re.compile(r"[+-]?\d{1,3}(\.\d{3}){2,}")
GROUP_OR_FRACTION = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")


def frames() -> Any:  # noqa: ANN401
    """Return pandas, which takes a second to load, and so is loaded when a table is read."""
    import pandas

    return pandas


@dataclass(frozen=True)
class Cells:
    """The cells of one column."""

    words: np.ndarray
    """The different words, [U] of str."""
    codes: np.ndarray
    """Which of them stands in each of the rows, [N]."""
    mark: str = POINT
    """How its numbers are written."""

    @classmethod
    def of_words(cls, values: np.ndarray) -> Cells:
        """Make them of words, [N]; blanks about one are no part of it, and None is empty."""
        codes, different = frames().factorize(values)
        words = different.tolist()
        if (codes < 0).any():
            codes = np.where(codes < 0, len(words), codes)
            words.append("")
        ends = "\0".join(["", *words, ""])
        if not any(f"\0{blank}" in ends or f"{blank}\0" in ends for blank in BLANKS):
            return cls(np.array(words, dtype=object), codes)
        stripped = np.array([word.strip(BLANKS) for word in words], dtype=object)
        merged, different = frames().factorize(stripped)
        return cls(different, merged[codes])

    @classmethod
    def of_series(cls, series: Any) -> Cells:  # noqa: ANN401
        """Make them of a column of numbers, words, dates or anything else in memory."""
        if series.dtype == object:
            return cls.of_words(np.array([_text(value) for value in series], dtype=object))
        codes, values = frames().factorize(series)
        words = np.array([*map(_text, values), None], dtype=object)
        return cls.of_words(words[codes])

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.codes)

    @cached_property
    def missing(self) -> np.ndarray:
        """Tell which words say that a value is missing, [U] bool."""
        is_missing = frames().Series(self.words, dtype=object).isin([*MISSING_WORDS, ALONE])
        missing = is_missing.to_numpy(bool, copy=True)
        if missing.any() and (self.words == "+").any():
            missing[self.words == ALONE] = False
        return missing

    @cached_property
    def counts(self) -> np.ndarray:
        """Return how often each word stands there, [U]."""
        return np.bincount(self.codes, minlength=len(self.words))

    @cached_property
    def numbers(self) -> np.ndarray:
        """Return the number that each word is, [U] float64; NaN for what is none or missing."""
        words = self.words
        if self.mark in (COMMA, GROUPS):
            words = np.array([self._plain(word) for word in words], dtype=object)
        numbers = frames().to_numeric(frames().Series(words, dtype=object), errors="coerce")
        numbers = numbers.to_numpy(np.float64, copy=True)
        numbers[self.missing] = np.nan
        return numbers

    @property
    def are_numbers(self) -> np.ndarray:
        """Tell which words are numbers, [U] bool."""
        return ~np.isnan(self.numbers)

    def row_of(self, chosen: np.ndarray) -> int:
        """Return the first row in which one of the chosen words, [U] bool, stands."""
        return int(np.argmax(chosen[self.codes]))

    def word_at(self, row: int) -> str:
        """Return the word of a row."""
        return str(self.words[int(self.codes[row])])

    @property
    def constant(self) -> str:
        """Return what stands in a column that never changes, as this program writes it.

        A number has a point before its fraction, whatever it has in the file; what is missing is
        empty.
        """
        if self.missing.all():
            return ""
        return str(self.words[0]) if self.mark == POINT else f"{self.numbers[0]:.15g}"

    def are_alike(self, word: str) -> np.ndarray:
        """Tell which words are another or the same number, [U] bool; an empty one is missing."""
        if not word:
            return self.missing
        alike = np.array([one == word for one in self.words])
        with suppress(ValueError):
            alike |= self.numbers == float(word)
        return alike

    def _plain(self, word: str) -> str:
        """Return a number's word as Python writes it."""
        if self.mark == COMMA:
            is_grouped = DECIMAL_COMMA.fullmatch(word) or GROUPED_DOT.fullmatch(word)
            if is_grouped or GROUP_OR_FRACTION.fullmatch(word):
                return word.replace(".", "").replace(",", ".")
            return word
        if self.mark == GROUPS and GROUPED_COMMA.fullmatch(word):
            return word.replace(",", "")
        return word


def _text(value: Any) -> str | None:  # noqa: ANN401
    """Return a value as it would stand in a file; what is missing is None."""
    text = None if value is None else str(value)
    return None if text in ("nan", "NaT", "<NA>") else text


# Decimal commas


def with_marks(columns: Mapping[str, Cells]) -> tuple[dict[str, Cells], list[str]]:
    """Settle what commas and points in numbers mean, and say where it is not the usual.

    Arguments:
        columns: All columns of a file, by name.

    Returns:
        The columns with their marks, `UNSETTLED` where nothing tells; and notes.
    """
    readings = {name: _reading(cells) for name, cells in columns.items()}
    decisive = {mark for marks in readings.values() for mark in marks if len(marks) == 1}
    settled, notes = dict(columns), []
    for name, marks in readings.items():
        chosen = marks & decisive if len(marks) > 1 else marks
        if len(chosen) > 1 or (marks and not chosen):
            chosen = {UNSETTLED}
        if not marks and decisive == {COMMA} and _is_grouped(columns[name]):
            chosen = {COMMA}
        if chosen:
            settled[name] = replace(columns[name], mark=chosen.pop())
    for mark, what in ((COMMA, "a decimal comma"), (GROUPS, "commas between thousands")):
        names = [printable(name) for name, cells in settled.items() if cells.mark == mark]
        if names:
            notes.append(f"numbers with {what}: {', '.join(names)}")
    return settled, notes


def _reading(cells: Cells) -> set[str]:
    """Return which marks all numbers of a column allow; none where they have no commas."""
    is_other = ~cells.missing & ~cells.are_numbers
    words = [w for w in cells.words[is_other] if w[0] in BEGINNINGS]
    comma = [bool(DECIMAL_COMMA.fullmatch(w) or GROUPED_DOT.fullmatch(w)) for w in words]
    group = [bool(GROUPED_COMMA.fullmatch(w)) for w in words]
    numeric = [w for w, a, b in zip(words, comma, group, strict=True) if a or b]
    if not numeric or 2 * (len(numeric) + cells.are_numbers.sum()) < (~cells.missing).sum():
        return set()
    is_comma = all(a or not b for a, b in zip(comma, group, strict=True))
    is_group = all(b or not a for a, b in zip(comma, group, strict=True))
    return ({COMMA} if is_comma else set()) | ({GROUPS} if is_group else set())


def _is_grouped(cells: Cells) -> bool:
    """Tell whether all points of a column's numbers stand before three digits that end them."""
    words = [w for w in cells.words[cells.are_numbers] if "." in w]
    return bool(words) and all(GROUP_OR_FRACTION.fullmatch(w) for w in words)


# Dates


@dataclass(frozen=True)
class Moments:
    """Dates of words."""

    seconds: np.ndarray
    """Since 1970, [K] int64."""
    notes: tuple[str, ...] = ()
    """What was not certain about them, each to follow the column's name."""


def moments(words: Sequence[str], *, compact: bool = False) -> Moments | None:
    """Read words as dates; None where one of them is none, or of another form.

    Arguments:
        words: Each different.
        compact: Whether a number such as 20240131 is a date too.

    >>> moments(["31.01.2024", "01.02.2024"]).seconds.tolist()
    [1706659200, 1706745600]
    """
    is_number = compact and all(COMPACT.fullmatch(word) for word in words)
    if not words or not (is_number or all(DATE_LIKE.match(word) for word in words)):
        return None
    forms = ["%Y%m%d"] if is_number else _forms(words[0])
    fits = [(form, read) for form in forms if not np.isnat(read := _parsed(words, form)).any()]
    if not fits:
        return None
    microseconds, notes = fits[0][1].astype(np.int64), []
    if any((read != fits[0][1]).any() for _, read in fits[1:]):
        notes.append(
            f"has dates such as '{words[0]}', of which day or month may be first: the day is "
            "taken to be (2024-01-31 says it)"
        )
    if (microseconds % MICROSECONDS).any():
        notes.append("has fractions of a second, which are cut off")
    if any(ZONE.search(word) for word in words if ":" in word):
        notes.append("has times of a zone, which are read as UTC")
    return Moments(microseconds // MICROSECONDS, tuple(notes))


def no_date(words: Sequence[str]) -> int:
    """Return which is the first of words that is no date of the form of the first.

    >>> no_date(["2024-01-31", "soon"])
    1
    """
    forms = _forms(words[0]) if DATE_LIKE.match(words[0]) else []
    missing = [np.isnat(_parsed(words, form)) for form in forms]
    return max((int(np.argmax(one)) for one in missing), default=0)


def _forms(word: str) -> list[str]:
    """Return the forms that one word has; ISO 8601 alone where it has that."""
    if re.match(r"\d{4}[-/.]\d", word):
        return ["ISO8601"]
    forms = []
    for day, time in itertools.product(DAYS, TIMES):
        try:
            datetime.strptime(word, day + time)
        except ValueError:
            continue
        forms.append(day + time)
    # Another word may tell that a form with the month first is meant, which this one refuses.
    month_first = {"%d/%m": "%m/%d", "%d-%m": "%m-%d"}
    return list(
        dict.fromkeys(
            [
                *forms,
                *(
                    form.replace(a, b)
                    for form in forms
                    for a, b in month_first.items()
                    if a in form
                ),
            ]
        )
    )


def _parsed(words: Sequence[str], form: str) -> np.ndarray:
    """Return the dates of a form, [K] of microseconds; what is none is NaT."""
    series = frames().Series(list(words), dtype=object)
    dates = frames().to_datetime(series, format=form, errors="coerce", utc=True)
    return dates.dt.tz_localize(None).to_numpy().astype("datetime64[us]")
