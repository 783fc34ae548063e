"""The checkpoint store: what a run has finished, and how the next stage finds it."""
