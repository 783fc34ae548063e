"""AdaBN: BatchNorm statistics of unlabelled images of another domain (Li et al. 2016); it trains nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from cirn_dist.config.groups.evaluate import Evaluate
from cirn_dist.data.loading.images import read_images
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.models.norm import Module, reestimate_statistics
from cirn_dist.seeds import permutation


def adabn_groups(images: ShardSet, settings: Evaluate, seed: int) -> list[list[int]]:
    """Draw the images whose statistics are taken; each group of places shares a batch."""
    chosen = permutation(len(images), seed, "adabn")[: settings.adabn_images].tolist()
    return [chosen[start : start + settings.batch] for start in range(0, len(chosen), settings.batch)]


@torch.inference_mode()
def adabn(
    segmenter: Module, images: ShardSet, groups: Iterable[Sequence[int]], *, batch: int, device: torch.device
) -> Module:
    """Return the segmenter with the BatchNorm statistics of a set's images at `groups` of places.

    Under a process group each rank gives groups of its own, and the statistics are those of all ranks' images.
    """
    read = (one.pixels for group in groups for one in read_images(images, group, batch, device))
    return reestimate_statistics(segmenter, read)
