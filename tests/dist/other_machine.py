"""The command line on ranks that are not on one kind of machine: rank 1's processor computes in bf16, or has other
instructions, as OTHER says (bf16, model).
"""

from __future__ import annotations

import os

import torch

import cirn_dist.precision
from cirn_dist.cli.app import main

if __name__ == "__main__":
    torch.set_num_threads(1)
    other, rank = os.environ["OTHER"], os.environ["RANK"]
    cirn_dist.precision._cpu_has_bf16 = lambda: other == "bf16" and rank == "1"
    torch.backends.cpu.get_cpu_capability = lambda: "AVX2" if other == "model" and rank == "1" else "AVX512"
    main()
