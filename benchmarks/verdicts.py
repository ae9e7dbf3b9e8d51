"""Whether what a comparison claims holds when everything is trained anew.

On each data set four recipes (of graphs, those that there are) are compared with one seed, for
`--minutes` of training each; that is what a user does. Then they are trained with fresh seeds, and
asked:

    held       of the claims of order (one recipe certainly better than another by the measure of
               quality, or by coverage), how many have the same order on a fresh seed, counted for
               each seed; with Wilson's interval
    missed     of the pairs that the fresh seeds separate (their Student's intervals do not touch),
               how many were claimed
    named      whether the recipe that the comparison names (its choice, or the best by quality
               where it makes none) is as good after `--long` minutes as the best is then, to
               within the noise of a seed
    width      the same for intervals made wider, each seed taken once for the user's: what the
               verdict's own caution costs (`comparison.verdict.WIDENED`)
    updates    of the claims about each recipe, how many held, beside the updates that it made

Every training is a cell of an ordinary comparison in `--out`: stopped at any moment, the same
command goes on, several processes share the work, and more sets and seeds are added to what lies
there. `python -m benchmarks.verdicts RESULT …` prints the page of one result, or of several on
different sets with the sums over all.
"""

from __future__ import annotations

import json
import re
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environment import BENCHMARKS
from benchmarks.markdown import as_table
from benchmarks.record import Section
from trilemma.api.display import counting, say
from trilemma.comparison import compare as comparing
from trilemma.comparison.groups import groups
from trilemma.comparison.plan import Plan
from trilemma.comparison.ranks import coverage_metric, quality_metric, score_ranks
from trilemma.comparison.row import Row
from trilemma.comparison.table import Table
from trilemma.comparison.verdict import WIDENED, is_ranked
from trilemma.core.errors import BadInput
from trilemma.core.session import Session, Stop
from trilemma.data import sources
from trilemma.metrics.registry import quantity
from trilemma.metrics.score import wilson
from trilemma.recipes.catalog import fitting
from trilemma.report import gallery
from trilemma.report.publication import publish
from trilemma.training.distributed import world
from trilemma.training.precision import choose_device
from trilemma.training.signals import listening

ABOUT = "how often what a comparison claims holds on fresh seeds; goes on by itself"
OPTIONS: dict[str, tuple[float | int | str, str]] = {
    "out": ("verdicts", "folder of the comparisons, to be gone on with"),
    "minutes": (0.5, "of training of each, as of the user's comparison"),
    "fresh": (3, "fresh seeds"),
    "samples": (1000, "measured of each; of graphs 256 at most"),
    "sets": ("", "data sets with one of these, commas between, in their name; all by default"),
    "long": (0.0, "minutes after which the named recipe is looked at again; 0: not at all"),
}
SMALLEST = {"minutes": 0.01, "fresh": 1, "samples": 130, "sets": "two-moons"}
"""Options with which all of it runs once, soon."""

PLANE = ("vae", "gan", "spline-flow", "ddpm")
IMAGES = ("vae", "gan", "flow-matching", "ddpm")
SETS: Mapping[str, tuple[str, ...]] = {
    "two-moons": PLANE,
    "digits": IMAGES,
    "breast-cancer": PLANE,
    "eight-gaussians": PLANE,
    "community-small": (),
    "checkerboard": PLANE,
    "diabetes": PLANE,
    "ego-small": (),
}
"""Recipes by data set; none: all that fit."""
TABLES = {"breast-cancer": "load_breast_cancer", "diabetes": "load_diabetes"}
"""Tables that come with scikit-learn, by the name of the function that loads them."""
LOOKED_AT_LONG = ("two-moons", "digits", "breast-cancer")
GRAPHS = 256
WIDTHS = (1.0, 1.25, 1.5, 2.0, 3.2)
"""Of intervals as they are; by the last retraining is said to move fd more than drawing does."""


@dataclass(frozen=True)
class Claim:
    """One recipe is certainly better than another by a score."""

    metric: str
    better: str
    """The recipe that is said to be better."""
    worse: str


