"""The contract: what a model is, what a batch is, where random numbers come from."""
