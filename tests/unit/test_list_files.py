"""List files: each line names the one image it says, or is refused with its number."""

from __future__ import annotations

from pathlib import Path

import pytest
from rawdata import camvid, labels, picture, save
from shardsets import by_key

from cirn_dist.data.pack.list_file import listed
from cirn_dist.data.pack.pack import pack
from cirn_dist.data.shards.info import omissions
from cirn_dist.errors import DataError

# cities with the same file names, a name with a space beside one without, and a comma
SOURCES = [
    "train/images/aachen/001.png", "train/images/aachen/002.png", "train/images/bonn/001.png",
    "train/images/my image.png", "train/images/my.png", "train/images/a,b.JPG", "train/images/lone.png",
]  # fmt: skip
KEYS = {
    source: source.removeprefix("train/images/").split(".")[0].replace("/", "-").replace(" ", "_") for source in SOURCES
}


def images(tmp_path: Path, text: str | bytes) -> list[str]:
    path = tmp_path / "list.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return listed(path, KEYS, "raw").sources


@pytest.mark.parametrize(
    ("line", "source"),
    [
        ("train/images/bonn/001.png", SOURCES[2]),
        ("./train/images/bonn/001.png", SOURCES[2]),
        ("bonn/001.png", SOURCES[2]),
        ("bonn/001", SOURCES[2]),
        ("bonn/001.PNG", SOURCES[2]),
        ("bonn\\001.png", SOURCES[2]),
        ("bonn-001", SOURCES[2]),
        ("002", SOURCES[1]),
        ("002.png", SOURCES[1]),
        ("/elsewhere/raw/train/images/bonn/001.png", SOURCES[2]),
        ("/train/images/bonn/001.png /train/labels/bonn/001.png", SOURCES[2]),
        ("train/images/my image.png", SOURCES[3]),
        ('"train/images/my image.png"', SOURCES[3]),
        ("my image", SOURCES[3]),
        ("my image.png,train/labels/my image.png", SOURCES[3]),
        ("my.png my.png", SOURCES[4]),
        ("my.png\t1", SOURCES[4]),
        ("lone  -1", SOURCES[6]),
        ("train/images/a,b.jpg", SOURCES[5]),
        ("lone;train;0.5", SOURCES[6]),
    ],
)
def test_a_line_names_its_image(line: str, source: str, tmp_path: Path) -> None:
    assert images(tmp_path, f"{line}\n") == [source]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("train/images/ulm/001.png", r"the listed image train/images/ulm/001\.png is missing; there is train/images/"),
        ("ulm/001.png", "missing"),
        ("ulm/002.png", "missing; there is train/images/aachen/002.png"),
        ("/elsewhere/002.png", "missing; there is train/images/aachen/002.png"),
        ("002.jpg", "missing; there is train/images/aachen/002.png"),
        ("my other.png", "missing"),
        ("my,other.png", "missing"),
        ("7,train/images/lone.png", "missing"),
        ("filename", "missing"),
        ("001", "001 names 2 images, train/images/aachen/001.png and train/images/bonn/001.png; write the path"),
        ("001.png", "001.png names 2 images"),
        ("images/../../train/images/lone.jpg", "missing"),
    ],
)
def test_a_line_that_names_no_image_or_several_is_refused_with_its_number(line, reason, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"list\.txt: line 3: .*{reason}"):
        images(tmp_path, f"lone.png\n\n{line}\n")


def test_blank_lines_comments_marks_and_line_ends_are_no_names(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbflone.png\r\n\r\n# bonn/001.png\r\n  bonn/001.png  \r\n"
    assert images(tmp_path, text) == [SOURCES[6], SOURCES[2]]
    with pytest.raises(DataError, match=r"list\.txt: the list names no image"):
        images(tmp_path, "\n# nothing\n")
    with pytest.raises(DataError, match="no UTF-8 text; save it as UTF-8"):
        images(tmp_path, "lone.png\n".encode("utf-16"))


def test_a_list_file_chooses_the_split(tmp_path: Path) -> None:
    raw = camvid(tmp_path / "raw", 4)
    lines = "/SegNet/CamVid/train/0001TP_006720.png /SegNet/CamVid/trainannot/0001TP_006720.png\n\n0001TP_006690\n"
    (raw / "mine.txt").write_text(lines + "0001TP_006720\n")
    shards = pack("camvid", raw, tmp_path / "out", options={"list": "mine.txt"})
    assert sorted(by_key(shards)) == ["0001TP_006690", "0001TP_006720"]
    notes = "\n".join(omissions(shards.meta))
    assert "mine.txt: 1 lines name an image that is named before, first line 4, train/0001TP_006720.png" in notes
    assert "passed over: 2 .png (not in the split)" in notes
    (raw / "mine.txt").write_text("0001TP_999999.png\n")
    with pytest.raises(DataError, match=r"mine\.txt: line 1: the listed image 0001TP_999999\.png is missing"):
        pack("camvid", raw, tmp_path / "out2", options={"list": "mine.txt"})
    with pytest.raises(DataError, match=r"no\.txt: the split's list cannot be read \(No such file"):
        pack("camvid", raw, tmp_path / "out3", options={"list": "no.txt"})


def test_a_listed_image_outside_the_splits_ranges_is_said_to_be_there(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for name in ("0001TP_006690", "0016E5_07959"):
        save(raw / f"701_StillsRaw_full/{name}.png", picture(1))
        save(raw / f"LabeledApproved_full/{name}_L.png", labels(0, [0]).repeat(3).reshape(16, 24, 3))
    (raw / "mine.txt").write_text("0016E5_07959\n")
    with pytest.raises(DataError, match=r"the listed image .*0016E5_07959\.png is outside the split's ranges"):
        pack("camvid", raw, tmp_path / "out", options={"list": "mine.txt"})
