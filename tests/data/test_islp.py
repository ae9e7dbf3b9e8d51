"""A textbook's tables: kept as the package has them, and read by the rule of tables."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace

import pytest

from trilemma.core.errors import BadInput
from trilemma.data import cache, islp, sources, wheel
from trilemma.recipes import run_data
from trilemma.training.run import Run

TEXT = "default,student,balance\n" + "".join(
    f"{('No', 'Yes')[i % 9 == 0]},{('No', 'Yes')[i % 2]},{i * 7.25}\n" for i in range(90)
)
FILE = islp.FILES["default"][0]


def bring(command, into):
    assert command[-1] == "islp==0.4.1"
    with zipfile.ZipFile(into / "islp-0.4.1-py3-none-any.whl", "w") as packed:
        packed.writestr(FILE, TEXT)


@pytest.fixture
def manager(monkeypatch, tmp_path):
    """Have an empty cache, and a package manager that brings a file that is not the known one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(wheel, "run_manager", bring)


@pytest.fixture
def wheel_set(manager, monkeypatch):
    """Have that file be the known one."""
    wheel_set = replace(
        islp.TABLES["default"],
        wheel=wheel.Wheel("islp", "0.4.1", {FILE: hashlib.sha256(TEXT.encode()).hexdigest()}),
    )
    monkeypatch.setitem(islp.TABLES, "default", wheel_set)
    return wheel_set


def test_what_is_not_here_or_another_file_is_refused(manager):
    with pytest.raises(BadInput, match="get it by 'trilemma data fetch default'"):
        sources.load("default")
    with pytest.raises(BadInput, match=r"Default.csv of .* is not the one that is known"):
        sources.fetch("default")


def test_a_table_is_fetched_once_and_read_by_its_name(wheel_set):
    assert wheel_set.fetch() == cache.folder() / "default.safetensors"
    assert "BSD-3-Clause" in (cache.folder() / "default.LICENSE.txt").read_text()
    data = sources.load("default")
    assert data.domain.columns == ("default", "student", "balance")
    assert data.domain.kinds == ("category", "category", "real")
    assert "James" in data.notes[0]


def test_kinds_may_be_declared_of_a_named_table(wheel_set):
    wheel_set.fetch()
    source = sources.declared(
        "name:default", radius=None, columns="balance=drop", target="default"
    )
    assert source == "default@columns:balance=drop,default=target"
    assert sources.lasting(source) == source
    assert sources.is_named(source)
    assert sources.available(source)
    data = sources.load(source)
    assert data.domain.columns == ("student",)
    assert data.domain.classes == ("No", "Yes")
    assert any("James" in note for note in data.notes)
    with pytest.raises(BadInput, match="unknown column of 'default' 'balence'"):
        sources.load("default@columns:balence=drop")


def test_a_run_of_a_named_table_goes_on_and_is_measured_with_what_was_declared(
    wheel_set, tmp_path
):
    wheel_set.fetch()
    source = "default@columns:balance=drop"
    data = sources.load(source)
    run = Run.create(
        tmp_path / "run", {"name": "x", "data": run_data.record_of(data, source, None)}, {}
    )
    assert run_data.location(run) == source
    assert run_data.location(run, "default") == source
    assert run_data.location(run, "default@columns:student=drop").endswith("student=drop")
    assert sources.load(run_data.location(run)).fingerprint == data.fingerprint


def test_sets_that_are_no_tables_have_no_columns(wheel_set):
    for source in ("digits@columns:a=drop", "digits@10%@columns:a=drop"):
        with pytest.raises(
            BadInput, match=r"'digits.*' is none; leave them out, or give .* or bik"
        ):
            sources.load(source)
    with pytest.raises(BadInput, match="'two-moons' is none"):
        sources.declared("two-moons", radius=None, columns=None, target="x")


def test_cards_and_files_are_of_the_same_sets():
    for name in islp.TABLES:
        assert sources.NAMES[name].kind == "points"
        assert name in sources.NAMES[name].how
