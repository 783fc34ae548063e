"""One rank or two: the same pseudo labels, byte for byte, by every rule."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from launching import ROOT, launch

from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.data.loading.transforms import decode_label

RULES = ("bdl", "crst", "iast", "fixed")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folders = {}
    for ranks in (1, 2):
        folders[ranks] = tmp_path_factory.mktemp(f"ranks{ranks}")
        done = launch(ranks, folders[ranks], script=ROOT / "tests/dist/label_ranks.py", launcher="torchrun")
        assert done.returncode == 0, done.stderr[-3000:]
    return folders


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_two_ranks_write_the_labels_of_one(rule: str, made: dict[int, Path]) -> None:
    one, two = (ShardSet.open(made[ranks] / rule / "pseudo_label/shards") for ranks in (1, 2))
    assert len(one.shards) > 2, "both ranks had shards to write"
    assert [shard["sha256"] for shard in one.shards] == [shard["sha256"] for shard in two.shards]
    first, second = (json.loads((made[r] / rule / "pseudo_label/summary.json").read_text()) for r in (1, 2))
    assert first == second
    labels = np.stack([decode_label(one.read(i)["label.png"]) for i in range(len(one))])
    assert 0.02 < (labels == 255).mean() < 0.98, "some pixels are kept and some are not"


@pytest.mark.slow
def test_the_rules_differ(made: dict[int, Path]) -> None:
    sets = [ShardSet.open(made[1] / rule / "pseudo_label/shards") for rule in RULES]
    assert len({tuple(shard["sha256"] for shard in found.shards) for found in sets}) == len(RULES)
