"""Worlds of known truth in which intervals are counted: what is drawn, and how it is measured.

A world is a function of a seed: it draws fresh samples and fresh test examples, measures them by
the very functions that judge a model, and returns their scores. The training split stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.model import Model, Objective
from trilemma.core.noise import mix
from trilemma.core.partition import LogPartition
from trilemma.core.session import Session
from trilemma.data.dataset import DataSet, Rule, Split
from trilemma.maths import ais
from trilemma.metrics import likelihood, modes, restoration
from trilemma.metrics.context import Context, Reference
from trilemma.metrics.extractors import extractor
from trilemma.metrics.features import feature_reference
from trilemma.metrics.graphs import graph_reference
from trilemma.metrics.judge import judge_samples
from trilemma.metrics.metric import Memo
from trilemma.metrics.modes import Modes, Sorted, Tally
from trilemma.metrics.reconstruction import first_stage_psnr, round_trip
from trilemma.metrics.registry import metric, metrics
from trilemma.metrics.score import Score

__all__ = ["WORLDS", "World"]

Draw = Callable[[int, torch.Generator], Tensor]

ELSEWHERE = {"discrepancy", "discrepancy_distance", "copies"}
"""What takes long, and is counted by benchmarks of its own: `discrepancy` and `thief`."""


@dataclass(frozen=True)
class World:
    """Something that can be measured again and again."""

    words: str
    """What is drawn and measured."""
    scores: Callable[[int], Mapping[str, Score]]
    """Scores of fresh draws, by the seed."""
    truth: Mapping[str, float]
    """Estimands in closed form; where there is none, the mean over the repetitions is taken."""


def finished(scores: Mapping[str, Score]) -> dict[str, Score]:
    """Return scores with what their metrics declare: intervals end where ranges do."""
    return {
        name: declared.finished(score)
        for name, score in scores.items()
        if (declared := metric(name)) is not None
    }


def generator(seed: int, name: str) -> torch.Generator:
    """Return a source of random numbers of its own."""
    return torch.Generator().manual_seed(mix(seed, "interval", name))


# Features and points.


def gaussian(dimensions: int, *, shift: float = 0.0, scale: float = 1.0) -> Draw:
    """Draw from N(shift along the first axis, scale² I)."""

    def draw(n: int, source: torch.Generator) -> Tensor:
        x = scale * torch.randn(n, dimensions, generator=source)
        x[:, 0] += shift
        return x

    return draw


def ring(modes: int) -> Draw:
    """Draw from the first of eight Gaussians on a circle."""
    turn = torch.arange(8) * math.pi / 4
    at = 2 * torch.stack([turn.cos(), turn.sin()], 1)

    def draw(n: int, source: torch.Generator) -> Tensor:
        which = torch.randint(modes, (n,), generator=source)
        return at[which] + 0.1 * torch.randn(n, 2, generator=source)

    return draw


def copies(dimensions: int, share: float) -> Draw:
    """Draw a share of the training examples again, and the rest anew."""

    def draw(n: int, source: torch.Generator) -> Tensor:
        is_repeat = torch.rand(n, 1, generator=source) < share
        old = train(gaussian(dimensions))
        rows = torch.randint(len(old), (n,), generator=source)
        new = torch.randn(n, dimensions, generator=source)
        return torch.where(is_repeat, old[rows] + 0.05 * new, new)

    return draw


def train(real: Draw, count: int = 1000) -> Tensor:
    """Return the training split, the same in every repetition."""
    return real(count, generator(0, "train"))


def judged(samples: Tensor, reference: Reference) -> Mapping[str, Score]:
    """Measure samples by all that is counted here."""
    counted_here = {one.name for one in metrics()} - ELSEWHERE
    return judge_samples(samples, reference, session=Session(), only=counted_here).metrics


def of_points(words: str, real: Draw, model: Draw, *, n: int, m: int, count: int = 1000) -> World:
    """Measure n samples against m test examples by features that are coordinates."""

    def scores(seed: int) -> Mapping[str, Score]:
        source = generator(seed, words)
        x = train(real, count)
        data = DataSet(
            "world", Domain("points", x.shape[1:], Real()), Split(x), Split(real(m, source))
        )
        reference = feature_reference(
            data, extractor("coordinates", data), n=n, session=Session(seed=seed)
        )
        return judged(model(n, source), reference)

    return World(f"{words}; {n} samples, {m} test examples", scores, {})


# Modes.


def of_modes(
    words: str, shares: Tensor, *, n: int, test: int = 0, good: float | None = None
) -> World:
    """Count modes of n samples with these shares; e is equal, or counted on test examples."""
    k = len(shares)
    p = shares.double() / shares.sum()
    even = torch.full((k,), 1 / k, dtype=torch.float64)

    def scores(seed: int) -> Mapping[str, Score]:
        source = generator(seed, words)
        which = torch.multinomial(p, n, replacement=True, generator=source)
        fine = None if good is None else torch.rand(n, generator=source) < good
        if test:
            counts_drawn = torch.multinomial(even, test, replacement=True, generator=source)
            kinds = counted(counts_drawn, k)
        else:
            kinds = Modes(k, lambda x: x, even, words="", shares="equal")
        it = Sorted(Tally(which, fine), kinds)
        scores_by_name = {
            "modes": Score(modes.reached(it), *modes.reached_interval(it), n=n),
            "mode_kl": Score(modes.mode_kl(it), *modes.kl_interval(it), n=n),
        }
        if good is not None:
            scores_by_name["good_share"] = Score(
                modes.good_share(it), *modes.good_interval(it), n=n
            )
        return finished(scores_by_name)

    is_hit = 1 - (1 - p * (1.0 if good is None else good)) ** n
    truth = {"modes": is_hit.sum().item()} | ({} if good is None else {"good_share": good})
    return World(f"{words}; {n} samples", scores, truth)


def counted(counts: Tensor, k: int) -> Modes:
    """Return modes whose shares are counted on test examples."""
    e = torch.bincount(counts, minlength=k).double() + 0.5
    return Modes(k, lambda x: x, e / e.sum(), words="", shares="counted", counted=len(counts))


# Likelihoods.


def of_table(words: str, data: Tensor, model: Tensor, *, n: int) -> World:
    """Measure ln P of levels that are drawn from one table, under another."""
    p, log_q = data.double() / data.sum(), (model.double() / model.sum()).log()
    domain = Domain("image", (1, 1, 1), Levels(len(p)))

    def scores(seed: int) -> Mapping[str, Score]:
        x = torch.multinomial(p, n, replacement=True, generator=generator(seed, words))
        measured = likelihood.MeasuredLikelihood(log_q[x], "exact", "ln p(x)")
        nats = likelihood.in_nats(measured, domain, baselines={})
        return finished(
            {"log_prob": nats, "bits_per_dim": likelihood.in_bits(nats, "log_prob", domain)}
        )

    mean = (p * log_q).sum().item()
    return World(
        f"{words}; {n} test examples",
        scores,
        {"log_prob": mean, "bits_per_dim": likelihood.bits_per_dim(mean, 1)},
    )


def of_density(words: str, dimensions: int, *, n: int) -> World:
    """Measure ln p of a Gaussian's draws, and bounds that lie below it by chance."""
    domain = Domain("points", (dimensions,), Real())

    def scores(seed: int) -> Mapping[str, Score]:
        source = generator(seed, words)
        x = torch.randn(n, dimensions, generator=source, dtype=torch.float64)
        exact = -(x.square().sum(1) + dimensions * math.log(2 * math.pi)) / 2
        # w = p(x) exp(s z - s²/2) has the mean p(x).
        z = torch.randn(n, 8, generator=source, dtype=torch.float64) - 0.5
        scores_by_name = {
            "log_prob": likelihood.MeasuredLikelihood(exact, "exact", ""),
            "bound": likelihood.MeasuredLikelihood(exact + z[:, 0], "lower bound", ""),
            "importance_bound": likelihood.MeasuredLikelihood(
                exact + z.logsumexp(1) - math.log(8), "lower bound, k = 8", ""
            ),
            "ode_log_prob": likelihood.MeasuredLikelihood(exact + z[:, 1] + 0.5, "ODE", ""),
        }
        return finished(
            {
                name: likelihood.in_nats(one, domain, baselines={})
                for name, one in scores_by_name.items()
            }
        )

    mean = -dimensions * (1 + math.log(2 * math.pi)) / 2
    truth = {"log_prob": mean, "bound": mean - 0.5, "ode_log_prob": mean}
    return World(f"{words}; {n} test examples", scores, truth)


