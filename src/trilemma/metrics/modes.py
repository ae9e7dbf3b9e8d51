r"""Modes: how many of the kinds that there are in the data a model draws, and how evenly.

Every sample is sorted into one of K modes: the class that the data set's classifier sees in it
(three digits for stacked-mnist), or the nearest centre of a mixture of equal Gaussians. With n_k
of n samples in mode k, g_k = n_k / n, and e_k the shares of the data,

    modes        number of k with n_k > 0; for Gaussians only good samples count
    good_share   share of samples within 3 deviations of a centre (Gaussians only);
                 the mixture itself has 1 - exp(-9/2) = 98.9 % there in the plane
    mode_kl      sum_k g_k ln(g_k / e_k), the reverse Kullback-Leibler divergence, nats

A model that draws one mode alone has mode_kl = -ln e_k, and one that misses a mode may still have
a finite one, which is why the field takes this direction. e is uniform for Gaussians; otherwise it
is the histogram of the test split by the same classifier, with a half added to every count. The
channels of stacked-mnist are independent, so that its e is the product of its channels' shares.

Intervals. With a mean of m_k samples mode k is lost with a probability of about exp(-m_k), hence

    Var(modes) = sum_k exp(-m_k) (1 - exp(-m_k)) - (sum_k m_k exp(-m_k))² / n

n_k in the place of m_k would say that a mode which is lost could not have been found. With f_j the
number of modes with j samples, f_1 - f_2 + f_3 - … has the mean of the first sum (Good & Toulmin);
its terms are damped by P(Binomial(J, 1/2) >= j), as Efron & Thisted do, and less than half the
sum with n_k is never taken; less than all of it not, of so few modes that the signs do not
balance. f_1² / n has the mean of the last term.
While hardly a mode was found twice, those that were found by chance are a Poisson number, whose
variance grows as itself: by a slope of 1 - 4 f_2 / f_1, or none. And a mode that was not seen may
be lost once in twenty only: while there are such the interval reaches 0.95 up at least.

good_share has Wilson's interval. mode_kl varies in proportion to what it is, over samples and, if
e was counted, over the M test examples behind it,

    Var_g[ln(g / e)] / n + Var_e[g / e] / M                   linear
    (K - 1) (1/n + 1/M)² / 2                                  quadratic

of which the first is chance, twice the second, where g = e, and taken off
(`metrics.chance`): for the K modes of ten samples or more, since beyond that the squares are
not all. What no sample was found in, it cannot tell: that a mode which is lost by chance adds to
mode_kl is left out of its interval, which is then too narrow (of ten modes, one with two samples
in the mean, it holds 82 %). Of a model that is right, 2 n mode_kl is about chi²_{K-1}: mode_kl is
(K - 1) / 2n by chance, and its floor shows that.

References:
    | Unrolled Generative Adversarial Networks (Metz et al., 2016, arXiv:1611.02163)
    | VEEGAN: Reducing Mode Collapse in GANs using Implicit Variational Learning (Srivastava et
      al., 2017, arXiv:1705.07761)
    | PacGAN: The power of two samples in generative adversarial networks (Lin et al., 2017,
      arXiv:1712.04086)
    | Probable Inference, the Law of Succession, and Statistical Inference (Wilson, 1927)
    | The Number of New Species, and the Increase in Population Coverage, when a Sample is
      Increased (Good & Toulmin, 1956)
    | Estimating the Number of Unseen Species (Efron & Thisted, 1976)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trilemma.data.dataset import Centres, DataSet
from trilemma.data.stacked_mnist import CHANNELS
from trilemma.metrics.context import Context
from trilemma.metrics.extractors import CLASSIFIERS, STACKED, Extractor, extractor
from trilemma.metrics.features import FEATURED, FeatureReference, SampleFeatures, sample_features
from trilemma.metrics.metric import EQUAL, Metric, Unmeasured
from trilemma.metrics.score import Chance, Score, wilson

__all__ = [
    "METRICS",
    "Modes",
    "Sorted",
    "Tally",
    "good_share",
    "mode_count",
    "mode_kl",
    "modes_of",
    "reached",
    "reverse_kl",
    "sort",
]

DAMPED = 10
"""J, trials of the binomial distribution by which the series of modes is damped."""
MANY = 20
"""Modes with 1 … J samples, from which on the series stands alone."""
OFTEN = 10
"""Samples of a mode from which on its part of mode_kl is a square."""
UNSEEN = 0.95
"""Expected number, 1 or 0, of a mode that is lost once in twenty."""
REACH = 3.0
"""Deviations from a centre within which a sample is good."""
CLASSES = 10
"""Classes of each data set that has a shipped classifier."""


@dataclass(frozen=True)
class Tally:
    """Some samples, sorted."""

    which: Int[Tensor, " N"]
    """The mode of each."""
    good: Bool[Tensor, " N"] | None = None
    """Whether it is a good one, where there is such a notion."""

    def counts(self, modes: int) -> Int[Tensor, " K"]:
        """Return how many good samples each mode has."""
        counted = self.which if self.good is None else self.which[self.good]
        return torch.bincount(counted, minlength=modes)


@dataclass(frozen=True)
class Modes:
    """The modes of a data set, and how samples are sorted into them."""

    count: int
    """K."""
    of: Callable[[Tensor], Tensor]
    """Examples [N, ...] in data units to the mode of each, [N]."""
    expected: Float[Tensor, " K"]
    """e, the share of each mode in the data, float64."""
    words: str
    """How samples are sorted."""
    shares: str
    """Where e is from."""
    good: Callable[[Tensor], Tensor] | None = None
    """Examples to whether each is near the centre of its mode, [N] bool."""
    true_good: float = math.nan
    """Share of good ones under the data's own density."""
    of_features: Callable[[Tensor], Tensor] | None = None
    """The extractor's features of examples to their modes, where that is possible and cheaper."""
    counted: int = 0
    """Test examples on which e was counted; 0 where it is known."""
    channels: int = 1
    """Independent channels whose shares were counted, and whose product e is."""

    def sort(self, x: Tensor, features: Tensor | None = None) -> Tally:
        """Sort examples.

        Arguments:
            x: [N, ...], data units.
            features: Of the same examples by the extractor that was given to `modes_of`.
        """
        if features is not None and self.of_features is not None:
            return Tally(self.of_features(features))
        return Tally(self.of(x), None if self.good is None else self.good(x))


