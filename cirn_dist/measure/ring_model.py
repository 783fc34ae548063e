"""A model of a step's time on R GPUs: compute, a ring all-reduce, and how much of it hides behind the backward pass.

Times in seconds, sizes in bytes, bandwidths in bytes per second and direction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

BUCKET = 25 * 2**20  # DDP's default: gradients travel in pieces of this size as backward makes them
_GB = 1e9


@dataclass(frozen=True)
class Link:
    """One kind of connection between neighbours of a ring.

    Attributes:
        bandwidth: what an all-reduce reaches, below what is printed on the box.
        latency: per message.
    """

    bandwidth: float
    latency: float


# Inside a node: what NCCL's all-reduce reaches with eight GPUs (its "bus bandwidth").
INTRA: Mapping[str, Link] = {
    "pcie": Link(10 * _GB, 10e-6),  # PCIe 3.0 x16
    "v100": Link(130 * _GB, 7e-6),  # NVLink 2, 150 GB/s per direction
    "a100": Link(230 * _GB, 6e-6),  # NVLink 3, 300 GB/s per direction
}
# Between nodes: a network of so many Gbit/s per node, nine tenths of it reached.
INTER: Mapping[str, Link] = {
    "25": Link(0.9 * 25 / 8 * _GB, 20e-6),
    "100": Link(0.9 * 100 / 8 * _GB, 10e-6),
    "200": Link(0.9 * 200 / 8 * _GB, 5e-6),
}


@dataclass(frozen=True)
class Work:
    """What one step asks of a rank and of the links.

    Attributes:
        image: time of one image's passes on one rank, all players.
        bytes: trainable parameters of all players, each reduced once per step.
        backward: share of an image's time that is backward passes.
        overlap: share of the last image's backward behind which DDP's reduction can hide.
    """

    image: float
    bytes: int
    backward: float = 2 / 3
    overlap: float = 0.5


@dataclass(frozen=True)
class Prediction:
    """One step on R ranks.

    Attributes:
        reduce: time of the all-reduces, hidden or not.
        exposed: the part of it the step waits for.
        speed: images per second, all ranks.
        efficiency: speed over R times one rank's.
    """

    ranks: int
    images_per_step: int
    compute: float
    reduce: float
    exposed: float
    speed: float
    efficiency: float


def ring(ranks: int, size: float, link: Link) -> float:
    """Return the time of a ring all-reduce: 2 (R - 1) messages of size / R each (Patarasuk and Yuan 2009)."""
    if ranks == 1:
        return 0.0
    return 2 * (ranks - 1) * (size / ranks / link.bandwidth + link.latency)


def all_reduce(ranks: int, per_node: int, size: float, intra: Link, inter: Link) -> float:
    """Return the time of an all-reduce over nodes: a ring in each node, then rings between the nodes.

    After its node's half ring a GPU holds 1 / per_node of the sum, and the node's GPUs share its network: together
    they send `size` as one ring between the nodes would.
    """
    local, nodes = min(ranks, per_node), math.ceil(ranks / per_node)
    return ring(local, size, intra) + ring(nodes, size, inter)


def exposed(reduce: float, size: float, backward: float) -> float:
    """Return what is not hidden of a reduction: never less than the last bucket, which starts when backward ends.

    Args:
        backward: how much of the last image's backward can hide it.
    """
    last_bucket = reduce / max(1, math.ceil(size / BUCKET))
    return max(last_bucket, reduce - backward)


def predict(work: Work, ranks: int, images_per_step: int, per_node: int, intra: Link, inter: Link) -> Prediction:
    """Predict a step of B images on R ranks, one image at a time each; data is taken to arrive in time.

    Raises:
        ValueError: the world does not divide B.
    """
    if images_per_step % ranks:
        raise ValueError(f"{ranks} ranks do not divide {images_per_step} images per step")
    compute = images_per_step // ranks * work.image
    reduce = all_reduce(ranks, per_node, work.bytes, intra, inter)
    waited = exposed(reduce, work.bytes, work.overlap * work.backward * work.image)
    speed = images_per_step / (compute + waited)
    return Prediction(ranks, images_per_step, compute, reduce, waited, speed, speed * work.image / ranks)


def smallest_batch(ranks: int, images_per_step: int) -> int:
    """Return the smallest global batch from `images_per_step` up that `ranks` divide."""
    return math.ceil(images_per_step / ranks) * ranks
