r"""Molecules as people have them: files of SMILES, tables with a column of them, structure files.

    .smi .smiles        a SMILES a line; what follows after a space or a tab is its name, and
                        what stands between bars (CXSMILES) is not read; the first line may be a
                        header
    .csv .tsv           the column of SMILES is found by its name, or by being read: where the
                        first of its cells are molecules; `--columns NAME=molecule` says which
    .sdf .mol           connection tables, V2000 or V3000

each also as .gz. A folder is read file after file. What cannot be read or used is counted by its
reason with its place; what was changed to be used is counted too (`data.chemistry`); a molecule
that comes again, however it is spelt, is one example, and that is said.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trilemma.core.errors import BadInput
from trilemma.core.words import left_out
from trilemma.data.below import OWN, paths_below
from trilemma.data.chemistry import (
    UNREADABLE,
    Molecule,
    NotUsable,
    chemistry,
    muted,
    parsed,
    standardised,
)
from trilemma.data.pictures import Progress, printable

__all__ = [
    "FORMS",
    "LARGEST",
    "MoleculeContents",
    "entries",
    "form",
    "is_drawn",
    "is_molecules",
    "of_molecules",
    "read_molecules",
    "smiles_column",
    "structures",
]

SMILES_SUFFIXES, TABLE_SUFFIXES, STRUCTURE_SUFFIXES = (
    (".smi", ".smiles"),
    (".csv", ".tsv"),
    (".sdf", ".mol"),
)
FORMS = (*SMILES_SUFFIXES, *STRUCTURE_SUFFIXES)
"""Suffixes that can only be molecules."""
PACKED = ".gz"
LARGEST = 100
"""Heavy atoms of a molecule at most: its matrix has their square."""
NAMED = ("smiles", "smi", "canonical_smiles", "structure", "molecule", "mol")
"""Names of columns that are taken for SMILES, in this order."""
TRIED, ENOUGH = 50, 0.8
"""Cells of a column that are read to know it, and the share of them that must be molecules."""
TELLING = set("=#()[]123456789cnos")
"""A column of names or of plain letters is no column of SMILES, though many are readable as such:
half of its cells must have one of these."""


@dataclass
class MoleculeContents:
    """What a file or a folder holds."""

    molecules: list[Molecule] = field(default_factory=list)
    """Each once."""
    files: int = 0
    entries: int = 0
    """Molecules that stand in the files, usable or not."""
    left_out: dict[str, list[str]] = field(default_factory=dict)
    """Places by reason."""
    own: list[str] = field(default_factory=list)
    """Folders of runs and comparisons, which are left out."""
    changes: Counter[str] = field(default_factory=Counter)
    """Molecules by what was changed of them."""
    duplicates: int = 0
    """Entries whose molecule came before."""
    read_as: list[str] = field(default_factory=list)
    """How tables were read."""

    def notes(self) -> list[str]:
        """Say what was left out, changed, and met again."""
        sentences = list(self.read_as)
        if self.duplicates:
            sentences.append(
                f"the same molecule as one before, however spelt, and left out: {self.duplicates}"
            )
        if self.changes:
            words = ", ".join(f"{_CHANGED[name]} {n}" for name, n in sorted(self.changes.items()))
            sentences.append(f"changed to be used: {words}")
        sentences += left_out(self.left_out | ({OWN: self.own} if self.own else {}))
        return sentences


_CHANGED: Mapping[str, str] = {
    "fragments": "largest of several fragments kept",
    "isotopes": "isotope labels taken off",
    "charges": "neutralised",
    "radicals": "radicals filled with hydrogen",
    "stereochemistry": "stereochemistry taken off",
}


def is_molecules(path: Path, column: str | None = None) -> bool:
    """Tell whether a file, or the files of a folder, are molecules.

    Arguments:
        path: A file or a folder.
        column: A table's column that is said to be of molecules.
    """
    if path.is_dir():
        return any(form(p) in FORMS for p in paths_below(path))
    kind = form(path)
    if kind in FORMS:
        return True
    if kind not in TABLE_SUFFIXES:
        return False
    return column is not None or smiles_column(path) is not None


def form(path: Path) -> str:
    """Return a file's suffix, without that of packing.

    >>> form(Path("set.smi.gz"))
    '.smi'
    """
    name = path.name.lower().removesuffix(PACKED)
    return Path(name).suffix


def _opened(path: Path) -> io.TextIOBase:
    if path.name.lower().endswith(PACKED):
        return io.TextIOWrapper(gzip.open(path), encoding="utf-8-sig", errors="replace")
    return path.open(encoding="utf-8-sig", errors="replace", newline="")


def read_molecules(
    path: Path, column: str | None = None, progress: Progress | None = None
) -> MoleculeContents:
    """Read a file, or all files of a folder.

    Arguments:
        path: Where.
        column: The column of a table that holds molecules; None finds it.
        progress: Called now and then with how many of how many files are done.

    Raises:
        BadInput: RDKit is not installed, a file cannot be opened, or a table has no column of
            SMILES, or several.
    """
    chemistry()
    contents = MoleculeContents()
    files = [path]
    if path.is_dir():
        files = [p for p in paths_below(path, contents.own) if form(p) in FORMS]
    seen_smiles: set[str] = set()
    for processed, file in enumerate(files, 1):
        try:
            _read(
                file,
                column,
                contents,
                seen_smiles,
                prefix=f"{printable(file.name)} " if len(files) > 1 else "",
            )
        except (OSError, EOFError) as error:
            raise BadInput(f"'{printable(file.name)}' cannot be read ({error}).") from None
        contents.files += 1
        if progress is not None:
            progress(processed, len(files))
    return contents


def entries(path: Path) -> Iterator[Any]:
    """Yield every molecule of a file or a folder as RDKit reads it; None where it reads none."""
    files = [path]
    if path.is_dir():
        files = [p for p in paths_below(path) if form(p) in FORMS]
    for file in files:
        kind = form(file)
        if kind in STRUCTURE_SUFFIXES:
            yield from _structures(file)
            continue
        cells = _lines(file) if kind in SMILES_SUFFIXES else _cells(file, None, MoleculeContents())
        for _, text in cells:
            try:
                yield parsed(text)
            except NotUsable:
                yield None


def of_molecules(molecules: Iterable[Any]) -> MoleculeContents:
    """Take molecules that a program has: rdkit.Chem.Mol or SMILES.

    Raises:
        BadInput: RDKit is not installed.
    """
    chemistry()
    contents, seen_smiles = MoleculeContents(), set[str]()
    for number, one in enumerate(molecules, 1):
        read_one = (
            (lambda text=one: parsed(text)) if isinstance(one, str) else (lambda mol=one: mol)
        )
        _take(read_one, f"number {number}", contents, seen_smiles)
    return contents


def _read(
    path: Path, column: str | None, contents: MoleculeContents, seen_smiles: set[str], prefix: str
) -> None:
    kind = form(path)
    if kind in STRUCTURE_SUFFIXES:
        for number, mol in enumerate(_structures(path), 1):
            _take(
                lambda mol=mol: _require_molecule(mol),
                f"{prefix}entry {number}",
                contents,
                seen_smiles,
            )
        return
    cells = _lines(path) if kind in SMILES_SUFFIXES else _cells(path, column, contents)
    for line, text in cells:
        _take(lambda text=text: parsed(text), f"{prefix}line {line}", contents, seen_smiles)


def _require_molecule(mol: Any) -> Any:  # noqa: ANN401
    if mol is None:
        raise NotUsable(UNREADABLE)
    return mol


def _take(
    read: Callable[[], Any], where: str, contents: MoleculeContents, seen_smiles: set[str]
) -> None:
    """Read one molecule, and count what came of it."""
    contents.entries += 1
    try:
        one = standardised(read(), most=LARGEST)
    except NotUsable as reason:
        contents.left_out.setdefault(str(reason), []).append(where)
        return
    if one.smiles in seen_smiles:
        contents.duplicates += 1
        return
    seen_smiles.add(one.smiles)
    contents.molecules.append(one)
    contents.changes.update(one.changes)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the SMILES of each line with its number."""
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if number == 1 and words[0].strip('"').lower() in (*NAMED, "id", "name"):
                continue
            yield number, words[0].strip('"')


