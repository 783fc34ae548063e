"""The verb that predicts files: which, where to, in what order; and what becomes of those that cannot be read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from PIL import Image

from cirn_dist.errors import ConfigError, DataError
from cirn_dist.inference.files import assert_free, jobs, predict_files
from cirn_dist.inference.load import load


@pytest.fixture(scope="module")
def run(mini: Path, tmp_path_factory: pytest.TempPathFactory, cirn_dist: Command) -> Path:
    out = tmp_path_factory.mktemp("predict") / "run"
    short = ("with_cir=false", "controls=false", "--until", "source")
    assert cirn_dist("run", mini, *short, "--out", out).returncode == 0
    return out


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five images of two sizes, one of them turned by its EXIF tag, in a folder and one below it."""
    draw, root = np.random.default_rng(0), tmp_path / "photos"
    (root / "below").mkdir(parents=True)
    for number, (name, height, width) in enumerate(
        [("a.png", 40, 48), ("b.jpg", 60, 72), ("below/a.png", 40, 48), ("c.JPG", 48, 40), ("d.webp", 40, 48)]
    ):
        image = Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8))
        exif = Image.Exif()
        if name == "c.JPG":
            exif[0x0112] = 6
        image.save(root / name, exif=exif) if number in (1, 3) else image.save(root / name)
    (root / "notes.txt").write_text("no image")
    return root


def test_a_folders_images_keep_their_places(run: Path, photos: Path, tmp_path: Path, cirn_dist: Command) -> None:
    out, told = tmp_path / "out", tmp_path / "told.json"
    done = cirn_dist("predict", run, photos, "--out", out, "--overlay", "--confidence", "--json", told)
    assert done.returncode == 0, done.stderr
    names = ["a.png", "b.png", "below/a.png", "c.png", "d.png"]
    for kind in ("ids", "colour", "overlay", "confidence"):
        assert sorted(str(f.relative_to(out / kind)) for f in (out / kind).rglob("*.png")) == names
    net = load(run)
    for name, source in zip(names, ("a.png", "b.jpg", "below/a.png", "c.JPG", "d.webp"), strict=True):
        expected = net.predict(photos / source)
        np.testing.assert_array_equal(np.asarray(Image.open(out / "ids" / name)), expected.ids)
        np.testing.assert_array_equal(np.asarray(Image.open(out / "colour" / name)), np.asarray(expected.coloured()))
        levels = np.asarray(Image.open(out / "confidence" / name)).astype(float) / 65535
        rounding = np.spacing(np.float32(1)) / 2  # of the confidence itself, which is float32
        assert np.abs(levels - expected.confidence).max() <= 0.5 / 65535 + rounding
    assert Image.open(out / "ids/c.png").size == (48, 40), "upright"
    content = json.loads(told.read_text())
    assert (content["predicted"], content["damaged"], content["stage"]) == (5, [], "source")


def test_batches_and_threads_change_nothing(run: Path, photos: Path, tmp_path: Path) -> None:
    net, todo = load(run), jobs([str(photos)])
    for batch, workers in ((1, 1), (4, 3)):
        done = predict_files(net, todo, tmp_path / f"{batch}", ["ids"], batch=batch, workers=workers)
        assert done.predicted == 5
    for job in todo:
        one, other = (np.asarray(Image.open(tmp_path / batch / "ids" / job.name)) for batch in ("1", "4"))
        assert (one != other).mean() < 0.01, "another batch size may round otherwise"


def test_a_damaged_image_is_named_and_the_rest_is_done(
    run: Path, photos: Path, tmp_path: Path, cirn_dist: Command
) -> None:
    (photos / "b.jpg").write_bytes((photos / "b.jpg").read_bytes()[:100])
    (photos / "z.png").touch()
    done = cirn_dist("predict", run, photos, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == [f"{photos}/b.jpg", f"{photos}/z.png"]
    assert "4 images predicted" in done.stdout
    assert "2 could not be read" in done.stdout
    assert len([*(tmp_path / "out/ids").rglob("*.png")]) == 4


def test_nothing_is_overwritten_unasked(run: Path, photos: Path, tmp_path: Path, cirn_dist: Command) -> None:
    out = tmp_path / "out"
    kept = out / "ids/below/a.png"
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    refused = cirn_dist("predict", run, photos, "--out", out)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"cirn-dist: {kept}: is there already")
    assert [*out.rglob("*.png")] == [kept]
    assert kept.read_text() == "mine"
    assert cirn_dist("predict", run, photos, "--out", out, "--overwrite", "--no-colour").returncode == 0
    assert Image.open(kept).size == (48, 40)
    assert not (out / "colour").exists()


