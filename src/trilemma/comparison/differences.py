"""What differs among runs that existed, in words: their data, training, machines and versions.

A comparison that trains makes all of this alike; of runs that existed a reader must know it before
he takes the better model for the better recipe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trilemma.core.domain import Domain
from trilemma.core.words import duration, joined
from trilemma.metrics.evaluation import Evaluation
from trilemma.recipes.evaluate import last_of_training, trained_for
from trilemma.training.environment import environments
from trilemma.training.run import Run

__all__ = ["differences"]

EQUAL = 1.1
"""Times of training that differ by less than this factor are equal."""
UNRECORDED = "not recorded"
MACHINE = ("processor", "threads", "device", "torch")
"""Of an environment: what the speed of a training depends on."""


def differences(runs: Mapping[str, tuple[Run, Evaluation]]) -> list[str]:
    """Say what differs among runs, a sentence each, and last what does not.

    Arguments:
        runs: By the name of its row: each, and what was measured of it.

    Returns:
        Whether their time was equal; what differs; what is the same for all.
    """
    facts = {name: _facts(run, evaluation) for name, (run, evaluation) in runs.items()}
    sentences = _about_time({name: run for name, (run, _) in runs.items()}, facts)
    alike = []
    for title in next(iter(facts.values())):
        names_by_value: dict[str, list[str]] = {}
        for name, by_title in facts.items():
            names_by_value.setdefault(by_title[title], []).append(name)
        if len(names_by_value) == 1:
            alike.append(f"{title.lower()}: {next(iter(names_by_value))}")
            continue
        sentences.append(f"{title}: {_by_value(names_by_value)}.")
    sentences += _about_fields({name: run for name, (run, _) in runs.items()})
    if alike:
        sentences.append(f"The same for all: {'; '.join(alike)}.")
    return sentences


def _by_value(names_by_value: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{value} ({joined(names)})" for value, names in names_by_value.items())


def _facts(run: Run, evaluation: Evaluation) -> dict[str, str]:
    """Return what stands beside a run's name, by title."""
    record, environment = run.recipe, environments(run)[-1]
    data = record["data"]
    counts = data.get("examples") or {}
    examples = ", ".join(
        f"{counts[part]:,} {part}" for part in ("train", "test") if part in counts
    )
    shape = "×".join(map(str, Domain.from_json(data["domain"]).shape))
    measured = UNRECORDED if evaluation.metrics else "not"
    if evaluation.metrics and evaluation.n:
        measured = (
            f"{evaluation.n:,} samples, seed {evaluation.seed}, on "
            f"{evaluation.processor or evaluation.device}, "
            f"{evaluation.threads} {'thread' if evaluation.threads == 1 else 'threads'}"
        )
    commit = (environment.get("commit") or "")[:8]
    return {
        "Recipe": record["name"],
        "Data": f"{data['name']} ({data['fingerprint']}; {examples or UNRECORDED})",
        "Size": f"{data['domain']['kind']}, {shape}",
        "Started from": _origin(record.get("start") or {}),
        "Trained for": _trained(run),
        "Budget": _budget(record.get("budget") or {}),
        "Seed of training": str(record["seed"]),
        **{
            title: str(environment.get(key, UNRECORDED))
            for title, key in zip(
                ("Processor", "Threads", "Device", "Torch"), MACHINE, strict=True
            )
        },
        "Precision": _precision(record.get("precision") or {}),
        "Trilemma": " ".join(filter(None, (str(record.get("version", UNRECORDED)), commit))),
        "Measured": measured,
    }


def _origin(start: Mapping[str, Any]) -> str:
    """Say whose weights a run began with."""
    if not start:
        return "nothing"
    frozen = start.get("freeze")
    words = f", {joined(list(frozen))} frozen" if frozen else ""
    return f"{Path(str(start['run'])).name}, step {start['step']:,}{words}"


def _trained(run: Run) -> str:
    last = last_of_training(run.events())
    if last is None:
        return UNRECORDED
    seconds, updates = trained_for(last)
    return f"{duration(seconds)}, {updates:,} updates"


def _budget(budget: Mapping[str, Any]) -> str:
    if budget.get("steps"):
        return f"{budget['steps']:,} steps"
    return f"{budget['minutes']:g} minutes" if budget.get("minutes") else UNRECORDED


def _precision(precision: Mapping[str, Any]) -> str:
    return str(precision.get("dtype", UNRECORDED))


def _about_time(runs: Mapping[str, Run], facts: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Say where time was not equal, so that a better model is not taken for a better recipe."""
    sentences = []
    seconds = {
        name: trained_for(last)[0]
        for name, run in runs.items()
        if (last := last_of_training(run.events())) is not None
    }
    least, most = min(seconds, key=seconds.__getitem__), max(seconds, key=seconds.__getitem__)
    if seconds[most] > EQUAL * seconds[least]:
        sentences.append(
            f"Time was not equal: training took {duration(seconds[least])} ({least}) to "
            f"{duration(seconds[most])} ({most}). The ranking is of these models as they are, and "
            "says nothing of which recipe is better in equal time."
        )
    machines = {
        tuple(by_title[t] for t in ("Processor", "Threads", "Device"))
        for by_title in facts.values()
    }
    if len(machines) > 1:
        sentences.append(
            "They were trained on different processors or threads: their seconds of training do "
            "not compare, and how fast they train is not ranked."
        )
    return sentences


def _about_fields(runs: Mapping[str, Run]) -> list[str]:
    """Say in which fields runs of one recipe differ."""
    by_recipe: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, run in runs.items():
        by_recipe.setdefault(run.recipe["name"], {})[name] = run.recipe["fields"]
    sentences = []
    for recipe, fields_by_name in by_recipe.items():
        for field in dict.fromkeys(key for fields in fields_by_name.values() for key in fields):
            names_by_value: dict[str, list[str]] = {}
            for name, fields in fields_by_name.items():
                names_by_value.setdefault(str(fields.get(field, UNRECORDED)), []).append(name)
            if len(names_by_value) > 1:
                sentences.append(f"{recipe}’s {field}: {_by_value(names_by_value)}.")
    return sentences
