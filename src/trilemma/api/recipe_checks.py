"""What a recipe has to keep, as checks that run: the contract of `tests/test_contract.py`.

A `Case` is a recipe on a small data set. Trainings are of a few updates at a small rate, so that
two ways of summing differ by rounding alone. What one process does is checked here; what two
processes, or a new one, make of the same case is written down by `plugin_process.py`.
"""

from __future__ import annotations

import dataclasses
import math
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trilemma.core.errors import Interrupted
from trilemma.core.model import Model, capabilities
from trilemma.core.sampling import draw
from trilemma.core.session import Session, Stop
from trilemma.data import sources
from trilemma.data.dataset import DataSet
from trilemma.data.examples import EXAMPLES
from trilemma.recipes.fields import fields
from trilemma.recipes.recipe import Recipe
from trilemma.recipes.runs import begin, go_on, load, untrained
from trilemma.training.budget import Budget
from trilemma.training.run import Run

__all__ = [
    "SAMPLES",
    "STEPS",
    "Broken",
    "Case",
    "accumulated_parts_agree",
    "builds",
    "every_parameter_learns",
    "explains_itself",
    "loaded_model",
    "losses_of",
    "resumes_exactly",
    "same_losses",
    "same_samples",
    "samples_ignore_their_number",
    "trained",
]

STEPS, STOPPED = 8, 3
"""Updates of a training, and those after which it is interrupted."""
BATCH = 16
SMALL = {"lr": 1e-5, "warmup": 1}
"""Fields of every recipe here: the rounding by which two ways of summing differ grows with the
steps of AdamW, which are as long where a gradient is zero but for rounding."""
SAMPLES = 5
"""Samples by which two models are compared."""
ROUNDING = 1e-5
"""Of a loss, relative to it or to 1."""
CLOCKS = frozenset(("spent", "began", "overhead"))
"""What a training state holds of the time that it took."""
STRAY = 2e-3
"""Share of a sample's values that may lie at the next level, by rounding."""


class Broken(Exception):
    """A check does not hold: says what was measured, and what it should be."""


@dataclass(frozen=True)
class Case:
    """A recipe on a small data set."""

    recipe: Recipe
    kind: str
    """Of the data."""
    folder: Path
    """Where its trainings lie."""

    @classmethod
    def of(cls, recipe: Recipe, kind: str, folder: Path, **changes: Any) -> Case:  # noqa: ANN401
        """Make a recipe small: few examples an update, and fields that are changed besides."""
        names = {field.name for field in dataclasses.fields(recipe)}
        requested = {"batch": BATCH, "accumulate": 1, **SMALL, **changes}
        known_fields = {name: value for name, value in requested.items() if name in names}
        return cls(dataclasses.replace(recipe, **known_fields), kind, folder)

    @property
    def data(self) -> DataSet:
        """Return the data, as the recipe sees them."""
        return self.recipe.data_for(sources.load(EXAMPLES[self.kind]).viewed((self.kind,)))

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "name": self.recipe.name,
            "fields": dataclasses.asdict(self.recipe),
            "kind": self.kind,
            "folder": str(self.folder),
        }


def trained(
    case: Case,
    name: str,
    session: Session,
    *,
    accumulate: int = 1,
    stop_after: int | None = None,
) -> Run:
    """Train a case for a few updates.

    Arguments:
        case: It.
        name: Of the run's folder.
        session: Of whoever trains.
        accumulate: Parts of a batch.
        stop_after: The update after which a signal comes.

    Raises:
        Interrupted: It came.
    """
    run, events = begin(
        dataclasses.replace(case.recipe, accumulate=accumulate),
        case.data,
        source=EXAMPLES[case.kind],
        path=case.folder / name,
        budget=Budget(steps=STEPS),
        precision="fp32",
        session=session.but(is_pictured=False),
    )
    for event in events:
        if event.kind == "step" and event.step == stop_after:
            session.stop.signal = signal.SIGINT
    return run


def explains_itself(kind: type[Recipe]) -> str:
    """See that fields have types and docstrings, and that the data are of known kinds."""
    recipe_fields = fields(kind)
    if unknown := set(kind.kinds) - set(EXAMPLES):
        raise Broken(f"it is for {sorted(unknown)}; kinds of data are {', '.join(EXAMPLES)}")
    if not (kind.__doc__ or "").strip():
        raise Broken("it has no docstring; say in one line what it trains")
    return f"{len(recipe_fields)} fields, each with its type and meaning"


def builds(case: Case) -> Model:
    """Build the untrained model; two of one seed are alike.

    Raises:
        BadInput: The recipe refuses the data.
    """
    one, two = (untrained(case.recipe, case.data.domain, 0) for _ in range(2))
    if not _same(one.state_dict(), two.state_dict()):
        raise Broken("two models of one seed have other weights: draw them from torch's generator")
    if "sample" not in capabilities(one):
        raise Broken("the model has no 'sample'")
    return one


