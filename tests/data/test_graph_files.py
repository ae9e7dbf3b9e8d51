"""A user's own graphs: every form, what is said of them, and what cannot be used."""

from __future__ import annotations

import json

import networkx as nx
import pytest
import torch
from PIL import Image
from scipy.io import mmwrite

from trilemma.core.errors import BadInput
from trilemma.core.graph import stacked
from trilemma.data import graph_files, graph_writing
from trilemma.data.check import check
from trilemma.data.graph_formats import FORMS
from trilemma.data.graph_writing import MANY, SINGLE
from trilemma.data.plain_graph import of_network
from trilemma.data.sources import load, with_radius

XGMML = """<graph directed="0" xmlns="http://www.cs.rpi.edu/XGMML">{nodes}{edges}</graph>"""


def write(path, network):
    """Write a graph as networkx does, or by hand where it does not write a form."""
    kind, edges = path.suffix, list(network.edges)
    if kind in (".edges", ".edgelist", ".ncol"):
        nx.write_edgelist(network, path, data=kind != ".ncol")
    elif kind in (".graphml", ".gml", ".gexf"):
        getattr(nx, f"write_{kind[1:]}")(network, path)
    elif kind == ".net":
        nx.write_pajek(network, path)
    elif kind == ".mtx":
        mmwrite(path, nx.to_scipy_sparse_array(network), symmetry="symmetric", field="pattern")
    elif kind == ".json":
        path.write_text(json.dumps(nx.node_link_data(network, edges="edges")))
    elif kind == ".cyjs":
        path.write_text(json.dumps(nx.cytoscape_data(network)))
    elif kind == ".sif":
        path.write_text("".join(f"{a} pp {b}\n" for a, b in edges))
    elif kind == ".xgmml":
        nodes = "".join(f'<node id="{n}" label="Zürich"/>' for n in network)
        text = "".join(f'<edge source="{a}" target="{b}"/>' for a, b in edges)
        path.write_text(XGMML.format(nodes=nodes, edges=text))
    elif kind == ".s6":
        path.write_bytes(nx.to_sparse6_bytes(network, header=True))
    else:
        path.write_bytes(nx.to_graph6_bytes(network, header=True))


@pytest.mark.parametrize("kind", FORMS)
def test_every_form_comes_back(kind, tmp_path):
    network = nx.gnm_random_graph(9, 14, seed=2)
    path = tmp_path / f"one{kind}"
    write(path, network)
    result = graph_files.read(path)
    rebuilt = nx.Graph(result.edges.tolist())
    assert result.nodes == 9
    assert nx.is_isomorphic(rebuilt, network)
    assert (result.loops, result.parallel, result.is_directed, result.is_weighted) == (
        *(0, 0), *(False, False)
    )  # fmt: skip


@pytest.mark.parametrize("form", [*MANY, *SINGLE])
def test_what_is_written_is_read(form, tmp_path):
    """Of a single node too, which a model may draw; but a list of edges knows none without one."""
    networks = [nx.path_graph(4), nx.cycle_graph(5), nx.empty_graph(1), nx.star_graph(3)]
    if form in SINGLE:
        networks = networks[:1] if form.startswith(".edge") else networks[2:3]
    x = stacked([graph_files.dense(of_network(one)) for one in networks])
    graph_writing.write(x, tmp_path / f"drawn{form}", form)
    contents = graph_files.read_graphs(tmp_path / f"drawn{form}")
    assert not contents.left_out()
    assert torch.equal(stacked([graph_files.dense(one) for one in contents.graphs]), x)


def test_a_folder_of_all_forms_is_a_set(tmp_path):
    for i, kind in enumerate(FORMS):
        write(tmp_path / f"{i}{kind}", nx.gnm_random_graph(8 + i, 12, seed=i))
    (tmp_path / "readme.txt").write_text("mine")
    data = load(str(tmp_path))
    assert len(data.train) + len(data.test) == len(FORMS)
    assert data.domain.kind == "graph"
    assert not any("left out" in note for note in data.notes)


