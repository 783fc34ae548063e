"""Scores on labelled target images, with and without AdaBN, during and after training."""
