"""Data for training and measuring, from a name, a path, or what a program has in memory."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trilemma.api.working import read_data
from trilemma.core.errors import BadInput
from trilemma.core.session import Session
from trilemma.data import in_memory, sources
from trilemma.data.dataset import DataSet
from trilemma.data.location import MEMORY
from trilemma.data.table import TARGET, declared

__all__ = ["ReadData", "dataset", "read"]


@dataclass(frozen=True)
class ReadData:
    """A data set, and what a run keeps of where it is from."""

    data: DataSet
    source: str


def dataset(
    data: Any,  # noqa: ANN401
    *,
    name: str = "data",
    labels: Sequence[Any] | None = None,
    captions: Sequence[str] | None = None,
    size: int | None = None,
    columns: Mapping[str, str] | str | None = None,
    target: str | None = None,
) -> DataSet:
    """Make a data set.

    Arguments:
        data: A name ("digits"), a path, or what a program has: an array of images [N, H, W],
            [N, C, H, W] or [N, H, W, C], of rows [N, D]; a DataFrame; a list of PIL images,
            networkx graphs, RDKit molecules or SMILES.
        name: What it is called, of what is in memory.
        labels: The class of each image, numbers or words.
        captions: A sentence for each image.
        size: Side of a folder's images, pixels.
        columns: Kinds of a table's columns by name, which go before the rule: "real", "whole",
            "date", "category", "drop".
        target: The column of a table whose words are classes.

    Returns:
        The data set, split by content; a data set is returned as it is.

    Raises:
        BadInput: It cannot be read, or is nothing of the kind.

    >>> import numpy as np
    >>> pixels = np.random.default_rng(0).integers(0, 256, (100, 8, 8)).astype(np.uint8)
    >>> len(dataset(pixels, name="noise").train)
    92
    """
    if isinstance(data, DataSet):
        return data
    if isinstance(data, str | os.PathLike):
        for what, value in (("labels", labels), ("captions", captions)):
            if value is not None:
                raise BadInput(f"{what} go with arrays and lists; a folder has them in its files.")
        source = sources.declared(
            os.fspath(data),
            radius=None,
            columns=columns if isinstance(columns, str) else _text(columns),
            target=target,
        )
        return sources.load(source, size=size)
    if size is not None:
        raise BadInput("size is for folders of images; what is in memory has its own.")
    kinds = _kinds(columns)
    if target is not None:
        kinds = {**(kinds or {}), target: TARGET}
    return in_memory.dataset(data, name=name, labels=labels, captions=captions, columns=kinds)


def read(
    data: Any,  # noqa: ANN401
    session: Session,
    *,
    size: int | None = None,
    columns: Mapping[str, str] | str | None = None,
    target: str | None = None,
    radius: int | None = None,
) -> ReadData:
    """Read what was given as data, with progress and notes.

    Arguments:
        data: As `dataset` takes it.
        session: Who is told, and who may end it.
        size: As `dataset` takes it.
        columns: As `dataset` takes it.
        target: As `dataset` takes it.
        radius: Of the ego graphs that are taken of one network.

    Raises:
        BadInput: As `dataset`.
        Interrupted: A signal came while files were read.
    """
    if not isinstance(data, str | os.PathLike):
        data_set = dataset(data, size=size, columns=columns, target=target)
        return ReadData(data_set, f"{MEMORY}{data_set.name}")
    text = columns if isinstance(columns, str) else _text(columns)
    source = sources.declared(os.fspath(data), radius=radius, columns=text, target=target)
    return ReadData(read_data(source, size, session), source)


def _kinds(columns: Mapping[str, str] | str | None) -> dict[str, str] | None:
    if columns is None:
        return None
    return declared(columns) if isinstance(columns, str) else dict(columns)


def _text(kinds: Mapping[str, str] | None) -> str | None:
    return None if kinds is None else ",".join(f"{name}={kind}" for name, kind in kinds.items())
