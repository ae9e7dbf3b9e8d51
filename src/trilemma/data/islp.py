"""Tables of a textbook: wages, credit card debts and rented bicycles, as its package has them.

    wage        3,000 men of the mid-Atlantic states: year, age, education, …, wage
    default     10,000 holders of credit cards: default, student, balance, income
    bikeshare   8,645 hours of bicycle rental in Washington: season, hour, weather, …, bikers

The text of each file is kept as it is and read by the rule of tables (`table`).

References:
    An Introduction to Statistical Learning, with Applications in Python (James, Witten, Hastie,
    Tibshirani & Taylor, 2023)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.data import table
from trilemma.data.dataset import DataSet
from trilemma.data.pictures import Progress
from trilemma.data.wheel import Wheel, WheelSet

__all__ = ["LICENCE", "ORIGIN", "TABLES", "load"]

ORIGIN = (
    "G. James, D. Witten, T. Hastie, R. Tibshirani & J. Taylor, An Introduction to Statistical "
    "Learning with Applications in Python (2023)"
)
LICENCE = "BSD-3-Clause"
PACKAGE, VERSION = "islp", "0.4.1"
TEXT = "text"
"""Name of the tensor that keeps a file's bytes."""
FILES: Mapping[str, tuple[str, str]] = {
    "wage": (
        "ISLP/data/Wage.csv",
        "9c89796d7f2b9c77ffa76a2d2a2aa68ecccb4b36684fc2776f4c9e18c5fd4991",
    ),
    "default": (
        "ISLP/data/Default.csv",
        "d113590204485565bdd692b2d8430e7c2fcc72ec323df92314a745c99a0eefe9",
    ),
    "bikeshare": (
        "ISLP/data/Bikeshare.csv",
        "ac6950ae6f11efcc69c29d6bb13e8881c001e27d36434660d59444a1414f712c",
    ),
}
"""File and hash by the name of the set; one more is a line here, and a card in `sources`."""


def _kept_text(
    file: str, read: Callable[[str], bytes], progress: Progress | None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Take a file as it is."""
    return {TEXT: torch.frombuffer(bytearray(read(file)), dtype=torch.uint8)}, {}


TABLES: Mapping[str, WheelSet] = {
    name: WheelSet(
        name,
        Wheel(PACKAGE, VERSION, {file: sha256}),
        partial(_kept_text, file),
        f"{name}: {ORIGIN}; the package ISLP {VERSION}, {LICENCE}.",
        tensors=(TEXT,),
    )
    for name, (file, sha256) in FILES.items()
}


def load(name: str, kinds: Mapping[str, str] | None = None) -> DataSet:
    """Load a table that was fetched.

    Arguments:
        name: In `TABLES`.
        kinds: Kinds of columns by name that go before the rule, as `table.dataset` takes them.

    Raises:
        BadInput: It was not fetched, or has no such column.
    """
    wheel_set = TABLES[name]
    cached = wheel_set.read()
    if cached is None:
        raise BadInput(
            f"data set '{name}' is not on this machine; get it by 'trilemma data fetch {name}' "
            f"({wheel_set.wheel.words})."
        )
    data = table.of_words(name, cached[0][TEXT].numpy().tobytes().decode(), kinds)
    return replace(data, notes=(f"{ORIGIN}; licence: {LICENCE}", *data.notes))
