"""What is in a data set, before anything is trained on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trilemma.core import molecule, point_cloud
from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.errors import BadInput
from trilemma.core.graph import adjacency, sizes, stacked
from trilemma.data import (
    bond_perception,
    folder,
    graph_files,
    graphs,
    idx,
    molecule_files,
    molecules,
    point_cloud_files,
    point_clouds,
    table,
)
from trilemma.data.dataset import DataSet
from trilemma.data.pictures import Pictures, Progress, pictures
from trilemma.data.sources import (
    declared_molecules,
    is_named,
    load,
    of_files,
    radius_of,
    resolve_path,
)
from trilemma.data.split import content_hashes, duplicates
from trilemma.data.table_facts import ColumnFacts, column_facts
from trilemma.maths.graphs.isomorphism import IsomorphismClasses

__all__ = ["Report", "check"]

SHEET = {
    "image": 64,
    "points": 4096,
    "graph": 36,
    "molecule": 36,
    "conformer": 36,
    "point-cloud": 36,
}
"""Examples on the contact sheet."""
SOME = 2000
"""Clouds of which distances are told at most."""


@dataclass(frozen=True)
class Report:
    """What was found; `problem` says why it cannot be trained on, if it cannot."""

    name: str
    problem: str = ""
    domain: Domain | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    """Examples for 'train' and 'test'; for a folder also its image 'files'."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """How many images there are of each 'WIDTHxHEIGHT' in their files."""
    classes: Mapping[str, int] = field(default_factory=dict)
    """How many examples each class has, training and test together."""
    unreadable: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Files that cannot be used, by reason."""
    duplicates: Mapping[str, int] = field(default_factory=dict)
    """Copies within 'train', within 'test', and 'across': test examples that are in train too."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What else is found, such as how many nodes graphs have."""
    columns: Sequence[ColumnFacts] = ()
    """What each column of a table is like."""
    notes: Sequence[str] = ()
    sheet: Tensor | None = None
    """Some examples for a contact sheet, evenly from the classes, in data units."""
    captions: Sequence[str] = ()
    """What is said of each example of the contact sheet."""

    @property
    def holds(self) -> bool:
        """Tell whether it can be trained on."""
        return not self.problem

    def lines(self) -> list[str]:
        """Return the report for people to read, a fact a line."""
        report_lines = [f"{self.name}: {'can be used' if self.holds else self.problem}"]
        report_lines.append("examples: " + _list(self.counts))
        if self.domain is not None:
            report_lines.append(f"each: {self.domain.kind} of shape {self.domain.shape}")
        if self.sizes:
            report_lines.append("sizes: " + _list(self.sizes))
        if self.classes:
            report_lines.append(f"{len(self.classes)} classes: " + _list(self.classes))
        if self.captions:
            examples = self.captions[:: -(-len(self.captions) // 5)]
            report_lines.append(
                "captions, for example: " + ", ".join(f'"{text}"' for text in examples)
            )
        for reason, names in self.unreadable.items():
            report_lines.append(f"unreadable, {reason} ({len(names)}): {', '.join(names)}")
        if self.duplicates:
            report_lines.append("copies: " + _list(self.duplicates))
        report_lines += [f"{name}: {fact}" for name, fact in self.facts.items()]
        report_lines += [column.line() for column in self.columns]
        return [*report_lines, *self.notes]

    def to_json(self) -> dict[str, Any]:
        """Return everything but the contact sheet as plain values."""
        return {
            "name": self.name,
            "holds": self.holds,
            "problem": self.problem,
            "domain": self.domain.to_json() if self.domain is not None else None,
            "counts": dict(self.counts),
            "sizes": dict(self.sizes),
            "classes": dict(self.classes),
            "unreadable": {reason: list(names) for reason, names in self.unreadable.items()},
            "duplicates": dict(self.duplicates),
            "facts": dict(self.facts),
            "columns": [column.to_json() for column in self.columns],
            "notes": list(self.notes),
            "captions": list(self.captions),
        }


def check(
    name_or_path: str, *, size: int | None = None, progress: Progress | None = None
) -> Report:
    """Look through a data set; a folder's faults are reported, where `load` would refuse it.

    Arguments:
        name_or_path: A name in `NAMES`, or a folder.
        size: Side to which a folder's images are brought, or at which a named set is wanted that
            is offered in several, pixels.
        progress: Called now and then with how many of how many files are done.

    Raises:
        BadInput: There is nothing that could be looked through.
    """
    path = None if is_named(name_or_path) else resolve_path(name_or_path)
    if path is not None and graph_files.is_graphs(path):
        return _of_graphs(name_or_path, path, progress)
    if path is not None and point_cloud_files.is_point_clouds(path):
        return _of_point_clouds(path, progress)
    column = declared_molecules(name_or_path)
    if path is not None and molecule_files.is_molecules(path, column):
        return _of_molecules(path, column, progress)
    if path is None or table.is_table(path) or idx.find(path):
        return _report(load(name_or_path, size=size, progress=progress))
    images = pictures(path, size=size, progress=progress)
    try:
        return _report(folder.dataset(path, images), images)
    except BadInput as error:
        return Report(
            name=path.resolve().name,
            problem=str(error),
            counts={"files": images.files},
            sizes=images.sizes,
            unreadable=images.unreadable,
            sheet=images.x[: SHEET["image"]],
        )


def _of_graphs(name_or_path: str, path: Path, progress: Progress | None) -> Report:
    """Look through files of graphs."""
    contents = graph_files.read_graphs(path, progress)
    usable = graph_files.usable(contents)
    try:
        report = _report(of_files(contents, path, radius_of(name_or_path)))
    except BadInput as error:
        first = [graph_files.dense(one) for one in usable.graphs[: SHEET["graph"]]]
        sheet = stacked(first) if first else None
        size = (max(1, max((len(x) for x in first), default=1)),) * 2
        return Report(
            name=path.resolve().name,
            problem=str(error),
            domain=Domain("graph", size, Levels(2)),
            counts={"files": contents.files, "graphs": len(contents.graphs)},
            unreadable=usable.unreadable,
            sheet=sheet,
        )
    counts = {**report.counts, "files": contents.files}
    notes = [note for note in report.notes if note not in usable.left_out()]
    return dataclasses.replace(report, counts=counts, unreadable=usable.unreadable, notes=notes)


def _of_molecules(path: Path, column: str | None, progress: Progress | None) -> Report:
    """Look through files of molecules."""
    contents = molecule_files.read_molecules(path, column, progress)
    name = path.resolve().name
    counts = {
        "files": contents.files,
        "entries": contents.entries,
        "usable": len(contents.molecules),
    }
    try:
        report = _report(molecules.of_found(contents, name))
    except BadInput as error:
        return Report(name, str(error), counts=counts, unreadable=contents.left_out)
    left_out = [note for note in report.notes if not note.startswith("left out, ")]
    copies = {**report.duplicates, "spelt again": contents.duplicates}
    return dataclasses.replace(
        report,
        counts={**report.counts, **counts},
        unreadable=contents.left_out,
        duplicates=copies,
        notes=left_out,
    )


def _of_point_clouds(path: Path, progress: Progress | None) -> Report:
    """Look through files of point clouds or of molecules in space."""
    contents = point_cloud_files.read_point_clouds(path, progress)
    name = path.resolve().name
    counts = {"files": contents.files, "entries": contents.entries, "usable": len(contents.frames)}
    try:
        report = _report(point_clouds.of_found(contents, name))
    except BadInput as error:
        return Report(name, str(error), counts=counts, unreadable=contents.left_out)
    notes = [note for note in report.notes if not note.startswith("left out, ")]
    return dataclasses.replace(
        report, counts={**report.counts, **counts}, unreadable=contents.left_out, notes=notes
    )


def _duplicates(data: DataSet) -> dict[str, int]:
    """Count copies: of graphs, whatever the order of their nodes."""
    if data.domain.kind == "molecule":
        train, test = ([hash(one) for one in part.names or ()] for part in (data.train, data.test))
        return duplicates(train, test)
    if data.domain.kind != "graph":
        return duplicates(content_hashes(data.train.x), content_hashes(data.test.x))
    classes = IsomorphismClasses()
    counts = duplicates(classes.of(data.train.x), classes.of(data.test.x))
    return counts | ({"undecided": classes.undecided} if classes.undecided else {})


def _facts(data: DataSet) -> dict[str, str]:
    """Say what graphs or molecules are like."""
    if data.domain.kind == "molecule":
        return _chemical(data)
    if data.domain.kind in ("conformer", "point-cloud"):
        return _spatial(data)
    if data.domain.kind != "graph":
        return {}
    split_graphs = [data.train.x, data.test.x]
    nodes = torch.cat([sizes(x) for x in split_graphs])
    edges = torch.cat([adjacency(x).sum((1, 2), dtype=torch.int64) // 2 for x in split_graphs])
    component_counts = torch.cat([graphs.component_counts(x) for x in split_graphs])
    disconnected = int((component_counts > 1).sum())
    facts = {
        "nodes": _range(nodes),
        "edges": _range(edges),
        "components": f"{_range(component_counts)}; graphs in several pieces: {disconnected}",
        "M": f"{data.domain.reach} places back in breadth-first order",
    }
    if data.rule is not None:
        satisfies_rule = torch.cat([data.rule.holds(x) for x in split_graphs])
        facts["rule"] = f"{data.rule.words}: {int(satisfies_rule.sum())} of {len(satisfies_rule)}"
    return facts


def _chemical(data: DataSet) -> dict[str, str]:
    """Say which atoms and bonds molecules have."""
    x = torch.cat([data.train.x, data.test.x])
    codes = molecule.atoms(x).flatten()
    counts = torch.bincount(codes, minlength=len(data.domain.elements) + 1)[1:]
    bond_counts = (molecule.bonds(x) > 0).sum((1, 2)) // 2
    orders = torch.bincount(molecule.bonds(x).flatten(), minlength=4)[1:4] // 2
    order_counts = zip(("single", "double", "triple"), orders.tolist(), strict=True)
    element_counts = zip(data.domain.elements, counts.tolist(), strict=True)
    return {
        "heavy atoms": _range(molecule.sizes(x)),
        "elements": _list({name: n for name, n in element_counts if n}),
        "bonds, kekulised": _list(dict(order_counts)),
        "rings": _range(bond_counts - molecule.sizes(x) + 1),
        "room": f"{data.domain.shape[0]} heavy atoms of a molecule that is built",
    }


def _spatial(data: DataSet) -> dict[str, str]:
    """Say how large clouds are, of which points, and how near these lie."""
    x = torch.cat([data.train.x, data.test.x])
    sample = x[:: max(1, len(x) // SOME)]
    mask = point_cloud.mask_of(sample)
    distances = torch.cdist(sample[..., :3], sample[..., :3])
    is_self = torch.eye(x.shape[1], dtype=torch.bool)
    distances = distances.masked_fill(
        ~(mask[:, :, None] & mask[:, None]) | is_self, torch.inf
    ).amin(2)[mask]
    low, median, high = (float(distances.quantile(q)) for q in (0.0, 0.5, 1.0))
    values = data.domain.values
    unit = f" {values.unit}" if isinstance(values, Real) and values.unit else ""
    spread = values.spread if isinstance(values, Real) else 1.0
    facts = {
        "atoms" if data.domain.elements else "points": _range(point_cloud.sizes(x)),
        "nearest": f"{low:.3g} to {high:.3g}{unit}, median {median:.3g}, "
        f"of {len(sample):,} clouds",
        "spread": f"{spread:.4g}{unit} about the middle of each cloud",
    }
    if data.domain.elements:
        counts = torch.bincount(point_cloud.types(x).flatten())[1:].tolist()
        facts["elements"] = _list(dict(zip(data.domain.elements, counts, strict=False)))
        stable, is_atom = bond_perception.is_stable(sample, data.domain.elements)
        molecule_stability = (stable | ~is_atom).all(1).double().mean()
        facts["stable by distances"] = (
            f"{float(stable.sum() / is_atom.sum()):.2%} of the atoms, "
            f"{float(molecule_stability):.2%} of the molecules, of {len(sample):,}"
        )
    if data.domain.properties:
        facts["properties"] = "; ".join(
            f"{one.name} {one.low:.4g} to {one.high:.4g} {one.unit}".rstrip()
            for one in data.domain.properties
        )
    return facts


def _range(values: Tensor) -> str:
    low, median, high = (int(values.double().quantile(q)) for q in (0.0, 0.5, 1.0))
    return f"{low} to {high}, median {median}"


def _list(counts: Mapping[str, int], most: int = 12) -> str:
    first = [f"{name} {n}" for name, n in list(counts.items())[:most]]
    return ", ".join(first + ["…"] * (len(counts) > most))


def _report(data: DataSet, images: Pictures | None = None) -> Report:
    counts = {"train": len(data.train), "test": len(data.test)}
    sizes = {"x".join(map(str, reversed(data.domain.shape[1:]))): sum(counts.values())}
    if data.domain.kind != "image":
        sizes = {}
    sheet_rows = _evenly(data)
    captions = data.train.captions
    return Report(
        name=data.name,
        domain=data.domain,
        counts=counts | ({"files": images.files} if images is not None else {}),
        sizes=images.sizes if images is not None else sizes,
        classes=_classes(data),
        unreadable=images.unreadable if images is not None else {},
        duplicates=_duplicates(data),
        facts=_facts(data),
        columns=column_facts(data),
        notes=data.notes,
        sheet=data.train.x[sheet_rows],
        captions=[captions[int(i)] for i in sheet_rows] if captions is not None else [],
    )


def _classes(data: DataSet) -> dict[str, int]:
    parts = [part.labels for part in (data.train, data.test) if part.labels is not None]
    if not parts:
        return {}
    counts = torch.bincount(torch.cat(parts), minlength=len(data.domain.classes)).tolist()
    return dict(zip(data.domain.classes, counts, strict=True))


def _evenly(data: DataSet) -> Tensor:
    """Choose examples for the contact sheet: as many of each class as there is room for.

    Those of a class are taken at equal distances, since neighbours are often alike: variants of an
    emoji, patches of a photograph.
    """
    sheet_size, labels = SHEET[data.domain.kind], data.train.labels
    if labels is None:
        labels = torch.zeros(len(data.train), dtype=torch.int64)
    classes = max(1, len(data.domain.classes))
    members = [(labels == c).nonzero().flatten() for c in range(classes)]
    # Classes take turns: those of a few examples give all, and leave their room to the others.
    interleaved_ranks = torch.cat(
        [torch.arange(len(m)) * classes + c for c, m in enumerate(members)]
    )
    counts = torch.bincount(
        interleaved_ranks.sort().values[:sheet_size] % classes, minlength=classes
    ).tolist()
    chosen = [
        m[torch.arange(k) * len(m) // max(k, 1)] for m, k in zip(members, counts, strict=True)
    ]
    return torch.cat(chosen)
