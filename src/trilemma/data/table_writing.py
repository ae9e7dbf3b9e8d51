"""Rows of a table as .csv, which this program, pandas and a spreadsheet read back as they were.

Commas stand between cells. A word that has a separator, a quotation mark or a line's end in it, or
begins or ends with a blank, stands in quotes, so that no reader takes it apart. What is missing is
empty. Columns stand in the order of the file that the data are from, those that never change and
the target's among them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor

from trilemma.core.domain import Columns, Domain

__all__ = ["rows_of", "write"]

QUOTED = re.compile(r'[,;\t|"\r\n]|^\s|\s$')


def write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table; without a header where it is empty.

    Arguments:
        path: Where.
        header: Names of the columns.
        rows: Cells as they are to stand there.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        for cells in [*([header] if header else []), *rows]:
            # A line that is all empty would be none.
            file.write((",".join(map(_quoted, cells)) or '""') + "\n")


def rows_of(
    x: Tensor, domain: Domain, names: Sequence[str] = (), labels: Tensor | None = None
) -> tuple[list[str], list[list[str]]]:
    """Return a header and rows of words: categories by their names, dates as such.

    Arguments:
        x: Rows, [N, D].
        domain: Of the data.
        names: Of the coordinates; a table has its own.
        labels: Classes of the rows, [N], which stand in the column of which they are the words.
    """
    values, header = domain.values, list(domain.columns or names)
    if isinstance(values, Columns):
        header, rows = values.header(header), [values.words(row) for row in x.tolist()]
    else:
        rows = [[f"{value:.9g}" for value in row] for row in x.tolist()]
    if domain.target and labels is not None:
        header.append(domain.target)
        for row, label in zip(rows, labels.tolist(), strict=True):
            row.append(domain.classes[label])
    if not domain.order:
        return header, rows
    constants = dict(domain.constants)
    header += constants
    rows = [[*row, *constants.values()] for row in rows]
    chosen = [header.index(name) for name in domain.order if name in header]
    return [header[i] for i in chosen], [[row[i] for i in chosen] for row in rows]


def _quoted(word: str) -> str:
    doubled = word.replace('"', '""')
    return f'"{doubled}"' if QUOTED.search(word) else word
