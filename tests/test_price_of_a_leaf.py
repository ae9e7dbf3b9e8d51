"""What one more leaf costs: as many files as CONTRIBUTING names, and then it can be chosen.

In a copy of the sources a leaf of each kind is added; one process trains, lists and verifies with
them. The files that an addition touches are counted, and compared with those of its row.
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


SAMPLERS: Registry'''

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

NETWORK = '''"""A network that is one product."""

import torch
from torch import nn

__all__ = ["Product"]


class Product(nn.Module):
    """Gives x W x."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x W x, [B]."""
        return ((x @ self.weight) * x).sum(1)
'''

NETWORK_TEST = '''"""The network at the identity."""

import torch

from trilemma.networks.product import Product


def test_at_the_identity_it_is_the_squared_length():
    x = torch.randn(3, 2)
    assert torch.allclose(Product(2)(x), x.square().sum(1))
'''

READER = '''"""Points that a file holds, a line each."""

from pathlib import Path

import torch

from trilemma.core.domain import Domain, Real
from trilemma.data.dataset import DataSet, Split

__all__ = ["islands"]


def islands() -> DataSet:
    """Read the file."""
    lines = Path("islands.txt").read_text().splitlines()
    x = torch.tensor([[float(number) for number in line.split()] for line in lines])
    return DataSet("islands", Domain("points", (2,), Real()), Split(x[::2]), Split(x[1::2]))
'''

SOURCE = """    Source(
        "islands", "points", "two islands", "a file", "none", "write it", loader=read_islands
    ),
"""

FORM = '''"""Chains of nodes, a line each: a-b-c."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from trilemma.data.plain_graph import Fault, Plain, named


def chains(path: Path) -> Iterator[Plain | Fault]:
    """Read a graph a line."""
    for line in path.read_text().splitlines():
        names = line.split("-")
        yield named(names, pairwise(names))


READERS = {".chains": chains}
'''

METRIC_LAW = '''
@states("lecture §2")
def rightness() -> list[Law]:
    """Ask how far to the right two points lie in the mean."""
    mean = float(torch.tensor([[1.0], [3.0]])[:, 0].mean())
    return [equal("the mean of 1 and 3", "lecture §2", mean, 2, 0)]


CHECKS: Sequence[Check] = (
    rightness,
'''

RUN = """
import sys
from trilemma.cli import main
from trilemma.laws import games, metrics, samplers
from trilemma.training import allowance
allowance.CREDIT = allowance.LAST = 0.05  # it is not about previews
def run(*words):
    assert main(list(words)) == 0, words
run("train", "leaping", "--data", "islands", "--steps", "2", "--run", "a")
run("list", "metrics", "--json")
run("data", "check", "some.chains")
run("train", "gan", "--loss", "mine", "--width", "8", "--data", "one-gaussian", "--steps", "2")
for check in (games.every_game_has_laws, samplers.every_sampler_has_laws, metrics.rightness):
    assert all(law.holds for law in check()), check.title
sys.path.insert(0, "tests")
from test_product import test_at_the_identity_it_is_the_squared_length as test
test()
"""

GAME = "AdversarialLoss(_hinge_critic, _lifting_generator)"
POINTS = 'torch.zeros(1, 2), 1.0, "one"'


def entry(name: str, value: str) -> str:
    """Return a line of a registry."""
    return f'        ("{name}", {value}),\n'


def baseline(where: str, before: str, new: str) -> tuple[str, str, str]:
    """Return the change that puts something after what stands in a file."""
    return where, before, before + new


LEAVES = {
    "sampler": [
        ("maths/diffusion/samplers.py", "\nSAMPLERS: Registry", SAMPLER),
        baseline("maths/diffusion/samplers.py", entry("unipc", "UniPc"), entry("leap", "Leap")),
        baseline("laws/samplers.py", "PAPERS = {\n", '    "leap": "nowhere",\n'),
    ],
    "adversarial loss": [
        baseline("maths/adversarial.py", entry("ebgan", "energy_based(1.0)"), entry("mine", GAME)),
        baseline("laws/games.py", "SOURCES: Mapping[str, str] = {\n", '    "mine": GAN,\n'),
    ],
    "network": [
        ("networks/product.py", "", NETWORK),
        ("../tests/test_product.py", "", NETWORK_TEST),
    ],
    "recipe": [
        ("recipes/leaping.py", "", RECIPE),
        (
            "recipes/catalog.py",
            "\n__all__",
            "from trilemma.recipes.leaping import Leaping\n\n__all__",
        ),
        baseline("recipes/catalog.py", entry("ddpm", "Ddpm"), entry("leaping", "Leaping")),
    ],
    "metric": [
        ("metrics/rightness.py", "", METRIC),
        ("laws/metrics.py", "\nCHECKS: Sequence[Check] = (\n", METRIC_LAW),
    ],
    "picture of a model": [("report/views/weights.py", "", VIEW)],
    "points of a formula": [
        baseline(
            "data/toy.py",
            '    "point set",\n    [\n',
            entry("one-gaussian", f"_gaussians({POINTS})"),
        ),
    ],
    "form of a file of graphs": [("data/graph_formats/chains.py", "", FORM)],
    "data set": [
        ("data/islands.py", "", READER),
        baseline("data/sources.py", "STORED: Sequence[Source] = (\n", SOURCE),
        baseline(
            "data/sources.py",
            "from trilemma.data.debian_source import Bundle\n",
            "from trilemma.data.islands import islands as read_islands\n",
        ),
    ],
}
"""Kind -> what is changed for one more: the file, what stands there once, and what will; a new
file where nothing stands."""


NOT_MADE_UP = {"family": 4, "sampling option": 3, "capability": 3}
"""Kinds of which no toy says anything, for they are somebody's mathematics, and their files."""


def table() -> dict[str, int]:
    """Return how many files each row of CONTRIBUTING's table names."""
    page = (SOURCES.parents[1] / "CONTRIBUTING.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    return {kind: len(touch.split(" · ")) for kind, touch in rows if kind != "to add a…"}


def add(root: Path, where: str, before: str, after: str) -> Path:
    """Change what stands once in a file of the copy, or write a new file; return its path."""
    path = (root / where).resolve()
    if not before:
        assert not path.exists(), where
        path.parent.mkdir(exist_ok=True)
        path.write_text(after)
        return path
    text = path.read_text()
    assert text.count(before) == 1, (where, before)
    path.write_text(text.replace(before, after))
    return path


@pytest.fixture
def copy(tmp_path):
    root = tmp_path / "trilemma"
    shutil.copytree(SOURCES, root, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def test_a_leaf_costs_the_files_that_contributing_names(copy):
    touched = {
        kind: {add(copy, *change) for change in changes} for kind, changes in LEAVES.items()
    }
    counted = {kind: len(paths) for kind, paths in touched.items()}
    assert counted | NOT_MADE_UP == table()
    (copy.parent / "islands.txt").write_text("0 1\n1 0\n" * 100)
    chains = ("-".join(map(str, range(n))) for n in range(2, 14))
    (copy.parent / "some.chains").write_text("\n".join(chains))
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
    assert "nodes: 2 to 13" in done.stdout
    assert '"name": "leaping"' in (copy.parent / "a" / "recipe.json").read_text()
    assert "weights, part by part" in (copy.parent / "a" / "report.html").read_text()
    assert "weights, part by part" in (copy.parent / "a" / "report.html").read_text()
