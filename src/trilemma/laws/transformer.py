r"""Laws of the causal transformer: what h_i may know, and that drawing knows the same.

    d h_i / d x_j = 0 for j >= i, exactly, and something else for every j < i
    step(i) = forward(all)_i, whatever cells come later
    rows of a batch are strangers
    <R_a q, R_b k> depends on a - b alone

The networks are small, in float64, with the random weights that they start with. Gradients are
taken of sums over the numbers of h_i with random weights, so that nothing cancels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trilemma.core.batch import Condition
from trilemma.laws.law import Check, Law, equal, states
from trilemma.networks import transformer
from trilemma.networks.transformer import CausalTransformer

__all__ = ["CHECKS"]

LECTURE = "lecture 5"
GRIDS = {1: (1, (4, 5)), 2: (4, (3, 4))}
"""Numbers of a cell, and rows and columns of cells, by the side of a cell in pixels."""
ROWS, CLASSES = 3, 4


def _trunk(patch: int, *, classes: int = CLASSES) -> CausalTransformer:
    numbers, grid = GRIDS[patch]
    with torch.random.fork_rng([]):
        torch.manual_seed(patch)
        trunk = CausalTransformer(numbers, grid, width=16, depth=2, heads=2, classes=classes)
    return trunk.double().requires_grad_(False)


def _cells(patch: int, rows: int = ROWS) -> Tensor:
    numbers, grid = GRIDS[patch]
    draw = torch.Generator().manual_seed(7)
    return 2 * torch.rand(rows, numbers, *grid, generator=draw, dtype=torch.float64) - 1


def _weights(h: Tensor) -> Tensor:
    """Return numbers by which the numbers of h are summed."""
    draw = torch.Generator().manual_seed(8)
    return torch.randn(h.shape[1], generator=draw, dtype=torch.float64)


def _classes(rows: int = ROWS) -> Condition:
    return Condition(label=torch.arange(rows) % CLASSES)


def _stepped(trunk: CausalTransformer, cells: Tensor, condition: Condition | None) -> Tensor:
    """Return h of every cell, one step after another, [B, width, N]."""
    sequence, previous, outputs = cells.flatten(2), None, []
    memory = trunk.start(len(cells), condition, cells.device)
    for index in range(sequence.shape[2]):
        outputs.append(trunk.step(memory, index, previous))
        previous = sequence[:, :, index]
    return torch.stack(outputs, 2)


def _influence(patch: int) -> Tensor:
    """Return the sizes of d h_i / d x_j, [i, j], the largest over the numbers of cell j."""
    trunk, cells = _trunk(patch), _cells(patch, 1).requires_grad_()
    h = trunk(cells, _classes(1)).flatten(2)[0]
    position_sums = _weights(h[None]) @ h
    gradients = [torch.autograd.grad(v, cells, retain_graph=True)[0] for v in position_sums]
    return torch.stack(gradients).flatten(3)[:, 0].abs().amax(1)


@states("lecture 5; arXiv:1706.03762, section 3.2.3")
def causality() -> list[Law]:
    """A cell's h knows the cells before it, all of them, and nothing of itself or later ones."""
    laws = []
    for patch in GRIDS:
        influence = _influence(patch)
        n = len(influence)
        late = float(influence.triu().max())
        heard = int((influence.tril(-1) > 0).sum())
        case, paper = f"cells of {patch} x {patch}", f"{LECTURE}; arXiv:1706.03762, section 3.2.3"
        pairs = n * (n - 1) / 2
        laws += [
            equal(f"dh_i/dx_j = 0 for all j >= i, {case}", paper, late, 0, 0),
            equal(f"dh_i/dx_j != 0 for every pair j < i, {case}", paper, heard, pairs, 0),
        ]
    return laws


