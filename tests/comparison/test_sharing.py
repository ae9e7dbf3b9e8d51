"""Several processes in one comparison: each cell once, whoever is killed, stopped or overtaken."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from trilemma.api import comparing as api_comparing
from trilemma.cli import main
from trilemma.comparison import compare as comparing
from trilemma.comparison.claims import Claims
from trilemma.comparison.plan import Plan
from trilemma.comparison.race import Race
from trilemma.comparison.worker import Worker
from trilemma.core.errors import BadInput, Diverged
from trilemma.core.event import Event
from trilemma.core.session import Session, Stop
from trilemma.data import sources
from trilemma.metrics.evaluation import Evaluation
from trilemma.recipes.runs import load
from trilemma.report import gallery
from trilemma.report.page import Entry
from trilemma.training.run import InUse, Run

SCRIPT = Path(__file__).with_name("shared_script.py")
WORKER = dataclasses.replace(Worker.current(torch.device("cpu")), threads=1, cores=(0, 1))
QUICK = ["compare", "--data", "two-moons", "--minutes", "0.005", "--samples", "100"]
SMALL = [*QUICK, "--recipes", "gan", "--set", "width=16", "--set", "batch=16"]


def start(out: Path, *, recipes: str = "vae,gan", minutes: float = 0.05):
    """Start a comparison in a process of its own."""
    arguments = ["--recipes", recipes, "--minutes", str(minutes), "--out", str(out)]
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *QUICK[:3], "--samples", "100", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(condition, seconds: float = 60.0):
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def events(out: Path, recipe: str) -> list[Event]:
    """Return what happened in a run so far."""
    folder = out / "runs" / recipe
    return Run.open(folder).events(superseded=True) if folder.exists() else []


@pytest.fixture
def no_pages(monkeypatch):
    """Leave the pages out; they take longest."""
    monkeypatch.setattr(gallery, "entry", lambda folder, row, data: Entry(row))
    monkeypatch.setattr(gallery, "run_report", lambda run, data, model=None: None)


# --- processes -----------------------------------------------------------------------------------


def test_two_processes_share_and_one_may_be_killed(tmp_path, no_pages, capsys):
    out = tmp_path / "shared"
    first = start(out)
    try:
        until(lambda: any(e.kind == "step" for e in events(out, "vae")))
        second = start(out)
        until(lambda: any(e.kind == "step" and e.step >= 20 for e in events(out, "vae")))
        first.send_signal(signal.SIGKILL)
        output, people = second.communicate(timeout=120)
    finally:
        first.kill()
        first.communicate()
    assert second.returncode == 0, people
    assert f"process {first.pid}, which worked on it, is gone; taking over" in people
    assert output.strip().endswith("report.html")
    for recipe, owners in (("vae", 2), ("gan", 1)):
        kinds = [e.kind for e in events(out, recipe)]
        assert kinds.count("done") == 1, recipe
        assert kinds.count("resumed") <= owners - 1, recipe
        assert len(list((out / "claims").glob(f"{recipe}.*.json"))) == owners
    rows = json.loads((out / "table.json").read_text())["rows"]
    assert [row["recipe"] for row in rows] == ["vae", "gan"]
    for row in rows:  # equal minutes, over both processes
        assert row["training"]["seconds"] == pytest.approx(3.0, rel=0.15)
    before = {p: p.stat().st_mtime_ns for p in out.glob("runs/*/e*")}
    words = [*QUICK[:3], "--samples", "100", "--recipes", "vae,gan", "--minutes", "0.05"]
    assert main([*words, "--out", str(out)]) == 0
    assert capsys.readouterr().err.count("measured already") == 2
    assert {p: p.stat().st_mtime_ns for p in out.glob("runs/*/e*")} == before


def test_who_stood_still_and_lost_its_cell_leaves_it_alone(tmp_path):
    out = tmp_path / "shared"
    first = start(out, recipes="vae", minutes=0.1)
    try:
        until(lambda: any(e.kind == "step" and e.step >= 5 for e in events(out, "vae")))
        first.send_signal(signal.SIGSTOP)
        # Another machine cannot see that the process is there yet; it sees no heartbeat.
        far = dataclasses.replace(WORKER, token="far", host="far", boot="another kernel")
        claims = Claims(out / "claims", far, beat=0.2, stale=1.0)
        claims.status("vae")
        time.sleep(1.2)
        claim = claims.take("vae")
        assert claim is not None
        assert claim.previous.pid == first.pid
        log = (out / "runs" / "vae" / "events.jsonl").read_text()
        checkpoints = sorted((out / "runs" / "vae" / "checkpoints").iterdir())
        first.send_signal(signal.SIGCONT)
        time.sleep(2.0)
        assert (out / "runs" / "vae" / "events.jsonl").read_text() == log
        assert sorted((out / "runs" / "vae" / "checkpoints").iterdir()) == checkpoints
        assert first.poll() is None  # it waits for the new owner
        claim.end("stopped")  # which ends without an outcome: the cell is free again
        _, people = first.communicate(timeout=120)
    finally:
        first.kill()
        first.communicate()
    assert first.returncode == 0, people
    assert "vae was taken over by process" in people
    assert f"waiting for vae (process {far.pid} on far)" in people
    assert [e.kind for e in events(out, "vae")].count("done") == 1
    assert len(list((out / "claims").glob("vae.*.json"))) == 3


def test_who_has_no_free_cores_says_so_and_waits(tmp_path):
    out, cores = tmp_path / "shared", tuple(sorted(os.sched_getaffinity(0)))
    full = dataclasses.replace(WORKER, threads=len(cores), cores=cores, token="full")
    with Claims(out / "claims", full).take("gan"):
        process = start(out, recipes="gan,vae", minutes=0.01)
        until(lambda: list((out / "claims").glob("next-*.json")))
        time.sleep(1.5)
        assert not (out / "runs").exists()
    _, people = process.communicate(timeout=120)
    assert process.returncode == 0, people
    assert people.count("waiting for free cores, so that minutes stay equal") == 1
    assert f"process {os.getpid()} works with" in people


def test_waiting_obeys_a_signal_at_once(tmp_path, no_pages, capsys):
    out = tmp_path / "shared"
    far = dataclasses.replace(WORKER, token="far", host="far", boot="another kernel")
    with Claims(out / "claims", far).take("gan"):
        sent = []

        def send():
            until(
                lambda: list((out / "claims").glob("gan.*")) and (out / "comparison.json").exists()
            )
            time.sleep(1.0)
            sent.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGTERM)

        sender = threading.Thread(target=send)
        sender.start()
        assert main([*SMALL, "--out", str(out)]) == 143
        assert time.monotonic() - sent[0] < 1.0
        sender.join()
    output = capsys.readouterr().err
    assert f"gan: process {far.pid} on far works on it" in output
    assert f"0 of 1 are ready; waiting for gan (process {far.pid} on far)" in output
    assert "SIGTERM: waiting was stopped; the same command resumes this comparison." in output
    assert not (out / "runs").exists()
    assert [p.name for p in (out / "claims").glob("gan.*")] == ["gan.1.json"]


# --- races with runs that cost nothing -----------------------------------------------------------


@pytest.fixture(scope="module")
def moons():
    return sources.load("two-moons")


@pytest.fixture
def plan(moons):
    return Plan.of(
        moons,
        "two-moons",
        size=None,
        recipes=["vae", "gan", "r3gan"],
        minutes=1.0,
        samples=100,
        seed=0,
        device="cpu",
        precision="auto",
    )


class Played(Race):
    """A race whose runs cost nothing: `plays` says what becomes of a cell."""

    def trained(self, cell):
        self.played.append(cell.folder)
        folder = self.runs / cell.folder
        if not folder.exists():
            Run.create(folder, {"name": cell.recipe.name, "seed": cell.seed}, {})
        run = Run.open(folder)
        run.verify = self.claim.verify
        self.watch(cell.title, self._claimed(self.plays(self, cell, run)))
        return run

    def judged(self, cell):
        self.measuring.check()
        evaluation = Evaluation(
            recipe=cell.recipe.name, n=self.plan.samples, seed=cell.seed, split=self.me
        )
        path = self.runs / cell.folder / "evaluation.json"
        path.write_text(json.dumps(evaluation.to_json()))
        return evaluation


def steps(race, cell, run):
    """Train for a few events."""
    for step in range(3):
        run.event("step", step=step, by=race.me)
        yield Event("step", step, "model", {})
        time.sleep(0.02)


def played(plan, moons, folder, me="a", plays=steps, stop=None, **settings):
    """Make a race of a process of its own."""
    messages = []
    race = Played(
        plan,
        moons,
        folder / "runs",
        Claims(folder / "claims", dataclasses.replace(WORKER, token=me), **settings),
        Session(stop=Stop() if stop is None else stop, say=messages.append),
        lambda title, happened: list(happened),
        lambda run: None,
    )
    race.me, race.plays, race.messages, race.played = me, plays, messages, []
    return race


def test_each_cell_is_trained_by_one_and_all_get_all_rows(plan, moons, tmp_path):
    gate = threading.Barrier(2)

    def together(race, cell, run):
        if race.played == [cell.folder]:
            gate.wait(60)  # until the other has its first cell, however busy the machine is
        yield from steps(race, cell, run)

    races = [played(plan, moons, tmp_path, me, together) for me in ("a", "b")]
    rows = {}
    threads = [
        threading.Thread(target=lambda r=race: rows.update({r.me: r.finish()})) for race in races
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(races[0].played + races[1].played) == ["gan", "r3gan", "vae"]
    assert races[0].played
    assert races[1].played
    assert rows["a"] == rows["b"]
    assert [row.recipe for row in rows["a"]] == ["vae", "gan", "r3gan"]


def test_two_that_claim_at_the_same_moment_do_not_share_cores(plan, moons, tmp_path):
    race = played(plan, moons, tmp_path)
    full = dataclasses.replace(WORKER, token="b", threads=2)
    other, crowd, stop_checks = Claims(tmp_path / "claims", full), race.claims.crowd, []

    def at_the_same_moment(names):
        stop_checks.append(crowd(names))
        if len(stop_checks) == 1:
            claims.append(other.take("gan"))
        if len(stop_checks) == 3:
            claims[0].end("stopped")
        return stop_checks[-1]

    claims = []
    race.claims.crowd = at_the_same_moment
    race.finish()
    assert [bool(answer) for answer in stop_checks[:2]] == [False, True]
    ending = json.loads((tmp_path / "claims" / "vae.1.json").read_text().splitlines()[1])
    assert ending["ended"] == "stopped"
    assert race.played == ["vae", "gan", "r3gan"]


def test_the_next_in_the_queue_goes_before_who_had_the_cores(plan, moons, tmp_path):
    full = dataclasses.replace(WORKER, threads=2)
    queue = Claims(tmp_path / "claims", dataclasses.replace(full, token="b")).take(WORKER.queue)
    race = played(plan, moons, tmp_path, stop=(stop := Stop()))
    race.claims.worker = dataclasses.replace(full, token="a")
    threading.Timer(1.0, lambda: setattr(stop, "signal", signal.SIGTERM)).start()
    with contextlib.suppress(Exception):
        race.finish()
    assert race.played == []
    queue.end()
    race.session = race.session.but(stop=Stop())
    race.finish()
    assert race.played == ["vae", "gan", "r3gan"]


def test_a_training_whose_claim_is_lost_ends_and_the_new_owners_result_stands(
    plan, moons, tmp_path
):
    closed = []

    def overtaken(race, cell, run):
        if cell.folder != "vae":
            yield from steps(race, cell, run)
            return
        try:
            yield Event("step", 1, "model", {})
            winner = Claims(
                tmp_path / "claims", dataclasses.replace(WORKER, token="b"), stale=-1.0
            )
            with winner.take("vae"):
                evaluation = Played.judged(played(plan, moons, tmp_path, "b"), cell)
                assert evaluation.split == "b"
            yield Event("step", 2, "model", {})
            closed.append("trained on")
        finally:
            closed.append(cell.folder)

    race = played(plan, moons, tmp_path, "a", overtaken, beat=-1.0)
    rows = race.finish()
    assert closed == ["vae"]
    assert [row.split for row in rows] == ["b", "a", "a"]
    assert any("vae was taken over by" in sentence for sentence in race.messages)


def test_a_failure_is_kept_for_all_and_tried_once(plan, moons, tmp_path):
    def diverges(race, cell, run):
        yield Event("step", 1, "model", {})
        if cell.folder == "gan":
            raise Diverged("training left the finite numbers.")

    first = played(plan, moons, tmp_path, "a", diverges).finish()
    second = played(plan, moons, tmp_path, "b", diverges)
    assert second.finish()[1].skipped == first[1].skipped
    assert "left the finite numbers" in first[1].skipped["fd"]
    assert second.played == []
    assert any("Remove" in sentence and "gan.1.json" in sentence for sentence in second.messages)
    (tmp_path / "claims" / "gan.1.json").unlink()
    third = played(plan, moons, tmp_path, "c")
    third.finish()
    assert third.played == ["gan"]


def test_a_run_in_which_somebody_trains_by_hand_comes_last(plan, moons, tmp_path, monkeypatch):
    monkeypatch.setattr("trilemma.comparison.race.RETRY_SECONDS", 0.5)
    tries = []

    def busy(race, cell, run):
        tries.append(cell.folder)
        if cell.folder == "vae" and tries.count("vae") == 1:
            raise InUse("runs/vae is in use by process 7; wait until it ends.")
        yield from steps(race, cell, run)

    race = played(plan, moons, tmp_path, "a", busy)
    assert all(row.split == "a" for row in race.finish())
    assert tries == ["vae", "gan", "r3gan", "vae"]
    assert any("waiting for vae (runs/vae is in use by process 7)" in s for s in race.messages)


def test_the_lock_of_a_dead_process_elsewhere_does_not_block_its_successor(plan, moons, tmp_path):
    far = dataclasses.replace(WORKER, token="far", host="far", boot="another kernel", pid=7)
    Claims(tmp_path / "claims", far).take("vae").end("stopped")
    folder = tmp_path / "runs" / "vae"
    Run.create(folder, {"name": "vae", "seed": 0}, {})
    (folder / "lock").write_text(json.dumps({"pid": 7, "host": "far", "started": 1}))
    (tmp_path / "runs" / ".vae.7.tmp").mkdir()
    race = played(plan, moons, tmp_path)
    cell = plan.cells()[0]
    with race.claims.take("vae") as race.claim:
        race._clear(cell)
        with Run.open(folder).lock() as note:
            assert note is None
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["vae"]


def test_a_disk_that_refuses_ends_the_process_and_frees_the_cell(plan, moons, tmp_path):
    def full(race, cell, run):
        yield Event("step", 1, "model", {})
        raise BadInput("could not write it.") from OSError(28, "no space")

    race = played(plan, moons, tmp_path, "a", full)
    (tmp_path / "runs").mkdir()
    Run.create(tmp_path / "runs" / "vae", {"name": "vae", "seed": 0}, {})
    with pytest.raises(BadInput, match="could not write"):
        race.finish()
    assert Claims(tmp_path / "claims", WORKER).status("vae")["vae"].is_free


# --- folders that are not as they should be ------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Make a comparison of one recipe."""
    out = tmp_path_factory.mktemp("finished") / "one"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "entry", lambda folder, row, data: Entry(row))
        patch.setattr(gallery, "run_report", lambda run, data, model=None: None)
        assert main([*SMALL, "--out", str(out)]) == 0
    return out


