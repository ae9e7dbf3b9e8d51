r"""A genetic proposer: children of good molecules, by crossover and mutation of their graphs.

Molecules are square lists of lists here, elements on the diagonal and orders of bonds beside it.

    crossover   each of two parents is cut in two, at a single bond that is in no ring or at two
                single bonds of one ring; a part of the one is joined to a part of the other by as
                many single bonds
    mutation    an atom is added, put into a bond, taken away or exchanged; a bond's order is
                changed; a ring is closed or opened

Whatever breaks a valence, falls apart or has too many atoms is no child. Parents are drawn by
their rank among the best, with weights 1 / (k N + rank).

References:
    | A graph-based genetic algorithm and generative model/Monte Carlo tree search for the
      exploration of chemical space (Jensen, 2019)
    | Genetic-guided GFlowNets for sample efficient molecular optimization (Kim, Kim, Choi & Park,
      2024), for proposing to a policy, and the weights of ranks
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from jaxtyping import UInt8
from torch import Tensor

__all__ = ["Bonded", "child", "children", "crossover", "mutated", "part", "rank_weights"]

Matrix = list[list[int]]
TRIES = 12
"""Cuts, and mutations, that are tried for a child."""
MUTATES = 0.5
"""Share of the children of two parents that are mutated besides."""
SHARPNESS = 0.01
"""k: the smaller it is, the more the best are preferred."""


def rank_weights(worth: Sequence[float]) -> list[float]:
    """Return the weight of each rank; those that are worth the same share theirs evenly.

    >>> [round(w, 2) for w in rank_weights([0.9, 0.8, 0.7])]
    [33.33, 0.97, 0.49]
    >>> [round(w, 2) for w in rank_weights([0.9, 0.9, 0.7])]
    [17.15, 17.15, 0.49]

    Arguments:
        worth: In falling order.
    """
    weights = [1 / (SHARPNESS * len(worth) + rank) for rank in range(len(worth))]
    start = 0
    for _, group in groupby(worth):
        stop = start + sum(1 for _ in group)
        weights[start:stop] = [sum(weights[start:stop]) / (stop - start)] * (stop - start)
        start = stop
    return weights


def children(
    parents: UInt8[Tensor, "P N N"],
    count: int,
    *,
    worth: Sequence[float],
    valence: Sequence[int],
    most: int,
    seed: int,
) -> UInt8[Tensor, "C N N"]:
    """Return children of molecules that are in the order of their worth, the best first.

    Arguments:
        parents: P molecules.
        count: C.
        worth: Of each parent, by which they are chosen.
        valence: Of each code: 0, then those of the elements.
        most: Atoms that a child may have.
        seed: Seed of all choices.
    """
    rng, size = random.Random(seed), parents.shape[-1]
    weights = rank_weights(worth)
    rows = range(len(parents))
    bonded_by_row: dict[int, Bonded] = {}
    offspring: list[Matrix] = []
    for _ in range(8 * count):
        if len(offspring) == count:
            break
        pair = rng.choices(rows, weights, k=2)
        for row in pair:
            if row not in bonded_by_row:
                bonded_by_row[row] = Bonded.of(_trimmed(parents[row].tolist()))
        first, second = (bonded_by_row[row] for row in pair)
        new = child(first, second, valence=valence, most=most, source=rng)
        if new is not None:
            offspring.append(new)
    out = torch.zeros(len(offspring), size, size, dtype=torch.uint8)
    for padded, x in zip(out, offspring, strict=True):
        padded[: len(x), : len(x)] = torch.tensor(x, dtype=torch.uint8)
    return out


def child(
    first: Bonded, second: Bonded, *, valence: Sequence[int], most: int, source: random.Random
) -> Matrix | None:
    """Return a child of two molecules, or of the first alone; None where none was found."""
    new = crossover(first, second, most=most, source=source)
    if new is None:
        return mutated(first.x, valence=valence, most=most, source=source)
    if source.random() < MUTATES:
        return mutated(new, valence=valence, most=most, source=source) or new
    return new


def part(x: UInt8[Tensor, "N N"], source: random.Random) -> UInt8[Tensor, "N N"]:
    """Return the larger part of a molecule that is cut at a bond in no ring, or all of it."""
    molecule, out = Bonded.of(_trimmed(x.tolist())), torch.zeros_like(x)
    n = len(molecule.x)
    sides = [_reached(molecule.near, a, [(a, b)]) for a, b in molecule.single]
    cuts = [side for side, (_, b) in zip(sides, molecule.single, strict=True) if not side >> b & 1]
    if not cuts:
        return x
    side = source.choice(cuts)
    larger = side if 2 * side.bit_count() >= n else ~side & ((1 << n) - 1)
    fragment, _ = _part(molecule.x, larger)
    out[: len(fragment), : len(fragment)] = torch.tensor(fragment, dtype=x.dtype)
    return out


def _trimmed(x: Matrix) -> Matrix:
    n = sum(row[i] > 0 for i, row in enumerate(x))
    return [row[:n] for row in x[:n]]


def _free(x: Matrix, valence: Sequence[int]) -> list[int]:
    """Return the bonds that each atom can still make."""
    return [valence[row[i]] - (sum(row) - row[i]) for i, row in enumerate(x)]


def _near(x: Matrix) -> list[int]:
    """Return the atoms that each is bonded to, as the bits of a number."""
    return [
        sum([1 << j for j, order in enumerate(row) if order and j != i]) for i, row in enumerate(x)
    ]


def _reached(near: Sequence[int], start: int, cut: Sequence[tuple[int, int]] = ()) -> int:
    """Return which atoms hang together with one, as bits, some bonds left out."""
    if cut:
        near = list(near)
        for a, b in cut:
            near[a] &= ~(1 << b)
            near[b] &= ~(1 << a)
    visited = frontier = 1 << start
    while frontier:
        lowest = frontier & -frontier
        neighbours = near[lowest.bit_length() - 1] & ~visited
        visited |= neighbours
        frontier = (frontier ^ lowest) | neighbours
    return visited


def _part(x: Matrix, keep: int) -> tuple[Matrix, dict[int, int]]:
    """Return the part of some atoms, and where each of them is now."""
    rows = [i for i in range(len(x)) if keep >> i & 1]
    return [[x[i][j] for j in rows] for i in rows], {i: k for k, i in enumerate(rows)}


# Crossover


class Bonded(NamedTuple):
    """A molecule with what its cuts need."""

    x: Matrix
    near: list[int]
    single: list[tuple[int, int]]

    @classmethod
    def of(cls, x: Matrix) -> Bonded:
        """Look at a molecule once, for many cuts."""
        single = [(i, j) for i, row in enumerate(x) for j in range(i) if row[j] == 1]
        return cls(x, _near(x), single)


def _cut(it: Bonded, source: random.Random, at_ring: bool) -> tuple[Matrix, list[int]] | None:
    """Cut a molecule, and return a part with the atoms at which it was cut."""
    x, neighbours, single = it.x, it.near, list(it.single)
    source.shuffle(single)
    for a, b in single[:TRIES]:
        side = _reached(neighbours, a, [(a, b)])
        if (side >> b & 1) != at_ring:
            continue
        if not at_ring:
            part, new_index = _part(x, side)
            return part, [new_index[a]]
        for c, d in single:
            if (c, d) == (a, b):
                continue
            side = _reached(neighbours, a, [(a, b), (c, d)])
            if side >> b & 1 or (side >> c & 1) == (side >> d & 1):
                continue
            part, new_index = _part(x, side)
            return part, [new_index[a], new_index[c if side >> c & 1 else d]]
    return None


def crossover(first: Bonded, second: Bonded, *, most: int, source: random.Random) -> Matrix | None:
    """Join a part of one molecule to a part of another; None where that was not found.

    Arguments:
        first: A molecule.
        second: Another.
        most: Atoms that a child may have.
        source: Of all choices.
    """
    for _ in range(TRIES):
        at_ring = source.random() < 0.5
        one_part, other_part = (_cut(x, source, at_ring) for x in (first, second))
        if one_part is None or other_part is None:
            continue
        (a, first_ends), (b, second_ends) = one_part, other_part
        n = len(a) + len(b)
        if n > most or n < 2:
            continue
        x = [[*row, *([0] * len(b))] for row in a] + [[*([0] * len(a)), *row] for row in b]
        source.shuffle(second_ends)
        pairs = [(i, len(a) + j) for i, j in zip(first_ends, second_ends, strict=True)]
        if len(set(pairs)) < len(pairs):
            continue
        for i, j in pairs:
            x[i][j] = x[j][i] = 1
        if at_ring and first_ends[0] == first_ends[1] and second_ends[0] == second_ends[1]:
            continue
        return x
    return None


# Mutation


def _add_atom(x: Matrix, free: Sequence[int], codes: Sequence[int], source: random.Random) -> None:
    open_atoms = [i for i, bonds in enumerate(free) if bonds]
    if not open_atoms:
        return
    atom = source.choice(open_atoms)
    for row in x:
        row.append(0)
    x.append([0] * (len(x) + 1))
    x[-1][-1] = source.choice(codes)
    x[-1][atom] = x[atom][-1] = 1


def _insert_atom(
    x: Matrix, free: Sequence[int], codes: Sequence[int], source: random.Random
) -> None:
    single = [(i, j) for i in range(len(x)) for j in range(i) if x[i][j] == 1]
    if not single:
        return
    a, b = source.choice(single)
    for row in x:
        row.append(0)
    x.append([0] * (len(x) + 1))
    x[-1][-1] = source.choice(codes)
    x[a][b] = x[b][a] = 0
    for i in (a, b):
        x[-1][i] = x[i][-1] = 1


def _delete_atom(
    x: Matrix, free: Sequence[int], codes: Sequence[int], source: random.Random
) -> None:
    if len(x) < 3:
        return
    atom = source.randrange(len(x))
    neighbours = [j for j, order in enumerate(x[atom]) if order and j != atom]
    if len(neighbours) == 2 and not x[neighbours[0]][neighbours[1]]:
        a, b = neighbours
        x[a][b] = x[b][a] = 1  # its neighbours are joined in its place
    for row in x:
        del row[atom]
    del x[atom]


def _change_atom(
    x: Matrix, free: Sequence[int], codes: Sequence[int], source: random.Random
) -> None:
    atom = source.randrange(len(x))
    x[atom][atom] = source.choice([code for code in codes if code != x[atom][atom]] or codes)


def _change_bond(
    x: Matrix, free: Sequence[int], codes: Sequence[int], source: random.Random
) -> None:
    bonds = [(i, j) for i in range(len(x)) for j in range(i) if x[i][j]]
    if bonds:
        a, b = source.choice(bonds)
        x[a][b] = x[b][a] = source.choice([k for k in (1, 2, 3) if k != x[a][b]])


def _close_ring(
    x: Matrix, free: Sequence[int], codes: Sequence[int], source: random.Random
) -> None:
    open_atoms = [i for i, bonds in enumerate(free) if bonds]
    pairs = [(i, j) for i in open_atoms for j in open_atoms if j < i and not x[i][j]]
    if pairs:
        a, b = source.choice(pairs)
        x[a][b] = x[b][a] = 1


def _open_ring(
    x: Matrix, free: Sequence[int], codes: Sequence[int], source: random.Random
) -> None:
    bonds = [(i, j) for i in range(len(x)) for j in range(i) if x[i][j]]
    if bonds:
        a, b = source.choice(bonds)
        x[a][b] = x[b][a] = 0


MUTATIONS = (
    _add_atom,
    _add_atom,
    _insert_atom,
    _delete_atom,
    _change_atom,
    _change_atom,
    _change_bond,
    _change_bond,
    _close_ring,
    _open_ring,
)
"""Each is as likely as another; some stand twice."""


def mutated(
    x: Matrix, *, valence: Sequence[int], most: int, source: random.Random
) -> Matrix | None:
    """Return a molecule that differs in one place; None where none was found.

    Arguments:
        x: A molecule.
        valence: Of each code.
        most: Atoms that it may have.
        source: Of all choices.
    """
    codes = sorted({*(x[i][i] for i in range(len(x))), *range(1, min(4, len(valence)))})
    for _ in range(TRIES):
        new = [list(row) for row in x]
        source.choice(MUTATIONS)(new, _free(new, valence), codes, source)
        if new != x and _is_whole(new, valence, most):
            return new
    return None


def _hangs_together(x: Matrix) -> bool:
    return _reached(_near(x), 0) == (1 << len(x)) - 1


def _is_whole(x: Matrix, valence: Sequence[int], most: int) -> bool:
    return 0 < len(x) <= most and min(_free(x, valence)) >= 0 and _hangs_together(x)
