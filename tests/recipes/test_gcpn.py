"""Molecules by a policy: what is learnt, what is sought, what is refused."""

from __future__ import annotations

import csv

import pytest
import torch

from trilemma.cli import main
from trilemma.core.batch import Examples
from trilemma.core.errors import BadInput
from trilemma.core.molecule import sizes
from trilemma.core.noise import Noise
from trilemma.core.sampling import draw
from trilemma.core.session import Session, Stop
from trilemma.data import sources
from trilemma.data.chemistry import parsed, to_smiles
from trilemma.data.rewards import expression
from trilemma.families.ppo import PPO, BehaviourCloning, PpoSettings
from trilemma.networks import relational
from trilemma.recipes.catalog import CATALOG
from trilemma.recipes.evaluate import judge_run
from trilemma.recipes.runs import begin, go_on, load, untrained
from trilemma.report.drawing import write_found
from trilemma.training.budget import Budget

SMALL = {"width": 16, "layers": 2, "batch": 16, "episodes": 16, "epochs": 2}


@pytest.fixture(scope="module")
def data():
    return sources.load("qm9-small")


def recipe(**fields):
    return CATALOG["gcpn"](**(SMALL | fields))


def train(path, page, data, steps):
    run, events = begin(
        page,
        data,
        source=data.name,
        path=path,
        budget=Budget(steps=steps),
        precision="fp32",
        session=Session(),
    )
    return run, list(events)


def test_cloning_learns_to_build_one_molecule(data):
    policy = untrained(recipe(width=24), data.domain, 0)
    (objective,) = BehaviourCloning(policy, 4).objectives()
    optimiser = torch.optim.Adam(objective.parameters, 0.01)
    rows = [i for i, s in enumerate(data.train.names) if s == "N#CCCC#N"]
    x = data.train.x[rows].expand(16, -1, -1)
    for step in range(120):
        loss = objective.loss(Examples(x, noise=Noise.of(step, 16)))
        optimiser.zero_grad()
        loss.value.backward()
        optimiser.step()
    smiles = to_smiles(policy.sample(40, noise=Noise.of(0, 40)))
    assert smiles.count("N#CCCC#N") > 20


def test_a_reward_is_learnt(data):
    """More atoms, by plain updates of the policy."""
    policy = untrained(recipe(reward="weight"), data.domain, 0)
    (objective,) = PPO(policy, PpoSettings(entropy_weight=0.0)).objectives()
    optimiser = torch.optim.Adam(objective.parameters, 0.01)
    means = []
    for turn in range(12):
        transitions = policy.collect(
            Noise.of(turn, 32), data.train.x[:32], lambda x: sizes(x).double(), PpoSettings()
        )
        means.append(float(transitions.reward.mean()))
        for _ in range(4):
            optimiser.zero_grad()
            objective.loss(transitions).value.backward()
            optimiser.step()
    assert sum(means[-3:]) > 1.5 * sum(means[:3])


def test_a_collection_says_what_the_policy_did(data):
    policy = untrained(recipe(reward="qed"), data.domain, 0)
    transitions = policy.collect(
        Noise.of(0, 16), data.train.x[:16], lambda x: sizes(x), PpoSettings()
    )
    log_prob, entropy, _ = policy.evaluate(transitions)
    assert torch.allclose(log_prob, transitions.old, atol=1e-5)
    assert (entropy >= 0).all()
    assert transitions.advantage.mean().abs() < 1e-5
    first = policy.sample(16, noise=Noise.of(0, 16))
    assert sorted(sizes(transitions.built).unique().tolist()) == sorted(
        sizes(first).unique().tolist()
    )


def test_calls_of_the_oracle_are_the_budget(data, tmp_path):
    transitions = recipe(reward="qed", oracle_calls=60, children=8, cloning=0.0)
    run, events = train(tmp_path / "run", transitions, data, 400)
    loaded = load(run.path, warn=pytest.fail)
    scores, best = loaded.model.call_scores(), loaded.model.best_found()
    assert len(scores) == 60
    assert "the calls of the oracle are spent" in [e.values.get("reason") for e in events]
    from trilemma.data.rewards import expression

    top = expression("qed")([parsed(s) for s in to_smiles(best[:3])])
    assert top == pytest.approx(scores.sort(descending=True).values[:3].tolist(), abs=1e-6)


