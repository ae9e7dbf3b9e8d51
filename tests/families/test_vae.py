from __future__ import annotations

import pytest
import torch
from torch import nn

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.errors import BadInput
from trilemma.core.model import capabilities
from trilemma.core.noise import Noise
from trilemma.core.sampling import draw
from trilemma.families.likelihood import likelihood
from trilemma.families.vae import Vae
from trilemma.networks.layers import MLP, ConditionEmbedding

GREY = Domain("image", (1, 8, 8), Levels(17))
POINT = Domain("points", (2,), Real(1.0, 3.0))


def make_vae(domain=GREY, name="auto", **keywords):
    examples = likelihood(name, domain)
    shape = (examples.outputs * domain.shape[0], *domain.shape[1:])
    encoder, decoder = MLP(domain.dimensions, 8, width=32), MLP(4, shape, width=32)
    return Vae(encoder, decoder, domain, 4, likelihood=examples, **keywords)


def batch(domain=GREY, n=12):
    grey = isinstance(domain.values, Levels)
    x = torch.randint(17, (n, *domain.shape)).to(torch.uint8) if grey else torch.randn(n, 2)
    return Examples(x=x, noise=Noise.of(0, n))


@pytest.mark.parametrize(
    ("domain", "name"), [(GREY, "discretised-logistic"), (GREY, "gaussian"), (POINT, "gaussian")]
)
def test_every_parameter_gets_a_gradient_and_the_loss_falls(domain, name):
    model, examples = make_vae(domain, name), batch(domain)
    (objective,) = model.objectives()
    assert set(objective.parameters) == set(model.parameters())
    optimiser = torch.optim.Adam(objective.parameters, 3e-3)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = objective.loss(examples)
        loss.value.backward()
        assert all(bool(p.grad.isfinite().all()) for p in objective.parameters)
        optimiser.step()
        losses.append(float(loss.value.detach()))
    assert losses[-1] < losses[0] - 0.1


def test_capabilities():
    assert capabilities(make_vae()) == ("sample", "bound", "encode")


def test_loss_is_a_function_of_the_batch():
    model, examples = make_vae(), batch()
    assert torch.equal(model.loss(examples).value, model.loss(examples).value)


def test_loss_of_rows_averages_to_the_loss_of_all():
    model, examples = make_vae(), batch()
    parts = (model.loss(examples[:6]).value + model.loss(examples[6:]).value) / 2
    torch.testing.assert_close(model.loss(examples).value, parts)


@pytest.mark.parametrize("way", ["mean", "sample"])
def test_samples_are_levels_and_do_not_depend_on_their_number(way):
    model = make_vae().adjusted(draw=way)
    many = draw(model, 70, seed=3)
    assert many.shape == (70, 1, 8, 8)
    assert many.dtype == torch.uint8
    assert torch.equal(draw(model, 3, seed=3), many[:3])
    assert not torch.equal(many[0], many[1])


def test_sampling_noise_is_the_likelihoods():
    model = make_vae()
    smooth = model.sample(200, noise=Noise.of(0, 200)).float()
    model = model.adjusted(draw="sample")
    rough = model.sample(200, noise=Noise.of(0, 200)).float()
    assert rough.var(0).mean() > smooth.var(0).mean()


def test_encode_gives_the_mean_without_noise_and_draws_with_it():
    model, x = make_vae(), batch().x
    posterior = model.posterior(x)
    torch.testing.assert_close(model.encode(x), posterior.mu)
    rows = x[:1].expand(20_000, 1, 8, 8)
    z = model.encode(rows, noise=Noise.of(0, 20_000))
    torch.testing.assert_close(z.mean(0), posterior.mu[0], atol=0.03, rtol=0)
    torch.testing.assert_close(z.var(0).log(), posterior.log_var[0], atol=0.05, rtol=0)


def test_decode_is_in_data_units():
    assert make_vae().decode(torch.randn(5, 4)).dtype == torch.uint8
    assert make_vae(POINT).decode(torch.randn(5, 4)).shape == (5, 2)


@torch.no_grad()
def test_bound_is_a_probability_of_levels():
    """With a decoder that ignores z and a posterior equal to the prior, the bound is exact."""
    domain = Domain("points", (1,), Levels(3))
    examples = likelihood("gaussian", domain)
    encoder, decoder = nn.Linear(1, 4), nn.Linear(2, 1)
    for parameter in (*encoder.parameters(), *decoder.parameters()):
        parameter.zero_()
    model = Vae(encoder, decoder, domain, 2, likelihood=examples)
    x = torch.arange(3, dtype=torch.uint8)[:, None]
    assert float(model.bound(x).exp().sum()) == pytest.approx(1, abs=1e-5)


