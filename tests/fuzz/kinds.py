"""Hostile input of every kind: each function meets one, and says what came of it.

An input ends in an error of the project's own, which is one line, or in what is right. Anything else is a fault:
another exception, a wrong result, a file outside the folder; a hang or a crash ends the process that tries it.
"""

from __future__ import annotations

import io
import json
import math
import os
import random
import shutil
import struct
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from mutate import HOSTILE, bytes_of, tree_of
from outcome import REFUSED, Fault, Kind, refusing
from PIL import Image
from safetensors.torch import save_file
from scheduling import scheduler

from cirn_dist.checkpoint.store import Store
from cirn_dist.config.layers import Setting
from cirn_dist.config.load import load
from cirn_dist.config.recorded import dump
from cirn_dist.config.schema import Config, flatten
from cirn_dist.data.label_files import open_label
from cirn_dist.data.labels import label_space
from cirn_dist.data.loading.transforms import SegmentationTransform, decode_image
from cirn_dist.data.pack.list_file import listed
from cirn_dist.data.pack.recipes import load_recipe
from cirn_dist.data.shards.foreign import index_foreign
from cirn_dist.data.shards.shardset import INDEX, ShardSet
from cirn_dist.data.shards.verify import verify
from cirn_dist.data.shards.writer import finish, write_shard
from cirn_dist.models.weights import described, read_weights
from cirn_dist.rundir.made import read_made
from cirn_dist.rundir.metrics import read_metrics
from cirn_dist.rundir.results import read_results


def configuration(folder: Path, draw: random.Random) -> str:
    """A shipped configuration with a few values changed, or its text damaged."""
    whole = yaml.safe_load(dump(load("demo")))
    for _ in range(draw.randint(1, 3)):
        whole = tree_of(whole, draw)
    text = yaml.safe_dump(whole, allow_unicode=True) if not _odd(whole) else json.dumps(whole)
    if draw.random() < 0.3:
        text = bytes_of(text.encode("utf-8", "surrogatepass"), draw).decode("utf-8", "replace")
    if draw.random() < 0.1:
        text += draw.choice(("\nname: twice\nname: again\n", "\na: &a [*a]\n", "\n!!python/object:os.system {}\n",
                             "\nx: &x {k: [1]}\ny: *x\n", "\n" + "[" * 3000))  # fmt: skip
    file = folder / "config.yaml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    with refusing() as outcome:
        _whole(load(str(file)))
    return outcome[0]


def override(folder: Path, draw: random.Random) -> str:
    """A setting on the command line."""
    key = draw.choice([*flatten(load("demo").model_dump(mode="json")), "", "a.b", "data", "model.acm", "seed."])
    value = draw.choice(HOSTILE)
    text = f"{key}={value if draw.random() < 0.5 else json.dumps(value)}"
    with refusing() as outcome:
        _whole(load("demo", [text if draw.random() < 0.9 else Setting.read(text)]))
    return outcome[0]


def _whole(config: Config) -> None:
    """Check that what was read is finite and is read back the same."""
    for key, value in flatten(config.model_dump(mode="json")).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise Fault(f"{key} is {value}")
    again = Config.model_validate(yaml.safe_load(dump(config)))
    if again.model_dump(mode="json") != config.model_dump(mode="json"):
        raise Fault("a configuration that was read is written differently")


def _odd(tree: Any) -> bool:
    return "\\ud8" in json.dumps(tree) or "\\u0000" in json.dumps(tree)


@cache
def _packed(folder: Path) -> Path:
    """Write a set of six images with labels, once."""
    out = folder / "packed"
    rng = np.random.default_rng(0)
    for shard in range(2):
        samples = []
        for i in range(3):
            image, label = io.BytesIO(), io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).save(image, "PNG")
            Image.fromarray(rng.integers(0, 11, (12, 16), dtype=np.uint8)).save(label, "PNG")
            samples.append((f"k{shard}{i}", {"image.png": image.getvalue(), "label.png": label.getvalue()}))
        write_shard(out, f"s-{shard}", samples)
    finish(out, ["s-0", "s-1"], name="fuzz", label_space=label_space("camvid11"))
    return out


def shard_set(folder: Path, draw: random.Random) -> str:
    """A packed set of which a file is damaged: reading gives the samples that were packed, or refuses."""
    whole = _packed(folder)
    before = [ShardSet.open(whole).read(i) for i in range(6)]
    copy = folder / "damaged"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(whole, copy)
    file = draw.choice(sorted(copy.iterdir()))
    if file.name == INDEX and draw.random() < 0.6:
        content = json.loads(file.read_text())
        for _ in range(draw.randint(1, 2)):
            content = tree_of(content, draw)
        file.write_text(json.dumps(content), encoding="utf-8", errors="surrogatepass")
    else:
        file.write_bytes(bytes_of(file.read_bytes(), draw))
    with refusing() as outcome:
        shards = ShardSet.open(copy)
        found = [shards.read(i) for i in range(min(len(shards), 10))]
        transform = SegmentationTransform()
        for sample in found:
            transform(sample, np.full(transform.draws, 0.5))
        if found != before and verify(copy).ok and file.name != INDEX:
            raise Fault(f"{file.name} is damaged, read otherwise, and verified as whole")
    return outcome[0]


