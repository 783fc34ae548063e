"""DAFormer's parts: rare class sampling, the choice of crops, the feature distance, norms without decay."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from authors import SECOND, Z
from conftest import Command, needs_timm
from hypothesis import given
from hypothesis import strategies as st
from runs import weights
from safetensors.torch import save_file
from stagerun import logged, stage_run, stop_in_the_first_step

from cirn_dist import losses
from cirn_dist.data.label_files import open_label
from cirn_dist.data.loading.rare import RareClasses, probabilities
from cirn_dist.data.loading.transforms import SegmentationTransform
from cirn_dist.data.shards.class_counts import class_counts, counts_name
from cirn_dist.data.shards.shardset import LABEL, ShardSet
from cirn_dist.engine.loop import fit
from cirn_dist.errors import ConfigError, DataError, Stopped
from cirn_dist.inference.network import segmenter_of
from cirn_dist.stages.domains import open_domains
from cirn_dist.stages.self_train.online import online_self_training

ANCHOR_PIXELS = [37, 324, 0, 28431, 21, 405, 3645, 15309]


def test_the_probabilities_are_daformers() -> None:
    pixels = np.array(ANCHOR_PIXELS)
    occurs = pixels > 0
    for temperature, expected in (
        (0.01, [0.32772972389, 0.180622185045, 8.25878163364e-27, 0.338797834655, 0.152667141035, 0.000183115375104,
                5.58534582822e-15]),
        (0.5, [0.176285915806, 0.174197822252, 0.05423075106, 0.17640305903, 0.17361298772, 0.151761564746,
               0.0935078993864]),
    ):  # fmt: skip
        np.testing.assert_allclose(probabilities(pixels[occurs], temperature), expected, rtol=1e-6)


@given(st.integers(0, 2**32), st.integers(2, 8), st.integers(3, 30))
def test_an_image_drawn_for_a_class_has_enough_of_it(seed: int, classes: int, samples: int) -> None:
    counts = np.random.default_rng(seed).integers(0, 100, (samples, classes)).astype(np.uint32)
    counts[:, 0] = 0  # one that does not occur is never drawn
    counts[0, 1:] = 99
    rare = RareClasses(counts, [str(c) for c in range(classes)], temperature=0.1, min_pixels=50, seed=seed, name="s")
    for k in range(40):
        index, wanted = rare.draw(k)
        assert counts[index, wanted] > 50
        assert wanted > 0
        assert rare.draw(k) == (index, wanted)


def test_classes_are_drawn_as_often_as_they_should() -> None:
    rng = np.random.default_rng(0)
    counts = (rng.random((200, 4)) * np.array([1000, 400, 100, 40])).astype(np.uint32)
    rare = RareClasses(counts, "abcd", temperature=0.3, min_pixels=1, seed=5, name="source")
    drawn = [rare.draw(k) for k in range(10_000)]
    found = np.bincount([wanted for _, wanted in drawn], minlength=4) / 10_000
    totals = counts.sum(0).astype(np.float64)
    expected = np.exp((1 - totals / totals.sum()) / 0.3)
    np.testing.assert_allclose(found, expected / expected.sum(), atol=0.015)
    images = np.bincount([index for index, wanted in drawn if wanted == 3], minlength=200)
    able = counts[:, 3] > 1
    assert not images[~able].any()
    assert images[able].min() > 0.3 * images[able].mean(), "each image is as likely"


def test_a_class_with_no_image_big_enough_is_named() -> None:
    counts = np.array([[100, 7], [50, 0]], np.uint32)
    with pytest.raises(ConfigError, match=r"more than 9 pixels of pole; the most are 7.*below 7"):
        RareClasses(counts, ["road", "pole"], temperature=0.1, min_pixels=9, seed=0, name="s")


def test_counts_are_written_with_a_set_and_added_to_an_old_one(
    finished_run: Path, cirn_dist: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "source"
    shutil.copytree(finished_run / "data/source", folder)
    shards = ShardSet.open(folder)
    expected = np.stack([np.bincount(open_label(shards.read(i)[LABEL]).ravel(), minlength=256)[:11]
                         for i in range(len(shards))])  # fmt: skip
    np.testing.assert_array_equal(class_counts(shards), expected)
    files = [folder / counts_name(shard["name"]) for shard in shards.shards]
    assert len(files) > 1
    first, second = (file.read_bytes() for file in files[:2])
    files[0].write_bytes(second)
    with pytest.raises(DataError, match="of another set"):
        class_counts(shards)
    files[0].write_bytes(first[:50])
    with pytest.raises(DataError, match="stats"):
        class_counts(shards)
    for file in files:
        file.unlink()
    with pytest.raises(DataError, match="cirn-dist shards stats counts it"):
        class_counts(shards)
    done = cirn_dist("shards", "stats", folder)
    assert done.returncode == 0, done.stderr
    assert files[0].read_bytes() == first, "the same as packing has written"
    assert ShardSet.open(folder).fingerprint == shards.fingerprint
    assert cirn_dist("shards", "verify", folder).returncode == 0


def test_a_crop_is_drawn_anew_until_it_will_do() -> None:
    """A label of one class with a corner of another: most crops are of one class alone."""
    label = np.zeros((40, 60), np.uint8)
    label[:12, :12] = 3
    transform = SegmentationTransform(crop=(20, 20), max_share=0.75)
    chosen = SegmentationTransform(crop=(20, 20), enough=60)
    assert transform.draws == 28
    draws = np.random.default_rng(1).random((300, 28))
    plain = SegmentationTransform(crop=(20, 20))
    assert plain.draws == 10

    def share(t: SegmentationTransform, row: np.ndarray, wanted: int | None) -> float:  # type: ignore[type-arg]
        left, top, right, bottom = t._crop_box((60, 40), label, row, wanted)
        return float((label[top:bottom, left:right] == 3).mean())

    own = np.array([share(plain, row, None) for row in draws])
    mixed = np.array([share(transform, row, None) for row in draws])
    rich = np.array([share(chosen, row, 3) for row in draws])
    good = own > 0.25
    np.testing.assert_array_equal(mixed[good], own[good])  # what will do stays where it was drawn
    assert (mixed > 0.25).mean() > 2.5 * good.mean()
    assert (rich * 400 > 60).mean() > 2.5 * (own * 400 > 60).mean()
    assert share(chosen, draws[0], None) == own[0], "without a class any crop will do"


def test_the_feature_distance_is_daformers() -> None:
    min_share, value, cells = 0.75, 4.79960849934, 13
    things = [6, 7, *range(11, 19)]
    b, h, w = np.ogrid[:2, :32, :48]
    drawn = (h // 9 + w // 11 + 5 + 6 * b) % 20
    labels = torch.from_numpy(np.where(drawn == 19, 255, drawn))
    f1, f2 = Z((2, 7, 4, 6)), Z((2, 7, 4, 6), SECOND)
    found, of_each = [], []
    for i in (0, 1):
        one = losses.feature_distance(f1[i : i + 1], f2[i : i + 1], labels[i : i + 1], things, min_share=min_share)
        found.append(one.item())
        cell = labels[i].view(4, 8, 6, 8).movedim(1, 2).reshape(24, 64)
        of_each.append(sum(max((row == c).float().mean().item() for c in things) >= min_share for row in cell))
    assert sum(of_each) == cells
    assert np.average(found, weights=of_each) == pytest.approx(value, rel=1e-9)  # theirs is over both images' cells
    both = losses.feature_distance(f1, f2, labels, things, min_share=min_share)
    assert both.item() == pytest.approx(np.mean(found), rel=1e-9)
    both.backward()
    assert f2.grad is None


def test_a_feature_that_has_not_moved_and_an_image_without_things_have_no_slope() -> None:
    f = Z((1, 7, 4, 6))
    labels = torch.zeros(1, 32, 48, dtype=torch.int64)
    for classes in ([0], [5]):
        loss = losses.feature_distance(f, f.detach().clone(), labels, classes)
        (gradient,) = torch.autograd.grad(loss, f)
        assert loss.item() == 0
        assert not gradient.abs().sum()
    far = losses.feature_distance(f, f.detach() + 1, torch.full_like(labels, 255), [0])
    assert far.item() == 0


@needs_timm
def test_norms_have_a_decay_of_their_own(tmp_path: Path) -> None:
    run = stage_run(tmp_path, "model.backbone=timm:pvt_v2_b0", "model.weights=null", "model.freeze_affine=false")
    segmenter = segmenter_of(run.config, world=1, with_acm=False)
    groups = {group["name"]: group for group in segmenter.parameter_groups(1.0, norm_weight_decay=0.0)}
    assert groups["norms"]["weight_decay"] == 0
    names = {id(p): name for name, p in segmenter.named_parameters()}
    apart = {names[id(p)] for p in groups["norms"]["params"]}
    assert apart == {name for name in names.values() if name.startswith("backbone.") and "norm" in name}
    together = segmenter.parameter_groups(1.0)
    assert [group["name"] for group in together] == ["backbone", "heads"]


SETTINGS = (
    "model.backbone=timm:pvt_v2_b0", "model.head_width=16", "model.drop_path=0", "model.dropout=0", "model.norm=frozen",
    "self_train.iterations=12", "self_train.warmup=4", "self_train.augment.crop=[96, 64]",
    "data.source.size=[96, 64]", "data.target.size=[96, 64]", "engine.images_per_step=4",
    "self_train.online.rare_classes.min_pixels=3", "self_train.online.feature_distance.classes=[sky, building, road]",
    "self_train.online.feature_distance.min_share=0.51", "engine.checkpoint_every=1", "engine.keep=9",
    "self_train.online.threshold=0.1",
)  # fmt: skip


@needs_timm
def test_daformer_trains_and_goes_on_after_a_stop_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm

    torch.manual_seed(1)
    file = tmp_path / "pvt.safetensors"
    save_file(timm.create_model("pvt_v2_b0").state_dict(), file)
    ended = []
    for stopped in (False, True):
        run = stage_run(tmp_path / f"run{stopped}", *SETTINGS, f"model.weights={file}", method="daformer")
        domains = open_domains(run)
        if stopped:
            with monkeypatch.context() as patched:
                stop_in_the_first_step(run, patched)
                with pytest.raises(Stopped):
                    fit(online_self_training(run, domains.source, domains.target), run)
            run.stop.reason = None
        training = online_self_training(run, domains.source, domains.target)
        fit(training, run)
        ended.append(weights(run.folder, ("self_train",)))
    assert ended[0] == ended[1]
    distances = [line["losses"]["features"] for line in logged(run, "self_train")]
    assert distances[0] == 0, "the features are still the initial ones"
    assert distances[-1] > 0
    save_file(timm.create_model("pvt_v2_b0").state_dict(), file)
    with pytest.raises(ConfigError, match="initial features"):
        fit(online_self_training(run, domains.source, domains.target), run)
