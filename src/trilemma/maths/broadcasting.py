"""Broadcasting over the rows of a batch: where a number for each row gets a batch's axes."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["per_row"]


def per_row(number: Tensor, like: Tensor) -> Tensor:
    """Give a number for each row of a batch the axes of the batch, and its type and device.

    >>> per_row(torch.tensor([1.0, 2.0]), torch.zeros(2, 3, 4)).shape
    torch.Size([2, 1, 1])

    Arguments:
        number: [B], or one for all rows, [], which stays as it is; a mask stays a mask.
        like: [B, ...].

    Returns:
        [B, 1, ...], with as many axes as `like`, or [].
    """
    number = number if number.dtype == torch.bool else number.to(like)
    return number.reshape(-1, *[1] * (like.dim() - 1)) if number.dim() else number