@torch.no_grad()
def test_importance_bound_does_not_depend_on_the_parts_but_rises_with_k():
    model, x = make_vae(), batch(n=4).x
    full_bound = model.importance_bound(x, 6, noise=Noise.of(0, 4))
    rows = x.repeat(300, 1, 1, 1)
    two_draws = model.importance_bound(rows, 2, noise=Noise.of(1, 1200)).mean()
    many = model.importance_bound(rows, 40, noise=Noise.of(1, 1200)).mean()
    assert many > two_draws
    for together in (1, 3, 8):
        model.together = together
        torch.testing.assert_close(model.importance_bound(x, 6, noise=Noise.of(0, 4)), full_bound)
    torch.testing.assert_close(
        model.importance_bound(x[:1], 6, noise=Noise.of(0, 4)[:1]), full_bound[:1]
    )
    torch.testing.assert_close(
        model.importance_bound(x[2:], 6, noise=Noise.of(0, 4)[2:]), full_bound[2:]
    )


@torch.no_grad()
def test_five_thousand_draws_are_decoded_a_few_at_a_time_and_encoded_once():
    model, x = make_vae(), batch(n=2).x
    rows_seen = {"encoder": [], "decoder": []}
    for name, rows in rows_seen.items():
        hook = lambda _, examples, rows=rows: rows.append(len(examples[0]))  # noqa: E731
        getattr(model, name).register_forward_pre_hook(hook)
    assert model.importance_bound(x, 5000).isfinite().all()
    assert rows_seen["encoder"] == [2]
    assert sum(rows_seen["decoder"]) == 10_000
    assert max(rows_seen["decoder"]) <= model.together <= 1024


def test_large_examples_are_decoded_in_smaller_parts():
    domain = Domain("image", (3, 256, 256), Levels(256))
    examples = likelihood("discretised-logistic", domain)
    model = Vae(nn.Identity(), nn.Identity(), domain, 4, likelihood=examples)
    assert model.together < 8


def test_no_draws_are_no_bound():
    with pytest.raises(BadInput, match="k = 0"):
        make_vae().importance_bound(batch().x, 0)


@torch.no_grad()
def test_one_draw_is_the_bound_where_the_noise_is():
    model, x = make_vae(), batch(n=400).x
    one = model.importance_bound(x, 1, noise=Noise.of(0, 400)).mean()
    bound = model.bound(x, noise=Noise.of(0, 400)).mean()
    torch.testing.assert_close(one, bound, rtol=0, atol=0.2)


def test_free_bits_count_each_example_and_hold_back_only_what_is_below():
    plain, free, examples = make_vae(), make_vae(free_bits=0.5), batch()
    free.load_state_dict(plain.state_dict())
    with torch.no_grad():
        each = plain.posterior(examples.x).kl_of_units()
        short = (0.5 - each).clamp_min(0).sum(1).mean()
        gap = free.loss(examples).value - plain.loss(examples).value
        torch.testing.assert_close(gap, short, rtol=0, atol=1e-3)
        parts = (free.loss(examples[:6]).value + free.loss(examples[6:]).value) / 2
        torch.testing.assert_close(free.loss(examples).value, parts)
    torch.testing.assert_close(free.loss(examples).terms["kl"], plain.loss(examples).terms["kl"])


def test_warm_up_counts_updates_in_a_buffer():
    model, examples = make_vae(kl_warmup=4), batch()
    (objective,) = model.objectives()
    values = []
    for _ in range(6):
        activity = objective.loss(examples)
        values.append(
            float((activity.value.detach() - activity.terms["distortion"]) / activity.terms["kl"])
        )
        model.eval()
        assert torch.equal(model.loss(examples).value, activity.value)
        model.train()
        objective.after()
    assert values == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1], abs=1e-3)
    other = make_vae(kl_warmup=4)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.loss(examples).value, model.loss(examples).value)
    assert int(other.updates) == 6
    assert make_vae().objectives()[0].after is None


