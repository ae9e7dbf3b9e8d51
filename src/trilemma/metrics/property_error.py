r"""Do samples have the property that they were asked to have?

    property_error = mean |c_i - r(x_i)|,    x_i ~ p(x | N_i, c_i)

in the property's unit: c_i and the number N_i of atoms are those of held-out molecules, x_i are
samples that are asked for both, and r is a regressor (`metrics/property_regressor.py`), trained on
the half of the training set that the generator has not seen. Beside it stand, of the same held-out
molecules y_i,

    floor       L-bound: mean |c_i - r(y_i)|, what the regressor itself errs
    U-bound     mean |c_π(i) - r(y_i)|, π a shuffling: a generator that knows no property
    #Atoms      mean |c_i - median of c in D_a given N_i|: one that knows the number of atoms alone

so that what is below #Atoms was learnt of the structure, and nothing can be below the floor for
good.

References:
    Equivariant Diffusion for Molecule Generation in 3D (Hoogeboom, Garcia Satorras, Vignac &
    Welling, 2022), arXiv:2203.17003, section 5.2.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trilemma.core.batch import Condition
from trilemma.core.noise import mix
from trilemma.core.point_cloud import mask_of, sizes
from trilemma.data.dataset import Split
from trilemma.metrics.context import Context
from trilemma.metrics.matching import draw
from trilemma.metrics.metric import Metric, Need, Unmeasured
from trilemma.metrics.property_regressor import predicted, regressor
from trilemma.metrics.score import Score, mean_chance

__all__ = ["METRICS", "mean_absolute_error", "median_by_size"]

MOST = 500
"""Samples at most, which are drawn for this alone."""


def mean_absolute_error(target: Float[Tensor, " n"], predicted: Float[Tensor, " n"]) -> float:
    """Return mean |c_i - r_i|.

    >>> mean_absolute_error(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 2.0]))
    0.5
    """
    return float((target.double() - predicted.double()).abs().mean())


def median_by_size(split: Split, target_sizes: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return the median property of clouds of each target size, or of the nearest size there is.

    The median of all that are as large is the guess of least mean absolute error.

    Arguments:
        split: Clouds with one property.
        target_sizes: Numbers of points.
    """
    assert split.properties is not None
    cloud_sizes = sizes(split.x)
    distinct_sizes = cloud_sizes.unique()
    medians = torch.stack(
        [split.properties[cloud_sizes == n, 0].quantile(0.5) for n in distinct_sizes]
    )
    nearest = (target_sizes[:, None] - distinct_sizes).abs().argmin(1)
    return medians[nearest]


def _measure(context: Context) -> Score:
    data = context.data
    if data.aside is None:
        raise Unmeasured("no training examples were kept for a regressor; train with --property")
    assert data.test.properties is not None
    (target_property,) = data.domain.properties
    generator = torch.Generator().manual_seed(mix(context.seed, "property"))
    rows = torch.randperm(len(data.test), generator=generator)[: min(context.n, MOST)]
    real, requested = data.test.x[rows], data.test.properties[rows]

    def conditions(start: int, stop: int) -> Condition:
        indices = torch.arange(start, stop) % len(rows)
        return Condition(points=mask_of(real[indices]), properties=requested[indices])

    network, sha256 = regressor(data, context.session)
    seed = mix(context.seed, "property_error")
    samples = draw(
        context, conditions, len(rows), seed, f"samples of wanted {target_property.name}"
    )
    if not bool(samples.isfinite().all()):
        raise Unmeasured("some samples are not finite numbers")
    requested_values = requested[:, 0]
    real_predictions = predicted(network, real, context.device)
    errors = (
        requested_values.double() - predicted(network, samples, context.device).double()
    ).abs()
    shuffled = requested_values[torch.randperm(len(requested_values), generator=generator)]
    return Score(
        float(errors.mean()),
        unit=target_property.unit,
        floor=mean_absolute_error(requested_values, real_predictions),
        baselines={
            "U-bound": mean_absolute_error(shuffled, real_predictions),
            "#Atoms": mean_absolute_error(
                requested_values, median_by_size(data.aside, sizes(real))
            ),
        },
        n=len(rows),
        protocol=f"mean absolute error of {target_property.name}: {len(rows):,} samples asked for "
        "the property and the number of atoms of as many test molecules; by an invariant graph "
        f"network trained on {len(data.aside):,} training molecules that the generator has not "
        f"seen, sha256 {sha256[:8]}; floor: the L-bound, these test molecules themselves; "
        "U-bound: their properties shuffled; #Atoms: the median of molecules as large; interval: "
        "Student's",
    ).with_interval(mean_chance(errors))


METRICS = (
    Metric(
        name="property_error",
        label="property error",
        better="lower",
        meaning="How far the property of samples lies from the one that they were asked to have, "
        "as a regressor sees it that was trained apart from the generator.",
        failure="The regressor was trained on real molecules: of broken ones it says anything, so "
        "that it is to be read with stability; and no sample need come nearer than its floor.",
        kinds=("conformer",),
        section="properties",
        needs=Need(
            has=lambda model: bool(getattr(model, "properties", ())),
            absence="the model is conditioned on no property",
        ),
        least=0.0,
        estimand="the expected value over fresh samples, of the same conditions and regressor",
        measure=_measure,
    ),
)
