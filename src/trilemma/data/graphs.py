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
smallest hashes is for testing, a hash being one of the graph's colours (`maths.refinement`) and of
how many alike came before it. So graphs that are the same but for the order of their nodes may lie
on both sides, as they do where a set is split by chance: small graphs repeat themselves, and with
all of a kind on one side the two would not be of one distribution.

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
from typing import Any

import torch
from torch import Tensor

from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.core.graph import graph, reordered, sizes, stacked
from trilemma.core.noise import mix
from trilemma.data import graph_files
from trilemma.data import graph_rules as rules
from trilemma.data.dataset import DataSet, Rule, Split
from trilemma.maths.isomorphism import IsomorphismClasses
from trilemma.maths.orders import breadth_first, windows
from trilemma.maths.refinement import colour_hash

__all__ = ["GRAPHS", "Made", "component_counts", "components", "dataset", "made", "of_networks"]

TEST_SHARE = 0.2
ORDERS, AT_ONCE = 100, 1 << 24
"""Random orders of each graph by which M is known; numbers that are looked at at once."""
FEWEST = 5
"""Graphs without which there is nothing to learn from and nothing to measure against."""


@dataclass(frozen=True)
class Made:
    """A set that is made by a rule."""

    description: str
    graphs: Callable[[int | None], list[Tensor]]
    """Makes the graphs, at another size where that is possible."""
    rule: Rule | None = None
    has_sizes: bool = False


def _grids(size: int | None) -> list[Tensor]:
    return [grid(a, b) for a in range(10, 20) for b in range(10, 20)]


def grid(rows: int, columns: int) -> Tensor:
    """Make a grid of rows × columns nodes."""
    at = torch.arange(rows * columns).view(rows, columns)
    across = torch.stack([at[:, :-1].flatten(), at[:, 1:].flatten()], 1)
    down = torch.stack([at[:-1].flatten(), at[1:].flatten()], 1)
    return graph(rows * columns, torch.cat([across, down]))


def _communities(
    least: int, most: int, each: int, chance: float, size: int | None
) -> list[Tensor]:
    draw = torch.Generator().manual_seed(mix("community", least, most, size or 0))
    if size is not None:
        half = size // 2
        return [_community(half, chance, draw) for _ in range((most - least + 1) * each)]
    return [_community(k, chance, draw) for k in range(least, most + 1) for _ in range(each)]


def _community(k: int, chance: float, draw: torch.Generator) -> Tensor:
    """Make two communities of k nodes, and keep the largest component."""
    within = torch.zeros(2 * k, 2 * k)
    for low in (0, k):
        within[low : low + k, low : low + k] = torch.rand(k, k, generator=draw) < chance
    between = torch.randint(k, (max(1, math.ceil(k / 10)), 2), generator=draw)
    x = graph(2 * k, torch.cat([within.triu(1).nonzero(), between + torch.tensor([0, k])]))
    return largest_component(x)


def largest_component(x: Tensor) -> Tensor:
    """Return the largest component of one graph as a graph of its own."""
    label = components(x[None])[0][: len(x)]
    which = label.bincount().argmax()
    kept = (label == which).nonzero()[:, 0]
    return x[kept][:, kept]


def components(x: Tensor) -> Tensor:
    """Return for each node the first node of its component, [B, N]; nodes that are not there too.

    >>> components(graph(4, [(1, 3)])[None]).tolist()
    [[0, 1, 2, 1]]
    """
    room = x.shape[-1]
    label = torch.arange(room).expand(x.shape[:2])
    joined = x.bool() | torch.eye(room, dtype=torch.bool)
    while True:
        lower = torch.where(joined, label[:, None, :], room).amin(2)
        lower = lower.gather(1, lower)
        if torch.equal(lower, label):
            return label
        label = lower


