"""Whether molecules in space are physically plausible, by the checks of PoseBusters.

posebusters   share of the samples that pass the checks of its configuration 'mol' but for the
              energy's: sanitisation, one piece, no radicals, lengths and angles within bounds of
              distance geometry, no clash, flat rings and double bonds

What has no bonds that RDKit accepts fails.

Reference:
    PoseBusters: AI-based docking methods fail to generate physically valid poses or generalise to
    novel sequences (Buttenschoen, Morris & Deane, 2024), arXiv:2308.05777.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.noise import mix
from trilemma.data.bond_perception import to_mol_in_space
from trilemma.data.chemistry import NotUsable, muted
from trilemma.metrics.context import Context, Reference
from trilemma.metrics.metric import NEAR_ONE, Metric, Unmeasured
from trilemma.metrics.score import Score, Trials
from trilemma.metrics.trivial_point_clouds import TRIVIAL

__all__ = ["METRICS", "configuration", "passed"]

MOST, REAL = 500, 100
"""Samples, and molecules of the data and trivial ones, that are checked at most."""
MISSING = (
    "the checks need the package posebusters, which is not installed; pip install "
    "'trilemma[molecules]'"
)


def configuration() -> dict[str, Any]:
    """Return PoseBusters' configuration 'mol', of checks of a molecule alone.

    Raises:
        Unmeasured: PoseBusters is not installed.
    """
    try:
        import posebusters
        import yaml
    except ImportError:
        raise Unmeasured(MISSING) from None
    config_path = Path(posebusters.__file__).parent / "config" / "mol.yml"
    return yaml.safe_load(config_path.read_text(encoding="utf-8"))


def _checks() -> Any:  # noqa: ANN401
    """Return the checker without the energy's check, which `energy_ratio` makes of a few."""
    config = configuration()
    import posebusters

    config["modules"] = [m for m in config["modules"] if m["function"] != "energy_ratio"]
    return posebusters.PoseBusters(config=config)


def passed(x: Float[Tensor, "B N 4"], elements: Sequence[str]) -> tuple[int, dict[str, int]]:
    """Return how many molecules pass all checks, and how many fail each.

    Arguments:
        x: Molecules in space, ångström.
        elements: What the types are.
    """
    checks, mols, refused_count = _checks(), [], 0
    for molecule in x:
        try:
            mols.append(to_mol_in_space(molecule, elements))
        except NotUsable:
            refused_count += 1
    failure_counts = {"RDKit": refused_count} if refused_count else {}
    if not mols:
        return 0, failure_counts
    logging.getLogger("posebusters").setLevel(logging.ERROR)
    with muted():
        report = checks.bust(mols, None, None, full_report=False)
    for name in report.columns:
        failed_count = int((~report[name].astype(bool)).sum())
        if failed_count:
            failure_counts[str(name)] = failed_count
    return int(report.astype(bool).all(axis=1).sum()), failure_counts


def _marks(reference: Reference) -> tuple[float, dict[str, float]]:
    data = reference.data
    generator = torch.Generator().manual_seed(mix(reference.seed, "pose checks"))
    rows = torch.randperm(len(data.test), generator=generator)[:REAL]

    def share(x: Tensor) -> float:
        return passed(x, data.domain.elements)[0] / max(len(x), 1)

    trivial = {name: share(make(data, REAL, reference.seed)) for name, make in TRIVIAL.items()}
    return share(data.test.x[rows]), trivial


def _measure(context: Context) -> Score:
    floor, trivial = context.reference.once(_marks)
    x = context.samples[:MOST]
    pass_count, failure_counts = passed(x, context.data.domain.elements)
    most_frequent = sorted(failure_counts.items(), key=lambda item: -item[1])[:4]
    failures = ", ".join(f"{name} {count}" for name, count in most_frequent) or "none"
    return Score(
        pass_count / len(x),
        floor=floor,
        baselines=trivial,
        n=len(x),
        protocol=f"share of {len(x)} samples that pass the checks of PoseBusters' configuration "
        f"'mol' but the energy's; fail most often: {failures}; floor: {REAL} test molecules; "
        "interval: Wilson's",
    ).with_interval(Trials(len(x)))


METRICS = (
    Metric(
        name="posebusters",
        label="posebusters",
        better="higher",
        unit="share of samples",
        meaning="Share of the samples that pass PoseBusters' checks of lengths, angles, clashes, "
        "flatness and connectedness.",
        failure="Bounds are wide, so that slightly strained molecules pass; read strain too.",
        kinds=("conformer",),
        section="geometry",
        least=0.0,
        most=1.0,
        estimand="the expected share over fresh samples",
        too_wide=NEAR_ONE,
        measure=_measure,
    ),
)
