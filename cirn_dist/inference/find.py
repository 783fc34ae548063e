"""Finding a trained segmenter on the disk: by a run's folder, a stage's, or one checkpoint's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cirn_dist.chain import stages, table_rows
from cirn_dist.checkpoint.folder import MANIFEST, Checkpoint
from cirn_dist.checkpoint.state import assert_classes
from cirn_dist.checkpoint.store import Store
from cirn_dist.config.load import parse, recorded
from cirn_dist.config.schema import Config
from cirn_dist.data.labels import LabelSpace
from cirn_dist.data.run_sets.label_space import run_space
from cirn_dist.errors import CheckpointError, nearest
from cirn_dist.files import naming_the_file
from cirn_dist.rundir.settings import CONFIG

_CHECKPOINTS, _COMPONENT = "checkpoints", "segmenter"


@dataclass(frozen=True)
class Found:
    """A trained segmenter's checkpoint, and the configuration of its run."""

    stage: str
    checkpoint: Checkpoint
    config: Config
    space: LabelSpace


@naming_the_file()
def find(path: Path, stage: str | None = None) -> Found:
    """Return the checkpoint that a path stands for.

    Args:
        path: of a run's folder (its last finished stage that has a segmenter), of a stage's folder in it (its newest
            checkpoint), or of one checkpoint's folder.
        stage: of a run, another than the last; controls have to be asked for.

    Raises:
        CheckpointError: nothing of the kind is there, it is damaged, or has no segmenter.
        ConfigError: the run's configuration cannot be read.
    """
    path = Path(path)
    if (path / CONFIG).is_file():
        config = _config(path)
        return _found(path, stage or _last(path, config), config)
    if stage is not None:
        raise CheckpointError("is no run's folder, of which a stage could be taken", where=path, fix="drop --stage")
    if (path / _CHECKPOINTS).is_dir() and (path.parent / CONFIG).is_file():
        return _found(path.parent, path.name, _config(path.parent))
    run = path.absolute().parents[2] if len(path.absolute().parents) > 2 else path
    if (path / MANIFEST).is_file() and (run / CONFIG).is_file():
        return _checked(path.absolute().parents[1].name, Checkpoint.open(path), _config(run))
    kinds = "is neither a run's folder, nor a stage's, nor a checkpoint"
    what = kinds if path.exists() else "there is nothing of that name"
    raise CheckpointError(what, where=path, fix="a run's folder has a config.yaml; its checkpoints are read in it")


def _config(run: Path) -> Config:
    return parse(recorded(run / CONFIG), where=str(run / CONFIG))


def _last(run: Path, config: Config) -> str:
    """Return the last stage of the results table that is finished."""
    for row in reversed(table_rows(config)):
        newest = _newest(run, row.stage)
        if newest is not None and newest.state["finished"]:
            return row.stage
    raise CheckpointError("no stage of this run is finished", where=run, fix="name a stage's folder for what it has")


def _found(run: Path, stage: str, config: Config) -> Found:
    newest = _newest(run, stage)
    if newest is None:
        names = [one.name for one in stages(config) if (run / one.name / _CHECKPOINTS).is_dir()]
        fix = nearest(stage, names) if names else None
        raise CheckpointError(f"stage {stage} has no valid checkpoint", where=run, fix=fix)
    return _checked(stage, newest, config)


def _checked(stage: str, checkpoint: Checkpoint, config: Config) -> Found:
    if _COMPONENT not in checkpoint.components:
        held = ", ".join(checkpoint.components)
        raise CheckpointError(f"has no segmenter, but {held}", where=checkpoint.path, fix="take another stage")
    space = run_space(config.data)
    assert_classes(checkpoint, space)
    return Found(stage, checkpoint, config, space)


def _newest(run: Path, stage: str) -> Checkpoint | None:
    return Store(run / stage / _CHECKPOINTS).latest()
