"""Work done ahead by worker processes, results in order.

torch's DataLoader moves tensors through /dev/shm, which containers make 64 MB by default, and a tensor that finds no
room there is lost in a thread of the worker: its reader waits for ever. Here the tensors of a result cross in a memory
file that only the machine's or the job's memory limits, every error of a worker reaches the reader, and a worker that
dies is noticed at once.
"""

from __future__ import annotations

import math
import mmap
import os
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import recv_handle, send_handle
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from cirn_dist.data.workers.processes import begin_worker, start_method
from cirn_dist.errors import CirnError, DataError

Result = TypeVar("Result", covariant=True)
_SHM = Path("/dev/shm")
_MEMFD = hasattr(os, "memfd_create")  # Linux, in a Python that was built for it
_ALIGNED = 64


class Source(Protocol[Result]):
    """What is read; picklable, so that any worker process may hold it."""

    def __len__(self) -> int:
        """Return how many results there are."""
        ...

    def items(self) -> Iterator[Any]:
        """Return what `read` is called with, in order."""
        ...

    def read(self, item: Any) -> Result:
        """Return one result: dictionaries, tensors and what else pickles."""
        ...


class Feed(Generic[Result]):
    """The results of a source, in order; a context manager that leaves no process behind.

    Args:
        workers: processes; with 0 the results are made in this one, when they are asked for.
        ahead: results a worker makes before its first is taken.
        context: how processes are started; as `start_method` says by default.
        setting: what the number of workers is called where it is set.

    Raises:
        DataError: here, a process cannot be started; while iterating, a worker died, or found no memory or no file.
        CirnError: while iterating, what `read` raised.
    """

    def __init__(
        self,
        source: Source[Result],
        workers: int,
        *,
        ahead: int = 4,
        context: BaseContext | None = None,
        setting: str = "data.workers",
    ) -> None:
        self._source, self._setting, self._taken = source, setting, 0
        self._items = source.items()
        self._workers: list[tuple[Connection, BaseProcess]] = []
        context = (context or start_method()) if workers else None
        try:
            for worker in range(min(workers, len(source))):
                assert context is not None
                ours, theirs = context.Pipe()
                arguments = (theirs, source, worker, workers, ahead, setting)
                process = context.Process(target=_work, args=arguments, name=f"loader-{worker}", daemon=True)  # type: ignore[attr-defined]
                process.start()
                theirs.close()  # no worker started later holds it open
                self._workers.append((ours, process))
        except OSError as error:  # too many processes or open files, no room for a semaphore
            self.close()
            raise DataError(
                f"a loader process cannot be started: {os.strerror(error.errno or 0)}",
                where=setting,
                fix="set it lower",
            ) from error

    def __enter__(self) -> Feed[Result]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._source)

    def __iter__(self) -> Iterator[Result]:
        return self

    def ready(self, seconds: float) -> bool:
        """Wait at most so long for the next result; whether it is there, or what has become of it."""
        if not self._workers or self._taken == len(self):
            return True
        pipe, process = self._workers[self._taken % len(self._workers)]
        return bool(wait([pipe, process.sentinel], seconds))

    def __next__(self) -> Result:
        if self._taken == len(self):
            self.close()
            raise StopIteration
        found = self._receive() if self._workers else _outcome(self._source, next(self._items))
        self._taken += 1
        if isinstance(found, CirnError):
            self.close()
            raise found
        return found

    def close(self) -> None:
        """End the workers, whatever they are at: they only read."""
        workers, self._workers = self.__dict__.get("_workers", []), []
        for pipe, process in workers:
            process.kill()
            pipe.close()
        for _, process in workers:
            process.join(1)  # one that waits for a lost file system cannot be killed

    def _receive(self) -> Result | CirnError:
        pipe, process = self._workers[self._taken % len(self._workers)]
        wait([pipe, process.sentinel])
        try:
            if not pipe.poll():
                raise EOFError
            tree, size = pipe.recv()
            memory = _mapped(recv_handle(pipe), size) if size else None
            pipe.send_bytes(b"\0")  # one more may be made
        except BrokenPipeError:  # it has made its last
            pass
        except (EOFError, ConnectionError):
            process.join(5)
            raise self._ended(process) from None
        result: Result | CirnError = _unparked(tree, memory)
        return result

    def _ended(self, process: BaseProcess) -> DataError:
        """Return the error of a worker that died; what it may have written of it stands above."""
        code = process.exitcode
        if code is None or code >= 0:
            what = f"a loader process ended with exit code {code}"
            return DataError(what, where=self._setting, fix="what it wrote is above; with 0 it is this process's error")
        name = signal.Signals(-code).name
        advice = {
            "SIGKILL": "by the out-of-memory killer as a rule: set it lower, or give the job more memory",
            "SIGBUS": f"no memory was left for it{_shm_space()}, or a file it read was cut short: set it lower",
        }
        fix = advice.get(name, "with 0 it is this process's error")
        return DataError(f"a loader process was ended by {name}", where=self._setting, fix=fix)


