"""Runtime, players, step and loop: how a stage trains on any number of ranks."""
