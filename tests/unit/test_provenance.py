"""What was made of what: the tree from scores to raw data, and the links that do not fit."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from conftest import Command
from typer.testing import CliRunner

from cirn_dist.checkpoint.store import Store
from cirn_dist.cli.app import app
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.errors import DataError
from cirn_dist.files import read_json
from cirn_dist.rundir.provenance import Node, provenance


def invoke(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})
    return done.exit_code, done.output


def paths(node: Node, below: str = "") -> set[str]:
    own = f"{below}/{node.kind}" if below else node.kind
    return {own}.union(*(paths(parent, own) for _, parent in node.parents)) if node.parents else {own}


@pytest.fixture
def copy(finished_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished_run, tmp_path / "run")
    return tmp_path / "run"


def test_the_final_score_is_traced_to_the_raw_data(finished_run: Path, tmp_path: Path) -> None:
    tree = provenance(finished_run)
    assert tree.problems() == []
    first = tree.parents[0][1]
    assert first.kind == "score"
    assert first.name.startswith("self_train: target mIoU")
    chains = paths(tree)
    assert "run/score/checkpoint/shards/checkpoint/checkpoint/shards/raw" in chains, "labels by adapt, from source"
    assert "run/score/checkpoint/checkpoint/shards/checkpoint/shards/raw" in chains, "the CIR by translate"
    code, printed = invoke("show", finished_run, "--json", tmp_path / "tree.json")
    assert code == 0
    assert "every link fits" in printed
    for part in ("self_train: target mIoU", "made by: translate/checkpoints/step-", "packed from: streets, train"):
        assert part in printed
    told = json.loads((tmp_path / "tree.json").read_text())
    assert told["problems"] == []
    assert told["made_of"][0]["kind"] == "score"
    assert invoke("show", "run", finished_run) == (code, printed)


def test_what_is_recorded_is_what_is_there(finished_run: Path) -> None:
    """Fingerprints by hand: the recorded parents and data are those on the disk."""
    adapt = Store(finished_run / "adapt/checkpoints").latest()
    assert adapt is not None
    ((name, record),) = adapt.state["parents"].items()
    parent = Store(finished_run / name / "checkpoints").latest()
    assert parent is not None
    manifest = (parent.path / "MANIFEST.json").read_bytes()
    assert record == {
        "path": f"{name}/checkpoints/{parent.path.name}",
        "fingerprint": hashlib.sha256(manifest).hexdigest(),
    }
    cir = ShardSet.open(finished_run / "render/shards")
    assert adapt.state["data"]["source"] == cir.fingerprint
    assert cir.meta["made"]["parent"] == ShardSet.open(finished_run / "data/source").fingerprint
    recorded = read_json(finished_run / "data.json")
    assert recorded["data.target"] == ShardSet.open(finished_run / "data/target").fingerprint


def test_a_parent_that_was_trained_again_does_not_fit(copy: Path) -> None:
    newest = Store(copy / "translate/checkpoints").paths()[0]
    shutil.rmtree(newest)  # the one before it is not what made the CIR
    code, printed = invoke("show", copy)
    assert code == 1
    assert "1 link does not fit" in printed
    assert "not there any more" in printed


def test_a_score_of_another_checkpoint_and_a_set_that_is_gone(copy: Path) -> None:
    scores = json.loads((copy / "cir/scores.json").read_text())
    (copy / "cir/scores.json").write_text(json.dumps(scores | {"checkpoint": "0" * 64}))
    shutil.rmtree(copy / "pseudo_label/shards")
    problems = provenance(copy).problems()
    assert len(problems) == 2
    assert any("score of checkpoint 00000000" in one for one in problems)
    assert any("shard set" in one and "not there any more" in one for one in problems)


def test_checkpoints_are_listed_verified_and_shown(copy: Path, tmp_path: Path) -> None:
    code, printed = invoke("checkpoints", "list", copy, "--json", tmp_path / "list.json")
    assert code == 0
    entries = json.loads((tmp_path / "list.json").read_text())
    newest = [entry for entry in entries if entry["stage"] == "adapt"][-1]
    assert (newest["step"], newest["iteration"], newest["finished"], newest["kept"]) == (3, 12, True, ["newest"])
    assert newest["stalled_ms"] > 0
    assert newest["written_s"] > 0
    assert newest["bytes"] == sum(
        file.stat().st_size for file in Path(newest["path"]).iterdir() if file.name != "MANIFEST.json"
    )
    assert "newest, finished" in printed

    code, printed = invoke("checkpoints", "show", copy, "--stage", "translate", "--json", tmp_path / "show.json")
    assert code == 0
    assert "generator_s2t" in printed
    (shown,) = json.loads((tmp_path / "show.json").read_text())
    sizes = {part["name"]: part["numbers"] for part in shown["components"]}
    checkpoint = Store(copy / "translate/checkpoints").latest()
    assert checkpoint is not None
    assert sizes["generator_s2t"] == sum(tensor.numel() for tensor in checkpoint.read("generator_s2t").values())

    assert invoke("checkpoints", "verify", copy)[0] == 0
    file = Store(copy / "adapt/checkpoints").paths()[0] / "segmenter.safetensors"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    code, printed = invoke("checkpoints", "verify", copy)
    assert code == 1
    assert "1 of" in printed
    assert "segmenter.safetensors is damaged" in printed


def test_wrong_words_are_one_line(copy: Path, tmp_path: Path, cirn_dist: Command) -> None:
    with pytest.raises(DataError, match="no run was begun here"):
        provenance(tmp_path / "none")
    code, _ = invoke("checkpoints", "show", copy, "--stage", "adapt", "--step", "77")
    assert code != 0
    missing = cirn_dist("checkpoints", "list", copy, "--stage", "nonsense")
    assert missing.returncode == 1
    assert missing.stderr.count("\n") == 1
    assert "stage nonsense has no checkpoints" in missing.stderr
