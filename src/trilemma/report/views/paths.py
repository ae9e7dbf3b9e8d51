"""How a sample comes, state by state; of diffusions `views.diffusion` draws more."""

from __future__ import annotations

import torch

from trilemma.core.model import Estimating, Gradual
from trilemma.core.noise import Noise
from trilemma.pictures import figures, point_clouds
from trilemma.report.model_view import Subject
from trilemma.report.page import Picture
from trilemma.report.view import View

__all__ = ["VIEWS"]

GROWN, GROWING = 9, 40
"""Graphs that are shown as they grow, and frames of that."""


def _images(subject: Subject[Gradual]) -> list[Picture]:
    """Draw the states of one image on its way from noise."""
    frames = subject.model.path(1, frames=12, noise=Noise.for_samples(0, 0, 1))
    strip = figures.sequences(torch.cat(list(frames)).cpu(), subject.levels)
    return [Picture("from noise to a sample", strip, "States on the way, one sample.")]


def _graphs(subject: Subject[Gradual]) -> list[Picture]:
    """Film graphs as they grow."""
    caption = "Each node stands where it stands in the end; its colour: neighbours so far."
    return [Picture("graphs as they grow", _growth(subject), caption)]


def _molecules(subject: Subject[Gradual]) -> list[Picture]:
    """Film molecules as they grow."""
    caption = "Each atom stands where it stands in the end."
    return [Picture("molecules as they grow", _growth(subject), caption)]


def _growth(subject: Subject[Gradual]) -> bytes:
    states = subject.model.path(GROWN, frames=GROWING, noise=Noise.for_samples(0, 0, GROWN))
    return figures.trajectory(states, subject.domain)


def _clouds(subject: Subject[Gradual]) -> list[Picture]:
    """Film clouds from noise to samples, and turn what came of it."""
    domain = subject.domain
    states = subject.model.path(GROWN, frames=GROWING, noise=Noise.for_samples(0, 0, GROWN))
    film = figures.trajectory([x.cpu() for x in states], domain)
    rotation = figures.animation(point_clouds.turning(states[-1], domain.elements), 60, 60)
    return [
        Picture("from noise to clouds", film, "Decoded states on the way; the pose is kept."),
        Picture("samples, turning", rotation, "Once around the upright axis."),
    ]


VIEWS = (
    View(
        name="path of images",
        section="path",
        needs=(Gradual,),
        unless=(Estimating,),
        kinds=("image",),
        draw=_images,
    ),
    View(
        name="path of graphs",
        section="path",
        needs=(Gradual,),
        unless=(Estimating,),
        kinds=("graph",),
        draw=_graphs,
    ),
    View(
        name="path of molecules",
        section="path",
        needs=(Gradual,),
        unless=(Estimating,),
        kinds=("molecule",),
        draw=_molecules,
    ),
    View(
        name="path of clouds",
        section="path",
        needs=(Gradual,),
        unless=(Estimating,),
        kinds=("conformer", "point-cloud"),
        draw=_clouds,
    ),
)
