"""Options that several commands have."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from trilemma.cli.command import Parser

__all__ = [
    "above_zero",
    "add_budget",
    "add_device",
    "add_devices",
    "add_precision",
    "add_reading",
    "add_seed",
    "add_size",
    "seed",
]

SEED = 2**63
"""Above every seed."""
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "bf16")


def above_zero(kind: type) -> Callable[[str], float]:
    """Return what reads a number above 0, whole where `kind` is int."""

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


def seed(text: str) -> int:
    """Read a seed."""
    if not text.isdecimal() or int(text) >= SEED:
        raise argparse.ArgumentTypeError(f"it takes a whole number from 0, not '{text}'")
    return int(text)


def add_seed(parser: Parser) -> None:
    """Add --seed."""
    parser.add_argument("--seed", type=seed, default=0)


def add_device(parser: Parser) -> None:
    """Add --device."""
    parser.add_argument("--device", choices=DEVICES, default="auto")


def add_devices(parser: Parser) -> None:
    """Add --devices, which `cli/launching.py` heeds."""
    parser.add_argument(
        "--devices",
        type=above_zero(int),
        default=1,
        metavar="N",
        help="share the work among N processes: GPUs, or cores where there is none",
    )


def add_precision(parser: Parser) -> None:
    """Add --precision."""
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")


def add_budget(parser: Parser) -> None:
    """Add --steps and --minutes, of which one may be given."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--steps", type=above_zero(int), metavar="N", help="updates to train for")
    group.add_argument(
        "--minutes", type=above_zero(float), metavar="M", help="minutes of training alone"
    )


def add_size(parser: Parser, text: str = "side of images; nodes of generated graphs") -> None:
    """Add --size."""
    parser.add_argument("--size", type=above_zero(int), help=text)


def add_reading(parser: Parser) -> None:
    """Add --ego-radius, --columns and --target: how data are read."""
    parser.add_argument(
        "--ego-radius",
        type=above_zero(int),
        metavar="R",
        help="the data are one network: take what lies within R edges of each node",
    )
    parser.add_argument(
        "--columns",
        metavar="NAME=KIND,…",
        help="what columns of a table are, where the rule errs: real, whole, date, category, "
        "drop, target, molecule",
    )
    parser.add_argument(
        "--target",
        metavar="COLUMN",
        help="the column of a table whose words are classes, for --cond; --columns COLUMN=target",
    )