def energy(y: Tensor) -> Tensor:
    """Return the energy of two unlike wells."""
    return ((y.square() - 1).square() * 2 + 0.3 * y).sum(1)


GRID = torch.linspace(-4, 4, 4001, dtype=torch.float64)


@cache
def _wells() -> tuple[ais.Gaussian, ais.AnnealingPlan, Tensor, float]:
    """Return base, plan, cumulative shares over the grid, and ln Z."""
    source = generator(0, "pilot")
    base = ais.Gaussian(torch.zeros(1).double(), torch.ones(1).double())
    plan = ais.pilot(
        energy,
        base,
        8,
        lambda: torch.randn(64, 1, generator=source, dtype=torch.float64),
        lambda: torch.rand(64, generator=source, dtype=torch.float64),
    )
    density = -energy(GRID[:, None])
    exact = float(density.logsumexp(0)) + math.log(float(GRID[1] - GRID[0]))
    return base, plan, density.softmax(0).cumsum(0), exact


def of_wells(words: str, *, n: int, chains: int) -> World:
    """Measure ln p by an energy whose ln Z is estimated from both sides."""
    base, plan, cumulated, exact = _wells()
    domain = Domain("points", (1,), Real())

    def scores(seed: int) -> Mapping[str, Score]:
        source = generator(seed, words)

        def normal() -> Tensor:
            return torch.randn(chains, 1, generator=source, dtype=torch.float64)

        def uniform(count: int = chains) -> Tensor:
            return torch.rand(count, generator=source, dtype=torch.float64)

        def draw_graphs(count: int) -> Tensor:
            return GRID[torch.searchsorted(cumulated, uniform(count)).clamp(max=4000), None]

        up = ais.forward(energy, base, plan, normal, uniform).log_weights
        down = ais.reverse(energy, base, plan, draw_graphs(chains), normal, uniform).log_weights
        ln_z = LogPartition(
            ais.log_mean_exp(up),
            -ais.log_mean_exp(down),
            ais.log_mean_error(up),
            ais.log_mean_error(down),
        )
        nats = -energy(draw_graphs(n)) - ln_z.middle
        scores_by_name = {
            "log_prob": likelihood.MeasuredLikelihood(nats, "AIS interval", "", ln_z)
        }
        return finished(
            {
                name: likelihood.in_nats(one, domain, baselines={})
                for name, one in scores_by_name.items()
            }
        )

    p = cumulated.diff(prepend=cumulated.new_zeros(1))
    mean = -(p * energy(GRID[:, None])).sum().item() - exact
    return World(f"{words}; {n} test examples, {chains} chains", scores, {"log_prob": mean})


