"""A step of B = 4 images is the same on (R, A) = (1, 4), (2, 2) and (4, 1), for 10 steps of every training stage.

In double precision, where sums in another order agree to 1e-13 and a difference in meaning shows at once; and to the
bit in single precision with engine.backend=exact, through the CIR and the pseudo labels. DDP's own sums in single
precision agree to 1e-5 as long as nothing amplifies their last digit: Adam does, where a gradient is almost zero, and so
does rounding a pixel of the CIR.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from launching import FAULTY, finish, launch, own_command, start_launcher

from cirn_dist.checkpoint.store import Checkpoint, Store

B, STEPS = 4, 10
COMPONENTS = {
    "source": ["segmenter"],
    "translate": ["generator_s2t", "generator_t2s", "discriminator_s", "discriminator_t", "memory"],
    "adapt": ["segmenter", "discriminator"],
    "self_train": ["segmenter"],
}
SETTINGS = (
    *(f"{stage}.iterations={B * STEPS}" for stage in COMPONENTS),
    *("cir.iterations=4", "controls=false", "evaluate.adabn=false", "evaluate.panels=0", "engine.checkpoint_every=20"),
    # wide enough for pseudo labels to be chosen, few enough for each rank to meet every lane of the pool again
    *("translate.pool=8", "data.source.options.count=6", "data.target.options.count=5"),
    # the paper's generator: the demo's begins as the identity, whose exact cycle has the sign of rounding as gradient
    "translate.residual_output=false",
)
ARITHMETIC = {
    "fp64": ("engine.precision=fp64",),
    "exact": ("engine.precision=fp32", "engine.backend=exact"),
    "fp32": ("engine.precision=fp32", "--until", "translate"),
}
Walk = Callable[[int, int, str], Path]


def walked(mini: Path, out: Path, ranks: int, workers: int, *more: str) -> Path:
    """Run the pipeline in `out` on so many ranks, recording what it trained on in `out`-samples."""
    record = out.with_name(f"{out.name}-samples")
    record.mkdir(exist_ok=True)
    arguments = ("run", mini, "--out", out, *SETTINGS, f"data.workers={workers}", *more)
    if ranks == 1:
        command = own_command(*arguments, script=FAULTY)
        done = finish(start_launcher("accelerate.commands.launch", "--cpu", *command, RECORD=record), timeout=280)
    else:
        done = launch(ranks, *arguments, script=FAULTY, RECORD=record, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def on(mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Walk:
    """Return a function of (ranks, workers, arithmetic) that runs the pipeline once and gives its folder."""
    made: dict[tuple[int, int, str], Path] = {}

    def walk(ranks: int, workers: int, arithmetic: str) -> Path:
        key = (ranks, workers, arithmetic)
        if key not in made:
            out = tmp_path_factory.mktemp("walk") / f"{arithmetic}-{ranks}-{workers}"
            made[key] = walked(mini, out, ranks, workers, *ARITHMETIC[arithmetic])
        return made[key]

    return walk


def newest(run: Path, stage: str) -> Checkpoint:
    found = Store(run / stage / "checkpoints").latest()
    assert found is not None
    assert (found.state["step"], found.state["finished"]) == (STEPS, True)
    return found


def largest_difference(one: Checkpoint, other: Checkpoint, component: str) -> float:
    """Return the largest difference of any tensor, relative to that tensor's largest value."""
    expected, found = one.read(component), other.read(component)
    assert expected.keys() == found.keys()
    assert expected
    return max(
        ((found[key].double() - tensor.double()).abs().max() / tensor.double().abs().max().clamp_min(1e-6)).item()
        for key, tensor in expected.items()
    )


