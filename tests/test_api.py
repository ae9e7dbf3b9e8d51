"""The public face: what `import trilemma` offers, and that it says what the command line says."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import trilemma as tl
from trilemma.api import public, turns
from trilemma.cli import main

PUBLIC = {
    "DATA_SETS", "GRAPH_REWARDS", "LOSSES", "METRICS", "NETWORKS", "PENALTIES", "PREDICTIONS",
    "RECIPES", "REWARDS", "SAMPLERS", "SCHEDULES", "SOLVERS", "BadInput", "Choice", "Comparison",
    "Condition", "DataSet", "Diverged", "Domain", "Evaluation", "Interrupted", "Laws", "Loss",
    "Metric", "Model", "NetworkOptions", "Noise", "Objective", "Recipe", "Reward", "Run",
    "Samples", "Score", "Source", "Stage", "compare", "compare_runs", "dataset", "evaluate",
    "load", "plugin", "recipe", "resume", "strips", "train", "verify",
}  # fmt: skip
"""What is public; a name that is added or taken away is told here."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Train a VAE on the digits for three updates."""
    path = tmp_path_factory.mktemp("api") / "run"
    return tl.train("vae", "name:digits", steps=3, run=path, quiet=True, batch=32)


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
    """Train a diffusion of three classes of noise that a program has in memory."""
    draws = np.random.default_rng(0)
    pixels = draws.integers(0, 256, (300, 8, 8)).astype(np.uint8)
    data = tl.dataset(pixels, labels=["cat", "dog", "elk"] * 100, name="noise")
    path = tmp_path_factory.mktemp("api") / "conditional"
    return tl.train("ddpm", data, steps=2, run=path, quiet=True, batch=16, width=16), data


class TestNames:
    def test_nothing_is_public_by_accident(self):
        assert set(dir(tl)) == PUBLIC | {"__version__"}
        assert set(public.__all__) == PUBLIC

    def test_each_has_words(self):
        for name in PUBLIC:
            assert getattr(tl, name).__doc__

    def test_another_name_is_an_attribute_error(self):
        with pytest.raises(AttributeError, match="no attribute 'trian'"):
            tl.trian  # noqa: B018

    def test_importing_imports_nothing(self):
        code = "import sys, trilemma; print('torch' in sys.modules, 'numpy' in sys.modules)"
        answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert answer.stdout.split() == ["False", "False"]

    def test_names_wait_for_what_few_need(self):
        code = "import sys, trilemma as t; t.train; print(sorted(set(sys.modules) & set(%r)))"
        late = ["torchmetrics", "pandas", "sklearn", "matplotlib", "networkx", "rdkit"]
        answer = subprocess.run(
            [sys.executable, "-c", code % late], capture_output=True, text=True
        )
        assert answer.stdout.strip() == "[]"


class TestRun:
    def test_it_says_what_it_is(self, run):
        assert run.recipe == "vae"
        assert run.steps == 3
        assert run.fields["batch"] == 32
        assert run.capabilities[:2] == ("sample", "bound")
        assert repr(run) == f"Run {run.path}: vae on digits, 3 updates"
        assert "data:image/png" in run._repr_html_()
        assert run.report.exists()
        assert [e["kind"] for e in run.history()][-1] == "done"

    def test_samples_are_those_of_the_command_line(self, run, tmp_path):
        main(["sample", str(run.path), "-n", "5", "--seed", "7", "--out", str(tmp_path / "a.npz")])
        assert np.array_equal(np.load(tmp_path / "a.npz")["x"], run.sample(5, seed=7))

    def test_parts_fit_together(self, run):
        full = run.sample(10, seed=1)
        parts = [run.sample(4, seed=1), run.sample(6, seed=1, start=4)]
        assert torch.equal(torch.cat([part.tensor for part in parts]), full.tensor)
        assert torch.equal(full[4:].tensor, parts[1].tensor)

    def test_codes_and_bounds(self, run):
        x = run.data().test.x[:6]
        z = run.encode(x)
        assert len(z) == 6
        assert run.decode(z).tensor.shape == x.shape
        assert run.bound(x).shape == (6,)
        assert torch.equal(run.bound(x), run.bound(x.numpy()))

    @pytest.mark.parametrize(
        ("ask", "sentence"),
        [
            (lambda r: r.log_prob(r.sample(2)), "has no 'density'"),
            (lambda r: r.sample(2, guidance=3.0), "has no 'guidance'"),
            (lambda r: r.sample(0), "ask for 1 or more"),
            (lambda r: r.encode(np.zeros((2, 5, 5), np.uint8)), "Nothing is resized"),
            (lambda r: r.encode(np.full((2, 8, 8), 40, np.uint8)), "the data's are 0 … 16"),
            (lambda r: r.encode(np.zeros((2, 8, 8))), "holds floats"),
            (lambda r: r.encode(["a", "b"]), "a list of str"),
            (lambda r: r.sample(2, cond="cat"), "data have no|unknown class"),
            (lambda r: tl.load(r.path / "samples"), "no recipe.json"),
            (lambda r: tl.resume(r, steps=4, minutes=1), "both given"),
            (lambda r: tl.resume(r, data="two-moons", steps=4), "are not what it began with|kind"),
        ],
    )
    def test_what_cannot_be_is_one_sentence(self, run, ask, sentence):
        with pytest.raises(tl.BadInput, match=sentence):
            ask(run)

    def test_it_is_resumed(self, conditional, tmp_path):
        first, data = conditional
        with pytest.raises(tl.BadInput, match="in memory; give the same data again"):
            tl.resume(first, steps=3, quiet=True)
        with pytest.raises(tl.BadInput, match="are not what it began with"):
            tl.resume(first, data=tl.dataset(data.train.x, name="noise"), steps=3, quiet=True)
        assert tl.resume(first, data=data, steps=3, quiet=True).steps == 3

    def test_classes_come_along(self, conditional):
        samples = conditional[0].sample(4, cond=["elk", "cat"], steps=2)
        assert samples.labels == ["elk", "cat", "elk", "cat"]
        assert samples[1].labels == ["cat"]
        assert samples.images()[0].size == (8, 8)
        assert "data:image/png" in samples._repr_html_()