def _structures(path: Path, *, hydrogens: bool = False) -> Iterator[Any]:
    chem = chemistry()
    with muted():
        open_file = gzip.open if path.name.lower().endswith(PACKED) else open
        with open_file(path, "rb") as file:
            yield from chem.ForwardSDMolSupplier(file, removeHs=not hydrogens)


def is_drawn(path: Path) -> bool:
    """Tell whether a file, or the files of a folder, have the places of atoms."""
    if path.is_dir():
        return any(form(p) in STRUCTURE_SUFFIXES for p in paths_below(path))
    return form(path) in STRUCTURE_SUFFIXES


def structures(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield every molecule of structure files as it stands there, hydrogens too, with its place.

    None where RDKit reads none.
    """
    files = [path]
    if path.is_dir():
        files = [p for p in paths_below(path) if form(p) in STRUCTURE_SUFFIXES]
    for file in files:
        prefix = f"{printable(file.name)} " if len(files) > 1 else ""
        for number, mol in enumerate(_structures(file, hydrogens=True), 1):
            yield f"{prefix}entry {number}", mol


# Tables


def _rows(path: Path) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Return the header of a table, and its rows with their line numbers."""
    file = _opened(path)
    first = file.readline()
    delimiter = max("\t;,", key=first.count)
    reader = csv.reader(file, delimiter=delimiter)
    header = next(csv.reader([first], delimiter=delimiter), [])

    def rows() -> Iterator[tuple[int, list[str]]]:
        with file:
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield reader.line_num + 1, cells

    return [name.strip() for name in header], rows()


def smiles_column(path: Path) -> str | None:
    """Return the name of a table's column of SMILES; None where there is none.

    Raises:
        BadInput: Several columns are, and none of them is called so.
    """
    header, rows = _rows(path)
    first = [cells for _, cells in zip(range(TRIED), (cells for _, cells in rows), strict=False)]
    by_name = [name for standard_name in NAMED for name in header if name.lower() == standard_name]
    smiles_like = [name for i, name in enumerate(header) if _is_spelt(_column(first, i))]
    if matches := [name for name in by_name if name in smiles_like or not smiles_like]:
        return matches[0]
    if len(smiles_like) > 1:
        raise BadInput(
            f"'{printable(path.name)}' has {len(smiles_like)} columns of SMILES "
            f"({', '.join(smiles_like)}); say which one by --columns '{smiles_like[0]}=molecule'."
        )
    return smiles_like[0] if smiles_like else None


def _column(rows: Sequence[Sequence[str]], index: int) -> list[str]:
    return [row[index].strip() for row in rows if index < len(row) and row[index].strip()]


def _is_spelt(cells: Sequence[str]) -> bool:
    """Tell whether the cells of a column are SMILES, and not names or numbers."""
    if not cells or sum(bool(set(cell) & TELLING) for cell in cells) < len(cells) / 2:
        return False
    if all(cell.replace(".", "", 1).lstrip("+-").isdigit() for cell in cells):
        return False
    readable = 0
    for cell in cells:
        try:
            parsed(cell)
            readable += 1
        except (NotUsable, BadInput):
            continue
    return readable >= ENOUGH * len(cells)


def _cells(
    path: Path, column: str | None, contents: MoleculeContents
) -> Iterator[tuple[int, str]]:
    name = printable(path.name)
    chosen = column or smiles_column(path)
    header, rows = _rows(path)
    if chosen is None:
        raise BadInput(
            f"'{name}' has no column of SMILES; name one by --columns NAME=molecule, of "
            f"{', '.join(map(printable, header[:8]))}."
        )
    if chosen not in header:
        raise BadInput(
            f"'{name}' has no column '{printable(chosen)}'; it has "
            f"{', '.join(map(printable, header[:8]))}."
        )
    unread = len(header) - 1
    sentences = f"column '{printable(chosen)}' is read as molecules"
    contents.read_as.append(sentences + (f"; {unread} others are not read" if unread else ""))
    index = header.index(chosen)
    for line, cells in rows:
        if index < len(cells) and cells[index].strip():
            yield line, cells[index].strip()