@dataclass
class Count:
    """How many of how many."""

    yes: int = 0
    of: int = 0

    def add(self, is_confirmed: bool) -> None:
        """Count one more."""
        self.yes, self.of = self.yes + is_confirmed, self.of + 1

    def __str__(self) -> str:
        """Write it with Wilson's interval."""
        if not self.of:
            return "none"
        low, high = wilson(self.yes / self.of, self.of)
        share = f"{100 * self.yes / self.of:.0f} % ({100 * low:.0f} … {100 * high:.0f})"
        return f"{self.yes} of {self.of}, {share}"


@dataclass
class Tally:
    """What is known of the claims of one set."""

    confirmed: Count = field(default_factory=Count)
    claimed: Count = field(default_factory=Count)
    by_recipe: dict[str, Count] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)


def claims(rows: Sequence[Row]) -> list[Claim]:
    """List what rows claim: every pair whose intervals do not touch, by quality and coverage."""
    ranked = [row for row in rows if is_ranked(row, rows)]
    claims_made = []
    for name in dict.fromkeys((quality_metric(ranked), coverage_metric(ranked))):
        ranks = score_ranks(ranked, name, quantity(name).better)
        claims_made += [
            Claim(name, a.recipe, b.recipe)
            for a, b in permutations(ranks, 2)
            if a.beats(b, quantity(name).better)
        ]
    return claims_made


def holds(claim: Claim, rows: Sequence[Row]) -> bool | None:
    """Tell whether rows of another seed are in the same order; None where one has no score."""
    by_name = {row.name: row.score(claim.metric) for row in rows}
    one, other = by_name.get(claim.better), by_name.get(claim.worse)
    if one is None or other is None:
        return None
    lower = quantity(claim.metric).better == "lower"
    return one.value < other.value if lower else one.value > other.value


def tally(first: Sequence[Row], fresh: Sequence[Sequence[Row]]) -> Tally:
    """Hold the claims of one comparison against rows of fresh seeds."""
    statements, result = claims(first), Tally()
    for claim in statements:
        for seed, rows in enumerate(fresh, 1):
            is_confirmed = holds(claim, rows)
            if is_confirmed is None:
                continue
            result.confirmed.add(is_confirmed)
            for name in (claim.better, claim.worse):
                result.by_recipe.setdefault(name, Count()).add(is_confirmed)
            if not is_confirmed:
                words = f"{claim.better} before {claim.worse} by {claim.metric}, seed {seed}"
                result.broken.append(words)
    if len(fresh) > 1:
        means = groups([row.of for rows in fresh for row in rows])
        for claim in claims(means):
            result.claimed.add(claim in statements)
    return result


def named(table: Table) -> str:
    """Return the recipe that a comparison names: its choice, or the best by quality."""
    return table.choice or next((p.recipe for p in table.ranking.quality), "")


def _source(name: str, folder: Path) -> str:
    """Return the data set's name, or the table that is written for it."""
    if name not in TABLES:
        return name
    import sklearn.datasets

    path = folder / f"{name}.csv"
    if not path.exists():
        bunch = getattr(sklearn.datasets, TABLES[name])(**_raw(name))
        rows = np.column_stack([bunch.data, bunch.target])
        names = [str(column).replace(",", "") for column in bunch.feature_names]
        head = ",".join([*names, "target"])
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savetxt(path, rows, fmt="%.8g", delimiter=",", header=head, comments="")
    return str(path)


def _raw(name: str) -> dict[str, bool]:
    return {"scaled": False} if name == "diabetes" else {}


class Trials:
    """Comparisons of one set, each with a seed of its own."""

    def __init__(self, name: str, options: Any, stop: Stop) -> None:
        self.name, self.options, self.stop = name, options, stop
        self.folder = Path(options.out) / name
        self.source = _source(name, Path(options.out))
        self.data = sources.load(self.source)
        self.recipes = SETS[name] or tuple(fitting(self.data.domain))
        graphs = self.data.domain.kind == "graph"
        self.samples = min(options.samples, GRAPHS) if graphs else options.samples

    def table(self, seed: int, minutes: float, label: str) -> Table:
        """Return the comparison of a seed, made or gone on with."""
        plan = Plan.of(
            self.data,
            self.source,
            size=None,
            recipes=self.recipes,
            minutes=minutes,
            samples=self.samples,
            seed=seed,
            device="cpu",
            precision="auto",
        )
        say(f"{self.name}, {label}, seed {seed}")
        with world(choose_device("cpu")) as ranks:
            return comparing.compare(
                plan,
                self.data,
                comparing.choose_folder(plan, self.folder / f"{label}-{seed}"),
                session=Session(stop=self.stop, counting=_measuring, say=say, world=ranks),
                watch=lambda _, events: deque(events, maxlen=0),  # nobody watches
                on_measured=lambda run: gallery.run_report(run, self.data),
                publish=lambda folder, table: publish(folder, table, self.data),
            )


