"""Files of Debian packages: found, fetched, held against their hashes, converted once."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from trilemma.core.errors import BadInput
from trilemma.data import cache, package_source
from trilemma.data.debian_source import Bundle, Debian

CONTENT = {"one": b"first", "other": b"second"}


def path_of(name):
    return f"usr/share/{name}/file"


def convert(files):
    return {
        name: torch.frombuffer(bytearray(files[path_of(name)]), dtype=torch.uint8)
        for name in CONTENT
    }


def lay(root, name, content):
    for at, what in (
        (path_of(name), content),
        (f"usr/share/doc/{name}/copyright", b"terms of it"),
    ):
        (root / at).parent.mkdir(parents=True, exist_ok=True)
        (root / at).write_bytes(what)


@pytest.fixture
def bundle(tmp_path):
    parts = [
        Debian(name, {path_of(name): hashlib.sha256(content).hexdigest()})
        for name, content in CONTENT.items()
    ]
    return Bundle("things", parts, convert, root=tmp_path / "system")


@pytest.fixture
def apt(monkeypatch):
    """A manager of paper that lays out what it is told to have."""
    has, requests = dict(CONTENT), []

    def run(command, *, cwd, **_):
        requests.append(" ".join(command[:2]))
        if isinstance(has.get("fails"), Exception):
            raise has["fails"]
        if command[0] == "apt-get":
            (Path(cwd) / f"{command[2]}_1_all.deb").write_bytes(b"deb")
        else:
            name = command[2].partition("_")[0]
            lay(Path(cwd) / command[3], name, has[name])

    monkeypatch.setattr(package_source.subprocess, "run", run)
    return has, requests


def test_fetch_gets_verifies_converts_once_and_keeps_both_licences(bundle, apt, own_cache):
    assert not bundle.available()
    with pytest.raises(BadInput, match=r"not on this machine; get it by 'trilemma data fetch thi"):
        bundle.tensors()
    assert bundle.fetch() == own_cache / "things.safetensors"
    assert apt[1] == ["apt-get download", "dpkg -x"] * 2
    assert bundle.available()
    assert bytes(bundle.tensors()["other"].tolist()) == b"second"
    terms = (own_cache / "things.LICENSE.txt").read_text()
    assert terms.count("terms of it") == 2
    assert "one\n" in terms
    assert bundle.fetch() == own_cache / "things.safetensors"
    assert len(apt[1]) == 4
    assert sorted(p.name for p in own_cache.iterdir()) == [
        "things.LICENSE.txt",
        "things.safetensors",
    ]


def test_installed_packages_are_used_and_kept(bundle, apt, own_cache):
    for name, content in CONTENT.items():
        lay(bundle.root, name, content)
    assert bundle.available()
    assert bytes(bundle.tensors()["one"].tolist()) == b"first"
    assert bundle.cache_path.is_file()
    (bundle.root / path_of("one")).unlink()
    assert bytes(bundle.tensors()["one"].tolist()) == b"first"
    assert apt[1] == []


def test_a_package_of_another_version_is_fetched_beside_it(bundle, apt):
    lay(bundle.root, "one", b"older")
    lay(bundle.root, "other", CONTENT["other"])
    with pytest.raises(BadInput, match="is not the file that is known"):
        bundle.tensors()
    bundle.fetch()
    assert apt[1] == ["apt-get download", "dpkg -x"]
    assert bytes(bundle.tensors()["one"].tolist()) == b"first"


def test_other_content_than_the_known_is_refused(bundle, apt, own_cache):
    apt[0]["other"] = b"changed"
    with pytest.raises(BadInput, match=r"nothing of it was used; get it by.*apt-get install one"):
        bundle.fetch()
    assert not own_cache.exists()


@pytest.mark.parametrize(
    ("fails", "why"),
    [
        (FileNotFoundError(2, "x"), "'apt-get' is not on this machine, so"),
        (subprocess.CalledProcessError(100, "x", stderr="E: no network\n"), "no network"),
        (subprocess.TimeoutExpired("x", 900), "did not end within 15 minutes"),
    ],
)
def test_a_manager_that_fails_is_named_with_the_ways(bundle, apt, fails, why):
    apt[0]["fails"] = fails
    with pytest.raises(BadInput, match=why) as caught:
        bundle.fetch()
    assert str(caught.value).count(". ") == 0
    assert "'apt-get install one other'" in str(caught.value)


def test_what_another_form_has_left_is_not_used(bundle, apt):
    bundle.fetch()
    later = replace(bundle, form=2)
    with pytest.raises(BadInput, match="not on this machine"):
        later.tensors()
    later.fetch()
    assert len(apt[1]) == 8
    bundle.cache_path.write_bytes(b"damaged")
    assert cache.read(bundle.cache_path) is None
    bundle.fetch()
    assert len(apt[1]) == 12


def test_a_cache_that_cannot_be_written(bundle, apt, monkeypatch):
    monkeypatch.setattr(cache, "write", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(BadInput, match=r"cannot be written \(full\); set XDG_CACHE_HOME"):
        bundle.fetch()
    for name, content in CONTENT.items():
        lay(bundle.root, name, content)
    assert set(bundle.tensors()) == set(CONTENT)
