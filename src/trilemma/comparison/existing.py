"""Runs that existed, set side by side: measured alike, ranked where the test set is the same.

Nothing is trained. What was measured of a run is taken as it is where it was measured by as many
samples, with the same seed, of the weights that it has now, on the data that lie there now;
otherwise it is measured anew, against one reference for all runs of the same data, and kept in the
run. Runs of one test set are ranked; those of different ones have a table each. That they had the
same time nobody promises: what differs is said before the figures (`differences.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trilemma.comparison.compare import choose_folder
from trilemma.comparison.differences import differences
from trilemma.comparison.table import Heading, Table, table
from trilemma.core.errors import BadInput, RanAway
from trilemma.core.files import atomic_write
from trilemma.core.session import Session
from trilemma.data.dataset import DataSet
from trilemma.metrics.context import Reference
from trilemma.metrics.evaluation import Evaluation
from trilemma.metrics.judge import reference_for
from trilemma.recipes.evaluate import default_samples, judge_run, whole_evaluation_of
from trilemma.recipes.recipe import Recipe
from trilemma.recipes.run_data import location, with_changes
from trilemma.recipes.runs import load
from trilemma.training.run import Run

__all__ = ["ExistingRuns", "Measured", "Publish", "Read", "compare_runs"]

Read = Callable[[str, "int | None"], DataSet]
"""Reads data by their name or path, and the size that was asked for."""
Publish = Callable[[Path, Sequence[Table], "Sequence[DataSet | None]"], None]
"""Writes tables and page in a folder: a table a test set, and its data; None: they are gone."""
Measured = Callable[[Run, DataSet], object]
"""Called with each run that was measured, and its data."""
INTERRUPTED = "measuring was stopped; what was measured is kept, and the same command goes on."


@dataclass(frozen=True)
class ExistingRuns:
    """What is compared: runs, and how they are measured.

    Raises:
        BadInput: There are fewer than two, or one is named twice.
    """

    paths: tuple[Path, ...]
    """Of the run directories."""
    samples: int | None = None
    """Measured of each; None takes what is usual for the data."""
    moved: str | None = None
    """Where data now lie that were moved."""
    measures: bool = True
    """Whether what was not measured is measured now; otherwise it is only said."""

    def __post_init__(self) -> None:
        """Refuse what cannot be compared."""
        if len(self.paths) < 2:
            one = self.paths[0] if self.paths else "RUN"
            raise BadInput(
                f"{len(self.paths)} run was given, and a comparison takes two or more; name "
                f"another, or see 'trilemma report {one}'."
            )
        for i, path in enumerate(self.paths):
            if path.resolve() in [earlier.resolve() for earlier in self.paths[:i]]:
                raise BadInput(f"{path} is named twice; name each run once.")

    @property
    def is_repeatable(self) -> bool:
        """Tell whether the same comparison, finished, is written again: what it measured stays."""
        return True

    @property
    def stem(self) -> str:
        """Return what the name of its folder begins with."""
        return "runs"

    def is_of(self, recorded: object) -> bool:
        """Tell whether recorded values are this comparison's, wherever the data lie now."""
        if not isinstance(recorded, dict):
            return False
        mine = self.to_json()
        return {key: recorded.get(key) for key in mine} == mine

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "runs": [str(path.resolve()) for path in self.paths],
            "samples": self.samples,
            "measures": self.measures,
        }


@dataclass
class _Member:
    """A run with its data, on its way to a row."""

    run: Run
    recipe: Recipe
    step: int
    name: str = ""
    data: DataSet | None = None
    change: str = ""
    """How the data have changed since it was trained."""
    fingerprint: str = ""
    """Of the data; of those that it was trained on where they are gone."""
    reason: str = ""
    """Why there are no data."""
    evaluation: Evaluation = field(default_factory=lambda: Evaluation(recipe=""))