# Means over test examples.


def of_images(words: str, *, n: int, noise: float, unequal: float) -> World:
    """Measure images of 12 x 12 pixels that come back with noise: restored and reconstructed."""
    domain = Domain("image", (1, 12, 12), Levels(256))
    old = torch.randint(256, (50, 1, 12, 12), generator=generator(0, words), dtype=torch.uint8)

    def shrink(x: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(x.float(), 2).round().to(torch.uint8)

    def scores(seed: int) -> Mapping[str, Score]:
        source = generator(seed, words)
        true = torch.randint(256, (n, 1, 12, 12), generator=source, dtype=torch.uint8)
        # Errors differ from image to image, as those of a model do.
        width = noise * (unequal * torch.randn(n, 1, 1, 1, generator=source)).exp()
        moved = true + width * torch.randn(true.shape, generator=source) + 0.1 * width
        large = moved.round().clamp(0, 255).to(torch.uint8)
        it = restoration.Enlarged(large, true, shrink(true), 255)
        scores_by_name = restoration.compared(it, shrink, seed=seed, baselines={})
        data = DataSet("world", domain, Split(old), Split(true))
        # The examples are asked for in an order that the seed decides.
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
        model = Returning(large[order])
        about = Context(
            samples=true, reference=Bare(data), session=Session(seed=seed), model=model
        )
        return finished(scores_by_name | {"reconstruction_psnr": first_stage_psnr(about)})

    return World(f"{words}; {n} test images", scores, {})


class Bare(Memo):
    """What a mean over test examples asks of a reference: its data."""

    n, seed, name, note = 0, 0, "", ""

    def __init__(self, data: DataSet) -> None:
        """Hold the data."""
        super().__init__()
        self.data = data

    def neighbours(self, context: Context) -> Tensor:
        """Return nothing."""
        return context.samples[:0]


class Still(Model):
    """A model of which no samples are asked."""

    def objectives(self) -> list[Objective]:
        """Train nothing."""
        return []

    def sample(self, n: int, **_: object) -> Tensor:
        """Draw nothing."""
        raise NotImplementedError


class Returning(Still):
    """Returns the test examples as they came back, whatever their order."""

    def __init__(self, large: Tensor) -> None:
        """Hold what came back."""
        super().__init__()
        self.large = large

    def reconstruct(self, x: Tensor, *, noise: object = None) -> Tensor:
        """Return what became of the examples."""
        return self.large[: len(x)]


class Coding(Still):
    """Encodes and decodes with an error of its own for each example."""

    def encode(self, x: Tensor, **_: object) -> Tensor:
        """Return the code: the example."""
        return x

    def decode(self, code: Tensor, **_: object) -> Tensor:
        """Return an example that lies off by a twentieth of its square."""
        return code + 0.05 * code**2


def of_codes(words: str, *, n: int) -> World:
    """Measure points that come back changed."""
    domain = Domain("points", (2,), Real())

    def scores(seed: int) -> Mapping[str, Score]:
        x = torch.randn(n, 2, generator=generator(seed, words))
        data = DataSet("world", domain, Split(train(gaussian(2))), Split(x))
        about = Context(
            samples=x, reference=Bare(data), session=Session(seed=seed), model=Coding()
        )
        return finished({"round_trip": round_trip(about)})

    return World(f"{words}; {n} test examples", scores, {})


# Graphs.


def random_graphs(share: float, *, n: int = 8) -> Draw:
    """Draw graphs of n - 2 … n nodes whose pairs are joined with this probability."""

    def draw(count: int, source: torch.Generator) -> Tensor:
        joined = (torch.rand(count, n, n, generator=source) < share).triu(1)
        is_node = torch.arange(n) < torch.randint(n - 2, n + 1, (count, 1), generator=source)
        joined = (joined | joined.transpose(1, 2)) & is_node[:, None] & is_node[:, :, None]
        return joined.to(torch.uint8) + torch.diag_embed(is_node.to(torch.uint8))

    return draw


def _connected(x: Tensor) -> Tensor:
    """Tell which graphs have no node without a neighbour."""
    is_node = x.diagonal(dim1=1, dim2=2)
    return ((x.sum(2) >= 2) | (is_node == 0)).all(1)


def of_graphs(words: str, real: Draw, model: Draw, *, n: int, m: int) -> World:
    """Measure n generated graphs against m test graphs."""
    domain = Domain("graph", (8, 8), Levels(2), reach=8)
    rule = Rule("no node is alone", _connected)

    def scores(seed: int) -> Mapping[str, Score]:
        source = generator(seed, words)
        old = real(40, generator(0, words))
        data = DataSet("world", domain, Split(old), Split(real(m, source)), rule=rule)
        return judged(model(n, source), graph_reference(data, n=n, session=Session(seed=seed)))

    return World(f"{words}; {n} samples, {m} test graphs", scores, {})


def falling(k: int, least: float) -> Tensor:
    """Return shares of k modes that fall evenly on a logarithmic scale from 1 to `least`."""
    return torch.logspace(0, math.log10(least), k, dtype=torch.float64)


def _worlds() -> dict[str, World]:
    plane, eight, many = gaussian(2), gaussian(8), gaussian(64)
    nearly = torch.cat([torch.ones(10), torch.full((990,), 5e-5)])
    half = torch.cat([torch.ones(500), torch.full((500,), 0.02)])
    return {
        "plane, equal": of_points("two equal Gaussians of the plane", plane, plane, n=150, m=150),
        "plane, shifted": of_points(
            "Gaussians of the plane, half a deviation apart", plane, gaussian(2, shift=0.5),
            n=150, m=150,
        ),
        "plane, narrow": of_points(
            "a Gaussian of half the width", plane, gaussian(2, scale=0.5), n=150, m=150
        ),
        "ring, three of eight": of_points(
            "a ring of eight Gaussians, of which three are drawn", ring(8), ring(3), n=150, m=150
        ),
        "8 features, equal": of_points("equal Gaussians, 8 features", eight, eight, n=150, m=150),
        "8 features, shifted": of_points(
            "Gaussians of 8 features, 0.7 apart, 1.1 times as wide", eight,
            gaussian(8, shift=0.7, scale=1.1), n=150, m=150,
        ),
        "8 features, few test examples": of_points(
            "Gaussians of 8 features, 0.3 apart", eight, gaussian(8, shift=0.3), n=300, m=60
        ),
        "8 features, copies": of_points(
            "nine tenths of the samples are training examples", eight, copies(8, 0.9),
            n=150, m=150,
        ),
        "64 features, equal": of_points(
            "equal Gaussians, 64 features", many, many, n=160, m=160
        ),
        "64 features, shifted": of_points(
            "Gaussians of 64 features, one deviation apart", many, gaussian(64, shift=1.0),
            n=160, m=160,
        ),
        "ten modes, even": of_modes("10 equal modes", torch.ones(10), n=2000, test=400),
        "ten modes, uneven": of_modes(
            "10 modes, shares from 1 to 0.001", falling(10, 1e-3), n=2000, test=400
        ),
        "25 modes, good and bad": of_modes(
            "25 equal modes, 97 % of the samples good", torch.ones(25), n=300, good=0.97
        ),
        "1,000 modes, even": of_modes("1,000 equal modes", torch.ones(1000), n=3000),
        "1,000 modes, half nearly lost": of_modes(
            "1,000 modes, half of them with a fiftieth of the others' share", half, n=2600
        ),
        "1,000 modes, most nearly lost": of_modes(
            "1,000 modes, 990 of them nearly lost", nearly, n=2000
        ),
        "1,000 modes, falling": of_modes(
            "1,000 modes, shares from 1 to 1e-5", falling(1000, 1e-5), n=2600
        ),
        "ten modes, one rare": of_modes(
            "10 modes, one with two samples in the mean",
            torch.cat([torch.ones(9), torch.tensor([9e-3])]), n=2000,
        ),
        "table": of_table(
            "levels of a table under another",
            torch.tensor([5.0, 3, 2, 1]), torch.tensor([4.0, 4, 2, 1]), n=100,
        ),
        "table, nearly sure": of_table(
            "levels of which one is nearly sure",
            torch.tensor([0.97, 0.02, 0.01]), torch.tensor([0.97, 0.02, 0.01]), n=100,
        ),
        "density": of_density("a Gaussian of 8 dimensions and its bounds", 8, n=100),
        "energy": of_wells("two wells, ln Z by annealed importance sampling", n=200, chains=64),
        "images": of_images("images that come back with noise", n=64, noise=3.0, unequal=0.4),
        "images, unequal": of_images(
            "images that come back with noise of very unequal strength",
            n=64, noise=3.0, unequal=1.0,
        ),
        "codes": of_codes("points that come back changed", n=32),
        "graphs, equal": of_graphs(
            "graphs of pairs joined with 0.4", random_graphs(0.4), random_graphs(0.4), n=60, m=40
        ),
        "graphs, denser": of_graphs(
            "graphs joined with 0.55 against such with 0.4", random_graphs(0.4),
            random_graphs(0.55), n=60, m=40,
        ),
        "graphs, few kinds": of_graphs(
            "graphs joined with 0.1 against such with 0.15", random_graphs(0.15),
            random_graphs(0.1), n=100, m=40,
        ),
    }  # fmt: skip


WORLDS: Callable[[], dict[str, World]] = cache(_worlds)
