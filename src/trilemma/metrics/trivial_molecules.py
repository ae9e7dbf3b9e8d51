"""Molecules that nobody would call a model's: what scores are held against.

random      built by chance: actions drawn evenly among those that valence allows, up to the
            size of a training molecule
alkanes     straight chains of carbon of the training molecules' sizes
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import UInt8
from torch import Tensor

from trilemma.core.molecule import atoms, bonds, sizes, valences
from trilemma.core.noise import mix
from trilemma.data.dataset import DataSet
from trilemma.maths.graphs.molecule_environment import MoleculeEnvironment

__all__ = ["TRIVIAL", "alkanes", "random_molecules"]


def random_molecules(data: DataSet, count: int, seed: int) -> UInt8[Tensor, "count N N"]:
    """Build molecules by chance: with the elements and sizes of training molecules, and rings.

    Atoms are added to atoms drawn evenly, by elements as frequent as in the data; then as many
    bonds more as a training molecule of the size has beyond those of a tree.
    """
    generator = torch.Generator().manual_seed(mix(seed, "random molecules"))
    train = data.train.x
    rows = torch.randint(len(train), (count,), generator=generator)
    size = sizes(train[rows])
    bond_counts = (bonds(train[rows]) > 0).sum((1, 2)) // 2
    extra_bonds = (bond_counts - size + 1).clamp_min(0)
    shares = torch.bincount(atoms(train).flatten(), minlength=len(data.domain.elements) + 1)[1:]
    environment = MoleculeEnvironment(valences(data.domain.elements), train.shape[-1], 10**6)
    state = environment.reset(count, train.shape[-1])
    total = size - 1 + extra_bonds
    for step_index in range(int(total.max()) if count else 0):
        is_growing = state.size < size
        mask = environment.first_mask(state)
        first = _draw_columns(mask.double(), generator)
        old, new = environment.second_mask(state, first)
        weights = torch.cat(
            [old.double() * (~is_growing)[:, None], new * shares * is_growing[:, None]], 1
        )
        second = _draw_columns(weights, generator)
        max_nodes = old.shape[1]
        is_open = mask.any(1) & (weights.sum(1) > 0) & (step_index < total)
        second = torch.where(second < max_nodes, second, max_nodes - second - 1)
        bond = torch.ones_like(first)
        stop = (~is_open).long()
        next_state = environment.step(state, torch.stack([stop, first, second, bond], 1))
        state = type(state)(
            next_state.x,
            next_state.free,
            next_state.size,
            next_state.latest,
            next_state.remaining,
            state.done,
        )
    return state.x


def _draw_columns(weights: Tensor, draw: torch.Generator) -> Tensor:
    """Draw a column of each row by its weights; the first where all are zero."""
    safe = weights.clone()
    safe[weights.sum(1) <= 0, 0] = 1
    return torch.multinomial(safe, 1, generator=draw)[:, 0]


def alkanes(data: DataSet, count: int, seed: int) -> UInt8[Tensor, "count N N"]:
    """Return straight chains of carbon of training molecules' sizes."""
    generator = torch.Generator().manual_seed(mix(seed, "alkanes"))
    train = data.train.x
    size = sizes(train[torch.randint(len(train), (count,), generator=generator)])
    positions = torch.arange(train.shape[-1])
    node_mask = positions < size[:, None]
    x = torch.diag_embed(node_mask.to(torch.uint8))
    link = (node_mask[:, 1:]).to(torch.uint8)
    x[:, positions[1:], positions[:-1]] = link
    x[:, positions[:-1], positions[1:]] = link
    return x


TRIVIAL: Mapping[str, Callable[[DataSet, int, int], Tensor]] = {
    "random": random_molecules,
    "alkanes": alkanes,
}
"""By name: data, number and seed to molecules."""
