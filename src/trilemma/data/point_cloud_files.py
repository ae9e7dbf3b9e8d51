r"""Point clouds and molecules in space as people have them.

    .xyz    a count, a comment, and a line an atom: symbol or atomic number and x y z in ångström;
            several frames a file, extended XYZ by its `Properties=`, with the numbers of its
            comment, NAME=NUMBER, as properties of the frame; QM9's own with its lines after the
            atoms and its exponents written *^
    .ply    the vertices of an object, as text or binary; other elements are not read
    .npy    N × 3, or M × N × 3 for M clouds; further columns are not read

A folder is read file after file, all of one kind. What cannot be used is counted by its reason
with its place; nothing is changed in silence.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.core.words import left_out
from trilemma.data.below import OWN, paths_below
from trilemma.data.elements import ISOTOPES, SYMBOLS, atomic_number
from trilemma.data.pictures import Progress, printable

__all__ = [
    "FORMS",
    "LARGEST",
    "Frame",
    "PointCloudContents",
    "UnusableFrame",
    "checked",
    "frames",
    "is_point_clouds",
    "read_point_clouds",
]

MOLECULES, OBJECTS = (".xyz",), (".ply", ".npy")
FORMS = (*MOLECULES, *OBJECTS)
"""Suffixes of files that can only be clouds, in the order in which a folder is asked for them."""
LARGEST = 256
"""Points of a cloud at most: networks look at every pair of them."""
NEAREST = (0.3, 5.0)
"""Distances in ångström between which an atom's nearest neighbour lies."""
BOHR = 1.7
"""Median distance of nearest atoms from which coordinates look like bohr."""
SAME = 1e-3
"""Distance below which two points are at one place."""


@dataclass(frozen=True)
class Frame:
    """One cloud of a file."""

    positions: Float[Tensor, "n 3"]
    symbols: tuple[str, ...] = ()
    """Of the atoms; empty for points that are none."""
    properties: Mapping[str, float] = field(default_factory=dict)
    """Numbers that the file says of the whole, by name."""


@dataclass
class PointCloudContents:
    """What a file or a folder holds."""

    frames: list[Frame] = field(default_factory=list)
    files: int = 0
    entries: int = 0
    left_out: dict[str, list[str]] = field(default_factory=dict)
    """Places by reason."""
    own: list[str] = field(default_factory=list)
    """Folders of runs and comparisons, which are left out."""
    changes: Counter[str] = field(default_factory=Counter)
    """Frames by what was read as something else."""

    def notes(self) -> list[str]:
        """Say what was read otherwise, and left out."""
        sentences = [f"{what}: {count}" for what, count in sorted(self.changes.items())]
        sentences += left_out(self.left_out | ({OWN: self.own} if self.own else {}))
        nearest = self.nearest()
        if nearest is not None and BOHR < nearest < 2 * BOHR:
            sentences.append(
                f"nearest atoms are {nearest:.2f} apart in the middle, which looks like bohr; in "
                "ångström it is about 1.1: divide the coordinates by 1.8897 if they are in bohr"
            )
        return sentences

    def nearest(self) -> float | None:
        """Return the median distance of an atom to its nearest; None without atoms."""
        nearest_distances = [_nearest(one.positions) for one in self.frames[:500] if one.symbols]
        return float(torch.cat(nearest_distances).median()) if nearest_distances else None


class UnusableFrame(Exception):
    """Why a frame is left out, in words that are equal for equal reasons."""


def is_point_clouds(path: Path) -> bool:
    """Tell whether a file, or the files of a folder, are point clouds."""
    if path.is_dir():
        return bool(_files(path))
    return path.suffix.lower() in FORMS


def read_point_clouds(path: Path, progress: Progress | None = None) -> PointCloudContents:
    """Read a file, or all files of a folder.

    Arguments:
        path: Where.
        progress: Called now and then with how many of how many files are done.

    Raises:
        BadInput: A file cannot be opened, or is none of its kind.
    """
    contents = PointCloudContents()
    files = _files(path, contents.own) if path.is_dir() else [path]
    for processed, file in enumerate(files, 1):
        prefix = f"{printable(file.name)} " if len(files) > 1 else ""
        try:
            for location, frame in frames(file, contents.changes):
                contents.entries += 1
                try:
                    contents.frames.append(checked(frame))
                except UnusableFrame as reason:
                    contents.left_out.setdefault(str(reason), []).append(prefix + location)
        except (OSError, ValueError) as error:
            raise BadInput(f"'{printable(file.name)}' cannot be read: {error}.") from None
        contents.files += 1
        if progress is not None:
            progress(processed, len(files))
    return contents


def frames(path: Path, changes: Counter[str]) -> Iterator[tuple[str, Frame | UnusableFrame]]:
    """Yield the clouds of a file with their places in it, or why one of them cannot be read.

    Arguments:
        path: A file of one of `FORMS`.
        changes: Counts what was read as something else.

    Raises:
        OSError: The file cannot be opened.
        ValueError: It is none of its kind.
    """
    return READERS[path.suffix.lower()](path, changes)


