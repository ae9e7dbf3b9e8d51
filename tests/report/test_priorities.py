"""The answer by a reader's own priorities is the ranking's, and the verdict's guards hold."""

from __future__ import annotations

import dataclasses
from itertools import product

import pytest
from given import every, rank

from trilemma.comparison.priorities import STEPS, priorities

MOST = STEPS - 1


@pytest.fixture
def answers(settled):
    return priorities(every(settled))


def test_quality_alone_is_the_verdict(settled, answers):
    assert answers.answer(MOST, 0, 0).recipes == (rank(settled).choice,)
    assert answers.answer(1, 0, 0) == answers.answer(MOST, 0, 0)


@pytest.mark.parametrize(("axis", "weights"), [("coverage", (0, 1, 0)), ("speed", (0, 0, 1))])
def test_an_axis_alone_is_its_ranking(settled, answers, axis, weights):
    first = {p.recipe for p in getattr(rank(settled), axis) if p.best == 1}
    assert set(answers.answer(*weights).recipes) == first
    assert ("A tie" in answers.answer(*weights).words) == (len(first) > 1)


def test_equal_weights_add_how_many_are_certainly_better(evaluate):
    """Of three, b is second in all, and a and c are first and last by turns."""
    rows = [
        evaluate("a", fd=10, coverage=0.9, seconds=1.0),
        evaluate("b", fd=20, coverage=0.8, seconds=0.1),
        evaluate("c", fd=30, coverage=0.7, seconds=0.01),
    ]
    answers, ranking = priorities(every(rows)), rank(rows)
    assert ranking.choice == "a"
    assert answers.answer(1, 1, 1).recipes == ("a",)  # 0 + 0 + 2 against 3 and 4
    assert answers.answer(1, 0, 1).recipes == ("a", "b", "c")
    assert answers.answer(1, 0, 4).recipes == ("c",)


def test_who_is_certainly_worse_in_all_three_is_never_the_answer(settled, evaluate):
    rows = [*settled, evaluate("beaten", fd=200, coverage=0.3, seconds=2.0)]
    answers = priorities(every(rows))
    assert not any("beaten" in answer.recipes for answer in answers.answers)
    reached = {name for answer in answers.answers for name in answer.recipes}
    assert {"ddpm", "vae"} <= reached


def test_guards_of_the_verdict_hold_for_every_weighing(settled, evaluate):
    small = [dataclasses.replace(row.of, test_examples=20) for row in every(settled)]
    rows = [type(every(settled)[0])(of=of) for of in small]
    for answers in (priorities(rows), priorities(every([evaluate("a", fd=2)])), priorities([])):
        for weights in product(range(STEPS), repeat=3):
            assert answers.answer(*weights).recipes == ()
            assert answers.answer(*weights).words.startswith("No choice is made")


def test_nobody_below_a_trivial_baseline_is_chosen_for_speed(evaluate):
    rows = [
        evaluate("good", fd=10, coverage=0.9, seconds=1.0),
        evaluate("noise", fd=900, coverage=0.1, seconds=1e-5),
    ]
    answer = priorities(every(rows)).answer(0, 0, 1)
    assert answer.recipes == ()
    assert "noise is not certainly better than the trivial baseline" in answer.words


def test_without_a_weight_nothing_is_chosen(answers):
    assert answers.answer(0, 0, 0).recipes == ()
