"""What a picture of a trained model declares of itself, beside the code that draws it.

A `View` says which abilities of a model and which kinds of data it is about, and where on the page
it stands. Every module of `report/views/` keeps its own in a tuple `VIEWS`, and `report.registry`
finds them there; nothing else lists pictures, and no picture asks for a family by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trilemma.metrics.metric import KINDS
from trilemma.report.model_view import Subject
from trilemma.report.page import Picture

__all__ = ["SECTIONS", "View"]

SECTIONS = (
    "likeness",
    "density",
    "codes",
    "path",
    "search",
    "inversion",
    "noise",
    "edits",
    "captions",
    "restoration",
    "training",
)
"""In the order in which pictures stand on a page."""


@dataclass(frozen=True, kw_only=True)
class View:
    """Pictures that are drawn together, and of which models and data they can be drawn.

    Raises:
        ValueError: It does not state what it needs, has no docstring, or names a section or a
            kind of data that is not known; says which view it is.
    """

    name: str
    """Unlike that of any other view."""
    section: str
    """Where on the page it stands, one of `SECTIONS`."""
    draw: Callable[[Subject[Any]], list[Picture]]
    """Returns the pictures, none where there is nothing to show; its docstring says what they are.
    A `BadInput` leaves them out; of any other error the reason stands in their place."""
    needs: tuple[type, ...] | None = None
    """Capabilities that the model must have, all of them, as in `core.model`; `()` where it draws
    events or samples alone, and needs no model."""
    unless: tuple[type, ...] = ()
    """Capabilities that the model may not have: another view draws the same of these."""
    kinds: tuple[str, ...] = KINDS
    """Kinds of data that it is about; all unless it says otherwise."""

    def __post_init__(self) -> None:
        """Refuse a declaration that is not complete."""
        if self.needs is None:
            raise ValueError(
                f"the view '{self.name}' does not state what it needs of a model; give needs, () "
                "where it draws events or samples alone."
            )
        if not (self.draw.__doc__ or "").strip():
            raise ValueError(
                f"the view '{self.name}' does not say what it draws; give "
                f"{self.draw.__name__} a docstring."
            )
        if self.section not in SECTIONS:
            raise ValueError(
                f"the view '{self.name}' stands in a section '{self.section}'; there are "
                f"{', '.join(SECTIONS)}."
            )
        if unknown := [kind for kind in self.kinds if kind not in KINDS]:
            raise ValueError(
                f"the view '{self.name}' is about data of the kind '{unknown[0]}'; there are "
                f"{', '.join(KINDS)}."
            )

    def fits(self, subject: Subject[Any]) -> bool:
        """Tell whether the model has what is needed, and the data are of a kind that it draws."""
        return (
            subject.domain.kind in self.kinds
            and all(isinstance(subject.model, capability) for capability in self.needs or ())
            and not isinstance(subject.model, self.unless)
        )
