"""What a run of graphs writes, and what it makes of a graph that a user gives."""

from __future__ import annotations

import json
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from PIL import Image
from refusals import refused
from safetensors.torch import load_file

from trilemma.cli import main
from trilemma.core.graph import adjacency, sizes
from trilemma.data.graph_files import read_graphs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Train a small model of graphs a few steps."""
    folder = tmp_path_factory.mktemp("graphs") / "run"
    words = ["graphrnn", "--data", "community-small", "--hidden", "32", "--width", "16"]
    assert main(["train", *words, "--steps", "10", "--run", str(folder)]) == 0
    return folder


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sample(run, *words):
    assert main(["sample", str(run), *words]) == 0


def test_every_form_holds_the_same_graphs(run, workdir):
    for name in ("a.g6", "a.json", "a.npz", "a.safetensors", "many"):
        sample(run, "-n", "6", "--out", name)
    x = load_file("a.safetensors")["x"]
    assert np.array_equal(np.load("a.npz")["x"], x.numpy())
    counts = [(int(sizes(one)), int(adjacency(one).sum()) // 2) for one in x]
    lines = nx.read_graph6("a.g6")
    assert [(len(g), g.number_of_edges()) for g in lines] == counts
    assert [len(one["nodes"]) for one in json.loads(Path("a.json").read_text())] == [
        n for n, _ in counts
    ]
    files = sorted(Path("many").iterdir())
    assert [p.suffix for p in files] == [".graphml"] * 6
    assert [(len(g), g.number_of_edges()) for g in map(nx.read_graphml, files)] == counts


def test_one_graph_goes_into_a_file_of_one(run, workdir, capsys):
    sample(run, "-n", "1", "--out", "a.graphml")
    assert len(read_graphs(Path("a.graphml")).graphs) == 1
    message = refused(capsys, "sample", str(run), "-n", "3", "--out", "b.edges")
    assert "holds one graph, and 3 were asked for" in message
    assert not Path("b.edges").exists()
    message = refused(capsys, "sample", str(run), "-n", "3", "--out", "b.csv")
    assert ".g6" in message


def test_pictures_and_films_are_drawn(run, workdir):
    sample(run, "-n", "4", "--out", "a.png")
    sample(run, "-n", "4", "--out", "a.gif")
    with Image.open("a.png") as still, Image.open("a.gif") as film:
        assert film.n_frames > 3
        assert film.width == still.width


def test_a_graph_that_is_given_is_kept(run, workdir, capsys):
    Path("part.edges").write_text("10 11\n11 12\n12 10\n12 13\n")
    sample(run, "--cond", "part.edges", "-n", "8", "--out", "a.safetensors")
    x = load_file("a.safetensors")["x"]
    partial_graph = read_graphs(Path("part.edges")).graphs[0]
    pairs = {tuple(pair) for pair in partial_graph.edges.tolist()}
    for one in x:
        first = adjacency(one)[:4, :4]
        assert {tuple(p) for p in first.triu(1).nonzero().tolist()} == pairs
    assert len({int(n) for n in sizes(x)}) > 1
    sample(run, "--cond", "part.edges", "-n", "4", "--out", "a.png")
    with Image.open("a.png") as picture:
        red = np.abs(np.asarray(picture.convert("RGB")).astype(int) - [214, 40, 57]).max(-1)
        assert (red < 30).sum() > 20
    assert "no way to show" in refused(
        capsys, "sample", str(run), "--cond", "part.edges", "--out", "a.gif"
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("".join(f"{i} {i + 1}\n" for i in range(40)), "has 41 nodes, and this run's graphs have"),
        ("", "empty graph"),
        ("3\n", "line 1 has one node"),
    ],
)
def test_a_graph_that_cannot_be_given_gets_one_sentence(text, says, run, workdir, capsys):
    Path("part.edges").write_text(text)
    assert says in refused(capsys, "sample", str(run), "--cond", "part.edges", "--out", "a.png")
    assert not Path("a.png").exists()


def test_a_file_that_is_not_there_is_named(run, workdir, capsys):
    assert "no file 'part.edges'" in refused(
        capsys, "sample", str(run), "--cond", "part.edges", "--out", "a.png"
    )


def test_the_page_of_a_measured_run_shows_graphs(run, workdir, capsys):
    assert main(["evaluate", str(run), "--samples", "24", "--json"]) == 0
    assert "mmd" in json.loads(capsys.readouterr().out)["metrics"]
    page = (run / "report.html").read_text()
    for words in (
        "degrees, clustering, sizes and pieces",
        "graphs as they grow",
        "above their nearest training examples",
        "samples that keep the rule",
        "erdos-renyi",
    ):
        assert words in page


def test_a_contact_sheet_of_graphs_is_drawn(workdir):
    assert main(["data", "check", "community-small", "--out", "sheet.png"]) == 0
    with Image.open("sheet.png") as picture:
        assert picture.width > 1000  # six in a row
