"""A trained run, ready to be drawn from, asked, measured and trained further."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from trilemma.api.data import dataset
from trilemma.api.display import warn
from trilemma.api.notebook import image_tag
from trilemma.api.samples import Samples, examples
from trilemma.api.turns import briefly
from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.model import (
    Adjustable,
    Bounded,
    Coded,
    Completing,
    Density,
    Editing,
    Improving,
    Model,
    Seeking,
    Tightening,
)
from trilemma.core.model import capabilities as capabilities_of
from trilemma.core.noise import Noise
from trilemma.core.sampling import Conditions, draw
from trilemma.core.session import Session
from trilemma.data.dataset import DataSet
from trilemma.pictures.figures import grid
from trilemma.recipes.conditions import captions, conditions
from trilemma.recipes.editing import enlarged, refuse_strength
from trilemma.recipes.runs import Loaded
from trilemma.recipes.runs import load as load_run
from trilemma.report.annotations import annotations_of
from trilemma.report.model_card import export
from trilemma.training.precision import choose_device
from trilemma.training.run import Run as RunDirectory

__all__ = ["Run", "load"]

C = TypeVar("C")
AT_ONCE = 256
"""Examples that are encoded or asked about together."""


def load(run: str | Path | Run, *, device: str = "auto") -> Run:
    """Load what a run has learnt.

    A run never causes an import: of a run with a recipe of a plug-in, name the plug-in first.

    Arguments:
        run: The directory that training made, or a folder of exported weights.
        device: "auto", "cpu" or "cuda".

    Raises:
        BadInput: It is no run, or no checkpoint of it is whole.

    Several threads may draw from the run that this returns at once.
    """
    path = run.path if isinstance(run, Run) else Path(run).expanduser()
    with briefly("loading"):
        return Run(load_run(path, warn=warn, device=choose_device(device)))


class Run:
    """A run: `train` and `load` make it.

    Arguments:
        loaded: What it has learnt.
    """

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded

    @property
    def path(self) -> Path:
        """Return its directory."""
        return self.loaded.run.path

    @property
    def directory(self) -> RunDirectory:
        """Return its directory, with what was recorded in it."""
        return self.loaded.run

    @property
    def recipe(self) -> str:
        """Return the name of its recipe."""
        return self.loaded.recipe.name

    @property
    def fields(self) -> dict[str, Any]:
        """Return the fields of its recipe."""
        return dict(self.loaded.run.recipe["fields"])

    @property
    def domain(self) -> Domain:
        """Return where its data lie: kind, shape, values, classes."""
        return self.loaded.domain

    @property
    def model(self) -> Model:
        """Return the model, a `torch.nn.Module` with the averaged weights."""
        return self.loaded.model

    @property
    def steps(self) -> int:
        """Return the updates that it was trained for."""
        return self.loaded.step

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Name what it can do: "sample", and such as "density", "bound", "encode"."""
        return capabilities_of(self.model)

    @property
    def report(self) -> Path:
        """Return its page, report.html."""
        return self.path / "report.html"

    def history(self) -> list[dict[str, Any]]:
        """Return what happened in training: a dictionary an event, as in events.jsonl."""
        return [
            {"kind": event.kind, "stage": event.stage, "step": event.step, **event.values}
            for event in self.loaded.run.events()
        ]

    def data(self, data: Any = None) -> DataSet:  # noqa: ANN401
        """Load the data that it was trained on.

        Arguments:
            data: The same data, or where they lie, if not where they lay.

        Raises:
            BadInput: They are gone, or are others.
        """
        if data is None or isinstance(data, str):
            return self.loaded.data(data)
        return self.loaded.same(dataset(data))

    def sample(
        self,
        n: int = 16,
        *,
        cond: str | int | Iterable[object] | None = None,
        seed: int = 0,
        start: int = 0,
        **options: Any,  # noqa: ANN401
    ) -> Samples:
        """Draw samples; sample i of a seed is the same however many are drawn.

        Arguments:
            n: How many.
            cond: What they are to be, taken in turn: a class or a list of them, captions, or
                "alpha=70" of a property.
            seed: Of the samples.
            start: Number of the first one: parts that are drawn apart fit together.
            options: What the recipe lets be chosen at sampling, such as steps, sampler, guidance.

        Raises:
            BadInput: There is no such class or option.
        """
        if n < 1:
            raise BadInput(f"{n} samples were asked for; ask for 1 or more.")
        model = self._adjusted(options)
        requested, texts = self._conditions(cond)
        with torch.no_grad():
            x = draw(model, n, seed=seed, start=start, conditions=requested)
            loaded = replace(self.loaded, model=model)
            annotations = annotations_of(loaded, start + n, seed, requested, texts)
        return Samples(x, self.domain, annotations.since(start))

    def complete(self, x: Any, mask: Any, *, seed: int = 0) -> Samples:  # noqa: ANN401
        """Draw what is not known of some examples.

        Arguments:
            x: The examples.
            mask: Where they are known, booleans of their shape.
            seed: Of the samples.

        Raises:
            BadInput: The model completes nothing.
        """
        model = self._able(Completing, "complete")
        rows = self._rows(x)
        known_mask = torch.as_tensor(mask, dtype=torch.bool, device=rows.device).expand_as(rows)
        noise = Noise.for_samples(seed, 0, len(rows), rows.device)
        with torch.no_grad():
            return Samples(model.complete(rows, known_mask, noise=noise).cpu(), self.domain)

    def edit(
        self,
        x: Any,  # noqa: ANN401
        strength: float,
        *,
        cond: str | int | Iterable[object] | None = None,
        seed: int = 0,
    ) -> Samples:
        """Draw something like some examples: noise is put on them, and the way back is taken.

        Arguments:
            x: The examples.
            strength: Time up to which noise is put on: near 0 all is kept, at 1 nothing.
            cond: What they are to be, as for `sample`.
            seed: Of the noise.

        Raises:
            BadInput: The model edits nothing, or the strength is not in (0, 1].
        """
        model = self._able(Editing, "edit")
        refuse_strength(strength)
        rows = self._rows(x)
        requested, _ = self._conditions(cond)
        condition = requested(0, len(rows)).to(rows.device) if requested else None
        noise = Noise.for_samples(seed, 0, len(rows), rows.device)
        with torch.no_grad():
            edited = model.edit(rows, strength, condition=condition, noise=noise)
        return Samples(edited.cpu(), self.domain)

    def between(self, a: Any, b: Any, n: int = 8) -> Samples:  # noqa: ANN401
        """Return what lies between two examples, on the way through their codes.

        Arguments:
            a: One example, the first of what is returned.
            b: Another one, the last.
            n: How many, these two among them.

        Raises:
            BadInput: The model has no such way, or fewer than two are asked for.
        """
        model = self._able(Editing, "edit")
        if n < 2:
            raise BadInput(f"n = {n} was given; a way from one to another has 2 or more.")
        with torch.no_grad():
            path = model.between(self._rows(a)[:1], self._rows(b)[:1], n)
        return Samples(path[:, 0].cpu(), self.domain)

    def enlarge(self, photo: str | Path, *, seed: int = 0) -> Any:  # noqa: ANN401
        """Enlarge a photo of any size, and return an image of PIL.

        Arguments:
            photo: The file.
            seed: Of what is drawn.

        Raises:
            BadInput: The model enlarges nothing, or the photo cannot be used.
        """
        large = enlarged(self.loaded, photo, Session(seed=seed))
        return grid(large[None], 256, 1, 1)

    def improve(self, x: Any, *, seed: int = 0) -> Samples:  # noqa: ANN401
        """Return examples that are worth more, each made of one that is given.

        Arguments:
            x: The examples, such as a list of networks.
            seed: Of the choices.

        Raises:
            BadInput: The model improves nothing.
        """
        model = self._able(Improving, "improve")
        rows = self._rows(x)
        noise = Noise.for_samples(seed, 0, len(rows), rows.device)
        with torch.no_grad():
            return Samples(model.improve(rows, noise=noise).cpu(), self.domain)

    def best(self, n: int = 12) -> tuple[Samples, list[float]]:
        """Return the best that a search has found, the best first, and what each is worth.

        Arguments:
            n: How many at most.

        Raises:
            BadInput: The run has sought nothing.
        """
        model = self._able(Seeking, "search")
        if not model.seeks:
            raise BadInput(f"{self.path} has sought nothing; train with reward=, such as qed.")
        rows = model.best_found()[:n].cpu()
        worth = model.call_scores().sort(descending=True).values[: len(rows)]
        return Samples(rows, self.domain), worth.tolist()

    def encode(self, x: Any, *, seed: int = 0) -> Tensor:  # noqa: ANN401
        """Return the codes of examples, [N, Z].

        Raises:
            BadInput: The model has none.
        """
        model = self._able(Coded, "encode")
        rows = self._rows(x)
        with torch.no_grad():
            noise = Noise.for_samples(seed, 0, len(rows), rows.device)
            return model.encode(rows, noise=noise).cpu()

    def decode(self, z: Any) -> Samples:  # noqa: ANN401
        """Return what codes stand for.

        Arguments:
            z: [N, Z].

        Raises:
            BadInput: The model has no codes.
        """
        model = self._able(Coded, "encode")
        with torch.no_grad():
            codes = torch.as_tensor(z, dtype=torch.float32).to(self._device)
            return Samples(model.decode(codes).cpu(), self.domain)

    def log_prob(self, x: Any) -> Tensor:  # noqa: ANN401
        """Return ln p(x) of examples in nats, [N], about the data as they lie in the file.

        Raises:
            BadInput: The model knows no density.
        """
        model = self._able(Density, "density")
        rows = self._rows(x)
        with torch.no_grad():
            return torch.cat([model.log_prob(part).cpu() for part in rows.split(AT_ONCE)])

    def bound(self, x: Any, *, draws: int = 1, seed: int = 0) -> Tensor:  # noqa: ANN401
        """Return lower bounds of ln p(x) in nats, [N]: in the mean over seeds at most ln p(x).

        Arguments:
            x: The examples.
            draws: Codes that each is averaged over; the bound is the nearer the more there are.
            seed: Of the draws.

        Raises:
            BadInput: The model knows none, or one that does not tighten.
        """
        rows = self._rows(x)
        with torch.no_grad():
            noise = Noise.for_samples(seed, 0, len(rows), rows.device)
            if draws == 1:
                return self._able(Bounded, "bound").bound(rows, noise=noise).cpu()
            model = self._able(Tightening, "bound that tightens")
            return model.importance_bound(rows, draws, noise=noise).cpu()

    def export(self, folder: str | Path) -> Path:
        """Write its averaged weights, its record and a model card into a new folder.

        Arguments:
            folder: It must not exist; `load` and `train(from_run=…)` take it as they take a run.

        Raises:
            BadInput: It exists, or may not be written.
        """
        target = Path(folder).expanduser()
        export(self.loaded, target)
        return target

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _rows(self, x: Any) -> Tensor:  # noqa: ANN401
        return examples(x, self.domain).to(self._device)

    def _able(self, capability: type[C], name: str) -> C:
        if not isinstance(self.model, capability):
            raise BadInput(
                f"recipe '{self.recipe}' has no '{name}'; it can {', '.join(self.capabilities)}."
            )
        return self.model

    def _adjusted(self, options: Mapping[str, Any]) -> Model:
        """Return the model drawn from as is asked for; it shares all weights."""
        if not options:
            return self.model
        names = {_option(name): name for name in type(self.loaded.recipe).at_sampling}
        for name in options:
            if name not in names:
                can = ", ".join(names) or "nothing: it samples in one way"
                raise BadInput(
                    f"recipe '{self.recipe}' has no '{name}' to choose at sampling; it has {can}."
                )
        assert isinstance(self.model, Adjustable)
        return self.model.adjusted(**options)

    def _conditions(
        self, cond: str | int | Iterable[object] | None
    ) -> tuple[Conditions | None, Sequence[str]]:
        if cond is None:
            return None, ()
        separator = ";" if self.domain.vocabulary else ","
        parts = [cond] if isinstance(cond, str | int) else list(cond)
        text = separator.join(map(str, parts))
        texts = captions(text) if self.domain.vocabulary else ()
        return conditions(self.domain, text, warn), texts

    def __repr__(self) -> str:
        """Say what it is."""
        data = self.loaded.run.recipe["data"]["name"]
        return f"Run {self.path}: {self.recipe} on {data}, {self.steps:,} updates"

    def _repr_html_(self) -> str:
        """Show it in a notebook, with its newest picture."""
        pictures = sorted((self.path / "samples").glob("step_*.png"))
        words = f"<p>{html.escape(repr(self))}</p>"
        if not pictures:
            return words
        return words + image_tag(pictures[-1].read_bytes(), f"samples of {self.recipe}")


def _option(field: str) -> str:
    """Return the name at a call of a field that may be chosen at sampling."""
    return "steps" if field == "sample_steps" else field