def mode_count(data: DataSet) -> int:
    """Return K, or 0 where the data set has no modes that could be counted."""
    if data.centres is not None:
        return len(data.centres.at)
    if data.extractor in STACKED:
        return CLASSES**CHANNELS
    return CLASSES if data.extractor in CLASSIFIERS else 0


def modes_of(
    data: DataSet,
    current_extractor: Extractor,
    *,
    rows: Int[Tensor, " M"] | None = None,
    features: Float[Tensor, "M F"] | None = None,
) -> Modes | None:
    """Return the modes of a data set; None where there are none that could be counted.

    Arguments:
        data: With centres, or with an extractor among the shipped classifiers.
        current_extractor: The extractor in use; where it is not the data set's classifier, that
            is loaded as well, on the same device.
        rows: Test examples whose histogram is wanted; None takes all.
        features: Of these rows, by `current_extractor`, if they are known.
    """
    if data.centres is not None:
        return _gaussians(data.centres)
    if mode_count(data) == 0:
        return None
    name = f"classifier-{data.extractor}"
    classifier = (
        current_extractor
        if current_extractor.name == name
        else extractor(name, data, device=current_extractor.device)
    )
    test_rows = rows if rows is not None else torch.arange(len(data.test))
    if features is not None and classifier is current_extractor:
        which = classifier.sort(features)
    else:
        which = classifier.classify(data.test.x[test_rows])
    expected, shares = _shares(which, classifier.count, data.extractor in STACKED)
    classifier_note = (
        f"{classifier.name} (sha256 {classifier.sha256[:8]}, "
        f"{_accuracy(data, classifier, which, test_rows)})"
    )
    return Modes(
        classifier.count,
        classifier.classify,
        expected,
        words=f"the {'triple of classes' if data.extractor in STACKED else 'class'} by "
        f"{classifier_note}",
        shares=shares,
        of_features=classifier.sort if classifier is current_extractor else None,
        counted=len(which),
        channels=CHANNELS if data.extractor in STACKED else 1,
    )


