"""Places, ties, the Pareto set, and the sentence that says what to choose."""

from __future__ import annotations

import math

import pytest
from given import rank


def order(spans):
    return [(p.recipe, p.best) for p in spans]


def test_ranks_the_three_corners(rows):
    ranking = rank(rows)
    assert order(ranking.quality) == [("ddpm", 1), ("gan", 2), ("vae", 3), ("autoencoder", 4)]
    assert order(ranking.coverage) == [("ddpm", 1), ("vae", 2), ("gan", 2), ("autoencoder", 4)]
    assert order(ranking.speed) == [("autoencoder", 1), ("vae", 1), ("gan", 3), ("ddpm", 4)]
    assert [p.span for p in ranking.coverage] == ["1", "2–3", "2–3", "4"]


def test_chooses_the_best_and_says_when_not_to(rows):
    ranking = rank(rows)
    assert ranking.choice == "ddpm"
    assert ranking.verdict.startswith(
        "Choose ddpm: its samples lie nearest to the data (fd 17.2, "
    )
    assert "where real data reach 6.1" in ranking.verdict
    assert "covers the most of them (coverage 0.92)" in ranking.verdict
    assert any(s.startswith("Take gan when 6.2 ms a sample is too long") for s in ranking.advice)
    assert "258 times less" in ranking.words


def test_overlapping_intervals_make_no_choice(evaluate):
    pair = [evaluate("a", fd=20, coverage=0.5, seconds=1e-3, wide=3)]
    pair.append(evaluate("b", fd=23, coverage=0.8, seconds=1e-3, wide=3))
    ranking = rank(pair)
    assert [p.span for p in ranking.quality] == ["1–2", "1–2"]
    assert ranking.choice is None
    assert "a and b lie within the noise of another training seed" in ranking.why_not
    assert "--seeds 3" in ranking.verdict


def test_places_are_spans_where_intervals_overlap_in_a_chain(evaluate):
    """Overlap is not transitive: 1 and 2 overlap, 2 and 3 do, 1 and 3 do not."""
    chain = [evaluate(n, fd=v, wide=2) for n, v in (("a", 10), ("b", 13), ("c", 16), ("d", 99))]
    assert [p.span for p in rank(chain).quality] == ["1–2", "1–3", "2–3", "4"]


def test_narrow_intervals_are_no_tie(evaluate):
    ranking = rank([evaluate("a", fd=20, wide=1), evaluate("b", fd=23, wide=1)])
    assert [p.best for p in ranking.quality] == [1, 2]
    assert "tie" not in ranking.verdict


def test_speed_within_a_quarter_is_a_tie(evaluate):
    times = {"a": 1.0e-3, "b": 1.2e-3, "c": 1.3e-3}
    ranking = rank([evaluate(name, fd=1, seconds=t) for name, t in times.items()])
    assert order(ranking.speed) == [("a", 1), ("b", 1), ("c", 2)]


def test_frontier_holds_those_that_none_beats(rows, evaluate):
    slow = evaluate("slow", fd=18, coverage=0.9, seconds=1.0)
    assert rank([*rows, slow]).frontier == ("autoencoder", "vae", "gan", "ddpm")


def test_the_beaten_are_named_once(rows, evaluate):
    poor = [evaluate(name, fd=300, coverage=0.1, seconds=1.0) for name in ("x", "y")]
    assert any(
        "Beaten by ddpm in quality, coverage and speed: x and y." in s
        for s in rank([*rows, *poor]).advice
    )


def test_trivial_and_copying_models_are_called_out(rows, evaluate):
    bad = evaluate("bad", fd=600, coverage=0.1, seconds=1e-5)
    copy = evaluate("copy", fd=3, coverage=0.99, seconds=1.0, copies=0.3)
    clean = evaluate("clean", fd=3, coverage=0.99, seconds=1.0, copies=0.0)
    words = rank([*rows, bad, copy, clean]).words
    assert "bad does no better than the trivial baseline ‘training mean’ (fd 530)" in words
    assert "of the samples, 30 % of copy are training examples again" in words
    assert "of clean" not in words


def test_missing_scores_leave_a_row_out(rows, evaluate):
    ranking = rank([*rows, evaluate("silent", seconds=1e-6), evaluate("nan", fd=math.nan)])
    assert "silent" not in [p.recipe for p in ranking.quality]
    assert ranking.rank_of("speed", "silent").best == 1
    assert "silent and nan have no fd" in ranking.words


def test_recall_stands_in_for_coverage(evaluate):
    ranking = rank([evaluate("a", fd=2, recall=0.9), evaluate("b", fd=9, recall=0.2)])
    assert order(ranking.coverage) == [("a", 1), ("b", 2)]
    assert "recall 0.9" in ranking.verdict


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"fd": 20, "seconds": 1e-3}, "only a was measured"),
        ({"coverage": 0.5}, "no recipe has an fd"),
        ({"seconds": 1e-3}, "no ground to choose on"),
        ({}, "no ground to choose on"),
    ],
)
def test_one_row(evaluate, more, words):
    assert words in rank([evaluate("a", **more)]).verdict


def test_no_row():
    ranking = rank([])
    assert ranking.choice is None
    assert "nothing was measured" in ranking.verdict
    assert ranking.quality == ranking.frontier == ranking.advice == ()


def test_the_likeliest_is_named_with_its_way(rows):
    assert "most probable to vae (≥ −93.00 nats, lower bound)" in rank(rows).words
    likelihood = {"value": -93.4, "low": -94, "high": -92.5, "by": "exact"}
    rows[3]["metrics"]["log_prob"] = rows[3]["metrics"]["bound"] | likelihood
    words = rank(rows).words
    assert "vae (≥ −93.00 nats, lower bound) and ddpm (−93.40 nats, exact)" in words
    assert "which their intervals do not tell apart" in words
    del rows[1]["metrics"]["bound"], rows[3]["metrics"]["bound"], rows[3]["metrics"]["log_prob"]
    assert "most probable" not in rank(rows).words
