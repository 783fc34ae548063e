"""Shard sets: labels, the deterministic order, the loader; packing and files in rooms of their own."""
