"""`bench scale` measures the real command on one and two ranks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Command
from safetensors import safe_open


@pytest.mark.slow
def test_bench_scale_measures_one_and_two_ranks(mini: Path, cirn_dist: Command, tmp_path: Path) -> None:
    done = cirn_dist(
        "bench", "scale", mini, "--ranks", "1,2", "--steps", "3", "--out", tmp_path / "kept", "--json",
        tmp_path / "scale.json", "--image-seconds", "0.25", "--inter", "25,10",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "efficiency" in done.stdout
    found = json.loads((tmp_path / "scale.json").read_text())
    one, two = found["measured"]
    assert (one["ranks"], two["ranks"]) == (1, 2)
    for row in (one, two):
        assert row["images_per_step"] == 4, "the same work"
        assert 0 <= row["data"] < row["step"]
        assert row["speed"] == pytest.approx(4 / row["step"])
        assert row["trainable"] == parameter_bytes(tmp_path / f"kept/ranks-{row['ranks']}/adapt")
    assert one["reduced"] == one["reduce"] == 0
    assert two["reduced"] == two["trainable"], "each gradient once, whatever the accumulation"
    assert 0 < two["exposed"] <= two["reduce"] < two["step"]
    assert two["efficiency"] == pytest.approx(one["step"] / two["step"] / 2)
    assert two["model_speed"] > 0
    predicted = found["predicted"]
    assert [row["ranks"] for row in predicted["25"]] == [8, 64, 256]
    assert predicted["25"][0]["compute"] == pytest.approx(0.25), "8 images, one per GPU, as long as was said"
    assert predicted["10"][2]["reduce"] > predicted["25"][2]["reduce"], "a slower network"


def parameter_bytes(stage: Path) -> int:
    """Count what trains, from the checkpoint: everything but the norm layers' statistics."""
    total = 0
    for name in ("segmenter", "discriminator"):
        (file,) = stage.glob(f"checkpoints/*/{name}.safetensors")
        with safe_open(file, "pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118
                if "running_" not in key and "num_batches" not in key:
                    total += tensors.get_tensor(key).numel() * 4
    return total