def test_a_search_that_is_stopped_goes_on_exactly(data, tmp_path):
    transitions = recipe(reward="qed", cloning=0.2, children=8)
    unbroken, _ = train(tmp_path / "whole", transitions, data, 20)
    stop = Stop()
    _, events = begin(
        transitions,
        data,
        source=data.name,
        path=tmp_path / "parts",
        budget=Budget(steps=20),
        precision="fp32",
        session=Session(stop=stop),
    )
    from trilemma.core.errors import Interrupted

    def until(step):
        for event in events:
            if event.kind == "step" and event.step == step:
                stop.signal = 2

    with pytest.raises(Interrupted):
        until(11)
    run, rest = go_on(tmp_path / "parts", session=Session())
    list(rest)
    a, b = unbroken.checkpoint(pytest.fail), run.checkpoint(pytest.fail)
    assert all(torch.equal(x, b.weights[name]) for name, x in a.weights.items())
    assert (
        a.state["trainer"]["stream"]["search"]["smiles"]
        == (b.state["trainer"]["stream"]["search"]["smiles"])
    )


def test_given_molecules_are_improved(data, tmp_path, capsys):
    start_path = tmp_path / "given.smi"
    start_path.write_text("CC(=O)Nc1ccc(O)cc1 paracetamol\nNCCCO\nC[N+](=O)[O-] nitromethane\n")
    transitions = recipe(
        reward="plogp",
        improve=True,
        start=str(start_path),
        oracle_calls=12,
        children=128,
        cloning=0.0,
    )
    assert transitions.start.count(",") == 1  # the file's molecules, so that the run needs no file
    assert any(
        "--start: " in captured and "charge" in captured for captured in transitions.notes()
    )
    run, events = train(tmp_path / "run", transitions, data, 300)
    assert set(transitions.notes()) <= {e.values.get("message") for e in events}
    assert "the calls of the oracle are spent" in [e.values.get("reason") for e in events]
    loaded = load(run.path, warn=pytest.fail)
    rows = list(csv.DictReader(write_found(loaded).open()))
    assert [row["given"] for row in rows] == ["CC(=O)Nc1ccc(O)cc1", "NCCCO"]
    for row in rows:
        assert float(row["plogp"]) > float(row["plogp before"])
        assert float(row["similarity"]) >= 0.4
    capsys.readouterr()
    smiles = str(tmp_path / "drawn.smi")
    assert main(["sample", str(run.path), "-n", "3", "--out", smiles]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == smiles
    assert f"the best molecules found are in {run.path / 'best.csv'}" in captured.err
    evaluation = judge_run(
        loaded,
        loaded.same(data),
        samples=50,
        session=Session(guard=lambda: None),
    )
    gains = [float(row["plogp"]) - float(row["plogp before"]) for row in rows]
    assert evaluation.metrics["improvement"].value == pytest.approx(sum(gains) / 2, rel=1e-4)
    assert evaluation.metrics["improved"].value == 1


def test_the_lowest_of_the_test_part_are_given_where_none_are(data, tmp_path):
    transitions = recipe(reward="plogp", improve=True, oracle_calls=1, children=16, cloning=0.0)
    run, _ = train(tmp_path / "run", transitions, data, 1)
    model = load(run.path, warn=pytest.fail).model
    worth = sorted(expression("plogp")([parsed(s) for s in data.test.names]))
    starts = sorted(expression("plogp")([parsed(s) for s in to_smiles(model.originals())]))
    assert starts == pytest.approx(worth[: len(starts)])
    assert len(starts) == min(100, len(data.test))


def test_given_molecules_have_room(data, tmp_path):
    transitions = recipe(
        reward="plogp", improve=True, oracle_calls=1, children=16, cloning=0.0, atoms=7
    )
    run, _ = train(tmp_path / "run", transitions, data, 1)
    starts = load(run.path, warn=pytest.fail).model.originals()
    assert 0 < len(starts) <= 100
    assert int(sizes(starts).max()) <= 7
    with pytest.raises(BadInput, match="at most --atoms 2"):
        train(tmp_path / "none", recipe(reward="plogp", improve=True, atoms=2), data, 1)


def test_steps_can_be_rewarded(data):
    policy = untrained(recipe(reward="qed"), data.domain, 0)
    worth = lambda x: torch.zeros(len(x))  # noqa: E731
    noise, settings = Noise.of(0, 8), PpoSettings(decay=1.0)
    none, some = (
        policy.collect(noise, data.train.x[:8], worth, settings, step_reward=weight)
        for weight in (0.0, 0.5)
    )
    # Nothing else is rewarded, so that a return counts the actions that are still to come.
    each = 0.5 / policy.most
    assert none.returns.abs().max() < 1e-5
    assert some.returns.min() == pytest.approx(each, abs=1e-5)
    counted = (some.returns / each).round()
    torch.testing.assert_close(some.returns, counted * each, atol=1e-5, rtol=0)
    assert (counted == 1).sum() == 8


def test_a_scaffold_stays(data, tmp_path):
    transitions = recipe(start="c1ccccc1O, C1CCNCC1")
    run, _ = train(tmp_path / "run", transitions, data, 3)
    model = load(run.path, warn=pytest.fail).model
    x = draw(model, 20, seed=0)
    starts_batch = model.starts[:, None]
    # Every atom and every bond of the one or the other is where it was.
    stays = ((x[None] == starts_batch) | (starts_batch == 0)).flatten(2).all(2)
    assert stays.any(0).all()
    assert stays.any(1).all()


def test_the_adversarial_critic_is_a_player(data, tmp_path):
    _, events = train(tmp_path / "run", recipe(adversarial=1.0, cloning=0.5), data, 8)
    assert any("critic/loss" in e.values for e in events if e.kind == "step")


def test_a_sum_over_atoms_is_seen():
    """Two molecules of the same atoms, in the same shares, differ by their sizes alone."""
    h = torch.ones(2, 4, 3)
    x = torch.zeros(2, 4, 4, dtype=torch.uint8)
    x[0, 0, 0] = x[1, range(4), range(4)] = 1
    one, four = relational.pooled(h * (x.diagonal(dim1=1, dim2=2) > 0)[..., None], x)
    assert torch.equal(one[:6], four[:6])
    assert torch.equal(4 * one[6:], four[6:])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"reward": "qed"}, (256, 0.5, 0.01, 0.03, 0.25)),
        ({"reward": "qed", "oracle_calls": 9}, (32, 4, 1.0, 0.01, 1.0)),
        ({"reward": "plogp", "improve": True}, (32, 4, 1.0, 0.01, 1.0)),
        ({"adversarial": 1.0}, (32, 4, 1.0, 0.01, 1.0)),
        (
            {"reward": "qed", "episodes": 8, "epochs": 2, "expert": 0.0, "entropy": 0.0},
            (8, 2, 0.0, 0.0, 0.25),
        ),
    ],
)
def test_the_pace_is_that_of_the_budget_and_of_what_is_said(data, fields, expected):
    """And the policy's optimiser goes by it."""
    transitions = CATALOG["gcpn"](**({"width": 16, "layers": 2} | fields))
    stage = transitions.stages(untrained(transitions, data.domain, 0), data, 0)[-1]
    settings = stage.model.settings
    stream = stage.stream()
    evaluation = (
        stream._episodes,
        stream._batches_for(1) / max(1, round(20 * stream._episodes / 512)),
        settings.expert_weight,
        settings.entropy_weight,
        stage.model.objectives()[0].rate,
    )
    assert evaluation == expected


