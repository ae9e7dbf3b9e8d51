"""Samples that another program made: what is read, and what is refused in one sentence."""

from __future__ import annotations

import networkx
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from trilemma.core.errors import BadInput
from trilemma.core.graph import sizes
from trilemma.data import sources
from trilemma.data.ready import ready


@pytest.fixture(scope="module")
def plane():
    return sources.load("two-moons")


@pytest.fixture(scope="module")
def digits():
    return sources.load("digits")


@pytest.fixture(scope="module")
def graphs():
    return sources.load("community-small")


@pytest.fixture
def people(tmp_path):
    draw = np.random.default_rng(0)
    rows = [
        f"{draw.integers(18, 80)},{draw.choice(['red', 'blue', 'green'])},{draw.normal():.5f}"
        for _ in range(200)
    ]
    (tmp_path / "people.csv").write_text("\n".join(["age,colour,height", *rows]))
    return sources.load(str(tmp_path / "people.csv"))


def moved(x, by=0.013):
    """Return points that are near the data, and none of them."""
    return (x + by).numpy()


def refused(path, data):
    with pytest.raises(BadInput) as caught:
        ready(path, data)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


class TestArrays:
    @pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
    def test_points_come_back_as_they_are(self, suffix, plane, tmp_path):
        x, path = moved(plane.test.x[:60]), tmp_path / f"made{suffix}"
        if suffix == ".npy":
            np.save(path, x.astype(np.float64))
        elif suffix == ".npz":
            np.savez(path, x=x, y=np.zeros(3))
        else:
            save_file({"points": torch.from_numpy(x)}, path)
        caught = ready(path, plane)
        assert caught.dtype == torch.float32
        assert torch.equal(caught, torch.from_numpy(x))

    @pytest.mark.parametrize("form", ["NCHW", "NHW", "int64"])
    def test_images_in_the_usual_orders(self, form, digits, tmp_path):
        x = digits.test.x[:60].flip(-1)
        array = {"NCHW": x, "NHW": x[:, 0], "int64": x.long()}[form].numpy()
        np.save(tmp_path / "made.npy", array)
        assert torch.equal(ready(tmp_path / "made.npy", digits), x)

    def test_adjacency_matrices_with_and_without_marked_nodes(self, graphs, tmp_path):
        x = graphs.train.x[:55].clone()
        x[:, 0, 1] = x[:, 1, 0] = 1 - x[:, 0, 1]
        np.save(tmp_path / "made.npy", x.numpy())
        assert torch.equal(ready(tmp_path / "made.npy", graphs), x)
        bare = x.clone()
        bare.diagonal(dim1=1, dim2=2).zero_()
        np.save(tmp_path / "bare.npy", bare.numpy())
        assert torch.equal(sizes(ready(tmp_path / "bare.npy", graphs)), bare.amax(2).sum(1))

    @pytest.mark.parametrize(
        ("array", "words"),
        [
            (np.zeros((20, 2)), "holds 20 samples, and fewer than 50"),
            (np.zeros((60, 3)), r"an array \[60, 3\], and the data have 2 columns"),
            (np.full((60, 2), np.nan), "60 of 60 samples in .* not finite"),
            (np.full((60, 2), 1e300), "too large for 32 bits"),
            (np.full((60, 2), "a"), "holds <U1, and numbers were wanted"),
            (np.zeros(()), r"an array \[\]"),
        ],
    )
    def test_what_is_no_set_of_points_is_refused(self, array, words, plane, tmp_path):
        np.save(tmp_path / "made.npy", array)
        with pytest.raises(BadInput, match=words):
            ready(tmp_path / "made.npy", plane)

    @pytest.mark.parametrize(
        ("array", "words"),
        [
            (np.random.default_rng(0).random((60, 1, 8, 8)), "floats from .* whole levels 0 … 16"),
            (np.zeros((60, 1, 16, 16), np.uint8), "8 by 8 with 1 channel: .* Nothing is resized"),
            (np.full((60, 1, 8, 8), 17), "levels from 17 to 17, and the data's are 0 … 16"),
            (np.full((60, 1, 8, 8), -1), "levels from -1"),
        ],
    )
    def test_what_is_no_set_of_these_images_is_refused(self, array, words, digits, tmp_path):
        np.save(tmp_path / "made.npy", array)
        with pytest.raises(BadInput, match=words):
            ready(tmp_path / "made.npy", digits)

    def test_arrays_that_are_none_are_refused(self, plane, tmp_path):
        for name in ("a.npy", "a.npz", "a.safetensors"):
            (tmp_path / name).write_bytes(b"none of these")
            assert "cannot be read as an array" in refused(tmp_path / name, plane)
        np.savez(tmp_path / "two.npz", a=np.zeros(2), b=np.zeros(2))
        assert "(a, b), and none is named 'x'" in refused(tmp_path / "two.npz", plane)
        np.save(tmp_path / "pickled.npy", np.array([{}]), allow_pickle=True)
        assert "cannot be read" in refused(tmp_path / "pickled.npy", plane)

    def test_matrices_that_are_no_graphs_are_refused(self, graphs, tmp_path):
        x = graphs.train.x[:55].clone()
        x[3, 0, 1] = 1 - x[3, 1, 0]
        np.save(tmp_path / "made.npy", x.numpy())
        assert "not symmetric" in refused(tmp_path / "made.npy", graphs)
        np.save(tmp_path / "large.npy", np.ones((55, 40, 40), np.uint8))
        assert "a graph of 40 nodes, and the data's have 20 at most" in refused(
            tmp_path / "large.npy", graphs
        )


