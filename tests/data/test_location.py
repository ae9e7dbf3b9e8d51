"""What a text means that somebody gives as data, here and in every other folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trilemma.core.errors import BadInput
from trilemma.data import location, sources


@pytest.fixture(autouse=True)
def workdir(tmp_path, monkeypatch):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def meant(text):
    """Return what a command takes a text for."""
    return sources.declared(text, radius=None, columns=None)


@pytest.mark.parametrize("make", [os.mkdir, lambda name: Path(name).touch()])
@pytest.mark.parametrize("text", ["digits", "digits@10%", "two-moons", "mnist", "ego"])
def test_a_name_that_is_a_path_too_is_refused_in_one_sentence(text, make):
    name = text.partition("@")[0]
    make(name)
    with pytest.raises(BadInput) as refused:
        meant(text)
    sentence = str(refused.value)
    assert sentence.count(".") == sentence.count("./") + 1
    assert f"'./{name}'" in sentence
    assert f"'name:{text}'" in sentence
    assert meant(f"name:{text}") == text
    assert meant(f"./{name}") == os.path.abspath(name)


def test_a_link_to_nothing_and_the_whole_text_are_paths_too():
    os.symlink("nowhere", "digits")
    os.mkdir("mnist@10%")
    for text in ("digits", "mnist@10%"):
        with pytest.raises(BadInput, match=f"'./{text}'"):
            meant(text)
    assert meant("mnist") == "mnist"


@pytest.mark.parametrize("text", ["digits", "digits@10%", "swiss-roll"])
def test_a_name_is_meant_where_nothing_else_has_it(text):
    os.mkdir("digits.csv")  # another name
    assert meant(text) == meant(f"name:{text}") == text


@pytest.mark.parametrize("text", ["name:digts", "name:", "name:./digits", "name:digts@10%"])
def test_what_is_said_to_be_a_name_is_one(text):
    with pytest.raises(BadInput, match="unknown data set"):
        meant(text)


def test_in_python_a_name_is_the_set_whatever_lies_here():
    os.mkdir("digits")
    digits = sources.load("digits")
    assert sources.load("name:digits").fingerprint == digits.fingerprint
    assert sources.load("name:digits@10%").name == "digits@10%"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("album", "album"),
        ("./album", "album"),
        ("album/.", "album/."),
        ("net.edges@ego3", "net.edges@ego3"),
        ("my@home", "my@home"),
        ("people.csv@columns:a/b=real", "people.csv@columns:a/b=real"),
    ],
)
def test_a_path_means_the_same_in_every_folder(text, path, workdir, monkeypatch):
    for name in ("album", "my@home", "elsewhere"):
        os.mkdir(name)
    for name in ("net.edges", "people.csv"):
        Path(name).touch()
    absolute = f"{workdir}/{path}"
    assert meant(text) == absolute
    monkeypatch.chdir("elsewhere")
    assert meant(absolute) == absolute
    assert sources.path_of(absolute).exists()


def test_what_lies_nowhere_is_left_to_whoever_reads_it():
    for text in ("", "albm", "./albm", "no\0name"):
        assert meant(text) == text
    assert meant("~/no such folder") == os.path.expanduser("~/no such folder")


@pytest.mark.parametrize(
    ("text", "before", "now"),
    [
        ("new", "/old/net.edges@ego3", "new@ego3"),
        ("new@ego2", "/old/net.edges@ego3", "new@ego2"),
        ("new.csv", "/old/a.csv@columns:age=real", "new.csv@columns:age=real"),
        ("new.csv@columns:b=drop", "/old/a.csv@columns:age=real", "new.csv@columns:b=drop"),
        ("new", "/old/album", "new"),
        ("digits", "/old/a.csv@columns:age=real", "digits"),
    ],
)
def test_what_was_declared_goes_along_when_data_move(text, before, now):
    assert sources.moved_to(text, before) == now


def test_a_spelling_that_lasts_is_kept_as_it_is():
    names = ["digits"]
    for text in ("digits", "/somewhere/else", "name:digits"):
        lasting = location.lasting(text, names)
        assert location.lasting(lasting, names) == lasting
