r"""A search for molecules: an oracle that counts its calls, and the best so far.

A call is a molecule whose worth is asked, counted once for each canonical form: what was asked is
known, and a molecule that RDKit refuses is worth 0 and not counted. An oracle that raises, or
gives a number that is none, gives 0 for this molecule; where that happens to more than `BEARABLE`
of the calls, the search ends with a sentence that names the molecule and what was said.

The best different molecules are kept, the best first. Experts learn from a pool of the best
(`replay`), and the genetic proposer takes its parents there: a pool in which no scaffold has more
than a few, so that one kind of molecule does not crowd out all others, and which grows where many
are worth the same. Where a surrogate stands
before the oracle (`data.surrogate`), it chooses which molecules are asked, among a policy's and
the proposer's, so that each has the calls that its molecules deserve; what a policy built and
nobody asked is worth what the surrogate expects.

Reference:
    Memory-assisted reinforcement learning for diverse molecular de novo design (Blaschke,
    Engkvist, Bajorath & Chen, 2020), for few of a scaffold
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.core.noise import Noise, mix
from trilemma.data.chemistry import chemistry, muted, parsed, scaffold, to_smiles
from trilemma.data.genetic import children, rank_weights
from trilemma.data.surrogate import Surrogate

__all__ = ["STARTED", "CountedOracle", "Search", "start_rows"]

BEARABLE, FEWEST = 0.1, 100
"""Share of calls that may fail, from so many calls on."""
STARTED = 128
"""Molecules of the data that are asked at first."""
AT_ONCE = 32
"""Molecules that are asked at most before the surrogate learns again."""
POOL = 300
"""Molecules that are kept, and those of the pool."""
MOST = 3000
"""Molecules of a pool whose last are all worth the same, as all are within a band."""
ALIKE = 10
"""Molecules of one scaffold in the pool at most; what has no ring is a kind of its own."""

Worth = Callable[[Sequence[Any]], Sequence[float]]
"""Molecules of RDKit to numbers."""


class CountedOracle:
    """Asks what molecules are worth, each once, up to a number of calls.

    Arguments:
        worth: What is asked.
        name: Of what is asked, for messages.
        calls: How many may be asked; 0 for any number.
    """

    def __init__(self, worth: Worth, name: str, calls: int = 0) -> None:
        self._worth, self.name, self.calls = worth, name, calls
        self.scores: dict[str, float] = {}
        """By canonical SMILES, in the order of the calls."""
        self.failed = 0

    @property
    def is_spent(self) -> bool:
        """Tell whether no call is left."""
        return self.spent >= 1

    @property
    def spent(self) -> float:
        """Return the share of the calls that is spent; 0 of any number."""
        return len(self.scores) / self.calls if self.calls else 0.0

    def __call__(self, smiles: Sequence[str]) -> list[float | None]:
        """Return what molecules are worth: 0 for '', None for what there was no call left for.

        Raises:
            BadInput: The oracle fails too often, or asks for what is not here.
        """
        new = list(dict.fromkeys(s for s in smiles if s and s not in self.scores))
        if self.calls:
            new = new[: self.calls - len(self.scores)]
        if new:
            self.scores |= dict(zip(new, self._evaluate(new), strict=True))
        return [self.scores.get(s) if s else 0.0 for s in smiles]

    def _evaluate(self, smiles: Sequence[str]) -> list[float]:
        mols = [_read(s) for s in smiles]
        try:
            answers = list(self._worth(mols))
        except BadInput:
            raise
        except Exception:
            answers = []
        if len(answers) == len(mols) and all(map(_is_number, answers)):
            return [float(value) for value in answers]
        # One of them is the trouble: each is asked alone.
        return [self._alone(mol, s) for mol, s in zip(mols, smiles, strict=True)]

    def _alone(self, mol: Any, smiles: str) -> float:  # noqa: ANN401
        try:
            answers = list(self._worth([mol]))
            problem = f"gave {answers}" if len(answers) != 1 or not _is_number(answers[0]) else ""
        except BadInput:
            raise
        except Exception as error:
            answers, problem = [], f"raised {type(error).__name__}: {error}"
        if not problem:
            return float(answers[0])
        self.failed += 1
        attempts = len(self.scores) + self.failed
        if attempts >= FEWEST and self.failed > BEARABLE * attempts:
            raise BadInput(
                f"the reward '{self.name}' failed for {self.failed} of {attempts} molecules, "
                f"lately for {smiles}: it {problem}."
            )
        return 0.0


def start_rows(rows: int, seed: int, count: int = STARTED) -> Int[Tensor, " R"]:
    """Return which molecules of a data set a search begins with.

    Arguments:
        rows: How many there are.
        seed: Of the search.
        count: How many it begins with.
    """
    generator = torch.Generator().manual_seed(mix(seed, "start set", rows))
    return torch.randperm(rows, generator=generator)[:count]


def _is_number(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, int | float) and math.isfinite(value)


def _read(smiles: str) -> Any:  # noqa: ANN401
    with muted():
        return chemistry().MolFromSmiles(smiles)


class Search:
    """What is known of a search: calls, and the best molecules.

    Arguments:
        oracle: Is asked.
        elements: The vocabulary of molecules.
        valence: Of each code.
        most: Atoms of a child at most.
        limit: N.
        seed: Seed of children and of replay.
        surrogate_queries: Oracle calls each time, on molecules that a surrogate chooses; 0: no
            surrogate.
        keep: SMILES of scaffolds of which one must stay; whatever has none is not asked.
    """

    def __init__(
        self,
        oracle: CountedOracle,
        *,
        elements: Sequence[str],
        valence: Sequence[int],
        most: int,
        limit: int,
        seed: int,
        surrogate_queries: int = 0,
        keep: Sequence[str] = (),
    ) -> None:
        self._patterns = [parsed(smiles) for smiles in keep]
        self.surrogate_queries, self.surrogate = (
            surrogate_queries,
            Surrogate(seed) if surrogate_queries else None,
        )
        self.oracle, self.elements = oracle, tuple(elements)
        self.valence, self.most, self.seed = tuple(valence), most, seed
        self.best = torch.zeros(0, limit, limit, dtype=torch.uint8)
        self.best_scores: list[float] = []
        self.pool, self.pool_names = self.best, list[str]()
        self._scored_smiles: set[str] = set()

    @property
    def is_spent(self) -> bool:
        """Tell whether no call is left."""
        return self.oracle.is_spent

    @property
    def spent(self) -> float:
        """Return the share of the calls that is spent."""
        return self.oracle.spent

    def open(self, x: UInt8[Tensor, "B N N"]) -> None:
        """Ask what the molecules of the data are worth with which a search begins."""
        self.score(self._fitting(x))

    def starts(self, count: int, number: int) -> UInt8[Tensor, "B N N"] | None:
        """Return molecules with which episodes begin, where this search says so."""
        return None

    def score(self, x: UInt8[Tensor, "B N N"]) -> Float[Tensor, " B"]:
        """Return what molecules are worth, and keep the best.

        What no call is left for is worth as little as the worst: nobody has asked.
        """
        return self._score(x, to_smiles(x, self.elements))

    def _score(self, x: Tensor, spelt: Sequence[str]) -> Tensor:
        answers = self.oracle(spelt)
        self._keep(x.cpu(), spelt, answers)
        lowest = min(self.oracle.scores.values(), default=0.0)
        values = [min(lowest, 0.0) if value is None else value for value in answers]
        return torch.tensor(values, dtype=torch.float64, device=x.device)

    def advance(self, x: UInt8[Tensor, "B N N"], count: int, number: int) -> Float[Tensor, " B"]:
        """Propose children, and ask what is to be asked of them and of a policy's.

        Arguments:
            x: Molecules, a policy's.
            count: Children of the best that are proposed.
            number: Of the proposal: another one has other children.

        Returns:
            What the given molecules are worth.
        """
        if self.surrogate is None or not self.oracle.scores:
            if count and len(self.best):
                self.score(self._fitting(self.propose(count, number)))
            return self.score(x)
        policy_smiles = to_smiles(x, self.elements)
        rounds = -(-self.surrogate_queries // AT_ONCE)
        for k in range(rounds):
            round_number = number * rounds + k
            self.surrogate.learn(self.oracle.scores, round_number)
            if self.oracle.is_spent:
                break
            candidates = x.cpu()
            if count and len(self.best):
                proposed = self.propose(max(1, count // rounds), round_number)
                candidates = torch.cat([candidates, self._fitting(proposed)])
            names = [*policy_smiles, *to_smiles(candidates[len(x) :], self.elements)]
            self._ask(candidates, names, -(-self.surrogate_queries // rounds), round_number)
        values = self.surrogate.mean(policy_smiles)
        for i, smiles in enumerate(policy_smiles):
            if not smiles or smiles in self.oracle.scores:
                values[i] = self.oracle.scores.get(smiles, 0.0)
        return values.to(x.device)

    def _fitting(self, x: Tensor) -> Tensor:
        """Return those that have a scaffold that must stay."""
        if not self._patterns:
            return x
        mols = [_read(smiles) for smiles in to_smiles(x, self.elements)]
        return x[
            [any(mol.HasSubstructMatch(pattern) for pattern in self._patterns) for mol in mols]
        ]

    def _ask(self, x: Tensor, spelt: Sequence[str], count: int, number: int) -> None:
        """Ask what the surrogate chooses among candidates."""
        assert self.surrogate is not None
        row_by_smiles: dict[str, int] = {}
        for i, smiles in enumerate(spelt):
            if smiles and smiles not in self.oracle.scores:
                row_by_smiles.setdefault(smiles, i)
        names = list(row_by_smiles)
        rows = [row_by_smiles[names[i]] for i in self.surrogate.choose(names, count, number)]
        self._score(x[rows], [spelt[i] for i in rows])

    def _keep(self, x: Tensor, spelt: Sequence[str], answers: Sequence[float | None]) -> None:
        row_by_smiles: dict[str, int] = {}
        for i, (smiles, value) in enumerate(zip(spelt, answers, strict=True)):
            if smiles and value is not None and smiles not in self._scored_smiles:
                row_by_smiles.setdefault(smiles, i)
        if not row_by_smiles:
            return
        self._scored_smiles |= row_by_smiles.keys()
        rows = list(row_by_smiles.values())
        scores = [*self.best_scores, *(float(answers[i] or 0.0) for i in rows)]
        candidates = torch.cat([self.best, x[rows]])
        order = sorted(range(len(scores)), key=lambda i: -scores[i])[:POOL]
        self.best, self.best_scores = candidates[order], [scores[i] for i in order]
        self._pool(torch.cat([self.pool, x[rows]]), [*self.pool_names, *row_by_smiles])

    def _pool(self, x: Tensor, names: Sequence[str]) -> None:
        """Put the best into the pool, few of each scaffold."""
        scores, scaffold_counts = self.oracle.scores, Counter[str]()
        pool_rows: list[int] = []
        for i in sorted(range(len(names)), key=lambda i: -scores[names[i]]):
            if len(pool_rows) >= POOL and scores[names[i]] < scores[names[pool_rows[-1]]]:
                break
            scaffold_key = scaffold(names[i]) or names[i]
            scaffold_counts[scaffold_key] += 1
            if scaffold_counts[scaffold_key] <= ALIKE:
                pool_rows.append(i)
            if len(pool_rows) == MOST:
                break
        self.pool, self.pool_names = x[pool_rows], [names[i] for i in pool_rows]

    def replay(self, noise: Noise) -> UInt8[Tensor, "B N N"]:
        """Draw one of the pool for each row of the noise, by the weights of their ranks."""
        weights = torch.tensor(rank_weights(self._worth()), dtype=torch.float64).cumsum(0)
        u = noise.named("replay").uniform().double().cpu() * weights[-1]
        return self.pool[torch.searchsorted(weights, u).clamp_max(len(self.pool) - 1)]

    def propose(self, count: int, number: int) -> UInt8[Tensor, "C N N"]:
        """Return children of the pool, the genetic proposer's.

        Arguments:
            count: C.
            number: Of the proposal: another one has other children.
        """
        return children(
            self.pool,
            count,
            worth=self._worth(),
            valence=self.valence,
            most=self.most,
            seed=mix(self.seed, "children", number),
        )

    def _worth(self) -> list[float]:
        """Return what the molecules of the pool are worth."""
        return [self.oracle.scores[name] for name in self.pool_names]

    def state_dict(self) -> dict[str, Any]:
        """Return all calls in order, and the best."""
        return {
            "smiles": list(self.oracle.scores),
            "scores": list(self.oracle.scores.values()),
            "failed": self.oracle.failed,
            "best": self.best,
            "best_scores": list(self.best_scores),
            "pool": self.pool,
            "pool_names": list(self.pool_names),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what `state_dict` gave."""
        self.oracle.scores = dict(zip(state["smiles"], state["scores"], strict=True))
        self.oracle.failed = state["failed"]
        self.best, self.best_scores = state["best"], list(state["best_scores"])
        self.pool, self.pool_names = state["pool"], list(state["pool_names"])
        self._scored_smiles = set(state["smiles"])
