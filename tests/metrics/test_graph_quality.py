"""Quality and coverage of graphs: copies, strangers, repetitions, and what is told of them."""

from __future__ import annotations

from dataclasses import replace

import networkx as nx
import pytest
import torch

from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput, Interrupted
from trilemma.core.graph import adjacency, graph, reordered, sizes, stacked
from trilemma.core.model import Model
from trilemma.core.session import Session
from trilemma.data.dataset import DataSet, Rule, Split
from trilemma.data.sources import load
from trilemma.maths.graphs.isomorphism import IsomorphismClasses
from trilemma.metrics import graph_quality as module
from trilemma.metrics import graphs as ground
from trilemma.metrics.extractors import extractor
from trilemma.metrics.graph_quality import STATISTICS
from trilemma.metrics.graphs import graph_reference
from trilemma.metrics.judge import judge, judge_samples, reference_for
from trilemma.metrics.registry import metrics
from trilemma.metrics.trivial_graphs import barabasi_albert, erdos_renyi

METRICS = [m.name for m in metrics() if "graph" in m.kinds and m.needs is None]
SHARES = ("unique", "novel", "valid", "valid_unique_novel")


def measured(reference, x):
    judgement = judge_samples(x, reference, session=Session())
    return judgement.metrics, judgement.skipped, judgement.neighbours


@pytest.fixture(scope="module")
def data():
    return load("community-small")


@pytest.fixture(scope="module")
def reference(data):
    return graph_reference(data, n=80, session=Session())


def small(train, test, rule=None):
    """A data set of these graphs."""
    both = stacked([*train, *test])
    room = both.shape[-1]
    domain = Domain("graph", (room, room), Levels(2), reach=room)
    return DataSet(
        "small", domain, Split(both[: len(train)]), Split(both[len(train) :]), rule=rule
    )


def shuffled(x, seed=0):
    draw = torch.Generator().manual_seed(seed)
    away = torch.arange(x.shape[1]) >= sizes(x)[:, None]
    return reordered(x, (torch.rand(x.shape[:2], generator=draw) + 2 * away).argsort(1))


def test_the_test_graphs_themselves_are_perfect(data, reference):
    scores, skipped, near = measured(reference, shuffled(data.test.x))
    assert set(scores) == set(METRICS)
    assert skipped == {}
    for name, score in scores.items():
        if name.startswith("mmd") and not name.endswith("_u"):
            assert score.value == pytest.approx(0, abs=1e-12)
        elif name.startswith("mmd"):
            assert score.value < 0  # the pairs of a graph with itself are missing
    assert scores["coverage"].value == 1
    assert scores["density"].value >= 1
    assert scores["size_gap"].value == pytest.approx(0, abs=1e-12)
    assert scores["valid"].value == 1
    assert near.shape == (16, 20, 20)


def test_copies_are_not_novel_and_repetitions_not_unique(data, reference):
    x = shuffled(data.train.x[:10])
    scores, _, near = measured(reference, torch.cat([x, shuffled(x, 1)]))
    assert scores["novel"].value == 0
    assert scores["unique"].value == 0.5
    assert scores["valid"].value == 1
    assert scores["valid_unique_novel"].value == 0
    kinds = reference.isomorphism_classes.of(x)
    assert (
        reference.isomorphism_classes.of(near[:10]) == kinds
    )  # each is nearest to what it copies


def test_trivial_graphs_lie_above_the_floor(data, reference):
    scores = measured(reference, data.train.x[:30])[0]
    for name in STATISTICS:
        baselines = scores[f"mmd_{name}"].baselines
        assert set(baselines) == {"erdos-renyi", "barabasi-albert"}
        assert min(baselines.values()) > 3 * scores[f"mmd_{name}"].floor > 0
    covered = scores["coverage"]
    assert covered.floor > 0.8 > 0.3 > max(covered.baselines.values())
    assert scores["mmd_degree"].floor == pytest.approx(0.03, abs=0.03)
    assert len(reference.real) == 80