def test_files_folders_and_patterns(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    assert [job.image for job in jobs(["a.png", "*.webp"])] == [Path("a.png"), Path("d.webp")]
    assert [str(job.name) for job in jobs([str(photos)])] == ["a.png", "b.png", "c.png", "d.png", "below/a.png"]
    assert len(jobs(["a.png", "a.png"])) == 1
    Image.new("RGB", (4, 4)).save("a.jpg")
    with pytest.raises(DataError, match=r"would be called a.png, as that of a.jpg"):
        jobs(["."])
    with pytest.raises(DataError, match=r"absent\*: no image there"):
        jobs(["absent*"])
    with pytest.raises(DataError, match="no image there"):
        jobs([os.devnull[:-4] + "shm/nothing-of-the-kind"])
    with pytest.raises(DataError, match="is there already, and 0 others"):
        assert_free(photos.parent, [Path("a.png")], ["photos"])


def test_wrong_options_are_refused_first(run: Path, photos: Path, tmp_path: Path, cirn_dist: Command) -> None:
    nothing = cirn_dist("predict", run, photos, "--out", tmp_path / "out", "--no-ids", "--no-colour")
    assert (nothing.returncode, "nothing would be written" in nothing.stderr) == (2, True)
    size = cirn_dist("predict", run, photos, "--out", tmp_path / "out", "--size", "large")
    assert (size.returncode, "'large' is no size" in size.stderr) == (2, True)
    assert not (tmp_path / "out").exists()


def test_a_window_sees_a_large_image_as_it_would_see_its_parts(run: Path) -> None:
    """A photo in the corner of a canvas: in the first window it alone is seen, so it is predicted as by itself."""
    net, draw = load(run), np.random.default_rng(1)
    photo = draw.integers(0, 256, (64, 96, 3), dtype=np.uint8)
    alone = net.predict(photo, size=(96, 64))
    np.testing.assert_array_equal(net.predict(photo, window=(96, 64)).ids, alone.ids)
    canvas = np.full((110, 170, 3), 128, np.uint8)
    canvas[:64, :96] = photo
    found = net.predict(canvas, window=(96, 64))
    assert found.ids.shape == (110, 170)
    quarter = (slice(0, 64 - 16), slice(0, 96 - 24))  # nearer to the edge the next window is mixed in
    np.testing.assert_array_equal(found.ids[quarter], alone.ids[quarter])
    np.testing.assert_allclose(found.confidence[quarter], alone.confidence[quarter], atol=1e-5)
    with pytest.raises(ConfigError, match="a window of 32x200; at least 64x64"):
        net.predict(canvas, window=(32, 200))


def test_the_verb_takes_a_window(run: Path, tmp_path: Path, cirn_dist: Command) -> None:
    Image.fromarray(np.random.default_rng(2).integers(0, 256, (100, 150, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    done = cirn_dist("predict", run, tmp_path / "a.png", "--out", tmp_path / "out", "--window", "64x64")
    assert done.returncode == 0, done.stderr
    expected = load(run).predict(tmp_path / "a.png", window=(64, 64))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out/ids/a.png")), expected.ids)
    done = cirn_dist("predict", run, tmp_path / "a.png", "--out", tmp_path / "no", "--window", "64")
    assert done.returncode == 2
    assert "--window: '64' is no size; e.g. 1024x512" in done.stderr


def test_a_damaged_files_name_cannot_command_the_terminal(run: Path, tmp_path: Path, cirn_dist: Command) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a\x1b[31m.png").write_bytes(b"no image")
    done = cirn_dist("predict", run, tmp_path / "in", "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "\x1b" not in done.stderr + done.stdout
    assert "a\\x1b[31m.png: " in done.stderr
