"""Every family of generative model on your data, under one budget, measured and checked."""

__version__ = "0.1.0"
