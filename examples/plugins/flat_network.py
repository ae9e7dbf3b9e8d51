"""A network: a perceptron that sees an image as one long row, for --network flat."""

from math import prod

import torch
from torch import nn

import trilemma as tl


class Flat(nn.Module):
    """A denoiser without convolutions, of images and points."""

    def __init__(self, domain: tl.Domain, options: tl.NetworkOptions) -> None:
        super().__init__()
        sides = domain.shape[1:] if domain.kind == "image" else ()
        self.shape, width = (options.outputs, *sides), options.width or 256
        self.classes = nn.Embedding(options.classes + 1, width)  # the last one is for no class
        self.first = nn.Linear(options.inputs * prod(sides) + 1, width)
        self.middle = nn.Linear(width, width)
        self.last = nn.Linear(width, prod(self.shape))

    def forward(self, x, log_snr, condition=None):
        no_class = self.classes.num_embeddings - 1
        label = torch.full((len(x),), no_class, device=x.device)
        if condition is not None and condition.label is not None and no_class:
            label = condition.label
            if condition.present is not None:
                label = torch.where(condition.present, label, no_class)
        rows = torch.cat([x.flatten(1), log_snr[:, None] / 10], dim=1)
        h = nn.functional.silu(self.first(rows) + self.classes(label))
        h = h + nn.functional.silu(self.middle(h))
        return self.last(h).view(len(x), *self.shape)


tl.NETWORKS["flat"] = Flat
