r"""Diffusion: learn to undo a little noise, and so to make data from noise.

    q(x_t | x) = N(alpha_t x, sigma_t^2 I),   t = 1/T, 2/T, …, 1, or any t in (0, 1]

The network is asked for the clean estimate xhat = E[x | x_t] through a prediction (its noise, x
itself, a velocity) and trained by the mean square error of that prediction; for the noise this is
the lecture's L_simple = E ||eps - eps_theta(x_t, t)||^2. In one unit for all predictions,

    L = E_t E_eps [ w(t) ||x - xhat(x_t, t)||^2 ]
    noise    w = SNR                        L_simple, whatever the network predicts
    bound    w = (SNR_{t-1} - SNR_t) T / 2  nats of the variational bound
    min-snr  w = min(SNR, m)                no step outweighs the others
    own      w = the prediction's gain      its own mean square

and with learned variances, the hybrid: L + (T / 1000) L_{t-1}, in nats a coordinate, with the
clean estimate held still. A sampler turns estimates into data; the bound of the same estimates is
in `variational`, their deterministic flow in `probability_flow`.

References:
    Denoising Diffusion Probabilistic Models, Ho, Jain & Abbeel, 2020 (arXiv:2006.11239).
    Improved Denoising Diffusion Probabilistic Models, Nichol & Dhariwal, 2021 (arXiv:2102.09672).
    Variational Diffusion Models, Kingma, Salimans, Poole & Ho, 2021 (arXiv:2107.00630).
    Efficient Diffusion Training via Min-SNR Weighting Strategy, Hang et al., 2023
    (arXiv:2303.09556).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput, nearest
from trilemma.core.model import Loss, Objective
from trilemma.core.noise import Noise
from trilemma.families.diffusion.bound import VARIANCES, reverse_variance, rows
from trilemma.families.diffusion.denoiser import ConditionedDenoiser, Denoiser, Guided
from trilemma.families.diffusion.editing import Agreement, Step
from trilemma.families.diffusion.likelihood import DiffusionLikelihood
from trilemma.families.diffusion.probability_flow import PROBED
from trilemma.maths.diffusion import training_times
from trilemma.maths.diffusion.guidance import classifier_guided, guided
from trilemma.maths.diffusion.predictions import Prediction
from trilemma.maths.diffusion.samplers import Ddim, Sampler
from trilemma.maths.diffusion.sampling_grids import GRIDS, LEVELS, grid
from trilemma.maths.diffusion.schedules import Schedule
from trilemma.maths.diffusion.spaces import Euclidean, Space

__all__ = ["WEIGHTINGS", "Diffusion"]

WEIGHTINGS = ("own", "noise", "bound", "min-snr")
"""Weights of the loss: of what the network predicts; of the noise (L_simple); nats of the bound;
of the noise, at most m."""

MOST = 5.0
"""m, the SNR above which 'min-snr' ceases to weigh more, as its paper has it."""

UNTIMED = 1000
"""Steps of the bound, and cells of the weights, where training is in continuous time."""


class Diffusion(DiffusionLikelihood):
    """A denoising network, a schedule and a prediction, trained together; sampled in steps.

    Arguments:
        network: (x [B, C, …] scaled, log-SNR [B], condition) to [B, C, …]; waves are further
            channels of x, and a learned variance as many more of what it gives.
        domain: Where the data lie.
        schedule: t to (alpha, sigma).
        prediction: What the network's output means.
        chain: T, steps of the chain on which it is trained and bounded; 0 for continuous time.
        times: How training times are drawn, one of `maths.diffusion.training_times.TIMES`.
        weighting: One of `WEIGHTINGS`.
        most: m, the SNR above which 'min-snr' ceases to weigh more.
        variance: Of a step back, one of `VARIANCES`.
        frequencies: Of the waves that the network is shown beside x.
        label_dropout: Share of training examples whose condition is hidden.
        sampler: The way from noise to data.
        steps: Steps of that way.
        grid: How they are spaced, one of `GRIDS`; 'auto' takes the sampler's own.
        noise_range: The largest and the smallest noise level of that way, in units of the signal,
            where it is spaced by them.
        temperature: Of the noise of that way: below 1 samples are nearer to the mean of what may
            be, and less various.
        guidance: Weight of the condition: 1 obeys, more exaggerates, 0 ignores.
        over: Times (from, to) between which guidance acts.
        classifier: (x_t scaled, log-SNR) to logits of the classes, trained along; samples are
            then guided by its gradient instead of by the condition's own denoiser.
        prompts: Draws a condition for each row of a noise where none is asked for.
        agree: Brings clean estimates into agreement with what is known of a sample.
        threshold: Whether clean estimates are cut to [-1, 1]; None, for levels.
        space: Where the noise lives.
    """

    def __init__(
        self,
        network: nn.Module,
        domain: Domain,
        schedule: Schedule,
        prediction: Prediction,
        *,
        chain: int = 1000,
        times: str = "uniform",
        weighting: str = "own",
        most: float = MOST,
        variance: str = "posterior",
        frequencies: Sequence[float] = (),
        label_dropout: float = 0.1,
        sampler: Sampler | None = None,
        steps: int = 50,
        grid: str = "auto",
        noise_range: tuple[float, float] = LEVELS,
        temperature: float = 1.0,
        guidance: float = 1.0,
        over: tuple[float, float] = (0.0, 1.0),
        classifier: nn.Module | None = None,
        prompts: nn.Module | None = None,
        agree: Agreement | None = None,
        threshold: bool | None = None,
        space: Space | None = None,
    ) -> None:
        super().__init__()
        _refuse(chain, steps, label_dropout, over)
        for kind, value, choices in (
            ("times", times, training_times.TIMES),
            ("weighting", weighting, WEIGHTINGS),
            ("variance", variance, VARIANCES),
            ("grid", grid, ("auto", *GRIDS)),
        ):
            if value not in choices:
                raise nearest(kind, value, choices)
        self.network, self.classifier, self.prompts = network, classifier, prompts
        self.domain, self.schedule, self.prediction = domain, schedule, prediction
        self.chain, self.drawing, self.weighting, self.variance = chain, times, weighting, variance
        self.most = most
        self.steps, self.label_dropout, self.agree = chain or UNTIMED, label_dropout, agree
        self.sampler, self.sample_steps, self.grid = sampler or Ddim(), steps, grid
        self.noise_range, self.temperature = noise_range, temperature
        self.guidance, self.over, self.space = guidance, over, space or Euclidean()
        exact = domain.dimensions <= PROBED
        self.ode_by = "ODE estimate" if exact else "ODE estimate, Hutchinson"
        levels = isinstance(domain.values, Levels)
        self.denoiser = Denoiser(
            network,
            schedule,
            prediction,
            tuple(frequencies),
            is_learned=variance == "learned",
            is_cut=levels if threshold is None else threshold,
        )

    # Training

    def objectives(self) -> Sequence[Objective[Examples]]:
        """Return the denoiser, and the classifier where there is one."""
        objective_list = [Objective("denoiser", self.loss, list(self.network.parameters()))]
        if self.classifier is not None:
            parameters = list(self.classifier.parameters())
            objective_list.append(
                Objective("classifier", self.classification, parameters, reuse_batch=True)
            )
        return objective_list

    def loss(self, batch: Examples) -> Loss:
        """Return the weighted mean square error of the prediction, per coordinate.

        Each example has its own time and its own noise.
        """
        x, x_t, t, noise, weight = self._noised(batch)
        condition = batch.condition
        if condition is not None:
            assert batch.noise is not None
            condition = condition.partly_hidden(self.label_dropout, batch.noise)
        alpha, sigma = (rows(number, x) for number in self.schedule(t))
        output, v = self.denoiser.output(x_t, t, condition)
        error = (self.prediction.target(x, noise, alpha, sigma) - output).square()
        error = error.flatten(1).mean(1)
        gain = self.prediction.gain(alpha, sigma).flatten()
        terms = {"clean": (error.detach() / gain).mean()}
        if self.weighting != "own":
            error = error * self._weight(t) / gain
        if v is not None:
            clean = self.prediction.denoised(output, x_t, alpha, sigma).detach()
            hybrid = self._hybrid(x, clean, t, v)
            terms["variance"] = hybrid.detach().mean()
            error = error + hybrid * (self.steps / 1000)
        return Loss((error * weight).mean(), terms)

    def classification(self, batch: Examples) -> Loss:
        """Return the cross-entropy of the classifier on noisy examples, in nats."""
        _, x_t, t, _, _ = self._noised(batch)
        assert self.classifier is not None
        assert batch.condition is not None
        assert batch.condition.label is not None
        logits = self.classifier(x_t, self.denoiser.clock(t, len(x_t))).float()
        loss = nn.functional.cross_entropy(logits, batch.condition.label)
        right = (logits.argmax(1) == batch.condition.label).float().mean()
        return Loss(loss, {"right": right.detach()})

    def _noised(self, batch: Examples) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return x scaled, x_t, t, eps, and the weights that the density of t asks for."""
        assert batch.noise is not None
        x = self.domain.values.scale(batch.x)
        source, weight = batch.noise.named("time"), torch.ones(len(x), device=x.device)
        if self.drawing == "importance":
            t, weight = training_times.importance(source.uniform(), self.schedule, self.chain)
        elif self.drawing == "log-normal":
            t = training_times.log_normal(source.normal(), self.schedule, self.chain)
        else:
            t = training_times.uniform(source.uniform(), self.chain)
        space = self.space_of(batch.condition)
        noise = space.normal(batch.noise.named("noise"), x.shape[1:])
        alpha, sigma = (rows(number, x) for number in self.schedule(t))
        return x, alpha * x + sigma * noise, t, noise, weight

    def _weight(self, t: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Return the weight of ||x - xhat||^2 at times t."""

        def snr(t: Tensor) -> Tensor:
            alpha, sigma = self.schedule(t.double())
            return ((alpha / sigma) ** 2).float()

        if self.weighting == "noise":
            return snr(t)
        if self.weighting == "min-snr":
            return snr(t).clamp(max=self.most)
        if not self.chain:
            return (training_times.falls(self.schedule, t, torch.exp) / 2).float()
        previous = t - 1 / self.steps
        is_first = previous < 0.5 / self.steps
        previous_snr = torch.where(is_first, 2 * snr(t), snr(torch.where(is_first, t, previous)))
        return (previous_snr - snr(t)) * (self.steps / 2)

    def _hybrid(self, x: Tensor, clean: Tensor, t: Tensor, v: Tensor) -> Float[Tensor, " B"]:
        """Return L_{t-1} in nats a coordinate; the first step, whose variance is fixed, has 0."""
        s = t - 1 / self.steps
        is_first = s < 0.5 / self.steps
        s = torch.where(is_first, t / 2, s)
        divergence = self.bounded("time").divergence(x, clean, s, t, v).flatten(1).mean(1)
        return torch.where(is_first, 0.0, divergence)

    # The clean estimate

    def denoised(
        self,
        x: Float[Tensor, "B ..."],
        t: Tensor,
        condition: Condition | None = None,
    ) -> Float[Tensor, "B ..."]:
        """Return xhat(x_t, t), scaled.

        Arguments:
            x: States x_t.
            t: Times in (0, 1], one for all or one for each.
            condition: What x is; None says nothing.
        """
        return self.denoiser.cut(self.denoiser.estimate(x, t, condition)[0])

    # Sampling

    @torch.no_grad()
    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Tensor:
        """Draw n examples in data units, [n, *shape].

        Arguments:
            n: How many.
            condition: What they are to be; None draws it as the data have it.
            noise: n rows.
        """
        last = deque(self._sample_trajectory(n, condition, noise), maxlen=1).pop()
        return self.domain.values.unscale(last.state)

    @torch.no_grad()
    def path(
        self,
        n: int,
        *,
        frames: int,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Sequence[Tensor]:
        """Return about `frames` states from noise to `sample`'s examples, in data units."""
        estimates = self.estimates(n, frames=frames, condition=condition, noise=noise)
        return [state for _, state, _ in estimates]

    @torch.no_grad()
    def estimates(
        self,
        n: int,
        *,
        frames: int,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Sequence[tuple[float, Tensor, Tensor]]:
        """Return t, x_t and E[x | x_t] at about `frames` steps of the way, in data units."""
        count = max(2, min(frames, self.sample_steps + 1))
        frame_indices = {round(i * self.sample_steps / (count - 1)) for i in range(count)}
        unscale = self.domain.values.unscale
        steps = enumerate(self._sample_trajectory(n, condition, noise))
        return [(s.t, unscale(s.state), unscale(s.clean)) for i, s in steps if i in frame_indices]

    def _sample_trajectory(
        self, n: int, condition: Condition | None, noise: Noise | None
    ) -> Iterator[Step]:
        """Yield the steps of n samples' trajectories, from noise to data."""
        device = next(self.network.parameters()).device
        noise = Noise.fresh(n, device) if noise is None else noise
        draws = noise.named("state")
        times, condition = self.times(), self.resolve_condition(condition, noise)
        x = self.space_of(condition).normal(draws, self.domain.shape)
        spread = self.temperature * float(self.schedule(times[0])[1])
        return self.trajectory(x * spread, times, condition, draws)

    def space_of(self, condition: Condition | None) -> Space:
        """Return the space of examples of a condition: that of clouds depends on their size."""
        return self.space.masked(None if condition is None else condition.points)

    def resolve_condition(self, condition: Condition | None, noise: Noise) -> Condition | None:
        """Return the condition, or for None one drawn as the data have it."""
        if condition is not None:
            return condition
        if self.prompts is not None:
            return self.prompts(noise.named("prompt"))
        if self.domain.classes:
            return Condition.sample(self.domain.frequencies, noise.named("label"))
        return None

    def times(self) -> Float[Tensor, " n"]:
        """Return the times of a sample's way."""
        kind = self.sampler.grid if self.grid == "auto" else self.grid
        most, least = self.noise_range
        return grid(self.schedule, self.sample_steps, kind, most=most, least=least)

    def trajectory(
        self,
        x: Tensor,
        times: Float[Tensor, " n"],
        condition: Condition | None,
        draws: Noise,
        agree: Agreement | None = None,
    ) -> Iterator[Step]:
        """Yield the state at each time, with the clean estimate by which it was left."""
        denoise, agree = self._guided(condition), agree or self.agree
        latest: dict[str, Tensor] = {}

        def mended(state: Tensor, t: Tensor) -> Tensor:
            clean = self.denoiser.cut(denoise(state, t))
            clean = clean if agree is None else agree(clean, condition)
            latest.setdefault("clean", clean)
            return clean

        def variance(t: Tensor, s: Tensor) -> Tensor:
            v = denoise.v
            return reverse_variance(self.schedule, s, t, self.variance, v, latest["clean"])

        states = self.sampler(
            mended,
            self.schedule,
            x,
            times,
            lambda: self.temperature * self.space_of(condition).normal(draws, tuple(x.shape[1:])),
            variance=None if self.variance == "posterior" else variance,
        )
        for t, state in zip(times[:-1].tolist(), states, strict=True):
            yield Step(t, x, latest.pop("clean"))
            x = state
        yield Step(float(times[-1]), x, x)

    def _guided(self, condition: Condition | None) -> Guided:
        """Return the denoiser of samples."""
        if condition is None:
            unconditional = ConditionedDenoiser(self.denoiser, None)
            return Guided(unconditional, (unconditional,))
        conditional = ConditionedDenoiser(self.denoiser, condition)
        unconditional = ConditionedDenoiser(self.denoiser, condition.unconditional())
        if self.classifier is not None:
            class_log_prob = self._class_log_prob(condition)
            denoise = classifier_guided(
                unconditional, class_log_prob, self.schedule, self.guidance
            )
            return Guided(denoise, (unconditional,))
        denoise = guided(conditional, unconditional, self.guidance, self.over)
        return Guided(denoise, (unconditional, conditional))

    def _class_log_prob(
        self, condition: Condition
    ) -> Callable[[Tensor, Tensor], Float[Tensor, " B"]]:
        """Return (x_t, t) -> ln p(class | x_t) by the classifier."""
        label, classifier = condition.label, self.classifier
        assert classifier is not None
        assert label is not None

        def log_prob(x: Tensor, t: Tensor) -> Tensor:
            logits = classifier(x, self.denoiser.clock(t, len(x))).float()
            return logits.log_softmax(1).gather(1, label[:, None])[:, 0]

        return log_prob

    # What there is to be seen

    def forward_path(self, x: Tensor, *, frames: int, noise: Noise) -> Sequence[Tensor]:
        """Return x_t at `frames` times from 0 to 1, evenly spaced, in data units."""
        y = self.domain.values.scale(x)
        eps = self.space.normal(noise, self.domain.shape)
        states = []
        for t in torch.linspace(0, 1, frames, dtype=torch.float64):
            alpha, sigma = (rows(number, y) for number in self.schedule(t))
            states.append(self.domain.values.unscale(alpha * y + sigma * eps))
        return states

    @torch.no_grad()
    def score_field(
        self, x: Tensor, t: float, *, condition: Condition | None = None
    ) -> Float[Tensor, "B ..."]:
        """Return grad ln p_t = (alpha xhat - x_t) / sigma^2 at scaled states x_t."""
        time = torch.tensor(t, dtype=torch.float64, device=x.device)
        alpha, sigma = (rows(number, x) for number in self.schedule(time))
        return (alpha * self.denoised(x, time, condition) - x) / sigma**2


def _refuse(chain: int, steps: int, dropout: float, over: tuple[float, float]) -> None:
    """Refuse numbers that make no sense."""
    if chain < 0 or steps < 1:
        raise BadInput(
            f"a chain of {chain} steps, sampled in {steps}, was given; a chain has 1 step or "
            "more (0: continuous time), and sampling 1 or more."
        )
    if not 0 <= dropout <= 1:
        raise BadInput(f"label dropout {dropout:g} was given; it is a share, 0 to 1.")
    if not 0 <= over[0] < over[1] <= 1:
        raise BadInput(
            f"guidance over {over[0]:g} to {over[1]:g} was asked for; give times from 0 to 1, "
            "the first below the second."
        )