class TestData:
    def test_images_of_all_layouts_are_the_same(self):
        x = np.random.default_rng(0).integers(0, 256, (40, 3, 6, 5)).astype(np.uint8)
        last = np.moveaxis(x, 1, 3)
        pictures = [Image.fromarray(one) for one in last]
        floats = x / np.float32(255)
        data_sets = [tl.dataset(one) for one in (x, last, pictures, floats, torch.from_numpy(x))]
        assert data_sets[0].domain.shape == (3, 6, 5)
        assert len({one.fingerprint for one in data_sets}) == 1
        assert "rounded to 256 levels" in " ".join(data_sets[3].notes)

    def test_a_frame_comes_back_with_its_types(self, tmp_path):
        draws = np.random.default_rng(0)
        table = pd.DataFrame(
            {
                "age": draws.integers(18, 80, 200),
                "job": draws.choice(["nurse", "smith"], 200),
                "pay": draws.lognormal(size=200),
                "country": "NL",
                "day": pd.date_range("2020-01-01", periods=200),
            }
        )
        table.loc[3, "pay"] = np.nan
        words = {"steps": 2, "run": tmp_path / "run", "quiet": True}
        run = tl.train("tabular-autoregressive", table, **words)
        frame = run.sample(8).frame()
        assert list(frame) == list(table)
        kinds = [str(kind).split("[")[0] for kind in frame.dtypes]
        assert [*kinds[:3], kinds[4]] == ["int64", "category", "float64", "datetime64"]
        assert set(frame["country"]) == {"NL"}
        assert run.log_prob(table[:5]).isfinite().all()
        assert len(run.sample(60)) == 60

    def test_networks_and_molecules(self):
        networks = [nx.gnp_random_graph(7, 0.5, seed=i) for i in range(40)]
        data = tl.dataset(networks, name="random")
        assert data.domain.kind == "graph"
        assert len(data.train) + len(data.test) == 40
        chem = pytest.importorskip("rdkit.Chem")
        smiles = ["C" * n + tail for n in range(1, 8) for tail in ("O", "N", "F")]
        sets = [tl.dataset(smiles), tl.dataset([chem.MolFromSmiles(one) for one in smiles])]
        assert sets[0].domain.kind == "molecule"
        assert sets[0].fingerprint == sets[1].fingerprint

    @pytest.mark.parametrize(
        ("values", "more", "sentence"),
        [
            (np.zeros((60, 8, 8)) + 3, {}, "as floats from 0 to 1"),
            (np.full((60, 8, 8), np.nan), {}, "numbers that are not finite"),
            (np.full((60, 8, 8), 300), {}, "images have 0 to 255"),
            (np.zeros((60, 8, 8, 5), np.uint8), {}, r"\[60, 8, 8, 5\]; images have one channel"),
            (np.zeros((60, 8, 8), complex), {}, "holds complex128"),
            (np.zeros(60), {}, r"of shape \[60\]"),
            ([], {}, "an empty list"),
            ([{1: 2}], {}, "a list of dict"),
            (3, {}, "something of type int"),
            (np.zeros((60, 8, 8), np.uint8), {"labels": [1]}, "1 labels were given for 60"),
            (np.zeros((60, 4)), {"labels": [1] * 60}, "the data are rows of numbers"),
            (np.zeros((60, 8, 8), np.uint8), {"columns": {"a": "real"}}, "no table"),
            (pd.DataFrame({"a": [[1], [2]] * 40, "b": range(80)}), {}, "holds a list in row 1"),
            ({"a": range(80), "b": range(79)}, {}, "columns of lengths"),
            ([np.zeros((8, 8)), np.zeros((8, 9))], {}, "arrays of the shapes"),
            ("digits", {"labels": [1]}, "labels go with arrays"),
            ("/nowhere/at/all", {}, "there is no folder"),
        ],
    )
    def test_what_cannot_be_is_one_sentence(self, values, more, sentence):
        with pytest.raises(tl.BadInput, match=sentence):
            tl.dataset(values, **more)


