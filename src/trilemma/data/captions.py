"""Captions of a folder's images: metadata.jsonl or metadata.csv, or a .txt beside each image.

    ROOT/metadata.jsonl | .csv       each line or row has a `file_name`, from the file's folder on,
    ROOT/IN/metadata.jsonl | .csv    and a `caption` (or `text`, or several `captions`)
    ROOT/IN/labels.csv               the same where it has captions, as `trilemma sample` writes it
    ROOT/IN/a.txt                    the caption of ROOT/IN/a.png, where no metadata has one
    ROOT/labels.csv                  where it has a `class`, the classes of all images

An image may have several captions: those of its row or rows, of the first of these that has any.
A training example draws one of them each time; elsewhere the first is taken. What is not read is
counted.
"""

from __future__ import annotations

import csv
import json
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from trilemma.core.errors import BadInput

__all__ = ["CAPTION", "CLASS", "FILE_NAME", "LABELS", "METADATA", "captions", "classes"]

FILE_NAME, CLASS, CAPTION = "file_name", "class", "caption"
"""Columns of `LABELS`."""
COLUMNS = (CAPTION, "text", "captions")
LABELS = "labels.csv"
MOST = 8
"""Captions of an image that are read."""
METADATA = ("metadata.jsonl", "metadata.csv", LABELS)
"""Files that say something of the images beside them; of several the first is read."""


def captions(folder: Path, names: Sequence[str]) -> tuple[list[list[str]] | None, list[str]]:
    """Read the captions of some of a folder's files.

    Arguments:
        folder: Its root.
        names: Files relative to it.

    Returns:
        The captions for each name, none where there is none, or None without captions; and notes.

    Raises:
        BadInput: A line cannot be read, or a file has no caption in any of its rows.
    """
    collected, spelt = _Collected(), [_plain(name) for name in names]
    inner_folders = {parent for name in spelt for parent in PurePosixPath(name).parents}
    for inner in sorted(inner_folders, key=lambda path: (len(path.parts), str(path))):
        collected.read_metadata(folder, inner)
    for name, own_spelling in zip(spelt, names, strict=True):
        collected.read_text(name, folder / Path(own_spelling).with_suffix(".txt"))
    caption_list = [collected.by_file.get(name, [])[:MOST] for name in spelt]
    unmatched = len(collected.by_file.keys() - set(spelt))
    missing = sum(not texts for texts in caption_list)
    excess = sum(len(texts) - MOST for texts in collected.by_file.values() if len(texts) > MOST)
    if not collected.by_file and not collected.notes:
        return None, []
    counts = {
        "captions from .txt files beside the images": collected.texts,
        "rows without a caption": collected.empty,
        f"captions of an image beyond its first {MOST}, which are not read": excess,
        "captions of files that are not among the images": unmatched,
    }
    notes = [*collected.notes, *(f"{what}: {count}" for what, count in counts.items() if count)]
    if missing:
        notes.append(f"no caption for {missing} of {len(caption_list)} images")
    return (caption_list if missing < len(caption_list) else None), notes


def classes(folder: Path, names: Sequence[str]) -> tuple[list[str] | None, list[str]]:
    """Read the classes of some of a folder's files from its labels.csv.

    Arguments:
        folder: Its root.
        names: Files relative to it.

    Returns:
        A class for each name, or None where there are fewer than two, or they are not said of
        all images; and notes.

    Raises:
        BadInput: The file cannot be read.
    """
    path = folder / LABELS
    if not path.is_file() or CLASS not in _header(path):
        return None, []
    by_file: dict[str, str] = {}
    with _readable(path):
        for row in _csv_rows(path):
            name, value = row.get(FILE_NAME), (row.get(CLASS) or "").strip()
            if name and value:
                by_file.setdefault(_plain(name), value)
    labels = [by_file.get(_plain(name), "") for name in names]
    if missing := labels.count(""):
        return None, [f"the classes in {LABELS} are not used: {missing} of {len(names)} have none"]
    if len(set(labels)) < 2:
        return None, [f"all images are of one class in {LABELS}: {labels[0]}"]
    return labels, [f"classes are from {LABELS}"]


@dataclass
class _Collected:
    """Captions by file, and what was not read."""

    by_file: dict[str, list[str]] = field(default_factory=dict)
    texts: int = 0
    empty: int = 0
    notes: list[str] = field(default_factory=list)

    def read_metadata(self, root: Path, inner: PurePosixPath) -> None:
        """Read the metadata of a folder, if it has any."""
        folder = root / inner
        paths = [folder / name for name in METADATA if (folder / name).is_file()]
        if paths and paths[-1].name == LABELS and CAPTION not in _header(paths[-1]):
            paths.pop()
        if not paths:
            return
        if len(paths) > 1:
            self.notes.append(f"captions are from {paths[0].name}; {paths[1].name} was not read")
        reader = _json_lines if paths[0].suffix == ".jsonl" else _csv_rows
        with _readable(paths[0]):
            are_usable = [self._add(root, inner, row) for row in reader(paths[0])]
        if are_usable and not any(are_usable):
            raise BadInput(
                f"'{paths[0]}' has no row with 'file_name' and 'caption'; both are wanted as text."
            )

    def read_text(self, name: str, path: Path) -> None:
        """Read the caption that lies beside an image, if none is known yet."""
        if name in self.by_file or not path.is_file():
            return
        with _readable(path):
            text = " ".join(path.read_text("utf-8-sig").split())
        if text:
            self.by_file[name] = [text]
            self.texts += 1

    def _add(self, root: Path, inner: PurePosixPath, row: Mapping[str, Any]) -> bool:
        """Take the caption of a row; tell whether it has one."""
        value = next((row[c] for c in COLUMNS if row.get(c)), [])
        texts = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        texts = [text.strip() for text in texts if isinstance(text, str) and text.strip()]
        name = row.get(FILE_NAME)
        if not texts or not isinstance(name, str):
            self.empty += 1
            return False
        if os.path.isabs(name):
            name = os.path.relpath(name, root.resolve())
        else:
            name = str(inner / _plain(name))
        key = _plain(name)
        before = self.by_file.setdefault(key, [])
        before += [text for text in dict.fromkeys(texts) if text not in before]
        return True


def _plain(name: str) -> str:
    """Return one spelling of a relative path: slashes, no './', composed accents."""
    return unicodedata.normalize("NFC", str(PurePosixPath(name.strip().replace("\\", "/"))))


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Refuse in a sentence what cannot be read as text."""
    try:
        yield
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"'{path}' cannot be read as UTF-8 text: {error}.") from None


def _header(path: Path) -> list[str]:
    """Return the names of a table's columns."""
    with _readable(path), path.open(encoding="utf-8-sig", newline="") as lines:
        return next(csv.reader(lines), [])


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
