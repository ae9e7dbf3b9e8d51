"""Build graphs that are worth something to you: a reward is a function of a batch of graphs.

Here graphs of up to twelve nodes are to have many triangles and few edges. The same Trainer, the
same stream of rollouts as in `trilemma train graphrl`; only the reward is one's own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trilemma.core.domain import Domain, Levels
from trilemma.core.graph import adjacency
from trilemma.core.model import Stage
from trilemma.core.noise import Noise
from trilemma.core.session import Session
from trilemma.data.rollouts import Rollouts
from trilemma.families.graph_policy import GraphPolicy, GraphTransitions
from trilemma.families.ppo import PPO, PpoSettings
from trilemma.networks.graph import ActNetwork
from trilemma.pictures.graphs import sheet
from trilemma.training.precision import choose
from trilemma.training.trainer import PpoSettings as Training
from trilemma.training.trainer import Trainer

NODES, STEPS = 12, 300


def reward(x: Tensor) -> Tensor:
    """Return triangles less a third of the edges, of each graph [B, N, N]."""
    a = adjacency(x).double()
    triangles = (a @ a * a).sum((1, 2)) / 6
    return triangles - a.sum((1, 2)) / 6


def main() -> None:
    """Learn, and draw what came of it."""
    torch.manual_seed(0)
    cpu = torch.device("cpu")
    domain = Domain("graph", (NODES, NODES), Levels(2), reach=NODES - 1)
    policy = GraphPolicy(ActNetwork(), domain, steps=60)
    nothing = torch.zeros(64, NODES, NODES, dtype=torch.uint8)
    settings = PpoSettings()

    def collect(noise: Noise, number: int) -> GraphTransitions:
        return policy.collect(noise, nothing, reward, settings)

    stream = Rollouts(collect, GraphTransitions, episodes=64, batch=256, batches=8, seed=0)
    stage = Stage("reinforce", PPO(policy, settings), lambda: stream)
    chosen = choose("fp32", cpu)
    given = {"session": Session(), "precision": chosen, "total": STEPS}
    trainer = Trainer(stage.model, stage, stream, Training(lr=2e-3), **given)
    for step in range(STEPS):
        values = trainer.step().values
        if step % 50 == 0 or step == STEPS - 1:
            print(f"step {step}: mean reward {values['policy/reward']:.2f}")
    sheet(policy.sample(12, noise=Noise.of(0, 12))).save("own_reward.png")
    print("own_reward.png")


if __name__ == "__main__":
    main()
