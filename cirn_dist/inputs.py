"""All inputs of a run, looked at before anything is packed or trained: folders, recipes, splits, classes, weights."""

from __future__ import annotations

from pathlib import Path

from cirn_dist.config.schema import Config
from cirn_dist.data.labels import LabelSpace
from cirn_dist.data.pack.raw_files import find
from cirn_dist.data.run_sets.label_space import run_space
from cirn_dist.data.run_sets.packing import place
from cirn_dist.data.run_sets.ready_packed import Role, raw_of, recipe_of, roles, split_of, stand_in
from cirn_dist.data.run_sets.usable_labels import assert_labels
from cirn_dist.data.shards.shardset import INDEX, ShardSet
from cirn_dist.errors import DataError
from cirn_dist.files import naming_the_file
from cirn_dist.inference.load import assert_same_classes, load
from cirn_dist.inference.network import load_given, segmenter_of
from cirn_dist.models.backbones import build_backbone
from cirn_dist.models.downloads import fetch, kept_at
from cirn_dist.rundir.standing import is_begun


@naming_the_file()
def check_inputs(config: Config, out: Path, *, download: bool = True) -> None:
    """Look at everything a run will read; nothing is written but torch's cache of downloads.

    Weights are looked at until something is trained, and those of ImageNet fetched: not after hours of packing.

    Args:
        out: the run's folder, which need not be there; what it has packed is compared when it is opened.
        download: whether to fetch ImageNet weights that are not here; those that are are looked at in any case.

    Raises:
        ConfigError: a recipe, split, label space or packed set is not there or not what the settings say.
        DataError: a folder is missing, has no images of the split, or lacks labels.
        CheckpointError: a weights file is missing, unsafe, or of another network, or cannot be downloaded.
    """
    space = run_space(config.data)
    for role in roles(config.data):
        _check_set(config, role, space, out)
    self_train = config.self_train
    space.ids(self_train.online.feature_distance.classes, "self_train.online.feature_distance.classes")
    space.ids(config.pseudo_label.easy_rare or (), "pseudo_label.easy_rare")
    if config.translate.shards is not None:
        ShardSet.open(config.translate.shards)
    if config.with_self_train and not config.is_online:
        for one in config.pseudo_label.also:
            assert_same_classes(load(one, device="cpu"), space)
    if not is_begun(out):
        _check_weights(config, out, download)


def _check_set(config: Config, role: Role, space: LabelSpace, out: Path) -> None:
    data, labelled = config.data, role != "target"
    packed = stand_in(data, role)
    if packed is not None:
        if labelled:
            assert_labels(packed.label_space, space, data, role, packed.path)
        return
    recipe, raw, split = recipe_of(data, role, space), raw_of(data, role), split_of(data, role)
    recipe.split(split)
    if labelled:
        assert_labels(recipe.space, space, data, role, recipe.name)
    if (place(data, role, space, out) / INDEX).is_file():
        return
    if recipe.layout == "files" and (raw is None or not raw.is_dir()):
        key = "data.source.raw" if role == "source" else "data.target.raw"
        raise DataError(
            "no such folder" if raw else f"no folder is given for the images of {recipe.name}",
            where=raw or key,
            fix=f"{key}=FOLDER names the raw dataset's folder, or a packed set's",
        )
    find(recipe, raw, split, labelled)


def to_download(config: Config, out: Path) -> Path | None:
    """Return where a run will keep the ImageNet weights it downloads first; None where it needs none, or has them."""
    if config.model.segmenter is not None or config.model.weights != "imagenet" or is_begun(out):
        return None
    file = kept_at(config.model.backbone)
    return None if file.is_file() else file


def _check_weights(config: Config, out: Path, download: bool) -> None:
    model = config.model
    if model.segmenter is not None:
        load_given(segmenter_of(config, world=1, with_acm=config.model.with_acm), config, run_space(config.data))
    elif model.weights == "imagenet":
        if download or to_download(config, out) is None:
            fetch(model.backbone)
    elif model.weights is not None:
        build_backbone(model.backbone, model.weights)
