r"""Whether samples are training examples again: more of them than unseen data would be.

Of each of n samples y a ratio in [0, 1] says how much nearer it is to one training example than to
others (`copy_search`); 0 is a copy. Of a graph that is isomorphic to one that is in the training
set once it is the share of training graphs that are larger, in nodes and edges: small graphs are
repeated by chance. Of other graphs it is 1, also where no search has settled the pair.

Data repeat themselves: rows of whole numbers, small graphs, ladders. How often a ratio is small
without anybody copying is counted on A examples that are no copies,

    test examples                          against the training examples
    training examples, weight 1/2          against the others
    samples, weight 1/2                    against the other samples, where else A < n / 2

Two of one set that are near are near to each other, and count once by their weights. All are
counted in cells, sixteen by k-means (graphs: by the number of nodes), and `copy_evidence` tests
whether the samples have more small ratios than these have where the samples lie, at all thresholds
together, .001, for exact copies (1 for graphs), among them. Of points whose columns are all real
R is known by a law that is fitted to the others, where they have it (`copy_law`). At p < .05 there
is an *alarm*. The value is the share of samples below one threshold beyond what is expected there.

What cannot be found: a copy with so much noise that new examples lie as near. Gaussian noise whose
root mean square is half of the median distance of nearest neighbours moves the score of the best
test, one that knows an even density, by

    e sqrt(n V_d (d / pi)^(d/2) / ln 2)    standard deviations,

V_d the volume of the unit ball, where a share e of n samples is copied: 0.8 in the plane for 1 %
of 2,000, where 1.64 give an alarm half of the time; 3.2 in six dimensions, and more in images. And
how often ratios are small is known from A examples only: what that costs is counted by
`python -m benchmarks thief`.

References:
    | Diffusion Probabilistic Models Generalize when They Fail to Memorize (Yoon et al., 2023)
    | A Non-Parametric Test to Detect Data-Copying in Generative Models (Meehan, Chaudhuri &
      Dasgupta, 2020)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trilemma.core.domain import Domain
from trilemma.core.graph import sizes
from trilemma.core.noise import mix
from trilemma.data.chemistry import to_smiles
from trilemma.metrics.context import AT_ONCE, Context, Reference
from trilemma.metrics.copy_evidence import EXACT, Counted, Finding, find_copies
from trilemma.metrics.copy_search import Nearest, NeighbourSearch, coordinates
from trilemma.metrics.graphs import GraphReference
from trilemma.metrics.metric import MEMORISED, Metric, Unmeasured
from trilemma.metrics.neighbours import CAP
from trilemma.metrics.score import Exhibit, Score

__all__ = ["METRICS"]

MAX_EXAMPLES = 4000
"""Test examples, and training examples, on which small ratios are counted at most; half as many
where each is compared at nine places."""
FEWEST = 20
"""Training examples, and samples, at least."""
CELLS, ROUNDS = 16, 10
"""Cells, and rounds of k-means that make them."""
MAX_SUSPECTS = 10
"""Suspects that are shown at most."""


def cells(
    points: Float[Tensor, "N F"], count: int = CELLS
) -> tuple[Float[Tensor, "K F"], Int[Tensor, " N"]]:
    """Return the centres of k-means from the first points, and the nearest to each point."""
    centres = points[:count].clone()
    for _ in range(ROUNDS):
        nearest = torch.cdist(points, centres).argmin(1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        cell_sizes = torch.bincount(nearest, minlength=len(centres))
        centres = torch.where(
            cell_sizes[:, None] > 0, sums / cell_sizes.clamp_min(1)[:, None], centres
        )
    return centres, torch.cdist(points, centres).argmin(1)


# Images, points and tables.


@dataclass(frozen=True)
class _TrainingIndex:
    """What depends on the data alone."""

    search: NeighbourSearch
    centres: Tensor
    controls: tuple[Counted, ...]

    def cell_of(self, x: Tensor) -> Int[Tensor, " N"]:
        """Return the cell of each example."""
        coords = (self.search.low(self.search.coords.of(chunk)) for chunk in x.split(AT_ONCE))
        return torch.cat([torch.cdist(chunk, self.centres).argmin(1) for chunk in coords])


def _training_index(reference: Reference) -> _TrainingIndex:
    data = reference.data
    train, test = data.train.x, data.test.x
    coords = coordinates(data.domain, train)
    search = NeighbourSearch(train, coords)
    row_limit = MAX_EXAMPLES if coords.views(train[:1]).shape[1] == 1 else MAX_EXAMPLES // 2
    train_rows, test_rows = (
        torch.randperm(len(x), generator=torch.Generator().manual_seed(mix(reference.seed, name)))[
            :row_limit
        ]
        for name, x in (("held back", train), ("unseen", test))
    )
    centres, cell = cells(search.low(search.coords.of(train[train_rows])))
    training_index = _TrainingIndex(search, centres, ())
    controls = (
        Counted(
            "test examples",
            search.nearest(test[test_rows]),
            training_index.cell_of(test[test_rows]),
        ),
        Counted(
            "training examples", search.nearest(train[train_rows], without=train_rows), cell, 0.5
        ),
    )
    return replace(
        training_index, controls=tuple(control for control in controls if len(control.cell))
    )


def _of_examples(context: Context) -> tuple[Counted, list[Counted]]:
    x, data = context.samples[:CAP], context.data
    if x.is_floating_point() and not x.isfinite().all():
        nonfinite_count = int((~x.isfinite().flatten(1).all(1)).sum())
        raise Unmeasured(f"{nonfinite_count} of {len(x)} samples are not finite numbers")
    training_index: _TrainingIndex = context.reference.once(_training_index)

    def each(finished: int) -> None:
        context.session.report("copies", finished, len(x))

    cell = training_index.cell_of(x)
    samples = Counted("samples", training_index.search.nearest(x, each=each), cell)
    controls = list(training_index.controls)
    if _needs_sample_control(controls, data.domain, len(x), len(data.train)):
        sample_search = NeighbourSearch(x, training_index.search.coords)
        neighbours = sample_search.nearest(x, without=torch.arange(len(x)))
        controls.append(Counted("samples", neighbours, cell, 0.5))
    return samples, controls


def _needs_sample_control(controls: Sequence[Counted], domain: Domain, n: int, train: int) -> bool:
    """Return whether samples are to be compared among themselves: where the controls are few.

    Where values can be counted, chance repeats an example the more often the more there are, so
    that there must be as many samples as training examples.
    """
    too_few = sum(control.weight * len(control.cell) for control in controls) < n / 2
    is_discrete = domain.kind != "image" and domain.values.binned
    return too_few and (n >= train or not is_discrete)


# Graphs.


@dataclass(frozen=True)
class _GraphKinds:
    """Isomorphism classes of the training graphs, and what depends on the data alone."""

    once: Mapping[int, int]
    """Row of each class that is in the training set once."""
    marks: Float[Tensor, " K"]
    """Numbers of nodes between cells."""
    extents: Int[Tensor, " N"]
    """Nodes and edges of the training graphs, in ascending order."""
    controls: tuple[Counted, ...]

    def counted(
        self, name: str, x: Tensor, hits: Sequence[bool], rows: Sequence[int], weight: float
    ) -> Counted:
        """Return graphs, with the share of larger training graphs where they are copies."""
        smaller_count = torch.searchsorted(self.extents, _extents(x), right=True)
        larger_share = 1 - smaller_count.double() / len(self.extents)
        ratio = torch.where(
            torch.tensor(hits, dtype=torch.bool), larger_share, torch.ones(()).double()
        )
        cell = torch.bucketize(sizes(x).double(), self.marks)
        return Counted(name, Nearest(ratio, torch.tensor(rows, dtype=torch.long)), cell, weight)

    def reference(self, name: str, x: Tensor, kinds: Sequence[int]) -> Counted:
        """Return graphs that are compared with the training graphs."""
        rows = [self.once.get(kind, -1) for kind in kinds]
        return self.counted(name, x, [row >= 0 for row in rows], rows, 1.0)

    def among(self, name: str, x: Tensor, kinds: Sequence[int]) -> Counted:
        """Return graphs of a set, each compared with the others."""
        class_counts = Counter(kinds)
        hits = [class_counts[kind] == 2 for kind in kinds]
        return self.counted(name, x, hits, [0] * len(hits), 0.5)


def kinds(train: tuple[Tensor, Sequence[int]], test: tuple[Tensor, Sequence[int]]) -> _GraphKinds:
    """Return the isomorphism classes of the training graphs, and the controls."""
    (x, classes), class_counts = train, Counter(train[1])
    unique_rows = {kind: row for row, kind in enumerate(classes) if class_counts[kind] == 1}
    quantile_levels = torch.arange(1, CELLS, dtype=torch.float64) / CELLS
    size_quantiles = sizes(x).double().quantile(quantile_levels).unique()
    graph_kinds = _GraphKinds(unique_rows, size_quantiles, _extents(x).sort().values, ())
    controls = (
        graph_kinds.reference("test graphs", *test),
        graph_kinds.among("training graphs", *train),
    )
    return replace(graph_kinds, controls=controls)


def _extents(x: Tensor) -> Int[Tensor, " N"]:
    """Return nodes and edges together: half of the ones of the matrix, the diagonal twice."""
    return (x.flatten(1).sum(1, dtype=torch.long) + sizes(x)) // 2


def _known_kinds(reference: GraphReference) -> _GraphKinds:
    train, test = reference.data.train.x, reference.data.test.x
    classes_of = partial(reference.isomorphism_classes.of, check=reference.check)
    return kinds((train, classes_of(train)), (test, classes_of(test)))


def graphs_counted(
    graph_kinds: _GraphKinds, x: Tensor, classes: Sequence[int], domain: Domain
) -> tuple[Counted, list[Counted]]:
    """Return sampled graphs, and what they are held against."""
    controls = list(graph_kinds.controls)
    if _needs_sample_control(controls, domain, len(x), len(graph_kinds.extents)):
        controls.append(graph_kinds.among("samples", x, classes))
    return graph_kinds.reference("samples", x, classes), controls


def _of_graphs(context: Context) -> tuple[Counted, list[Counted]]:
    reference, x = context.reference, context.samples[:CAP]
    assert isinstance(reference, GraphReference)
    graph_kinds: _GraphKinds = reference.once(_known_kinds)
    classes = reference.isomorphism_classes.of(x, reference.check)
    return graphs_counted(graph_kinds, x, classes, context.data.domain)


def _molecule_kinds(reference: Reference) -> tuple[_GraphKinds, dict[str, int]]:
    """Return what is known of training molecules, with a number for each SMILES."""
    data, smiles_ids = reference.data, {}
    labelled_splits = []
    for split in (data.train, data.test):
        smiles_list = split.names or to_smiles(split.x, data.domain.elements)
        classes = [smiles_ids.setdefault(smiles, len(smiles_ids)) for smiles in smiles_list]
        labelled_splits.append(((split.x > 0).to(torch.uint8), classes))
    return kinds(*labelled_splits), smiles_ids


def _of_molecules(context: Context) -> tuple[Counted, list[Counted]]:
    """Return sampled molecules, which are copies where their canonical SMILES are."""
    x = context.samples[:CAP]
    graph_kinds, smiles_ids = context.reference.once(_molecule_kinds)
    smiles_list = to_smiles(x, context.data.domain.elements)
    smiles_ids = dict(smiles_ids)
    classes = [smiles_ids.setdefault(smiles, len(smiles_ids)) for smiles in smiles_list]
    return graphs_counted(graph_kinds, (x > 0).to(torch.uint8), classes, context.data.domain)


def _measure(context: Context) -> Score:
    data = context.data
    train_count = len(data.train)
    if min(train_count, context.n) < FEWEST:
        raise Unmeasured(
            f"{context.n} samples and {train_count} training examples are too few to tell copies "
            f"from chance; take at least {FEWEST} of each"
        )
    graph = data.domain.kind in ("graph", "molecule")
    samples, controls = BY_KIND.get(data.domain.kind, _of_examples)(context)
    smooth = data.domain.kind == "points" and not data.domain.values.binned
    finding = find_copies(samples, controls, 1.0 if graph else EXACT, smooth=smooth)
    return Score(
        finding.value,
        low=finding.low,
        high=finding.high,
        floor=0.0,
        n=len(samples.cell),
        protocol=_protocol(finding, samples, controls, train_count, graph=graph),
        exhibit=_exhibit(finding, samples, graph=graph),
    )


BY_KIND: Mapping[str, Callable[[Context], tuple[Counted, list[Counted]]]] = {
    "graph": _of_graphs,
    "molecule": _of_molecules,
}
"""How copies are found where two examples are the same whatever the order of their parts."""


def _protocol(
    it: Finding, samples: Counted, controls: Sequence[Counted], train: int, *, graph: bool
) -> str:
    n = len(samples.cell)
    criterion = (
        f"isomorphic to a graph that is there once, and of which less than {it.threshold:.3g} of "
        "the training graphs are larger"
        if graph
        else f"distance to the nearest below {it.threshold:.3g} of that to the eighth nearest"
    )
    control_counts = ", ".join(
        f"{int((control.near.ratio < it.threshold).sum())} of {len(control.cell)} {control.name}"
        + (" among themselves" if control.weight < 1 else "")
        for control in controls
    )
    verdict = (
        "alarm: more than chance makes" if it.alarm else "no alarm: no more than chance makes"
    )
    return (
        f"{verdict}, p = {it.p:.2g}; {it.below} of {n} samples against {train} training examples, "
        f"{criterion}, of {it.distinct} of these; {100 * it.expected:.2g} % expected, known as "
        f"from {it.control_count:.0f} ({control_counts}); interval: Newcombe's; floor: test "
        "examples, by construction"
    )


def _exhibit(it: Finding, samples: Counted, *, graph: bool) -> Exhibit | None:
    rows = it.suspects[:MAX_SUSPECTS]
    if not len(rows):
        return None
    how = "isomorphic to it" if graph else "much nearer to it than to others"
    return Exhibit(
        f"Samples that may be copies, the likeliest first, each beside the training example that "
        f"it may be of: it is {how}.",
        samples=tuple(rows.tolist()),
        training_rows=tuple(samples.near.row[rows].tolist()),
    )


METRICS = (
    Metric(
        name="copies",
        label="copies",
        better="lower",
        unit="share of samples",
        section=MEMORISED,
        meaning="Share of the samples that are training examples again, exactly, nearly or moved "
        "by a pixel, beyond what unseen data are; the protocol says whether there is an alarm.",
        failure="Copies with much noise pass in few dimensions, as do copies of what is in the "
        "training set twice; one example again and again counts once; no alarm proves nothing of "
        "what was learned by heart and not drawn.",
        least=0.0,
        most=1.0,
        estimand="the expected share of samples below the protocol's threshold, beyond that of "
        "fresh data",
        too_wide="where nobody copies",
        measure=_measure,
    ),
)
