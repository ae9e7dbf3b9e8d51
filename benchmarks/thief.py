"""A planted thief against the metric `copies`: how often it is caught, and how often none is seen.

In each trial training examples, test examples and honest samples are drawn anew. A thief puts
copies of training examples in the place of 1 % of the samples: exact ones, ones moved by a vector
of half the median distance of nearest training examples in a random direction, ones shifted by a
pixel. Innocents draw too widely, repeat one example, or leave all out but one kind. An alarm is
p < .05. `python -m benchmarks.thief [RESULT …]` prints the page of results.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.environment import BENCHMARKS
from benchmarks.markdown import line
from benchmarks.record import Section
from trilemma.core.domain import Column, Columns, Domain, Levels, Real
from trilemma.core.errors import BadInput
from trilemma.core.graph import graph, sizes, stacked
from trilemma.core.noise import Noise, mix
from trilemma.core.session import Session
from trilemma.data import graphs
from trilemma.data.dataset import DataSet, Split
from trilemma.data.sources import available, load
from trilemma.data.toy import TOYS
from trilemma.maths.graphs.isomorphism import IsomorphismClasses
from trilemma.metrics import copies, copy_evidence
from trilemma.metrics.context import Context
from trilemma.metrics.metric import Memo
from trilemma.metrics.neighbours import radii
from trilemma.metrics.score import wilson

ABOUT = "a planted thief against the metric copies: how often it is caught"
OPTIONS: dict[str, tuple[float | int | str, str]] = {
    "trials": (100, "trials of each world"),
    "samples": (2000, "samples of each trial"),
    "share": (0.01, "share of copies among a thief's samples"),
    "only": ("", "worlds with this in their name"),
    "seed": (0, "seed of all draws"),
}
SMALLEST = {"trials": 1, "samples": 200, "only": "plane"}
"""Options with which all of it runs once, soon."""
COLUMNS = ("who", "alarms", "of", "share", "low", "high", "value")
HONEST = "honest"

Draw = Callable[[int, torch.Generator], Tensor]
Spoil = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class World:
    """Data of which everything can be drawn anew, a thief's ways, and innocents."""

    words: str
    train: int
    test: int
    trial: Callable[[int, int, float], dict[str, copy_evidence.Finding | tuple[float, float]]]


@dataclass(eq=False)
class StoredReference(Memo):
    """A data set to be held against, and nothing seen of it yet."""

    data: DataSet
    n: int
    seed: int


def source(seed: int, name: str) -> torch.Generator:
    """Return a source of random numbers of its own."""
    return torch.Generator().manual_seed(mix(seed, "thief", name))


def of_examples(
    words: str,
    domain: Domain,
    pool: Callable[[int, torch.Generator], Tensor],
    *,
    train: int,
    test: int,
    copied: Mapping[str, Callable[[Tensor, Tensor, torch.Generator], Tensor]],
    innocent: Mapping[str, Callable[[Tensor, torch.Generator], Tensor]],
) -> World:
    """Make a world of images or points.

    Arguments:
        words: What is drawn.
        domain: Its space.
        pool: Draws examples, all different ones of one draw.
        train: Training examples of each trial.
        test: Test examples of each trial.
        copied: Makes copies of some training examples, given those and all of them.
        innocent: Makes other samples of honest ones.
    """

    def trial(seed: int, n: int, share: float) -> dict[str, Any]:
        draw = source(seed, words)
        x = pool(train + test + n, draw)
        isomorphism_kinds, unseen, honest = x.split([train, test, n])
        reference = StoredReference(
            DataSet("world", domain, Split(isomorphism_kinds), Split(unseen)), n, seed
        )
        sets = {HONEST: honest}
        for name, copy in copied.items():
            rows = torch.randperm(train, generator=draw)[: round(share * n)]
            sets[f"thief: {name}"] = torch.cat(
                [copy(isomorphism_kinds[rows], isomorphism_kinds, draw), honest[len(rows) :]]
            )
        for name, change in innocent.items():
            sets[f"innocent: {name}"] = change(honest, draw)
        scores = {}
        for name, samples in sets.items():
            score = copies.METRICS[0].measure(
                Context(samples=samples, reference=reference, session=Session(seed=seed))
            )
            scores[name] = (float(score.protocol.startswith("alarm")), score.value)
        return scores

    return World(words, train, test, trial)


