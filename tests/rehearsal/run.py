"""A rehearsal of the paper's experiments at their real sizes: python tests/rehearsal/run.py OUT [--share 0.5].

GTA5, SYNTHIA and Cityscapes are written as they are published, a few images of each, and ResNet-101's weights with
random values; then every verb from `pack` to `tables` does with them what it would do on a cluster, in the shipped
configurations, a few iterations a stage. An hour of CPU time for both, and 14 GiB; half the size takes a quarter.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch
import torchvision
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.rehearsal import raw

CONFIGS: dict[str, Callable[[Path, int, float], Path]] = {
    "gta5_cityscapes": raw.gta5,
    "synthia_cityscapes": raw.synthia,
}
# Sizes that the configurations give in pixels; all other settings are the paper's, but for the iterations.
SIZES = {
    "gta5_cityscapes": {"source": (1280, 720), "target": (1024, 512)},
    "synthia_cityscapes": {"source": (1280, 760), "target": (1024, 512)},
}
LOAD_WIDTH, CROP = 1024, 452


def settings(config: str, share: float, iterations: int) -> list[str]:
    """Return what is changed of a configuration: the iterations and, below full size, what is said in pixels."""
    changed = [f"{stage}.iterations={iterations}" for stage in ("source", "translate", "cir", "adapt", "self_train")]
    if share == 1:
        return changed
    for domain, size in SIZES[config].items():
        changed.append(f"data.{domain}.size=[{','.join(str(round(side * share)) for side in size)}]")
    crop = round(CROP * share / 4) * 4
    return [*changed, f"translate.load_width={round(LOAD_WIDTH * share)}", f"translate.augment.crop=[{crop},{crop}]"]


class Rehearsal:
    """Runs verbs one after another, and says what each took."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def cirn_dist(self, *arguments: object) -> str:
        """Run a verb to its end and return what it printed.

        Raises:
            RuntimeError: it failed.
        """
        command = [sys.executable, "-m", "cirn_dist", *map(str, arguments)]
        began = time.monotonic()
        with (
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
            ) as process,
            _watched(process.pid) as peak,
        ):
            printed, errors = process.communicate()
        name = " ".join(str(one).replace(str(self.out), "OUT") for one in arguments[:2])
        print(f"{time.monotonic() - began:7.1f} s {peak[0] / 2**20:8.0f} MiB  {name}", flush=True)
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


def rehearse(config: str, out: Path, *, share: float, iterations: int, images: int) -> Path:
    """Rehearse a configuration and return its run's folder.

    Raises:
        RuntimeError: a verb failed.
        AssertionError: a verb did something else than it would have to on a cluster.
    """
    source, target, packed, run = out / "raw" / config, out / "raw/cityscapes", out / "packed", out / "runs" / config
    if not source.exists():
        CONFIGS[config](source, images, share)
    if not target.exists():
        raw.cityscapes(target, images, images, share)
    weights = out / "resnet101.pth"
    if not weights.exists():
        torch.manual_seed(0)
        torch.save(torchvision.models.resnet101().state_dict(), weights)
    rehearsal, name = Rehearsal(out), config.partition("_")[0]
    sizes = {domain: tuple(round(side * share) for side in size) for domain, size in SIZES[config].items()}
    for recipe, raws, split, domain in (
        (name, source, "train", "source"), ("cityscapes", target, "train", "target"),
        ("cityscapes", target, "val", "target"),
    ):  # fmt: skip
        size = "x".join(map(str, sizes[domain]))
        rehearsal.cirn_dist(
            "pack", recipe, "--raw", raws, "--out", packed / recipe / split, "--split", split, "--size", size
        )
    rehearsal.cirn_dist("look", packed / name / "train", "--out", out / f"look-{name}.html")
    data = [f"data.source.raw={packed / name / 'train'}", f"data.target.raw={packed / 'cityscapes'}"]
    arguments = [config, *data, f"model.weights={weights}", *settings(config, share, iterations)]
    rehearsal.cirn_dist("doctor", "--config", *arguments)
    rehearsal.cirn_dist("run", *arguments, "--out", run)
    rows = json.loads((run / "results.json").read_text(encoding="utf-8"))["rows"]
    assert [row["iterations"] for row in rows] == [iterations] * 4
    assert all(row["miou"] is not None and len(row["iou"]) == 19 for row in rows)
    tables = rehearsal.cirn_dist("tables", run)
    assert ("Table 1" if name == "gta5" else "Table 2") in tables, tables
    rehearsal.cirn_dist("evaluate", run, target, "--json", out / "evaluate.json")
    (scored,) = json.loads((out / "evaluate.json").read_text(encoding="utf-8"))
    assert scored["scores"]["miou"] == rows[-1]["miou"], "scored again, from raw files, a network has another score"
    image = next((target / "leftImg8bit/val").rglob("*.png"))
    rehearsal.cirn_dist("predict", run, image, "--out", out / f"predicted-{name}", "--overwrite")
    (ids,) = (out / f"predicted-{name}/ids").iterdir()
    assert Image.open(ids).size == Image.open(image).size
    rehearsal.cirn_dist("report", run)
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
