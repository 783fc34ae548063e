"""CycleGAN's pool of earlier translations, as a function of the sample counter.

The discriminator is shown, half of the time, an image translated some steps ago (Shrivastava et al. 2017; CycleGAN,
section 4). One pool per rank would make training depend on the number of ranks. Here step t's j-th sample, k = tB + j,
has lane j: B lanes share the pool's size, a lane meets the same samples whoever computes them, and B = 1 is CycleGAN's
own pool.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cirn_dist.seeds import uniforms


class ImagePool:
    """Remembers translated images in B lanes.

    Args:
        size: images over all lanes; 0 remembers nothing.
        lanes: B, the images of a step.
        seed, name: name the random draws.
    """

    def __init__(self, size: int, lanes: int, *, seed: int, name: str) -> None:
        self.depth = math.ceil(size / lanes)
        self.lanes, self.seed, self.name = lanes, seed, name
        self.slots: dict[int, list[Tensor]] = {}
        self._seen: set[int] = set()

    def exchange(self, images: Tensor, ks: Sequence[int]) -> Tensor:
        """Return as many images, (N, 3, H, W): each itself, or an earlier one of its lane whose place it takes."""
        return torch.stack([self._exchange_one(image, k) for image, k in zip(images, ks, strict=True)])

    def _exchange_one(self, image: Tensor, k: int) -> Tensor:
        if self.depth == 0:
            return image
        lane = k % self.lanes
        self._seen.add(lane)
        slots = self.slots.setdefault(lane, [])
        if len(slots) < self.depth:
            slots.append(image.clone())
            return image
        coin, place = uniforms(2, self.seed, "pool", self.name, k)
        if coin < 0.5:
            return image
        slot = int(place * self.depth)
        earlier, slots[slot] = slots[slot], image.clone()
        return earlier

    def tensors(self) -> dict[str, Tensor]:
        """Return the lanes this rank has used, "<name>.<lane>.<slot>" -> image; all ranks' together are the state."""
        return {
            f"{self.name}.{lane}.{slot}": image
            for lane in self._seen
            for slot, image in enumerate(self.slots.get(lane, []))
        }

    def load(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        """Take the whole state, of which this rank will use its lanes."""
        self.slots, self._seen = {}, set()
        own = {key: tensor for key, tensor in tensors.items() if key.startswith(f"{self.name}.")}
        for key in sorted(own, key=lambda key: int(key.rpartition(".")[2])):
            lane = int(key.split(".")[-2])
            self.slots.setdefault(lane, []).append(own[key].to(device))
