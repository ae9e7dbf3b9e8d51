r"""Whether molecules in space lie as low as their kind does: the energy ratio of PoseBusters.

posebusters_energy   share of a few samples whose ratio is at most the limit of PoseBusters'
                     configuration 'mol',

    ratio = E(x) / mean of E(c_1) … E(c_K)

E the energy of the universal force field (UFF), x the sample, c_k conformations of the same
molecule that are embedded by distance geometry (ETKDGv3) and relaxed; limit and K are read from
the configuration (100 and 50 in release 0.6).

What RDKit does not accept, what is in several pieces, what lacks hydrogens (PoseBusters would add
them, and measure another molecule) and what has no ratio, because it cannot be embedded or has no
parameters, fails: nothing is gained by molecules that are left out. Strained rings of real
molecules cannot always be embedded either, so that the data's own share is well below 1.

A molecule takes a fifth of a second to some seconds, by its size, so that `MOST` are looked at,
drawn by the seed, and the data's own and trivial ones are as many. No molecule of a set is begun
after `SECONDS`; the protocol has the number that was reached.

Reference:
    PoseBusters: AI-based docking methods fail to generate physically valid poses or generalise to
    novel sequences (Buttenschoen, Morris & Deane, 2024), arXiv:2308.05777.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.noise import mix
from trilemma.data.bond_perception import largest_fragment, to_mol_in_space
from trilemma.data.chemistry import NotUsable, muted
from trilemma.metrics.context import Context, Reference
from trilemma.metrics.metric import NEAR_ONE, Metric
from trilemma.metrics.pose_checks import configuration
from trilemma.metrics.score import Score, Trials, wilson
from trilemma.metrics.trivial_point_clouds import TRIVIAL

__all__ = ["METRICS", "Checked", "energy_ratio", "energy_ratios"]

MOST = 32
"""Samples, molecules of the data, and trivial ones of each kind, that are checked at most."""
SECONDS = 120.0
"""After which no further molecule of a set is begun."""
PIECES, RADICAL, REFUSED, NO_RATIO = "in pieces", "lacks hydrogens", "refused", "no ratio"


@dataclass(frozen=True)
class Checked:
    """What the check says of molecules, in their order."""

    ratios: tuple[float, ...]
    """Energy over the mean energy of conformations; NaN of what has none."""
    limit: float
    """Up to which a ratio passes."""
    conformations: int
    """Number of conformations in the mean."""
    reasons: tuple[str, ...]
    """Why a molecule has no ratio, one for each that has none."""

    @property
    def passed(self) -> int:
        """Return how many pass."""
        return sum(ratio <= self.limit for ratio in self.ratios)

    @property
    def share(self) -> float:
        """Return the share that passes; 0 of none."""
        return self.passed / max(len(self.ratios), 1)


def _parameters() -> tuple[float, int]:
    """Return limit and number of conformations of PoseBusters' configuration."""
    module = next(m for m in configuration()["modules"] if m["function"] == "energy_ratio")
    values = module["parameters"]
    return float(values["threshold_energy_ratio"]), int(values["ensemble_number_conformations"])


def energy_ratio(mol: Any, limit: float, conformations: int) -> tuple[float, str]:  # noqa: ANN401
    """Return the energy ratio of one molecule, and why it has none (NaN).

    Arguments:
        mol: A sanitised rdkit.Chem.Mol with its positions and all its hydrogens.
        limit: Up to which a ratio passes.
        conformations: Number of conformations in the mean.
    """
    from posebusters.modules.energy_ratio import check_energy_ratio

    if largest_fragment(mol)[1] > 1:
        return math.nan, PIECES
    if any(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms()):
        return math.nan, RADICAL
    with muted():
        results = check_energy_ratio(
            mol, limit, conformations, num_threads=torch.get_num_threads()
        )["results"]
    if results["num_h_added"] > 0:
        return math.nan, RADICAL
    ratio = float(results["energy_ratio"])
    return (ratio, "") if math.isfinite(ratio) else (math.nan, NO_RATIO)


