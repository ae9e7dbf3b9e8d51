"""What a page shows of a run: gathered from its directory, and looked at through its model."""

from __future__ import annotations

import contextlib
import datetime
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from trilemma.comparison.row import Row
from trilemma.comparison.table import Table
from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.event import Event
from trilemma.core.files import atomic_write
from trilemma.core.model import (
    Coded,
    Constrained,
    Density,
    Editing,
    Energetic,
    Gradual,
    Improving,
    Invertible,
    Model,
    Reconstructing,
    Seeking,
)
from trilemma.core.noise import Noise
from trilemma.core.sampling import draw
from trilemma.core.words import written
from trilemma.data.chemistry import parsed, to_smiles
from trilemma.data.dataset import DataSet
from trilemma.data.properties import PROPERTIES, expression
from trilemma.maths.latent_space import codes, discontinuities, interpolate
from trilemma.maths.search import best_so_far
from trilemma.metrics.evaluation import Evaluation
from trilemma.metrics.extractors import SHIPPED, classifier
from trilemma.metrics.registry import quantity
from trilemma.pictures import charts, figures, graphs, molecules, point_clouds
from trilemma.pictures.histograms import histograms, numbers
from trilemma.recipes.catalog import recipe_class
from trilemma.recipes.evaluate import evaluation_of
from trilemma.recipes.runs import Loaded, load
from trilemma.report import training_curves, viewer
from trilemma.report.diffusion_views import views
from trilemma.report.html import run_page
from trilemma.report.model_view import Estimating, Subject
from trilemma.report.page import Comparison, Entry, Picture, Portrait, exhibit
from trilemma.training.run import Run

__all__ = ["comparison", "entry", "run_report"]

LOOKED_AT = 500
"""Test examples whose codes are looked at."""
NEIGHBOURS = 32
"""Nearest codes of the same class that are paired with each."""
COLUMNS, ROWS = 24, 40
"""Previews and classes in a picture of the classes at most."""
BEST = 24
"""Molecules that a search has found, which are drawn."""
PAIRED = 12
"""Given molecules and what they have become, which are drawn."""
GRID = 100
"""Points along each side of the frame on which a density of the plane is drawn."""
FILMED = 80
"""Frames of a film at most."""
GROWN, GROWING = 9, 40
"""Graphs that are shown as they grow, and frames of that."""
IMPROVED = 9
"""Test graphs that are shown with what a model added."""
MAX_SAMPLES = 36
"""Samples of another kind than the page's data that are drawn."""
MEASURED = 64
"""Real graphs and samples behind a histogram."""


def entry(folder: Path, row: Row, data: DataSet) -> Entry:
    """Gather a run for a page: its figures, samples, neighbours, curves, and what it is inside."""
    evaluation_file = folder / "evaluation.safetensors"
    tensors = load_file(evaluation_file) if evaluation_file.exists() else {}
    samples, nearest = tensors.get("samples"), tensors.get("nearest")
    pairs = None
    if samples is not None and nearest is not None:
        pairs = (samples[: len(nearest)], nearest)
    if not (folder / "recipe.json").exists():  # it could not be trained, or is no run at all
        exhibits = _exhibits(row, data, tensors)
        return Entry(row, samples=samples, neighbours=pairs, exhibits=exhibits)
    run = Run.open(folder)
    events, original = run.events(), data
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
        pictures=[
            *_alike(run, data, tensors.get("samples")),
            *_inside(run, data),
            *_training_pictures(run, events, data),
        ],
        exhibits=_exhibits(row, data, tensors),
        settings=written(
            {"name": run.recipe["name"], **run.recipe["fields"], **run.recipe["precision"]}
        ),
        scene=scene,
    )


