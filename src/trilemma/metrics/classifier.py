r"""A small convolutional classifier whose last layer but one serves as the space of measurement.

Fréchet distances and their like compare clouds of feature vectors, and mean something only where
the features know the data. Inception's know photographs; for digits and garments a classifier of
their own classes sees more with 0.2 million parameters than Inception with 24.

    x -> 5×5 convolution (stride 2 from 16 pixels up) -> 3×3 -> pooling -> 3×3 -> 3×3, stride 2
      -> 64 features -> logits

It is trained with batch normalisation, which is folded into the convolutions before the weights
are written: what is shipped is convolutions and two matrices.

References:
    | Rethinking the Inception Architecture for Computer Vision (Szegedy et al., 2016), whose
      features the Fréchet Inception distance takes; here the idea, not the network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["Classifier"]


class Classifier(nn.Module):
    """Images in [-1, 1] to 64 features and to logits.

    Arguments:
        shape: (C, H, W) of an image, H and W at least 8.
        classes: Number of classes.
        normalise: Put batch normalisation after each convolution, for training.
    """

    def __init__(
        self, shape: tuple[int, int, int], classes: int, *, normalise: bool = False
    ) -> None:
        super().__init__()
        channels, height, width = shape
        stride = 2 if min(height, width) >= 16 else 1

        def block(inputs: int, outputs: int, kernel: int, stride: int) -> list[nn.Module]:
            convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)
            norm_layers = [nn.BatchNorm2d(outputs)] if normalise else []
            return [convolution, *norm_layers, nn.ReLU()]

        self.convolutions = nn.Sequential(
            *block(channels, 32, 5, stride),
            *block(32, 64, 3, 1),
            nn.MaxPool2d(2, ceil_mode=True),
            *block(64, 64, 3, 1),
            *block(64, 96, 3, 2),
            nn.Flatten(),
        )
        for _ in range(2 if stride == 1 else 3):
            height, width = -(-height // 2), -(-width // 2)
        self.embedding = nn.Sequential(nn.Linear(96 * height * width, 64), nn.LeakyReLU(0.1))
        self.logits = nn.Linear(64, classes)

    def features(self, y: Tensor) -> Tensor:
        """Return the 64 features of images in [-1, 1], [N, 64]."""
        return self.embedding(self.convolutions(y))

    def forward(self, y: Tensor) -> Tensor:
        """Return the logits of images in [-1, 1], [N, classes]."""
        return self.logits(self.features(y))

    @torch.no_grad()
    def folded(self) -> Classifier:
        """Return the same function without normalisation layers, in evaluation mode."""
        first = self.convolutions[0]
        assert isinstance(first, nn.Conv2d)
        network = Classifier.__new__(Classifier)
        nn.Module.__init__(network)
        layers: list[nn.Module] = []
        for layer in self.convolutions.eval():
            if isinstance(layer, nn.BatchNorm2d):
                layers[-1] = fuse_conv_bn_eval(layers[-1], layer)  # type: ignore[type-var]
            else:
                layers.append(layer)
        network.convolutions = nn.Sequential(*layers)
        network.embedding, network.logits = self.embedding, self.logits
        return network.eval()
