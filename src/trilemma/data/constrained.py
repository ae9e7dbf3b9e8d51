r"""Constrained optimisation: given molecules are made worth more, and stay like themselves.

Each given molecule has a pool of its own, of the best that are at least `least` similar to it
(Tanimoto, Morgan fingerprints of radius 2), and so many calls of the oracle. At each advance some
of them have their turn:

    candidates  what the policy built from parts of its pool, and children of the pool's
    asked       among those that are similar enough, what the surrogate chooses, which learns from
                the calls of all
    reward      of what the policy built: how much more it is worth than the given molecule; 0
                where it is less, or not like it

Reference:
    Junction Tree Variational Autoencoder for Molecular Graph Generation (Jin, Barzilay & Jaakkola,
    2018), for the task
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from trilemma.core.noise import Noise, mix
from trilemma.data.chemistry import fingerprints, to_smiles
from trilemma.data.genetic import children, part, rank_weights
from trilemma.data.search import CountedOracle, Search
from trilemma.maths.gaussian_process import tanimoto

__all__ = ["ConstrainedSearch", "similarity"]

TURNS = 8
"""Given molecules that have their turn at once."""
POOLED = 20
"""Molecules of a pool."""
PATIENCE = 10
"""Turns without a candidate that is like the given molecule and new, after which it is left."""


def similarity(one: str, other: str) -> float:
    """Return the Tanimoto similarity of two SMILES, Morgan fingerprints of radius 2."""
    a, b = fingerprints([one, other])
    return tanimoto(a[None], b[None]).item()


@dataclass
class Pool:
    """The state of the search that starts from one molecule."""

    smiles: str
    before: float
    x: UInt8[Tensor, "K N N"]
    """The best that are similar enough, the best first; the given one is among them at first."""
    scores: list[float]
    evaluated: set[str] = field(default_factory=set)
    calls: int = 0
    barren: int = 0
    """Turns in a row that had no candidate."""

    def add(self, x: Tensor, smiles: Sequence[str], scores: Sequence[float]) -> None:
        """Take in molecules that were evaluated, and their scores."""
        self.evaluated |= set(smiles)
        self.calls += len(smiles)
        molecules, all_scores = torch.cat([self.x, x]), [*self.scores, *scores]
        order = sorted(range(len(all_scores)), key=lambda i: -all_scores[i])[:POOLED]
        self.x, self.scores = molecules[order], [all_scores[i] for i in order]


class ConstrainedSearch(Search):
    """Improves molecules, each by itself.

    Arguments:
        oracle: The objective, without a limit of calls.
        start_molecules: S molecules.
        least: Similarity that must stay.
        each: Calls a given molecule; it is not counted itself.
        elements, valence, most, limit, seed: As of `Search`.
        surrogate_queries: As of `Search`, 1 or more.
    """

    def __init__(
        self,
        oracle: CountedOracle,
        start_molecules: UInt8[Tensor, "S N N"],
        *,
        least: float,
        each: int,
        elements: Sequence[str],
        valence: Sequence[int],
        most: int,
        limit: int,
        seed: int,
        surrogate_queries: int,
    ) -> None:
        super().__init__(
            oracle,
            elements=elements,
            valence=valence,
            most=most,
            limit=limit,
            seed=seed,
            surrogate_queries=surrogate_queries,
        )
        self.start_molecules, self.least, self.each = start_molecules.cpu(), least, each
        self.pools: list[Pool] = []

    @property
    def is_spent(self) -> bool:
        """Tell whether no given molecule has a call left, or a use for one."""
        return bool(self.pools) and not self._open()

    @property
    def spent(self) -> float:
        """Return the mean share of its calls that a given molecule has spent or cannot use."""
        unspent = sum(1 - pool.calls / self.each for pool in self._open())
        return 1 - unspent / len(self.pools) if self.pools else 0.0

    def open(self, x: UInt8[Tensor, "B N N"]) -> None:
        """Ask what the given molecules are worth, and nothing of the data; a pool each."""
        given_smiles = to_smiles(self.start_molecules, self.elements)
        for x, smiles, value in zip(
            self.start_molecules, given_smiles, self.oracle(given_smiles), strict=True
        ):
            self.pools.append(Pool(smiles, value or 0.0, x[None], [value or 0.0], {smiles}))

    def starts(self, count: int, number: int) -> UInt8[Tensor, "B N N"]:
        """Return parts of the pools' molecules, with which a policy's episodes begin.

        Arguments:
            count: B.
            number: Of the advance that is to come.
        """
        rng = random.Random(mix(self.seed, "parts", number))
        pools, fragments = self._turns(number), []
        for i in range(count):
            pool = pools[i % len(pools)]
            (row,) = rng.choices(range(len(pool.x)), rank_weights(pool.scores))
            fragments.append(part(pool.x[row], rng))
        return torch.stack(fragments)

    def advance(self, x: UInt8[Tensor, "B N N"], count: int, number: int) -> Float[Tensor, " B"]:
        """Propose children and ask, for those whose turn it is.

        Arguments:
            x: What was built from `starts` of this number.
            count: Children that are proposed, of all together.
            number: Of the advance.

        Returns:
            How much more the given molecules are worth than what they were built from.
        """
        assert self.surrogate is not None
        self.surrogate.learn(self.oracle.scores, number)
        pools = self._turns(number)
        gains = torch.zeros(len(x), dtype=torch.float64)
        for i, pool in enumerate(pools):
            built = x[i :: len(pools)].cpu()
            gains[i :: len(pools)] = self._turn(pool, built, count // len(pools), mix(number, i))
        return gains.to(x.device)

    def replay(self, noise: Noise) -> UInt8[Tensor, "B N N"]:
        """Draw the best of a given molecule for each row of the noise."""
        return self.improved()[noise.named("replay").integers(len(self.pools)).cpu()]

    def improved(self) -> UInt8[Tensor, "S N N"]:
        """Return the best of each; the given one where nothing better was found."""
        return (
            torch.stack([pool.x[0] for pool in self.pools]) if self.pools else self.start_molecules
        )

    def _open(self) -> list[Pool]:
        return [pool for pool in self.pools if pool.calls < self.each and pool.barren < PATIENCE]

    def _turns(self, number: int) -> list[Pool]:
        open_pools = self._open() or self.pools
        count = min(TURNS, len(open_pools))
        return [open_pools[(number * count + i) % len(open_pools)] for i in range(count)]

    def _turn(self, pool: Pool, built: Tensor, count: int, number: int) -> Tensor:
        """Give one of them its turn, and return what built molecules gain."""
        assert self.surrogate is not None
        proposed = children(
            pool.x,
            count,
            worth=pool.scores,
            valence=self.valence,
            most=self.most,
            seed=mix(self.seed, "children", number),
        )
        candidates = torch.cat([built, proposed])
        candidate_smiles = to_smiles(candidates, self.elements)
        fingerprint_bits = self.surrogate.fingerprints([pool.smiles, *candidate_smiles])
        is_similar = (
            tanimoto(fingerprint_bits[1:], fingerprint_bits[:1])[:, 0] >= self.least
        ).tolist()
        row_by_smiles: dict[str, int] = {}
        for i, smiles in enumerate(candidate_smiles):
            if smiles and is_similar[i] and smiles not in pool.evaluated:
                row_by_smiles.setdefault(smiles, i)
        names = list(row_by_smiles)
        calls = min(max(1, self.surrogate_queries // TURNS), self.each - pool.calls)
        chosen = [names[i] for i in self.surrogate.choose(names, calls, number)] if calls else []
        pool.barren = 0 if chosen else pool.barren + 1
        if chosen:
            rows = [row_by_smiles[smiles] for smiles in chosen]
            pool.add(candidates[rows], chosen, self._score(candidates[rows], chosen).tolist())
        values = self.surrogate.mean(candidate_smiles[: len(built)])
        for i, smiles in enumerate(candidate_smiles[: len(built)]):
            values[i] = self.oracle.scores.get(smiles, values[i].item())
            if not smiles or not is_similar[i]:
                values[i] = pool.before
        return (values - pool.before).clamp_min(0)

    def state_dict(self) -> dict[str, Any]:
        """Return all calls in order, and the pools."""
        pools = [
            {**vars(pool), "evaluated": sorted(pool.evaluated), "scores": list(pool.scores)}
            for pool in self.pools
        ]
        return {**super().state_dict(), "pools": pools}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what `state_dict` gave."""
        super().load_state_dict(state)
        self.pools = [
            Pool(**{**pool, "evaluated": set(pool["evaluated"])}) for pool in state["pools"]
        ]
