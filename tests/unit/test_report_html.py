"""report.html stands alone, says what the results say, and does with whatever files are there."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cirn_dist.display.terminal import duration
from cirn_dist.errors import CirnError, DataError
from cirn_dist.report.html import write_report
from cirn_dist.report.script import SCRIPT
from cirn_dist.rundir.metrics import MetricsLog, metrics
from cirn_dist.rundir.results import Control, Results, Row, Scores, write_results

EVIL = '<script>alert("x")</script>&'
VOID = {"meta", "img", "input"}


class Page(HTMLParser):
    """Collects text, section titles and references, and checks that every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.headings: list[str] = []
        self.references: list[str] = []
        self.anchors: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for key, value in attrs if key in ("src", "href", "srcset", "data", "action")]
        self.anchors += [value or "" for key, value in attrs if key == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


def results(name: str = "demo", title: str = "CIR + ASS + ST", scored: bool = True) -> Results:
    source = Row(stage="source", title="Source only", miou=0.2804, iou=(0.5, 0.06), adabn=Scores(miou=0.3351))
    control = Control(title="as long", miou=0.3021, iou=(0.4, 0.2), adabn=Scores(miou=0.3112))
    final = Row(stage="self_train", title=title, miou=0.3829, iou=(0.7, None), control=control, iterations=12000)
    bare = tuple(Row(stage=row.stage, title=row.title) for row in (source, final))
    palette = ((128, 64, 128), (64, 0, 128))
    rows = (source, final) if scored else bare
    return Results(name=name, seed=7, classes=("road", "car"), palette=palette, rows=rows)


def fill(run: Path, results: Results, *, label: bool = True) -> Path:
    """Put every file a finished run has into its folder."""
    run.mkdir()
    write_results(run, results)
    for stage, when in (("source", 1), ("adapt", 2)):
        with MetricsLog(run / stage / "metrics.jsonl") as log:
            for step in range(1, 9):
                record = metrics(step, step * 10, 5.0, {f"loss_{stage}": 1 / step})
                log.write(record.model_copy(update={"time": when * 1000.0 + step}))
    for folder, names in {"0": ["source", "self_train", *(["label"] if label else [])], "cir-0": []}.items():
        place = run / "panels" / folder
        place.mkdir(parents=True)
        for name in names:
            Image.fromarray(np.ones((6, 8), np.uint8)).save(place / f"{name}.png")
        for name in ["target"] if names else ["source", "cir"]:
            Image.fromarray(np.full((6, 8, 3), 99, np.uint8)).save(place / f"{name}.png")
    (run / "pseudo_label").mkdir()
    summary = {"classes": ["road", "car"], "kept": [0.513, None], "thresholds": [0.9, 0.0]}
    (run / "pseudo_label" / "summary.json").write_text(json.dumps(summary))
    (run / "run.json").write_text(json.dumps({"started": "2026-01-02", "versions": {"torch": "9.8.7"}, "world": 1}))
    (run / "config.yaml").write_text("name: demo\nmodel:\n  backbone: resnet18\n  weights: /far/away/net.pth\n")
    return run


def page(run: Path) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


def test_every_section_and_every_number(tmp_path: Path) -> None:
    found = page(fill(tmp_path / "run", results()))
    assert found.headings == [
        "Results",
        "Classes",
        "What it sees",
        "Before and after",
        "Source to CIR",
        "Losses",
        "Pseudo labels",
    ]
    for text in (
        *("demo", "28.0", "33.5", "38.3", "30.2", "31.1", "+10.3", "12,000", "control: as long"),
        *("50.0", "6.0", "70.0", "–", "51.3", "0.900", "0.000"),
        *("2026-01-02", "versions.torch", "9.8.7", "resnet18", "net.pth", "loss_source", "loss_adapt"),
        *("Target image", "Without adaptation", "Adapted", "Ground truth", "Source", "CIR", "ignored"),
    ):
        assert text in found.texts, text
    assert found.tags.count("svg") == 2
    assert found.tags.count("img") == 6 + 1 + 2, "with the errors, and what is under the slider"
    assert "Errors: 100 % right" in found.texts
    assert [f"#{anchor}" for anchor in found.anchors] == [one for one in found.references if one.startswith("#")]
    assert "self_train" not in found.texts


def test_stages_follow_each_other_in_time(tmp_path: Path) -> None:
    text = write_report(fill(tmp_path / "run", results())).read_text()
    assert text.index("loss_source") < text.index("loss_adapt")


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    run = fill(tmp_path / "run", results())
    text = write_report(run).read_text()
    found = Page(text)
    assert found.references
    assert all(reference.startswith(("data:image/", "data:text/csv", "#")) for reference in found.references)
    assert not {"link", "iframe", "object"} & set(found.tags)
    assert found.tags.count("script") == 1
    assert "@import" not in text
    assert "url(" not in text
    assert "://" not in text


def test_everything_foreign_is_escaped(tmp_path: Path) -> None:
    evil = results(name=EVIL, title=EVIL).model_copy(update={"classes": (EVIL, "car")})
    run = fill(tmp_path / "run", evil)
    (run / "run.json").write_text(json.dumps({EVIL: EVIL, "started": EVIL}))
    (run / "config.yaml").write_text(json.dumps({"name": EVIL, "model": {"backbone": EVIL}}))
    (run / "pseudo_label" / "summary.json").write_text(
        json.dumps({"classes": [EVIL], "kept": [0.5], "thresholds": [0.5]})
    )
    with MetricsLog(run / EVIL.replace("/", "") / "metrics.jsonl") as log:
        for step in (1, 2):
            log.write(metrics(step, step, 1.0, {EVIL: 1.0}))
    text = write_report(run).read_text()
    assert text.count("<script") == 1
    assert f"<script>{SCRIPT}</script>" in text, "which says nothing of a run"
    assert Page(text).texts.count(EVIL) > 8


@pytest.mark.parametrize(
    ("gone", "heading"),
    [
        ("panels/0", "What it sees"),
        ("panels/cir-0", "Source to CIR"),
        ("pseudo_label", "Pseudo labels"),
        ("run.json", None),
        ("config.yaml", None),
    ],
)
def test_a_missing_part_is_left_out(tmp_path: Path, gone: str, heading: str | None) -> None:
    run = fill(tmp_path / "run", results())
    before = page(run).headings
    (run / gone).rename(tmp_path / "gone")
    gone_with_it = {heading, "Before and after"} if heading == "What it sees" else {heading}
    assert page(run).headings == [title for title in before if title not in gone_with_it]


def test_without_target_labels_there_are_pictures_and_no_scores(tmp_path: Path) -> None:
    found = page(fill(tmp_path / "run", results(scored=False), label=False))
    assert found.headings == ["What it sees", "Before and after", "Source to CIR", "Losses", "Pseudo labels"]
    assert "Ground truth" not in found.texts
    assert "Adapted" in found.texts
    assert any("no labels" in text for text in found.texts)
    assert "nan" not in " ".join(found.texts).lower()


def test_an_empty_run_has_a_page_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "fresh").mkdir()
    found = page(tmp_path / "fresh")
    assert (found.headings, "fresh" in found.texts) == ([], True)


def test_the_page_is_replaced_in_one_piece(tmp_path: Path) -> None:
    run = fill(tmp_path / "run", results())
    first = write_report(run).read_bytes()
    (run / "panels" / "0" / "label.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"label\.png"):
        write_report(run)
    assert (run / "report.html").read_bytes() == first
    assert not [path for path in run.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(("name", "text"), [("run.json", "{"), ("config.yaml", "a: ["), ("run.json", "[1]")])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, text: str) -> None:
    run = fill(tmp_path / "run", results())
    (run / name).write_text(text)
    with pytest.raises(CirnError, match=name):
        write_report(run)


def test_no_folder_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no run folder"):
        write_report(tmp_path / "none")


def row(title: str, miou: float) -> Row:
    return Row(stage=title.lower(), title=title, miou=miou)


def test_durations() -> None:
    assert [duration(seconds) for seconds in (48.2, 200, 18720)] == ["48 s", "3 min 20 s", "5 h 12 min"]
