"""Lets tests and their child processes read the doubles, and gives them a run to train in."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from awkward_clients import build

from trilemma.core.session import Session
from trilemma.training.budget import Budget
from trilemma.training.fit import fit
from trilemma.training.precision import Precision
from trilemma.training.run import Run
from trilemma.training.trainer import Settings

FP32 = Precision("fp32", channels_last=False, reason="for tests")


class Desk:
    """Makes runs of the doubles and trains them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def create(self, name: str, where: str = "run") -> Run:
        return Run.create(self.root / where, {"name": name, "seed": 0}, {})

    def fit(self, run: Run, budget: Budget | None = None, **options):
        """Train in a run, with everything built anew as another process would."""
        model, stages = build(run.recipe["name"])
        self.model = model = options.pop("model", model)
        settings = options.pop("settings", Settings(lr=1e-2, warmup=3, ema=0.9))
        return fit(
            run,
            model,
            options.pop("stages", stages),
            settings,
            budget,
            session=options.pop("session", Session()),
            precision=options.pop("precision", FP32),
            **options,
        )

    def newest(self, run: Run):
        warnings = []
        checkpoint = run.checkpoint(warnings.append)
        assert not warnings
        return checkpoint


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def differences(a, b, path=""):
    """List where two nested states differ by a bit; clocks are no part of what is compared."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        clocks = ("spent", "began", "overhead")
        return [d for k in a if k not in clocks for d in differences(a[k], b[k], f"{path}/{k}")]
    if isinstance(a, list | tuple):
        assert len(a) == len(b), path
        return [d for i, x in enumerate(a) for d in differences(x, b[i], f"{path}/{i}")]
    if isinstance(a, torch.Tensor):
        same = a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
        return [] if same else [path]
    return [] if a == b else [f"{path}: {a} != {b}"]


@pytest.fixture(name="differences")
def differences_fixture():
    return differences
