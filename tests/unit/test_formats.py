"""Every format that was ever written opens, with the results it had; one of a later version is named as such.

A file of `formats/` holds a finished run and an exported network as a version wrote them, with what they said then.
Its weights are multiples of 1/16, which makes them small on disk.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

import cirn_dist as package
from cirn_dist import formats
from cirn_dist.checkpoint.store import Store
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.errors import CheckpointError, CirnError, ConfigError, DataError
from cirn_dist.files import digest

STORED = Path(__file__).with_name("formats")
KNOWN = sorted(STORED.glob("*.tar.xz"))


@pytest.fixture(params=KNOWN, ids=lambda path: path.name.partition(".")[0])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    with tarfile.open(request.param) as tar:
        tar.extractall(tmp_path, filter="data")
    number = request.param.name.partition(".")[0]
    return tmp_path, json.loads((STORED / f"{number}.json").read_text())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with tarfile.open(KNOWN[-1]) as tar:
        tar.extractall(tmp_path, filter="data")
    return tmp_path / "run"


def picture() -> np.ndarray:
    """An image that needs no file: a hash of its pixels' numbers."""
    return (np.arange(40 * 48 * 3, dtype=np.uint32) * 2654435761 >> 24).astype(np.uint8).reshape(40, 48, 3)


def test_there_is_one_of_every_number() -> None:
    numbers = {int(path.name.partition(".")[0]) for path in KNOWN}
    newest = max(int(ours.partition("/")[2]) for ours in (formats.RUN, formats.CHECKPOINT, formats.SHARDS))
    assert numbers == set(range(1, newest + 1))


def test_what_a_version_wrote_opens_and_says_what_it_said(
    stored: tuple[Path, dict[str, Any]], cirn_dist: Command
) -> None:
    folder, said = stored
    run = folder / "run"
    for place in (run, folder / "golden.safetensors"):
        ids = package.load(place).predict(picture()).ids
        assert np.bincount(ids.ravel(), minlength=11).tolist() == said["class_counts"]
    scored = cirn_dist("evaluate", run, run / "data/scored", "--json", folder / "scores.json")
    assert scored.returncode == 0, scored.stderr
    assert json.loads((folder / "scores.json").read_text())[0]["scores"]["miou"] == pytest.approx(said["miou"])
    for verb in (("show", "run"), ("checkpoints", "verify"), ("report",)):
        done = cirn_dist(*verb, run)
        assert done.returncode == 0, done.stdout + done.stderr
    for shards in ("source", "target", "scored"):
        assert cirn_dist("shards", "verify", run / "data" / shards).returncode == 0


def test_a_finished_run_of_a_version_is_finished(stored: tuple[Path, dict[str, Any]], cirn_dist: Command) -> None:
    folder, said = stored
    before = (folder / "run" / said["checkpoint"] / "MANIFEST.json").read_bytes()
    done = cirn_dist("run", folder / "run/config.yaml", "--out", folder / "run")
    assert done.returncode == 0, done.stderr
    assert "done before" in done.stdout
    assert (folder / "run" / said["checkpoint"] / "MANIFEST.json").read_bytes() == before


def later(run: Path, file: str, key: str, value: str) -> None:
    """Write a record as a later version would have; a shard set's fingerprint holds."""
    content = json.loads((run / file).read_text())
    content[key] = value
    if "fingerprint" in content:
        own = {key: value for key, value in content.items() if key not in ("fingerprint", "notes")}
        content["fingerprint"] = digest(own)
    (run / file).write_text(json.dumps(content))


def test_a_later_run_is_named_by_every_verb_and_left_alone(run: Path, cirn_dist: Command) -> None:
    later(run, "run.json", "format", "cirn-run/2")
    Image.fromarray(picture()).save(run.parent / "a.png")
    for words in (
        ("run", run / "config.yaml", "--out", run), ("show", "run", run), ("evaluate", run, run / "data/scored"),
        ("export", run, "--out", run.parent / "x.pt2"),
        ("predict", run, run.parent / "a.png", "--out", run.parent / "p"),
    ):  # fmt: skip
        before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        done = cirn_dist(*words)
        assert done.returncode != 0, words
        assert "made by a later version: its format is cirn-run/2, this one reads cirn-run/1" in done.stderr, words
        assert len(done.stderr.strip().splitlines()) == 1, words
        assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before, words


def test_a_later_checkpoint_is_not_passed_over_as_damaged(run: Path, cirn_dist: Command) -> None:
    """Passed over, the stage would train again from an older one, and what was newer would be gone."""
    checkpoint = run / "source/checkpoints/step-00000003"
    later(checkpoint, "state.json", "format", "cirn-checkpoint/2")
    facts = json.loads((checkpoint / "MANIFEST.json").read_text())
    from cirn_dist.files import file_sha256

    state = checkpoint / "state.json"
    facts["state.json"] = {"bytes": state.stat().st_size, "sha256": file_sha256(state)}
    (checkpoint / "MANIFEST.json").write_text(json.dumps(facts))
    with pytest.raises(CheckpointError, match="made by a later version"):
        Store(checkpoint.parent).latest()
    done = cirn_dist("run", run / "config.yaml", "--out", run)
    assert done.returncode == 1
    assert "cirn-checkpoint/2" in done.stderr
    assert checkpoint.is_dir()


def test_a_later_shard_set_is_named(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "data/source", tmp_path / "set")
    later(tmp_path / "set", "index.json", "format", "cirn-shards/2")
    with pytest.raises(DataError, match=r"later version: its format is cirn-shards/2.*install that version"):
        ShardSet.open(tmp_path / "set")


def test_a_later_exported_network_is_named(run: Path) -> None:
    file = run.parent / "golden.safetensors"
    with safe_open(file, "pt") as opened:
        said, tensors = opened.metadata(), {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 - no mapping
    save_file(tensors, file, metadata=said | {"cirn_dist": "network/7"})
    with pytest.raises(CheckpointError, match="its format is network/7, this one reads network/1"):
        package.load(file)


@pytest.mark.parametrize(
    ("found", "answer"),
    [
        (None, False), ("", False), (3, False), ("cirn-run/1", True), ("cirn-run/0", True), ("other/1", False),
        ("cirn-run/2", CirnError), ("cirn-run/x", CirnError), ("cirn-run/", CirnError), ("cirn-run/10", CirnError),
    ],
)  # fmt: skip
def test_a_format_is_known_by_name_and_number(found: object, answer: bool | type[CirnError]) -> None:
    if isinstance(answer, bool):
        assert formats.is_format(found, formats.RUN, Path("run"), ConfigError) is answer
    else:
        with pytest.raises(answer, match="later version"):
            formats.is_format(found, formats.RUN, Path("run"), ConfigError)
