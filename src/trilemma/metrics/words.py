"""What each score means in plain words, and how its values are written."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from trilemma.core.words import count, duration, number

__all__ = [
    "MEANINGS",
    "OF_ONE_MODEL",
    "VARIANTS",
    "Meaning",
    "meaning",
    "score",
    "stand_in",
]


@dataclass(frozen=True)
class Meaning:
    """A column of the table."""

    label: str
    better: str
    """'lower', 'higher', or 'one' where 1 is the wanted value."""
    words: str
    """One line for a reader who has not met it."""


MEANINGS: Mapping[str, Meaning] = {
    "fd": Meaning(
        "fd",
        "lower",
        "Fréchet distance: how far the samples as a whole lie from unseen data, in the features "
        "of the extractor. Quality and coverage in one number; the ranking of images by "
        "quality uses it. It compares means and covariances alone, so that of coordinates it "
        "takes a Gaussian of the right moments for the data.",
    ),
    "energy_distance": Meaning(
        "energy distance",
        "lower",
        "How far the samples lie from unseen data in shape, in standardised coordinates: 0 for "
        "equal distributions, by chance a little below. The ranking of points and tables by "
        "quality uses it. Columns of no meaning weigh as much as others.",
    ),
    "sliced_wasserstein": Meaning(
        "sliced Wasserstein",
        "lower",
        "How far samples must be moved to lie like unseen data, in the mean over directions and "
        "in standard deviations. Above 0 by chance: real data reach the floor.",
    ),
    "kd": Meaning(
        "kd",
        "lower",
        "Kernel distance: the same question, asked without assuming Gaussian features; "
        "its estimate is unbiased, so it may fall a little below 0.",
    ),
    "precision": Meaning(
        "precision", "higher", "Share of the samples that lie where data lie: are they good?"
    ),
    "mmd": Meaning(
        "mmd",
        "lower",
        "Mean of the four maximum mean discrepancies of degrees, clustering, orbits and spectra "
        "(GraphRNN's kernels, V-statistic): how far samples as a whole lie from test graphs. The "
        "ranking of graphs by quality uses it.",
    ),
    "mmd_degree": Meaning(
        "mmd degree",
        "lower",
        "Maximum mean discrepancy of the degrees: how far samples lie from test "
        "graphs; GraphRNN's kernel, V-statistic.",
    ),
    "mmd_clustering": Meaning(
        "mmd clustering",
        "lower",
        "Maximum mean discrepancy of clustering coefficients: how far samples lie from test "
        "graphs; GraphRNN's kernel, V-statistic.",
    ),
    "mmd_orbit": Meaning(
        "mmd orbit",
        "lower",
        "Maximum mean discrepancy of the counts of graphs of up to four nodes: how far samples "
        "lie from test graphs; GraphRNN's kernel, V-statistic.",
    ),
    "mmd_spectral": Meaning(
        "mmd spectral",
        "lower",
        "Maximum mean discrepancy of the Laplacians' spectra: how far samples lie from test "
        "graphs; the earth mover's kernel, V-statistic.",
    ),
    "mmd_degree_u": Meaning(
        "mmd degree u",
        "lower",
        "`mmd_degree` as U-statistic: unbiased, and below 0 by chance where nothing differs.",
    ),
    "mmd_clustering_u": Meaning(
        "mmd clustering u",
        "lower",
        "`mmd_clustering` as U-statistic: unbiased, and below 0 by chance where nothing differs.",
    ),
    "mmd_orbit_u": Meaning(
        "mmd orbit u",
        "lower",
        "`mmd_orbit` as U-statistic: unbiased, and below 0 by chance where nothing differs.",
    ),
    "mmd_spectral_u": Meaning(
        "mmd spectral u",
        "lower",
        "`mmd_spectral` as U-statistic: unbiased, and below 0 by chance where nothing differs.",
    ),
    "mmd_degree_tv": Meaning(
        "mmd degree tv", "lower", "`mmd_degree` by total variation, as papers since GRAN have it."
    ),
    "mmd_clustering_tv": Meaning(
        "mmd clustering tv",
        "lower",
        "`mmd_clustering` by total variation, as papers since GRAN have it.",
    ),
    "mmd_orbit_tv": Meaning(
        "mmd orbit tv", "lower", "`mmd_orbit` by total variation, as papers since GRAN have it."
    ),
    "mmd_spectral_tv": Meaning(
        "mmd spectral tv",
        "lower",
        "`mmd_spectral` by total variation, as papers since GRAN have it.",
    ),
    "mmd_degree_tv_u": Meaning(
        "mmd degree tv, u", "lower", "`mmd_degree` by total variation, as U-statistic."
    ),
    "mmd_clustering_tv_u": Meaning(
        "mmd clustering tv, u", "lower", "`mmd_clustering` by total variation, as U-statistic."
    ),
    "mmd_orbit_tv_u": Meaning(
        "mmd orbit tv, u", "lower", "`mmd_orbit` by total variation, as U-statistic."
    ),
    "mmd_spectral_tv_u": Meaning(
        "mmd spectral tv, u", "lower", "`mmd_spectral` by total variation, as U-statistic."
    ),
    "unique": Meaning(
        "unique", "higher", "Share of the graphs that are like no other before them in any order."
    ),
    "novel": Meaning("novel", "higher", "Share of the graphs that are like no training graph."),
    "valid": Meaning(
        "valid", "higher", "Share of the graphs that keep the rule by which the set was made."
    ),
    "valid_unique_novel": Meaning(
        "valid, unique, novel", "higher", "Share of the graphs that are all three at once."
    ),
    "size_gap": Meaning(
        "size gap",
        "lower",
        "How far the mean size is from that of test graphs, as a share; sizes are the model's.",
    ),
    "improvement_gain": Meaning(
        "gain", "higher", "How much given graphs are worth more after the model improved them."
    ),
    "recall": Meaning(
        "recall", "higher", "Share of the data that lie where samples lie: is anything left out?"
    ),
    "density": Meaning(
        "density",
        "higher",
        "Precision that one outlier cannot inflate: how crowded with data the samples' places "
        "are, 1 for real data; it may exceed 1.",
    ),
    "coverage": Meaning(
        "coverage",
        "higher",
        "Share of the data that have a sample among their nearest neighbours: recall that one "
        "outlier cannot inflate. The ranking by coverage uses it.",
    ),
    "modes": Meaning(
        "modes",
        "higher",
        "How many of the kinds that there are in the data (classes, triples of digits, Gaussians) "
        "have at least one sample; real data have all.",
    ),
    "good_share": Meaning(
        "good samples",
        "higher",
        "Share of the samples within three deviations of one of the Gaussians that the data are "
        "drawn from; for real data 98.9 %.",
    ),
    "mode_kl": Meaning(
        "mode KL",
        "lower",
        "How unevenly the samples are spread over the kinds, in nats: 0 is as the data are, "
        "ln K is one of K kinds alone.",
    ),
    "nearest_train_ratio": Meaning(
        "nearest / train",
        "one",
        "How near samples lie to the training data, against how near unseen data lie: about 1 is "
        "right, far below 1 means copies.",
    ),
    "retrieval": Meaning(
        "right caption",
        "higher",
        "Does a sample show what it was asked for? Share of samples whose caption, one of the "
        "training data's, a separate judge picks out of ten; guessing gives 0.1.",
    ),
    "retrieval_heldout": Meaning(
        "right caption, held out",
        "higher",
        "The same with captions that were never trained on.",
    ),
    "psnr": Meaning(
        "psnr",
        "higher",
        "How near an enlarged image is to the true one, pixel by pixel, in decibels; blurred "
        "images do well.",
    ),
    "ssim": Meaning(
        "ssim",
        "higher",
        "How like an enlarged image is to the true one in the structure of small windows; 1 is "
        "equality.",
    ),
    "consistency": Meaning(
        "consistency",
        "higher",
        "How near an enlarged image, reduced again, is to the small one that it was made of, in "
        "decibels: does it keep to what was given?",
    ),
    "colour_shift": Meaning(
        "colour shift",
        "lower",
        "By how many levels the mean colour of an enlarged image differs from the true one's.",
    ),
    "reconstruction_psnr": Meaning(
        "first stage psnr",
        "higher",
        "How near unseen images come back from the first stage's code, in decibels: what the "
        "samples cannot exceed.",
    ),
    "round_trip": Meaning(
        "round trip",
        "lower",
        "What is lost when unseen data are encoded and decoded again, as a share of their range "
        "(or standard deviation): 0 is nothing.",
    ),
    "bits_per_dim": Meaning(
        "bits / dim",
        "lower",
        "What one value of unseen data costs to write down with the model as the code. "
        "‘≤’ marks a bound: the truth is at most this.",
    ),
    "likelihood": Meaning(
        "log p",
        "higher",
        "Log-likelihood of unseen data, nats an example, by the tightest way that the model has: "
        "exact, a lower bound (‘≥’), an interval by annealed importance sampling, or an ODE.",
    ),
    "log_prob": Meaning("log p", "higher", "Log-likelihood of unseen data, nats an example."),
    "importance_bound": Meaning(
        "importance bound",
        "higher",
        "Lower bound on the log-likelihood of unseen data, nats an example, tightened by drawing "
        "many codes (or ways to fill the levels' bins) for each example.",
    ),
    "bound": Meaning(
        "bound", "higher", "Lower bound on the log-likelihood of unseen data, nats an example."
    ),
    "ode_log_prob": Meaning(
        "log p by ODE",
        "higher",
        "Log-likelihood of unseen data, nats an example, of the model sampled without chance, "
        "along its differential equation: an estimate, beside the variational bound.",
    ),
    "ode_bits_per_dim": Meaning(
        "bits / dim by ODE",
        "lower",
        "The same in bits for one value: what unseen data cost with the differential equation as "
        "the code.",
    ),
    "active_units": Meaning(
        "active units",
        "higher",
        "Numbers of the code that say something of the example; the others have collapsed onto "
        "the prior.",
    ),
    "sample_seconds_each": Meaning(
        "time / sample", "lower", "Time to draw one sample, drawn many at once."
    ),
    "network_calls_each": Meaning(
        "calls", "lower", "How often the network is evaluated for one sample."
    ),
    "parameters": Meaning("parameters", "", "Trained numbers in the model."),
    "train_examples_per_second": Meaning(
        "examples / s", "higher", "Training examples seen in a second."
    ),
    "train_seconds": Meaning(
        "training", "", "Seconds of training alone, without previews, saves and measuring."
    ),
    "updates": Meaning(
        "updates",
        "",
        "Updates of the weights; ‘warming up’: too few to be ranked; ‘falling’: the loss still "
        "fell over the last third, beyond its noise.",
    ),
    "epochs": Meaning("epochs", "", "How often training went through the data."),
    "peak_memory_bytes": Meaning("memory", "lower", "Most memory held at once."),
}


VARIANTS = re.compile(r"mmd_.*_(?:u|tv|tv_u)")
"""Scores that ask again what another asks, by other kernels: for a table of details."""
OF_ONE_MODEL = frozenset({"reconstruction"})
"""Baselines that differ from model to model, and are no trivial samples: the first stage's fd."""
SHARES = frozenset(
    {
        "precision",
        "recall",
        "density",
        "coverage",
        "nearest_train_ratio",
        "retrieval",
        "retrieval_heldout",
    }
)
"""Scores near 1, whose third figure says nothing."""
NATS = frozenset({"likelihood", "log_prob", "importance_bound", "bound", "ode_log_prob"})
"""Scores that are compared to a tenth, however large."""


