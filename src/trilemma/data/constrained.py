r"""Constrained improvement: make a given molecule worth more, and keep it like itself.

A local search by the genetic proposer's moves: parents are the best so far, by ranks; a child that
is less than `least` similar to the given molecule (Tanimoto, Morgan fingerprints of radius 2) is
thrown away unasked; the others are asked for their worth, up to a number of calls.

Reference:
    Junction Tree Variational Autoencoder for Molecular Graph Generation (Jin, Barzilay & Jaakkola,
    2018), for the task
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trilemma.core.molecule import ELEMENTS, VALENCES
from trilemma.data.chemistry import NotUsable, fingerprints, parsed, standardised, to_smiles
from trilemma.data.genetic import child, rank_weights

__all__ = ["Improvement", "improve", "similarity"]

KEPT, TRIES = 20, 60
"""Molecules that are kept, and children that are made for each call at most."""


@dataclass(frozen=True)
class Improvement:
    """What a given molecule has become."""

    initial: str
    best: str
    """The given one where nothing better was found."""
    before: float
    after: float
    similarity: float
    calls: int


def similarity(one: str, other: str) -> float:
    """Return the Tanimoto similarity of two SMILES, Morgan fingerprints of radius 2."""
    a, b = fingerprints([one, other])
    return float((a * b).sum() / ((a + b) > 0).sum().clamp_min(1))


def improve(
    smiles: str,
    worth: Callable[[Sequence[Any]], Sequence[float]],
    *,
    least: float,
    calls: int = 200,
    most: int = 38,
    seed: int = 0,
) -> Improvement:
    """Search near a molecule.

    Arguments:
        smiles: The molecule.
        worth: Molecules of RDKit to numbers, higher is better.
        least: Similarity that must stay.
        calls: How many molecules may be asked, the given one not counted.
        most: Heavy atoms at most.
        seed: Of all choices.

    Raises:
        NotUsable: The molecule cannot be used: the reason.
    """
    source = random.Random(seed)
    valence = [0, *(VALENCES[element] for element in ELEMENTS)]
    start = standardised(parsed(smiles))
    initial = start.smiles
    before = float(worth([parsed(initial)])[0])
    pool = [(before, initial, start.x.tolist())]
    known, asked = {initial}, 0
    for _ in range(calls * TRIES):
        if asked >= calls:
            break
        weights = rank_weights(len(pool))
        one, other = source.choices([x for *_, x in pool], weights, k=2)
        new = child(one, other, valence=valence, most=most, source=source)
        if new is None:
            continue
        (text,) = to_smiles(torch.tensor(new, dtype=torch.uint8)[None])
        if not text or text in known:
            continue
        known.add(text)
        if similarity(initial, text) < least:
            continue
        asked += 1
        try:
            value = float(worth([parsed(text)])[0])
        except NotUsable:
            continue
        pool = sorted([*pool, (value, text, new)], key=lambda it: -it[0])[:KEPT]
    after, best, _ = pool[0]
    return Improvement(initial, best, before, after, similarity(initial, best), asked)
