"""Tiny datasets in each published dataset's exact form on disk, for the tests of packing."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from cirn_dist.data.decode import encode_image, encode_label
from cirn_dist.data.labels import label_space
from cirn_dist.data.shards.samples import json_field
from cirn_dist.data.shards.shardset import Sample, ShardSet
from cirn_dist.data.shards.writer import finish, write_shard


def picture(seed: int, width: int = 24, height: int = 16) -> np.ndarray:
    """Smooth colours, so that JPEG keeps them."""
    corners = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR))


def labels(seed: int, values: list[int], width: int = 24, height: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).choice(np.array(values, np.uint8), (height, width))


def save(path: Path, array: np.ndarray, palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    if palette:
        image.putpalette([value for index in range(256) for value in (index * 7 % 256, index * 3 % 256, 90)])
    image.save(path)


def png16(path: Path, channels: np.ndarray) -> None:
    """Write (H, W, 3) uint16 as a 16-bit RGB PNG, which Pillow cannot; rows use PNG's filters 0, 1 and 2."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width, _ = channels.shape
    rows = channels.astype(">u2").reshape(height, width * 3).view(np.uint8).reshape(height, width * 6)
    filtered = b""
    for y, row in enumerate(rows):
        kind = y % 3
        before = np.zeros_like(row)
        if kind == 1:
            before[6:] = row[:-6]
        elif kind == 2:
            before = rows[y - 1]
        filtered += bytes([kind]) + (row - before).tobytes()

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(filtered)) + chunk(b"IEND", b"")
    )


def camvid(raw: Path, count: int = 3, split: str = "train") -> Path:
    """train/0001TP_006690.png and trainannot/ of the same names."""
    for number in range(count):
        name = f"0001TP_{6690 + 30 * number:06d}.png"
        save(raw / split / name, picture(number))
        save(raw / f"{split}annot" / name, labels(number, list(range(12))))
    return raw


def sample(seed: int, width: int = 24, height: int = 16, classes: int = 11) -> Sample:
    return {
        "image.png": encode_image(Image.fromarray(picture(seed, width, height)), "png"),
        "label.png": encode_label(labels(seed, [*range(classes), 255], width, height)),
        "json": json_field({"source": f"{seed}"}),
    }


def shard_set(folder: Path, sizes: list[int], width: int = 24, height: int = 16) -> ShardSet:
    """A set of camvid11 samples: key-000000, ... in shards of these sizes."""
    stems, first = [], 0
    for number, size in enumerate(sizes):
        stems.append(f"s-{number:06d}")
        keys = range(first, first + size)
        write_shard(folder, stems[-1], ((f"key-{key:06d}", sample(key, width, height)) for key in keys))
        first += size
    return finish(folder, stems, name="test", label_space=label_space("camvid11"))


def flip(path: Path, offset: int, bit: int = 1) -> None:
    """Flip one bit of a file."""
    data = bytearray(path.read_bytes())
    data[offset] ^= bit
    path.write_bytes(data)


def jpeg(array: np.ndarray, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).convert(mode).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()
