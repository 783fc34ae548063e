"""Micro-batches go to the device one ahead: never more than two are there, and their samples' counters stay behind."""

from __future__ import annotations

import threading
import time
import weakref
from collections import Counter
from pathlib import Path

import pytest
import torch
from stagerun import stage_run
from torch import Tensor

from cirn_dist.data.loading.stream import Batches
from cirn_dist.engine import upload
from cirn_dist.engine.step import Batch
from cirn_dist.errors import TRY_AGAIN, Stopped
from cirn_dist.pipeline import run_pipeline

ACCUMULATION = 4


class Device:
    """Counts the micro-batches of which anything is in its memory, and the most there ever were."""

    def __init__(self) -> None:
        self.tensors: Counter[int] = Counter()  # micro-batch -> tensors of it
        self.came = self.most = 0

    def keep(self, micro_batch: int, tensor: Tensor) -> None:
        self.tensors[micro_batch] += 1
        weakref.finalize(tensor, self.tensors.subtract, [micro_batch])
        self.most = max(self.most, sum(count > 0 for count in self.tensors.values()))


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    """Stand in for the device that images are sent to and made ready on."""
    device = Device()
    where: dict[int, int] = {}  # a tensor that was sent -> its micro-batch
    original, fetch = upload.prepared, upload.Uploads._sent

    def sent(tensor: Tensor, _: torch.device) -> Tensor:
        copy = tensor.clone()
        where[id(copy)] = device.came
        device.keep(device.came, copy)
        return copy

    def one_more(self: upload.Uploads, batch: Batch) -> Batch:
        device.came += 1
        return fetch(self, batch)

    def prepared(batch: Batch, dtype: torch.dtype) -> Batch:
        micro_batch = where[id(next(iter(batch.values()))["image"])]
        ready = original(batch, dtype)
        for entries in ready.values():
            for name in ("image", "label"):
                if name in entries:
                    device.keep(micro_batch, entries[name])
        return ready

    monkeypatch.setattr(upload, "sent", sent)
    monkeypatch.setattr(upload.Uploads, "_sent", one_more)
    monkeypatch.setattr(upload, "prepared", prepared)
    return device


def waiting(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Let the loader give nothing more after so many micro-batches."""
    ready = Batches.ready
    monkeypatch.setattr(
        Batches,
        "ready",
        lambda self, seconds: ready(self, seconds) if self._feed._taken < after else time.sleep(min(seconds, 0.05)),
    )


def train(folder: Path) -> None:
    """Train the first two stages, with several micro-batches a step."""
    lengths = ("source.iterations=8", "translate.iterations=8", "translate.quality_images=2")
    per_step = (f"engine.images_per_step={ACCUMULATION}", "engine.micro_batch=1", "controls=false")
    run = stage_run(folder, *lengths, *per_step)
    run_pipeline(run, until="translate")


def test_two_micro_batches_at_most_are_on_the_device(tmp_path: Path, device: Device) -> None:
    train(tmp_path)
    assert device.came == 2 * 2 * ACCUMULATION, "two stages of two steps each"
    assert device.most <= 2


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("given", "said"), [(0, "what was finished is kept"), (6, "the loader gives nothing more")])
def test_a_stop_request_is_met_while_images_are_waited_for(
    given: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting(monkeypatch, after=given)
    monkeypatch.setattr(upload, "_PATIENCE", 0.5)
    timer = threading.Timer(4, (tmp_path / "STOP").touch)
    timer.start()
    with pytest.raises(Stopped, match=said) as caught:
        train(tmp_path)
    assert caught.value.exit_code == (0 if caught.value.agreed else TRY_AGAIN)
    assert caught.value.agreed == (given == 0), "in the middle of a step the others cannot be asked"


def test_a_step_that_holds_on_to_its_micro_batches_is_seen(
    tmp_path: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = upload.Uploads.walk
    monkeypatch.setattr(upload.Uploads, "walk", lambda self, count: iter(list(whole(self, count))))
    train(tmp_path)
    assert device.most >= ACCUMULATION
