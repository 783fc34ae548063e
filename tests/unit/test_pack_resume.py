"""Packing that is interrupted, killed or repeated."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from rawdata import camvid, labels, save
from shardsets import contents

from cirn_dist.data.pack.pack import pack
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.errors import CorruptSample, DataError


def test_packing_gives_the_same_bytes_with_any_number_of_workers(tmp_path):
    raw = camvid(tmp_path / "raw", 8)
    seen = []
    one = pack("camvid", raw, tmp_path / "one", shard_mb=0.002, progress=lambda done, total: seen.append((done, total)))
    two = pack("camvid", raw, tmp_path / "two", shard_mb=0.002, workers=2)
    assert len(one.shards) > 2
    assert contents(one.path) == contents(two.path)
    assert seen == [(done, 8) for done in range(9)]
    assert not [name for name in contents(one.path) if "record" in name or name == "pack.json" or "partial" in name]


def test_errors_of_workers_are_the_same_errors(tmp_path):
    raw = camvid(tmp_path / "raw", 4)
    (raw / "train/0001TP_006720.png").write_bytes(b"")
    with pytest.raises(CorruptSample, match=r"0001TP_006720\.png: empty file"):
        pack("camvid", raw, tmp_path / "out", workers=2)


def test_a_finished_set_is_recognised_even_without_its_raw_folder(tmp_path):
    raw = camvid(tmp_path / "raw")
    first = pack("camvid", raw, tmp_path / "out", size=(12, 8))
    assert pack("camvid", tmp_path / "gone", tmp_path / "out", size=(12, 8)).fingerprint == first.fingerprint
    with pytest.raises(DataError, match=r"out: packed with other options: size \[12, 8\], now \[24, 16\]; codec 'png'"):
        pack("camvid", raw, tmp_path / "out", size=(24, 16), codec="webp")


@pytest.mark.parametrize("fails_at", ["index", "counts", "record"])
def test_a_disk_that_fills_behind_the_first_tar_leaves_what_packing_goes_on_with(tmp_path, monkeypatch, fails_at):
    """The plan was removed with no record there, the tar was not, and no later start could begin."""
    raw = camvid(tmp_path / "raw", 4)
    whole = contents(pack("camvid", raw, tmp_path / "whole").path)
    name = {"index": "np.save", "counts": "write_counts", "record": "write_json"}[fails_at]
    with monkeypatch.context() as patch:

        def full(*_, **__):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr(f"cirn_dist.data.shards.writer.{name}", full)
        with pytest.raises((DataError, OSError), match="No space left"):
            pack("camvid", raw, tmp_path / "out")
    assert any((tmp_path / "out").iterdir())
    assert contents(pack("camvid", raw, tmp_path / "out").path) == whole


class Stop(Exception):
    pass


def test_an_interrupted_packing_keeps_its_shards_and_goes_on(tmp_path):
    raw = camvid(tmp_path / "raw", 8)
    whole = contents(pack("camvid", raw, tmp_path / "whole", shard_mb=0.002).path)

    def stop(done, total):
        if done == 5:
            raise Stop

    out = tmp_path / "out"
    with pytest.raises(Stop):
        pack("camvid", raw, out, shard_mb=0.002, progress=stop)
    tars = sorted(out.glob("*.tar"))
    assert tars
    assert not list(out.glob(".*"))
    with pytest.raises(DataError, match="not a complete"):
        ShardSet.open(out)
    with pytest.raises(DataError, match="other options: codec"):
        pack("camvid", raw, out, shard_mb=0.002, codec="webp")
    written = {path: path.stat().st_mtime_ns for path in tars}
    seen = []
    pack("camvid", raw, out, shard_mb=0.002, progress=lambda done, total: seen.append(done))
    assert contents(out) == whole
    assert {path: path.stat().st_mtime_ns for path in tars} == written  # kept, not written again
    assert seen[0] > 0


def test_a_raw_folder_that_changed_in_between_is_noticed(tmp_path):
    raw = camvid(tmp_path / "raw", 8)

    def stop(done, total):
        if done == 5:
            raise Stop

    with pytest.raises(Stop):
        pack("camvid", raw, tmp_path / "out", shard_mb=0.002, progress=stop)
    camvid(raw, 9)
    with pytest.raises(DataError, match="the raw folder changed"):
        pack("camvid", raw, tmp_path / "out", shard_mb=0.002)


def test_nothing_is_left_when_nothing_was_finished(tmp_path):
    raw = camvid(tmp_path / "raw")
    save(raw / "trainannot/0001TP_006720.png", labels(0, [12]))
    with pytest.raises(CorruptSample):
        pack("camvid", raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()


SLOW = """
    import sys, time
    def slow(done, total):
        time.sleep(0.05)
    if __name__ == "__main__":
        from cirn_dist.data.pack.pack import pack
        pack("camvid", sys.argv[1], sys.argv[2], shard_mb=0.002, workers=int(sys.argv[3]), progress=slow)
"""


def test_kill_9_while_packing(tmp_path):
    raw, out, script = camvid(tmp_path / "raw", 16), tmp_path / "out", tmp_path / "script.py"
    script.write_text(textwrap.dedent(SLOW))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(raw), str(out), "2"]
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    deadline = time.monotonic() + 180
    while not list(out.glob("train-000001.record.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)  # the parent alone: its workers must notice
    process.wait()
    with pytest.raises(DataError, match="not a complete"):
        ShardSet.open(out)
    kept = {path.name for path in out.glob("*.tar")}
    assert len(kept) >= 2
    while _alive(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    pack("camvid", raw, out, shard_mb=0.002)
    assert contents(out) == contents(pack("camvid", raw, tmp_path / "whole", shard_mb=0.002).path)


def _alive(group: int) -> bool:
    """Whether any process of the killed packing is still there, zombies apart."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            return True
    return False
