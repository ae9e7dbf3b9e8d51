"""Make src/trilemma/data/files/digits.safetensors from scikit-learn's copy of the digits.

Run with the dev extra installed: python scripts/make_digits.py
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits

TO = Path(__file__).parent.parent / "src" / "trilemma" / "data" / "files" / "digits.safetensors"


def main() -> None:
    """Write images as levels 0 … 16, [1797, 1, 8, 8], and labels, [1797], both uint8."""
    given = load_digits()
    x = torch.from_numpy(given.images).to(torch.uint8)[:, None]
    if not torch.equal(x[:, 0].double(), torch.from_numpy(given.images)) or x.max() != 16:
        raise SystemExit("the digits are no longer integers 0 … 16")
    labels = torch.from_numpy(given.target).to(torch.uint8)
    save_file({"x": x.contiguous(), "labels": labels}, TO)


if __name__ == "__main__":
    main()