class TestFolders:
    def test_pictures_are_put_back_on_the_levels_of_the_data(self, digits, tmp_path):
        x = digits.test.x[:60].flip(-1)
        for i, one in enumerate(x):
            shades = (one[0].double() * 255 / 16).round().to(torch.uint8)
            Image.fromarray(shades.numpy()).save(tmp_path / f"{i:03}.png")
        assert torch.equal(ready(tmp_path, digits), x)
        Image.fromarray(np.zeros((9, 8), np.uint8)).save(tmp_path / "030.png")
        assert "'030.png'" in refused(tmp_path, digits)
        assert "8 by 9 pixels" in refused(tmp_path, digits)
        (tmp_path / "030.png").write_bytes(b"no picture")
        assert "cannot be used" in refused(tmp_path, digits)

    def test_graphs_of_any_form_of_the_library(self, graphs, tmp_path):
        for i in range(50):
            networkx.write_graphml(networkx.path_graph(5 + i % 4), tmp_path / f"{i:02}.graphml")
        caught = ready(tmp_path, graphs)
        assert caught.shape == (50, *graphs.domain.shape)
        assert sizes(caught).tolist() == [5 + i % 4 for i in range(50)]
        networkx.write_graphml(networkx.path_graph(30), tmp_path / "60.graphml")
        assert "a graph of 30 nodes" in refused(tmp_path, graphs)

    def test_what_holds_nothing_of_the_kind_is_refused(self, digits, plane, graphs, tmp_path):
        assert "holds no pictures" in refused(tmp_path, digits)
        assert "is a folder; samples of rows are" in refused(tmp_path, plane)
        assert "no graphs" in refused(tmp_path, graphs)
        (tmp_path / "a.txt").write_text("1")
        assert "is a file .txt; samples of images are" in refused(tmp_path / "a.txt", digits)
        assert "there is no file or folder" in refused(tmp_path / "nowhere", digits)