_FORMATS = (tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)
_NAMES = ("../../x.jpg", "/tmp/x.jpg", ".jpg", "b", "c.d.e.jpg", "\x1b[2J.jpg", "n" * 90 + ".jpg")
_TYPES = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE)


def foreign_tar(folder: Path, draw: random.Random) -> str:
    """A tar made elsewhere: hostile names and kinds of members, huge sizes, damage."""
    home = folder / "foreign"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    outside = sorted(path.name for path in folder.iterdir())
    file = io.BytesIO()
    image = io.BytesIO()
    Image.new("RGB", (8, 8)).save(image, "JPEG")
    with tarfile.open(fileobj=file, mode="w", format=draw.choice(_FORMATS)) as tar:
        for i in range(draw.randint(0, 4)):
            name = draw.choice((*[f"a{i}.jpg"] * 4, *_NAMES))
            info = tarfile.TarInfo(name)
            info.size = image.tell()
            if draw.random() < 0.3:
                info.type = draw.choice(_TYPES)
                info.linkname, info.size = "/etc/passwd", 0
            tar.addfile(info, io.BytesIO(image.getvalue()))
    data = bytearray(file.getvalue())
    if draw.random() < 0.3 and len(data) > 512:  # a size beyond everything, in octal and in base 256
        data[124:136] = draw.choice((b"77777777777\0", b"\x80" + b"\xff" * 11, b"-0000000001\0", b"not a number"))
    (home / "x.tar").write_bytes(bytes_of(bytes(data), draw) if draw.random() < 0.6 else bytes(data))
    with refusing() as outcome:
        index_foreign(home)
        shards = ShardSet.open(home)
        for i in range(len(shards)):
            sample = shards.read(i)
            if any(b"root:" in content for content in sample.values()):
                raise Fault("a link was followed out of the tar")
    if sorted(path.name for path in folder.iterdir()) != outside:
        raise Fault("something was written outside the folder")
    return outcome[0]


@cache
def _checkpoints(folder: Path) -> Path:
    """Write two checkpoints, once."""
    store = Store(folder / "checkpoints")
    for step in (1, 2):
        weights = {"w": torch.full((5, 3), float(step)), "b": torch.arange(4)}
        parts = {"segmenter": weights, "segmenter.optimizer": {"0.m": torch.ones(2)}}
        store.save(step, parts, {"step": step, "stage": "s"})
    return store.folder


def checkpoint(folder: Path, draw: random.Random) -> str:
    """A checkpoint of which a file is damaged or exchanged: an older one is taken, or it is refused; never another."""
    copy = folder / "hurt"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(_checkpoints(folder), copy)
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    file = draw.choice(files)
    if draw.random() < 0.2:
        file.write_bytes(draw.choice(files).read_bytes())
    else:
        file.write_bytes(bytes_of(file.read_bytes(), draw))
    with refusing() as outcome:
        found = Store(copy).latest()
        if found is None:
            return REFUSED
        step = found.state["step"]
        read = found.read("segmenter")
        if not torch.equal(read["w"], torch.full((5, 3), float(step))) or not torch.equal(read["b"], torch.arange(4)):
            raise Fault(f"{file} is damaged, and its weights were taken")
    return outcome[0]


def weights_file(folder: Path, draw: random.Random) -> str:
    """A file of weights: hostile headers, damage, code in place of tensors."""
    way, file = draw.randrange(5), folder / draw.choice(("w.safetensors", "w.pth"))
    if way == 0:
        header = draw.choice((b"{}", b"[]", b'{"a":{"dtype":"F32","shape":[9999999999],"data_offsets":[0,4]}}',
                              b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[4,0]}}', b"\xff" * 40,
                              b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}',
                              b"[" * 5000))  # fmt: skip
        length = draw.choice((len(header), 2**63, 2**31, 0, len(header) - 1))
        file.write_bytes(struct.pack("<Q", length) + header + b"\0" * draw.choice((0, 4, 12)))
    elif way == 1:
        torch.save(draw.choice(({"a": os.system}, [1, 2], {"a": 3}, {1: torch.ones(2)}, torch.nn.Linear(2, 2))), file)
    elif way == 2:
        file.write_bytes(draw.randbytes(draw.randrange(200)))
    else:
        tensors = {"a": torch.arange(6.0).view(2, 3)}
        save_file(tensors, file) if file.suffix == ".safetensors" else torch.save(tensors, file)
        file.write_bytes(bytes_of(file.read_bytes(), draw))
    with refusing() as outcome:
        described(file)
        state = read_weights(file)
        if not all(isinstance(value, torch.Tensor) for value in state.values()):
            raise Fault("something else than tensors was read")
    return outcome[0]


