"""A run that starts from the weights of another, some of them frozen.

    weights by the seed  ->  averaged weights of RUN, where name and shape fit  ->  training

What does not fit keeps the start that the seed gives it, and is named. Optimisers, averages,
schedules and counters begin anew; so do the buffers that a module declares in `run_buffers`. How
values are scaled and what classes mean is the new data's. A first stage whose `prepare` would give
layers their start from the data, as a flow's, leaves those that have one from RUN alone; what a
later stage fits to the result of an earlier one is fitted anew.

A frozen parameter requires no gradient, so that training gives it no optimiser and no average.

References:
    How transferable are features in deep neural networks?, Yosinski et al., 2014,
    arXiv:1411.1792.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.model import Stage
from trilemma.core.words import joined
from trilemma.recipes.fields import build
from trilemma.recipes.recipe import Recipe
from trilemma.training.checkpoint import Checkpoint
from trilemma.training.run import Run

__all__ = ["Start", "Started", "freeze", "stages_with"]

LISTED = 6
"""Tensors that a sentence names; the record names all."""


@dataclass(frozen=True)
class Started:
    """What a model was given to start from."""

    record: Mapping[str, Any]
    """For the new run's record: 'run', 'step', 'sha256', 'freeze', 'taken', 'new', 'unused'."""
    sentences: Sequence[str]
    """For people."""


@dataclass(frozen=True)
class Start:
    """Where a new run takes its weights from, and which of them stay as they are."""

    path: Path
    """A run, or a folder of exported weights."""
    freeze: tuple[str, ...] = ()
    """Parts of the model that are not trained, by dotted name."""

    def recipe(self, kind: type[Recipe], fields: Mapping[str, Any]) -> Recipe:
        """Build the new run's recipe: what shapes the model is RUN's, unless it is given.

        Arguments:
            kind: The recipe that was asked for.
            fields: Those given. Of the others, those that all recipes have, such as `lr`, are the
                recipe's own defaults, and those of this recipe alone are RUN's.

        Raises:
            BadInput: RUN is of another recipe, or a field is impossible.
        """
        run = Run.open(self.path)
        self._refuse_other(run, kind)
        recorded = run.recipe.get("fields")
        shared = {field.name for field in dataclasses.fields(Recipe)}
        own = {field.name for field in dataclasses.fields(kind)} - shared
        inherited = {k: v for k, v in dict(recorded or {}).items() if k in own}
        return build(kind, {**inherited, **fields})

    def give(
        self,
        run: Run,
        checkpoint: Checkpoint,
        recipe: Recipe,
        model: nn.Module,
        domain: Domain,
    ) -> Started:
        """Give a model the weights that fit it, and freeze what is to be frozen.

        Arguments:
            run: What lies at `path`.
            checkpoint: Its averaged weights.
            recipe: That of the new run.
            model: Its model with the weights of its seed.
            domain: That of its data.

        Raises:
            BadInput: RUN is of another recipe, nothing of it fits, or a part to be frozen is not
                there or has no weights from RUN.
        """
        self._refuse_other(run, type(recipe))
        own, weights = _travelling(model), dict(checkpoint.weights)
        fitting = [k for k, v in own.items() if k in weights and weights[k].shape == v.shape]
        if not any(own[name].dim() > 1 for name in fitting):
            name, tensor = next(iter(own.items()))
            raise BadInput(
                f"none of the {len(own)} tensors of this model has its shape in {self.path}: "
                f"{name} is {_shapes(name, tensor, weights)}; give the fields that it was trained "
                "with, data of its shape, or no --from."
            )
        with torch.no_grad():
            for name in fitting:
                own[name].copy_(weights[name])
        new = {k: _shapes(k, v, weights) for k, v in own.items() if k not in set(fitting)}
        unused = [k for k in weights if k not in model.state_dict()]
        numbers, count = (sum(own[k].numel() for k in names) for names in (fitting, own))
        record = {
            "run": os.path.abspath(self.path),
            "step": checkpoint.step,
            "sha256": checkpoint.sha256,
            "freeze": list(self.freeze),
            "taken": {"tensors": len(fitting), "of": len(own), "numbers": numbers, "all": count},
            "new": new,
            "unused": unused,
        }
        share = math.floor(1000 * numbers / count) / 10
        sentence = (
            f"{len(fitting)} of {len(own)} tensors ({share:g} % of the numbers) come from "
            f"{self.path}, step {checkpoint.step:,}"
        )
        if new:
            sentence += f"; new: {_listed([f'{k} {v}' for k, v in new.items()])}"
        if unused:
            sentence += f"; not used of it: {_listed(unused)}"
        sentences = [f"{sentence}."]
        before = Domain.from_json(run.recipe["data"]["domain"])
        if differing := _differing(before, domain):
            sentences.append(
                f"the data differ from those of {self.path} in {joined(differing)}; those of the "
                "new data hold."
            )
        if self.freeze:
            frozen = freeze(model, self.freeze, new)
            total = sum(p.numel() for p in model.parameters())
            sentences.append(
                f"{frozen:,} of {total:,} numbers are frozen, those of {joined(self.freeze)}."
            )
        return Started(record, sentences)

    def _refuse_other(self, run: Run, kind: type[Recipe]) -> None:
        """Refuse a run of another recipe."""
        name = run.recipe["name"]
        if name != kind.name:
            raise BadInput(
                f"{self.path} is of recipe '{name}', and '{kind.name}' was asked for; weights "
                f"start a run of their own recipe: train '{name}', or give a run of "
                f"'{kind.name}'."
            )


