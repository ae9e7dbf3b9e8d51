"""Data that a program has in memory, as a data set: the same rules as for files.

    uint8 [N, H, W], [N, C, H, W] or [N, H, W, C]   images; booleans are black and white
    float [N, …] of these from 0 to 1               images of 256 levels
    [N, D]                                          rows of a table, columns x1, x2, …
    a DataFrame, or a mapping of names to columns   a table
    a list of PIL images                            images
    a list of networkx graphs                       graphs
    a list of RDKit molecules, or of SMILES         molecules

A run that learns such data keeps their name, counts and hash; whoever goes on with it gives them
again.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.data import (
    graph_files,
    graphs,
    image_set,
    molecule_files,
    molecules,
    ready,
    table,
    table_files,
)
from trilemma.data.chemistry import NotUsable, parsed
from trilemma.data.dataset import DataSet
from trilemma.data.image_set import ImageSet
from trilemma.data.pictures import LARGEST

__all__ = ["dataset", "examples"]

FEWEST = 16
"""Images without which there is nothing to learn from."""
KINDS = (
    "an array [N, H, W], [N, C, H, W], [N, H, W, C] or [N, D], a DataFrame, or a list of PIL "
    "images, networkx graphs, RDKit molecules or SMILES"
)


def dataset(
    values: Any,  # noqa: ANN401
    *,
    name: str = "data",
    labels: Sequence[Any] | None = None,
    captions: Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
) -> DataSet:
    """Make a data set of what a program has in memory.

    Arguments:
        values: See above.
        name: What it is called.
        labels: The class of each image, numbers or words.
        captions: A sentence for each image.
        columns: Kinds of a table's columns by name, which go before the rule (`table.declared`).

    Raises:
        BadInput: It is nothing of the kind, of a type, shape or range that is none of a kind's,
            or too little; or labels, captions or kinds of columns do not go with it.
    """
    if _is_table(values):
        _refuse(labels=labels, captions=captions, kind="a table")
        return table.of_arrays(name, values, _plain_kinds(columns))
    array, first = _array(values), _first(values)
    if array is not None and array.ndim == 2:
        _refuse(labels=labels, captions=captions, kind="rows of numbers")
        named = {f"x{i + 1}": array[:, i] for i in range(array.shape[1])}
        return table.of_arrays(name, named, _plain_kinds(columns))
    _refuse(columns=columns, kind="no table")
    if array is None and _is_network(first):
        _refuse(labels=labels, captions=captions, kind="graphs")
        contents = graph_files.of_networks(values, name)
        return graphs.dataset([graph_files.dense(one) for one in contents.graphs], name)
    if array is None and (isinstance(first, str) or _is_molecule(first)):
        _refuse(labels=labels, captions=captions, kind="molecules")
        return molecules.of_found(molecule_files.of_molecules(values), name)
    if array is None and _is_picture(first):
        array = _of_pictures(values, name)
    if array is None:
        raise BadInput(f"'{name}' was given as {_what(values)}; give {KINDS}.")
    return _images(array, name, labels, captions)


def examples(values: Any, domain: Domain, name: str = "what was given") -> Tensor:  # noqa: ANN401
    """Return things of a model's own kind as its examples.

    Arguments:
        values: As `dataset` takes them, any number of them; images as levels.
        domain: Where the model's data lie.
        name: What it is called in an error.

    Returns:
        [N, *shape] in data units.

    Raises:
        BadInput: They are of another kind, shape or range.
    """
    kind, first = domain.kind, _first(values)
    if kind == "points" and _is_table(values):
        return ready.of_sheet(table_files.of_columns(name, values), domain, name)
    if kind == "graph" and _is_network(first):
        return _networks(values, domain, name)
    if kind == "molecule" and (isinstance(first, str) or _is_molecule(first)):
        read = [_read(one) if isinstance(one, str) else one for one in values]
        return ready.of_molecules(read, domain, name)
    array = _of_pictures(values, name) if _is_picture(first) else _array(values)
    if array is None:
        raise BadInput(f"{name} is {_what(values)}, and the model's data are of kind '{kind}'.")
    return ready.of_array(array, domain, name)


def _networks(values: Sequence[Any], domain: Domain, name: str) -> Tensor:
    networks = graph_files.of_networks(values, name).graphs
    largest = max(one.nodes for one in networks)
    if largest > domain.shape[0]:
        raise BadInput(
            f"{name} holds a graph of {largest} nodes, and the model's have {domain.shape[0]} at "
            "most."
        )
    return torch.stack([graph_files.dense(one, domain.shape[0]) for one in networks])


def _read(smiles: str) -> Any:  # noqa: ANN401
    """Read a SMILES; None where it is none."""
    try:
        return parsed(smiles)
    except NotUsable:
        return None


def _plain_kinds(columns: Mapping[str, str] | None) -> Mapping[str, str] | None:
    return None if columns is None else {str(key): kind for key, kind in columns.items()}


def _refuse(*, kind: str, **values: object) -> None:
    """Refuse what does not go with a kind of data."""
    for name, value in values.items():
        if value is not None:
            raise BadInput(f"{name} were given, and the data are {kind}; leave them out.")


def _is_table(values: object) -> bool:
    return isinstance(values, Mapping) or _is_of(values, "pandas", "DataFrame")


def _is_network(one: object) -> bool:
    return _is_of(one, "networkx", "Graph")


def _is_molecule(one: object) -> bool:
    return _is_of(one, "rdkit.Chem", "Mol")


def _is_picture(one: object) -> bool:
    return _is_of(one, "PIL.Image", "Image")


def _is_of(one: object, module: str, kind: str) -> bool:
    """Tell whether something is of a package's class, which is not imported for that."""
    package = sys.modules.get(module)
    return package is not None and isinstance(one, getattr(package, kind))


