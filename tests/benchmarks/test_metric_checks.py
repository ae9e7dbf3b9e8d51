"""The checks of metrics can be passed and failed, and what measures nothing fails."""

from __future__ import annotations

import argparse
import math
from dataclasses import replace

import pytest
import torch

from benchmarks import metric_checks, metric_worlds
from benchmarks.metric_checks import FAILED, PASSED, UNKNOWN, chosen, goodness, judged, side
from benchmarks.metric_worlds import BOTH, CHECKS, COPYING, DIVERSITY, FIDELITY
from trilemma.core.errors import BadInput
from trilemma.metrics import judge
from trilemma.metrics.metric import COVERAGE, QUALITY
from trilemma.metrics.registry import metric
from trilemma.metrics.score import Score

CHECKED = [(check, of) for check in CHECKS for of in check.criteria]
SHARES_LEFT = [1, 0.8, 0.6, 0.4, 0.2]
FALLING = [1, 0.7, 0.4, 0.1, 0]
IDEAL = {
    "dimensions": {FIDELITY: [0.8, 0.5, 0.2, 0]},
    "number of examples": {of: [0.6] * 4 for of in (FIDELITY, DIVERSITY, BOTH, COPYING)},
    "sphere": {of: [0, 0, 1, 0, 0] for of in (FIDELITY, DIVERSITY, BOTH)},
    "samples moved": {of: FALLING for of in (FIDELITY, DIVERSITY, BOTH)},
    "one column apart": {of: [1, 0] for of in (FIDELITY, DIVERSITY, BOTH)},
    "too narrow": {DIVERSITY: FALLING, BOTH: FALLING},
    "too wide": {FIDELITY: FALLING[:4], BOTH: FALLING[:4]},
    "modes dropped": {DIVERSITY: SHARES_LEFT, BOTH: SHARES_LEFT},
    "modes dropped and invented": {of: SHARES_LEFT for of in (FIDELITY, DIVERSITY, BOTH)},
    "modes invented": {FIDELITY: [1, 0.83, 0.71, 0.63, 0.56], BOTH: SHARES_LEFT},
    "modes collapsed": {DIVERSITY: FALLING[:4], BOTH: FALLING[:4]},
    "one example repeated": {DIVERSITY: [1, 0], BOTH: [1, 0]},
    "outlier among the data": {of: [1, 1, 0, 0] for of in (FIDELITY, DIVERSITY, BOTH, COPYING)},
    "outlier among the samples": {DIVERSITY: [1, 1, 0, 0]},
    "fractions for whole numbers": {FIDELITY: [1, 0], BOTH: [1, 0.5]},
    "whole numbers for fractions": {DIVERSITY: [1, 0.3], BOTH: [1, 0.3]},
    "copies": {COPYING: [1, 0.75, 0.5, 0]},
}
"""What a metric without fault would say, where that is not 1 everywhere."""


def named(checked):
    return [f"{check.name}-{of}" for check, of in checked]


@pytest.mark.parametrize(("check", "of"), CHECKED, ids=named(CHECKED))
def test_each_check_can_be_passed(check, of):
    ideal = IDEAL.get(check.name, {}).get(of, [1.0] * len(check.cases))
    assert judged(check, of, ideal) == (PASSED, "")


@pytest.mark.parametrize(("check", "of"), CHECKED, ids=named(CHECKED))
def test_each_check_can_be_failed(check, of):
    count = len(check.cases)
    alone = [[float(i == j) for j in range(count)] for i in range(count)]
    rising = [i / count for i in range(count)]
    verdicts = [judged(check, of, good) for good in (*alone, rising)]
    failed = [wrong for verdict, wrong in verdicts if verdict == FAILED]
    assert failed
    assert all(failed)  # each says what is wrong


@pytest.mark.parametrize("of", [FIDELITY, DIVERSITY, BOTH, COPYING])
@pytest.mark.parametrize("constant", [-1.0, 0.0, 0.5, 1.0, 2.0])
def test_what_says_the_same_of_everything_fails(of, constant):
    verdicts = {
        check.name: judged(check, of, [constant] * len(check.cases))[0]
        for check in CHECKS
        if of in check.criteria
    }
    fails = {name for name, verdict in verdicts.items() if verdict == FAILED}
    if constant != 1:  # it is right of nothing but what does not change
        assert set(verdicts) - fails <= {"units", "number of examples"}
    elif of == COPYING:
        assert "copies" in fails
    else:
        assert {"sphere", "samples moved", "one column apart", "outlier among the data"} <= fails


@pytest.mark.parametrize("of", [FIDELITY, DIVERSITY, BOTH, COPYING])
def test_better_where_it_is_worse_fails(of):
    backwards = {
        check.name: judged(check, of, [0.1 * i for i in range(len(check.cases))])[0]
        for check in CHECKS
        if of in check.criteria
    }
    assert PASSED not in backwards.values()


