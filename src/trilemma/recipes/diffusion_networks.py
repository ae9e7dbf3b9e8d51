"""Denoising networks for a domain, and their conditions: shared by the recipes that diffuse.

Which network a recipe takes is a name of `NETWORKS`; a plug-in enters its own there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from trilemma.core.batch import Condition
from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.data.dataset import Split
from trilemma.families.diffusion.options import refuse_guidance
from trilemma.networks.condition_encoder import ConditionEncoder
from trilemma.networks.patch_transformer import PatchTransformer
from trilemma.networks.prompt_pool import Prompts
from trilemma.networks.unet import Perceptron, UNet
from trilemma.registry import Registry

__all__ = [
    "NETWORKS",
    "WIDE",
    "NetworkOptions",
    "context",
    "denoiser",
    "fill",
    "interval",
    "prompts",
    "refuse_unguided",
]

MAX_PROMPTS = 4096
"""Captions kept, to be drawn from when nobody asks for one."""
WIDE = 128
"""Numbers of a token that a caption becomes."""


def denoiser(
    domain: Domain,
    *,
    kind: str = "unet",
    width: int = 0,
    in_multiple: int = 1,
    out_multiple: int = 1,
    is_conditional: bool = True,
) -> nn.Module:
    """Build a denoiser.

    Arguments:
        domain: Where the data lie; their captions, or else their classes, are its condition.
        kind: One of `NETWORKS`.
        width: Channels at the finest size, numbers of a token, or units of a layer; 0 chooses.
        in_multiple: Numbers that it sees for each coordinate.
        out_multiple: Numbers that it gives for each.
        is_conditional: Whether it is conditioned on classes or captions.
    """
    is_points = domain.kind == "points"
    size = domain.scaled_dimensions if is_points else domain.shape[0]
    options = NetworkOptions(
        inputs=size * in_multiple,
        outputs=size * out_multiple,
        width=width,
        classes=len(domain.classes) if is_conditional and not domain.vocabulary else 0,
        context=context(domain) if is_conditional and not is_points else None,
    )
    return NETWORKS[kind](domain, options)


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """What a denoiser has to fit: (x [B, inputs, …], log-SNR [B], condition) to [B, outputs, …].

    The sides of images stay as they are.
    """

    inputs: int
    """Channels of what it is shown; of points, coordinates."""
    outputs: int
    """Channels that it gives."""
    width: int = 0
    """The recipe's --width; 0: the network chooses."""
    classes: int = 0
    """Classes of the condition's labels; 0 for none."""
    context: ConditionEncoder | None = None
    """Encodes captions, where the data have some."""


def _unet(domain: Domain, options: NetworkOptions) -> nn.Module:
    """Build a U-Net, whose coarsest side is 4 to 8 pixels; of points a perceptron."""
    if domain.kind == "points":
        return Perceptron(
            options.inputs,
            width=options.width or 128,
            classes=options.classes,
            outputs=options.outputs,
        )
    side = min(domain.shape[1:])
    patch = 1 if side < 24 else 2
    halvings = max(1, round(side / patch / 7).bit_length() - 1)
    return UNet(
        options.inputs,
        width=options.width or (32 if side < 24 else 48),
        multipliers=(1, *[2] * halvings),
        patch=patch,
        classes=options.classes,
        context=options.context,
        outputs=options.outputs,
    )


def _transformer(domain: Domain, options: NetworkOptions) -> nn.Module:
    """Build a transformer over patches of images."""
    if domain.kind == "points":
        raise BadInput("--network transformer is for images; leave it out for points.")
    channels, *sides = domain.shape
    side = min(sides)
    patch = next((p for p in (4, 2, 1) if side // p >= 4 and not any(s % p for s in sides)), 1)
    return PatchTransformer(
        (channels, *sides),  # type: ignore[arg-type]
        patch=patch,
        width=options.width or 192,
        classes=options.classes,
        context=options.context,
        inputs=options.inputs,
        outputs=options.outputs,
    )


NETWORKS: Registry[Callable[[Domain, NetworkOptions], nn.Module]] = Registry(
    "denoiser network", [("unet", _unet), ("transformer", _transformer)]
)
"""By name, what builds a denoiser; it refuses, by `BadInput`, data that it does not fit."""


def context(domain: Domain) -> ConditionEncoder | None:
    """Return tau for data with captions; None without."""
    if not domain.vocabulary:
        return None
    return ConditionEncoder(WIDE, words=len(domain.vocabulary), length=domain.words)


def prompts(domain: Domain) -> Prompts | None:
    """Return room for training captions, from which samples take theirs; None without."""
    return Prompts(MAX_PROMPTS, words=domain.words) if domain.vocabulary else None


def fill(room: nn.Module | None, split: Split) -> None:
    """Keep captions of the training examples."""
    if isinstance(room, Prompts) and split.tokens is not None:
        room.fill(Condition(tokens=split.tokens, mask=split.mask))


def refuse_unguided(
    guidance: float, domain: Domain, dropout: float, *, classifier_free: bool = True
) -> None:
    """Refuse guidance where a domain says nothing by which to guide, or training hid nothing.

    Arguments:
        guidance: Its weight.
        domain: Where the data lie.
        dropout: Share of training examples whose condition is hidden.
        classifier_free: Whether the denoiser's own condition guides, not a classifier.
    """
    refuse_guidance(
        guidance,
        conditional=bool(domain.classes or domain.vocabulary or domain.properties),
        dropout=dropout,
        classifier_free=classifier_free,
    )


def interval(text: str) -> tuple[float, float]:
    """Read 'FROM:TO', two times.

    >>> interval("0.1:0.8")
    (0.1, 0.8)
    """
    parts: Sequence[str] = text.split(":")
    try:
        low, high = (float(part) for part in parts)
    except ValueError:
        raise BadInput(
            f"'{text}' is no interval; give two times from 0 to 1, as in 0.1:0.8."
        ) from None
    return low, high
