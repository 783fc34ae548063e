"""Reinhard's colour transfer from source images to the target set's, as a step before the generator."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from cirn_dist.data.colour import moments, transfer
from cirn_dist.data.index import ShardSet
from cirn_dist.engine.run import Run
from cirn_dist.seeds import derive
from cirn_dist.stages.images import batches, dealt, read_images


class TargetColours:
    """The colour moments of every target image, (N, 2, 3); sample k is given those of image hash(seed, k) mod N."""

    def __init__(self, table: Tensor, seed: int) -> None:
        self.table, self.seed = table, seed

    @classmethod
    def measure(cls, run: Run, target: ShardSet) -> TargetColours:
        """Read the whole target set once, split over ranks."""
        runtime = run.runtime
        table = torch.zeros(len(target), 2, 3, device=runtime.device)
        for group in dealt(run, batches(target, 8), "measuring the target's colours"):
            for images in read_images(target, group, 1, runtime.device):
                table[list(images.indices)] = moments(images.pixels)
        return cls(runtime.sum(table), run.config.seed)

    def give(self, images: Tensor, ks: Iterable[int] | Tensor) -> Tensor:
        """Return source images (N, 3, H, W) in the colours of the target images drawn for samples `ks`."""
        drawn = [derive(self.seed, "colours", int(k)) % len(self.table) for k in ks]
        return transfer(images, self.table[drawn].to(images.device))