def test_one_value_that_is_missing_is_no_pass():
    for check, of in CHECKED:
        good = [1.0] * (len(check.cases) - 1)
        assert judged(check, of, [math.nan, *good])[0] == UNKNOWN


def test_a_side_of_which_nothing_is_asked_passes_nothing():
    copies = next(check for check in CHECKS if check.name == "copies")
    assert judged(copies, FIDELITY, [1.0] * 4)[0] == metric_checks.ASKED_NOTHING


def test_goodness_of_shares_and_of_distances():
    share, distance = metric("coverage"), metric("fd")
    assert goodness(share, [Score(0.4), Score(1.2), None], own=False)[:2] == [0.4, 1.2]
    scores = [
        Score(2.0, floor=1.0, baselines={"mean": 5.0}),
        Score(9.0, floor=3.0, baselines={"mean": 4.0}),
    ]
    assert goodness(distance, scores, own=False) == [0.75, -1.0]
    assert goodness(distance, scores, own=True) == [0.75, -5.0]
    assert math.isnan(goodness(distance, [None, *scores], own=False)[1])
    assert math.isnan(goodness(distance, [Score(1.0)], own=False)[0])


def test_sides_are_declared_or_said():
    assert side(metric("fd")) == side(metric("sliced_wasserstein")) == BOTH
    assert side(metric("coverage")) == side(metric("clipped_coverage")) == DIVERSITY
    assert side(metric("precision")) == side(metric("clipped_density")) == FIDELITY
    assert side(metric("nearest_train_ratio")) == COPYING
    assert side(replace(metric("fd"), name="new", ranks="")) == ""


def options_with(**changed):
    defaults = {name: default for name, (default, _) in metric_checks.OPTIONS.items()}
    return argparse.Namespace(**defaults | {"n": 100, "repetitions": 1} | changed)


@pytest.mark.parametrize(("ranks", "of"), [(QUALITY, BOTH), (COVERAGE, DIVERSITY)])
def test_a_constant_metric_fails_on_the_way_through_all_worlds(monkeypatch, ranks, of):
    constant = replace(
        metric("energy_distance"),
        name="constant",
        ranks=ranks,
        better="higher",
        measure=lambda context: Score(1.0),
    )
    monkeypatch.setattr(metric_checks, "metrics", lambda: (constant,))
    monkeypatch.setattr(judge, "metrics", lambda: (constant,))
    matrix, failures, questions = metric_checks.main(options_with())
    assert matrix.data["sides"] == {"constant": of}
    assert len(questions.rows) == len(CHECKS) == len(matrix.rows) - 1
    failed = {row[1] for row in failures.rows}
    assert {"samples moved", "too narrow", "modes dropped"} <= failed
    assert not {"same distribution", "units"} & failed
    assert len(failed) == sum(row[1] == FAILED for row in matrix.rows)


def test_the_same_seed_gives_the_same_and_a_page():
    options = options_with(only="copies", metrics="nearest_train_ratio")
    one, two = (metric_checks.main(options)[0].to_json() for _ in range(2))
    assert one["found"] == two["found"]
    other = metric_checks.main(options_with(**vars(options) | {"seed": 1}))[0].to_json()
    assert other["found"] != one["found"]
    result = {
        "command": "python -m benchmarks metric-checks --n 100 --repetitions 1 --seed 0",
        "date": "2026-01-01T00:00:00",
        "environment": {"commit": "c", "processor": "p", "threads": 1},
        "sections": [part.to_json() for part in metric_checks.main(options)],
    }
    page = metric_checks.page(result)
    assert "| check | `nearest_train_ratio` |" in page
    assert "n = 100 samples" in page


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"only": "nothing"}, "no check has 'nothing' in its name"),
        ({"metrics": "fd,nothing"}, "no metric of samples is called 'nothing'"),
        ({"n": 50}, "give 100 or more"),
        ({"repetitions": 0}, "give 100 or more and 1 or more"),
    ],
)
def test_a_mistake_is_a_sentence(changed, message):
    with pytest.raises(BadInput, match=message):
        metric_checks.main(options_with(**changed))


def test_what_has_no_side_is_named_and_not_judged(monkeypatch):
    odd = replace(metric("fd"), name="odd", ranks="")
    monkeypatch.setattr(metric_checks, "metrics", lambda: (odd, metric("fd")))
    assert chosen("") == ([metric("fd")], ["odd"])


def test_worlds_are_what_their_words_say():
    modes = next(check for check in CHECKS if check.name == "modes dropped")
    train, test, samples = modes.cases[-1].draw_sets(400, torch.Generator().manual_seed(0))
    assert (len(train), len(test), len(samples)) == (800, 400, 400)
    kinds = [len({tuple(row) for row in (x / 10).round().tolist()}) for x in (test, samples)]
    assert kinds == [10, 2]
    moved = metric_worlds.lonely(1)(train, test, samples)
    assert [bool((x == 30).any()) for x in moved] == [False, True, False]
    assert torch.equal(moved[1][1:], test[1:])
