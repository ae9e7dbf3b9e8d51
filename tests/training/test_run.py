"""A run directory is whole, one process's, and believed only after it was verified."""

from __future__ import annotations

import errno
import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from trilemma.core.errors import BadInput, Diverged
from trilemma.training import checkpoint as writer
from trilemma.training.budget import Budget
from trilemma.training.environment import environment
from trilemma.training.run import Run, refuse_difference, unused

WEIGHTS = {"w": torch.arange(300.0), "count": torch.tensor(3)}


@pytest.fixture
def run(tmp_path):
    """A run with checkpoints at steps 1 and 2."""
    run = Run.create(tmp_path / "run", {"name": "vae", "seed": 0}, {"python": "3"})
    for step in (1, 2):
        run.save(step, "model", {**WEIGHTS, "count": torch.tensor(step)}, {"step": step})
    return run


def read(run):
    warnings = []
    return run.checkpoint(warnings.append), warnings


def listing(run):
    return sorted(p.name for p in (run.path / "checkpoints").iterdir())


# Making and opening


def test_create_makes_the_whole_directory(run):
    assert sorted(p.name for p in run.path.iterdir()) == [
        "checkpoints",
        "environment.json",
        "events.jsonl",
        "latest",
        "recipe.json",
        "samples",
    ]
    assert Run.open(run.path).recipe == {"name": "vae", "seed": 0}
    assert Run.open(run.path).environment == {"python": "3"}


def test_create_never_overwrites(run, tmp_path):
    for existing in (run.path, tmp_path / "file", tmp_path / "empty"):
        if existing.name == "file":
            existing.write_text("mine")
        if existing.name == "empty":
            existing.mkdir()
        with pytest.raises(BadInput, match="exists already"):
            Run.create(existing, {"name": "vae"}, {})
    assert (tmp_path / "file").read_text() == "mine"


def test_create_leaves_nothing_when_it_fails(tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("trilemma.training.run.write_file", full)
    with pytest.raises(BadInput, match="no space left"):
        Run.create(tmp_path / "run", {"name": "vae"}, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        ("file", "is a file"),
        ({}, "no recipe.json"),
        ({"recipe.json": "{"}, "not JSON"),
        ({"recipe.json": "[1]"}, "no JSON object"),
        ({"recipe.json": "{}"}, "names no recipe"),
    ],
)
def test_open_refuses_what_is_no_run(tmp_path, content, message):
    path = tmp_path / "run"
    if content == "file":
        path.write_text("")
    elif content is not None:
        path.mkdir()
        for name, text in content.items():
            (path / name).write_text(text)
    with pytest.raises(BadInput, match=message):
        Run.open(path)


def test_unused_counts_up(tmp_path):
    assert unused(tmp_path, "vae-digits").name == "vae-digits-001"
    (tmp_path / "vae-digits-001").mkdir()
    assert unused(tmp_path, "vae-digits").name == "vae-digits-002"


def test_no_permission_is_a_sentence(tmp_path, monkeypatch):
    locked_folder = tmp_path / "locked"
    locked_folder.mkdir()
    if os.geteuid() == 0:  # root may write anywhere: let the system say no

        def refuse(self, *args, **kwargs):
            raise PermissionError(errno.EACCES, "Permission denied", str(self))

        monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    else:
        locked_folder.chmod(0o500)
    with pytest.raises(BadInput, match="permission is denied"):
        Run.create(locked_folder / "run", {"name": "vae"}, {})
    assert list(locked_folder.iterdir()) == []


# Checkpoints


def test_two_checkpoints_are_kept_and_latest_points_at_the_newest(run):
    assert listing(run) == ["step_1", "step_2"]
    run.save(7, "model", WEIGHTS, {})
    assert listing(run) == ["step_2", "step_7"]
    assert (run.path / "latest").read_text() == "step_7\n"
    # Equal bytes are no reason to keep one alone.
    run.save(8, "model", WEIGHTS, {})
    assert listing(run) == ["step_7", "step_8"]
    # The same step again replaces it, and keeps the one before.
    run.save(8, "model", WEIGHTS, {"again": 1})
    assert listing(run) == ["step_7", "step_8"]
    assert read(run)[0].state == {"again": 1}


