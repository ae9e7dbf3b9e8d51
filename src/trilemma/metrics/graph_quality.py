r"""Quality and coverage of generated graphs, held against a data set's test graphs.

    mmd_*       maximum mean discrepancy (`metrics.mmd`) of degrees, clustering, orbits and spectra
                (`metrics.graph_statistics`) with GraphRNN's kernels as V-statistic; `_u` as
                U-statistic; `_tv` by total variation, as later papers have it; `_tv_u` both
    mmd         mean of the four as GraphRNN has them, V-statistic: quality in one number
    coverage, density    as for images (`metrics.neighbours`), with the distance of all statistics,
                d² = sum of 2 - 2 k over the four kernels; samples are held against m test graphs
                m at a time, and the mean over these parts is taken
    size_gap    |mean size of the samples / mean size of the test graphs - 1|; sizes are the
                model's own, and nothing is matched to the test set

Intervals are over fresh samples and fresh test graphs. `size_gap`'s is too wide where sizes agree,
since the sign of the gap is not kept.

References:
    | GraphRNN (You et al., 2018), arXiv:1802.08773
    | Efficient Graph Generation with Graph Recurrent Attention Networks (Liao et al., 2019)
    | Reliable Fidelity and Diversity Metrics for Generative Models (Naeem et al., 2020)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trilemma.metrics.context import Context
from trilemma.metrics.graph_statistics import Statistics
from trilemma.metrics.graphs import (
    KERNELS,
    GraphReference,
    Graphs,
    bare,
    graphs,
    joint_distance,
    kernels,
)
from trilemma.metrics.metric import (
    COVERAGE,
    EQUAL,
    NEAR_ONE,
    QUALITY,
    RARE,
    Metric,
    Unmeasured,
    hundredths,
)
from trilemma.metrics.mmd import Gram
from trilemma.metrics.score import SUBSETS, Chance, Score, Trials, subset_spreads

__all__ = ["METRICS", "chances", "values"]

STATISTICS = tuple(KERNELS[""])
MEAN = tuple(f"mmd_{name}" for name in STATISTICS)
"""Those of which `mmd` is the mean."""
NEAREST = 5
"""Neighbours of a test graph that span its ball."""
CLOSE = 1e-9
"""Rounding of a distance: a graph lies on the sphere of one that is like it."""

Values = dict[str, float]


def values(it: Graphs) -> Values:
    """Return every metric but shares that the numbers of graphs allow."""
    samples, reference = it.of, it.reference
    metric_values: Values = {}
    for metric, gram in _grams(samples, reference):
        metric_values[metric] = gram.squared()
        if len(samples) > 1:
            metric_values[f"{metric}_u"] = gram.squared(unbiased=True)
    metric_values["mmd"] = sum(metric_values[name] for name in MEAN) / len(MEAN)
    size_ratio = samples.nodes.double().mean() / reference.test.nodes.double().mean()
    metric_values["size_gap"] = abs(size_ratio.item() - 1)
    near = Near.of(samples, reference.test)
    if near is not None:
        metric_values |= near.measured(
            torch.arange(len(samples)), torch.arange(len(reference.test))
        )
    return metric_values


def _grams(of: Statistics, reference: GraphReference) -> Iterator[tuple[str, Gram]]:
    """Yield each MMD's name as V-statistic with the values of its kernel."""
    for metric, statistic, kernel in kernels():
        x, y = getattr(of, statistic), getattr(reference.test, statistic)
        yield metric, Gram(kernel(x, x), kernel(x, y), reference.test_grams[metric])


