"""Claims: one owner at any moment, dead ones replaced once, and nothing written by who lost it."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

from trilemma.comparison import claims as module
from trilemma.comparison.claims import ClaimLost, Claims
from trilemma.comparison.worker import Worker
from trilemma.core.errors import BadInput
from trilemma.training.run import InUse, Run

WORKER = Worker.current(torch.device("cpu"))
TWO = dataclasses.replace(WORKER, threads=1, cores=(0, 1))
"""A process with one thread on two cores."""
RACERS = 8


def another(worker: Worker = WORKER, **changes) -> Worker:
    """Describe another process; by default one that looks exactly as alive as this one."""
    return dataclasses.replace(worker, token=f"other-{time.monotonic_ns()}", **changes)


def elsewhere(**changes) -> Worker:
    """Describe a process of another machine."""
    return another(host="elsewhere", boot="another kernel", **changes)


class Clock:
    """An observer's clock, moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "claims"


@pytest.fixture
def take_claim():
    """Make claims that end with the test."""
    claims = []

    def take(folder, name, worker=WORKER, **settings):
        claim = Claims(folder, worker, **settings).take(name)
        if claim is not None:
            claims.append(claim)
        return claim

    yield take
    for claim in claims:
        claim.end("stopped")


# --- one owner -----------------------------------------------------------------------------------


def _racer(folder, names, barrier, wins):
    claims = Claims(folder, another(pid=os.getpid()))
    barrier.wait()
    won = [name for name in names if claims.take(name) is not None]
    wins.put(won)
    barrier.wait()  # nobody's claim may end before all have tried


def test_of_many_processes_exactly_one_gets_each_claim(folder):
    context = multiprocessing.get_context("fork")
    barrier, wins = context.Barrier(RACERS), context.Queue()
    names = [f"cell-{i}" for i in range(30)]
    racers = [
        context.Process(target=_racer, args=(folder, names, barrier, wins)) for _ in range(RACERS)
    ]
    for racer in racers:
        racer.start()
    won = [name for _ in racers for name in wins.get(timeout=60)]
    for racer in racers:
        racer.join(60)
    assert sorted(won) == sorted(names)


