"""Runs of recipes: begin one, resume one, load what one has learnt.

A run directory holds all that is needed: `load(path)` reads `recipe.json`, takes the recipe from
the catalogue, builds its model and fills it with the averaged weights. No class is unpickled and
nothing is imported by a string.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trilemma import __version__
from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.event import Event
from trilemma.core.model import Model
from trilemma.core.noise import mix
from trilemma.core.session import Session
from trilemma.core.words import joined
from trilemma.core.world import World
from trilemma.data import sources
from trilemma.data.dataset import DataSet
from trilemma.recipes.catalog import recipe_class, recorded_class
from trilemma.recipes.fields import build
from trilemma.recipes.preview import Previews
from trilemma.recipes.recipe import Recipe
from trilemma.recipes.run_data import location, plugins_of, record_of, unchanged, with_changes
from trilemma.recipes.starting import Start, Started, freeze, stages_with
from trilemma.training.budget import Budget
from trilemma.training.environment import environment
from trilemma.training.fit import fit
from trilemma.training.precision import Precision, choose
from trilemma.training.run import Run, refuse_difference, unused
from trilemma.training.trainer import Settings

__all__ = [
    "Loaded",
    "begin",
    "folder_name",
    "free_path",
    "go_on",
    "load",
    "untrained",
]

FORMAT = 2
"""Of run directories, kept in recipe.json. Those of format 1, which have none there, name their
weights otherwise and are refused; from 2 on, older formats are read."""
RECORD = ("fields", "seed", "data.source", "data.size", "data.fingerprint", "data.domain")
"""What a run's record must hold for its model to be built, beside the recipe's name."""


def untrained(recipe: Recipe, domain: Domain, seed: int) -> Model:
    """Build a recipe's model with the weights that a seed gives it."""
    recipe.check(domain)
    with torch.random.fork_rng():
        torch.manual_seed(mix(seed, "weights"))
        return recipe.model(domain)


