"""The precision follows what the processor has, and says so."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trilemma.core.errors import BadInput
from trilemma.training import precision
from trilemma.training.precision import Processor, choose, choose_device

CPU = torch.device("cpu")
AVX2 = frozenset(("avx2", "fma"))
AVX512 = AVX2 | {"avx512f"}


@pytest.fixture
def having(monkeypatch):
    """Pretend to a processor with these flags."""

    def pretend(flags, used=True):
        monkeypatch.setattr(precision, "processor", lambda: Processor("a test", frozenset(flags)))
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: used)

    return pretend


@pytest.mark.parametrize(
    ("flags", "dtype", "channels_last"),
    [
        (AVX2, "fp32", False),
        (AVX512, "fp32", True),
        (AVX512 | {"avx512_bf16"}, "bf16", True),
        (AVX512 | {"amx_bf16"}, "bf16", True),
    ],
)
def test_auto_follows_the_flags(having, flags, dtype, channels_last):
    having(flags)
    chosen = choose("auto", CPU)
    assert (chosen.dtype, chosen.channels_last) == (dtype, channels_last)
    assert chosen == choose("auto", CPU)


def test_auto_keeps_to_float32_where_torch_does_not_use_the_flag(having):
    having(AVX512 | {"avx512_bf16"}, used=False)
    assert choose("auto", CPU).dtype == "fp32"


def test_a_recipe_may_keep_float32_and_says_so(having):
    having(AVX512 | {"avx512_bf16"})
    precision = choose("auto", CPU, prefer_bf16=False)
    assert precision.dtype == "fp32"
    assert "recipe" in precision.reason
    assert choose("bf16", CPU, prefer_bf16=False).dtype == "bf16"


def test_what_is_asked_for_is_done_with_a_word_of_doubt(having):
    having(AVX2)
    assert choose("fp32", CPU).dtype == "fp32"
    precision = choose("bf16", CPU)
    assert precision.dtype == "bf16"
    assert "slow" in precision.reason
    with pytest.raises(BadInput, match="did you mean 'bf16'"):
        choose("bf15", CPU)


def test_autocast_computes_in_the_chosen_numbers():
    layer, x = nn.Linear(4, 4), torch.ones(2, 4)
    for dtype, expected in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        with precision.Precision(dtype, False, "").autocast(CPU):
            assert layer(x).dtype == expected


def test_place_lays_images_out_and_keeps_the_parameters():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 4))
    parameters = list(model.parameters())
    precision.Precision("fp32", True, "").to_device(model, CPU)
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == CPU
    with pytest.raises(BadInput, match="no GPU here"):
        choose_device("cuda")
    with pytest.raises(BadInput, match="unknown device"):
        choose_device("cdua")


def test_this_machine_is_read():
    processor_name = precision.processor()
    assert processor_name.name
    if torch.backends.cpu.get_cpu_capability() == "AVX512":
        assert "avx512f" in processor_name.flags
