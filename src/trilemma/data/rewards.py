r"""What molecules are worth: properties, likenesses, targets, and sums and products of them.

A reward is written as an expression,

    qed                             a number of a molecule, of `REWARDS`
    logp[5, 5.5]                    1 within the band, falling to 0 one band's width (at least 1)
                                    beyond it
    similar(CCO)                    Tanimoto similarity of Morgan fingerprints, radius 2
    rediscover(CCO)                 the same of count fingerprints (ECFC4), as GuacaMol has it
    isomer(C7H8N2O2)                geometric mean of Gaussians in the atoms of each element and in
                                    all atoms, as GuacaMol has it
    scaffold(c1ccccc1)              1 where the substructure is there, else 0
    0.5 * qed + 0.5 * sa            weighted sums
    qed * scaffold(c1ccccc1)        products

and is a function of a batch of molecules. `sa` is 1 at the synthetic accessibility 1, easy, and 0
at 10. Besides there are GuacaMol's goals by their names (`data.guacamol`), the classifiers of
`data.oracles`, and what plug-ins enter: `REWARDS["mine"] = Reward(...)`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trilemma.core.errors import BadInput, nearest
from trilemma.data import guacamol, oracles
from trilemma.data.molecule_scores import (
    Mols,
    Score,
    each,
    isomer,
    log_p,
    passes,
    penalised_log_p,
    qed,
    rediscover,
    scaffold,
    similar,
    synthetic_accessibility,
    tpsa,
    weight,
)
from trilemma.data.reward_processes import asked_in_processes
from trilemma.registry import Registry

__all__ = ["FUNCTIONS", "REWARDS", "Expression", "Reward", "expression", "named_in"]


@dataclass(frozen=True)
class Reward:
    """A number of a molecule, that a search may raise."""

    name: str
    """As it stands in an expression: small letters, digits, '_' and '-', a letter first."""
    meaning: str
    """In a few words."""
    of: Score
    """Molecules of RDKit to as many numbers, higher is better; 0 for one it fails for alone."""
    unit: str = ""
    processes: int = 0
    """Processes that are asked at once, where one answer takes long; 0: the one that searches."""

    def __call__(self, mols: Mols) -> list[float]:
        """Return what each molecule is worth, in their order."""
        if self.processes:
            return asked_in_processes(self.name, REWARDS.module(self.name), mols, self.processes)
        return [float(value) for value in self.of(mols)]


def _fault(name: str, entry: object) -> str:
    """Say what is amiss with an entry, as the sentence goes on after its name."""
    if not isinstance(entry, Reward):
        return "is no Reward; write REWARDS['mine'] = Reward('mine', 'what it is', function)."
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
        return "has a name that no expression can hold; use small letters, digits, '_' and '-'."
    if not callable(entry.of):
        return "has no function; give `of`, from molecules of RDKit to as many numbers."
    return ""


def _ease(mol: Any) -> float:  # noqa: ANN401
    return (10 - synthetic_accessibility(mol)) / 9


OWN = (
    Reward("qed", "drug-likeness, 0 to 1", each(qed)),
    Reward("plogp", "penalised logP; cap --atoms, for long chains win", each(penalised_log_p)),
    Reward("logp", "octanol-water partition, Crippen's estimate", each(log_p)),
    Reward("weight", "molecular weight", each(weight), "g/mol"),
    Reward("tpsa", "topological polar surface", each(tpsa), "square angstrom"),
    Reward("sa", "ease of synthesis: 1 easy, 0 hard", each(_ease)),
    Reward("filters", "1 where ZINC's filters let it pass, else 0", each(passes)),
    *(
        Reward(name, f"{card.meaning} (trilemma data fetch oracles)", card.of)
        for name, card in oracles.ORACLES.items()
    ),
    *(
        Reward(name, f"GuacaMol's goal: {task.meaning}", task)
        for name, task in guacamol.TASKS.items()
    ),
)
REWARDS: Registry[Reward] = Registry("reward", [(one.name, one) for one in OWN], fault=_fault)
"""By name; one more is a line here, an oracle, or a plug-in."""


FUNCTIONS: Mapping[str, Callable[[str], Score]] = {
    "similar": similar,
    "rediscover": rediscover,
    "isomer": isomer,
    "scaffold": scaffold,
}


# Expressions


@dataclass(frozen=True)
class Expression:
    """A reward that is written down."""

    text: str
    of: Score

    def __call__(self, mols: Mols) -> list[float]:
        """Return what each molecule is worth."""
        return self.of(mols) if mols else []


def expression(text: str) -> Expression:
    """Read a reward.

    Raises:
        BadInput: It is none: what stands there and what may.
    """
    terms = [_product(term, text) for term in _split(text, "+")]

    def total(mols: Mols) -> list[float]:
        columns = [term(mols) for term in terms]
        return [sum(row) for row in zip(*columns, strict=True)]

    return Expression(text, total)


def named_in(text: str) -> set[str]:
    """Return the rewards that an expression asks, by name.

    >>> sorted(named_in("0.5 * qed + logp[5, 5.5] * similar(CCO)"))
    ['logp', 'qed']
    """
    factors = (factor for term in _split(text, "+") for factor in _split(term, "*"))
    return {factor.partition("[")[0].strip() for factor in factors} & set(REWARDS)


def _split(text: str, sign: str) -> list[str]:
    """Cut a text at a sign that stands in no brackets."""
    parts, depth, start = [], 0, 0
    for i, letter in enumerate(text):
        depth += (letter in "([") - (letter in ")]")
        if letter == sign and not depth:
            parts.append(text[start:i])
            start = i + 1
    return [part.strip() for part in (*parts, text[start:])]


def _product(text: str, full_text: str) -> Score:
    weight, factors = 1.0, []
    for part in _split(text, "*"):
        try:
            weight *= float(part)
        except ValueError:
            factors.append(_factor(part, full_text))
    if not factors:
        raise BadInput(f"--reward '{full_text}' has a part without a property: '{text}'.")

    def of(mols: Mols) -> list[float]:
        columns = [factor(mols) for factor in factors]
        return [weight * math.prod(row) for row in zip(*columns, strict=True)]

    return of


def _factor(text: str, full_text: str) -> Score:
    if band := re.fullmatch(r"([a-z0-9_-]+)\s*\[([^,\]]+),([^,\]]+)\]", text):
        try:
            low, high = float(band[2]), float(band[3])
        except ValueError:
            raise BadInput(
                f"--reward '{full_text}': '{text}' is no band such as logp[5, 5.5]."
            ) from None
        if not low < high:
            raise BadInput(
                f"--reward '{full_text}': the band {text} must rise, as in logp[5, 5.5]."
            )
        return _band_score(_reward(band[1]), low, high)
    if call := re.fullmatch(r"([a-z]+)\((.+)\)", text, re.DOTALL):
        if call[1] not in FUNCTIONS:
            raise nearest("function of a reward", call[1], FUNCTIONS)
        return FUNCTIONS[call[1]](call[2].strip())
    return _reward(text)


def _reward(name: str) -> Score:
    if name not in REWARDS:
        raise nearest("reward", name, (*REWARDS, *(f"{f}(…)" for f in FUNCTIONS)))
    return REWARDS[name]


def _band_score(of: Score, low: float, high: float) -> Score:
    reach = max(high - low, 1.0)
    return lambda mols: [
        max(0.0, 1 - max(low - value, value - high, 0.0) / reach) for value in of(mols)
    ]
