"""Our call of the fused kernel is torch's optimiser, and does not load its compiler."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from trilemma.training.adamw import AdamW


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_equal_to_torch_bit_for_bit(decay):
    mine = [nn.Parameter(torch.randn(5, 7)), nn.Parameter(torch.randn(3))]
    theirs = [nn.Parameter(p.detach().clone()) for p in mine]
    ours = AdamW(mine, betas=(0.8, 0.95), decay=decay)
    matrix, bias = (
        {"params": [p], "weight_decay": d} for p, d in zip(theirs, (decay, 0.0), strict=True)
    )
    oracle = torch.optim.AdamW([matrix, bias], betas=(0.8, 0.95), fused=True)
    for step in range(6):
        if step == 3:  # through a resume
            reloaded = AdamW(mine, betas=(0.8, 0.95), decay=decay)
            reloaded.load_state_dict(ours.state_dict())
            ours = reloaded
        gradients = [torch.randn_like(p) for p in mine]
        for p, g in zip(theirs, gradients, strict=True):
            p.grad = g.clone()
        for group in oracle.param_groups:
            group["lr"] = 0.01 * (step + 1)
        oracle.step()
        ours.step(gradients, 0.01 * (step + 1))
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


def test_training_does_not_load_the_compiler():
    code = (
        "import sys, torch; from trilemma.training import fit, trainer, distributed\n"
        "w = torch.nn.Parameter(torch.ones(2))\n"
        "from trilemma.training.adamw import AdamW\n"
        "AdamW([w]).step([torch.ones(2)], 0.1)\n"
        "assert 'torch._dynamo' not in sys.modules, 'loaded'"
    )
    path = {"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=path)
