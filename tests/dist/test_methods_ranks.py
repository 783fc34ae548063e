"""Other methods' terms on several ranks: the same bits as on one, every discriminator included."""

from __future__ import annotations

from pathlib import Path

import pytest
from launching import finish, launch, own_command, start_launcher
from runs import weights

SETTINGS = (
    "controls=false", "evaluate.adabn=false", "evaluate.panels=0", "source.iterations=4", "adapt.init=pretrained",
    "adapt.iterations=12", "adapt.decay_over=null", "adapt.augment.crop=[48, 40]", "adapt.ndf=4", "model.weights=null",
    "engine.precision=fp32", "engine.backend=exact",
)  # fmt: skip
METHODS = {
    "adaptsegnet_multi": ("segmenter", "discriminator", "discriminator_aux"),
    "maxsquare_iw": ("segmenter",),
}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.parametrize("method", METHODS)
def test_the_same_bits_on_two_ranks(method: str, mini: Path, tmp_path: Path) -> None:
    words = ("run", f"{mini}+{method}", *SETTINGS, "model.backbone=resnet18", "model.norm=frozen")
    alone = own_command(*words, "--out", tmp_path / "one")
    done = finish(start_launcher("accelerate.commands.launch", "--cpu", *alone))
    assert done.returncode == 0, done.stderr[-3000:]
    done = launch(2, *words, "--out", tmp_path / "two")
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (weights(tmp_path / run, ("adapt",)) for run in ("one", "two"))
    assert one == two
    assert {name for name in one if "optimizer" not in name} == {
        f"adapt/{name}.safetensors" for name in METHODS[method]
    }
