"""The record tells what made the result: a start that trains nothing keeps it, one that is refused leaves nothing."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from forks import Fault, Outcome, Starts
from runs import content

from cirn_dist.checkpoint.store import Store
from cirn_dist.paper.tables import Run

STAGES = ("source", "translate", "render", "cir", "adapt", "pseudo_label", "self_train")


@pytest.fixture(scope="module")
def finished(short: Path, starts: Starts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("finished") / "run"
    done = starts("run", short, "--out", run)
    assert done.code == 0, done.stderr
    return run


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def rows(run: Path) -> dict[str, dict[str, Any]]:
    return {row["stage"]: row for row in read(run / "results.json")["rows"]}


def rates(run: Path, stage: str) -> dict[int, float]:
    """Return the learning rate of the backbone by the number of images that its step ended with."""
    lines = (run / stage / "metrics.jsonl").read_text("utf-8").splitlines()
    return {line["iteration"]: line["rates"]["segmenter"] for line in map(json.loads, lines)}


def refused(done: Outcome, *words: str) -> None:
    assert done.code == 2, done.stdout + done.stderr
    told = [line for line in done.stderr.splitlines() if not line.startswith("WARNING")]
    assert len(told) == 1, "one line"
    for word in words:
        assert word in done.stderr, done.stderr


# A setting, another value, and the stage that was trained with the one before.
UNSEEN = {
    "source.lr": ("0.0005", "0.001", "source"),
    "seed": ("1", "0", "source"),
    "translate.lambda_cyc": ("3", "10.0", "translate"),
    "model.acm.k": ("1", "2", "adapt"),
    "model.freeze_affine": ("true", "False", "self_train"),
    "adapt.iterations": ("8", "12", "adapt"),
    "pseudo_label.portion": ("0.3", "0.5", "pseudo_label"),
    "render.tile": ("64", "None", "render"),
    "with_cir": ("false", "True", "adapt"),
    "evaluate.every": ("4", "0", "source"),
}


@pytest.mark.parametrize("key", UNSEEN)
def test_a_value_that_no_stage_would_see_is_refused_and_changes_no_byte(
    key: str, copy: Path, short: Path, starts: Starts
) -> None:
    value, was, stage = UNSEEN[key]
    before = content(copy)
    refused(starts("run", short, "--out", copy, f"{key}={value}", "--allow", key), key, was, stage)
    assert content(copy) == before
    assert rows(copy)["source"]["seconds"] > 0


def test_started_again_a_finished_run_keeps_its_record_to_the_byte(copy: Path, short: Path, starts: Starts) -> None:
    before = content(copy)
    assert starts("run", short, "--out", copy).code == 0
    after = content(copy)
    same = [name for name in before if name.endswith(("made.json", "run.json", "results.json", "config.yaml"))]
    assert len(same) == len(STAGES) + 3
    assert {name: after[name] for name in same} == {name: before[name] for name in same}


def test_every_stage_keeps_the_settings_and_the_start_it_was_made_with(finished: Path, short: Path) -> None:
    config = yaml.safe_load((finished / "config.yaml").read_text("utf-8"))
    for stage in STAGES:
        made = read(finished / stage / "made.json")
        (start,) = made["starts"]
        assert start["by"]["command"] == f"cirn-dist run {short} --out {finished}"
        assert start["by"]["ranks"] == 1
        assert start["by"]["precision"] == "fp32"
        assert start["seconds"] > 0
        assert start["began"] <= start["ended"]
        assert made["changes"] == []
        for key, value in made["settings"].items():
            node: Any = config
            for part in key.split("."):
                node = node[part]
            assert node == value, f"{stage}: {key}"
    settings = {stage: read(finished / stage / "made.json")["settings"] for stage in STAGES}
    assert settings["source"]["source.lr"] == 1e-3
    assert settings["adapt"]["model.acm.k"] == 2
    assert "model.acm.k" not in settings["source"]
    assert "adapt.lr" not in settings["self_train"]
    iterations = {stage: read(finished / stage / "made.json")["starts"][0]["last"] for stage in STAGES}
    assert iterations == {
        "source": 12, "translate": 12, "render": 10, "cir": 8, "adapt": 12, "pseudo_label": 7, "self_train": 8,
    }  # fmt: skip


def test_the_report_says_how_each_stage_was_made(finished: Path) -> None:
    page = (finished / "report.html").read_text("utf-8")
    section = page[page.rindex("How this was made") :]
    text = " ".join(re.sub(r"<[^>]*>", " ", section[: section.index("</section>")]).split())
    start = read(finished / "adapt/made.json")["starts"][0]
    shown = re.search(r"CIR \+ ASS 12 (0\.\d|[1-9]\d*) s", text)
    assert shown is not None, text
    assert float(shown[1]) == pytest.approx(start["seconds"], abs=0.5 if start["seconds"] >= 0.95 else 0.0501)
    assert start["by"]["device"] in text
    assert start["by"]["command"] in text
    assert "translate.lambda_cyc 10" in text
    assert "changed in the course" not in text


def test_the_paper_table_has_the_k_that_stage_2_was_trained_with(copy: Path) -> None:
    config = yaml.safe_load((copy / "config.yaml").read_text("utf-8"))
    config["model"]["acm"]["k"] = 4
    (copy / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    assert Run.read(copy).k == 2


def test_a_longer_last_stage_trains_on_by_the_longer_schedule(copy: Path, short: Path, starts: Starts) -> None:
    before = rows(copy)["self_train"]["seconds"]
    refused(starts("run", short, "--out", copy, "self_train.iterations=16"), "--allow self_train.iterations")
    done = starts("run", short, "--out", copy, "self_train.iterations=16", "--allow", "self_train.iterations")
    assert done.code == 0, done.stderr
    newest = Store(copy / "self_train/checkpoints").latest()
    assert newest is not None
    assert (newest.state["iteration"], newest.state["finished"]) == (16, True)
    found = rates(copy, "self_train")
    for ended, length in ((4, 8), (8, 8), (12, 16), (16, 16)):
        assert found[ended] == pytest.approx(1e-3 * (1 - (ended - 4) / length) ** 0.9), f"the step up to {ended}"
    made = read(copy / "self_train/made.json")
    assert made["changes"] == [{"at": 8, "key": "self_train.iterations", "was": 8, "now": 16}]
    assert [(start["first"], start["last"]) for start in made["starts"]] == [(0, 8), (8, 16)]
    row = rows(copy)["self_train"]
    assert row["iterations"] == 16
    assert row["seconds"] == pytest.approx(sum(start["seconds"] for start in made["starts"]), abs=1e-6)
    assert row["seconds"] > before


def test_a_longer_stage_that_others_were_made_from_is_refused(copy: Path, short: Path, starts: Starts) -> None:
    before = content(copy)
    change = ("source.iterations=20", "--allow", "source.iterations")
    refused(starts("run", short, "--out", copy, *change), "source is finished", "translate", "self_train", "remove")
    assert content(copy) == before
    for stage in STAGES[1:]:
        shutil.rmtree(copy / stage)
    done = starts("run", short, "--out", copy, "--until", "source", *change)
    assert done.code == 0, done.stderr
    assert rows(copy)["source"]["iterations"] == 20


def test_what_was_made_from_another_stage_than_the_one_there_is_refused(
    copy: Path, short: Path, starts: Starts
) -> None:
    """The CIR row is trained again with another rate; stage 2 went on from the one before."""
    shutil.rmtree(copy / "cir")
    change = ("cir.lr=0.002", "--allow", "cir.lr")
    refused(starts("run", short, "--out", copy, *change), "adapt", "parent.cir was", f"remove {copy / 'adapt'}")
    assert read(copy / "cir/made.json")["settings"]["cir.lr"] == 0.002
    done = starts("run", short, "--out", copy, "cir.lr=0.002", "--allow", "parent.cir")
    assert done.code == 0, done.stderr


def test_a_change_in_the_middle_of_a_stage_is_kept_with_its_iteration(
    short: Path, starts: Starts, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    killed = starts(
        "run", short, "--out", run, "--until", "cir", run=run, fault=Fault(r"rename source/.*step-00000003")
    )
    assert killed.code == -9
    before = {name: digest for name, digest in content(run).items() if "/." not in f"/{name}"}
    shorter = ("source.iterations=8", "--allow", "source.iterations")
    refused(starts("run", short, "--out", run, *shorter), "source has trained for 8 iterations already")
    assert {name: digest for name, digest in content(run).items() if name in before} == before
    again = ("run", short, "--out", run, "source.lr=0.0005", "--until", "cir")
    refused(starts(*again), "source.lr was 0.001, is 0.0005", "--allow source.lr")
    done = starts(*again, "--allow", "source.lr")
    assert done.code == 0, done.stderr
    assert "source.lr was 0.001, is 0.0005" in done.stdout
    made = read(run / "source/made.json")
    assert made["settings"]["source.lr"] == 0.001
    assert made["changes"] == [{"at": 8, "key": "source.lr", "was": 0.001, "now": 0.0005}]
    assert [(start["first"], start["last"]) for start in made["starts"]] == [(0, 8), (8, 12)]
    assert made["starts"][1]["by"]["allow"] == ["source.lr"]
    assert read(run / "cir/made.json")["changes"] == []
    found = rates(run, "source")
    assert found[8] == pytest.approx(0.001 * (1 - 4 / 12) ** 0.9)
    assert found[12] == pytest.approx(0.0005 * (1 - 8 / 12) ** 0.9)
    seconds = rows(run)["source"]["seconds"]
    assert seconds == pytest.approx(sum(start["seconds"] for start in made["starts"]), abs=1e-6)
    assert made["starts"][0]["seconds"] > 0, "of a start that was killed, the time until its last checkpoint"
    line = json.loads((run / "changes.jsonl").read_text("utf-8"))
    assert (line["key"], line["was"], line["is"], line["kept"]) == ("source.lr", 0.001, 0.0005, [])
    shown = starts("show", run)
    assert shown.code == 0
    assert "every link fits" not in shown.stdout
    assert "source.lr was 0.001, is 0.0005: seen by source from iteration 8 on" in shown.stdout
    page = " ".join(re.sub(r"<[^>]*>", " ", (run / "report.html").read_text("utf-8")).split())
    assert "source.lr 0.001 → 0.0005 from iteration 8 on" in page
    assert "1 setting was changed in the course of the run" in page
    assert f"--out {run} source.lr=0.0005 --until cir --allow source.lr" in page
    # From here on source is finished: the same command goes on, another rate is seen by none.
    assert starts(*again).code == 0
    refused(starts("run", short, "--out", run, "source.lr=0.1", "--allow", "source.lr"), "source was made with 0.0005")


def test_a_change_that_the_stages_checkpoint_does_not_take_is_not_recorded(
    copy: Path, short: Path, starts: Starts
) -> None:
    """Stage 2 is in its middle; its network has K = 2."""
    for stage in ("adapt", "pseudo_label", "self_train"):
        shutil.rmtree(copy / stage)
    killed = starts("run", short, "--out", copy, run=copy, fault=Fault(r"rename adapt/.*step-00000003"))
    assert killed.code == -9
    before = (copy / "config.yaml").read_bytes()
    failed = starts("run", short, "--out", copy, "model.acm.k=3", "--allow", "model.acm.k")
    assert failed.code != 0
    assert (copy / "config.yaml").read_bytes() == before
    assert not (copy / "changes.jsonl").exists()
    assert starts("run", short, "--out", copy).code == 0, "with the settings it has"


def test_a_value_that_only_later_stages_see_names_those_that_keep_theirs(
    short: Path, starts: Starts, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert starts("run", short, "--out", run, "--until", "source").code == 0
    done = starts("run", short, "--out", run, "--until", "cir", "seed=1", "--allow", "seed")
    assert done.code == 0, done.stderr
    assert "source kept as made" in done.stdout
    seeds = {stage: read(run / stage / "made.json")["settings"].get("seed") for stage in ("source", "translate", "cir")}
    assert seeds == {"source": 0, "translate": 1, "cir": 1}


def test_scores_are_made_again_where_scoring_changed(copy: Path, short: Path, starts: Starts) -> None:
    before = rows(copy)
    done = starts("run", short, "--out", copy, "evaluate.flip=true", "--allow", "evaluate.flip")
    assert done.code == 0, done.stderr
    assert "pseudo_label kept as made" in done.stdout
    after = rows(copy)
    assert any(after[stage]["iou"] != before[stage]["iou"] for stage in before)
    whole = starts("run", short, "--out", copy.parent / "whole", "evaluate.flip=true", "--until", "source")
    assert whole.code == 0, whole.stderr
    assert after["source"]["iou"] == rows(copy.parent / "whole")["source"]["iou"]


def test_a_run_from_before_there_was_a_record_goes_on(copy: Path, short: Path, starts: Starts) -> None:
    for stage in STAGES:
        (copy / stage / "made.json").unlink()
        if (copy / stage / "scores.json").is_file():
            scores = read(copy / stage / "scores.json")
            del scores["made"]
            (copy / stage / "scores.json").write_text(json.dumps(scores))
    before = rows(copy)
    assert starts("run", short, "--out", copy).code == 0
    assert rows(copy) == before, "times included"
    assert not list(copy.glob("*/made.json")), "nothing is made up"
    assert starts("report", copy).code == 0
    assert "not recorded" in (copy / "report.html").read_text("utf-8")
    shown = starts("show", copy)
    assert shown.code == 0
    assert "every link fits" in shown.stdout
    refused(starts("run", short, "--out", copy, "source.lr=0.1", "--allow", "source.lr"), "source was made with 0.001")
    assert starts("run", short, "--out", copy, "evaluate.flip=true", "--allow", "evaluate.flip").code == 0
    assert {stage: row["seconds"] for stage, row in rows(copy).items()} == {
        stage: row["seconds"] for stage, row in before.items()
    }
    assert any(rows(copy)[stage]["iou"] != before[stage]["iou"] for stage in before)
    assert not list(copy.glob("*/made.json"))


@pytest.mark.parametrize(("fault", "nth"), [("kill", 0), ("kill", 1), ("kill", 3), ("ENOSPC", 0), ("ENOSPC", 1)])
def test_a_record_that_could_not_be_written_costs_nothing_else(
    fault: str, nth: int, short: Path, starts: Starts, tmp_path: Path
) -> None:
    command = ("run", short, "--out", tmp_path / "run", "--until", "source")
    cut = starts(*command, run=tmp_path / "run", fault=Fault(r"rename source/\.made\.json", nth, fault))
    assert cut.code == (-9 if fault == "kill" else 1), cut.stderr
    assert "Traceback" not in cut.stderr
    done = starts(*command)
    assert done.code == 0, done.stderr
    made = read(tmp_path / "run/source/made.json")
    assert made["settings"]["source.lr"] == 0.001
    assert max(start["last"] for start in made["starts"]) == 12
    assert not list((tmp_path / "run").rglob("*.partial"))
