"""Train the small classifier in whose features a data set's samples are measured.

    python scripts/train_classifier.py digits
    python scripts/train_classifier.py mnist fashion-mnist

writes `src/trilemma/metrics/files/NAME.safetensors` and prints what belongs into `SHIPPED` of
`src/trilemma/metrics/extractors.py`: the hash and the accuracy on the test split. Only the train
split is learnt from, and nothing is chosen by the test split: the last weights are kept. Images
are shifted by up to a fourteenth of their size, garments mirrored too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional

from trilemma.core.noise import Noise, mix
from trilemma.data.dataset import DataSet
from trilemma.data.stream import ExampleStream
from trilemma.metrics.classifier import Classifier

EPOCHS = {"digits": 60, "mnist": 6, "fashion-mnist": 10}
MIRRORED = ("fashion-mnist",)
FOLDER = Path(__file__).parent.parent / "src" / "trilemma" / "metrics" / "files"


def jittered(y: Tensor, noise: Noise, *, mirror: bool) -> Tensor:
    """Shift each image by up to a fourteenth of its size, and mirror half of them.

    A shift is common to runs of 8 images, which is as good and much cheaper.
    """
    reach = max(1, y.shape[-1] // 14)
    padded = functional.pad(y, (reach,) * 4, value=-1.0)
    height, width = y.shape[-2:]
    moves = noise.named("shift").integers(2 * reach + 1, 2)[::8].tolist()
    runs = zip(padded.split(8), moves, strict=True)
    out = torch.cat([run[..., a : a + height, b : b + width] for run, (a, b) in runs])
    if mirror:
        flip = noise.named("mirror").uniform(1, 1, 1) < 0.5
        out = torch.where(flip, out.flip(-1), out)
    return out


def fit(data: DataSet, *, epochs: int, seed: int, batch: int = 128) -> tuple[Classifier, float]:
    """Return the trained network, normalisation folded in, and the seconds that it took."""
    torch.manual_seed(seed)
    began = time.perf_counter()
    c, h, w = data.domain.shape
    network = Classifier((c, h, w), len(data.domain.classes), normalise=True)
    network.to(memory_format=torch.channels_last).train()
    scale = data.domain.values.scale
    batch = min(batch, len(data.train) // 16)
    stream = ExampleStream(data.train, batch, seed)
    steps = epochs * len(data.train) // batch
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.02, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, steps, pct_start=0.2)
    native = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    for k in range(steps):
        examples = stream.batch(k)
        assert examples.noise is not None
        assert examples.condition is not None
        y = jittered(scale(examples.x), examples.noise, mirror=data.name in MIRRORED)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=native):
            logits = network(y.contiguous(memory_format=torch.channels_last))
        loss = functional.cross_entropy(
            logits.float(), examples.condition.label, label_smoothing=0.05
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if k % 200 == 0 or k == steps - 1:
            seconds = time.perf_counter() - began
            print(
                f"{data.name} {k + 1}/{steps} loss {loss.item():.4f} {seconds:.0f} s", flush=True
            )
        if not math.isfinite(loss.item()):
            raise SystemExit("the loss is not finite.")
    return network.folded(), time.perf_counter() - began


@torch.no_grad()
def accuracy(network: Classifier, data: DataSet) -> float:
    """Return the share of test examples whose class is named."""
    assert data.test.labels is not None
    guesses = [network(data.domain.values.scale(x)).argmax(1) for x in data.test.x.split(500)]
    return (torch.cat(guesses) == data.test.labels).double().mean().item()


def write(network: Classifier, data: DataSet, facts: dict[str, str], path: Path) -> str:
    """Write weights and facts as safetensors, and return the sha256 of the file."""
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = save(weights, metadata=facts)
    path.write_bytes(plain)
    return hashlib.sha256(plain).hexdigest()


def train(data: DataSet, *, epochs: int, seed: int, path: Path) -> dict[str, object]:
    """Train, test and write the classifier of one data set; return what to record."""
    seed_of_data = mix(seed, "classifier", data.name)
    network, seconds = fit(data, epochs=epochs, seed=seed_of_data)
    right = round(accuracy(network, data), 4)
    command = f"python scripts/train_classifier.py {data.name} --epochs {epochs} --seed {seed}"
    facts = {
        "command": command,
        "accuracy": str(right),
        "seed": str(seed),
        "epochs": str(epochs),
        "shape": json.dumps(data.domain.shape),
        "classes": json.dumps(data.domain.classes),
        "data": data.fingerprint,
        "seconds": f"{seconds:.0f}",
        "torch": torch.__version__,
    }
    digest = write(network, data, facts, path)
    parameters = sum(p.numel() for p in network.parameters())
    return {"name": data.name, "sha256": digest, "parameters": parameters} | facts


def main() -> None:
    """Read the command line and train what it names."""
    from trilemma.data.sources import load

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="+", metavar="DATA")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    given = parser.parse_args()
    for name in given.names:
        path = given.folder / f"{name}.safetensors"
        epochs = given.epochs or EPOCHS.get(name, 8)
        facts = train(load(name), epochs=epochs, seed=given.seed, path=path)
        print(json.dumps(facts, indent=2))


if __name__ == "__main__":
    main()
