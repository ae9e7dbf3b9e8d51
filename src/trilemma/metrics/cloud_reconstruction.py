r"""What a first stage keeps of point clouds: where their points lie, and what they are.

    reconstruction_rmsd   root mean square over the points of test clouds of |x_i - y_i|, both
                          centred, in the units of the data; y is of codes with their noise
    type_accuracy         share of points whose type comes back

Points keep their order and clouds their pose on the way through an equivariant autoencoder, so
that nothing is to be matched.

Reference:
    Geometric Latent Diffusion Models for 3D Molecule Generation (Xu et al., 2023),
    arXiv:2305.01140
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.model import Reconstructing
from trilemma.core.point_cloud import centred, mask_of, positions, sizes, types
from trilemma.metrics.context import Context
from trilemma.metrics.metric import Metric, Need
from trilemma.metrics.reconstruction import reconstruct_test_examples
from trilemma.metrics.score import Score, Trials, mean_chance

__all__ = ["METRICS", "reconstruction_errors"]


def _square_errors(x: Tensor, y: Tensor) -> Float[Tensor, " N"]:
    """Return the mean over the points of each cloud of |x_i - y_i|²."""
    mask = mask_of(x)
    differences = centred(positions(x), mask) - centred(positions(y), mask)
    return differences.double().square().sum((1, 2)) / sizes(x).clamp_min(1)


def reconstruction_errors(x: Tensor, y: Tensor) -> dict[str, float]:
    """Return the root mean square distance and the share of right types of reconstructions."""
    mask = mask_of(x)
    accuracy = (types(x) == types(y))[mask].double().mean()
    mean_square = (_square_errors(x, y) * sizes(x)).sum() / sizes(x).sum().clamp_min(1)
    return {"reconstruction_rmsd": float(mean_square.sqrt()), "type_accuracy": float(accuracy)}


def _rmsd(context: Context) -> Score:
    x, y = context.test, context.once(reconstruct_test_examples)
    square_errors = _square_errors(x, y)
    mean_square = Score(square_errors.mean().item()).with_interval(mean_chance(square_errors))
    baseline = _square_errors(x, torch.cat([0 * positions(x), x[..., 3:]], -1)).mean().sqrt()
    unit = getattr(context.data.domain.values, "unit", "")
    return Score(
        math.sqrt(max(mean_square.value, 0.0)),
        unit=unit,
        low=max(mean_square.low, 0.0) ** 0.5,
        high=max(mean_square.high, 0.0) ** 0.5,
        baselines={"all points in the middle": float(baseline)},
        n=len(x),
        protocol=f"root of the mean over {len(x)} test clouds of the mean square distance of a "
        "point from where it comes back, both centred, from the mean of the code; interval: "
        "Student's, of a mean of squares",
    )


def _type_accuracy(context: Context) -> Score:
    x, y = context.test, context.once(reconstruct_test_examples)
    mask = mask_of(x)
    counts = torch.bincount(types(context.data.train.x).flatten())[1:]
    commonest = int(counts.argmax()) + 1
    baseline = float((types(x)[mask] == commonest).double().mean())
    correct = (types(x) == types(y))[mask].double()
    return Score(
        correct.mean().item(),
        baselines={"the commonest type": baseline},
        n=len(x),
        protocol=f"share of {len(correct):,} points of {len(x)} test clouds whose type comes "
        "back; interval: Wilson's, of points",
    ).with_interval(Trials(len(correct)))


def _needs() -> Need:
    return Need(
        has=lambda model: isinstance(model, Reconstructing),
        absence="the model has no first stage",
    )


def _metric(
    name: str,
    label: str,
    better: str,
    meaning: str,
    failure: str,
    measure: Callable[[Context], Score],
    kinds: tuple[str, ...],
) -> Metric:
    return Metric(
        name=name,
        label=label,
        better="lower" if better == "lower" else "higher",
        section="codes",
        meaning=meaning,
        failure=failure,
        kinds=kinds,
        needs=_needs(),
        least=0.0,
        estimand="the expected value over fresh test examples",
        measure=measure,
    )


METRICS = (
    _metric(
        "reconstruction_rmsd",
        "first stage rmsd",
        "lower",
        "How far a point of an unseen cloud lies from where it comes back from its code: what "
        "samples cannot be nearer than.",
        "Of the code's mean; a diffusion's codes err more.",
        _rmsd,
        ("conformer", "point-cloud"),
    ),
    _metric(
        "type_accuracy",
        "first stage types",
        "higher",
        "Share of the atoms of unseen molecules whose element comes back from the code.",
        "Of the code's mean; a diffusion's codes err more.",
        _type_accuracy,
        ("conformer",),
    ),
)