@contextmanager
def _measuring(title: str) -> Any:
    with counting(title) as progress:
        yield progress.update


def main(options: Any) -> list[Section]:
    """Train what is missing, and count."""
    chosen = [name for name in SETS if any(part in name for part in options.sets.split(","))]
    if not chosen:
        raise BadInput(f"no set has '{options.sets}' in its name; there are {', '.join(SETS)}.")
    each: dict[str, Tally] = {}
    tables: dict[str, list[Table]] = {}
    lines = []
    with listening(patience=0.0) as stop:
        for name in chosen:
            trials = Trials(name, options, stop)
            collected = [
                trials.table(seed, options.minutes, "short") for seed in range(options.fresh + 1)
            ]
            tables[name] = collected
            each[name] = tally(collected[0].rows, [one.rows for one in collected[1:]])
            if options.long and name in LOOKED_AT_LONG:
                lines.append(_long(name, collected[0], trials.table(0, options.long, "long")))
    return [*_sections(each, tables, options), *_long_section(lines, options)]


def _sections(
    each: Mapping[str, Tally], tables: Mapping[str, Sequence[Table]], options: Any
) -> list[Section]:
    rows = [
        [
            name,
            ", ".join(row.name for row in tables[name][0].rows),
            named(tables[name][0]) + ("" if tables[name][0].choice else " (no choice)"),
            str(of.confirmed),
            str(of.claimed),
        ]
        for name, of in each.items()
    ]
    every = Tally()
    for of in each.values():
        for mine, its in ((every.confirmed, of.confirmed), (every.claimed, of.claimed)):
            mine.yes, mine.of = mine.yes + its.yes, mine.of + its.of
    rows.append(["all", "", "", str(every.confirmed), str(every.claimed)])
    title = (
        f"claims of order after {options.minutes:g} minutes, on {options.fresh} fresh seeds; "
        f"{options.samples} samples"
    )
    heads = ("data", "recipes", "named", "claims that held", "separated pairs that were claimed")
    sections = [
        Section(
            title,
            heads,
            rows,
            held=[every.confirmed.yes, every.confirmed.of],
            claimed=[every.claimed.yes, every.claimed.of],
            broken={name: of.broken for name, of in each.items()},
        )
    ]
    return [*sections, _by_width(tables), _updates(each, tables)]


def _by_width(tables: Mapping[str, Sequence[Table]]) -> Section:
    """Count claims of intervals made wider, each seed taken once for the user's."""
    rows = []
    for width in WIDTHS:
        confirmed, claimed = Count(), Count()
        for result in tables.values():
            for user, table in enumerate(result):
                rest = [other.rows for i, other in enumerate(result) if i != user]
                of = tally(widened(table.rows, width), rest)
                for mine, its in ((confirmed, of.confirmed), (claimed, of.claimed)):
                    mine.yes, mine.of = mine.yes + its.yes, mine.of + its.of
        rows.append([f"{width:g}", str(confirmed), str(claimed)])
    heads = ("width", "claims that held", "separated pairs that were claimed")
    return Section("intervals made wider, each seed taken once for the user's", heads, rows)


def widened(rows: Sequence[Row], width: float) -> list[Row]:
    """Make the intervals of all scores so many times as wide, about their values."""
    widened_rows = []
    for row in rows:
        scores = {
            name: replace(
                score,
                low=score.value - width * (score.value - score.low),
                high=score.value + width * (score.high - score.value),
            )
            for name, score in row.of.metrics.items()
        }
        widened_rows.append(replace(row, of=replace(row.of, metrics=scores)))
    return widened_rows


