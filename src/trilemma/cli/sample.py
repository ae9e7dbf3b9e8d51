"""Draws samples of a run, or makes something of an image, graph or fragment that is given."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from trilemma.cli.terminal import counting, out, say, warn
from trilemma.cli.working import at_work
from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.model import Restoring
from trilemma.data.completion_inputs import (
    HALVES,
    is_fragment,
    is_image,
    read_fragment,
    read_graph,
)
from trilemma.data.completion_inputs import read_image_with_mask as given_image
from trilemma.recipes.catalog import recipe_class
from trilemma.recipes.conditions import captions, conditions
from trilemma.recipes.editing import editing
from trilemma.recipes.fields import changed
from trilemma.recipes.runs import Loaded, load
from trilemma.report import drawing
from trilemma.training.distributed import World
from trilemma.training.run import Run
from trilemma.training.signals import Stop

__all__ = ["run"]

ROW = 16
"""Images of a row from one to another at most."""


def run(options: argparse.Namespace) -> None:
    """Draw samples and write them in the form that the name asks for."""
    kind = recipe_class(Run.open(options.run).recipe["name"])
    chosen = changed(kind, options.fields) | {
        "sample_steps": options.steps,
        "sampler": options.sampler,
        "guidance": options.guidance,
    }
    with at_work(options.device) as (stop, ranks):
        loaded = load(options.run, warn=warn, device=ranks.device, at_sampling=chosen)
        target = options.out or _free(
            loaded.run.path / "samples", f"seed{options.seed}-n{options.n}", ".png"
        )
        with counting("sampling") as progress:
            _sample(loaded, options, target, ranks, stop, progress)
        if ranks.is_main:
            out(target)
            best = loaded.run.path / drawing.BEST_FILE
            if best.exists():
                say(f"these are new samples of the policy; the best molecules found are in {best}")


def _sample(
    loaded: Loaded,
    options: argparse.Namespace,
    target: Path,
    ranks: World,
    stop: Stop,
    progress: Callable[[int, int], None],
) -> None:
    """Draw examples, or what is to be made of an image, graph or fragment that is given."""
    cond, domain = options.cond or "", loaded.domain
    image = is_image(cond)
    for name in ("mask", "strength", "to"):
        if getattr(options, name) is not None and not image:
            raise BadInput(f"--{name} goes with --cond IMAGE, of which something is made.")
    completion = source = requested = None
    if image and options.to is not None:
        drawing.write_between(loaded, cond, options.to, min(options.n, ROW), target)
        return
    if image and isinstance(loaded.model, Restoring):
        drawing.write_enlarged(
            loaded,
            cond,
            target,
            seed=options.seed,
            check=lambda: stop.check("enlarging was stopped; nothing was written."),
            progress=progress,
        )
        return
    if image and options.strength is not None:
        source = editing(loaded, cond, options.strength)
    elif cond and domain.kind == "graph":
        drawing.refuse_completion(loaded)
        completion = read_graph(cond, domain)
    elif is_fragment(cond):
        completion = read_fragment(cond, domain, warn)
        drawing.refuse_completion(loaded)
    elif image:
        drawing.refuse_completion(loaded)
        completion = _image_to_complete(domain, cond, options.mask)
    elif options.cond is not None:
        requested = conditions(domain, cond, warn)
    drawing.write_samples(
        loaded,
        options.n,
        options.seed,
        requested,
        target,
        ranks,
        stop,
        progress,
        completion,
        options.yes,
        source=source,
        captions=captions(cond) if requested is not None and domain.vocabulary else (),
        warn=warn,
    )


def _image_to_complete(domain: Domain, cond: str, mask: str | None) -> tuple[Tensor, Tensor]:
    """Read an image to be completed, and where it is known."""
    if mask is None:
        raise BadInput(
            f"--cond {cond} is an image, and neither --mask nor --strength nor --to says what is "
            "to be made of it; --mask is a black and white image of its size, white where "
            f"something is to be drawn, or one of {', '.join(HALVES)}."
        )
    return given_image(cond, mask, domain)


def _free(folder: Path, stem: str, suffix: str) -> Path:
    """Return the first name that is not taken."""
    path, number = folder / f"{stem}{suffix}", 2
    while path.exists():
        path, number = folder / f"{stem}-{number}{suffix}", number + 1
    return path
