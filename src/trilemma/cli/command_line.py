"""The command line: what may be asked, and how an error ends.

What is done stands in `commands`, a file each.

Nothing heavy is imported here, so that help and mistakes are answered at once.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from trilemma import __version__

__all__ = ["main"]

SEED = 2**63
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "bf16")


class UsageError(Exception):
    """The command line itself cannot be read."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence, raised instead of printed."""

    def error(self, message: str) -> NoReturn:
        """Say what was wrong, what may have been meant, and where help is."""
        if (
            match := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
        ) is not None:
            value, choices = match[1], re.findall(r"'(.*?)'", match[2])
            close_matches = difflib.get_close_matches(value, choices, n=1, cutoff=0.4)
            suggestion = (
                f"did you mean '{close_matches[0]}'?"
                if close_matches
                else f"known: {', '.join(choices)}"
            )
            raise UsageError(
                f"unknown {message.split(':')[0].split()[-1].lower()} '{value}'; {suggestion}"
            )
        raise UsageError(f"{message}; see '{self.prog} --help'.")


def _above_zero(kind: type) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = 0
        if not 0 < value < float("inf"):
            expected = "a whole number above 0" if kind is int else "a number above 0"
            raise argparse.ArgumentTypeError(f"it takes {expected}, not '{text}'")
        return value

    return parse


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= SEED:
        raise argparse.ArgumentTypeError(f"it takes a whole number from 0, not '{text}'")
    return int(text)


def _radius(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ego-radius",
        type=_above_zero(int),
        metavar="R",
        help="the data are one network: take what lies within R edges of each node",
    )


def _columns(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--columns",
        metavar="NAME=KIND,…",
        help="what columns of a table are, where the rule errs: real, whole, category, drop, "
        "molecule",
    )


