r"""The VAE of perceptrons: pythae's network and batch, its trainer and ours.

784 - 512 - (10 + 10) and 10 - 512 - 784 with ReLU, a sigmoid at the end, batches of 64 of
Fashion-MNIST in [0, 1], and the loss 1/2 ||x - f(z)||^2 + KL, which in ours is the Gaussian
likelihood with c = 1 (and its constant). Times are of an epoch: pythae's `train_step`, which goes
through its data loader, against as many updates of our Trainer, which also clips and averages.

The bound is measured by one program, `Vae.bound`, in which pythae's weights are put, about the
pixels in [0, 1] under N(f(z), I), in nats. It is a density's: only differences mean something.
"""

from __future__ import annotations

import logging
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from torch import Tensor, nn

from benchmarks.record import Section
from benchmarks.turns import by_turns, ratio, repeated
from trilemma.core.domain import Domain, Real
from trilemma.core.errors import BadInput
from trilemma.core.model import Stage
from trilemma.core.noise import Noise
from trilemma.core.session import Session
from trilemma.data.dataset import Split
from trilemma.data.sources import load
from trilemma.data.stream import ExampleStream
from trilemma.families.likelihood import GaussianLikelihood
from trilemma.families.vae import Vae
from trilemma.networks.layers import MLP
from trilemma.recipes.vae import VariationalAutoencoder
from trilemma.training.budget import Budget
from trilemma.training.fit import fit
from trilemma.training.precision import choose
from trilemma.training.run import Run
from trilemma.training.trainer import Settings, Trainer

ABOUT = "pythae's perceptron VAE: an epoch, and the bound after the same minutes"
WITH_PEERS = True
OPTIONS = {
    "rounds": (7, "epochs of each side"),
    "minutes": (2.0, "minutes of training before the bound is measured"),
    "examples": (60_000, "training examples of an epoch"),
}
SMALLEST = {"rounds": 1, "minutes": 0.02, "examples": 600}
"""Options with which all of it runs once, soon."""

BATCH, LATENT, WIDTH, SHAPE = 64, 10, 512, (1, 28, 28)
CPU = torch.device("cpu")
SETTINGS = Settings.of(VariationalAutoencoder(lr=1e-3))
PEER, SLOWER, FASTER = "pythae", "pythae, its rate 1e-4", "pythae at our rate 1e-3"


def ours() -> Vae:
    """Build our VAE with pythae's sizes."""
    encoder = MLP(784, 2 * LATENT, width=WIDTH, depth=1)
    decoder = MLP(LATENT, SHAPE, width=WIDTH, depth=1)
    encoder.activation = decoder.activation = nn.ReLU()
    domain = Domain("image", SHAPE, Real())
    likelihood = GaussianLikelihood(domain, 1.0)
    outside = nn.Sequential(decoder, nn.Sigmoid())
    return Vae(encoder, outside, domain, LATENT, likelihood=likelihood)


def peer() -> VAE:
    """Build pythae's VAE with its default networks."""
    return VAE(VAEConfig(input_dim=SHAPE, latent_dim=LATENT))


def peer_trainer(model: VAE, x: Tensor, folder: str, **options: Any) -> BaseTrainer:
    """Build pythae's trainer with its defaults."""
    logging.disable(logging.WARNING)
    callbacks = options.pop("callbacks", None)
    config = BaseTrainerConfig(
        output_dir=folder,
        num_epochs=10**6,
        per_device_train_batch_size=BATCH,
        no_cuda=True,
        **options,
    )
    data = BaseDataset(x, torch.zeros(len(x)))
    return BaseTrainer(model, data, training_config=config, callbacks=callbacks)


def copy(theirs: VAE, into: Vae) -> None:
    """Put pythae's weights into our VAE."""
    weights = theirs.state_dict()

    def both(kind: str) -> Tensor:
        return torch.cat([weights[f"encoder.{n}.{kind}"] for n in ("embedding", "log_var")])

    state = into.state_dict()
    for kind in ("weight", "bias"):
        state[f"encoder.hidden.0.{kind}"] = weights[f"encoder.layers.0.0.{kind}"]
        state[f"encoder.last.{kind}"] = both(kind)
        state[f"decoder.0.hidden.0.{kind}"] = weights[f"decoder.layers.0.0.{kind}"]
        state[f"decoder.0.last.{kind}"] = weights[f"decoder.layers.1.0.{kind}"]
    into.load_state_dict(state)


def main(options: Any) -> list[Section]:
    """Compare."""
    data = load("fashion-mnist")
    x = data.train.x[: options.examples].float() / 255
    test = data.test.x.float() / 255
    return [_same(x), _epochs(x, options), _bounds(x, test, options.minutes)]


