"""Measuring a run: the judge's scores with the cost of training beside them, kept in the run.

Samples that another program made are measured alike, without a model that could be asked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from trilemma.core.errors import BadInput
from trilemma.core.event import Event
from trilemma.core.files import replacing
from trilemma.core.noise import mix
from trilemma.core.session import Session
from trilemma.data.dataset import DataSet
from trilemma.metrics.context import DRAWS, Reference
from trilemma.metrics.evaluation import Evaluation, Spent, Training
from trilemma.metrics.judge import Judgement, judge, judge_samples, reference_for
from trilemma.metrics.modes import mode_count
from trilemma.metrics.registry import metrics
from trilemma.recipes.recipe import updates_wanted
from trilemma.recipes.runs import Loaded
from trilemma.training.convergence import training_state
from trilemma.training.environment import environments, machine
from trilemma.training.run import Run

__all__ = [
    "EACH_MODE",
    "SAMPLES",
    "default_samples",
    "evaluation_of",
    "judge_ready",
    "judge_run",
    "last_of_training",
    "trained_for",
    "training_of",
    "whole_evaluation_of",
]

SAMPLES = {
    "image": 2000,
    "points": 5000,
    "graph": 256,
    "molecule": 1000,
    "conformer": 1000,
    "point-cloud": 256,
}
"""Samples measured unless another number is asked for."""
EACH_MODE = 26
"""Fewest samples measured for each mode: 26,000 for stacked-mnist, as the field counts."""


def default_samples(data: DataSet) -> int:
    """Return how many samples of a model of these data are measured unless a number is given."""
    return max(SAMPLES[data.domain.kind], EACH_MODE * mode_count(data))


def last_of_training(events: Sequence[Event]) -> Event | None:
    """Return the last event that tells how far a training came; None where it made no step."""
    return next((e for e in reversed(events) if e.kind in ("done", "step")), None)


def trained_for(last: Event) -> tuple[float, int]:
    """Return the seconds of training alone, and the updates, by its last event."""
    values = last.values
    seconds = values.get("train_seconds", values.get("seconds", 0.0))
    return seconds, values.get("updates", last.step)


def training_of(loaded: Loaded, data: DataSet) -> Training | None:
    """Read what training took from the run's events; nothing of a run that was not trained."""
    events = loaded.run.events()
    last = last_of_training(events)
    if last is None:
        return None
    values = last.values
    seconds, updates = trained_for(last)
    examples = values.get("examples", values.get("examples_per_second", 0.0) * seconds)
    target_updates = updates_wanted(loaded.recipe, len(data.train))
    environment = environments(loaded.run)[-1]
    return Training(
        seconds=seconds,
        updates=updates,
        examples=round(examples),
        epochs=values.get("epochs", examples / len(data.train)),
        state=training_state(events, target_updates),
        wanted=target_updates,
        processor=environment.get("processor", ""),
        threads=environment.get("threads", 0),
    )


def shared(data_kind: str, model_kind: str) -> list[str]:
    """Name what may be measured of data of one kind beside rows of another."""
    return [
        metric.name
        for metric in metrics()
        if model_kind in metric.kinds and (metric.across_kinds or data_kind not in metric.kinds)
    ]


def judge_run(
    loaded: Loaded,
    data: DataSet,
    *,
    session: Session,
    samples: int | None = None,
    draws: int | None = None,
    reference: Reference | None = None,
    data_change: str = "",
) -> Evaluation:
    """Measure all that the model can answer, and keep it in the run as evaluation.json.

    Of a model that sees the data as another kind than they are given as, what does not mean the
    same of both kinds is left out unless the reference is of its own kind. What
    `Loaded.with_changes` says of the data stands in the evaluation.
    """
    n = samples or default_samples(data)
    data_kind, data = data.domain.kind, loaded.recipe.data_for(data.viewed((loaded.domain.kind,)))
    only = None
    if data_kind != data.domain.kind and reference is not None:
        only = shared(data_kind, data.domain.kind)
        reference = None
    if data.aside is not None and reference is not None and reference.data.aside is None:
        reference = None  # its training examples are more than the generator has seen
    training = training_of(loaded, data)
    if reference is None:
        reference = reference_for(data, session=session, n=n)
    judgement = judge(
        loaded.model,
        data,
        session=session,
        n=n,
        draws=draws or DRAWS,
        reference=reference,
        only=only,
    )
    evaluation = Evaluation(
        recipe=loaded.recipe.name,
        family=loaded.recipe.family,
        data=data.name,
        n=n,
        seed=session.seed,
        device=session.device.type,
        threads=torch.get_num_threads(),
        processor=_processor(session.device),
        step=loaded.step,
        test_examples=len(data.test),
        data_change=data_change,
        reward=loaded.recipe.goal,
        training=training,
        extractor=reference.name,
        extractor_note=reference.note,
        metrics=judgement.metrics,
        skipped=judgement.skipped,
        cost=_with_training(judgement.cost, training),
        seconds=judgement.seconds,
    )
    session.check()
    if session.world.is_main:
        _keep(loaded.run.path, evaluation, data, judgement)
    return evaluation


