# %% [markdown]
# # Fine-tuning
#
# A run starts from another's weights where name and shape fit; what does not is said and recorded.
# Here digits below five teach a model that then sees few of the others. `freeze="encoder"` would
# leave that part as it is.
#
#     python examples/fine_tuning.py

# %%
import trilemma as tl

digits = tl.dataset("name:digits").train
is_low = digits.labels < 5
low = tl.dataset(digits.x[is_low], name="low")
few = tl.dataset(digits.x[~is_low][:120], name="few")
fields = {"batch": 64, "quiet": True}
first = tl.train("vae", low, steps=300, **fields)

# %%
tuned = tl.train("vae", few, steps=60, from_run=first, **fields)
anew = tl.train("vae", few, steps=60, **fields)
for name, run in {"tuned": tuned, "anew": anew}.items():
    print(f"{name:6} bound {run.bound(few.test.x).mean():8.2f} nats on unseen images")

# %% [markdown]
# Weights travel as a folder: safetensors, the record, and a model card.

# %%
folder = tuned.export("tuned-digits")
print(sorted(path.name for path in folder.iterdir()), tl.load(folder).sample(2))
