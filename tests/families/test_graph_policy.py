"""Policies that build graphs: rewards, collections, episodes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from trilemma.core.batch import Examples
from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.core.graph import adjacency, graph, sizes
from trilemma.core.noise import Noise
from trilemma.data.rollouts import Rollouts
from trilemma.families.graph_policy import GraphPolicy, GraphTransitions
from trilemma.families.ppo import PPO, BehaviourCloning, PpoSettings, checked
from trilemma.networks.graph import ActNetwork, GraphCritic

DOMAIN = Domain("graph", (8, 8), Levels(2), reach=5)


@pytest.fixture
def builder():
    torch.manual_seed(0)
    return GraphPolicy(
        ActNetwork(width=16, layers=2), DOMAIN, critic=GraphCritic(width=8, layers=1), steps=37
    )


@pytest.fixture
def real():
    return graph(6, [(i, (i + 1) % 6) for i in range(6)], 8).expand(32, 8, 8)


def edges_of(x):
    return (adjacency(x).sum((1, 2)) // 2).double()


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (lambda x: torch.full((len(x),), torch.nan), "4 of 4 graphs is no finite number"),
        (lambda x: torch.zeros(len(x), 1), r"gave \(4, 1\) for 4 graphs"),
        (lambda x: 1.0, r"gave \(\) for 4 graphs"),
        (lambda x: torch.zeros(3), r"gave \(3,\) for 4"),
    ],
)
def test_a_reward_that_is_none_is_refused(reward, message, real):
    with pytest.raises(BadInput, match=message):
        checked(reward, real[:4])


def test_a_collection_tells_what_the_policy_did(builder, real):
    transitions = builder.collect(Noise.of(0, 32), real, edges_of, PpoSettings())
    assert transitions.advantage.mean().abs() < 1e-5
    assert transitions.advantage.std() == pytest.approx(1, abs=1e-3)
    assert (transitions.old <= 0).all()
    repeated = PPO(builder, PpoSettings()).objectives()[0].loss(transitions)
    assert float(repeated.terms["kl"]) == pytest.approx(0, abs=1e-6)
    assert float(repeated.terms["clipped"]) == 0
    assert torch.equal(transitions.reward, edges_of(transitions.built).float())


def test_a_collection_of_one_transition_has_no_advantage(builder, real):
    """The standard deviation of one number is none."""
    builder.steps = 1
    transitions = builder.collect(Noise.of(0, 1), real[:1], edges_of, PpoSettings())
    assert len(transitions) == 1
    assert transitions.advantage.tolist() == [0]


def test_a_policy_that_moves_too_far_plays_anew(builder, real):
    learner = PPO(builder, PpoSettings(target_kl=0.02))
    numbers = []

    def collect(noise, number):
        numbers.append(number)
        return builder.collect(noise, real, edges_of, learner.settings)

    def stream():
        return Rollouts(
            collect,
            GraphTransitions,
            episodes=32,
            batch=64,
            batches=lambda _: 9,
            seed=1,
            is_stale=learner.is_too_far,
        )

    first = stream()
    first.batch(0)
    first.batch(1)
    assert numbers == [0]
    with torch.no_grad():
        for weight in builder.network.parameters():
            weight.add_(
                0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
            )
    state = first.state_dict()
    batch = first.batch(2)
    assert numbers == [0, 1]
    assert not learner.is_too_far(batch)
    first.batch(3)
    assert numbers == [0, 1]
    resumed = stream()
    resumed.load_state_dict(state)
    assert torch.equal(resumed.batch(2).old, batch.old)


class Spent:
    """A search whose calls are spent from the second collection on."""

    is_spent = False

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        self.is_spent = True


def test_a_policy_that_always_moves_too_far_ends_with_the_calls(builder, real):
    """No collection is played of which nothing may be asked, however often one ends early."""
    numbers = []

    def collect(noise, number):
        numbers.append(number)
        return builder.collect(noise, real, edges_of, PpoSettings())

    def stream():
        return Rollouts(
            collect,
            GraphTransitions,
            episodes=32,
            batch=16,
            batches=lambda _: 9,
            seed=1,
            is_stale=lambda batch: True,
            search=Spent(),
        )

    first = stream()
    first.batch(0)
    first.batch(1)
    assert numbers == [0, 1]
    assert not first.is_over
    first._search.is_spent = True
    assert not first.is_over
    first.batch(2)
    assert numbers == [0, 1]
    assert first.is_over
    resumed = stream()
    resumed.load_state_dict(first.state_dict())
    assert resumed.is_over


def test_a_reward_is_learnt(builder, real):
    """A reward of one's own, by plain updates: graphs with many edges."""
    builder.critic = None
    learner = PPO(builder, PpoSettings(entropy_weight=0.0))
    (objective,) = learner.objectives()
    optimiser = torch.optim.Adam(objective.parameters, 0.01)
    means = []
    for turn in range(12):
        transitions = builder.collect(Noise.of(turn, 32), real, edges_of, PpoSettings())
        means.append(float(edges_of(transitions.built).mean()))
        for _ in range(4):
            optimiser.zero_grad()
            objective.loss(transitions).value.backward()
            optimiser.step()
    assert sum(means[-3:]) > 1.5 * sum(means[:3])