EDGES = [(0, 1), (1, 2)]
ODD = {
    "no labels.gml": "graph [ node [ id 5 ] node [ id 7 ] node [ id 9 ] "
    "edge [ source 5 target 7 ] edge [ source 7 target 9 ] ]",
    "parallel.gml": "graph [ node [ id 0 ] node [ id 1 ] node [ id 2 ] edge [ source 0 target 1 ] "
    "edge [ source 0 target 1 ] edge [ source 1 target 2 ] ]",
    "equal labels.gml": 'Creator "x"\n# a comment [\ngraph\n[\n directed 0\n node [ id 0 label '
    '"a" ] node [ id 1 label "a" ] node [ id 2 label "[ a" ]\n'
    "edge [ source 0 target 1 ] edge [ source 1 target 2 ]\n]",
    "other scripts.gml": 'graph [ node [ id 0 label "Zürich" ] node [ id 1 label "東京" ] '
    "node [ id 2 ] edge [ source 0 target 1 ] edge [ source 1 target 2 ] ]",
    "numbers.gml": "graph [ node [ id 0 x NaN ] node [ id 1 x 1e5 ] node [ id 2 x -inf ] "
    "edge [ source 0 target 1 w 1E-3 ] edge [ source 1 target 2 ] ]",
    "undeclared.graphml": '<graphml><graph edgedefault="undirected"><node id="a"/>'
    '<node id="b"><data key="d9">x</data></node><node id="c"/>'
    '<edge source="a" target="b"/><edge source="b" target="c"/></graph></graphml>',
    "wrong type.graphml": '<graphml><key id="d0" for="node" attr.name="age" attr.type="int"/>'
    '<graph><node id="a"><data key="d0">1.0</data></node><node id="b"/><node id="c"/>'
    '<edge source="a" target="b"/><edge source="b" target="c"/></graph></graphml>',
    "attributes.edges": "0 1 {'weight': 2}\n1 2 {'weight': 3, 'kind': 'a b'}\n",
    "empty attributes.edges": "0 1 {}\n1 2 {}\n",
    "snap.edges": "# Nodes: 3 Edges: 4\n# FromNodeId\tToNodeId\n4\t5\n5\t4\n5\t6\n6\t5\n",
    "names.edgelist": "anna bob {}\nbob carl {}\n",
    "commas.edges": "1,2\n2,3\n",
    "size.mtx": "%%MatrixMarket matrix coordinate pattern symmetric\n% made\n3 3 2\n2 1\n3 2\n",
    "size.edges": "%%MatrixMarket matrix coordinate real general\n3 3 4\n"
    "1 2 .5\n2 1 .5\n2 3 1\n3 2 1\n",
    "d3.json": '{"nodes": [{"name": "a"}, {"name": "b"}, {"name": "c"}], '
    '"links": [{"source": 0, "target": 1}, {"source": 1, "target": 2}]}',
    "labels of two types.json": '{"nodes": [{"id": 0}, {"id": "0"}, {"id": [0, 1]}], '
    '"edges": [{"source": 0, "target": "0"}, {"source": "0", "target": [0, 1]}]}',
    "spaces.sif": "a one\tpp\tb\nb\tpp\tc\n",
    "list.net": '*Vertices 3\n1 "a b"\n*Edgeslist\n1 2\n2 3\n',
    "arcs.net": "*Network x\n*Vertices 3\n*Arcs\n1 2 1\n2 1 1\n2 3 1\n",
}
"""A path of three nodes, as files say it that strict readers refuse."""


@pytest.mark.parametrize("name", ODD)
def test_common_files_are_read(name, tmp_path):
    (tmp_path / name).write_text(ODD[name])
    one = graph_files.read(tmp_path / name)
    assert one.nodes == 3
    assert nx.is_isomorphic(nx.Graph(one.edges.tolist()), nx.Graph(EDGES))
    assert one.loops == 0
    assert one.parallel == (name == "parallel.gml")
    assert one.is_weighted == (name in ("attributes.edges", "size.edges"))
    assert one.is_directed == (name in ("size.edges", "arcs.net"))


def test_a_heading_is_left_out_and_said(tmp_path):
    (tmp_path / "x.edges").write_text("source target\n1 2\n2 3\n")
    contents = graph_files.read_graphs(tmp_path / "x.edges")
    assert contents.graphs[0].nodes == 3
    assert contents.left_out() == ["left out, a heading (1): x.edges line 1"]


def test_a_graph_that_cannot_be_used_costs_its_own_place(tmp_path):
    lines = [nx.to_graph6_bytes(nx.path_graph(n), header=False) for n in (1, *range(3, 9), 2001)]
    (tmp_path / "all.g6").write_bytes(b"".join([*lines, b"G~\n", b"&AO\n"]))
    notes = load(str(tmp_path / "all.g6")).notes
    left_out = [note for note in notes if note.startswith("left out")]
    assert [note.rsplit(": ", 1)[1] for note in left_out] == [
        *("all.g6 line 9", "all.g6 line 10", "all.g6", "all.g6 8"),
    ]
    assert "a single node (1)" in left_out[2]
    assert "more than 2,000 nodes" in left_out[3]
    report = check(str(tmp_path / "all.g6"))
    assert report.holds
    assert sum(map(len, report.unreadable.values())) == 4


