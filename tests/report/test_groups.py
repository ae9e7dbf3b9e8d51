"""Means and spreads over seeds, and what is said of them."""

from __future__ import annotations

import math

import pytest
from given import every, grouped, page_of, rank

from trilemma.comparison.groups import to_json


def test_mean_deviation_and_interval_by_hand(runs):
    ns, wgan = map(to_json, grouped(runs))
    fd = ns["metrics"]["fd"]
    assert (fd["mean"], fd["sd"], fd["n"]) == (34.0, 2.0, 3)
    assert fd["high"] - 34 == pytest.approx(4.303 * 2 / math.sqrt(3), rel=1e-4)
    assert "over the seeds" in fd["interval"]
    assert fd["floor"] == 6.1
    assert ns["seeds"] == ns["measured"] == [0, 1, 2]
    assert ns["cost"]["sample_seconds_each"]["mean"] == pytest.approx(1e-3)
    assert wgan["label"] == "gan loss=wgan"


def test_one_seed_has_no_spread_and_the_interval_of_its_run(runs):
    fd = to_json(grouped(runs)[1])["metrics"]["fd"]
    assert (fd["mean"], fd["sd"], fd["n"]) == (30.0, None, 1)
    assert (fd["low"], fd["high"]) == (29.0, 31.0)
    assert fd["interval"] == "of the single run"


def test_a_failed_seed_is_named_and_the_others_count(runs):
    runs[1]["metrics"], runs[1]["cost"] = {}, {}
    runs[1]["skipped"] = {"fd": "training left the finite numbers."}
    ns = to_json(grouped(runs)[0])
    assert ns["metrics"]["fd"]["n"] == 2
    assert ns["measured"] == [0, 2]
    assert ns["skipped"] == {"fd": "seed 1: training left the finite numbers."}
    assert ns["cost"]["sample_seconds_each"]["n"] == 2


def test_an_interval_stays_within_its_scores_range(evaluate):
    rows = [evaluate("a", precision=v) | {"seed": i} for i, v in enumerate((0.0, 0.0, 0.3))]
    assert grouped(rows)[0].of.metrics["precision"].low == 0.0


def test_rows_without_labels_go_by_their_recipe(rows):
    assert [row.name for row in every(rows)][:2] == ["autoencoder", "vae"]


def test_the_verdict_ranks_means_and_says_what_intervals_are(seeded_rows):
    ranking = rank(seeded_rows)
    assert [(p.recipe, p.best) for p in ranking.quality] == [
        ("gan loss=wgan", 1),
        ("gan loss=ns", 1),  # three seeds know the mean too poorly to tell
    ]
    assert ranking.quality[1].low == pytest.approx(34 - 4.969, abs=1e-3)
    assert "cannot be distinguished by fd; measure with more seeds" in ranking.verdict
    text = "Values are means over 3 seeds, and intervals are Student's for the mean at 95 %"
    assert ranking.advice[-1].startswith(text)
    assert "gan loss=wgan was measured with one seed" in ranking.advice[-1]


def test_a_tie_over_seeds_asks_for_more_seeds(runs):
    for row in runs[3:]:
        row["metrics"]["fd"] |= {"value": 34.0, "low": 33.0, "high": 35.0}
        row["cost"] = runs[0]["cost"]
    assert "measure with --seeds 3" in rank(grouped(runs)).verdict


def test_runs_that_overlap_in_speed_are_a_tie(runs):
    for row, seconds in zip(runs, (1e-3, 4e-3, 4e-3, 1e-3), strict=True):
        row["cost"] = {"sample_seconds_each": seconds}
    assert [p.best for p in rank(grouped(runs)).speed] == [1, 1]
    for row in runs[:3]:
        row["cost"] = {"sample_seconds_each": 4e-3}
    assert [p.best for p in rank(grouped(runs)).speed] == [1, 2]


def test_the_page_of_a_grid(runs):
    facts = {"seed": (0, 1, 2), "minutes": 1.0, "settings": {"augment": "none"}}
    page = page_of("digits", grouped(runs), **facts)
    for words in (
        "Two variants on digits",
        "seeds 0, 1 and 2",
        "augment = none",
        "34.0 ± 2.0",
        "±: the sample standard deviation over the seeds",
    ):
        assert words in page
    assert "Four variants on digits" in page_of("digits", runs, **facts)


def test_what_was_not_measured_is_said_once_for_all_alike(runs):
    for row in runs:
        row["skipped"] = {"log_prob": "a GAN has no likelihood"}
    page = page_of("digits", grouped(runs))
    assert page.count("a GAN has no likelihood") == 1 + page.count('title="a GAN has no')
