"""A CIR made elsewhere: the source images as some other method translated them, packed as a shard set."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from cirn_dist.data.index import LABEL, Sample, ShardSet
from cirn_dist.engine.run import Run
from cirn_dist.errors import DataError
from cirn_dist.stages.derived import derive_set


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
        return images

    def samples(indices: range) -> Iterator[tuple[str, Sample]]:
        for index in indices:
            sample, translated = source.read(index), images.read(order[index])
            kept = {field: data for field, data in sample.items() if not field.startswith("image.")}
            joined = kept | {images.image_field: translated[images.image_field]}
            if images.has_labels:
                joined[LABEL] = translated[LABEL]
            _assert_one_size(images, order[index], joined)
            yield source.key(index), joined

    made = {"by": "readymade", "images": images.fingerprint}
    return derive_set(run, "render", source, samples, label_space=source.label_space, made=made)


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


def _assert_one_size(images: ShardSet, index: int, sample: Sample) -> None:
    sizes = [Image.open(io.BytesIO(sample[field])).size for field in (images.image_field, LABEL)]
    if sizes[0] != sizes[1]:
        image, label = ("x".join(map(str, size)) for size in sizes)
        raise DataError(
            f"the image is {image}, its label {label}",
            where=f"{images.path} [{images.key(index)}]",
            fix="pack the translated images at data.source.size",
        )