def test_a_network_may_have_any_suffix(tmp_path):
    (tmp_path / "facebook.txt").write_text(
        "# SNAP\n" + "".join(f"{i} {i + 1}\n" for i in range(9))
    )
    assert len(load(with_radius(str(tmp_path / "facebook.txt"), 1)).train) > 3
    with pytest.raises(BadInput, match="is a file; wanted is"):
        load(str(tmp_path / "facebook.txt"))


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
        (tmp_path / f"{i}.edges").write_text(f"0 1 0.5\n0 1\n1 1\n1 {2 + i}\n")
    write(tmp_path / "d.graphml", nx.DiGraph([(0, 1), (1, 0), (1, 2)]))
    message = " ".join(load(str(tmp_path)).notes)
    assert "self-loops dropped: 5 in 5 graphs" in message
    assert "parallel edges taken for one: 5 in 5" in message
    assert "directed in the file and taken for undirected: 1 graph" in message
    assert "weighted in the file and taken for unweighted: 5" in message


BAD = {
    "empty.edges": ("# nothing\n", "an empty graph"),
    "single.edges": ("4 4\n", "a single node"),
    "half.edges": ("1 2\n3\n", "line 2 has one node"),
    "nowhere.gml": (
        "graph [ node [ id 0 ] node [ id 1 ] edge [ source 0 target 7 ] ]",
        "an edge ends at node '7', which is not there",
    ),
    "twice.graphml": ('<graph><node id="a"/><node id="a"/></graph>', "two nodes have the id 'a'"),
    "no id.gml": ("graph [ node [ label 3 ] ]", "node 1 has no id"),
    "no end.gml": ("graph [ node [ id 1 ] edge [ source 1 ] ]", "edge 1 has no target"),
    "oblong.mtx": (
        "%%MatrixMarket matrix coordinate pattern general\n3 4 1\n1 4\n",
        "3 rows and 4 columns",
    ),
    "cut.mtx": ("%%MatrixMarket matrix coordinate pattern general\n3 3 2\n1 2\n", "cut short"),
    "other.mtx": ("1 2\n", "does not begin with"),
    "beyond.net": ("*Vertices 3\n*Edges\n1 4\n", "line 3 names node '4', and there are 1 … 3"),
    "other.net": ("1 2\n", "no line '.Vertices N'"),
    "half.sif": ("a pp\n", "line 1 has a node and a kind of edge"),
    "hyper.graphml": ("<graph><node id='a'/><hyperedge/></graph>", "more than two nodes"),
    "cut.graphml": ("<graphml><graph>", "cut short or damaged"),
    "cut.gml": ("graph [ node [ id 0", "cut short or damaged"),
    "cut.json": ('{"nodes": [', "cut short or damaged"),
    "other.json": ('{"a": 1}', "no node-link data"),
    "number.json": ("3", "no node-link data"),
    "cut.g6": ("G~", "line 1: it is no graph6"),
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
    with pytest.raises(BadInput, match="no text in UTF-8"):
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
    assert len(load(str(path)).train) == 4
    path.write_bytes(nx.to_graph6_bytes(path_graphs[-1], header=False))
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


@pytest.mark.parametrize("nodes", [1, 2, 7, 62, 63, 300])
@pytest.mark.parametrize("chance", [0.0, 0.3, 1.0])
def test_graph6_is_read_as_networkx_reads_it(tmp_path, nodes, chance):
    network = nx.gnp_random_graph(nodes, chance, seed=nodes)
    path = tmp_path / "one.g6"
    path.write_bytes(nx.to_graph6_bytes(network, header=False))
    ours, theirs = graph_files.read(path), of_network(network)
    assert ours.nodes == theirs.nodes
    assert ours.edges.tolist() == theirs.edges.tolist()


@pytest.mark.parametrize("code", ["~", "~?", "~~", "B", "Bww", "Bw!", "B\x1fw"])
def test_what_is_no_graph6_is_refused(tmp_path, code):
    path = tmp_path / "one.g6"
    path.write_text(code)
    with pytest.raises(BadInput, match="line 1: it is no graph6"):
        graph_files.read(path)


def test_graphs_are_read_once_to_be_checked(tmp_path, monkeypatch):
    path = tmp_path / "many.g6"
    path.write_bytes(
        b"".join(nx.to_graph6_bytes(nx.path_graph(n), header=False) for n in range(3, 12))
    )
    reads = []
    real = graph_files.read_graphs
    monkeypatch.setattr(
        graph_files, "read_graphs", lambda *arguments: reads.append(arguments) or real(*arguments)
    )
    assert check(str(path)).holds
    assert len(reads) == 1