def _gaussians(centres: Centres) -> Modes:
    centre_points, radius = centres.at.double(), REACH * centres.deviation
    count, dimensions = centre_points.shape

    def distances(x: Tensor) -> Tensor:
        return torch.cdist(
            x.double().cpu(), centre_points, compute_mode="donot_use_mm_for_euclid_dist"
        )

    half = torch.tensor([dimensions / 2, REACH**2 / 2], dtype=torch.float64)
    return Modes(
        count,
        lambda x: distances(x).argmin(1),
        torch.full((count,), 1 / count, dtype=torch.float64),
        words=f"the nearest of {count} centres, good within {REACH:g} deviations of it",
        shares="equal",
        good=lambda x: distances(x).amin(1) <= radius,
        true_good=torch.special.gammainc(half[0], half[1]).item(),
    )


def _shares(which: Tensor, count: int, independent: bool) -> tuple[Tensor, str]:
    """Return e from the modes of test examples, and how it was come by."""
    n = len(which)
    if not independent:
        e = torch.bincount(which, minlength=count).double() + 0.5
        return e / e.sum(), f"those of {n:,} test examples by the same classifier, counts plus 1/2"
    channel_shares = []
    for channel in range(CHANNELS):
        digit = which // CLASSES ** (CHANNELS - 1 - channel) % CLASSES
        counts = torch.bincount(digit, minlength=CLASSES).double() + 0.5
        channel_shares.append(counts / counts.sum())
    return torch.cartesian_prod(*channel_shares).prod(1), (
        f"the products of the channels' shares among {n:,} test examples by the same classifier, "
        "counts plus 1/2"
    )


def _accuracy(data: DataSet, own: Extractor, which: Tensor, rows: Tensor) -> str:
    """Say how often the classifier is right: measured where there are labels, else as recorded."""
    if data.test.labels is not None:
        accuracy = (which == data.test.labels[rows]).double().mean().item()
        return f"{accuracy:.2%} right on {len(rows):,} test examples"
    digit_accuracy = own.accuracy ** (1 / CHANNELS)
    return (
        f"{digit_accuracy:.2%} right on a digit of the test split, so {own.accuracy:.2%} on three"
    )


def reverse_kl(counts: Float[Tensor, "*B K"], expected: Float[Tensor, " K"]) -> Tensor:
    """Return sum_k g_k ln(g_k / e_k) with g_k = n_k / n, nats, [*B].

    >>> e = torch.full((4,), 0.25, dtype=torch.float64)
    >>> [round(reverse_kl(torch.tensor(n).double(), e).item(), 4) for n in ([5, 0, 0, 0], [1] * 4)]
    [1.3863, 0.0]
    """
    g = counts.double() / counts.sum(-1, keepdim=True)
    return torch.xlogy(g, g / expected).sum(-1)


@dataclass(frozen=True)
class Sorted:
    """Samples sorted into modes."""

    tally: Tally
    modes: Modes


def _modes(reference: FeatureReference) -> Modes:
    modes = modes_of(
        reference.data, reference.extractor, rows=reference.test_rows, features=reference.test
    )
    if modes is None:
        raise Unmeasured(
            "the data have no modes to count: no shipped classifier, no known centres"
        )
    return modes


def sort(it: SampleFeatures) -> Sorted:
    """Sort examples into the modes of their data set.

    Raises:
        Unmeasured: It has none.
    """
    modes = it.reference.once(_modes)
    return Sorted(modes.sort(it.x, it.features), modes)


