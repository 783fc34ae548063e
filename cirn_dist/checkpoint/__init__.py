"""Checkpoints: the weights, optimizers and state of a stage, on disk."""
