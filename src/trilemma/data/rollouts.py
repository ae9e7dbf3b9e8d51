"""Batches that a policy makes: episodes are played, and their acts handed out several times.

Every so many batches a collection is made by the policy as it is then; in between its acts are
handed out in random minibatches. Unlike a stream of data this one has a state: the collection that
is in use. It goes into checkpoints, so that a run goes on with the same acts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch

from trilemma.core.batch import Rows
from trilemma.core.model import Stream
from trilemma.core.noise import Noise, mix

__all__ = ["Rollouts"]

B = TypeVar("B", bound=Rows)


class Rollouts(Stream[B]):
    """Minibatches of collections.

    Arguments:
        collect: Plays episodes: (noise of E rows, number of the collection) -> all their acts.
        kind: The class of a collection.
        episodes: E, episodes of a collection.
        batch: Acts a batch.
        batches: Batches of a collection.
        seed: Seed of episodes and minibatches.
    """

    def __init__(
        self,
        collect: Callable[[Noise, int], B],
        kind: type[B],
        *,
        episodes: int,
        batch: int,
        batches: int,
        seed: int,
    ) -> None:
        self._collect, self._kind = collect, kind
        self._episodes, self._size, self._batches, self._seed = episodes, batch, batches, seed
        self._number, self._acts = -1, None

    def batch(self, k: int) -> B:
        """Return the k-th batch; a collection is made where it begins with this batch."""
        number = k // self._batches
        if number != self._number or self._acts is None:
            noise = Noise.of(mix(self._seed, "episodes", number), self._episodes)
            self._acts, self._number = self._collect(noise, number).to("cpu"), number
        order = torch.Generator().manual_seed(mix(self._seed, "minibatch", k))
        rows = torch.randint(len(self._acts), (self._size,), generator=order)
        fields = {
            field.name: getattr(self._acts, field.name)[rows]
            for field in dataclasses.fields(self._kind)
            if isinstance(getattr(self._acts, field.name), torch.Tensor)
        }
        fields["noise"] = Noise.of(mix(self._seed, "batch", k), self._size)
        return self._kind(**fields)

    def state_dict(self) -> dict[str, Any]:
        """Return the collection in use."""
        if self._acts is None:
            return {}
        found = {
            field.name: getattr(self._acts, field.name)
            for field in dataclasses.fields(self._kind)
            if isinstance(getattr(self._acts, field.name), torch.Tensor)
        }
        return {"number": self._number, "acts": found}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take a collection into use."""
        if state:
            self._number = int(state["number"])
            self._acts = self._kind(**dict(state["acts"].items()))
