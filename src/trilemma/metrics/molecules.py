r"""What generated molecules are: valid, different, new, diverse, like the data.

    valid               share that RDKit accepts
    unique              share of valid ones that are different, by canonical SMILES
    novel               share of different valid ones that are no training molecule
    internal_diversity  1 - mean Tanimoto similarity of pairs of valid ones (Morgan, radius 2)
    scaffold_similarity cosine between counts of Bemis-Murcko scaffolds of samples and of test
                        molecules, as MOSES has it
    fcd                 Fréchet distance in ChemNet's 512 features (`metrics.chemnet`)
    logp_gap, …         distance of Wasserstein, order 1, between a property of samples and of test
                        molecules, over the standard deviation of the latter

Canonical SMILES are those of the installed version of RDKit, without stereochemistry.

References:
    | Molecular Sets (MOSES) (Polykovskiy et al., 2020)
    | Fréchet ChemNet Distance (Preuer et al., 2018)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.domain import Domain
from trilemma.core.noise import mix
from trilemma.data import bond_perception
from trilemma.data.chemistry import fingerprints, parsed, rdkit_version, scaffold, to_smiles
from trilemma.data.rewards import REWARDS
from trilemma.maths.gaussian_process import tanimoto
from trilemma.metrics import trivial_point_clouds
from trilemma.metrics.chemnet import FEATURES, chemnet
from trilemma.metrics.context import Context, Reference
from trilemma.metrics.frechet import Moments, frechet, moments
from trilemma.metrics.metric import NEAR_ONE, REPEATED, Memo, Metric, Unmeasured
from trilemma.metrics.score import Score, Trials
from trilemma.metrics.trivial_molecules import TRIVIAL

__all__ = [
    "METRICS",
    "MOST",
    "SCREENED",
    "cosine",
    "diversity_spread",
    "internal_diversity",
    "references_of",
    "spelt_of",
    "version",
    "wasserstein",
]

MOST = 2000
"""Molecules of which properties and similarities are taken at most."""
LISTED = 20_000
"""Training molecules in space that are spelt at most, where nobody has spelt them."""
SPELT = ("molecule", "conformer")
"""Kinds of data that have a SMILES."""
SCREENED = 1000
"""Training molecules whose worth is asked for a baseline at most."""
DESCRIBED = ("logp", "sa", "qed", "weight")
"""Properties whose distributions are compared."""


@dataclass(eq=False)
class Spelt(Memo):
    """Molecules by their SMILES."""

    smiles: Sequence[str]
    """'' for what RDKit refuses."""

    @property
    def valid(self) -> list[str]:
        """Return those that RDKit accepts."""
        return [s for s in self.smiles if s]

    @property
    def different(self) -> list[str]:
        """Return each valid one once."""
        return list(dict.fromkeys(self.valid))


@dataclass(eq=False)
class MoleculeReferences(Memo):
    """What does not depend on the model."""

    test: Spelt
    train: frozenset[str]
    stand_ins: dict[str, Spelt]
    real: Spelt
    """Training molecules in the place of samples."""


def references_of(context: Context) -> MoleculeReferences:
    """Return the reference's molecules, spelt once for all models."""
    return context.reference.once(_references_of)


def _references_of(reference: Reference) -> MoleculeReferences:
    data, n, seed = reference.data, reference.n, reference.seed
    in_space = data.domain.kind == "conformer"
    train: Sequence[str] = data.train.names or _spell(data.train.x[:LISTED], data.domain)
    # Of molecules in space the spelling depends on how bonds are told: as of samples.
    test_names = None if in_space else data.test.names
    test: Sequence[str] = test_names or _spell(data.test.x[:MOST], data.domain)
    generator = torch.Generator().manual_seed(mix(seed, "molecules"))
    order = torch.randperm(len(train), generator=generator)[: min(n, len(train))]
    trivial = trivial_point_clouds.TRIVIAL if in_space else TRIVIAL
    baselines = {
        name: Spelt(_spell(make(data, min(n, MOST), seed), data.domain))
        for name, make in trivial.items()
    }
    real = Spelt([str(train[i]) for i in order.tolist()])
    return MoleculeReferences(Spelt(tuple(test)), frozenset(train), baselines, real)


def spelt_of(context: Context) -> Spelt:
    """Return the samples by their SMILES."""
    return Spelt(_spell(context.samples, context.data.domain))


def _spell(x: Tensor, domain: Domain) -> list[str]:
    """Return SMILES of molecules, or of the largest fragments of molecules in space."""
    if domain.kind == "conformer":
        return [smiles for smiles, _ in bond_perception.spelt(x, domain.elements)]
    return to_smiles(x, domain.elements)


def version() -> str:
    """Say whose canonical forms these are."""
    return f"canonical forms by RDKit {rdkit_version()}, without stereochemistry"


# Shares


def _valid(it: Spelt, references: MoleculeReferences) -> tuple[float, int]:
    return len(it.valid) / max(len(it.smiles), 1), len(it.smiles)


