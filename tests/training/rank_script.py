"""One of the processes of test_distributed. Arguments: file to write, what to do."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from awkward_clients import build

from trilemma.core.errors import BadInput, Interrupted
from trilemma.core.sampling import draw
from trilemma.core.session import Session, Stop
from trilemma.core.world import World
from trilemma.training.budget import Budget
from trilemma.training.distributed import world
from trilemma.training.fit import fit
from trilemma.training.precision import Precision
from trilemma.training.run import Run
from trilemma.training.trainer import Settings, Trainer, train

CPU = torch.device("cpu")
FP32 = Precision("fp32", False, "")


def trained(process_group: World, name: str, accumulate: int = 1) -> dict:
    """Train a client for twenty steps; return losses, weights and buffers."""
    model, (stage, *_) = build(name)
    if process_group.rank:  # another start, which must be aligned with the main process's
        with torch.no_grad():
            for tensor in (*model.parameters(), *model.buffers()):
                tensor.add_(1)
    process_group.align(model)
    if name == "game":
        game = model.objectives
        model.objectives = lambda: [replace(game()[0], repeat=3), game()[1]]
    settings = Settings(lr=1e-2, warmup=3, ema=0.9, accumulate=accumulate)
    options = {"session": Session(world=process_group), "precision": FP32, "total": 20}
    trainer = Trainer(model, stage, stage.stream(), settings, **options)
    numbers = [
        [value for key, value in event.values.items() if key.endswith(("loss", "r1", "kl"))]
        for event in train(trainer, 20)
    ]
    return {"losses": numbers, "weights": trainer.weights(), "raw": model.state_dict()}


def sampled(process_group: World) -> torch.Tensor:
    """Draw 70 samples, each process its part."""
    model, _ = build("conditions")
    span = process_group.span(70)
    return process_group.gather(draw(model, len(span), seed=5, start=span.start), 70)


def fitted(process_group: World, root: Path) -> dict:
    """Train in a run directory; be interrupted in one process alone; resume in all."""
    if process_group.is_main:
        Run.create(root / "shared", {"name": "two-stages"}, {})
    process_group.barrier()
    steps_seen = []
    for attempt in range(2):
        model, stages = build("two-stages")
        stop = Stop()
        events = fit(
            Run.open(root / "shared"),
            model,
            stages,
            Settings(lr=1e-2, warmup=3, ema=0.9),
            None if attempt else Budget(steps=12),
            session=Session(stop=stop, world=process_group),
            precision=FP32,
            resume=attempt == 1,
        )
        try:
            for event in events:
                if event.kind == "step":
                    steps_seen.append(event.step)
                if event.step == 4 and process_group.rank == 1 and not attempt:
                    stop.signal = 15
        except Interrupted as error:
            steps_seen.append(error.status)
        process_group.barrier()
    return {"seen": steps_seen, "weights": model.state_dict()}


def refused(process_group: World) -> str:
    """Cut a batch of 24 in parts that it does not have."""
    try:
        trained(process_group, "variational", accumulate=5)
    except BadInput as error:
        return str(error)
    return ""


def main(out: Path) -> None:
    with world(CPU, minutes=1.0) as process_group:
        results = {
            "game": trained(process_group, "game"),
            "variational": trained(process_group, "variational"),
            "accumulated": trained(process_group, "variational", accumulate=3),
            "coupled": trained(process_group, "coupled"),
            "coupled in parts": trained(process_group, "coupled", accumulate=3),
            "replay": trained(process_group, "replay"),
            "rollouts": trained(process_group, "rollouts"),
            "samples": sampled(process_group),
            "fitted": fitted(process_group, out.parent / f"of-{process_group.size}"),
            "refused": refused(process_group),
            "agreed": process_group.agree(process_group.rank, -process_group.rank),
        }
    torch.save(results, out.with_suffix(f".{os.environ.get('RANK', '0')}"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
