"""In which numbers a model is trained, and how its images lie in memory.

Both follow from what the processor *has*, never from a timing: the same seed must choose the same
way twice, also on a busy machine. Weights, optimiser and averages are float32 always; bfloat16 is
autocast around the loss. Sampling and measuring run in float32.

What was measured (matrix products on two cores): with AVX-512 bf16 or AMX, bfloat16 does three
times the work of float32; with AVX2 alone a hundredth of it, though torch calls both supported.
Channels-last speeds convolutions up where vectors are 512 bits wide and on GPUs, and slows
training down a little (0.95) on AVX2.
"""

from __future__ import annotations

import functools
import platform
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from trilemma.core.errors import BadInput, nearest

__all__ = ["Precision", "Processor", "choose", "choose_device", "processor"]

FAST = ("avx512_bf16", "amx_bf16", "bf16")
"""Processor flags with which bfloat16 products are faster than float32 (the last is ARM's)."""


@dataclass(frozen=True)
class Processor:
    """The processor's name and the abilities that its kernel reports."""

    name: str
    flags: frozenset[str]


@dataclass(frozen=True)
class Precision:
    """How a run computes its losses; kept in the run, so that resuming computes the same way."""

    dtype: str
    """'fp32' or 'bf16'."""
    channels_last: bool
    """Whether weights of convolutions lie with their channels innermost."""
    reason: str
    """A sentence that says why."""

    @property
    def mixed(self) -> bool:
        """Tell whether losses are computed under autocast."""
        return self.dtype == "bf16"

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """Return the context in which a loss is computed."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.mixed)

    def to_device(self, model: nn.Module, device: torch.device) -> None:
        """Move a model to the device, and its weights of four axes to the chosen memory layout."""
        model.to(device)
        if self.channels_last:
            for weight in model.parameters():
                if weight.dim() == 4:
                    weight.data = weight.data.contiguous(memory_format=torch.channels_last)


def choose(requested: str, device: torch.device, *, prefer_bf16: bool = True) -> Precision:
    """Choose the precision and the memory layout for training on a device.

    Arguments:
        requested: 'auto', 'fp32' or 'bf16'.
        device: Where training runs.
        prefer_bf16: False where a recipe was measured to be slower in bfloat16; 'auto' then keeps
            float32.

    Returns:
        The choice, with a sentence that says why.

    Raises:
        BadInput: There is no such precision.
    """
    if requested not in ("auto", "fp32", "bf16"):
        raise nearest("precision", requested, ("auto", "fp32", "bf16"))
    is_fast, finding = _bf16(device)
    channels_last = device.type == "cuda" or (
        device.type == "cpu" and "avx512f" in processor().flags
    )
    if requested == "fp32":
        return Precision("fp32", channels_last, "float32, as asked.")
    if requested == "bf16":
        doubt = "" if is_fast else f", though {finding}, so that it is slow here"
        return Precision("bf16", channels_last, f"bfloat16, as asked{doubt}.")
    if not is_fast:
        return Precision("fp32", channels_last, f"float32: {finding}.")
    if not prefer_bf16:
        return Precision(
            "fp32", channels_last, f"float32: {finding}, but the recipe was slower with it."
        )
    return Precision("bf16", channels_last, f"bfloat16: {finding}.")


def choose_device(requested: str) -> torch.device:
    """Choose where to compute: 'auto' takes a GPU where there is one.

    Raises:
        BadInput: A GPU is asked for where there is none, or the name is unknown.
    """
    if requested not in ("auto", "cpu", "cuda"):
        raise nearest("device", requested, ("auto", "cpu", "cuda"))
    present = torch.cuda.is_available()
    if requested == "cuda" and not present:
        built = "" if torch.backends.cuda.is_built() else " (this torch is built without CUDA)"
        raise BadInput(
            f"--device cuda was given and torch finds no GPU here{built}; "
            "give --device cpu, or leave it at auto."
        )
    return torch.device("cuda" if present and requested != "cpu" else "cpu")


@functools.cache
def processor() -> Processor:
    """Read the processor's name and flags from the kernel; where it tells none, from torch."""
    name, flags = platform.processor() or platform.machine(), frozenset[str]()
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            if key.strip() in ("flags", "Features"):
                flags = frozenset(value.split())
                break
    if not flags and torch.backends.cpu.get_cpu_capability() == "AVX512":
        flags = frozenset(("avx2", "avx512f"))
    return Processor(name, flags)


def _bf16(device: torch.device) -> tuple[bool, str]:
    """Tell whether bfloat16 is fast on a device, and what that rests on."""
    if device.type == "cuda":
        is_fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return is_fast, f"the GPU {'computes' if is_fast else 'does not compute'} in bfloat16"
    if device.type != "cpu":
        return False, f"bfloat16 was not measured on devices of type '{device.type}'"
    fast_flags = [flag for flag in FAST if flag in processor().flags]
    if not fast_flags:
        return False, "the processor has neither AVX-512 bf16 nor AMX"
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False, "torch does not use the processor's bfloat16 instructions"
    return True, f"the processor has {', '.join(fast_flags)}"