def component_counts(x: Tensor) -> Tensor:
    """Return in how many pieces each graph is, [B]."""
    part = max(1, AT_ONCE // x.shape[1] ** 2)
    own = torch.arange(x.shape[-1])
    found = [((components(some) == own) & _here(some)).sum(1) for some in x.split(part)]
    return torch.cat(found)


def _here(x: Tensor) -> Tensor:
    return x.diagonal(dim1=1, dim2=2).bool()


def _scale_free(size: int | None) -> list[Tensor]:
    draw = torch.Generator().manual_seed(mix("barabasi-albert", size or 0))
    if size is None:
        return [preferential(n, 4, draw) for n in range(100, 200) for _ in range(5)]
    new = 4 if size >= 100 else 2
    return [preferential(size, new, draw) for _ in range(500)]


def preferential(n: int, new: int, draw: torch.Generator) -> Tensor:
    """Make a graph of n nodes by preferential attachment, each node coming with `new` edges."""
    ends: list[int] = []
    joined: list[tuple[int, int]] = []
    targets = list(range(new))
    for node in range(new, n):
        joined += [(node, target) for target in targets]
        ends += targets + [node] * new
        chosen: dict[int, None] = {}
        while len(chosen) < new:
            at = torch.randint(len(ends), (new,), generator=draw).tolist()
            chosen |= dict.fromkeys(ends[i] for i in at)
        targets = list(chosen)[:new]
    return graph(n, joined)


GRAPHS: Mapping[str, Made] = {
    "grid": Made("100 grids of 10×10 to 19×19 nodes", _grids, rules.GRID),
    "ladder": Made(
        "101 ladders of 200 to 400 nodes",
        lambda _: [grid(2, rungs) for rungs in range(100, 201)],
        rules.LADDER,
    ),
    "community": Made(
        "510 graphs of two communities, 60 to 160 nodes",
        lambda size: _communities(30, 80, 10, 0.3, size),
        rules.COMMUNITIES,
        True,
    ),
    "community-small": Made(
        "100 graphs of two communities, 12 to 20 nodes",
        lambda size: _communities(6, 10, 20, 0.8, size),
        rules.COMMUNITIES,
        True,
    ),
    "barabasi-albert": Made(
        "500 graphs grown by preferential attachment, 100 to 199 nodes (--size: all of one size)",
        _scale_free,
        rules.CONNECTED,
        True,
    ),
}


def made(name: str, size: int | None = None) -> DataSet:
    """Make a named set.

    Raises:
        BadInput: The set has one size, or the size is too small.
    """
    source = GRAPHS[name]
    if size is not None and not source.has_sizes:
        raise BadInput(f"--size was given, and '{name}' has sizes of its own; leave it out.")
    if size is not None and size < 8:
        raise BadInput(f"--size {size} was given; '{name}' takes 8 nodes or more.")
    return dataset(source.graphs(size), name, rule=source.rule, notes=("made from a fixed seed",))


def dataset(
    graphs: Sequence[Tensor], name: str, *, rule: Rule | None = None, notes: Sequence[str] = ()
) -> DataSet:
    """Make a data set of graphs.

    Arguments:
        graphs: Each a matrix of its own size, [n, n], or padded.
        name: Of the set.
        rule: What all graphs of the set are.
        notes: What a reader should know.

    Raises:
        BadInput: There are too few graphs, or no two different ones.
    """
    if len(graphs) < FEWEST:
        raise BadInput(
            f"'{name}' holds {len(graphs)} graph{'s' * (len(graphs) != 1)}, and {FEWEST} or more "
            "are needed, to learn from and to measure against; give more graphs, or one large "
            "graph with --ego-radius R, whose neighbourhoods are then the examples."
        )
    x = stacked(graphs)
    colours = colour_hash(x).tolist()
    seen: Counter[int] = Counter()
    hashes = []
    for colour in colours:
        hashes.append(mix("split", colour, seen[colour]))
        seen[colour] += 1
    order = sorted(range(len(hashes)), key=hashes.__getitem__)
    copies, undecided = _copies(x, [seen[colour] > 1 for colour in colours])
    x, tests = x[order], math.ceil(TEST_SHARE * len(x))
    train, test = Split(x[tests:]), Split(x[:tests])
    reach = reach_of(train.x)
    said = [*notes, "split by graph, whatever the order of its nodes, a fifth for testing"]
    said.append(
        f"M = {reach}: the widest window of {_orders(train.x)} random breadth-first orders of "
        "each training graph, and a tenth"
    )
    if copies:
        said.append(f"the same as another but for the order of nodes: {copies}")
    if undecided:
        said.append(f"pairs of graphs that may be the same, not decided: {undecided}")
    domain = Domain("graph", tuple(x.shape[1:]), Levels(2), reach=reach)
    return DataSet(name, domain, train, test, said, rule=rule)


def _copies(x: Tensor, may_repeat: Sequence[bool]) -> tuple[int, int]:
    """Return how many graphs are the same as an earlier one, and how many pairs are undecided.

    Arguments:
        x: Graphs.
        may_repeat: Whether another graph has the hash of each.
    """
    classes = IsomorphismClasses()
    numbers = classes.of(x[torch.tensor(may_repeat)])
    return len(numbers) - classes.count, classes.undecided


def of_networks(networks: Sequence[Any], name: str = "graphs") -> DataSet:
    """Make a data set of networkx graphs; what a graph here cannot say stands in the notes.

    Raises:
        BadInput: There are too few, or one is empty, a single node, or too large.
    """
    found = graph_files.of_networks(networks, name)
    return dataset([graph_files.dense(one) for one in found.graphs], name, notes=found.notes())


def reach_of(x: Tensor) -> int:
    """Return M of training graphs: the widest window seen, and a tenth."""
    draw = torch.Generator().manual_seed(mix("reach"))
    widest, part = 0, max(1, AT_ONCE // x.shape[1] ** 2)
    for _ in range(_orders(x)):
        for some in x.split(part):
            u = torch.rand(some.shape[:2], generator=draw)
            widest = max(widest, int(windows(reordered(some, breadth_first(some, u))).max()))
    return max(0, min(math.ceil(1.1 * widest), int(sizes(x).max()) - 1))


def _orders(x: Tensor) -> int:
    """Return how many orders are looked at: fewer of large sets."""
    return max(4, min(ORDERS, 20 * AT_ONCE // x.numel()))