def folder_name(text: str) -> str:
    """Make a folder's name of a text: what is no letter, digit, - or _ becomes -."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in text).rstrip("-") or "-"


def free_path(recipe: str, data: str, root: Path = Path("runs")) -> Path:
    """Return runs/RECIPE-DATA-001, or the first number that is free."""
    return unused(root, folder_name(f"{recipe}-{Path(data).name}"))


def begin(
    recipe: Recipe,
    data: DataSet,
    *,
    source: str,
    path: Path,
    budget: Budget,
    session: Session,
    size: int | None = None,
    precision: str = "auto",
    watch: bool = False,
    start: Start | None = None,
) -> tuple[Run, Iterator[Event]]:
    """Make a run directory, and return it with the training to be iterated over.

    Everything that can be refused is refused before the directory is made. A batch that is larger
    than the training split is clamped to it, recorded so, and said by an event 'warning'. What
    comes from the weights of another run is said and recorded.
    """
    seed, world = session.seed, session.world
    data = recipe.data_for(data)
    recipe, note = recipe.fitted(len(data.train), data.domain, processes=world.size)
    model = untrained(recipe, data.domain, seed)
    stages = recipe.stages(model, data, seed)
    world.shard(stages[0].stream().batch(0), recipe.accumulate)
    chosen = choose(precision, world.device, prefer_bf16=recipe.bf16)
    record = {
        "name": recipe.name,
        "fields": dataclasses.asdict(recipe),
        "version": __version__,
        "format": FORMAT,
        "seed": seed,
        "data": record_of(data, source, size),
        "plugins": plugins_of(recipe, source),
        "budget": dataclasses.asdict(budget),
        "precision": dataclasses.asdict(chosen),
        "device": world.device.type,
        "processes": world.size,
        "watch": watch,
    }
    if start is not None:
        started = _start(start, recipe, model, data.domain, session)
        record["start"] = started.record
        stages_with(stages, model, started.record)
        for sentence in started.sentences:
            session.say(sentence)
    run = _create_run(path, record, world)
    notes = [*([note] if note else []), *recipe.notes()]
    return run, _train(run, recipe, model, data, budget, chosen, session, notes, resume=False)


def _create_run(path: Path, record: Mapping[str, Any], world: World) -> Run:
    """Let the main process make the directory, and all of them know how that went."""
    error = None
    world.barrier()
    if world.is_main:
        try:
            Run.create(path, record, environment(world.device))
        except BadInput as problem:
            error = problem
    (failed,) = world.agree(float(error is not None))
    if error is not None:
        raise error
    if failed:
        raise BadInput(f"the main process could not make {path}.")
    return Run.open(path)


def go_on(
    path: Path,
    *,
    session: Session,
    budget: Budget | None = None,
    source: str | None = None,
    data: DataSet | None = None,
    requested: Mapping[str, Any] | None = None,
    changed: bool = False,
) -> tuple[Run, Iterator[Event]]:
    """Resume a run where its last good checkpoint stands.

    Arguments:
        path: The run directory.
        session: The processes that share the work, and who may end it; the seed is the run's.
        budget: Steps in all, or minutes from now; None goes on to the planned end.
        source: Where the same data now lie.
        data: The same data, if they are in memory already.
        requested: What was requested besides ('name', 'seed'), to be compared with the record.
        changed: Whether it goes on though the data have changed, which an event 'warning' says.

    Raises:
        BadInput: It is no run, or recipe, data or seed are others than the run's.
    """
    run = Run.open(path).resumable()
    record = run.recipe
    refuse_difference(record, {k: v for k, v in (requested or {}).items() if v is not None})
    _class_of(run)
    _refuse_partial(run, *RECORD, "precision", "budget", "watch")
    recipe = _recipe(record, {})
    data, notes = data or _load(run, source), []
    if changed:
        data, change = with_changes(recipe, run, data)
        notes += [change] if change else []
    else:
        data = unchanged(recipe, run, data)
    if budget is None and run.is_untouched:
        budget = Budget(**record["budget"])
    model = untrained(recipe, data.domain, record["seed"])
    if "start" in record:
        _start_again(run, recipe, model, data.domain, session)
    chosen = Precision(**record["precision"])
    session = session.but(seed=record["seed"])
    return run, _train(run, recipe, model, data, budget, chosen, session, notes, resume=True)


def _start(
    start: Start, recipe: Recipe, model: Model, domain: Domain, session: Session
) -> Started:
    """Give a model the weights of another run."""
    run = Run.open(start.path)
    _class_of(run)
    _refuse_partial(run, *RECORD)
    checkpoint = run.checkpoint(session.warn, with_state=False)
    return start.give(run, checkpoint, recipe, model, domain)


def _start_again(run: Run, recipe: Recipe, model: Model, domain: Domain, session: Session) -> None:
    """Freeze what a run froze; of a run that has saved nothing, take its first weights again.

    Raises:
        BadInput: These are wanted, and are no longer what they were.
    """
    record = run.recipe["start"]
    if not run.is_untouched:
        freeze(model, record["freeze"])
        return
    start = Start(Path(record["run"]), tuple(record["freeze"]))
    if _start(start, recipe, model, domain, session).record["sha256"] != record["sha256"]:
        raise BadInput(
            f"{run.path} has saved nothing yet, and the weights of {start.path} that it started "
            "from have changed since; begin a new run."
        )


def _recipe(record: Mapping[str, Any], changed: Mapping[str, Any]) -> Recipe:
    """Build a run's recipe, some of its fields changed."""
    return build(recipe_class(record["name"]), {**record["fields"], **changed})


def _class_of(run: Run) -> type[Recipe]:
    """Return the class of a run's recipe.

    Raises:
        BadInput: The run has a format that is not read here, or a recipe that is not known.
    """
    path, record = run.path / "recipe.json", run.recipe
    written = record.get("format", 1)
    if written != FORMAT:
        change = (
            "names its weights otherwise; train anew, or use the trilemma that wrote it"
            if written == 1
            else "is newer than this trilemma; update it"
        )
        raise BadInput(
            f"{path} has format {written}, which {change} (version {record.get('version', '?')} "
            f"wrote it, and format {FORMAT} is read here)."
        )
    return recorded_class(run.path, record)


