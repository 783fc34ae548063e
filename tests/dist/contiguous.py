"""The command line with DDP's weights in DeepSpeed's order in memory.

Convolutions round otherwise in another order, and an activation at a ReLU's kink, or a reconstruction that is exact,
turns that into 1e-2 of a gradient: with the same order, what differs is the backend's doing.
"""

from __future__ import annotations

import torch

from cirn_dist.cli.app import main
from cirn_dist.engine.players import DdpPlayer

if __name__ == "__main__":  # the loader's workers import this file too
    DdpPlayer.memory_format = torch.contiguous_format
    main()
