"""The floors of the package: a room imports only rooms of its own floor or of a lower one."""

from __future__ import annotations

FLOORS = {
    "choices": 0, "errors": 0, "files": 0, "formats": 0, "libraries": 0, "precision": 0, "resources": 0, "schedule": 0,
    "seeds": 0, "transfer": 0,
    "config": 1,
    "chain": 2, "data": 2, "losses": 2, "models": 2,
    "checkpoint": 3,
    "rundir": 4,
    "inference": 5,
    "display": 6,
    "engine": 7,
    "stages": 8,
    "paper": 9,
    "report": 10,
    "inputs": 11, "pipeline": 11,
    "measure": 12,
    "running": 13, "start": 13,
    "cli": 14, "__main__": 14,
    "__init__": 14,
}  # fmt: skip

# The same within data/: its own files are the lowest.
DATA_FLOORS = {
    "decode": 0, "label_files": 0, "labels": 0, "streets": 0, "workers": 0,
    "shards": 1,
    "loading": 2, "pack": 2,
    "look": 3, "run_sets": 3,
}  # fmt: skip
