r"""Graphs that are made by a rule from a seed, and data sets of graphs.

    grid               grids of 10 × 10 … 19 × 19 nodes, one of each
    ladder             ladders of 100 … 200 rungs
    community          two communities of 30 … 80 nodes, ten of each size
    community-small    two communities of 6 … 10 nodes, twenty of each size
    barabasi-albert    100 … 199 nodes, five of each size; a new node comes with four edges

In a community of k nodes each pair is joined with probability 0.3 (small ones: 0.8), the two by
ceil(k / 10) random edges, and the largest component is kept. A new node of the Barabási-Albert
model is joined to different nodes with probabilities in proportion to their degrees.

A set's split belongs to the graphs and not to the order of their nodes: the fifth with the
smallest hashes is for testing, a hash being one of the graph's colours
(`maths.graphs.weisfeiler_lehman`) and of how many alike came before it. So graphs that are the
same but for the order of their nodes may lie on both sides, as they do where a set is split by
chance: small graphs repeat themselves, and with all of a kind on one side the two would not be of
one distribution.

A fifth of a published set of a hundred is too few to tell models apart. Its training graphs stay,
and test graphs are drawn by the same rule, from another stream of the seed, until there are 50:

    community-small    the held-out fifth and as many fresh graphs as it lacks, each of a size
                       drawn at random
    grid, ladder       50 fresh graphs, each of the set's sizes with the same probability and with
                       replacement; the held-out fifth is left out

A grid and a ladder are known by their sizes, and the published set lists them all. What was held
out of the list is not a draw of its distribution, for it holds no size twice and none of the
training's; a fresh draw is, and so a test graph may be a training graph. (Nearly all held-out
grids are training graphs too, rows and columns exchanged.) What is measured there is how near a
model comes to the distribution, and not what it makes of sizes that it has not seen: one that
knows its training graphs by heart lacks only the sizes that are not among them. A note counts
the test graphs that are training graphs. Where the published fifth has 50 graphs or more, it is
the test split.

M of the domain is the widest window in random breadth-first orders of the training graphs, and a
tenth more.

References:
    | GraphRNN: Generating Realistic Graphs with Deep Auto-regressive Models (You, Ying, Ren,
      Hamilton & Leskovec, 2018), section 4.1
    | Emergence of Scaling in Random Networks (Barabási & Albert, 1999)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.core.graph import graph, sizes, stacked
from trilemma.core.noise import mix
from trilemma.data import graph_files
from trilemma.data import graph_rules as rules
from trilemma.data.dataset import DataSet, Rule, Split
from trilemma.data.split import FEWEST_TEST
from trilemma.maths.graphs.bfs_orders import widest
from trilemma.maths.graphs.isomorphism import IsomorphismClasses
from trilemma.maths.graphs.weisfeiler_lehman import colour_hash

__all__ = [
    "GRAPHS",
    "SyntheticSet",
    "component_counts",
    "components",
    "dataset",
    "generate",
    "of_networks",
]

TEST_SHARE = 0.2
ORDERS, OF_ALL, AT_ONCE = 100, 100_000, 1 << 24
"""Random orders of each graph by which M is known, and of all at most, as long as each has a few;
numbers that are looked at at once."""
NEAR = 1 << 15
"""Nodes whose orders are drawn at once: their numbers stay in a processor's cache."""
FEWEST = 5
"""Graphs without which there is nothing to learn from and nothing to measure against."""


@dataclass(frozen=True)
class Fresh:
    """Where test graphs come from that a published set lacks."""

    draw: Callable[[int], list[Tensor]]
    """Draws so many graphs by the set's rule, from a stream of their own."""
    instead: bool = False
    """Whether they stand in the place of those that were held out, rather than beside them."""


@dataclass(frozen=True)
class SyntheticSet:
    """A set that is made by a rule."""

    description: str
    graphs: Callable[[int | None], list[Tensor]]
    """Makes the graphs, at another size where that is possible."""
    rule: Rule | None = None
    has_sizes: bool = False
    fresh: Callable[[int | None], Fresh] | None = None
    """Test graphs at that size, where the published fifth is fewer than `FEWEST_TEST`."""


def _grids(size: int | None = None) -> list[Tensor]:
    return [grid(a, b) for a in range(10, 20) for b in range(10, 20)]


