"""The race: one cell after another trained and measured, all against one reference.

A cell that was measured by an earlier call is not trained again; one that was stopped goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from trilemma.comparison.cells import Cell
from trilemma.comparison.plan import Plan
from trilemma.core.errors import Diverged, RanAway
from trilemma.data.dataset import DataSet
from trilemma.metrics.context import Reference
from trilemma.metrics.evaluation import Evaluation
from trilemma.metrics.judge import reference_for
from trilemma.recipes.judging import evaluation_of, judge_run
from trilemma.recipes.runs import begin, go_on, load
from trilemma.training.budget import Budget
from trilemma.training.distributed import World
from trilemma.training.run import Run
from trilemma.training.signals import Stop
from trilemma.training.trainer import Event

__all__ = ["Progress", "Race", "Watch"]

Watch = Callable[[str, Iterator[Event]], None]
Progress = Callable[[str, int, int], None]


@dataclass
class Race:
    """Trains and measures the cells of a plan.

    Attributes:
        plan: What is compared.
        data: Its data set.
        runs: Folder of the runs.
        world: The processes that share the work.
        stop: Tells when a signal asks for an end.
        watch: Shows a training by its events.
        progress: Makes, for a title, what shows a measurement.
        say: Tells people something.
        done: Told of each run that was measured here.
        against: What all are held against, once it was made.
    """

    plan: Plan
    data: DataSet
    runs: Path
    world: World
    stop: Stop
    watch: Watch
    progress: Callable[[str], AbstractContextManager[Progress]]
    say: Callable[[str], None]
    done: Callable[[Run], None]
    against: Reference | None = None

    def measured(self, cell: Cell) -> Evaluation:
        """Return a cell's evaluation, by an earlier call or by this one; or why there is none."""
        folder = self.runs / cell.folder
        if (kept := self.kept(cell)) is not None:
            self.say(f"{cell.title}: measured already, {folder}")
            return self.named(kept, cell)
        try:
            run = self.trained(cell)
            found = self.judged(cell)
        except (Diverged, RanAway) as error:
            self.say(f"{cell.title}: {error}")
            return self.named(_failed(cell, self.plan, str(error)), cell)
        if self.world.is_main:
            self.done(run)
        return self.named(found, cell)

    def named(self, found: Evaluation, cell: Cell) -> Evaluation:
        """Say which cell of the grid was measured, if there is one."""
        if not self.plan.grid:
            return found
        return replace(found, label=cell.label, fields=cell.fields)

    def kept(self, cell: Cell) -> Evaluation | None:
        """Return a measurement that an earlier call has made and that is the one wanted."""
        found = evaluation_of(self.runs / cell.folder)
        if found is None or (found.n, found.seed) != (self.plan.samples, cell.seed):
            return None
        return found

    def trained(self, cell: Cell) -> Run:
        """Train a cell in its folder, or go on with it."""
        plan, folder = self.plan, self.runs / cell.folder
        both = {"data": self.data, "source": plan.source, "world": self.world, "stop": self.stop}
        if folder.exists():
            run, events = go_on(folder, **both)
        else:
            run, events = begin(
                cell.recipe,
                size=plan.size,
                path=folder,
                budget=Budget(minutes=plan.minutes),
                seed=cell.seed,
                precision=plan.precision,
                **both,
            )
        self.watch(cell.title, events)
        return run

    def judged(self, cell: Cell) -> Evaluation:
        """Measure a trained cell."""
        loaded = load(self.runs / cell.folder, warn=self.say, device=self.world.device)
        against = self.reference()
        with self.progress(cell.title) as told:
            return judge_run(
                loaded,
                self.data,
                samples=self.plan.samples,
                seed=cell.seed,
                world=self.world,
                check=self.check,
                progress=told,
                reference=against,
            )

    def reference(self) -> Reference:
        """Return what all are held against, made when it is first asked for."""
        if self.against is None:
            with self.progress(self.data.name) as told:
                self.against = reference_for(
                    self.data,
                    n=self.plan.samples,
                    seed=self.plan.seed,
                    device=self.world.device,
                    progress=told,
                    check=self.check,
                )
        return self.against

    def check(self) -> None:
        """Stop if a signal asked for it."""
        self.stop.check("measuring was stopped; the same command goes on with this comparison.")


def _failed(cell: Cell, plan: Plan, reason: str) -> Evaluation:
    """Return the row of a run that has nothing to be measured."""
    return Evaluation(
        recipe=cell.recipe.name,
        family=cell.recipe.family,
        data=plan.data,
        n=plan.samples,
        seed=cell.seed,
        device=plan.device,
        skipped={"fd": reason},
        reward=cell.recipe.reward,
    )