def winners(folder, monkeypatch, name="cell") -> int:
    """Let threads race for a claim that all of them have seen to be free."""
    barrier, look = threading.Barrier(RACERS), Claims.status
    claims = [Claims(folder, another()) for _ in range(RACERS)]

    def all_at_once(self, *names):
        status = look(self, *names)
        barrier.wait(30)
        return status

    won = []
    with monkeypatch.context() as patch:
        patch.setattr(Claims, "status", all_at_once)
        threads = [
            threading.Thread(target=lambda c=each: won.append(c.take(name))) for each in claims
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    owned = [claim for claim in won if claim is not None]
    for claim in owned:
        claim.end("stopped")
    assert len(won) == RACERS
    return len(owned)


def test_one_of_those_that_saw_it_free_gets_it(folder, monkeypatch):
    assert winners(folder, monkeypatch) == 1
    assert winners(folder, monkeypatch) == 1  # and again when it has ended
    assert sorted(path.name for path in folder.iterdir()) == ["cell.1.json", "cell.2.json"]


def test_one_of_those_that_saw_it_stale_gets_it(folder, take_claim, monkeypatch):
    assert take_claim(folder, "cell", another(pid=dead_process())) is not None
    silence(folder / "cell.1.json")
    assert winners(folder, monkeypatch) == 1


def test_without_exclusive_creation_several_would(folder, monkeypatch):
    real = os.open

    def careless(path, flags, *rest, **more):
        return real(path, flags & ~os.O_EXCL, *rest, **more)

    monkeypatch.setattr(module.os, "open", careless)
    assert winners(folder, monkeypatch) == RACERS


def dead_process() -> int:
    """Return the number of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def silence(path, seconds: float = 3600.0) -> None:
    """Let a heartbeat be so old by this machine's clock."""
    old = time.time() - seconds
    os.utime(path, (old, old))


# --- alive, dead, silent -------------------------------------------------------------------------


def test_a_claim_that_has_ended_is_free_and_a_failure_is_not(folder, take_claim):
    claims = Claims(folder, another())
    for how, free in (("done", True), ("stopped", True), ("failed", False)):
        take_claim(folder, how).end(how, **({"reason": "not finite."} if how == "failed" else {}))
        assert claims.status(how)[how].is_free is free
    assert claims.status("failed")["failed"].failure == "not finite."
    assert claims.take("failed") is None
    (folder / "failed.1.json").unlink()
    claims.take("failed").end("stopped")
    assert claims.status("failed")["failed"].is_free


def test_a_living_process_keeps_its_claim_however_old_the_file_looks(folder, take_claim):
    take_claim(folder, "cell")
    silence(folder / "cell.1.json")
    assert take_claim(folder, "cell", another()) is None


def test_of_another_machine_silence_decides_by_the_observers_clock(folder, take_claim):
    clock = Clock()
    take_claim(folder, "cell", elsewhere())
    path = folder / "cell.1.json"
    claims = Claims(folder, WORKER, stale=60.0, clock=clock)
    silence(path, 10**6)  # its clock may say what it likes
    assert not claims.status("cell")["cell"].is_free
    clock.now = 59.0
    assert not claims.status("cell")["cell"].is_free
    silence(path, -500.0)  # a beat
    assert claims.status("cell")["cell"].silence == 0.0
    clock.now = 118.0
    assert not claims.status("cell")["cell"].is_free
    clock.now = 120.0
    assert claims.status("cell")["cell"].is_free
    claim = claims.take("cell")
    claim.end("stopped")
    assert claim.previous.host == "elsewhere"
    assert claim.generation == 2


def test_a_heart_beats(folder, take_claim):
    take_claim(folder, "cell", beat=0.05)
    before = (folder / "cell.1.json").stat().st_mtime_ns
    time.sleep(0.4)
    assert (folder / "cell.1.json").stat().st_mtime_ns > before


def test_a_killed_process_is_replaced_when_it_has_missed_its_beats(folder, take_claim):
    code = (
        "import sys, torch; from pathlib import Path\n"
        "from trilemma.comparison.claims import Claims\n"
        "from trilemma.comparison.worker import Worker\n"
        "claim = Claims(Path(sys.argv[1]), Worker.current(torch.device('cpu'))).take('cell')\n"
        "print(claim.generation, flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert child.stdout.readline() == b"1\n"
        clock = Clock()
        claims = Claims(folder, WORKER, beat=5.0, clock=clock)
        assert not claims.status("cell")["cell"].is_free
        os.kill(child.pid, signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, though not waited for
        claims.status("cell")  # its last beat may have come after the first look
        assert not claims.status("cell")["cell"].is_free  # a copy of this machine may beat yet
        clock.now = 10.1
        assert claims.status("cell")["cell"].is_free
        silence(folder / "cell.1.json")
        claim = take_claim(folder, "cell")  # another observer goes by the file's age
        assert claim.previous.pid == child.pid
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()


def test_a_number_used_again_is_another_process(folder):
    assert not WORKER.is_known_dead(another())
    assert WORKER.is_known_dead(another(started=WORKER.started + 1))
    assert WORKER.is_known_dead(another(pid=dead_process()))
    assert not WORKER.is_known_dead(another(pid=dead_process(), namespace=-1))
    assert not WORKER.is_known_dead(elsewhere(pid=dead_process()))


def test_a_claim_that_was_cut_short_is_held_until_it_is_silent(folder):
    folder.mkdir()
    (folder / "cell.1.json").write_text('{"host": "el')
    clock = Clock()
    claims = Claims(folder, WORKER, stale=60.0, clock=clock)
    assert not claims.status("cell")["cell"].is_free
    assert claims.take("cell") is None
    clock.now = 61.0
    claim = claims.take("cell")
    claim.end("stopped")
    assert claim.previous is None


# --- who lost it stops ---------------------------------------------------------------------------


def lose(claim) -> None:
    """Let another process take a claim over."""
    claims = Claims(claim.claims.folder, another(), stale=-1.0)
    claims.take(claim.name).end("stopped")


def test_who_lost_a_claim_is_stopped_and_ends_nothing(folder, take_claim):
    claim = take_claim(folder, "cell")
    claim.check()
    claim.verify()
    lose(claim)
    before = {path.name: path.read_text() for path in folder.iterdir()}
    with pytest.raises(ClaimLost, match=f"process {os.getpid()}"):
        claim.verify()
    with pytest.raises(ClaimLost):
        claim.check()
    claim.end("done")
    assert {path.name: path.read_text() for path in folder.iterdir()} == before
    assert json.loads(before["cell.1.json"].splitlines()[1])["ended"] == "taken over"


def test_a_check_looks_into_the_files_when_it_has_not_for_long(folder, take_claim):
    clock = Clock()
    claim = take_claim(folder, "cell", beat=5.0, clock=clock)
    lose(claim)
    clock.now = 6.0  # as after a pause of the whole process
    with pytest.raises(ClaimLost):
        claim.check()


def test_the_heart_notices_too(folder, take_claim):
    claim = take_claim(folder, "cell", beat=0.05)
    lose(claim)
    deadline = time.monotonic() + 10
    while not claim.is_lost and time.monotonic() < deadline:
        time.sleep(0.02)
    assert claim.is_lost


def test_a_claim_whose_file_was_removed_is_lost(folder, take_claim):
    claim = take_claim(folder, "cell")
    (folder / "cell.1.json").unlink()
    with pytest.raises(ClaimLost, match="another process"):
        claim.verify()


def test_while_the_file_server_is_away_a_claim_holds_until_it_may_be_stale(
    folder, take_claim, monkeypatch
):
    clock = Clock()
    claim = take_claim(folder, "cell", stale=60.0, clock=clock)

    def away(path, *rest, **more):
        raise OSError(5, "input/output error")

    monkeypatch.setattr(type(claim.path), "stat", away)
    clock.now = 59.0
    claim.verify()
    clock.now = 61.0
    with pytest.raises(ClaimLost):
        claim.verify()
    monkeypatch.undo()


@pytest.fixture
def run(tmp_path):
    record = {"name": "vae", "fields": {}, "seed": 0, "data": {}}
    return Run.create(tmp_path / "run", record, {})


def test_a_run_is_not_written_by_who_lost_its_claim(run, folder, take_claim):
    weights = {"w": torch.zeros(3)}
    claim = take_claim(folder, "cell")
    run.verify = claim.verify
    run.event("step", step=1)
    run.save(1, "model", weights, {})
    lose(claim)
    other = Run.open(run.path)  # the new owner, which is further on
    other.save(5, "model", weights, {})
    other.save(6, "model", weights, {})
    other.event("step", step=6)
    log = (run.path / "events.jsonl").read_text()
    with pytest.raises(ClaimLost):
        run.event("step", step=2)
    with pytest.raises(ClaimLost):
        run.save(2, "model", weights, {})
    assert (run.path / "events.jsonl").read_text() == log
    assert (run.path / "latest").read_text() == "step_6\n"
    assert sorted(p.name for p in (run.path / "checkpoints").iterdir()) == ["step_5", "step_6"]


def test_a_save_that_was_overtaken_removes_no_newer_checkpoint(
    run, folder, take_claim, monkeypatch
):
    weights, claim = {"w": torch.zeros(3)}, take_claim(folder, "cell")
    run.save(1, "model", weights, {})
    run.verify = claim.verify
    write = sys.modules["trilemma.training.run"].write

    def slow(*words):
        write(*words)
        monkeypatch.undo()
        lose(claim)
        other = Run.open(run.path)
        other.save(5, "model", weights, {})
        other.save(6, "model", weights, {})

    monkeypatch.setattr("trilemma.training.run.write", slow)
    with pytest.raises(ClaimLost):
        run.save(2, "model", weights, {})
    assert (run.path / "latest").read_text() == "step_6\n"
    assert {"step_5", "step_6"} <= {p.name for p in (run.path / "checkpoints").iterdir()}


def test_a_lock_is_left_to_who_made_it_anew(run):
    with run.lock():
        (run.path / "lock").unlink()
        (run.path / "lock").write_text("of another process")
    assert (run.path / "lock").read_text() == "of another process"


def test_the_lock_of_a_lost_claim_on_another_machine_does_not_block(run):
    holder = {"pid": 12, "host": "elsewhere", "started": 5}
    (run.path / "lock").write_text(json.dumps(holder))
    run.event("step", step=1)
    with pytest.raises(InUse, match="process 12 on elsewhere"), run.lock():
        pass
    run.unlock(13, "elsewhere")
    assert (run.path / "lock").exists()
    run.unlock(12, "elsewhere")
    with run.lock() as note:
        assert note is None


# --- cores ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rest", "crowded"),
    [
        ([], False),
        ([another(TWO)], False),
        ([another(TWO), another(TWO)], True),
        ([another(TWO, threads=2)], True),
        ([another(TWO, threads=2, cores=(2, 3))], False),  # pinned to other cores
        ([another(TWO, threads=2, cores=(1, 2))], False),  # three threads on three cores
        ([another(TWO, threads=3, cores=(1, 2))], True),
        ([another(TWO, threads=2, host="container")], True),  # cores are the kernel's
        ([elsewhere(threads=8, cores=(0, 1))], False),
        ([another(TWO, threads=2, device="GPU-a")], False),  # one core feeds the accelerator
    ],
)
def test_threads_of_a_machine_share_its_cores(rest, crowded, folder, take_claim):
    names = [f"cell-{i}" for i in range(len(rest))]
    for name, worker in zip(names, rest, strict=True):
        assert take_claim(folder, name, worker) is not None
    assert bool(Claims(folder, TWO).crowd([*names, "free"])) is crowded


def test_a_process_alone_may_have_more_threads_than_cores(folder, take_claim):
    assert Claims(folder, dataclasses.replace(TWO, threads=8)).crowd(["cell"]) == []


def test_an_accelerator_has_one_claim(folder, take_claim):
    gpu = dataclasses.replace(TWO, device="GPU-a", threads=8)
    take_claim(folder, "cell", another(gpu))
    assert len(Claims(folder, gpu).crowd(["cell"])) == 1
    assert Claims(folder, dataclasses.replace(gpu, device="GPU-b")).crowd(["cell"]) == []


def test_claims_that_ended_or_are_dead_take_no_cores(folder, take_claim):
    full = another(TWO, threads=2)
    take_claim(folder, "ended", full).end()
    take_claim(folder, "dead", dataclasses.replace(full, pid=dead_process()))
    silence(folder / "dead.1.json")
    assert Claims(folder, TWO).crowd(["ended", "dead"]) == []


# --- files that are not as they should be --------------------------------------------------------


def test_a_file_in_the_place_of_the_folder_is_one_sentence(folder):
    folder.write_text("")
    claims = Claims(folder, WORKER)
    with pytest.raises(BadInput, match="cannot be read"):
        claims.take("cell")


def test_a_place_that_may_not_be_written_is_one_sentence(folder, monkeypatch):
    def shut(*words, **more):
        raise PermissionError(13, "no")

    monkeypatch.setattr(type(folder), "mkdir", shut)
    with pytest.raises(BadInput, match="permission is denied"):
        Claims(folder, WORKER).take("cell")