def _exhibits(row: Row, data: DataSet, tensors: Mapping[str, Tensor]) -> list[Picture]:
    """Draw the examples that scores are owed to most, with the training examples beside them."""
    pictures = []
    for name, score in row.of.metrics.items():
        samples, training_examples = tensors.get(f"{name}.samples"), tensors.get(f"{name}.beside")
        if score.exhibit is None or samples is None or not len(samples):
            continue
        image = exhibit(samples, training_examples, data)
        pictures.append(Picture(quantity(name).label, image, score.exhibit.sentence, wide=True))
    return pictures


def comparison(table: Table, entries: Sequence[Entry], data: DataSet, folder: Path) -> Comparison:
    """Gather a comparison for its page."""
    environment: dict[str, Any] = {}
    for environment_file in sorted(folder.glob("[!.]*/environment.json")):
        with contextlib.suppress(OSError, ValueError):
            environment = json.loads(environment_file.read_text())
            break
    return Comparison(
        data=table.plan.data,
        entries=entries,
        minutes=table.plan.minutes,
        seed=table.plan.seeds or table.plan.seed,
        real=data.test.x[:2000] if data.domain.kind == "points" else data.test.x[:64],
        domain=data.domain,
        environment=written(environment),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        notes=data.notes,
        settings=written(dict(table.plan.settings)),
    )


def run_report(run: Run, data: DataSet) -> Path:
    """Write a run's report.html: its evaluation if there is one, its curves, its pictures."""
    recipe = run.recipe
    data = data.viewed((recipe["data"]["domain"]["kind"],))
    empty_evaluation = Evaluation(
        recipe=recipe["name"], data=recipe["data"]["name"], seed=recipe["seed"]
    )
    report_entry = entry(run.path, Row(of=evaluation_of(run.path) or empty_evaluation), data)
    previews = sorted((run.path / "samples").glob("step_*.png"))
    if report_entry.samples is None and previews:
        with Image.open(previews[-1]) as last:
            report_entry = Entry(
                report_entry.row,
                last.copy(),
                None,
                report_entry.events,
                report_entry.pictures,
                report_entry.settings,
            )
    page = run_page(
        Portrait(
            report_entry,
            real=data.test.x[:2000] if data.domain.kind == "points" else data.test.x[:64],
            domain=data.domain,
            environment=written(run.environment),
            date=datetime.datetime.now(datetime.UTC).date().isoformat(),
            history=[
                Picture(f"step {int(p.stem.split('_')[1]):,}", p.read_bytes()) for p in previews
            ],
            notes=data.notes,
        )
    )
    target = run.path / "report.html"
    with atomic_write(target) as partial:
        partial.write_text(page, encoding="utf-8")
    return target


def _alike(run: Run, data: DataSet, samples: Tensor | None) -> list[Picture]:
    """Draw how samples of graphs, or of molecules, are beside how real ones are."""
    if data.domain.kind == "molecule" and samples is not None:
        return _described(run, data, samples)
    if data.domain.kind != "graph" or samples is None:
        return []
    family, real = recipe_class(run.recipe["name"]).family, data.test.x[:MEASURED]
    chart = histograms(real, samples[:MEASURED], family)
    caption = (
        f"{len(real)} test graphs (grey) and {len(samples[:MEASURED])} samples (line). Nodes "
        "count so that every graph counts once; the last bar holds what lies beyond."
    )
    return [Picture("degrees, clustering, sizes and pieces", chart, caption)]


def _described(run: Run, data: DataSet, samples: Tensor) -> list[Picture]:
    """Draw properties of sampled molecules beside those of real ones."""

    def values(x: Tensor) -> dict[str, Tensor]:
        mols = [parsed(s) for s in to_smiles(x, data.domain.elements) if s]
        properties = {"heavy atoms": torch.tensor([float(mol.GetNumAtoms()) for mol in mols])}
        for name in ("logp", "qed", "weight"):
            properties[name] = torch.tensor(PROPERTIES[name].of(mols))
        return {name: value.double() for name, value in properties.items()}

    real, generated = data.test.x[:MEASURED], samples[:MEASURED]
    if not any(to_smiles(generated, data.domain.elements)):
        return []
    chart = numbers(values(real), values(generated), recipe_class(run.recipe["name"]).family)
    caption = f"{len(real)} test molecules (grey) and {len(generated)} samples (line)."
    return [Picture("sizes and properties", chart, caption)]


