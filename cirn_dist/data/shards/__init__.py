"""Shard sets on disk: reading, writing, describing, checking and repairing them."""
