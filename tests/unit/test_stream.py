from __future__ import annotations

import logging
import os
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from rawdata import flip, labels, sample, shard_set

from cirn_dist.data.decode import encode_image, encode_label
from cirn_dist.data.labels import label_space
from cirn_dist.data.loading.stream import Plan, Stream, loader
from cirn_dist.data.loading.transforms import SegmentationTransform
from cirn_dist.data.shards.records import write_index
from cirn_dist.data.shards.samples import Entry, json_field
from cirn_dist.data.shards.shardset import ShardSet, index_name
from cirn_dist.data.shards.stats import Stats
from cirn_dist.data.shards.writer import finish, write_shard
from cirn_dist.data.workers.processes import fork_server
from cirn_dist.errors import ConfigError, DataError

TINY = Entry("", {"image.png": encode_image(Image.new("RGB", (2, 2)), "png")}, Stats())
AUGMENT = SegmentationTransform(crop=(12, 8), mirror=True, scales=(0.8, 1.0, 1.1), jitter=0.3)


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> ShardSet:
    return shard_set(tmp_path_factory.mktemp("set"), [4, 3, 5])


def stream(shards: ShardSet, transform=AUGMENT, name="source", seed=1, **options) -> Stream:
    return Stream(shards, transform, seed=seed, name=name, window=2, **options)