def _changed(model: Constrained, domain: Domain) -> list[Picture]:
    """Draw given molecules and what they have become, those that gained most first."""
    originals, improved = model.originals(), model.improved()
    if not len(improved):
        return []
    reward = expression(model.seeks)
    before, after = (
        torch.tensor(reward([parsed(s) for s in to_smiles(x, domain.elements)]))
        for x in (originals, improved)
    )
    order = (before - after).argsort(stable=True)[:PAIRED]
    picture = molecules.pairs(improved[order], originals[order], domain.elements)
    gains = (after - before).tolist()
    caption = (
        f"Above what became of {len(order)} given molecules, below these themselves; for all "
        f"{len(gains)} of them {model.seeks} rose by {min(gains):.2f} to {max(gains):.2f}."
    )
    return [Picture("given molecules, improved", picture, caption, wide=True)]


def _sought(model: Seeking, domain: Domain) -> list[Picture]:
    """Draw the best molecules that a search has found, and how fast it found them."""
    scores, best = model.call_scores(), model.best_found()
    if not len(scores):
        return []
    top_scores = scores.double().sort(descending=True).values[: len(best)].tolist()
    labels = [f"{value:.3f}" for value in top_scores[:BEST]]
    picture = molecules.sheet(best[:BEST], domain.elements, labels)
    calls, curves = best_so_far(scores, 1)[0], {}
    for k in (1, 10, 100):
        curves[f"top {k}"] = best_so_far(scores, k)[1]
    chart = charts.lines(calls, curves, "calls of the reward", model.seeks)
    caption = f"Of {len(scores):,} different molecules that were asked, by {model.seeks}."
    return [
        Picture("the best that were found", picture, caption, wide=True),
        Picture("the best so far", chart, "Means of the best so far, over calls."),
    ]


def _inside(run: Run, data: DataSet) -> list[Picture]:
    """Look into a trained model, by what it can do."""
    try:
        loaded = load(run.path, warn=lambda _: None)
    except BadInput:
        return []
    pictures: list[Picture] = []
    with torch.no_grad():
        if data.domain.kind == "points" and data.domain.dimensions == 2:
            pictures += _plane(loaded, data)
        if isinstance(loaded.model, Coded) and _has_map(loaded.model):
            pictures += _codes(loaded, data)
        if isinstance(loaded.model, Gradual) and not isinstance(loaded.model, Estimating):
            pictures += WAYS[data.domain.kind](loaded) if data.domain.kind in WAYS else []
        if isinstance(loaded.model, Seeking) and loaded.model.seeks:
            pictures += _sought(loaded.model, loaded.domain)
        if isinstance(loaded.model, Constrained) and loaded.model.constrained:
            pictures += _changed(loaded.model, loaded.domain)
        if isinstance(loaded.model, Improving) and loaded.model.improves:
            pictures += _improved(loaded.model, data)
        for part in loaded.model.children():
            if isinstance(part, Invertible):
                pictures += _round_trip(loaded, part, data)
        pictures += views(_subject(run, loaded, data))
    return pictures


def _has_map(model: Model) -> bool:
    """Tell whether codes mean something: they do not where they are noise, a diffusion's ends."""
    return isinstance(model, Reconstructing) or not isinstance(model, Editing)


def _subject(run: Run, loaded: Loaded, data: DataSet) -> Subject:
    """Return what is drawn of a run by its abilities: its model, also with other steps."""
    kind = recipe_class(run.recipe["name"])
    has_steps = "sample_steps" in kind.at_sampling and isinstance(loaded.model, Gradual)

    def at_steps(steps: int) -> Model:
        return load(run.path, warn=lambda _: None, at_sampling={"sample_steps": steps}).model

    return Subject(loaded.model, data, kind.family, at_steps if has_steps else None)