def _work(pipe: Connection, source: Source[Any], worker: int, workers: int, ahead: int, setting: str) -> None:
    """Send every workers-th result, `ahead` of them unasked."""
    begin_worker()
    try:
        for made, item in enumerate(islice(source.items(), worker, None, workers)):
            if made >= ahead:
                pipe.recv_bytes()
            _send(pipe, _outcome(source, item), setting)
    except (EOFError, ConnectionError):
        return  # nobody reads any more


def _outcome(source: Source[Result], item: Any) -> Result | CirnError:
    try:
        return source.read(item)
    except CirnError as error:
        return error
    except OSError as error:
        return DataError(f"cannot be read: {error.strerror}", where=error.filename or "a file of the shard sets")


def _send(pipe: Connection, result: Any, setting: str) -> None:
    tensors: list[tuple[Tensor, _Place]] = []
    tree = _parked(result, tensors)
    size = _end(tensors[-1][1]) if tensors else 0
    if not size:
        pipe.send((tree, 0))
        return
    try:
        file = _memory(size)
    except OSError as error:
        pipe.send((_no_room(error, size, setting), 0))
        return
    try:
        memory = mmap.mmap(file, size)
        for tensor, place in tensors:
            _view(memory, place).copy_(tensor)
        pipe.send((tree, size))
        send_handle(pipe, file, None)
    finally:
        os.close(file)


def _memory(size: int) -> int:
    """Return a file of so many bytes in memory, without a name; all its memory is had now or not at all."""
    if _MEMFD:
        file = os.memfd_create("cirn-dist", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile(dir=_SHM if _SHM.is_dir() else None) as named:
            file = os.dup(named.fileno())
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file, 0, size)
        else:
            os.ftruncate(file, size)
    except OSError:
        os.close(file)
        raise
    return file


def _no_room(error: OSError, size: int, setting: str) -> DataError:
    what = f"{os.strerror(error.errno or 0)}: no room for {size / 2**20:.1f} MiB from a loader process"
    if _MEMFD:
        return DataError(what, where=setting, fix="set it lower, or give the job more memory or open files")
    fix = f"make it larger (docker run --shm-size=1g), or set {setting} lower; 0 needs none"
    return DataError(f"{what}{_shm_space()}", where=_SHM, fix=fix)


def _shm_space() -> str:
    try:
        facts = os.statvfs(_SHM)
    except OSError:
        return ""
    free, total = (blocks * facts.f_frsize / 2**20 for blocks in (facts.f_bavail, facts.f_blocks))
    return f" ({_SHM} has {free:.0f} of {total:.0f} MiB free)"


def _mapped(file: int, size: int) -> mmap.mmap:
    try:
        return mmap.mmap(file, size)
    finally:
        os.close(file)


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies in the memory file; its strides are kept."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int


def _end(place: _Place) -> int:
    size = math.prod(place.shape) * place.dtype.itemsize
    return place.offset + math.ceil(size / _ALIGNED) * _ALIGNED


def _parked(value: Any, tensors: list[tuple[Tensor, _Place]]) -> Any:
    """Return a tree of dictionaries with a place for every tensor, which is added to `tensors`."""
    if isinstance(value, dict):
        return {key: _parked(entry, tensors) for key, entry in value.items()}
    if not isinstance(value, Tensor) or not value.numel():
        return value
    strides = torch.empty_like(value, device="meta").stride()  # as they are, where no gaps are in between
    place = _Place(value.dtype, tuple(value.shape), strides, _end(tensors[-1][1]) if tensors else 0)
    tensors.append((value, place))
    return place


def _unparked(value: Any, memory: mmap.mmap | None) -> Any:
    if isinstance(value, dict):
        return {key: _unparked(entry, memory) for key, entry in value.items()}
    return _view(memory, value) if isinstance(value, _Place) and memory is not None else value


def _view(memory: mmap.mmap, place: _Place) -> Tensor:
    flat = torch.frombuffer(memory, dtype=place.dtype, count=math.prod(place.shape), offset=place.offset)
    return flat.as_strided(place.shape, place.strides)
