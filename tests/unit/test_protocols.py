"""How a target is scored: class subsets and both SYNTHIA protocols, several scales, other label spaces, on the way."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from rich.console import Console
from stagerun import stage_run
from torch import Tensor, nn
from torch.nn import functional as F

from cirn_dist.checkpoint.store import Checkpoint
from cirn_dist.config.groups.data import Domain
from cirn_dist.config.load import load
from cirn_dist.data.decode import encode_image, encode_label
from cirn_dist.data.labels import label_space, mapping
from cirn_dist.data.loading.images import label_of, read_images
from cirn_dist.data.loading.transforms import SegmentationTransform
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.display.tables import results_table
from cirn_dist.engine.loop import fit
from cirn_dist.engine.run import Run
from cirn_dist.errors import ConfigError
from cirn_dist.inference.iou import confusion, scores
from cirn_dist.inference.logits import label_map
from cirn_dist.models.deeplab import SegOutput
from cirn_dist.rundir.results import Best, Results, Row
from cirn_dist.stages.domains import open_domains
from cirn_dist.stages.evaluate.miou import evaluate, run_logits
from cirn_dist.stages.evaluate.validation import best_score
from cirn_dist.stages.images import relabelling
from cirn_dist.stages.segmenter import build_segmenter, stream
from cirn_dist.stages.source import supervised

C19, C16 = label_space("cityscapes19"), label_space("synthia16")


def test_both_synthia_protocols_and_the_13_classes() -> None:
    rng = np.random.default_rng(0)
    label = rng.choice([*range(19), 255], (60, 50)).astype(np.uint8)
    predicted = np.where(rng.random(label.shape) < 0.7, label, rng.integers(0, 19, label.shape)).astype(np.uint8)
    found = scores(confusion(predicted, label, 19), C19.subsets)
    assert found.subsets.keys() == {"synthia16", "synthia13"}
    ids = [i for i, name in enumerate(C19.classes) if name not in ("terrain", "truck", "train")]
    iou = []
    for c in ids:
        hit = ((label == c) & (predicted == c)).sum()
        iou.append(hit / ((label == c) | ((predicted == c) & (label != 255))).sum())
    assert found.subsets["synthia16"] == pytest.approx(np.mean(iou)), "BDL: a terrain pixel called car is an error"
    thin = [iou[ids.index(c)] for c in ids if C19.classes[c] not in ("wall", "fence", "pole")]
    assert found.subsets["synthia13"] == pytest.approx(np.mean(thin))

    table = mapping(C19, C16)
    counted = np.where(table[predicted] == 255, 0, table[predicted])  # a head of 16 cannot say terrain
    ignored = scores(confusion(counted.astype(np.uint8), table[label], 16), C16.subsets)
    assert ignored.miou > found.subsets["synthia16"], "MaxSquare: the three classes' pixels do not count"
    assert ignored.subsets.keys() == {"synthia13"}


class Marks(nn.Module):
    """A stand-in for a segmenter: logits are the image itself, resized, and the sizes it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, int]] = []

    def forward(self, images: Tensor, size: tuple[int, int] | None = None) -> SegOutput:
        self.seen.append(tuple(images.shape[-2:]))
        return SegOutput(F.interpolate(images, size, mode="bilinear", align_corners=True), None)


def test_several_scales_and_mirrored_images_are_averaged_at_the_images_size(tmp_path: Path) -> None:
    run = stage_run(tmp_path, "evaluate.scales=[0.5, 1, 1.5]", "evaluate.flip=true")
    net, pixels = Marks(), torch.rand(2, 3, 10, 14)
    found = run_logits(run, net, pixels)
    assert net.seen == [size for size in ((5, 7), (10, 14), (15, 21)) for _ in range(2)]
    resized = [F.interpolate(pixels, size, mode="bilinear", align_corners=True) for size in ((5, 7), (15, 21))]
    back = [F.interpolate(one, (10, 14), mode="bilinear", align_corners=True) for one in resized]
    torch.testing.assert_close(found, (pixels + back[0] + back[1]) / 3)
    plain = run_logits(stage_run(tmp_path), Marks(), pixels)
    assert torch.equal(plain, pixels)


def stored(shards: ShardSet, index: int) -> npt.NDArray[np.uint8]:
    """Return the train ids of one sample, as its set's space counts them."""
    (images,) = read_images(shards, [index], 1, torch.device("cpu"))
    return label_of(images, 0)


def test_labels_of_another_space_are_translated_where_that_is_asked_for(tmp_path: Path) -> None:
    camvid = label_space("camvid11")
    names = '{"tree": "vegetation", "sign": "traffic sign", "pedestrian": "person", "bicyclist": "rider"}'
    overrides = ("data.label_space=cityscapes19", f"data.source.map_labels={names}", "data.target.map_labels={}")
    run = stage_run(tmp_path, *overrides)
    domains = open_domains(run)
    table = relabelling(run, domains.source, "source")
    assert table is not None
    expected = {"sky": "sky", "tree": "vegetation", "sign": "traffic sign", "pedestrian": "person", "car": "car"}
    for theirs, ours in expected.items():
        assert table[camvid.classes.index(theirs)] == C19.classes.index(ours)
    assert table[255] == 255
    source = stream(run, domains.source, run.config.adapt.augment, "source")
    place = source.order.index(0)
    raw = stored(domains.source, place)
    assert set(np.unique(source[0]["label"])) <= set(np.unique(table[raw])) | {255}
    by_name = relabelling(run, domains.scored, "target")
    assert by_name[camvid.classes.index("tree")] == 255, "by equal names alone"
    constant = SegOutput(torch.zeros(19, 40, 48), None).p1
    constant[C19.classes.index("road")] = 1

    class Roads(nn.Module):
        def forward(self, images: Tensor, size: tuple[int, int]) -> SegOutput:
            return SegOutput(constant.expand(len(images), -1, -1, -1), None)

    found = evaluate(run, Roads(), domains.scored)
    labels = [by_name[stored(domains.scored, i)] for i in range(len(domains.scored))]
    truth = np.stack(labels)
    assert found.iou[0] == pytest.approx((truth == 0).sum() / (truth != 255).sum())


