"""The causal transformer: any grid, gradients everywhere, both precisions, walks of their own."""

from __future__ import annotations

import math

import pytest
import torch

from trilemma.core.batch import Condition
from trilemma.core.errors import BadInput
from trilemma.networks.transformer import CausalTransformer, reach, rotated, turns


def small(numbers=2, grid=(3, 4), **options):
    return CausalTransformer(numbers, grid, **{"width": 16, "depth": 2, "heads": 2} | options)


def stepped(trunk, cells, condition=None):
    line, before, outputs = cells.flatten(2), None, []
    memory = trunk.start(len(cells), condition, cells.device)
    for position in range(line.shape[2]):
        outputs.append(trunk.step(memory, position, before))
        before = line[:, :, position].clone()
    return torch.stack(outputs, 2).unflatten(2, cells.shape[2:])


@pytest.mark.parametrize("numbers", [1, 12])
@pytest.mark.parametrize("grid", [(1, 1), (1, 5), (5, 1), (2, 2), (3, 7)], ids=str)
def test_any_grid(numbers, grid):
    trunk = small(numbers, grid).double()
    cells = torch.rand(2, numbers, *grid, dtype=torch.float64) * 2 - 1
    h = trunk(cells)
    assert h.shape == (2, 16, *grid)
    assert trunk.width == 16
    with torch.no_grad():
        torch.testing.assert_close(stepped(trunk, cells), h, atol=1e-10, rtol=0)


@pytest.mark.parametrize("columns", [1, 2, 3, 8])
def test_what_touches_a_cell_lies_before_it(columns):
    assert min(reach(columns)) == 1
    assert max(reach(columns)) == columns + 1


def test_every_parameter_gets_a_finite_gradient_at_once():
    trunk = small(classes=3)
    condition = Condition(
        label=torch.tensor([0, 1, 2, 0]), present=torch.tensor([1, 1, 1, 0]).bool()
    )
    h = trunk(torch.randn(4, 2, 3, 4), condition)
    for name, weight in trunk.named_parameters():
        (gradient,) = torch.autograd.grad((h**3).sum(), weight, retain_graph=True)
        assert gradient.isfinite().all(), name
        assert gradient.any(), name


def test_tokens_neither_grow_nor_fade_at_the_start():
    torch.manual_seed(0)
    trunk = CausalTransformer(4, (7, 7), width=64, depth=8)
    h = trunk.tokens(torch.rand(8, 49, 16) * 2 - 1, None)
    for block in trunk.blocks:
        h = block(h, trunk.turn)
        assert 0.3 < float(h.detach().std()) < 3


@pytest.mark.parametrize("conditional", [False, True])
def test_half_precision_is_near(conditional):
    torch.manual_seed(0)
    trunk = small(4, (5, 5), classes=3 * conditional)
    cells = torch.rand(6, 4, 5, 5) * 2 - 1
    condition = Condition(label=torch.arange(6) % 3)
    with torch.autocast("cpu", torch.bfloat16):
        h = trunk(cells, condition)
        h.float().square().sum().backward()
    assert float((h.float() - trunk(cells, condition)).detach().abs().mean()) < 0.05
    assert all(p.grad.isfinite().all() for p in trunk.parameters())


def test_evaluation_changes_nothing():
    trunk, cells = small(), torch.randn(2, 2, 3, 4)
    assert torch.equal(trunk(cells), trunk.eval()(cells))


def test_weights_alone_are_kept():
    one, other = small(classes=2), small(classes=2)
    assert not any("turn" in name for name in one.state_dict())
    other.load_state_dict(one.state_dict())
    cells = torch.randn(2, 2, 3, 4)
    assert torch.equal(one(cells), other(cells))


@torch.no_grad()
def test_a_cell_given_to_a_step_may_be_overwritten():
    trunk, cells = small(), torch.randn(2, 2, 3, 4)
    memory, buffer, outputs = trunk.start(2, None, "cpu"), torch.zeros(2, 2), []
    for position in range(12):
        outputs.append(trunk.step(memory, position, buffer if position else None))
        buffer.copy_(cells.flatten(2)[:, :, position])
    torch.testing.assert_close(torch.stack(outputs, 2), trunk(cells).flatten(2))


@torch.no_grad()
def test_two_walks_do_not_meet():
    trunk, cells = small(classes=2), torch.randn(3, 2, 3, 4)
    condition = Condition(label=torch.tensor([0, 1, 0]))
    first, second = trunk.start(3, condition, "cpu"), trunk.start(3, None, "cpu")
    full, plain, before = trunk(cells, condition).flatten(2), trunk(cells).flatten(2), None
    for position in range(12):
        torch.testing.assert_close(trunk.step(first, position, before), full[:, :, position])
        torch.testing.assert_close(trunk.step(second, position, before), plain[:, :, position])
        before = cells.flatten(2)[:, :, position]


@pytest.mark.parametrize("grid", [(1, 1), (3, 5)])
def test_turns_are_of_length_one_and_tell_places_apart(grid):
    table = turns(grid, 16)
    assert table.shape == (math.prod(grid), 8)
    torch.testing.assert_close(table.abs(), torch.ones_like(table.abs()))
    assert len({tuple(row.tolist()) for row in table}) == math.prod(grid)


def test_a_turn_acts_on_neighbouring_pairs():
    quarter = torch.tensor([[1j, 1.0]])
    x = torch.tensor([1.0, 0.0, 3.0, 4.0]).view(1, 1, 1, 1, 4)
    assert rotated(x, quarter).flatten().tolist() == [0.0, 1.0, 3.0, 4.0]


@pytest.mark.parametrize(("width", "heads"), [(10, 2), (16, 3), (12, 2), (0, 1), (16, 0)])
def test_heads_that_do_not_divide_are_refused(width, heads):
    with pytest.raises(BadInput, match="divides by"):
        small(width=width, heads=heads)
