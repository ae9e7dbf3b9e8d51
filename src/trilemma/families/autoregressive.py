r"""Autoregressive models: one number after another, with an exact likelihood.

    p(x) = prod_{i=1..D} p(x_i | x_1, …, x_{i-1})

An image is a grid of cells, a cell a patch of p x p pixels with all C channels: D_cell = C p^2
numbers. Cells are taken in raster order, and inside a cell its numbers in turn,

    p(x) = prod_cells prod_{d=1..D_cell} p(x_{cell,d} | h_cell, x_{cell,1}, …, x_{cell,d-1}),
    h_cell = trunk(cells before this one),

so that patch 1 is the classical order of pixels, and patch 2 asks the trunk, which is the dear
part, a quarter as often. Three pieces are joined:

    trunk   a causal network over the grid: what is known before a cell, as a vector h
    cell    a small causal network inside a cell: parameters of each number's distribution
    head    the distribution (maths/pixel_distributions.py)

One pass of both networks gives every factor, hence ln p(x). Drawing takes the cells in turn. A
trunk keeps what it computed for earlier cells and adds what the last one changes, so that all
cells together cost about one pass, where asking for a whole pass at each cell costs as many
passes as there are cells (`draw_by_whole_passes`, for comparison).

References:
    Pixel Recurrent Neural Networks (van den Oord, Kalchbrenner & Kavukcuoglu, 2016),
        https://arxiv.org/abs/1601.06759
    PixelCNN++ (Salimans, Karpathy, Chen & Kingma, 2017), https://arxiv.org/abs/1701.05517
    Fast Generation for Convolutional Autoregressive Models (Ramachandran et al., 2017),
        https://arxiv.org/abs/1704.06001
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Protocol, TypeVar, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput, nearest
from trilemma.core.model import Loss, Model, Objective
from trilemma.core.noise import Noise
from trilemma.maths.pixel_distributions import Bernoulli, Categorical, Head, LogisticMixture

__all__ = ["HEADS", "Autoregressive", "CellNetwork", "Trunk", "draw_by_whole_passes", "head"]

HEADS = ("bernoulli", "categorical", "mixture")
"""Distributions of one number, by name."""

AT_ONCE = 256
"""Rows for which `sampling_seconds` measures; as many as are drawn together elsewhere."""


S = TypeVar("S")


class Trunk(Protocol[S]):
    """A network over the grid of cells whose output at a cell sees only the cells before it.

    "Before" is the raster order: all rows above, and what is to the left in the same row. A trunk
    is an `nn.Module`; the grid's values are scaled to [-1, 1].
    """

    width: int
    """Channels of h."""

    def __call__(
        self, cells: Float[Tensor, "B D h w"], condition: Condition | None = None
    ) -> Float[Tensor, "B F h w"]:
        """Return h of every cell in one pass, [B, width, h, w].

        Arguments:
            cells: The numbers of each cell, scaled.
            condition: What x is; None or absent rows get the learned null.
        """
        ...

    def start(self, n: int, condition: Condition | None, device: torch.device) -> S:
        """Return an empty state for n rows, whatever the trunk keeps between steps."""
        ...

    def step(self, state: S, position: int, before: Float[Tensor, "n D"] | None) -> Tensor:
        """Return h of one cell, [n, width]; the same as the whole pass gives there.

        Arguments:
            state: From `start`, changed in place; of one pass from the first cell to the last.
            position: Raster index of the cell; called with 0, 1, 2, ….
            before: Scaled numbers of cell `position - 1`; None at position 0. It may be
                overwritten after the call.
        """
        ...


class CellNetwork(Protocol):
    """A network inside a cell: number d's parameters see h and the numbers before d."""

    def __call__(
        self, h: Float[Tensor, "... F"], numbers: Float[Tensor, "... D"], index: int | None = None
    ) -> Tensor:
        """Return the parameters of all numbers, [..., D_cell, P], or of one, [..., P].

        Arguments:
            h: What the trunk says of the cell.
            numbers: The cell's scaled numbers; those from `index` on are not read.
            index: Which one number's parameters to return; None for all.
        """
        ...


