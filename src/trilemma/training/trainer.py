"""One step of training, the same for every model.

    for each objective, `repeat` times, `before` each:
        1  draw the next batch (or reuse the last one: `reuse_batch`), apply the objective's
           `transform_batch` to all of it, take this process's rows, cut them into parts
        2  gradient of the mean loss over the parts, with respect to the objective's parameters
        3  if the loss or the gradient's norm is not finite: leave this update out, and count it
        4  scale the gradient down to the largest norm allowed
        5  AdamW with rate  lr · min(1, (k + 1) / warmup) · cosine(k / K)  at step k of K
        6  the objective's `after`
    if no update was left out: move the averaged weights

A game is several objectives; a stream made by the model is a stream. There is no special case.
The caller owns the loop: `train` is an iterator that one may leave.

References:
    Decoupled weight decay regularization, Loshchilov & Hutter, 2019.
    SGDR: stochastic gradient descent with warm restarts, Loshchilov & Hutter, 2017 (the cosine).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from trilemma.core.errors import Diverged
from trilemma.core.event import Event
from trilemma.core.model import Model, Objective, Stage, Stream
from trilemma.core.session import Session
from trilemma.training.adamw import AdamW
from trilemma.training.distributed import Buffers
from trilemma.training.ema import Average
from trilemma.training.precision import Precision

__all__ = ["Settings", "Trainer", "factor", "random_state", "set_random_state", "train"]

PATIENCE = 10
"""Updates of one objective in a row that may be left out before the run is given up."""
LAST = 0.01
"""What the cosine leaves of the learning rate at the end."""


@dataclass(frozen=True)
class Settings:
    """How objectives are made small."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    decay: float = 0.0
    warmup: int = 100
    clip: float = 1.0
    ema: float = 0.999
    accumulate: int = 1

    @classmethod
    def of(cls, recipe: Any) -> Settings:  # noqa: ANN401
        """Take the fields of these names from a recipe's page."""
        return cls(**{name: getattr(recipe, name) for name in cls.__dataclass_fields__})