def _files(folder: Path, own: list[str] | None = None) -> list[Path]:
    """Return the files of the first kind that a folder has; add what is left out to `own`."""
    all_files = paths_below(folder, own)
    for kinds in (MOLECULES, OBJECTS):
        matches = [p for p in all_files if p.suffix.lower() in kinds]
        if matches:
            return matches
    return []


def _nearest(positions: Tensor) -> Tensor:
    distances = torch.cdist(positions.double(), positions.double())
    return distances.fill_diagonal_(math.inf).min(1).values


def checked(frame: Frame | UnusableFrame) -> Frame:
    """Return a frame that can be used.

    Raises:
        Unusable: It cannot be.
    """
    if isinstance(frame, UnusableFrame):
        raise frame
    x = frame.positions
    what = "atoms" if frame.symbols else "points"
    if len(x) < 2:
        raise UnusableFrame(f"has fewer than two {what}")
    if len(x) > LARGEST:
        raise UnusableFrame(f"has more than {LARGEST} {what}, every pair of which is looked at")
    if not bool(x.isfinite().all()):
        raise UnusableFrame("has a coordinate that is no finite number")
    nearest = _nearest(x)
    if float(nearest.min()) < SAME:
        raise UnusableFrame(f"has two {what} at one place")
    low, high = NEAREST
    if frame.symbols and not (low <= float(nearest.min()) and float(nearest.max()) <= high):
        raise UnusableFrame(
            f"has an atom whose nearest is not between {low:g} and {high:g} away, as in ångström"
        )
    return frame


# XYZ


def _read_xyz(path: Path, changes: Counter[str]) -> Iterator[tuple[str, Frame | UnusableFrame]]:
    """Yield the frames of an .xyz with the lines where they begin."""
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    index = 0
    while index < len(lines):
        if not lines[index].strip():
            index += 1
            continue
        head = lines[index].split()
        if len(head) != 1 or not head[0].isdecimal():
            raise ValueError(
                f"line {index + 1} is no count of atoms; a frame is a count, a comment and that "
                "many lines of a symbol and three coordinates"
            )
        count, location = int(head[0]), f"line {index + 1}"
        body = lines[index + 2 : index + 2 + count]
        index += 2 + count
        try:
            if len(body) < count:
                raise UnusableFrame("ends before the atoms that it counts")
            yield location, _xyz_frame(body, lines[index - count - 1], changes)
        except UnusableFrame as reason:
            yield location, reason
            if len(body) == count and any(_is_count(line) for line in body):
                raise ValueError(
                    f"the count of {location} is wrong: another begins within"
                ) from None
        index = _after(lines, index)


def _after(lines: Sequence[str], at: int) -> int:
    """Return where the next frame begins: QM9's own has its frequencies and names after it."""
    nonblank = [k for k in range(at, min(at + 4, len(lines))) if lines[k].strip()]
    if not nonblank or _is_count(lines[nonblank[0]]):
        return at
    if _is_atom(lines[nonblank[0]]):
        raise ValueError(f"line {nonblank[0] + 1} is an atom beyond the count of its frame")
    next_frame = next((k for k in range(at, min(at + 4, len(lines))) if _is_count(lines[k])), None)
    if next_frame is None and len([k for k in range(at, len(lines)) if lines[k].strip()]) <= 3:
        return len(lines)
    if next_frame is not None:
        return next_frame
    return at


def _is_count(line: str) -> bool:
    words = line.split()
    return len(words) == 1 and words[0].isdecimal()


def _is_atom(line: str) -> bool:
    words = line.split()
    return len(words) > 3 and atomic_number(words[0]) is not None


def _xyz_frame(body: Sequence[str], comment: str, changes: Counter[str]) -> Frame:
    symbol_column, x_column = _columns(comment)
    symbols, rows = [], []
    for line in body:
        words = line.replace(",", " ").split()
        if len(words) == x_column + 2 and symbol_column == 0:
            raise UnusableFrame("lies in the plane, with two coordinates")
        if len(words) < x_column + 3 or len(words) <= symbol_column:
            raise UnusableFrame("has a line without a symbol and three coordinates")
        number = atomic_number(words[symbol_column])
        if number is None:
            raise UnusableFrame(f"has an unknown element: {printable(words[symbol_column])}")
        if words[symbol_column].capitalize() in ISOTOPES:
            changes["isotopes of hydrogen, read as hydrogen"] += 1
        symbols.append(SYMBOLS[number - 1])
        try:
            rows.append([float(w.replace("*^", "e")) for w in words[x_column : x_column + 3]])
        except ValueError:
            raise UnusableFrame("has a coordinate that is no number") from None
    coordinates = torch.tensor(rows, dtype=torch.float32).view(len(rows), 3)
    return Frame(coordinates, tuple(symbols), _numbers(comment))


