"""A rehearsal of the paper's experiments at their real sizes: python tests/rehearsal/run.py OUT [--share 0.5].

GTA5, SYNTHIA and Cityscapes are written as they are published, a few images of each, and ResNet-101's weights with
random values; then every verb from `pack` to `tables` does with them what it would do on a cluster, in the shipped
configurations, a few iterations a stage. Twenty minutes for both on one thread of a Zen 5, and 19 GiB; half the size
takes a quarter.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch
import torchvision
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.rehearsal.raw import write_cityscapes, write_source

from cirn_dist.config.load import load
from cirn_dist.config.schema import Config

ROOT = Path(__file__).parents[2]
CONFIGS = ("gta5_cityscapes", "synthia_cityscapes")


def settings(config: Config, share: float, iterations: int) -> list[str]:
    """Return what is changed of a configuration: the iterations and, below full size, what is said in pixels."""
    changed = [f"{stage}.iterations={iterations}" for stage in ("source", "translate", "cir", "adapt", "self_train")]
    if share == 1:
        return changed
    for domain in ("source", "target"):
        changed.append(f"data.{domain}.size=[{','.join(map(str, size_of(config, domain, share)))}]")
    width, crop = config.translate.load_width, config.translate.augment.crop
    assert width is not None
    assert crop is not None
    sides = ",".join(str(round(side * share / 4) * 4) for side in crop)
    return [*changed, f"translate.load_width={round(width * share)}", f"translate.augment.crop=[{sides}]"]


def size_of(config: Config, domain: str, share: float) -> tuple[int, int]:
    """Return a share of the size at which a domain's images are packed."""
    width, height = getattr(config.data, domain).size
    return round(width * share), round(height * share)


def cirn_dist(*arguments: object) -> str:
    """Run a verb to its end, say what it took, and return what it printed.

    Raises:
        RuntimeError: it failed.
    """
    command = [sys.executable, "-m", "cirn_dist", *map(str, arguments)]
    began = time.monotonic()
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process,
        _watched(process.pid) as peak,
    ):
        printed, errors = process.communicate()
    told = " ".join(command[3:5])
    print(f"{time.monotonic() - began:7.1f} s {peak[0] / 2**20:8.0f} MiB  {told}", flush=True)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit {process.returncode}\n{errors[-3000:]}")
    return printed


@contextmanager
def _watched(pid: int) -> Iterator[list[float]]:
    """Give the largest memory, in bytes, of a process and its children, looked at ten times a second."""
    peak, ended = [0.0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            try:
                main = psutil.Process(pid)
                peak[0] = max(peak[0], sum(one.memory_info().rss for one in (main, *main.children(recursive=True))))
            except psutil.Error:  # it has just ended
                continue

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def rehearse(name: str, out: Path, *, share: float, iterations: int, images: int) -> Path:
    """Rehearse a configuration and return its run's folder.

    Raises:
        RuntimeError: a verb failed.
        AssertionError: a verb did something else than it would have to on a cluster.
    """
    config = load(name)
    recipe = str(config.data.source.recipe)
    source, target, packed, run = out / "raw" / recipe, out / "raw/cityscapes", out / "packed", out / "runs" / name
    if not source.exists():
        write_source(recipe, source, images, share)
    if not target.exists():
        write_cityscapes(target, images, share)
    weights = out / "resnet101.pth"
    if not weights.exists():
        torch.manual_seed(0)
        torch.save(torchvision.models.resnet101().state_dict(), weights)
    for raw, split, domain in ((source, "train", "source"), (target, "train", "target"), (target, "val", "target")):
        size, place = "x".join(map(str, size_of(config, domain, share))), packed / raw.name / split
        cirn_dist("pack", raw.name, "--raw", raw, "--out", place, "--split", split, "--size", size)
    cirn_dist("look", packed / recipe / "train", "--out", out / f"look-{recipe}.html")
    data = [f"data.source.raw={packed / recipe / 'train'}", f"data.target.raw={packed / 'cityscapes'}"]
    arguments = [name, *data, f"model.weights={weights}", *settings(config, share, iterations)]
    cirn_dist("doctor", "--config", *arguments)
    cirn_dist("run", *arguments, "--out", run)
    rows = json.loads((run / "results.json").read_text(encoding="utf-8"))["rows"]
    assert [row["iterations"] for row in rows] == [iterations] * 4
    assert all(row["miou"] is not None and len(row["iou"]) == 19 for row in rows)
    tables = cirn_dist("tables", run)
    assert ("Table 1" if recipe == "gta5" else "Table 2") in tables, tables
    cirn_dist("evaluate", run, target, "--json", out / "evaluate.json")
    (scored,) = json.loads((out / "evaluate.json").read_text(encoding="utf-8"))
    assert scored["scores"]["miou"] == rows[-1]["miou"], "scored again, from raw files, a network has another score"
    image = next((target / "leftImg8bit/val").rglob("*.png"))
    cirn_dist("predict", run, image, "--out", out / f"predicted-{recipe}", "--overwrite")
    (ids,) = (out / f"predicted-{recipe}/ids").iterdir()
    assert Image.open(ids).size == Image.open(image).size
    cirn_dist("report", run)
    return run


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--config", choices=CONFIGS, action="append")
    parser.add_argument("--share", type=float, default=1.0, help="of every side in pixels")
    parser.add_argument("--iterations", type=int, default=2, help="of every stage")
    parser.add_argument("--images", type=int, default=2, help="of every set")
    given = parser.parse_args()
    os.nice(5)
    for one in given.config or CONFIGS:
        rehearse(one, given.out.resolve(), share=given.share, iterations=given.iterations, images=given.images)