def _training_pictures(run: Run, events: Sequence[Event], data: DataSet) -> list[Picture]:
    """Draw what the events of training say: a game's health and its film, classes of samples."""
    pictures = [*_game(run, events, data)]
    family = recipe_class(run.recipe["name"]).family
    health_chart = training_curves.health(events, family)
    if health_chart:
        alerts = [e for e in events if e.kind == "alert"]
        messages = [f"Step {e.step:,}: {e.values['message']}" for e in alerts[:4]]
        caption = (
            " ".join(messages) if messages else "No alert: neither collapse nor a dead critic."
        )
        pictures.append(Picture("health of the game", health_chart, caption))
    charts_of = {
        "overfitting of the critic": training_curves.critic(events),
        "fd as training goes on": training_curves.quality(events, family),
    }
    pictures += [Picture(title, *chart) for title, chart in charts_of.items() if chart[0]]
    return [*pictures, *_valid_shares(events, data), *_counts(events, data, family)]


def _valid_shares(events: Sequence[Event], data: DataSet) -> list[Picture]:
    """Draw how many of the previews' graphs kept the rule of the data, as training went on."""
    previews = [e for e in events if e.kind == "preview" and "valid" in e.values]
    if len(previews) < 2 or data.rule is None:
        return []
    shares = {"valid": [e.values["valid"] for e in previews]}
    chart = charts.lines([e.step for e in previews], shares, "step", "share of the samples")
    return [Picture("samples that keep the rule", chart, f"A graph {data.rule.words}.")]


def _counts(events: Sequence[Event], data: DataSet, family: str) -> list[Picture]:
    """Draw which classes the previews' samples had, or how many where there are too many."""
    previews = [e for e in events if e.kind == "preview" and "classes" in e.values]
    previews = [previews[i] for i in _spaced(len(previews), COLUMNS)]
    if len(previews) < 2:
        return []
    steps, last = [e.step for e in previews], previews[-1].values
    what = "Centres that have some of" if data.centres else "Classes that a classifier sees in"
    caption = (
        f"{what} {last['samples']:,} samples of the averaged weights; {last['classes']:,} at the "
        "end."
    )
    num_classes = len(last.get("modes", ()))
    if 1 < num_classes <= ROWS and all(
        len(e.values.get("modes", ())) == num_classes for e in previews
    ):
        names, shares = data.domain.classes, data.domain.frequencies
        if data.centres is not None:
            names, shares = (
                [str(k + 1) for k in range(num_classes)],
                [1 / num_classes] * num_classes,
            )
        chart = training_curves.heat(
            steps, [e.values["modes"] for e in previews], names, shares, family
        )
        caption += " A dot: none."
    else:
        class_counts = {"classes": [e.values["classes"] for e in previews]}
        chart = charts.lines(
            steps, class_counts, "step", f"classes seen in {last['samples']} samples"
        )
    return [Picture("classes of the samples", chart, caption)]


def _spaced(count: int, most: int) -> list[int]:
    """Choose at most so many of the first whole numbers, evenly, with both ends.

    >>> _spaced(9, 3), _spaced(2, 3)
    ([0, 4, 8], [0, 1])
    """
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def _game(run: Run, events: Sequence[Event], data: DataSet) -> list[Picture]:
    """Make the film of a game on the plane, and keep it as game.gif."""
    last_step = max((e.step for e in events), default=0)
    paths = [
        (int(path.stem.removeprefix("game_")), path)
        for path in sorted((run.path / "samples").glob("game_*.safetensors"))
    ]
    paths = [(step, path) for step, path in paths if step <= last_step]
    if len(paths) < 2:
        return []
    paths = [paths[i] for i in _spaced(len(paths), FILMED)]
    target = run.path / "game.gif"
    newest = max(path.stat().st_mtime for _, path in paths)
    if not target.exists() or target.stat().st_mtime < newest:
        frames = [load_file(path) for _, path in paths]
        with atomic_write(target) as partial:
            partial.write_bytes(figures.film([step for step, _ in paths], frames, data.train.x))
    caption = (
        "Samples (orange) over data (grey). Green is where the critic's score is higher, purple "
        "where it is lower, on each frame's own scale; arrows: where it pulls the samples. The "
        "file is game.gif."
    )
    return [Picture("the game", target.read_bytes(), caption)]


