"""Two processes that share the batches train as one does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trilemma.core.batch import Examples
from trilemma.core.errors import BadInput
from trilemma.core.noise import Noise
from trilemma.core.world import World


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What one process alone found, and what each of two did; all three run side by side."""
    root, script = tmp_path_factory.mktemp("ranks"), Path(__file__).with_name("rank_script.py")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    plain = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    plain.pop("WORLD_SIZE", None)
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [
        subprocess.Popen(
            [sys.executable, str(script), str(root / name)],
            env=plain | extra,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for name, extra in (
            ("one", {}),
            ("two", {**shared, "RANK": "0", "LOCAL_RANK": "0"}),
            ("two", {**shared, "RANK": "1", "LOCAL_RANK": "1"}),
        )
    ]
    try:
        for process in started:
            output, _ = process.communicate(timeout=120)
            assert process.returncode == 0, output.decode()[-3000:]
    finally:
        for process in started:
            process.kill()
            process.wait()
    return [torch.load(root / name) for name in ("one.0", "two.0", "two.1")]


NAMES = ("game", "variational", "accumulated", "coupled", "coupled in parts", "replay", "rollouts")


@pytest.mark.parametrize("name", NAMES)
def test_two_train_as_one(results, name):
    one, *two = [result[name] for result in results]
    for rank in two:
        torch.testing.assert_close(
            torch.tensor(rank["losses"]), torch.tensor(one["losses"]), rtol=1e-5, atol=1e-5
        )
        for part in ("weights", "raw"):
            for key, value in one[part].items():
                torch.testing.assert_close(rank[part][key], value, rtol=1e-5, atol=1e-5)
    # The processes agree to the bit, and the training went somewhere.
    assert all(torch.equal(two[0]["raw"][k], two[1]["raw"][k]) for k in two[0]["raw"])
    assert len(one["losses"]) == 20
    assert abs(one["losses"][0][0] - one["losses"][-1][0]) > 1e-3


def test_a_shared_replay_buffer_is_whole(results):
    one, *two = [result["replay"]["raw"]["replay"] for result in results]
    assert (one != 0).any(1).all()
    for replay in two:
        torch.testing.assert_close(replay, one, rtol=1e-5, atol=1e-5)


def test_samples_do_not_depend_on_who_draws_them(results):
    one, *two = [result["samples"] for result in results]
    assert len(one) == 70
    for samples in two:
        torch.testing.assert_close(samples, one, rtol=0, atol=1e-5)


def test_a_signal_to_one_process_stops_both_and_both_resume(results):
    for result in results[1:]:
        assert result["fitted"]["seen"] == [1, 2, 3, 4, 143, 5, 6, 7, 8, 9, 10, 11, 12]
    for key, value in results[0]["fitted"]["weights"].items():
        torch.testing.assert_close(
            results[1]["fitted"]["weights"][key], value, rtol=1e-5, atol=1e-5
        )


def test_a_batch_that_cannot_be_shared_is_refused(results):
    assert "24" in results[0]["refused"]
    assert "multiple of 5" in results[0]["refused"]
    assert "multiple of 10" in results[1]["refused"]


def test_agreement_is_the_largest(results):
    assert results[1]["agreed"] == results[2]["agreed"] == (1.0, 0.0)


def test_shards_are_the_rows_of_the_batch():
    batch = Examples(torch.arange(12.0)[:, None], noise=Noise.of(0, 12))
    parts = [World(rank, 3).shard(batch) for rank in range(3)]
    assert torch.equal(torch.cat([p.x for p in parts]), batch.x)
    assert torch.equal(torch.cat([p.noise.normal(2) for p in parts]), batch.noise.normal(2))
    assert World.single().shard(batch) is batch
    with pytest.raises(BadInput, match="multiple of 8"):
        World(0, 4).shard(batch, 2)


def test_spans_cover_every_index_once():
    for n in (0, 1, 5, 70):
        spans = [World(rank, 3).span(n) for rank in range(3)]
        assert [i for span in spans for i in span] == list(range(n))