KEY_VALUE = re.compile(r"""(?:^|\s)([A-Za-z_][\w.-]*)=("[^"]*"|'[^']*'|\S+)""")


def _numbers(comment: str) -> dict[str, float]:
    """Return the numbers of an extended XYZ's comment; what is no single number is passed over.

    >>> _numbers('energy=-3.5 pbc="T T F" Properties=species:S:1:pos:R:3 alpha="13.2" name=a')
    {'energy': -3.5, 'alpha': 13.2}
    """
    numbers = {}
    for name, text in KEY_VALUE.findall(comment):
        with contextlib.suppress(ValueError):
            numbers[name] = float(text.strip("\"'"))
    return numbers


PROPERTIES = re.compile(r'Properties="?([^"\s]+)"?', re.IGNORECASE)


def _columns(comment: str) -> tuple[int, int]:
    """Return the columns of the symbol and of x, as an extended XYZ's comment has them.

    >>> _columns("Properties=id:I:1:pos:R:3:species:S:1"), _columns("water")
    ((4, 1), (0, 1))
    """
    match = PROPERTIES.search(comment)
    if match is None:
        return 0, 1
    parts, offset, columns = match[1].split(":"), 0, {}
    for name, width in zip(parts[0::3], parts[2::3], strict=False):
        columns[name.lower()] = offset
        offset += int(width) if width.isdecimal() else 1
    symbol_column = columns.get("species", columns.get("z", columns.get("numbers", 0)))
    return symbol_column, columns.get("pos", 1)


# Objects


def _read_npy(path: Path, changes: Counter[str]) -> Iterator[tuple[str, Frame | UnusableFrame]]:
    """Yield the clouds of an array."""
    array = np.load(path, allow_pickle=False)
    if array.ndim not in (2, 3) or array.shape[-1] < 3 or array.dtype.kind not in "fiu":
        raise ValueError(
            f"it holds an array of {array.shape} and type {array.dtype}; wanted are numbers, "
            "N × 3 or M × N × 3"
        )
    if array.shape[-1] > 3:
        changes["columns beyond x, y, z, which are not read"] += 1
    clouds = array[None] if array.ndim == 2 else array
    for number, cloud in enumerate(clouds, 1):
        yield f"cloud {number}", Frame(torch.from_numpy(cloud[:, :3].astype(np.float32)))


TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4",
    "float": "f4", "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2",
    "int32": "i4", "uint32": "u4", "float32": "f4", "float64": "f8",
}  # fmt: skip
"""Types of a .ply, as numpy writes them."""


def _read_ply(path: Path, changes: Counter[str]) -> Iterator[tuple[str, Frame | UnusableFrame]]:
    """Yield the vertices of a .ply."""
    with path.open("rb") as file:
        if file.readline().strip() != b"ply":
            raise ValueError("it does not begin with 'ply'")
        form, elements = "", list[tuple[str, int, list[tuple[str, str]]]]()
        for raw in file:
            words = raw.decode("ascii", "replace").split()
            if not words or words[0] in ("comment", "obj_info"):
                continue
            if words[0] == "end_header":
                break
            if words[0] == "format":
                form = words[1]
            elif words[0] == "element":
                elements.append((words[1], int(words[2]), []))
            elif words[0] == "property":
                elements[-1][2].append((words[-1], words[1]))
        else:
            raise ValueError("its head does not end")
        if not elements or elements[0][0] != "vertex":
            raise ValueError("its vertices do not come first")
        _, count, vertex_properties = elements[0]
        names = [name for name, _ in vertex_properties]
        if not {"x", "y", "z"} <= set(names) or any(
            kind == "list" for _, kind in vertex_properties
        ):
            raise ValueError("its vertices have no x, y and z")
        if len(names) > 3:
            changes["columns beyond x, y, z, which are not read"] += 1
        if form == "ascii":
            lines = [file.readline().split() for _ in range(count)]
            if any(len(line) < len(names) for line in lines):
                raise ValueError(f"it ends before its {count} vertices")
            rows = np.array(
                [[float(line[names.index(axis)]) for axis in "xyz"] for line in lines], np.float32
            ).reshape(-1, 3)
        else:
            order = {"binary_little_endian": "<", "binary_big_endian": ">"}.get(form)
            if order is None:
                raise ValueError(f"its format '{form}' is not known")
            vertex_dtype = np.dtype(
                [(name, order + TYPES[kind]) for name, kind in vertex_properties]
            )
            data = file.read(vertex_dtype.itemsize * count)
            if len(data) < vertex_dtype.itemsize * count:
                raise ValueError(f"it ends before its {count} vertices")
            vertices = np.frombuffer(data, vertex_dtype)
            rows = np.stack([vertices[axis].astype(np.float32) for axis in "xyz"], 1)
    yield "its vertices", Frame(torch.from_numpy(rows))


READERS = {".xyz": _read_xyz, ".npy": _read_npy, ".ply": _read_ply}