def _updates(each: Mapping[str, Tally], tables: Mapping[str, Sequence[Table]]) -> Section:
    """Say of each recipe which updates it made, and how many claims about it held."""
    rows = []
    for recipe in sorted({name for of in each.values() for name in of.by_recipe}):
        for data, of in each.items():
            count = of.by_recipe.get(recipe)
            if count is None:
                continue
            first = next(row for row in tables[data][0].rows if row.name == recipe)
            updates = [
                row.training.updates
                for table in tables[data]
                for row in table.rows
                if row.name == recipe and row.training
            ]
            planned = first.training.wanted if first.training else 0
            span = f"{min(updates):,} … {max(updates):,}" if updates else "–"
            rows.append([recipe, data, span, f"{planned:,}", str(count)])
    heads = ("recipe", "data", "updates made", "updates from which on it is ranked", "claims")
    return Section("claims about each recipe, and the updates that it made", heads, rows)


def _long(name: str, short: Table, long: Table) -> list[Any]:
    """Hold the recipe that was named against the best after the long time."""
    chosen = named(short)
    measure = quality_metric(long.rows)
    scores = {row.name: score for row in long.rows if (score := row.score(measure))}
    best = min(scores, key=lambda recipe: scores[recipe].value)
    noise = _between_seeds(scores[best].high - scores[best].value)
    within = chosen in scores and scores[chosen].value <= scores[best].value + noise
    return [
        name,
        chosen,
        scores[chosen].value if chosen in scores else "not measured",
        best,
        scores[best].value,
        noise,
        "yes" if within else "NO",
    ]


def _between_seeds(reach: float) -> float:
    """Return how far retraining moves a score, of how far drawing again does."""
    return WIDENED * reach


def _long_section(lines: Sequence[list[Any]], options: Any) -> list[Section]:
    if not lines:
        return []
    title = f"the recipe named after {options.minutes:g} minutes, after {options.long:g} minutes"
    heads = (
        "data",
        "named",
        "its score then",
        "best then",
        "its score",
        "noise of a seed",
        "within",
    )
    return [Section(title, heads, lines)]


def page(results: Sequence[Mapping[str, Any]]) -> str:
    """Return results as Markdown, with the sums over all."""
    parts = ["# Whether verdicts hold"]
    if len(results) > 1:
        parts += ["", "**all data sets together**", "", *_together(results)]
    for result in results:
        parts += ["", *_of_one(result)]
    return "\n".join(parts) + "\n"


def _together(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sum up what is counted of claims, as the user's seed has it and by width."""
    heads = ("claims that held", "separated pairs that were claimed")
    sums: dict[str, list[Count]] = {}
    for result in results:
        for section in result["sections"]:
            for row in section["rows"]:
                name = row.get("width") and f"intervals {row['width']} times as wide, each seed"
                name = name or ("the user's seed alone" if row.get("data") == "all" else None)
                if name is None or not set(heads) <= set(row):
                    continue
                for total, head in zip(
                    sums.setdefault(name, [Count(), Count()]), heads, strict=True
                ):
                    if match := re.match(r"(\d+) of (\d+)", row[head]):
                        total.yes, total.of = total.yes + int(match[1]), total.of + int(match[2])
    return as_table(
        [{"": name, **dict(zip(heads, each, strict=True))} for name, each in sums.items()]
    )


def _of_one(result: Mapping[str, Any]) -> list[str]:
    where = result["environment"]
    parts = [
        f"    {result['command']}",
        "",
        f"Commit {where.get('commit', '?')}, {where.get('processor', '?')}, "
        f"{where['threads']} thread(s) a process, no accelerator, {result['date'][:10]}.",
        "What is counted stands in the benchmark's own words, `benchmarks/verdicts.py`.",
        *([result["note"]] if "note" in result else []),
    ]
    for section in result["sections"]:
        parts += ["", f"**{section['title']}**", "", *as_table(section["rows"])]
        for name, broken in section.get("broken", {}).items():
            if broken:
                parts += ["", f"Did not hold on {name}: {'; '.join(broken)}."]
    return parts


if __name__ == "__main__":
    paths = [Path(path) for path in sys.argv[1:]] or [BENCHMARKS / "results" / "verdicts.json"]
    print(page([json.loads(path.read_text()) for path in paths]), end="")
