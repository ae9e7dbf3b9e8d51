"""Tables as people have them: read through pandas, cell for cell, and nothing dropped unsaid.

    .csv .tsv   text: UTF-8, UTF-16, else Windows-1252, which is said
    .parquet    by pyarrow, which the extra 'parquet' brings
    in memory   a DataFrame, or arrays by name

Of text these are found:

    separator   of tab ; | , the first that stands equally often, outside quotes, in each of the
                first lines; a first line `sep=;`, as spreadsheets write it, says it
    comments    lines that begin with # and have not as many separators as the first that does not;
                within quotes there are none
    names       the first line holds names where more of its cells are words above numbers or dates
                than numbers above numbers; of words alone, where none of them comes again below.
                Whole numbers that increase, one by one or as years from 1000 to 2999, are names
                where each is of another scale than what stands below it
    row names   a first column without a name that counts the rows is left out; the header of a
                table of R may lack it
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trilemma.core.errors import BadInput
from trilemma.data.pictures import Progress, printable
from trilemma.data.table_cells import DATE_LIKE, MISSING_WORDS, Cells, frames, with_marks

__all__ = ["FORMS", "PARQUET", "Sheet", "of_columns", "of_text", "read"]

PARQUET = ".parquet"
FORMS = (".csv", ".tsv", PARQUET)
WIDEST = 256
"""Columns beyond which it is no table."""
SEPARATORS = "\t;|,"
HEAD_ROWS = 200
"""Rows by which the separator and the names are found."""
AT_ONCE = 20_000
"""Rows that are read between two looks at the clock."""
UNNAMED = ("", "Unnamed: 0")
"""What the index is called in a file that a program wrote."""
YEARS = range(1000, 3000)
NUMBER = re.compile(r"[+-]?(\d[\d.,]*|[.,]\d+)([eE][+-]?\d+)?|[+-]?(inf|Infinity)")
MOSTLY = 0.8
"""Share of a column's first cells that say what it is, where one of them may be a slip."""


NESTED = (list, tuple, set, dict, bytes, np.ndarray)
"""What is no cell of a table."""


@dataclass(frozen=True)
class Sheet:
    """A table as it stands in a file or in memory."""

    name: str
    columns: Mapping[str, Cells]
    notes: tuple[str, ...]
    """How it was read, and what was left out."""
    where: Callable[[int], str]
    """Names the place of a row."""

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return len(next(iter(self.columns.values())))


def read(path: Path, expected: Sequence[str] = (), progress: Progress | None = None) -> Sheet:
    """Read a file.

    Arguments:
        path: A .csv, .tsv or .parquet.
        expected: Names of columns; a first line that has them all is one of names.
        progress: Called now and then with how many of how many rows are read.

    Raises:
        BadInput: It cannot be read, is empty, has too many columns or a row of another length, or
            two columns have one name.
    """
    name = printable(path.name)
    if path.suffix.lower() == PARQUET:
        return of_columns(name, _parquet(path, name))
    text, notes = _decoded(path, name)
    return of_text(name, text, expected, progress, notes)


def of_columns(name: str, columns: Mapping[Any, Any]) -> Sheet:
    """Take the columns of a DataFrame, or arrays by name.

    Raises:
        BadInput: They are no columns of one length, or two have one name.
    """
    pandas = frames()
    names = [str(column) for column in columns]
    _refuse_repeated(names, name)
    series = [columns[column] for column in columns]
    series = [s if isinstance(s, pandas.Series) else pandas.Series(_flat(s)) for s in series]
    lengths = {len(one) for one in series}
    if len(lengths) != 1:
        raise BadInput(
            f"'{name}' was given columns of lengths {sorted(lengths)}; give one-dimensional "
            "arrays of one length."
        )
    _refuse_wide(len(names), name)
    for column, values in zip(names, series, strict=True):
        _refuse_nested(values, column, name)
    notes = ()
    index = getattr(columns, "index", None)  # of a DataFrame
    if index is not None and not isinstance(index, pandas.RangeIndex):
        notes = ("the index of the DataFrame is not read; reset_index() makes it a column",)
    cells = map(Cells.of_series, series)
    return Sheet(
        name,
        dict(zip(names, cells, strict=True)),
        notes,
        lambda row: f"row {row + 1} of '{name}'",
    )


