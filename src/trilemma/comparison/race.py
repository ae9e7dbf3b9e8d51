"""The race: cells trained and measured, by this process or by others, all against one reference.

Each process takes the next cell that is free (see `claims`), so that a cell is trained once; one
whose process was killed is taken over and goes on from its checkpoint. What was measured is taken
as it is. A process that finds no free cell waits until all have an outcome:

    an evaluation    evaluation.json of the run, with the samples and the seed that are wanted
    a failure        its training or its samples left the finite numbers; kept in its claim
    a refusal        what lies in its folder cannot go on, such as a run that is not whole
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from torch import Tensor

from trilemma.comparison.cells import Cell
from trilemma.comparison.claims import Claim, ClaimLost, Claims, Status
from trilemma.comparison.plan import Plan, Ready
from trilemma.comparison.waiting import STOPPED, Waiting, pause
from trilemma.comparison.worker import Worker
from trilemma.core.errors import BadInput, Diverged, Interrupted, RanAway
from trilemma.core.event import Event
from trilemma.core.session import Session
from trilemma.core.words import duration, joined
from trilemma.data.dataset import DataSet
from trilemma.metrics.context import Reference
from trilemma.metrics.evaluation import Evaluation
from trilemma.metrics.judge import reference_for
from trilemma.recipes.evaluate import (
    evaluation_of,
    judge_ready,
    judge_run,
    whole_evaluation_of,
)
from trilemma.recipes.runs import begin, go_on, load
from trilemma.training.budget import Budget
from trilemma.training.run import InUse, Run

__all__ = ["Race", "Watch"]

Watch = Callable[[str, Iterator[Event]], None]

DONE, WAIT, FOLLOW = -2, -1, -3
"""What a process is to do, where it is not the number of a cell."""
RETRY_SECONDS = 10.0
"""Seconds until a run is tried again in which another process trains without a claim."""


@dataclass
class Race:
    """Trains and measures the cells of a plan, as one of the processes that do.

    Attributes:
        plan: What is compared.
        data: Its data set.
        runs: Folder of the runs.
        claims: Who works on what.
        session: The processes that share the work of one cell, who may end it and who is told.
        watch: Shows a training by its events.
        on_measured: Called with each run that was measured here.
        against: What all are held against, once it was made.
        claim: What this process works on, in the main process of its world.
        queued: Its place as the next to whom cores become free.
        outcomes: What was measured of each cell that has an outcome, by its folder.
        noticed: Claims of others that were spoken of: folder and token.
        busy: For folders in which somebody trains without a claim: when to try again, and who.
    """

    plan: Plan
    data: DataSet
    runs: Path
    claims: Claims
    session: Session
    watch: Watch
    on_measured: Callable[[Run], object]
    cached_reference: Reference | None = None
    claim: Claim | None = None
    queued: Claim | None = None
    outcomes: dict[str, Evaluation] = field(default_factory=dict)
    noticed: set[tuple[str, str]] = field(default_factory=set)
    busy: dict[str, tuple[float, str]] = field(default_factory=dict)

    def finish(self) -> list[Evaluation]:
        """Work until every cell has an outcome, here or elsewhere.

        Returns:
            The outcomes in the order of the cells, each under its label where there is a grid;
            only the main process has them all.

        Raises:
            Interrupted: A signal asked for an end.
            BadInput: The files cannot be read or written, or the data cannot be measured.
        """
        cells = self.plan.cells()
        with Waiting(self.session) as waiting, contextlib.closing(self):
            while (choice := self._agreed(cells, waiting)) != DONE:
                if choice == WAIT:
                    pause(self.session.stop)
                    continue
                waiting.over()
                with self.claim or contextlib.nullcontext():
                    self._work(cells[choice])
        return [self.labelled_outcome(cell) for cell in cells if cell.folder in self.outcomes]

    def labelled_outcome(self, cell: Cell) -> Evaluation:
        """Return the outcome of a cell, and say which of the grid it is, if there is one."""
        evaluation = self.outcomes[cell.folder]
        if not self.plan.grid:
            return evaluation
        return replace(evaluation, label=cell.label, fields=cell.fields)

    def close(self) -> None:
        """Leave the queue for cores."""
        if self.queued is not None:
            self.queued.end()
            self.queued = None

    def _agreed(self, cells: Sequence[Cell], waiting: Waiting) -> int:
        """Let the main process choose, and all of its world know."""
        choice = FOLLOW
        if self.session.world.is_main and not self.session.stop:
            choice = self._turn(cells, waiting)
        agreed_choice, stop_signal = self.session.world.agree(choice, self.session.stop.signal)
        if stop_signal:
            if self.claim is not None:
                self.claim.end("stopped")
            signal_name = signal.Signals(int(stop_signal)).name
            raise Interrupted(int(stop_signal), f"{signal_name}: {STOPPED}")
        return int(agreed_choice)

    def _turn(self, cells: Sequence[Cell], waiting: Waiting) -> int:
        """Claim the next free cell: return its number, or WAIT, or DONE."""
        self._gather(cells)
        open_cells = [cell for cell in cells if cell.folder not in self.outcomes]
        if not open_cells:
            return DONE
        names = [cell.folder for cell in cells]
        status = self.claims.status(*names)
        free = [c for c in open_cells if status[c.folder].is_free and not self._is_busy(c)]
        self._notice([cell for cell in open_cells if not status[cell.folder].is_free], status)
        if not free:
            self.close()
            waiting.tell(self._waited_for(open_cells, status), len(cells))
            return WAIT
        for cell in free:
            # Who is next counts as though it worked already, so that processes take turns.
            if crowd := self.claims.crowd([*names, queue := self.claims.worker.queue]):
                self.queued = self.queued or self.claims.take(queue)
                waiting.tell(self._crowded(crowd), len(cells))
                return WAIT
            claim = self.claims.take(cell.folder)
            if claim is None:
                continue
            if self.claims.crowd(names) or self.existing_evaluation(cell) is not None:
                claim.end("stopped")
                return WAIT
            self.close()
            self.claim = claim
            return cells.index(cell)
        return WAIT

    def _gather(self, cells: Sequence[Cell]) -> None:
        """Take the outcomes that there are by now."""
        for cell in cells:
            if cell.folder in self.outcomes:
                continue
            status = self.claims.status(cell.folder)[cell.folder]
            if (evaluation := self.existing_evaluation(cell)) is not None:
                self.outcomes[cell.folder] = evaluation
                self.session.say(f"{cell.title}: measured already, {self.runs / cell.folder}")
            elif status.failure is not None:
                self.outcomes[cell.folder] = _failed(cell, self.plan, status.failure)
                path = self.claims.path(cell.folder, status.generation)
                self.session.say(f"{cell.title}: {status.failure} Remove {path} to try it again.")

    def _notice(self, cells: Sequence[Cell], status: Mapping[str, Status]) -> None:
        """Say once of each claim of another process whose it is."""
        for cell in cells:
            owner = status[cell.folder].owner
            if owner is not None and (cell.folder, owner.token) not in self.noticed:
                self.noticed.add((cell.folder, owner.token))
                self.session.say(f"{cell.title}: {owner.name_for(self.claims.worker)} works on it")

    def _is_busy(self, cell: Cell) -> bool:
        return time.monotonic() < self.busy.get(cell.folder, (0.0, ""))[0]

    def _waited_for(self, cells: Sequence[Cell], status: Mapping[str, Status]) -> tuple[str, str]:
        """Say what is waited for: what of it stays the same, and all of it."""
        short_items, full_items = [], []
        for cell in cells:
            cell_status = status[cell.folder]
            if self._is_busy(cell):
                owner_name = self.busy[cell.folder][1]
            else:
                owner_name = (
                    cell_status.owner.name_for(self.claims.worker)
                    if cell_status.owner
                    else "another process"
                )
            is_silent = cell_status.silence > 3 * self.claims.beat and not cell_status.is_free
            silence_note = f", no sign for {duration(cell_status.silence)}" if is_silent else ""
            short_items.append(f"{cell.title} ({owner_name})")
            full_items.append(f"{cell.title} ({owner_name}{silence_note})")
        prefix = f"{len(self.outcomes)} of {len(self.plan.cells())} are ready; waiting for "
        return joined(short_items), prefix + joined(full_items)

    def _crowded(self, crowd: Sequence[Worker]) -> tuple[str, str]:
        """Say why no cell is begun though one is free."""
        own_worker = self.claims.worker
        names = joined([worker.name_for(own_worker) for worker in crowd])
        if own_worker.device != "cpu" and any(
            worker.device == own_worker.device for worker in crowd
        ):
            text = f"waiting for the accelerator, on which {names} works"
        else:
            cores = len(set(own_worker.cores).union(*(worker.cores for worker in crowd)))
            busy_threads = sum(worker.cores_needed for worker in crowd)
            text = (
                f"waiting for free cores, so that minutes stay equal: {names} works with "
                f"{_threads(busy_threads)}, this process would add {own_worker.cores_needed}, and "
                f"they have {cores} cores (OMP_NUM_THREADS sets how many threads)"
            )
        return text, text

    def _work(self, cell: Cell) -> None:
        """Train and measure the claimed cell; its outcome is kept, unless the claim was lost."""
        claim, is_single_process = self.claim, self.session.world.size == 1
        if claim is not None and claim.previous is not None:
            previous_owner = claim.previous.name_for(self.claims.worker)
            self.session.say(
                f"{cell.title}: {previous_owner}, which worked on it, is gone; taking over"
            )
        try:
            self.outcomes[cell.folder] = self.measured(cell)
        except (Diverged, RanAway) as error:
            self.session.say(f"{cell.title}: {error}")
            self.outcomes[cell.folder] = _failed(cell, self.plan, str(error))
            if claim is not None:
                claim.end("failed", reason=str(error))
        except ClaimLost as error:
            if (
                not is_single_process
            ):  # the others of this world know nothing of it, and wait in vain
                raise
            self.session.say(f"{cell.title}: {error}")
        except InUse as error:
            if not is_single_process:
                raise
            self.busy[cell.folder] = time.monotonic() + RETRY_SECONDS, str(error).split(";")[0]
            if claim is not None:
                claim.end("stopped")
        except BadInput as error:
            if not is_single_process or claim is None or not claim.is_lost:
                raise
            self.session.say(f"{cell.title}: {error}")
        finally:
            self.claim = None

    def measured(self, cell: Cell) -> Evaluation:
        """Train a cell, or resume it, and measure it; or say why its folder cannot be used."""
        folder = self.runs / cell.folder
        existed = folder.exists()
        try:
            run = self.trained(cell)
        except (InUse, ClaimLost):
            raise
        except BadInput as error:
            if not existed or isinstance(error.__cause__, OSError):
                raise
            reason = f"{error} (Move {folder} away to train it anew.)"
            self.session.say(f"{cell.title}: {reason}")
            return _failed(cell, self.plan, reason)
        evaluation = self.judged(cell)
        if self.session.world.is_main:
            self.on_measured(run)
        return evaluation

    def existing_evaluation(self, cell: Cell) -> Evaluation | None:
        """Return a cell's evaluation, if there is a complete one of its seed and samples."""
        evaluation = whole_evaluation_of(self.runs / cell.folder)
        if evaluation is None or (evaluation.n, evaluation.seed) != (self.plan.samples, cell.seed):
            return None
        return evaluation

    def trained(self, cell: Cell) -> Run:
        """Train a cell in its folder, or resume it."""
        plan, folder = self.plan, self.runs / cell.folder
        session = self.session.but(seed=cell.seed)
        shared_arguments = {"data": self.data, "source": plan.source, "session": session}
        self._clear(cell)
        if folder.exists():
            requested = {"name": cell.recipe.name, "seed": cell.seed}
            run, events = go_on(folder, requested=requested, **shared_arguments)
        else:
            run, events = begin(
                cell.recipe,
                size=plan.size,
                path=folder,
                budget=self.budget(cell),
                precision=plan.precision,
                **shared_arguments,
            )
        if self.claim is not None:
            run.verify = self.claim.verify
        self.watch(cell.title, self._claimed(events))
        return run

    def budget(self, cell: Cell) -> Budget:
        """Return the minutes of all, or the steps of a recipe whose calls are its budget."""
        if cell.recipe.steps:
            return Budget(steps=cell.recipe.steps)
        return Budget(minutes=self.plan.minutes)

    def _clear(self, cell: Cell) -> None:
        """Remove what those who had this cell before can no longer use."""
        if self.claim is None:
            return
        folder = self.runs / cell.folder
        for partial in self.runs.glob(f".{cell.folder}.*.tmp"):
            shutil.rmtree(partial, ignore_errors=True)
        if (folder / "lock").is_file() and (folder / "recipe.json").is_file():
            run = Run.open(folder)
            for owner in self.claims.owners(cell.folder, self.claim.generation):
                run.unlock(owner.pid, owner.host)

    def _claimed(self, events: Iterator[Event]) -> Iterator[Event]:
        """Pass events on while the claim holds; else leave the training at once, unsaved."""
        with contextlib.closing(cast(Generator[Event, None, None], events)):
            for event in events:
                if self.claim is not None:
                    self.claim.check()
                yield event

    def judged(self, cell: Cell) -> Evaluation:
        """Measure a trained cell."""
        loaded = load(self.runs / cell.folder, warn=self.session.say, device=self.session.device)
        reference = self.reference()
        with self.measuring.but(seed=cell.seed).counted(cell.title) as session:
            return judge_run(
                loaded,
                self.data,
                session=session,
                samples=self.plan.samples,
                reference=reference,
            )

    def ready(self, ready: Ready, samples: Tensor) -> Evaluation:
        """Measure samples that another program made, unless they were measured before."""
        folder = self.runs / ready.folder
        evaluation = evaluation_of(folder)
        requested = (self.plan.samples, self.plan.seed, ready.path)
        if (
            evaluation is not None
            and (evaluation.n, evaluation.seed, evaluation.source) == requested
        ):
            self.session.say(f"{ready.name}: measured already, {folder}")
            return evaluation
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"{folder} cannot be made: {error.strerror}.") from None
        reference = self.reference()
        with self.measuring.counted(ready.name) as session:
            return judge_ready(
                ready.name,
                Path(ready.path),
                samples,
                self.data,
                session=session,
                n=self.plan.samples,
                reference=reference,
                keep=folder,
            )

    def reference(self) -> Reference:
        """Return what all are held against, made when it is first asked for."""
        if self.cached_reference is None:
            with self.measuring.counted(self.data.name) as session:
                self.cached_reference = reference_for(
                    self.data, session=session, n=self.plan.samples
                )
        return self.cached_reference

    @property
    def measuring(self) -> Session:
        """Return the session of what is measured: it ends where the claim was lost, too."""
        return self.session.but(
            seed=self.plan.seed,
            interruption="measuring was stopped; the same command resumes this comparison.",
            guard=lambda: self.claim.check() if self.claim is not None else None,
        )


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count != 1 else ''}"


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
        reward=cell.recipe.goal,
    )