class TestTables:
    def write(self, folder, head, rows=60, row="30,red,0.5"):
        (folder / "made.csv").write_text("\n".join([head, *[row] * rows]))
        return folder / "made.csv"

    def test_rows_are_read_by_the_data_s_own_columns(self, people, tmp_path):
        x = ready(self.write(tmp_path, "age,colour,height"), people)
        assert x.shape == (60, 3)
        assert x[0].tolist() == [30, 2, 0.5]  # blue, green, red

    @pytest.mark.parametrize(
        ("head", "row", "words"),
        [
            ("colour,age,height", "red,30,0.5", "in another order than the data: 'colour' where"),
            ("age,colour", "30,red", "lacks height; the data's columns are"),
            ("age,colour,weight", "30,red,1", "lacks height and has weight beside"),
            ("age,colour,height", "30,red", "line 2 of 'made.csv' has 2 values, and there"),
            ("age,colour,height", "30,pink,1", "'pink' is none of the data's categories"),
            ("age,colour,height", "30.5,red,1", "'age' of 'made.csv' holds 30.5, and the data's"),
            ("age,colour,height", "30,red,nan", "column 'height': a value is missing, and none"),
            ("age,colour,height", "30,,1", "column 'colour': missing is none of the data's"),
            ("age,colour,height", "30,red,inf", "column 'height': 'inf' is no finite number"),
            ("age,colour,height", "30,red,tall", "'tall' is no finite number"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, head, row, words, people, tmp_path):
        assert words in refused(self.write(tmp_path, head, row=row), people)

    def test_codes_beyond_the_categories_are_refused(self, people, tmp_path):
        np.save(tmp_path / "made.npy", np.array([[30, 3, 0.5]] * 60))
        assert "codes beyond the data's 3 categories" in refused(tmp_path / "made.npy", people)


def test_the_data_themselves_are_refused(plane, tmp_path):
    for name, x in (("train", plane.train.x[:100]), ("test", plane.test.x[:100])):
        np.save(tmp_path / f"{name}.npy", x.numpy())
        assert "100% of the samples" in refused(tmp_path / f"{name}.npy", plane)
    mixed = np.concatenate([plane.train.x[:50].numpy(), moved(plane.train.x[:50])])
    np.save(tmp_path / "mixed.npy", mixed)
    assert len(ready(tmp_path / "mixed.npy", plane)) == 100


def test_a_table_of_few_different_rows_may_be_copied_by_nature(tmp_path):
    draw = np.random.default_rng(0)
    rows = draw.integers(0, 3, (300, 2))
    text = "\n".join(["a,b", *[f"{a},{b}" for a, b in rows]])
    (tmp_path / "coins.csv").write_text(text)
    data = sources.load(str(tmp_path / "coins.csv"))
    np.save(tmp_path / "made.npy", draw.integers(0, 3, (100, 2)).astype(np.float32))
    assert len(ready(tmp_path / "made.npy", data)) == 100


class TestMolecules:
    @pytest.fixture(scope="class")
    def molecules(self):
        return sources.load("qm9-small")

    def test_each_stands_as_often_as_it_was_drawn(self, molecules, tmp_path):
        path = tmp_path / "made.smi"
        path.write_text("\n".join([*(["CCO"] * 30), *(["OCC"] * 29), "no"]))
        x = ready(path, molecules)
        assert x.shape == (60, 48, 48)
        assert len(x.unique(dim=0)) == 2
        assert int((x.flatten(1).sum(1) == 0).sum()) == 1  # not valid, and counted so

    def test_what_the_data_cannot_hold_is_said(self, molecules, tmp_path):
        path = tmp_path / "made.smi"
        path.write_text("\n".join([*(["CCO"] * 59), "C[Si](C)C"]))
        with pytest.raises(BadInput, match=r"1 of 60 molecules.*outside the vocabulary: Si"):
            ready(path, molecules)

    def test_the_data_themselves_are_refused(self, molecules, tmp_path):
        path = tmp_path / "made.smi"
        path.write_text("\n".join(molecules.train.names[:80]))
        with pytest.raises(BadInput, match="examples of 'qm9-small' as they are"):
            ready(path, molecules)

    def test_an_array_of_another_shape_is_refused(self, molecules, tmp_path):
        path = tmp_path / "made.npy"
        np.save(path, np.zeros((60, 5, 5), dtype=np.uint8))
        with pytest.raises(BadInput, match="molecules of shape"):
            ready(path, molecules)
