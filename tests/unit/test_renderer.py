"""The renderer's version: pictures are those of it, and a set of another one is not taken for new."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import MINI

from cirn_dist.choices import Appearance
from cirn_dist.config.load import load
from cirn_dist.config.schema import Config
from cirn_dist.data.labels import label_space
from cirn_dist.data.pack import recipes
from cirn_dist.data.pack.pack import pack
from cirn_dist.data.pack.walk import PLAN
from cirn_dist.data.run_sets.packing import place
from cirn_dist.data.run_sets.ready_packed import packed_otherwise
from cirn_dist.data.streets import RENDERER, render
from cirn_dist.errors import DataError
from cirn_dist.files import write_json

PICTURES = Path(__file__).with_name("streets.json")
SIZE, BLOCK = (96, 72), 24
DRAWN: tuple[tuple[Appearance, int], ...] = tuple(
    (appearance, index) for appearance in ("synthetic", "photo") for index in (0, 1, 2)
)


def pictures() -> dict[str, list[float]]:
    """Each street's mean colours, block by block, and shares of classes: what a processor's last bits leave alone."""
    found = {}
    for appearance, index in DRAWN:
        image, label = render(5, index, *SIZE, appearance)
        classes = (label[..., None] == np.arange(11)).mean((0, 1))
        rows, columns = SIZE[1] // BLOCK, SIZE[0] // BLOCK
        blocks = image.reshape(rows, BLOCK, columns, BLOCK, 3).mean((1, 3))
        found[f"{appearance} {index}"] = [*np.round(blocks, 2).flatten(), *np.round(100 * classes, 2)]
    return found


def test_pictures_are_this_versions() -> None:
    known = json.loads(PICTURES.read_text(encoding="utf-8"))
    assert known["renderer"] == RENDERER
    for name, values in pictures().items():
        np.testing.assert_allclose(values, known["pictures"][name], atol=0.05, err_msg=(
            f"{name}: streets look otherwise; raise RENDERER in data/streets, and python {Path(__file__).name}"
        ))  # fmt: skip


def configured(tmp_path: Path, *overrides: str) -> Config:
    file = tmp_path / "mini.yaml"
    write_json(file, MINI)  # JSON is YAML
    return load(str(file), list(overrides))


def test_another_version_has_another_folder_among_shared_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, space = configured(tmp_path, f"data.packed={tmp_path}").data, label_space("camvid11")
    now = place(data, "source", space, tmp_path)
    assert now == place(data, "source", space, tmp_path)
    monkeypatch.setattr(recipes, "RENDERER", RENDERER + 1)
    assert place(data, "source", space, tmp_path) != now


def test_a_finished_set_of_another_version_is_told_and_an_unfinished_one_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"count": 2}
    drawn = pack("streets", None, tmp_path / "set", size=(32, 24), options=options)
    config = configured(tmp_path, "data.source.options={count: 2}", "data.source.size=[32, 24]")
    assert packed_otherwise(drawn, config.data, "source") == ""
    monkeypatch.setattr(recipes, "RENDERER", RENDERER + 1)
    assert "rendered by another version of streets" in packed_otherwise(drawn, config.data, "source")
    assert pack("streets", None, tmp_path / "set", size=(32, 24), options=options).fingerprint == drawn.fingerprint
    assert "rendered by another version of streets; remove it" in caplog.text
    (tmp_path / "set/index.json").unlink()
    write_json(tmp_path / "set" / PLAN, {"made": drawn.meta["made"], "items": ""})
    with pytest.raises(DataError, match=f"renderer {RENDERER}, now {RENDERER + 1}"):
        pack("streets", None, tmp_path / "set", size=(32, 24), options=options)


if __name__ == "__main__":
    write_json(PICTURES, {"renderer": RENDERER, "pictures": pictures()})
