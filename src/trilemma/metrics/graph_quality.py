r"""Quality and coverage of generated graphs, held against a data set's test graphs.

    mmd_*       maximum mean discrepancy (`metrics.mmd`) of degrees, clustering, orbits and spectra
                (`metrics.graph_statistics`) with GraphRNN's kernels as V-statistic; `_u` as
                U-statistic; `_tv` by total variation, as later papers have it; `_tv_u` both
    mmd         mean of the four as GraphRNN has them, V-statistic: quality in one number
    unique      share of the samples that are like no sample before, whatever the order of nodes
    novel       share that are like no training graph
    valid       share that keep the rule by which the set was made, where there is one
    valid_unique_novel   all three at once
    coverage, density    as for images (`metrics.neighbours`), with the distance of all statistics,
                d² = sum of 2 - 2 k over the four kernels; samples are held against m test graphs
                m at a time, and the mean over these parts is taken
    size_gap    |mean size of the samples / mean size of the test graphs - 1|; sizes are the
                model's own, and nothing is matched to the test set

Intervals are over fresh samples and fresh test graphs, but for shares, whose training graphs stay:
these have Wilson's, as if samples were independent trials. That a kind which was drawn twice takes
the place of another is left out of `unique`'s, which is too wide where many kinds are repeated. So
is `size_gap`'s where sizes agree, since the sign of the gap is not kept.

A `GraphReference` is what does not depend on the model: training graphs in the place of samples
(the floor; of shares, test graphs), and trivial graphs (`metrics.trivial_graphs`). Graphs without
nodes or edges are measured like any other, and counted in the protocol.

References:
    | GraphRNN (You et al., 2018), arXiv:1802.08773
    | Efficient Graph Generation with Graph Recurrent Attention Networks (Liao et al., 2019)
    | Reliable Fidelity and Diversity Metrics for Generative Models (Naeem et al., 2020)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.core.noise import mix
from trilemma.data.dataset import DataSet
from trilemma.maths.isomorphism import IsomorphismClasses
from trilemma.metrics.context import Check, Context, Progress
from trilemma.metrics.graph_statistics import Statistics, statistics
from trilemma.metrics.metric import (
    COVERAGE,
    EQUAL,
    NEAR_ONE,
    QUALITY,
    RARE,
    REPEATED,
    Memo,
    Metric,
    Unmeasured,
    hundredths,
)
from trilemma.metrics.mmd import Gram, Kernel
from trilemma.metrics.score import SUBSETS, Chance, Score, Trials, subset_spreads, wilson
from trilemma.metrics.trivial_graphs import TRIVIAL

__all__ = [
    "KERNELS",
    "METRICS",
    "GraphReference",
    "Graphs",
    "graph_reference",
    "graphs",
    "joint_distance",
]

KERNELS: Mapping[str, Mapping[str, Kernel]] = {
    "": {
        "degree": Kernel("emd", 1.0),
        "clustering": Kernel("emd", 0.1, 0.01),
        "orbit": Kernel("gaussian", 30.0),
        "spectral": Kernel("emd", 0.1, 0.01),
    },
    "_tv": {
        "degree": Kernel("tv", 1.0),
        "clustering": Kernel("tv", 0.1),
        "orbit": Kernel("tv", 30.0),
        "spectral": Kernel("tv", 1.0),
    },
}
"""By suffix and statistic; GraphRNN has no spectrum, and its kernel here is ours."""
STATISTICS = tuple(KERNELS[""])
MEAN = tuple(f"mmd_{name}" for name in STATISTICS)
"""Those of which `mmd` is the mean."""
NEAREST = 5
"""Neighbours of a test graph that span its ball."""
SHOWN = 16
"""Samples whose nearest training graph is kept."""
MOST = 256
"""Trivial graphs of each kind at most."""
TEST, TRAIN = 2000, 10_000
"""Most test and training graphs that are measured; novelty is asked of all training graphs."""
CLOSE = 1e-9
"""Rounding of a distance: a graph lies on the sphere of one that is like it."""

Values = dict[str, float]


@dataclass(eq=False)
class Graphs(Memo):
    """A set of graphs with their statistics."""

    x: UInt8[Tensor, "B N N"]
    of: Statistics
    against: GraphReference

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.of)


@dataclass(eq=False)
class GraphReference(Memo):
    """What samples of a set of graphs are held against."""

    data: DataSet
    n: int
    """How many samples it was made for."""
    seed: int
    test: Statistics
    train: Statistics
    train_rows: Tensor
    """Index in the training split of each row of `train`."""
    test_grams: Mapping[str, Float[Tensor, "M M"]]
    """Kernels' values among test graphs, by the metric's name as V-statistic."""
    known: IsomorphismClasses
    kinds: frozenset[int]
    """Kinds of the training graphs."""
    stand_ins: Mapping[str, Graphs] = field(default_factory=dict)
    """Trivial graphs, by name."""
    check: Check | None = field(default=None, repr=False)
    """Called many times a second while graphs are compared; raises to stop."""
    name: str = "graph statistics"
    note: str = (
        "Degrees, clustering, counts of graphs of up to four nodes, and spectrum of the "
        "normalised Laplacian."
    )

    @property
    def real(self) -> Graphs:
        """Return training graphs in the place of samples."""
        return self.once(_real)

    @property
    def real_tests(self) -> Graphs:
        """Return all test graphs, whose shares are the floor of shares."""
        return self.once(_real_tests)

    def neighbours(self, context: Context) -> Tensor:
        """Return the training graphs nearest to the first samples."""
        of = graphs(context).of[:SHOWN]
        near = self.train_rows[joint_distance(of, self.train).argmin(1)]
        return self.data.train.x[near]


def _real(against: GraphReference) -> Graphs:
    rows = against.train_rows[: against.n]
    return Graphs(against.data.train.x[rows], against.train[: against.n], against)


def _real_tests(against: GraphReference) -> Graphs:
    return Graphs(against.data.test.x, against.test, against)


def graphs(context: Context) -> Graphs:
    """Return the samples with their statistics."""
    return context.once(_graphs)


def _graphs(context: Context) -> Graphs:
    against = context.reference
    assert isinstance(against, GraphReference)
    return Graphs(context.samples, statistics(context.samples), against)


def graph_reference(
    data: DataSet,
    *,
    n: int,
    seed: int,
    progress: Progress | None = None,
    check: Check | None = None,
) -> GraphReference:
    """Measure a set of graphs against itself and against trivial graphs.

    Arguments:
        data: Has test graphs.
        n: How many samples will be measured.
        seed: Seed of orders, trivial graphs and resamples.
        progress: Told of each part.
        check: Called between parts; raises to stop.

    Raises:
        BadInput: There are fewer than two test graphs.
    """
    if len(data.test) < 2:
        raise BadInput(
            f"data set '{data.name}' has {len(data.test)} test graphs, and 2 or more are needed "
            "to measure against."
        )

    def of(x: Tensor, what: str) -> Statistics:
        def each(done: int) -> None:
            if check is not None:
                check()
            if progress is not None:
                progress(f"statistics of {what}", done, len(x))

        return statistics(x, each=each)

    rows = _order(len(data.train), seed, "train")[:TRAIN]
    test = of(data.test.x[_order(len(data.test), seed, "test")[:TEST]], "test graphs")
    train = of(data.train.x[rows], "training graphs")
    grams = {
        metric: kernel(*(getattr(test, statistic),) * 2)
        for metric, statistic, kernel in _kernels()
    }
    known = IsomorphismClasses()
    kinds = frozenset(known.of(data.train.x, check))
    made: dict[str, Graphs] = {}
    against = GraphReference(
        data, n, seed, test, train, rows, grams, known, kinds, stand_ins=made, check=check
    )
    for name, make in TRIVIAL.items():
        x = make(data.train.x, min(n, MOST), seed)
        made[name] = Graphs(x, of(x, name), against)
    return against


def joint_distance(a: Statistics, b: Statistics) -> Float[Tensor, "A B"]:
    """Return the distance of all four statistics: the root of the sum of 2 - 2 k."""
    total = torch.zeros(len(a), len(b), dtype=torch.float64)
    for name, kernel in KERNELS[""].items():
        total += 2 - 2 * kernel(getattr(a, name), getattr(b, name))
    return total.clamp_min(0).sqrt()


def _order(count: int, seed: int, name: str) -> Tensor:
    return torch.randperm(
        count, generator=torch.Generator().manual_seed(mix(seed, name, "graphs"))
    )


def _kernels() -> list[tuple[str, str, Kernel]]:
    """List the metric's name as V-statistic, the statistic and the kernel of each MMD."""
    return [
        (f"mmd_{statistic}{family}", statistic, kernel)
        for family, kernels in KERNELS.items()
        for statistic, kernel in kernels.items()
    ]


