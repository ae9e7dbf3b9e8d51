"""Plug-ins: files of a user's own, or installed packages, that add to the registries.

A plug-in is Python whose top level enters things: `CATALOG["mine"] = Mine`, and the like. `read`
imports a file that somebody names; `installed` imports what packages declare as entry points of
the group `trilemma.plugins`. Nothing else is ever imported: a run keeps the names and hashes of
the plug-ins that it was made with (`recorded`), and is opened where they are here already
(`refusal`), never the other way round.
"""

from __future__ import annotations

import hashlib
import importlib
import linecache
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from glob import escape as glob_escape
from glob import iglob
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from trilemma.registry import registries

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["GROUP", "BadPlugin", "Plugin", "installed", "loaded", "read", "recorded", "refusal"]

GROUP = "trilemma.plugins"
"""Entry points of packages that are plug-ins."""
PREFIX = "trilemma_plugin_"
"""Of the names of modules that are made of files."""


class BadPlugin(ValueError):
    """A plug-in that cannot be used; exit status 2."""

    status = 2


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A plug-in that was read."""

    name: str
    """The file's stem, or the entry point's name."""
    origin: Literal["file", "package"]
    """Where it is from."""
    path: str
    """The file that was read, or the package's module."""
    sha256: str
    """Of the file's bytes; of a package that is a folder, of all its Python files."""
    module: str
    """The module that it became."""

    @property
    def entries(self) -> tuple[tuple[str, str], ...]:
        """Return the kind and the name of what it has entered, in the registries' order."""
        return tuple(
            (registry.kind, name)
            for registry in registries()
            for name in registry
            if self._is_own(registry.module(name))
        )

    def _is_own(self, module: str) -> bool:
        top = self.module.split(".")[0]
        return module == top or module.startswith(f"{top}.")

    def withdraw(self) -> None:
        """Take what it has entered out of the registries again."""
        for registry in registries():
            for name in [n for n in registry if self._is_own(registry.module(n))]:
                del registry[name]


_LOCK = threading.RLock()
_LOADED: dict[str, Plugin] = {}
"""By name."""


def loaded() -> tuple[Plugin, ...]:
    """Return the plug-ins that were read in this process, in the order of reading."""
    return tuple(_LOADED.values())


def read(path: Path | str) -> Plugin:
    """Import a plug-in's file; one that was read before is not imported again.

    Arguments:
        path: A Python file.

    Returns:
        What it is, and what it added to the registries.

    Raises:
        BadPlugin: There is no such file, it fails when it is imported, needs a package that is
            not here, or was read before with other content. Nothing of it stays then.
        BadEntry: A registry refuses one of its entries, such as one of a name that is in use.
    """
    file = Path(path).expanduser()
    content = _content(file)
    digest = hashlib.sha256(content).hexdigest()
    name = file.stem
    with _LOCK:
        if (before := _LOADED.get(name)) is not None:
            if before.sha256 == digest:
                return before
            raise BadPlugin(
                f"plug-in '{name}' was read from {before.path} with sha256 {before.sha256}, and "
                f"{file} has {digest} now; one process takes one of them: start a new one, or "
                "give the file another name."
            )
        identifier = re.sub(r"\W", "_", name)
        plugin = Plugin(
            name=name,
            origin="file",
            path=str(file.absolute()),
            sha256=digest,
            module=f"{PREFIX}{identifier}_{digest[:8]}",
        )
        return _imported(plugin, lambda: _execute(plugin, content))


@cache
def installed() -> tuple[Plugin, ...]:
    """Import the plug-ins of installed packages, once in a process.

    Raises:
        BadPlugin: One fails when it is imported; says of which package it is.
        BadEntry: A registry refuses one of its entries.
    """
    if not any(map(_declares, sys.path)):
        return ()
    from importlib import metadata  # takes longer than all else here, and few have a plug-in

    with _LOCK:
        return tuple(_installed(point) for point in metadata.entry_points(group=GROUP))


def _declares(folder: str) -> bool:
    """Tell whether a package in a folder of packages declares a plug-in."""
    files = iglob(os.path.join(glob_escape(folder), "*-info", "entry_points.txt"))
    return any(f"[{GROUP}]" in Path(file).read_text(errors="replace") for file in files)


