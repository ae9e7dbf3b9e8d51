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

A `GraphReference` is what does not depend on the model: the same for training graphs in the place
of samples (the floor; of shares, for test graphs), and for trivial graphs (`metrics.
trivial_graphs`). Graphs without nodes or edges are measured like any other, and counted in the
protocol.

References:
    | GraphRNN (You et al., 2018), arXiv:1802.08773
    | Efficient Graph Generation with Graph Recurrent Attention Networks (Liao et al., 2019)
    | Reliable Fidelity and Diversity Metrics for Generative Models (Naeem et al., 2020)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.core.noise import mix
from trilemma.data.dataset import DataSet
from trilemma.maths.isomorphism import IsomorphismClasses
from trilemma.metrics.graph_statistics import Statistics, statistics
from trilemma.metrics.matching import METRICS as RETRIEVAL
from trilemma.metrics.mmd import Gram, Kernel
from trilemma.metrics.quality import Progress
from trilemma.metrics.restoration import METRICS as RESTORATION
from trilemma.metrics.score import SUBSETS, Chance, Score, Trials, subset_spreads
from trilemma.metrics.trivial_graphs import TRIVIAL

__all__ = ["KERNELS", "METRICS", "GraphReference", "graph_reference", "joint_distance"]

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
MMDS = tuple(
    f"mmd_{name}{family}{form}" for form in ("", "_u") for family in KERNELS for name in STATISTICS
)
SHARES = ("unique", "novel", "valid", "valid_unique_novel")
METRICS = ("mmd", *MMDS, "coverage", "density", *SHARES, "size_gap")

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
BEYOND = frozenset(
    {*RESTORATION, *RETRIEVAL, "reconstruction_psnr", "ode_log_prob", "ode_bits_per_dim"}
)
"""Metrics of pictures and of real numbers."""

Values = dict[str, float]


@dataclass(frozen=True)
class GraphReference:
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
    floor: Mapping[str, float] = field(default_factory=dict)
    floor_n: int = 0
    """Training graphs that stood in for samples."""
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Value by metric and trivial graphs."""
    beyond: frozenset[str] = BEYOND
    check: Callable[[], None] | None = field(default=None, repr=False, compare=False)
    """Called many times a second while graphs are compared; raises to stop."""
    name: str = "graph statistics"
    note: str = (
        "Degrees, clustering, counts of graphs of up to four nodes, and spectrum of the "
        "normalised Laplacian."
    )

    def measured(self, samples: Tensor) -> tuple[dict[str, Score], dict[str, str], Tensor]:
        """Return scores, reasons for what is skipped, and nearest training graphs.

        Arguments:
            samples: [n, N, N].
        """
        of, shares = statistics(samples), _shares(samples, self)
        values, chances = _values(of, shares, self), _chances(of, self)
        bare = int((of.edges == 0).sum())
        scores = {
            name: self._score(name, value, chances.get(name), len(samples), bare)
            for name, value in values.items()
        }
        near = self.train_rows[joint_distance(of[:SHOWN], self.train).argmin(1)]
        return scores, self._skipped(values, len(samples)), self.data.train.x[near]

    def _score(
        self, name: str, value: float, chance: float | Chance | Trials | None, n: int, bare: int
    ) -> Score:
        mmd = name.startswith("mmd")
        score = Score(
            value,
            unit=_unit(name),
            better="lower" if mmd or name == "size_gap" else "higher",
            floor=self.floor.get(name),
            baselines=self.baselines.get(name, {}),
            n=n,
            protocol=f"{self._asked(name, n)}; {bare} of the samples without an edge; seed "
            f"{self.seed}; {self._beside(name)}{self._undecided(name)}",
        )
        if chance is None:
            return score.within(Trials(n))
        least = -torch.inf if name.endswith("_u") else min(value, 0.0)
        return score.within(chance, least=least, most=1.0 if name == "coverage" else torch.inf)

    def _asked(self, name: str, n: int) -> str:
        """Say what was done."""
        m = len(self.test)
        if name == "mmd":
            return (
                f"{n} samples against {m} test graphs, mean of the V-statistics of "
                f"{', '.join(STATISTICS)}"
            )
        if name.startswith("mmd"):
            family = "_tv" if "_tv" in name else ""
            form = "U-statistic" if name.endswith("_u") else "V-statistic"
            statistic = name.split("_")[1]
            ours = " (GraphRNN has none)" if statistic == "spectral" and not family else ""
            kernel = KERNELS[family][statistic]
            return f"{n} samples against {m} test graphs, {form}, {kernel}{ours}"
        if name in ("coverage", "density"):
            each = min(n, m)
            return (
                f"{each} samples at a time against {each} test graphs, mean of {n // each} such "
                f"parts, {NEAREST} neighbours, joint distance of the four statistics"
            )
        if name == "size_gap":
            return f"mean over {n} samples against that of {m} test graphs"
        rule = self.data.rule
        kept = f"; valid: {rule.words}" if rule is not None and "valid" in name else ""
        against = f" against {len(self.data.train)} training graphs" if "novel" in name else ""
        return f"{n} samples{against}{kept}"

    def _beside(self, name: str) -> str:
        """Say what interval and floor are."""
        if name in SHARES:
            return f"interval: Wilson's; floor: {len(self.data.test)} test graphs"
        by_subsets = name in ("coverage", "density")
        how = f"by {SUBSETS} subsets of both" if by_subsets else "in closed form"
        return (
            f"interval: over fresh samples and fresh test graphs, {how}; floor: {self.floor_n} "
            "training graphs"
        )

    def _undecided(self, name: str) -> str:
        """Say how many pairs of training, test and generated graphs no search has settled."""
        pairs = self.known.undecided
        if not pairs or name not in SHARES or name == "valid":
            return ""
        return f"; undecided pairs of graphs, counted as different: {pairs}"

    def _skipped(self, values: Mapping[str, float], n: int) -> dict[str, str]:
        """Say why there is not every metric."""
        few = f"{n} samples and {len(self.test)} test graphs are too few"
        ruleless = f"no rule is known of the graphs of '{self.data.name}'"
        return {
            name: ruleless if name in SHARES else few for name in METRICS if name not in values
        }


def graph_reference(
    data: DataSet,
    *,
    n: int,
    seed: int,
    progress: Progress | None = None,
    check: Callable[[], None] | None = None,
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
    bare = GraphReference(data, n, seed, test, train, rows, grams, known, kinds, check=check)
    floor = _values(train[:n], _shares(data.test.x, bare), bare)
    baselines: dict[str, dict[str, float]] = {}
    for name, make in TRIVIAL.items():
        x = make(data.train.x, min(n, MOST), seed)
        for metric, value in _values(of(x, name), _shares(x, bare), bare).items():
            baselines.setdefault(metric, {})[name] = value
    return replace(bare, floor=floor, floor_n=len(rows[:n]), baselines=baselines)


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


def _unit(name: str) -> str:
    if name.startswith("mmd"):
        return "MMD²"
    of_test = {"coverage": "share of test graphs", "size_gap": "share of the size"}
    return "ratio" if name == "density" else of_test.get(name, "share of samples")


def _kernels() -> list[tuple[str, str, Kernel]]:
    """List the metric's name as V-statistic, the statistic and the kernel of each MMD."""
    return [
        (f"mmd_{statistic}{family}", statistic, kernel)
        for family, kernels in KERNELS.items()
        for statistic, kernel in kernels.items()
    ]