def test_atoms_are_capped(data):
    policy = untrained(recipe(atoms=5), data.domain, 0)
    assert int(sizes(policy.sample(50, noise=Noise.of(0, 50))).max()) <= 5


@pytest.mark.parametrize(
    ("fields", "captured"),
    [
        ({"reward": "qd"}, "did you mean 'qed'"),
        ({"oracle_calls": 10}, "there is none; give --reward"),
        ({"atoms": 99}, "room for 2 to 48"),
        ({"start": "xx"}, "--start 'xx' cannot be begun with"),
        ({"start": "C" * 20, "atoms": 10}, "--atoms allows 10"),
        ({"cloning": 1.0}, "from 0 to below 1"),
        ({"children": -1}, "--children takes 0 or more"),
        ({"width": 0}, "--width takes 1 or more"),
        ({"episodes": -1}, "--episodes takes 0 or more"),
        ({"expert": -2.0}, "--expert takes 0 or more"),
        ({"improve": True}, "there is none; try plogp"),
        ({"improve": True, "reward": "qed", "similarity": 2.0}, "it is from 0 to 1"),
        ({"improve": True, "reward": "qed", "asked": 0}, "takes 1 or more --asked"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(data, fields, captured):
    with pytest.raises(BadInput, match=captured):
        untrained(recipe(**fields), data.domain, 0)


def test_oracles_that_are_not_here_are_asked_for(data, tmp_path):
    transitions = recipe(reward="jnk3", cloning=0.0)
    with pytest.raises(BadInput, match="trilemma data fetch oracles"):
        train(tmp_path / "run", transitions, data, 2)


def test_only_molecules_fit():
    with pytest.raises(BadInput, match="is for molecule"):
        untrained(recipe(), sources.load("two-moons").domain, 0)
