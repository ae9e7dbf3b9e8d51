"""What a run directory says of itself, read without torch: mistakes are told at once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from trilemma.core.errors import BadInput

__all__ = ["read_json", "read_record"]


def read_record(path: Path | str) -> dict[str, Any]:
    """Return what a run's `recipe.json` holds: at least 'name'.

    Arguments:
        path: The run directory.

    Raises:
        BadInput: There is none, or it is not one.
    """
    path = Path(path)
    if not path.is_dir():
        problem = "is a file" if path.exists() else "does not exist"
        raise BadInput(f"{path} {problem}; give the directory that 'trilemma train' printed.")
    if not os.path.exists(path / "recipe.json"):
        raise BadInput(
            f"{path} is not a run directory, for it has no recipe.json; "
            "give the directory that 'trilemma train' printed."
        )
    record = read_json(path / "recipe.json")
    if not isinstance(record.get("name"), str):
        raise BadInput(f"{path / 'recipe.json'} names no recipe; it is not a run's.")
    return record


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object that a file of a run holds.

    Raises:
        BadInput: It cannot be read, or holds something else.
    """
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise BadInput(f"{path} is not JSON ({error}); it is not a run's.") from None
    if not isinstance(value, dict):
        raise BadInput(f"{path} holds no JSON object; it is not a run's.")
    return value