def _same(x: Tensor) -> Section:
    """Check that both have the same parameters and the same loss of the same batch."""
    theirs, mine = peer(), ours()
    copy(theirs, mine)
    batch = ExampleStream(Split(x), BATCH, 0).batch(0)
    eps = batch.noise[:].normal(LATENT)
    theirs._sample_gauss = lambda mu, std: (mu + eps * std, eps)
    with torch.no_grad():
        peer_loss = theirs(BaseDataset(batch.x, torch.zeros(BATCH)).__dict__).loss.item()
        constant = 784 / 2 * torch.tensor(2 * torch.pi).log().item()
        our_loss = mine.loss(batch).value.item() - constant
    sizes = [sum(p.numel() for p in m.parameters()) for m in (theirs, mine)]
    if abs(our_loss / peer_loss - 1) > 1e-4 or sizes[0] != sizes[1]:
        raise BadInput(f"the two differ: losses {peer_loss} and {our_loss}, parameters {sizes}.")
    rows = [("pythae", sizes[0], peer_loss), ("ours", sizes[1], our_loss)]
    return Section("The same work", ["side", "parameters", "loss of one batch"], rows)


def _epochs(x: Tensor, options: Any) -> Section:
    updates = -(-len(x) // BATCH)
    with tempfile.TemporaryDirectory() as folder:
        trainer = peer_trainer(peer(), x, folder)
        trainer.prepare_training()
        sides = {PEER: repeated(lambda: trainer.train_step(1), 1)}
        names = ["ours", *(["ours in bf16"] if choose("auto", CPU).mixed else [])]
        for name in names:
            step = _our_trainer(x, "bf16" if "bf16" in name else "fp32").step
            sides[name] = repeated(lambda step=step: [step() for _ in range(updates)], 1)
        seconds = by_turns(sides, options.rounds)
    ratios = {name: ratio(seconds, peer=PEER, ours=name) for name in names}
    rows = [(name, str(ratios[name])) for name in names]
    title = f"An epoch ({updates} updates of {BATCH}), times faster"
    return Section(title, ["side", "than pythae"], rows, ratios=ratios, seconds=seconds)


def _our_trainer(x: Tensor, precision: str) -> Trainer:
    model, chosen = ours(), choose(precision, CPU)
    chosen.to_device(model, CPU)
    stream = ExampleStream(Split(x), BATCH, 0)
    stage = Stage("model", model.train(), lambda: stream)
    return Trainer(
        model, stage, stream, SETTINGS, session=Session(), precision=chosen, total=10**6
    )


def _bounds(x: Tensor, test: Tensor, minutes: float) -> Section:
    """Train each for the same minutes, and measure the bound of each on the test split."""
    trained = {
        "ours": _our_minutes(x, minutes),
        SLOWER: _peer_minutes(x, minutes, 1e-4),
        FASTER: _peer_minutes(x, minutes, 1e-3),
    }
    rows, data = [], {}
    for name, (model, updates) in trained.items():
        with torch.no_grad():
            nats = model.eval().bound(test, noise=Noise.of(0, len(test)))
        error = (nats.std() / len(nats) ** 0.5).item()
        data[name] = {"bound": nats.mean().item(), "standard_error": error, "updates": updates}
        rows.append((name, updates, f"{nats.mean():.3f} ± {error:.3f}"))
    title = f"The bound after {minutes:g} minutes of training, nats, higher is better"
    return Section(title, ["side", "updates", "bound"], rows, bounds=data)


def _our_minutes(x: Tensor, minutes: float) -> tuple[Vae, int]:
    model, steps = ours(), 0
    stage = Stage("model", model, lambda: ExampleStream(Split(x), BATCH, 0))
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", {"name": "benchmark"}, {})
        budget, chosen = Budget(minutes=minutes), choose("auto", CPU)
        for event in fit(
            run, model, [stage], SETTINGS, budget, session=Session(), precision=chosen
        ):
            steps = event.step
    return model, steps


class _Over(Exception):
    """The time is over."""


class _Clock(TrainingCallback):
    """Ends a training when its time is over."""

    def __init__(self, minutes: float) -> None:
        """Start the clock."""
        self.updates, self.end = 0, time.perf_counter() + 60 * minutes

    def on_train_step_end(self, training_config: BaseTrainerConfig, **kwargs: Any) -> None:
        """Look at it."""
        self.updates += 1
        if time.perf_counter() >= self.end:
            raise _Over


def _peer_minutes(x: Tensor, minutes: float, rate: float) -> tuple[Vae, int]:
    theirs, clock = peer(), _Clock(minutes)
    with tempfile.TemporaryDirectory() as folder, suppress(_Over):
        trainer = peer_trainer(theirs, x, folder, learning_rate=rate, callbacks=[clock])
        clock.end = time.perf_counter() + 60 * minutes
        trainer.train()
    mine = ours()
    copy(theirs, mine)
    return mine, clock.updates
