"""A policy that has learnt looks further ahead than a rule that takes the best next edge."""

from pathlib import Path
from typing import Any

from benchmarks.claims import Claim, Criterion
from benchmarks.paired import Side
from trilemma.core.session import Session
from trilemma.data import sources
from trilemma.metrics.evaluation import Evaluation
from trilemma.metrics.judge import judge
from trilemma.recipes.evaluate import training_of
from trilemma.recipes.runs import load

DATA, NODES = "barabasi-albert", 20
CLAIM = Claim(
    says="a policy makes networks of twice the size, which it has not seen, more robust than a "
    "greedy rule does (§9)",
    data=(DATA,),
    sides=(Side("policy", ("graphrl", "--size", str(NODES), "--task", "robust")),),
    criteria=(
        Criterion("policy", "gain_over_greedy", limit=0, beyond=True),
        Criterion("policy", "improvement_gain", "lowest degree product"),
        Criterion("policy", "improvement_gain", "random"),
    ),
    minutes=20,
    samples=64,
    judged_by="claimed.robust_networks",
    also_shown=(),
)


def judged(run: str, samples: int) -> dict[str, Any]:
    """Let a trained policy improve networks of twice the size of those that it has seen."""
    loaded = load(Path(run), warn=print)
    data = sources.load(DATA, size=2 * NODES)
    evaluation = judge(
        loaded.model,
        data,
        n=samples,
        session=Session(),
        only={"improvement_gain", "gain_over_greedy"},
    )
    return Evaluation(
        recipe=loaded.recipe.name,
        family=loaded.recipe.family,
        data=data.name,
        n=samples,
        seed=0,
        step=loaded.step,
        training=training_of(loaded, data),
        metrics=evaluation.metrics,
        skipped=evaluation.skipped,
        cost=evaluation.cost,
    ).to_json()