def test_the_one_number_is_the_mean_of_four(reference, data):
    scores = measured(reference, data.train.x[:30])[0]
    four = [scores[f"mmd_{name}"].value for name in STATISTICS]
    assert scores["mmd"].value == pytest.approx(sum(four) / 4)
    assert scores["mmd"].low < scores["mmd"].value < scores["mmd"].high


def test_intervals_hold_what_other_samples_give(data, reference):
    """Of 20 other sets of samples of one source, most lie within the first one's interval."""
    sets = [erdos_renyi(data.train.x, 60, seed) for seed in range(21)]
    first, *rest = [measured(reference, x)[0] for x in sets]
    for name in ("mmd_degree", "mmd_clustering", "mmd_orbit_tv", "mmd_spectral_u", "valid"):
        covered = sum(first[name].low <= s[name].value <= first[name].high for s in rest)
        assert covered >= 13, name
        assert first[name].low < first[name].high


def test_graphs_without_edges_are_counted(reference):
    x = torch.zeros(4, 20, 20, dtype=torch.uint8)
    x[0] = graph(20, [])
    x[1] = graph(1, [], 20)
    x[2] = graph(3, [(0, 1)], 20)
    scores, skipped, _ = measured(reference, x)
    assert scores["mmd_degree"].n == 4
    assert "3 of the samples without an edge" in scores["mmd_degree"].protocol
    assert scores["mmd_clustering"].value > 0.5
    assert set(skipped) == {
        *("coverage", "density", "discrepancy", "discrepancy_distance"),
        *("copies", "membership_auc"),
    }
    assert "too few" in skipped["coverage"]


def test_one_sample(reference, data):
    scores, skipped, near = measured(reference, data.test.x[:1])
    assert {name for name in METRICS if name.startswith("mmd") and name.endswith("_u")} <= set(
        skipped
    )
    assert scores["unique"].value == 1
    assert len(near) == 1


def test_protocols_tell_kernel_form_and_numbers(reference, data):
    scores = measured(reference, data.train.x[:30])[0]
    protocol = scores["mmd_clustering"].protocol
    assert "30 samples against 50 test graphs, V-statistic, emd kernel" in protocol
    assert "bins 0.01 wide, sigma 0.1" in protocol
    assert "seed 0" in protocol
    assert "floor: 80 training graphs" in protocol
    assert "U-statistic, tv kernel, sigma 30" in scores["mmd_orbit_tv_u"].protocol
    assert "GraphRNN has none" in scores["mmd_spectral"].protocol
    assert "against 80 training graphs" in scores["novel"].protocol
    assert "floor: 50 test graphs" in scores["novel"].protocol
    assert data.rule.words in scores["valid"].protocol


def test_without_a_rule():
    train = [graph(5, [(i, i + 1)]) for i in range(4)]
    reference = graph_reference(small(train, train[:2]), n=4, session=Session())
    scores, skipped, _ = measured(reference, reference.data.test.x)
    assert not {"valid", "valid_unique_novel"} & set(scores)
    assert "no rule is known of the graphs of 'small'" in skipped["valid"]


def test_a_rule_is_asked_of_every_graph():
    rule = Rule("has an edge", lambda x: adjacency(x).flatten(1).any(1))
    data = small([graph(4, [(0, 1)])] * 3, [graph(4, [(0, 1)])] * 3, rule)
    x = stacked([graph(4, []), graph(4, [(0, 1), (1, 2)]), graph(3, [(0, 1)]), graph(3, [(1, 2)])])
    scores = measured(graph_reference(data, n=4, session=Session()), x)[0]
    assert scores["valid"].value == 0.75
    assert scores["unique"].value == 0.75
    assert scores["novel"].value == 1.0
    assert scores["valid_unique_novel"].value == 0.5


def test_more_samples_do_not_cover_more():
    """Samples are held against as many test graphs as there are, part by part."""
    draws = [nx.gnp_random_graph(8, 0.5, seed=i) for i in range(120)]
    graphs = [graph(8, list(g.edges())) for g in draws]
    data = small(graphs[:40], graphs[40:60])
    few_scores = measured(graph_reference(data, n=20, session=Session()), stacked(graphs[60:80]))[
        0
    ]
    many = measured(graph_reference(data, n=60, session=Session()), stacked(graphs[60:]))[0]
    assert abs(few_scores["coverage"].value - many["coverage"].value) < 0.2
    assert "mean of 3 such parts" in many["coverage"].protocol