class Conditional(nn.Module):
    """A network of a code or an image and a vector."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x, cond):
        return self.network(x, cond)


def conditional():
    domain = Domain("image", (1, 8, 8), Levels(17), ("a", "b", "c"), (0.0, 0.9, 0.1))
    examples = likelihood("gaussian", domain)
    encoder = Conditional(MLP(64, 8, width=32, condition=5))
    decoder = Conditional(MLP(4, (1, 8, 8), width=32, condition=5))
    embed = ConditionEmbedding(3, 5)
    return Vae(encoder, decoder, domain, 4, likelihood=examples, embed=embed)


def labelled(n=12, label=0):
    x = torch.randint(17, (n, 1, 8, 8)).to(torch.uint8)
    return Examples(x, Condition(label=torch.full((n,), label)), Noise.of(0, n))


def test_a_class_is_told_and_hidden_from_a_tenth():
    model, examples = conditional(), labelled(400)
    loss = model.loss(examples)
    gradients = torch.autograd.grad(loss.value, list(model.parameters()))
    assert all(bool(g.isfinite().all()) for g in gradients)
    table = torch.autograd.grad(model.loss(examples).value, model.embed.table.weight)[0]
    assert table[0].abs().sum() > 0
    assert table[3].abs().sum() > 0
    assert table[1].abs().sum() == 0
    hidden = examples.noise.named("hidden").uniform() < 0.1
    assert 20 < int(hidden.sum()) < 65
    cond = examples.condition.dropped(hidden)
    by_hand = -model.bound(examples.x, condition=cond, noise=examples.noise[:]).mean()
    torch.testing.assert_close(loss.value, by_hand)


@torch.no_grad()
def test_saying_nothing_is_the_null():
    model, examples = conditional(), labelled()
    null = examples.condition.null()
    keywords = {"noise": examples.noise[:]}
    for method, more in ((model.bound, ()), (model.importance_bound, (3,))):
        unconditional = method(examples.x, *more, noise=examples.noise[:])
        assert torch.equal(
            unconditional, method(examples.x, *more, condition=null, noise=examples.noise[:])
        )
        with_condition = method(examples.x, *more, condition=examples.condition, **keywords)
        assert not torch.equal(unconditional, with_condition)
    assert model.encode(examples.x).shape == (12, 4)
    assert model.decode(torch.zeros(3, 4)).shape == (3, 1, 8, 8)


@torch.no_grad()
def test_samples_are_of_the_class_that_is_asked_for_or_by_the_frequencies():
    model = conditional()
    drawn_classes = [
        model.sample(40, condition=Condition(label=torch.full((40,), i)), noise=Noise.of(0, 40))
        for i in range(3)
    ]
    assert not torch.equal(drawn_classes[0], drawn_classes[1])
    free = model.sample(40, noise=Noise.of(0, 40))
    same = [(free == a).flatten(1).all(1) for a in drawn_classes]
    assert bool((same[1] | same[2]).all())
    assert int(same[1].sum()) > 25
    assert torch.equal(draw(model, 3, seed=1), draw(model, 70, seed=1)[:3])


@torch.no_grad()
def test_activity_counts_units_that_say_something():
    model = make_vae()
    x = batch(n=300).x
    model.encoder.last.weight[4:6].zero_()  # ln sigma^2 of two units
    model.encoder.last.weight[0:2].zero_()
    model.encoder.last.bias[4:6].zero_()
    model.encoder.last.bias[0:2].zero_()
    model.encoder.last.weight[2:4] *= 10
    activity = model.latent_activity(x, noise=Noise.of(0, 300))
    assert (activity.active, activity.units) == (2, 4)
    torch.testing.assert_close(activity.kl, model.posterior(x).kl_of_units().mean(0))
    assert activity.kl[:2].abs().max() < 1e-6
    model.together = 7
    torch.testing.assert_close(model.latent_activity(x, Noise.of(0, 300)).kl, activity.kl)


def test_beta_weighs_the_loss_and_not_the_bound():
    plain, heavy, examples = make_vae(), make_vae(beta=4.0), batch()
    heavy.load_state_dict(plain.state_dict())
    one, four = plain.loss(examples), heavy.loss(examples)
    torch.testing.assert_close(four.value - one.value, 3 * one.terms["kl"])
    torch.testing.assert_close(
        plain.bound(examples.x, noise=examples.noise[:]),
        heavy.bound(examples.x, noise=examples.noise[:]),
    )


def test_half_precision_trains():
    model, examples = make_vae(), batch()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(examples).value
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, model.loss(batch_again(examples)).value, rtol=0.02, atol=1)


def batch_again(examples):
    return Examples(x=examples.x, noise=examples.noise[:])


@pytest.mark.parametrize(
    ("field", "value"),
    [("beta", -1.0), ("free_bits", -2.0), ("kl_warmup", -3)],
)
def test_nonsense_is_refused(field, value):
    with pytest.raises(BadInput, match=str(value).removesuffix(".0")):
        make_vae(**{field: value})
    with pytest.raises(BadInput, match="draw 'median'"):
        make_vae().adjusted(draw="median")
