"""One run, one process: a lock on the run's folder that says who holds it, and that the dead do not hold.

It is a file `.lock-NNNNNN` with the holder's host, process and start time, made by link(2), which is atomic on NFS
too. A lock whose holder is dead is not removed but surpassed: the next number can be linked only once, so of several
processes that find the same stale lock one wins. On the holder's own machine its process is looked up; from another
machine its heartbeat is watched. No two clocks are ever compared.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from cirn_dist.errors import CirnError
from cirn_dist.files import beside, writing_into

log = logging.getLogger(__name__)

HEARTBEAT = 10.0  # seconds between signs of life
PATIENCE = 45.0  # seconds without one after which a holder on another machine counts as dead
_PREFIX = ".lock-"
_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP)  # file systems without hard links


class RunLocked(CirnError):
    """Another process is working in the run's folder, or has taken it over."""

    exit_code = 3


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        machine: names the boot and the process namespace: processes of the same machine see each other's ids.
        started: the process's start, in the kernel's ticks since boot; tells it from a later one of the same id.
    """

    host: str
    pid: int
    machine: str
    started: str

    @classmethod
    def me(cls) -> Holder:
        """Return this process."""
        return cls(socket.gethostname(), os.getpid(), _machine(), _started(os.getpid()) or "")

    def alive(self) -> bool | None:
        """Whether the process lives; None where it is on another machine and cannot be looked up."""
        if self.machine != _machine():
            return None
        return _started(self.pid) == self.started


class RunLock:
    """The right to write into a run's folder; a context manager that gives it back at the end, if it was acquired.

    Args:
        folder: made if missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path: Path | None = None
        self._released = threading.Event()

    def __enter__(self) -> RunLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock, or the place of a holder that is dead.

        Raises:
            RunLocked: another process holds it; says which, and where.
            DataError: the folder cannot be written.
        """
        with writing_into(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            mine = beside(self.folder / f"lock.{socket.gethostname()}")
            try:
                with mine.open("x", encoding="utf-8") as file:
                    json.dump(asdict(Holder.me()), file)
                while self._path is None:
                    self._path = self._try(mine)
            finally:
                mine.unlink(missing_ok=True)
        threading.Thread(target=self._beat, args=(self._path,), name="lock", daemon=True).start()

    @property
    def free(self) -> bool:
        """Whether nobody has it; one that is dead has it until it is surpassed."""
        return _newest(self.folder) is None

    def assert_held(self) -> None:
        """Check that the lock is still this process's: one that slept too long may have been surpassed.

        Raises:
            RunLocked: another process took over.
        """
        newest = _newest(self.folder)
        if self._path is None or newest != self._path:
            raise RunLocked("another process has taken this run over", where=self.folder, fix="leave it to that one")

    def release(self) -> None:
        """Give the lock back, if it is held."""
        self._released.set()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None

    def _try(self, mine: Path) -> Path | None:
        """Try to take the next number; None where someone was faster and it is worth another look."""
        newest = _newest(self.folder)
        if newest is not None:
            _assert_dead(newest, self.folder)
        number = _number(newest) + 1 if newest is not None else 1
        taken = self.folder / f"{_PREFIX}{number:06d}"
        if not _link(mine, taken):
            return None
        if _newest(self.folder) != taken:  # a higher number was taken while the stale one was being removed
            taken.unlink()
            return None
        for old in _locks(self.folder):
            if old != taken:
                old.unlink(missing_ok=True)
        return taken

    def _beat(self, path: Path) -> None:
        while not self._released.wait(HEARTBEAT):
            try:
                os.utime(path)
            except OSError:  # released, surpassed, or a file system away for a while: `assert_held` finds out
                continue


def _link(mine: Path, taken: Path) -> bool:
    """Make `taken` a copy of `mine` if there is none yet; whether it was made, by this call alone."""
    try:
        os.link(mine, taken)
    except FileExistsError:
        return _same(mine, taken)  # NFS may repeat a request that has succeeded
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        try:
            with taken.open("xb") as file:
                file.write(mine.read_bytes())
        except FileExistsError:
            return False
    return True


def _same(mine: Path, taken: Path) -> bool:
    try:
        return os.path.samestat(mine.stat(), taken.stat())
    except FileNotFoundError:
        return False


def _assert_dead(lock: Path, folder: Path) -> None:
    """Return if the lock's holder is dead or has gone.

    Raises:
        RunLocked: it lives.
    """
    try:
        holder = _read(lock)
    except FileNotFoundError:
        return
    except (ValueError, TypeError):
        raise RunLocked("its lock cannot be read", where=lock, fix="remove that file if no run is using it") from None
    alive = holder.alive()
    if alive is None:
        log.warning("%s is locked by process %d on %s; watching for a sign of life", folder, holder.pid, holder.host)
        alive = _beats(lock)
    if alive:
        raise RunLocked(
            f"process {holder.pid} on {holder.host} is working in it",
            where=folder,
            fix="wait for it or stop it, or choose another folder with --out",
        )
    log.warning("%s: its last process, %d on %s, ended without a word; going on", folder, holder.pid, holder.host)


def holder_of(folder: Path) -> Holder | None:
    """Return who works in a run's folder; None where nobody does, or whoever did is dead. Nothing is waited for."""
    newest = _newest(folder)
    try:
        holder = None if newest is None else _read(newest)
    except (FileNotFoundError, ValueError, TypeError):  # given back since, or being written
        return None
    return None if holder is None or holder.alive() is False else holder


def _read(lock: Path) -> Holder:
    return Holder(**json.loads(lock.read_text(encoding="utf-8")))


def _beats(lock: Path) -> bool:
    """Whether a lock shows a sign of life in the next `PATIENCE` seconds."""
    first, deadline = _stamp(lock), time.monotonic() + PATIENCE
    while first is not None and time.monotonic() < deadline:
        time.sleep(min(1.0, HEARTBEAT / 4))
        now = _stamp(lock)
        if now != first:
            return now is not None
    return False


def _stamp(lock: Path) -> int | None:
    try:
        with lock.open("rb") as file:  # NFS looks at a file's times again when it is opened
            return os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None


def _locks(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"{_PREFIX}*") if path.name.removeprefix(_PREFIX).isdigit())


def _newest(folder: Path) -> Path | None:
    return max(_locks(folder), key=_number, default=None)


def _number(lock: Path) -> int:
    return int(lock.name.removeprefix(_PREFIX))


def _machine() -> str:
    """Name this boot of this machine and its process namespace; the host's name where there is no /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> str | None:
    """Return when a process started, "?" where that is not known, None if there is none (or but its remains)."""
    try:
        state, *rest = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
        return None if state in "ZX" else rest[18]
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return "?"
    return "?"
