"""GTA5, SYNTHIA and Cityscapes as they are published, rendered: folders, names, sizes and codings of the originals.

What is on the images is streets; there are as many of them as asked for.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from cirn_dist.data.labels import label_space
from cirn_dist.data.streets import render

UInt8Array = npt.NDArray[np.uint8]
GTA5_SIZE, SYNTHIA_SIZE, CITYSCAPES_SIZE = (1914, 1052), (1280, 760), (2048, 1024)
# Of CamVid's 11 classes, which the streets have; what is none of them is 0 in all three.
_CITYSCAPES_IDS = {
    "sky": 23, "building": 11, "pole": 17, "road": 7, "sidewalk": 8, "tree": 21, "sign": 20, "fence": 13, "car": 26,
    "pedestrian": 24, "bicyclist": 25,
}  # fmt: skip
_SYNTHIA_IDS = {
    "sky": 1, "building": 2, "pole": 7, "road": 3, "sidewalk": 4, "tree": 6, "sign": 9, "fence": 5, "car": 8,
    "pedestrian": 10, "bicyclist": 11,
}  # fmt: skip


def gta5(raw: Path, count: int, share: float = 1.0) -> Path:
    """Write images/00001.png and labels/00001.png, a palette PNG of Cityscapes' ids."""
    palette = np.random.default_rng(0).integers(0, 256, 768).tolist()
    for i in range(1, count + 1):
        image, ids = _street(0, i, GTA5_SIZE, share, _CITYSCAPES_IDS)
        _save(raw / f"images/{i:05d}.png", Image.fromarray(image))
        label = Image.fromarray(ids)
        label.putpalette(palette)
        _save(raw / f"labels/{i:05d}.png", label)
    return raw


def synthia(raw: Path, count: int, share: float = 1.0) -> Path:
    """Write RGB/0000000.png and GT/LABELS/0000000.png: 16-bit RGB, the class in red, the object's number in green."""
    for i in range(count):
        image, ids = _street(1, i, SYNTHIA_SIZE, share, _SYNTHIA_IDS)
        _save(raw / f"RGB/{i:07d}.png", Image.fromarray(image))
        objects = np.arange(ids.size, dtype=np.uint16).reshape(ids.shape) // 97
        path = raw / f"GT/LABELS/{i:07d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_png16(np.stack([ids.astype(np.uint16), objects, np.zeros_like(objects)], axis=-1)))
    return raw


def cityscapes(raw: Path, train: int, val: int, share: float = 1.0) -> Path:
    """Write leftImg8bit of train and val, and gtFine's labelIds of val alone: of train nobody may need them."""
    for split, city, count in (("train", "aachen", train), ("val", "frankfurt", val)):
        for i in range(count):
            name = f"{city}_{i:06d}_000019"
            image, ids = _street(len(city), i, CITYSCAPES_SIZE, share, _CITYSCAPES_IDS)
            _save(raw / f"leftImg8bit/{split}/{city}/{name}_leftImg8bit.png", Image.fromarray(image))
            if split == "val":
                _save(raw / f"gtFine/{split}/{city}/{name}_gtFine_labelIds.png", Image.fromarray(ids))
    return raw


def _street(
    seed: int, index: int, size: Sequence[int], share: float, ids: Mapping[str, int]
) -> tuple[UInt8Array, UInt8Array]:
    image, label = render(seed, index, *(round(side * share) for side in size), "photo" if seed > 1 else "synthetic")
    table = np.zeros(256, np.uint8)
    for train_id, name in enumerate(label_space("camvid11").classes):
        table[train_id] = ids[name]
    return image, table[label]


def _save(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def _png16(channels: npt.NDArray[np.uint16]) -> bytes:
    """Encode (H, W, 3) as a PNG of 16 bits per channel, which Pillow cannot write."""
    height, width, _ = channels.shape
    rows = channels.astype(">u2").view(np.uint8).reshape(height, width * 6)
    lines = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(lines, 1))]
    parts = [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
             for kind, data in (*chunks, (b"IEND", b""))]  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
