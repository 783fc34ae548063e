"""What the loop does around a step: the rates it sets before, and the place it gives a stage after."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from stagerun import logged, stage_run

from cirn_dist.data.pack.pack import pack
from cirn_dist.engine.loop import Training, fit, seeded
from cirn_dist.engine.run import Run
from cirn_dist.engine.step import Batch, Pass
from cirn_dist.stages.segmenter import initial_segmenter
from cirn_dist.stages.source import supervised


def described(run: Run, folder: Path) -> Training:
    images = pack("streets", None, folder / "set", size=(48, 40), labels=True, options={"count": 6})
    return supervised(run, "source", images, run.config.source)


def test_a_scaled_rate_is_warmed_up(tmp_path: Path) -> None:
    """Four images a step, so four times the rate; it is reached after half of the twelve."""
    scaled = ("engine.lr_scaling=linear", "engine.lr_warmup=0.5", "engine.log_every=4", "source.lr=0.001")
    run = stage_run(tmp_path / "run", *scaled, "source.power=0", "source.head_lr_mult=1")
    fit(described(run, tmp_path), run)
    rates = [line["rates"]["segmenter"] for line in logged(run, "source")]
    assert rates == pytest.approx([0.001 * (1 + 3 * 4 / 6), 0.004, 0.004])


def test_torchs_own_draws_follow_a_micro_batchs_first_image_alone() -> None:
    def drawing(batch: Batch, iteration: int) -> Iterator[Pass]:
        yield Pass({"drawn": torch.rand(())})

    def drawn(first: int, seed: int = 1, stage: str = "adapt") -> float:
        torch.rand(7)  # whatever was drawn before
        (one,) = seeded(drawing, seed, stage)({"source": {"k": torch.tensor([first, first + 1])}}, 0)
        return one.losses["drawn"].item()

    assert drawn(4) == drawn(4)
    assert len({drawn(4), drawn(6), drawn(4, seed=2), drawn(4, stage="cir")}) == 4


def test_an_average_of_the_weights_can_follow_them(tmp_path: Path) -> None:
    """Once per optimizer step, whatever the accumulation, after the update."""
    seen: list[int] = []
    weights: list[torch.Tensor] = []
    run = stage_run(tmp_path / "run", "engine.images_per_step=4", "engine.micro_batch=1")
    training = described(run, tmp_path)
    (network,) = training.players["segmenter"].networks.values()
    average = copy.deepcopy(network)

    def follow(step: int, _: object) -> None:
        seen.append(step)
        weights.append(next(network.parameters()).detach().clone())
        with torch.no_grad():
            for mean, new in zip(average.parameters(), network.parameters(), strict=True):
                mean.lerp_(new, 0.5)

    fit(dataclasses.replace(training, after_step=follow), run)
    assert seen == [1, 2, 3]
    assert not torch.equal(weights[0], weights[1])
    begun = (weights[0], weights[1], weights[2])
    # mean = start/8 + w1/8 + w2/4 + w3/2
    found = next(average.parameters())
    start = 8 * (found - begun[0] / 8 - begun[1] / 4 - begun[2] / 2)
    fresh = stage_run(tmp_path / "fresh")
    built = initial_segmenter(fresh, "pretrained", with_acm=False)[0]
    torch.testing.assert_close(start, next(built.parameters()), rtol=1e-4, atol=1e-5)
