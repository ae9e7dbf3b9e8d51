"""Cases of a plug-in in processes of their own: ranks, that load what another one has trained.

    python -m trilemma.api.plugin_process FOLDER

reads FOLDER/cases.json, trains every case with the processes that it is one of, loads what one
process has trained before, and writes FOLDER/outcomes.json: for each case its losses, or why not.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from trilemma.api.recipe_checks import SAMPLES, Case, loaded_model, losses_of, trained
from trilemma.core.errors import reason_of
from trilemma.core.sampling import draw
from trilemma.core.session import Session
from trilemma.core.world import World
from trilemma.plugins import installed, read
from trilemma.recipes.catalog import recipe_class
from trilemma.recipes.fields import build
from trilemma.training.distributed import world
from trilemma.training.run import Run

__all__ = ["ONE", "in_two_processes"]

ONE, RANKS = "one", "ranks"
"""Folders of the runs that one process trains, and several."""
PATIENCE = 3.0
"""Minutes that processes wait for one another."""


def in_two_processes(
    plugins: Sequence[str], cases: Sequence[Case], folder: Path
) -> list[dict[str, Any]]:
    """Train cases in two processes, which also load the runs `ONE` of each.

    Arguments:
        plugins: Paths of the files that they read first.
        cases: Of which `ONE` is trained; where it could not be, there is no such folder.
        folder: For what is exchanged.

    Returns:
        For each case 'losses' and 'samples' (a file), or in their place 'losses error' and
        'samples error', a reason; or both errors, where the processes came to no end.
    """
    plain = {"plugins": list(plugins), "cases": [case.to_json() for case in cases]}
    (folder / "cases.json").write_text(json.dumps(plain))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", __name__, str(folder)]
    started = [
        subprocess.Popen(
            command,
            env=os.environ | common | {"RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    try:
        errors = [process.communicate(timeout=60 * PATIENCE)[1] for process in started]
    except subprocess.TimeoutExpired:
        errors = [f"they did not end within {PATIENCE:g} minutes"]
    finally:
        for process in started:
            process.kill()
            process.wait()
    if (folder / "outcomes.json").exists():
        return json.loads((folder / "outcomes.json").read_text())
    lines = "\n".join(errors).strip().splitlines() or ["they ended without a word"]
    return [{"losses error": lines[-1], "samples error": lines[-1]} for _ in cases]


def _main(folder: Path) -> None:
    """Do this process's part of every case, and write down what came of it."""
    plain = json.loads((folder / "cases.json").read_text())
    installed()
    for path in plain["plugins"]:
        read(path)
    outcomes = []
    with world(torch.device("cpu"), minutes=PATIENCE) as ranks:
        for record in plain["cases"]:
            recipe = build(recipe_class(record["name"]), record["fields"])
            outcomes.append(_outcome(Case(recipe, record["kind"], Path(record["folder"])), ranks))
        is_main = ranks.is_main
    if is_main:
        (folder / "outcomes.json").write_text(json.dumps(outcomes))


def _outcome(case: Case, ranks: World) -> dict[str, Any]:
    outcome: dict[str, Any] = {}
    try:
        outcome["losses"] = losses_of(trained(case, RANKS, Session(world=ranks)))
    except Exception as error:
        outcome["losses error"] = reason_of(error)
    if not ranks.is_main:
        return outcome
    try:
        path = case.folder / "samples.safetensors"
        model = loaded_model(Run.open(case.folder / ONE))
        save_file({"samples": draw(model, SAMPLES, seed=1).contiguous()}, path)
        outcome["samples"] = str(path)
    except Exception as error:
        outcome["samples error"] = reason_of(error)
    return outcome


if __name__ == "__main__":
    torch.set_num_threads(1)
    _main(Path(sys.argv[1]))
