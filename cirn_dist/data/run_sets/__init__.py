"""The sets a run reads: their classes, whether a packed one fits, what labels teach, packing what is missing."""
