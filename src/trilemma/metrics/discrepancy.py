r"""How far held-out classifiers tell samples from data: a number in [0, 1] for every kind of data.

    discrepancy           max(0, B), bits: B the bound of `metrics.held_out` on the Jensen–Shannon
                          divergence between samples and test data; 0: not told apart, 1: always
    discrepancy_distance  its root, which is a distance, as PolyGraph discrepancy has it

Both sides are seen

    images   in the extractor's features
    points   in standardised coordinates; a column of categories as a column of zeros and ones for
             each of the most frequent
    molecules   by Morgan fingerprints of radius 2
    graphs   by shares of degrees, of clustering and of the spectrum, counts of places (logarithms
             of one more) and sizes (`metrics.graph_statistics`), in wider bins than there

The value is the more below the divergence the fewer the rows are from which classifiers learn. It
is compared at one n alone; the floor, as many training examples in the place of samples, says
what real data reach.

Where a share p of the samples is from where no data are, and the rest is data, the divergence is
`held_out.planted`: 0.05 for a tenth, 0.31 for a half. `python -m benchmarks discrepancy` measures
how near the bound comes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from trilemma.core.noise import mix
from trilemma.data.chemistry import fingerprints, to_smiles
from trilemma.metrics.context import Context
from trilemma.metrics.features import (
    FRESH_ROWS,
    FeatureReference,
    SampleFeatures,
    sample_features,
    stand_ins,
)
from trilemma.metrics.graph_statistics import Statistics
from trilemma.metrics.graphs import GraphReference, Graphs, graphs
from trilemma.metrics.held_out import FOLDS, HeldOut, bound_chance, held_out
from trilemma.metrics.metric import EQUAL, NEAR_ONE, Metric, Unmeasured
from trilemma.metrics.score import Exhibit, Score
from trilemma.metrics.table_encoding import encoded

__all__ = [
    "CAP",
    "FEWEST",
    "METRICS",
    "ClassifierRows",
    "identical_rows",
    "sample_rows",
    "test_rows",
]

CAP = 2000
"""Most rows of each side: classifiers learn little more from more, and take long."""
FEWEST = 40
"""Rows of each side without which nothing can be learned and held out."""
MAX_SAMPLES = 10
"""Samples that are shown."""
DEGREES = 16
"""Degrees with a bin each; beyond them bins are octaves wide."""
CLUSTERING_BINS, SPECTRAL_BINS = 10, 20

TOO_WIDE = f"{EQUAL}, {NEAR_ONE}, and of many rows"

Measured = SampleFeatures | Graphs


@dataclass(frozen=True)
class ClassifierRows:
    """Some rows of a set as classifiers see them."""

    which: Int[Tensor, " R"]
    """Their place in the set."""
    features: Float[Tensor, "R F"]
    names: Sequence[bytes]
    """Equal for identical rows."""

    def first(self, count: int) -> ClassifierRows:
        """Return the first of them."""
        return ClassifierRows(self.which[:count], self.features[:count], self.names[:count])


def sample_rows(it: Measured) -> ClassifierRows:
    """Return at most `CAP` samples, drawn by the seed: files are often sorted."""
    examples = it.matched if isinstance(it, SampleFeatures) else it.of
    which = _subset_rows(len(examples), it.reference.seed)
    if isinstance(it, SampleFeatures) and it.reference.data.domain.kind == "molecule":
        features = _chemical(it.x[which], it.reference)
        return ClassifierRows(which, features, _names(features))
    if isinstance(it, SampleFeatures):
        features = encoded(it.features[which], it.x[which], it.reference)
        return ClassifierRows(which, features, _names(it.x[which]))
    features = graph_features(it.of[which])
    return ClassifierRows(which, features, _names(features.float()))


def test_rows(reference: FeatureReference | GraphReference) -> ClassifierRows:
    """Return at most `CAP` test examples; their order is drawn from the seed."""
    if isinstance(reference, FeatureReference):
        x = reference.data.test.x[reference.test_rows[:CAP]]
        if reference.data.domain.kind == "molecule":
            features = _chemical(x, reference)
            return ClassifierRows(reference.test_rows[:CAP], features, _names(features))
        features = encoded(reference.test[:CAP], x, reference)
        return ClassifierRows(reference.test_rows[:CAP], features, _names(x))
    features = graph_features(reference.test[:CAP])
    return ClassifierRows(torch.arange(len(features)), features, _names(features.float()))


def _chemical(x: Tensor, reference: FeatureReference) -> Float[Tensor, "R F"]:
    """Return Morgan fingerprints of molecules."""
    return fingerprints(to_smiles(x, reference.data.domain.elements))


def _subset_rows(count: int, seed: int) -> Int[Tensor, " R"]:
    if count <= CAP:
        return torch.arange(count)
    generator = torch.Generator().manual_seed(mix(seed, "discrepancy", count))
    return torch.randperm(count, generator=generator)[:CAP].sort().values


def _names(x: Tensor) -> list[bytes]:
    return [row.tobytes() for row in x.flatten(1).contiguous().numpy()]


def graph_features(of: Statistics) -> Float[Tensor, "B F"]:
    """Return what classifiers see of graphs: statistics in wide bins, and sizes."""
    tail = of.degree[:, DEGREES:]
    degree = [F.pad(of.degree[:, :DEGREES], (0, max(DEGREES - of.degree.shape[1], 0)))]
    start, width = 0, DEGREES
    while start < tail.shape[1]:
        degree.append(tail[:, start : start + width].sum(1, keepdim=True))
        start, width = start + width, 2 * width
    return torch.cat(
        [
            *degree,
            of.clustering.unflatten(1, (CLUSTERING_BINS, -1)).sum(2),
            of.orbit.log1p(),
            of.spectral.unflatten(1, (SPECTRAL_BINS, -1)).sum(2),
            torch.stack([of.nodes, of.edges], 1).double().log1p(),
        ],
        1,
    )


def identical_rows(samples: ClassifierRows, tests: ClassifierRows) -> Int[Tensor, " R"]:
    """Return equal numbers for identical rows of both, samples first."""
    group_ids: dict[bytes, int] = {}
    names = (*samples.names, *tests.names)
    return torch.tensor([group_ids.setdefault(name, len(group_ids)) for name in names])


def _predictions(it: Measured) -> HeldOut:
    """Return the predictions of classifiers for held-out samples and test data.

    Raises:
        Unmeasured: There are too few.
    """
    samples, tests = it.once(sample_rows), it.reference.once(test_rows)
    fewest = min(len(samples.which), len(tests.which))
    if fewest < FEWEST:
        raise Unmeasured(
            f"{len(samples.which)} samples and {len(tests.which)} test examples are too few for "
            f"classifiers to learn from some and be asked of others; take at least {FEWEST} of "
            "each."
        )
    width = max(samples.features.shape[1], tests.features.shape[1])
    x, y = (F.pad(rows.features, (0, width - rows.features.shape[1])) for rows in (samples, tests))
    return held_out(x, y, identical_rows(samples, tests), seed=it.reference.seed)


def _value(it: Measured) -> float:
    return max(0.0, it.once(_predictions).bits)


def _mark(it: Measured) -> float | None:
    try:
        return _value(it)
    except Unmeasured:
        return None


def _score(context: Context) -> Score:
    is_graph = context.data.domain.kind == "graph"
    measured: Measured = graphs(context) if is_graph else sample_features(context)
    reference, predictions = measured.reference, measured.once(_predictions)
    chance = bound_chance(predictions)
    baseline_sets = reference.stand_ins if is_graph else stand_ins(context)
    baseline_values = {name: _mark(baseline) for name, baseline in baseline_sets.items()}
    score = Score(
        _value(measured),
        floor=_mark(reference.real),
        baselines={name: value for name, value in baseline_values.items() if value is not None},
        n=len(predictions.on_samples),
        protocol=_protocol(measured, predictions),
    ).with_interval(chance)
    return replace(score, exhibit=_exhibit(measured, predictions) if score.low > 0 else None)


def _protocol(it: Measured, predictions: HeldOut) -> str:
    feature_note = (
        f"features {it.reference.extractor!r}"
        if isinstance(it, SampleFeatures)
        else "graph statistics"
    )
    if it.reference.data.domain.kind == "molecule":
        feature_note = "Morgan fingerprints of radius 2, 2,048 bits"
    classifier_counts = ", ".join(
        f"{name} {count}" for name, count in Counter(predictions.chosen).most_common()
    )
    sample_count = len(it.matched) if isinstance(it, SampleFeatures) else len(it)
    subset_note = (
        f", of {sample_count:,} drawn by the seed,"
        if sample_count > len(predictions.on_samples)
        else ""
    )
    return (
        f"{len(predictions.on_samples)} samples{subset_note} against {len(predictions.on_data)} "
        f"test examples, at most {CAP:,} of each; lower bound on the Jensen–Shannon divergence, "
        f"bits, cut at 0; {FOLDS} folds, identical rows in one, classifier and calibration chosen "
        f"within the others: {classifier_counts}; {feature_note}; seed {it.reference.seed}; "
        f"interval: {FRESH_ROWS}, by the held-out rows and Nadeau and Bengio's correction, cut at "
        "0 and 1; floor: as many training examples"
    )


def _exhibit(it: Measured, predictions: HeldOut) -> Exhibit:
    """Name the samples that are surest to be samples, as rows of all samples."""
    order = predictions.on_samples.argsort(descending=True, stable=True)[:MAX_SAMPLES]
    least_probability = predictions.on_samples[order[-1]].item()
    return Exhibit(
        f"The {len(order)} samples that classifiers which had not seen them are surest are "
        f"samples and not data: {100 * math.floor(100 * least_probability) / 100:.0f} % or more",
        tuple(it.once(sample_rows).which[order].tolist()),
    )


def _distance(context: Context) -> Score:
    """Return the root of value, ends, floor and baselines."""
    score = context.once(_score)
    return replace(
        score,
        value=math.sqrt(score.value),
        low=math.sqrt(max(score.low, 0.0)),
        high=math.sqrt(max(score.high, 0.0)),
        floor=None if score.floor is None else math.sqrt(score.floor),
        baselines={name: math.sqrt(value) for name, value in score.baselines.items()},
        protocol=f"root of discrepancy; {score.protocol}",
        exhibit=None,
    )


FAILURE = (
    "A lower bound: what so few rows, or these features, do not show is not counted. It says how "
    "surely samples are recognised, and not how bad they look: by one flaw that all have it is 1. "
    "It grows with the number of examples, from which classifiers learn: compare at one n."
)


METRICS = (
    Metric(
        name="discrepancy",
        label="discrepancy",
        better="lower",
        unit="bits",
        meaning="How surely classifiers tell samples from data, both unseen: 0 not at all, 1 "
        "always. A lower bound on the Jensen–Shannon divergence.",
        failure=FAILURE,
        second_to=("fd", "energy_distance", "mmd"),
        least=0.0,
        most=1.0,
        too_wide=TOO_WIDE,
        measure=lambda context: context.once(_score),
    ),
    Metric(
        name="discrepancy_distance",
        label="discrepancy, root",
        better="lower",
        unit="root of bits",
        meaning="The root of the discrepancy, which is a distance: what PolyGraph discrepancy "
        "prints.",
        failure=FAILURE,
        variant_of="discrepancy",
        least=0.0,
        most=1.0,
        too_wide=TOO_WIDE,
        measure=_distance,
    ),
)
