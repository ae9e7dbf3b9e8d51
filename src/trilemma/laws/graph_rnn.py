"""Laws of graphs that grow node by node: orders, total probability, bounds, draws.

Everything is done on graphs of at most four nodes, where all can be listed, and in float64.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter

import torch
from torch import Tensor

from trilemma.core import graph as graphs
from trilemma.core.domain import Domain, Levels
from trilemma.core.noise import Noise
from trilemma.families import graph_rnn as family
from trilemma.laws.law import Check, Law, at_most, equal, states
from trilemma.maths.graphs import bfs_orders
from trilemma.networks import graph_rnn as networks
from trilemma.networks import recurrent

__all__ = ["CHECKS"]

SOURCE = "lecture §7; You, Ying, Ren, Hamilton & Leskovec 2018, eq. 4"
ORDERS = "lecture §7; You et al. 2018, section 2.3.4"
NODES = 4
KINDS = ("edge RNN with hints and memory", "edge RNN", "independent edges")


def _model(kind: str = KINDS[0], reach: int = NODES - 1) -> family.GraphRnn:
    """Return a model with weights large enough that every conditional is far from flat."""
    memory = 3 if kind == KINDS[0] else 0
    nodes = networks.NodeRecurrence(reach, width=4, hidden=6, layers=2, memory=memory)
    if kind == "independent edges":
        links: torch.nn.Module = networks.IndependentLinks(6, reach, width=5)
    else:
        links = networks.LinkRecurrence(
            6, width=3, hidden=5, layers=2, hints=memory > 0, memory=memory
        )
    domain = Domain("graph", (NODES, NODES), Levels(2), reach=reach)
    model = family.GraphRnn(nodes, links, domain).double()
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.5 * torch.randn(weight.shape, generator=draw, dtype=torch.float64))
    return model


def _ordered(most: int = NODES, room: int = NODES) -> Tensor:
    """List every ordered graph of one to so many nodes."""
    ordered_graphs = []
    for n in range(1, most + 1):
        pairs = list(itertools.combinations(range(n), 2))
        for chosen in itertools.product((False, True), repeat=len(pairs)):
            joined = [pair for pair, has_edge in zip(pairs, chosen, strict=True) if has_edge]
            ordered_graphs.append(graphs.graph(n, joined, room))
    return torch.stack(ordered_graphs)


def _every_order(x: Tensor) -> Tensor:
    """Return one graph of n nodes in all n! orders."""
    n, padded_size = int(graphs.sizes(x)), len(x)
    permutations = [
        [*permutation, *range(n, padded_size)] for permutation in itertools.permutations(range(n))
    ]
    return graphs.reordered(
        x.expand(len(permutations), padded_size, padded_size), torch.tensor(permutations)
    )


@states(SOURCE)
@torch.no_grad()
def sums_to_one() -> list[Law]:
    """Each edge network, also with a window that is too narrow for some graphs."""
    laws = []
    for kind, window in (*((kind, NODES - 1) for kind in KINDS), (KINDS[0], 2)):
        total = float(_model(kind, window).ordered_log_prob(_ordered()).exp().sum())
        name = f"p sums to one over all ordered graphs of up to four nodes: {kind}, M = {window}"
        laws.append(equal(name, SOURCE, total, 1, 1e-9))
    return laws


@states(ORDERS)
def breadth_first_orders() -> list[Law]:
    """All graphs of four nodes in the orders that all ranks of their nodes give."""
    ranks = torch.tensor(list(itertools.permutations(range(NODES)))) / NODES
    wrong = outside_window = gap = 0.0
    for x in _ordered():
        if int(graphs.sizes(x)) < NODES:
            continue
        copies = x.expand(len(ranks), NODES, NODES)
        order = bfs_orders.breadth_first(copies, ranks)
        y = graphs.reordered(copies, order)
        wrong += int((~bfs_orders.is_breadth_first(y)).sum())
        positions = torch.arange(NODES)
        distance = (positions[:, None] - positions) * graphs.adjacency(y).tril(-1)
        outside_window += int((distance.amax(2) > bfs_orders.windows(y)).sum())
        order_counts = Counter(map(tuple, order.tolist()))
        chance = bfs_orders.log_chance(y).exp()
        for node_order, q in zip(map(tuple, order.tolist()), chance.tolist(), strict=True):
            gap = max(gap, abs(q - order_counts[node_order] / len(ranks)))
    return [
        equal(
            "parents never go back in a breadth-first order (orders in which one does)",
            ORDERS,
            wrong,
            0,
            0,
        ),
        equal(
            "no edge reaches beyond its node's window in breadth-first order (edges)",
            ORDERS,
            outside_window,
            0,
            0,
        ),
        equal(
            "q(order | graph) is the share of ranks that give the order (largest gap)",
            ORDERS,
            gap,
            0,
            1e-12,
        ),
    ]


@states(ORDERS)
@torch.no_grad()
def only_breadth_first_orders() -> list[Law]:
    """What has probability: breadth-first orders, all of them and no others."""
    x = _ordered()
    possible = _model().ordered_log_prob(x) > -math.inf
    reachable = []
    for one in x:
        n = int(graphs.sizes(one))
        ranks = torch.tensor(list(itertools.permutations(range(NODES)))) / NODES
        node_orders = bfs_orders.breadth_first(
            _every_order(one)[:1].expand(len(ranks), NODES, NODES), ranks
        )
        reachable.append(
            any(node_order[:n] == list(range(n)) for node_order in node_orders.tolist())
        )
    differ = int((possible != torch.tensor(reachable)).sum())
    return [
        equal(
            "an ordered graph has probability if and only if its order is breadth-first "
            "(graphs for which not)",
            ORDERS,
            differ,
            0,
            0,
        )
    ]


@states(SOURCE)
@torch.no_grad()
def bounds() -> list[Law]:
    """A triangle with a tail: its labelled probability by all orders, and what bounds it."""
    model = _model()
    x = graphs.graph(NODES, [(0, 1), (1, 2), (0, 2), (2, 3)])
    every = _every_order(x)
    exact = float(model.ordered_log_prob(every).logsumexp(0)) - math.lgamma(NODES + 1)
    count = 4000
    copies = x.expand(count, NODES, NODES)
    single_bound = model.bound(copies, noise=Noise.of(1, count))
    importance_bound = model.importance_bound(copies[:500], 64, noise=Noise.of(2, 500))
    swapped = model.bound(every[-1].expand(count, NODES, NODES), noise=Noise.of(3, count))
    error = 4 * float(single_bound.std()) / math.sqrt(count)
    weights = float((single_bound - exact).exp().mean())
    spread = 4 * float((single_bound - exact).exp().std()) / math.sqrt(count)
    return [
        at_most(
            "bound <= ln p(labelled graph), in mean over orders, nats",
            SOURCE,
            float(single_bound.mean()),
            exact,
            0,
        ),
        at_most(
            "bound by one order <= bound by 64 orders, nats",
            SOURCE,
            float(single_bound.mean()),
            float(importance_bound.mean()),
            0,
        ),
        equal(
            "p(order) / (q(order) n!) is p(labelled graph) in mean: ratio",
            SOURCE,
            weights,
            1,
            spread,
        ),
        equal(
            "bound by 64 orders comes near ln p(labelled graph), nats",
            SOURCE,
            float(importance_bound.mean()),
            exact,
            0.05,
        ),
        equal(
            "the bound does not know the labels: other labels, nats",
            SOURCE,
            float(swapped.mean()),
            float(single_bound.mean()),
            2 * error,
        ),
    ]


@states(SOURCE)
@torch.no_grad()
def draws() -> list[Law]:
    """Each edge network: what is drawn has the probabilities that the likelihood says."""
    every, laws, count = _ordered(), [], 8192
    index_of = {tuple(x.flatten().tolist()): i for i, x in enumerate(every)}
    for kind in KINDS:
        model = _model(kind)
        expected = model.ordered_log_prob(every).exp() * count
        samples = model.sample(count, noise=Noise.for_samples(0, 0, count))
        observed = torch.zeros(len(every), dtype=torch.float64)
        for row in samples.flatten(1).tolist():
            observed[index_of[tuple(row)]] += 1
        is_frequent = expected > 5
        chi = float(((observed - expected)[is_frequent] ** 2 / expected[is_frequent]).sum())
        freedom = int(is_frequent.sum())
        laws.append(
            at_most(
                f"samples have the probabilities of the likelihood (chi-squared): {kind}",
                SOURCE,
                chi,
                freedom,
                5 * math.sqrt(2 * freedom),
            )
        )
        never = float(observed[expected == 0].sum())
        laws.append(
            equal(f"what has no probability is not drawn (samples): {kind}", SOURCE, never, 0, 0)
        )
    return laws


@states(SOURCE)
@torch.no_grad()
def completions() -> list[Law]:
    """A path of three nodes is completed."""
    model, count = _model(), 64
    x = graphs.graph(3, [(0, 1), (1, 2)], NODES).expand(count, NODES, NODES)
    known_mask = torch.zeros(NODES, NODES, dtype=torch.bool)
    known_mask[:3, :3] = True
    known_mask = known_mask.expand(count, NODES, NODES)
    completed = model.complete(x, known_mask, noise=Noise.of(0, count))
    differ = int((completed[known_mask] != x[known_mask]).sum())
    grown_share = float((graphs.sizes(completed) > 3).double().mean())
    return [
        equal(
            "a completed graph keeps what was given (entries that differ)", SOURCE, differ, 0, 0
        ),
        at_most(
            "some given graphs grow further (share that does not)", SOURCE, 1 - grown_share, 0.99
        ),
    ]


@states("Cho et al. 2014, eq. 5 to 8")
def recurrence() -> list[Law]:
    """A layer run by hand beside the framework's: states and slopes."""
    torch_layer = recurrent.Recurrent(3, 4, 2).double()
    draw = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64).requires_grad_()

    with torch.no_grad():
        for weight in torch_layer.parameters():
            weight.copy_(normal(*weight.shape))
    counts = torch.tensor([3, 3, 2, 1])
    x, start, cotangent = normal(9, 3), normal(2, 3, 4), normal(9, 4).detach()
    packed = torch.nn.utils.rnn.PackedSequence(x, counts)
    ours, theirs = torch_layer(x, counts, start), torch_layer.gru(packed, start)[0].data
    inputs = [x, start, *torch_layer.parameters()]
    gradients = zip(
        torch.autograd.grad((ours * cotangent).sum(), inputs),
        torch.autograd.grad((theirs * cotangent).sum(), inputs),
        strict=True,
    )
    source = "Cho et al. 2014, eq. 5 to 8"
    return [
        equal(
            "a gated recurrent layer run by hand equals the framework's (largest gap)",
            source,
            float((ours - theirs).abs().max().detach()),
            0,
            1e-12,
        ),
        equal(
            "so do its slopes (largest gap)",
            source,
            max(float((a - b).abs().max()) for a, b in gradients),
            0,
            1e-10,
        ),
    ]


CHECKS: tuple[Check, ...] = (
    breadth_first_orders,
    only_breadth_first_orders,
    sums_to_one,
    bounds,
    draws,
    completions,
    recurrence,
)
