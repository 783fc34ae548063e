"""Panels: the right pictures in the right columns, label colours exact to the pixel."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cirn_dist.data.labels import label_space
from cirn_dist.display.panels import coloured, compose, data_uri, figure_columns, photo, read_pairs, read_panels
from cirn_dist.errors import DataError

SPACE = label_space("camvid11")


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def panel(run: Path, index: int | str, *stages: str, label: bool = True) -> None:
    folder = run / "panels" / str(index)
    save(folder / "target.png", np.full((6, 8, 3), 90, np.uint8))
    for name in (*stages, *(["label"] if label else [])):
        save(folder / f"{name}.png", np.full((6, 8), 2, np.uint8))


def decoded(uri: str) -> Image.Image:
    kind, _, data = uri.partition(",")
    assert kind in ("data:image/png;base64", "data:image/webp;base64")
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_label_colours_survive_exactly(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).choice([*range(SPACE.num_classes), 255], (40, 700)).astype(np.uint8)
    image = coloured(save(tmp_path / "label.png", ids), SPACE.palette)
    assert np.array_equal(np.asarray(image.convert("RGB")), SPACE.colour(ids))
    shown = np.asarray(decoded(data_uri(image)).convert("RGB"))
    assert shown.shape == (37, 640, 3)
    assert {tuple(pixel) for pixel in shown.reshape(-1, 3)} <= {*SPACE.palette, (0, 0, 0)}  # no blended colours


def test_photos_are_near_lossless_and_not_huge(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 2000).astype(np.uint8)
    image = photo(save(tmp_path / "target.png", np.broadcast_to(ramp[None, :, None], (1000, 2000, 3)).copy()))
    shown = np.asarray(decoded(data_uri(image)).convert("RGB"), np.int64)
    assert shown.shape == (320, 640, 3)
    assert abs(shown[160, ::64, 1] - np.linspace(0, 255, 640)[::64]).max() < 6


def test_panels_are_found_in_order(tmp_path: Path) -> None:
    for index in (10, 2, 0):
        panel(tmp_path, index, "source")
    for index in (1, 0):
        for name in ("source", "cir"):
            save(tmp_path / "panels" / f"cir-{index}" / f"{name}.png", np.zeros((2, 2, 3), np.uint8))
    assert [found.name for found in read_panels(tmp_path)] == ["0", "2", "10"]
    assert [found.name for found in read_pairs(tmp_path)] == ["cir-0", "cir-1"]
    assert read_panels(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("there", "label", "titles"),
    [
        (["source", "cir", "adapt"], True, ["Target image", "Without adaptation", "Adapted", "Ground truth"]),
        (["source", "adapt"], False, ["Target image", "Without adaptation", "Adapted"]),
        (["source"], True, ["Target image", "Without adaptation", "Ground truth"]),
        (["adapt"], True, ["Target image", "Adapted", "Ground truth"]),
        ([], False, ["Target image"]),
    ],
)
def test_the_columns_are_figure_4_as_far_as_there(
    tmp_path: Path, there: list[str], label: bool, titles: list[str]
) -> None:
    panel(tmp_path, 0, *there, label=label)
    (found,) = read_panels(tmp_path)
    columns = figure_columns(found, ["source", "cir", "adapt"])
    assert [title for title, _ in columns] == titles
    paths = dict(columns)
    assert paths.get("Adapted", Path("adapt.png")).name == "adapt.png"
    assert paths.get("Without adaptation", Path("source.png")).name == "source.png"


def test_a_composed_grid_keeps_colours(tmp_path: Path) -> None:
    panel(tmp_path, 0, "source", "adapt")
    (one,) = read_panels(tmp_path)
    (_, target), *labels = figure_columns(one, ["source", "adapt"])
    image = compose([[photo(target), *(coloured(path, SPACE.palette) for _, path in labels)]], ["", "", "", ""])
    assert image.size == (4 * 326 + 6, 30 + 240 + 6)
    assert image.getpixel((326 + 160, 150)) == SPACE.palette[2]
    assert image.getpixel((160, 150)) == (90, 90, 90)


def test_rows_of_other_shapes_keep_theirs() -> None:
    rows = [[Image.new("RGB", (100, 50))], [Image.new("RGB", (50, 50))]]
    assert compose(rows, ["a"], width=100).size == (112, 30 + 50 + 100 + 12)


def test_bad_files_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "label.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with pytest.raises(DataError, match=r"label.png: unreadable image"):
        coloured(broken, SPACE.palette)
    rgb = save(tmp_path / "rgb.png", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(DataError, match="one channel"):
        coloured(rgb, SPACE.palette)
