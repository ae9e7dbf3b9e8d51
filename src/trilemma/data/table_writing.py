"""Rows of a table as .csv, which this program, pandas and a spreadsheet read back as they were.

Commas stand between cells. A word that has a separator, a quotation mark or a line's end in it, or
begins or ends with a blank, stands in quotes, so that no reader takes it apart. What is missing is
empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["write"]

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


def _quoted(word: str) -> str:
    doubled = word.replace('"', '""')
    return f'"{doubled}"' if QUOTED.search(word) else word