def test_a_checkpoint_is_read_back_bit_for_bit(run):
    checkpoint, warnings = read(run)
    assert (checkpoint.step, checkpoint.stage, warnings) == (2, "model", [])
    assert torch.equal(checkpoint.weights["w"], WEIGHTS["w"])
    assert checkpoint.weights["count"].dtype == torch.int64
    assert checkpoint.state == {"step": 2}
    assert run.checkpoint(lambda _: None, with_state=False).state == {}


def test_tied_and_strided_weights_are_kept(run):
    tied = nn.Linear(4, 4, bias=False)
    model = nn.Sequential(tied, tied, nn.Conv2d(2, 3, 3))
    model = model.to(memory_format=torch.channels_last)
    run.save(3, "model", model.state_dict(), {})
    weights = read(run)[0].weights
    assert torch.equal(weights["0.weight"], weights["1.weight"])
    assert torch.equal(weights["2.weight"], model[2].weight)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path):
    os.truncate(path, path.stat().st_size - 5)


def swap(path):
    shutil.copy(path.parent.parent / "step_1" / path.name, path)


@pytest.mark.parametrize("damage", [flip, truncate, swap, os.remove])
@pytest.mark.parametrize("name", ["model.safetensors", "state.pt", "manifest.json"])
def test_damage_is_named_and_the_one_before_is_taken(run, damage, name):
    path = run.path / "checkpoints" / "step_2" / name
    damage(path)
    checkpoint, warnings = read(run)
    assert checkpoint.step == 1
    assert len(warnings) == 1
    assert str(path.parent if name == "manifest.json" else path) in warnings[0]
    assert "step 1" in warnings[0]
    # Going on from there, the damaged one goes and the good one stays.
    run.save(5, "model", WEIGHTS, {})
    assert listing(run) == ["step_1", "step_5"]


def test_a_checkpoint_of_another_run_is_refused(run, tmp_path):
    for seed, name in ((1, "vae"), (0, "gan")):
        other = Run.create(tmp_path / f"{name}{seed}", {"name": name, "seed": seed}, {})
        other.save(2, "model", WEIGHTS, {})
        shutil.rmtree(run.path / "checkpoints" / "step_2")
        shutil.copytree(other.path / "checkpoints" / "step_2", run.path / "checkpoints" / "step_2")
        checkpoint, warnings = read(run)
        assert checkpoint.step == 1
        assert "belongs elsewhere" in warnings[0]


def test_nothing_good_left_is_never_a_fresh_start(run):
    for step in (1, 2):
        flip(run.path / "checkpoints" / f"step_{step}" / "state.pt")
    with pytest.raises(BadInput, match=r"no checkpoint that is whole.*step_2.*step_1"):
        read(run)
    assert not run.is_untouched


class Trap:
    def __reduce__(self):
        return (os.mkdir, (os.environ["TRAP"],))


@pytest.mark.parametrize("name", ["state.pt", "model.safetensors"])
def test_a_pickle_is_never_executed(run, name, tmp_path, monkeypatch):
    trap = tmp_path / "sprung"
    monkeypatch.setenv("TRAP", str(trap))
    folder = run.path / "checkpoints" / "step_2"
    for data in (pickle.dumps(Trap()), _saved(Trap())):
        (folder / name).write_bytes(data)
        assert read(run)[0].step == 1  # its hash differs
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"][name] = {
            "bytes": len(data),
            "sha256": writer.hashlib.sha256(data).hexdigest(),
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))
        checkpoint, warnings = read(run)  # and where its hash was made to fit
        assert checkpoint.step == 1
        assert str(folder / name) in warnings[0]
        if name == "state.pt":
            assert "not executed" in warnings[0]
    assert not trap.exists()


def _saved(value):
    file = writer.io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def test_weights_that_are_not_finite_are_never_saved(run):
    for bad in (float("nan"), float("inf")):
        with pytest.raises(Diverged, match="'w'"):
            run.save(3, "model", {"w": torch.tensor([1.0, bad])}, {})
    assert listing(run) == ["step_1", "step_2"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EFBIG])
