"""Runs that differ in their seed alone, taken together: mean and spread of every score.

With x_1 … x_n the values of a score over n seeds,

    mean      m = (x_1 + … + x_n) / n
    spread    s = sqrt(sum (x_i - m)^2 / (n - 1))      the sample standard deviation; n > 1
    interval  m ± t s / sqrt(n), t Student's factor for n - 1 degrees of freedom at 95 %; or that
              of the run itself where n = 1

The spread says how much a next run may differ, the interval how well the mean is known.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from trilemma.core.words import joined

__all__ = ["groups", "label", "over_seeds", "shown", "student"]

Row = Mapping[str, Any]

STUDENT_95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
)  # fmt: skip
"""The 97.5 % points of Student's distribution for 1, 2, … degrees of freedom."""
NORMAL_95 = 1.959964
OVER_SEEDS, OF_THE_RUN = "Student's, of the mean over the seeds", "of the single run"
RANGE = {
    **dict.fromkeys(("precision", "recall", "coverage", "good_share"), (0.0, 1.0)),
    **dict.fromkeys(("fd", "density", "nearest_train_ratio", "mode_kl"), (0.0, math.inf)),
}
"""Ends at which an interval is cut."""
STATES = ("warming up", "falling", "settled")
"""Of a training, the least far first."""
ABOUT = ("unit", "better", "floor", "baselines", "by", "protocol")
"""What a score says of itself; the same for all runs of a group."""


def label(row: Row) -> str:
    """Return the name that a row goes by: its label, or its recipe.

    >>> label({"recipe": "gan", "label": "gan loss=ns"}), label({"recipe": "gan"})
    ('gan loss=ns', 'gan')
    """
    return str(row.get("label") or row.get("recipe") or "?")


def groups(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Take the rows of each label together, in the order in which the labels come.

    Returns:
        For each label its recipe, family, fields and seeds, and of every score and cost the mean,
        the standard deviation (None where one seed has it) and n, the number of seeds that have
        it. Scores have the interval of the mean besides, and say what it is; costs have the least
        and the most of the runs.
    """
    members: dict[str, list[Row]] = {}
    for row in rows:
        members.setdefault(label(row), []).append(row)
    return [_group(name, own) for name, own in members.items()]


def _group(name: str, rows: Sequence[Row]) -> dict[str, Any]:
    first = rows[0]
    scores = dict.fromkeys(key for row in rows for key in row.get("metrics", {}))
    costs = dict.fromkeys(key for row in rows for key in row.get("cost", {}))
    return {
        "label": name,
        "recipe": first.get("recipe"),
        "family": first.get("family"),
        "fields": first.get("fields", {}),
        "data": first.get("data"),
        "split": first.get("split"),
        "samples": first.get("n"),
        "device": first.get("device"),
        **{k: first[k] for k in ("test_examples",) if k in first},
        "reward": first.get("reward"),
        "training": _training(rows),
        "seeds": [row.get("seed") for row in rows],
        "measured": [row.get("seed") for row in rows if row.get("metrics")],
        "metrics": {key: _score(key, _all_of(rows, key)) for key in scores},
        "cost": {key: _cost(rows, key) for key in costs},
        "skipped": _skipped(rows, scores),
    }


def _training(rows: Sequence[Row]) -> dict[str, Any]:
    """Return what training took in the mean, and the state of the run that went least far."""
    each = [row["training"] for row in rows if row.get("training")]
    if not each:
        return {}
    least = min(each, key=lambda t: (STATES.index(t["state"]), t["updates"]))
    means = {k: statistics.fmean(t[k] for t in each) for k in ("seconds", "examples", "epochs")}
    return {**least, **means}


def _skipped(rows: Sequence[Row], scores: Mapping[str, None]) -> dict[str, str]:
    """Keep why a score is missing: from all seeds, or from those whose run failed."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for key, reason in row.get("skipped", {}).items():
            if not row.get("metrics"):
                found.setdefault(key, []).append(f"seed {row.get('seed')}: {reason}")
            elif key not in scores:
                found.setdefault(key, []).append(str(reason))
    return {key: " ".join(dict.fromkeys(reasons)) for key, reasons in found.items()}


def _all_of(rows: Sequence[Row], key: str) -> list[Row]:
    return [row["metrics"][key] for row in rows if key in row.get("metrics", {})]


def _cost(rows: Sequence[Row], key: str) -> dict[str, Any]:
    """Return the mean of a cost, and the least and the most of the runs."""
    values = [row["cost"].get(key) for row in rows]
    known = [v for v in values if isinstance(v, int | float) and math.isfinite(v)]
    ends = {"low": min(known), "high": max(known)} if known else {"low": None, "high": None}
    return {**_spread(values), **ends}


def _spread(values: Sequence[object]) -> dict[str, Any]:
    known = [
        float(v)
        for v in values
        if isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)
    ]
    mean = statistics.fmean(known) if known else None
    sd = statistics.stdev(known) if len(known) > 1 else None
    return {"mean": mean, "sd": sd, "n": len(known)}