def every_parameter_learns(case: Case) -> str:
    """See that some objective has a finite gradient for each parameter, and shares none."""
    model, touched = builds(case), set()
    for stage in case.recipe.stages(model, case.data, 0):
        if stage.prepare:
            stage.prepare()
        stream, owned = stage.stream(), set[int]()
        for objective in stage.model.objectives():
            parameters = list(objective.parameters)
            if owned & set(map(id, parameters)):
                raise Broken(f"objective '{objective.name}' has parameters of another one")
            owned |= set(map(id, parameters))
            value = objective.loss(stream.batch(0)).value
            if value.shape != ():
                raise Broken(
                    f"the loss of '{objective.name}' has the shape {tuple(value.shape)}; "
                    "it is one number, the mean over the batch"
                )
            gradients = torch.autograd.grad(value, parameters, allow_unused=True)
            by_name = dict(zip(_names(model, parameters), gradients, strict=True))
            norms = {name: _norm(gradient) for name, gradient in by_name.items()}
            if unused := [name for name, norm in norms.items() if norm is None]:
                raise Broken(f"the loss of '{objective.name}' does not depend on {unused}")
            if odd := [name for name, norm in norms.items() if not math.isfinite(norm or 0.0)]:
                raise Broken(f"the gradient of '{objective.name}' is not finite in {odd}")
            if not any(norms.values()):
                raise Broken(f"the gradient of '{objective.name}' is zero everywhere")
        touched |= owned
    missing = [name for name, p in model.named_parameters() if id(p) not in touched]
    if missing:
        raise Broken(f"no objective trains {missing}")
    return f"{sum(p.numel() for p in model.parameters()):,} parameters"


def resumes_exactly(case: Case, straight: Run) -> str:
    """See that an interrupted training ends as the one that was not, bit for bit."""
    try:
        trained(case, "resumed", Session(stop=Stop()), stop_after=STOPPED)
    except Interrupted:
        pass
    else:
        raise Broken("it did not end at a signal")
    run, events = go_on(case.folder / "resumed", session=Session(is_pictured=False))
    for _ in events:
        pass
    one, two = (r.checkpoint(_ignored) for r in (straight, run))
    for what, a, b in (("weights", one.weights, two.weights), ("state", one.state, two.state)):
        if differing := [k for k in a if k not in CLOCKS and not _same(a[k], b.get(k))]:
            raise Broken(
                f"the {what} differ in {sorted(map(str, differing))[:4]} after resuming "
                f"at update {STOPPED} of {STEPS}; draw from batch.noise, and keep what "
                "training needs in buffers"
            )
    return f"stopped at update {STOPPED}, the same weights and state at {STEPS}"


def samples_ignore_their_number(model: Model, data: DataSet) -> str:
    """See that sample i is the same whether 1, 3 or 70 are drawn, and lies in the domain."""
    many = draw(model, 70, seed=3)
    if many.shape != (70, *data.domain.shape):
        raise Broken(
            f"70 samples have the shape {tuple(many.shape)}; it is {(70, *data.domain.shape)}"
        )
    if many.dtype != data.train.x.dtype:
        raise Broken(
            f"samples are {many.dtype}, and the data {data.train.x.dtype}; return them in "
            "data units: domain.values.unscale"
        )
    if not many.float().isfinite().all():
        raise Broken("samples are not finite")
    for n in (1, 3):
        if not _close(draw(model, n, seed=3), many[:n], data):
            raise Broken(
                f"sample 0 of {n} is not sample 0 of 70; draw rows from the noise that "
                "sample is given, and take no statistics over the batch"
            )
    if torch.equal(draw(model, 3, seed=4), many[:3]):
        raise Broken("seeds 3 and 4 give the same samples; draw them from the noise")
    return "sample i is the same of 1, 3 and 70"


def accumulated_parts_agree(case: Case, straight: Run) -> str:
    """See that a batch cut in two gives the losses of the whole."""
    parts = trained(case, "parts", Session(), accumulate=2)
    return same_losses(losses_of(straight), losses_of(parts), "a batch in two parts")


def losses_of(run: Run) -> list[float]:
    """Return the loss of each objective at each update."""
    values = [
        value
        for event in run.events()
        if event.kind == "step"
        for key, value in event.values.items()
        if key.endswith("/loss")
    ]
    if not values or not all(torch.tensor(values).isfinite()):
        raise Broken(f"losses are {values[:4]}; they are finite numbers")
    return values


def same_losses(one: Sequence[float], two: Sequence[float], what: str) -> str:
    """See that two trainings have the same losses but for rounding."""
    a, b = torch.tensor(one, dtype=torch.float64), torch.tensor(two, dtype=torch.float64)
    if a.shape != b.shape:
        raise Broken(f"{what} made {len(b)} losses, and one process {len(a)}")
    gap = float(((a - b).abs() / a.abs().clamp(min=1)).max())
    if gap > ROUNDING:
        raise Broken(
            f"{what} has other losses, by {gap:.1e} of them: make the loss a mean over "
            "examples, without statistics over the batch, and draw from batch.noise"
        )
    return f"losses differ by {gap:.0e} at most"


def same_samples(one: Tensor, two: Tensor, data: DataSet) -> str:
    """See that two models draw the same samples but for rounding."""
    if one.shape != two.shape or not _close(one, two, data):
        raise Broken("the run that another process loads draws other samples")
    return f"{len(one)} samples are the same"


def loaded_model(run: Run) -> Model:
    """Load what a run has learnt."""
    return load(run.path, warn=_ignored).model


def _close(one: Tensor, two: Tensor, data: DataSet) -> bool:
    scale = data.domain.values.scale
    a, b = scale(one), scale(two)
    return bool(((a - b).abs() > 1e-4 * (1 + a.abs())).float().mean() < STRAY)


def _norm(gradient: Tensor | None) -> float | None:
    """Return the sum of what a gradient is made of; None where there is none."""
    return None if gradient is None else float(gradient.abs().sum())


def _names(model: Model, parameters: Sequence[torch.nn.Parameter]) -> list[str]:
    names = {id(p): name for name, p in model.named_parameters()}
    return [names.get(id(p), "a parameter that is not the model's") for p in parameters]


def _ignored(_: str) -> None:
    """Say nothing: a checkpoint that is passed over makes another check fail."""


def _same(a: object, b: object) -> bool:
    """Tell whether two nests of values are equal bit for bit, but for clocks."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a if k not in CLOCKS)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.equal(a, b)
    return a == b