def test_one_test_graph_is_too_few():
    with pytest.raises(BadInput, match="has 1 test graphs, and 2 or more are needed"):
        graph_reference(small([graph(3, [])] * 4, [graph(3, [])]), n=4, session=Session())


def test_features_of_graphs_are_refused(data):
    with pytest.raises(BadInput, match="not in features of 'random-conv'"):
        reference_for(data, n=10, session=Session(), extractor="random-conv")
    with pytest.raises(BadInput, match="graphs have no features"):
        extractor(None, data)


def test_progress_is_told_and_a_stop_is_heard(data):
    protocol = []
    graph_reference(data, n=20, session=Session(progress=lambda *what: protocol.append(what)))
    assert ("statistics of test graphs", 50, 50) in protocol

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        graph_reference(data, n=20, session=Session(guard=stop))


def test_the_seed_decides(data, reference):
    def marks(seed):
        scores = measured(
            graph_reference(data, n=80, session=Session(seed=seed)), data.train.x[:9]
        )[0]
        return {name: (score.floor, score.baselines) for name, score in scores.items()}

    assert marks(0) == marks(0) != marks(1)


@pytest.mark.parametrize("make", [erdos_renyi, barabasi_albert])
def test_trivial_graphs_have_training_sizes_and_about_the_edges(make):
    x = stacked([graph(n, list(nx.gnm_random_graph(n, 3 * n, seed=n).edges())) for n in (16, 24)])
    trivial_graphs = make(x, 300, 0)
    assert set(sizes(trivial_graphs).tolist()) == {16, 24}
    assert torch.equal(trivial_graphs, trivial_graphs.transpose(1, 2))
    for n in (16, 24):
        edges = adjacency(trivial_graphs[sizes(trivial_graphs) == n]).sum((1, 2)).double() / 2
        assert edges.mean().item() == pytest.approx(3 * n, rel=0.25)
    assert not torch.equal(trivial_graphs, make(x, 300, 1))


def test_trivial_graphs_of_one_node():
    x = graph(1, [])[None]
    assert torch.equal(erdos_renyi(x, 2, 0), x.expand(2, -1, -1))
    assert torch.equal(barabasi_albert(x, 2, 0), x.expand(2, -1, -1))


class Copying(Model):
    """A model that knows its training graphs by heart."""

    def __init__(self, x):
        super().__init__()
        self.x = torch.nn.Buffer(x)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def objectives(self):
        return []

    def sample(self, n, *, condition=None, noise=None):
        return self.x[noise.integers(len(self.x))]

    def bound(self, x, *, condition=None, noise=None):
        return torch.full((len(x),), -50.0)


def test_a_judge_of_graphs(data, reference):
    judgement = judge(Copying(data.train.x), data, n=80, session=Session(), reference=reference)
    assert set(judgement.metrics) == {*METRICS, "bound"}
    assert judgement.metrics["novel"].value == 0
    assert set(judgement.metrics["bound"].baselines) == {"erdos-renyi"}
    assert "labelled test graphs" in judgement.metrics["bound"].protocol
    assert reference.name == "graph statistics"
    assert judgement.neighbours.shape == (16, 20, 20)
    # What pictures alone can be asked is not listed; what a model of graphs might answer is.
    assert set(judgement.skipped) == {
        "log_prob",
        "importance_bound",
        "ode_log_prob",
        "active_units",
        "bits_per_dim",
        "improvement_gain",
        "gain_over_greedy",
    }


def test_shares_have_wilsons_interval(reference, data):
    score = measured(reference, data.test.x)[0]["valid"]
    assert score.value == score.high == 1
    assert score.low == pytest.approx(50 / (50 + 1.96**2), abs=1e-4)
    assert set(SHARES) <= set(METRICS)


