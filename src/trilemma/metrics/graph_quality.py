r"""Quality and coverage of generated graphs, held against a data set's test graphs.

    mmd_*       maximum mean discrepancy (`metrics.mmd`) of degrees, clustering, orbits and spectra
                (`metrics.graph_statistics`) with GraphRNN's kernels as V-statistic; `_u` as
                U-statistic; `_tv` by total variation, as later papers have it; `_tv_u` both
    unique      share of the samples that are like no sample before, whatever the order of nodes
    novel       share that are like no training graph
    valid       share that keep the rule by which the set was made, where there is one
    valid_unique_novel   all three at once
    coverage, density    as for images (`metrics.neighbours`), with the distance of all statistics,
                d² = sum of 2 - 2 k over the four kernels; as many samples as there are test graphs
    size_gap    |mean size of the samples / mean size of the test graphs - 1|; sizes are the model's
                own, and nothing is matched to the test set

A `GraphReference` is what does not depend on the model: the same for training graphs in the place
of samples (the floor), and for graphs whose sizes are drawn from the training sizes and whose
edges are as many as those of training graphs of this size: at random (`erdos-renyi`) and by
preferential attachment (`barabasi-albert`). Graphs without nodes or edges are measured like any
other, and counted in the protocol.

References:
    | GraphRNN (You et al., 2018), arXiv:1802.08773
    | Efficient Graph Generation with Graph Recurrent Attention Networks (Liao et al., 2019)
    | Reliable Fidelity and Diversity Metrics for Generative Models (Naeem et al., 2020)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.core.graph import adjacency, sizes, stacked
from trilemma.core.noise import mix
from trilemma.data.dataset import DataSet
from trilemma.data.graphs import preferential
from trilemma.metrics.graph_statistics import Statistics, statistics
from trilemma.metrics.isomorphism import Kinds
from trilemma.metrics.mmd import Gram, Kernel
from trilemma.metrics.quality import Progress
from trilemma.metrics.score import RESAMPLES, Score, resamples, spread

__all__ = ["KERNELS", "METRICS", "GraphReference", "graph_reference"]

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
MMDS = tuple(
    f"mmd_{name}{family}{form}" for form in ("", "_u") for family in KERNELS for name in STATISTICS
)
SHARES = ("unique", "novel", "valid", "valid_unique_novel")
METRICS = (*MMDS, "coverage", "density", *SHARES, "size_gap")

NEAREST = 5
"""Neighbours of a test graph that span its ball."""
SHOWN = 16
"""Samples whose nearest training graph is kept."""
TRIVIAL = 256
"""Graphs of each baseline at most."""

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
    kinds: Mapping[int, None]
    """Kinds of the training graphs."""
    known: Kinds
    floor: Mapping[str, float]
    floor_n: int
    baselines: Mapping[str, Mapping[str, float]]
    name: str = "graph statistics"
    note: str = (
        "degrees, clustering, counts of graphs of up to four nodes, and spectrum of the "
        "normalised Laplacian"
    )

    def measured(self, samples: Tensor) -> tuple[dict[str, Score], dict[str, str], Tensor]:
        """Return scores, reasons for what is skipped, and nearest training graphs.

        Arguments:
            samples: [n, N, N].
        """
        of = statistics(samples)
        grams = _grams(of, self.test)
        values = _values(samples, of, grams, self)
        deviations = self._deviations(samples, grams, values)
        bare = int((of.edges == 0).sum())
        scores = {
            name: self._score(name, value, deviations[name], len(samples), bare)
            for name, (value, _) in values.items()
        }
        skipped: dict[str, str] = {}
        if self.data.rule is None:
            reason = f"no rule is known of the graphs of '{self.data.name}'"
            skipped |= {"valid": reason, "valid_unique_novel": reason}
        near = _joint(of[:SHOWN], self.train).argmin(1)
        return scores, skipped, self.data.train.x[near]

    def _score(self, name: str, value: float, deviation: float, n: int, bare: int) -> Score:
        mmd = name.startswith("mmd")
        share = name in SHARES or name == "coverage"
        least = -torch.inf if mmd else 0.0
        return Score(
            value,
            unit="MMD²" if mmd else "share" if share or name == "size_gap" else "",
            better="lower" if mmd or name == "size_gap" else "higher",
            floor=self.floor.get(name),
            baselines=self.baselines.get(name, {}),
            n=n,
            protocol=self._protocol(name, n, bare),
        ).within(deviation, least=least, most=1.0 if share else torch.inf)

    def _protocol(self, name: str, n: int, bare: int) -> str:
        what = f"{n} samples against {len(self.test)} test graphs"
        if name.startswith("mmd"):
            family = "_tv" if "_tv" in name else ""
            form = "U-statistic" if name.endswith("_u") else "V-statistic"
            kernel = KERNELS[family][name.split("_")[1]]
            what += f", {form}, {kernel}"
        elif name in ("coverage", "density"):
            what = (
                f"{min(n, len(self.test))} samples against as many test graphs, {NEAREST} "
                "neighbours, joint distance of the four statistics"
            )
        elif name in SHARES:
            what = f"{n} samples"
            if name != "unique":
                what += f" against {len(self.train)} training graphs"
            if self.data.rule is not None and "valid" in name:
                what += f"; valid: {self.data.rule.words}"
        else:
            what = f"mean over {n} samples against that of {len(self.test)} test graphs"
        return (
            f"{what}; {bare} of the samples without an edge; seed {self.seed}; interval: 1.96 "
            f"standard deviations over {RESAMPLES} bootstrap resamples; floor: {self.floor_n} "
            "training graphs"
        )

    def _deviations(
        self,
        samples: Tensor,
        grams: Mapping[str, Gram],
        values: Mapping[str, tuple[float, Tensor]],
    ) -> Values:
        weights = resamples(len(samples), seed=self.seed)
        found = {}
        for name, (_, each) in values.items():
            if name.startswith("mmd"):
                unbiased = name.endswith("_u")
                gram = grams[name.removesuffix("_u")]
                found[name] = gram.squared(unbiased=unbiased, weights=weights).std().item()
            else:
                found[name] = spread(each, seed=self.seed)
        return found


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

    def told(done: int) -> None:
        if check is not None:
            check()
        if progress is not None:
            progress("graphs of the data and trivial ones", done, 4)

    known = Kinds()
    kinds = dict.fromkeys(known.of(data.train.x))
    test, train = statistics(data.test.x), statistics(data.train.x)
    told(1)
    rows = _order(len(data.train), seed)[:n]
    empty = GraphReference(data, n, seed, test, train, kinds, known, {}, len(rows), {})
    floor = _plain(data.train.x[rows], train[rows], empty)
    floor |= _floor_of_test(data, empty)
    told(2)
    baselines: dict[str, dict[str, float]] = {}
    for done, (name, make) in enumerate(TRIVIALS.items(), 3):
        x = make(data.train.x, min(n, TRIVIAL), seed)
        for metric, value in _plain(x, statistics(x), empty).items():
            baselines.setdefault(metric, {})[name] = value
        told(done)
    return replace(empty, floor=floor, baselines=baselines)


def _floor_of_test(data: DataSet, empty: GraphReference) -> Values:
    """Return what test graphs reach where training graphs are no stand-in for samples."""
    return {k: v for k, (v, _) in _shares(data.test.x, empty).items()}


def _order(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(mix(seed, "graphs")))


def _grams(of: Statistics, test: Statistics) -> dict[str, Gram]:
    """Return the kernels' values, by the metric's name as V-statistic."""
    found = {}
    for family, kernels in KERNELS.items():
        for name, kernel in kernels.items():
            a, b = getattr(of, name), getattr(test, name)
            found[f"mmd_{name}{family}"] = Gram(kernel(a, a), kernel(a, b), kernel(b, b))
    return found


def _joint(a: Statistics, b: Statistics) -> Tensor:
    """Return the distance of all statistics, [A, B]."""
    total = torch.zeros(len(a), len(b), dtype=torch.float64)
    for name, kernel in KERNELS[""].items():
        total += 2 - 2 * kernel(getattr(a, name), getattr(b, name))
    return total.clamp_min(0).sqrt()


def _plain(x: Tensor, of: Statistics, against: GraphReference) -> Values:
    values = _values(x, of, _grams(of, against.test), against)
    return {name: value for name, (value, _) in values.items()}


def _values(
    x: Tensor, of: Statistics, grams: Mapping[str, Gram], against: GraphReference
) -> dict[str, tuple[float, Tensor]]:
    """Return every metric, and what each sample has to do with it, where it is a mean."""
    nothing = torch.empty(0)
    found = {name: (gram.squared().item(), nothing) for name, gram in grams.items()}
    if len(x) > 1:
        for name, gram in grams.items():
            found[f"{name}_u"] = (gram.squared(unbiased=True).item(), nothing)
    found |= _neighbours(of, against.test)
    found |= _shares(x, against)
    relative = of.nodes.double() / against.test.nodes.double().mean()
    found["size_gap"] = (abs(relative.mean().item() - 1), relative)
    return found


def _neighbours(of: Statistics, test: Statistics) -> dict[str, tuple[float, Tensor]]:
    """Return coverage and density, of as many samples as there are test graphs."""
    m = min(len(of), len(test))
    if m <= NEAREST:
        return {}
    of, test = of[:m], test[:m]
    radius = _joint(test, test).sort(1).values[:, NEAREST] + 1e-9
    within = _joint(of, test) <= radius
    covered, dense = within.any(0).double(), within.double().sum(1) / NEAREST
    return {
        "coverage": (covered.mean().item(), covered),
        "density": (dense.mean().item(), dense),
    }


def _shares(x: Tensor, against: GraphReference) -> dict[str, tuple[float, Tensor]]:
    """Return the shares of samples that are unique, novel and valid."""
    seen: set[int] = set()
    unique, novel = [], []
    for kind in against.known.of(x):
        unique.append(kind not in seen)
        novel.append(kind not in against.kinds)
        seen.add(kind)
    each = {"unique": torch.tensor(unique), "novel": torch.tensor(novel)}
    if against.data.rule is not None:
        each["valid"] = against.data.rule.holds(x)
        each["valid_unique_novel"] = each["valid"] & each["unique"] & each["novel"]
    return {name: (float(k.double().mean()), k.double()) for name, k in each.items()}


# Trivial graphs


def erdos_renyi(train: Tensor, count: int, seed: int) -> Tensor:
    """Draw graphs of training sizes whose pairs are joined with the mean density of that size."""
    draw = torch.Generator().manual_seed(mix(seed, "erdos-renyi"))
    n, edges = _drawn(train, count, draw)
    share = edges / (n * (n - 1) / 2).clamp_min(1)
    room = train.shape[-1]
    joined = (torch.rand(count, room, room, generator=draw) < share[:, None, None]).triu(1)
    here = torch.arange(room) < n[:, None]
    joined = (joined | joined.transpose(1, 2)) & here[:, None] & here[:, :, None]
    return joined.to(torch.uint8) + torch.diag_embed(here.to(torch.uint8))


def barabasi_albert(train: Tensor, count: int, seed: int) -> Tensor:
    """Grow graphs of training sizes by preferential attachment, with about as many edges."""
    draw = torch.Generator().manual_seed(mix(seed, "barabasi-albert"))
    n, edges = _drawn(train, count, draw)
    made = []
    for nodes, joined in zip(n.tolist(), edges.tolist(), strict=True):
        # m (n - m) edges: the smaller root.
        root = (nodes - max(nodes**2 - 4 * joined, 0.0) ** 0.5) / 2
        made.append(preferential(nodes, min(max(1, round(root)), nodes - 1), draw))
    return stacked(made, train.shape[-1])


def _drawn(train: Tensor, count: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw sizes from the training sizes, and return the mean edges of graphs of each."""
    n = sizes(train)
    joined = adjacency(train).sum((1, 2)).double() / 2
    chosen = n[torch.randint(len(n), (count,), generator=draw)]
    same = (chosen[:, None] == n).double()
    return chosen, (same @ joined) / same.sum(1)


TRIVIALS: Mapping[str, Callable[[Tensor, int, int], Tensor]] = {
    "erdos-renyi": erdos_renyi,
    "barabasi-albert": barabasi_albert,
}
