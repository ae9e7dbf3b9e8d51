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
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trilemma.core.adjusting import replaced_options, with_sampling
from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain
from trilemma.core.model import Loss, Objective
from trilemma.core.noise import Noise
from trilemma.families.diffusion.bound import reverse_variance
from trilemma.families.diffusion.denoiser import ConditionedDenoiser, Denoiser, Guided
from trilemma.families.diffusion.editing import Agreement, Step
from trilemma.families.diffusion.likelihood import DiffusionLikelihood
from trilemma.families.diffusion.options import (
    DiffusionSampling,
    DiffusionTraining,
    named_sampler,
    refuse_guidance,
    refuse_steps,
)
from trilemma.families.diffusion.probability_flow import PROBED
from trilemma.maths.broadcasting import per_row
from trilemma.maths.diffusion import training_times
from trilemma.maths.diffusion.guidance import classifier_guided, guided
from trilemma.maths.diffusion.sampling_grids import grid
from trilemma.maths.diffusion.spaces import Space

__all__ = ["Diffusion"]


class Diffusion(DiffusionLikelihood):
    """A denoiser over a domain: trained by a mean square, sampled in steps.

    `sampling` may be changed at the call: `model.adjusted(sampler="heun", steps=20).sample(16)`.

    Arguments:
        denoiser: The network, the forward process that it undoes, and what its answers mean.
        domain: Where the data lie.
        training: The loss; `DiffusionTraining()` if none is given.
        sampling: The way from noise to data; `DiffusionSampling()` if none is given.
        classifier: (x_t scaled, log-SNR) to logits of the classes, trained along; samples are
            then guided by its gradient instead of by the condition's own denoiser.
        prompts: Draws a condition for each row of a noise where none is asked for.
        agree: Brings clean estimates into agreement with what is known of a sample.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        domain: Domain,
        *,
        training: DiffusionTraining | None = None,
        sampling: DiffusionSampling | None = None,
        classifier: nn.Module | None = None,
        prompts: nn.Module | None = None,
        agree: Agreement | None = None,
    ) -> None:
        super().__init__()
        self.network, self.classifier, self.prompts = denoiser.network, classifier, prompts
        self.denoiser, self.domain, self.agree = denoiser.over(domain), domain, agree
        self.training_options = training or DiffusionTraining()
        self.sampling = sampling or DiffusionSampling()
        process = denoiser.process
        self.schedule, self.chain, self.space = process.schedule, process.chain, process.space
        self.steps, self.variance = process.bound_steps, denoiser.variance
        exact = domain.scaled_dimensions <= PROBED
        self.ode_by = "ODE estimate" if exact else "ODE estimate, Hutchinson"

    def adjusted(self, **options: Any) -> Self:  # noqa: ANN401
        """Return a view of the same weights that is sampled with other options.

        Arguments:
            options: Fields of `DiffusionSampling`.

        Raises:
            BadInput: There is no such option, its value makes no sense, there are more steps
                than the chain has, or nothing by which to guide.
        """
        sampling = replaced_options(self.sampling, options)
        refuse_steps(sampling.steps, self.chain)
        refuse_guidance(
            sampling.guidance,
            conditional=bool(self.domain.classes) or self.prompts is not None,
            dropout=self.training_options.label_dropout,
            classifier_free=self.classifier is None,
        )
        return with_sampling(self, sampling)

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
            condition = condition.partly_hidden(self.training_options.label_dropout, batch.noise)
        alpha, sigma = (per_row(number, x) for number in self.schedule(t))
        output, v = self.denoiser.output(x_t, t, condition)
        error = (self.denoiser.prediction.target(x, noise, alpha, sigma) - output).square()
        error = error.flatten(1).mean(1)
        gain = self.denoiser.prediction.gain(alpha, sigma).flatten()
        terms = {"clean": (error.detach() / gain).mean()}
        if self.training_options.weighting != "own":
            error = error * self._weight(t) / gain
        if v is not None:
            clean = self.denoiser.prediction.denoised(output, x_t, alpha, sigma).detach()
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
        if self.training_options.times == "importance":
            t, weight = training_times.importance(source.uniform(), self.schedule, self.chain)
        elif self.training_options.times == "log-normal":
            t = training_times.log_normal(source.normal(), self.schedule, self.chain)
        else:
            t = training_times.uniform(source.uniform(), self.chain)
        space = self.space_of(batch.condition)
        noise = space.normal(batch.noise.named("noise"), x.shape[1:])
        alpha, sigma = (per_row(number, x) for number in self.schedule(t))
        return x, alpha * x + sigma * noise, t, noise, weight

    def _weight(self, t: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Return the weight of ||x - xhat||^2 at times t."""

        def snr(t: Tensor) -> Tensor:
            alpha, sigma = self.schedule(t.double())
            return ((alpha / sigma) ** 2).float()

        if self.training_options.weighting == "noise":
            return snr(t)
        if self.training_options.weighting == "min-snr":
            return snr(t).clamp(max=self.training_options.max_snr)
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
        count = max(2, min(frames, self.sampling.steps + 1))
        frame_indices = {round(i * self.sampling.steps / (count - 1)) for i in range(count)}
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
        x = self.space_of(condition).normal(draws, self.domain.scaled_shape)
        spread = self.sampling.temperature * float(self.schedule(times[0])[1])
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
        way = self.sampling
        kind = named_sampler(way.sampler, way.eta).grid if way.grid == "auto" else way.grid
        most, least = way.noise_range
        return grid(self.schedule, way.steps, kind, most=most, least=least)

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

        states = named_sampler(self.sampling.sampler, self.sampling.eta)(
            mended,
            self.schedule,
            x,
            times,
            lambda: (
                self.sampling.temperature
                * self.space_of(condition).normal(draws, tuple(x.shape[1:]))
            ),
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
                unconditional, class_log_prob, self.schedule, self.sampling.guidance
            )
            return Guided(denoise, (unconditional,))
        denoise = guided(
            conditional, unconditional, self.sampling.guidance, self.sampling.guidance_over
        )
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
        eps = self.space.normal(noise, self.domain.scaled_shape)
        states = []
        for t in torch.linspace(0, 1, frames, dtype=torch.float64):
            alpha, sigma = (per_row(number, y) for number in self.schedule(t))
            states.append(self.domain.values.unscale(alpha * y + sigma * eps))
        return states

    @torch.no_grad()
    def score_field(
        self, x: Tensor, t: float, *, condition: Condition | None = None
    ) -> Float[Tensor, "B ..."]:
        """Return grad ln p_t = (alpha xhat - x_t) / sigma^2 at scaled states x_t."""
        time = torch.tensor(t, dtype=torch.float64, device=x.device)
        alpha, sigma = (per_row(number, x) for number in self.schedule(time))
        return (alpha * self.denoised(x, time, condition) - x) / sigma**2
