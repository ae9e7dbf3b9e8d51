"""A whole training: stages in turn, within a budget, in a run that is never lost.

    for each stage:
        `prepare`, once; open its stream
        steps, with a checkpoint at the first, every minute and at the end
        its averaged weights become its weights

`fit` is an iterator of events. It may be left, killed or interrupted at any moment; with `resume`
it goes on from the newest checkpoint as though nothing had happened: on a CPU the weights, the
averages, the optimisers, the generators and the next batch are the same bit for bit.

When updates are not finite again and again, training goes back to the last good checkpoint, draws
other batches from there and learns half as fast; it says so, and gives up after three times.

Seconds are seconds of training (see `stopwatch`): saving and drawing stand outside that clock, and
drawing waits where it would take more than its share (see `allowance`).

A run that goes on under a new budget is planned anew from where it stands: the cosine is that of
the new number of steps, so that the learning rate may rise.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from trilemma.core.errors import BadInput, Diverged, Interrupted, reason_of
from trilemma.core.event import Event
from trilemma.core.memory import peak_memory
from trilemma.core.model import Model, Stage
from trilemma.core.noise import mix
from trilemma.core.sampling import evaluation_mode
from trilemma.core.session import Session
from trilemma.training.alarms import Alarms
from trilemma.training.allowance import Marked, Moment, Preview, TimedPreview
from trilemma.training.budget import RECENT, Budget, StepPace, TrainingPlan
from trilemma.training.checkpoint import Checkpoint, unwritable
from trilemma.training.environment import machine
from trilemma.training.precision import Precision
from trilemma.training.run import Run
from trilemma.training.stopwatch import Stopwatch
from trilemma.training.trainer import Settings, Trainer, random_state, set_random_state

__all__ = ["fit"]

RETURNS = 3
"""Times that a training may go back to its last good checkpoint."""

MEMORY = 2.0
"""Seconds of steps by which the rate is told of a run whose budget is steps."""


def fit(
    run: Run,
    model: Model,
    stages: Sequence[Stage],
    settings: Settings | Mapping[str, Settings],
    budget: Budget | None,
    *,
    session: Session,
    precision: Precision,
    preview: Preview | None = None,
    resume: bool = False,
    save_seconds: float = 60.0,
    save_every: int | None = None,
    rows: int | None = None,
    notes: Sequence[str] = (),
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Event]:
    """Train a model through its stages, and keep all of it in a run directory.

    Arguments:
        run: Where; it is locked until the iterator ends or is closed.
        model: The untrained model; moved to the device.
        stages: What is trained in turn.
        settings: Learning rate and the like, for all stages or by the stage's name.
        budget: Steps, or minutes of training. With `resume`, None keeps what was planned, steps
            are those of the run in all, and minutes count from now.
        session: Its seed is that of torch's global generator; losses are computed on its device;
            of its processes the main one alone writes files; a signal ends at the next step.
        precision: In which numbers.
        preview: Called at steps 0, 1, 2, 5, 10, 20, 50, … as far as the time allows, and at the
            end of each stage; or, if it is `TimedPreview`, when it says itself.
        resume: Whether to go on from the newest checkpoint.
        save_seconds: Seconds between checkpoints.
        save_every: Steps between checkpoints, beside the seconds.
        rows: Training examples, by which examples become epochs.
        notes: Sentences that are events of kind 'warning' at the start.
        clock: Tells seconds.

    Yields:
        'warning', 'resumed', 'stage', 'plan', 'step', 'skipped', 'alert', 'preview',
        'checkpoint', 'stopped', 'done'. Values of 'resumed': 'path', and the 'environment', on
        which speed depends; of 'plan': 'steps' of the stage, 'seconds_a_step', 'seconds' of the
        stage, 'at', the share of these that has passed; of 'step': the objectives' losses, norms
        and terms, 'lr', 'seconds' (of training so far), 'examples_per_second' (of training alone),
        'left' (seconds of training); of 'alert': 'trouble', its kind, and 'message'; of 'preview':
        'took' and what the preview returned; of 'done': 'train_seconds', 'updates' (steps of all
        stages), 'examples', 'epochs' where `rows` is given, 'train_examples_per_second',
        'wall_seconds', 'preview_seconds', 'save_seconds', 'skipped', 'peak_memory_bytes'.

    Raises:
        BadInput: The run cannot go on, or its files cannot be written.
        Diverged: Updates were not finite again and again; names the last good checkpoint.
        Interrupted: A signal asked for an end; everything is saved.
    """
    with run.lock() if session.world.is_main else nullcontext() as note:
        fitting = _Fitting(run, model, stages, settings, precision, session, preview, note, clock)
        fitting.warnings += notes
        fitting.rows = rows
        fitting.save_seconds, fitting.save_every = save_seconds, save_every
        yield from fitting.go(budget, resume)


class _Fitting:
    """One process's part in training a run."""

    def __init__(
        self,
        run: Run,
        model: Model,
        stages: Sequence[Stage],
        settings: Settings | Mapping[str, Settings],
        precision: Precision,
        session: Session,
        preview: Preview | None,
        note: str | None,
        clock: Callable[[], float],
    ) -> None:
        self.run, self.model, self.stages, self.settings = run, model, stages, settings
        self.precision, self.session = precision, session
        self.world, self.device, self.stop = session.world, session.device, session.stop
        self.clock, self.watch = clock, Stopwatch(clock)
        self.preview: Any = preview
        if preview is not None and not isinstance(preview, TimedPreview):
            self.preview = Marked(preview, clock)
        self.rows: int | None = None
        self.warnings = [note] if note else []
        self.save_seconds = 60.0
        self.save_every: int | None = None
        self.plan: TrainingPlan
        self.trainer: Trainer | None = None
        self._alarms = Alarms(model)
        self._saved_step: int | None = None
        self._saved_when = clock()
        self._saved_path = None
        self._returns = 0
        self._logged_when = 0.0

    # The whole

    def go(self, budget: Budget | None, resume: bool) -> Iterator[Event]:
        """Go through the stages."""
        torch.manual_seed(mix(self.session.seed, "fit"))
        self.precision.to_device(self.model, self.device)
        checkpoint = self._restored(budget) if resume else None
        if checkpoint is None:
            if budget is None:
                raise BadInput("a training that begins needs --steps or --minutes.")
            self.plan = TrainingPlan.of(budget, [stage.share for stage in self.stages])
        for warning in self.warnings:
            yield self._event("warning", message=warning)
        if checkpoint is not None:
            yield self._event(
                "resumed", path=str(checkpoint.path), environment=machine(self.device)
            )
        state = None
        if checkpoint is not None and not self.plan.is_complete:
            state = checkpoint.state["trainer"]
        while not self.plan.is_complete or not self.plan.is_last:
            if self.plan.is_complete:
                (stop_signal,) = self.world.agree(self.stop.signal)
                if stop_signal:
                    yield from self._interrupted(int(stop_signal))
                examples, skipped = self._counts(checkpoint)
                self.plan.advance(examples, skipped)
            yield from self._stage(state)
            state = checkpoint = None
        self.stop.check(f"training was complete at step {self.plan.total}, and all is saved.")
        yield self._event("done", **self._summary(checkpoint))

    def _restored(self, budget: Budget | None) -> Checkpoint | None:
        """Load the newest checkpoint into the model, and the plan from it."""
        (untouched,) = self.world.agree(self.run.is_untouched)
        if untouched and budget is not None:
            self.warnings.append("nothing was saved yet, so training begins at step 0.")
            return None
        checkpoint = self.run.checkpoint(self.warnings.append)
        checkpoint.fill(self.model)
        try:
            self.plan = TrainingPlan.load(checkpoint.state["plan"])
            set_random_state(checkpoint.state["trainer"]["random"])
        except (RuntimeError, KeyError, TypeError) as error:
            reason = str(error).splitlines()[-1].strip()
            raise BadInput(
                f"{checkpoint.path} is not a state of this version's training: {reason}"
            ) from error
        if len(self.plan.steps) != len(self.stages):
            raise BadInput(
                f"{checkpoint.path} has {len(self.plan.steps)} stages, "
                f"and the recipe has {len(self.stages)} now."
            )
        self.watch.resume(self.plan.spent, self.plan.overhead)
        self._saved_step, self._saved_path = checkpoint.step, checkpoint.path
        if budget is not None:
            self.plan.extend(budget)
            if self.plan.is_complete and self.plan.is_last:
                self.plan.is_complete = False
        return checkpoint

    # One stage

    def _stage(self, state: Mapping[str, Any] | None) -> Iterator[Event]:
        plan, stage = self.plan, self.stages[self.plan.stage]
        self.trainer = None
        self.model.eval()
        if state is None:
            plan.begin(self.watch.training)
        with self.watch.on("training"):
            if state is None and stage.prepare is not None:
                stage.prepare()
            self.world.align(self.model)
            stream = stage.stream()
        stage.model.train()
        settings = self.settings if isinstance(self.settings, Settings) else None
        self.trainer = trainer = Trainer(
            self.model,
            stage,
            stream,
            settings or self.settings[stage.name],  # type: ignore[index]
            session=self.session,
            precision=self.precision,
            total=lambda: plan.target,
        )
        if state is not None:
            trainer.load_state_dict(state)
        self._alarms = Alarms(stage.model)
        yield self._event("stage", steps=plan.target, objectives=[*trainer.players])
        if plan.total == 0 and state is None:
            yield from self._save()
            yield from self._preview_if_due()
        yield from self._steps(trainer)
        trainer.finish()
        if stage.finish is not None:
            with self.watch.on("training"):
                stage.finish(trainer.stream)
            trainer.average.restart()
        plan.is_complete = True
        yield from self._save()
        yield from self._preview_if_due(is_end=True)

    def _steps(self, trainer: Trainer) -> Iterator[Event]:
        plan = self.plan
        pace = StepPace(MEMORY if plan.limit is None else RECENT * plan.allotted)
        while True:
            if plan.steps_done and pace.mean:
                yield from self._preview_if_due()
            now = self.watch.training
            stop_signal, due, overdue, save, is_over = self.world.agree(
                self.stop.signal,
                plan.is_due(now, pace),
                plan.steps_done > 0 and plan.is_overdue(now, pace.mean),
                self._is_save_due(trainer),
                trainer.stream.is_over,
            )
            if due and not overdue:
                yield from self._planned(pace)
            if overdue and (plan.target is None or plan.steps_done < plan.target):
                plan.steps[plan.stage] = plan.steps_done
                yield self._event("stopped", reason="the time is over, and a tenth more")
            if is_over:
                plan.steps[plan.stage] = plan.steps_done
                yield self._event("stopped", reason=trainer.stream.ending)
            if plan.target is not None and plan.steps_done >= plan.target:
                return
            if stop_signal:
                yield from self._interrupted(int(stop_signal))
            if save or due:
                yield from self._save()
            before = self.watch.training
            try:
                with self.watch.on("training"):
                    event = trainer.step()
            except Diverged as error:
                yield from self._back(trainer, error)
                continue
            plan.steps_done = trainer.step_count
            pace.add(self.watch.training - before)
            yield from self._reported(event, trainer, pace.mean)
            yield from self._alerts(self._alarms.stepped(plan.steps_done, event.values))

    def _back(self, trainer: Trainer, error: Diverged) -> Iterator[Event]:
        """Go back to the last good checkpoint of this stage, or give up."""
        self._returns += 1
        if self._returns > RETURNS or self._saved_step is None:
            raise self._lost(error) from error
        self.world.barrier()
        checkpoint = self.run.checkpoint(self.warnings.append)
        saved_plan = TrainingPlan.load(checkpoint.state["plan"])
        if saved_plan.stage != self.plan.stage or saved_plan.is_complete:
            raise self._lost(error) from error
        failed_step = self.plan.total
        checkpoint.fill(self.model)
        trainer.go_back(checkpoint.state["trainer"])
        self.plan.steps_done = trainer.step_count
        self._alarms.forget()
        yield self._event(
            "warning",
            message=f"{error} Went back from step {failed_step} to the checkpoint of step "
            f"{checkpoint.step}, with other batches and {trainer.caution:g} of the learning rate "
            f"({self._returns} of {RETURNS} times).",
        )

    def _reported(self, event: Event, trainer: Trainer, pace: float) -> Iterator[Event]:
        """Yield a step with its times; log the first twenty, then one a second or a hundredth."""
        plan, now = self.plan, self.watch.training
        values = dict(event.values)
        skipped = values.pop("skipped", 0)
        rate = trainer.examples / trainer.step_count / pace if pace else 0.0
        values |= {
            "seconds": round(now, 3),
            "examples_per_second": round(rate, 1),
            "left": round(plan.remaining_seconds(now, pace, trainer.stream.spent), 1),
        }
        hundredth = max(1, (plan.target or 10**9) // 100)
        log = plan.total <= 20 or now - self._logged_when >= 1 or plan.steps_done % hundredth == 0
        if log:
            self._logged_when = now
        if skipped:
            skipped_values = {
                k: v for k, v in event.values.items() if k.endswith(("/loss", "/norm"))
            }
            yield self._event("skipped", updates=skipped, in_all=trainer.skipped, **skipped_values)
        yield self._event("step", log=log, **values)

    def _planned(self, pace: StepPace) -> Iterator[Event]:
        plan, now = self.plan, self.watch.training
        (agreed,) = self.world.agree(plan.correct(now, pace))
        plan.steps[plan.stage] = int(agreed)
        share = (now - plan.began) / max(plan.allotted, 1e-9)
        yield self._event(
            "plan",
            steps=plan.target,
            seconds_a_step=pace.mean,
            seconds=plan.allotted,
            at=round(share, 3),
        )

    def _interrupted(self, number: int) -> Iterator[Event]:
        if self._saved_step != self.plan.total:
            yield from self._save()
        name = signal.Signals(number).name
        yield self._event("stopped", reason=name)
        raise Interrupted(
            number,
            f"{name} came: stopped at step {self.plan.total}, and all is saved; "
            f"'trilemma resume {self.run.path}' goes on.",
        )

    # Checkpoints and previews

    def _is_save_due(self, trainer: Trainer) -> bool:
        if self._saved_step == self.plan.total or trainer.is_troubled:
            return False
        every = self.save_every
        return bool(every and self.plan.steps_done % every == 0) or (
            self.clock() - self._saved_when >= self.save_seconds
        )

    def _save(self) -> Iterator[Event]:
        plan, trainer, start = self.plan, self.trainer, self.clock()
        assert trainer is not None
        plan.spent, plan.overhead = self.watch.training, self.watch.overhead()
        with self.watch.on("save"):
            path = self._written(trainer)
            self.world.barrier()
        self._saved_step, self._saved_when = plan.total, self.clock()
        self._saved_path = path or self._saved_path
        yield self._event(
            "checkpoint", path=f"checkpoints/step_{plan.total}", took=self._saved_when - start
        )

    def _written(self, trainer: Trainer) -> Path | None:
        """Write a checkpoint, in the main process."""
        if not self.world.is_main:
            return None
        state = {"trainer": trainer.state_dict(), "plan": self.plan.state()}
        try:
            return self.run.save(self.plan.total, trainer.stage.name, trainer.weights(), state)
        except Diverged as error:
            raise self._lost(error) from error

    def _preview_if_due(self, *, is_end: bool = False) -> Iterator[Event]:
        """Let the preview draw, if it is due."""
        if self.preview is None:
            return
        moment = Moment(self.plan.total, self.watch.training, self.plan.limit, is_end)
        (due,) = self.world.agree(self.world.is_main and self.preview.due(moment))
        if due:
            yield from self._show()

    def _show(self) -> Iterator[Event]:
        """Draw from the averaged weights, without a trace in training."""
        start, step, result = self.clock(), self.plan.total, {}
        with self.watch.on("preview"):
            try:
                result = self._preview(step) if self.world.is_main else {}
                problem = None
            except OSError as error:
                raise unwritable(self.run.path / "samples", error) from error
            except Interrupted:
                raise
            except Exception as error:
                problem = f"no picture of step {step}: {reason_of(error)}"
            self.world.barrier()
        if problem:
            yield self._event("warning", message=problem)
        troubles = result.pop("alarms", {})
        yield self._event("preview", took=self.clock() - start, **result)
        yield from self._alerts(self._alarms.previewed(troubles))

    def _preview(self, step: int) -> dict[str, Any]:
        """Call the preview, and leave modes and generators as they were."""
        assert self.trainer is not None
        states = random_state()
        try:
            with (
                evaluation_mode(self.model),
                self.trainer.average.applied(),
                torch.no_grad(),
            ):
                return dict(self.preview(self.model, step) or {})
        finally:
            set_random_state(states)

    def _alerts(self, news: Mapping[str, str]) -> Iterator[Event]:
        for kind, sentence in news.items():
            yield self._event("alert", trouble=kind, message=sentence)

    # Small things

    def _lost(self, error: Diverged) -> Diverged:
        good = f"the last good checkpoint is {self._saved_path}"
        return Diverged(f"{error} At step {self.plan.total}; {good}.")

    def _event(self, kind: str, *, log: bool = True, **values: Any) -> Event:  # noqa: ANN401
        event = Event(kind, self.plan.total, self.stages[self.plan.stage].name, values)
        if log and self.world.is_main:
            self.run.event(kind, step=event.step, stage=event.stage, **values)
        return event

    def _counts(self, checkpoint: Checkpoint | None) -> tuple[int, int]:
        """Return the examples drawn and the updates left out in the present stage."""
        if self.trainer is not None:
            return self.trainer.examples, self.trainer.skipped
        state = checkpoint.state["trainer"] if checkpoint is not None else {}
        return state.get("examples", 0), state.get("skipped", 0)

    def _summary(self, checkpoint: Checkpoint | None) -> dict[str, Any]:
        examples, skipped = self._counts(checkpoint)
        examples, seconds = self.plan.examples + examples, self.watch.training
        return {
            "train_seconds": seconds,
            "updates": self.plan.total,
            "examples": examples,
            **({"epochs": examples / self.rows} if self.rows else {}),
            "train_examples_per_second": examples / max(seconds, 1e-9),
            "wall_seconds": self.watch.wall,
            "preview_seconds": self.watch.seconds["preview"],
            "save_seconds": self.watch.seconds["save"],
            "skipped": self.plan.skipped + skipped,
            "peak_memory_bytes": peak_memory(self.device),
        }
