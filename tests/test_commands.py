"""The command line as a user meets it: what works, what is refused, and what is left behind."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from refusals import refused
from safetensors.torch import load_file

from trilemma.cli import command_line, main
from trilemma.recipes import runs
from trilemma.report import gallery


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train a diffusion model and a GAN for a few steps."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "run_report", lambda run, data, model=None: None)
        for name in ("ddpm", "gan"):
            words = ["train", name, "--steps", "4", "--batch", "32", "--run", str(folder / name)]
            assert main(words) == 0
    return folder


# --- what works ----------------------------------------------------------------------------------


def test_train_prints_the_path_last_and_makes_a_whole_run(workdir, capsys):
    assert main(["train", "vae", "--steps", "3", "--latent", "2"]) == 0
    path = Path(capsys.readouterr().out.strip().splitlines()[-1])
    assert path == Path("runs/vae-digits-001")
    record = json.loads((path / "recipe.json").read_text())
    assert record["fields"]["latent"] == 2
    assert record["precision"]["reason"]
    assert (path / "report.html").exists()
    assert {p.name for p in (path / "samples").glob("*.png")} >= {
        f"step_{n:08d}.png" for n in (0, 1, 2, 3)
    }
    assert main(["train", "vae", "--steps", "2"]) == 0
    assert capsys.readouterr().out.strip().endswith("runs/vae-digits-002")


def test_samples_in_every_form(trained, workdir, capsys):
    run = str(trained / "ddpm")
    for out in ("a.png", "a.gif", "a.npz", "a.safetensors", "folder"):
        assert main(["sample", run, "-n", "5", "--steps", "3", "--out", out]) == 0
        assert capsys.readouterr().out.strip().endswith(out)
    arrays = np.load("a.npz")["x"]
    assert arrays.shape == (5, 1, 8, 8)
    assert arrays.dtype == np.uint8
    assert torch.equal(load_file("a.safetensors")["x"], torch.from_numpy(arrays))
    files = sorted(Path("folder").glob("*.png"))
    assert [path.name for path in Path("folder").iterdir() if path not in files] == ["labels.csv"]
    assert len(files) == 5
    with Image.open(files[2]) as one:
        assert one.size == (8, 8)
        np.testing.assert_allclose(np.asarray(one.convert("L")), arrays[2, 0] * (255 / 16), atol=1)
    with Image.open("a.gif") as film:
        assert film.n_frames >= 3


def test_samplers_classes_and_guidance_are_chosen_after_training(trained, workdir):
    run = str(trained / "ddpm")
    samples_by_option = {}
    for name, words in {
        "ddim": [],
        "heun": ["--sampler", "heun"],
        "three": ["--cond", "3"],
        "strong": ["--cond", "3", "--guidance", "4"],
    }.items():
        assert (
            main(["sample", run, "-n", "3", "--steps", "4", "--out", f"{name}.npz", *words]) == 0
        )
        samples_by_option[name] = np.load(f"{name}.npz")["x"]
    assert len({x.tobytes() for x in samples_by_option.values()}) >= 3


def test_sample_i_is_the_same_on_the_command_line(trained, workdir):
    run = str(trained / "gan")
    for n in (3, 70):
        assert main(["sample", run, "-n", str(n), "--seed", "5", "--out", f"{n}.npz"]) == 0
    assert (np.load("3.npz")["x"] == np.load("70.npz")["x"][:3]).all()


def test_evaluate_gives_the_promised_json(trained, capsys):
    assert main(["evaluate", str(trained / "gan"), "--samples", "200", "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert {"recipe", "data", "split", "n", "seed", "device", "metrics", "cost", "skipped"} <= set(
        output
    )
    fd = output["metrics"]["fd"]
    assert {"value", "low", "high", "unit", "better", "floor", "n", "protocol"} <= set(fd)
    assert fd["floor"] < fd["value"]
    assert fd["better"] == "lower"
    assert "bound" in output["skipped"]
    assert {
        "train_seconds",
        "train_examples_per_second",
        "sample_seconds_each",
        "network_calls_each",
        "parameters",
        "peak_memory_bytes",
    } <= set(output["cost"])
    page = (trained / "gan" / "report.html").read_text()
    assert "http" not in page.split("</style>")[1].split("<body")[0]


def test_resume_goes_on_to_more_steps(workdir, capsys):
    assert main(["train", "gan", "--steps", "3", "--run", "r"]) == 0
    assert main(["resume", "r", "--steps", "5"]) == 0
    assert (Path("r") / "latest").read_text().strip() == "step_5"


@pytest.mark.parametrize("words", [("--out", "x"), ("--out=x",)])
def test_train_says_where_its_run_goes(words, capsys):
    assert "--run DIR" in refused(capsys, "train", "vae", *words)


def test_compare_goes_on_where_it_stopped(workdir, capsys):
    words = ["compare", "--recipes", "gan,vae", "--minutes", "0.02", "--samples", "150", "--json"]
    assert main(words) == 0
    first = json.loads(capsys.readouterr().out)
    keys = {"data", "seed", "minutes", "rows", "choice", "verdict", "why_not"}
    assert set(first) == keys
    assert first["choice"] is None  # after a second of training
    assert "gan made" in first["why_not"]
    assert "updates it takes; --minutes" in first["why_not"]
    for row in first["rows"]:
        assert row["training"]["updates"] > 0
        assert row["cost"]["train_seconds"] == pytest.approx(1.2, rel=0.1)
    assert [row["recipe"] for row in first["rows"]] == ["gan", "vae"]
    assert not {"label", "fields"} & set(first["rows"][0])
    folder = Path("comparisons/digits-001")
    assert {p.name for p in folder.iterdir()} == {
        "claims",
        "comparison.json",
        "runs",
        "table.csv",
        "table.json",
        "report.html",
    }
    (folder / "report.html").unlink()  # as if it had been stopped before the end
    (folder / "runs" / "vae" / "evaluation.json").unlink()
    stamp = (folder / "runs" / "gan" / "evaluation.json").stat().st_mtime_ns
    assert main(words) == 0
    second_output = json.loads(capsys.readouterr().out)
    assert (folder / "runs" / "gan" / "evaluation.json").stat().st_mtime_ns == stamp
    assert second_output["rows"][1]["metrics"] == first["rows"][1]["metrics"]
    assert (folder / "report.html").exists()


def test_verify_and_doctor_and_lists_speak_json(trained, capsys):
    assert main(["verify", str(trained / "ddpm"), "--json"]) == 0
    laws = json.loads(capsys.readouterr().out)
    assert laws["holds"]
    assert all({"name", "source", "measured", "expected", "holds"} <= set(x) for x in laws["laws"])
    assert main(["doctor", "--json"]) == 0
    assert "torch" in json.loads(capsys.readouterr().out)["facts"]
    for what in ("recipes", "data", "metrics"):
        assert main(["list", what, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)[what]


def test_show_tells_fields_and_cost_and_draws(workdir, capsys):
    assert main(["show", "gan", "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert {"name", "default", "meaning"} <= set(output["fields"][0])
    assert output["parameters"] > 1000
    assert output["flops_per_step"] > 1e6
    assert main(["show", "gan", "--plots", "plots"]) == 0
    paths = capsys.readouterr().out.split()
    assert len(paths) == 2
    assert all(Path(p).read_text().lstrip().startswith("<svg") for p in paths)


def test_a_law_that_does_not_hold_is_status_one(trained, monkeypatch, capsys):
    from trilemma.laws import book
    from trilemma.laws.law import equal

    broken = [lambda: [equal("one is two", "nowhere", 1, 2, 0.1)]]
    monkeypatch.setattr(book, "library_laws", lambda: broken)
    assert main(["verify"]) == 1
    assert "0 of 1 laws hold" in capsys.readouterr().out


def test_help_is_quick_and_imports_nothing_heavy():
    code = "import sys; from trilemma.cli import main; main(['--help'])"
    check = "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules)); " + code
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert done.stdout.strip().endswith("False")


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["trian", "vae"], "did you mean 'train'"),
        (["train", "dppm"], "did you mean 'ddpm'"),
        (["train", "vae", "--data", "digit"], "did you mean 'digits'"),
        (["train", "vae", "--latnet", "3"], "did you mean 'latent'"),
        (["train", "vae", "--latent", "many"], "takes a whole number"),
        (["train", "vae", "--likelihood", "gausian"], "did you mean 'gaussian'"),
        (["train", "vae", "--steps", "0"], "above 0"),
        (["train", "vae", "--minutes", "-1"], "above 0"),
        (["train", "vae", "--seed", "-3"], "from 0"),
        (["train", "vae", "--ema", "1.5"], "below 1"),
        (["compare", "--recipes", "vae", "--batch"], "without a value"),
        (["compare", "--recipes", "vae,gan", "--likelihood", "gaussian"], "likelihood"),
        (["train", "vae", "--batch", "30", "--accumulate", "4"], "evenly"),
        (["train", "vae", "--data", "./nowhere"], "nowhere"),
        (["train", "vae", "--steps", "3", "--minutes", "1"], "not allowed with"),
        (["compare", "--recipes", "vae,gna"], "did you mean 'gan'"),
        (["compare", "--recipes", "vae,vae"], "twice"),
        (["evaluate", "nowhere"], "does not exist"),
        (["sample", ".", "-n", "4"], "not a run directory"),
        (["data", "check"], "needs a name"),
        (["data", "fetch", "mnits"], "did you mean 'mnist'"),
        (["list", "things"], "unknown"),
    ],
)
def test_mistakes_get_one_sentence_and_leave_nothing(words, says, workdir, capsys):
    assert says in refused(capsys, *words)
    assert list(workdir.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_where_there_is_none(workdir, capsys):
    assert "GPU" in refused(capsys, "train", "vae", "--device", "cuda")
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-n", "0"], "above 0"),
        (["--out", "x.smi"], ".smi"),
        (["--out", "x.gif"], "in one step"),
        (["--sampler", "heun"], "sampler"),
        (["--cond", "3"], "class"),
    ],
)
def test_samples_that_cannot_be_had(words, says, trained, workdir, capsys):
    assert says in refused(capsys, "sample", str(trained / "gan"), *words)
    assert list(workdir.iterdir()) == []


def test_an_unknown_class_or_sampler(trained, workdir, capsys):
    run = str(trained / "ddpm")
    assert "unknown class 'elephant'" in refused(capsys, "sample", run, "--cond", "elephant")
    assert "did you mean 'heun'" in refused(capsys, "sample", run, "--sampler", "huen")


def test_a_run_that_exists_is_not_overwritten(trained, workdir, capsys):
    before = (trained / "gan" / "recipe.json").read_bytes()
    message = refused(capsys, "train", "gan", "--steps", "2", "--run", str(trained / "gan"))
    assert "exists" in message
    assert (trained / "gan" / "recipe.json").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--seed", "7"], "0 → 7"),
        (["--recipe", "vae"], "gan"),
        (["--data", "two-moons"], "data"),
        (["--steps", "2"], "has done 4"),
    ],
)
def test_resume_as_something_else_shows_the_difference(words, says, trained, capsys):
    assert says in refused(capsys, "resume", str(trained / "gan"), *words)


def test_a_folder_that_holds_a_sample_already(trained, workdir, capsys):
    Path("full").mkdir()
    Path("full/keep.txt").write_text("mine")
    message = refused(capsys, "sample", str(trained / "gan"), "-n", "2", "--out", "full")
    assert "not an empty folder" in message
    assert Path("full/keep.txt").read_text() == "mine"


def test_folders_without_images(workdir, capsys):
    Path("empty").mkdir()
    Path("texts").mkdir()
    for i in range(20):
        Path(f"texts/{i}.txt").write_text("words")
    assert "empty" in refused(capsys, "train", "vae", "--data", "empty")
    assert "texts" in refused(capsys, "train", "vae", "--data", "texts")
    assert sorted(p.name for p in workdir.iterdir()) == ["empty", "texts"]


def test_a_users_own_colour_pictures_go_all_the_way(workdir, capsys):
    generator = np.random.default_rng(0)
    for i in range(60):
        folder = Path("mine") / ("warm" if i % 2 else "cold")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 255, (20 + i % 7, 26, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    words = ["--data", "mine", "--size", "16", "--batch", "16"]
    assert main(["data", "check", "mine", "--size", "16", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["domain"]["shape"] == [3, 16, 16]
    assert Path("mine-sheet.png").exists()
    assert main(["train", "ddpm", "--steps", "3", "--run", "r", *words]) == 0
    assert (
        main(["sample", "r", "-n", "4", "--cond", "warm", "--steps", "2", "--out", "a.png"]) == 0
    )
    Image.open("mine/warm/1.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(
        "mine/warm/1.png"
    )
    capsys.readouterr()
    assert "data" in refused(capsys, "resume", "r", "--steps", "9")


# --- likelihood families -------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["sample"], ["evaluate"], ["resume", "--steps", "5"]])
def test_weights_of_another_model_are_refused_in_a_sentence(trained, capsys, monkeypatch, command):
    """As of a run whose recipe builds another network in this version."""
    built = runs.untrained

    def wider(recipe, domain, seed):
        return built(dataclasses.replace(recipe, latent=recipe.latent + 1), domain, seed)

    monkeypatch.setattr(runs, "untrained", wider)
    message = refused(capsys, command[0], str(trained / "gan"), *command[1:])
    assert str(trained / "gan") in message
    assert "does not fit the model that the recipe builds now" in message


@pytest.fixture(scope="module")
def pixelcnn(tmp_path_factory):
    """Train an autoregressive model for a few steps."""
    run = tmp_path_factory.mktemp("autoregressive") / "run"
    words = ["train", "pixelcnn", "--steps", "3", "--batch", "32", "--width", "8", "--run"]
    assert main([*words, str(run)]) == 0
    return run


def test_an_image_is_completed(pixelcnn, workdir):
    x = (torch.arange(64).view(8, 8) % 17).to(torch.uint8)
    Image.fromarray((x.float() * 255 / 16).round().to(torch.uint8).numpy()).save("half.png")
    words = ["sample", str(pixelcnn), "-n", "5", "--cond", "half.png", "--out", "done.safetensors"]
    assert main([*words, "--mask", "bottom"]) == 0
    done = load_file("done.safetensors")["x"]
    assert done.shape == (5, 1, 8, 8)
    assert (done[:, 0, :4] == x[:4]).all()
    assert (done[0, 0, 4:] != done[1, 0, 4:]).any()


def test_what_cannot_be_completed_is_refused(pixelcnn, trained, workdir, capsys):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("a.png")
    Image.fromarray(np.zeros((9, 8), np.uint8)).save("b.png")
    run = str(pixelcnn)
    assert "neither --mask nor" in refused(capsys, "sample", run, "--cond", "a.png")
    assert "goes with --cond IMAGE" in refused(capsys, "sample", run, "--mask", "bottom")
    message = refused(capsys, "sample", run, "--cond", "a.png", "--mask", "b.png")
    assert "8 by 9 pixels" in message
    message = refused(
        capsys, "sample", str(trained / "gan"), "--cond", "b.png", "--mask", "bottom"
    )
    assert "pixelcnn" in message
    assert "ddpm" in message


def test_long_sampling_is_told_and_may_be_insisted_on(pixelcnn, workdir, capsys, monkeypatch):
    monkeypatch.setattr("trilemma.report.drawing.LONG", 1e-9)
    message = refused(capsys, "sample", str(pixelcnn), "-n", "4", "--out", "a.png")
    assert "add --yes" in message
    assert not Path("a.png").exists()
    assert main(["sample", str(pixelcnn), "-n", "4", "--out", "a.png", "--yes"]) == 0
    assert Path("a.png").exists()


def test_a_table_goes_all_the_way(workdir, capsys):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(400, 3, generator=g) * torch.tensor([1.0, 5.0, 0.1])
    np.savetxt("people.csv", x.numpy(), delimiter=",", header="height,weight,age", comments="")
    words = ["train", "spline-flow", "--data", "people.csv", "--steps", "5", "--batch", "64"]
    assert main([*words, "--width", "16", "--run", "run"]) == 0
    assert main(["sample", "run", "-n", "20", "--out", "new.csv"]) == 0
    lines = Path("new.csv").read_text().splitlines()
    assert lines[0] == "height,weight,age"
    assert len(lines) == 21
    assert main(["sample", "run", "-n", "20", "--out", "new.png"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "run", "--samples", "100", "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert output["metrics"]["log_prob"]["by"] == "exact"
    assert "unit" in output["skipped"]["bits_per_dim"]


def test_a_table_of_whole_numbers_and_words_goes_all_the_way(workdir, capsys):
    towns = ["Bern", "Rom, alt", "Wien"]
    rows = [[i % 2, 1 + i % 7, towns[i % 3], (i * 37 % 100) / 7] for i in range(400)]
    with open("people.csv", "w", newline="") as file:
        csv.writer(file).writerows([["member", "visits", "town", "spent"], *rows])
    assert main(["data", "check", "people.csv", "--columns", "member=category", "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    kinds = [column["kind"] for column in output["domain"]["values"]["columns"]]
    assert kinds == ["category", "whole", "category", "real"]
    words = ["train", "spline-flow", "--data", "people.csv", "--steps", "5", "--batch", "64"]
    words += ["--columns", "visits=category,spent=drop", "--width", "16", "--run", "run"]
    assert main(words) == 0
    assert main(["sample", "run", "-n", "20", "--out", "new.csv"]) == 0
    with open("new.csv", newline="") as file:
        head, *data_rows = csv.reader(file)
    assert head == ["member", "visits", "town"]
    assert len(data_rows) == 20
    for member, visits, town in data_rows:
        assert member in ("0", "1")
        assert visits in "1234567"
        assert town in towns
    assert main(["sample", "run", "-n", "2", "--out", "one-by-one"]) == 0
    assert Path("one-by-one/000001.csv").read_text().count(",") >= 2
    Path("people.csv").rename("moved.csv")
    capsys.readouterr()
    words = ["evaluate", "run", "--samples", "100", "--json", "--data", "moved.csv"]
    assert main(words) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert "log_prob" not in metrics
    assert metrics["bound"]["value"] < 0
    assert main([*words[:-1], "moved.csv@columns:visits=whole,spent=drop"]) == 2
    assert "differ in values" in capsys.readouterr().err
    assert main(["train", "vae", "--columns", "a=real", "--steps", "1"]) == 2
    assert "say what the columns of a table are, and 'digits' is none" in capsys.readouterr().err


def test_a_gan_says_who_knows_a_density(trained, capsys):
    assert main(["evaluate", str(trained / "gan"), "--samples", "64", "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert "autoregressive models and flows" in output["skipped"]["log_prob"]


@pytest.mark.parametrize("swallowed", [False, True])
def test_an_interrupt_ends_quietly_even_where_a_library_makes_another_error_of_it(
    monkeypatch, capsys, swallowed
):
    def run(options):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            if swallowed:
                raise TypeError("no common dtype") from None
            raise

    declared = command_line.commands()
    doctor = dataclasses.replace(declared["doctor"], run=run)
    monkeypatch.setattr(command_line, "commands", lambda: declared | {"doctor": doctor})
    handler = signal.getsignal(signal.SIGINT)
    assert main(["doctor"]) == 130
    assert signal.getsignal(signal.SIGINT) is handler
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("seconds", [0.0, 20.0])
def test_an_interrupt_that_was_swallowed_ends_what_goes_on(monkeypatch, capsys, seconds):
    def run(options):
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(seconds)

    declared = command_line.commands()
    doctor = dataclasses.replace(declared["doctor"], run=run)
    monkeypatch.setattr(command_line, "commands", lambda: declared | {"doctor": doctor})
    monkeypatch.setattr(command_line, "REPEAT_SECONDS", 0.05)
    began = time.monotonic()
    assert main(["doctor"]) == 130
    assert time.monotonic() - began < 10
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert capsys.readouterr().err == ""


def test_an_error_that_is_nobodys_mistake_is_raised(monkeypatch):
    def run(options):
        raise TypeError("a defect")

    declared = command_line.commands()
    doctor = dataclasses.replace(declared["doctor"], run=run)
    monkeypatch.setattr(command_line, "commands", lambda: declared | {"doctor": doctor})
    with pytest.raises(TypeError, match="a defect"):
        main(["doctor"])
