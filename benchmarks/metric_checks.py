"""Which sanity checks each metric of samples passes, on worlds where the answer is known.

The checks are in `metric_worlds`. A metric passes where the mean of its goodness over the
repetitions does what is asked of its side; what it does instead stands beside it.
`python -m benchmarks.metric_checks [RESULT]` prints the page of a result.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import BENCHMARKS
from benchmarks.markdown import as_table, line
from benchmarks.metric_worlds import BOTH, CHECKS, COPYING, DIVERSITY, FIDELITY, Case, Check
from benchmarks.record import Section
from trilemma.core.domain import Domain, Real
from trilemma.core.errors import BadInput
from trilemma.core.noise import mix
from trilemma.core.session import Session
from trilemma.data.dataset import DataSet, Split
from trilemma.metrics.extractors import extractor
from trilemma.metrics.features import feature_reference
from trilemma.metrics.judge import judge_samples
from trilemma.metrics.metric import COVERAGE, QUALITY, Metric
from trilemma.metrics.registry import metrics
from trilemma.metrics.score import Score

ABOUT = "which sanity checks each metric of samples passes"
OPTIONS: dict[str, tuple[float | int | str, str]] = {
    "n": (500, "samples, as many test examples and twice as many training examples"),
    "repetitions": (5, "fresh draws of each world, of which the mean is judged"),
    "only": ("", "checks with this in their name"),
    "metrics": ("", "names of metrics, with commas between; all that ask samples alone"),
    "quick": (0, "1: one repetition of 150 samples, to see that all runs"),
    "seed": (0, "seed of all draws"),
}
SMALLEST = {"quick": 1}
"""Options with which all of it runs once, soon."""

SIDES = {
    "precision": FIDELITY,
    "density": FIDELITY,
    "clipped_density": FIDELITY,
    "clipped_coverage": DIVERSITY,
    "copies": COPYING,
}
"""The side of what ranks nothing, and so does not say it."""
PASSED, FAILED, ASKED_NOTHING, UNKNOWN = "passes", "fails", "–", "no value"


def side(declared: Metric) -> str:
    """Return what a metric is about: what it ranks says so, or `SIDES`; "" where neither does."""
    if declared.name in SIDES:
        return SIDES[declared.name]
    if declared.ranks == COVERAGE:
        return DIVERSITY
    if declared.better == "one":
        return COPYING
    return BOTH if declared.ranks == QUALITY or declared.second_to else ""


def measured(case: Case, n: int, seed: int, only: Sequence[str]) -> dict[str, Score]:
    """Draw a world, and judge its samples."""
    train, test, samples = case.draw_sets(n, torch.Generator().manual_seed(seed))
    # As a table's columns are standardised.
    values = Real(tuple(train.mean(0).tolist()), tuple(train.std(0).tolist()))
    data = DataSet("world", Domain("points", train.shape[1:], values), Split(train), Split(test))
    reference = feature_reference(
        data, extractor("coordinates", data), n=len(samples), session=Session(seed=seed)
    )
    return dict(judge_samples(samples, reference, session=Session(), only=only).metrics)


def goodness(declared: Metric, scores: Sequence[Score | None], *, own: bool) -> list[float]:
    """Read values along a row of worlds as goodness; nan where there is none.

    Arguments:
        declared: Whose they are.
        scores: One a world.
        own: Whether each world has its own unit, in the place of the first one's.
    """
    out = []
    for score in scores:
        unit = score if own else scores[0]
        if score is None or unit is None:
            out.append(math.nan)
        elif side(declared) == COPYING and declared.better == "lower":  # a share of copies
            out.append(1 - score.value)
        elif declared.better != "lower":
            out.append(score.value)
        elif unit.floor is None or unit.baselines.get("mean") is None:
            out.append(math.nan)
        else:
            width = unit.baselines["mean"] - unit.floor
            out.append(1 - (score.value - unit.floor) / width if width > 0 else math.nan)
    return out


def judged(check: Check, of: str, good: Sequence[float]) -> tuple[str, str]:
    """Say whether goodness does what a check asks of a side, and what it does instead."""
    if of not in check.criteria:
        return ASKED_NOTHING, ""
    if any(not math.isfinite(g) for g in good):
        return UNKNOWN, "it has no value in some of these worlds"
    wrong = check.criteria[of].breach(good)
    return (FAILED, wrong) if wrong else (PASSED, "")


def run(check: Check, named: Sequence[Metric], options: Any) -> dict[str, dict[str, Any]]:
    """Return for each metric its goodness in each world, and the judgement."""
    only = [one.name for one in named]
    rows: dict[str, list[list[float]]] = {name: [] for name in only}
    for i in range(options.repetitions):
        seed = mix(options.seed, check.name, i)
        measured_cases = [measured(case, options.n, seed, only) for case in check.cases]
        for one in named:
            scores = [each.get(one.name) for each in measured_cases]
            rows[one.name].append(goodness(one, scores, own=check.own))
    out = {}
    for one in named:
        good = torch.tensor(rows[one.name], dtype=torch.float64).mean(0).tolist()
        verdict, wrong = judged(check, side(one), good)
        out[one.name] = {
            "goodness": [g if math.isfinite(g) else None for g in good],
            "verdict": verdict,
            "instead": wrong,
        }
    return out


def chosen(names: str) -> tuple[list[Metric], list[str]]:
    """Return the metrics of points that ask samples alone, and those whose side is not known.

    Raises:
        BadInput: A name is none of theirs.
    """
    all_of_them = [one for one in metrics() if "points" in one.kinds and one.needs is None]
    requested_names = [name.strip() for name in names.split(",") if name.strip()]
    for name in requested_names:
        if name not in {one.name for one in all_of_them}:
            known_names = ", ".join(one.name for one in all_of_them)
            raise BadInput(f"no metric of samples is called '{name}'; there are {known_names}.")
    selected = [one for one in all_of_them if not requested_names or one.name in requested_names]
    return [one for one in selected if side(one)], [one.name for one in selected if not side(one)]


def main(options: Any) -> list[Section]:
    """Check."""
    checks = [check for check in CHECKS if options.only in check.name]
    if not checks:
        known_names = ", ".join(check.name for check in CHECKS)
        raise BadInput(f"no check has '{options.only}' in its name; there are {known_names}.")
    if options.quick:
        options.n, options.repetitions = 150, 1
    if options.n < 100 or options.repetitions < 1:
        raise BadInput(
            f"{options.n} samples and {options.repetitions} repetitions tell nothing; "
            "give 100 or more and 1 or more."
        )
    named, unknown = chosen(options.metrics)
    measured_by_check, began, clock = {}, time.process_time(), time.perf_counter()
    for check in checks:
        start = time.process_time()
        measured_by_check[check.name] = run(check, named, options)
        print(f"{check.name}: {time.process_time() - start:.0f} s", file=sys.stderr)
    spent, wall = time.process_time() - began, time.perf_counter() - clock
    # What has no value anywhere is not about points such as these.
    constant_metrics = [
        one.name
        for one in named
        if all(g is None for of in measured_by_check.values() for g in of[one.name]["goodness"])
    ]
    shown_metrics = [one for one in named if one.name not in constant_metrics]
    return [
        matrix(
            shown_metrics,
            measured_by_check,
            seconds=spent,
            wall=wall,
            not_judged=[*unknown, *constant_metrics],
        ),
        failures(shown_metrics, checks, measured_by_check),
        questions(checks),
    ]


def matrix(named: Sequence[Metric], measurements: Mapping[str, Any], **data: Any) -> Section:
    """Set out metrics by checks."""
    rows = [
        [name, *(of[one.name]["verdict"] for one in named)] for name, of in measurements.items()
    ]
    questions_asked = [
        [of[one.name]["verdict"] for of in measurements.values()] for one in named
    ]  # fmt: skip
    sums = [
        f"{each.count(PASSED)} of {len(each) - each.count(ASKED_NOTHING)}"
        for each in questions_asked
    ]
    sides = {one.name: side(one) for one in named}
    columns = ("check", *(one.name for one in named))
    return Section(
        "Metrics and checks",
        columns,
        [*rows, ["passed", *sums]],
        found=measurements,
        sides=sides,
        **data,
    )


def failures(
    named: Sequence[Metric], checks: Sequence[Check], measurements: Mapping[str, Any]
) -> Section:
    """List what was not as it should be."""
    rows = []
    for one in named:
        for check in checks:
            of = measurements[check.name][one.name]
            if of["verdict"] in (FAILED, UNKNOWN):
                criterion = check.criteria[side(one)].words
                row = " ".join("–" if g is None else f"{g:.2f}" for g in of["goodness"])
                rows.append([one.name, check.name, criterion, of["instead"], row])
    return Section("Failures", ("metric", "check", "goodness", "instead", "in each world"), rows)


def questions(checks: Sequence[Check]) -> Section:
    """Say what each check changes, and what is asked."""
    rows = []
    for check in checks:
        by_words: dict[str, list[str]] = {}
        for of, criterion in check.criteria.items():
            by_words.setdefault(criterion.words, []).append(of)
        text = ". ".join(f"{', '.join(who)}: {words}" for words, who in by_words.items())
        rows.append([check.name, check.words, text])
    return Section("What is asked", ("check", "worlds", "goodness"), rows)


def page(result: Mapping[str, Any]) -> str:
    """Return a result as Markdown."""
    table, wrong, question_section = result["sections"]
    environment = result["environment"]
    words = result["command"].split()
    n, repetitions, seed = (
        words[words.index(f"--{key}") + 1] for key in ("n", "repetitions", "seed")
    )
    names = [key for key in table["rows"][0] if key != "check"]
    lines = [
        "# Which sanity checks each metric passes",
        "",
        f"    {result['command']}",
        "",
        f"Commit {environment['commit']}, {environment['processor']}, {environment['threads']} "
        f"thread(s), no accelerator, {table['seconds']:.0f} s of the processor "
        f"({table['wall']:.0f} s on the clock), {result['date'][:10]}. n = {n} samples and test "
        f"examples, {repetitions} repetitions of each world, seed {seed}.",
        "",
        "Each check is a row of worlds along which one thing changes. Values are read as "
        "*goodness*, 1 is perfect: a share or ratio as it is, a distance as 1 − (d − floor) / "
        "(mean − floor), so that 0 is as bad as the training mean repeated, and less is worse. "
        "The mean over the repetitions is judged by what is asked of the metric's side. Most "
        "worlds are of the kinds proposed by Räisä, van Breugel & van der Schaar (ICML 2025); "
        "sizes and limits are our own, and a limit is a choice: what a metric does instead stands "
        "below.",
        "",
        f"Sides: {', '.join(f'`{k}` {v}' for k, v in table['sides'].items())}.",
        "",
        line(["check", *(f"`{name}`" for name in names)]),
        line(["---"] * (len(names) + 1)),
    ]
    for row in table["rows"]:
        cells = [f"**{row[k]}**" if row[k] == FAILED else row[k] for k in names]
        lines.append(line([row["check"], *cells]))
    lines += ["", f"*{ASKED_NOTHING}*: nothing is asked of this side there.", ""]
    for title, part in (("What fails, and how", wrong), ("What is asked", question_section)):
        lines += [f"## {title}", ""]
        if not part["rows"]:
            lines += ["Nothing.", ""]
            continue
        lines += as_table(part["rows"])
        lines.append("")
    if table["not_judged"]:
        names_of = ", ".join(f"`{name}`" for name in table["not_judged"])
        lines += [f"Not judged, for want of a value in these worlds or of a side: {names_of}.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    source = (
        sys.argv[1] if len(sys.argv) > 1 else str(BENCHMARKS / "results" / "metric-checks.json")
    )
    print(page(json.loads(Path(source).read_text())))
