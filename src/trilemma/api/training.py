"""Training: a recipe on data, for a while, in a run directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trilemma.api.data import read
from trilemma.api.notebook import LivePicture
from trilemma.api.run import Run, load
from trilemma.api.turns import alone
from trilemma.api.working import at_work, budget_of, read_data, report_run, watched
from trilemma.core.errors import BadInput
from trilemma.recipes.catalog import recipe_class
from trilemma.recipes.fields import build
from trilemma.recipes.recipe import Recipe
from trilemma.recipes.run_data import location
from trilemma.recipes.runs import begin, free_path, go_on
from trilemma.recipes.starting import Start
from trilemma.training.budget import Budget
from trilemma.training.run import Run as RunDirectory

__all__ = ["resume", "train"]


def train(
    recipe: str | Recipe,
    data: Any = "name:digits",  # noqa: ANN401
    *,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    run: str | Path | None = None,
    size: int | None = None,
    columns: Mapping[str, str] | str | None = None,
    target: str | None = None,
    radius: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    watch: bool = False,
    from_run: str | Path | Run | None = None,
    freeze: str | Sequence[str] = (),
    quiet: bool = False,
    **fields: Any,  # noqa: ANN401
) -> Run:
    """Make a run directory and train a recipe in it: for a minute unless something else is said.

    Arguments:
        recipe: Its name, such as "vae", or a recipe.
        data: A name, a path, a data set, or what `dataset` takes.
        minutes: How long, of training alone.
        steps: How many updates; give this or `minutes`.
        seed: Of weights, batches and noise.
        run: The directory, which must not exist; None takes runs/RECIPE-DATA-001.
        size: Side of a folder's images, pixels; nodes of generated graphs.
        columns: Kinds of a table's columns by name.
        target: The column of a table whose words are classes.
        radius: Takes the neighbourhoods of one network as examples: edges from their centres.
        device: "auto", "cpu" or "cuda".
        precision: "auto", "fp32" or "bf16".
        watch: Whether to measure samples on the way, in a tenth of the time.
        from_run: A run of this recipe, or a folder of exported weights, from whose weights it
            starts where name and shape fit; fields that shape the model are its own where
            none are given.
        freeze: With `from_run`: parts of the model that are not trained, by dotted name.
        quiet: Whether nothing is said but warnings.
        fields: Fields of the recipe, as `trilemma show RECIPE` lists them.

    Returns:
        The run, with what it has learnt.

    Raises:
        BadInput: Something does not fit, or another thread of this process trains.
        Diverged: Training left the finite numbers and did not come back.
        Interrupted: A signal ended it; all is saved, and `resume` goes on.
    """
    start = _start(from_run, freeze)
    chosen = _recipe(recipe, fields, start)
    budget = _budget(steps, minutes)
    default = Budget(steps=chosen.steps) if chosen.steps else Budget(minutes=1.0)
    with alone("training"), at_work(device, seed, quiet=quiet) as session:
        inputs = read(data, session, size=size, columns=columns, target=target, radius=radius)
        directory, events = begin(
            chosen,
            inputs.data,
            source=inputs.source,
            path=Path(run) if run else free_path(chosen.name, inputs.data.name),
            budget=budget or default,
            session=session,
            size=size,
            precision=precision,
            watch=watch,
            start=start,
        )
        session.say(f"{directory.path}: {directory.recipe['precision']['reason']}")
        picture = LivePicture(directory.path / "samples")
        watched(chosen.name, events, session, picture)
        report_run(directory, inputs.data, session)
        return load(directory.path, device=device)


def resume(
    run: str | Path | Run,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    data: Any = None,  # noqa: ANN401
    changed_data: bool = False,
    requested: Mapping[str, Any] | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> Run:
    """Go on with a run exactly where it stopped.

    Arguments:
        run: The run, or its directory.
        minutes: Minutes from now.
        steps: Updates in all; without both it goes on to the planned end.
        data: The same data, or where they lie, if not where they lay.
        changed_data: Whether to go on though the data are not what the run began with.
        requested: What is held against the run's record: "name" of the recipe, "seed".
        device: "auto", "cpu" or "cuda".
        quiet: Whether nothing is said but warnings.

    Raises:
        BadInput: It is no run, or the data are others.
        Diverged: Training left the finite numbers and did not come back.
        Interrupted: A signal ended it; all is saved.
    """
    path = run.path if isinstance(run, Run) else Path(run).expanduser()
    budget = _budget(steps, minutes)
    with alone("training"), at_work(device, quiet=quiet) as session:
        directory = RunDirectory.open(path).resumable()
        record = directory.recipe
        if data is None or isinstance(data, str):
            data_set = read_data(location(directory, data), record["data"]["size"], session)
        else:
            data_set = read(data, session).data
        directory, events = go_on(
            path,
            session=session,
            budget=budget,
            data=data_set,
            requested=requested,
            changed=changed_data,
        )
        watched(record["name"], events, session, LivePicture(path / "samples"))
        report_run(directory, data_set, session)
        return load(path, device=device)


def _start(run: str | Path | Run | None, freeze: str | Sequence[str]) -> Start | None:
    """Return where the weights come from, if anything was said of it.

    Raises:
        BadInput: Something is to be frozen, and nothing gives it weights.
    """
    parts = (freeze,) if isinstance(freeze, str) else tuple(freeze)
    if run is None:
        if parts:
            raise BadInput("freeze keeps weights that from_run gives; give both, or neither.")
        return None
    return Start(run.path if isinstance(run, Run) else Path(run).expanduser(), parts)


def _recipe(recipe: str | Recipe, fields: Mapping[str, Any], start: Start | None) -> Recipe:
    """Return the recipe, some of its fields changed.

    Raises:
        BadInput: There is no such recipe or field, or a value is impossible.
    """
    if isinstance(recipe, str):
        if start is not None:
            return start.recipe(recipe_class(recipe), fields)
        return build(recipe_class(recipe), fields)
    if fields:
        return build(type(recipe), {**vars(recipe), **fields})
    return recipe


def _budget(steps: int | None, minutes: float | None) -> Budget | None:
    """Return what was asked for.

    Raises:
        BadInput: Both were, or one is no number above 0.
    """
    if steps is not None and minutes is not None:
        raise BadInput("steps and minutes were both given; give one of them.")
    for name, value in (("steps", steps), ("minutes", minutes)):
        if value is not None and not 0 < value < float("inf"):
            raise BadInput(f"{name} = {value} was given; give a number above 0.")
    return budget_of(steps, minutes)
