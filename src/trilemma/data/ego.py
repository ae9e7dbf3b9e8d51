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
from trilemma.data.graph_files import LARGEST, read
from trilemma.data.graphs import dataset
from trilemma.data.plain_graph import Plain

__all__ = ["EGOS", "citeseer", "egos", "load", "neighbourhoods"]

FILE = "citeseer.edges"
EGOS = {"ego": (3, 50, 400, None), "ego-small": (1, 4, 18, 200)}
"""Radius, least and most nodes, and how many are taken."""


def citeseer() -> Path | None:
    """Return where the network lies, if it is here."""
    shared = Path("shared") / "data"
    folders = [cache.folder(), Path(), shared, Path("..") / shared]
    return next((folder / FILE for folder in folders if (folder / FILE).is_file()), None)


def load(name: str) -> DataSet:
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
    ego_graphs = egos(_largest_component(read(path)), radius, least, most)
    if count is not None:
        generator = torch.Generator().manual_seed(mix(name))
        chosen = torch.randperm(len(ego_graphs), generator=generator)[:count].sort().values
        ego_graphs = [ego_graphs[int(i)] for i in chosen]
    note = f"radius {radius}, {least} to {most} nodes, of citeseer's largest component"
    return dataset(ego_graphs, name, notes=(note,))


def neighbourhoods(one: Plain, name: str, radius: int, notes: Sequence[str] = ()) -> DataSet:
    """Make a data set of the ego graphs of a network.

    Raises:
        BadInput: The radius is below 1, or an ego graph is too large.
    """
    if radius < 1:
        raise BadInput(f"--ego-radius {radius} was given; it takes 1 or more.")
    ego_graphs = egos(one, radius, 2, LARGEST)
    note = f"ego graphs of radius {radius} around each of {one.nodes:,} nodes: {len(ego_graphs):,}"
    dropped = one.nodes - len(ego_graphs)
    extra_notes = [f"left out, of one node or more than {LARGEST:,}: {dropped}"] if dropped else []
    return dataset(ego_graphs, name, notes=(*notes, note, *extra_notes))


def egos(one: Plain, radius: int, least: int, most: int) -> list[Tensor]:
    """Return the ego graph around each node that has so many nodes, the centre first."""
    offsets, neighbours = _neighbours(one)
    ego_graphs, local_index = [], np.full(one.nodes, -1, dtype=np.int64)
    for centre in range(one.nodes):
        members = _nodes_within_radius(centre, radius, most, offsets, neighbours)
        if not least <= len(members) <= most:
            continue
        local_index[members] = np.arange(len(members))
        targets = np.concatenate([neighbours[offsets[m] : offsets[m + 1]] for m in members])
        sources = np.repeat(members, [offsets[m + 1] - offsets[m] for m in members])
        is_member = local_index[targets] >= 0
        edges = np.stack([local_index[sources[is_member]], local_index[targets[is_member]]], 1)
        ego_graphs.append(graph(len(members), torch.from_numpy(edges)))
        local_index[members] = -1
    return ego_graphs


def _neighbours(one: Plain) -> tuple[np.ndarray, np.ndarray]:
    """Return where each node's neighbours begin, and all neighbours one after another."""
    directed_edges = np.concatenate([one.edges, one.edges[:, ::-1]])
    order = np.argsort(directed_edges[:, 0], kind="stable")
    offsets = np.searchsorted(directed_edges[order, 0], np.arange(one.nodes + 1))
    return offsets, directed_edges[order, 1]


def _nodes_within_radius(
    centre: int, radius: int, most: int, start: np.ndarray, around: np.ndarray
) -> np.ndarray:
    """Return the nodes within some edges of a centre; a few more than `most` if there are more."""
    members = frontier = np.array([centre])
    for _ in range(radius):
        neighbours = np.concatenate(
            [around[start[m] : start[m + 1]] for m in frontier] or [frontier[:0]]
        )
        frontier = np.setdiff1d(neighbours, members)
        members = np.concatenate([members, frontier])
        if not len(frontier) or len(members) > most:
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
    in_largest = label == np.bincount(label).argmax()
    new_index = np.cumsum(in_largest) - 1
    is_inside = in_largest[one.edges[:, 0]]
    return Plain(int(in_largest.sum()), new_index[one.edges[is_inside]])
