"""Evaluations of four recipes, as `trilemma evaluate --json` prints them."""

from __future__ import annotations

import pytest
from given import grouped

BASELINES = {"fd": {"noise": 800.0, "mean": 530.0}, "coverage": {"noise": 0.0, "mean": 0.01}}
FLOORS = {"fd": 6.1, "coverage": 0.96, "recall": 0.93}


def score(name, value, wide):
    return {
        "value": value,
        "low": value - wide,
        "high": value + wide,
        "unit": "",
        "better": "lower" if name in ("fd", "kd", "bits_per_dim") else "higher",
        "floor": FLOORS.get(name),
        "baselines": BASELINES.get(name, {}),
        "n": 1000,
        "by": "lower bound" if name in ("bound", "bits_per_dim") else "",
        "protocol": f"{name} protocol; features digits-classifier (64 features); seed 7",
    }


def evaluation(recipe, family="vae", fd=None, coverage=None, seconds=None, wide=1.0, **more):
    metrics = {} if fd is None else {"fd": score("fd", fd, wide)}
    if coverage is not None:
        metrics["coverage"] = score("coverage", coverage, 0.02)
    for name, value in more.items():
        metrics[name] = score(name, value, 0.01)
    cost = {} if seconds is None else {"sample_seconds_each": seconds, "parameters": 123_456}
    return {
        "recipe": recipe,
        "family": family,
        "data": "digits",
        "split": "test",
        "n": 1000,
        "seed": 7,
        "device": "cpu",
        "metrics": metrics,
        "cost": cost,
        "skipped": {},
        "training": {},
    }


@pytest.fixture(scope="session")
def evaluate():
    return evaluation


def recipes():
    four = [
        evaluation("autoencoder", "autoencoder", 96, 0.60, 1.1e-5, precision=0.62),
        evaluation("vae", "vae", 61, 0.71, 1.2e-5, bits_per_dim=2.11, bound=-93, precision=0.74),
        evaluation("gan", "gan", 34, 0.69, 2.4e-5, precision=0.88),
        evaluation("ddpm", "diffusion", 17.2, 0.92, 6.2e-3, bits_per_dim=2.31, bound=-102),
    ]
    four[2]["skipped"] = {"bits_per_dim": "a GAN has no likelihood"}
    return four


@pytest.fixture
def rows():
    """Return rows that a test may change."""
    return recipes()


@pytest.fixture(scope="session")
def settled():
    """Return rows that nobody changes."""
    return recipes()


@pytest.fixture
def runs():
    """Return three seeds of one label and one of another, as `trilemma compare` gives them."""
    run_paths = []
    for loss, seed, fd in (("ns", 0, 32.0), ("ns", 1, 34.0), ("ns", 2, 36.0), ("wgan", 0, 30.0)):
        row = evaluation("gan", "gan", fd, 0.7, 1e-3)
        fields = {"loss": loss}
        run_paths.append({"label": f"gan loss={loss}", "fields": fields, **row, "seed": seed})
    return run_paths


@pytest.fixture
def seeded_rows(runs):
    """Return the same as the rows that are shown."""
    return grouped(runs)
