"""What one more leaf costs: exactly the files that CONTRIBUTING names, and then it can be chosen.

In a copy of the sources a sampler, a loss, a recipe, a metric, a picture and a set of points are
added; one process trains, samples, measures, draws and lists with them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import trilemma

SOURCES = Path(trilemma.__file__).parent

SAMPLER = '''
@dataclass(frozen=True)
class Leap:
    """One leap to the clean estimate."""

    order: ClassVar[int] = 1
    calls: ClassVar[int] = 1
    grid: ClassVar[str] = "uniform"
    fresh: ClassVar[str] = ""

    def __call__(self, denoise, schedule, x, times, noise, variance=None):
        """Yield the clean estimates."""
        for t in times[:-1]:
            yield denoise(x, t)


SAMPLERS: Mapping'''

RECIPE = '''"""A diffusion that leaps."""

from dataclasses import dataclass
from typing import ClassVar

from trilemma.recipes.ddpm import Ddpm


@dataclass(frozen=True, kw_only=True)
class Leaping(Ddpm):
    """Trains a denoiser and leaps."""

    name: ClassVar[str] = "leaping"

    width: int = 8
    """Units of a layer."""
    sampler: str = "leap"
    """The way from noise to data."""
'''

METRIC = '''"""How far to the right samples lie."""

from trilemma.metrics.features import FEATURED, of_features
from trilemma.metrics.metric import Metric, hundredths

METRICS = (
    Metric(
        name="rightness",
        label="right",
        better="",
        unit="feature",
        meaning="How far to the right samples lie.",
        failure="It says nothing of anything else.",
        kinds=FEATURED,
        write=hundredths,
        measure=of_features(
            lambda it: float(it.matched[:, 0].mean()),
            deviation=lambda it: 0.1,
            protocol=lambda it: f"{len(it.matched)} samples",
            interval=lambda _: "nothing",
        ),
    ),
)
'''

VIEW = '''"""How many weights a model has."""

from trilemma.core.model import Model
from trilemma.pictures.charts import lines
from trilemma.report.page import Picture
from trilemma.report.view import View


def _weights(subject):
    """Draw the number of weights of each part."""
    counts = [sum(p.numel() for p in part.parameters()) for part in subject.model.children()]
    chart = lines(list(range(len(counts))), {"weights": counts}, "part", "weights")
    return [Picture("weights, part by part", chart)]


VIEWS = (View(name="weights", section="inversion", needs=(Model,), draw=_weights),)
'''

RUN = """
import sys
from trilemma.cli import main
def run(*words):
    assert main(list(words)) == 0, words
run("train", "leaping", "--data", "one-gaussian", "--steps", "2", "--run", "a")
run("list", "metrics", "--json")
run("train", "gan", "--loss", "mine", "--width", "8", "--data", "one-gaussian", "--steps", "2")
"""


def edited(root: Path, where: str, before: str, after: str) -> str:
    """Replace what stands once in a file of the copy; return the file's name."""
    path = root / where
    text = path.read_text()
    assert text.count(before) == 1, (where, before)
    path.write_text(text.replace(before, after))
    return where


@pytest.fixture
def copy(tmp_path):
    root = tmp_path / "trilemma"
    shutil.copytree(SOURCES, root, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def line(kind: str, entry: str) -> str:
    """Return a line of a registry."""
    return f'    "{kind}": {entry},\n'


def test_a_leaf_costs_the_files_that_contributing_names(copy):
    game, island = (
        "AdversarialLoss(_hinge_critic, _lifting_generator)",
        'torch.zeros(1, 2), 1.0, "one"',
    )
    edits = {
        "sampler": [
            ("maths/diffusion/samplers.py", "\nSAMPLERS: Mapping", SAMPLER),
            ("maths/diffusion/samplers.py", line("unipc", "UniPc"), line("leap", "Leap")),
        ],
        "adversarial loss": [
            ("maths/adversarial.py", line("ebgan", "energy_based(1.0)"), line("mine", game)),
        ],
        "recipe": [
            (
                "recipes/catalog.py",
                "\n__all__",
                "from trilemma.recipes.leaping import Leaping\n\n__all__",
            ),
            ("recipes/catalog.py", line("ddpm", "Ddpm"), line("leaping", "Leaping")),
        ],
        "data set": [
            (
                "data/toy.py",
                "TOYS: Mapping[str, Toy] = {\n",
                line("one-gaussian", f"_gaussians({island})"),
            ),
        ],
    }
    for changes in edits.values():
        for where, before, after in changes:
            is_entry = after.startswith("    ") and before != after
            edited(copy, where, before, before + after if is_entry else after)
    (copy / "recipes" / "leaping.py").write_text(RECIPE)
    (copy / "metrics" / "rightness.py").write_text(METRIC)
    (copy / "report" / "views" / "weights.py").write_text(VIEW)
    assert all(len({where for where, *_ in changes}) == 1 for changes in edits.values())
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=copy.parent,
        env=os.environ | {"PYTHONPATH": str(copy.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert '"name": "rightness"' in done.stdout
    assert '"name": "leaping"' in (copy.parent / "a" / "recipe.json").read_text()
    assert "weights, part by part" in (copy.parent / "a" / "report.html").read_text()