def freeze(model: nn.Module, names: Sequence[str], new: Mapping[str, str] | None = None) -> int:
    """Freeze the parameters whose dotted name is one of these, or lies below one.

    Arguments:
        model: Whose parameters require no gradient from now on.
        names: Such as 'encoder', 'decoder.0'.
        new: Parameters that nothing has trained yet, with their shapes in words.

    Returns:
        How many numbers are frozen.

    Raises:
        BadInput: A name is that of no part, or a part has parameters that are new.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for part in names:
        below = [name for name in parameters if _lies_below(name, part)]
        if not below:
            raise _no_part(part, parameters)
        if untrained := [name for name in below if name in (new or {})]:
            raise BadInput(
                f"--freeze {part} would leave {_listed(untrained)} as chance made it, for nothing "
                "that fits was there to start from; freeze the parts below it that fit."
            )
        for name in below:
            parameters[name].requires_grad_(False)
    return sum(p.numel() for p in model.parameters() if not p.requires_grad)


def stages_with(
    stages: Sequence[Stage], model: nn.Module, record: Mapping[str, Any]
) -> list[Stage]:
    """Return the stages of a run that started from another's weights.

    A stage of which everything is frozen is left out where another is left and none waits for what
    it prepares. Frozen weights, and in the first stage all that came from RUN, are no other after
    `prepare` than before.

    Arguments:
        stages: As the recipe gives them.
        model: The whole model, its frozen parameters frozen.
        record: 'start' of the run's record.

    Raises:
        BadInput: Everything that an objective trains is frozen.
    """
    trained = [
        stage
        for stage in stages
        if stage.prepare is not None
        or stage.finish is not None
        or any(_trains(o.parameters) for o in stage.model.objectives())
    ]
    for stage in trained or stages:
        for objective in stage.model.objectives():
            if not _trains(objective.parameters):
                raise BadInput(
                    f"--freeze {','.join(record['freeze'])} leaves objective "
                    f"'{objective.name}' of stage '{stage.name}' nothing to train; freeze less."
                )
    return [
        stage
        if stage.prepare is None
        else replace(
            stage, prepare=_protecting(stage.prepare, model, record, first=stage is stages[0])
        )
        for stage in trained
    ]


def _trains(parameters: Sequence[nn.Parameter]) -> bool:
    return any(parameter.requires_grad for parameter in parameters)


def _protecting(
    prepare: Callable[[], None], model: nn.Module, record: Mapping[str, Any], *, first: bool
) -> Callable[[], None]:
    """Return a `prepare` after which protected parameters are what they were."""

    @torch.no_grad()
    def prepared() -> None:
        before = {
            parameter: parameter.clone()
            for name, parameter in model.named_parameters()
            if not parameter.requires_grad or (first and name not in record["new"])
        }
        prepare()
        for parameter, value in before.items():
            parameter.copy_(value)

    return prepared


def _travelling(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers that belong to what was learnt, not to one run."""
    of_one_run = {
        f"{path}.{name}" if path else name
        for path, module in model.named_modules(remove_duplicate=False)
        for name in getattr(module, "run_buffers", ())
        if name in dict(module.named_buffers(recurse=False))
    }
    return {name: v for name, v in model.state_dict().items() if name not in of_one_run}


def _shapes(name: str, tensor: Tensor, weights: Mapping[str, Tensor]) -> str:
    source_shape = str(list(weights[name].shape)) if name in weights else "nothing"
    return f"{list(tensor.shape)} here, {source_shape} there"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - LISTED
    return "; ".join(names[:LISTED]) + (f"; and {more} more, see recipe.json" if more > 0 else "")


def _differing(before: Domain, now: Domain) -> list[str]:
    """Name what of two domains differs, but for how frequent classes are."""
    old, new = before.to_json(), now.to_json()
    names = sorted((old.keys() | new.keys()) - {"frequencies"})
    return [name for name in names if old.get(name) != new.get(name)]


def _lies_below(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")


def _parts(names: Sequence[str]) -> Iterator[str]:
    """Yield each dotted name and all that it lies below."""
    for name in names:
        words = name.split(".")
        yield from (".".join(words[:depth]) for depth in range(1, len(words) + 1))


def _no_part(part: str, names: Mapping[str, Tensor]) -> BadInput:
    """Make the error for a part that the model does not have: it names the nearest."""
    choices = list(dict.fromkeys(_parts(list(names))))
    close = difflib.get_close_matches(part, choices, n=1, cutoff=0.4)
    hint = f"; did you mean '{close[0]}'?" if close else "."
    top = joined([name for name in choices if "." not in name])
    return BadInput(f"--freeze '{part}' is no part of this model{hint} Its parts are {top}.")