def factor(step: int, total: int | None, warmup: int) -> float:
    """Return what the peak learning rate is multiplied with at a step.

    Arguments:
        step: k, steps done before.
        total: K, steps in all; None while it is not known, which holds the cosine at 1.
        warmup: Steps of the rise; at most a fifth of K, so that short runs learn too.

    >>> [round(factor(k, 100, 10), 3) for k in (0, 4, 9, 50, 99)]
    [0.1, 0.498, 0.98, 0.505, 0.01]
    """
    if total is None:
        return min(1.0, (step + 1) / max(warmup, 1))
    warmup_factor = min(1.0, (step + 1) / max(min(warmup, total // 5), 1))
    cosine = 0.5 * (1 + math.cos(math.pi * min(step / total, 1.0)))
    return warmup_factor * (LAST + (1 - LAST) * cosine)


class Trainer:
    """The state of training one stage: weights, optimisers, averages, and what was drawn.

    Arguments:
        model: The whole model; names its parameters. It lies on the device, and where training
            goes on it holds the checkpoint's (averaged) weights.
        stage: What is trained: `stage.model` is the model or a part of it. Parameters that require
            no gradient are frozen: they have no optimiser and no average.
        stream: The stage's batches.
        settings: Learning rate and the like.
        session: Losses are computed on its device, and shared by its processes.
        precision: In which numbers.
        total: Steps of this stage, or a function that tells them; None while not yet known.
    """

    def __init__(
        self,
        model: Model,
        stage: Stage,
        stream: Stream,
        settings: Settings,
        *,
        session: Session,
        precision: Precision,
        total: Callable[[], int | None] | int | None = None,
    ) -> None:
        self.model, self.stage, self.stream, self.settings = model, stage, stream, settings
        self.precision, self.device, self.world = precision, session.device, session.world
        self.total = total if callable(total) else lambda: total
        self.step_count = self.batches_drawn = self.examples = self.skipped = 0
        self.caution = 1.0
        """What the learning rate is multiplied with since training last went back."""
        self.objectives: list[Objective] = [
            replace(o, parameters=[p for p in o.parameters if p.requires_grad])
            for o in stage.model.objectives()
        ]
        names = {id(p): name for name, p in model.named_parameters()}
        trained = [p for objective in self.objectives for p in objective.parameters]
        if any(id(p) not in names for p in trained):
            raise ValueError(f"stage '{stage.name}' trains parameters that the model lacks.")
        self.parameters: dict[str, nn.Parameter] = {names[id(p)]: p for p in trained}
        self.average = Average(self.parameters, settings.ema)
        self.players = {o.name: self.world.player(o) for o in self.objectives}
        self.optimisers = {
            o.name: AdamW(o.parameters, betas=settings.betas, decay=settings.decay)
            for o in self.objectives
        }
        if len(self.players) < len(self.objectives):
            raise ValueError(f"two objectives of stage '{stage.name}' have the same name.")
        self.streaks = dict.fromkeys(self.players, 0)
        self._buffers = Buffers(model, self.world)
        self._rows: Any = None

    def step(self) -> Event:
        """Let each objective make its updates, then move the averaged weights.

        Returns:
            Event 'step' with, for each objective, its loss, its gradient's norm and its terms.

        Raises:
            Diverged: An objective's updates were not finite ten times in a row.
            BadInput: The batch cannot be shared evenly.
        """
        total = self.total()
        scale = self.caution * factor(self.step_count, total, self.settings.warmup)
        skipped, values = 0, {"lr": self.settings.lr * scale}
        share = min(self.step_count / total, 1.0) if total else 0.0
        for objective in self.objectives:
            for repetition in range(objective.repeat):
                if objective.before is not None:
                    objective.before(self.step_count * objective.repeat + repetition, share)
                update_metrics = self._update(objective, values["lr"])
                values |= {
                    f"{objective.name}/{key}": update_metrics[key] for key in update_metrics
                }
                skipped += self.streaks[objective.name] > 0
        if skipped:
            values["skipped"] = skipped
        else:
            self.average.update()
        self.step_count += 1
        return Event("step", self.step_count, self.stage.name, values)

    @property
    def is_troubled(self) -> bool:
        """Tell whether the last update of an objective was left out."""
        return any(self.streaks.values())

    def weights(self) -> dict[str, Tensor]:
        """Return the whole model's state with averaged weights: what is shipped."""
        with self.average.applied():
            return dict(self.model.state_dict())

    def finish(self) -> None:
        """End the stage: its averaged weights become the weights that later stages read."""
        self.average.settle()

    def state_dict(self) -> dict[str, Any]:
        """Return all that `weights` does not hold, as tensors and plain values, not copied."""
        return {
            "raw": {name: p.detach() for name, p in self.parameters.items()},
            "optimisers": {name: o.state_dict() for name, o in self.optimisers.items()},
            "averaged": self.average.count,
            "step": self.step_count,
            "drawn": self.batches_drawn,
            "examples": self.examples,
            "skipped": self.skipped,
            "caution": self.caution,
            "streaks": dict(self.streaks),
            "stream": self.stream.state_dict(),
            "random": random_state(),
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what `state_dict` gave; the model must hold what `weights` gave at the time."""
        for name, parameter in self.parameters.items():
            parameter.copy_(state["raw"][name])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        self.average.count = state["averaged"]
        self.step_count, self.batches_drawn = state["step"], state["drawn"]
        self.examples, self.skipped = state["examples"], state["skipped"]
        self.caution, self.streaks = state["caution"], dict(state["streaks"])
        self.stream.load_state_dict(state["stream"])
        set_random_state(state["random"])

    def go_back(self, state: Mapping[str, Any]) -> None:
        """Take an earlier state again, but draw other batches and learn half as fast.

        The model must hold what `weights` gave at the time.
        """
        self.average.restart()
        batches_drawn, skipped, caution = self.batches_drawn, self.skipped, self.caution
        self.load_state_dict(state)
        self.batches_drawn, self.skipped, self.caution = batches_drawn, skipped, caution / 2
        self.streaks = dict.fromkeys(self.streaks, 0)

    def _update(self, objective: Objective, lr: float) -> dict[str, float]:
        optimiser = self.optimisers[objective.name]
        report, names = self._backward(objective, optimiser.parameters)
        gradients = self._gradients(objective)
        lengths = torch._foreach_norm(gradients)  # pyright: ignore[reportPrivateImportUsage]
        norm = torch.linalg.vector_norm(torch.stack(lengths))
        # The one place in a step where the host waits for the device.
        *numbers, length = torch.cat((report, norm.view(1))).tolist()
        if math.isfinite(numbers[0]) and math.isfinite(length):
            if 0 < self.settings.clip < length:
                scale = self.settings.clip / length
                torch._foreach_mul_(gradients, scale)  # pyright: ignore[reportPrivateImportUsage]
            optimiser.step(gradients, objective.rate * lr)
            if objective.after is not None:
                with torch.no_grad():
                    objective.after()
            if objective.observe is not None:
                objective.observe(dict(zip(names, numbers, strict=True)))
            self.streaks[objective.name] = 0
        else:
            self._skip(objective)
        self._buffers.merge()
        return dict(zip(names, numbers, strict=True)) | {"norm": length}

    def _backward(
        self, objective: Objective, parameters: list[Tensor]
    ) -> tuple[Tensor, list[str]]:
        """Leave the gradient in the parameters; return the loss and its terms, [1 + terms]."""
        n_parts, player = self.settings.accumulate, self.players[objective.name]
        reuse_batch = objective.reuse_batch and self._rows is not None
        rows: Any = self._rows if reuse_batch else self._next(n_parts, objective)
        size, report, names = len(rows) // n_parts, None, []
        for part in range(n_parts):
            micro_batch = rows if n_parts == 1 else rows[part * size : (part + 1) * size]
            with player.gathering(last=part == n_parts - 1):
                with self.precision.autocast(self.device):
                    value, terms = player(micro_batch)
                mean = value if n_parts == 1 else value / n_parts
                mean.backward(inputs=parameters)
            names = ["loss", *terms]
            part_report = torch.stack(
                [t.detach().float().reshape(()) for t in (value, *terms.values())]
            )
            report = part_report if report is None else report + part_report
        assert report is not None
        return self.world.mean(report if n_parts == 1 else report / n_parts), names

    def _next(self, parts: int, objective: Objective) -> Any:  # noqa: ANN401
        """Draw the next batch, and take this process's rows."""
        batch = self.stream.batch(self.batches_drawn)
        if objective.transform_batch is not None:
            batch = objective.transform_batch(batch.to(self.device))
        self.batches_drawn, self.examples = self.batches_drawn + 1, self.examples + len(batch)
        self._rows = self.world.shard(batch, parts).to(self.device)
        return self._rows

    def _gradients(self, objective: Objective) -> list[Tensor]:
        """Take the gradients out of the parameters."""
        gradients: list[Tensor] = []
        for parameter in self.optimisers[objective.name].parameters:
            if parameter.grad is None:
                raise ValueError(f"the loss of '{objective.name}' leaves some parameters alone.")
            gradients.append(parameter.grad)
            parameter.grad = None
        return gradients

    def _skip(self, objective: Objective) -> None:
        self.skipped += 1
        self.streaks[objective.name] += 1
        if self.streaks[objective.name] >= PATIENCE:
            raise Diverged(
                f"the loss or the gradient of '{objective.name}' in stage '{self.stage.name}' was "
                f"not finite in {PATIENCE} updates in a row, up to step {self.step_count + 1}; "
                "a lower --lr or --precision fp32 may help."
            )


def train(trainer: Trainer, steps: int) -> Iterator[Event]:
    """Make steps, one each time the caller asks for the next."""
    for _ in range(steps):
        yield trainer.step()


def random_state() -> dict[str, Any]:
    """Return the states of torch's global generators."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def set_random_state(state: Mapping[str, Any]) -> None:
    """Put torch's global generators where `random_state` found them."""
    torch.set_rng_state(state["cpu"].cpu())
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])