def reached(it: Sorted) -> float:
    """Return how many modes have a (good) sample."""
    return float((it.tally.counts(it.modes.count) > 0).sum())


def good_share(it: Sorted) -> float:
    """Return the share of good samples.

    Raises:
        Unmeasured: The modes have no centres.
    """
    if it.tally.good is None:
        raise Unmeasured("a class has no centre that a sample could be near")
    return it.tally.good.double().mean().item()


def mode_kl(it: Sorted) -> float:
    """Return the reverse divergence of the samples' shares from the expected."""
    counts = torch.bincount(it.tally.which, minlength=it.modes.count)
    return reverse_kl(counts, it.modes.expected).item()


def reached_interval(it: Sorted) -> tuple[float, float]:
    """Return the interval of `reached`."""
    value, total_modes = reached(it), float(it.modes.count)
    score = Score(value).with_interval(
        _count_chance(it.tally.counts(it.modes.count), len(it.tally.which))
    )
    high = score.high if value == total_modes else max(score.high, value + UNSEEN)
    return max(score.low, 0.0), min(high, total_modes)


def good_interval(it: Sorted) -> tuple[float, float]:
    """Return the interval of `good_share`."""
    return wilson(good_share(it), len(it.tally.which))


def kl_interval(it: Sorted) -> tuple[float, float]:
    """Return the interval of `mode_kl`."""
    score = Score(mode_kl(it)).with_interval(_kl_chance(it.tally, it.modes))
    return score.low, score.high


def _count_chance(counts: Int[Tensor, " K"], n: int) -> Chance:
    """Return the chance in the number of modes with at least one of n samples."""
    f = torch.bincount(counts.clamp_max(DAMPED + 1), minlength=DAMPED + 2).tolist()
    series = sum((-1) ** (j + 1) * f[j] * _damping(j) for j in range(1, DAMPED + 1))
    unseen_probability = torch.exp(-counts.double())
    with_counts = (unseen_probability * (1 - unseen_probability)).sum().item()
    if sum(f[1 : DAMPED + 1]) >= MANY:
        with_counts /= 2
    variance = max(series - f[1] ** 2 / n, with_counts)
    return Chance(variance, max(1 - 4 * f[2] / f[1], 0.0) if f[1] else 0.0)


def _damping(j: int) -> float:
    """Return P(Binomial(J, 1/2) >= j)."""
    return sum(math.comb(DAMPED, i) for i in range(j, DAMPED + 1)) / 2**DAMPED


def _kl_chance(tally: Tally, modes: Modes) -> Chance:
    """Return the chance in mode_kl over fresh samples, and over fresh test examples behind e."""
    n, e = len(tally.which), modes.expected
    g = torch.bincount(tally.which, minlength=modes.count).double() / n
    value = reverse_kl(g, e).item()
    occupied = g > 0
    logs = torch.where(occupied, (g / e).clamp_min(torch.finfo(torch.float64).tiny).log(), 0.0)
    centred_logs = logs - g @ logs
    linear_variance, third_moment, rate = (
        (g @ centred_logs**2).item() / n,
        (g @ centred_logs**3).item() / n**2,
        1 / n,
    )
    if modes.counted:
        square, cube = _over_test(g, modes)
        linear_variance += square / modes.counted
        third_moment += cube / modes.counted**2
        rate += 1 / modes.counted
    frequent_count = int((torch.bincount(tally.which, minlength=modes.count) >= OFTEN).sum())
    quadratic = max(frequent_count - 1, 0) * rate**2 / 2
    variance_slope = (
        linear_variance / value + third_moment / linear_variance
        if min(value, linear_variance) > 0
        else 0.0
    )
    return Chance(max(linear_variance - 2 * quadratic, 0.0) + quadratic, variance_slope)


