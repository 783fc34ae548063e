"""Other ways to the CIR: the same shard set for the rest of the pipeline, whatever made its images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from conftest import Command
from PIL import Image
from stagerun import settings, stage_run
from test_fourier import np_fda

from cirn_dist.chain import stage_titles
from cirn_dist.data.decode import encode_image, encode_label, open_image
from cirn_dist.data.labels import label_space
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.data.shards.writer import finish, write_shard
from cirn_dist.engine.stop import StopRequest
from cirn_dist.errors import ConfigError, DataError, Stopped
from cirn_dist.seeds import derive
from cirn_dist.stages.domains import Domains, open_domains
from cirn_dist.stages.translate.render import render

Array = npt.NDArray[np.float64]
OVERRIDES = {
    "fda": ("translate.method=fda", "translate.fda_beta=0.06"),
    # Reinhard's own transfer, without what the demo adds to it
    "reinhard": ("translate.method=reinhard", "translate.colour_curve=false", "translate.colour_noise=false"),
}


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> Domains:
    return open_domains(stage_run(tmp_path_factory.mktemp("domains")))


def pixels(shards: ShardSet, index: int) -> Array:
    """Return a stored image as (3, H, W) of 0 to 255."""
    return np.asarray(open_image(shards.read(index)[shards.image_field]), np.float64).transpose(2, 0, 1)


def assert_is_a_cir(cir: ShardSet, source: ShardSet) -> None:
    assert len(cir) == len(source)
    assert cir.label_space == source.label_space
    for i in range(len(source)):
        before, after = source.read(i), cir.read(i)
        assert cir.key(i) == source.key(i)
        assert after["label.png"] == before["label.png"], "labels pass through byte for byte"
        assert after["json"] == before["json"]
        assert after[cir.image_field] != before[source.image_field]


@pytest.mark.parametrize("method", ["fda", "reinhard"])
def test_a_method_without_training_renders_what_numpy_computes(method: str, domains: Domains, tmp_path: Path) -> None:
    run = stage_run(tmp_path, *OVERRIDES[method], "render.batch=3")
    source, target = domains.source, domains.target
    cir = render(run, source, target)
    assert_is_a_cir(cir, source)
    for i in range(len(source)):
        other = derive(0, "fda" if method == "fda" else "colours", i) % len(target)
        x, y = pixels(source, i), pixels(target, other)
        expected = np_fda(x, y, 0.06) if method == "fda" else np_reinhard(x, y)
        assert np.abs(pixels(cir, i) - expected).max() <= 1.01, f"image {i}"
    written = {path: path.stat().st_mtime_ns for path in cir.path.iterdir()}
    assert render(run, source, target).fingerprint == cir.fingerprint
    assert {path: path.stat().st_mtime_ns for path in cir.path.iterdir()} == written, "done before is not done again"
    other_beta = stage_run(tmp_path, "translate.method=fda", "translate.fda_beta=0.12")
    assert render(other_beta, source, target).fingerprint != cir.fingerprint, "another method, another CIR"


def np_reinhard(image: Array, reference: Array) -> Array:
    """Give an image (3, H, W) of 0 to 255 the other's mean and deviation in CIE Lab; by the standards' formulas."""
    linear_to_xyz = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                              [0.0193339, 0.1191920, 0.9503041]])  # fmt: skip
    white = np.array([0.95047, 1.0, 1.08883])

    def lab(rgb: Array) -> Array:
        v = rgb.reshape(3, -1) / 255
        v = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
        t = (linear_to_xyz @ v) / white[:, None]
        f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
        return np.stack([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])

    own, other = lab(image), lab(reference)
    moved = (own - own.mean(1, keepdims=True)) / own.std(1, keepdims=True) * other.std(1, keepdims=True)
    moved += other.mean(1, keepdims=True)
    fy = (moved[0] + 16) / 116
    f = np.stack([fy + moved[1] / 500, fy, fy - moved[2] / 200])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * white[:, None]
    linear = np.clip(np.linalg.solve(linear_to_xyz, xyz), 0, 1)
    v = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (255 * v).reshape(image.shape)


def elsewhere(folder: Path, source: ShardSet, *, labels: bool, reverse: bool = False, **changes: object) -> Path:
    """Write a set of translated images as somebody else would: darker, as PNG, in one shard."""
    order = list(range(len(source)))[:: -1 if reverse else 1]

    def samples():
        for i in order:
            dark = Image.fromarray((pixels(source, i).transpose(1, 2, 0) / 2).astype(np.uint8))
            if "size" in changes:
                dark = dark.resize(changes["size"])
            sample = {"image.webp": encode_image(dark, "webp")}
            if labels:
                sample["label.png"] = encode_label(np.full((40, 48), 3, np.uint8))
            yield (changes["keys"][i] if "keys" in changes else source.key(i)), sample

    write_shard(folder, "all", samples())
    finish(folder, ["all"], name="elsewhere", label_space=changes.get("space", source.label_space) if labels else None)
    return folder


def of_shards(folder: Path, shards: Path):
    return stage_run(folder, "translate.method=shards", f"translate.shards={shards}")


@pytest.mark.parametrize("labels", [False, True])
def test_ready_made_images_are_joined_by_key(labels: bool, domains: Domains, tmp_path: Path) -> None:
    source = domains.source
    shards = elsewhere(tmp_path / "elsewhere", source, labels=labels, reverse=True)
    cir = render(of_shards(tmp_path / "run", shards), source, domains.target)
    assert [cir.key(i) for i in range(len(cir))] == [source.key(i) for i in range(len(source))]
    given = ShardSet.open(shards)
    for i in range(len(source)):
        found = cir.read(i)
        theirs = given.read(len(source) - 1 - i)
        assert found["image.webp"] == theirs["image.webp"]
        assert found["label.png"] == (theirs if labels else source.read(i))["label.png"]


def test_a_labelled_set_in_the_sources_order_is_used_where_it_lies(domains: Domains, tmp_path: Path) -> None:
    shards = elsewhere(tmp_path / "elsewhere", domains.source, labels=True)
    cir = render(of_shards(tmp_path / "run", shards), domains.source, domains.target)
    assert cir.path == shards
    assert not (tmp_path / "run/render").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keys": [f"other-{i}" for i in range(10)]}, r"it lacks 10, first '.*' and has 10 others, first 'other-0'"),
        (
            {"size": (24, 20)},
            r"its label map is 48x40, the image 24x20; pack the translated images at data.source.size",
        ),
        ({"space": label_space("cityscapes19")}, r"its labels are cityscapes19, the source's camvid11"),
    ],
)
def test_a_set_that_does_not_fit_is_refused(
    changes: dict[str, object], message: str, domains: Domains, tmp_path: Path
) -> None:
    shards = elsewhere(tmp_path / "elsewhere", domains.source, labels="space" in changes, **changes)
    with pytest.raises(DataError, match=message):
        render(of_shards(tmp_path / "run", shards), domains.source, domains.target)


def test_a_missing_image_is_named(domains: Domains, tmp_path: Path) -> None:
    whole = domains.source
    write_shard(tmp_path / "few", "all", ((whole.key(i), {"image.png": whole.read(i)["image.png"]}) for i in range(9)))
    finish(tmp_path / "few", ["all"], name="few", label_space=None)
    with pytest.raises(DataError, match=f"it lacks 1, first '{whole.key(9)}'"):
        render(of_shards(tmp_path / "run", tmp_path / "few"), whole, domains.target)


def test_rendering_stops_in_the_middle_of_a_shard_and_goes_on_to_the_same_bytes(
    domains: Domains, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = render(stage_run(tmp_path / "whole", *OVERRIDES["fda"]), domains.source, domains.target)
    assert len(whole.shards) > 1
    run = stage_run(tmp_path / "run", *OVERRIDES["fda"])
    looks = iter(range(whole.shard_sizes[0] + 2))  # at every sample, and between shards

    def asked(stop: StopRequest) -> bool:
        if next(looks, None) is None:
            stop.reason = "STOP"
        return stop.reason is not None

    with monkeypatch.context() as patch:
        patch.setattr(StopRequest, "__bool__", asked)
        with pytest.raises(Stopped):
            render(run, domains.source, domains.target)
    left = sorted(path.name for path in (tmp_path / "run/render/shards").glob("*.tar"))
    assert left == [whole.shards[0]["name"]], "finished shards are kept, half of one is not"
    assert not list((tmp_path / "run/render/shards").glob("*.partial"))
    again = render(stage_run(tmp_path / "run", *OVERRIDES["fda"]), domains.source, domains.target)
    assert [s["sha256"] for s in again.shards] == [s["sha256"] for s in whole.shards]


def test_only_cyclegan_has_a_translation_stage(tmp_path: Path) -> None:
    for method, trains in (("cyclegan", True), ("fda", False), ("reinhard", False)):
        names = [name for name, _ in stage_titles(settings(tmp_path, f"translate.method={method}"))]
        assert ("translate" in names) == trains
        assert {"render", "cir"} <= set(names)
    with pytest.raises(ConfigError, match=r"translate\.shards is the set"):
        settings(tmp_path, "translate.method=shards")
    with pytest.raises(ConfigError, match=r"translate\.shards is the set"):
        settings(tmp_path, "translate.shards=/x")


@pytest.mark.slow
def test_the_pipeline_does_not_know_which_method_it_was(mini: Path, tmp_path: Path, cirn_dist: Command) -> None:
    stages = (f"{stage}.iterations=4" for stage in ("source", "cir", "adapt", "self_train"))
    done = cirn_dist("run", mini, *OVERRIDES["fda"], *stages, "controls=false", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "run/results.json").read_text())["rows"]
    assert [row["title"] for row in rows] == ["Source only", "CIR", "CIR + ASS", "CIR + ASS + ST"]
    assert not (tmp_path / "run/translate").exists()
    assert "Rendering the CIR: done" in done.stdout
    assert "10 images, " in done.stdout


def test_the_precision_of_rendering_is_an_option(domains: Domains, tmp_path: Path) -> None:
    """A checkpoint of stage 1 written by hand, rendered in float32 and in bfloat16."""
    from cirn_dist.stages.translate.players import build_generator

    found = {}
    for name, override in {"fp32": "render.batch=2", "bf16": "render.precision=bf16"}.items():
        run = stage_run(tmp_path / name, override, "translate.colour_match=false", "translate.residual_output=false")
        generator = build_generator(run.config.translate, run.config.seed, "generator_s2t")
        with torch.no_grad():
            generator.output.weight.mul_(20)
        state = {"stage": "translate", "finished": True, "label_space": "camvid11"}
        run.store("translate").save(1, {"generator_s2t": generator.state_dict()}, state)
        cir = render(run, domains.source, domains.target)
        assert_is_a_cir(cir, domains.source)
        found[name] = np.stack([pixels(cir, i) for i in range(len(cir))])
        x = torch.from_numpy(pixels(domains.source, 0) / 127.5 - 1).float()[None]
        if name == "fp32":
            expected = (generator(x)[0].detach().double().numpy() + 1) * 127.5
            assert np.abs(found[name][0] - expected).max() <= 0.51
    assert 0 < np.abs(found["fp32"] - found["bf16"]).mean() < 3