def _values(of: Statistics, shares: Mapping[str, Tensor], against: GraphReference) -> Values:
    """Return every metric that the numbers of graphs allow.

    Arguments:
        of: Graphs.
        shares: What each of them is.
        against: What they are held against.
    """
    found: Values = {}
    for metric, gram in _grams(of, against):
        found[metric] = gram.squared()
        if len(of) > 1:
            found[f"{metric}_u"] = gram.squared(unbiased=True)
    found["mmd"] = sum(found[f"mmd_{name}"] for name in STATISTICS) / len(STATISTICS)
    found["size_gap"] = abs(
        (of.nodes.double().mean() / against.test.nodes.double().mean()).item() - 1
    )
    near = Near.of(of, against.test)
    if near is not None:
        found |= near.measured(torch.arange(len(of)), torch.arange(len(against.test)))
    found |= {name: which.double().mean().item() for name, which in shares.items()}
    return {name: found[name] for name in METRICS if name in found}


def _grams(of: Statistics, against: GraphReference) -> Iterator[tuple[str, Gram]]:
    """Yield each MMD's name as V-statistic with the values of its kernel."""
    for metric, statistic, kernel in _kernels():
        x, y = getattr(of, statistic), getattr(against.test, statistic)
        yield metric, Gram(kernel(x, x), kernel(x, y), against.test_grams[metric])


def _chances(of: Statistics, against: GraphReference) -> dict[str, float | Chance | Trials]:
    """Return the chance in all metrics but shares, over fresh samples and fresh test graphs."""
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


def _shares(x: UInt8[Tensor, "B N N"], against: GraphReference) -> dict[str, Tensor]:
    """Tell of each graph whether it is unique, novel and valid."""
    seen: set[int] = set()
    unique, novel = [], []
    for kind in against.known.of(x, against.check):
        unique.append(kind not in seen)
        novel.append(kind not in against.kinds)
        seen.add(kind)
    each = {"unique": torch.tensor(unique), "novel": torch.tensor(novel)}
    if against.data.rule is not None:
        each["valid"] = against.data.rule.holds(x)
        each["valid_unique_novel"] = each["valid"] & each["unique"] & each["novel"]
    return each