def broken(finished, tmp_path) -> Path:
    """Copy the comparison to where it may be broken."""
    return Path(shutil.copytree(finished, tmp_path / "broken"))


def cut(path: Path) -> None:
    """Cut a file in half."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def without(path: Path, *keys: str) -> None:
    """Remove keys of a JSON file."""
    value = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in value.items() if k not in keys}))


def in_place_of(path: Path) -> None:
    """Put a file where a folder is wanted."""
    shutil.rmtree(path, ignore_errors=True)
    path.write_text("")


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (lambda out: cut(out / "comparison.json"), "comparison.json is not JSON"),
        (lambda out: without(out / "comparison.json", "grid"), "is not this comparison"),
        (lambda out: (out / "comparison.json").unlink(), "is not this comparison"),
        (lambda out: in_place_of(out), "is not this comparison"),
        (lambda out: in_place_of(out / "claims"), "claims cannot be read"),
        (
            lambda out: [(out / "comparison.json").unlink(), (out / "comparison.json").mkdir()],
            "comparison.json cannot be read",
        ),
    ],
)
def test_a_comparison_that_cannot_be_joined_is_one_sentence(
    breaks, says, finished, tmp_path, capsys
):
    out = broken(finished, tmp_path)
    breaks(out)
    assert main([*SMALL, "--out", str(out)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert says in output.err.strip().splitlines()[-1]
    assert output.err.strip().splitlines()[-1].startswith("trilemma: ")


def put(path, **values):
    """Change what a JSON file says."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (lambda run: (run / "recipe.json").unlink(), "it has no recipe.json"),
        (lambda run: cut(run / "recipe.json"), "recipe.json is not JSON"),
        (lambda run: without(run / "recipe.json", "seed", "watch"), "differs in seed"),
        (lambda run: without(run / "recipe.json", "watch", "data"), "lacks data.source"),
        (lambda run: without(run / "recipe.json", "format"), "has format 1, which names its"),
        (lambda run: put(run / "recipe.json", format=9), "has format 9, which is newer than"),
        (in_place_of, "is a file"),
        (lambda run: shutil.rmtree(run / "checkpoints"), "has no checkpoint"),
        (lambda run: [cut(p) for p in run.glob("checkpoints/*/m*.s*")], "has no checkpoint that"),
    ],
)
def test_a_run_that_cannot_go_on_says_why_in_its_row(breaks, says, finished, tmp_path, moons):
    out = broken(finished, tmp_path)
    (out / "runs" / "gan" / "evaluation.json").unlink()
    breaks(out / "runs" / "gan")
    (row,) = real(out, moons).finish()
    assert row.metrics == {}
    assert says in row.skipped["fd"]
    assert "to train it anew" in row.skipped["fd"]


