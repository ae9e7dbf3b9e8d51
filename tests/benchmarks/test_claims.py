"""Claims as paired trials: what is trained together, what is gone on with, what decides."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace

import pytest

from benchmarks import claims, paired
from benchmarks.claims import Criterion, all_claims, outcome
from benchmarks.paired import Side, trial
from trilemma.comparison.row import Row
from trilemma.core.errors import BadInput
from trilemma.metrics.evaluation import Evaluation, Spent
from trilemma.metrics.registry import quantity
from trilemma.metrics.score import Score
from trilemma.recipes.catalog import recipe_class
from trilemma.recipes.fields import parse

BASELINES = ("bicubic", "lowest degree product", "random")
"""What no side is, and a metric names."""
SIDES = (Side("one", ("vae", "--width", "16")), Side("other", ("vae", "--width", "24")))


def row(name, value, half, better="lower", seconds=None, seeds=3):
    score = Score(value=value, low=value - half, high=value + half, better=better, seeds=seeds)
    row_evaluation = evaluation(name, {"fd": score})
    return Row(of=replace(row_evaluation, cost=Spent(sample_seconds_each=seconds)))


def evaluation(name, metrics):
    return Evaluation(
        recipe=name,
        family="",
        data="",
        n=1,
        seed=0,
        device="cpu",
        threads=1,
        step=1,
        metrics=metrics,
        skipped={},
        cost=Spent(),
    )


@pytest.mark.parametrize("claim", all_claims().values(), ids=all_claims())
def test_every_claim_names_recipes_with_fields_that_they_have(claim):
    names = [side.name for side in claim.sides]
    assert len(set(names)) == len(names)
    for criterion in claim.criteria:
        assert criterion.side in names
        assert criterion.reference in {*names, *BASELINES, ""}
        assert quantity(criterion.metric).name
    for side in claim.sides:
        if side.of:
            assert [one.of for one in claim.sides if one.name == side.of] == [""]
            continue
        words = list(side.words[1:])
        if "--size" in words:  # of the data
            del words[words.index("--size") : words.index("--size") + 2]
        parse(recipe_class(side.words[0]), words)


@pytest.mark.parametrize(
    ("one", "other", "better", "limit", "reached"),
    [
        ((10, 1), (20, 2), "lower", 1.0, "yes"),
        ((10, 6), (20, 6), "lower", 1.0, "no"),
        ((20, 1), (10, 1), "lower", 1.0, "no"),
        ((20, 1), (10, 1), "higher", 1.0, "yes"),
        ((10, 6), (20, 6), "lower", 0.5, "yes"),
        ((11, 1), (20, 1), "lower", 0.5, "no"),
        ((22, 1), (10, 1), "higher", 2.0, "yes"),
    ],
)
def test_what_decides_between_two(one, other, better, limit, reached):
    rows = [row("one", *one, better), row("other", *other, better)]
    result = outcome(Criterion("one", "fd", "other", limit), rows)
    assert result[-1] == reached
    assert result[-2] == f"{one[0] / other[0]:.2f}"


def test_a_baseline_is_no_matter_of_its_seeds():
    ours = row("one", 10, 1)
    ours = replace(
        ours,
        of=replace(
            ours.of, metrics={"fd": replace(ours.score("fd"), baselines={"bicubic": 10.5})}
        ),
    )
    result = outcome(Criterion("one", "fd", "bicubic"), [ours])
    assert result[-2:] == ("0.95", "no")
    assert outcome(Criterion("one", "fd", "bicubic", 0.96), [ours])[-1] == "yes"
    with pytest.raises(BadInput, match="no baseline 'cubic'"):
        outcome(Criterion("one", "fd", "cubic"), [ours])


def test_of_one_seed_nothing_is_claimed():
    rows = [row("one", 10, 1, seeds=0), row("other", 20, 1)]
    assert "seeds" in outcome(Criterion("one", "fd", "other"), rows)[-1]


@pytest.mark.parametrize(
    ("value", "better", "limit", "reached"),
    [(10, "lower", 10, "yes"), (11, "lower", 10, "no"), (-79, "higher", -80, "yes")],
)
def test_what_decides_of_one(value, better, limit, reached):
    assert (
        outcome(Criterion("one", "fd", limit=limit), [row("one", value, 1, better)])[-1] == reached
    )


def test_a_cost_decides_too_and_what_was_not_measured_is_said():
    rows = [row("one", 1, 0, seconds=0.1), row("other", 1, 0, seconds=0.5)]
    assert outcome(Criterion("one", "sample_seconds_each", "other", 0.25), rows)[-2:] == (
        "0.20",
        "yes",
    )
    with pytest.raises(BadInput, match="'modes' was not measured of 'one'"):
        outcome(Criterion("one", "modes", limit=1), rows)


@pytest.fixture
def requests(monkeypatch):
    """Return what is run at once, in order; nothing is, but a mark of it is left."""
    requests = []

    def together(commands, cores, **_):
        requests.append(
            [
                (run.name, words[1], core)
                for (run, words), core in zip(commands, cores, strict=False)
            ]
        )
        for run, words in commands:
            run.mkdir(exist_ok=True)
            kind = "done" if words[1] != "train" or run.name != "other-1" else "step"
            if words[1] in ("evaluate", "claimed.judge"):
                evaluated = replace(evaluation("vae", {}), n=50)
                run.with_name(f"{run.name}.json").write_text(json.dumps(evaluated.to_json()))
            elif words[1] == "sample":
                run.with_name(f"{run.name}.npz").touch()
            else:
                (run / "latest").write_text("0")
                (run / "events.jsonl").write_text(json.dumps({"kind": kind}) + "\n")

    monkeypatch.setattr(paired, "_together", together)
    return requests


OPTIONS = {"data": "digits", "minutes": 1, "seeds": 2, "samples": 50, "cores": [4, 7]}


def test_sides_are_trained_together_on_cores_of_their_own_and_gone_on_with(tmp_path, requests):
    rows = trial(tmp_path / "t", SIDES, **OPTIONS)
    assert [r.name for r in rows] == ["one", "other"]
    assert [r.seeds for r in rows] == [(0, 1), (0, 1)]
    assert requests == [
        [("one-0", "train", 4), ("other-0", "train", 7)],
        [("other-1", "train", 4), ("one-1", "train", 7)],
        [("one-0", "evaluate", 4), ("one-1", "evaluate", 7)],
        [("other-0", "evaluate", 4), ("other-1", "evaluate", 7)],
    ]
    requests.clear()
    trial(tmp_path / "t", SIDES, **OPTIONS)
    assert requests == [[], [("other-1", "resume", 4)]]  # it was cut off; what is measured stays
    with pytest.raises(BadInput, match="another trial"):
        trial(tmp_path / "t", SIDES, **(OPTIONS | {"minutes": 2}))


def test_a_module_may_measure_instead(tmp_path, requests):
    trial(tmp_path / "t", SIDES[:1], **OPTIONS, judged_by="claimed.judge")
    assert requests[-1] == [("one-0", "claimed.judge", 4), ("one-1", "claimed.judge", 7)]


def test_an_interval_may_have_to_lie_beyond_a_limit():
    rows = [row("one", 0.1, 0.2, "higher")]
    assert outcome(Criterion("one", "fd", limit=0), rows)[-1] == "yes"
    assert outcome(Criterion("one", "fd", limit=0, beyond=True), rows)[-1] == "no"
    assert outcome(Criterion("one", "fd", limit=-0.1, beyond=True), rows)[-1] == "yes"


def test_what_was_measured_on_the_way_is_told_by_shares(tmp_path):
    for seed, values in enumerate(([8, 6, 4], [10, 8, 2])):
        run = tmp_path / f"one-{seed}"
        run.mkdir()
        lines = [{"kind": "preview", "step": 0}, {"kind": "preview", "step": 5, "fd": math.nan}]
        lines += [
            {"kind": "preview", "step": step, "fd": value}
            for step, value in zip((10, 50, 100), values, strict=True)
        ]
        lines += [{"kind": "done", "step": 100}]
        (run / "events.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    course = paired.on_the_way(tmp_path, SIDES[0], 2, "fd", (0.05, 0.125, 0.5, 0.75, 1.0))
    assert course == [None, 9, 7, 7, 3]


def test_a_side_may_draw_otherwise_from_the_runs_of_another(tmp_path, requests):
    slow = Side("slow", of="one", drawing=("--steps", "1000"))
    rows = trial(tmp_path / "t", (SIDES[0], slow), **OPTIONS)
    assert [r.name for r in rows] == ["one", "slow"]
    assert requests == [
        [("one-0", "train", 4), ("one-1", "train", 7)],
        [("slow-0", "sample", 4), ("slow-1", "sample", 7)],
        [("one-0", "evaluate", 4), ("one-1", "evaluate", 7)],
        [("slow-0", "evaluate", 4), ("slow-1", "evaluate", 7)],
    ]


@pytest.mark.slow
def test_samples_drawn_otherwise_are_measured_as_those_of_the_run(tmp_path):
    slow = Side("slow", of="one", drawing=("--steps", "3"))
    sides = (Side("one", ("ddpm", "--width", "8", "--sample_steps", "3")), slow)
    one, other = trial(
        tmp_path / "t",
        sides,
        data="digits",
        minutes=0.01,
        seeds=1,
        samples=130,
        cores=[min(os.sched_getaffinity(0))],
    )
    assert one.score("fd").value == pytest.approx(other.score("fd").value)


def test_a_training_that_fails_is_a_sentence(tmp_path):
    with pytest.raises(BadInput, match=r"'trilemma train vae --wdith 3 .* ended with 2: .*wdith"):
        trial(
            tmp_path / "t",
            (Side("one", ("vae", "--wdith", "3")),),
            data="digits",
            minutes=0.01,
            seeds=1,
            samples=50,
            cores=[min(os.sched_getaffinity(0))],
        )


def test_an_unknown_claim_names_the_known():
    options = type("Options", (), {"claim": "augmentaton", "minutes": 0, "samples": 0})
    with pytest.raises(BadInput, match="did you mean 'augmentation'"):
        claims.main(options)
