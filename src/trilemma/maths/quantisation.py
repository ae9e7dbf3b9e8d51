r"""Vector quantisation: a code is the nearest of K vectors, and a gradient passes all the same.

    k(z) = argmin_k ‖z - e_k‖²,      q = e_{k(z)}

q does not change when z moves a little, so that a decoder's gradient would end there. The
straight-through estimate hands it on unchanged,

    z + stop(q - z)  =  q in value, with dq/dz = 1,

and a commitment term ‖z - stop(q)‖² keeps z near the vector that stands for it. The vectors are
means of what they stand for, kept as running counts N_k and sums m_k,

    N_k <- d N_k + (1 - d) n_k,    m_k <- d m_k + (1 - d) sum_{z of k} z,    e_k = m_k / N_k,

which is k-means in small steps and needs no learning rate. A vector that stands for nothing never
moves again: one whose count has fallen too low is set onto a code of the last batch.

References:
    Neural Discrete Representation Learning (van den Oord, Vinyals & Kavukcuoglu, 2017),
    arXiv:1711.00937: the estimate, the commitment, the running means.
    Generating Diverse High-Fidelity Images with VQ-VAE-2 (Razavi, van den Oord & Vinyals, 2019),
    arXiv:1906.00446.
    Jukebox: A Generative Model for Music (Dhariwal et al., 2020), arXiv:2005.00341: dead vectors
    start again on codes of the batch.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["codebook", "dead", "moved", "nearest", "perplexity", "revived", "straight_through"]


def nearest(z: Float[Tensor, "N c"], vectors: Float[Tensor, "K c"]) -> Int[Tensor, " N"]:
    """Return the index of the vector that is nearest to each code.

    >>> nearest(torch.tensor([[0.9, 0.1]]), torch.eye(2)).tolist()
    [0]
    """
    # ‖z‖² is the same for all k and left out.
    return (vectors.square().sum(1) - 2 * (z @ vectors.T)).argmin(1)


def straight_through(z: Float[Tensor, "*S"], q: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """Return q, with the gradient of z.

    Arguments:
        z: Codes.
        q: What stands for them, the same shape.
    """
    return z + (q - z).detach()


def codebook(counts: Float[Tensor, " K"], sums: Float[Tensor, "K c"]) -> Float[Tensor, "K c"]:
    """Return the vectors e_k = m_k / N_k."""
    return sums / counts.clamp(min=1e-8)[:, None]


def moved(
    counts: Float[Tensor, " K"],
    sums: Float[Tensor, "K c"],
    z: Float[Tensor, "N c"],
    indices: Int[Tensor, " N"],
    decay: float,
) -> tuple[Float[Tensor, " K"], Float[Tensor, "K c"]]:
    """Return counts and sums after one more batch.

    Arguments:
        counts: N_k.
        sums: m_k.
        z: The batch's codes.
        indices: k of each.
        decay: d, in [0, 1).
    """
    batch_counts = torch.bincount(indices, minlength=len(counts)).to(counts)
    batch_sums = torch.zeros_like(sums).index_add_(0, indices, z.to(sums))
    return torch.lerp(batch_counts, counts, decay), torch.lerp(batch_sums, sums, decay)


def dead(counts: Float[Tensor, " K"], share: float) -> Bool[Tensor, " K"]:
    """Tell which vectors stand for less than `share` of what each would if all were alike."""
    return counts < share * counts.sum() / len(counts)


def revived(
    counts: Float[Tensor, " K"],
    sums: Float[Tensor, "K c"],
    which: Bool[Tensor, " K"],
    onto: Float[Tensor, "K c"],
) -> tuple[Float[Tensor, " K"], Float[Tensor, "K c"]]:
    """Return counts and sums with some vectors set anew, as if of average use.

    Arguments:
        counts: N_k.
        sums: m_k.
        which: Those to be set.
        onto: Where to, for each k.
    """
    mean = counts.sum() / len(counts)
    start = torch.where(which, mean, counts)
    return start, torch.where(which[:, None], mean * onto.to(sums), sums)


def perplexity(indices: Int[Tensor, " N"], size: int) -> Float[Tensor, ""]:
    """Return exp of the entropy of a batch's indices: how many vectors are in use, 1 to K.

    >>> round(perplexity(torch.tensor([0, 1, 0, 1]), 8).item(), 4)
    2.0
    """
    frequencies = torch.bincount(indices, minlength=size).float() / max(len(indices), 1)
    return torch.exp(-torch.xlogy(frequencies, frequencies).sum())
