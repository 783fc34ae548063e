"""A machine that others use too: group permissions, temporary names, secrets, hostile names."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Command

from cirn_dist.engine.environment import command
from cirn_dist.errors import ConfigError, masked, one_line
from cirn_dist.files import atomic, beside


def modes(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): stat.S_IMODE(p.stat().st_mode) for p in [folder, *folder.rglob("*")]}


@pytest.mark.parametrize("umask", ["002", "027"])
def test_a_run_has_the_permissions_that_its_user_gives(umask: str, mini: Path, tmp_path: Path) -> None:
    """002: the group may write all of it; 027: others see nothing. Nothing is ever world-writable."""
    out = tmp_path / "run"
    words = [sys.executable, "-m", "cirn_dist", "run", mini, "controls=false", "--until", "render"]
    done = subprocess.run(
        ["bash", "-c", f'umask {umask}; exec "$@"', "sh", *map(str, words), "--out", str(out)],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = modes(out)
    assert {"config.yaml", "run.json", "source/made.json", "render/shards/index.json"} <= set(found)
    given = {True: 0o777 & ~int(umask, 8), False: 0o666 & ~int(umask, 8)}
    wrong = {name: oct(mode) for name, mode in found.items() if mode != given[(out / name).is_dir()]}
    assert not wrong


def test_a_link_that_waits_under_a_temporary_name_is_not_written_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    names = {beside(tmp_path / "config.yaml").name for _ in range(50)}
    assert len(names) == 50, "no two are the same, so none can be guessed"
    monkeypatch.setattr("cirn_dist.files.secrets.token_hex", lambda _: "known")
    beside(tmp_path / "config.yaml").symlink_to(precious)
    with pytest.raises(FileExistsError), atomic(tmp_path / "config.yaml") as file:
        file.write(b"theirs")
    assert precious.read_text() == "mine"
    assert not (tmp_path / "config.yaml").exists()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("WANDB_API_KEY=abc:123 unknown key", "WANDB_API_KEY=*** unknown key"),
        ("hf_token: s3cr3t, lr: 1", "hf_token: ***, lr: 1"),
        ("--set password='a b'", "--set password='***"),
        ("https://me:pw@host/data: no such folder", "https://***@host/data: no such folder"),
        ("source.lr=1e-3 model.acm.k=2", "source.lr=1e-3 model.acm.k=2"),
        ("data/token_ring/image.png: damaged", "data/token_ring/image.png: damaged"),
        ("adapt.lr: unknown key; did you mean lr?", "adapt.lr: unknown key; did you mean lr?"),
        ("unknown key 'adapt.lrr'", "unknown key 'adapt.lrr'"),
        ("AWS_SECRET_ACCESS_KEY = x/y+z", "AWS_SECRET_ACCESS_KEY = ***"),
    ],
)
def test_what_is_called_a_secret_is_not_shown(text: str, shown: str) -> None:
    assert masked(text).startswith(shown)
    assert one_line(text) == masked(text)
    assert str(ConfigError(text)) == masked(text)


def test_a_secret_on_the_command_line_is_not_recorded(cirn_dist: Command, tmp_path: Path) -> None:
    assert "hunter2" not in masked(command(["cirn-dist", "run", "demo", "api_key=hunter2"]))
    done = cirn_dist("run", "demo", "wandb_api_key=hunter2", "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "wandb_api_key" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    assert not (tmp_path / "run").exists()


def test_a_runs_files_hold_nothing_of_the_environment(finished_run: Path) -> None:
    """The test's own environment has a key; no record, log or report of a run does."""
    texts = [p.read_bytes() for p in finished_run.rglob("*") if p.suffix in (".json", ".jsonl", ".yaml", ".html")]
    assert len(texts) > 10
    assert not any(b"CIRN_TEST_API_KEY" in text or b"b7e1c0ffee" in text for text in texts)
