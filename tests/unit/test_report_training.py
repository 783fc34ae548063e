"""What the report draws of stages 2 and 3: best beside last, what is watched, attention maps, pseudo labels."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stagerun import stage_run

from cirn_dist.display.attention_maps import overlay, read_map, save_map
from cirn_dist.display.panels import read_panels
from cirn_dist.errors import DataError
from cirn_dist.report.curves import Points, lines, nested
from cirn_dist.report.html import write_report
from cirn_dist.report.pictures import gates, scale
from cirn_dist.report.training import best_and_last, diagnostics, pseudo_labels
from cirn_dist.rundir.metrics import metrics
from cirn_dist.rundir.results import Best, Curve, Results, Row, Scores, read_curve
from cirn_dist.stages.domains import open_domains
from cirn_dist.stages.evaluate.scoring import write_panels
from cirn_dist.stages.segmenter import build_segmenter

RAMP: Points = [(0.0, 0.0), (50.0, 0.5), (100.0, 1.0)]


def results(*rows: Row) -> Results:
    return Results(name="r", seed=0, classes=("road", "car"), palette=((1, 2, 3), (4, 5, 6)), rows=rows)


def test_the_best_is_beside_the_last_with_what_it_is_worth() -> None:
    best = Best(iteration=60_000, of=3, miou=0.512)
    row = Row(stage="adapt", title="CIR + ASS", miou=0.431, best=best)
    curve = Curve(points={50_000: Scores(miou=0.5), 60_000: Scores(miou=0.512), 100_000: Scores(miou=0.431)})
    text = best_and_last(results(row), {"adapt": curve})
    assert "not an unsupervised result" in text
    assert re.findall(r'<td class="num">(?:<b>)?([^<]+)', text) == ["43.1", "51.2", "60,000", "3"]
    assert text.count("<svg") == 1
    assert "100k" in text
    assert '<circle cx="92.0"' in text, "at 60,000, a fifth of the way from 50,000 to 100,000"
    assert best_and_last(results(Row(stage="adapt", title="x", miou=0.4)), {}) == ""


def test_a_damaged_curve_is_named(tmp_path: Path) -> None:
    assert read_curve(tmp_path).points == {}
    (tmp_path / "validation.json").write_text('{"points": {"4": {"miou": 7}}}')
    with pytest.raises(DataError, match=r"validation\.json: not a file of scores"):
        read_curve(tmp_path)


def watched(share: float) -> dict[str, float]:
    found = {"d_intermediate": 0.6, "d_target": 0.4, "r_mean": 0.2, "weight_cosine": -0.1, "gate_1": 0.5, "gate_2": 0.6}
    return found | {f"r_above_{level / 10}": share / level for level in range(1, 10)}


def test_everything_that_is_watched_is_drawn_of_adversarial_stages_alone() -> None:
    logs = {
        "adapt": [metrics(i, i, 1.0, {}, None, watched(0.3 * i)) for i in (1, 2, 3)],
        "source": [metrics(i, i, 1.0, {"seg": 1.0}) for i in (1, 2, 3)],
    }
    text = diagnostics(logs, {"adapt": "CIR + ASS"})
    assert re.findall(r"<h3>([^<]+)", text) == ["CIR + ASS"]
    for name in ("on the CIR", "on the target", "R, mean", "weights", "gate 1", "gate 2", "R &gt; 0.1", "R &gt; 0.9"):
        assert name in text, name
    assert text.count("<svg") == 5
    assert text.count("<polygon") == 9
    undecided = text.partition("probability of the CIR")[2].partition("</svg>")[0]
    assert '<line x1="42" x2="292" y1="70" y2="70" class="level">' in undecided, "at 0.5, halfway up"
    assert diagnostics({"source": logs["source"]}, {}) == ""
    still = [metrics(i, i, 1.0, {}, None, {"r_above_0.1": 0.0, "r_above_0.9": 0.0}) for i in (1, 2, 3)]
    assert diagnostics({"adapt": still}, {}) == "", "no frame without anything in it"


def test_the_undecided_discriminator_has_its_line() -> None:
    text = lines("D", {"I": RAMP, "T": [(0.0, 1.0), (100.0, 1.0)]}, span=(0, 1), level=0.5, smooth=False)
    assert '<polyline points="42.0,130.0 167.0,70.0 292.0,10.0" class="smooth line0">' in text
    assert '<polyline points="42.0,10.0 292.0,10.0" class="smooth line1">' in text
    assert '<line x1="42" x2="292" y1="70" y2="70" class="level">' in text
    assert re.findall(r'</i>(\w)<b class="num">1</b>', text) == ["I", "T"]


def test_shares_are_areas_from_zero_one_inside_the_other() -> None:
    text = nested("R", {"0.1": [(0.0, 1.0), (100.0, 1.0)], "0.9": [(0.0, 0.5), (100.0, 0.5)]})
    outer, inner = re.findall(r'<polygon points="([^"]+)"', text)
    assert outer.split() == ["42.0,130.0", "42.0,10.0", "292.0,10.0", "292.0,130.0"]
    assert inner.split() == ["42.0,130.0", "42.0,70.0", "292.0,70.0", "292.0,130.0"]


def test_every_round_of_pseudo_labels_is_shown(tmp_path: Path) -> None:
    summary = {"classes": ["road", "car"], "kept": [0.513, None], "thresholds": [0.9, 0.0]}
    later = summary | {"kept": [0.75, 0.25], "predicted": [0.9, 0.1], "labelled": [0.96, 0.04], "ignored": 0.33}
    (one,) = (pseudo_labels([summary], None),)
    assert "Round" not in one
    for stage, kept in (("pseudo_label", summary), ("pseudo_label_2", later)):
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "summary.json").write_text(json.dumps(kept))
    text = write_report(tmp_path).read_text()
    assert text.index("Round 1") < text.index("51.3") < text.index("Round 2") < text.index("75.0")
    assert "width:75.00%" in text
    assert "33.0 % of all pixels have no label" in text
    assert text.count("car: rarer among the labels") == 1


def test_a_map_is_stored_to_16_bits_and_coloured_as_the_scale(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 64)
    save_map(values, tmp_path / "map.png")
    np.testing.assert_allclose(read_map(tmp_path / "map.png"), values, atol=1e-5)
    image = overlay(Image.new("L", (640, 10), 128), values, (0.0, 1.0))
    pixels = np.asarray(image.convert("RGB"))
    stops = [tuple(map(int, stop)) for stop in re.findall(r"rgb\((\d+) (\d+) (\d+)\)", scale((0, 1), "Gate"))]
    assert len(stops) == 9
    for place, stop in enumerate(stops):
        assert np.abs(pixels[5, min(639, place * 80)].astype(int) - stop).max() <= 6
    assert re.findall(r"<span>([\d.]+)</span>", scale((0.4, 0.6), "Gate")) == ["0.4", "0.45", "0.5", "0.55", "0.6"]


@pytest.mark.parametrize("k", [0, 3])
def test_a_stages_attention_maps_reach_the_report(k: int, tmp_path: Path) -> None:
    run = stage_run(tmp_path, f"model.acm.k={k}")
    segmenter = build_segmenter(run, with_acm=True).eval()
    for number, gate in enumerate(segmenter.acm.attention):
        gate[-1].bias.data.fill_(number - 1.0)
    write_panels(run, "adapt", segmenter, open_domains(run).scored)
    found = read_panels(tmp_path)
    assert [list(panel.predictions) for panel in found] == [["adapt"]] * 2
    text = gates(found, results(Row(stage="source", title="SO"), Row(stage="adapt", title="CIR + ASS")))
    if k == 0:
        assert text == ""
        return
    assert text.count("<img") == 2 * (1 + k)
    means = [float(mean) for mean in re.findall(r"<figcaption>Gate \d, mean ([\d.]+)", text)]
    assert means == pytest.approx([1 / (1 + np.exp(-b)) for b in (-1, 0, 1)] * 2, abs=0.02)
    assert "after CIR + ASS" in text
