"""A CIR made elsewhere: the source images as some other method translated them, packed as a shard set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from cirn_dist.data.decode import upright_size
from cirn_dist.data.loading.images import spread_over
from cirn_dist.data.shards.samples import entry
from cirn_dist.data.shards.shardset import LABEL, Sample, ShardSet
from cirn_dist.data.shards.sizes import Size, kept_size, misfit
from cirn_dist.engine.run import Run
from cirn_dist.errors import CorruptSample, DataError
from cirn_dist.stages.derived_set import Encode, derive_set

_LOOKED_AT = 100


def readymade(run: Run, source: ShardSet, path: Path) -> ShardSet:
    """Return the translated images of `path` with labels, in the source's order.

    The set is used where it lies if it has labels and the source's order. Else a set is written beside the run's
    others: its images, with its own labels if it has any, or the source's.

    Raises:
        DataError: its keys are not the source's, its labels are of another space, or an image has another size than
            its label.
    """
    images = ShardSet.open(path)
    theirs, ours = images.label_space, source.label_space
    if theirs is not None and (ours is None or not theirs.is_same(ours)):
        raise DataError(
            f"its labels are {theirs.beside(ours) if ours else theirs.name}, "
            f"the source's {ours.beside(theirs) if ours else 'none'}",
            where=path,
            fix="pack it with data.source's recipe, or without labels",
        )
    order = run.runtime.on_main(lambda: _order(source, images))
    if images.has_labels and order == list(range(len(source))):
        run.runtime.on_main(lambda: _assert_some_fit(images))
        return images

    def samples(indices: range) -> Iterator[Encode]:
        for index in indices:
            sample, translated = source.read(index), images.read(order[index])
            kept = {field: data for field, data in sample.items() if not field.startswith("image.")}
            joined = kept | {images.image_field: translated[images.image_field]}
            if images.has_labels:
                joined[LABEL] = translated[LABEL]
            _assert_fits(images, order[index], joined, None if images.has_labels else kept_size(source, sample))
            yield partial(entry, source.key(index), joined)

    made = {"by": "readymade", "images": images.fingerprint}
    return derive_set(run, "render", source, samples, batch=1, label_space=source.label_space, made=made)


def _order(source: ShardSet, images: ShardSet) -> Sequence[int]:
    """Return, for each source sample, the index of the translated image with its key."""
    places = {images.key(index): index for index in range(len(images))}
    keys = [source.key(index) for index in range(len(source))]
    missing, unknown = [key for key in keys if key not in places], sorted(places.keys() - set(keys))
    told = [f"lacks {len(missing)}, first {missing[0]!r}"] if missing else []
    told += [f"has {len(unknown)} others, first {unknown[0]!r}"] if unknown else []
    if told:
        raise DataError(
            f"its keys are not the source's: it {' and '.join(told)}",
            where=images.path,
            fix="translated images keep the file names of their originals",
        )
    return [places[key] for key in keys]


def _assert_some_fit(images: ShardSet) -> None:
    """Look at samples spread over a set that is used where it lies; the stages that train on it look at each."""
    for index in spread_over(len(images), _LOOKED_AT):
        sample = images.read(index)
        _assert_fits(images, index, sample, kept_size(images, sample))


def _assert_fits(images: ShardSet, index: int, sample: Sample, original: Size | None) -> None:
    try:
        found = misfit(upright_size(sample[images.image_field]), upright_size(sample[LABEL]), original)
    except CorruptSample as error:
        raise images.corrupt(index, error.what) from error
    if found:
        where = f"{images.path} [{images.key(index)}]"
        raise DataError(found, where=where, fix="pack the translated images at data.source.size")
