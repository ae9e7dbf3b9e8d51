"""Batches that a policy makes: episodes are played, and their transitions reused.

Every so many batches a collection is made by the policy as it is then; in between its transitions
are handed out in minibatches, all of them once before any comes again. A collection may end
early: where the policy has moved too far from the one that played, by a function of its weights
and the minibatch, it plays anew. Unlike a stream of data this one has a state: the collection that
is in use. It goes into checkpoints, so that a run goes on with the same transitions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from trilemma.core.batch import Rows
from trilemma.core.errors import BadInput
from trilemma.core.model import Stream
from trilemma.core.noise import Noise, mix
from trilemma.data.search import Search

__all__ = ["Rollouts"]

B = TypeVar("B", bound=Rows)


class Rollouts(Stream[B]):
    """Minibatches of collections.

    Arguments:
        collect: Plays episodes: (noise of E rows, number of the collection) -> transitions.
        kind: The class of a collection.
        episodes: E, episodes of a collection.
        batch: Transitions a batch.
        batches: Of how many transitions -> batches of a collection.
        seed: Seed of episodes and minibatches.
        search: Knows what was asked of an oracle; its calls may be spent, which ends the stage.
        is_stale: Tells of a minibatch that would be handed out whether the policy has moved too
            far for it; the collection then ends.
    """

    ending = "the calls of the oracle are spent"

    def __init__(
        self,
        collect: Callable[[Noise, int], B],
        kind: type[B],
        *,
        episodes: int,
        batch: int,
        batches: Callable[[int], int],
        seed: int,
        is_stale: Callable[[B], bool] | None = None,
        search: Search | None = None,
    ) -> None:
        self._collect, self._kind = collect, kind
        self._episodes, self._size, self._seed = episodes, batch, seed
        self._batches_for, self._batches = batches, 0
        self._number, self._first, self._transitions, self._is_stale = -1, 0, None, is_stale
        self._search, self._next = search, 0

    @property
    def spent(self) -> float:
        """Return the share of the search's calls that is spent; 0 where nothing is sought."""
        return 0.0 if self._search is None else self._search.spent

    @property
    def is_over(self) -> bool:
        """Tell whether the calls of the search's oracle are spent, and what they gave was used."""
        return self._is_spent and self._next - self._first >= self._batches

    @property
    def _is_spent(self) -> bool:
        return self._search is not None and self._search.is_spent

    def batch(self, k: int) -> B:
        """Return the k-th batch; a collection is made where the one before has ended."""
        self._next = k + 1
        if self._transitions is None or k - self._first >= self._batches:
            self._renew(k)
        batch = self._minibatch(k)
        if k > self._first and self._is_stale is not None and self._is_stale(batch):
            if self._is_spent:  # another collection is worth nothing: this was the last batch
                self._first = self._next - self._batches
                return batch
            self._renew(k)
            return self._minibatch(k)
        return batch

    def _renew(self, k: int) -> None:
        """Make a collection whose first batch is the k-th."""
        self._number, self._first = self._number + 1, k
        noise = Noise.of(mix(self._seed, "episodes", k), self._episodes)
        self._take(self._collect(noise, self._number).to("cpu"))

    def _take(self, transitions: B) -> None:
        self._transitions = transitions
        self._batches = max(1, self._batches_for(len(transitions)))

    def _minibatch(self, k: int) -> B:
        rows = self._rows(k)
        fields: dict[str, Any] = {name: value[rows] for name, value in self._fields().items()}
        noise = Noise.of(mix(self._seed, "batch", k), self._size)
        return self._kind(**(fields | {"noise": noise}))

    def _rows(self, k: int) -> Tensor:
        """Return the transitions of the k-th batch: in order of one permutation after another."""
        assert self._transitions is not None
        count, start = len(self._transitions), (k - self._first) * self._size
        passes = range(start // count, (start + self._size - 1) // count + 1)
        permutations = []
        for number in passes:
            order = torch.Generator().manual_seed(mix(self._seed, "order", self._first, number))
            permutations.append(torch.randperm(count, generator=order))
        offset = start - passes[0] * count
        return torch.cat(permutations)[offset : offset + self._size]

    def _fields(self) -> dict[str, Tensor]:
        """Return the tensors of the collection by name."""
        values = {
            f.name: getattr(self._transitions, f.name) for f in dataclasses.fields(self._kind)
        }
        return {name: x for name, x in values.items() if isinstance(x, Tensor)}

    def state_dict(self) -> dict[str, Any]:
        """Return the collection in use."""
        if self._transitions is None:
            return {}
        state = {
            "number": self._number,
            "first": self._first,
            "next": self._next,
            "transitions": self._fields(),
        }
        return state | ({"search": self._search.state_dict()} if self._search else {})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take a collection into use.

        Raises:
            BadInput: An earlier version kept it in another form.
        """
        if not state:
            return
        try:
            self._number, self._first = int(state["number"]), int(state["first"])
            self._next = int(state["next"])
            self._take(self._kind(**state["transitions"]))
            if self._search is not None:
                self._search.load_state_dict(state["search"])
        except (KeyError, TypeError):
            raise BadInput(
                "the checkpoint holds episodes in the form of an earlier version of trilemma, "
                "from which training cannot go on; sample and evaluate the run as it is, or "
                "train anew."
            ) from None