def damage(folder, key_row: int, shard: int = 0) -> None:
    """Flip a bit of an image."""
    offset, size, _ = np.load(folder / f"s-{shard:06d}.idx.npy")[key_row, 0].tolist()
    flip(folder / f"s-{shard:06d}.tar", offset + size // 2)


def collect(streams, plan, first, last, workers=0) -> dict[int, tuple]:
    found = {}
    for batch in loader(streams, plan, first_step=first, last_step=last, workers=workers):
        fields = batch["source"]
        for i, k in enumerate(fields["k"].tolist()):
            found[k] = (fields["image"][i].numpy().tobytes(), fields["label"][i].numpy().tobytes())
    return found


def test_a_sample_is_a_function_of_seed_stream_and_k(shards):
    one, again = stream(shards), stream(shards)
    for k in (0, 5, 17, 10**8 + 3):
        assert torch.equal(one[k]["image"], again[k]["image"])
        assert one[k]["k"] == k
    others = (stream(shards, seed=2), stream(shards, name="target"))
    for other in others:
        assert any(not torch.equal(one[k]["image"], other[k]["image"]) for k in range(4))


def test_the_same_image_is_augmented_anew_in_every_epoch(shards):
    source = stream(shards)
    where = {source.order.index(k): k for k in range(12)}
    again = next(k for k in range(12, 24) if source.order.index(k) == 0)
    assert not torch.equal(source[where[0]]["image"], source[again]["image"])


def test_the_loader_yields_what_the_engine_was_promised(shards):
    streams = {"source": stream(shards), "target": stream(shards, name="target")}
    (batch,) = loader(streams, Plan(4, world=2, rank=1, micro_batch=2), first_step=7, last_step=8)
    assert batch["source"]["image"].shape == (2, 3, 8, 12)
    assert batch["source"]["image"].dtype == torch.uint8
    assert batch["source"]["label"].shape == (2, 8, 12)
    assert batch["source"]["label"].dtype == torch.uint8
    assert batch["source"]["k"].tolist() == batch["target"]["k"].tolist() == [30, 31]
    assert len(loader(streams, Plan(4), first_step=7, last_step=9)) == 8


def test_every_topology_resume_and_worker_count_reads_the_same_samples(shards):
    streams = {"source": stream(shards)}
    expected = collect(streams, Plan(8), 0, 4)
    assert sorted(expected) == list(range(32))  # 2.7 epochs of 12
    for world, micro in ((1, 4), (2, 2), (4, 1), (8, 1)):
        found = {}
        for rank in range(world):
            found |= collect(streams, Plan(8, world, rank, micro), 0, 2)
        for rank in range(world // 2 or 1):  # stopped after step 2, resumed on half the world
            found |= collect(streams, Plan(8, world // 2 or 1, rank, micro), 2, 4)
        assert found == expected


def test_workers_do_not_change_the_order(shards):
    streams = {"source": stream(shards)}
    runs = [
        [
            batch["source"]["k"].tolist()
            for batch in loader(streams, Plan(4), first_step=3, last_step=6, workers=workers)
        ]
        for workers in (0, 2)
    ]
    assert runs[0] == runs[1] == [[k] for k in range(12, 24)]
    assert collect(streams, Plan(4), 3, 6, workers=2) == collect(streams, Plan(4), 3, 6)


def test_a_fork_servers_workers_read_the_same_bits(shards):
    """As on a GPU, where workers are no forks of this process: streams must pickle."""
    streams = {"source": stream(shards), "target": stream(shards, name="target")}
    expected = list(loader(streams, Plan(4, micro_batch=2), first_step=3, last_step=6))
    with loader(streams, Plan(4, micro_batch=2), first_step=3, last_step=6, workers=2, context=fork_server()) as read:
        for batch, wanted in zip(read, expected, strict=True):
            for name, fields in wanted.items():
                assert all(torch.equal(batch[name][field], tensor) for field, tensor in fields.items())
                assert batch[name]["image"].stride() == fields["image"].stride()


def test_the_loader_draws_nothing_from_torchs_generator(shards):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    collect({"source": stream(shards)}, Plan(4), 0, 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_bad_sample_is_named_counted_and_replaced_by_another_that_k_decides(tmp_path, caplog):
    whole = shard_set(tmp_path, [4, 4])
    expected = [stream(whole)[k] for k in range(16)]
    damage(tmp_path, 2)
    with caplog.at_level(logging.WARNING):
        source = stream(ShardSet.open(tmp_path))
        read = [source[k] for k in range(16)]
    (record,) = caplog.records  # one line for the sample, not one per epoch
    again = stream(ShardSet.open(tmp_path))
    replaced = [k for k in range(16) if source.order.index(k) == 2]
    assert len(replaced) == 2
    for k in range(16):
        assert torch.equal(read[k]["image"], again[k]["image"])
        if k not in replaced:
            assert torch.equal(read[k]["image"], expected[k]["image"])
    assert source.bad == [2]
    for part in ("stream source", str(tmp_path), "s-000000.tar", "[key-000002]", "image.png", "crc32"):
        assert part in record.getMessage()


def test_a_sample_that_does_not_decode_is_named_with_its_field(tmp_path, caplog):
    good, bad = sample(0), {**sample(1), "label.png": b"no png"}
    with pytest.raises(DataError):  # the writer would not even write it
        write_shard(tmp_path / "x", "s", [("a", bad)])
    write_shard(tmp_path / "y", "s", [("a", good), Entry("b", bad, Stats())])
    source = stream(finish(tmp_path / "y", ["s"], name="y", label_space=label_space("camvid11")))
    for k in range(2):
        assert source[k]["image"].shape == (3, 8, 12)
    assert "[b] label.png: cannot be decoded" in caplog.text


@pytest.mark.parametrize("workers", [0, 2])
def test_too_many_bad_samples_end_the_run_in_one_line(tmp_path, workers):
    shard_set(tmp_path, [6])
    for row in (1, 3, 4):
        damage(tmp_path, row)
    streams = {"source": stream(ShardSet.open(tmp_path), max_bad=2)}
    with pytest.raises(DataError, match=r"3 bad samples in stream source, more than max_bad 2") as caught:
        collect(streams, Plan(2), 0, 20, workers=workers)
    assert "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert streams["source"].bad == [1, 3, 4]  # the workers' finds are counted together, here


def test_as_many_bad_samples_as_allowed_are_lived_with(tmp_path):
    shard_set(tmp_path, [6])
    damage(tmp_path, 1)
    damage(tmp_path, 3)
    source = stream(ShardSet.open(tmp_path), max_bad=2)
    assert len(collect({"source": source}, Plan(2), 0, 30, workers=2)) == 60
    assert source.bad == [1, 3]


def test_a_set_of_bad_samples_only_ends(tmp_path):
    shard_set(tmp_path, [2])
    damage(tmp_path, 0)
    damage(tmp_path, 1)
    with pytest.raises(DataError, match="more than max_bad 1"):
        stream(ShardSet.open(tmp_path), max_bad=1)[0]
    with pytest.raises(DataError, match="every sample"):
        stream(ShardSet.open(tmp_path), max_bad=10)[0]


def test_images_of_different_sizes_need_single_micro_batches(shards):
    streams = {"source": stream(shards, SegmentationTransform(scales=(0.5, 1.0, 1.5)))}
    assert len(list(loader(streams, Plan(8), first_step=0, last_step=1))) == 8
    with pytest.raises(ConfigError, match=r"images of one micro-batch differ in size: .*use micro_batch 1, or a crop"):
        list(loader(streams, Plan(8, micro_batch=8), first_step=0, last_step=1))


def test_labels_may_keep_the_size_before_packing(tmp_path):
    big = encode_label(labels(0, [1, 2], 48, 32))
    write_shard(tmp_path, "s", [("a", {**sample(0), "label.png": big, "json": json_field({"size": [48, 32]})})])
    shards = finish(tmp_path, ["s"], name="val", label_space=label_space("camvid11"))
    out = stream(shards, SegmentationTransform())[0]
    assert out["image"].shape == (3, 16, 24)
    assert out["label"].shape == (32, 48)


def test_a_million_samples_open_and_yield_any_k_within_50_ms(tmp_path):
    """250 shards of 4000 samples, all links to one tar: 96 MB of index, of which a sample needs one page."""
    one = write_shard(tmp_path, "s-000000", (replace(TINY, key=f"{key:04d}") for key in range(4000)))
    records = [{**one, "name": f"s-{shard:06d}.tar"} for shard in range(250)]
    for record in records[1:]:
        os.link(tmp_path / one["name"], tmp_path / record["name"])
        os.link(tmp_path / index_name(one["name"]), tmp_path / index_name(record["name"]))
    members = {field: field for field in one["fields"]}
    write_index(tmp_path, records, name="m", members=members, label_space=None, left_out=[], made={})
    seconds = []
    for k in (0, 10**8, 10**8 + 7):
        start = time.process_time()
        stream(ShardSet.open(tmp_path), SegmentationTransform())[k]
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.05
    assert seconds[1] < 0.15  # generous: the machine may be busy