@pytest.mark.parametrize(
    ("values", "says"),
    [({"name": "gone"}, "names a recipe that is not here"), ({"format": 3}, "has format 3")],
)
def test_a_run_of_another_trilemma_is_refused_by_its_file(values, says, finished, tmp_path):
    run = broken(finished, tmp_path) / "runs" / "gan"
    put(run / "recipe.json", **values)
    with pytest.raises(BadInput, match=says) as refused:
        load(run, warn=pytest.fail)
    assert str(run / "recipe.json") in str(refused.value)


def test_a_page_is_made_though_a_run_cannot_be_read(finished, tmp_path, capsys):
    out = broken(finished, tmp_path)
    (out / "runs" / "gan" / "evaluation.json").unlink()
    cut(out / "runs" / "gan" / "recipe.json")
    assert main([*SMALL, "--out", str(out)]) == 0
    assert "recipe.json is not JSON" in capsys.readouterr().err
    assert "recipe.json is not JSON" in (out / "table.json").read_text()
    assert "</html>" in (out / "report.html").read_text()


def real(out: Path, moons) -> Race:
    """Return a race over the runs of a comparison that the command has made."""
    recorded = json.loads((out / "comparison.json").read_text())
    plan = Plan.of(
        moons,
        recorded["source"],
        size=None,
        recipes=recorded["recipes"],
        minutes=recorded["minutes"],
        samples=recorded["samples"],
        seed=recorded["seed"],
        device="cpu",
        precision="auto",
        settings=tuple(map(tuple, recorded["settings"])),
    )
    return Race(
        plan,
        moons,
        out / "runs",
        Claims(out / "claims", WORKER),
        Session(),
        lambda title, happened: list(happened),
        lambda run: None,
    )


