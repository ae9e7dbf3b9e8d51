"""What is counted of claims: on made-up scores, whose order is known."""

from __future__ import annotations

from benchmarks.verdicts import Claim, claims, holds, tally
from trilemma.comparison.row import Row
from trilemma.metrics.evaluation import Evaluation, Training
from trilemma.metrics.score import Score


def row(
    name: str, fd: float, coverage: float = 0.5, wide: float = 0.1, seed: int = 0, **how
) -> Row:
    """Make the row of a run with intervals of this width to each side."""
    scores = {
        key: Score(value, value - 0.1, value + 0.1, n=100)
        for key, value in (("fd", fd), ("coverage", coverage))
    }
    return Row(
        of=Evaluation(
            recipe=name,
            n=100,
            seed=seed,
            metrics=scores,
            training=Training(**how) if how else None,
        )
    )


def test_only_intervals_that_do_not_touch_are_claims():
    statements = claims([row("a", 1.0), row("b", 1.15), row("c", 2.0, coverage=0.9)])
    assert set(statements) == {
        Claim("fd", "a", "c"),
        Claim("fd", "b", "c"),
        Claim("coverage", "c", "a"),
        Claim("coverage", "c", "b"),
    }


def test_of_a_run_that_is_not_ranked_nothing_is_claimed():
    short = row("a", 1.0, state="warming up", updates=3, wanted=200)
    assert claims([short, row("b", 5.0)]) == []


def test_a_claim_holds_where_fresh_seeds_have_the_same_order():
    claim = Claim("fd", "a", "b")
    assert holds(claim, [row("a", 1.0), row("b", 1.01)]) is True
    assert holds(claim, [row("a", 1.0), row("b", 0.99)]) is False
    assert holds(claim, [row("a", 1.0)]) is None
    more = Claim("coverage", "a", "b")
    assert holds(more, [row("a", 1.0, 0.6), row("b", 1.0, 0.5)]) is True
    assert holds(more, [row("a", 1.0, 0.4), row("b", 1.0, 0.5)]) is False


def test_counts_are_of_claims_times_seeds_and_of_pairs_that_seeds_separate():
    first = [row("a", 1.0), row("b", 2.0), row("c", 2.15)]
    fresh = [
        [row("a", 1.0, seed=s), row("b", 2.0 + 0.001 * s, seed=s), row("c", 3.0, seed=s)]
        for s in (1, 2, 3)
    ]
    fresh[1][0] = row("a", 2.5, seed=2)  # one seed goes wrong
    tallied = tally(first, fresh)
    assert (tallied.confirmed.yes, tallied.confirmed.of) == (
        5,
        6,
    )  # a before b, a before c, on three seeds
    assert tallied.broken == ["a before b by fd, seed 2"]
    # The seeds separate b from c, which was not claimed; a's seeds spread too far.
    assert (tallied.claimed.yes, tallied.claimed.of) == (0, 1)
    assert (tallied.by_recipe["b"].yes, tallied.by_recipe["b"].of) == (2, 3)
    assert str(tallied.confirmed).startswith("5 of 6, 83 % (")