def _ladders(size: int | None = None) -> list[Tensor]:
    return [grid(2, rungs) for rungs in range(100, 201)]


def _replaced(name: str, listed: Callable[[], list[Tensor]], size: int | None) -> Fresh:
    """Return draws from all graphs of a set, with replacement, each with the same probability."""

    def draw(count: int) -> list[Tensor]:
        generator, graphs = torch.Generator().manual_seed(mix(name, "test")), listed()
        return [
            graphs[i] for i in torch.randint(len(graphs), (count,), generator=generator).tolist()
        ]

    return Fresh(draw, instead=True)


def grid(rows: int, columns: int) -> Tensor:
    """Make a grid of rows × columns nodes."""
    index = torch.arange(rows * columns).view(rows, columns)
    horizontal = torch.stack([index[:, :-1].flatten(), index[:, 1:].flatten()], 1)
    vertical = torch.stack([index[:-1].flatten(), index[1:].flatten()], 1)
    return graph(rows * columns, torch.cat([horizontal, vertical]))


def _communities(
    least: int, most: int, each: int, chance: float, size: int | None
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(mix("community", least, most, size or 0))
    if size is not None:
        half = size // 2
        return [_community(half, chance, generator) for _ in range((most - least + 1) * each)]
    return [_community(k, chance, generator) for k in range(least, most + 1) for _ in range(each)]


def _more_communities(least: int, most: int, chance: float, size: int | None) -> Fresh:
    """Return draws of two communities, at random of `least` … `most` nodes where no size is."""

    def draw(count: int) -> list[Tensor]:
        generator = torch.Generator().manual_seed(mix("community", least, most, size or 0, "test"))
        halves = torch.randint(least, most + 1, (count,), generator=generator)
        if size is not None:
            halves = torch.full((count,), size // 2)
        return [_community(k, chance, generator) for k in halves.tolist()]

    return Fresh(draw)


def _community(k: int, chance: float, draw: torch.Generator) -> Tensor:
    """Make two communities of k nodes, and keep the largest component."""
    within_edges = torch.zeros(2 * k, 2 * k)
    for low in (0, k):
        within_edges[low : low + k, low : low + k] = torch.rand(k, k, generator=draw) < chance
    between_edges = torch.randint(k, (max(1, math.ceil(k / 10)), 2), generator=draw)
    x = graph(
        2 * k, torch.cat([within_edges.triu(1).nonzero(), between_edges + torch.tensor([0, k])])
    )
    return largest_component(x)


def largest_component(x: Tensor) -> Tensor:
    """Return the largest component of one graph as a graph of its own."""
    label = components(x[None])[0][: len(x)]
    largest_label = label.bincount().argmax()
    members = (label == largest_label).nonzero()[:, 0]
    return x[members][:, members]


def components(x: Tensor) -> Tensor:
    """Return for each node the first node of its component, [B, N]; nodes that are not there too.

    >>> components(graph(4, [(1, 3)])[None]).tolist()
    [[0, 1, 2, 1]]
    """
    size = x.shape[-1]
    label = torch.arange(size).expand(x.shape[:2])
    adjacent = x.bool() | torch.eye(size, dtype=torch.bool)
    while True:
        lower = torch.where(adjacent, label[:, None, :], size).amin(2)
        lower = lower.gather(1, lower)
        if torch.equal(lower, label):
            return label
        label = lower


def component_counts(x: Tensor) -> Tensor:
    """Return in how many pieces each graph is, [B]."""
    chunk_size = max(1, AT_ONCE // x.shape[1] ** 2)
    node_ids = torch.arange(x.shape[-1])
    counts = [
        ((components(chunk) == node_ids) & _node_mask(chunk)).sum(1)
        for chunk in x.split(chunk_size)
    ]
    return torch.cat(counts)


def _node_mask(x: Tensor) -> Tensor:
    return x.diagonal(dim1=1, dim2=2).bool()


def _scale_free(size: int | None) -> list[Tensor]:
    generator = torch.Generator().manual_seed(mix("barabasi-albert", size or 0))
    if size is None:
        return [preferential(n, 4, generator) for n in range(100, 200) for _ in range(5)]
    new = 4 if size >= 100 else 2
    return [preferential(size, new, generator) for _ in range(500)]


def preferential(n: int, new: int, draw: torch.Generator) -> Tensor:
    """Make a graph of n nodes by preferential attachment, each node coming with `new` edges."""
    ends: list[int] = []
    edges: list[tuple[int, int]] = []
    targets = list(range(new))
    for node in range(new, n):
        edges += [(node, target) for target in targets]
        ends += targets + [node] * new
        chosen: dict[int, None] = {}
        while len(chosen) < new:
            picks = torch.randint(len(ends), (new,), generator=draw).tolist()
            chosen |= dict.fromkeys(ends[i] for i in picks)
        targets = list(chosen)[:new]
    return graph(n, edges)


GRAPHS: Mapping[str, SyntheticSet] = {
    "grid": SyntheticSet(
        "80 of the published 100 grids of 10×10 to 19×19 nodes, and 50 drawn for testing",
        _grids,
        rules.GRID,
        fresh=partial(_replaced, "grid", _grids),
    ),
    "ladder": SyntheticSet(
        "80 of the published 101 ladders of 200 to 400 nodes, and 50 drawn for testing",
        _ladders,
        rules.LADDER,
        fresh=partial(_replaced, "ladder", _ladders),
    ),
    "community": SyntheticSet(
        "510 graphs of two communities, 60 to 160 nodes",
        lambda size: _communities(30, 80, 10, 0.3, size),
        rules.COMMUNITIES,
        True,
    ),
    "community-small": SyntheticSet(
        "100 graphs of two communities, 12 to 20 nodes, and 30 more for testing",
        lambda size: _communities(6, 10, 20, 0.8, size),
        rules.COMMUNITIES,
        True,
        partial(_more_communities, 6, 10, 0.8),
    ),
    "barabasi-albert": SyntheticSet(
        "500 graphs grown by preferential attachment, 100 to 199 nodes (--size: all of one size)",
        _scale_free,
        rules.CONNECTED,
        True,
    ),
}


def generate(name: str, size: int | None = None) -> DataSet:
    """Make a named set.

    Raises:
        BadInput: The set has one size, or the size is too small.
    """
    source = GRAPHS[name]
    if size is not None and not source.has_sizes:
        raise BadInput(f"--size was given, and '{name}' has sizes of its own; leave it out.")
    if size is not None and size < 8:
        raise BadInput(f"--size {size} was given; '{name}' takes 8 nodes or more.")
    graphs = source.graphs(size)
    count_note = f", as many as published: {len(graphs)}" if size is None else ""
    return dataset(
        graphs,
        name,
        rule=source.rule,
        notes=(f"made from a fixed seed{count_note}",),
        fresh=source.fresh(size) if source.fresh is not None else None,
    )


def dataset(
    graphs: Sequence[Tensor],
    name: str,
    *,
    rule: Rule | None = None,
    notes: Sequence[str] = (),
    fresh: Fresh | None = None,
) -> DataSet:
    """Make a data set of graphs.

    Arguments:
        graphs: Each a matrix of its own size, [n, n], or padded.
        name: Of the set.
        rule: What all graphs of the set are.
        notes: What a reader should know.
        fresh: Where more test graphs come from, if a fifth is fewer than `FEWEST_TEST`.

    Raises:
        BadInput: There are too few graphs, or no two different ones.
    """
    if len(graphs) < FEWEST:
        raise BadInput(
            f"'{name}' holds {len(graphs)} graph{'s' * (len(graphs) != 1)}, and {FEWEST} or more "
            "are needed, to learn from and to measure against; give more graphs, or one large "
            "graph with --ego-radius R, whose neighbourhoods are then the examples."
        )
    test_count = math.ceil(TEST_SHARE * len(graphs))
    if test_count >= FEWEST_TEST:
        fresh = None
    retained_count = 0 if fresh is not None and fresh.instead else test_count
    fresh_graphs = fresh.draw(FEWEST_TEST - retained_count) if fresh is not None else []
    x = stacked([*graphs, *fresh_graphs])
    colours = colour_hash(x).tolist()
    order = _by_hash(colours[: len(graphs)])
    train = Split(x[order[test_count:]])
    test = Split(x[[*order[:retained_count], *range(len(graphs), len(x))]])
    kinds, undecided = _kinds(x, colours)
    copies = len(graphs) - len(set(kinds[: len(graphs)]))
    reach = reach_of(train.x)
    sentences = [*notes, "split by graph, whatever the order of its nodes, a fifth for testing"]
    if fresh is not None:
        sentences[-1] += f": {len(train)} and {test_count}"
        train_kinds = {kinds[i] for i in order[test_count:]}
        overlap = sum(kind in train_kinds for kind in kinds[len(graphs) :])
        sentences.append(_of_fresh(fresh, len(graphs), test_count, len(fresh_graphs), overlap))
    sentences.append(
        f"M = {reach}: the widest window of {_orders(train.x)} random breadth-first orders of "
        "each training graph, and a tenth"
    )
    if copies:
        scope = "" if fresh is None else f", of the first {len(graphs)}"
        sentences.append(f"the same as another but for the order of nodes{scope}: {copies}")
    if undecided:
        sentences.append(f"pairs of graphs that may be the same, not decided: {undecided}")
    domain = Domain("graph", tuple(x.shape[1:]), Levels(2), reach=reach)
    return DataSet(name, domain, train, test, sentences, rule=rule)


def _by_hash(colours: Sequence[int]) -> list[int]:
    """Return the rows of graphs in the order of their hashes, the smallest first."""
    occurrences: Counter[int] = Counter()
    hashes = []
    for colour in colours:
        hashes.append(mix("split", colour, occurrences[colour]))
        occurrences[colour] += 1
    return sorted(range(len(hashes)), key=hashes.__getitem__)


def _of_fresh(
    fresh: Fresh, first: int, held_out_count: int, test_count: int, num_repeated: int
) -> str:
    """Say which test graphs were drawn, why, and how many of them are training graphs.

    Arguments:
        fresh: Where they are from.
        first: Graphs that were split.
        held_out_count: How many of these were held out.
        test_count: Test graphs that were drawn.
        num_repeated: How many of these are training graphs.
    """
    held_out_text = f"these {held_out_count}, which are too few to tell models apart"
    if fresh.instead:
        return (
            f"in the place of {held_out_text}: {test_count} test graphs drawn from all {first} "
            "with replacement; a draw of the rule may be a training graph, and as is meant "
            f"{num_repeated} of {test_count} are, whatever the order of nodes"
        )
    return (
        f"beside {held_out_text}: {test_count} more test graphs, drawn by the same rule from "
        f"another stream of the seed; as it chances {num_repeated} of them are training graphs"
    )


def _kinds(x: Tensor, colours: Sequence[int]) -> tuple[list[int], int]:
    """Number graphs so that those that are the same have one number; count undecided pairs.

    Arguments:
        x: Graphs.
        colours: Their hashes, which the same graphs share.
    """
    colour_counts, kinds, classes = Counter(colours), list(range(-len(x), 0)), IsomorphismClasses()
    rows = [i for i, colour in enumerate(colours) if colour_counts[colour] > 1]
    for row, kind in zip(rows, classes.of(x[rows]), strict=True):
        kinds[row] = kind
    return kinds, classes.undecided


def of_networks(networks: Sequence[Any], name: str = "graphs") -> DataSet:
    """Make a data set of networkx graphs; what a graph here cannot say stands in the notes.

    Raises:
        BadInput: There are too few, or one is empty, a single node, or too large.
    """
    contents = graph_files.of_networks(networks, name)
    return dataset(
        [graph_files.dense(one) for one in contents.graphs], name, notes=contents.notes()
    )


def reach_of(x: Tensor) -> int:
    """Return M of training graphs: the widest window seen, and a tenth."""
    generator = torch.Generator().manual_seed(mix("reach"))
    max_window, size = 0, x.shape[1]
    chunk_size = max(1, min(AT_ONCE // size**2, NEAR // size))
    for _ in range(_orders(x)):
        for chunk in x.split(chunk_size):
            u = torch.rand(chunk.shape[:2], generator=generator)
            max_window = max(max_window, widest(chunk, u))
    return max(0, min(math.ceil(1.1 * max_window), int(sizes(x).max()) - 1))


def _orders(x: Tensor) -> int:
    """Return how many orders are looked at: fewer of large sets."""
    return max(4, min(ORDERS, OF_ALL // len(x), 20 * AT_ONCE // x.numel()))
