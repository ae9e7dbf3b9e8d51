r"""Numbers of molecules, from RDKit: properties, and likenesses to one that is given.

Penalised logP is as GCPN and JT-VAE have it,

    plogp = (logP - 2.4570953) / 1.4343244 + (3.0525811 - SA) / 0.8335207
            + (0.0485697 - (largest ring - 6)+) / 0.2860212

with rings from RDKit's ring information, for a cycle basis is not unique.

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
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from trilemma.core.errors import BadInput
from trilemma.data.chemistry import NotUsable, chemistry, parsed

__all__ = [
    "Mols",
    "Score",
    "each",
    "isomer",
    "log_p",
    "passes",
    "penalised_log_p",
    "qed",
    "rediscover",
    "scaffold",
    "similar",
    "synthetic_accessibility",
    "target",
    "tpsa",
    "weight",
]

Mols = Sequence[Any]
Score = Callable[[Mols], list[float]]


def each(of: Callable[[Any], float]) -> Score:
    """Make a score of a function of one molecule."""
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


def log_p(mol: Any) -> float:  # noqa: ANN401
    """Return the octanol-water partition, Crippen's estimate."""
    from rdkit.Chem import rdMolDescriptors

    return rdMolDescriptors.CalcCrippenDescriptors(mol)[0]


def qed(mol: Any) -> float:  # noqa: ANN401
    """Return drug-likeness, 0 to 1."""
    from rdkit.Chem import QED

    return QED.qed(mol)


def weight(mol: Any) -> float:  # noqa: ANN401
    """Return the molecular weight, g/mol."""
    from rdkit.Chem import Descriptors

    return Descriptors.MolWt(mol)  # pyright: ignore[reportAttributeAccessIssue]


def tpsa(mol: Any) -> float:  # noqa: ANN401
    """Return the topological polar surface, square angstrom."""
    from rdkit.Chem import rdMolDescriptors

    return rdMolDescriptors.CalcTPSA(mol)


@cache
def _filters() -> Any:  # noqa: ANN401
    """Return the catalogue of ZINC's filters, built once."""
    from rdkit.Chem import FilterCatalog

    params = FilterCatalog.FilterCatalogParams()
    params.AddCatalog(FilterCatalog.FilterCatalogParams.FilterCatalogs.ZINC)
    return FilterCatalog.FilterCatalog(params)


def passes(mol: Any) -> float:  # noqa: ANN401
    """Return 1 where ZINC's filters let it pass, else 0."""
    return float(not _filters().HasMatch(mol))


def penalised_log_p(mol: Any) -> float:  # noqa: ANN401
    """Return penalised logP, each part standardised by ZINC's mean and deviation."""
    rings = mol.GetRingInfo().AtomRings()
    excess = max((len(ring) for ring in rings), default=6) - 6
    return (
        (log_p(mol) - 2.4570953396190123) / 1.434324401111988
        + (3.0525811293166134 - synthetic_accessibility(mol)) / 0.8335207024513095
        + (0.0485696876403053 - max(excess, 0)) / 0.2860212110245455
    )


# Likeness to a molecule that is given


def target(smiles: str) -> Any:  # noqa: ANN401
    """Read a molecule that a reward names.

    Raises:
        BadInput: It is no SMILES.
    """
    try:
        return parsed(smiles)
    except NotUsable:
        raise BadInput(f"'{smiles}' in a reward is no SMILES that RDKit reads.") from None


@cache
def _fingerprints(radius: int) -> Any:  # noqa: ANN401
    from rdkit.Chem import rdFingerprintGenerator

    return rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=2048)


def similar(smiles: str) -> Score:
    """Return Tanimoto similarity to a molecule, Morgan bits of radius 2."""
    from rdkit import DataStructs

    generator = _fingerprints(2)
    target_fingerprint = generator.GetFingerprint(target(smiles))
    return lambda mols: DataStructs.BulkTanimotoSimilarity(
        target_fingerprint, [generator.GetFingerprint(mol) for mol in mols]
    )


def rediscover(smiles: str) -> Score:
    """Return Tanimoto similarity of sparse counts of radius 2 (ECFC4)."""
    from rdkit import DataStructs

    generator = _fingerprints(2)
    target_fingerprint = generator.GetSparseCountFingerprint(target(smiles))
    return lambda mols: DataStructs.BulkTanimotoSimilarity(
        target_fingerprint, [generator.GetSparseCountFingerprint(mol) for mol in mols]
    )


def isomer(formula: str) -> Score:
    """Return how near the formula is: geometric mean over elements and the number of atoms."""
    parts = re.findall(r"([A-Z][a-z]?)(\d*)", formula)
    if not parts or "".join(a + b for a, b in parts) != formula:
        raise BadInput(f"isomer({formula}) has no formula such as C7H8N2O2.")
    target_counts: Counter[str] = Counter()
    for symbol, count in parts:
        target_counts[symbol] += int(count or 1)

    def of(mol: Any) -> float:  # noqa: ANN401
        with_hydrogens = chemistry().AddHs(mol)
        atom_counts = Counter(atom.GetSymbol() for atom in with_hydrogens.GetAtoms())
        gaps = [(atom_counts[symbol] - count, 1.0) for symbol, count in target_counts.items()]
        gaps.append((with_hydrogens.GetNumAtoms() - sum(target_counts.values()), 2.0))
        each = [math.exp(-0.5 * (gap / sigma) ** 2) for gap, sigma in gaps]
        return math.prod(each) ** (1 / len(each))

    return each(of)


def scaffold(smiles: str) -> Score:
    """Return 1 where a substructure is there, else 0."""
    substructure = target(smiles)
    return each(lambda mol: float(mol.HasSubstructMatch(substructure)))