def _plane(loaded: Loaded, data: DataSet) -> list[Picture]:
    """Draw the model's density beside the true one, and its samples beside the data."""
    x = data.test.x
    low, high = x.min(0).values, x.max(0).values
    centre, half_width = (low + high) / 2, float((high - low).max()) * 0.6
    axis = torch.linspace(-half_width, half_width, GRID)
    grid_points = torch.cartesian_prod(axis, axis).flip(1) + centre
    cell_area = (2 * half_width / (GRID - 1)) ** 2
    panels, notes = {}, []
    if data.truth is not None:
        panels["true density"] = data.truth(grid_points).exp().view(GRID, GRID)
    log_p = _log_density(loaded.model, grid_points)
    if log_p is not None:
        if not isinstance(loaded.model, Density):
            log_p = log_p - (log_p.logsumexp(0) + math.log(cell_area))
            notes.append("normalised on the grid")
        panels["model's density"] = log_p.exp().view(GRID, GRID)
        notes.append(
            f"the model's sums to {float(log_p.exp().sum() * cell_area):.3f} over the frame"
        )
    scatters = {"data": x[:3000], "samples": draw(loaded.model, 3000, seed=0)}
    frame = [float(c + s * half_width) for c in centre for s in (-1, 1)]
    picture = figures.densities(panels, scatters, frame)
    caption = "; ".join(["All in one frame, and the densities on one scale", *notes]) + "."
    return [Picture("density and samples", picture, caption)]


def _log_density(model: Model, x: Tensor) -> Tensor | None:
    """Return ln p(x) of points, or -E(x), or nothing."""
    parts = x.split(4096)
    if isinstance(model, Density):
        return torch.cat([model.log_prob(part) for part in parts]).double()
    if isinstance(model, Energetic):
        noise = [Noise.of(i, len(part)) for i, part in enumerate(parts)]
        pairs = zip(parts, noise, strict=True)
        return torch.cat([-model.energy(part, noise=n) for part, n in pairs]).double()
    return None


def _codes(loaded: Loaded, data: DataSet) -> list[Picture]:
    """Draw the map of the codes, interpolate between two classes, and count discontinuities."""
    model, labels = loaded.model, data.test.labels
    assert isinstance(model, Coded)
    x = data.test.x[:LOOKED_AT]
    z = codes(model.encode, x)
    projection, description = z, "The code's two numbers"
    if z.shape[1] > 2:
        centred = z - z.mean(0)
        projection = centred @ torch.linalg.svd(centred, full_matrices=False).Vh[:2].T
        description = f"The two principal directions of {z.shape[1]} numbers"
    labels = labels[:LOOKED_AT] if labels is not None else None
    caption = f"{description}, of {len(z):,} test examples."
    if labels is not None and data.extractor in SHIPPED and not isinstance(model, Reconstructing):
        classify = classifier(data.extractor, data.domain).classify
        breaks = discontinuities(z, labels, model.decode, classify, neighbours=NEIGHBOURS)
        caption += (
            f" Between neighbouring codes of one class, {breaks.count:,} of "
            f"{breaks.pairs:,} midpoints ({breaks.fraction:.1%}) "
            "decode to another class."
        )
    classes = loaded.domain.classes
    pictures = [
        Picture("map of the codes", charts.latent_map(projection, labels, classes), caption)
    ]
    if data.domain.kind == "image":
        start, stop = _ends(labels, len(z))
        interpolation = model.decode(interpolate(z[start], z[stop], 12))
        levels = figures.levels_of(data.domain)
        pictures.append(
            Picture(
                "a walk between two codes",
                figures.sequences(interpolation, levels),
                "The straight way between the codes of two test examples, decoded.",
            )
        )
    return pictures