def energy_ratios(
    x: Float[Tensor, "B N 4"],
    elements: Sequence[str],
    each: Callable[[int], None] | None = None,
    seconds: float = math.inf,
) -> Checked:
    """Check the energies of molecules in space, one after another.

    Arguments:
        x: Molecules in space, ångström.
        elements: What the types are.
        each: Called before each with the number of those done; raises to stop.
        seconds: After which no further molecule is begun; the first always is.

    Raises:
        Unmeasured: PoseBusters is not installed.
    """
    limit, conformations = _parameters()
    logging.getLogger("posebusters").setLevel(logging.ERROR)
    ratios: list[float] = []
    reasons: list[str] = []
    start_time = time.monotonic()
    for index, molecule in enumerate(x):
        if each is not None:
            each(index)
        if index and time.monotonic() - start_time > seconds:
            break
        try:
            mol = to_mol_in_space(molecule, elements)
        except NotUsable:
            ratio, reason = math.nan, REFUSED
        else:
            ratio, reason = energy_ratio(mol, limit, conformations)
        ratios.append(ratio)
        reasons += [reason] if reason else []
    return Checked(tuple(ratios), limit, conformations, tuple(reasons))


def _chosen(x: Tensor, seed: int) -> Tensor:
    """Draw molecules by the seed."""
    generator = torch.Generator().manual_seed(mix(seed, "energy ratio"))
    return x[torch.randperm(len(x), generator=generator)[:MOST]]


@dataclass(frozen=True)
class _Marks:
    """What does not depend on the model."""

    real: Checked
    trivial: Mapping[str, Checked]


@dataclass(frozen=True)
class _Marking:
    """Makes the marks; it is equal whomever it tells, so that they are made once."""

    each: Callable[[int], None] = field(compare=False)

    def __call__(self, reference: Reference) -> _Marks:
        data, seed, count = reference.data, reference.seed, min(MOST, reference.n)

        def checked(x: Tensor) -> Checked:
            return energy_ratios(x[:count], data.domain.elements, self.each, SECONDS)

        trivial = {name: checked(make(data, count, seed)) for name, make in TRIVIAL.items()}
        return _Marks(checked(_chosen(data.test.x, seed)), trivial)


def _measure(context: Context) -> Score:
    x = _chosen(context.samples, context.seed)

    def each(finished: int) -> None:
        context.session.report("energy ratio", finished, len(x))

    checked = energy_ratios(x, context.data.domain.elements, each, SECONDS)
    baseline_checks = context.reference.once(_Marking(each))
    real, count = baseline_checks.real, len(checked.ratios)
    finite = sorted(ratio for ratio in checked.ratios if math.isfinite(ratio))
    failure_counts = Counter(checked.reasons)
    failure_counts["above the limit"] = len(finite) - checked.passed
    failures = ", ".join(f"{name} {n}" for name, n in failure_counts.most_common() if n) or "none"
    median = f"; median ratio {finite[len(finite) // 2]:.3g}" if finite else ""
    subset_note = f", of {len(x)}, in {SECONDS:.0f} s" if count < len(x) else ""
    low, high = wilson(real.share, len(real.ratios))
    return Score(
        checked.share,
        floor=real.share,
        baselines={name: baseline.share for name, baseline in baseline_checks.trivial.items()},
        n=count,
        protocol=f"share of {count} samples, drawn by the seed{subset_note}, that pass "
        f"PoseBusters' energy check: UFF energy at most {checked.limit:g} times the mean of "
        f"{checked.conformations} relaxed conformations{median}; fail: {failures}; floor: "
        f"{len(real.ratios)} test molecules, {low:.2f} to {high:.2f}; interval: Wilson's",
    ).with_interval(Trials(count))


METRICS = (
    Metric(
        name="posebusters_energy",
        label="posebusters energy",
        better="higher",
        unit="share of samples",
        meaning="Share of a few samples that pass PoseBusters' energy check: their energy is not "
        "far above that of relaxed conformations of the same molecule.",
        failure="The limit is wide, few are looked at, and strained rings that cannot be embedded "
        "fail, of real molecules too: read it against the data's own, and strain.",
        kinds=("conformer",),
        section="geometry",
        least=0.0,
        most=1.0,
        estimand="the expected share over fresh samples",
        too_wide=NEAR_ONE,
        measure=_measure,
    ),
)
