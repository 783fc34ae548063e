"""Shard sets: labels, packing, the index, the deterministic order, and the loader."""
