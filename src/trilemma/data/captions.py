"""Captions of a folder's images: metadata.jsonl or metadata.csv, or a .txt beside each image.

    ROOT/metadata.jsonl | .csv       each line or row has a `file_name`, from the file's folder on,
    ROOT/IN/metadata.jsonl | .csv    and a `caption` (or `text`, or several `captions`)
    ROOT/IN/a.txt                    the caption of ROOT/IN/a.png, where no metadata has one

An image has one caption here: the first that is found, in this order. What is not read is counted.
"""

from __future__ import annotations

import csv
import json
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from trilemma.core.errors import BadInput

__all__ = ["captions"]

COLUMNS = ("caption", "text", "captions")


def captions(folder: Path, names: Sequence[str]) -> tuple[list[str] | None, list[str]]:
    """Read the captions of some of a folder's files.

    Arguments:
        folder: Its root.
        names: Files relative to it.

    Returns:
        A caption for each name, empty where there is none, or None without captions; and notes.

    Raises:
        BadInput: A line cannot be read, or a file has no caption in any of its rows.
    """
    collected, spelt = _Collected(), [_plain(name) for name in names]
    inner_folders = {parent for name in spelt for parent in PurePosixPath(name).parents}
    for inner in sorted(inner_folders, key=lambda path: (len(path.parts), str(path))):
        collected.read_metadata(folder, inner)
    for name, own_spelling in zip(spelt, names, strict=True):
        collected.read_text(name, folder / Path(own_spelling).with_suffix(".txt"))
    caption_list = [collected.by_file.get(name, "") for name in spelt]
    unmatched = len(collected.by_file.keys() - set(spelt))
    missing = caption_list.count("")
    if not collected.by_file and not collected.notes:
        return None, []
    counts = {
        "captions from .txt files beside the images": collected.texts,
        "rows without a caption": collected.empty,
        "further captions of an image, of which the first is taken": collected.further,
        "captions of files that are not among the images": unmatched,
    }
    notes = [*collected.notes, *(f"{what}: {count}" for what, count in counts.items() if count)]
    if missing:
        notes.append(f"no caption for {missing} of {len(caption_list)} images")
    return (caption_list if missing < len(caption_list) else None), notes


@dataclass
class _Collected:
    """Captions by file, and what was not read."""

    by_file: dict[str, str] = field(default_factory=dict)
    texts: int = 0
    empty: int = 0
    further: int = 0
    notes: list[str] = field(default_factory=list)

    def read_metadata(self, root: Path, inner: PurePosixPath) -> None:
        """Read the metadata of a folder, if it has any."""
        folder = root / inner
        paths = [folder / f"metadata.{kind}" for kind in ("jsonl", "csv")]
        paths = [path for path in paths if path.is_file()]
        if not paths:
            return
        if len(paths) > 1:
            self.notes.append(f"captions are from {paths[0].name}; {paths[1].name} was not read")
        reader = _json_lines if paths[0].suffix == ".jsonl" else _csv_rows
        try:
            are_usable = [self._add(root, inner, row) for row in reader(paths[0])]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise BadInput(f"'{paths[0]}' cannot be read as UTF-8 text: {error}.") from None
        if are_usable and not any(are_usable):
            raise BadInput(
                f"'{paths[0]}' has no row with 'file_name' and 'caption'; both are wanted as text."
            )

    def read_text(self, name: str, path: Path) -> None:
        """Read the caption that lies beside an image, if none is known yet."""
        if name in self.by_file or not path.is_file():
            return
        try:
            text = " ".join(path.read_text("utf-8-sig").split())
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"'{path}' cannot be read as UTF-8 text: {error}.") from None
        if text:
            self.by_file[name] = text
            self.texts += 1

    def _add(self, root: Path, inner: PurePosixPath, row: Mapping[str, Any]) -> bool:
        """Take the caption of a row; tell whether it has one."""
        value = next((row[c] for c in COLUMNS if row.get(c)), [])
        texts = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        texts = [text.strip() for text in texts if isinstance(text, str) and text.strip()]
        name = row.get("file_name")
        if not texts or not isinstance(name, str):
            self.empty += 1
            return False
        if os.path.isabs(name):
            name = os.path.relpath(name, root.resolve())
        else:
            name = str(inner / _plain(name))
        key = _plain(name)
        self.further += len(texts) - (key not in self.by_file)
        self.by_file.setdefault(key, texts[0])
        return True


def _plain(name: str) -> str:
    """Return one spelling of a relative path: slashes, no './', composed accents."""
    return unicodedata.normalize("NFC", str(PurePosixPath(name.strip().replace("\\", "/"))))


def _json_lines(path: Path) -> Iterator[Mapping[str, Any]]:
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
            yield row


def _csv_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        yield from csv.DictReader(lines)