@pytest.mark.parametrize("call", ["write_file", "sync_folder", "os.rename"])
def test_a_failing_disk_leaves_the_old_ones(run, monkeypatch, code, call):
    def fail(*args):
        if call == "write_file":  # half of it gets there
            args[0].write_bytes(bytes(args[1])[: len(args[1]) // 2])
        raise OSError(code, "no")

    target = os if call == "os.rename" else writer
    monkeypatch.setattr(target, call.removeprefix("os."), fail)
    with pytest.raises(BadInput, match=writer.REASONS[code]) as caught:
        run.save(3, "model", WEIGHTS, {})
    assert "intact" in str(caught.value)
    monkeypatch.undo()
    assert listing(run) == ["step_1", "step_2"]
    assert read(run)[0].step == 2


def test_a_limit_on_file_size_leaves_the_old_ones(run):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(BadInput, match="larger than the system allows"):
            run.save(3, "model", {"w": torch.zeros(100_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert listing(run) == ["step_1", "step_2"]
    assert read(run)[0].step == 2


def test_a_full_disk_while_training_is_bad_input(desk, monkeypatch):
    run = desk.create("variational")
    events = desk.fit(run, Budget(steps=9), save_every=3)
    for event in events:
        if event.kind == "checkpoint" and event.step == 3:
            break

    def full(path, data):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(writer, "write_file", full)
    with pytest.raises(BadInput, match="no space left"):
        list(events)
    monkeypatch.undo()
    assert desk.newest(run).step == 3
    assert list(desk.fit(run, resume=True))[-1].step == 9


# The lock


def test_two_processes_cannot_share_a_run(run):
    code = (
        "import sys; from trilemma.training.run import Run\n"
        "with Run.open(sys.argv[1]).lock():\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(run.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(BadInput, match=f"in use by process {child.pid}"), run.lock():
            pass
        child.kill()  # and a crash leaves its lock behind, which is then stale
        child.wait()
        assert (run.path / "lock").exists()
        with run.lock() as note:
            assert f"process {child.pid}" in note
            with run.lock() as inner:
                assert inner is None
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()
    assert not (run.path / "lock").exists()


def test_a_lock_from_another_machine_holds_while_its_run_is_alive(run):
    lock = run.path / "lock"
    lock.write_text(json.dumps({"pid": 12, "host": "elsewhere", "started": 5}))
    run.event("step", step=1)
    with pytest.raises(BadInput, match="process 12 on elsewhere"), run.lock():
        pass
    old = time.time() - 3600
    os.utime(run.path / "events.jsonl", (old, old))
    with run.lock() as note:
        assert "process 12" in note


def test_taking_the_lock_clears_what_a_crash_left(run):
    (run.path / "checkpoints" / "step_3.tmp").mkdir()
    run.event("step", step=1)
    with open(run.path / "events.jsonl", "a") as log:
        log.write('{"kind": "st')
    assert [e.kind for e in run.events()] == ["step"]
    with run.lock():
        run.event("done", step=2)
    assert listing(run) == ["step_1", "step_2"]
    assert [e.kind for e in run.events()] == ["step", "done"]
    assert (run.path / "events.jsonl").read_text().count("\n") == 2


# Events, differences, environment


def test_steps_done_anew_are_told_once(run):
    for step in (1, 2, 3):
        run.event("step", step=step, loss=float("nan"))
    run.event("resumed", step=1)
    run.event("step", step=2)
    assert [(e.kind, e.step) for e in run.events()] == [
        ("step", 1),
        ("resumed", 1),
        ("step", 2),
    ]
    assert len(run.events(superseded=True)) == 5
    assert run.events()[0].values["loss"] == "nan"


def test_a_full_disk_for_events_is_a_sentence(run, monkeypatch):
    monkeypatch.setattr(os, "write", lambda handle, data: len(data) // 2)
    with pytest.raises(BadInput, match=r"events\.jsonl.*no space left"):
        run.event("step", step=1)


def test_a_difference_is_shown():
    recorded = {"name": "vae", "fields": {"lr": 0.1, "widths": [1, 2]}, "data": "abc", "seed": 0}
    refuse_difference(recorded, {"name": "vae", "fields": {"widths": (1, 2)}, "seed": 0})
    with pytest.raises(BadInput) as caught:
        refuse_difference(recorded, {"fields": {"lr": 0.2}, "data": "abd", "seed": 0})
    assert 'fields.lr: 0.1 → 0.2, data: "abc" → "abd"' in str(caught.value)
    assert "seed" not in str(caught.value)


def test_the_environment_tells_of_the_machine_and_not_of_the_person():
    recorded = environment()
    text = json.dumps(recorded)
    assert recorded["packages"]["torch"] == torch.__version__
    assert recorded["threads"] == torch.get_num_threads()
    for private in (os.path.expanduser("~"), os.getcwd(), os.uname().nodename):
        assert private not in text
