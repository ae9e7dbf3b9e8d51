"""From results to files: samples in the form that a name asks for, pictures, pages, plots."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.files import atomic_write
from trilemma.core.model import Constrained, Gradual, Model, Seeking, Sequential
from trilemma.core.noise import CHUNK, Noise
from trilemma.core.sampling import Conditions, samples, watched
from trilemma.core.session import Session
from trilemma.data import graph_writing, molecule_writing, point_cloud_writing, table_writing
from trilemma.data.check import Report
from trilemma.data.chemistry import parsed, to_smiles
from trilemma.data.constrained import similarity
from trilemma.data.images import OWN_SHEET, SOFTWARE
from trilemma.data.rewards import expression
from trilemma.pictures import charts, figures, graphs, table_columns
from trilemma.pictures.image_strips import captioned
from trilemma.recipes.editing import (
    blended,
    completing,
    enlarged,
    improved,
    refuse_completion,
)
from trilemma.recipes.recipe import Recipe
from trilemma.recipes.runs import Loaded
from trilemma.report.annotations import Annotations, annotations_of

__all__ = [
    "BEST_FILE",
    "contact_sheet",
    "plots",
    "refuse_completion",
    "save_picture",
    "write",
    "write_between",
    "write_enlarged",
    "write_found",
    "write_improved",
    "write_samples",
]

FORMS = (".png", ".gif", ".npz", ".safetensors", "")
OWN_FORMS = {
    "points": (".csv",),
    "graph": (*graph_writing.MANY, *graph_writing.SINGLE),
    "molecule": molecule_writing.FORMS,
    "conformer": point_cloud_writing.FORMS,
    "point-cloud": (".xyz",),
}
"""Forms beside these, by kind of data."""
IN_SPACE = ("conformer", "point-cloud")
NOTHING = Annotations()
"""Known of samples that were not drawn for what they are."""
BEST_FILE = "best.csv"
"""Of a run that sought something: the best that it found."""
FRAMES = 48
AT_ONCE = 4 * CHUNK
LONG = 300.0
"""Seconds of sampling that nobody expects without a warning."""


def save_picture(picture: Any, target: Path, *, is_sheet: bool = True) -> None:  # noqa: ANN401
    """Write a picture as PNG.

    Arguments:
        picture: Of Pillow.
        target: Where.
        is_sheet: Whether it shows several examples, and so is none; the file says it, and is left
            out where the folder that it lies in is learned from.
    """
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    if is_sheet:
        text.add_text(SOFTWARE, OWN_SHEET)
    with atomic_write(target) as partial:
        picture.save(partial, format="PNG", pnginfo=text)


def write_samples(
    loaded: Loaded,
    n: int,
    target: Path,
    *,
    session: Session,
    conditions: Conditions | None = None,
    completion: tuple[Tensor, Tensor] | None = None,
    patient: bool = False,
    source: Model | None = None,
    captions: Sequence[str] = (),
) -> Path:
    """Draw n samples and write them in the form of the target's name.

    Arguments:
        loaded: The run.
        n: How many.
        target: Where they go.
        session: Its seed is that of the samples; its processes share the work; warned of samples
            that the form has no room for.
        conditions: What they are to be, by index.
        completion: An image, a graph or a fragment, and where it is known: samples complete it.
        patient: Whether sampling may take longer than five minutes.
        source: What is drawn from in the model's place, such as `recipes.editing.editing`.
        captions: What was asked for, to stand below the samples of a .png, in turn, and beside
            them in a folder or a file of arrays.

    Returns:
        The path written.

    Raises:
        BadInput: The form is unknown, cannot be had of this model, or the place is taken; or it
            would take long and nobody said that it may.
    """
    form = _known_form(target, loaded.domain, n)

    if form == ".gif" and (source is not None or completion is not None):
        what = {"image": "picture", "graph": "graph"}.get(loaded.domain.kind, "fragment")
        raise BadInput(
            f"what is made of a {what} has no way to show as a .gif; use "
            f"{target.with_suffix('.png').name}."
        )
    if form == ".gif":
        return _animation(loaded, n, target, session, conditions)
    if not patient:
        _refuse_long(loaded.model, n)
    ranks = session.world
    local_range = ranks.span(n)
    parts, n_drawn = [], 0
    batches = samples(
        source or (loaded.model if completion is None else completing(loaded, *completion)),
        local_range.start,
        local_range.stop,
        seed=session.seed,
        conditions=conditions,
        check=session.check,
    )
    for x in batches:
        parts.append(x.cpu())
        n_drawn += len(x)
        session.progress("", n_drawn, len(local_range))
    local_samples = torch.cat(parts) if parts else torch.empty(0, *loaded.domain.shape)
    all_samples = ranks.gather(local_samples, n)
    if ranks.is_main and captions and form == ".png" and loaded.domain.kind == "image":
        sample_captions = [captions[i % len(captions)] for i in range(len(all_samples))]
        levels = figures.levels_of(loaded.domain)
        save_picture(captioned(all_samples, sample_captions, levels), target)
    elif ranks.is_main and completion and form == ".png" and loaded.domain.kind == "graph":
        save_picture(graphs.change(completion[0].expand_as(all_samples), all_samples), target)
    elif ranks.is_main:
        annotations = NOTHING
        if source is None and completion is None:
            annotations = annotations_of(loaded, n, session.seed, conditions, captions)
        omitted = _write(all_samples, form, target, loaded.domain, annotations)
        if omitted:
            session.warn(
                f"{omitted} of {len(all_samples)} samples are not in {target.name}: RDKit refuses "
                "them, mostly for bonds that are more than an atom can have; an .xyz has all."
            )
    return target


def _known_form(target: Path, domain: Domain, n: int = 1) -> str:
    """Return the form that a name asks for, and refuse one that is not made or has no place."""
    form, domain_forms = target.suffix.lower(), OWN_FORMS.get(domain.kind, ())
    if form not in FORMS and form not in domain_forms:
        supported_forms = ", ".join((".png", ".gif", *domain_forms, ".npz", ".safetensors"))
        raise BadInput(
            f"'{target.name}' asks for {form}, and this run does not make such things; "
            f"use {supported_forms} or the name of a folder."
        )
    graph_writing.check_form(form, target.name, n)
    if form == "" and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BadInput(f"{target} exists and is not an empty folder; give another --out.")
    return form


def _refuse_long(model: Model, n: int) -> None:
    """Refuse what would take long, and say how long."""
    if not isinstance(model, Sequential):
        return
    batch_size = min(n, AT_ONCE)
    with torch.no_grad():
        seconds = model.sampling_seconds(batch_size) * -(-n // batch_size)
    if seconds > LONG:
        raise BadInput(
            f"{n} samples would take about {seconds / 60:.0f} minutes, for this model draws one "
            "part of an image after another; ask for fewer with -n, or add --yes to go on."
        )


def write_between(loaded: Loaded, a: str | Path, b: str | Path, count: int, target: Path) -> Path:
    """Write the way from one picture to another through their codes: a row, or a .gif."""
    x = blended(loaded, a, b, count)
    form, levels = target.suffix.lower(), figures.levels_of(loaded.domain)
    if form == ".gif":
        with atomic_write(target) as partial:
            there_and_back = [*x, *x.flip(0)[1:]]
            pictures = [figures.grid(one[None], levels) for one in there_and_back]
            partial.write_bytes(figures.animation(pictures))
    elif form == ".png":
        save_picture(figures.sequences(x, levels), target)
    else:
        _write(x, _known_form(target, loaded.domain), target, loaded.domain)
    return target


def write_found(loaded: Loaded) -> Path | None:
    """Write the best that a search has found as best.csv in its run, the best first.

    Where given molecules were improved, each stands beside what it has become, in their order.

    Returns:
        The path; None where nothing was sought, or nothing found yet.
    """
    model = loaded.model
    if not isinstance(model, Seeking) or not model.seeks or not len(model.call_scores()):
        return None
    elements = loaded.domain.elements
    if isinstance(model, Constrained) and model.constrained:
        header, rows = _changed(model, elements)
    else:
        best = to_smiles(model.best_found(), elements)
        scores = model.call_scores().sort(descending=True).values[: len(best)].tolist()
        header = ["smiles", model.seeks]
        rows = [[smiles, f"{v:.6g}"] for smiles, v in zip(best, scores, strict=True)]
    target = loaded.run.path / BEST_FILE
    with atomic_write(target) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return target


def _changed(model: Constrained, elements: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    reward = expression(model.seeks)
    smiles_lists = [to_smiles(x, elements) for x in (model.originals(), model.improved())]
    before, after = (reward([parsed(s) for s in smiles]) for smiles in smiles_lists)
    rows = [
        [s, f"{v:.6g}", t, f"{w:.6g}", f"{similarity(s, t):.3f}"]
        for s, v, t, w in zip(smiles_lists[0], before, smiles_lists[1], after, strict=True)
    ]
    what = model.seeks
    return ["given", f"{what} before", "smiles", what, "similarity"], rows


def write_enlarged(
    loaded: Loaded,
    path: str | Path,
    target: Path,
    session: Session,
) -> Path:
    """Write a photo enlarged by a run's model, as a .png, whole or not at all.

    Raises:
        BadInput: The target is no .png, or `enlarged` refuses.
    """
    if target.suffix.lower() != ".png":
        raise BadInput(f"'{target.name}' was given for an enlarged photo; it is written as .png.")
    x = enlarged(loaded, path, session)
    save_picture(figures.grid(x[None], 256, 1, 1), target, is_sheet=False)
    return target


def write_improved(loaded: Loaded, path: str | Path, target: Path, session: Session) -> str:
    """Write what a run's policy makes of given networks, and return what was raised.

    A .png shows what was added in red; other forms hold the networks with it.

    Raises:
        BadInput: Networks are not written in that form, or `improved` refuses.
    """
    form = target.suffix.lower()
    if form not in (".png", "", *OWN_FORMS["graph"]):
        raise BadInput(
            f"'{target.name}' was given for networks; they are written as .png, "
            f"{', '.join(OWN_FORMS['graph'])}, or into a folder."
        )
    result = improved(loaded, path, session.seed)
    if form == ".png":
        save_picture(graphs.change(result.before, result.after), target, is_sheet=False)
    else:
        graph_writing.check_form(form, target.name, len(result.after))
        _write(result.after, form, target, loaded.domain)
    return result.sentence()


def write(x: Tensor, target: Path, domain: Domain, annotations: Annotations = NOTHING) -> int:
    """Write samples that are drawn already in the form of the target's name.

    Arguments:
        x: [N, *shape], data units.
        target: Where they go.
        domain: Where they lie.
        annotations: What they are of.

    Returns:
        How many the form had no room for.

    Raises:
        BadInput: The form is unknown, or the place is taken.
    """
    form = _known_form(target, domain, len(x))
    if form == ".gif":
        raise BadInput(f"'{target.name}' was given for samples that are drawn already; use .png.")
    return _write(x, form, target, domain, annotations)


def _write(
    x: Tensor, form: str, target: Path, domain: Domain, annotations: Annotations = NOTHING
) -> int:
    """Write samples and what they are of, and return how many the form had no room for."""
    if form == ".png":
        save_picture(figures.show(x, domain), target)
    elif domain.kind in IN_SPACE and form in OWN_FORMS[domain.kind]:
        with atomic_write(target) as partial:
            return point_cloud_writing.write(x, partial, form, domain.elements)
    elif form in OWN_FORMS["graph"]:
        with atomic_write(target) as partial:
            graph_writing.write(x, partial, form)
    elif form in OWN_FORMS["molecule"]:
        with atomic_write(target) as partial:
            molecule_writing.write(x, partial, form, domain.elements)
    elif form == ".csv":
        with atomic_write(target) as partial:
            names = [f"x{i + 1}" for i in range(domain.dimensions)]
            _rows(x, partial, domain, names, annotations)
    elif form == ".npz":
        with atomic_write(target) as partial:
            np.savez_compressed(partial, x=x.numpy(), **annotations.arrays)
    elif form == ".safetensors":
        with atomic_write(target) as partial:
            save_file({"x": x.contiguous(), **annotations.tensors}, partial)
    else:
        _folder(x, target, domain, annotations)
    return 0


def _rows(
    x: Tensor,
    path: Path,
    domain: Domain,
    names: Sequence[str] = (),
    annotations: Annotations = NOTHING,
) -> None:
    """Write rows as .csv: whole numbers whole, categories by their names, dates as such."""
    header, rows = table_writing.rows_of(x, domain, names, annotations.labels)
    table_writing.write(path, header, rows)


def _folder(x: Tensor, target: Path, domain: Domain, annotations: Annotations) -> None:
    """Write one file each, of graphs .graphml; the folder appears when it is complete."""
    partial = target.with_name(f".{target.name}.partial")
    levels = figures.levels_of(domain)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        for i, one in enumerate(x):
            if domain.kind == "image":
                figures.grid(one[None], levels, 1, 1).save(partial / f"{i:06d}.png")
            elif domain.kind == "graph":
                graph_writing.write(one[None], partial / f"{i:06d}.graphml", ".graphml")
            elif domain.kind == "molecule":
                path = partial / f"{i:06d}.sdf"
                molecule_writing.write(one[None], path, ".sdf", domain.elements)
            elif domain.kind in IN_SPACE:
                path = partial / f"{i:06d}.xyz"
                point_cloud_writing.write(one[None], path, ".xyz", domain.elements)
            else:
                _rows(one[None], partial / f"{i:06d}.csv", domain)
        if domain.kind == "image":
            annotations.write(partial, [f"{i:06d}.png" for i in range(len(x))])
        if target.exists():
            target.rmdir()
        partial.replace(target)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise BadInput(f"cannot write {target}: {error.strerror}; give another --out.") from None


def _animation(
    loaded: Loaded,
    n: int,
    target: Path,
    session: Session,
    conditions: Conditions | None,
) -> Path:
    model = loaded.model
    if not isinstance(model, Gradual):
        raise BadInput(
            f"recipe '{loaded.recipe.name}' samples in one step, so there is no way to show as "
            f"a .gif; use {target.with_suffix('.png').name}."
        )
    device = session.device
    condition = conditions(0, n).to(device) if conditions is not None else None
    with torch.no_grad(), watched(model, session.check):
        path = model.path(
            n,
            frames=FRAMES,
            condition=condition,
            noise=Noise.for_samples(session.seed, 0, n, device),
        )
    with atomic_write(target) as partial:
        partial.write_bytes(figures.trajectory([x.cpu() for x in path], loaded.domain))
    return target


def contact_sheet(report: Report) -> Any:  # noqa: ANN401
    """Draw the examples that a check has picked; those of a refused folder as they were read."""
    assert report.sheet is not None
    if report.domain is None:
        return figures.grid(report.sheet)
    if report.columns:
        return table_columns.sheet(report.sheet, report.domain)
    return figures.show(report.sheet, report.domain)


def plots(kind: type[Recipe], folder: Path) -> list[Path]:
    """Draw what belongs to a recipe without training, as SVG; returns the files.

    Raises:
        BadInput: The recipe has nothing of the kind, or the folder cannot be written.
    """
    if not kind.plots():
        raise BadInput(f"recipe '{kind.name}' has no plots of its own; leave out --plots.")
    paths = []
    for name, plot in kind.plots().items():
        path = folder / f"{kind.name}-{name.replace(' ', '-')}.svg"
        with atomic_write(path) as partial:
            svg = charts.lines(plot.x, plot.ys, plot.across, plot.up, plot.log)
            partial.write_text(svg.replace("currentColor", "#333"))
        paths.append(path)
    return paths