def tensors(checkpoint: Checkpoint) -> dict[str, str]:
    """Return the checksum of each file of tensors: networks, optimizers, the image pool.

    Not of stage 1's monitor, which trains nothing: each rank has the images that it has looked at.
    """
    manifest = json.loads((checkpoint.path / "MANIFEST.json").read_text())
    files = {name: facts["sha256"] for name, facts in manifest.items() if name.endswith(".safetensors")}
    return {name: sha256 for name, sha256 in files.items() if name != "monitor.safetensors"}


def samples(run: Path) -> Counter[str]:
    files = sorted(run.with_name(f"{run.name}-samples").iterdir())
    return Counter(line for file in files for line in file.read_text().splitlines())


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "workers"), [(2, 2), (4, 0)])
def test_the_same_samples_augmented_alike_are_trained_on_in_the_same_steps(ranks: int, workers: int, on: Walk) -> None:
    expected = samples(on(1, 0, "fp64"))
    assert samples(on(ranks, workers, "fp64")) == expected
    translated = sorted(int(line.split()[3]) for line in expected if line.startswith("generators") and " source " in line)
    assert translated == list(range(STEPS * B)), "each counter once"


@pytest.mark.slow
@pytest.mark.parametrize("stage", COMPONENTS)
@pytest.mark.parametrize(("ranks", "workers"), [(2, 2), (4, 0)])
def test_every_stage_trains_the_same_parameters(ranks: int, workers: int, stage: str, on: Walk) -> None:
    one, other = newest(on(1, 0, "fp64"), stage), newest(on(ranks, workers, "fp64"), stage)
    assert other.state["world"] == ranks
    for component in COMPONENTS[stage]:
        assert largest_difference(one, other, component) < 1e-10, f"{stage}/{component}"


@pytest.mark.slow
@pytest.mark.parametrize("stage", COMPONENTS)
@pytest.mark.parametrize(("ranks", "workers"), [(2, 2), (4, 0)])
def test_exact_sums_train_the_same_bits_in_single_precision(ranks: int, workers: int, stage: str, on: Walk) -> None:
    one, other = newest(on(1, 0, "exact"), stage), newest(on(ranks, workers, "exact"), stage)
    assert (one.state["world"], other.state["world"]) == (1, ranks)
    assert tensors(other) == tensors(one)
    assert len(tensors(one)) > len(COMPONENTS[stage]), "optimizers too"


def halfway(run: Path, out: Path, *stages: str) -> Path:
    """Copy a run, its stages back at step 5."""
    shutil.copytree(run, out)
    for stage in stages:
        shutil.rmtree(out / stage / "checkpoints" / f"step-{STEPS:08d}")
        (before,) = (out / stage / "checkpoints").glob("step-*")
        assert before.name == f"step-{STEPS // 2:08d}"
    return out


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["source", "translate"])
def test_2_ranks_to_step_5_and_4_from_there_are_1_rank_to_step_10(
    stage: str, on: Walk, mini: Path, tmp_path: Path
) -> None:
    # One stage at a time: a source trained again on other ranks is another parent, and translate would refuse it.
    out = halfway(on(2, 2, "fp64"), tmp_path / "run", stage)
    walked(mini, out, 4, 0, "engine.precision=fp64", "--until", stage)
    one, other = newest(on(1, 0, "fp64"), stage), newest(out, stage)
    assert other.state["world"] == 4
    for component in COMPONENTS[stage]:
        assert largest_difference(one, other, component) < 1e-10, f"{stage}/{component}"


@pytest.mark.slow
def test_resumed_on_as_many_ranks_it_is_the_same_to_the_bit(on: Walk, mini: Path, tmp_path: Path) -> None:
    out = halfway(on(2, 2, "fp32"), tmp_path / "run", "source", "translate")
    walked(mini, out, 2, 0, "engine.precision=fp32", "--until", "translate")
    for stage in ("source", "translate"):
        before, after = (tensors(newest(run, stage)) for run in (on(2, 2, "fp32"), out))
        assert len(before) > len(COMPONENTS[stage]), "optimizers too"
        assert after == before, stage
