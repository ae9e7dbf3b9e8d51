"""What a page shows of a run or of a comparison, gathered from its directory.

A run's model is loaded once; which pictures are drawn of it the views say, see `report.view`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from trilemma.comparison.row import Row
from trilemma.comparison.table import Table
from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput, attempted
from trilemma.core.event import Event
from trilemma.core.files import atomic_write
from trilemma.core.model import Model
from trilemma.core.words import written
from trilemma.data.dataset import DataSet
from trilemma.metrics.evaluation import Evaluation
from trilemma.metrics.registry import quantity
from trilemma.pictures import figures
from trilemma.recipes.catalog import recorded_class
from trilemma.recipes.evaluate import evaluation_of
from trilemma.recipes.runs import load
from trilemma.report import viewer
from trilemma.report.html import failed_page, run_page
from trilemma.report.model_view import Subject
from trilemma.report.page import Comparison, Entry, Picture, Portrait, exhibit
from trilemma.report.registry import pictures_of
from trilemma.training.run import Run

__all__ = ["comparison", "entry", "run_report"]

MAX_SAMPLES = 36
"""Samples of another kind than the page's data that are drawn."""
REAL, REAL_POINTS = 64, 2000
"""Real examples beside the samples, and as many of points."""


def entry(folder: Path, row: Row, data: DataSet | None, model: Model | None = None) -> Entry:
    """Gather a run for a page: its figures, samples, neighbours, curves, and what it is inside.

    Arguments:
        folder: The run's.
        row: What was measured of it.
        data: Its data set; None where it is gone, and nothing is drawn that needs it.
        model: The run's, on the CPU, where it is loaded already.
    """
    evaluation_file = folder / "evaluation.safetensors"
    tensors = load_file(evaluation_file) if evaluation_file.exists() else {}
    samples, nearest = tensors.get("samples"), tensors.get("nearest")
    pairs = None
    if samples is not None and nearest is not None:
        pairs = (samples[: len(nearest)], nearest)
    if not (folder / "recipe.json").exists():  # it could not be trained, or is no run at all
        exhibits = [] if data is None else _exhibits(row, data, tensors)
        return Entry(row, samples=samples, neighbours=pairs, exhibits=exhibits)
    run = Run.open(folder)
    events, settings = run.events(), _settings(run)
    if data is None:
        return Entry(row, samples=samples, neighbours=pairs, events=events, settings=settings)
    original = data
    data = original.viewed((run.recipe["data"]["domain"]["kind"],))
    scene = None
    # a page shows examples of one kind as tensors
    if data is not original and samples is not None:
        if data.domain.kind == "conformer":
            scene = viewer.scene(samples, data.domain.elements)
        samples = figures.show(samples[:MAX_SAMPLES], data.domain)
        pairs = None
    return Entry(
        row,
        samples=samples,
        neighbours=pairs,
        events=events,
        pictures=pictures_of(_subject(run, data, events, tensors.get("samples"), model)),
        exhibits=_exhibits(row, data, tensors),
        settings=settings,
        scene=scene,
    )


def _settings(run: Run) -> dict[str, str]:
    """Return a run's recipe, its fields and its precision, as they are shown."""
    recipe = run.recipe
    return written({"name": recipe["name"], **recipe["fields"], **recipe["precision"]})


def _subject(
    run: Run,
    data: DataSet,
    events: Sequence[Event],
    samples: Tensor | None,
    model: Model | None,
) -> Subject[Model | None]:
    """Return what is looked into of a run; without its model where that cannot be loaded."""
    if model is None:
        with contextlib.suppress(BadInput):
            model = load(run.path, warn=lambda _: None).model
    family = recorded_class(run.path, run.recipe).family
    return Subject(model, data, family, events, samples, run.path)


def _exhibits(row: Row, data: DataSet, tensors: Mapping[str, Tensor]) -> list[Picture]:
    """Draw the examples that scores are owed to most, with the training examples beside them."""
    pictures = []
    for name, score in row.of.metrics.items():
        samples, training_examples = tensors.get(f"{name}.samples"), tensors.get(f"{name}.beside")
        if score.exhibit is None or samples is None or not len(samples):
            continue
        draw = partial(_exhibit, name, score.exhibit.sentence, samples, training_examples, data)
        pictures.append(attempted(draw, partial(Picture.missing, quantity(name).label)))
    return pictures


def _exhibit(
    name: str, sentence: str, samples: Tensor, training_examples: Tensor | None, data: DataSet
) -> Picture:
    image = exhibit(samples, training_examples, data)
    return Picture(quantity(name).label, image, sentence, wide=True)


def comparison(
    table: Table, entries: Sequence[Entry], data: DataSet | None, folders: Sequence[Path]
) -> Comparison:
    """Gather what was measured on one test set for its page.

    Arguments:
        table: What was measured.
        entries: What is shown of each row.
        data: The data set; None where it is gone.
        folders: The run directories.
    """
    environments = _records(folders, "environment.json")
    heading = table.heading
    domain = None if data is None else data.domain
    if data is None and (records := _records(folders, "recipe.json")):
        domain = Domain.from_json(records[0]["data"]["domain"])
    return Comparison(
        data=heading.data,
        entries=entries,
        minutes=heading.minutes,
        seed=None if heading.of_existing else heading.seeds or heading.seed,
        real=None if data is None else _real(data),
        domain=domain,
        environment=written(environments[0]) if environments else {},
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        notes=() if data is None else data.notes,
        settings=written(dict(heading.settings)),
        differences=heading.differences,
    )


def _records(folders: Sequence[Path], name: str) -> list[dict[str, Any]]:
    """Return what the file of a name holds in those folders where it can be read."""
    records = []
    for folder in folders:
        with contextlib.suppress(OSError, ValueError):
            records.append(json.loads((folder / name).read_text()))
    return records


def run_report(run: Run, data: DataSet, model: Model | None = None) -> Path:
    """Write a run's report.html: its evaluation if there is one, its curves, its pictures.

    What fails costs its own place there, and never the run: at worst the page says why it is none.

    Arguments:
        run: The run.
        data: Its data set.
        model: The run's, on the CPU, where it is loaded already.

    Returns:
        The page.
    """
    title = f"{run.recipe['name']} on {run.recipe['data']['name']}"
    page = attempted(partial(_run_page, run, data, model), partial(failed_page, title))
    target = run.path / "report.html"
    with atomic_write(target) as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    return target


def _run_page(run: Run, data: DataSet, model: Model | None) -> str:
    recipe = run.recipe
    data = data.viewed((recipe["data"]["domain"]["kind"],))
    empty_evaluation = Evaluation(
        recipe=recipe["name"], data=recipe["data"]["name"], seed=recipe["seed"]
    )
    row = Row(of=evaluation_of(run.path) or empty_evaluation)
    report_entry = entry(run.path, row, data, model)
    previews = sorted((run.path / "samples").glob("step_*.png"))
    if report_entry.samples is None and previews:
        with Image.open(previews[-1]) as last:
            report_entry = dataclasses.replace(report_entry, samples=last.copy())
    return run_page(
        Portrait(
            report_entry,
            real=_real(data),
            domain=data.domain,
            environment=written(run.environment),
            date=datetime.datetime.now(datetime.UTC).date().isoformat(),
            history=[
                Picture(f"step {int(p.stem.split('_')[1]):,}", p.read_bytes()) for p in previews
            ],
            notes=data.notes,
        )
    )


def _real(data: DataSet) -> Tensor:
    """Return the real examples that stand beside samples."""
    return data.test.x[: REAL_POINTS if data.domain.kind == "points" else REAL]
