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

and is a function of a batch of molecules. Penalised logP is as GCPN and JT-VAE have it,

    plogp = (logP - 2.4570953) / 1.4343244 + (3.0525811 - SA) / 0.8335207
            + (0.0485697 - (largest ring - 6)+) / 0.2860212

with rings from RDKit's ring information, for a cycle basis is not unique. `sa` is 1 at the
synthetic accessibility 1, easy, and 0 at 10.

References:
    | Quantifying the chemical beauty of drugs (Bickerton et al., 2012), for QED
    | Estimation of synthetic accessibility score of drug-like molecules (Ertl & Schuffenhauer,
      2009)
    | GuacaMol: Benchmarking Models for de Novo Molecular Design (Brown et al., 2019)
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from trilemma.core.errors import BadInput, nearest
from trilemma.data import oracles
from trilemma.data.chemistry import NotUsable, chemistry, parsed
from trilemma.data.own_reward import own

__all__ = ["FUNCTIONS", "PROPERTIES", "Expression", "Property", "expression"]

Mols = Sequence[Any]
Score = Callable[[Mols], list[float]]


@dataclass(frozen=True)
class Property:
    """A number of a molecule."""

    name: str
    meaning: str
    of: Score
    unit: str = ""


def _each(of: Callable[[Any], float]) -> Score:
    return lambda mols: [float(of(mol)) for mol in mols]