@states("lecture 5: cached sampling")
@torch.no_grad()
def cached() -> list[Law]:
    """One step after another gives what one pass gives, with a class and without."""
    laws = []
    for patch in GRIDS:
        trunk, cells, worst = _trunk(patch), _cells(patch), 0.0
        for condition in (None, _classes()):
            full_pass = trunk(cells, condition).flatten(2)
            worst = max(worst, float((_stepped(trunk, cells, condition) - full_pass).abs().max()))
        name = f"h by cached steps = h by one pass, cells of {patch} x {patch}"
        laws.append(equal(name, f"{LECTURE}: cached sampling", worst, 0, 1e-10))
    return laws


@states(LECTURE)
def strangers() -> list[Law]:
    """No row of a batch knows of another, in a pass and in steps."""
    trunk, cells = _trunk(2), _cells(2).requires_grad_()
    h = trunk(cells, _classes())[1]
    (gradient,) = torch.autograd.grad((_weights(h[None]) @ h.flatten(1)).sum(), cells)
    cross_gradient = float(gradient[[0, 2]].abs().max())
    with torch.no_grad():
        together = _stepped(trunk, cells, _classes())[1:2]
        alone = _stepped(trunk, cells[1:2], _classes()[1:2])
    step_gap = float((together - alone).abs().max())
    return [
        equal("dh(row a)/dx(row b) = 0", LECTURE, cross_gradient, 0, 0),
        equal("steps of a row alone = steps of it among others", LECTURE, step_gap, 0, 1e-12),
    ]


@states(LECTURE)
@torch.no_grad()
def conditions() -> list[Law]:
    """Every cell hears the class; no class is one vector, however it is said."""
    trunk, cells = _trunk(2), _cells(2, 1)
    outputs = [trunk(cells, Condition(label=torch.tensor([k]))).flatten(2) for k in range(CLASSES)]
    pairs = [(a, b) for a in range(CLASSES) for b in range(a)]
    heard = sum(int(((outputs[a] - outputs[b]).abs().amax((0, 1)) > 1e-6).sum()) for a, b in pairs)
    null = trunk(cells, _classes(1).null()) - trunk(cells, None)
    among = min(float((trunk(cells, None).flatten(2) - h).abs().max()) for h in outputs)
    null_gap = float(null.abs().max()) + float(among < 1e-6)
    return [
        equal(
            "h differs at every cell between every two classes",
            LECTURE,
            heard,
            len(pairs) * cells[0, 0].numel(),
            0,
        ),
        equal("h of an absent class = h of no class, and of no other", LECTURE, null_gap, 0, 0),
    ]


@states("arXiv:2104.09864, equation 11")
@torch.no_grad()
def rotation() -> list[Law]:
    """The product of a turned query and a turned key depends on the way between them."""
    rows, columns, numbers = 4, 5, 8
    rotations = transformer.turns((rows, columns), numbers)
    draw = torch.Generator().manual_seed(9)
    q, k = torch.randn(2, numbers, generator=draw, dtype=torch.float64)
    everywhere = torch.stack([q, k])[None, None, :, None].expand(1, rows * columns, 2, 1, numbers)
    turned = transformer.rotated(everywhere, rotations)[0, :, :, 0]
    products = (turned[:, 0] @ turned[:, 1].T).view(rows, columns, rows, columns)
    lengths = (turned.norm(dim=2) - torch.stack([q.norm(), k.norm()])).abs().max()
    inside = products[:-1, :-1, :-1, :-1] - products[1:, 1:, 1:, 1:]
    smallest_change = min(
        float((products[0, 0, 0, 0] - products[0, 0, 0, 1:]).abs().min()),
        float((products[0, 0, 0, 0] - products[0, 0, 1:, 0]).abs().min()),
    )
    moved, paper = float(inside.abs().max()), "arXiv:2104.09864, equation 11"
    return [
        equal("<R_a q, R_b k> = <R_(a+c) q, R_(b+c) k>", paper, moved, 0, 1e-12),
        equal("|R_a q| = |q|", paper, float(lengths), 0, 1e-12),
        equal("rows and columns change the product", paper, float(smallest_change > 1e-3), 1, 0),
    ]


CHECKS: Sequence[Check] = (causality, cached, strangers, conditions, rotation)
