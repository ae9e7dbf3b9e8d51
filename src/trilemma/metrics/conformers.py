r"""What generated molecules in space are: stable, whole, and shaped like the data.

    atom_stability      share of atoms whose bonds sum up to their valence
    molecule_stability  share of molecules all of whose atoms are stable
    connected_valid     share that RDKit accepts and that are in one piece
    bond_gap, angle_gap, dihedral_gap
                        distance of Wasserstein, order 1, between bond lengths (Å), angles and
                        dihedral angles (degrees) of samples and of test molecules, of each kind
                        of bond, angle, dihedral that test molecules have often, weighed as they
                        have it

Bonds are perceived from distances (`data.bond_perception`); `valid`, `unique` and `novel` of
`metrics.molecules` are by the same, of the largest fragment, as the field counts: of connected
ones `connected_valid` says more. QM9 lists nearly all molecules of its kind, so that one that is
not in it is unlike the data: `novel` is high of bad models.

References:
    Equivariant Diffusion for Molecule Generation in 3D (Hoogeboom, Garcia Satorras, Vignac &
    Welling, 2022), arXiv:2203.17003: stability and validity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.point_cloud import positions, types
from trilemma.data.bond_perception import bond_orders, is_stable, spelt
from trilemma.data.chemistry import rdkit_version
from trilemma.metrics.context import Context, Reference
from trilemma.metrics.metric import NEAR_ONE, Memo, Metric, Unmeasured
from trilemma.metrics.molecules import wasserstein
from trilemma.metrics.score import Score, Trials
from trilemma.metrics.trivial_point_clouds import TRIVIAL

__all__ = ["METRICS", "Geometry", "angles_of", "bonds_of", "dihedrals_of", "wasserstein_by_kind"]

MOST = 2000
"""Molecules that are held against at most, where many are known."""
OFTEN = 0.01
"""Share of the test molecules' bonds, angles or dihedrals from which a kind is compared."""


@dataclass(eq=False)
class Conformers(Memo):
    """Molecules in space."""

    x: Tensor
    elements: tuple[str, ...]

    @property
    def stable(self) -> tuple[int, int, int]:
        """Return stable atoms, atoms, and stable molecules."""
        return self.once(_stable)


@dataclass(eq=False)
class ConformerReferences(Memo):
    """What does not depend on the model."""

    test: Conformers
    real: Conformers
    """Training molecules in the place of samples."""
    stand_ins: Mapping[str, Conformers]


def _references(reference: Reference) -> ConformerReferences:
    data, count = reference.data, min(reference.n, MOST)
    elements = data.domain.elements
    generator = torch.Generator().manual_seed(reference.seed)
    test_rows = torch.randperm(len(data.test), generator=generator)[:MOST]
    train_rows = torch.randperm(len(data.train), generator=generator)[:count]
    return ConformerReferences(
        Conformers(data.test.x[test_rows], elements),
        Conformers(data.train.x[train_rows], elements),
        {
            name: Conformers(make(data, count, reference.seed), elements)
            for name, make in TRIVIAL.items()
        },
    )


def _samples(context: Context) -> Conformers:
    return Conformers(context.samples, context.data.domain.elements)


def _stable(it: Conformers) -> tuple[int, int, int]:
    atoms = total = molecules = 0
    for chunk in it.x.split(1024):
        stable, mask = is_stable(chunk, it.elements)
        atoms += int(stable.sum())
        total += int(mask.sum())
        molecules += int(((stable | ~mask).all(1) & mask.any(1)).sum())
    return atoms, total, molecules


def _atom_share(it: Conformers) -> tuple[float, int]:
    atoms, total, _ = it.stable
    return atoms / max(total, 1), total


def _molecule_share(it: Conformers) -> tuple[float, int]:
    return it.stable[2] / max(len(it.x), 1), len(it.x)


def _connected(it: Conformers) -> tuple[float, int]:
    return it.once(_connected_count) / max(len(it.x), 1), len(it.x)


def _connected_count(it: Conformers) -> int:
    return sum(connected for smiles, connected in spelt(it.x, it.elements) if smiles)