def test_cloning_learns_to_build_one_graph(builder, real):
    (objective,) = BehaviourCloning(builder).objectives()
    optimiser = torch.optim.Adam(objective.parameters, 0.01)
    for step in range(120):
        loss = objective.loss(Examples(real, noise=Noise.of(step, 32)))
        optimiser.zero_grad()
        loss.value.backward()
        optimiser.step()
    samples = builder.sample(64, noise=Noise.of(0, 64))
    is_cycle = (sizes(samples) == 6) & (edges_of(samples) == 6)
    is_cycle &= ((adjacency(samples).sum(2) == 2) | (adjacency(samples).sum(2) == 0)).all(1)
    assert is_cycle.double().mean() > 0.5


def test_modes_are_left_as_they_were(builder, real):
    builder.train()
    builder.critic.eval()
    builder.collect(Noise.of(0, 32), real, edges_of, PpoSettings())
    assert builder.training
    assert not builder.critic.training


class TestStream:
    def stream_of(self, collect):
        return Rollouts(
            collect, GraphTransitions, episodes=32, batch=16, batches=lambda _: 3, seed=1
        )

    def test_collects_anew_every_few_batches_and_goes_on_exactly(self, builder, real):
        numbers = []

        def collect(noise, number):
            numbers.append(number)
            return builder.collect(noise, real, edges_of, PpoSettings())

        stream = self.stream_of(collect)
        batches = [stream.batch(k) for k in range(5)]
        assert numbers == [0, 1]
        state = stream.state_dict()
        for weight in builder.parameters():
            weight.data.zero_()  # the policy has moved on
        other = self.stream_of(collect)
        other.load_state_dict(state)
        assert torch.equal(other.batch(5).old, stream.batch(5).old)
        assert numbers == [0, 1]
        assert len(batches[0]) == 16
        assert not torch.equal(batches[0].old, batches[1].old)

    @pytest.mark.parametrize("batch", [7, 16, 200])
    def test_every_transition_comes_once_before_any_comes_again(self, builder, real, batch):
        """Drawn with replacement, a third of them is missing from each pass."""
        collection = builder.collect(Noise.of(0, 32), real, edges_of, PpoSettings())
        count = len(collection)
        numbered = replace(collection, advantage=torch.arange(count).float())
        stream = Rollouts(
            lambda noise, number: numbered,
            GraphTransitions,
            episodes=32,
            batch=batch,
            batches=lambda acts: -(-2 * acts // batch),
            seed=1,
        )
        handed_out = [stream.batch(k).advantage for k in range(-(-2 * count // batch))]
        numbers = torch.cat(handed_out)[: 2 * count].long()
        for part in numbers.split(count):
            assert torch.equal(part.sort().values, torch.arange(count))
        assert not torch.equal(numbers[:count], numbers[count:])

    @pytest.mark.parametrize("lacking", ["first", "number", "transitions", "old"])
    def test_a_state_of_an_earlier_version_is_refused_in_a_sentence(self, builder, real, lacking):
        def collect(noise, number):
            return builder.collect(noise, real, edges_of, PpoSettings())

        stream = self.stream_of(collect)
        stream.batch(0)
        state = stream.state_dict()
        remaining = {name: x for name, x in state["transitions"].items() if name != lacking}
        state = {
            name: x for name, x in (state | {"transitions": remaining}).items() if name != lacking
        }
        with pytest.raises(BadInput, match="earlier version"):
            self.stream_of(collect).load_state_dict(state)


class TestImproving:
    @pytest.fixture
    def improver(self):
        torch.manual_seed(0)
        return GraphPolicy(ActNetwork(width=8, layers=1, budget=0.5), DOMAIN, budget=0.5, starts=4)

    def test_adds_its_share_of_edges(self, improver, real):
        after = improver.improve(real[:3])
        assert (edges_of(after) - edges_of(real[:3])).tolist() == [3, 3, 3]
        assert (after >= real[:3]).all()

    def test_takes_graphs_of_any_size(self, improver):
        large = graph(30, [(i, i + 1) for i in range(29)])[None]
        assert edges_of(improver.improve(large)).item() == 29 + 14

    def test_samples_begin_with_what_was_kept(self, improver, real):
        improver.keep(real)
        x = improver.sample(5, noise=Noise.of(0, 5))
        assert (edges_of(x) == 9).all()

    def test_builders_improve_nothing(self, builder, real):
        with pytest.raises(BadInput, match="--task robust"):
            builder.improve(real)


def test_path_ends_at_the_sample(builder):
    frames = builder.path(3, frames=5, noise=Noise.of(1, 3))
    assert len(frames) <= 5
    assert torch.equal(frames[-1], builder.sample(3, noise=Noise.of(1, 3)))
