from __future__ import annotations

import copy

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from trilemma.core.batch import Condition
from trilemma.maths.adversarial import squared_gradient_norm
from trilemma.networks.adversarial import ImageCritic, PointCritic
from trilemma.networks.dcgan import DcganCritic
from trilemma.networks.energy_critics import ImageReconstructor
from trilemma.networks.spectral import Unit, clamp, constrain, renew

CRITICS = {
    "residual": lambda: ImageCritic((1, 28, 28), width=8, classes=3),
    "dcgan": lambda: DcganCritic((3, 32, 32), width=16, normalise=False),
    "points": lambda: PointCritic((2,), width=64),
    "energy": lambda: ImageReconstructor((1, 8, 8), width=8, code=16),
}
IMAGE = torch.linspace(-1, 1, 4 * 784).reshape(4, 1, 28, 28)


def norm(weight):
    return torch.linalg.matrix_norm(weight.flatten(1), 2).item()


def bounded(critic):
    return [m for m in critic.modules() if isinstance(m, nn.Linear | nn.Conv2d)]


@pytest.mark.parametrize("name", CRITICS)
def test_every_layer_has_norm_one_from_the_start_and_after_updates(name):
    torch.manual_seed(0)
    critic = CRITICS[name]()
    constrain(critic)
    layers = bounded(critic)
    assert all(norm(layer.weight) == pytest.approx(1, abs=1e-4) for layer in layers)
    for _ in range(5):
        with torch.no_grad():
            for parameter in critic.parameters():
                parameter.add_(1e-3 * torch.randn_like(parameter))
        renew(critic)
    assert all(0.999999 < norm(layer.weight) < 1.02 for layer in layers)  # one step behind
    for _ in range(200):
        renew(critic)
    assert all(norm(layer.weight) == pytest.approx(1, abs=1e-4) for layer in layers)


def test_sigma_is_the_norm_when_w_has_moved_far():
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 16, 3).double()
    constrain(layer)
    assert norm(layer.weight) == pytest.approx(1, abs=1e-9)
    original = layer.parametrizations.weight.original
    torch.nn.init.normal_(original)
    assert abs(norm(layer.weight) - 1) > 0.1
    for _ in range(100):
        renew(layer)
    sigma = (original / layer.weight).mean().item()
    assert sigma == pytest.approx(norm(original), rel=1e-4)


def test_it_agrees_with_torch_s_own():
    torch.manual_seed(0)
    ours = nn.Conv2d(4, 12, 4)
    theirs = spectral_norm(copy.deepcopy(ours), n_power_iterations=100)
    constrain(ours)
    for _ in range(100):
        renew(ours)
    theirs.train()
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-4, atol=1e-6)
    x = torch.randn(2, 4, 9, 9)
    theirs.eval()
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (1, 7), (4, 2, 3, 3)], ids=str)
def test_the_gradient_is_that_of_finite_differences(shape):
    torch.manual_seed(0)
    weight = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    bound = Unit(weight)
    # With u and v constant, and where they are the singular pair, with u and v moving too.
    assert torch.autograd.gradcheck(bound, (weight,))
    assert torch.autograd.gradgradcheck(bound, (weight,))
    assert torch.autograd.gradcheck(lambda w: Unit(w)(w) * 1.0, (weight,), atol=1e-5)


def test_the_forward_pass_writes_nothing_and_modes_agree():
    critic = CRITICS["residual"]()
    constrain(critic)
    before = {name: b.clone() for name, b in critic.named_buffers()}
    one = critic(IMAGE)
    assert torch.equal(critic(IMAGE), one)
    assert torch.equal(critic.eval()(IMAGE), one)
    assert before.keys() == {name for name, _ in critic.named_buffers()}
    assert all(torch.equal(b, before[name]) for name, b in critic.named_buffers())


def test_every_parameter_gets_a_gradient_also_through_a_penalty():
    critic = CRITICS["residual"]()
    constrain(critic)
    condition = Condition(label=torch.tensor([0, 1, 2, 0]))
    x = IMAGE.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        score = critic(x, condition)
        loss = score.float().mean() + squared_gradient_norm(score.float(), x).mean()
    gradients = torch.autograd.grad(loss, list(critic.parameters()))
    assert all(g.isfinite().all() for g in gradients)


def test_the_table_of_classes_is_held_at_one_at_most():
    critic = PointCritic((2,), width=8, classes=3)
    constrain(critic)
    table = critic.projection.embed.table
    assert norm(table.weight) == 0
    table.parametrizations.weight.original.data.normal_(std=0.01)
    for _ in range(30):
        renew(critic)
    assert torch.equal(table.weight, table.parametrizations.weight.original)
    table.parametrizations.weight.original.data.mul_(1000)
    for _ in range(300):
        renew(critic)
    assert norm(table.weight) == pytest.approx(1, abs=1e-4)


def test_a_row_of_noughts_in_the_way_is_left():
    table = nn.Embedding(4, 3)
    nn.init.zeros_(table.weight)
    constrain(table)
    table.parametrizations.weight.original.data[0, 2] = 5.0
    for _ in range(10):
        renew(table)
    assert table.weight[0, 2].item() == pytest.approx(1)


def test_a_weight_of_noughts_starts_anew():
    layer = nn.Linear(4, 3)
    nn.init.zeros_(layer.weight)
    constrain(layer)
    assert norm(layer.weight) == pytest.approx(1, abs=1e-5)


def test_it_is_put_on_once():
    layer = nn.Linear(4, 3)
    constrain(layer)
    constrain(layer)
    assert len(layer.parametrizations.weight) == 1


def test_files_copies_and_layouts_keep_it(tmp_path):
    critic = CRITICS["residual"]()
    constrain(critic)
    for parameter in critic.parameters():
        parameter.data.add_(0.01 * torch.randn_like(parameter))
    renew(critic)
    score = critic(IMAGE)
    state = {name: t.contiguous() for name, t in critic.state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "critic.safetensors")
    other = CRITICS["residual"]()
    constrain(other)
    assert not torch.equal(other(IMAGE), score)
    other.load_state_dict(safetensors.torch.load_file(tmp_path / "critic.safetensors"))
    assert torch.equal(other(IMAGE), score)
    twin = copy.deepcopy(critic)
    renew(twin)
    assert torch.equal(critic(IMAGE), score)
    for parameter in critic.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(critic(IMAGE), score, rtol=1e-4, atol=1e-5)
    renew(critic)
    torch.testing.assert_close(critic(IMAGE), twin(IMAGE), rtol=1e-4, atol=1e-5)


def test_sigma_is_float32_under_autocast():
    layer = nn.Linear(64, 64)
    constrain(layer)
    exact = layer.weight
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.weight, exact)
        assert layer(torch.randn(2, 64)).dtype == torch.bfloat16


@pytest.mark.parametrize("c", [0.01, 1.0])
def test_clamp_puts_all_parameters_into_the_box(c):
    critic = CRITICS["residual"]()
    before = [p.detach().clone() for p in critic.parameters()]
    clamp(critic, c)
    for old, new in zip(before, critic.parameters(), strict=True):
        assert torch.equal(old.clamp(-c, c), new)
        assert new.requires_grad
    with pytest.raises(ValueError, match="0"):
        clamp(critic, 0.0)