def _over_test(g: Float[Tensor, " K"], modes: Modes) -> tuple[float, float]:
    """Return variance and third moment of what one test example says to mode_kl: 1 - g / e."""
    square, cube = 0.0, 0.0
    cells = (CLASSES,) * modes.channels if modes.channels > 1 else (modes.count,)
    for channel in range(modes.channels):
        share, expected = g.view(cells), modes.expected.view(cells)
        other_channels = [c for c in range(modes.channels) if c != channel]
        if other_channels:
            share, expected = share.sum(other_channels), expected.sum(other_channels)
        influence = 1 - share / expected
        square += (expected @ influence**2).item()
        cube += (expected @ influence**3).item()
    return square, cube


def _of_modes(
    value: Callable[[Sorted], float],
    interval: Callable[[Sorted], tuple[float, float]],
    unit: Callable[[Sorted], str],
    words: Callable[[Sorted], str],
) -> Callable[[Context], Score]:
    """Make a metric of a function of sorted samples."""

    def measure(context: Context) -> Score:
        seen_samples = sample_features(context)
        sorted_samples, reference = seen_samples.once(sort), seen_samples.reference
        n = len(sorted_samples.tally.which)
        low, high = interval(sorted_samples)
        return Score(
            value(sorted_samples),
            low,
            high,
            unit=unit(sorted_samples),
            floor=value(reference.real.once(sort)),
            baselines={
                k: value(baseline.once(sort)) for k, baseline in reference.stand_ins.items()
            },
            n=n,
            protocol=f"{words(sorted_samples)}; mode: {sorted_samples.modes.words}; seed "
            f"{reference.seed}; floor: {reference.count} training examples",
        )

    return measure


def _reached_words(it: Sorted) -> str:
    good = "" if it.modes.good is None else "good "
    return (
        f"modes with at least one {good}sample of {len(it.tally.which)}; interval: 1.96 standard "
        "deviations, by the modes that were found but a few times"
    )


def _good_words(it: Sorted) -> str:
    return (
        f"{len(it.tally.which)} samples; the true density has {it.modes.true_good:.2%}; "
        "interval: Wilson's"
    )


def _kl_words(it: Sorted) -> str:
    tests = " and test examples" if it.modes.counted else ""
    return (
        f"reverse KL of {len(it.tally.which)} samples' shares of {it.modes.count} modes from the "
        f"expected: {it.modes.shares}; interval: 1.96 standard deviations in closed form, over "
        f"fresh samples{tests}"
    )


METRICS = (
    Metric(
        name="modes",
        label="modes",
        better="higher",
        meaning="How many of the kinds that there are in the data (classes, triples of digits, "
        "Gaussians) have at least one sample; real data have all.",
        failure="It grows with n, and one sample counts a mode as well as a thousand.",
        kinds=FEATURED,
        least=0.0,
        write=lambda value: f"{value:,.0f}",
        too_wide="by the mode that may be lost by chance",
        measure=_of_modes(
            reached, reached_interval, lambda it: f"of {it.modes.count}", _reached_words
        ),
    ),
    Metric(
        name="good_share",
        label="good samples",
        better="higher",
        meaning="Share of the samples within three deviations of one of the Gaussians that the "
        "data are drawn from; for real data 98.9 %.",
        failure="Samples at the centres alone have more than real data have.",
        kinds=FEATURED,
        least=0.0,
        most=1.0,
        measure=_of_modes(good_share, good_interval, lambda _: "share of samples", _good_words),
    ),
    Metric(
        name="mode_kl",
        label="mode KL",
        better="lower",
        meaning="How unevenly the samples are spread over the kinds, in nats: 0 is as the data "
        "are, ln K is one of K kinds alone.",
        failure="Of K kinds it is (K - 1) / 2n by chance, which the floor shows; what a kind that "
        "is lost by chance adds is left out of its interval.",
        kinds=FEATURED,
        least=0.0,
        leaves_out="what a mode adds that is lost by chance",
        too_wide=EQUAL,
        measure=_of_modes(mode_kl, kl_interval, lambda _: "nats", _kl_words),
    ),
)
