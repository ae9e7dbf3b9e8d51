"""Whether a plug-in keeps the contract: every entry of it is put through the checks of its kind.

A recipe is trained, resumed, cut in parts, shared by two processes and loaded by a new one, on
each kind of data that it is for. What a recipe chooses by name, such as a sampler, a network or a
loss, goes through the same with the first of our recipes that can choose it; what is chosen at
sampling through the checks of samples alone. Metrics, data sets and rewards of molecules have
checks of their own.
"""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from trilemma.api import recipe_checks
from trilemma.api.metric_checks import (
    MetricChecks,
    data_are_sound,
    data_are_the_same_again,
    reward_is_of_each_molecule,
)
from trilemma.api.plugin_process import ONE, in_two_processes
from trilemma.api.recipe_checks import SAMPLES, Broken, Case
from trilemma.core.errors import BadInput, Interrupted
from trilemma.core.sampling import draw
from trilemma.core.session import Session
from trilemma.data.examples import EXAMPLES
from trilemma.metrics.registry import METRICS
from trilemma.plugins import Plugin, loaded
from trilemma.recipes.catalog import CATALOG
from trilemma.recipes.fields import registries_of
from trilemma.recipes.recipe import Recipe
from trilemma.training.run import Run

__all__ = ["Check", "check_plugin"]

NARROW = {"width": 16, "sample_steps": 4}
"""Fields of our own recipes with which a choice is checked."""


@dataclass(frozen=True)
class Check:
    """A check of an entry, and what came of it."""

    entry: str
    """Kind and name, and on which data."""
    name: str
    """What has to hold."""
    holds: bool
    measured: str
    """What was seen; where it does not hold, why, and what helps."""


@dataclass(frozen=True)
class _Trial:
    """An entry in a recipe on some data."""

    entry: str
    case: Case
    is_trained: bool
    """Whether it is put through training too, and not through sampling alone."""
    runs: list[Run] = field(default_factory=list)
    """The run that one process has trained, once there is one."""


def check_plugin(plugin: Plugin) -> Iterator[Check]:
    """Put every entry of a plug-in through the contract.

    Arguments:
        plugin: As `plugins.read` returns it.

    Yields:
        Each check as it ends.

    Raises:
        BadInput: The plug-in has entered nothing.
    """
    if not plugin.entries:
        raise BadInput(
            f"plug-in '{plugin.path}' enters nothing; write a line such as RECIPES['mine'] = Mine "
            "at its top level."
        )
    checker = _Checker(plugin)
    with tempfile.TemporaryDirectory() as folder:
        trials: list[_Trial] = []
        for number, (kind, name) in enumerate(plugin.entries):
            entry, own_folder = f"{kind} '{name}'", Path(folder) / str(number)
            if kind == "recipe":
                recipe = CATALOG[name]
                check = checker.check(
                    entry, "explains itself", recipe_checks.explains_itself, recipe
                )
                yield check
                if check.holds:
                    trials += _recipe_trials(entry, recipe(), own_folder)
            elif kind == "metric":
                yield from checker.metric(entry, name)
            elif kind == "data set":
                yield checker.check(entry, "is the same again", data_are_the_same_again, name)
                yield checker.check(entry, "lies where it says", data_are_sound, name)
            elif kind == "reward":
                yield checker.check(
                    entry, "gives each molecule a number", reward_is_of_each_molecule, name
                )
            elif chosen := _choice_trials(entry, kind, name, own_folder):
                trials += chosen
            else:
                yield Check(entry, "is registered", True, "nothing else is asked of its kind")
        for trial in trials:
            yield from checker.trial(trial)
        yield from checker.ranks([t for t in trials if t.runs], Path(folder))


BUILDS = "builds, alike from one seed"


def _recipe_trials(entry: str, recipe: Recipe, folder: Path) -> list[_Trial]:
    return [
        _Trial(f"{entry} on {EXAMPLES[kind]}", Case.of(recipe, kind, folder / kind), True)
        for kind in recipe.kinds
    ]


def _choice_trials(entry: str, kind: str, name: str, folder: Path) -> list[_Trial]:
    """Choose an entry in the first recipe of ours that can."""
    for recipe in CATALOG.values():
        for chosen, registry in registries_of(recipe).items():
            if registry.kind == kind and name in registry:
                is_trained = chosen not in recipe.at_sampling
                return [
                    _Trial(
                        f"{entry} in {recipe.name} on {EXAMPLES[data]}",
                        Case.of(recipe(), data, folder / data, **NARROW, **{chosen: name}),
                        is_trained,
                    )
                    for data in recipe.kinds
                ]
    return []


