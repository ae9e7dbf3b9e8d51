r"""A fragment that is kept while the rest of a cloud is drawn: inpainting in the centred space.

The known points K have the codes f of the fragment, centred. Where it lies within the whole is not
known, so that the states that agree with it are

    A = {y : y_i = (f_x,i + t, f_h,i) for i in K and some t in R^3,  sum_i y_x,i = 0}.

On the way from noise each clean estimate y is replaced by the nearest state of A,

    y_x,i <- f_x,i + 1/|K| sum_{j in K} y_x,j,    y_h,i <- f_h,i,    i in K,

which moves no mean: that of the known points stays, and so that of all points, 0. What is drawn
takes the pose of the fragment, and P(R y; R f) = R P(y; f) for rotations and reflections R: with
noise and a network that turn, the completion of a turned fragment has the distribution of turned
completions. The last step of a sampler is a clean estimate, so that the known points of a sample
have the fragment's codes up to a translation, exactly.

An encoder sees the neighbours of a point, so that f is not the fragment's alone: each clean
estimate is decoded, the fragment put in the place of the known points, and their codes in this
whole are f. Positions and types themselves, without an autoencoder, are the same in any whole.

This draws approximately from p(rest | fragment): no network was trained to complete.

References:
    Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model, Wang, Yu & Zhang, 2022
    (arXiv:2212.00490): the nearest state that agrees, in the place of each clean estimate.
    Structure-based Drug Design with Equivariant Diffusion Models, Schneuing et al., 2022
    (arXiv:2210.13695): inpainting of molecules, and the translation of what is known.
    Equivariant 3D-Conditional Diffusion Models for Molecular Linker Design, Igashov et al., 2022
    (arXiv:2210.05274): the task, with a network trained for it.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from trilemma.core.batch import Condition
from trilemma.core.point_cloud import mask_of
from trilemma.families.diffusion.editing import Agreement
from trilemma.maths.diffusion.spaces import Centred

__all__ = ["fragment_projection", "in_frame", "mean_position"]


def mean_position(x: Float[Tensor, "B N D"], mask: Bool[Tensor, "B N"]) -> Float[Tensor, "B 1 3"]:
    """Return the mean of the positions of the points of a mask; 0 where it has none.

    >>> x = torch.tensor([[[0.0, 0, 0], [2, 0, 0], [9, 9, 9]]])
    >>> mean_position(x, torch.tensor([[True, True, False]])).tolist()
    [[[1.0, 0.0, 0.0]]]
    """
    weight = mask[..., None].to(x)
    return (x[..., :3] * weight).sum(-2, keepdim=True) / weight.sum(-2, keepdim=True).clamp_min(1)


def fragment_projection(
    codes: Float[Tensor, "B N D"], fragment_mask: Bool[Tensor, "B N"]
) -> Agreement:
    """Return the projection of clean estimates onto the states that agree with a fragment.

    Arguments:
        codes: f, positions first, in the units of the diffusion's states; read where
            `fragment_mask` is true, and wherever the fragment lies.
        fragment_mask: K. Where it has no point a clean estimate stays as it is.

    Returns:
        (clean estimate [B, N, D] of the centred space, condition that says which points there
        are) to the nearest state of the space that has the fragment.
    """
    fragment = Centred(fragment_mask).projected(codes)

    def agree(clean: Tensor, condition: Condition | None) -> Tensor:
        positions = fragment[..., :3] + mean_position(clean, fragment_mask)
        target = torch.cat([positions, fragment[..., 3:]], dim=-1)
        space = Centred(None if condition is None else condition.points)
        return space.projected(torch.where(fragment_mask[..., None], target, clean))

    return agree


def in_frame(
    clouds: Float[Tensor, "B N 4"], x: Float[Tensor, "B N 4"], fragment_mask: Bool[Tensor, "B N"]
) -> Float[Tensor, "B N 4"]:
    """Return clouds in the frame of a fragment: translated, with the fragment's points as given.

    Arguments:
        clouds: Clouds in data units, in the fragment's pose.
        x: The fragment, in data units.
        fragment_mask: Which points are the fragment's.
    """
    shift = mean_position(x, fragment_mask) - mean_position(clouds, fragment_mask)
    positions = (clouds[..., :3] + shift) * mask_of(clouds)[..., None]
    return torch.where(
        fragment_mask[..., None], x, torch.cat([positions, clouds[..., 3:]], dim=-1)
    )