class TestMeasuring:
    def test_a_run_and_its_samples(self, run, capsys):
        measured = tl.evaluate(run, samples=60, quiet=True)
        assert measured["discrepancy"].value > measured["discrepancy"].floor
        assert main(["evaluate", str(run.path), "--samples", "60", "--json"]) == 0
        printed = json.loads(capsys.readouterr().out)
        assert printed["metrics"]["kd"] == measured.to_json()["metrics"]["kd"]
        samples = tl.evaluate(run.sample(60), data="name:digits", quiet=True)
        assert samples["discrepancy"].value > 0
        with pytest.raises(tl.BadInput, match=r"'bound' was not measured|there is no 'bound'"):
            samples["bound"]
        assert "discrepancy" in repr(measured)
        assert "<table>" in measured._repr_html_()

    def test_too_few_samples_measure_nothing(self, run):
        with pytest.raises(tl.BadInput, match="fewer than 50"):
            tl.evaluate(run.sample(10), data="name:digits", quiet=True)
        with pytest.raises(tl.BadInput, match="say what they imitate"):
            tl.evaluate(run.sample(60), quiet=True)

    def test_laws_of_a_run(self, run):
        laws = tl.verify(run, quiet=True)
        assert laws.holds == all(law.holds for law in laws)
        assert f"{len(laws)} laws hold" in repr(laws)
        assert "<table>" in laws._repr_html_()

    def test_a_comparison(self, tmp_path):
        comparison = tl.compare(
            "name:digits", ["autoencoder", "vae"], minutes=0.005, samples=50, out=tmp_path / "c",
            settings={"batch": 16}, quiet=True,
        )  # fmt: skip
        assert [row["recipe"] for row in comparison.rows()] == ["autoencoder", "vae"]
        assert comparison.choice is None
        assert comparison.report.exists()
        assert comparison.run("vae").fields["batch"] == 16
        assert "<table>" in comparison._repr_html_()
        with pytest.raises(tl.BadInput, match="there is no row 'gan'"):
            comparison.run("gan")


class TestThreads:
    def test_they_draw_from_one_model(self, run, conditional):
        expected = {seed: run.sample(5, seed=seed).tensor for seed in range(6)}
        noise = {seed: conditional[0].sample(3, seed=seed, steps=3).tensor for seed in range(6)}
        with ThreadPoolExecutor(4) as pool:
            for _ in range(3):
                results = pool.map(lambda seed: run.sample(5, seed=seed).tensor, expected)
                assert all(map(torch.equal, results, expected.values()))
                results = pool.map(
                    lambda seed: conditional[0].sample(3, seed=seed, steps=3).tensor, noise
                )
                assert all(map(torch.equal, results, noise.values()))

    def test_two_do_not_train_at_once(self, tmp_path):
        started, end = threading.Event(), threading.Event()

        def hold() -> None:
            with turns.alone("training"):
                started.set()
                end.wait(20)

        thread = threading.Thread(target=hold)
        thread.start()
        try:
            assert started.wait(20)
            with pytest.raises(tl.BadInput, match="another thread of this process is training"):
                tl.train("vae", steps=1, run=tmp_path / "run", quiet=True)
            with pytest.raises(tl.BadInput, match="loading was asked for"):
                tl.load(tmp_path)
        finally:
            end.set()
            thread.join()
        assert not Path(tmp_path / "run").exists()


class TestTypes:
    @pytest.mark.slow
    def test_a_users_file_has_no_errors(self):
        path = Path(__file__).parent / "typing" / "forty_calls.py"
        assert path.read_text().count("(") >= 40
        answer = subprocess.run(
            [sys.executable, "-m", "pyright", str(path)], capture_output=True, text=True
        )
        assert answer.returncode == 0, answer.stdout

    def test_types_travel_with_the_package(self):
        assert (Path(tl.__file__).parent / "py.typed").exists()
