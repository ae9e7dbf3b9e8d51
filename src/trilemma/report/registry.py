"""Every view, found in the modules that declare it; one more is one more file.

Pictures stand on a page by the section of their view, in the order of `view.SECTIONS`; within a
section by the names of the modules, and within a module as its `VIEWS` has them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import torch

from trilemma.core.errors import BadInput, attempted
from trilemma.report import views as room
from trilemma.report.model_view import Subject
from trilemma.report.page import Picture
from trilemma.report.view import SECTIONS, View

__all__ = ["discovered", "ordered", "pictures_of", "views"]


def discovered() -> list[View]:
    """Import every module of `report/views/`, and gather what each declares, by their names."""
    declared_views: list[View] = []
    for module in sorted(pkgutil.iter_modules(room.__path__), key=lambda m: m.name):
        declaring_module = importlib.import_module(f"{room.__name__}.{module.name}")
        declared_views += getattr(declaring_module, "VIEWS", ())
    return declared_views


def ordered(entries: Sequence[View]) -> tuple[View, ...]:
    """Put views in the order of a page: by section, else as they come.

    Raises:
        ValueError: Two views have one name.
    """
    registered: set[str] = set()
    for entry in entries:
        if entry.name in registered:
            raise ValueError(f"two views are called '{entry.name}'; give one another name.")
        registered.add(entry.name)
    return tuple(sorted(entries, key=lambda entry: SECTIONS.index(entry.section)))


@cache
def views() -> tuple[View, ...]:
    """Return all views in the order of a page."""
    return ordered(discovered())


@torch.no_grad()
def pictures_of(subject: Subject[Any]) -> list[Picture]:
    """Draw all that fits a subject.

    What the model refuses to show is left out; a view that fails costs its own place.
    """
    pictures: list[Picture] = []
    for view in views():
        if not view.fits(subject):
            continue
        pictures += attempted(partial(_drawn_by, view, subject), partial(_missing, view))
    return pictures


def _drawn_by(view: View, subject: Subject[Any]) -> list[Picture]:
    try:
        return view.draw(subject)
    except BadInput:  # it does not apply to this model
        return []


def _missing(view: View, reason: str) -> list[Picture]:
    return [Picture.missing(view.name, reason)]
