"""GraphRNN's step and drawing: the released code against ours, on equal sizes.

The node network has 4 layers of 128 and an embedding of 64, the edge network 4 layers of 16 and an
embedding of 8, on both sides (`paper`); beside it stand our defaults, with hints and a memory
(`default`). Graphs are the same, 32 a step; M is the released code's by hand and ours by rule.

A step of ours holds the ordering of its batch; theirs is given batches that lie ready. Theirs
draws by M and the largest size whatever comes out; what ours takes depends on what is drawn. So
mean nodes and edges of what was drawn stand beside: untrained, ours makes small dense graphs; of a
trained run (`--run`), whose graphs are like the data, the drawing is timed too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.graphrnn_peer import Released
from benchmarks.record import Section
from benchmarks.turns import by_turns, ratio, repeated
from trilemma.core.errors import BadInput
from trilemma.core.graph import adjacency, edges, sizes
from trilemma.core.model import Model
from trilemma.core.noise import Noise
from trilemma.core.session import Session
from trilemma.data import sources
from trilemma.data.dataset import DataSet
from trilemma.recipes.graphrnn import GraphRecurrent
from trilemma.recipes.runs import load, untrained
from trilemma.training.precision import choose
from trilemma.training.trainer import Settings, Trainer

ABOUT = "the released GraphRNN: a step, drawing 32 and 256 graphs (--peer CHECKOUT)"
OPTIONS = {
    "peer": ("", "folder of a checkout of the GitHub project JiaxuanYou/graph-generation"),
    "sets": ("grid,community", "data sets"),
    "rounds": (5, "rounds that are kept"),
    "batch": (32, "graphs a step"),
    "draws": ("32,256", "graphs drawn together"),
    "run": ("", "a trained run of graphrnn with its default networks, on the only set"),
}
SMALLEST = {"sets": "grid", "rounds": 1, "batch": 4, "draws": "4"}
"""Options with which all of it runs once, soon."""

CPU = torch.device("cpu")
REACH = {"grid": 40, "community": 100, "ladder": 10, "community-small": 20}
"""`max_prev_node`, as the released code gives it."""
GOALS = {("step", "grid"): 4.0, ("step", "community"): 3.0, ("draw", 32): 3.5, ("draw", 256): 3.0}
PAPER = {"layers": 4, "edge_layers": 4, "edge_hidden": 16, "edge_width": 8}


def main(options: Any) -> list[Section]:
    """Compare."""
    if not options.peer:
        raise BadInput("--peer FOLDER is wanted: a checkout of the released code, made apart.")
    sections = []
    for name in options.sets.split(","):
        if name not in REACH:
            raise BadInput(f"set '{name}' was given; give some of {', '.join(REACH)}.")
        sections += _on(name, options)
    return sections


def _on(name: str, options: Any) -> list[Section]:
    data = sources.load(name)
    peer = Released(Path(options.peer), _networks(data), data.domain.shape[0], REACH[name])
    recipes = {
        "paper": GraphRecurrent(batch=options.batch, hints=False, memory=0, **PAPER),
        "default": GraphRecurrent(batch=options.batch),
    }
    trainers = {way: _trainer(recipe, data) for way, recipe in recipes.items()}
    models: dict[str, Model] = {way: trainer.model for way, trainer in trainers.items()}
    sections = [_steps(name, data, peer, trainers, options)]
    for count in (int(n) for n in options.draws.split(",")):
        sections.append(_draws(name, "untrained", count, peer, models, options))
    if options.run:
        trained = load(Path(options.run), warn=print)
        models = {"default": trained.model}
        for count in (int(n) for n in options.draws.split(",")):
            subtitle = f"trained for {trained.step:,} steps"
            sections.append(_draws(name, subtitle, count, peer, models, options))
    return sections


def _networks(data: DataSet) -> list[Any]:
    import networkx

    networks_built = []
    for x in data.train.x:
        one = networkx.empty_graph(int(sizes(x)))
        one.add_edges_from(edges(x).tolist())
        networks_built.append(one)
    return networks_built


def _trainer(recipe: GraphRecurrent, data: DataSet) -> Trainer:
    model = untrained(recipe, data.domain, 0).train()
    stage = recipe.stages(model, data, 0)[0]
    chosen = choose("fp32", CPU, prefer_bf16=False)
    settings = Settings.of(recipe)
    return Trainer(model, stage, stage.stream(), settings, session=Session(), precision=chosen)


def _steps(
    name: str, data: DataSet, peer: Released, trainers: dict[str, Trainer], options: Any
) -> Section:
    batches = [
        peer.batch(torch.randint(len(data.train), (options.batch,)).tolist()) for _ in range(4)
    ]
    turn = iter(range(10**9))
    sides: dict[str, Callable[[], Any]] = {
        "released": lambda: peer.step(batches[next(turn) % len(batches)])
    }
    sides |= {way: trainer.step for way, trainer in trainers.items()}
    seconds = by_turns({k: repeated(work, 1) for k, work in sides.items()}, options.rounds)
    counts = {"released": sum(p.numel() for player in peer.players for p in player.parameters())}
    counts |= {k: sum(p.numel() for p in t.model.parameters()) for k, t in trainers.items()}
    ratios = {way: ratio(seconds, peer="released", ours=way) for way in trainers}
    goal = GOALS.get(("step", name), "")
    rows = [
        ("released", counts["released"], min(seconds["released"]), "", ""),
        *(
            (way, counts[way], min(seconds[way]), str(each), goal if way == "paper" else "")
            for way, each in ratios.items()
        ),
    ]
    return Section(
        f"A step of {options.batch} graphs of {name}, times faster",
        ["side", "parameters", "least seconds", "than released", "aimed at"],
        rows,
        ratios=ratios,
        seconds=seconds,
        peer=f"JiaxuanYou/graph-generation at {peer.commit}",
    )


def _draws(
    name: str,
    trained: str,
    count: int,
    peer: Released,
    models: dict[str, Model],
    options: Any,
) -> Section:
    graphs_by_way: dict[str, torch.Tensor] = {}

    def ours(way: str) -> Callable[[], None]:
        def once() -> None:
            with torch.no_grad():
                graphs_by_way[way] = models[way].sample(
                    count, noise=Noise.for_samples(0, 0, count)
                )

        return once

    sides: dict[str, Callable[[], Any]] = {"released": lambda: peer.draw(count)}
    sides |= {way: ours(way) for way in models}
    rounds = max(1, options.rounds // (1 if count <= 32 else 2))
    seconds = by_turns(
        {k: repeated(work, 1) for k, work in sides.items()}, rounds, warmup=int(count <= 32)
    )
    ratios = {way: ratio(seconds, peer="released", ours=way) for way in models}
    rows = [("released", "", "", min(seconds["released"]), "", "")]
    for way, each in ratios.items():
        x = graphs_by_way[way]
        nodes = float(sizes(x).double().mean())
        joined = float(adjacency(x).sum((1, 2)).double().mean() / 2)
        goal = GOALS.get(("draw", count), "")
        rows.append((way, nodes, joined, min(seconds[way]), str(each), goal))
    return Section(
        f"Drawing {count} graphs, {name}, ours {trained}, times faster",
        ["side", "mean nodes", "mean edges", "least seconds", "than released", "aimed at"],
        rows,
        ratios=ratios,
        seconds=seconds,
        peer=f"JiaxuanYou/graph-generation at {peer.commit}",
    )
