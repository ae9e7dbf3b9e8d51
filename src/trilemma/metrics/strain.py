r"""How far molecules in space lie from where they would relax to: strain energy by GFN2-xTB.

    strain = E(x) - E(x*),    x* the end of a relaxation that begins at x

in kcal/mol, E the energy of the tight-binding method GFN2-xTB (package `tblite`), x* the end of
L-BFGS in at most `EVALUATIONS` energies with their gradients. What RDKit does not accept, what
is in several pieces, whose energy cannot be computed or that does not come to rest counts as
infinite, so that nothing is gained by molecules that are left out. A distance table can be
satisfied by atoms that a force field would throw apart; an energy cannot.

References:
    GFN2-xTB - An Accurate and Broadly Parametrized Self-Consistent Tight-Binding Quantum Chemical
    Method (Bannwarth, Ehlert & Grimme, 2019), doi:10.1021/acs.jctc.8b01176.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.noise import mix
from trilemma.core.point_cloud import mask_of, positions, types
from trilemma.data.bond_perception import spelt
from trilemma.data.elements import SYMBOLS
from trilemma.metrics.context import Context, Reference
from trilemma.metrics.metric import Metric, Unmeasured
from trilemma.metrics.score import Score
from trilemma.metrics.trivial_point_clouds import TRIVIAL

__all__ = ["METRICS", "quantiles", "strain_of", "strains"]

MOST, REAL = 200, 50
"""Samples, and molecules of the data and trivial ones, that are relaxed at most."""
EVALUATIONS = 100
"""Energies of a relaxation at most."""
KCAL, BOHR = 627.5094740631, 0.529177210903
"""Kilocalories a mole of a hartree; ångström of a bohr."""
MISSING = (
    "the strain needs the package tblite, which is not installed; pip install "
    "'trilemma[molecules]'"
)


def _calculator() -> Any:  # noqa: ANN401
    try:
        from tblite.interface import Calculator
    except ImportError:
        raise Unmeasured(MISSING) from None
    return Calculator


def strain_of(numbers: Sequence[int], at: Float[np.ndarray, "n 3"]) -> float:
    """Return the strain of one molecule in kcal/mol; infinite where it does not come to rest.

    Arguments:
        numbers: Atomic numbers.
        at: Positions in ångström.
    """
    from scipy.optimize import minimize

    calculator = _calculator()("GFN2-xTB", np.array(numbers), np.asarray(at, float) / BOHR)
    calculator.set("verbosity", 0)
    energies: list[float] = []

    def energy(x: np.ndarray) -> tuple[float, np.ndarray]:
        calculator.update(positions=x.reshape(-1, 3))
        results = calculator.singlepoint()
        value = float(np.sum(results.get("energy")))
        energies.append(value)
        return value, results.get("gradient").ravel()

    try:
        optimum = minimize(
            energy,
            np.asarray(at, float).ravel() / BOHR,
            jac=True,
            method="L-BFGS-B",
            options={"maxfun": EVALUATIONS, "ftol": 1e-8, "gtol": 1e-3},
        )
    except RuntimeError:  # the electrons did not come to agree
        return math.inf
    return KCAL * (energies[0] - float(optimum.fun)) if optimum.success else math.inf


def strains(x: Float[Tensor, "B N 4"], elements: Sequence[str], each: Any = None) -> list[float]:  # noqa: ANN401
    """Return the strain of molecules in space, infinite of what is none or in pieces."""
    strain_values = []
    for k, (molecule, (smiles, connected)) in enumerate(zip(x, spelt(x, elements), strict=True)):
        if each is not None:
            each(k)
        if not smiles or not connected:
            strain_values.append(math.inf)
            continue
        mask = mask_of(molecule)
        numbers = [SYMBOLS.index(elements[k - 1]) + 1 for k in types(molecule)[mask].tolist()]
        strain_values.append(strain_of(numbers, positions(molecule)[mask].double().numpy()))
    return strain_values


def quantiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the quartiles and the median of numbers some of which may be infinite.

    >>> quantiles([3.0, 1.0, 2.0, float("inf"), 5.0])
    (2.0, 3.0, 5.0)
    """
    ordered = sorted(values)
    low, middle, high = (ordered[round(q * (len(ordered) - 1))] for q in (0.25, 0.5, 0.75))
    return low, middle, high


def _marks(reference: Reference) -> tuple[list[float], dict[str, list[float]]]:
    """Return the strains of test molecules and of trivial ones."""
    data = reference.data
    elements = data.domain.elements
    generator = torch.Generator().manual_seed(mix(reference.seed, "strain"))
    rows = torch.randperm(len(data.test), generator=generator)[:REAL]
    return strains(data.test.x[rows], elements), {
        name: strains(make(data, REAL, reference.seed), elements) for name, make in TRIVIAL.items()
    }


def _measure(context: Context) -> Score:
    _calculator()
    elements = context.data.domain.elements
    x = context.samples[:MOST]

    def each(finished: int) -> None:
        context.session.report("strain", finished, len(x))

    values = strains(x, elements, each)
    finite = sorted(value for value in values if math.isfinite(value))
    low, middle, high = quantiles(values)
    if not math.isfinite(middle):
        of_these = f", of which the median is {quantiles(finite)[1]:.3g}" if finite else ""
        raise Unmeasured(
            f"the median strain is infinite: {len(finite)} of {len(values)} samples are accepted, "
            f"in one piece and come to rest{of_these}"
        )
    real, trivial = context.reference.once(_marks)
    # The median lies between two of the ordered values, by the binomial distribution.
    reach = 0.98 * math.sqrt(len(values))
    ordered = sorted(values)
    ends = (max(0, math.floor(len(values) / 2 - reach)), math.ceil(len(values) / 2 + reach))
    floor = quantiles(real)[1]
    medians = {name: quantiles(each)[1] for name, each in trivial.items()}
    return Score(
        middle,
        low=ordered[ends[0]],
        high=ordered[min(ends[1], len(ordered) - 1)],
        floor=floor if math.isfinite(floor) else None,
        baselines={name: value for name, value in medians.items() if math.isfinite(value)},
        n=len(values),
        protocol=f"median of {len(values)} samples, quartiles {low:.3g} and {high:.3g}; infinite "
        f"of {len(values) - len(finite)} that are refused, in pieces or do not come to rest; "
        f"GFN2-xTB, L-BFGS of at most {EVALUATIONS} energies; floor: {len(real)} test molecules; "
        "interval: of a median, by its ranks",
    )


METRICS = (
    Metric(
        name="strain",
        label="strain",
        better="lower",
        unit="kcal/mol",
        meaning="Median of the energy that a molecule gives off when it is relaxed, by GFN2-xTB.",
        failure="Relaxed molecules that are unlike the data have none; molecules that relax into "
        "pieces are not told from those that do not.",
        kinds=("conformer",),
        section="geometry",
        least=0.0,
        estimand="the median over fresh samples",
        measure=_measure,
    ),
)