def _refuse_nested(series: Any, column: str, name: str) -> None:  # noqa: ANN401
    """Refuse a column whose cells are lists, arrays or the like."""
    if series.dtype != object:
        return
    for row, value in enumerate(series):
        if isinstance(value, NESTED):
            raise BadInput(
                f"column '{column}' of '{name}' holds a {type(value).__name__} in row {row + 1}; "
                "a cell is a number, a word, a date or nothing; take it apart, or drop the column."
            )


def _flat(values: Any) -> np.ndarray:  # noqa: ANN401
    array = np.asarray(values)
    if array.ndim != 1:
        raise BadInput(
            f"a column of shape {array.shape} was given; give one-dimensional arrays of one "
            "length."
        )
    return array


def _parquet(path: Path, name: str) -> Mapping[Any, Any]:
    try:
        return frames().read_parquet(path)
    except ImportError:
        raise BadInput(
            f"'{name}' is read by pyarrow, which is not installed; pip install "
            "'trilemma[parquet]', or give a .csv."
        ) from None
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(f"'{name}' cannot be read as a .parquet ({reason}).") from None


def _decoded(path: Path, name: str) -> tuple[str, list[str]]:
    """Return a file's text, and what is to be said of its encoding."""
    try:
        raw = path.read_bytes()
        if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
            text, encoding = raw.decode("utf-16"), "UTF-16"
        else:
            text, encoding = _of_bytes(raw)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"'{name}' cannot be read as text ({error}); give a .csv file.") from None
    if "\0" in text:
        raise BadInput(f"'{name}' cannot be read as text (it has zeros in it); give a .csv file.")
    return text, [f"the text is read as {encoding}"] if encoding else []


def _of_bytes(raw: bytes) -> tuple[str, str]:
    try:
        return raw.decode("utf-8-sig"), ""
    except UnicodeDecodeError:
        return raw.decode("cp1252"), "Windows-1252, for it is no UTF-8"


@dataclass(frozen=True)
class _Text:
    """Text of which the separator is known."""

    name: str
    text: str
    separator: str

    def rows(self) -> Iterator[tuple[int, int, list[str]]]:
        """Yield each row's line, where the next one begins, and its cells; none is blank."""
        file = io.StringIO(self.text)
        reader = csv.reader(file, delimiter=self.separator, skipinitialspace=True)
        for cells in reader:
            if cells and (len(cells) > 1 or cells[0].strip() or not cells[0]):
                yield reader.line_num, file.tell(), cells

    def where(self, row: int) -> str:
        """Name the place of a row, the first of which is 0."""
        line = next(itertools.islice(self.rows(), row, None))[0]
        return f"line {line} of '{self.name}'"


def of_text(
    name: str,
    text: str,
    expected: Sequence[str] = (),
    progress: Progress | None = None,
    notes: Sequence[str] = (),
) -> Sheet:
    """Read text as `read` does a file's."""
    csv.field_size_limit(1 << 24)
    source, form_notes = _separated(name, text.replace("\r\n", "\n").replace("\r", "\n"))
    first_rows = list(itertools.islice(source.rows(), HEAD_ROWS))
    if not first_rows:
        raise BadInput(f"'{name}' is empty; give a .csv file with a row an example.")
    names, start, header_note = _names([cells for *_, cells in first_rows], expected)
    offset = first_rows[0][1] if start else 0
    _refuse_wide(len(names), name)
    _refuse_repeated(names, name)
    values = _values(source, names, offset, start, progress)
    columns = {column: Cells.of_words(one) for column, one in zip(names, values, strict=True)}

    def where(row: int) -> str:
        return source.where(row + start)

    columns, index_note = _without_index(columns)
    columns, mark_notes = with_marks(columns)
    all_notes = [*notes, *form_notes, *header_note, *index_note, *mark_notes]
    return Sheet(name, columns, tuple(all_notes), where)


# Form


