"""Distributed unsupervised domain adaptation for semantic segmentation: the CIRN paper on any number of GPUs."""

__version__ = "0.1.0"
