"""The groups of settings, one file each, in the order of the pipeline."""