def compare_runs(
    runs: ExistingRuns,
    *,
    session: Session,
    read: Read,
    publish: Publish,
    on_measured: Measured,
    out: Path | None = None,
) -> tuple[Path, list[Table]]:
    """Measure runs alike where they were not, and write tables and page.

    Arguments:
        runs: Which, and how they are measured.
        session: Its seed is that of measuring; the processes that share it, and who is told.
        read: Reads data.
        publish: Writes the tables and the page; called in the main process alone.
        on_measured: Called with each run that is measured here, in the main process alone.
        out: The folder; None takes the first of comparisons/runs-001, -002, … that is free or
            holds the same comparison.

    Returns:
        The folder, and a table a test set.

    Raises:
        BadInput: One is no run, was not trained, or is being trained; or the folder holds
            something else.
        Interrupted: A signal came; what was measured is kept.
    """
    members = [_member(path, session) for path in runs.paths]
    _name(members)
    path = choose_folder(runs, out)
    _find_data(members, runs.moved, read)
    session.world.barrier()  # each process has looked before any writes
    test_sets: dict[str, list[_Member]] = {}
    for member, key in zip(members, _test_sets(members), strict=True):
        test_sets.setdefault(key, []).append(member)
    for same in test_sets.values():
        _measure(same, runs, session, on_measured)
    measured = {member.name: (member.run, member.evaluation) for member in members}
    sentences = (*_remarks(members, runs), *differences(measured))
    tables = []
    for title, same in zip(_titles(test_sets), test_sets.values(), strict=True):
        heading = Heading(data=title, seed=session.seed, differences=sentences)
        folders = [str(member.run.path.resolve()) for member in same]
        tables.append(table(heading, [member.evaluation for member in same], folders))
    if session.world.is_main:
        with atomic_write(path / "comparison.json") as partial:
            record = {**runs.to_json(), "seed": session.seed}
            partial.write_text(json.dumps(record, indent=2))
        data = [next((m.data for m in same if m.data), None) for same in test_sets.values()]
        publish(path, tables, data)
    return path, tables


def _member(path: Path, session: Session) -> _Member:
    """Open a run, and refuse one that cannot be measured.

    Raises:
        BadInput: It is no run, was not trained, or is being trained.
    """
    run = Run.open(path)
    if session.world.is_main and (path / "lock").exists():
        with run.lock():  # raises where another process trains in it
            pass
    loaded = load(path, warn=session.warn)
    return _Member(run, loaded.recipe, loaded.step)


def _name(members: Sequence[_Member]) -> None:
    """Name each by its recipe; by as much of its path as it takes where two have one recipe."""
    recipes = [member.recipe.name for member in members]
    if len(set(recipes)) == len(recipes):
        names = recipes
    else:
        parts = [member.run.path.resolve().parts for member in members]
        count = 1
        while len({each[-count:] for each in parts}) < len(parts):
            count += 1
        names = ["/".join(each[-count:]) for each in parts]
    for member, name in zip(members, names, strict=True):
        member.name = name


def _find_data(members: Sequence[_Member], moved: str | None, read: Read) -> None:
    """Read the data of each, once where several share them; where there are none, keep why.

    Raises:
        BadInput: It is said where data lie that were not moved.
    """
    cache: dict[tuple[str, int | None], DataSet | BadInput] = {}

    def look(member: _Member, where: str | None) -> None:
        """Take a run's data, or why there are none."""
        try:
            key = location(member.run, where), member.run.recipe["data"]["size"]
            if key not in cache:
                try:
                    cache[key] = read(*key)
                except BadInput as error:
                    cache[key] = error
            entry = cache[key]
            if isinstance(entry, BadInput):
                raise entry
            member.data, member.change = with_changes(member.recipe, member.run, entry)
            member.reason = ""
        except BadInput as error:
            member.reason = member.reason or str(error)

    for member in members:
        member.fingerprint = member.run.recipe["data"]["fingerprint"]
        look(member, None)
    elsewhere = [member for member in members if member.data is None or member.change]
    if moved is not None and not elsewhere:
        raise BadInput(
            f"--data {moved} was given, and the data of all these runs lie where they lay; leave "
            "it out."
        )
    for member in elsewhere:
        if moved is not None:
            member.reason = ""
            look(member, moved)
        if member.change and member.data is not None:
            member.fingerprint = member.data.fingerprint
    by_fingerprint = {member.fingerprint: member.data for member in members if member.data}
    for member in members:
        if member.data is None and member.fingerprint in by_fingerprint:
            member.data, member.reason = by_fingerprint[member.fingerprint], ""


def _test_sets(members: Sequence[_Member]) -> list[str]:
    """Return for each run what it has in common with all that are measured by its test set."""
    keys: dict[str, str] = {}
    for member in members:
        if member.fingerprint not in keys and member.data is not None:
            keys[member.fingerprint] = member.data.test_fingerprint
    return [keys.get(member.fingerprint, f"gone: {member.fingerprint}") for member in members]