def image(folder: Path, draw: random.Random) -> str:
    """An image of any format, damaged, or one that says it is larger than any memory."""
    formats = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA")
    mode = draw.choice(("RGB", "L", "P", "RGBA", "1", "I;16", "CMYK", "LA", "F"))
    file = io.BytesIO()
    try:
        Image.new(mode, (draw.randint(1, 20), draw.randint(1, 20))).save(file, draw.choice(formats))
    except (OSError, ValueError):  # not every format has every mode
        Image.new("RGB", (9, 7)).save(file, "PNG")
    data = file.getvalue()
    if draw.random() < 0.15:  # 65,000 x 65,000 in a hundred bytes
        data = bytearray(_png_header(draw.choice((65_000, 2**31 - 1, 0)), draw.choice((65_000, 1, 2**31 - 1))))
    if draw.random() < 0.7:
        data = bytes_of(bytes(data), draw)
    with refusing() as outcome:
        pixels = decode_image(bytes(data))
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise Fault(f"an image became {pixels.dtype} {pixels.shape}")
        ids = open_label(bytes(data))
        if ids.dtype != np.uint8 or ids.ndim != 2:
            raise Fault(f"a label became {ids.dtype} {ids.shape}")
    return outcome[0]


def _png_header(width: int, height: int) -> bytes:
    import zlib

    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 20)
    chunk = b"\x89PNG\r\n\x1a\n"
    for part in (body, data):
        chunk += struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
    return chunk


def recipe(folder: Path, draw: random.Random) -> str:
    """A recipe with a few values changed."""
    from cirn_dist.resources import folder as shipped

    file = draw.choice(sorted(shipped("shards").glob("*.yaml")))
    whole = yaml.safe_load(file.read_text(encoding="utf-8"))
    for _ in range(draw.randint(1, 3)):
        whole = tree_of(whole, draw)
    out = folder / "recipe.yaml"
    text = json.dumps(whole) if _odd(whole) else yaml.safe_dump(whole, allow_unicode=True)
    out.write_text(text, encoding="utf-8", errors="surrogatepass")
    with refusing() as outcome:
        load_recipe(str(out), {}, draw.choice(("train", "val", "")))
    return outcome[0]


def list_file(folder: Path, draw: random.Random) -> str:
    """A list of images: what it names is found as it is meant, or refused; a line is never another image."""
    names = [f"city/{name}.png" for name in ("a", "b", "a b", "ä", "c,d")]
    lines = [draw.choice((*names, "city/missing.png", "../a.png", "", "#", "\x00", "a", "a.png b.png", "city\\a.png"))
             for _ in range(draw.randint(0, 5))]  # fmt: skip
    file = folder / "list.txt"
    data = draw.choice(("\n", "\r\n", "\r")).join(lines).encode(draw.choice(("utf-8", "utf-16", "latin-1")))
    file.write_bytes(bytes_of(data, draw) if draw.random() < 0.4 else data)
    with refusing() as outcome:
        found = listed(file, {name: name.removesuffix(".png") for name in names}, "city")
        taken = getattr(found, "sources", found)
        if not all(str(one) in names or str(one) + ".png" in names for one in taken if isinstance(one, str)):
            raise Fault(f"{lines} gave {taken}")
    return outcome[0]


def run_records(folder: Path, draw: random.Random) -> str:
    """What a run's folder keeps: results, metrics and records, damaged."""
    whole = {
        "results.json": {"name": "n", "seed": 0, "classes": ["a"], "palette": [[1, 2, 3]],
                         "rows": [{"stage": "s", "title": "t", "miou": 0.5, "iou": [0.5]}]},
        "made.json": {"settings": {"a.b": 1}, "starts": []},
        "metrics.jsonl": {"step": 1, "iteration": 4, "time": 1.0, "images_per_second": 2.0, "losses": {"a": 1.0},
                          "rates": {}, "observed": {}, "skipped": 0},
    }  # fmt: skip
    name = draw.choice(sorted(whole))
    content = whole[name]
    for _ in range(draw.randint(0, 2)):
        content = tree_of(content, draw)
    data = json.dumps(content).encode("utf-8", "surrogatepass")
    (folder / name).write_bytes(bytes_of(data, draw) if draw.random() < 0.5 else data)
    with refusing() as outcome:
        if name == "results.json":
            read_results(folder)
        elif name == "made.json":
            read_made(folder)
        else:
            list(read_metrics(folder / name))
    return outcome[0]


KINDS: dict[str, Kind] = {
    kind.__name__: kind
    for kind in (configuration, override, recipe, list_file, image, shard_set, foreign_tar, checkpoint, weights_file,
                 run_records, scheduler)
}  # fmt: skip