def older(run: Path) -> None:
    """Let the scores be of an earlier form."""
    value = json.loads((run / "evaluation.json").read_text())
    for score in value["metrics"].values():
        del score["baselines"]
    (run / "evaluation.json").write_text(json.dumps(value))


@pytest.mark.parametrize(
    "breaks",
    [
        lambda run: cut(run / "evaluation.json"),
        lambda run: (run / "evaluation.json").write_text("[]"),
        lambda run: without(run / "evaluation.json", "n"),
        lambda run: without(run / "evaluation.json", "training"),
        lambda run: (run / "evaluation.json").write_text('{"metrics": null}'),
        lambda run: cut(run / "evaluation.safetensors"),
        older,
    ],
)
def test_an_evaluation_that_is_not_whole_is_not_taken(breaks, finished, tmp_path, moons):
    out = broken(finished, tmp_path)
    race = real(out, moons)
    (cell,) = race.plan.cells()
    assert race.existing_evaluation(cell).metrics["fd"].value > 0
    breaks(out / "runs" / "gan")
    assert race.existing_evaluation(cell) is None


def test_it_is_made_anew_without_training(finished, tmp_path, moons):
    out = broken(finished, tmp_path)
    before = json.loads((out / "table.json").read_text())["rows"][0]
    trained = (out / "runs" / "gan" / "latest").read_text()
    older(out / "runs" / "gan")
    (row,) = real(out, moons).finish()
    assert row.to_json()["metrics"] == before["metrics"]
    assert (out / "runs" / "gan" / "latest").read_text() == trained


