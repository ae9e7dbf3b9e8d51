"""What a diffusion is made of, as choices that do not know one another.

Begin with `schedules.py`: how signal is exchanged for noise, t -> (alpha, sigma). `predictions.py`
says what a network is asked for, and turns it into the clean estimate E[x | x_t], in which all
else is written; `samplers.py` and `multistep.py` go from noise to data by such estimates, at the
times of `sampling_grids.py`; `training_times.py` says how often each noise level is trained;
`guidance.py` makes denoisers of denoisers, `spaces.py` says where all this lives, and
`fourier_features.py` what a network sees besides.

Imports what `maths` may, and knows no network: a denoiser is a function.
"""
