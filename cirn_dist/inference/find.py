"""Finding a trained segmenter on the disk: by a run's folder, a stage's, one checkpoint's, or an exported file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from cirn_dist.chain import stages, table_rows
from cirn_dist.checkpoint.folder import MANIFEST, Checkpoint
from cirn_dist.checkpoint.state import assert_classes
from cirn_dist.checkpoint.store import Store
from cirn_dist.config.load import parse
from cirn_dist.config.recorded import recorded
from cirn_dist.config.schema import Config
from cirn_dist.config.yamlfile import parse_yaml
from cirn_dist.data.labels import LabelSpace
from cirn_dist.data.run_sets.label_space import run_space
from cirn_dist.errors import CheckpointError, ConfigError, nearest
from cirn_dist.files import file_sha256, naming_the_file
from cirn_dist.formats import NETWORK, is_format
from cirn_dist.inference.network import segmenter_of
from cirn_dist.models.imported import load_imported
from cirn_dist.models.weights import described, read_weights
from cirn_dist.rundir.made import read_made
from cirn_dist.rundir.settings import CONFIG

_CHECKPOINTS = "checkpoints"
_NETWORKS = {"segmenter": "segmenter", "teacher": "teacher (that is online self-training's)"}
FORMAT = "cirn_dist"  # what an exported file's metadata calls its format


@dataclass(frozen=True)
class Found:
    """A trained segmenter's weights, and the configuration of its run.

    Attributes:
        path: the checkpoint's folder, or the exported file.
        fingerprint: of the checkpoint.
    """

    stage: str
    path: Path
    fingerprint: str
    weights: Mapping[str, Tensor]
    config: Config
    space: LabelSpace


@naming_the_file()
def find(path: Path, stage: str | None = None, config: Config | None = None, *, component: str = "segmenter") -> Found:
    """Return the checkpoint that a path stands for.

    Args:
        path: of a run's folder (its last finished stage that has a segmenter), of a stage's folder in it (its newest
            checkpoint), of one checkpoint's folder, or of a file that `export` has written.
        stage: of a run, another than the last; controls have to be asked for.
        config: of weights alone, whose file is that of `import-weights`: their network, classes and image size.
        component: `segmenter`, or an online self-training's `teacher`.

    Raises:
        CheckpointError: nothing of the kind is there, it is damaged, or has no such network.
        ConfigError: the run's configuration cannot be read.
    """
    path = Path(path)
    if path.is_file():
        if component != "segmenter":
            raise ConfigError("holds one network", where=path, fix="drop --teacher; a run's folder has both")
        return _exported(path) if config is None else _imported(path, config)
    if config is not None:
        raise ConfigError("has a configuration of its own", where=path, fix="drop --config: it is for weights alone")
    if (path / CONFIG).is_file():
        config = _config(path)
        return _found(path, stage or _last(path, config), config, component)
    if stage is not None:
        raise CheckpointError("is no run's folder, of which a stage could be taken", where=path, fix="drop --stage")
    if (path / _CHECKPOINTS).is_dir() and (path.parent / CONFIG).is_file():
        return _found(path.parent, path.name, _config(path.parent), component)
    run = path.absolute().parents[2] if len(path.absolute().parents) > 2 else path
    if (path / MANIFEST).is_file() and (run / CONFIG).is_file():
        return _checked(run, path.absolute().parents[1].name, Checkpoint.open(path), _config(run), component)
    kinds = "is neither a run's folder, nor a stage's, nor a checkpoint"
    what = kinds if path.exists() else "there is nothing of that name"
    raise CheckpointError(what, where=path, fix="a run's folder has a config.yaml; its checkpoints are read in it")


def _config(run: Path) -> Config:
    return parse(recorded(run / CONFIG), where=run / CONFIG)


def _as_made(run: Path, stage: str, done: int, config: Config) -> Config:
    """Return a configuration with the network that a stage was trained with: later starts may have had another."""
    made = read_made(run / stage)
    if made is None or made.settings is None:
        return config
    tree = config.model_dump(mode="json")
    for key, value in made.settings_at(done).items():
        if key.startswith("model."):
            *groups, name = key.split(".")
            node = tree
            for group in groups:
                node = node[group]
            node[name] = value
    return parse(tree, where=run / stage)


def _last(run: Path, config: Config) -> str:
    """Return the last stage of the results table that is finished."""
    for row in reversed(table_rows(config)):
        newest = _newest(run, row.stage)
        if newest is not None and newest.state["finished"]:
            return row.stage
    raise CheckpointError("no stage of this run is finished", where=run, fix="name a stage's folder for what it has")


def _found(run: Path, stage: str, config: Config, component: str) -> Found:
    newest = _newest(run, stage)
    if newest is None:
        names = [one.name for one in stages(config) if (run / one.name / _CHECKPOINTS).is_dir()]
        fix = nearest(stage, names) if names else None
        raise CheckpointError(f"stage {stage} has no valid checkpoint", where=run, fix=fix)
    return _checked(run, stage, newest, config, component)


def _checked(run: Path, stage: str, checkpoint: Checkpoint, config: Config, component: str) -> Found:
    if component not in checkpoint.components:
        held = ", ".join(checkpoint.components)
        what = f"has no {_NETWORKS[component]}, but {held}"
        raise CheckpointError(what, where=checkpoint.path, fix="take another stage")
    config = _as_made(run, stage, int(checkpoint.state["iteration"]), config)
    space = run_space(config.data)
    assert_classes(checkpoint, space)
    return Found(stage, checkpoint.path, checkpoint.fingerprint, checkpoint.read(component), config, space)


def _exported(file: Path) -> Found:
    said = described(file)
    if not is_format(said.get(FORMAT), NETWORK, file, CheckpointError):
        fix = "cirn-dist export makes one of a run; for weights of another project say --config, whose network they are"
        raise CheckpointError("is no exported network", where=file, fix=fix)
    config = parse(parse_yaml(said["config"], file), where=file)
    return Found(said["stage"], file, said["checkpoint"], read_weights(file), config, run_space(config.data))


def _imported(file: Path, config: Config) -> Found:
    """Return weights of another project as a segmenter; ACM without attention is a plain second classifier."""
    said = described(file)
    if is_format(said.get(FORMAT), NETWORK, file, CheckpointError):
        raise ConfigError("has a configuration of its own", where=file, fix="drop --config: it is for weights alone")
    names = read_weights(file).keys()
    with_acm = any(name.startswith("acm.classifiers.") for name in names)
    if not any(name.startswith("acm.attention.") for name in names):
        acm = config.model.acm.model_copy(update={"k": 0})
        config = config.model_copy(update={"model": config.model.model_copy(update={"acm": acm})})
    space = run_space(config.data)
    segmenter = segmenter_of(config, world=1, with_acm=with_acm)
    load_imported(segmenter, file, backbone=config.model.backbone, space=space)
    return Found("imported", file, file_sha256(file), segmenter.state_dict(), config, space)


def _newest(run: Path, stage: str) -> Checkpoint | None:
    return Store(run / stage / _CHECKPOINTS).latest()