def _share(
    of: Callable[[Conformers], tuple[float, int]], what: str, by: Callable[[], str]
) -> Callable[[Context], Score]:
    def measure(context: Context) -> Score:
        samples, references = context.once(_samples), context.reference.once(_references)
        value, n = of(samples)
        return Score(
            value,
            floor=of(references.test)[0],
            baselines={name: of(baseline)[0] for name, baseline in references.stand_ins.items()},
            n=len(samples.x),
            protocol=f"{what}, {n:,} of {len(samples.x):,} samples{by()}; bonds by the distances "
            f"and margins (10, 5, 3 pm) of EDM; floor: {len(references.test.x):,} test molecules; "
            "interval: Wilson's, of molecules",
        ).with_interval(Trials(len(samples.x)))

    return measure


# Geometry

Geometry = Mapping[tuple[int, ...], Float[Tensor, " K"]]
"""Values by the types of the atoms that take part, in the direction that comes first."""


def _by_kind(kinds: Tensor, values: Tensor) -> Geometry:
    """Sort values by the rows of types they belong to, and by their mirror images alike."""
    if not len(values):
        return {}
    base, exponents = 64, range(kinds.shape[1] - 1, -1, -1)
    weights = torch.tensor([base**k for k in exponents])
    codes = torch.minimum((kinds * weights).sum(1), (kinds.flip(1) * weights).sum(1))
    by_kind = {}
    for kind_code in codes.unique().tolist():
        key = tuple(kind_code // base**k % base for k in exponents)
        by_kind[key] = values[codes == kind_code]
    return by_kind


def bonds_of(x: Float[Tensor, "B N 4"], elements: tuple[str, ...]) -> Geometry:
    """Return the lengths of all bonds, by the types of their ends."""
    bonded = bond_orders(x, elements) > 0
    b, i, j = (bonded & torch.ones_like(bonded[0]).triu(1)).nonzero(as_tuple=True)
    coords, atom_types = positions(x), types(x)
    return _by_kind(
        torch.stack([atom_types[b, i], atom_types[b, j]], 1),
        (coords[b, i] - coords[b, j]).norm(dim=1),
    )


def angles_of(x: Float[Tensor, "B N 4"], elements: tuple[str, ...]) -> Geometry:
    """Return the angles between two bonds of an atom in degrees, by the types of the three."""
    bonded = bond_orders(x, elements) > 0
    coords, atom_types = positions(x), types(x)
    triples = bonded[:, :, :, None] & bonded[:, :, None, :]  # centre, one end, the other
    triples &= torch.ones_like(bonded[0]).triu(1)
    b, c, i, j = triples.nonzero(as_tuple=True)
    first_bond, second_bond = coords[b, i] - coords[b, c], coords[b, j] - coords[b, c]
    cosine = torch.nn.functional.cosine_similarity(first_bond, second_bond, dim=1).clamp(-1, 1)
    return _by_kind(
        torch.stack([atom_types[b, i], atom_types[b, c], atom_types[b, j]], 1),
        cosine.acos().rad2deg(),
    )


def dihedrals_of(x: Float[Tensor, "B N 4"], elements: tuple[str, ...]) -> Geometry:
    """Return the angles between the planes i-j-k and j-k-l of chains of bonds, 0 to 180 degrees.

    Their signs are left out, as networks that do not see reflections cannot tell them.
    """
    bonded = bond_orders(x, elements) > 0
    coords, atom_types = positions(x), types(x)
    b, j, k = (bonded & torch.ones_like(bonded[0]).triu(1)).nonzero(as_tuple=True)
    neighbours_j, neighbours_k = bonded[b, j].clone(), bonded[b, k].clone()
    rows = torch.arange(len(b))
    neighbours_j[rows, k], neighbours_k[rows, j] = False, False
    r, i, m = (neighbours_j[:, :, None] & neighbours_k[:, None, :]).nonzero(as_tuple=True)
    keep = i != m
    r, i, m = r[keep], i[keep], m[keep]
    b, j, k = b[r], j[r], k[r]
    axis = coords[b, k] - coords[b, j]
    first_normal = torch.linalg.cross(coords[b, i] - coords[b, j], axis)
    second_normal = torch.linalg.cross(coords[b, m] - coords[b, k], axis)
    cosine = torch.nn.functional.cosine_similarity(first_normal, second_normal, dim=1).clamp(-1, 1)
    kinds = torch.stack(
        [atom_types[b, i], atom_types[b, j], atom_types[b, k], atom_types[b, m]], 1
    )
    return _by_kind(kinds, cosine.acos().rad2deg())


def _values_by_kind(
    it: Conformers, of: Callable[[Tensor, tuple[str, ...]], Geometry]
) -> dict[tuple[int, ...], Tensor]:
    chunks_by_kind: dict[tuple[int, ...], list[Tensor]] = {}
    for chunk in it.x[:MOST].split(256):
        for kind, values in of(chunk, it.elements).items():
            chunks_by_kind.setdefault(kind, []).append(values)
    return {kind: torch.cat(values) for kind, values in chunks_by_kind.items()}


def wasserstein_by_kind(samples: Geometry, test: Geometry) -> tuple[float, int]:
    """Return the mean over kinds of the distances of order 1, and how many kinds there are.

    A kind counts by its share among the test molecules' values, from `OFTEN` on; one that no
    sample has counts as far off as the test values lie from their own median at most.
    """
    total = sum(len(values) for values in test.values())
    gap = weight = 0.0
    kinds = 0
    for kind, values in test.items():
        share = len(values) / max(total, 1)
        if share < OFTEN:
            continue
        kinds += 1
        weight += share
        sample_values = samples.get(kind)
        if sample_values is None or not len(sample_values):
            gap += share * float((values - values.median()).abs().max())
            continue
        gap += share * wasserstein(sample_values, values)
    return gap / max(weight, 1e-12), kinds


def _gap(of: Callable[[Tensor, tuple[str, ...]], Geometry], what: str) -> Callable:
    def geometry(it: Conformers) -> Geometry:
        return _values_by_kind(it, of)

    def measure(context: Context) -> Score:
        it, references = context.once(_samples), context.reference.once(_references)
        test = references.test.once(geometry)
        if not test:
            raise Unmeasured(f"test molecules have no {what}")
        value, kinds = wasserstein_by_kind(it.once(geometry), test)
        return Score(
            value,
            floor=wasserstein_by_kind(references.real.once(geometry), test)[0],
            baselines={
                name: wasserstein_by_kind(baseline.once(geometry), test)[0]
                for name, baseline in references.stand_ins.items()
            },
            n=min(len(it.x), MOST),
            protocol=f"Wasserstein distance of order 1 of {what}, in mean over {kinds} kinds "
            f"(types of the atoms) with {OFTEN:.0%} of the test molecules' at least, by their "
            f"shares; {min(len(it.x), MOST):,} samples against {len(references.test.x):,} test "
            "molecules; floor: training molecules; no interval",
        )

    return measure


def _share_metric(name: str, meaning: str, failure: str, measure: Callable) -> Metric:
    return Metric(
        name=name,
        label=name.replace("_", " "),
        better="higher",
        unit="share of samples",
        meaning=meaning,
        failure=failure,
        kinds=("conformer",),
        least=0.0,
        most=1.0,
        estimand="the expected share over fresh samples",
        too_wide=NEAR_ONE,
        measure=measure,
    )


def _nobody() -> str:
    return ""


METRICS = (
    _share_metric(
        "atom_stability",
        "Share of the atoms whose bonds, perceived from distances, sum up to their valence.",
        "Scattered hydrogens are stable by chance, and charged atoms of real molecules are not: "
        "read it against the data's own.",
        _share(_atom_share, "stable atoms", _nobody),
    ),
    _share_metric(
        "molecule_stability",
        "Share of the molecules all of whose atoms are stable.",
        "Pieces that are stable each count as one stable molecule; read connected_valid too.",
        _share(_molecule_share, "stable molecules", _nobody),
    ),
    _share_metric(
        "connected_valid",
        "Share of the samples that RDKit accepts and that are in one piece.",
        "RDKit accepts radicals, which stability does not.",
        _share(
            _connected,
            "accepted and in one piece",
            lambda: f"; RDKit {rdkit_version()}",
        ),
    ),
    *(
        Metric(
            name=f"{name}_gap",
            label=f"{name} gap",
            better="lower",
            unit=unit,
            meaning=f"How far the distribution of {what} lies from that of test molecules.",
            failure="Bonds are perceived from distances: far too long ones are not seen here.",
            kinds=("conformer",),
            section="geometry",
            least=0.0,
            most=math.inf,
            measure=_gap(of, what),
        )
        for name, unit, what, of in (
            ("bond", "ångström", "bond lengths", bonds_of),
            ("angle", "degrees", "bond angles", angles_of),
            ("dihedral", "degrees", "dihedral angles", dihedrals_of),
        )
    ),
)