def exact(some: Tensor, train: Tensor, draw: torch.Generator) -> Tensor:
    """Return them as they are."""
    del train, draw
    return some.clone()


def noisy_points(some: Tensor, train: Tensor, draw: torch.Generator) -> Tensor:
    """Move real and whole columns, in standard deviations, by half the median distance."""
    wide = train.std(0)
    reach = radii(train / wide, 1).median().item() / 2
    return some + _directions(some, draw) * reach * wide


def noisy_rows(columns: Columns) -> Callable[[Tensor, Tensor, torch.Generator], Tensor]:
    """Do so, round whole numbers, and leave categories."""
    kinds = [column.kind for column in columns.columns]
    free = torch.tensor([kind != "category" for kind in kinds])
    is_full_copy = torch.tensor([kind == "whole" for kind in kinds])

    def copy(some: Tensor, train: Tensor, draw: torch.Generator) -> Tensor:
        wide = train[:, free].std(0)
        copies = train.clone()
        copies[:, free] /= wide
        reach = radii(copies, 1).median().item() / 2
        moved = some.clone()
        moved[:, free] += _directions(some[:, free], draw) * reach * wide
        return torch.where(is_full_copy, moved.round(), moved)

    return copy


def noisy_images(some: Tensor, train: Tensor, draw: torch.Generator) -> Tensor:
    """Move levels by half the median distance of 500 training images, and round."""
    flat = train.flatten(1).double()
    d = torch.cdist(flat[:500], flat)
    reach = d.topk(2, largest=False).values[:, 1].median().item() / 2
    moved = some.float() + _directions(some.flatten(1).float(), draw).view_as(some) * reach
    return moved.round().clamp(0, 255).to(torch.uint8)


def _directions(like: Tensor, draw: torch.Generator) -> Tensor:
    v = torch.randn(like.shape, generator=draw)
    return v / v.norm(dim=1, keepdim=True)