def test_a_transform_translates_labels_before_anything_else() -> None:
    table = np.arange(256, dtype=np.uint8)
    table[3] = 255
    rng = np.random.default_rng(0)
    label = rng.integers(0, 5, (6, 8)).astype(np.uint8)
    sample = {"image.png": encode_image(Image.new("RGB", (8, 6)), "png"), "label.png": encode_label(label)}
    out = SegmentationTransform(relabel=table.tobytes())(sample, np.full(10, 0.9))
    np.testing.assert_array_equal(out["label"], table[label])


def test_another_label_space_without_a_mapping_is_refused_with_the_key_that_allows_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"labels are camvid11.*data\.source\.map_labels=\{\} translates"):
        open_domains(stage_run(tmp_path / "a", "data.label_space=synthia16"))
    overrides = (
        "data.label_space=synthia16",
        "data.target.map_labels={}",
        "data.source.map_labels={trees: vegetation}",
    )
    with pytest.raises(ConfigError, match="camvid11 has no class 'trees'"):
        open_domains(stage_run(tmp_path / "b", *overrides))
    other = label_space("camvid11").__class__("other", ("cat",), ((0, 0, 0),))
    with pytest.raises(ConfigError, match="no class in common"):
        mapping(other, C19)


def test_the_16_class_configuration_maps_both_domains() -> None:
    data = load("synthia16_cityscapes").data
    assert (data.label_space, data.source.map_labels, data.target.map_labels) == ("synthia16", {}, {})
    assert data.target.size == (1024, 512)
    assert Domain(recipe="gta5", size=(8, 8)).map_labels is None


def test_scores_on_the_way_keep_the_best_and_change_nothing(tmp_path: Path) -> None:
    weights = {}
    for every in (0, 4):
        run = stage_run(tmp_path / str(every), f"evaluate.every={every}", "source.lr=0.05", "model.norm=batch")
        domains = open_domains(run)
        fit(supervised(run, "source", domains.source, run.config.source, domains.scored), run)
        weights[every] = run.finished("source").read("segmenter")
    assert all(torch.equal(weights[0][name], tensor) for name, tensor in weights[4].items())
    assert best_score(stage_run(tmp_path / "0"), "source") is None

    points = json.loads((tmp_path / "4/source/validation.json").read_text())["points"]
    assert list(points) == ["4", "8", "12"]
    best = best_score(run, "source")
    assert best is not None
    assert best.of == 3
    assert best.miou == max(point["miou"] for point in points.values()) == points[str(best.iteration)]["miou"]
    reasons = run.store("source").reasons()
    (kept,) = (Checkpoint.open(path) for path, why in reasons.items() if "best" in why)
    assert kept.state["iteration"] == best.iteration
    assert kept.state["score"] == best.miou
    last = evaluate(run, _with(run, weights[4]), domains.scored)
    assert points["12"]["miou"] == pytest.approx(last.miou)
    again = evaluate(run, _with(run, kept.read("segmenter")), domains.scored)
    assert again.miou == pytest.approx(best.miou)


def _with(run: Run, state: dict[str, Tensor]) -> nn.Module:
    segmenter = build_segmenter(run, with_acm=False)
    segmenter.load_state_dict(state)
    return segmenter


def test_best_and_last_are_printed_with_what_the_best_is_worth() -> None:
    best = Best(iteration=60_000, of=50, miou=0.5, iou=(0.5, 0.5))
    row = Row(stage="adapt", title="CIR + ASS", miou=0.4, iou=(0.4, 0.4), best=best, subsets={"synthia16": 0.3})
    results = Results(name="x", seed=0, classes=("a", "b"), palette=((0, 0, 0), (9, 9, 9)), rows=(row,))
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(results_table(results))
    text = console.export_text()
    assert "CIR + ASS: last 40.0, best 50.0 of 50 scores, at iteration 60,000" in text
    assert "not an unsupervised result" in text
    assert "mIoU, synthia16" in text
    assert "30.0" in text


def test_label_maps_are_made_at_the_labels_size() -> None:
    logits = torch.zeros(2, 4, 4)
    logits[1, :, 2:] = 1
    assert label_map(logits, (7, 9)).shape == (7, 9)


def test_a_class_that_is_not_there_is_refused_where_both_spaces_are_equal(tmp_path: Path) -> None:
    run = stage_run(tmp_path, "data.source.map_labels={rode: road}")
    with pytest.raises(ConfigError, match="has no class 'rode'; did you mean road"):
        open_domains(run)
