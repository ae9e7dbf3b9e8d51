"""Choices by name, and what each of them must have: a name of its own, a docstring, types.

A registry reads as a mapping. A plug-in adds to it as to a dictionary, `SAMPLERS["mine"] = Mine`;
what is amiss is refused there and then, in one sentence that names the entry and its file. Each
entry remembers the module that entered it, so that what a plug-in added can be listed.
"""

from __future__ import annotations

import inspect
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from types import FrameType, FunctionType
from typing import Any, TypeVar

__all__ = ["BadEntry", "Registry", "registries"]

T = TypeVar("T")


class BadEntry(ValueError):
    """An entry that a registry refuses; exit status 2."""

    status = 2


class Registry(MutableMapping[str, T]):
    """Entries by name, in their order; no name stands for two.

    >>> numbers = Registry("number", [("whole", int)])
    >>> try:
    ...     numbers["whole"] = float
    ... except BadEntry as error:
    ...     print(error)
    number 'whole' of builtins is there already, in builtins; give it another name.

    Arguments:
        kind: What an entry is, in a word or two.
        entries: Pairs of name and entry; a dictionary would lose one of two that share a name.
        fault: Says what else is amiss with a name and its entry, as the sentence goes on after
            them; empty where nothing is.
    """

    def __init__(
        self,
        kind: str,
        entries: Iterable[tuple[str, T]] = (),
        *,
        fault: Callable[[str, T], str] | None = None,
    ) -> None:
        self.kind, self.fault = kind, fault
        self.revision = 0
        """How often it has changed: what is computed of its entries holds until this moves."""
        self._entries: dict[str, T] = {}
        self._files: dict[str, str] = {}
        self._modules: dict[str, str] = {}
        for name, entry in entries:
            self._enter(name, entry, sys._getframe(1))
        _REGISTRIES.append(weakref.ref(self))

    def __getitem__(self, name: str) -> T:
        return self._entries[name]

    def __setitem__(self, name: str, entry: T) -> None:
        self._enter(name, entry, sys._getframe(1))

    def __delitem__(self, name: str) -> None:
        del self._entries[name], self._files[name], self._modules[name]
        self.revision += 1

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def where(self, name: str) -> str:
        """Return 'KIND 'NAME' of FILE', as a sentence about an entry begins."""
        return f"{self.kind} '{name}' of {self._files[name]}"

    def module(self, name: str) -> str:
        """Return the name of the module that entered an entry."""
        return self._modules[name]

    def _enter(self, name: str, entry: T, frame: FrameType) -> None:
        """Register an entry that the code of a frame enters."""
        file, module = frame.f_code.co_filename, frame.f_globals.get("__name__", "")
        own_name = getattr(entry, "name", name)
        if isinstance(own_name, str) and own_name != name:
            raise BadEntry(
                f"{self.kind} '{name}' of {_file(entry, file)} calls itself '{own_name}'; both "
                "names must be one, for a run is found again by it."
            )
        self.add(name, entry, _file(entry, file), module)

    def add(self, name: str, entry: T, file: str, module: str = "") -> None:
        """Register an entry.

        Arguments:
            name: Its name.
            entry: What it stands for.
            file: Where it is written, for sentences about it.
            module: Name of the module that enters it.

        Raises:
            BadEntry: Its name is another's, or it lacks a docstring or the type of an option, or
                what the registry asks besides.
        """
        subject = f"{self.kind} '{name}' of {file}"
        if name in self._entries:
            raise BadEntry(
                f"{subject} is there already, in {self._files[name]}; give it another name."
            )
        if not _has_docstring(entry):
            raise BadEntry(f"{subject} has no docstring; say in one line what it is.")
        if option := _untyped(entry):
            raise BadEntry(f"{subject} has the option '{option}' without a type; annotate it.")
        if self.fault is not None and (words := self.fault(name, entry)):
            raise BadEntry(f"{subject} {words}")
        self._entries[name], self._files[name], self._modules[name] = entry, file, module
        self.revision += 1


_REGISTRIES: list[weakref.ref[Registry[Any]]] = []


def registries() -> list[Registry[Any]]:
    """Return every registry that there is now."""
    return [registry for reference in _REGISTRIES if (registry := reference()) is not None]


def _declared(entry: object) -> type | FunctionType:
    """Return the class or the function whose words and options are the entry's."""
    return entry if isinstance(entry, type | FunctionType) else type(entry)


def _file(entry: object, registering: str) -> str:
    """Return the file of a class or a function; of another object the one that registers it."""
    if not isinstance(entry, type | FunctionType):
        return registering
    module = sys.modules.get(entry.__module__)
    return getattr(module, "__file__", None) or entry.__module__


def _has_docstring(entry: object) -> bool:
    declared = _declared(entry)
    words = declared.__doc__
    if not isinstance(words, str):  # of a type that is written in C
        return False
    if hasattr(declared, "__dataclass_fields__") and words.startswith(f"{declared.__name__}("):
        return False  # @dataclass writes the signature where nothing stands
    return bool(words.strip())


def _untyped(entry: object) -> str:
    """Name the first option that has no type; empty where all have."""
    declared = _declared(entry)
    if isinstance(declared, type) and hasattr(declared, "__dataclass_fields__"):
        annotated = {key for base in declared.__mro__ for key in inspect.get_annotations(base)}
        plain = (int, float, str, bool, tuple, type(None))
        values = vars(declared).items()
        names = (name for name, value in values if isinstance(value, plain))
        return next((n for n in names if n not in annotated and not n.startswith("_")), "")
    call = declared.__init__ if isinstance(declared, type) else declared
    if not isinstance(call, FunctionType):
        return ""
    parameters = [name for name in inspect.signature(call).parameters if name != "self"]
    return next((name for name in parameters if name not in call.__annotations__), "")