def _ends(labels: Tensor | None, count: int) -> tuple[int, int]:
    """Choose two examples, of different classes where there are any."""
    if labels is None:
        return 0, count - 1
    other_class_rows = (labels != labels[0]).nonzero()
    return 0, int(other_class_rows[0]) if len(other_class_rows) else count - 1


def _sampling_states(loaded: Loaded) -> list[Picture]:
    model = loaded.model
    assert isinstance(model, Gradual)
    frames = model.path(1, frames=12, noise=Noise.for_samples(0, 0, 1))
    levels = figures.levels_of(loaded.domain)
    strip = figures.sequences(torch.cat(list(frames)).cpu(), levels)
    return [Picture("from noise to a sample", strip, "States on the way, one sample.")]


def _growth(loaded: Loaded) -> list[Picture]:
    """Film graphs as they grow."""
    model = loaded.model
    assert isinstance(model, Gradual)
    states = model.path(GROWN, frames=GROWING, noise=Noise.for_samples(0, 0, GROWN))
    if loaded.domain.kind == "molecule":
        caption = "Each atom stands where it stands in the end."
        return [
            Picture("molecules as they grow", figures.trajectory(states, loaded.domain), caption)
        ]
    caption = "Each node stands where it stands in the end; its colour: neighbours so far."
    return [Picture("graphs as they grow", figures.trajectory(states, loaded.domain), caption)]


def _denoising(loaded: Loaded) -> list[Picture]:
    """Film clouds from noise to samples, and turn what came of it."""
    model, domain = loaded.model, loaded.domain
    assert isinstance(model, Gradual)
    states = model.path(GROWN, frames=GROWING, noise=Noise.for_samples(0, 0, GROWN))
    film = figures.trajectory([x.cpu() for x in states], domain)
    rotation = figures.animation(point_clouds.turning(states[-1], domain.elements), 60, 60)
    return [
        Picture("from noise to clouds", film, "Decoded states on the way; the pose is kept."),
        Picture("samples, turning", rotation, "Once around the upright axis."),
    ]


WAYS = {
    "image": _sampling_states,
    "graph": _growth,
    "molecule": _growth,
    "conformer": _denoising,
    "point-cloud": _denoising,
}
"""What draws samples on their way, by kind of data."""


def _improved(model: Improving, data: DataSet) -> list[Picture]:
    """Draw test graphs with what a model adds to them."""
    before = data.test.x[:IMPROVED]
    after = model.improve(before, noise=Noise.for_samples(0, 0, len(before)))
    caption = f"Red: edges that the policy adds to unseen graphs, for more {model.improves}."
    return [Picture("added edges", graphs.change(before, after, 3), caption)]


def _round_trip(loaded: Loaded, part: Invertible, data: DataSet) -> list[Picture]:
    """Draw how the error of going through a flow and back grows with the layers gone through."""
    x = data.test.x[:64]
    errors = part.depth_errors(loaded.domain.values.dequantise(x, Noise.of(0, len(x))))
    depth = list(range(1, len(errors) + 1))
    chart = charts.lines(depth, {"error": errors.tolist()}, "layers", "largest error", True)
    caption = (
        f"max |y − f⁻¹(f(y))| of {len(x)} test examples in float32 after so many layers and back; "
        f"after all of them {float(errors[-1]):.2g}, data of spread about 1."
    )
    return [Picture("there and back", chart, caption)]