def head(name: str, domain: Domain, *, components: int = 5) -> Head:
    """Make the distribution of one number.

    Arguments:
        name: One of `HEADS`, or 'auto': bernoulli for 2 levels, categorical up to 32, mixture of
            discretised logistics above.
        domain: Where the data lie.
        components: Logistics in the mixture.

    Raises:
        BadInput: The values are no levels, the name is unknown, or it is for other levels.
    """
    if not isinstance(domain.values, Levels):
        raise BadInput(
            "an autoregressive model was asked for on real-valued data, and its distributions "
            "are of levels; give images, or another recipe: 'trilemma list' shows which."
        )
    if components < 1:
        raise BadInput(f"a mixture of {components} components was given; give 1 or more.")
    count = domain.values.count
    if name == "auto":
        name = "bernoulli" if count == 2 else "categorical" if count <= 32 else "mixture"
    if name not in HEADS:
        raise nearest("head", name, ("auto", *HEADS))
    if name == "bernoulli" and count != 2:
        raise BadInput(
            f"head 'bernoulli' was given for {count} levels, and it is a distribution of two; "
            "give --head categorical or --head mixture."
        )
    if name == "bernoulli":
        return Bernoulli()
    return Categorical(count) if name == "categorical" else LogisticMixture(count, components)


