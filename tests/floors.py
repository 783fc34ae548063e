"""The floors of the package: a room imports only rooms of its own floor or of a lower one."""

from __future__ import annotations

FLOORS = {
    "choices": 0, "errors": 0, "files": 0, "libraries": 0, "precision": 0, "resources": 0, "schedule": 0, "seeds": 0,
    "transfer": 0,
    "config": 1,
    "chain": 2, "data": 2, "losses": 2, "models": 2,
    "checkpoint": 3,
    "rundir": 4,
    "display": 5,
    "engine": 6,
    "stages": 7,
    "paper": 8,
    "report": 9,
    "inputs": 10, "pipeline": 10,
    "measure": 11,
    "start": 12,
    "cli": 13, "__main__": 13,
    "__init__": -1,
}  # fmt: skip
