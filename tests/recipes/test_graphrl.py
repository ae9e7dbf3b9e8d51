"""The recipe of reinforcement learning on graphs: its tasks and its refusals."""

from __future__ import annotations

import networkx
import pytest

from trilemma.cli import main
from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.core.graph import graph
from trilemma.core.model import Improving
from trilemma.core.session import Session
from trilemma.data import graphs
from trilemma.data.sources import load
from trilemma.metrics.judge import judge
from trilemma.recipes.catalog import CATALOG
from trilemma.recipes.runs import begin, untrained
from trilemma.training.budget import Budget

DOMAIN = Domain("graph", (12, 12), Levels(2), reach=9)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"task": "robust", "budget": 0.0}, "no edge to be added"),
        ({"episodes": 0}, "--episodes"),
        ({"cloning": 1.0}, "--cloning"),
        ({"target_kl": -1.0}, "--target-kl"),
    ],
)
def test_what_makes_no_policy_is_refused(fields, message):
    with pytest.raises(BadInput, match=message):
        untrained(CATALOG["graphrl"](**fields), DOMAIN, 0)


def test_large_graphs_are_refused():
    with pytest.raises(BadInput, match="up to 200 nodes"):
        untrained(CATALOG["graphrl"](), Domain("graph", (201, 201), Levels(2), reach=9), 0)


def test_complete_networks_are_refused():
    full = [graph(5 + k, [(i, j) for i in range(5 + k) for j in range(i)]) for k in range(6)]
    data = graphs.dataset(full, "full")
    recipe = CATALOG["graphrl"](task="robust")
    with pytest.raises(BadInput, match="complete"):
        recipe.stages(untrained(recipe, data.domain, 0), data, 0)


def test_robust_networks_are_trained_and_judged(tmp_path):
    data = load("barabasi-albert", size=10)
    recipe = CATALOG["graphrl"](task="robust", episodes=16, batch=8, width=16, layers=2)
    run, events = begin(
        recipe,
        data,
        source="barabasi-albert",
        size=10,
        path=tmp_path / "run",
        budget=Budget(steps=20),
        session=Session(),
    )
    steps = [e for e in events if e.kind == "step"]
    assert len(steps) == 20
    assert "policy/reward" in steps[-1].values
    model = untrained(recipe, data.domain, 0)
    assert isinstance(model, Improving)
    evaluation = judge(model, data, n=4, session=Session(), only={"improvement_gain"})
    gain = evaluation.metrics["improvement_gain"]
    assert set(gain.baselines) == {"random", "lowest degree product", "greedy"}
    assert gain.baselines["greedy"] > gain.baselines["random"]
    assert run.path.exists()

    _improves_networks_of_its_user(run.path, tmp_path)


def _improves_networks_of_its_user(run_path, folder):
    """Larger ones than any that it has seen, in several forms."""
    for n in (15, 22):
        networkx.write_graphml(
            networkx.barabasi_albert_graph(n, 2, seed=n), folder / f"{n}.graphml"
        )
    networkx.write_gml(networkx.complete_graph(5), folder / "full.gml")
    command = ["sample", str(run_path), "--cond"]
    for source, target in (("22.graphml", "one.gml"), ("15.graphml", "one.png")):
        assert main([*command, str(folder / source), "--out", str(folder / target)]) == 0
    graph_before = networkx.read_graphml(folder / "22.graphml")
    graph_after = networkx.read_gml(folder / "one.gml", label="id")
    assert graph_after.number_of_nodes() == 22
    assert graph_after.number_of_edges() == graph_before.number_of_edges() + 4
    assert (folder / "one.png").stat().st_size > 1000
    for source, target in (("full.gml", "x.gml"), ("none.gml", "x.gml"), ("22.graphml", "x.csv")):
        assert main([*command, str(folder / source), "--out", str(folder / target)]) == 2
        assert not (folder / target).exists()


def test_builders_are_not_judged_as_improvers():
    data = load("community-small")
    model = untrained(CATALOG["graphrl"](), data.domain, 0)
    evaluation = judge(model, data, n=4, session=Session(), only={"improvement_gain"})
    assert evaluation.skipped == {"improvement_gain": "the model improves no graphs"}


def test_only_robust_networks_are_after_a_reward():
    assert CATALOG["graphrl"]().goal is None
    assert CATALOG["graphrnn"]().goal is None
    assert CATALOG["graphrl"](task="robust", removal="random").goal == (
        "robustness (random removal)"
    )