def chances(it: Graphs) -> dict[str, float | Chance | Trials]:
    """Return the chance in all metrics but shares, over fresh samples and fresh test graphs."""
    samples, reference = it.of, it.reference
    metric_chances: dict[str, float | Chance | Trials] = {}
    mean_grams: list[Gram] = []
    for metric, gram in _grams(samples, reference):
        metric_chances[metric] = gram.chance()
        if len(samples) > 1:
            metric_chances[f"{metric}_u"] = gram.chance(unbiased=True)
        if metric in MEAN:
            mean_grams.append(gram)
    # The mean of the discrepancies is that of the mean of the kernels.
    xx, xy, yy = (
        torch.stack([getattr(gram, block) for gram in mean_grams]).mean(0)
        for block in ("xx", "xy", "yy")
    )
    metric_chances["mmd"] = Gram(xx, xy, yy).chance()
    metric_chances["size_gap"] = _gap_deviation(
        samples.nodes.double(), reference.test.nodes.double()
    )
    near = Near.of(samples, reference.test)
    if near is not None:
        metric_chances |= subset_spreads(
            torch.arange(len(samples)),
            torch.arange(len(reference.test)),
            near.measured,
            seed=reference.seed,
            shares=("coverage",),
            least=NEAREST + 1,
        )
    return metric_chances


def _gap_deviation(x: Float[Tensor, " N"], y: Float[Tensor, " M"]) -> float:
    """Return the deviation of mean x / mean y, by its derivatives."""
    if min(len(x), len(y)) < 2:
        return torch.inf
    ratio = x.mean() / y.mean()
    variance = x.var() / len(x) + ratio.square() * y.var() / len(y)
    return (variance.sqrt() / y.mean()).item()


