"""Samples that another program made, read as examples of a data set.

    images   a folder of pictures of the data's size, or an array of levels: [N, C, H, W],
             [N, H, W, C], or [N, H, W] of grey ones
    points   a .csv, a .parquet or an array [N, D]; of a table, its columns in its order, by
             their names, with what is missing empty
    graphs   a file or a folder of graphs, or an array of adjacency matrices [N, n, n]
    molecules   a file or a folder of them, or an array as `trilemma sample --out` writes it; a
             SMILES that RDKit does not read is a sample that is not valid

Arrays are .npy, .npz or .safetensors of one array, or of several of which one is named `x`.
Nothing is resized, rounded or put in another order: what does not fit is refused by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from trilemma.core import point_cloud
from trilemma.core.columns import Column, Columns
from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.core.graph import stacked
from trilemma.data import (
    graph_files,
    graph_formats,
    molecule_files,
    point_cloud_files,
    table,
    table_files,
)
from trilemma.data.below import paths_below
from trilemma.data.chemistry import NotUsable, standardised
from trilemma.data.completion_inputs import in_levels
from trilemma.data.dataset import DataSet
from trilemma.data.images import SUFFIXES, UnusableImage, centre_square, read_header
from trilemma.data.pictures import printable
from trilemma.data.split import content_hashes
from trilemma.data.table_kinds import coded, spelled

__all__ = ["ARRAYS", "FEWEST", "of_array", "of_molecules", "of_sheet", "ready"]

FEWEST = 50
"""Samples without which nothing is measured."""
ARRAYS = (".npy", ".npz", ".safetensors")
KEY = "x"
"""Name of the samples among several arrays of a file, as `trilemma sample --out` writes it."""
COPIED, SHARED = 0.95, 0.5
"""Share of samples that are examples of the data from which on they are the data themselves,
where less than the second share of the test examples stand among the training examples too."""


def ready(path: Path, data: DataSet) -> Tensor:
    """Read samples from a file or a folder.

    Arguments:
        path: Where they are.
        data: What they imitate.

    Returns:
        [N, *shape] in data units, in the order of the file, or of the files' names.

    Raises:
        BadInput: There is nothing of the kind, it is of another size or type, holds something
            that is no number, is too little, or is the training data.
    """
    if not path.exists():
        raise BadInput(f"there is no file or folder '{printable(path)}' with samples.")
    kind = data.domain.kind
    if path.suffix.lower() in ARRAYS and path.is_file():
        x = of_array(_array(path), data.domain, _quoted_name(path))
    elif kind == "graph" and (path.is_dir() or path.suffix.lower() in graph_formats.FORMS):
        x = _graphs(path, data.domain)
    elif kind == "molecule" and molecule_files.is_molecules(path):
        x = _molecules(path, data.domain)
    elif kind in ("conformer", "point-cloud") and point_cloud_files.is_point_clouds(path):
        x = _frames(path, data.domain)
    elif kind == "points" and path.is_file() and table.is_table(path):
        x = _rows(path, data.domain)
    elif kind == "image" and path.is_dir():
        x = _pictures(path, data.domain)
    else:
        raise BadInput(f"{_quoted_name(path)} is {_what(path)}; {_EXPECTED[kind]}.")
    if len(x) < FEWEST:
        raise BadInput(
            f"{_quoted_name(path)} holds {len(x)} samples, and fewer than {FEWEST} measure "
            "nothing; draw some hundreds at least."
        )
    _refuse_data(x, data, path)
    return x


def of_array(array: np.ndarray, domain: Domain, name: str) -> Tensor:
    """Return an array's rows as examples of a domain.

    Arguments:
        array: As stands at the head of this file.
        domain: Where the examples lie.
        name: What it is called in an error.

    Raises:
        BadInput: It is of another size or type, or holds something that is no number.
    """
    return _OF_ARRAYS[domain.kind](array, domain, name)


_EXPECTED = {
    "image": f"samples of images are a folder of pictures, or an array ({', '.join(ARRAYS)})",
    "points": f"samples of rows are a .csv, or an array ({', '.join(ARRAYS)})",
    "graph": "samples of graphs are a folder or a file of graphs "
    f"({', '.join(graph_formats.FORMS)}), or an array ({', '.join(ARRAYS)})",
    "conformer": "samples of molecules in space are .xyz files, or an array "
    f"({', '.join(ARRAYS)})",
    "point-cloud": "samples of point clouds are a folder or a file of them "
    f"({', '.join(point_cloud_files.FORMS)}), or an array ({', '.join(ARRAYS)})",
    "molecule": "samples of molecules are a folder or a file of them "
    f"({', '.join(molecule_files.FORMS)}, a .csv with SMILES), or an array ({', '.join(ARRAYS)})",
}


def _quoted_name(path: Path) -> str:
    return f"'{printable(path.name) or printable(path)}'"


def _what(path: Path) -> str:
    if path.is_dir():
        return "a folder"
    return f"a file {path.suffix}" if path.suffix else "a file without a suffix"


def _array(path: Path) -> np.ndarray:
    """Read the array of a file; pickled objects are not unfolded."""
    name = _quoted_name(path)
    try:
        if path.suffix.lower() == ".npy":
            arrays = {KEY: np.load(path, allow_pickle=False)}
        elif path.suffix.lower() == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                arrays = {key: archive[key] for key in archive.files}
        else:
            arrays = {key: value.numpy() for key, value in load_file(path).items()}
    except (OSError, ValueError, TypeError, EOFError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(f"{name} cannot be read as an array: {reason}.") from None
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    if KEY not in arrays:
        names = ", ".join(sorted(printable(key) for key in arrays)) or "none"
        raise BadInput(
            f"{name} holds several arrays ({names}), and none is named '{KEY}'; name the samples "
            "so, or write them alone."
        )
    return arrays[KEY]


def _numbers(array: np.ndarray, name: str) -> None:
    """Refuse what is no array of finite numbers."""
    if array.dtype.kind not in "biuf":
        raise BadInput(f"{name} holds {array.dtype}, and numbers were wanted.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int((~np.isfinite(array.reshape(len(array), -1)).all(1)).sum())
        raise BadInput(
            f"{bad:,} of {len(array):,} samples in {name} hold a number that is not finite "
            "(NaN or infinite); mend or leave out those rows."
        )


# Images


def _images(array: np.ndarray, domain: Domain, name: str) -> Tensor:
    _numbers(array, name)
    channels, height, width = domain.shape
    assert isinstance(domain.values, Levels)
    top = domain.values.count - 1
    if array.dtype.kind == "f":
        raise BadInput(
            f"{name} holds floats from {array.min():.4g} to {array.max():.4g}, and the data are "
            f"whole levels 0 … {top}; scale and round them to levels yourself, as they would be "
            "written to a picture."
        )
    image_shape = array.shape[1:]
    if image_shape == (height, width) and channels == 1:
        array = array[:, None]
    elif image_shape == (height, width, channels) and image_shape != (channels, height, width):
        array = array.transpose(0, 3, 1, 2)
    elif image_shape != (channels, height, width):
        raise BadInput(
            f"{name} is an array {_shape(array.shape)}, and the data's images are {width} by "
            f"{height} with {channels} channel{'s' * (channels != 1)}: [N, {channels}, {height}, "
            f"{width}] was wanted. Nothing is resized here."
        )
    if array.size and (array.min() < 0 or array.max() > top):
        raise BadInput(
            f"{name} holds levels from {array.min()} to {array.max()}, and the data's are 0 … "
            f"{top}."
        )
    return torch.from_numpy(np.ascontiguousarray(array.astype(np.uint8)))


def _pictures(path: Path, domain: Domain) -> Tensor:
    assert isinstance(domain.values, Levels)
    channels, height, width = domain.shape
    files = [file for file in paths_below(path) if file.suffix.lower() in SUFFIXES]
    if not files:
        raise BadInput(
            f"the folder {_quoted_name(path)} holds no pictures ({', '.join(SUFFIXES)}); "
            f"{_EXPECTED['image']}."
        )

    def read(file: Path) -> Tensor | str:
        try:
            image_head = read_header(file)
            if (image_head.width, image_head.height) != (width, height):
                return (
                    f"is {image_head.width} by {image_head.height} pixels, and the data's images "
                    f"are {width} by {height}; nothing is resized here"
                )
            square, values = centre_square(file, width).transpose(1, 2, 0), domain.values
            return in_levels(square, channels, values)  # type: ignore[arg-type]
        except UnusableImage as error:
            return f"cannot be used: {error}"

    with ThreadPoolExecutor(4) as pool:
        decoded = list(pool.map(read, files))
    for file, one in zip(files, decoded, strict=True):
        if isinstance(one, str):
            raise BadInput(f"'{printable(file.relative_to(path))}' in {_quoted_name(path)} {one}.")
    return torch.stack([one for one in decoded if isinstance(one, Tensor)])


# Points and tables


def _points(array: np.ndarray, domain: Domain, name: str) -> Tensor:
    _numbers(array, name)
    size = domain.shape[0]
    if array.ndim != 2 or array.shape[1] != size:
        raise BadInput(
            f"{name} is an array {_shape(array.shape)}, and the data have {size} columns: "
            f"[N, {size}] was wanted."
        )
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
        x = torch.from_numpy(array.astype(np.float32))
    if not x.isfinite().all():
        raise BadInput(f"{name} holds numbers that are too large for 32 bits.")
    names = domain.columns or [f"column {i}" for i in range(1, size + 1)]
    _refuse_fractions(x, domain, names, name)
    return domain.values.canonical(x) if isinstance(domain.values, Columns) else x


def _rows(path: Path, domain: Domain) -> Tensor:
    sheet = table_files.read(path, _space(domain).header(domain.columns))
    return of_sheet(sheet, domain, _quoted_name(path))


def _space(domain: Domain) -> Columns:
    values = domain.values
    return values if isinstance(values, Columns) else Columns((Column(),) * domain.shape[0])


def of_sheet(sheet: table_files.Sheet, domain: Domain, name: str) -> Tensor:
    """Return the rows of a table as examples of a domain.

    Arguments:
        sheet: The table.
        domain: Where the examples lie; its target, a class, is no part of an example, and
            neither is a column that never changes.
        name: What the table is called in an error.

    Returns:
        [N, D] float32 in data units.

    Raises:
        BadInput: It has other columns, or a value that is none of its column's.
    """
    space, size = _space(domain), domain.shape[0]
    _refuse_changes(sheet, domain)
    unmeasured = {domain.target, *dict(domain.constants)}
    remaining = {n: cells for n, cells in sheet.columns.items() if n not in unmeasured}
    sheet = replace(sheet, columns=remaining)
    names = list(sheet.columns)
    if domain.columns:
        _refuse_columns(names, space.header(domain.columns), name)
    elif len(names) != size:
        raise BadInput(f"{name} has {len(names)} columns, and the data have {size}.")
    if sheet.rows == 0:
        return torch.zeros(0, size)
    columns = [c for i, c in enumerate(space.columns) if i not in space.flags]
    x = table.filled(
        space,
        [
            coded(column_name, cells, column, sheet.where)
            for (column_name, cells), column in zip(sheet.columns.items(), columns, strict=True)
        ],
    )
    _refuse_fractions(x, domain, domain.columns or names, name)
    return x


def _refuse_changes(sheet: table_files.Sheet, domain: Domain) -> None:
    """Refuse another value in a column that never changes in the data."""
    for name, word in domain.constants:
        cells = sheet.columns.get(name)
        if cells is None:
            continue
        differing = ~cells.are_alike(word)
        if differing.any():
            row = cells.row_of(differing)
            raise BadInput(
                f"{sheet.where(row)}, column '{printable(name)}': {spelled(cells.word_at(row))} "
                f"stands there, and {spelled(word)} in all of the data."
            )


def _refuse_columns(names: Sequence[str], expected: Sequence[str], name: str) -> None:
    if list(names) == list(expected):
        return
    order = ", ".join(printable(word) for word in expected)
    if sorted(names) == sorted(expected):
        first = next(i for i, (a, b) in enumerate(zip(names, expected, strict=True)) if a != b)
        raise BadInput(
            f"{name} has its columns in another order than the data: '{printable(names[first])}' "
            f"where '{printable(expected[first])}' was wanted; write them as {order}."
        )
    extra = [printable(word) for word in names if word not in expected]
    missing = [printable(word) for word in expected if word not in names]
    problems = [f"lacks {', '.join(missing)}"] if missing else []
    problems += [f"has {', '.join(extra)} beside"] if extra else []
    raise BadInput(f"{name} {' and '.join(problems)}; the data's columns are {order}.")


def _refuse_fractions(x: Tensor, domain: Domain, names: Sequence[str], name: str) -> None:
    """Refuse fractions where the data are whole numbers, and codes that no category has."""
    values = domain.values
    if not isinstance(values, Columns):
        return
    for i, column in enumerate(values.columns):
        column_values = x[:, i]
        if column.kind != "real" and bool((column_values != column_values.floor()).any()):
            bad = float(column_values[column_values != column_values.floor()][0])
            raise BadInput(
                f"column '{printable(names[i])}' of {name} holds {bad:.6g}, and the data's are "
                "whole numbers; round them yourself."
            )
        if column.kind == "category" and bool(
            ((column_values < 0) | (column_values >= column.count)).any()
        ):
            raise BadInput(
                f"column '{printable(names[i])}' of {name} holds codes beyond the data's "
                f"{column.count} categories, 0 … {column.count - 1}."
            )


# Graphs


def _graphs(path: Path, domain: Domain) -> Tensor:
    limit = domain.shape[0]
    contents = graph_files.read_graphs(path)
    if contents.unreadable:
        reason, names = next(iter(contents.unreadable.items()))
        raise BadInput(f"'{names[0]}' in {_quoted_name(path)} cannot be used: {reason}.")
    if not contents.graphs:
        raise BadInput(f"the folder {_quoted_name(path)} holds no graphs; {_EXPECTED['graph']}.")
    for name, one in zip(contents.names, contents.graphs, strict=True):
        _refuse_large(one.nodes, limit, f"'{name}'")
    return stacked([graph_files.dense(one, limit) for one in contents.graphs])


def _adjacencies(array: np.ndarray, domain: Domain, name: str) -> Tensor:
    _numbers(array, name)
    limit = domain.shape[0]
    if array.ndim != 3 or array.shape[1] != array.shape[2]:
        raise BadInput(
            f"{name} is an array {_shape(array.shape)}; graphs are adjacency matrices, [N, n, n]."
        )
    x = torch.from_numpy(array.astype(np.float32))
    if not bool(((x == 0) | (x == 1)).all()) or not torch.equal(x, x.mT):
        raise BadInput(
            f"{name} holds matrices that are not symmetric or have other numbers than 0 and 1; "
            "graphs here are simple and undirected."
        )
    x = x.to(torch.uint8)
    diagonal = x.diagonal(dim1=1, dim2=2)
    if not diagonal.any():  # nobody's node is marked: those that are joined are there
        diagonal.copy_(x.amax(2))
    order = x.diagonal(dim1=1, dim2=2).sort(dim=1, descending=True, stable=True).indices
    x = x.gather(1, order[:, :, None].expand_as(x)).gather(2, order[:, None, :].expand_as(x))
    _refuse_large(int(x.diagonal(dim1=1, dim2=2).sum(1).max()) if len(x) else 0, limit, name)
    padded = torch.zeros(len(x), limit, limit, dtype=torch.uint8)
    side = min(limit, x.shape[1])
    padded[:, :side, :side] = x[:, :side, :side]
    return padded


def _refuse_large(nodes: int, limit: int, name: str) -> None:
    if nodes > limit:
        raise BadInput(
            f"{name} holds a graph of {nodes:,} nodes, and the data's have {limit:,} at most."
        )


def _shape(shape: Sequence[int]) -> str:
    return f"[{', '.join(f'{size:,}' for size in shape)}]"


# Molecules


def _molecules(path: Path, domain: Domain) -> Tensor:
    return of_molecules(list(molecule_files.entries(path)), domain, _quoted_name(path))


def of_molecules(molecules: Sequence[Any], domain: Domain, name: str) -> Tensor:
    """Return molecules of RDKit as examples of a domain, each as often as it stands there.

    Arguments:
        molecules: N of them; what is none at all, None, has no atoms.
        domain: Where the examples lie.
        name: What they are called in an error.

    Returns:
        [N, n, n] uint8.

    Raises:
        BadInput: Some are too large, or have elements that the data do not have.
    """
    size = domain.shape[0]
    x = torch.zeros(len(molecules), size, size, dtype=torch.uint8)
    refused: dict[str, int] = {}
    for row, one in zip(x, molecules, strict=True):
        if one is None:
            continue
        try:
            matrix = standardised(one, elements=domain.elements, most=size).x
        except NotUsable as reason:
            refused[str(reason)] = refused.get(str(reason), 0) + 1
            continue
        row[: len(matrix), : len(matrix)] = matrix
    if refused:
        reason, count = max(refused.items(), key=lambda item: item[1])
        raise BadInput(
            f"{sum(refused.values())} of {len(molecules)} molecules in {name} cannot be laid "
            f"beside the data; most ({count}): a molecule {reason}. Leave "
            "them out, and say so."
        )
    return x


def _matrices(array: np.ndarray, domain: Domain, name: str) -> Tensor:
    """Take matrices with elements on their diagonals and orders of bonds beside these."""
    _numbers(array, name)
    if array.shape[1:] != domain.shape:
        raise BadInput(
            f"{name} has the shape {array.shape}, and molecules of shape {domain.shape} were "
            "wanted: elements on the diagonal, orders of bonds beside it."
        )
    x = torch.from_numpy(array.astype(np.int64))
    element_count = len(domain.elements)
    if bool((x != x.transpose(1, 2)).any()) or int(x.min()) < 0 or int(x.max()) > element_count:
        raise BadInput(f"{name} holds matrices that are no molecules.")
    return x.to(torch.uint8)


def _clouds(array: np.ndarray, domain: Domain, name: str) -> Tensor:
    """Read clouds as `trilemma sample` writes them: [N, points, 4]."""
    if array.ndim != 3 or array.shape[2] != 4 or array.dtype.kind != "f":
        raise BadInput(
            f"{name} holds an array of {array.shape}; wanted are clouds, N × points × 4, of x, y, "
            "z and the type, 0 where no point is."
        )
    x = torch.from_numpy(array.astype(np.float32))
    kinds = x[..., 3]
    most = max(1, len(domain.elements))
    if not bool(x.isfinite().all()) or bool((kinds != kinds.round()).any()):
        raise BadInput(f"{name} holds what is no number, or types that are not whole.")
    if float(kinds.min()) < 0 or float(kinds.max()) > most:
        raise BadInput(f"{name} holds types beyond 0 to {most}.")
    return _roomy(x, domain)


def _frames(path: Path, domain: Domain) -> Tensor:
    """Read clouds of files, with the types of the data."""
    contents = point_cloud_files.read_point_clouds(path)
    code = {symbol: k for k, symbol in enumerate(domain.elements, 1)}
    clouds = []
    for frame in contents.frames:
        if domain.elements and not (frame.symbols and set(frame.symbols) <= set(code)):
            raise BadInput(
                f"{_quoted_name(path)} has atoms beside {', '.join(domain.elements)}, of which "
                "the data consist."
            )
        kinds = [code[symbol] for symbol in frame.symbols] if domain.elements else None
        clouds.append(point_cloud.point_cloud(frame.positions, kinds))
    if not clouds:
        return torch.zeros(0, *domain.shape)
    size = max(len(one) for one in clouds)
    return _roomy(point_cloud.stacked(clouds, size), domain)


def _roomy(x: Tensor, domain: Domain) -> Tensor:
    """Give clouds at least the room of the data, and centre them."""
    padding = max(0, domain.shape[0] - x.shape[1])
    x = torch.nn.functional.pad(x, (0, 0, 0, padding))
    x[..., :3] = point_cloud.centred(x[..., :3], point_cloud.mask_of(x))
    return x


_OF_ARRAYS = {
    "image": _images,
    "points": _points,
    "graph": _adjacencies,
    "molecule": _matrices,
    "conformer": _clouds,
    "point-cloud": _clouds,
}


def _refuse_data(x: Tensor, data: DataSet, path: Path) -> None:
    """Refuse the data themselves, which would be the best samples there are."""
    train, test = content_hashes(data.train.x), content_hashes(data.test.x)
    copied_share = _share(content_hashes(x), {*train, *test})
    if copied_share >= COPIED and _share(test, set(train)) < SHARED:
        raise BadInput(
            f"{copied_share:.0%} of the samples in {_quoted_name(path)} are examples of "
            f"'{data.name}' as they are; samples of a model were wanted."
        )


def _share(hashes: Sequence[int], reference_hashes: set[int]) -> float:
    return sum(one in reference_hashes for one in hashes) / max(1, len(hashes))
