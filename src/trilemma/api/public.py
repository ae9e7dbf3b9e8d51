"""All that `import trilemma` offers, in one file; `trilemma/__init__.py` asks here for a name.

What is done:       train, resume, load, evaluate, compare, compare_runs, verify,
                    dataset, recipe, plugin, strips
What comes of it:   Run, Samples, Evaluation, Comparison, Laws, DataSet
What goes wrong:    BadInput, Diverged, Interrupted
What is written:    Recipe, Choice, Model, Objective, Loss, Stage, Condition, Noise, Domain,
                    Metric, Score, Source, NetworkOptions, Reward
Choices by name:    RECIPES, DATA_SETS, METRICS, NETWORKS, SAMPLERS, SCHEDULES, PREDICTIONS,
                    LOSSES, PENALTIES, SOLVERS, REWARDS, GRAPH_REWARDS
"""

from __future__ import annotations

from typing import Any

from trilemma.api.comparing import Comparison, compare, compare_runs
from trilemma.api.data import dataset
from trilemma.api.evaluating import Evaluation, evaluate
from trilemma.api.run import Run, load
from trilemma.api.samples import Samples, strips
from trilemma.api.training import resume, train
from trilemma.api.verifying import Laws, verify
from trilemma.core.batch import Condition
from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput, Diverged, Interrupted
from trilemma.core.model import Loss, Model, Objective, Stage
from trilemma.core.noise import Noise
from trilemma.data.dataset import DataSet
from trilemma.data.rewards import REWARDS, Reward
from trilemma.data.sources import NAMES as DATA_SETS
from trilemma.data.sources import Source
from trilemma.maths.adversarial import LOSSES, PENALTIES
from trilemma.maths.diffusion.predictions import PREDICTIONS
from trilemma.maths.diffusion.samplers import SAMPLERS
from trilemma.maths.diffusion.schedules import SCHEDULES
from trilemma.maths.ode import SOLVERS
from trilemma.metrics.metric import Metric
from trilemma.metrics.registry import METRICS
from trilemma.metrics.score import Score
from trilemma.plugins import read as plugin
from trilemma.recipes.catalog import CATALOG as RECIPES
from trilemma.recipes.catalog import recipe_class
from trilemma.recipes.diffusion_networks import NETWORKS, NetworkOptions
from trilemma.recipes.fields import build
from trilemma.recipes.graphrl import GRAPH_REWARDS
from trilemma.recipes.recipe import Choice, Recipe

__all__ = [
    "DATA_SETS",
    "GRAPH_REWARDS",
    "LOSSES",
    "METRICS",
    "NETWORKS",
    "PENALTIES",
    "PREDICTIONS",
    "RECIPES",
    "REWARDS",
    "SAMPLERS",
    "SCHEDULES",
    "SOLVERS",
    "BadInput",
    "Choice",
    "Comparison",
    "Condition",
    "DataSet",
    "Diverged",
    "Domain",
    "Evaluation",
    "Interrupted",
    "Laws",
    "Loss",
    "Metric",
    "Model",
    "NetworkOptions",
    "Noise",
    "Objective",
    "Recipe",
    "Reward",
    "Run",
    "Samples",
    "Score",
    "Source",
    "Stage",
    "compare",
    "compare_runs",
    "dataset",
    "evaluate",
    "load",
    "plugin",
    "recipe",
    "resume",
    "strips",
    "train",
    "verify",
]


def recipe(name: str, **fields: Any) -> Recipe:  # noqa: ANN401
    """Return a recipe by its name: a page of plain numbers that builds, feeds and trains a model.

    Arguments:
        name: As `RECIPES` has it.
        fields: Its fields, as `trilemma show NAME` lists them.

    Raises:
        BadInput: There is no such recipe or field, or a value is impossible.

    >>> recipe("vae", latent=8).latent
    8
    """
    return build(recipe_class(name), fields)
