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


def trained(here: World, name: str, accumulate: int = 1) -> dict:
    """Train a client for twenty steps; return losses, weights and buffers."""
    model, (stage, *_) = build(name)
    if here.rank:  # another start, which must be aligned with the main process's
        with torch.no_grad():
            for tensor in (*model.parameters(), *model.buffers()):
                tensor.add_(1)
    here.align(model)
    if name == "game":
        game = model.objectives
        model.objectives = lambda: [replace(game()[0], repeat=3), game()[1]]
    settings = Settings(lr=1e-2, warmup=3, ema=0.9, accumulate=accumulate)
    options = {"session": Session(world=here), "precision": FP32, "total": 20}
    trainer = Trainer(model, stage, stage.stream(), settings, **options)
    numbers = [
        [value for key, value in event.values.items() if key.endswith(("loss", "r1", "kl"))]
        for event in train(trainer, 20)
    ]
    return {"losses": numbers, "weights": trainer.weights(), "raw": model.state_dict()}


def sampled(here: World) -> torch.Tensor:
    """Draw 70 samples, each process its part."""
    model, _ = build("conditions")
    span = here.span(70)
    return here.gather(draw(model, len(span), seed=5, start=span.start), 70)


def fitted(here: World, root: Path) -> dict:
    """Train in a run directory; be interrupted in one process alone; resume in all."""
    if here.is_main:
        Run.create(root / "shared", {"name": "two-stages"}, {})
    here.barrier()
    seen = []
    for attempt in range(2):
        model, stages = build("two-stages")
        stop = Stop()
        events = fit(
            Run.open(root / "shared"),
            model,
            stages,
            Settings(lr=1e-2, warmup=3, ema=0.9),
            None if attempt else Budget(steps=12),
            session=Session(stop=stop, world=here),
            precision=FP32,
            resume=attempt == 1,
        )
        try:
            for event in events:
                if event.kind == "step":
                    seen.append(event.step)
                if event.step == 4 and here.rank == 1 and not attempt:
                    stop.signal = 15
        except Interrupted as error:
            seen.append(error.status)
        here.barrier()
    return {"seen": seen, "weights": model.state_dict()}


def refused(here: World) -> str:
    """Cut a batch of 24 in parts that it does not have."""
    try:
        trained(here, "variational", accumulate=5)
    except BadInput as error:
        return str(error)
    return ""


def main(out: Path) -> None:
    with world(CPU, minutes=1.0) as here:
        found = {
            "game": trained(here, "game"),
            "variational": trained(here, "variational"),
            "accumulated": trained(here, "variational", accumulate=3),
            "coupled": trained(here, "coupled"),
            "coupled in parts": trained(here, "coupled", accumulate=3),
            "replay": trained(here, "replay"),
            "rollouts": trained(here, "rollouts"),
            "samples": sampled(here),
            "fitted": fitted(here, out.parent / f"of-{here.size}"),
            "refused": refused(here),
            "agreed": here.agree(here.rank, -here.rank),
        }
    torch.save(found, out.with_suffix(f".{os.environ.get('RANK', '0')}"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
