"""A set of generated graphs, and what it is held against.

A `GraphReference` is what does not depend on the model: statistics of test and training graphs,
training graphs in the place of samples (the floor; of shares, test graphs), and trivial graphs
(`metrics.trivial_graphs`). Graphs without nodes or edges are measured like any other, and counted
in the protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.core.noise import mix
from trilemma.core.session import Session
from trilemma.data.dataset import DataSet
from trilemma.maths.graphs.isomorphism import IsomorphismClasses
from trilemma.metrics.context import Context
from trilemma.metrics.graph_statistics import Statistics, statistics
from trilemma.metrics.metric import Memo
from trilemma.metrics.mmd import Kernel
from trilemma.metrics.trivial_graphs import TRIVIAL

__all__ = [
    "KERNELS",
    "GraphReference",
    "Graphs",
    "bare",
    "graph_reference",
    "graphs",
    "joint_distance",
    "kernels",
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
MAX_NEIGHBOURS = 16
"""Samples whose nearest training graph is kept."""
MOST = 256
"""Trivial graphs of each kind at most."""
TEST, TRAIN = 2000, 10_000
"""Most test and training graphs that are measured; novelty is asked of all training graphs."""


@dataclass(eq=False)
class Graphs(Memo):
    """A set of graphs with their statistics."""

    x: UInt8[Tensor, "B N N"]
    of: Statistics
    reference: GraphReference

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
    isomorphism_classes: IsomorphismClasses
    kinds: frozenset[int]
    """Kinds of the training graphs."""
    stand_ins: Mapping[str, Graphs] = field(default_factory=dict)
    """Trivial graphs, by name."""
    check: Callable[[], None] | None = field(default=None, repr=False)
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
        samples = graphs(context).of[:MAX_NEIGHBOURS]
        nearest_rows = self.train_rows[joint_distance(samples, self.train).argmin(1)]
        return self.data.train.x[nearest_rows]


def _real(reference: GraphReference) -> Graphs:
    rows = reference.train_rows[: reference.n]
    return Graphs(reference.data.train.x[rows], reference.train[: reference.n], reference)


def _real_tests(reference: GraphReference) -> Graphs:
    return Graphs(reference.data.test.x, reference.test, reference)


def graphs(context: Context) -> Graphs:
    """Return the samples with their statistics."""
    return context.once(_graphs)


def _graphs(context: Context) -> Graphs:
    reference = context.reference
    assert isinstance(reference, GraphReference)
    return Graphs(context.samples, statistics(context.samples), reference)


def graph_reference(
    data: DataSet,
    *,
    session: Session,
    n: int,
) -> GraphReference:
    """Measure a set of graphs against itself and against trivial graphs.

    Arguments:
        data: Has test graphs.
        session: Its seed is that of orders, trivial graphs and resamples.
        n: How many samples will be measured.

    Raises:
        BadInput: There are fewer than two test graphs.
    """
    if len(data.test) < 2:
        raise BadInput(
            f"data set '{data.name}' has {len(data.test)} test graphs, and 2 or more are needed "
            "to measure against."
        )

    seed = session.seed

    def of(x: Tensor, what: str) -> Statistics:
        return statistics(x, each=lambda k: session.report(f"statistics of {what}", k, len(x)))

    rows = _order(len(data.train), seed, "train")[:TRAIN]
    test = of(data.test.x[_order(len(data.test), seed, "test")[:TEST]], "test graphs")
    train = of(data.train.x[rows], "training graphs")
    grams = {
        metric: kernel(*(getattr(test, statistic),) * 2) for metric, statistic, kernel in kernels()
    }
    isomorphism_classes = IsomorphismClasses()
    kinds = frozenset(isomorphism_classes.of(data.train.x, session.check))
    baseline_graphs: dict[str, Graphs] = {}
    reference = GraphReference(
        data,
        n,
        seed,
        test,
        train,
        rows,
        grams,
        isomorphism_classes,
        kinds,
        stand_ins=baseline_graphs,
        check=session.check,
    )
    for name, make in TRIVIAL.items():
        x = make(data.train.x, min(n, MOST), seed)
        baseline_graphs[name] = Graphs(x, of(x, name), reference)
    return reference


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


def kernels() -> list[tuple[str, str, Kernel]]:
    """List the metric's name as V-statistic, the statistic and the kernel of each MMD."""
    return [
        (f"mmd_{statistic}{family}", statistic, kernel)
        for family, kernels in KERNELS.items()
        for statistic, kernel in kernels.items()
    ]


def bare(it: Graphs) -> str:
    """Count the graphs without an edge, in words."""
    return f"{int((it.of.edges == 0).sum())} of the samples without an edge"