def test_many_graphs_are_measured_in_part(data, monkeypatch):
    monkeypatch.setattr(ground, "TEST", 8)
    monkeypatch.setattr(ground, "TRAIN", 30)
    reference = graph_reference(data, n=20, session=Session())
    assert (len(reference.test), len(reference.train), len(reference.real)) == (8, 30, 20)
    scores, _, near = measured(reference, data.train.x)
    assert "against 8 test graphs" in scores["mmd_degree"].protocol
    assert scores["novel"].value == 0  # is asked of all training graphs
    assert near.shape == (16, 20, 20)


def regular(seed):
    """A random 3-regular graph of ten nodes."""
    return graph(10, list(nx.random_regular_graph(3, 10, seed=seed).edges))


def rook_and_shrikhande():
    """Two graphs of 16 nodes that neither refinement nor one individualisation tells apart."""
    rook = nx.convert_node_labels_to_integers(nx.line_graph(nx.complete_bipartite_graph(4, 4)))
    steps = ((0, 1), (1, 0), (1, 1))
    nodes = [(i, j) for i in range(4) for j in range(4)]
    other = [(4 * i + j, 4 * ((i + a) % 4) + (j + b) % 4) for i, j in nodes for a, b in steps]
    return graph(16, list(rook.edges)), graph(16, other)


def test_undecided_pairs_stand_in_the_protocol(monkeypatch):
    rook, shrikhande = rook_and_shrikhande()
    monkeypatch.setattr(ground, "IsomorphismClasses", lambda: IsomorphismClasses(total=0))
    reference = graph_reference(small([rook] * 4, [rook] * 4), n=4, session=Session())
    scores = measured(reference, stacked([shrikhande] * 4))[0]
    for name in ("unique", "novel"):
        assert "undecided pairs of graphs, counted as different: 1" in scores[name].protocol
    assert "undecided" not in scores["mmd"].protocol


def test_what_was_decided_says_nothing_of_undecided_pairs():
    rook, shrikhande = rook_and_shrikhande()
    reference = graph_reference(small([rook] * 4, [rook] * 4), n=4, session=Session())
    scores = measured(reference, stacked([shrikhande] * 4))[0]
    assert scores["novel"].value == 1
    assert "undecided" not in scores["novel"].protocol


def test_comparing_graphs_can_be_stopped():
    reference = graph_reference(
        small([regular(i) for i in range(6)], [regular(6)] * 4), n=4, session=Session()
    )

    def stop():
        raise Interrupted(15, "stopped")

    with pytest.raises(Interrupted):
        measured(replace(reference, check=stop), stacked([regular(7)] * 4))


def test_intervals_are_over_fresh_test_graphs_too():
    """Two kinds, one as likely as the other: few test graphs tell which, and many samples."""
    path, ring = (
        graph(6, [(i, i + 1) for i in range(5)]),
        graph(6, [(i, (i + 1) % 6) for i in range(6)]),
    )
    draw = torch.Generator().manual_seed(0)

    def draw_graphs(n):
        return [path if torch.rand((), generator=draw) < 0.5 else ring for _ in range(n)]

    scores = []
    for seed in range(60):
        reference = graph_reference(
            small(draw_graphs(4), draw_graphs(16)), n=60, session=Session(seed=seed)
        )
        scores.append(measured(reference, stacked(draw_graphs(60)))[0])
    for name in ("mmd_degree", "mmd_spectral_u", "density", "coverage"):
        mean = sum(s[name].value for s in scores) / 60
        covered = sum(s[name].low <= mean <= s[name].high for s in scores) / 60
        assert covered >= 0.88, name


def test_the_gap_of_sizes_varies_with_the_test_graphs_too():
    values, reference = [], []
    for seed in range(300):
        g = torch.Generator().manual_seed(seed)
        x, y = (torch.randint(5, 15, (n,), generator=g).double() for n in (200, 20))
        values.append((x.mean() / y.mean()).item())
        reference.append(module._gap_deviation(x, y))
    assert sum(reference) / 300 == pytest.approx(torch.tensor(values).std().item(), rel=0.12)
