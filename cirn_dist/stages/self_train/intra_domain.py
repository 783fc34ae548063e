"""IntraDA: stage 2 once more within the target, from its easy images to its hard ones (Pan et al., CVPR 2020)."""

from __future__ import annotations

import json

from cirn_dist.chain import adapt_within, stage_in_round
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.engine.loop import Training
from cirn_dist.engine.run import Run
from cirn_dist.errors import ConfigError, DataError
from cirn_dist.stages.adapt.train import adaptation
from cirn_dist.stages.self_train.pseudo_label import UNCERTAIN
from cirn_dist.stages.self_train.rules import easy_and_hard


def intra_domain(run: Run, easy: ShardSet, hard: ShardSet, labelled: ShardSet | None = None) -> Training:
    """Return stage 2's training from the easy images, with their pseudo labels, to the hard ones.

    Args:
        labelled: target images it may be scored on while it trains.
    """
    return adaptation(run, "self_train", easy, hard, adapt_within(run.config), labelled)


def split(run: Run, pseudo_labelled: ShardSet, share: float) -> tuple[ShardSet, ShardSet]:
    """Return the images that the labelling network was most certain of, and the others without their labels.

    Raises:
        DataError: how certain it was is not recorded.
        ConfigError: there are too few images to be two kinds.
    """
    file = run.stage_folder(stage_in_round("pseudo_label", 1)) / "summary.json"

    def read() -> list[float]:
        found = json.loads(file.read_text(encoding="utf-8")).get(UNCERTAIN, [])
        if len(found) != len(pseudo_labelled):
            raise DataError("says nothing of how certain each image is", where=file, fix=f"remove {file.parent}")
        return list(found)

    easy, hard = easy_and_hard(run.runtime.on_main(read), share)
    if not easy or not hard:
        what = f"of {len(pseudo_labelled)} images {len(easy)} would be easy, {len(hard)} hard"
        raise ConfigError(what, where="pseudo_label.easy_share").on_all_ranks()
    return pseudo_labelled.subset(easy), pseudo_labelled.subset(hard).without_labels()
