"""The recipe fits tables of any width, learns, and refuses what it cannot do."""

from __future__ import annotations

import math

import pytest
import torch

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.errors import BadInput
from trilemma.core.model import Stage, capabilities
from trilemma.core.noise import Noise
from trilemma.core.sampling import draw
from trilemma.core.session import Session
from trilemma.data import toy
from trilemma.data.stream import ExampleStream
from trilemma.recipes import spline_flow
from trilemma.recipes.spline_flow import NeuralSplineFlow
from trilemma.training.precision import choose
from trilemma.training.trainer import Settings, Trainer

CPU = torch.device("cpu")


def table(columns, classes=()):
    values = Real(tuple(range(columns)), tuple(1.0 + i for i in range(columns)))
    return Domain("points", (columns,), values, classes, tuple(1 / len(classes) for _ in classes))


def plain(columns):
    return Domain("points", (columns,), Real())


def batch(rows, columns):
    noise = Noise.of(0, rows)
    return Examples(x=noise.normal(columns), noise=noise)


@pytest.mark.parametrize("columns", [1, 2, 5, 50])
@pytest.mark.parametrize("structure", ["coupling", "autoregressive"])
def test_fits_tables(columns, structure):
    model = NeuralSplineFlow(structure=structure).model(plain(columns))
    examples = batch(16, columns)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(model.loss(examples).value, parameters)
    assert all(g.isfinite().all() for g in gradients)
    x = model.sample(3, noise=Noise.of(0, 3))
    assert x.shape == (3, columns)
    assert model.log_prob(x).shape == (3,)
    assert capabilities(model)[:2] == ("sample", "density")
    assert model.likelihood_by == "exact"


def test_log_prob_is_about_the_numbers_in_the_file():
    domain = table(3)
    torch.manual_seed(0)
    one = NeuralSplineFlow(layers=2).model(domain)
    torch.manual_seed(0)
    standard = NeuralSplineFlow(layers=2).model(plain(3))
    y = torch.randn(20, 3)
    x = domain.values.unscale(y)
    gap = standard.log_prob(y) - one.log_prob(x)
    assert torch.allclose(gap, torch.full((20,), math.log(6.0)), atol=1e-3)


@pytest.mark.parametrize("structure", ["coupling", "autoregressive"])
def test_learns_two_moons(structure):
    data = toy.points("two-moons")
    recipe = NeuralSplineFlow(structure=structure, batch=256, width=32, bins=8, layers=3, lr=5e-3)
    model = recipe.model(data.domain)
    stream = ExampleStream(data.train, recipe.batch, 0)
    stage = Stage("model", model, lambda: stream)
    trainer = Trainer(
        model,
        stage,
        stream,
        Settings.of(recipe),
        session=Session(),
        precision=choose("fp32", CPU),
        total=250,
    )
    for _ in range(250):
        trainer.step()
    x = data.test.x[:2000]
    with torch.no_grad():
        gap = toy.TOYS["two-moons"].log_prob(x.double()).mean() - model.log_prob(x).mean()
    assert -0.05 < gap < 0.25
    samples = model.sample(500, noise=Noise.of(1, 500))
    assert toy.TOYS["two-moons"].log_prob(samples.double()).mean() > -1.8  # truth about -1.02


def test_a_class_may_be_told():
    domain = table(2, ("red", "green"))
    model = NeuralSplineFlow(conditional=True, layers=2).model(domain)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    x = torch.randn(6, 2)
    red, green = (Condition(label=torch.full((6,), i)) for i in (0, 1))
    with torch.no_grad():
        each = [model.log_prob(x, condition=c) for c in (red, green, None)]
        assert (each[0] != each[1]).all()
        assert torch.equal(model.log_prob(x, condition=red.null()), each[2])
    by_class = [model.sample(6, condition=c, noise=Noise.of(0, 6)) for c in (red, green)]
    assert not torch.equal(*by_class)
    noise = Noise.of(0, 6)
    loss = model.loss(Examples(x=x, condition=red, noise=noise)).value
    assert loss == model.loss(Examples(x=x, condition=red, noise=noise)).value
    torch.autograd.grad(loss, list(model.parameters()))


def test_sample_i_does_not_depend_on_how_many():
    model = NeuralSplineFlow().model(plain(3))
    many = draw(model, 70, seed=3)
    for n in (1, 3):
        assert (draw(model, n, seed=3) - many[:n]).abs().max() < 1e-5
    assert not torch.equal(draw(model, 3, seed=4), many[:3])


@pytest.mark.parametrize("structure", ["coupling", "autoregressive"])
def test_loss_is_the_same_in_evaluation_and_near_in_bf16(structure):
    model, examples = NeuralSplineFlow(structure=structure).model(plain(3)), batch(64, 3)
    loss = model.loss(examples).value
    assert model.eval().loss(examples).value == loss
    with torch.autocast("cpu", torch.bfloat16):
        rough = model.loss(examples).value
    assert rough.item() == pytest.approx(loss.item(), abs=0.01)
    assert rough.dtype == torch.float32


def test_outliers_do_not_spoil_the_gradient():
    model = NeuralSplineFlow().model(plain(4))
    x = torch.randn(32, 4)
    x[0], x[1, 2] = 80.0, -500.0
    loss = model.loss(Examples(x=x, noise=Noise.of(0, 32))).value
    assert loss.isfinite()
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss, list(model.parameters())))


@pytest.mark.parametrize(
    ("examples", "word"),
    [
        ({"bins": 1}, "bins"),
        ({"layers": 0}, "layers"),
        ({"width": 0}, "width"),
        ({"depth": 0}, "depth"),
        ({"tail": 0.0}, "tail"),
        ({"tail": math.nan}, "tail"),
    ],
)
def test_sizes_that_make_no_flow_are_refused(examples, word):
    with pytest.raises(BadInput, match=word):
        NeuralSplineFlow(**examples).model(plain(2))


def test_images_and_missing_classes_are_refused():
    with pytest.raises(BadInput, match="for points"):
        NeuralSplineFlow().check(Domain("image", (1, 8, 8), Levels(17)))
    with pytest.raises(BadInput, match="without classes"):
        NeuralSplineFlow(conditional=True).check(plain(2))


def test_without_a_compiler_it_says_so_at_the_door(monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("No working C++ compiler found\nlong trace")

    monkeypatch.setattr(spline_flow.torch, "compile", refuse)
    with pytest.raises(BadInput, match=r"--compile true .*No working C\+\+ compiler found\)"):
        NeuralSplineFlow(compile=True).model(plain(2))


def test_compiling_keeps_the_names_of_weights(monkeypatch):
    monkeypatch.setattr(spline_flow, "_try_compiler", lambda: None)
    compiled = []
    monkeypatch.setattr(
        spline_flow.SplineFlow, "compile", lambda self, *_, **__: compiled.append(self)
    )
    model = NeuralSplineFlow(compile=True).model(plain(2))
    assert compiled == [model.inner.bijection]
    assert model.state_dict().keys() == NeuralSplineFlow().model(plain(2)).state_dict().keys()
