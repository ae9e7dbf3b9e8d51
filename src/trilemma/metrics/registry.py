"""Every metric, found in the modules that declare it; one more is one more file.

>>> quantity("fd").better, ranking("coverage")
('lower', ('coverage', 'recall'))
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from functools import cache
from types import MappingProxyType, ModuleType

from trilemma import metrics as room
from trilemma.metrics.cost import COSTS
from trilemma.metrics.likelihood import LIKELIEST
from trilemma.metrics.metric import MEMORISED, QUALITY, Metric, Quantity
from trilemma.registry import BadEntry, Registry

__all__ = [
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


def discovered() -> list[Metric]:
    """Import every module of the room, and gather what each declares, in the order of names."""
    modules = sorted(pkgutil.iter_modules(room.__path__), key=lambda module: module.name)
    return metrics_of(importlib.import_module(f"{room.__name__}.{name}") for _, name, _ in modules)


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
                raise BadEntry(
                    f"metric '{entry.name}' of {file} does not say what it means and where it "
                    "misleads; give its meaning and its failure."
                )
            declared_metrics.append(entry)
    return declared_metrics


def _sort_key(one: Metric) -> tuple[int, int]:
    """Return where a metric stands: what ranks quality in front, what may contradict it next."""
    is_second = bool(one.second_to) and not one.variant_of
    return SECTIONS.index(one.section), 0 if one.ranks == QUALITY else 1 if is_second else 2


@cache
def metrics() -> tuple[Metric, ...]:
    """Return all metrics in the order of a table: by section, what ranks quality in front.

    Two of different kinds of data may share a name, and then a meaning.
    """
    return tuple(sorted(discovered(), key=_sort_key))


def metric(name: str) -> Metric | None:
    """Return the metric of a name, the first if kinds of data share it."""
    return next((entry for entry in metrics() if entry.name == name), None)


@cache
def quantities() -> Mapping[str, Quantity]:
    """Return what stands in tables, by name and in order: metrics, the likeliest, costs."""
    by_name: dict[str, Quantity] = {}
    for entry in (*metrics(), LIKELIEST, *COSTS):
        by_name.setdefault(entry.name, entry)
    return MappingProxyType(by_name)


def quantity(name: str) -> Quantity:
    """Return what is declared of a number; an unknown one is labelled with its own name."""
    return quantities().get(name) or Quantity(name=name, label=name.replace("_", " "), meaning="")


@cache
def ranking(what: str) -> tuple[str, ...]:
    """Name the metrics that rank something, the one that is asked first in front."""
    return tuple(dict.fromkeys(entry.name for entry in metrics() if entry.ranks == what))


@cache
def variants() -> frozenset[str]:
    """Name the metrics that ask again what another asks."""
    return frozenset(entry.name for entry in metrics() if entry.variant_of)
