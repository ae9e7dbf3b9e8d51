r"""Ego graphs: of one large network, what lies within some edges of each node.

    ego          radius 3, 50 … 400 nodes; 757 of citeseer's largest component
    ego-small    radius 1, 4 … 18 nodes; 200 of them, drawn by a fixed seed

The network is a file `citeseer.edges`, a line an edge, in the cache folder, the working folder or
a folder `shared/data` at or beside it; any other comes by `--data FILE --ego-radius R`.

References:
    | Collective Classification in Network Data (Sen, Namata, Bilgic, Getoor, Gallagher &
      Eliassi-Rad, 2008), for citeseer
    | GraphRNN (You et al., 2018), section 4.1, for the rules
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.core.graph import graph
from trilemma.core.noise import mix
from trilemma.data import cache
from trilemma.data.dataset import DataSet
from trilemma.data.graph_files import LARGEST, Plain, read
from trilemma.data.graphs import dataset

__all__ = ["EGOS", "citeseer", "egos", "named", "neighbourhoods"]

FILE = "citeseer.edges"
EGOS = {"ego": (3, 50, 400, None), "ego-small": (1, 4, 18, 200)}
"""Radius, least and most nodes, and how many are taken."""


def citeseer() -> Path | None:
    """Return where the network lies, if it is here."""
    shared = Path("shared") / "data"
    places = [cache.folder(), Path(), shared, Path("..") / shared]
    return next((place / FILE for place in places if (place / FILE).is_file()), None)


def named(name: str) -> DataSet:
    """Load 'ego' or 'ego-small'.

    Raises:
        BadInput: The network is not here.
    """
    path = citeseer()
    if path is None:
        raise BadInput(
            f"data set '{name}' is cut from citeseer's network, which is not on this machine; put "
            f"its edges, a line each, into {cache.folder() / FILE} or ./{FILE}, or give a "
            "network of your own by --data FILE.edges --ego-radius 3."
        )
    radius, least, most, count = EGOS[name]
    found = egos(_largest_component(read(path)), radius, least, most)
    if count is not None:
        draw = torch.Generator().manual_seed(mix(name))
        chosen = torch.randperm(len(found), generator=draw)[:count].sort().values
        found = [found[int(i)] for i in chosen]
    note = f"radius {radius}, {least} to {most} nodes, of citeseer's largest component"
    return dataset(found, name, notes=(note,))


def neighbourhoods(one: Plain, name: str, radius: int, notes: Sequence[str] = ()) -> DataSet:
    """Make a data set of the ego graphs of a network.

    Raises:
        BadInput: The radius is below 1, or an ego graph is too large.
    """
    if radius < 1:
        raise BadInput(f"--ego-radius {radius} was given; it takes 1 or more.")
    found = egos(one, radius, 2, LARGEST)
    note = f"ego graphs of radius {radius} around each of {one.nodes:,} nodes: {len(found):,}"
    left = one.nodes - len(found)
    more = [f"left out, of one node or more than {LARGEST:,}: {left}"] if left else []
    return dataset(found, name, notes=(*notes, note, *more))


def egos(one: Plain, radius: int, least: int, most: int) -> list[Tensor]:
    """Return the ego graph around each node that has so many nodes, the centre first."""
    start, around = _neighbours(one)
    found, place = [], np.full(one.nodes, -1, dtype=np.int64)
    for centre in range(one.nodes):
        members = _within(centre, radius, most, start, around)
        if not least <= len(members) <= most:
            continue
        place[members] = np.arange(len(members))
        near = np.concatenate([around[start[m] : start[m + 1]] for m in members])
        own = np.repeat(members, [start[m + 1] - start[m] for m in members])
        kept = place[near] >= 0
        joined = np.stack([place[own[kept]], place[near[kept]]], 1)
        found.append(graph(len(members), torch.from_numpy(joined)))
        place[members] = -1
    return found


def _neighbours(one: Plain) -> tuple[np.ndarray, np.ndarray]:
    """Return where each node's neighbours begin, and all neighbours one after another."""
    both = np.concatenate([one.edges, one.edges[:, ::-1]])
    order = np.argsort(both[:, 0], kind="stable")
    start = np.searchsorted(both[order, 0], np.arange(one.nodes + 1))
    return start, both[order, 1]


def _within(
    centre: int, radius: int, most: int, start: np.ndarray, around: np.ndarray
) -> np.ndarray:
    """Return the nodes within some edges of a centre; a few more than `most` if there are more."""
    members = edge = np.array([centre])
    for _ in range(radius):
        near = np.concatenate([around[start[m] : start[m + 1]] for m in edge] or [edge[:0]])
        edge = np.setdiff1d(near, members)
        members = np.concatenate([members, edge])
        if not len(edge) or len(members) > most:
            break
    return members


def _largest_component(one: Plain) -> Plain:
    label = np.arange(one.nodes)
    while True:
        lower = label.copy()
        np.minimum.at(lower, one.edges[:, 0], label[one.edges[:, 1]])
        np.minimum.at(lower, one.edges[:, 1], label[one.edges[:, 0]])
        lower = lower[lower]
        if (lower == label).all():
            break
        label = lower
    kept = label == np.bincount(label).argmax()
    place = np.cumsum(kept) - 1
    inside = kept[one.edges[:, 0]]
    return Plain(int(kept.sum()), place[one.edges[inside]])