class Autoregressive(Model[Examples, Tensor]):
    """A trunk, a cell network and a head: p(x) as a product of conditionals.

    Without a condition, a conditional model uses its null, which the examples whose
    class was hidden have trained: `sample` and `log_prob` are about the same p(x).

    Arguments:
        trunk: A causal network over the grid of cells, a `Trunk` and an `nn.Module`.
        cell: A causal network inside a cell, a `CellNetwork` and an `nn.Module`.
        head: The distribution of one number.
        domain: Where the data lie: images on levels.
        patch: Side p of a cell in pixels; it divides both sides of the images.
        label_dropout: Share of training examples whose condition is hidden.
    """

    likelihood_by = "exact"

    def __init__(
        self,
        trunk: nn.Module,
        cell: nn.Module,
        head: Head,
        domain: Domain,
        patch: int = 1,
        *,
        label_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if domain.kind != "image" or not isinstance(domain.values, Levels):
            raise BadInput(
                f"{domain.kind} of shape {domain.shape} were given, and an autoregressive model "
                "is for images on levels."
            )
        channels, height, width = domain.shape
        if patch < 1 or height % patch or width % patch:
            raise BadInput(
                f"cells of {patch} x {patch} pixels were given for images of {height} x {width}, "
                "and they have to fill them; give --patch 1."
            )
        if head.count != domain.values.count:
            raise BadInput(
                f"a head of {head.count} levels was given for data on {domain.values.count}; "
                "they have to be as many."
            )
        self.trunk, self.cell, self.head = trunk, cell, head
        self.domain, self.patch, self.label_dropout = domain, patch, label_dropout
        self.grid = (height // patch, width // patch)
        self.numbers = channels * patch**2

    # Training

    def objectives(self) -> Sequence[Objective[Examples]]:
        """Return the one player."""
        return [Objective("model", self.loss, list(self.parameters()))]

    def loss(self, batch: Examples) -> Loss:
        """Return -ln p(x) in nats per example."""
        condition = batch.condition
        if condition is not None:
            assert batch.noise is not None
            condition = condition.partly_hidden(self.label_dropout, batch.noise)
        nats = -self.log_prob(batch.x, condition=condition).mean()
        bits = nats.detach() / (self.domain.dimensions * math.log(2))
        return Loss(nats, {"bits_per_dim": bits})

    # Likelihood

    def log_prob(self, x: Tensor, *, condition: Condition | None = None) -> Float[Tensor, " B"]:
        """Return ln p(x) in nats per example, exactly, by one pass.

        Raises:
            BadInput: Other shapes or levels than those of the domain.
        """
        return self.conditionals(x, condition=condition).flatten(1).sum(1)

    def conditionals(
        self, x: Tensor, *, condition: Condition | None = None
    ) -> Float[Tensor, "B C H W"]:
        """Return ln p(x_i | what is before it in the order) at the place of each number."""
        levels = self.fold(self._checked(x))
        log_probs = self.head.log_prob(
            levels.permute(0, 2, 3, 1), self.distributions(levels, condition=condition)
        )
        return self.unfold(log_probs.permute(0, 3, 1, 2))

    def distributions(
        self, levels: Tensor, *, condition: Condition | None = None
    ) -> Float[Tensor, "B h w D P"]:
        """Return the head's parameters for every number of folded levels, [B, D_cell, h, w]."""
        y = self._scaled(levels)
        h = self.trunk(y, condition)
        return _exact(self.cell(h.permute(0, 2, 3, 1), y.permute(0, 2, 3, 1)))

    # Drawing

    @torch.no_grad()
    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Tensor:
        """Draw n examples in data units, cell after cell, with the trunk's cache.

        Each number takes one uniform number by its inverse distribution function: the same noise
        gives the same sample whichever way h is computed.
        """
        return _last(self._cells(self._uniform(n, noise), condition))

    @torch.no_grad()
    def complete(
        self,
        x: Tensor,
        mask: Bool[Tensor, "B C H W"],
        *,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Tensor:
        """Return examples that equal x where `mask` is true, and are drawn in order elsewhere.

        What is known later in the order does not influence what is drawn earlier: with the upper
        rows of cells known this is a draw from p(rest | known); with the lower known it is not.

        Arguments:
            x: Data units, [B, C, H, W].
            mask: True where x is given.
            condition: What they are to be.
            noise: B rows.

        Raises:
            BadInput: Other shapes than the domain's, or other levels where x is known.
        """
        if mask.shape != x.shape or mask.dtype != torch.bool:
            raise BadInput(
                f"a mask of shape {tuple(mask.shape)} and type {mask.dtype} was given for "
                f"examples of shape {tuple(x.shape)}; give a truth value for each number."
            )
        levels = self._checked(torch.where(mask, x, torch.zeros_like(x)))
        observed = (self._line(mask), self._line(levels))
        return _last(self._cells(self._uniform(len(x), noise), condition, observed))

    @torch.no_grad()
    def path(
        self,
        n: int,
        *,
        frames: int,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Sequence[Tensor]:
        """Return about `frames` states of the picture as it fills up, the rest at level 0."""
        cells = math.prod(self.grid)
        count = max(2, min(frames, cells + 1))
        frame_indices = {round(i * cells / (count - 1)) for i in range(count)}
        u = self._uniform(n, noise)
        empty = torch.zeros(n, *self.domain.shape, dtype=torch.uint8, device=u.device)
        states = enumerate(self._cells(u, condition), start=1)
        return [empty, *(draw() for i, draw in states if i in frame_indices)]

    @torch.no_grad()
    def sampling_seconds(self, n: int) -> float:
        """Return about how long n samples take, from the time of the first row of cells."""
        rows, (height, width) = min(n, AT_ONCE), self.grid
        u = self._uniform(rows, None)
        start = time.perf_counter()
        _last(islice(self._cells(u, None), width)).cpu()
        return (time.perf_counter() - start) * height * n / max(rows, 1)

    def _cells(
        self,
        u: Float[Tensor, "cells D n"],
        condition: Condition | None,
        observed: tuple[Tensor, Tensor] | None = None,
    ) -> Iterator[Callable[[], Tensor]]:
        """Draw cell after cell by the trunk's steps; yield how to get the picture so far."""
        trunk = cast("Trunk[object]", self.trunk)
        state = trunk.start(u.shape[2], condition, u.device)
        yield from self._turns(
            u, lambda position, before: trunk.step(state, position, before), observed
        )

    def _turns(
        self,
        u: Float[Tensor, "cells D n"],
        compute_hidden: Callable[[int, Tensor | None], Tensor],
        observed: tuple[Tensor, Tensor] | None = None,
    ) -> Iterator[Callable[[], Tensor]]:
        """Draw cell after cell.

        Arguments:
            u: A uniform number for each number of x.
            compute_hidden: (position, scaled numbers of the cell before) to h of the cell.
            observed: Which numbers are known, and their levels, laid out as u is.
        """
        levels = torch.zeros(u.shape, dtype=torch.uint8, device=u.device)
        previous = None
        for position in range(len(u)):
            h = compute_hidden(position, previous)
            previous = h.new_zeros(u.shape[2], self.numbers)
            for d in range(self.numbers):
                level = self.head.draw(u[position, d], _exact(self.cell(h, previous, d)))
                if observed is not None:
                    level = torch.where(observed[0][position, d], observed[1][position, d], level)
                levels[position, d] = level
                previous[:, d] = self.domain.values.scale(level)
            yield lambda: self._picture(levels)

    # Layout

    def fold(self, x: Tensor) -> Tensor:
        """Take images apart into cells, [B, C, H, W] to [B, D_cell, h, w]."""
        return F.pixel_unshuffle(x, self.patch)

    def unfold(self, cells: Tensor) -> Tensor:
        """Undo `fold`."""
        return F.pixel_shuffle(cells, self.patch)

    def _line(self, x: Tensor) -> Tensor:
        """Lay images out in the order of drawing, examples last: [cells, D_cell, n]."""
        return self.fold(x).flatten(2).permute(2, 1, 0).contiguous()

    def _picture(self, line: Tensor) -> Tensor:
        """Undo `_line`."""
        return self.unfold(line.permute(2, 1, 0).unflatten(2, self.grid)).clone()

    def _scaled(self, levels: Tensor) -> Tensor:
        """Scale levels to [-1, 1], in the type of the weights."""
        return self.domain.values.scale(levels).to(next(self.trunk.parameters()).dtype)

    def _uniform(self, n: int, noise: Noise | None) -> Float[Tensor, "cells D n"]:
        noise = Noise.fresh(n, next(self.parameters()).device) if noise is None else noise
        return self._line(noise.uniform(*self.domain.shape))

    def _checked(self, x: Tensor) -> Tensor:
        """Return x, or refuse it."""
        top = self.head.count - 1
        if tuple(x.shape[1:]) != tuple(self.domain.shape):
            raise BadInput(
                f"examples of shape {tuple(x.shape[1:])} were given, and this model is of shape "
                f"{tuple(self.domain.shape)}; give images of that size."
            )
        if x.is_floating_point() or (len(x) and not 0 <= int(x.min()) <= int(x.max()) <= top):
            values = "real numbers" if x.is_floating_point() else f"levels up to {int(x.max())}"
            raise BadInput(
                f"examples with {values} were given, and this model knows the levels 0 to {top}; "
                f"give data on {top + 1} levels."
            )
        return x


@torch.no_grad()
def draw_by_whole_passes(
    model: Autoregressive, n: int, noise: Noise | None = None, condition: Condition | None = None
) -> Tensor:
    """Draw as `sample` does, but by a whole pass of the trunk for each cell.

    The same noise gives the same examples. It is what a model without a cache has to do, and is
    kept for checking and for comparison.
    """
    u = model._uniform(n, noise)
    weight = next(model.trunk.parameters())
    grid = torch.zeros(n, model.numbers, *model.grid, dtype=weight.dtype, device=weight.device)

    def compute_hidden(position: int, before: Tensor | None) -> Tensor:
        if before is not None:
            grid.flatten(2)[:, :, position - 1] = before
        return model.trunk(grid, condition).flatten(2)[:, :, position]

    return _last(model._turns(u, compute_hidden))


def _last(states: Iterator[Callable[[], Tensor]]) -> Tensor:
    """Draw to the end, and return the last picture."""
    return deque(states, maxlen=1).pop()()


def _exact(parameters: Tensor) -> Tensor:
    """Leave half precision: probabilities are computed in float32 or better."""
    return parameters.to(torch.promote_types(parameters.dtype, torch.float32))
