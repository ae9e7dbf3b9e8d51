"""The contract's awkward clients, as small as they can be: what each would break is said of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trilemma.core.batch import Condition, Examples, Rows
from trilemma.core.domain import Domain, Real
from trilemma.core.model import Loss, Model, Objective, Stage, Stream
from trilemma.core.noise import Noise, mix
from trilemma.families.dequantised_density import dequantised_density
from trilemma.families.flow_matching import FlowMatching, FlowMatchingTraining
from trilemma.networks.unet import Perceptron

BATCH = 24


def mlp(*widths: int) -> nn.Sequential:
    layers = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


class Points(Stream[Examples]):
    """Points on a ring, labelled by quadrant; batch k a pure function of (seed, k)."""

    def __init__(self, seed: int = 0, batch: int = BATCH) -> None:
        self.seed, self.size = seed, batch

    def batch(self, k: int) -> Examples:
        noise = Noise.of(mix(self.seed, "points", k), self.size)
        angle = 6.2832 * noise.uniform()
        x = torch.stack((angle.cos(), angle.sin()), 1) + 0.1 * noise.normal(2)
        label = (angle / 1.5708).long().clamp(0, 3)
        return Examples(x, Condition(label=label), Noise.of(mix(self.seed, k), self.size))


# A game: several critic updates a step, each on a fresh batch; R1 needs a double backward.


class Game(Model):
    def __init__(self) -> None:
        super().__init__()
        self.generator, self.critic = mlp(4, 16, 2), mlp(2, 16, 1)
        self.register_buffer("updates", torch.zeros(2, dtype=torch.int64))

    def criticise(self, batch: Examples) -> Loss:
        fake = self.generator(batch.noise.normal(4)).detach()
        x = batch.x.requires_grad_()
        real = self.critic(x)
        (slope,) = torch.autograd.grad(real.sum(), x, create_graph=True)
        r1 = slope.square().sum(1).mean()
        value = F.softplus(self.critic(fake)).mean() + F.softplus(-real).mean() + 0.1 * r1
        return Loss(value, {"r1": r1.detach()})

    def deceive(self, batch: Examples) -> Loss:
        return Loss(F.softplus(-self.critic(self.generator(batch.noise.normal(4)))).mean())

    def _count(self, player: int) -> None:
        self.updates[player] += 1

    def objectives(self) -> list[Objective]:
        critic, generator = list(self.critic.parameters()), list(self.generator.parameters())
        return [
            Objective("critic", self.criticise, critic, 5, lambda: self._count(0)),
            Objective("generator", self.deceive, generator, 1, lambda: self._count(1)),
        ]

    def sample(self, n, *, condition=None, noise=None):
        return self.generator((noise or Noise.fresh(n)).normal(4))


# A variational autoencoder: noise in the loss, several terms.


class Variational(Model):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp(2, 16, 4), mlp(2, 16, 2)

    def loss(self, batch: Examples) -> Loss:
        mu, log_var = self.encoder(batch.x).float().chunk(2, 1)
        z = mu + (0.5 * log_var).exp() * batch.noise.normal(2)
        distortion = (self.decoder(z).float() - batch.x).square().sum(1).mean()
        kl = 0.5 * (mu.square() + log_var.exp() - log_var - 1).sum(1).mean()
        return Loss(5 * distortion + kl, {"distortion": distortion.detach(), "kl": kl.detach()})

    def objectives(self) -> list[Objective]:
        return [Objective("model", self.loss, list(self.parameters()))]

    def sample(self, n, *, condition=None, noise=None):
        return self.decoder((noise or Noise.fresh(n)).normal(2))


# A replay buffer: a buffer that the loss reads and `after` writes, and a resume must find again.


@dataclass(frozen=True)
class Slotted(Examples):
    slot: Tensor | None = None
    """Which place of the buffer belongs to the row, [B]."""


class Slots(Stream[Slotted]):
    def __init__(self, slots: int) -> None:
        self.points, self.slots = Points(1), slots

    def batch(self, k: int) -> Slotted:
        generator = torch.Generator().manual_seed(mix("slots", k))
        plain = self.points.batch(k)
        slot = torch.randperm(self.slots, generator=generator)[: len(plain)]
        return Slotted(plain.x, plain.condition, plain.noise, slot)


class Replayed(Model):
    def __init__(self) -> None:
        super().__init__()
        self.energy = mlp(2, 16, 1)
        self.register_buffer("replay", torch.zeros(64, 2))
        self._fresh: list[tuple[Tensor, Tensor]] = []

    def loss(self, batch: Slotted) -> Loss:
        x = self.replay[batch.slot].clone()
        for _ in range(3):
            with torch.enable_grad():
                (slope,) = torch.autograd.grad(
                    self.energy(x.requires_grad_()).float().sum(), x, create_graph=False
                )
            x = (x - 0.1 * slope + 0.05 * batch.noise.normal(2)).detach()
        self._fresh.append((batch.slot, x))
        below, above = self.energy(batch.x).float(), self.energy(x).float()
        value = below.mean() - above.mean() + 0.1 * (below.square() + above.square()).mean()
        return Loss(value)

    def keep(self) -> None:
        for slot, x in self._fresh:
            self.replay[slot] = x
        self._fresh.clear()

    def objectives(self) -> list[Objective]:
        return [Objective("model", self.loss, list(self.energy.parameters()), after=self.keep)]

    def sample(self, n, *, condition=None, noise=None):
        x = (noise or Noise.fresh(n)).normal(2)
        for _ in range(5):
            with torch.enable_grad():
                (slope,) = torch.autograd.grad(self.energy(x.requires_grad_()).sum(), x)
            x = (x - 0.1 * slope).detach()
        return x


# A stream made by the model: rollouts that carry the old log-probability, several batches each.


@dataclass(frozen=True)
class Rolled(Rows):
    actions: Tensor
    """[B, T] int64."""
    old: Tensor
    """Log-probability under the policy that acted, [B]."""
    reward: Tensor
    """[B]."""


class Policy(Model):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(3, 12), nn.Linear(12, 3)

    def log_prob(self, actions: Tensor) -> Tensor:
        state, last, total = actions.new_zeros(len(actions), 12).float(), None, 0.0
        for t in range(actions.shape[1]):
            last = F.one_hot(actions[:, t - 1], 3).float() if t else state.new_zeros(len(state), 3)
            state = self.cell(last, state)
            log = self.head(state).float().log_softmax(1)
            total = total + log.gather(1, actions[:, t : t + 1])[:, 0]
        return total

    def loss(self, batch: Rolled) -> Loss:
        ratio = (self.log_prob(batch.actions) - batch.old).exp()
        clipped = ratio.clamp(0.8, 1.2)
        value = -torch.minimum(ratio * batch.reward, clipped * batch.reward).mean()
        return Loss(value, {"reward": batch.reward.mean(), "ratio": ratio.detach().mean()})

    def objectives(self) -> list[Objective]:
        return [Objective("policy", self.loss, list(self.parameters()))]

    def sample(self, n, *, condition=None, noise=None):
        noise = noise or Noise.fresh(n)
        state, last, actions = torch.zeros(n, 12), torch.zeros(n, 3), []
        for _ in range(4):
            state = self.cell(last, state)
            chance = self.head(state).softmax(1).cumsum(1)
            action = (noise.uniform(1) > chance[:, :2]).sum(1)
            actions.append(action)
            last = F.one_hot(action, 3).float()
        return torch.stack(actions, 1)


class Rollouts(Stream[Rolled]):
    """Collects anew every 3 batches, with the policy as it then is."""

    every = 3

    def __init__(self, policy: Policy, seed: int = 0) -> None:
        self.policy, self.seed, self.current = policy, seed, None

    def batch(self, k: int) -> Rolled:
        if k % self.every == 0:
            with torch.no_grad():
                actions = self.policy.sample(
                    2 * BATCH, noise=Noise.of(mix(self.seed, "act", k), 2 * BATCH)
                )
                old = self.policy.log_prob(actions)
            reward = (actions == 2).float().mean(1) - 0.3
            self.current = Rolled(actions, old, reward)
        generator = torch.Generator().manual_seed(mix(self.seed, "pick", k))
        pick = torch.randperm(2 * BATCH, generator=generator)[:BATCH]
        now = self.current
        return Rolled(now.actions[pick], now.old[pick], now.reward[pick])

    def state_dict(self):
        now = self.current
        return {} if now is None else {"a": now.actions, "o": now.old, "r": now.reward}

    def load_state_dict(self, state):
        self.current = Rolled(state["a"], state["o"], state["r"]) if state else None


# Two stages: the second reads the first, frozen, and caches what it gives.


class Coder(Model):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp(2, 16, 3), mlp(3, 16, 2)

    def loss(self, batch: Examples) -> Loss:
        return Loss((self.decoder(self.encoder(batch.x)) - batch.x).square().mean())

    def objectives(self) -> list[Objective]:
        return [Objective("coder", self.loss, list(self.parameters()))]

    def sample(self, n, *, condition=None, noise=None):
        return self.decoder((noise or Noise.fresh(n)).normal(3))


class Prior(Model):
    def __init__(self) -> None:
        super().__init__()
        self.net = mlp(4, 16, 3)
        self.register_buffer("scale", torch.ones(()))

    def loss(self, batch: Examples) -> Loss:
        t, noise = batch.noise.named("t").uniform(1), batch.noise.normal(3)
        z = batch.x / self.scale
        guess = self.net(torch.cat(((1 - t) * z + t * noise, t), 1))
        return Loss((guess - (noise - z)).square().mean())

    def objectives(self) -> list[Objective]:
        return [Objective("prior", self.loss, list(self.parameters()))]

    def sample(self, n, *, condition=None, noise=None):
        z = (noise or Noise.fresh(n)).normal(3)
        for i in range(8):
            t = torch.full((n, 1), 1 - i / 8)
            z = z - self.net(torch.cat((z, t), 1)) / 8
        return z * self.scale


class Latent(Model):
    def __init__(self) -> None:
        super().__init__()
        self.coder, self.prior = Coder(), Prior()
        self.opened = 0

    def objectives(self) -> list[Objective]:
        return [*self.coder.objectives(), *self.prior.objectives()]

    def sample(self, n, *, condition=None, noise=None):
        return self.coder.decoder(self.prior.sample(n, noise=noise))

    def codes(self) -> Tensor:
        with torch.no_grad():
            return torch.cat([self.coder.encoder(Points(2).batch(k).x) for k in range(4)])

    def prepare(self) -> None:
        jitter = 1e-3 * torch.rand(())  # the global generator, too, must be found again
        self.prior.scale.copy_(self.codes().std() + jitter)

    def cached(self) -> Codes:
        self.opened += 1
        torch.rand(())  # opening draws, too, and must not disturb what follows
        return Codes(self.codes())

    def stages(self) -> list[Stage]:
        return [
            Stage("coder", self.coder, lambda: Points(2), share=1.0),
            Stage("prior", self.prior, self.cached, share=1.0, prepare=self.prepare),
        ]


class Codes(Stream[Examples]):
    def __init__(self, codes: Tensor) -> None:
        self.codes = codes

    def batch(self, k: int) -> Examples:
        generator = torch.Generator().manual_seed(mix("codes", k))
        pick = torch.randperm(len(self.codes), generator=generator)[:BATCH]
        return Examples(self.codes[pick], noise=Noise.of(mix("prior", k), BATCH))


# Ragged graphs: batches with masks, whose loss is a mean over graphs of means over real nodes.


@dataclass(frozen=True)
class Graphs(Rows):
    edges: Tensor
    """[B, N, N] float."""
    mask: Tensor
    """[B, N] bool."""
    noise: Noise


class GraphStream(Stream[Graphs]):
    def batch(self, k: int) -> Graphs:
        noise = Noise.of(mix("graphs", k), BATCH)
        sizes = 2 + noise.integers(5)
        mask = torch.arange(6) < sizes[:, None]
        edges = (noise.uniform(6, 6) < 0.4).float().triu(1)
        edges = (edges + edges.mT) * mask[:, :, None] * mask[:, None, :]
        return Graphs(edges, mask, noise)


class GraphModel(Model):
    def __init__(self) -> None:
        super().__init__()
        self.net, self.score = mlp(5, 16, 8), nn.Parameter(torch.zeros(()))

    def loss(self, batch: Graphs) -> Loss:
        pair = batch.mask[:, :, None] & batch.mask[:, None, :]
        degree = batch.edges.sum(2, keepdim=True)
        h = self.net(torch.cat((degree, batch.noise.normal(6, 4)), 2))
        logits = h @ h.mT + self.score
        nll = F.binary_cross_entropy_with_logits(logits.float(), batch.edges, reduction="none")
        return Loss(((nll * pair).sum((1, 2)) / pair.sum((1, 2))).mean())

    def objectives(self) -> list[Objective]:
        return [Objective("model", self.loss, list(self.parameters()))]

    def sample(self, n, *, condition=None, noise=None):
        h = self.net((noise or Noise.fresh(n)).normal(6, 5))
        return (h @ h.mT + self.score > 0).float()


# Conditions: a class, and a token sequence with its mask, dropped at random for guidance.


class Captions(Stream[Examples]):
    def batch(self, k: int) -> Examples:
        plain = Points(3).batch(k)
        noise = Noise.of(mix("captions", k), BATCH)
        length = 1 + noise.integers(4)
        condition = replace(
            plain.condition,
            tokens=noise.integers(7, 4),
            mask=torch.arange(4) < length[:, None],
            present=noise.uniform() > 0.2,
        )
        return replace(plain, condition=condition)


class ConditionalFlow(Model):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.classes = nn.Embedding(7, 6), nn.Embedding(4, 6)
        self.null, self.net = nn.Parameter(torch.zeros(6)), mlp(9, 16, 2)

    def embed(self, condition: Condition) -> Tensor:
        mask = condition.mask[:, :, None]
        words = (self.words(condition.tokens) * mask).sum(1) / mask.sum(1)
        embedding = words + self.classes(condition.label)
        return torch.where(condition.present[:, None], embedding, self.null)

    def loss(self, batch: Examples) -> Loss:
        t, noise = batch.noise.named("t").uniform(1), batch.noise.normal(2)
        inputs = torch.cat(((1 - t) * batch.x + t * noise, t, self.embed(batch.condition)), 1)
        return Loss((self.net(inputs) - (noise - batch.x)).square().mean())

    def objectives(self) -> list[Objective]:
        return [Objective("model", self.loss, list(self.parameters()))]

    def sample(self, n, *, condition=None, noise=None):
        x = (noise or Noise.fresh(n)).normal(2)
        embedding = self.null.expand(n, 6) if condition is None else self.embed(condition)
        for i in range(4):
            t = torch.full((n, 1), 1 - i / 4)
            x = x - self.net(torch.cat((x, t, embedding), 1)) / 4
        return x


# A density whose sample needs many steps: one coordinate after another.


class Ordered(Model):
    def __init__(self) -> None:
        super().__init__()
        self.net = mlp(6, 16, 4)

    def logits(self, bits: Tensor, position: int) -> Tensor:
        known_bits = torch.where(torch.arange(2) < position // 2, bits.float(), torch.zeros(()))
        where = F.one_hot(torch.tensor(position), 4).expand(len(bits), 4).float()
        return self.net(torch.cat((known_bits, where), 1))[:, position].float()

    def log_prob(self, x: Tensor, *, condition: Condition | None = None) -> Tensor:
        signs = (x > 0).float()
        return -sum(
            F.binary_cross_entropy_with_logits(
                self.logits(signs, position), signs[:, position // 2], reduction="none"
            )
            for position in range(4)
        )

    def loss(self, batch: Examples) -> Loss:
        return Loss(-self.log_prob(batch.x).mean())

    def objectives(self) -> list[Objective]:
        return [Objective("model", self.loss, list(self.parameters()))]

    def sample(self, n, *, condition=None, noise=None):
        noise, x = noise or Noise.fresh(n), torch.zeros(n, 2)
        for position in range(4):
            chance = self.logits(x, position).sigmoid()
            x[:, position // 2] = (noise.uniform() < chance).float()
        return 2 * x - 1


# A pairing of examples with noise: made of all rows, whoever computes them.


def coupled() -> Model:
    inner = FlowMatching(
        Perceptron(2, width=16), (2,), training=FlowMatchingTraining("optimal-transport")
    )
    torch.nn.init.normal_(inner.network.layers.last.weight, std=0.1)
    return dequantised_density(inner, Domain("points", (2,), Real()))


def one(model: Model, stream) -> list[Stage]:
    return [Stage("model", model, stream)]


CLIENTS = {
    "game": lambda: (m := Game(), one(m, Points)),
    "variational": lambda: (m := Variational(), one(m, Points)),
    "replay": lambda: (m := Replayed(), one(m, lambda: Slots(64))),
    "rollouts": lambda: (m := Policy(), one(m, lambda: Rollouts(m))),
    "two-stages": lambda: (m := Latent(), m.stages()),
    "graphs": lambda: (m := GraphModel(), one(m, GraphStream)),
    "conditions": lambda: (m := ConditionalFlow(), one(m, Captions)),
    "ordered": lambda: (m := Ordered(), one(m, Points)),
    "coupled": lambda: (m := coupled(), one(m, Points)),
}
"""Name -> a function that builds (model, stages); seed torch's generator before."""


def build(name: str):
    """Build a client as a command would: seeded, anew in each process."""
    torch.manual_seed(mix("client", name))
    return CLIENTS[name]()
