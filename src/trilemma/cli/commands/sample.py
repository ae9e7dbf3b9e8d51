"""Draws samples of a run, or makes something of an image, graph or fragment that is given."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from trilemma.cli.arguments import above_zero, add_device, add_seed
from trilemma.cli.command import Command, Parser

if TYPE_CHECKING:
    from torch import Tensor

    from trilemma.core.domain import Domain
    from trilemma.core.session import Session
    from trilemma.recipes.fields import Field
    from trilemma.recipes.runs import Loaded

__all__ = ["COMMAND"]

ROW = 16
"""Images of a row from one to another at most."""


def arguments(parser: Parser) -> None:
    """Add what may be asked."""
    add_device(parser)
    parser.add_argument("run", type=Path)
    parser.add_argument("-n", type=above_zero(int), default=64, help="how many")
    add_seed(parser)
    parser.add_argument(
        "--cond",
        metavar="WHAT",
        help="classes with commas between; captions with ; between; values of a property, "
        "alpha=70,80; an image to be completed, edited or enlarged; or a file of a graph, or of "
        "a fragment of a molecule in space (.xyz, .sdf), to be completed; networks to be made "
        "robust, by a run that was trained to",
    )
    parser.add_argument(
        "--mask",
        metavar="WHERE",
        help="an image, white where to draw; or bottom, right, top, left",
    )
    parser.add_argument(
        "--strength",
        type=float,
        metavar="T",
        help="edit the image: noise up to time T, and the way back; near 0 all is kept",
    )
    parser.add_argument(
        "--to", metavar="IMAGE", help="a row of -n images from that of --cond to this one"
    )
    parser.add_argument("--yes", action="store_true", help="go on, however long it takes")
    parser.add_argument("--steps", type=above_zero(int), metavar="K", help="steps of the sampler")
    parser.add_argument("--sampler", help="name of the sampler")
    parser.add_argument(
        "--guidance", type=float, metavar="W", help="1 conditional, more is stronger"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        help=".png, .gif, .npz, .safetensors, a folder, or .g6 and the like",
    )
    parser.epilog = "What a recipe may change at sampling is an option too, as --grid of ddpm."


def run(options: argparse.Namespace) -> None:
    """Draw samples and write them in the form that the name asks for."""
    from trilemma.training.record import read_record

    record = read_record(options.run)
    from trilemma.recipes.catalog import recorded_class
    from trilemma.recipes.fields import changed

    chosen = changed(recorded_class(options.run, record), options.fields) | {
        "sample_steps": options.steps,
        "sampler": options.sampler,
        "guidance": options.guidance,
    }
    from trilemma.api.display import say, warn
    from trilemma.api.working import at_work
    from trilemma.cli.terminal import as_json, out
    from trilemma.recipes.runs import load
    from trilemma.report import drawing

    started = time.monotonic()
    with at_work(options.device, options.seed) as session:
        loaded = load(options.run, warn=warn, device=session.device, at_sampling=chosen)
        target = options.out or _free(
            loaded.run.path / "samples", f"seed{options.seed}-n{options.n}", ".png"
        )
        with session.counted("sampling") as sampling:
            _sample(loaded, options, target, sampling)
        if session.world.is_main:
            if options.json:
                as_json(
                    {
                        "out": str(target),
                        "n": options.n,
                        "seed": options.seed,
                        "seconds": round(time.monotonic() - started, 3),
                    }
                )
            else:
                out(target)
            best = loaded.run.path / drawing.BEST_FILE
            if best.exists():
                say(f"these are new samples of the policy; the best molecules found are in {best}")


def _sample(
    loaded: Loaded,
    options: argparse.Namespace,
    target: Path,
    session: Session,
) -> None:
    """Draw examples, or what is to be made of an image, graph or fragment that is given."""
    from trilemma.api.display import say, warn
    from trilemma.core.errors import BadInput
    from trilemma.core.model import Improving, Restoring
    from trilemma.data.completion_inputs import is_fragment, is_image, read_fragment, read_graph
    from trilemma.recipes.conditions import captions, conditions
    from trilemma.recipes.editing import editing
    from trilemma.report import drawing

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
        session = session.but(interruption="enlarging was stopped; nothing was written.")
        drawing.write_enlarged(loaded, cond, target, session)
        return
    if image and options.strength is not None:
        source = editing(loaded, cond, options.strength)
    elif cond and isinstance(loaded.model, Improving) and loaded.model.improves:
        say(drawing.write_improved(loaded, cond, target, session))
        return
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
        target,
        session=session.but(interruption="sampling was stopped; nothing was written."),
        conditions=requested,
        completion=completion,
        patient=options.yes,
        source=source,
        captions=captions(cond) if requested is not None and domain.vocabulary else (),
    )


def _image_to_complete(domain: Domain, cond: str, mask: str | None) -> tuple[Tensor, Tensor]:
    """Read an image to be completed, and where it is known."""
    from trilemma.core.errors import BadInput
    from trilemma.data.completion_inputs import HALVES, read_image_with_mask

    if mask is None:
        raise BadInput(
            f"--cond {cond} is an image, and neither --mask nor --strength nor --to says what is "
            "to be made of it; --mask is a black and white image of its size, white where "
            f"something is to be drawn, or one of {', '.join(HALVES)}."
        )
    return read_image_with_mask(cond, mask, domain)


def _free(folder: Path, stem: str, suffix: str) -> Path:
    """Return the first name that is not taken."""
    path, number = folder / f"{stem}{suffix}", 2
    while path.exists():
        path, number = folder / f"{stem}-{number}{suffix}", number + 1
    return path


def fields(options: argparse.Namespace) -> tuple[str, list[Field]]:
    """Return what the run may change at sampling and has no option of its own, under a title."""
    from trilemma.training.record import read_record

    record = read_record(options.run)
    from trilemma.recipes.catalog import recorded_class
    from trilemma.recipes.fields import fields as fields_of

    kind = recorded_class(options.run, record)
    return f"fields of recipe '{kind.name}' that may be changed at sampling [defaults]", [
        field
        for field in fields_of(kind)
        if field.name in set(kind.at_sampling) - {"sample_steps", "sampler", "guidance"}
    ]


COMMAND = Command(
    summary="draw from a trained run",
    order=6,
    arguments=arguments,
    run=run,
    has_fields=True,
    fields=fields,
)
