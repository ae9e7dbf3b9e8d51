"""A textbook's tables: kept as the package has them, and read by the rule of tables."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace

import pytest

from trilemma.core.errors import BadInput
from trilemma.data import cache, islp, sources, wheel

TEXT = "default,student,balance\n" + "".join(
    f"{('No', 'Yes')[i % 9 == 0]},{('No', 'Yes')[i % 2]},{i * 7.25}\n" for i in range(90)
)
FILE = islp.FILES["default"][0]


def bring(command, into):
    assert command[-1] == "islp==0.4.1"
    with zipfile.ZipFile(into / "islp-0.4.1-py3-none-any.whl", "w") as packed:
        packed.writestr(FILE, TEXT)


def test_a_table_is_fetched_once_and_read_by_its_name(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(wheel, "run_manager", bring)
    with pytest.raises(BadInput, match="get it by 'trilemma data fetch default'"):
        sources.load("default")
    with pytest.raises(BadInput, match=r"Default.csv of .* is not the one that is known"):
        sources.fetch("default")
    wheel_set = replace(
        islp.TABLES["default"],
        wheel=wheel.Wheel("islp", "0.4.1", {FILE: hashlib.sha256(TEXT.encode()).hexdigest()}),
    )
    monkeypatch.setitem(islp.TABLES, "default", wheel_set)
    assert wheel_set.fetch() == cache.folder() / "default.safetensors"
    assert "BSD-3-Clause" in (cache.folder() / "default.LICENSE.txt").read_text()
    data = sources.load("default")
    assert data.domain.columns == ("default", "student", "balance")
    assert data.domain.kinds == ("category", "category", "real")
    assert "James" in data.notes[0]


def test_cards_and_files_are_of_the_same_sets():
    for name in islp.TABLES:
        assert sources.NAMES[name].kind == "points"
        assert name in sources.NAMES[name].how