def _unique(it: Spelt, references: MoleculeReferences) -> tuple[float, int]:
    return len(it.different) / max(len(it.valid), 1), len(it.valid)


def _novel(it: Spelt, references: MoleculeReferences) -> tuple[float, int]:
    new = [s for s in it.different if s not in references.train]
    return len(new) / max(len(it.different), 1), len(it.different)


def _share(
    of: Callable[[Spelt, MoleculeReferences], tuple[float, int]], what: str
) -> Callable[[Context], Score]:
    def measure(context: Context) -> Score:
        samples, references = context.once(spelt_of), references_of(context)
        value, n = of(samples, references)
        if not n:
            raise Unmeasured("there is no valid molecule among the samples")
        return Score(
            value,
            floor=of(references.test, references)[0],
            baselines={
                name: of(baseline, references)[0]
                for name, baseline in references.stand_ins.items()
            },
            n=n,
            protocol=f"{what}, of {n}; {version()}; floor: {len(references.test.smiles)} test "
            "molecules; interval: Wilson's",
        ).with_interval(Trials(n))

    return measure


# Diversity


def _bits(it: Spelt) -> Float[Tensor, "N F"]:
    return fingerprints(it.valid[:MOST])


def internal_diversity(bits: Float[Tensor, "N F"]) -> float:
    """Return 1 - the mean Tanimoto similarity of pairs of different rows.

    >>> internal_diversity(torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]))
    0.5
    """
    n, similarities = len(bits), tanimoto(bits, bits)
    return 1 - ((similarities.sum() - similarities.diagonal().sum()) / (n * (n - 1))).item()


def diversity_spread(bits: Tensor) -> float:
    """Return the standard deviation of a mean over pairs: twice that of a mean of row means."""
    n, similarities = len(bits), tanimoto(bits, bits)
    rows = (similarities.sum(1) - similarities.diagonal()) / (n - 1)
    return 2 * (rows.std() / math.sqrt(n)).item()


def _diversity(context: Context) -> Score:
    samples, references = context.once(spelt_of), references_of(context)
    if len(samples.valid) < 2:
        raise Unmeasured("fewer than two samples are valid")
    bits = samples.once(_bits)
    return Score(
        internal_diversity(bits),
        floor=internal_diversity(references.test.once(_bits))
        if len(references.test.valid) > 1
        else None,
        baselines={
            name: internal_diversity(baseline.once(_bits))
            for name, baseline in references.stand_ins.items()
        },
        n=len(bits),
        protocol=f"1 - mean Tanimoto similarity of all pairs of {len(bits)} valid samples, Morgan "
        "fingerprints of radius 2, 2,048 bits; floor: test molecules; interval: 1.96 standard "
        "deviations over fresh samples, of a mean over pairs",
    ).with_interval(diversity_spread(bits))


# Scaffolds


def _scaffolds(it: Spelt) -> Counter[str]:
    counts = Counter(scaffold(smiles) for smiles in it.valid[:MOST])
    counts.pop("", None)
    return counts


