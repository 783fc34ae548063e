"""Small wrong changes to the core, one at a time: which tests notice. python tests/mutants/run.py [WORD]

Each is applied to a copy of the package; a mutant that its tests let through is a promise without a test.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Mutant(NamedTuple):
    """A change to a file of the package, and the tests that should notice it."""

    file: str
    was: str
    now: str
    tests: str


U = "tests/unit/test_"
MUTANTS = (
    Mutant("losses/supervision.py", "mean_where(per_pixel, labels != IGNORE)", "mean_where(per_pixel, labels >= 0)",
           f"{U}losses.py"),
    Mutant("losses/pixels.py", "clamp(min=1)", "clamp(min=2)", f"{U}losses.py {U}adaptation_losses.py"),
    Mutant("losses/adversarial.py", "lambda_cos * cosine_distance(p1, p2)", "cosine_distance(p1, p2)",
           f"{U}adaptation_losses.py"),
    Mutant("losses/adversarial.py", "(target, 0.0, constant, kind)", "(target, 0.0, None, kind)",
           f"{U}adaptation_losses.py {U}clan_step.py"),
    Mutant("losses/adversarial.py", "constant = None if weights is None else weights.detach()", "constant = weights",
           f"{U}adaptation_losses.py"),
    Mutant("losses/translation.py", "return 0.5 * (", "return 1.0 * (", f"{U}translation_losses.py {U}losses.py"),
    Mutant("losses/target.py", "/ math.log(logits.shape[1])", "/ math.log(19)", f"{U}target_losses.py"),
    Mutant("losses/target.py", "pixels ** (1 - ratio)", "pixels**ratio", f"{U}target_losses.py"),
    Mutant("losses/target.py", "first + second).max", "first).max", f"{U}target_losses.py"),
    Mutant("engine/step.py", "player.backward(loss, micro_batches)", "player.backward(loss, 1)",
           f"{U}step.py {U}loop.py"),
    Mutant("engine/step.py", "last and turn == last_turn[name]", "last", "tests/dist/test_step_ranks.py"),
    Mutant("engine/step.py", "with frozen(others), player", "with player", f"{U}step.py"),
    Mutant("engine/step.py", "player.update(finite)", "player.update(True)", f"{U}step.py"),
    Mutant("engine/players.py", "self.scaler.scale(loss / micros)", "self.scaler.scale(loss)", f"{U}step.py"),
    Mutant("engine/players.py", 'settings["base_lr"] * factor', 'settings["lr"] * factor', f"{U}step.py {U}loop.py"),
    Mutant("data/loading/order.py", 'side="right"', 'side="left"', f"{U}order.py"),
    Mutant("data/loading/order.py", '"samples", epoch, number', '"samples", number', f"{U}order.py"),
    Mutant("data/loading/plan.py", "+ self.rank) *", "+ 0 * self.rank) *", f"{U}order.py {U}stream.py"),
    Mutant("data/loading/stream.py", 'self.seed, self.name, k), wanted', 'self.seed, self.name, i), wanted',
           f"{U}stream.py"),
    Mutant("data/loading/transforms.py", "draws[_MIRROR] < 0.5", "draws[_MIRROR] < 0.9", f"{U}transforms.py"),
    Mutant("data/loading/rare.py", "(1 - pixels / pixels.sum())", "(pixels / pixels.sum())", f"{U}daformer.py"),
    Mutant("seeds.py", "splitmix64(splitmix64(keys))", "splitmix64(keys)", f"{U}seeds.py"),
    Mutant("schedule.py", "1.0 - iteration / total), power)", "1.0 - iteration / total), 1.0)", f"{U}schedule.py"),
    Mutant("checkpoint/folder.py", ' or file_sha256(file) != facts["sha256"]', "", f"{U}store.py"),
    Mutant("checkpoint/store.py", "valid(path)", "True", f"{U}store.py"),
    Mutant("models/acm.py", "(k - 1) * shared.bias()", "k * shared.bias()", f"{U}acm.py"),
    Mutant("models/deeplab.py", "self.p1 + self.p2", "self.p1", f"{U}deeplab.py {U}clan_step.py"),
    Mutant("models/norm.py", "(variance * unbiased(count))", "(variance)", "tests/dist/test_norm_ranks.py"),
    Mutant("models/pool.py", "< 0.5", "< 0.1", f"{U}pool.py"),
    Mutant("stages/self_train/teacher.py", "min(1 - 1 / done,", "min(1 - 1 / (done + 1),", f"{U}online.py"),
    Mutant("stages/self_train/teacher.py", "list(student.parameters()), 1 - keep", "list(student.parameters()), keep",
           f"{U}online.py {U}online_parts.py"),
    Mutant("stages/self_train/mixing.py", "keepdim=True) + 1) // 2", "keepdim=True)) // 2", f"{U}online_parts.py"),
    Mutant("stages/self_train/rules.py", "ratio >= 1", "ratio > 2", f"{U}pseudo_label_rules.py"),
    Mutant("stages/adapt/terms.py", "iteration >= robust.after", "iteration > robust.after", f"{U}methods.py"),
    Mutant("inference/iou.py", "+ counts.sum(1)", "+ 0 * counts.sum(1)", f"{U}evaluate.py"),
    Mutant("stages/self_train/confidence.py", "2.0**-_HALVINGS)", "2.0**-12)", f"{U}evaluate.py"),
    Mutant("rundir/sharing.py", "made.settings != dict(wanted.settings)", "False", f"{U}sharing.py"),
    Mutant("rundir/sharing.py", "and _is_made_by(read_made(run / stage), by)", "", f"{U}sharing.py"),
    Mutant("models/depthwise.py", "weight.flip(2, 3), padding", "weight, padding", f"{U}dilated.py"),
    Mutant("models/depthwise.py", "apart[h % d or d :, :, -1].zero_()", "", f"{U}dilated.py"),
    Mutant("models/depthwise.py", "::stride, ::stride] = gradient", "::1, ::1] = 0", f"{U}dilated.py"),
    Mutant("models/moments.py", "(variances + (means - mean).square())", "variances", f"{U}moments.py"),
    Mutant("models/moments.py", "slope * mean)", "mean)", f"{U}moments.py"),
    Mutant("data/run_sets/packing.py", 'told["renderer"] = recipe.renderer', "pass", f"{U}renderer.py"),
    Mutant("models/dilated.py", "branch.weight.flip(2, 3)", "branch.weight", f"{U}dilated.py"),
    Mutant("models/on_cpu.py", "torch.is_grad_enabled() and", "", f"{U}dilated.py"),
    Mutant("models/on_cpu.py", "dilation=2 if dilate else 1", "dilation=1", f"{U}on_cpu.py"),
    Mutant("models/on_cpu.py", "(len(x) > 1 or x.numel() > _FEW)", "True", f"{U}on_cpu.py"),
    Mutant("rundir/spared.py", "start.last > start.first or not makes", "True", f"{U}spared.py"),
    Mutant("data/streets/canvas.py", "mixed.putalpha(int(material))", "pass", f"{U}boundaries.py"),
    Mutant("models/winograd.py", "_twice(_KERNEL, x.dtype).flip(1)", "_twice(_KERNEL, x.dtype)", f"{U}winograd.py"),
    Mutant("models/winograd.py", "(1, 2), d, 2 * d - p)", "(1, 2), d, p)", f"{U}winograd.py"),
    Mutant("models/winograd.py", "(x < width)", "(x <= width)", f"{U}winograd.py"),
    Mutant("models/norm.py", "len(x) > 1 or self", "self", f"{U}precision.py"),
    Mutant("formats.py", "int(theirs) <= int(number)", "int(theirs) < int(number)", f"{U}formats.py"),
    Mutant("checkpoint/folder.py", 'is_format(state.get("format"), CHECKPOINT, path, CheckpointError)', "None",
           f"{U}formats.py"),
    Mutant("checkpoint/folder.py", "        as_its_folder(file)", "        pass", f"{U}shared_machine.py"),
    Mutant("files.py", 'partial.open("xb")', 'partial.open("wb")', f"{U}shared_machine.py"),
    Mutant("data/pack/pack.py", "<= {PLAN}:", "<= {PLAN} or not any(out.glob('*.record.json')):", f"{U}pack_resume.py"),
    Mutant("measure/steps.py", "math.prod(weight[1:])", "math.prod(weight)", f"{U}bench_step.py"),
    Mutant("measure/phases.py", "leaf.requires_grad:", "False:", f"{U}bench_step.py"),
    Mutant("data/shards/shardset.py", "zlib.crc32(data) != crc", "False", f"{U}shardset.py {U}verify.py"),
    Mutant("data/shards/shardset.py", "else self._chosen[chosen]", "else chosen", f"{U}intra_domain.py"),
    Mutant("stages/self_train/rules.py", "/ len(rare) + 0.5", "/ len(rare)", f"{U}intra_domain.py"),
    Mutant("stages/self_train/rules.py", "powers.logsumexp(0) > 0", "powers.amax(0) > 0", f"{U}soft_labels.py"),
    Mutant("losses/supervision.py", ".sum(dim=1, keepdim=True).clamp_min(1e-6)", ".amax(dim=1, keepdim=True)",
           f"{U}soft_labels.py"),
    Mutant("data/loading/transforms.py", '"soft": 0}', '"soft": IGNORE}', f"{U}soft_labels.py"),
    Mutant("stages/self_train/rules.py", "sorted(ranked[:easy])", "sorted(ranked[-easy:])", f"{U}intra_domain.py"),
    Mutant("stages/pieces.py", "> _GAIN *", "> 4 *", f"{U}pieces.py"),
    Mutant("stages/pieces.py", "-(-_PIECE // batch) * batch", "_PIECE", f"{U}pieces.py"),
    Mutant("config/schema.py", "int(min(size) * beta) == 0", "int(min(size) * beta) < 0", f"{U}methods.py"),
    Mutant("stages/adapt/restyle.py", "clip=False", "clip=True", f"{U}methods.py"),
    Mutant("stages/translate/quality.py", "segmenter.deep(", "segmenter.features(", f"{U}quality.py"),
    Mutant("models/ensemble.py", "self.members)).clamp", "self.members) * 2).clamp", f"{U}ensemble.py"),
    Mutant("engine/loop.py", "derive(seed, stage, first)", "derive(seed, stage, 0)", f"{U}loop.py"),
)  # fmt: skip


def caught(mutant: Mutant, folder: Path) -> bool | None:
    """Whether a test fails with it; None where what it changes is not there any more."""
    package = folder / "cirn_dist"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(ROOT / "cirn_dist", package, ignore=shutil.ignore_patterns("__pycache__"))
    file = package / mutant.file
    text = file.read_text(encoding="utf-8")
    if mutant.was not in text:
        return None
    file.write_text(text.replace(mutant.was, mutant.now, 1), encoding="utf-8")
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *mutant.tests.split()]
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"pytest did not run: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 1


def main() -> int:
    """Try all mutants whose file or change has the word; returns how many were not noticed."""
    word, missed = "".join(sys.argv[1:]), 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "main"
        folder.mkdir()
        for name in ("tests", "configs", "shards", "launch", "setup.cfg", "pyproject.toml", "README.md", "docs"):
            (folder / name).symlink_to(ROOT / name)
        if (ROOT.parent / "shared").is_dir():
            (folder.parent / "shared").symlink_to(ROOT.parent / "shared")
        for mutant in MUTANTS:
            if word not in mutant.file + mutant.was:
                continue
            began = time.monotonic()
            found = caught(mutant, folder)
            missed += found is not True
            verdict = {True: "noticed", False: "MISSED", None: "NOT THERE"}[found]
            print(
                f"{verdict:<10}{time.monotonic() - began:5.0f} s  {mutant.file}: {mutant.was!r} -> {mutant.now!r}",
                flush=True,
            )
    print(f"{missed} of {len(MUTANTS)} not noticed")
    return missed


if __name__ == "__main__":
    sys.exit(main())
