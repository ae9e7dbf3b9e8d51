"""Sampling options at the call: what all `Adjustable` models share.

How a model is drawn from is a frozen dataclass, its attribute `sampling`, whose fields are the
options. `adjusted` makes a view of the model with other options. A model that holds another one
hands its options on to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from torch import nn

from trilemma.core.errors import BadInput, nearest
from trilemma.core.model import Adjustable, shallow_copy

__all__ = ["replaced_options", "with_adjusted_part", "with_sampling"]

M = TypeVar("M", bound=nn.Module)
S = TypeVar("S")


def replaced_options(sampling: S, options: Mapping[str, Any]) -> S:
    """Return sampling options of which some are replaced.

    Arguments:
        sampling: A frozen dataclass, which refuses impossible values itself.
        options: Values by the names of its fields.

    Raises:
        BadInput: There is no such option, or its value makes no sense.
    """
    names = [field.name for field in fields(sampling)]  # type: ignore[arg-type]
    for name in options:
        if name not in names:
            raise nearest("sampling option", name, names)
    return replace(sampling, **options)  # type: ignore[type-var]


def with_sampling(model: M, sampling: object) -> M:
    """Return a view of a model, with the same weights, that is drawn from in another way."""
    view = shallow_copy(model)
    view.sampling = sampling  # type: ignore[assignment]
    return view


def with_adjusted_part(model: M, name: str, options: Mapping[str, Any]) -> M:
    """Return a view of a model that holds another one, which is drawn from with other options.

    Arguments:
        model: The model that holds it.
        name: The attribute that is the part.
        options: Values by the names of the part's options.

    Raises:
        BadInput: The part has no such option, or its value makes no sense.
    """
    part = getattr(model, name)
    if not isinstance(part, Adjustable):
        options_text = ", ".join(options)
        raise BadInput(f"this model is drawn from in one way, and has no option {options_text}.")
    view = shallow_copy(model)
    setattr(view, name, part.adjusted(**options))
    return view
