"""What a step of every method takes: time beside a step on the source alone, and memory. Writes methods/steps.json.

python docs/study/steps.py WEIGHTS times each stage by `cirn-dist bench step` twice, some minutes apart, and the
source's own step at every fifth, of which the median counts: the speed of a machine drifts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from one_budget import CHAIN, NAME, ROWS, STEPS

from cirn_dist.paper.sweep import Point, points


def measured(stage: str, run: Point, given: list[str]) -> dict[str, Any]:
    """Return what `bench step` says of a stage of one of the sweep's runs."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "step.json"
        words = ["bench", "step", stage, "--config", run.base, "--steps", "5", "--json", str(file)]
        subprocess.run(
            [sys.executable, "-m", "cirn_dist", *words, *run.overrides, *given], check=True, stdout=subprocess.DEVNULL
        )
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found


def main() -> None:
    """Time them all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", help="MobileNetV2's ImageNet features")
    weights = parser.parse_args().weights
    of = {one.name.rpartition("-seed")[0]: one for one in points("methods_camvid", seeds=[0])}
    given = [f"model.weights={weights}", "data.target.raw=."]
    alone: list[dict[str, Any]] = []
    found: dict[str, list[dict[str, Any]]] = {f"{experiment} {stage}": [] for _, experiment, stage in ROWS}
    for _ in range(2):
        for at, key in enumerate(found):
            experiment, stage = key.split()
            if at % 5 == 0:
                alone.append(measured("source", of[CHAIN], given))
            found[key].append(measured(stage, of[experiment], given))
            print(key.removeprefix(NAME.format("")), found[key][-1]["ours"], alone[-1]["ours"], flush=True)
    source = statistics.median(one["ours"]["cpu"] for one in alone)
    steps = {
        key: {
            "ratio": round(statistics.mean(one["ours"]["cpu"] for one in both) / source, 2),
            "mib": round(both[0]["memory"] / 2**20),
            "cpu_s": [round(one["ours"]["cpu"], 4) for one in both],
            "machine": both[0]["machine"],
        }
        for key, both in found.items()
    }
    STEPS.write_text(json.dumps(steps, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