def _refuse_partial(run: Run, *names: str) -> None:
    """Refuse a record that lacks what is needed of it.

    Raises:
        BadInput: It was cut short, or written by another version; says what is missing.
    """
    record, missing = run.recipe, []
    for name in names:
        part, _, key = name.partition(".")
        value = record.get(part)
        if part not in record or (key and (not isinstance(value, dict) or key not in value)):
            missing.append(name)
    if missing:
        raise BadInput(
            f"{run.path / 'recipe.json'} lacks {joined(missing)}; it was changed, or written by "
            "another version of trilemma; train anew."
        )


def _load(run: Run, source: str | None) -> DataSet:
    """Load a run's data."""
    return sources.load(location(run, source), size=run.recipe["data"]["size"])


def _train(
    run: Run,
    recipe: Recipe,
    model: Model,
    data: DataSet,
    budget: Budget | None,
    precision: Precision,
    session: Session,
    notes: Sequence[str],
    *,
    resume: bool,
) -> Iterator[Event]:
    seed = session.seed
    settings = dataclasses.replace(Settings.of(recipe), decay=recipe.decay_for(data))
    previews = Previews(run, model, data, seed, watch=run.recipe["watch"])
    stages = recipe.stages(model, data, seed)
    if "start" in run.recipe:
        stages = stages_with(stages, model, run.recipe["start"])
    return fit(
        run,
        model,
        stages,
        settings,
        budget,
        session=session,
        precision=precision,
        preview=previews if session.is_pictured else None,
        resume=resume,
        rows=len(data.train),
        notes=notes,
    )


@dataclass(frozen=True)
class Loaded:
    """What a run has learnt, ready to be drawn from and measured."""

    run: Run
    recipe: Recipe
    domain: Domain
    model: Model
    step: int

    def data(self, source: str | None = None) -> DataSet:
        """Load the data that the run was trained on, and refuse others."""
        return self.same(_load(self.run, source))

    def same(self, data: DataSet) -> DataSet:
        """Return the data, and refuse others than the run's."""
        return unchanged(self.recipe, self.run, data)

    def with_changes(self, data: DataSet) -> tuple[DataSet, str]:
        """Return the data though they have changed since, and what has; nothing where none has."""
        return with_changes(self.recipe, self.run, data)


def load(
    path: Path,
    *,
    warn: Callable[[str], None],
    device: torch.device | str = "cpu",
    at_sampling: Mapping[str, Any] | None = None,
) -> Loaded:
    """Build a run's model with its averaged weights.

    Arguments:
        path: The run directory.
        warn: Called when a damaged checkpoint is passed over.
        device: Where the model is wanted.
        at_sampling: Fields that may be changed after training, such as a sampler's steps.

    Raises:
        BadInput: It is no run, no checkpoint is whole, or the recipe has no such field.
    """
    run = Run.open(path)
    kind = _class_of(run)
    _refuse_partial(run, *RECORD)
    changed = {name: v for name, v in (at_sampling or {}).items() if v is not None}
    for name in changed:
        if name not in kind.at_sampling:
            can = ", ".join(kind.at_sampling) or "nothing: it samples in one way"
            raise BadInput(
                f"recipe '{kind.name}' has no '{name}' to choose at sampling; it has {can}."
            )
    recipe = _recipe(run.recipe, changed)
    domain = Domain.from_json(run.recipe["data"]["domain"])
    checkpoint = run.checkpoint(warn, with_state=False)
    model = untrained(recipe, domain, run.recipe["seed"])
    checkpoint.fill(model)
    return Loaded(run, recipe, domain, model.to(device).eval(), checkpoint.step)
