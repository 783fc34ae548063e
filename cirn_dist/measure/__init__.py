"""Measurements and estimates: memory, speed, scaling, and whether this machine can run."""