def recorded(entries: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    """Return what a run keeps of the plug-ins that entered any of these.

    Arguments:
        entries: Kind and name of what it uses, as of `Plugin.entries`.

    Returns:
        Name and sha256 of each.
    """
    used = set(entries)
    return [
        {"name": plugin.name, "sha256": plugin.sha256}
        for plugin in loaded()
        if used.intersection(plugin.entries)
    ]


def refusal(subject: str, records: Iterable[Mapping[str, str]]) -> str:
    """Say which of the plug-ins that something was made with is not here as it was then.

    Arguments:
        subject: What was made with them, as the sentence begins.
        records: What `recorded` returned.

    Returns:
        A sentence; empty where all are here.
    """
    hashes = {plugin.sha256 for plugin in loaded()}
    for record in records:
        name, digest = record["name"], record["sha256"]
        if digest in hashes:
            continue
        before = f"{subject} was made with plug-in '{name}' of sha256 {digest}"
        current = _LOADED.get(name)
        if current is not None:
            return (
                f"{before}, and {current.path} has {current.sha256} now; give the file as it was "
                "then, or train anew."
            )
        return (
            f"{before}, which was not given; add --plugin {name}.py, the file as it was then, or "
            "install the package that it is of."
        )
    return ""


def _content(file: Path) -> bytes:
    """Read a plug-in's file."""
    if file.suffix != ".py":
        raise BadPlugin(f"'{file}' is no Python file; a plug-in is one, such as mine.py.")
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise BadPlugin(f"there is no plug-in '{file}'; give the path of a Python file.") from None
    except OSError as error:
        raise BadPlugin(f"plug-in '{file}' cannot be read: {error.strerror}.") from None


def _execute(plugin: Plugin, content: bytes) -> None:
    """Make a module of a file's bytes: of those that were hashed, and of no cache of them."""
    module = ModuleType(plugin.module)
    module.__file__ = plugin.path
    # Where a recipe's source is asked for, it is that which was read, whatever lies there by then.
    lines = content.decode(errors="replace").splitlines(keepends=True)
    linecache.cache[plugin.path] = (len(content), None, lines, plugin.path)
    sys.modules[plugin.module] = module
    exec(compile(content, plugin.path, "exec", dont_inherit=True), module.__dict__)


def _installed(point: EntryPoint) -> Plugin:
    """Import what an entry point names, unless that was read before."""
    package = point.dist.name if point.dist is not None else point.module
    try:
        spec = find_spec(point.module)
    except ImportError:
        spec = None
    if spec is None or spec.origin is None:
        raise BadPlugin(
            f"package '{package}' declares the plug-in '{point.name}' as {point.module}, which is "
            f"not there; install it anew, or remove it ('pip uninstall {package}')."
        )
    files = [Path(spec.origin)]
    if spec.submodule_search_locations is not None:
        files = sorted(files[0].parent.rglob("*.py"))
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    plugin = Plugin(
        name=point.name, origin="package", path=spec.origin, sha256=digest, module=point.module
    )
    before = _LOADED.get(plugin.name)
    if before is not None and before.sha256 == digest:
        return before
    if before is not None:
        raise BadPlugin(
            f"package '{package}' has the plug-in '{plugin.name}', which {before.path} is called "
            "too; remove the package, or rename the file."
        )
    return _imported(plugin, lambda: importlib.import_module(plugin.module))


def _imported(plugin: Plugin, run: Callable[[], object]) -> Plugin:
    """Import a plug-in, whole or not at all."""
    is_new = plugin.module not in sys.modules
    try:
        run()
    except BaseException as error:
        plugin.withdraw()
        if is_new:
            sys.modules.pop(plugin.module, None)
        is_sentence = getattr(error, "status", None) is not None
        if is_sentence or not isinstance(error, Exception | SystemExit):
            raise
        raise BadPlugin(_explained(plugin, error)) from error
    _LOADED[plugin.name] = plugin
    return plugin


def _explained(plugin: Plugin, error: BaseException) -> str:
    """Say in a sentence why a plug-in cannot be imported."""
    frames = traceback.extract_tb(error.__traceback__)
    own_lines = [frame.lineno for frame in frames if frame.filename == plugin.path]
    line = error.lineno if isinstance(error, SyntaxError) else (own_lines or [None])[-1]
    where = f"plug-in '{plugin.name}' ({plugin.path}{f', line {line}' if line else ''})"
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.split(".")[0]
        if package in sys.modules or package == "trilemma":
            return (
                f"{where} needs the module '{error.name}', which is not there; correct its name."
            )
        return (
            f"{where} needs the package '{package}', which is not here; install it "
            f"('pip install {package}'), or keep the plug-in in one file."
        )
    words = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    if isinstance(error, SyntaxError):
        words = error.msg
    message = f"{type(error).__name__}: {words}".rstrip(": ")
    return f"{where} fails when it is imported: {message}."
