"""Captions of a folder's images: metadata.jsonl or metadata.csv at its root.

Each line or row has a `file_name`, relative to the folder, and a `caption` (or `text`).
"""

from __future__ import annotations

import csv
import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from trilemma.core.errors import BadInput

__all__ = ["captions"]

COLUMNS = ("caption", "text")


def captions(folder: Path, names: Sequence[str]) -> tuple[list[str] | None, list[str]]:
    """Read the captions of some of a folder's files.

    Arguments:
        folder: Its root.
        names: Files relative to it.

    Returns:
        A caption for each name, empty where there is none, or None without captions; and notes.

    Raises:
        BadInput: A line cannot be read or lacks `file_name` or `caption`.
    """
    there = [folder / f"metadata.{kind}" for kind in ("jsonl", "csv")]
    there = [path for path in there if path.is_file()]
    if not there:
        return None, []
    read = _json_lines if there[0].suffix == ".jsonl" else _csv_rows
    given: dict[str, str] = {}
    try:
        for place, row in read(there[0]):
            column = next((c for c in COLUMNS if isinstance(row.get(c), str)), None)
            if column is None or not isinstance(row.get("file_name"), str):
                raise BadInput(f"{place} lacks 'file_name' or 'caption'; both are wanted as text.")
            given[_plain(row["file_name"])] = row[column].strip()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"'{there[0]}' cannot be read as UTF-8 text: {error}.") from None
    said = [given.get(_plain(name), "") for name in names]
    notes = []
    if len(there) > 1:
        notes.append(f"captions are from {there[0].name}; {there[1].name} was not read")
    silent, stray = said.count(""), len(given.keys() - {_plain(name) for name in names})
    if silent:
        notes.append(f"no caption for {silent} of {len(said)} images")
    if stray:
        notes.append(f"captions of files that are not among the images: {stray}")
    return (said if silent < len(said) else None), notes


def _plain(name: str) -> str:
    """Return one spelling of a relative path: slashes, no './', composed accents."""
    return unicodedata.normalize("NFC", str(PurePosixPath(name.strip().replace("\\", "/"))))


def _json_lines(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            place = f"'{path}', line {number},"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                raise BadInput(f"{place} is not JSON; each line is one object.") from None
            if not isinstance(row, dict):
                raise BadInput(f"{place} is not a JSON object with 'file_name' and 'caption'.")
            yield place, row


def _csv_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.DictReader(lines)
        for row in rows:
            yield f"'{path}', line {rows.line_num},", row
