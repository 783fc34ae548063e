"""Other methods' terms on several ranks: the same bits as on one, every discriminator included."""

from __future__ import annotations

from pathlib import Path

import pytest
from launching import finish, launch, own_command, start_launcher
from runs import weights

SETTINGS = (
    "controls=false", "evaluate.adabn=false", "evaluate.panels=0", "source.iterations=4", "adapt.init=pretrained",
    "adapt.iterations=12", "adapt.decay_over=null", "adapt.augment.crop=[48, 40]", "adapt.ndf=4", "model.weights=null",
    "self_train.iterations=8", "self_train.decay_over=null", "self_train.augment.crop=[48, 40]",
    "engine.precision=fp32", "engine.backend=exact",
)  # fmt: skip
METHODS = {  # the components of each stage
    "adaptsegnet_multi": {"adapt": ("segmenter", "discriminator", "discriminator_aux")},
    "maxsquare_iw": {"adapt": ("segmenter",)},
    "fda_online": {"adapt": ("segmenter",)},
    "crst_lrent": {"self_train": ("segmenter",), "self_train_3": ("segmenter",)},
    "intrada": {"adapt": ("segmenter", "discriminator"), "self_train": ("segmenter", "discriminator")},
}
OWN = {
    "intrada": ("pseudo_label.easy_rare=[building, car]",),
    "fda_online": ("adapt.fda.beta=0.1",),  # the paper's window has no frequency in 40 pixels
}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.parametrize("method", METHODS)
def test_the_same_bits_on_two_ranks(method: str, mini: Path, tmp_path: Path) -> None:
    words = ("run", f"{mini}+{method}", *SETTINGS, *OWN.get(method, ()), "model.backbone=resnet18", "model.norm=frozen")
    alone = own_command(*words, "--out", tmp_path / "one")
    done = finish(start_launcher("accelerate.commands.launch", "--cpu", *alone))
    assert done.returncode == 0, done.stderr[-3000:]
    done = launch(2, *words, "--out", tmp_path / "two")
    assert done.returncode == 0, done.stderr[-3000:]
    stages = METHODS[method]
    one, two = (weights(tmp_path / run, tuple(stages)) for run in ("one", "two"))
    assert one == two
    assert {name for name in one if "optimizer" not in name} == {
        f"{stage}/{name}.safetensors" for stage, components in stages.items() for name in components
    }
