"""A user's own graphs: every form, what is said of them, and what cannot be used."""

from __future__ import annotations

import json

import networkx as nx
import pytest
from PIL import Image

from trilemma.core.errors import BadInput
from trilemma.data import graph_files
from trilemma.data.check import check
from trilemma.data.sources import load, with_radius


def write(path, network):
    kind = path.suffix
    if kind in (".edges", ".edgelist"):
        nx.write_edgelist(network, path, data=False)
    elif kind == ".graphml":
        nx.write_graphml(network, path)
    elif kind == ".gml":
        nx.write_gml(network, path)
    elif kind == ".json":
        path.write_text(json.dumps(nx.node_link_data(network, edges="edges")))
    else:
        path.write_bytes(nx.to_graph6_bytes(network, header=True))


@pytest.mark.parametrize("kind", graph_files.FORMS)
def test_every_form_comes_back(kind, tmp_path):
    network = nx.gnm_random_graph(9, 14, seed=2)
    path = tmp_path / f"one{kind}"
    write(path, network)
    result = graph_files.read(path)
    rebuilt = nx.Graph(result.edges.tolist())
    assert result.nodes == 9
    assert nx.is_isomorphic(rebuilt, network)


def test_a_folder_of_all_forms_is_a_set(tmp_path):
    for i, kind in enumerate([*graph_files.FORMS] * 2):
        write(tmp_path / f"{i}{kind}", nx.gnm_random_graph(8 + i, 12, seed=i))
    (tmp_path / "readme.txt").write_text("mine")
    data = load(str(tmp_path))
    assert len(data.train) + len(data.test) == 12
    assert data.domain.kind == "graph"


def test_several_graphs_of_one_file(tmp_path):
    path = tmp_path / "all.g6"
    path.write_bytes(
        b"".join(nx.to_graph6_bytes(nx.path_graph(n), header=False) for n in range(3, 12))
    )
    assert len(load(str(path)).train) == 7
    path = tmp_path / "all.json"
    path.write_text(
        json.dumps([nx.node_link_data(nx.path_graph(n), edges="links") for n in range(3, 9)])
    )
    assert len(load(str(path)).train) == 4


def test_what_is_left_out_of_graphs_is_said(tmp_path):
    for i in range(5):
        (tmp_path / f"{i}.edges").write_text(f"0 1 0.5\n1 0\n1 1\n1 {2 + i}\n")
    write(tmp_path / "d.graphml", nx.DiGraph([(0, 1), (1, 0), (1, 2)]))
    message = " ".join(load(str(tmp_path)).notes)
    assert "self-loops dropped: 5 in 5 graphs" in message
    assert "parallel edges taken for one: 5 in 5" in message
    assert "directed in the file and taken for undirected: 1 graph" in message
    assert "weighted in the file and taken for unweighted: 5" in message


BAD = {
    "empty.edges": ("# nothing\n", "an empty graph"),
    "single.edges": ("4 4\n", "a single node"),
    "half.edges": ("1 2\n3\n", "line 2 has one number"),
    "words.edges": ("1 2\nanna bob\n", "line 2 names its nodes 'anna bob'"),
    "cut.graphml": ("<graphml><graph>", "cut short or damaged"),
    "cut.gml": ("graph [ node [ id 0", "cut short or damaged"),
    "cut.json": ('{"nodes": [', "cut short or damaged"),
    "other.json": ('{"a": 1}', "no node-link data"),
    "number.json": ("3", "no node-link data"),
    "cut.g6": ("G~", "line 1 is no graph6"),
    "empty.json": ("[]", "an empty graph"),
    "deep.json": ("[" * 100_000, "cut short or damaged"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_cannot_be_used_says_why(name, tmp_path):
    text, message = BAD[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(BadInput, match=message):
        load(str(tmp_path / name))


def test_in_a_folder_bad_files_are_left_out_and_named(tmp_path):
    for i in range(6):
        write(tmp_path / f"{i}.edges", nx.path_graph(5 + i))
    for name, (text, _) in BAD.items():
        (tmp_path / name).write_text(text)
    assert sum("left out" in note for note in load(str(tmp_path)).notes) >= 5
    report = check(str(tmp_path))
    assert report.holds
    assert sum(map(len, report.unreadable.values())) == len(BAD)
    assert report.facts["nodes"] == "5 to 10, median 7"
    assert report.counts["files"] == 6 + len(BAD)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "x.edges").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(BadInput, match="cannot be read"):
        load(str(tmp_path / "x.edges"))


def test_a_network_is_cut_into_egos(tmp_path):
    path = tmp_path / "net.edges"
    write(path, nx.gnm_random_graph(60, 90, seed=0))
    with pytest.raises(BadInput, match="--ego-radius R"):
        load(str(path))
    data = load(with_radius(str(path), 2))
    assert "ego graphs of radius 2" in " ".join(data.notes)
    assert not check(str(path)).holds
    assert check(with_radius(str(path), 1)).holds


@pytest.mark.parametrize(
    ("name", "radius", "message"), [("grid", 2, "name of a set"), ("digits", 1, "name of a set")]
)
def test_a_radius_is_for_networks(name, radius, message):
    with pytest.raises(BadInput, match=message):
        with_radius(name, radius)


def test_a_radius_is_for_one_network(tmp_path):
    for i in range(6):
        write(tmp_path / f"{i}.edges", nx.path_graph(5 + i))
    with pytest.raises(BadInput, match="takes one network"):
        load(f"{tmp_path}@ego2")


def test_too_large(tmp_path):
    path = tmp_path / "all.g6"
    path_graphs = [nx.path_graph(n) for n in (*range(4, 9), 2001)]
    path.write_bytes(b"".join(nx.to_graph6_bytes(g, header=False) for g in path_graphs))
    with pytest.raises(BadInput, match="more than 2,000 nodes"):
        load(str(path))


def test_all_graphs_of_one_graphml_file_are_read(tmp_path):
    path = tmp_path / "two.graphml"
    nx.write_graphml(nx.path_graph(4), path)
    text = path.read_text()
    one = text[text.index("<graph ") : text.index("</graph>") + len("</graph>")]
    path.write_text(text.replace(one, one + one))
    assert [g.nodes for g in graph_files.read_graphs(path).graphs] == [4, 4]


class TestFoldersOfOtherThings:
    @pytest.fixture
    def album(self, tmp_path):
        for i in range(4):
            Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / f"{i}.png")
        return tmp_path

    def test_a_json_file_beside_images_is_no_graph(self, album):
        (album / "about.json").write_text("{}")
        assert not graph_files.is_graphs(album)

    def test_images_and_graphs_together_are_refused(self, album):
        write(album / "a.edges", nx.path_graph(4))
        with pytest.raises(BadInput, match="4 images and 1 files of graphs"):
            load(str(album))