def _titles(test_sets: dict[str, list[_Member]]) -> list[str]:
    """Name each test set by its data; with the fingerprint where two have one name."""
    names = [same[0].run.recipe["data"]["name"] for same in test_sets.values()]
    return [
        f"{name} ({same[0].fingerprint})" if names.count(name) > 1 else name
        for name, same in zip(names, test_sets.values(), strict=True)
    ]


def _measure(
    members: Sequence[_Member], runs: ExistingRuns, session: Session, on_measured: Measured
) -> None:
    """Give each run of a test set what was measured of it, or why nothing was.

    What is missing or stale is measured, where that is allowed and there are data.
    """
    references: dict[str, Reference] = {}
    labelled = any(member.name != member.recipe.name for member in members)
    for member in members:
        evaluation = _stored(member, runs, session)
        if evaluation is None and member.data is not None:
            try:
                evaluation = _measured(member, member.data, runs, session, references)
            except RanAway as error:
                evaluation = _unmeasured(member, session, str(error))
            else:
                if session.world.is_main:
                    on_measured(member.run, member.data)
        assert evaluation is not None  # without data something stands in its place
        member.evaluation = replace(evaluation, label=member.name if labelled else None)


def _stored(member: _Member, runs: ExistingRuns, session: Session) -> Evaluation | None:
    """Return what was measured of a run, or why nothing was; None where it is to be measured."""
    stored = whole_evaluation_of(member.run.path)
    reason = _stale(member, stored)
    if member.data is None or not runs.measures:
        if stored is None or reason:
            return _unmeasured(member, session, reason)
        return stored
    if stored is not None and not reason:
        n = runs.samples or default_samples(member.data)
        if (stored.n, stored.seed) == (n, session.seed):
            session.say(f"{member.name}: measured already, {member.run.path}")
            return stored
        reason = f"it was measured by {stored.n:,} samples with seed {stored.seed}"
    session.say(f"{member.name}: {reason}; it is measured now")
    return None


def _measured(
    member: _Member,
    data: DataSet,
    runs: ExistingRuns,
    session: Session,
    references: dict[str, Reference],
) -> Evaluation:
    """Measure a run against the reference of its data, and keep that in the run."""
    n = runs.samples or default_samples(data)
    session = session.but(interruption=INTERRUPTED)
    if member.fingerprint not in references:
        with session.counted(data.name) as counted:
            references[member.fingerprint] = reference_for(data, session=counted, n=n)
    loaded = load(member.run.path, warn=session.warn, device=session.device)
    with session.counted(member.name) as counted:
        return judge_run(
            loaded,
            data,
            session=counted,
            samples=n,
            reference=references[member.fingerprint],
            data_change=member.change,
        )


def _stale(member: _Member, stored: Evaluation | None) -> str:
    """Say why what was measured of a run is not of what it is now; nothing where it is."""
    if stored is None:
        return "it was not measured yet"
    if stored.step != member.step:
        return f"it was measured at step {stored.step:,}, and is at step {member.step:,} now"
    if member.data is not None and stored.data_change != member.change:
        return "it was measured on other data than lie there now"
    return ""


def _unmeasured(member: _Member, session: Session, reason: str) -> Evaluation:
    """Return the row of a run of which nothing was measured."""
    session.say(f"{member.name}: not measured: {reason}")
    return Evaluation(
        recipe=member.recipe.name,
        family=member.recipe.family,
        data=member.run.recipe["data"]["name"],
        seed=session.seed,
        device="",
        skipped={"fd": reason},
        reward=member.recipe.goal,
    )


def _remarks(members: Sequence[_Member], runs: ExistingRuns) -> list[str]:
    """Say whose data are gone or have changed, and which runs were not measured."""
    sentences = []
    for member in members:
        evaluation = member.evaluation
        if member.data is None:
            figures = (
                "its figures are those of before" if evaluation.metrics else "nothing is known"
            )
            sentences.append(f"{member.name}: {figures}, for its data are gone: {member.reason}")
        if not evaluation.metrics:
            reason = next(iter(evaluation.skipped.values()), "nothing could be").rstrip(".")
            sentences.append(f"{member.name}: not measured: {reason}.")
        if member.change:
            sentences.append(f"{member.name}: {member.change}.")
    if not runs.measures and any(not m.evaluation.metrics and m.data for m in members):
        sentences.append("'trilemma compare' with the same runs measures what was not.")
    return sentences
