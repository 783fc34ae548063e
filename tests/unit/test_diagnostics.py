"""What is watched during stage 2, against plain NumPy, and that it reaches the log without being trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from stagerun import logged, stage_run

from cirn_dist.engine.loop import fit
from cirn_dist.models.deeplab import SegOutput
from cirn_dist.stages.adapt.diagnostics import LEVELS, disagreement, discriminator_probabilities
from cirn_dist.stages.adapt.train import adaptation
from cirn_dist.stages.domains import open_domains


def test_the_numbers_by_hand() -> None:
    rng = np.random.default_rng(0)
    p1, p2 = rng.normal(0, 3, (2, 1, 5, 6, 7))
    gates = rng.random((1, 2, 3, 4))
    found = disagreement(SegOutput(*(torch.tensor(x) for x in (p1, p2, gates))))
    a, b = (np.exp(p) / np.exp(p).sum(1) for p in (p1, p2))
    r = 1 - (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))
    assert found["r_mean"].item() == pytest.approx(r.mean(), rel=1e-5)
    for level in LEVELS:
        assert found[f"r_above_{level}"].item() == pytest.approx((r > level).mean())
    assert found["gate_2"].item() == pytest.approx(gates[0, 1].mean(), rel=1e-5)
    undecided = discriminator_probabilities(torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), np.log(3.0)))
    assert [value.item() for value in undecided.values()] == pytest.approx([0.5, 0.75])


def test_without_acm_nothing_disagrees() -> None:
    assert disagreement(SegOutput(torch.zeros(1, 3, 2, 2), None)) == {}


@pytest.mark.parametrize("k", [0, 2])
def test_they_are_logged_beside_the_losses(k: int, tmp_path: Path) -> None:
    run = stage_run(tmp_path, f"model.acm.k={k}", "adapt.init=pretrained", "adapt.iterations=8")
    domains = open_domains(run)
    fit(adaptation(run, "adapt", domains.source, domains.target, run.config.adapt), run)
    for line in logged(run, "adapt"):
        assert set(line["losses"]) == {"seg", "adv", "weight", "d"}
        observed = line["observed"]
        gates = {f"gate_{i + 1}" for i in range(k)}
        shares = {f"r_above_{level}" for level in LEVELS}
        assert set(observed) == {"d_intermediate", "d_target", "r_mean", "weight_cosine"} | gates | shares
        assert 0 < observed["d_intermediate"] < 1
        assert all(0.3 < observed[gate] < 0.7 for gate in gates), "near one half at the start"
        assert abs(observed["weight_cosine"]) < 0.2
        falling = [observed[f"r_above_{level}"] for level in LEVELS]
        assert falling == sorted(falling, reverse=True)