@dataclass(frozen=True)
class Near:
    """Joint distances from samples to test graphs, and among test graphs."""

    across: Float[Tensor, "N M"]
    among: Float[Tensor, "M M"]

    @classmethod
    def of(cls, samples: Statistics, test: Statistics) -> Near | None:
        """Measure them; None where there are too few of either."""
        if min(len(samples), len(test)) <= NEAREST:
            return None
        return cls(joint_distance(samples, test), joint_distance(test, test))

    def measured(self, rows: Int[Tensor, " B"], columns: Int[Tensor, " C"]) -> Values:
        """Return coverage and density of some samples against some test graphs.

        Samples are held against m test graphs m at a time, m the lesser number, and the mean over
        these parts is taken.
        """
        m = min(len(rows), len(columns))
        columns = columns[:m]
        radius = self.among[columns][:, columns].sort(1).values[:, NEAREST]
        in_ball = self.across[rows][:, columns] <= radius + CLOSE
        blocks = in_ball[: len(in_ball) // m * m].view(-1, m, m)
        return {
            "coverage": blocks.any(1).double().mean().item(),
            "density": in_ball.double().sum().item() / (NEAREST * len(rows)),
        }


def _distance(name: str, words: Callable[[Graphs], str]) -> Callable[[Context], Score]:
    """Make the metric of one of `distances`."""

    def measure(context: Context) -> Score:
        samples = graphs(context)
        reference = samples.reference
        metric_values = samples.once(values)
        if name not in metric_values:
            raise Unmeasured(
                f"{len(samples)} samples and {len(reference.test)} test graphs are too few"
            )
        baseline_values = {k: baseline.once(values) for k, baseline in reference.stand_ins.items()}
        return Score(
            metric_values[name],
            floor=reference.real.once(values).get(name),
            baselines={k: scores[name] for k, scores in baseline_values.items() if name in scores},
            n=len(samples),
            protocol=f"{words(samples)}; {bare(samples)}; seed {reference.seed}; interval: "
            f"{_interval(name)}; floor: {len(reference.real)} training graphs",
        ).with_interval(samples.once(chances)[name])

    return measure


def _interval(name: str) -> str:
    over = "over fresh samples and test graphs"
    if name == "coverage":
        return f"Wilson's {over}, trials by {SUBSETS} subsets of both"
    how = f"by {SUBSETS} subsets of both" if name == "density" else "in closed form"
    return f"1.96 standard deviations {over}, {how}"


def _parts(it: Graphs) -> str:
    part_size = min(len(it), len(it.reference.test))
    return (
        f"{part_size} samples at a time against {part_size} test graphs, mean of "
        f"{len(it) // part_size} such parts, {NEAREST} neighbours, joint distance of the four "
        "statistics"
    )


def _against(it: Graphs) -> str:
    return f"{len(it)} samples against {len(it.reference.test)} test graphs"


ABOUT = {
    "degree": "of the degrees",
    "clustering": "of clustering coefficients",
    "orbit": "of the counts of graphs of up to four nodes",
    "spectral": "of the Laplacians' spectra",
}


def _mmd(statistic: str, family: str, form: str) -> Metric:
    """Declare one discrepancy: of a statistic, by a family of kernels, as V- or U-statistic."""
    kernel, plain = KERNELS[family][statistic], f"mmd_{statistic}"
    ours = " (GraphRNN has none)" if statistic == "spectral" and not family else ""
    kind = "U-statistic" if form else "V-statistic"
    meaning = (
        f"Maximum mean discrepancy {ABOUT[statistic]}: how far samples lie from test graphs; "
        f"{'the earth mover' if statistic == 'spectral' else 'GraphRNN'}'s kernel, V-statistic."
    )
    if family or form:
        how = [
            *(["by total variation, as papers since GRAN have it"] if family else []),
            *(["as U-statistic: unbiased, and below 0 by chance"] if form else []),
        ]
        meaning = f"`{plain}` {', '.join(how)}."
    return Metric(
        name=f"{plain}{family}{form}",
        label=f"mmd {statistic}{family.replace('_', ' ')}{', u' if form else ''}",
        better="lower",
        unit="MMD²",
        meaning=meaning,
        failure="Numbers of different kernels do not compare, and a V-statistic is above 0 by "
        "chance, which its floor shows."
        if not form
        else "Numbers of different kernels do not compare.",
        kinds=("graph",),
        variant_of=plain if family or form else "",
        least=-math.inf if form else 0.0,
        leaves_out=RARE,
        too_wide=EQUAL,
        measure=_distance(
            f"{plain}{family}{form}", lambda it: f"{_against(it)}, {kind}, {kernel}{ours}"
        ),
    )


METRICS = (
    Metric(
        name="mmd",
        label="mmd",
        better="lower",
        unit="MMD²",
        meaning="Mean of the four maximum mean discrepancies of degrees, clustering, orbits and "
        "spectra (GraphRNN's kernels, V-statistic): how far samples as a whole lie from test "
        "graphs. The ranking of graphs by quality uses it.",
        failure="Four kernels of different scales are added, of which one may drown the others.",
        kinds=("graph",),
        ranks=QUALITY,
        least=0.0,
        leaves_out=RARE,
        too_wide=EQUAL,
        measure=_distance(
            "mmd",
            lambda it: f"{_against(it)}, mean of the V-statistics of {', '.join(STATISTICS)}",
        ),
    ),
    *(
        _mmd(statistic, family, form)
        for form in ("", "_u")
        for family in KERNELS
        for statistic in STATISTICS
    ),
    Metric(
        name="coverage",
        label="coverage",
        better="higher",
        unit="share of test graphs",
        meaning="Share of the data that have a sample among their nearest neighbours: recall that "
        "one outlier cannot inflate. The ranking by coverage uses it.",
        failure="Of few test graphs it moves in large steps.",
        kinds=("graph",),
        ranks=COVERAGE,
        least=0.0,
        most=1.0,
        write=hundredths,
        too_wide=NEAR_ONE,
        measure=_distance("coverage", _parts),
    ),
    Metric(
        name="density",
        label="density",
        better="higher",
        unit="ratio",
        meaning="Precision that one outlier cannot inflate: how crowded with data the samples' "
        "places are, 1 for real data; it may exceed 1.",
        failure="Samples in the densest places alone exceed what real data reach.",
        kinds=("graph",),
        least=0.0,
        write=hundredths,
        measure=_distance("density", _parts),
    ),
    Metric(
        name="size_gap",
        label="size gap",
        better="lower",
        unit="share of the size",
        meaning="How far the mean size is from that of test graphs, as a share; sizes are the "
        "model's.",
        failure="Means alone are compared.",
        kinds=("graph",),
        least=0.0,
        too_wide="where sizes agree, since the sign of the gap is not kept",
        measure=_distance(
            "size_gap",
            lambda it: (
                f"mean over {len(it)} samples against that of {len(it.reference.test)} test graphs"
            ),
        ),
    ),
)
