# %% [markdown]
# # What one diffusion can do
#
# Draw the same noise with every sampler; then complete, vary and blend digits that are given, and
# take them to noise and back. Nothing here is special to ddpm: any run that can do it may take its
# place (`run.capabilities`).
#
#     python examples/diffusion.py

# %%
import torch

import trilemma as tl

run = tl.train("ddpm", "name:digits", steps=200, quiet=True)
test = run.data().test
x, classes = test.x[:8], [run.domain.classes[i] for i in test.labels[:8]]

# %% [markdown]
# Rows are samplers, columns the same noise and class: what differs in a column is the way from
# noise to data. Deterministic samplers agree as far as ten steps let them; `ancestral` throws
# dice.

# %%
rows = {name: run.sample(8, cond=classes, sampler=name, steps=10) for name in tl.SAMPLERS}
tl.strips(rows).save("samplers.png")

# %%
known = torch.zeros_like(x, dtype=torch.bool)
known[..., : x.shape[2] // 2, :] = True  # the upper half is kept
back = run.decode(run.encode(x))  # through the noise that the flow gives each example
edits = {
    "test images": tl.Samples(x, run.domain),
    "lower half": run.complete(x, known),
    "varied": run.edit(x, 0.5, cond=classes),
    "between": run.between(x[:1], x[1:2], 8),
    "and back": back,
}
tl.strips(edits).save("edits.png")
error = (back.tensor.float() - x.float()).abs()
print(f"there and back: wrong by {error.mean():.3g} levels in mean, {error.max():.3g} at most")
