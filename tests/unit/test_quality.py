"""The CIR's quality: whose features are compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import needs_timm
from stagerun import stage_run

from cirn_dist.data.loading.images import read_images, spread_over
from cirn_dist.inference.network import segmenter_of
from cirn_dist.stages.domains import open_domains
from cirn_dist.stages.translate import quality as module
from cirn_dist.stages.translate.quality import measure_quality
from cirn_dist.stages.translate.render import render

JOINED = ("model.backbone=timm:pvt_v2_b0", "model.head=daformer", "model.head_width=32")


def test_the_figures_do_not_depend_on_how_many_images_are_looked_at_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for batch in (1, 5):
        run = stage_run(tmp_path / str(batch), "translate.method=reinhard", f"evaluate.batch={batch}")
        segmenter = segmenter_of(run.config, world=1, with_acm=False).eval()
        monkeypatch.setattr(module, "load_segmenter", lambda *_, net=segmenter: net)
        domains = open_domains(run)
        cir = render(run, domains.source, domains.target)
        quality = measure_quality(run, domains.source, domains.target, cir)
        assert quality is not None
        found.append(quality)
    one, five = found
    assert one.images == five.images
    assert one.images % 5, "the last group is a smaller one"
    assert one.colour == five.colour
    assert five.same_class == pytest.approx(one.same_class, rel=1e-3)
    assert five.miou.cir == pytest.approx(one.miou.cir, rel=1e-3)
    assert five.features.cir == pytest.approx(one.features.cir, rel=1e-4)


@pytest.mark.parametrize("network", [(), pytest.param(JOINED, marks=needs_timm)])
def test_features_are_the_backbones_whatever_the_head_makes_of_them(
    network: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head that joins levels has features of its own width, which went into sums of the backbone's."""
    run = stage_run(tmp_path, *network, "translate.method=reinhard", "model.weights=null")
    segmenter = segmenter_of(run.config, world=1, with_acm=False).eval()
    monkeypatch.setattr(module, "load_segmenter", lambda *_: segmenter)
    domains = open_domains(run)
    cir = render(run, domains.source, domains.target)
    found = measure_quality(run, domains.source, domains.target, cir)
    assert found is not None

    def moments(images: list[torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
        maps = [torch.nn.functional.adaptive_avg_pool2d(x, [min(16, side) for side in x.shape[-2:]]) for x in images]
        rows = np.concatenate([x[0].flatten(1).T.double().numpy() for x in maps])
        return rows.mean(0), np.cov(rows.T, bias=True)

    def seen(shards: module.ShardSet) -> list[torch.Tensor]:
        with torch.inference_mode():
            places = spread_over(len(shards), found.images)
            return [segmenter.deep(one.pixels) for one in read_images(shards, places, 1, run.runtime.device)]

    (m1, c1), (m2, c2) = moments(seen(cir)), moments(seen(domains.target))
    roots = np.sqrt(np.linalg.eigvals(c1 @ c2).real.clip(0)).sum()
    expected = ((m1 - m2) ** 2).sum() + np.trace(c1) + np.trace(c2) - 2 * roots
    assert found.features.cir == pytest.approx(expected, rel=1e-3, abs=1e-6)