def test_a_comparison_claimed_by_a_dead_process_goes_on(finished, tmp_path, no_pages, capsys):
    out = broken(finished, tmp_path)
    (out / "runs" / "gan" / "evaluation.json").unlink()
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    dead = dataclasses.replace(WORKER, token="dead", pid=child.pid)
    for name in ("gan", "report", "plan"):
        path = out / "claims" / f"{name}.9.json"
        path.write_text(json.dumps(dataclasses.asdict(dead)) + "\n")
        os.utime(path, (1, 1))
    (out / "comparison.json").unlink()
    shutil.rmtree(out / "runs")
    for leftover in ("table.csv", "table.json", "report.html"):
        (out / leftover).unlink()
    assert main([*SMALL, "--out", str(out)]) == 0
    assert f"process {child.pid}, which worked on it, is gone" in capsys.readouterr().err
    assert (out / "claims" / "gan.10.json").exists()
    assert (out / "report.html").exists()


def test_a_folder_that_is_empty_is_as_good_as_none(plan, tmp_path):
    assert comparing.choose_folder(plan, tmp_path) == tmp_path
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match="is not this comparison"):
        comparing.choose_folder(plan, tmp_path)


def test_an_unfinished_comparison_is_joined_and_another_is_not(plan, tmp_path):
    folder = comparing.choose_folder(plan, None, tmp_path)
    assert folder.name == "two-moons-001"
    folder.mkdir()
    (folder / "comparison.json").write_text(json.dumps(plan.to_json()))
    assert comparing.choose_folder(plan, None, tmp_path) == folder
    other = dataclasses.replace(plan, minutes=2.0)
    assert comparing.choose_folder(other, None, tmp_path).name == "two-moons-002"
    (folder / "comparison.json").write_text("{")
    assert comparing.choose_folder(plan, None, tmp_path).name == "two-moons-002"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_is_shut_is_one_sentence(finished, tmp_path, capsys):
    out = broken(finished, tmp_path)
    out.chmod(0)
    try:
        assert main([*SMALL, "--out", str(out)]) == 2
    finally:
        out.chmod(0o755)
    assert "cannot be read: Permission denied" in capsys.readouterr().err


# --- the page ------------------------------------------------------------------------------------


def test_the_page_is_written_once_by_those_who_end_together(
    finished, tmp_path, no_pages, monkeypatch, capsys
):
    out, written = broken(finished, tmp_path), []
    write = api_comparing.publish
    monkeypatch.setattr(api_comparing, "publish", lambda *w: [written.append(1), write(*w)])
    rows = Race.finish

    def beside_another(self):
        table_rows = rows(self)
        far = dataclasses.replace(WORKER, token="far", host="far", boot="another kernel")
        claim = Claims(out / "claims", far).take("report")

        def page():
            time.sleep(1.0)
            (out / "new").write_text("the other's page")
            (out / "new").replace(out / "report.html")
            claim.end()

        threading.Thread(target=page).start()
        return table_rows

    monkeypatch.setattr(Race, "finish", beside_another)
    assert main([*SMALL, "--out", str(out)]) == 0
    assert written == []
    assert (out / "report.html").read_text() == "the other's page"
    assert "waiting for the report, which process" in capsys.readouterr().err
    monkeypatch.setattr(Race, "finish", rows)
    assert main([*SMALL, "--out", str(out)]) == 0  # asked for again, by itself
    assert written == [1]
