"""Denoising networks for a domain, and their conditions: shared by the recipes that diffuse."""

from __future__ import annotations

from collections.abc import Sequence

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

__all__ = [
    "WIDE",
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
    """Build a denoiser: a U-Net whose coarsest side is 4 to 8 pixels, a transformer, a perceptron.

    Arguments:
        domain: Where the data lie; their captions, or else their classes, are its condition.
        kind: 'unet' or 'transformer', for images.
        width: Channels at the finest size, numbers of a token, or units of a layer; 0 chooses.
        in_multiple: Numbers that it sees for each coordinate.
        out_multiple: Numbers that it gives for each.
        is_conditional: Whether it is conditioned on classes or captions.
    """
    classes = len(domain.classes) if is_conditional and not domain.vocabulary else 0
    if domain.kind == "points":
        if kind != "unet":
            raise BadInput(f"--network {kind} is for images; leave it out for points.")
        size = domain.scaled_dimensions
        return Perceptron(
            size * in_multiple, width=width or 128, classes=classes, outputs=size * out_multiple
        )
    channels, *sides = domain.shape
    tau = context(domain) if is_conditional else None
    if kind == "transformer":
        side = min(sides)
        patch = next((p for p in (4, 2, 1) if side // p >= 4 and not any(s % p for s in sides)), 1)
        return PatchTransformer(
            (channels, *sides),  # type: ignore[arg-type]
            patch=patch,
            width=width or 192,
            classes=classes,
            context=tau,
            inputs=channels * in_multiple,
            outputs=channels * out_multiple,
        )
    side = min(sides)
    patch = 1 if side < 24 else 2
    halvings = max(1, round(side / patch / 7).bit_length() - 1)
    return UNet(
        channels * in_multiple,
        width=width or (32 if side < 24 else 48),
        multipliers=(1, *[2] * halvings),
        patch=patch,
        classes=classes,
        context=tau,
        outputs=channels * out_multiple,
    )


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
