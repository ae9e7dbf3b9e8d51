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
    metadata_files = [folder / f"metadata.{kind}" for kind in ("jsonl", "csv")]
    metadata_files = [path for path in metadata_files if path.is_file()]
    if not metadata_files:
        return None, []
    reader = _json_lines if metadata_files[0].suffix == ".jsonl" else _csv_rows
    caption_by_file: dict[str, str] = {}
    try:
        for location, row in reader(metadata_files[0]):
            column = next((c for c in COLUMNS if isinstance(row.get(c), str)), None)
            if column is None or not isinstance(row.get("file_name"), str):
                raise BadInput(
                    f"{location} lacks 'file_name' or 'caption'; both are wanted as text."
                )
            caption_by_file[_plain(row["file_name"])] = row[column].strip()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"'{metadata_files[0]}' cannot be read as UTF-8 text: {error}.") from None
    caption_list = [caption_by_file.get(_plain(name), "") for name in names]
    notes = []
    if len(metadata_files) > 1:
        notes.append(
            f"captions are from {metadata_files[0].name}; {metadata_files[1].name} was not read"
        )
    missing, unmatched = (
        caption_list.count(""),
        len(caption_by_file.keys() - {_plain(name) for name in names}),
    )
    if missing:
        notes.append(f"no caption for {missing} of {len(caption_list)} images")
    if unmatched:
        notes.append(f"captions of files that are not among the images: {unmatched}")
    return (caption_list if missing < len(caption_list) else None), notes


def _plain(name: str) -> str:
    """Return one spelling of a relative path: slashes, no './', composed accents."""
    return unicodedata.normalize("NFC", str(PurePosixPath(name.strip().replace("\\", "/"))))


def _json_lines(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            location = f"'{path}', line {number},"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                raise BadInput(f"{location} is not JSON; each line is one object.") from None
            if not isinstance(row, dict):
                raise BadInput(f"{location} is not a JSON object with 'file_name' and 'caption'.")
            yield location, row


def _csv_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.DictReader(lines)
        for row in rows:
            yield f"'{path}', line {rows.line_num},", row