def _score(name: str, found: Sequence[Row]) -> dict[str, Any]:
    """Return the mean of a score with its interval."""
    spread = _spread([score.get("value") for score in found])
    mean, sd, n = spread["mean"], spread["sd"], spread["n"]
    single = next((s for s in found if s.get("value") is not None), found[0])
    low, high, interval = single.get("low"), single.get("high"), OF_THE_RUN
    if sd is not None:
        reach = student(n - 1) * sd / math.sqrt(n)
        least, most = RANGE.get(name, (-math.inf, math.inf))
        low, high, interval = max(mean - reach, least), min(mean + reach, most), OVER_SEEDS
    return {
        **spread,
        "low": low,
        "high": high,
        "interval": interval,
        **{key: single[key] for key in ABOUT if key in single},
    }


def student(freedom: int) -> float:
    """Return the 97.5 % point of Student's distribution.

    >>> student(2), round(student(50), 3)
    (4.303, 2.007)

    Arguments:
        freedom: Degrees of freedom, 1 or more.
    """
    if freedom <= len(STUDENT_95):
        return STUDENT_95[freedom - 1]
    return NORMAL_95 + (NORMAL_95**3 + NORMAL_95) / (4 * freedom)


def shown(rows: Sequence[Row], taken: Sequence[Row] = ()) -> list[Row]:
    """Return the rows that tables, rankings and pages show; each stands under its label.

    Arguments:
        rows: One a run.
        taken: What `groups` made of them; then the rows are these, with the mean as the value, and
            a score has the keys 'spread' and 'seeds' besides.

    Returns:
        Rows with the label as `recipe`, and the recipe's own name as `made_by`.
    """
    if not taken:
        return [_relabelled(row) if "label" in row else row for row in rows]
    return [
        {
            **group,
            "recipe": group["label"],
            "made_by": group["recipe"],
            "n": group["samples"],
            "seed": group["seeds"],
            "metrics": {key: _as_score(score) for key, score in group["metrics"].items()},
            "cost": {key: cost["mean"] for key, cost in group["cost"].items()},
            "cost_spans": {
                key: (cost["low"], cost["high"])
                for key, cost in group["cost"].items()
                if cost["n"]
            },
        }
        for group in taken
    ]


def _relabelled(row: Row) -> Row:
    return {**row, "recipe": label(row), "made_by": row.get("recipe")}


def _as_score(score: Row) -> dict[str, Any]:
    return {**score, "value": score["mean"], "spread": score["sd"], "seeds": score["n"]}


def over_seeds(rows: Sequence[Row]) -> str:
    """Say what the intervals are where rows stand for several seeds."""
    several: dict[int, list[str]] = {}
    for row in rows:
        if "seeds" in row:
            scores = row.get("metrics", {})
            counted = scores.get("fd") or next(iter(scores.values()), {})
            several.setdefault(int(counted.get("seeds", 0)), []).append(str(row.get("recipe")))
    single = several.pop(1, [])
    several.pop(0, None)
    if not several:
        return "Intervals are those of the single run of each." if single else ""
    counts = joined([str(n) for n in sorted(several)], "or")
    words = (
        f"Values are means over {counts} seeds, and intervals are Student's for the mean at 95 %"
    )
    if not single:
        return f"{words}."
    was = "was" if len(single) == 1 else "were"
    return f"{words}; {joined(single)} {was} measured with one seed: the interval of that run."
