"""A step's micro-batches on their way from the loader to the device: one ahead, never more than two there."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from cirn_dist.data.loading.stream import Batches
from cirn_dist.engine.run import Run
from cirn_dist.engine.step import Batch
from cirn_dist.transfer import sent

_LOOK_EVERY = 0.5  # seconds between two looks whether the run is to stop
_SENT = ("image", "label", "soft")
_PATIENCE = 20.0  # SLURM and docker kill what has not ended 30 and 10 seconds after SIGTERM


class Uploads:
    """The loader's micro-batches on the device; a context manager that ends the loader's workers.

    While the device works on one micro-batch the next is fetched and sent, on a stream of its own where there is a
    GPU; the first of the next step too, before the ranks agree on the end of this one. By then the one before is
    done with and dropped: two are there at most, the second as the bytes it was read as.
    """

    def __init__(self, batches: Batches, run: Run, stage: str) -> None:
        self.run, self.stage = run, stage
        self._batches, self._left, self._waited = batches, len(batches), 0.0
        self._next: Batch | None = None
        self._device = run.runtime.device
        self._side = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._used: deque[torch.cuda.Event] = deque()  # one for every micro-batch that may still be computed with

    def __enter__(self) -> Uploads:
        return self

    def __exit__(self, *_: object) -> None:
        self._next = None
        self._batches.close()

    def fetch(self) -> None:
        """Wait for the next micro-batch and send it, if there is one; no longer once the run is asked to stop."""
        self._fetch(lambda: bool(self.run.stop))

    def begin(self) -> None:
        """Wait until every rank has its first micro-batch.

        Raises:
            Stopped: on all ranks; one of them was asked to stop and had none yet.
        """
        engine, runtime = self.run.config.engine, self.run.runtime
        runtime.watchdog.allow(engine.step_timeout)
        self.fetch()
        runtime.watchdog.allow(engine.start_timeout)  # others may get theirs later, and first uses compile
        if runtime.sum(torch.tensor(float(self._next is None and self._left > 0))) > 0:
            raise self.run.stopped("stopped; what was finished is kept", self.stage)

    def of_step(self, count: int) -> OfStep:
        """Return the next `count` micro-batches, a step's, to be walked once."""
        return OfStep(self, count)

    def take_waited(self) -> float:
        """Return the seconds spent waiting for the loader since this was last asked."""
        waited, self._waited = self._waited, 0.0
        return waited

    def walk(self, count: int) -> Iterator[Batch]:
        """Yield the next `count` micro-batches, ready for the passes, and fetch one more once they are under way.

        Raises:
            Stopped: the loader gave nothing for a while after the run was asked to stop, in the middle of the step.
        """
        for _ in range(count):
            self._fetch(self._impatience())
            if self._next is None:
                raise self.run.stop.stopped("the loader gives nothing more; what was saved is kept", self.stage).alone()
            yield self._received()
            if self._side is not None:
                self._used.append(torch.cuda.current_stream(self._device).record_event())
        self.fetch()

    def _impatience(self) -> Callable[[], bool]:
        """Return whether to give up: some time after the run was asked to stop.

        Ranks agree on a stop at a step's end, which this one does not reach without its images.
        """
        asked: float | None = None

        def give_up() -> bool:
            nonlocal asked
            if asked is None and self.run.stop:
                asked = time.monotonic()
            return asked is not None and time.monotonic() > asked + _PATIENCE

        return give_up

    def _fetch(self, give_up: Callable[[], bool]) -> None:
        if self._next is not None or not self._left:
            return
        began = time.perf_counter()
        if not self._batches.ready(0.0):
            self.run.runtime.watchdog.doing("waiting for images")
            while not self._batches.ready(_LOOK_EVERY):
                if give_up():
                    return
            self.run.runtime.watchdog.doing("")
        batch = next(self._batches)
        self._left -= 1
        self._waited += time.perf_counter() - began
        self._next = self._sent(batch)

    def _sent(self, batch: Batch) -> Batch:
        """Begin to copy a micro-batch to the device, once the one before the last is done with there."""
        side = self._side
        if side is None:
            return _each(batch, lambda tensor: sent(tensor, self._device))
        if len(self._used) == 2:
            self._used.popleft().synchronize()
        with torch.cuda.stream(side):
            return _each(batch, lambda tensor: sent(tensor, self._device))

    def _received(self) -> Batch:
        batch, self._next = self._next, None
        assert batch is not None
        if self._side is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_stream(self._side)
            _each(batch, lambda tensor: _recorded(tensor, current))
        return prepared(batch, self.run.runtime.dtype)


@dataclass(frozen=True)
class OfStep:
    """A step's micro-batches, each fetched when the one before it is under way."""

    uploads: Uploads
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Batch]:
        return self.uploads.walk(self.count)


def prepared(batch: Batch, dtype: torch.dtype) -> Batch:
    """Return a micro-batch as passes take it, from uint8.

    Images (N, 3, H, W) in [-1, 1], labels (N, H, W) as int64, soft labels (N, C, H, W) in [0, 1].
    """
    ready: Batch = {}
    for domain, entries in batch.items():
        images = entries["image"].to(dtype).div_(127.5).sub_(1.0)
        ready[domain] = entries | {"image": images.contiguous(memory_format=torch.channels_last)}
        if "label" in entries:
            ready[domain]["label"] = entries["label"].long()
        if "soft" in entries:
            ready[domain]["soft"] = entries["soft"].to(dtype).div_(255.0)
    return ready


def _each(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """Change what goes to the device; a stage asks for its samples' counters on the host."""
    return {
        domain: {name: change(value) if name in _SENT else value for name, value in entries.items()}
        for domain, entries in batch.items()
    }


def _recorded(tensor: Tensor, stream: torch.cuda.Stream) -> Tensor:
    """Keep a tensor's memory from being given to another before `stream` is done with it; returns it."""
    tensor.record_stream(stream)
    return tensor
