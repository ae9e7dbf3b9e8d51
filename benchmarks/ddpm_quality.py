"""Quality a minute, which is what a user buys: each side trains as long, then all are measured.

Ours is the recipe `ddpm` as it stands. The peers are trained by their own loops with their own
defaults (batch 16, rate 1e-4, their schedules and predictions, 28 x 28 pixels, float32), with four
departures, all in their favour: their networks are those of `ddpm-step`, for their default ones
(113.7 and 35.7 million parameters) make next to no updates in this time; diffusers' cosine is
planned to end where the time ends; images are not mirrored; and they are sampled by their own DDIM
in `steps` steps, for a thousand would take hours. What those would cost is given by proportion.
Ours is told the classes in training, as its default is; the peers' loops know none.

One side after another, each in a process of its own, on the same cores. One program measures all:
`trilemma.metrics`, the same extractor, seed, n and test split.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.child import call, peak_memory
from benchmarks.environment import ROOT
from benchmarks.record import Section
from trilemma.data.sources import load
from trilemma.metrics.extractors import extractor
from trilemma.metrics.features import feature_reference
from trilemma.metrics.judge import judge_samples

ABOUT = "what the same minutes of training buy: fd, and seconds a sample"
WITH_PEERS = True
OPTIONS = {
    "minutes": (20.0, "minutes of training of each side"),
    "samples": (2000, "samples measured"),
    "steps": (50, "steps of the peers' DDIM"),
    "again": (0, "1 keeps sides that were trained before with these options"),
}

DATA, SIZE, AT_ONCE, CHAIN = "fashion-mnist", 28, 250, 1000
OURS, DIFFUSERS, DDPM_PYTORCH = "ours", "diffusers", "denoising-diffusion-pytorch"
METRICS = ("fd", "kd", "precision", "recall", "density", "coverage", "nearest_train_ratio")


def main(options: Any) -> list[Section]:
    """Train, sample and measure each side."""
    folder = ROOT / "runs" / "benchmarks" / f"ddpm-{options.minutes:g}-minutes"
    folder.mkdir(parents=True, exist_ok=True)
    told = {}
    for name in (OURS, DIFFUSERS, DDPM_PYTORCH):
        note = folder / f"{name}.json"
        asked = [options.minutes, options.samples, options.steps]
        if not (options.again and note.exists() and json.loads(note.read_text())[0] == asked):
            given = call("ddpm_quality", "side", name, *asked, str(folder))
            note.write_text(json.dumps([asked, given]))
        told[name] = json.loads(note.read_text())[1]
    return [_quality(told, folder, options), _cost(told)]


def side(name: str, minutes: float, samples: int, steps: int, folder: str) -> dict[str, float]:
    """Train one side, keep its samples in the folder, and return what they took."""
    sides = {OURS: ours, DIFFUSERS: diffusers, DDPM_PYTORCH: ddpm_pytorch}
    seconds, told = sides[name](minutes, samples, steps, Path(folder) / f"{name}.safetensors")
    memory = {"peak_memory_bytes": peak_memory()}
    return {**told, "sample_seconds_each": seconds / samples, **memory}


def ours(minutes: float, samples: int, steps: int, to: Path) -> tuple[float, dict[str, float]]:
    """Train the recipe `ddpm` through the very functions of the command line."""
    from trilemma.core.sampling import draw
    from trilemma.recipes.ddpm import Ddpm
    from trilemma.recipes.runs import begin
    from trilemma.recipes.runs import load as loaded
    from trilemma.training.budget import Budget
    from trilemma.training.distributed import World
    from trilemma.training.signals import Stop

    recipe, events = Ddpm(), []
    with tempfile.TemporaryDirectory() as folder:
        run, training = begin(
            recipe,
            load(DATA),
            source=DATA,
            path=Path(folder) / "run",
            budget=Budget(minutes=minutes),
            world=World.single(),
            stop=Stop(),
        )
        events = [event for event in training if event.kind == "done"]
        found = loaded(run.path, warn=print)
        seconds = _drawn(lambda n, i: draw(found.model, n, seed=0, start=i), samples, to)
    updates, (done,) = found.step, events
    return seconds, {
        "parameters": sum(p.numel() for p in found.model.parameters()),
        "updates": updates,
        "examples": updates * found.recipe.batch,
        "train_seconds": done.values["train_seconds"],
        "calls": found.recipe.sample_steps,
    }


def diffusers(
    minutes: float, samples: int, steps: int, to: Path
) -> tuple[float, dict[str, float]]:
    """Train diffusers' U-Net by its example's loop."""
    from benchmarks.diffusers_peer import Training, sample, unet

    x, batch, network = load(DATA).train.x, 16, unet(SIZE)

    def batches() -> Tensor:
        return x[torch.randint(len(x), (batch,))]

    pace = _pace(Training(unet(SIZE), batches).step)
    training = Training(network, batches, max(1, int(60 * minutes / pace)))
    start, updates = time.perf_counter(), 0
    while time.perf_counter() - start < 60 * minutes:
        training.step()
        updates += 1
    took = time.perf_counter() - start
    training.average.copy_to(network.parameters())
    network.eval()
    seconds = _drawn(lambda n, _: sample(network, n, SIZE, steps), samples, to)
    return seconds, _told(network, updates, updates * batch, took, steps)


def ddpm_pytorch(
    minutes: float, samples: int, steps: int, to: Path
) -> tuple[float, dict[str, float]]:
    """Train denoising-diffusion-pytorch's U-Net by its own Trainer, from a folder of PNG."""
    from benchmarks import ddpm_pytorch_peer as peer

    network = peer.unet()
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures"
        pictures.mkdir()
        for i, image in enumerate(load(DATA).train.x):
            Image.fromarray(image[0].numpy()).save(pictures / f"{i:05d}.png")
        start = time.perf_counter()
        trainer = peer.minutes(network, SIZE, pictures, minutes, Path(folder) / "results")
        took = time.perf_counter() - start
    averaged = trainer.ema.ema_model.eval()
    seconds = _drawn(lambda n, _: peer.sample(averaged, n, steps), samples, to)
    updates = trainer.step
    return seconds, _told(network, updates, updates * trainer.batch_size, took, steps)


