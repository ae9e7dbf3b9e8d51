"""The laws of the library: all hold, each stands in a source that its check declares."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import trilemma.laws
from trilemma.core.errors import BadInput, Interrupted
from trilemma.laws.book import library_laws, timed
from trilemma.laws.law import Check, equal

pytestmark = pytest.mark.all_classifiers


@pytest.mark.parametrize(
    "check", library_laws(), ids=lambda check: f"{check.file}-{check.__name__}"
)
def test_laws_hold(check):
    laws = check()
    assert laws
    for law in laws:
        assert law.holds, law
    assert len({law.name for law in laws}) == len(laws)
    assert {law.source for law in laws} <= set(check.sources)
    assert len(check.title) > 10


def test_every_file_of_laws_is_in_the_book():
    files = {module.name for module in pkgutil.iter_modules(trilemma.laws.__path__)}
    written = {
        name
        for name in files - {"trained"}
        if hasattr(importlib.import_module(f"trilemma.laws.{name}"), "CHECKS")
    }
    assert {check.file for check in library_laws()} == written
    assert len(set(library_laws())) == len(library_laws())
    assert all(isinstance(check, Check) for check in library_laws())


def test_a_check_that_ends_in_an_error_is_a_law_that_does_not_hold():
    def sound():
        return [equal("one", "nowhere", 1, 1, 0)]

    def crashing():
        raise KeyError("mine")

    (broken, _), (passing, _) = timed([crashing, sound])
    assert passing.holds
    assert not broken.holds
    assert "'crashing' can be computed; it ends in KeyError: 'mine'" in broken.name


@pytest.mark.parametrize("error", [BadInput("too small"), Interrupted(2, "stopped")])
def test_what_the_user_did_is_no_failed_law(error):
    def crashing():
        raise error

    with pytest.raises(type(error)):
        list(timed([crashing]))