def values(it: Graphs) -> Values:
    """Return every metric but shares that the numbers of graphs allow."""
    of, against = it.of, it.against
    found: Values = {}
    for metric, gram in _grams(of, against):
        found[metric] = gram.squared()
        if len(of) > 1:
            found[f"{metric}_u"] = gram.squared(unbiased=True)
    found["mmd"] = sum(found[name] for name in MEAN) / len(MEAN)
    means = of.nodes.double().mean() / against.test.nodes.double().mean()
    found["size_gap"] = abs(means.item() - 1)
    near = Near.of(of, against.test)
    if near is not None:
        found |= near.measured(torch.arange(len(of)), torch.arange(len(against.test)))
    return found


def _grams(of: Statistics, against: GraphReference) -> Iterator[tuple[str, Gram]]:
    """Yield each MMD's name as V-statistic with the values of its kernel."""
    for metric, statistic, kernel in _kernels():
        x, y = getattr(of, statistic), getattr(against.test, statistic)
        yield metric, Gram(kernel(x, x), kernel(x, y), against.test_grams[metric])


def chances(it: Graphs) -> dict[str, float | Chance | Trials]:
    """Return the chance in all metrics but shares, over fresh samples and fresh test graphs."""
    of, against = it.of, it.against
    found: dict[str, float | Chance | Trials] = {}
    mean: list[Gram] = []
    for metric, gram in _grams(of, against):
        found[metric] = gram.chance()
        if len(of) > 1:
            found[f"{metric}_u"] = gram.chance(unbiased=True)
        if metric in MEAN:
            mean.append(gram)
    # The mean of the discrepancies is that of the mean of the kernels.
    xx, xy, yy = (
        torch.stack([getattr(gram, part) for gram in mean]).mean(0) for part in ("xx", "xy", "yy")
    )
    found["mmd"] = Gram(xx, xy, yy).chance()
    found["size_gap"] = _gap_deviation(of.nodes.double(), against.test.nodes.double())
    near = Near.of(of, against.test)
    if near is not None:
        found |= subset_spreads(
            torch.arange(len(of)),
            torch.arange(len(against.test)),
            near.measured,
            seed=against.seed,
            shares=("coverage",),
            least=NEAREST + 1,
        )
    return found


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
        within = self.across[rows][:, columns] <= radius + CLOSE
        parts = within[: len(within) // m * m].view(-1, m, m)
        return {
            "coverage": parts.any(1).double().mean().item(),
            "density": within.double().sum().item() / (NEAREST * len(rows)),
        }


def shares(it: Graphs) -> dict[str, Tensor]:
    """Tell of each graph whether it is unique, novel and valid."""
    against = it.against
    seen: set[int] = set()
    unique, novel = [], []
    for kind in against.known.of(it.x, against.check):
        unique.append(kind not in seen)
        novel.append(kind not in against.kinds)
        seen.add(kind)
    each = {"unique": torch.tensor(unique), "novel": torch.tensor(novel)}
    if against.data.rule is not None:
        each["valid"] = against.data.rule.holds(it.x)
        each["valid_unique_novel"] = each["valid"] & each["unique"] & each["novel"]
    return each


def _distance(name: str, words: Callable[[Graphs], str]) -> Callable[[Context], Score]:
    """Make the metric of one of `distances`."""

    def measure(context: Context) -> Score:
        it = graphs(context)
        against = it.against
        found = it.once(values)
        if name not in found:
            raise Unmeasured(f"{len(it)} samples and {len(against.test)} test graphs are too few")
        marks = {k: other.once(values) for k, other in against.stand_ins.items()}
        return Score(
            found[name],
            floor=against.real.once(values).get(name),
            baselines={k: mark[name] for k, mark in marks.items() if name in mark},
            n=len(it),
            protocol=f"{words(it)}; {_bare(it)}; seed {against.seed}; interval: "
            f"{_interval(name)}; floor: {len(against.real)} training graphs",
        ).within(it.once(chances)[name])

    return measure


def _interval(name: str) -> str:
    over = "over fresh samples and test graphs"
    if name == "coverage":
        return f"Wilson's {over}, trials by {SUBSETS} subsets of both"
    how = f"by {SUBSETS} subsets of both" if name == "density" else "in closed form"
    return f"1.96 standard deviations {over}, {how}"


def _share(name: str) -> Callable[[Context], Score]:
    """Make the metric of one of `shares`."""

    def measure(context: Context) -> Score:
        it = graphs(context)
        against = it.against
        rule = against.data.rule
        if "valid" in name and rule is None:
            raise Unmeasured(f"no rule is known of the graphs of '{against.data.name}'")

        def value(other: Graphs) -> float:
            return other.once(shares)[name].double().mean().item()

        share, tests = value(it), against.real_tests
        low, high = wilson(share, len(it))
        score = Score(
            share,
            low,
            high,
            floor=value(tests),
            baselines={k: value(other) for k, other in against.stand_ins.items()},
            n=len(it),
        )
        kept = f"; valid: {rule.words}" if rule is not None and "valid" in name else ""
        beside = f" against {len(against.data.train)} training graphs" if "novel" in name else ""
        return replace(
            score,
            protocol=f"{len(it)} samples{beside}{kept}; {_bare(it)}; seed {against.seed}; "
            f"interval: Wilson's; floor: {len(tests.x)} test graphs{_undecided(name, against)}",
        )

    return measure


def _bare(it: Graphs) -> str:
    return f"{int((it.of.edges == 0).sum())} of the samples without an edge"


def _undecided(name: str, against: GraphReference) -> str:
    """Say how many pairs of training, test and generated graphs no search has settled."""
    pairs = against.known.undecided
    if not pairs or name == "valid":
        return ""
    return f"; undecided pairs of graphs, counted as different: {pairs}"


def _parts(it: Graphs) -> str:
    each = min(len(it), len(it.against.test))
    return (
        f"{each} samples at a time against {each} test graphs, mean of {len(it) // each} such "
        f"parts, {NEAREST} neighbours, joint distance of the four statistics"
    )


def _against(it: Graphs) -> str:
    return f"{len(it)} samples against {len(it.against.test)} test graphs"


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


def _of_share(name: str, label: str, meaning: str, failure: str) -> Metric:
    return Metric(
        name=name,
        label=label,
        better="higher",
        unit="share of samples",
        meaning=meaning,
        failure=failure,
        kinds=("graph",),
        least=0.0,
        most=1.0,
        estimand="the expected share over fresh samples",
        too_wide=REPEATED if "unique" in name else NEAR_ONE,
        measure=_share(name),
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
    _of_share(
        "unique",
        "unique",
        "Share of the graphs that are like no other before them in any order.",
        "It falls with n where there are few graphs of the kind.",
    ),
    _of_share(
        "novel",
        "novel",
        "Share of the graphs that are like no training graph.",
        "Noise is novel, and where there are few graphs of the kind a perfect model is not.",
    ),
    _of_share(
        "valid",
        "valid",
        "Share of the graphs that keep the rule by which the set was made.",
        "One valid graph again and again has all of it.",
    ),
    _of_share(
        "valid_unique_novel",
        "valid, unique, novel",
        "Share of the graphs that are all three at once.",
        "Where there are few graphs of the kind a perfect model has little of it.",
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
                f"mean over {len(it)} samples against that of {len(it.against.test)} test graphs"
            ),
        ),
    ),
)
