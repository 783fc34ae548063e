"""What a run keeps of its starts on several ranks: a refused one leaves nothing, the others say how many they were."""

from __future__ import annotations

import json
from pathlib import Path

from launching import finish, start

STAGE = ("--until", "source", "controls=false")


def told(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if "cirn-dist: " in line]


def test_a_refused_start_leaves_nothing(mini: Path, tmp_path: Path) -> None:
    wrong = ("data.source.recipe=camvid", "data.source.raw=nowhere", "data.source.options={}")
    done = finish(start(2, "run", mini, "--out", tmp_path / "run", *wrong))
    assert done.returncode != 0
    assert len(told(done.stderr)) == 1, done.stderr
    assert "nowhere" in told(done.stderr)[0]
    assert not (tmp_path / "run").exists()


def test_every_start_is_recorded_with_its_ranks(mini: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert finish(start(2, "run", mini, "--out", run, *STAGE)).returncode == 0
    made = json.loads((run / "source/made.json").read_text("utf-8"))
    assert [(one["by"]["ranks"], one["first"], one["last"]) for one in made["starts"]] == [(2, 0, 12)]
    refused = finish(start(2, "run", mini, "--out", run, *STAGE, "source.lr=0.5", "--allow", "source.lr"))
    assert refused.returncode != 0
    assert len(told(refused.stderr)) == 1, refused.stderr
    assert "source was made with 0.001" in told(refused.stderr)[0]
    longer = ("source.iterations=20", "--allow", "source.iterations")
    done = finish(start(2, "run", mini, "--out", run, *STAGE, *longer))
    assert done.returncode == 0, done.stderr
    made = json.loads((run / "source/made.json").read_text("utf-8"))
    assert [(one["by"]["ranks"], one["first"], one["last"]) for one in made["starts"]] == [(2, 0, 12), (2, 12, 20)]