def _first(values: Any) -> object:  # noqa: ANN401
    """Return the first of a list; None of what is none."""
    return values[0] if isinstance(values, list | tuple) and values else None


def _what(values: object) -> str:
    if isinstance(values, list | tuple):
        if not values:
            return "an empty list"
        kinds = sorted({type(one).__name__ for one in values})
        return f"a list of {', '.join(kinds[:3])}"
    return f"something of type {type(values).__name__}"


def _array(values: Any) -> np.ndarray | None:  # noqa: ANN401
    """Return an array or a tensor, or a list of arrays of one shape, as an array."""
    if isinstance(values, Tensor):
        return values.detach().cpu().numpy()
    if isinstance(values, np.ndarray):
        return values
    first = _first(values)
    if isinstance(first, np.ndarray | Tensor):
        arrays = [one for one in map(_array, values) if one is not None]
        shapes = sorted({one.shape for one in arrays})
        if len(shapes) > 1:
            raise BadInput(
                f"a list of arrays of the shapes {', '.join(map(str, shapes[:3]))} was given; "
                "give them all of one shape."
            )
        return np.stack(arrays)
    return None


def _of_pictures(values: Sequence[Any], name: str) -> np.ndarray:
    """Return PIL images as one array: grey where all are."""
    sizes = sorted({one.size for one in values})
    if len(sizes) > 1:
        raise BadInput(
            f"'{name}' holds images of the sizes {', '.join(map(str, sizes[:3]))}; give them all "
            "of one size, or a folder with --size."
        )
    grey = all(one.mode in ("1", "L") for one in values)
    return np.stack([np.asarray(one.convert("L" if grey else "RGB")) for one in values])


def _levels(array: np.ndarray, name: str) -> tuple[Tensor, int, list[str]]:
    """Return images as levels, [N, C, H, W] uint8, how many there are, and what was done."""
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim != 4:
        raise BadInput(
            f"'{name}' is an array of shape {list(array.shape)}; images are [N, H, W], "
            "[N, C, H, W] or [N, H, W, C], and rows of numbers [N, D]."
        )
    shape = list(array.shape)
    if array.shape[1] not in (1, 3) and array.shape[3] in (1, 3):
        array = np.moveaxis(array, 3, 1)
    if array.shape[1] not in (1, 3):
        raise BadInput(
            f"'{name}' is an array of shape {shape}; images have one channel (grey) or "
            "three (colour), first or last."
        )
    notes, count = [], 256
    if array.dtype == np.bool_:
        count = 2
    elif array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise BadInput(f"'{name}' holds numbers that are not finite; mend or leave them out.")
        if array.min() < 0 or array.max() > 1:
            raise BadInput(
                f"'{name}' holds floats from {array.min():.4g} to {array.max():.4g}; give images "
                "as uint8 levels, or as floats from 0 to 1."
            )
        array = np.rint(array * 255)
        notes.append("floats from 0 to 1, rounded to 256 levels")
    elif array.dtype.kind not in "iu":
        raise BadInput(f"'{name}' holds {array.dtype}; give images as uint8 levels.")
    elif array.size and (array.min() < 0 or array.max() > 255):
        raise BadInput(
            f"'{name}' holds levels from {array.min()} to {array.max()}; images have 0 to 255."
        )
    return torch.from_numpy(np.ascontiguousarray(array.astype(np.uint8))), count, notes


def _images(
    array: np.ndarray,
    name: str,
    labels: Sequence[Any] | None,
    captions: Sequence[str] | None,
) -> DataSet:
    """Make a data set of images."""
    x, count, notes = _levels(array, name)
    if len(x) < FEWEST:
        raise BadInput(
            f"'{name}' holds {len(x)} images; at least {FEWEST} are wanted, and some hundreds to "
            "learn from."
        )
    if max(x.shape[2:]) > LARGEST:
        raise BadInput(f"'{name}' holds images of {x.shape[3]}×{x.shape[2]}; give smaller ones.")
    for what, values in (("labels", labels), ("captions", captions)):
        if values is not None and len(values) != len(x):
            raise BadInput(f"{len(values)} {what} were given for {len(x)} images of '{name}'.")
    classes, indices = _classes(labels)
    width = len(str(len(x)))
    names = [f"{i:0{width}d}" for i in range(len(x))]

    def captions_of(ordered: Sequence[str]) -> tuple[Sequence[Sequence[str]] | None, list[str]]:
        if captions is None:
            return None, []
        return [[str(captions[int(one)])] for one in ordered], []

    images = ImageSet(
        x=x, names=names, levels=count, classes=classes, labels=indices, captions=captions_of
    )
    return image_set.dataset(name, images, notes)


def _classes(labels: Sequence[Any] | None) -> tuple[tuple[str, ...], list[int]]:
    """Return the names of classes, numbers in their order, and the class of each example."""
    if labels is None:
        return (), []
    values = labels.tolist() if isinstance(labels, np.ndarray | Tensor) else list(labels)
    are_numbers = all(isinstance(value, int) for value in values)
    ordered = sorted(set(values)) if are_numbers else sorted(set(map(str, values)))
    index = {str(value): i for i, value in enumerate(ordered)}
    return tuple(index), [index[str(value)] for value in values]
