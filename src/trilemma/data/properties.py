r"""What molecules are worth: properties, likenesses, targets, and sums and products of them.

A reward is written as an expression,

    qed                             a property, of `PROPERTIES`
    logp[5, 5.5]                    1 within the band, falling to 0 one band's width (at least 1)
                                    beyond it
    similar(CCO)                    Tanimoto similarity of Morgan fingerprints, radius 2
    rediscover(CCO)                 the same of count fingerprints (ECFC4), as GuacaMol has it
    isomer(C7H8N2O2)                geometric mean of Gaussians in the atoms of each element and in
                                    all atoms, as GuacaMol has it
    scaffold(c1ccccc1)              1 where the substructure is there, else 0
    python(FILE.py:NAME)            a function of one's own (`data.own_reward`)
    0.5 * qed + 0.5 * sa            weighted sums
    qed * scaffold(c1ccccc1)        products

and is a function of a batch of molecules. `sa` is 1 at the synthetic accessibility 1, easy, and 0
at 10. Besides there are GuacaMol's goals by their names (`data.guacamol`), and the classifiers of
`data.oracles`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

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
from trilemma.data.own_reward import own

__all__ = ["FUNCTIONS", "PROPERTIES", "Expression", "Property", "expression"]


@dataclass(frozen=True)
class Property:
    """A number of a molecule."""

    name: str
    meaning: str
    of: Score
    unit: str = ""


PROPERTIES: Mapping[str, Property] = {
    one.name: one
    for one in (
        Property("qed", "drug-likeness, 0 to 1", each(qed)),
        Property("plogp", "penalised logP; cap the atoms, for long chains win it", each(
            penalised_log_p)),
        Property("logp", "octanol-water partition, Crippen's estimate", each(log_p)),
        Property("weight", "molecular weight", each(weight), "g/mol"),
        Property("tpsa", "topological polar surface", each(tpsa), "square angstrom"),
        Property("sa", "ease of synthesis: 1 easy, 0 hard", each(
            lambda mol: (10 - synthetic_accessibility(mol)) / 9)),
        Property("filters", "1 where ZINC's filters let it pass, else 0", each(passes)),
        *(
            Property(name, f"{card.meaning} (trilemma data fetch oracles)", card.of)
            for name, card in oracles.ORACLES.items()
        ),
        *(
            Property(name, f"GuacaMol's goal: {task.meaning}", task)
            for name, task in guacamol.TASKS.items()
        ),
    )
}  # fmt: skip
"""By name; one more is a line here, or an oracle."""


FUNCTIONS: Mapping[str, Callable[[str], Score]] = {
    "similar": similar,
    "rediscover": rediscover,
    "isomer": isomer,
    "scaffold": scaffold,
    "python": own,
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
    if band := re.fullmatch(r"([a-z0-9-]+)\s*\[([^,\]]+),([^,\]]+)\]", text):
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
        return _band_score(_property(band[1]), low, high)
    if call := re.fullmatch(r"([a-z]+)\((.+)\)", text, re.DOTALL):
        if call[1] not in FUNCTIONS:
            raise nearest("function of a reward", call[1], FUNCTIONS)
        return FUNCTIONS[call[1]](call[2].strip())
    return _property(text)


def _property(name: str) -> Score:
    if name not in PROPERTIES:
        raise nearest("reward", name, (*PROPERTIES, *(f"{f}(…)" for f in FUNCTIONS)))
    return PROPERTIES[name].of


def _band_score(of: Score, low: float, high: float) -> Score:
    reach = max(high - low, 1.0)
    return lambda mols: [
        max(0.0, 1 - max(low - value, value - high, 0.0) / reach) for value in of(mols)
    ]