def meaning(name: str, better: str = "") -> Meaning:
    """Return what is known of a score; an unknown one is labelled with its own name."""
    return MEANINGS.get(name, Meaning(name.replace("_", " "), better, ""))


def stand_in(name: str) -> str:
    """Name trivial samples in full.

    >>> stand_in("noise")
    'uniform noise'
    """
    known = {
        "noise": "uniform noise",
        "mean": "training mean",
        "reconstruction": "first stage alone",
        "shuffled": "captions shuffled",
    }
    return known.get(name, name)


def score(metric: str, value: float | None) -> str:
    """Write the value of a metric or a cost in the way that suits it.

    >>> score("modes", 8.0), score("mode_kl", 0.0213), score("good_share", 0.987)
    ('8', '0.021', '0.987')
    """
    if metric == "modes" and value is not None and math.isfinite(value):
        return f"{value:,.0f}"
    if metric.endswith(("seconds", "seconds_each")):
        return duration(value)
    if metric == "peak_memory_bytes":
        return "–" if value is None else f"{value / 2**20:,.0f} MiB"
    if metric in ("parameters", "network_calls_each", "train_examples_per_second", "updates"):
        return count(value)
    if value is not None and math.isfinite(value) and metric in NATS:
        return f"{value:,.{1 if abs(value) >= 100 else 2}f}".replace("-", "−")
    if value is not None and math.isfinite(value) and metric in SHARES:
        return f"{value:.2f}".replace("-", "−")
    return number(value)