def _parser() -> Parser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    json = argparse.ArgumentParser(add_help=False)
    json.add_argument("--json", action="store_true", help="one JSON object on stdout")
    budget = argparse.ArgumentParser(add_help=False)
    budget_group = budget.add_mutually_exclusive_group()
    budget_group.add_argument(
        "--steps", type=_above_zero(int), metavar="N", help="updates to train for"
    )
    budget_group.add_argument(
        "--minutes", type=_above_zero(float), metavar="M", help="minutes of training alone"
    )
    machine = argparse.ArgumentParser(add_help=False)
    machine.add_argument("--device", choices=DEVICES, default="auto")

    top = Parser(
        prog="trilemma",
        allow_abbrev=False,
        description="Every family of generative model on your data, under one budget: "
        "quality, coverage and speed.",
    )
    top.add_argument("--version", action="version", version=f"trilemma {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="COMMAND", required=True)

    def verb(name: str, says: str, *parents: argparse.ArgumentParser) -> Parser:
        return verbs.add_parser(
            name,
            help=says,
            description=says,
            parents=[common, *parents],  # pyright: ignore[reportArgumentType]
            allow_abbrev=False,
        )

    p = verb("list", "what there is: recipes, data, metrics or laws", json)
    p.add_argument(
        "what", nargs="?", choices=("recipes", "data", "metrics", "laws"), default="recipes"
    )

    p = verb("show", "a recipe's fields, size and cost", json)
    p.add_argument("recipe")
    p.add_argument("--data", metavar="NAME_OR_PATH", help="default: digits, or two-moons")
    p.add_argument("--plots", type=Path, metavar="DIR", help="draw what belongs to the recipe")

    p = verb("data", "data sets: list, fetch, check", json)
    p.add_argument("action", choices=("list", "fetch", "check"))
    p.add_argument("name", nargs="?", metavar="NAME_OR_PATH")
    p.add_argument(
        "--size", type=_above_zero(int), help="side of images; nodes of generated graphs"
    )
    _radius(p)
    _columns(p)
    p.add_argument("--out", type=Path, metavar="FILE.png", help="where the contact sheet goes")

    says = "make a run directory and train a recipe in it, for a minute by default"
    p = verb("train", says, budget, machine)
    p.add_argument("recipe")
    p.add_argument("--data", default="digits", metavar="NAME_OR_PATH")
    p.add_argument(
        "--size", type=_above_zero(int), help="side of images; nodes of generated graphs"
    )
    _radius(p)
    _columns(p)
    p.add_argument("--seed", type=_seed, default=0)
    p.add_argument("--precision", choices=PRECISIONS, default="auto")
    p.add_argument("--run", type=Path, metavar="DIR", help="default runs/RECIPE-DATA-001")
    p.add_argument(
        "--watch",
        action="store_true",
        help="measure samples on the way, in a tenth of the time",
    )
    p.epilog = "Every field of the recipe is an option too: see 'trilemma show RECIPE'."

    p = verb("resume", "go on with a run, exactly", budget, machine)
    p.add_argument("run", type=Path)
    p.add_argument("--data", metavar="NAME_OR_PATH", help="where the same data now lie")
    p.add_argument("--seed", type=_seed, help="refused unless it is the run's own")
    p.add_argument("--recipe", help="refused unless it is the run's own")

    p = verb("sample", "draw from a trained run", machine)
    p.add_argument("run", type=Path)
    p.add_argument("-n", type=_above_zero(int), default=64, help="how many")
    p.add_argument("--seed", type=_seed, default=0)
    p.add_argument(
        "--cond",
        metavar="WHAT",
        help="classes with commas between; captions with ; between; values of a property, "
        "alpha=70,80; an image to be completed, edited or enlarged; or a file of a graph, or of "
        "a fragment of a molecule in space (.xyz, .sdf), to be completed",
    )
    p.add_argument(
        "--mask",
        metavar="WHERE",
        help="an image, white where to draw; or bottom, right, top, left",
    )
    p.add_argument(
        "--strength",
        type=float,
        metavar="T",
        help="edit the image: noise up to time T, and the way back; near 0 all is kept",
    )
    p.add_argument(
        "--to", metavar="IMAGE", help="a row of -n images from that of --cond to this one"
    )
    p.add_argument("--yes", action="store_true", help="go on, however long it takes")
    p.add_argument("--steps", type=_above_zero(int), metavar="K", help="steps of the sampler")
    p.add_argument("--sampler", help="name of the sampler")
    p.add_argument("--guidance", type=float, metavar="W", help="1 conditional, more is stronger")
    p.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        help=".png, .gif, .npz, .safetensors, a folder, or .g6 and the like",
    )
    p.epilog = "What a recipe may change at sampling is an option too, as --grid of ddpm."

    p = verb("evaluate", "measure a trained run, or ready samples", json, machine)
    p.add_argument("run", type=Path, metavar="RUN_OR_SAMPLES")
    p.add_argument("--samples", type=_above_zero(int), default=None, metavar="N")
    p.add_argument(
        "--draws", type=_above_zero(int), metavar="K", help="of the importance-weighted bound"
    )
    p.add_argument("--seed", type=_seed, default=0)
    p.add_argument(
        "--data",
        metavar="NAME_OR_PATH",
        help="where the same data now lie; what samples that another program made imitate",
    )
    p.add_argument("--size", type=_above_zero(int), help="with ready samples: as of train")
    _radius(p)
    _columns(p)

    p = verb("compare", "several recipes, one data set, the same time", json, machine)
    p.add_argument("--data", default="digits", metavar="NAME_OR_PATH")
    p.add_argument(
        "--size", type=_above_zero(int), help="side of images; nodes of generated graphs"
    )
    _radius(p)
    _columns(p)
    p.add_argument("--recipes", metavar="A,B,…", help="default: all that fit the data")
    p.add_argument(
        "--with",
        action="append",
        default=[],
        dest="ready",
        metavar="NAME=PATH",
        help="samples that another program made, measured beside the recipes",
    )
    p.add_argument("--minutes", type=_above_zero(float), default=1.0, help="for each run")
    p.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="FIELD=A,B,…",
        help="each recipe with each of these values; seed=0,1,2 gives mean and spread",
    )
    p.add_argument(
        "--seeds",
        type=_above_zero(int),
        metavar="N",
        help="train each N times, with seeds from --seed on: short for --grid seed=0,1,…",
    )
    p.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="FIELD=VALUE",
        help="a field of all recipes; --FIELD VALUE is the same",
    )
    p.add_argument("--samples", type=_above_zero(int), default=None, metavar="N")
    p.add_argument("--seed", type=_seed, default=0)
    p.add_argument("--precision", choices=PRECISIONS, default="auto")
    p.add_argument("--out", type=Path, metavar="DIR", help="an unfinished one is gone on with")

    p = verb("verify", "the laws: of the library, or of a trained run", json)
    p.add_argument("run", nargs="?", type=Path)

    verb("doctor", "versions, speed, data found, what is broken and what to do", json)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in argv
    try:
        options, extra_args = _parser().parse_known_args(argv)
        if extra_args and options.verb not in ("train", "sample", "compare"):
            raise UsageError(
                f"unknown option '{extra_args[0]}' for {options.verb}; "
                f"see 'trilemma {options.verb} --help'."
            )
        if options.verb == "train" and any(word.split("=")[0] == "--out" for word in extra_args):
            raise UsageError("train puts its run where --run DIR says; it has no --out.")
        options.fields = extra_args
        return importlib.import_module(f"trilemma.cli.{options.verb}").run(options) or 0
    except UsageError as error:
        if debug:
            raise
        print(f"trilemma: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    except Exception as error:
        status = getattr(error, "status", None)
        if debug or status is None:
            raise
        print(f"trilemma: {error}", file=sys.stderr)
        return status
