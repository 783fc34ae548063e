"""Started by a test on one or two ranks: pseudo labels of a random segmenter by every rule, written below a folder."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "unit")]

from stagerun import stage_run

from cirn_dist.stages.domains import open_domains
from cirn_dist.stages.segmenter import build_segmenter
from cirn_dist.stages.self_train.pseudo_label import pseudo_label


def main(folder: Path) -> None:
    for rule in ("bdl", "crst", "iast", "fixed"):
        run = stage_run(folder / rule, f"pseudo_label.rule={rule}", "pseudo_label.threshold=0.5", "data.target.options.count=13")
        segmenter = build_segmenter(run, with_acm=True)
        for head in (segmenter.classifier, segmenter.acm.classifiers[0]):
            for branch in head.branches:
                branch.weight.data.mul_(20)  # confident enough for thresholds to differ
        state = {"finished": True, "label_space": "camvid11", "iteration": 0}
        run.runtime.on_main(lambda: run.store("adapt").save(1, {"segmenter": segmenter.state_dict()}, state).path)
        pseudo_label(run, open_domains(run).target)
    run.runtime.leave(0)


main(Path(sys.argv[1]))
