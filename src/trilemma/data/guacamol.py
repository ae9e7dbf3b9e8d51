r"""GuacaMol's goals of several parts, by their names: means of likenesses, properties, patterns.

Each part is brought to [0, 1], by

    gaussian        exp(-(x - mu)^2 / (2 sigma^2))
    below, above    the same, and 1 below or above mu
    up_to           x / top, at most 1

and the parts' mean is taken, geometric or arithmetic (the two hops). Likenesses are Tanimoto's of

    ECFC4, ECFC6    counts of Morgan's environments of radius 2 and 3
    FCFC4           the same of radius 2, of features of atoms
    AP              counts of pairs of atoms, ten bonds apart at most
    PHCO            pairs and triples of pharmacophores (Gobbi & Poppinger)

These are the goals as their paper and its code define them, which are 14 of PMO's 23 tasks. The
library from which PMO takes them has had versions that differ in `sitagliptin_mpo`.

References:
    | GuacaMol: Benchmarking Models for de Novo Molecular Design (Brown, Fiscato, Segler & Vaucher,
      2019), appendix
    | Sample Efficiency Matters (Gao, Fu, Sun & Coley, 2022), for the choice of tasks
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from trilemma.data.chemistry import chemistry
from trilemma.data.molecule_scores import Mols, Score, each, isomer, log_p, target, tpsa

__all__ = ["TASKS", "BenchmarkTask"]

Part = Callable[[], Score]
"""Makes a score in [0, 1]; nothing of RDKit is loaded before it is asked for."""

OSIMERTINIB = "COc1cc(N(C)CCN(C)C)c(NC(=O)C=C)cc1Nc2nccc(n2)c3cn(C)c4ccccc34"
FEXOFENADINE = "CC(C)(C(=O)O)c1ccc(cc1)C(O)CCCN2CCC(CC2)C(O)(c3ccccc3)c4ccccc4"
RANOLAZINE = "COc1ccccc1OCC(O)CN2CCN(CC(=O)Nc3c(C)cccc3C)CC2"
PERINDOPRIL = "O=C(OCC)C(NC(C(=O)N1C(C(=O)O)CC2CCCCC12)C)CCC"
AMLODIPINE = r"Clc1ccccc1C2C(=C(/N/C(=C2/C(=O)OCC)COCCN)C)\C(=O)OC"
SITAGLIPTIN = "Fc1cc(c(F)cc1F)CC(N)CC(=O)N3Cc2nnc(n2CC3)C(F)(F)F"
ZALEPLON = "O=C(C)N(CC)C1=CC=CC(C2=CC=NC3=C(C=NN23)C#N)=C1"
ALBUTEROL = "CC(C)(C)NCC(O)c1ccc(O)c(CO)c1"
MESTRANOL = "COc1ccc2[C@H]3CC[C@@]4(C)[C@@H](CC[C@@]4(O)C#C)[C@@H]3CCc2c1"
CAMPHOR, MENTHOL = "CC1(C)C2CCC1(C)C(=O)C2", "CC(C)C1CCC(C)CC1O"
TADALAFIL = "O=C1N(CC(N2C1CC3=C(C2C4=CC5=C(OCO5)C=C4)NC6=C3C=CC=C6)=O)C"
SILDENAFIL = "CCCC1=NN(C2=C1N=C(NC2=O)C3=C(C=CC(=C3)S(=O)(=O)N4CCN(CC4)C)OCC)C"
HOP = "CCCOc1cc2ncnc(Nc3ccc4ncsc4c3)c2cc1S(=O)(=O)C(C)(C)C"
KERNEL = "[#7]-c1n[c;h1]nc2[c;h1]c(-[#8])[c;h0][c;h1]c12"
CHAIN = "[#6]-[#6]-[#6]-[#8]-[#6]~[#6]~[#6]~[#6]~[#6]-[#7]-c1ccc2ncsc2c1"


# What brings a number to [0, 1]

Bring = Callable[[float], float]


def gaussian(mu: float, sigma: float) -> Bring:
    """Return 1 at mu, falling to both sides."""
    return lambda x: math.exp(-0.5 * ((x - mu) / sigma) ** 2)


def below(mu: float, sigma: float) -> Bring:
    """Return 1 up to mu, falling beyond."""
    return lambda x: 1.0 if x <= mu else gaussian(mu, sigma)(x)


def above(mu: float, sigma: float) -> Bring:
    """Return 1 from mu on, falling below."""
    return lambda x: 1.0 if x >= mu else gaussian(mu, sigma)(x)


def up_to(top: float) -> Bring:
    """Return the share of a top that is reached."""
    return lambda x: min(max(x / top, 0.0), 1.0)


# Parts


def _brought(score: Score, bring: Bring) -> Score:
    return lambda mols: [bring(value) for value in score(mols)]


@cache
def _kinds() -> Mapping[str, Callable[[Any], Any]]:
    """Return what makes the fingerprint of each kind."""
    from rdkit.Chem import rdFingerprintGenerator as make
    from rdkit.Chem.Pharm2D import Generate, Gobbi_Pharm2D

    features = make.GetMorganFeatureAtomInvGen()
    generators = {
        "ECFC4": make.GetMorganGenerator(radius=2),
        "ECFC6": make.GetMorganGenerator(radius=3),
        "FCFC4": make.GetMorganGenerator(radius=2, atomInvariantsGenerator=features),
        "AP": make.GetAtomPairGenerator(maxDistance=10),
    }
    kinds = {name: one.GetSparseCountFingerprint for name, one in generators.items()}
    return {**kinds, "PHCO": lambda mol: Generate.Gen2DFingerprint(mol, Gobbi_Pharm2D.factory)}


def like(smiles: str, kind: str, bring: Bring = up_to(1.0)) -> Part:  # noqa: B008
    """Return likeness to a molecule."""

    def part() -> Score:
        from rdkit import DataStructs

        make_fingerprint = _kinds()[kind]
        target_fingerprint = make_fingerprint(target(smiles))
        return lambda mols: [
            bring(DataStructs.TanimotoSimilarity(target_fingerprint, make_fingerprint(mol)))
            for mol in mols
        ]

    return part


def of(score: Callable[[Any], float], bring: Bring) -> Part:
    """Return a property, brought to [0, 1]."""
    return lambda: _brought(each(score), bring)


def same(score: Callable[[Any], float], smiles: str, sigma: float) -> Part:
    """Return a property, 1 where it is that of a molecule."""
    return lambda: _brought(each(score), gaussian(score(target(smiles)), sigma))


def pattern(smarts: str, present: bool = True) -> Part:
    """Return 1 where a pattern is present, or, with `present=False`, where it is absent."""

    def part() -> Score:
        query = chemistry().MolFromSmarts(smarts)
        return each(lambda mol: float(mol.HasSubstructMatch(query) == present))

    return part


def formula(text: str) -> Part:
    """Return how near a formula is."""
    return lambda: isomer(text)


def _fluorines(mol: Any) -> float:  # noqa: ANN401
    return sum(atom.GetSymbol() == "F" for atom in mol.GetAtoms())


def _rings(mol: Any) -> float:  # noqa: ANN401
    return mol.GetRingInfo().NumRings()


def _aromatic_rings(mol: Any) -> float:  # noqa: ANN401
    from rdkit.Chem import rdMolDescriptors

    return rdMolDescriptors.CalcNumAromaticRings(mol)


def _complexity(mol: Any) -> float:  # noqa: ANN401
    from rdkit.Chem import GraphDescriptors

    return GraphDescriptors.BertzCT(mol)


def _geometric(values: Sequence[float]) -> float:
    return math.prod(values) ** (1 / len(values))


def _arithmetic(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@dataclass(frozen=True)
class BenchmarkTask:
    """A goal of several parts."""

    meaning: str
    parts: tuple[Part, ...]
    mean: Callable[[Sequence[float]], float] = _geometric

    def __call__(self, mols: Mols) -> list[float]:
        """Return how well each molecule does, 0 to 1."""
        columns = [score(mols) for score in _scores(self)]
        return [self.mean(row) for row in zip(*columns, strict=True)]


@cache
def _scores(task: BenchmarkTask) -> tuple[Score, ...]:
    return tuple(part() for part in task.parts)


TASKS: Mapping[str, BenchmarkTask] = {
    "albuterol_similarity": BenchmarkTask(
        "like albuterol in features", (like(ALBUTEROL, "FCFC4", up_to(0.75)),)
    ),
    "mestranol_similarity": BenchmarkTask(
        "like mestranol in pairs of atoms", (like(MESTRANOL, "AP", up_to(0.75)),)
    ),
    "median1": BenchmarkTask(
        "between camphor and menthol", (like(CAMPHOR, "ECFC4"), like(MENTHOL, "ECFC4"))
    ),
    "median2": BenchmarkTask(
        "between tadalafil and sildenafil", (like(TADALAFIL, "ECFC6"), like(SILDENAFIL, "ECFC6"))
    ),
    "osimertinib_mpo": BenchmarkTask(
        "osimertinib, more polar and less greasy",
        (
            like(OSIMERTINIB, "FCFC4", up_to(0.8)),
            like(OSIMERTINIB, "ECFC6", below(0.85, 0.1)),
            of(tpsa, above(100, 10)),
            of(log_p, below(1, 1)),
        ),
    ),
    "fexofenadine_mpo": BenchmarkTask(
        "fexofenadine, less greasy",
        (
            like(FEXOFENADINE, "AP", up_to(0.8)),
            of(tpsa, above(90, 10)),
            of(log_p, below(4, 1)),
        ),
    ),
    "ranolazine_mpo": BenchmarkTask(
        "ranolazine, more polar, with a fluorine",
        (
            like(RANOLAZINE, "AP", up_to(0.7)),
            of(log_p, above(7, 1)),
            of(tpsa, above(95, 20)),
            of(_fluorines, gaussian(1, 1)),
        ),
    ),
    "perindopril_mpo": BenchmarkTask(
        "perindopril with two aromatic rings",
        (like(PERINDOPRIL, "ECFC4"), of(_aromatic_rings, gaussian(2, 0.5))),
    ),
    "amlodipine_mpo": BenchmarkTask(
        "amlodipine with three rings", (like(AMLODIPINE, "ECFC4"), of(_rings, gaussian(3, 0.5)))
    ),
    "sitagliptin_mpo": BenchmarkTask(
        "sitagliptin's formula and properties in another molecule",
        (
            like(SITAGLIPTIN, "ECFC4", gaussian(0, 0.1)),
            same(log_p, SITAGLIPTIN, 0.2),
            same(tpsa, SITAGLIPTIN, 5),
            formula("C16H15F6N5O"),
        ),
    ),
    "zaleplon_mpo": BenchmarkTask(
        "like zaleplon, with another formula", (like(ZALEPLON, "ECFC4"), formula("C19H17N3O2"))
    ),
    "valsartan_smarts": BenchmarkTask(
        "valsartan's pattern with sitagliptin's properties",
        (
            pattern("CN(C=O)Cc1ccc(c2ccccc2)cc1"),
            same(log_p, SITAGLIPTIN, 0.2),
            same(tpsa, SITAGLIPTIN, 5),
            same(_complexity, SITAGLIPTIN, 30),
        ),
    ),
    "deco_hop": BenchmarkTask(
        "the same kernel with other decorations",
        (
            like(HOP, "PHCO", up_to(0.85)),
            pattern("CS([#6])(=O)=O", present=False),
            pattern("[#7]-c1ccc2ncsc2c1", present=False),
            pattern(KERNEL),
        ),
        _arithmetic,
    ),
    "scaffold_hop": BenchmarkTask(
        "the same decorations on another kernel",
        (like(HOP, "PHCO", up_to(0.75)), pattern(CHAIN), pattern(KERNEL, present=False)),
        _arithmetic,
    ),
}
"""By name; one more is a line here."""
