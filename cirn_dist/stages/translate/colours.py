"""Colour transfer from source images to the target set's, as a step before the generator.

What a target image gives is its Lab mean and spread (Reinhard) and, where the configuration asks, its tone curve in
place of lightness's mean and spread, and its sensor noise, which a deterministic generator cannot make.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from cirn_dist.config.groups.translate import Translate
from cirn_dist.data.loading.images import batches, read_images
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.engine.run import Run
from cirn_dist.seeds import derive
from cirn_dist.stages.images import each_ranks_groups
from cirn_dist.stages.translate.lab import lab_to_rgb, moments, rescale, rgb_to_lab
from cirn_dist.stages.translate.noise import add_noise, noise_level
from cirn_dist.stages.translate.tone_curve import SHARES, give_tones, tones


class TargetColours:
    """The colours of every target image; source sample k is given those of image hash(seed, k) mod N.

    Args:
        table: per target image Lab moments (N, 2, 3) flattened, lightness quantiles and noise level: (N, 6 + Q + 1).
    """

    def __init__(self, table: Tensor, settings: Translate, seed: int) -> None:
        self.table, self.settings, self.seed = table, settings, seed

    @classmethod
    def measure(cls, run: Run, target: ShardSet) -> TargetColours:
        """Read the whole target set once, split over ranks."""
        runtime = run.runtime
        table = torch.zeros(len(target), 6 + len(SHARES) + 1, device=runtime.device)
        for group in each_ranks_groups(run, batches(target, 8), "measuring the target's colours"):
            for images in read_images(target, group, 1, runtime.device):
                lab = rgb_to_lab(images.pixels)
                found = [moments(lab).flatten(1), tones(lab[:, 0]), noise_level(lab[:, 0])[:, None]]
                table[list(images.indices)] = torch.cat(found, 1)
        return cls(runtime.sum(table), run.config.translate, run.config.seed)

    def give(self, images: Tensor, ks: Iterable[int] | Tensor) -> Tensor:
        """Return source images (N, 3, H, W) in the colours of the target images drawn for samples `ks`."""
        ks = ks.tolist() if isinstance(ks, Tensor) else list(ks)
        drawn = [derive(self.seed, "colours", k) % len(self.table) for k in ks]
        wanted = torch.stack([self.table[i] for i in drawn])  # a list of places would have to be sent there
        lab = rgb_to_lab(images)
        lightness, colour = lab[:, 0], rescale(lab, wanted[:, :6].view(-1, 2, 3))
        lightness = give_tones(lightness, wanted[:, 6:-1]) if self.settings.colour_curve else colour[:, 0]
        if self.settings.colour_noise:
            lightness = add_noise(lightness, wanted[:, -1], [derive(self.seed, "noise", k) for k in ks])
        return lab_to_rgb(torch.cat([lightness[:, None], colour[:, 1:]], 1))