@cache
def _sascorer() -> Any:  # noqa: ANN401
    """Return the module of the synthetic accessibility score, which RDKit's wheel brings."""
    import importlib.util
    from pathlib import Path

    from rdkit import RDConfig

    path = Path(RDConfig.RDContribDir) / "SA_Score" / "sascorer.py"
    spec = importlib.util.spec_from_file_location("trilemma_sascorer", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise BadInput(f"RDKit's SA_Score is not where it should be ({path}); reinstall rdkit.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def synthetic_accessibility(mol: Any) -> float:  # noqa: ANN401
    """Return the score of Ertl and Schuffenhauer: 1 easy … 10 hard."""
    return _sascorer().calculateScore(mol)


def _log_p(mol: Any) -> float:  # noqa: ANN401
    from rdkit.Chem import rdMolDescriptors

    return rdMolDescriptors.CalcCrippenDescriptors(mol)[0]


def _qed(mol: Any) -> float:  # noqa: ANN401
    from rdkit.Chem import QED

    return QED.qed(mol)


def _weight(mol: Any) -> float:  # noqa: ANN401
    from rdkit.Chem import Descriptors

    return Descriptors.MolWt(mol)  # pyright: ignore[reportAttributeAccessIssue]


def _tpsa(mol: Any) -> float:  # noqa: ANN401
    from rdkit.Chem import rdMolDescriptors

    return rdMolDescriptors.CalcTPSA(mol)


@cache
def _filters() -> Any:  # noqa: ANN401
    """Return the catalogue of ZINC's filters, built once."""
    from rdkit.Chem import FilterCatalog

    params = FilterCatalog.FilterCatalogParams()
    params.AddCatalog(FilterCatalog.FilterCatalogParams.FilterCatalogs.ZINC)
    return FilterCatalog.FilterCatalog(params)


def _passes(mol: Any) -> float:  # noqa: ANN401
    return float(not _filters().HasMatch(mol))


def penalised_log_p(mol: Any) -> float:  # noqa: ANN401
    """Return penalised logP, each part standardised by ZINC's mean and deviation."""
    rings = mol.GetRingInfo().AtomRings()
    beyond = max((len(ring) for ring in rings), default=6) - 6
    return (
        (_log_p(mol) - 2.4570953396190123) / 1.434324401111988
        + (3.0525811293166134 - synthetic_accessibility(mol)) / 0.8335207024513095
        + (0.0485696876403053 - max(beyond, 0)) / 0.2860212110245455
    )


PROPERTIES: Mapping[str, Property] = {
    one.name: one
    for one in (
        Property("qed", "drug-likeness, 0 to 1", _each(_qed)),
        Property("plogp", "penalised logP; cap the atoms, for long chains win it", _each(
            penalised_log_p)),
        Property("logp", "octanol-water partition, Crippen's estimate", _each(_log_p)),
        Property("weight", "molecular weight", _each(_weight), "g/mol"),
        Property("tpsa", "topological polar surface", _each(_tpsa), "square angstrom"),
        Property("sa", "ease of synthesis: 1 easy, 0 hard", _each(
            lambda mol: (10 - synthetic_accessibility(mol)) / 9)),
        Property("filters", "1 where ZINC's filters let it pass, else 0", _each(_passes)),
        *(
            Property(name, f"{card.meaning} (trilemma data fetch oracles)", card.of)
            for name, card in oracles.ORACLES.items()
        ),
    )
}  # fmt: skip
"""By name; one more is a line here, or an oracle."""


# Functions of a molecule that is given


@cache
def _fingerprints(radius: int) -> Any:  # noqa: ANN401
    from rdkit.Chem import rdFingerprintGenerator

    return rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=2048)


def similar(smiles: str) -> Score:
    """Return Tanimoto similarity to a molecule, Morgan bits of radius 2."""
    from rdkit import DataStructs

    make = _fingerprints(2)
    target = make.GetFingerprint(_target(smiles))
    return lambda mols: DataStructs.BulkTanimotoSimilarity(
        target, [make.GetFingerprint(mol) for mol in mols]
    )


def rediscover(smiles: str) -> Score:
    """Return Tanimoto similarity of sparse counts of radius 2 (ECFC4)."""
    from rdkit import DataStructs

    make = _fingerprints(2)
    target = make.GetSparseCountFingerprint(_target(smiles))
    return lambda mols: DataStructs.BulkTanimotoSimilarity(
        target, [make.GetSparseCountFingerprint(mol) for mol in mols]
    )


def isomer(formula: str) -> Score:
    """Return how near the formula is: geometric mean over elements and the number of atoms."""
    parts = re.findall(r"([A-Z][a-z]?)(\d*)", formula)
    if not parts or "".join(a + b for a, b in parts) != formula:
        raise BadInput(f"isomer({formula}) has no formula such as C7H8N2O2.")
    wanted: Counter[str] = Counter()
    for symbol, count in parts:
        wanted[symbol] += int(count or 1)

    def of(mol: Any) -> float:  # noqa: ANN401
        whole = chemistry().AddHs(mol)
        have = Counter(atom.GetSymbol() for atom in whole.GetAtoms())
        gaps = [(have[symbol] - count, 1.0) for symbol, count in wanted.items()]
        gaps.append((whole.GetNumAtoms() - sum(wanted.values()), 2.0))
        each = [math.exp(-0.5 * (gap / sigma) ** 2) for gap, sigma in gaps]
        return math.prod(each) ** (1 / len(each))

    return _each(of)


def scaffold(smiles: str) -> Score:
    """Return 1 where a substructure is there, else 0."""
    wanted = _target(smiles)
    return _each(lambda mol: float(mol.HasSubstructMatch(wanted)))


FUNCTIONS: Mapping[str, Callable[[str], Score]] = {
    "similar": similar,
    "rediscover": rediscover,
    "isomer": isomer,
    "scaffold": scaffold,
    "python": own,
}


def _target(smiles: str) -> Any:  # noqa: ANN401
    try:
        return parsed(smiles)
    except NotUsable:
        raise BadInput(f"'{smiles}' in a reward is no SMILES that RDKit reads.") from None


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


def _product(text: str, whole: str) -> Score:
    weight, factors = 1.0, []
    for part in _split(text, "*"):
        try:
            weight *= float(part)
        except ValueError:
            factors.append(_factor(part, whole))
    if not factors:
        raise BadInput(f"--reward '{whole}' has a part without a property: '{text}'.")

    def of(mols: Mols) -> list[float]:
        columns = [factor(mols) for factor in factors]
        return [weight * math.prod(row) for row in zip(*columns, strict=True)]

    return of


def _factor(text: str, whole: str) -> Score:
    if band := re.fullmatch(r"([a-z0-9-]+)\s*\[([^,\]]+),([^,\]]+)\]", text):
        try:
            low, high = float(band[2]), float(band[3])
        except ValueError:
            raise BadInput(
                f"--reward '{whole}': '{text}' is no band such as logp[5, 5.5]."
            ) from None
        if not low < high:
            raise BadInput(f"--reward '{whole}': the band {text} must rise, as in logp[5, 5.5].")
        return _within(_property(band[1]), low, high)
    if call := re.fullmatch(r"([a-z]+)\((.+)\)", text, re.DOTALL):
        if call[1] not in FUNCTIONS:
            raise nearest("function of a reward", call[1], FUNCTIONS)
        return FUNCTIONS[call[1]](call[2].strip())
    return _property(text)


def _property(name: str) -> Score:
    if name not in PROPERTIES:
        raise nearest("reward", name, (*PROPERTIES, *(f"{f}(…)" for f in FUNCTIONS)))
    return PROPERTIES[name].of


def _within(of: Score, low: float, high: float) -> Score:
    reach = max(high - low, 1.0)
    return lambda mols: [
        max(0.0, 1 - max(low - value, value - high, 0.0) / reach) for value in of(mols)
    ]