def shifted(some: Tensor, train: Tensor, draw: torch.Generator) -> Tensor:
    """Move each image by one pixel to one of eight sides; what enters is the margin again."""
    del train
    padded = torch.nn.functional.pad(some.float(), (1, 1, 1, 1), mode="replicate").to(some.dtype)
    height, width = some.shape[-2:]
    which = torch.randint(8, (len(some),), generator=draw).tolist()
    shifts = [(i, j) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    moved = [
        one[:, i : i + height, j : j + width]
        for one, (i, j) in zip(padded, (shifts[w] for w in which), strict=True)
    ]
    return torch.stack(moved)


def wider(x: Tensor, draw: torch.Generator) -> Tensor:
    """Stretch by 1.5 about the mean, and add noise of half a deviation."""
    mean, wide = x.mean(0), x.std(0)
    return mean + 1.5 * (x - mean) + 0.5 * wide * torch.randn(x.shape, generator=draw)


def blurred(x: Tensor, draw: torch.Generator) -> Tensor:
    """Blur images, and add noise."""
    soft = torch.nn.functional.avg_pool2d(x.float(), 3, 1, 1)
    return (soft + 20 * torch.randn(x.shape, generator=draw)).round().clamp(0, 255).to(x.dtype)


def repeated(x: Tensor, draw: torch.Generator) -> Tensor:
    """Repeat the mean, rounded where the values are levels."""
    del draw
    mean = x.double().mean(0, keepdim=True)
    return (mean if x.is_floating_point() else mean.round()).to(x.dtype).expand_as(x).contiguous()


# The worlds.


def plane() -> World:
    """Two moons, drawn without network or file."""

    def pool(n: int, draw: torch.Generator) -> Tensor:
        seed = int(torch.randint(2**31, (), generator=draw))
        return TOYS["two-moons"].draw(Noise.for_samples(seed, 0, n, "cpu"))

    return of_examples(
        "two moons of the plane",
        Domain("points", (2,), Real()),
        pool,
        train=4000,
        test=1000,
        copied={"exact": exact, "noisy": noisy_points},
        innocent={
            "too wide": wider,
            "the mean repeated": repeated,
            "one moon": lambda x, _: x[x[:, 1] > x[:, 1].mean()],
        },
    )


def points() -> World:
    """Ten Gaussians in eight dimensions."""
    centres = 3 * torch.randn(10, 8, generator=source(0, "centres"))

    def pool(n: int, draw: torch.Generator) -> Tensor:
        which = torch.randint(10, (n,), generator=draw)
        return centres[which] + torch.randn(n, 8, generator=draw)

    return of_examples(
        "ten Gaussians in eight dimensions",
        Domain("points", (8,), Real()),
        pool,
        train=4000,
        test=1000,
        copied={"exact": exact, "noisy": noisy_points},
        innocent={
            "too wide": wider,
            "the mean repeated": repeated,
            "one Gaussian": lambda x, draw: centres[0] + torch.randn(x.shape, generator=draw),
        },
    )


@dataclass(frozen=True)
class People:
    """A table of real, whole and category columns that hang together by hidden causes."""

    reals: int
    wholes: int
    words: int
    causes: int

    @property
    def columns(self) -> Columns:
        """Return what the columns are."""
        tops, counts = self.tops, self.counts
        return Columns(
            (
                *(Column() for _ in range(self.reals)),
                *(Column("whole", count=top + 1) for top in tops),
                *(Column("category", count=k, categories=tuple("abcdef"[:k])) for k in counts),
            )
        )

    @property
    def tops(self) -> list[int]:
        """Return the largest value of each whole column."""
        return [(11, 79, 59)[i % 3] for i in range(self.wholes)]

    @property
    def counts(self) -> list[int]:
        """Return the categories of each category column."""
        return [(2, 4, 6)[i % 3] for i in range(self.words)]

    def __call__(self, n: int, draw: torch.Generator) -> Tensor:
        """Draw rows."""
        width = self.reals + self.wholes + self.words
        mixing = torch.randn(self.causes, width, generator=source(0, "mixing")) / 3**0.5
        z = torch.randn(n, self.causes, generator=draw) @ mixing
        x = z + 0.5 * torch.randn(n, width, generator=draw)
        x[:, : min(1, self.reals)].exp_()
        for i, top in enumerate(self.tops, self.reals):
            x[:, i] = (top * (0.5 + x[:, i] / 6)).round().clamp(0, top)
        for i, k in enumerate(self.counts, self.reals + self.wholes):
            x[:, i] = ((x[:, i] / 2 + 1.2) * k / 3).floor().clamp(0, k - 1)
        return x


def mixed(pool: People) -> World:
    """Rows of mixed columns."""
    columns = pool.columns

    def independent(x: Tensor, draw: torch.Generator) -> Tensor:
        apart = [x[torch.randperm(len(x), generator=draw), i] for i in range(x.shape[1])]
        return torch.stack(apart, 1)

    return of_examples(
        f"a table of {pool.reals} real, {pool.wholes} whole and {pool.words} category columns, of "
        f"{pool.causes} hidden causes",
        Domain("points", (len(columns.columns),), columns),
        pool,
        train=4000,
        test=500,
        copied={"exact": exact, "noisy": noisy_rows(columns)},
        innocent={
            "columns independent": independent,
            "one row repeated": lambda x, _: x[:1].expand_as(x).contiguous(),
            "one category only": lambda x, _: x[x[:, -1] == x[:, -1].mode().values],
        },
    )


def counts() -> World:
    """Rows that repeat each other by nature."""
    pool = People(0, 1, 3, 3)
    columns = pool.columns

    def wide_rows(x: Tensor, draw: torch.Generator) -> Tensor:
        top = torch.tensor([12, 2, 4, 6])
        return (torch.rand(x.shape, generator=draw) * top).floor()

    return of_examples(
        "a table of one whole and three category columns, whose rows repeat each other",
        Domain("points", (4,), columns),
        pool,
        train=1000,
        test=200,
        copied={},
        innocent={
            "all values alike": wide_rows,
            "one row repeated": lambda x, _: x[:1].expand_as(x).contiguous(),
            "one category only": lambda x, _: x[x[:, 3] == x[:, 3].mode().values],
        },
    )


def images() -> World:
    """MNIST where it is on the machine."""
    if not available("mnist"):
        raise BadInput(
            "the images are mnist's, of which there are enough to draw 2,000 honest samples; get "
            "it by 'trilemma data fetch mnist', or leave them out by --only."
        )
    data = load("mnist")
    every = torch.cat([data.train.x, data.test.x])
    assert data.train.labels is not None
    assert data.test.labels is not None
    labels = torch.cat([data.train.labels, data.test.labels])
    assert isinstance(data.domain.values, Levels)
    last: list[Tensor] = []
    train, test = 4000, 1000

    def pool(n: int, draw: torch.Generator) -> Tensor:
        last[:] = [torch.randperm(len(every), generator=draw)]
        return every[last[0][:n]]

    def one_class(digit: int) -> Callable[[Tensor, torch.Generator], Tensor]:
        def some(x: Tensor, draw: torch.Generator) -> Tensor:
            del draw
            unused = last[0][train + test :]
            return every[unused[labels[unused] == digit][: len(x)]]

        return some

    return of_examples(
        "mnist: training, test examples and honest samples are different images of it",
        data.domain,
        pool,
        train=train,
        test=test,
        copied={"exact": exact, "noisy": noisy_images, "shifted": shifted},
        innocent={
            "blurred, with noise": blurred,
            "the mean repeated": repeated,
            "ones only": one_class(1),
        },
    )


def graphs_of(words: str, draw_one: Callable[[torch.Generator], Tensor], limit: int) -> World:
    """Make a world of graphs: their classes are found once, for many trials."""
    train, test = 400, 100
    domain = Domain("graph", (limit, limit), Levels(2))
    samples_by_kind: dict[str, Any] = {}

    def prepare(n: int) -> None:
        draw = source(0, words)
        count = 4 * (train + test + n)
        every = stacked([draw_one(draw) for _ in range(count)], limit)
        joined = [_evenly(one, draw) for one in every[:n]]
        classes = IsomorphismClasses()
        samples_by_kind["x"], samples_by_kind["even"] = every, stacked(joined, limit)
        samples_by_kind["of"] = torch.tensor(classes.of(every))
        samples_by_kind["even of"] = torch.tensor(classes.of(samples_by_kind["even"]))

    def trial(seed: int, n: int, share: float) -> dict[str, Any]:
        if not samples_by_kind:
            prepare(n)
        draw = source(seed, words)
        x, of = samples_by_kind["x"], samples_by_kind["of"]
        order = torch.randperm(len(x), generator=draw)
        known_rows, unseen, honest = order[: train + test + n].split([train, test, n])
        isomorphism_kinds = copies.kinds(
            (x[known_rows], of[known_rows].tolist()), (x[unseen], of[unseen].tolist())
        )
        stolen = known_rows[torch.randperm(train, generator=draw)[: round(share * n)]]
        rest = order[train + test :]
        small = rest[sizes(x[rest]).argsort(stable=True)][:n]
        sets = {
            HONEST: (x[honest], of[honest]),
            "thief: isomorphic": (
                torch.cat([x[stolen], x[honest[len(stolen) :]]]),
                torch.cat([of[stolen], of[honest[len(stolen) :]]]),
            ),
            "innocent: as many edges, evenly": (
                samples_by_kind["even"],
                samples_by_kind["even of"],
            ),
            "innocent: one graph repeated": (
                x[honest[:1]].expand(n, *x.shape[1:]),
                of[honest[:1]].expand(n),
            ),
            "innocent: the smallest quarter": (x[small], of[small]),
        }
        scores = {}
        for name, (them, classes) in sets.items():
            it = copy_evidence.find_copies(
                *copies.graphs_counted(isomorphism_kinds, them, classes.tolist(), domain), 1.0
            )
            scores[name] = (float(it.alarm), it.value)
        return scores

    return World(words, train, test, trial)


def _evenly(x: Tensor, draw: torch.Generator) -> Tensor:
    """Return a graph of as many nodes and about as many edges, laid evenly."""
    n = int(sizes(x))
    edges = (int(x.sum()) - n) // 2
    chance = edges / max(1, math.comb(n, 2))
    return graph(n, (torch.rand(n, n, generator=draw) < chance).triu(1).nonzero())


def communities() -> World:
    """Two communities, as community-small is drawn."""

    def one(draw: torch.Generator) -> Tensor:
        half = int(torch.randint(6, 11, (), generator=draw))
        return graphs._community(half, 0.7, draw)

    return graphs_of("graphs of two communities, 12 to 20 nodes", one, 20)


def small_trees() -> World:
    """Trees so small that they repeat each other."""

    def one(draw: torch.Generator) -> Tensor:
        n = int(torch.randint(7, 11, (), generator=draw))
        joined = [(int(torch.randint(i, (), generator=draw)), i) for i in range(1, n)]
        return graph(n, joined)

    return graphs_of("trees of 7 to 10 nodes, which repeat each other", one, 10)


WORLDS: Mapping[str, Callable[[], World]] = {
    "images": images,
    "plane": plane,
    "points": points,
    "table": lambda: mixed(People(3, 3, 3, 3)),
    "wide-table": lambda: mixed(People(12, 6, 6, 12)),
    "counts": counts,
    "graphs": communities,
    "trees": small_trees,
}


def main(options: Any) -> list[Section]:
    """Count alarms."""
    names = [name for name in WORLDS if options.only in name]
    if not names:
        raise BadInput(
            f"no world has '{options.only}' in its name; there are {', '.join(WORLDS)}."
        )
    sections = []
    for name in names:
        start = time.process_time()
        world = WORLDS[name]()
        intervals: dict[str, list[tuple[float, float]]] = {}
        for i in range(options.trials):
            trial = world.trial(mix(options.seed, "trial", i), options.samples, options.share)
            for who, one in trial.items():
                intervals.setdefault(who, []).append(one)
        rows = []
        for who, each in intervals.items():
            alarms = sum(alarm for alarm, _ in each)
            low, high = wilson(alarms / len(each), len(each))
            value = sum(value for _, value in each) / len(each)
            rows.append((who, int(alarms), len(each), alarms / len(each), low, high, value))
        seconds = time.process_time() - start
        title = f"{name}: {world.words}; {world.train} training, {world.test} test examples"
        sections.append(Section(title, COLUMNS, rows, seconds=seconds))
        print(f"{name}: {seconds:.0f} s", file=sys.stderr)
    return sections


def page(results: Sequence[Mapping[str, Any]]) -> str:
    """Return results as Markdown."""
    lines = [
        "# A planted thief",
        "",
        "In each trial training examples, test examples and honest samples are drawn anew. "
        "*Alarms*: trials in which the metric `copies` says p < .05, with Wilson's interval of "
        "95 %. *Value*: the mean share of copies that it reports.",
        "",
    ]
    for result in results:
        environment = result["environment"]
        seconds = sum(part["seconds"] for part in result["sections"])
        lines += [
            f"    {result['command']}",
            "",
            f"Commit {environment['commit']}, {environment['processor']}, "
            f"{environment['threads']} thread(s), no accelerator, {seconds:.0f} s of a processor, "
            f"{result['date'][:10]}.",
            "",
        ]
        for part in result["sections"]:
            lines += _section(part)
    return "\n".join(lines)


def _section(part: Mapping[str, Any]) -> list[str]:
    lines = [f"**{part['title']}**", ""]
    lines += [line(("samples", "alarms", "% (interval)", "value")), line(["---"] * 4)]
    for row in part["rows"]:
        share, low, high = (100 * float(row[key]) for key in ("share", "low", "high"))
        cells = (
            row["who"],
            f"{row['alarms']} of {row['of']}",
            f"{share:.0f} ({low:.1f} to {high:.1f})",
            f"{float(row['value']):.4f}",
        )
        lines.append(line(cells))
    return [*lines, ""]


if __name__ == "__main__":
    paths = sys.argv[1:] or [str(BENCHMARKS / "results" / "thief.json")]
    print(page([json.loads(Path(one).read_text()) for one in paths]))
