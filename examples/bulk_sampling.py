# %% [markdown]
# # Many samples on several devices
#
# Sample i does not depend on who draws it: each process draws its part, and the parts, in order,
# are what one process would have drawn. Under `trilemma sample --devices` this is done for you.
#
#     python examples/bulk_sampling.py

# %%
import multiprocessing
from pathlib import Path

import torch

import trilemma as tl

COUNT, PART = 96, 32


def drawn(path: Path, part: int) -> torch.Tensor:
    """Draw one part, on a device of its own where there are several."""
    devices = torch.cuda.device_count()
    run = tl.load(path, device="cuda" if devices else "cpu")
    if devices:
        run.model.to(f"cuda:{part % devices}")
    return run.sample(PART, seed=0, start=part * PART).tensor


# %%
def main() -> None:
    """Train a little, draw in two processes, and see that nothing depends on them."""
    run = tl.train("gan", "name:digits", steps=20, batch=64, quiet=True)
    jobs = [(run.path, part) for part in range(COUNT // PART)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        x = torch.cat(pool.starmap(drawn, jobs))
    alone = run.sample(COUNT, seed=0).tensor
    print(f"{len(x)} samples; as one process draws them: {torch.equal(x, alone)}")
    tl.Samples(x, run.domain).save("bulk.npz")


if __name__ == "__main__":
    main()
