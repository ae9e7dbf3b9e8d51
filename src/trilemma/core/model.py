"""The contract on which everything is built: a model, its objectives, its stages, its abilities.

Training asks a model for its objectives and knows nothing else of it. Measuring asks it for what
it can do, never for what it is. Whatever is random takes its numbers from a `Noise`.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from trilemma.core.batch import Condition, Rows
from trilemma.core.noise import Noise
from trilemma.core.partition import LogPartition

__all__ = [
    "Activity",
    "Adjustable",
    "BoundTimed",
    "Bounded",
    "Coded",
    "Completing",
    "Conditional",
    "Constrained",
    "Density",
    "Editing",
    "Energetic",
    "Estimating",
    "Explaining",
    "Flowing",
    "Gradual",
    "Improving",
    "Invertible",
    "Latent",
    "Loss",
    "Model",
    "Noising",
    "Objective",
    "Ordered",
    "Partitioned",
    "Reconstructing",
    "Restoring",
    "Scored",
    "Scoring",
    "Seeking",
    "Sequential",
    "Stage",
    "Stream",
    "Termwise",
    "Tightening",
    "Watched",
    "capabilities",
    "estimate",
    "shallow_copy",
]

B = TypeVar("B", bound=Rows)
X = TypeVar("X")


@dataclass(frozen=True)
class Loss:
    """What an objective asks to be made small, and the terms it is made of."""

    value: Float[Tensor, ""]
    """A mean over the examples of the batch, differentiable."""
    terms: Mapping[str, Tensor] = field(default_factory=dict)
    """Detached means for the log."""


@dataclass(frozen=True)
class Objective(Generic[B]):
    """One player of the game: a loss, and the parameters that make it small."""

    name: str
    loss: Callable[[B], Loss]
    """A pure function of the weights, the batch with its noise, and what `before` was given."""
    parameters: Sequence[nn.Parameter]
    repeat: int = 1
    """Updates a step, each on a fresh batch unless `reuse_batch` says otherwise."""
    after: Callable[[], None] | None = None
    """Called after each update, e.g. to clip a critic's weights; not after one that was left out
    because it was not finite. The place to write buffers."""
    observe: Callable[[Mapping[str, float]], None] | None = None
    """Called after `after` with the loss and its terms, means over all processes: for what follows
    from how the game stands."""
    before: Callable[[int, float], None] | None = None
    """Called before each update with its number in the stage, from 0, and the share of the stage
    that is done, from 0 to 1 (0 while the number of steps is not known): for weights that
    change."""
    reuse_batch: bool = False
    """Whether it takes the batch of the update before, so that what was computed is reused."""
    transform_batch: Callable[[B], B] | None = None
    """Applied to a fresh batch, on the device, before its rows are sharded over processes and
    parts: for what needs all of them, such as a pairing. Pure as the loss is."""
    rate: float = 1.0
    """Share of the learning rate that it takes."""


class Model(nn.Module, ABC, Generic[B, X]):
    """A generative model: something to be trained and something to be drawn from."""

    run_buffers: ClassVar[tuple[str, ...]] = ()
    """Buffers that belong to one run and not to what was learnt: counters, memories, settings. A
    run that starts from the weights of another has its own. Any module may declare them."""

    @abstractmethod
    def objectives(self) -> Sequence[Objective[B]]:
        """Return the players, in the order in which they move."""

    @abstractmethod
    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> X:
        """Draw n examples in data units.

        Arguments:
            n: How many.
            condition: What they are to be, n rows; None lets the model choose by the data's
                class frequencies.
            noise: n rows; None takes a seed from torch's global generator.
        """


@runtime_checkable
class Density(Protocol):
    """Knows log p(x) exactly, in nats per example about the data as they lie in the file."""

    def log_prob(self, x: Tensor, *, condition: Condition | None = None) -> Float[Tensor, " B"]:
        """Return ln p(x)."""
        ...


@runtime_checkable
class Bounded(Protocol):
    """Knows a lower bound of log p(x) in expectation, in nats per example."""

    def bound(
        self, x: Tensor, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Float[Tensor, " B"]:
        """Return an estimate whose mean over the noise is at most ln p(x)."""
        ...


@runtime_checkable
class Tightening(Protocol):
    """Knows bounds of log p(x) that tighten with the number of draws."""

    def importance_bound(
        self,
        x: Tensor,
        k: int,
        *,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Float[Tensor, " B"]:
        """Return ln 1/k sum_i w_i, E[w_i] = p(x): its mean is at most ln p(x), and rises with k.

        Computed in parts, so that k does not change the memory that is needed.
        """
        ...


@dataclass(frozen=True)
class Activity:
    """How many units of a code say something of the example, and how much each says."""

    active: int
    """Units whose mean varies over the examples by more than 0.01."""
    units: int
    """All units."""
    kl: Float[Tensor, " J"]
    """Mean KL of each, in nats."""


@runtime_checkable
class Latent(Protocol):
    """Has a code whose units may collapse onto their prior."""

    def latent_activity(self, x: Tensor, noise: Noise | None = None) -> Activity:
        """Return which units are active on examples in data units."""
        ...


@runtime_checkable
class Termwise(Protocol):
    """Knows its bound term by term."""

    def bound_terms(self, x: Tensor, *, noise: Noise | None = None) -> Float[Tensor, "B T"]:
        """Return L_0, L_1, … in nats; minus their sum is a bound of ln p(x)."""
        ...


@runtime_checkable
class Coded(Protocol):
    """Maps data to codes and back."""

    def encode(self, x: Tensor, *, noise: Noise | None = None) -> Float[Tensor, "B Z"]:
        """Return codes; without noise, their mean."""
        ...

    def decode(self, z: Float[Tensor, "B Z"]) -> Tensor:
        """Return examples in data units."""
        ...


@runtime_checkable
class Energetic(Protocol):
    """Knows -ln p(x) up to a constant."""

    def energy(
        self, x: Tensor, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Float[Tensor, " B"]:
        """Return the energy in nats, about the data as they lie in the file.

        On levels, ln P(x) >= E_noise[-energy(x)] - ln Z.
        """
        ...


@runtime_checkable
class Scoring(Protocol):
    """Has a critic that tells how real an example looks."""

    conditional: bool
    """Whether samples and scores are conditioned on the class."""

    def score(self, x: Tensor, *, condition: Condition | None = None) -> Float[Tensor, " B"]:
        """Return a number of examples in data units, higher where they look more real.

        Differentiable in x where data are real numbers.
        """
        ...


@runtime_checkable
class Watched(Protocol):
    """Knows from the numbers of training when it goes wrong."""

    def alarms(self, history: Sequence[Mapping[str, float]]) -> Mapping[str, str]:
        """Return a sentence by kind of trouble, such as 'collapse'; empty where all is well.

        Arguments:
            history: The objectives' terms in the latest steps ('critic/real', …), oldest first.
        """
        ...


@runtime_checkable
class Partitioned(Protocol):
    """Knows its ln Z between a lower and an upper estimate."""

    def log_partition(self, *, noise: Noise) -> LogPartition:
        """Return estimates of ln Z in nats from both sides, by `len(noise)` chains each way."""
        ...


@runtime_checkable
class Completing(Protocol):
    """Completes an example of which a part is given (inpainting)."""

    def complete(
        self,
        x: Tensor,
        mask: Tensor,
        *,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Tensor:
        """Return examples that equal x, [B, *shape] in data units, where `mask` is true.

        Arguments:
            x: What is given, data units; not read elsewhere.
            mask: True where x is given, x's shape.
            condition: What the examples are to be.
            noise: B rows.
        """
        ...


@runtime_checkable
class Conditional(Protocol):
    """Draws examples of a condition, and a condition of its own where none is given."""

    def resolve_condition(self, condition: Condition | None, noise: Noise) -> Condition | None:
        """Return what samples of a noise are of: the condition, or for None the drawn one."""
        ...


@runtime_checkable
class Ordered(Protocol):
    """Knows p(x) as a product of conditionals, in the order of an image's rows or of columns."""

    def conditionals(
        self, x: Tensor, *, condition: Condition | None = None
    ) -> Float[Tensor, "B ..."]:
        """Return ln p(x_i | what is before it) in nats at the place of each number."""
        ...


