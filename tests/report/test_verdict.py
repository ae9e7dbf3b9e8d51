"""What is chosen, and the guards that keep the page from choosing."""

from __future__ import annotations

import pytest
from given import page_of, rank


def trained(row, updates=500, state="settled", target_updates=200, **more):
    training = {"seconds": 18.0, "updates": updates, "wanted": target_updates, "state": state}
    return row | {"training": training | {"processor": "A", "threads": 2} | more}


@pytest.fixture
def pair(evaluate):
    """Return two rows that are clearly apart."""
    return [trained(evaluate("a", fd=20)), trained(evaluate("b", fd=60))]


def test_what_is_clearly_apart_is_chosen(pair):
    ranking = rank(pair)
    assert (ranking.choice, ranking.why_not) == ("a", None)
    assert ranking.verdict.startswith("Choose a")


def test_few_test_examples_make_no_choice(pair):
    assert rank([row | {"test_examples": 50} for row in pair]).choice == "a"
    ranking = rank([row | {"test_examples": 18} for row in pair])
    assert ranking.choice is None
    assert "there are 18 test examples, and fewer than 50" in ranking.why_not


def test_too_few_updates_are_not_ranked_and_the_minutes_that_would_do_are_said(pair, evaluate):
    short = trained(evaluate("c", fd=2), updates=5, state="warming up")
    ranking = rank([*pair, short])
    assert [p.recipe for p in ranking.quality] == ["a", "b"]
    assert ranking.choice == "a"
    assert "c made 5 of the 200 updates it takes; --minutes 14 would do" in ranking.words
    assert "beaten" not in ranking.words


def test_where_only_one_was_trained_for_long_enough_nothing_is_chosen(pair):
    pair[1] = trained(pair[1], updates=5, state="warming up")
    ranking = rank(pair)
    assert ranking.choice is None
    assert ranking.why_not.startswith("only a was trained for long enough; b made 5 of the 200")


def test_nothing_beaten_by_a_baseline_is_chosen(pair):
    for row in pair:
        row["metrics"]["fd"]["baselines"] = {"mean": 20.5}
    ranking = rank(pair)
    assert ranking.choice is None
    assert (
        "a, is not certainly better than the trivial baseline ‘training mean’" in ranking.why_not
    )


def test_a_single_seed_needs_half_as_much_distance_again(evaluate):
    """Intervals that do not touch are no choice while retraining may change the order."""
    near = [trained(evaluate("a", fd=20, wide=1)), trained(evaluate("b", fd=22.5, wide=1))]
    ranking = rank(near)
    assert [p.span for p in ranking.quality] == ["1", "2"]
    assert ranking.choice is None
    assert "another training seed" in ranking.why_not
    for row in near:
        row["metrics"]["fd"]["spread"] = 0.5
    assert rank(near).choice == "a"
    assert "trained once" not in rank(near).verdict
    far = [trained(evaluate("a", fd=20, wide=1)), trained(evaluate("b", fd=24, wide=1))]
    assert rank(far).choice == "a"
    assert "Each was trained once, and another training moves fd" in rank(far).verdict


def test_who_gives_training_examples_back_is_not_chosen(evaluate):
    thief = trained(evaluate("thief", fd=20, wide=1, copies=0.4))
    honest = trained(evaluate("honest", fd=60, wide=1, copies=0.0))
    ranking = rank([thief, honest])
    assert ranking.choice is None
    assert "thief, gives training examples back: 40% of its samples" in ranking.why_not
    thief["metrics"]["copies"] |= {"value": 0.02, "low": 0.01}
    assert rank([thief, honest]).choice == "thief"


def test_measures_that_contradict_make_no_choice(evaluate):
    pair = [
        trained(evaluate("a", fd=20, kd=0.9)),
        trained(evaluate("b", fd=60, kd=0.1)),
    ]
    ranking = rank(pair)
    assert ranking.choice is None
    assert ranking.why_not == "fd prefers a, and kd b: the measures contradict."


@pytest.mark.parametrize("measure", ["fd", "energy_distance", "mmd"])
def test_a_discrepancy_that_contradicts_what_ranks_is_named(evaluate, measure):
    pair = [
        trained(evaluate("a", **{measure: 20, "discrepancy": 0.9})),
        trained(evaluate("b", **{measure: 60, "discrepancy": 0.1})),
    ]
    ranking = rank(pair)
    assert [p.recipe for p in ranking.quality] == ["a", "b"]
    assert ranking.why_not == f"{measure} prefers a, and discrepancy b: the measures contradict."
    pair[0]["metrics"]["discrepancy"] = pair[1]["metrics"]["discrepancy"]
    assert rank(pair).choice == "a"


def test_points_are_ranked_by_energy_distance(evaluate):
    pair = [
        trained(evaluate("shape", fd=0.002, energy_distance=0.02)),
        trained(evaluate("blob", fd=0.001, energy_distance=0.9)),
    ]
    ranking = rank(pair)
    assert [p.recipe for p in ranking.quality] == ["shape", "blob"]
    assert "energy_distance" in ranking.verdict


def test_other_conditions_are_marked_and_not_ranked(pair, evaluate):
    other = trained(evaluate("c", fd=2), threads=8)
    ranking = rank([*pair, other])
    assert [p.recipe for p in ranking.quality] == ["a", "b"]
    assert "c, trained with other threads or on another processor" in ranking.words


def test_what_still_falls_is_said(pair):
    pair[1] = trained(pair[1], state="falling")
    assert "Still improving when the time was over: b;" in rank(pair).words


def test_a_reward_is_ranked_by_what_was_reached_and_never_by_likeness(pair, evaluate):
    def goal(name, reached, reward="robustness"):
        row = trained(evaluate(name, fd=1, improvement_gain=reached)) | {"reward": reward}
        row["metrics"]["improvement_gain"]["baselines"] = {"random": 0.1}
        return row

    rest_of_rows = [goal("weak", 0.2), goal("strong", 0.5), goal("other", 0.9, "logP")]
    ranking = rank([*pair, *rest_of_rows])
    assert ranking.choice == "a"
    assert [p.recipe for p in ranking.quality] == ["a", "b"]
    assert [(t.reward, [p.recipe for p in t.ranks]) for t in ranking.tasks] == [
        ("robustness", ["strong", "weak"]),
        ("logP", ["other"]),
    ]
    text = "By the reward ‘robustness’ (improvement_gain): 1: strong 0.5 and 2: weak 0.2, beside"
    assert f"{text} random 0.1." in ranking.words
    page = page_of("graphs", [*pair, *rest_of_rows])
    assert "Reward: logP" in page
    alone = rank(rest_of_rows)
    assert alone.choice is None
    assert "a reward is a task" in alone.why_not