def _separated(name: str, text: str) -> tuple[_Text, list[str]]:
    """Find the separator, and take comments out; lines keep their numbers."""
    chosen, notes = "", []
    if re.match(r"sep=.\n", text):
        chosen, text = text[4], text[5:]
    head = re.sub(r'"[^"]*"', '""', text[: 1 << 18]).split("\n")
    head = [line for line in head if line.strip()][:HEAD_ROWS]
    uncommented = [line for line in head if not line.startswith("#")] or head
    separator = chosen or _separator(uncommented)
    if uncommented and (text.startswith("#") or "\n#" in text):
        text, count = _uncommented(text, separator, uncommented[0].count(separator))
        notes = [f"lines of comments, left out: {count}"] if count else []
    return _Text(name, text, separator), notes


def _separator(head: Sequence[str]) -> str:
    """Choose the separator by the first lines, in which what is quoted is empty."""
    below = head[1:] or head
    shares = {}
    for separator in SEPARATORS:
        counts = Counter(line.count(separator) for line in below)
        count, lines = counts.most_common(1)[0] if counts else (0, 0)
        is_header = bool(head) and head[0].count(separator) in (count, count - 1)
        shares[separator] = lines / max(1, len(below)) * is_header if count else 0.0
    best = max(shares.values())
    return next(s for s in SEPARATORS if shares[s] == best) if best else ","


def _uncommented(text: str, separator: str, count: int) -> tuple[str, int]:
    """Empty the lines that are comments, and return how many there were."""
    lines, comments, is_head = text.split("\n"), 0, True
    for i, line in enumerate(lines):
        is_comment = line.startswith("#") and line.count(separator) != count
        if is_comment and (is_head or '"' not in text):
            lines[i], comments = "", comments + 1
        is_head = is_head and not lines[i].strip()
    return "\n".join(lines), comments


def _names(rows: Sequence[list[str]], expected: Sequence[str]) -> tuple[list[str], int, list[str]]:
    """Return the columns' names, how many rows these take, and what is to be said of it."""
    first, below = [cell.strip() for cell in rows[0]], rows[1:]
    if _has_row_names(first, below):
        first = ["", *first]
    if expected and set(expected) <= set(first):
        return first, 1, []
    columns = [[row[i].strip() for row in below if i < len(row)] for i in range(len(first))]
    has_names = _is_header(first, columns)
    numbers = [cell for cell in first if NUMBER.fullmatch(cell)]
    if not has_names:
        names = [f"column {i}" for i in range(1, len(first) + 1)]
        return names, 0, ["the first line is a row: no line has the columns' names"]
    names = [cell or ("" if i == 1 else f"column {i}") for i, cell in enumerate(first, 1)]
    if len(numbers) < 2:
        return names, 1, []
    note = (
        f"the first line holds the columns' names, {numbers[0]} to {numbers[-1]} among them: "
        "whole numbers that increase, of another scale than those below"
    )
    return names, 1, [note]


def _has_row_names(first: Sequence[str], below: Sequence[list[str]]) -> bool:
    """Tell whether a header lacks the first column, as R writes it: of words, or counting."""
    names = [row[0] for row in below]
    is_wider = {len(row) for row in below} == {len(first) + 1}
    are_words = len(set(names)) == len(names) and not any(map(NUMBER.fullmatch, names))
    return is_wider and (are_words or names == [str(i + 1) for i in range(len(names))])


def _is_header(first: Sequence[str], columns: Sequence[Sequence[str]]) -> bool:
    """Tell whether the first row holds names, by the types of its cells and of those below."""
    numbers = [
        (cell, column)
        for cell, column in zip(first, columns, strict=True)
        if NUMBER.fullmatch(cell) and _share(column, NUMBER) >= MOSTLY
    ]
    words = [
        cell
        for cell, column in zip(first, columns, strict=True)
        if cell not in MISSING_WORDS
        and not NUMBER.fullmatch(cell)
        and not DATE_LIKE.match(cell)
        and max(_share(column, NUMBER), _share(column, DATE_LIKE)) >= MOSTLY
    ]
    if numbers and _counts(numbers):
        return True
    if words or numbers:
        return len(words) > len(numbers)
    if any(DATE_LIKE.match(cell) for cell in first):
        return False
    return len(set(first)) == len(first) and not any(
        cell in column for cell, column in zip(first, columns, strict=True) if cell
    )