@runtime_checkable
class Sequential(Protocol):
    """Draws one part of an example after another, which may take long."""

    def sampling_seconds(self, n: int) -> float:
        """Return about how long n samples take, from the time of the first few parts."""
        ...


@runtime_checkable
class Gradual(Protocol):
    """Samples in steps that can be looked at on the way."""

    def path(
        self,
        n: int,
        *,
        frames: int,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Sequence[Tensor]:
        """Return about `frames` states from noise to the sample, each in data units."""
        ...


@runtime_checkable
class Adjustable(Protocol):
    """Can be drawn from in ways that are chosen at the call, with the same weights."""

    sampling: Any
    """How it is drawn from: a frozen dataclass, each field of which is an option with a type."""

    def adjusted(self, **options: Any) -> Any:  # noqa: ANN401
        """Return this model drawn from with other options: a view that shares all weights.

        `model.adjusted(steps=50).sample(16)`; the model itself stays as it is. An option has the
        name of the recipe's field, and is `steps` where that is `sample_steps`.

        Raises:
            BadInput: There is no such option, or its value makes no sense for this model.
        """
        ...


@runtime_checkable
class Noising(Protocol):
    """Exchanges data for noise in time t from 0 to 1, and can be looked at on the way."""

    def forward_path(self, x: Tensor, *, frames: int, noise: Noise) -> Sequence[Tensor]:
        """Return x_t at `frames` times from 0 to 1, evenly spaced, in data units."""
        ...


@runtime_checkable
class Estimating(Noising, Protocol):
    """Expects something of each state on the way back from noise to a sample."""

    def estimates(
        self,
        n: int,
        *,
        frames: int,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Sequence[tuple[float, Tensor, Tensor]]:
        """Return (t, x_t, E[x | x_t]) at about `frames` steps of `sample`'s way, data units."""
        ...


@runtime_checkable
class Scored(Noising, Protocol):
    """Knows grad ln p_t on the way from data to noise."""

    def score_field(
        self, x: Tensor, t: float, *, condition: Condition | None = None
    ) -> Float[Tensor, "B ..."]:
        """Return grad ln p_t at states x_t, both in scaled coordinates."""
        ...


@runtime_checkable
class BoundTimed(Protocol):
    """Knows where on the way from data to noise each term of its bound looks."""

    def bound_over_noise(self, x: Tensor, *, draws: int, noise: Noise) -> tuple[Tensor, Tensor]:
        """Return ln SNR of x_1 … x_T, falling, [T], and about `bound_terms`, [B, T + 1].

        Of the terms between L_0 and L_T as many are computed as are drawn, and each stands for
        its neighbours.
        """
        ...


@runtime_checkable
class Flowing(Protocol):
    """Knows a likelihood by an ordinary differential equation, beside another that it has."""

    def ode_log_prob(
        self, x: Tensor, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Float[Tensor, " B"]:
        """Return an estimate of ln p(x), or on levels of a lower bound, nats per example."""
        ...


@runtime_checkable
class Editing(Protocol):
    """Makes something of examples that are given."""

    def edit(
        self,
        x: Tensor,
        strength: float,
        *,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Tensor:
        """Return x after noise up to time `strength`, in (0, 1], and the way back (SDEdit)."""
        ...

    def between(
        self, a: Tensor, b: Tensor, count: int, *, condition: Condition | None = None
    ) -> Tensor:
        """Return [count, B, *shape] on the way from a to b, through their codes."""
        ...


@runtime_checkable
class Improving(Protocol):
    """Changes given examples so that they are worth more."""

    improves: str
    """What is raised; '' where this model raises nothing."""

    def improve(self, x: Tensor, *, noise: Noise | None = None) -> Tensor:
        """Return examples that were changed, data units."""
        ...

    def worth(self, x: Tensor, *, seed: int) -> Float[Tensor, " B"]:
        """Return what is raised, of each example; an estimate by chances that the seed fixes."""
        ...


@runtime_checkable
class Seeking(Protocol):
    """Was trained to find what is worth much, and knows what it has asked and found."""

    seeks: str
    """What is sought; '' where this model seeks nothing."""

    def call_scores(self) -> Float[Tensor, " C"]:
        """Return what different molecules were worth, in the order in which they were asked."""
        ...

    def best_found(self) -> Tensor:
        """Return the best of them, data units, the best first."""
        ...


@runtime_checkable
class Constrained(Protocol):
    """Improves given examples, each of which is to stay similar to itself."""

    seeks: str
    constrained: bool
    """Whether that was its task."""

    def originals(self) -> Tensor:
        """Return the examples that were to be improved, data units."""
        ...

    def improved(self) -> Tensor:
        """Return what each of them has become."""
        ...


@runtime_checkable
class Reconstructing(Protocol):
    """Has a first stage through which every sample goes."""

    def reconstruct(self, x: Tensor, *, noise: Noise | None = None) -> Tensor:
        """Return what the first stage makes of examples, in data units."""
        ...


@runtime_checkable
class Restoring(Protocol):
    """Makes large images of small ones."""

    scale: int
    """How many times as long the sides become."""

    def shrink(self, x: Tensor) -> Tensor:
        """Return the small images, [B, C, H / scale, W / scale], of large ones, data units."""
        ...

    def restore(self, small: Tensor, *, noise: Noise | None = None) -> Tensor:
        """Return large images of small ones, data units."""
        ...


@runtime_checkable
class Explaining(Protocol):
    """Can say which part of an example each token of its condition was looked at for."""

    def attention(
        self, condition: Condition, *, noise: Noise | None = None
    ) -> tuple[Tensor, Float[Tensor, "B M H W"]]:
        """Return samples, data units, and the weight of each token at each place.

        In mean over layers, heads and steps; the weights of a place sum to at most 1.
        """
        ...


@runtime_checkable
class Invertible(Protocol):
    """A part of a model that maps data to noise and back."""

    def inverse_error(self, y: Tensor) -> Float[Tensor, " B"]:
        """Return max |y - f^-1(f(y))| of each example, computed in float32."""
        ...

    def depth_errors(self, y: Tensor) -> Float[Tensor, " K"]:
        """Return the largest error after 1, 2, … K layers and back."""
        ...


CAPABILITIES: Mapping[str, type] = {
    "density": Density,
    "bound": Bounded,
    "encode": Coded,
    "energy": Energetic,
    "complete": Completing,
    "path": Gradual,
}


def estimate(model: Model) -> str:
    """Name how a model's likelihood is come by, as tables say it: 'exact' unless it says else."""
    return getattr(model, "likelihood_by", "exact")


def capabilities(model: Model) -> tuple[str, ...]:
    """Name what a model can do: always 'sample', then those of `CAPABILITIES` that it has."""
    return ("sample", *(name for name, kind in CAPABILITIES.items() if isinstance(model, kind)))


class Stream(ABC, Generic[B]):
    """An endless source of batches.

    Batch k of a data stream is a pure function of (data, seed, k), so that it has no state to
    keep. A stream that a model makes (rollouts) collects anew every so many batches, hands out
    minibatches of the same rollouts in between, and gives the current ones to `state_dict`.
    """

    ending: str = "the stream is over"
    """Why a stage has ended whose stream `is_over`."""

    @abstractmethod
    def batch(self, k: int) -> B:
        """Return the k-th global batch, k = 0, 1, 2, … in order."""

    @property
    def spent(self) -> float:
        """Return the share of a budget of its own that is spent, such as calls of an oracle.

        0 where it has none. The time that is left is estimated by it.
        """
        return 0.0

    @property
    def is_over(self) -> bool:
        """Tell whether that budget is spent and what it gave was used, which ends a stage."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """Return what is needed, beside k, to go on exactly: tensors and plain values."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what `state_dict` gave."""
        if state:
            raise ValueError(f"{type(self).__name__} keeps no state, but got {sorted(state)}.")


@dataclass(frozen=True)
class Stage(Generic[B]):
    """A part of training: what is trained, on which batches, for which share of the budget.

    Most recipes have one. A later stage reads what an earlier one has trained, frozen.
    """

    name: str
    model: Model[B, Any]
    """The whole model or the part of it whose objectives are trained now."""
    stream: Callable[[], Stream[B]]
    """Opens the stage's batches when it begins, or when it is resumed: a pure function of the
    data, the seed and what earlier stages have trained."""
    share: float = 1.0
    prepare: Callable[[], None] | None = None
    """Called once, before the stream is opened for the first time, never on resuming; its effect
    is in the model's parameters and buffers."""
    finish: Callable[[Stream[B]], None] | None = None
    """Called with the stream when the stage has ended and the averaged weights have become the
    weights, before they are saved; its effect is in the model's parameters and buffers."""


M = TypeVar("M", bound=nn.Module)


def shallow_copy(module: M) -> M:
    """Return a module with the same parameters, buffers and parts, whose attributes are its own.

    A part that is set in the copy does not replace that of the module.
    """
    view = copy.copy(module)
    view._modules = dict(module._modules)
    return view
