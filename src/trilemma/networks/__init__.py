"""Parameters, but no loss and no sampling.

Begin with `layers.py`, which several others share, then open a family's network: `unet.py` and
`patch_transformer.py` denoise, `pixelcnn.py` and `transformer.py` look back only, `coupling.py`
and `splines.py` are flows, `egnn.py` and `point_transformer.py` see point clouds, `relational.py`
molecules. What conditions them is in `condition_encoder.py` and `property_condition.py`; changes
of images that a game trains on are in `augment.py`.

Imports `core` and `maths`, torch and jaxtyping. It knows no family: `recipes` brings a network and
a family together.
"""