class _Checker:
    """Runs checks, and says of one that fails where in the plug-in it did."""

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin

    def check(self, entry: str, name: str, run: Callable[..., str], *arguments: Any) -> Check:  # noqa: ANN401
        """Run a check."""
        try:
            return Check(entry, name, True, run(*arguments))
        except Broken as reason:
            return Check(entry, name, False, f"{reason}.")
        except Interrupted:
            raise
        except Exception as error:
            return Check(entry, name, False, self._explained(error))

    def _explained(self, error: Exception) -> str:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == self.plugin.path]
        words = (str(error).strip().splitlines() or [""])[0].rstrip(".")
        where = f"{Path(self.plugin.path).name}, line {lines[-1]}: " if lines else ""
        kind = "" if isinstance(error, BadInput) else f"{type(error).__name__}: "
        return f"{where}{kind}{words}."

    def metric(self, entry: str, name: str) -> Iterator[Check]:
        """Measure real rows of each kind of data by a metric."""
        metric = METRICS[name]
        for kind in metric.kinds:
            subject = f"{entry} on {EXAMPLES[kind]}"
            try:
                checks = MetricChecks(metric, kind)
            except BadInput as reason:
                yield Check(subject, "is measured", True, f"not tried: {reason}")
                continue
            first = self.check(subject, "declares what it needs", checks.declares_its_needs)
            yield first
            if not first.holds:
                continue
            yield self.check(subject, "depends on samples and seed alone", checks.repeats_itself)
            if metric.needs is None:
                yield self.check(subject, "ignores the order", checks.ignores_the_order)
                yield self.check(subject, "knows its direction", checks.knows_its_direction)

    def trial(self, trial: _Trial) -> Iterator[Check]:
        """Put a recipe through what one process can see."""
        case, entry = trial.case, trial.entry
        try:
            data = case.data
        except BadInput as reason:
            yield Check(entry, BUILDS, True, f"not tried: {reason}")
            return
        try:
            model = recipe_checks.builds(case).eval()
        except BadInput as reason:
            is_optional = not entry.startswith("recipe ") and case.kind != case.recipe.kinds[0]
            yield Check(entry, BUILDS, is_optional, f"refuses these data: {reason}")
            return
        except Exception as error:
            reason = f"{error}." if isinstance(error, Broken) else self._explained(error)
            yield Check(entry, BUILDS, False, reason)
            return
        yield Check(entry, BUILDS, True, type(model).__name__)
        if trial.is_trained:
            yield self.check(
                entry, "every parameter learns", recipe_checks.every_parameter_learns, case
            )
            trains = self.check(entry, "trains", self._train, trial)
            yield trains
            if not trains.holds:
                return
            (run,) = trial.runs
            model = recipe_checks.loaded_model(run)
            yield self.check(
                entry, "resumes bit for bit", recipe_checks.resumes_exactly, case, run
            )
            yield self.check(
                entry, "parts of a batch agree", recipe_checks.accumulated_parts_agree, case, run
            )
        yield self.check(
            entry,
            "samples do not depend on their number",
            recipe_checks.samples_ignore_their_number,
            model,
            data,
        )

    @staticmethod
    def _train(trial: _Trial) -> str:
        run = recipe_checks.trained(trial.case, ONE, Session())
        losses = recipe_checks.losses_of(run)
        recipe_checks.loaded_model(run)
        trial.runs.append(run)
        return f"{len(losses)} losses, from {losses[0]:.4g} to {losses[-1]:.4g}"

    def ranks(self, trials: Sequence[_Trial], folder: Path) -> Iterator[Check]:
        """Put recipes through what two processes see, and a new one."""
        if not trials:
            return
        paths = [one.path for one in loaded() if one.origin == "file"]
        outcomes = in_two_processes(paths, [trial.case for trial in trials], folder)
        for trial, outcome in zip(trials, outcomes, strict=True):
            yield self.check(trial.entry, "two ranks are as one", _ranks_agree, trial, outcome)
            yield self.check(trial.entry, "loads in a new process", _loads_anew, trial, outcome)


def _ranks_agree(trial: _Trial, outcome: dict[str, Any]) -> str:
    if "losses error" in outcome:
        raise Broken(f"two processes could not train it: {outcome['losses error']}")
    losses = recipe_checks.losses_of(trial.runs[0])
    return recipe_checks.same_losses(losses, outcome["losses"], "a batch on two ranks")


def _loads_anew(trial: _Trial, outcome: dict[str, Any]) -> str:
    if "samples error" in outcome:
        raise Broken(f"a new process could not load it: {outcome['samples error']}")
    anew = load_file(outcome["samples"])["samples"]
    with torch.random.fork_rng():
        torch.manual_seed(1)  # so that numbers of torch's own are others than there
        own = draw(recipe_checks.loaded_model(trial.runs[0]), SAMPLES, seed=1)
    return recipe_checks.same_samples(own, anew, trial.case.data)
