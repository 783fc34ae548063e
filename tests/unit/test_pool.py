"""The image pool: CycleGAN's own at B = 1, the same images whoever computes them at any B."""

from __future__ import annotations

import torch
from torch import Tensor

from cirn_dist.models.pool import ImagePool
from cirn_dist.seeds import uniforms


def image(k: int) -> Tensor:
    return torch.full((3, 2, 2), float(k))


def shown(pool: ImagePool, ks: list[int]) -> list[int]:
    images = torch.stack([image(k) for k in ks])
    return [int(one.mean()) for one in pool.exchange(images, ks)]


def test_one_lane_is_cyclegans_pool() -> None:
    size, memory, expected = 5, [], []
    for k in range(60):  # CycleGAN's image_pool.lua, with our draws
        if len(memory) < size:
            memory.append(k)
            expected.append(k)
            continue
        coin, place = uniforms(2, 7, "pool", "source", k)
        if coin >= 0.5:
            slot = int(place * size)
            expected.append(memory[slot])
            memory[slot] = k
        else:
            expected.append(k)
    pool = ImagePool(size, 1, seed=7, name="source")
    assert [shown(pool, [k])[0] for k in range(60)] == expected
    assert sum(a != k for k, a in enumerate(expected)) > 15, "about half are earlier images"


def test_ranks_and_resuming_on_another_number_of_ranks_change_nothing() -> None:
    lanes, steps = 4, 30
    whole = ImagePool(9, lanes, seed=1, name="target")
    reference = [shown(whole, list(range(4 * t, 4 * t + 4))) for t in range(steps)]

    two = [ImagePool(9, lanes, seed=1, name="target") for _ in range(2)]
    found = []
    for t in range(15):
        parts = [shown(pool, [4 * t + 2 * rank, 4 * t + 2 * rank + 1]) for rank, pool in enumerate(two)]
        found.append(parts[0] + parts[1])
    state = {key: tensor for pool in two for key, tensor in pool.tensors().items()}
    four = [ImagePool(9, lanes, seed=1, name="target") for _ in range(4)]
    for pool in four:
        pool.load(state, torch.device("cpu"))
    for t in range(15, steps):
        found.append([shown(pool, [4 * t + rank])[0] for rank, pool in enumerate(four)])
    assert found == reference
    assert not set(four[0].tensors()) & set(four[1].tensors()), "a rank saves its own lanes only"


def test_a_pool_of_none_shows_every_image_itself() -> None:
    assert shown(ImagePool(0, 2, seed=0, name="x"), [0, 1, 2, 3]) == [0, 1, 2, 3]
