"""Quality a minute, which is what a user buys: each side trains as long, then all are measured.

Ours is the recipe `ddpm` as it stands. The peers are trained by their own loops with their own
defaults (batch 16, rate 1e-4, their schedules and predictions, 28 x 28 pixels, float32), with four
departures, all in their favour: their networks are those of `ddpm-step`, for their default ones
(113.7 and 35.7 million parameters) make next to no updates in this time; diffusers' cosine is
planned to end where the time ends; images are not mirrored; and they are sampled by their own DDIM
in `steps` steps, for a thousand would take hours. What those would cost is given by proportion.
Ours is told the classes in training, as its default is; the peers' loops know none.

A paired trial: ours and a peer train and sample at the same time, each alone on a core and one
thread; in the next turn, of another seed, with the cores exchanged. One program measures all:
`trilemma.metrics`, the same extractor, n and test split.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.child import at_once, peak_memory
from benchmarks.environment import ROOT
from benchmarks.record import Section
from trilemma.core.session import Session
from trilemma.data.sources import load
from trilemma.metrics.extractors import extractor
from trilemma.metrics.features import feature_reference
from trilemma.metrics.judge import judge_samples

ABOUT = "what the same minutes of training buy: fd, and seconds a sample"
WITH_PEERS = True
OPTIONS = {
    "minutes": (20.0, "minutes of training of each side"),
    "samples": (500, "samples measured"),
    "steps": (50, "steps of the peers' DDIM"),
    "turns": (2, "turns of each pair, each with a seed of its own"),
    "again": (0, "1 keeps turns that were trained before with these options"),
}
SMALLEST = {"minutes": 0.05, "samples": 130, "steps": 2, "turns": 1}
"""Options with which all of it runs once, soon."""

DATA, SIZE, AT_ONCE, CHAIN = "fashion-mnist", 28, 250, 1000
OURS, DIFFUSERS, DDPM_PYTORCH = "ours", "diffusers", "denoising-diffusion-pytorch"
PEERS = (DIFFUSERS, DDPM_PYTORCH)
TurnReports = dict[str, dict[str, Any]]
"""What a side took, by its name."""
METRICS = ("fd", "kd", "precision", "recall", "density", "coverage", "nearest_train_ratio")


def main(options: Any) -> list[Section]:
    """Train, sample and measure each pair in turns."""
    folder = ROOT / "runs" / "benchmarks" / f"ddpm-{options.minutes:g}-minutes"
    folder.mkdir(parents=True, exist_ok=True)
    sections = []
    for peer in PEERS:
        reports = [_turn(peer, turn, folder, options) for turn in range(options.turns)]
        sections += [_quality(peer, reports, folder, options), _cost(reports)]
    return sections


def _turn(peer: str, turn: int, folder: Path, options: Any) -> TurnReports:
    """Train both sides at once, or read what they took before."""
    note = folder / f"{peer}-{turn}.json"
    arguments = [options.minutes, options.samples, options.steps]
    if not (options.again and note.exists() and json.loads(note.read_text())[0] == arguments):
        pair = (OURS, peer) if turn % 2 == 0 else (peer, OURS)
        each = [[name, turn, *arguments, str(_samples(folder, peer, turn, name))] for name in pair]
        reports_by_side = dict(zip(pair, at_once("ddpm_quality", "side", each), strict=True))
        note.write_text(json.dumps([arguments, reports_by_side]))
    note_report = json.loads(note.read_text())[1]
    return {name: note_report[name] for name in (OURS, peer)}


def _samples(folder: Path, peer: str, turn: int, name: str) -> Path:
    return folder / f"{peer}-{turn}-{name}.safetensors"


def side(
    name: str, seed: int, minutes: float, samples: int, steps: int, to: str
) -> dict[str, float]:
    """Train one side, keep its samples, and return what they took."""
    torch.manual_seed(seed)
    sides = {OURS: partial(ours, seed), DIFFUSERS: diffusers, DDPM_PYTORCH: ddpm_pytorch}
    seconds, report = sides[name](minutes, samples, steps, Path(to))
    memory = {"peak_memory_bytes": peak_memory()}
    return {**report, "sample_seconds_each": seconds / samples, **memory}


def ours(
    seed: int, minutes: float, samples: int, steps: int, to: Path
) -> tuple[float, dict[str, float]]:
    """Train the recipe `ddpm` through the very functions of the command line."""
    from trilemma.core.sampling import draw
    from trilemma.recipes.ddpm import Ddpm
    from trilemma.recipes.runs import begin
    from trilemma.recipes.runs import load as loaded
    from trilemma.training.budget import Budget

    recipe, events = Ddpm(), []
    with tempfile.TemporaryDirectory() as folder:
        run, training = begin(
            recipe,
            load(DATA),
            source=DATA,
            session=Session(seed=seed),
            path=Path(folder) / "run",
            budget=Budget(minutes=minutes),
        )
        events = [event for event in training if event.kind == "done"]
        model_run = loaded(run.path, warn=print)
        seconds = _sampling_seconds(
            lambda n, i: draw(model_run.model, n, seed=0, start=i), samples, to
        )
    updates, (done,) = model_run.step, events
    return seconds, {
        "parameters": sum(p.numel() for p in model_run.model.parameters()),
        "updates": updates,
        "examples": updates * model_run.recipe.batch,
        "train_seconds": done.values["train_seconds"],
        "calls": model_run.recipe.sample_steps,
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
    seconds = _sampling_seconds(lambda n, _: sample(network, n, SIZE, steps), samples, to)
    return seconds, _report(network, updates, updates * batch, took, steps)


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
    seconds = _sampling_seconds(lambda n, _: peer.sample(averaged, n, steps), samples, to)
    updates = trainer.step
    return seconds, _report(network, updates, updates * trainer.batch_size, took, steps)


def _pace(step: Callable[[], Any]) -> float:
    """Return the seconds of an update, after two that warm up."""
    step(), step()
    start = time.perf_counter()
    for _ in range(10):
        step()
    return (time.perf_counter() - start) / 10


def _sampling_seconds(draw: Callable[[int, int], Tensor], samples: int, to: Path) -> float:
    """Draw samples in parts, keep them, and return the seconds."""
    torch.manual_seed(0)
    start = time.perf_counter()
    parts = [draw(min(AT_ONCE, samples - i), i) for i in range(0, samples, AT_ONCE)]
    seconds = time.perf_counter() - start
    save_file({"x": torch.cat(parts).contiguous()}, to)
    return seconds


def _report(
    network: torch.nn.Module, updates: int, examples: int, seconds: float, steps: int
) -> dict[str, float]:
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "updates": updates,
        "examples": examples,
        "train_seconds": seconds,
        "calls": steps,
    }


def _quality(peer: str, reports: Sequence[TurnReports], folder: Path, options: Any) -> Section:
    data = load(DATA)
    feature_extractor = extractor(None, data, n=options.samples)
    reference = feature_reference(data, feature_extractor, n=options.samples, session=Session())
    scores: dict[str, list[dict[str, Any]]] = {OURS: [], peer: []}
    floors = {}
    for turn, sides in enumerate(reports):
        for name in sides:
            samples = load_file(_samples(folder, peer, turn, name))["x"]
            evaluation = judge_samples(samples, reference, session=Session(), only=METRICS)
            scores[name].append(
                {key: score.to_json() for key, score in evaluation.metrics.items()}
            )
            floors |= {metric: score.floor for metric, score in evaluation.metrics.items()}
            sides[name]["skipped"] = evaluation.skipped
    rows = [
        (
            metric,
            *("; ".join(_formatted(one.get(metric)) for one in each) for each in scores.values()),
            _floor(floors.get(metric)),
        )
        for metric in METRICS
    ]
    fd = {
        name: [one["fd"]["value"] for one in each if "fd" in one] for name, each in scores.items()
    }
    if all(len(values) == len(reports) for values in fd.values()):
        ratios = [f"{p / o:.1f}" for o, p in zip(fd[OURS], fd[peer], strict=True)]
        rows.append(("fd, of ours", "1", "; ".join(ratios), ""))
    title = (
        f"{options.samples} samples after {options.minutes:g} minutes of a core, turn by turn; "
        f"features: {feature_extractor!r}"
    )
    return Section(title, ["metric", OURS, peer, "floor"], rows, scores=scores)


def _floor(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _formatted(score: dict[str, Any] | None) -> str:
    if score is None:
        return "-"
    return f"{score['value']:.3g} ({score['low']:.3g} to {score['high']:.3g})"


def _cost(reports: Sequence[TurnReports]) -> Section:
    for sides in reports:
        mine = sides[OURS]["sample_seconds_each"]
        for name, cost in sides.items():
            cost["sample_of_ours"] = cost["sample_seconds_each"] / mine
            chain = 1 if name == OURS else CHAIN / cost["calls"]
            cost["default_sample_of_ours"] = cost["sample_of_ours"] * chain
    lines = {
        "parameters": lambda c: f"{c['parameters'] / 1e6:.2f} M",
        "updates": lambda c: f"{c['updates']:,}",
        "examples seen": lambda c: f"{c['examples']:,}",
        "minutes of training": lambda c: f"{c['train_seconds'] / 60:.1f}",
        "network calls a sample": lambda c: str(c["calls"]),
        "milliseconds a sample": lambda c: f"{1e3 * c['sample_seconds_each']:.2f}",
        "a sample's time, of ours": lambda c: f"{c['sample_of_ours']:.1f}",
        "the same, with the peers' 1,000 steps": lambda c: f"{c['default_sample_of_ours']:.0f}",
        "peak memory with sampling, MiB": lambda c: f"{c['peak_memory_bytes'] / 2**20:.0f}",
    }
    names = list(reports[0])
    rows = [
        (
            what,
            *("; ".join(dict.fromkeys(say(sides[name]) for sides in reports)) for name in names),
        )
        for what, say in lines.items()
    ]
    return Section("What it cost", ["", *names], rows, costs=list(reports))