def judge_ready(
    name: str,
    source: Path,
    samples: torch.Tensor,
    data: DataSet,
    *,
    session: Session,
    n: int,
    reference: Reference | None = None,
    keep: Path | None = None,
) -> Evaluation:
    """Measure samples that another program made.

    Arguments:
        name: What they are called.
        source: Where they were read from.
        samples: [N, *shape], data units.
        data: What they imitate.
        session: Its seed is that of which are measured, of baselines and intervals.
        n: How many are measured, at most N; drawn by the seed, since files are often sorted.
        reference: The data set's reference, if it was made before with the same n and seed.
        keep: Folder in which evaluation.json and what is drawn of it are kept; None keeps nothing.
    """
    if reference is None:
        reference = reference_for(data, session=session, n=n)
    generator = torch.Generator().manual_seed(mix(session.seed, "ready samples"))
    rows = torch.randperm(len(samples), generator=generator)[:n].sort().values
    judgement = judge_samples(samples[rows], reference, session=session)
    evaluation = Evaluation(
        recipe=name,
        data=data.name,
        n=len(rows),
        seed=session.seed,
        threads=torch.get_num_threads(),
        processor=_processor(session.device),
        test_examples=len(data.test),
        source=str(source),
        extractor=reference.name,
        extractor_note=reference.note,
        metrics=judgement.metrics,
        skipped=judgement.skipped,
        seconds=judgement.seconds,
    )
    session.check()
    if keep is not None:
        _keep(keep, evaluation, data, judgement)
    return evaluation


def _processor(device: torch.device) -> str:
    """Name what measures: the accelerator, or the processor."""
    environment = machine(device)
    return environment["processor" if device.type == "cpu" else "device"]


def _with_training(cost: Spent, training: Training | None) -> Spent:
    """Add seconds of training, and examples a second of it."""
    if training is None or not training.seconds:
        return cost
    rate = training.examples / training.seconds
    return replace(cost, train_seconds=training.seconds, train_examples_per_second=rate)


def _keep(folder: Path, evaluation: Evaluation, data: DataSet, judgement: Judgement) -> None:
    """Write both files in a folder, each whole or not at all."""
    samples = judgement.samples
    tensors = {"samples": samples[: 2000 if samples.dim() == 2 else 64].contiguous()}
    tensors["nearest"] = judgement.neighbours.contiguous()
    for name, score in judgement.metrics.items():
        if (exhibit := score.exhibit) is not None:
            tensors[f"{name}.samples"] = samples[list(exhibit.samples)].contiguous()
            tensors[f"{name}.beside"] = data.train.x[list(exhibit.training_rows)].contiguous()
    try:
        with replacing(folder / "evaluation.safetensors") as partial:
            save_file(tensors, partial)
        with replacing(folder / "evaluation.json") as partial:
            partial.write_text(json.dumps(evaluation.to_json(), indent=2))
    except OSError as error:
        raise BadInput(f"cannot write the evaluation in {folder}: {error.strerror}.") from None


def evaluation_of(folder: Path) -> Evaluation | None:
    """Read what was measured of a run; nothing where nothing was, or by an earlier version."""
    try:
        return Evaluation.from_json(json.loads((folder / "evaluation.json").read_text()))
    except (OSError, ValueError, BadInput):
        return None


def whole_evaluation_of(folder: Path) -> Evaluation | None:
    """Read what was measured of a run, unless a file of it or of its samples was cut short."""
    try:
        if (samples := folder / "evaluation.safetensors").exists():
            with safe_open(samples, "pt"):  # refuses a file that was cut short
                pass
        Run.open(folder)
    except (OSError, ValueError, SafetensorError, BadInput):
        return None
    return evaluation_of(folder)