def _pace(step: Callable[[], Any]) -> float:
    """Return the seconds of an update, after two that warm up."""
    step(), step()
    start = time.perf_counter()
    for _ in range(10):
        step()
    return (time.perf_counter() - start) / 10


def _drawn(draw: Callable[[int, int], Tensor], samples: int, to: Path) -> float:
    """Draw samples in parts, keep them, and return the seconds."""
    torch.manual_seed(0)
    start = time.perf_counter()
    parts = [draw(min(AT_ONCE, samples - i), i) for i in range(0, samples, AT_ONCE)]
    seconds = time.perf_counter() - start
    save_file({"x": torch.cat(parts).contiguous()}, to)
    return seconds


def _told(
    network: torch.nn.Module, updates: int, examples: int, seconds: float, steps: int
) -> dict[str, float]:
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "updates": updates,
        "examples": examples,
        "train_seconds": seconds,
        "calls": steps,
    }


def _quality(told: dict[str, Any], folder: Path, options: Any) -> Section:
    data = load(DATA)
    made = extractor(None, data, n=options.samples)
    against = feature_reference(data, made, n=options.samples, seed=0)
    scores, floors = {}, {}
    for name in told:
        drawn = load_file(folder / f"{name}.safetensors")["x"]
        found = judge_samples(drawn, against, only=METRICS)
        scores[name] = {metric: score.to_json() for metric, score in found.metrics.items()}
        floors |= {metric: score.floor for metric, score in found.metrics.items()}
        told[name]["skipped"] = found.skipped
    rows = [
        (
            metric,
            *(_shown(found.get(metric)) for found in scores.values()),
            _floor(floors.get(metric)),
        )
        for metric in METRICS
    ]
    fd = {name: found["fd"]["value"] for name, found in scores.items() if "fd" in found}
    if fd.keys() == told.keys():
        rows.append(("fd, of ours", *(f"{value / fd[OURS]:.2f}" for value in fd.values()), ""))
    title = f"{options.samples} samples after {options.minutes:g} minutes; features: {made!r}"
    return Section(title, ["metric", *told, "floor"], rows, scores=scores)


def _floor(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _shown(score: dict[str, Any] | None) -> str:
    if score is None:
        return "-"
    return f"{score['value']:.3g} ({score['low']:.3g} to {score['high']:.3g})"


def _cost(told: dict[str, Any]) -> Section:
    mine = told[OURS]["sample_seconds_each"]
    for name, cost in told.items():
        cost["sample_of_ours"] = cost["sample_seconds_each"] / mine
        chain = 1 if name == OURS else CHAIN / cost["calls"]
        cost["default_sample_of_ours"] = cost["sample_of_ours"] * chain
    lines = {
        "parameters": lambda c: f"{c['parameters'] / 1e6:.2f} M",
        "updates": lambda c: c["updates"],
        "examples seen": lambda c: c["examples"],
        "minutes of training": lambda c: f"{c['train_seconds'] / 60:.1f}",
        "network calls a sample": lambda c: c["calls"],
        "milliseconds a sample": lambda c: f"{1e3 * c['sample_seconds_each']:.2f}",
        "a sample's time, of ours": lambda c: f"{c['sample_of_ours']:.1f}",
        "the same, with the peers' 1,000 steps": lambda c: f"{c['default_sample_of_ours']:.0f}",
        "peak memory with sampling, MiB": lambda c: f"{c['peak_memory_bytes'] / 2**20:.0f}",
    }
    rows = [(what, *(say(cost) for cost in told.values())) for what, say in lines.items()]
    return Section("What it cost", ["", *told], rows, costs=told)
