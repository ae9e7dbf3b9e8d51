"""Every metric, found in the modules that declare it; one more is one more file.

A plug-in, whose file is not of this room, enters its own in `METRICS`.

>>> quantity("fd").better, ranking("coverage")
('lower', ('coverage', 'recall'))
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, wraps
from types import MappingProxyType, ModuleType
from typing import ParamSpec, TypeVar

from trilemma import metrics as room
from trilemma.core.words import joined
from trilemma.metrics.cost import COSTS
from trilemma.metrics.likelihood import LIKELIEST
from trilemma.metrics.metric import KINDS, MEMORISED, QUALITY, Metric, Quantity
from trilemma.registry import BadEntry, Registry

__all__ = [
    "METRICS",
    "discovered",
    "metric",
    "metrics",
    "metrics_of",
    "quantities",
    "quantity",
    "ranking",
    "variants",
]

SECTIONS = (
    "quality and coverage",
    "columns of a table",
    "what was sought",
    "properties",
    "geometry",
    MEMORISED,
    "restoration",
    "codes",
    "likelihood",
)
"""In the order of a table's columns."""
P = ParamSpec("P")
T = TypeVar("T")


def _fault(name: str, entry: Metric) -> str:
    """Say what is amiss with a metric that a plug-in enters."""
    if not isinstance(entry, Metric):
        return "is no Metric; give one of trilemma.metrics.metric."
    if not entry.meaning or not entry.failure:
        return UNEXPLAINED
    if unknown := sorted(set(entry.kinds) - set(KINDS)):
        return f"is for {joined(unknown)}; kinds of data are {joined(KINDS)}."
    if entry.section not in SECTIONS:
        return f"stands under '{entry.section}'; sections are {', '.join(SECTIONS)}."
    if any(one.name == name and set(one.kinds) & set(entry.kinds) for one in discovered()):
        return f"is there already, in {room.__name__}; give it another name."
    return ""


UNEXPLAINED = "does not say what it means and where it misleads; give its meaning and its failure."
METRICS: Registry[Metric] = Registry("metric", fault=_fault)
"""Those of plug-ins; what a file of this room declares is not among them."""


def _while_unchanged(make: Callable[P, T]) -> Callable[P, T]:
    """Keep what a function returns until a metric is entered, or goes."""
    remembered = lru_cache(maxsize=8)(lambda revision, *args, **keys: make(*args, **keys))

    @wraps(make)
    def current(*args: P.args, **keys: P.kwargs) -> T:
        return remembered(METRICS.revision, *args, **keys)

    return current


def discovered() -> list[Metric]:
    """Import every module of the room, and gather what each declares, in the order of names."""
    names = sorted(
        f"{room.__name__}.{module.name}" for module in pkgutil.iter_modules(room.__path__)
    )
    return metrics_of(importlib.import_module(name) for name in names if name != __name__)


def metrics_of(modules: Iterable[ModuleType]) -> list[Metric]:
    """Gather the metrics that modules declare.

    Raises:
        BadEntry: Two of one kind of data have one name, or one does not say what it means.
    """
    declared_metrics: list[Metric] = []
    registered: Registry[Metric] = Registry("metric")
    for module in modules:
        for entry in getattr(module, "METRICS", ()):
            file = module.__file__ or module.__name__
            for kind in entry.kinds:
                registered.add(f"{entry.name} of {kind}", entry, file)
            if not entry.meaning or not entry.failure:
                raise BadEntry(f"metric '{entry.name}' of {file} {UNEXPLAINED}")
            declared_metrics.append(entry)
    return declared_metrics


def _sort_key(one: Metric) -> tuple[int, int]:
    """Return where a metric stands: what ranks quality in front, what may contradict it next."""
    is_second = bool(one.second_to) and not one.variant_of
    return SECTIONS.index(one.section), 0 if one.ranks == QUALITY else 1 if is_second else 2


@_while_unchanged
def metrics() -> tuple[Metric, ...]:
    """Return all metrics in the order of a table: by section, what ranks quality in front.

    Those of plug-ins stand behind those of the library, where both would stand alike.

    Two of different kinds of data may share a name, and then a meaning.
    """
    return tuple(sorted([*discovered(), *METRICS.values()], key=_sort_key))


def metric(name: str) -> Metric | None:
    """Return the metric of a name, the first if kinds of data share it."""
    return next((entry for entry in metrics() if entry.name == name), None)


@_while_unchanged
def quantities() -> Mapping[str, Quantity]:
    """Return what stands in tables, by name and in order: metrics, the likeliest, costs."""
    by_name: dict[str, Quantity] = {}
    for entry in (*metrics(), LIKELIEST, *COSTS):
        by_name.setdefault(entry.name, entry)
    return MappingProxyType(by_name)


def quantity(name: str) -> Quantity:
    """Return what is declared of a number; an unknown one is labelled with its own name."""
    return quantities().get(name) or Quantity(name=name, label=name.replace("_", " "), meaning="")


@_while_unchanged
def ranking(what: str) -> tuple[str, ...]:
    """Name the metrics that rank something, the one that is asked first in front."""
    return tuple(dict.fromkeys(entry.name for entry in metrics() if entry.ranks == what))


@_while_unchanged
def variants() -> frozenset[str]:
    """Name the metrics that ask again what another asks."""
    return frozenset(entry.name for entry in metrics() if entry.variant_of)
