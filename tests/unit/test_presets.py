"""The constants of CIRN and CLAN as files to extend, and what CLAN's scaled images need of a stage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from stagerun import logged, stage_run

from cirn_dist.config.load import load
from cirn_dist.config.schema import Config
from cirn_dist.data.loading.transforms import SegmentationTransform
from cirn_dist.engine.loop import fit
from cirn_dist.engine.run import Run
from cirn_dist.stages.adapt.train import adaptation
from cirn_dist.stages.domains import open_domains
from cirn_dist.stages.segmenter import build_segmenter


def preset(folder: Path, name: str, base: str = "gta5_cityscapes") -> Config:
    file = folder / "child.yaml"
    file.write_text(f"extends: [{base}, presets/{name}]", encoding="utf-8")
    return load(str(file))


def test_cirns_preset_is_its_configuration(tmp_path: Path) -> None:
    assert preset(tmp_path, "cirn") == load("gta5_cityscapes")
    assert preset(tmp_path, "cirn", "synthia_cityscapes") == load("synthia_cityscapes")


@pytest.mark.parametrize(("name", "lambda_cos"), [("clan", 40), ("clan_synthia", 10)])
def test_clans_preset_has_its_codes_constants(name: str, lambda_cos: float, tmp_path: Path) -> None:
    config = preset(tmp_path, name)
    adapt = config.adapt
    assert config.model.acm.k == 0
    assert (adapt.focal_gamma, adapt.lambda_cos, adapt.backbone_lr_mult) == (2, lambda_cos, 3)
    assert (adapt.lambda_adv, adapt.epsilon, adapt.lambda_weight, adapt.warmup) == (0.001, 0.4, 0.01 * 2, 5000)
    assert (adapt.lr, adapt.d_lr, adapt.d_betas, adapt.d_weight_decay) == (2.5e-4, 1e-4, (0.9, 0.99), 0)
    scales = adapt.augment.scales
    assert [scales.count(scale) / len(scales) for scale in (0.8, 1.0, 1.1)] == [0.3, 0.4, 0.3]
    assert adapt.augment.crop is None
    assert adapt.augment.mirror


def test_the_presets_of_stage_3_are_their_codes(tmp_path: Path) -> None:
    bdl, crst, iast = (preset(tmp_path, name) for name in ("bdl", "crst", "iast"))
    assert (bdl.pseudo_label.rule, bdl.pseudo_label.portion, bdl.pseudo_label.cap) == ("bdl", 0.5, 0.9)
    assert (bdl.self_train.init, bdl.self_train.source_weight, bdl.self_train.lambda_adv) == ("pretrained", 1, 0.001)
    growth = (crst.pseudo_label.portion, crst.pseudo_label.portion_growth, crst.pseudo_label.portion_max)
    assert (crst.pseudo_label.rule, *growth, crst.pseudo_label.rounds) == ("crst", 0.2, 0.05, 0.5, 3)
    assert (crst.self_train.lr, crst.self_train.power, crst.self_train.lambda_kld) == (5e-5, 0, 0.01)
    constants = (iast.pseudo_label.alpha, iast.pseudo_label.beta, iast.pseudo_label.gamma)
    assert (iast.pseudo_label.rule, *constants) == ("iast", 0.2, 0.9, 8)
    assert (iast.self_train.lambda_kld, iast.self_train.lambda_entropy) == (0.1, 3)


CLAN_LIKE = ("model.acm.k=0", "adapt.focal_gamma=2", "adapt.augment={scales: [0.8, 1.1]}", "adapt.iterations=8",
             "adapt.warmup=0", "adapt.init=pretrained", "data.source.size=[50, 42]")  # fmt: skip


@pytest.fixture(scope="module")
def clan_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = stage_run(tmp_path_factory.mktemp("clan"), *CLAN_LIKE)
    domains = open_domains(run)
    fit(adaptation(run, "adapt", domains.source, domains.target, run.config.adapt), run)
    return run


def test_stage_2_trains_on_scaled_images_with_labels_of_their_own_size(clan_run: Run) -> None:
    last = logged(clan_run, "adapt")[-1]
    assert last["iteration"] == 8
    assert set(last["losses"]) == {"seg", "adv", "weight", "d"}
    assert all(value is not None for value in last["losses"].values())


def test_logits_come_at_the_size_that_is_asked_for(clan_run: Run) -> None:
    segmenter = build_segmenter(clan_run, with_acm=True).eval()
    image = torch.rand(1, 3, 34, 27) * 2 - 1
    with torch.no_grad():
        own = segmenter(image)
        features = segmenter.classifier(segmenter.features(image))
        for size in ((34, 27), (50, 40), (9, 11)):
            direct = torch.nn.functional.interpolate(features, size, mode="bilinear", align_corners=True)
            torch.testing.assert_close(segmenter(image, size).p1, direct)
            assert segmenter(image, size).p2.shape[-2:] == size
        torch.testing.assert_close(segmenter(image, (34, 27)).p1, own.p1)
        tiny = segmenter(image[..., :3, :2], (5, 6))
    assert tiny.p1.shape[-2:] == (5, 6)


def test_size_is_said_only_where_the_image_alone_is_scaled(clan_run: Run) -> None:
    source = open_domains(clan_run).source
    sample, draws = source.read(0), torch.full((10,), 0.9).numpy()
    scaled = SegmentationTransform(scales=(0.5, 1.1))(sample, draws)
    assert scaled["size"] == tuple(scaled["label"].shape) == (42, 50)
    assert tuple(scaled["image"].shape) == (3, 46, 55)
    assert "size" not in SegmentationTransform(scales=(0.5, 1.1), crop=(20, 20))(sample, draws)
    assert "size" not in SegmentationTransform()(sample, draws)
