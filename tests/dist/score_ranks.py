"""Started by a test on one or two ranks: the confusion matrix of a random segmenter on images of Cityscapes' sizes."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "unit")]

import numpy as np
from stagerun import stage_run

from cirn_dist.stages.domains import open_domains
from cirn_dist.stages.evaluate.miou import count
from cirn_dist.stages.segmenter import build_segmenter


def main(raw: Path, folder: Path) -> None:
    target = f"data.target={{recipe: folder, raw: {raw}, size: [1024, 512], score_split: val}}"
    run = stage_run(folder, target, "evaluate.batch=1", "data.shard_mb=1")
    segmenter = build_segmenter(run, with_acm=True).to(run.runtime.device)
    found = count(run, segmenter, open_domains(run).scored)
    run.runtime.on_main(lambda: np.save(folder / "confusion.npy", found))
    run.runtime.leave(0)


main(Path(sys.argv[1]), Path(sys.argv[2]))