def _share(column: Sequence[str], pattern: re.Pattern[str]) -> float:
    """Return the share of the cells that are there which a pattern fits."""
    present = [cell for cell in column if cell not in MISSING_WORDS]
    return sum(bool(pattern.match(cell)) for cell in present) / max(1, len(present))


def _counts(numbers: Sequence[tuple[str, Sequence[str]]]) -> bool:
    """Tell whether numbers above numbers are names: they increase, and are of another scale."""
    if len(numbers) < 2 or not all(cell.isdigit() for cell, _ in numbers):
        return False
    heads = [int(cell) for cell, _ in numbers]
    steps = {b - a for a, b in itertools.pairwise(heads)}
    are_years = min(steps) > 0 and heads[0] in YEARS and heads[-1] in YEARS
    return (steps == {1} or are_years) and all(
        _is_foreign(head, column) for head, (_, column) in zip(heads, numbers, strict=True)
    )


def _is_foreign(head: int, column: Sequence[str]) -> bool:
    """Tell whether a whole number is of another type or scale than the cells below it."""
    cells = [cell for cell in column if NUMBER.fullmatch(cell)]
    values = [float(cell) for cell in cells if re.fullmatch(r"[+-]?\d+(\.\d+)?", cell)]
    if len(values) < len(cells) or any(value != int(value) for value in values):
        return True
    reach = max(values) - min(values)
    return not min(values) - reach <= head <= max(values) + reach


def _without_index(columns: Mapping[str, Cells]) -> tuple[dict[str, Cells], list[str]]:
    """Leave out a first column that has no name and counts the rows, and say so."""
    first, *_ = columns
    if first not in UNNAMED:
        return dict(columns), []
    cells = columns[first]
    remaining = {name: one for name, one in columns.items() if name != first}
    numbers = cells.numbers[cells.codes]
    is_counting = len(cells) > 1 and all(np.diff(numbers) == 1) and numbers[0] in (0, 1)
    if is_counting and remaining:
        return remaining, ["a first column without a name counts the rows, and is left out"]
    return {"column 1": cells, **remaining}, []


# Cells


def _values(
    source: _Text, names: Sequence[str], offset: int, start: int, progress: Progress | None
) -> list[np.ndarray]:
    """Return the cells of each column, [N] of str each."""
    pandas = frames()
    body = source.text[offset:]
    total, chunks, done = body.count("\n") + 1, [], 0
    try:
        reader = pandas.read_csv(
            io.StringIO(body),
            sep=source.separator,
            header=None,
            dtype=object,
            na_filter=False,
            skipinitialspace=True,
            chunksize=AT_ONCE,
        )
        for chunk in reader:
            chunks.append(chunk)
            done += len(chunk)
            if progress is not None:
                progress(min(done, total), total)
    except pandas.errors.EmptyDataError:
        return [np.empty(0, dtype=object)] * len(names)
    except pandas.errors.ParserError as error:
        _refuse_ragged(source, len(names), start)
        raise BadInput(
            f"'{source.name}' cannot be read as a table ({str(error).strip()}); look for a "
            "quotation mark that is not closed."
        ) from None
    separators = body.count(source.separator)
    if '"' in body or separators != done * (len(names) - 1):
        _refuse_ragged(source, len(names), start)
    return [
        np.concatenate([chunk[i].to_numpy(dtype=object) for chunk in chunks])
        for i in range(len(names))
    ]


def _refuse_ragged(source: _Text, width: int, start: int) -> None:
    """Refuse the first row that has another number of cells than there are columns."""
    for line, _, cells in itertools.islice(source.rows(), start, None):
        if len(cells) != width:
            raise BadInput(
                f"line {line} of '{source.name}' has {len(cells)} values, and there are {width} "
                "columns; mend or remove it."
            )


def _refuse_wide(columns: int, name: str) -> None:
    if columns > WIDEST:
        raise BadInput(
            f"'{name}' has {columns} columns, and a table of at most {WIDEST} was wanted."
        )


def _refuse_repeated(names: Sequence[str], name: str) -> None:
    repeated = [column for column, count in Counter(names).items() if count > 1]
    if repeated:
        raise BadInput(
            f"'{name}' has two columns '{printable(repeated[0])}'; give each a name of its own."
        )