def cosine(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Return the cosine of two tables of counts; 0 where one is empty.

    >>> cosine({"a": 3, "b": 4}, {"b": 2})
    0.8
    """
    dot_product = sum(count * other.get(name, 0) for name, count in one.items())
    lengths = [math.sqrt(sum(count**2 for count in x.values())) for x in (one, other)]
    return dot_product / (lengths[0] * lengths[1]) if all(lengths) else 0.0


def _scaffold_similarity(context: Context) -> Score:
    samples, references = context.once(spelt_of), references_of(context)
    test = references.test.once(_scaffolds)
    if not test:
        raise Unmeasured("no test molecule has a ring, so there are no scaffolds")

    def value(molecules: Spelt) -> float:
        return cosine(molecules.once(_scaffolds), test)

    n, rings = min(len(samples.valid), MOST), sum(samples.once(_scaffolds).values())
    return Score(
        value(samples),
        floor=value(references.real),
        baselines={name: value(molecules) for name, molecules in references.stand_ins.items()},
        n=n,
        protocol=f"cosine between counts of Bemis-Murcko scaffolds of {n} samples, {rings} with "
        f"rings and {len(samples.once(_scaffolds))} scaffolds, and of "
        f"{min(len(references.test.valid), MOST)} test molecules, {len(test)} scaffolds; "
        f"molecules without rings have none; {version()}; floor: training molecules; no interval",
    )


# Distances


def _moments(it: Spelt) -> Moments:
    return moments(chemnet(it.valid))


def _fcd(context: Context) -> Score:
    samples, references = context.once(spelt_of), references_of(context)
    if len(samples.valid) < 2 or len(references.test.valid) < 2:
        raise Unmeasured("fewer than two molecules are valid")
    test = references.test.once(_moments)

    def value(molecules: Spelt) -> float:
        return frechet(molecules.once(_moments), test)

    note = ""
    if min(len(samples.valid), len(references.test.valid)) < 2 * FEATURES:
        note = (
            f"; so few molecules cannot fill the covariance of {FEATURES} features: read it "
            "against its floor alone"
        )
    return Score(
        value(samples),
        floor=value(references.real),
        baselines={name: value(molecules) for name, molecules in references.stand_ins.items()},
        n=len(samples.valid),
        protocol=f"Fréchet distance of {len(samples.valid)} valid samples to "
        f"{len(references.test.valid)} test molecules in ChemNet's {FEATURES} features; floor: "
        f"{len(references.real.smiles)} training molecules{note}; no interval",
    )


def wasserstein(x: Float[Tensor, " N"], y: Float[Tensor, " M"]) -> float:
    """Return the distance of order 1 of two samples of numbers: the area between their shares.

    >>> wasserstein(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 3.0]))
    1.0
    """
    pooled, order = torch.cat([x, y]).double().sort()
    cdf_steps = torch.where(order < len(x), 1 / len(x), -1 / len(y)).double()
    gaps = pooled.diff()
    return (cdf_steps.cumsum(0)[:-1].abs() * gaps).sum().item()


def _described(name: str) -> Callable[[Spelt], Tensor]:
    def of(it: Spelt) -> Tensor:
        mols = [parsed(smiles) for smiles in it.valid[:MOST]]
        return torch.tensor(REWARDS[name](mols), dtype=torch.float64)

    return of


def _gap(name: str) -> Callable[[Context], Score]:
    of = _described(name)

    def measure(context: Context) -> Score:
        samples, references = context.once(spelt_of), references_of(context)
        test = references.test.once(of)
        spread = float(test.std())
        if not samples.valid or not spread > 0:
            raise Unmeasured(f"{name} does not vary, or no sample is valid")

        def value(molecules: Spelt) -> float:
            return wasserstein(molecules.once(of), test) / spread

        return Score(
            value(samples),
            floor=value(references.real),
            baselines={key: value(molecules) for key, molecules in references.stand_ins.items()},
            n=min(len(samples.valid), MOST),
            protocol=f"Wasserstein distance of order 1 between {name} of "
            f"{min(len(samples.valid), MOST)} samples and of "
            f"{min(len(references.test.valid), MOST)} test molecules, over the latter's standard "
            f"deviation {spread:.3g}; floor: training molecules; no interval",
        )

    return measure


def _of_share(
    name: str, meaning: str, failure: str, measure: Callable[[Context], Score]
) -> Metric:
    return Metric(
        name=name,
        label=name.replace("_", " "),
        better="higher",
        unit="share of samples",
        meaning=meaning,
        failure=failure,
        kinds=SPELT,
        across_kinds=True,
        least=0.0,
        most=1.0,
        estimand="the expected share over fresh samples",
        too_wide=REPEATED if name == "unique" else NEAR_ONE,
        measure=measure,
    )


METRICS = (
    _of_share(
        "valid",
        "Share of the samples that RDKit accepts as molecules.",
        "By construction all of them, where valence is kept at every step.",
        _share(_valid, "share that RDKit accepts"),
    ),
    _of_share(
        "unique",
        "Share of the valid samples that are different molecules.",
        "It falls with n, and noise is unique.",
        _share(_unique, "share of different molecules among the valid"),
    ),
    _of_share(
        "novel",
        "Share of the different samples that are no training molecule.",
        "Noise is novel; of a set that lists nearly all molecules of its kind little can be.",
        _share(_novel, "share of the different valid ones that are no training molecule"),
    ),
    Metric(
        name="internal_diversity",
        label="diversity",
        better="higher",
        meaning="How little pairs of samples have in common: 1 less their mean similarity.",
        failure="Noise is diverse: compare with the floor.",
        kinds=SPELT,
        across_kinds=True,
        least=0.0,
        most=1.0,
        measure=_diversity,
    ),
    Metric(
        name="scaffold_similarity",
        label="scaffolds",
        better="higher",
        unit="cosine",
        meaning="How alike the scaffolds of samples and of test molecules are, as often as they "
        "come.",
        failure="It grows with n where scaffolds are many, and chance has the frequent ones of "
        "small molecules too: compare at one n, and with its floor.",
        kinds=SPELT,
        across_kinds=True,
        least=0.0,
        most=1.0,
        measure=_scaffold_similarity,
    ),
    Metric(
        name="fcd",
        label="fcd",
        better="lower",
        unit="squared distance",
        meaning="Fréchet ChemNet distance: how far samples lie from test molecules, in 512 "
        "features.",
        failure="It falls with n: compare at one n, and with its floor.",
        kinds=SPELT,
        across_kinds=True,
        variant_of="fd",
        least=0.0,
        measure=_fcd,
    ),
    *(
        Metric(
            name=f"{name}_gap",
            label=f"{name} gap",
            better="lower",
            unit="standard deviations",
            meaning=f"How far the distribution of {REWARDS[name].meaning} lies from that of "
            "test molecules.",
            failure="One property alone is compared.",
            kinds=SPELT,
            across_kinds=True,
            section="properties",
            least=0.0,
            measure=_gap(name),
        )
        for name in DESCRIBED
    ),
)
