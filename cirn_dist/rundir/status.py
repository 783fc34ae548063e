"""How far a run is: which stages are finished, which one is on, and whether a process works in its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cirn_dist.chain import Stage, stages
from cirn_dist.checkpoint.folder import read_state, verify_sizes
from cirn_dist.checkpoint.store import Store
from cirn_dist.config.load import parse
from cirn_dist.config.recorded import recorded
from cirn_dist.data.shards.shardset import INDEX
from cirn_dist.rundir.lock import holder_of
from cirn_dist.rundir.metrics import FILE_NAME as METRICS
from cirn_dist.rundir.metrics import Metrics, read_metrics
from cirn_dist.rundir.settings import CONFIG, DATA, assert_run


@dataclass(frozen=True)
class Status:
    """How far a run is.

    Attributes:
        finished, all: stages.
        name, stage: name and title of the one that is on, or comes next; empty where all are finished.
        last: what it has logged last; None where it trains nothing or has logged nothing.
        iterations: that it will train; 0 where it trains nothing.
        works: the process that works in the folder, as "process 12 on host"; None where there is none.
    """

    finished: int
    all: int
    name: str = ""
    stage: str = ""
    last: Metrics | None = None
    iterations: int = 0
    works: str | None = None

    @property
    def iteration(self) -> int:
        """The iteration that it has logged last, 0 for none."""
        return 0 if self.last is None else self.last.iteration

    def __str__(self) -> str:
        if not self.stage:
            return f"finished: all {self.all} stages"
        done = f"{self.finished} of {self.all} stages finished"
        at = f", iteration {self.iteration:,} of {self.iterations:,}" if self.iteration else ""
        if self.works:
            return f"running ({self.works}): {self.stage}{at}; {done}"
        return f"stopped before its end, at: {self.stage}{at}; {done}; started again it goes on"


def status(run: Path) -> Status:
    """Look at a run's folder; nothing is written, and a run that is on is not disturbed.

    Raises:
        DataError: no run was begun there.
    """
    assert_run(run)
    chain = stages(parse(recorded(run / CONFIG), where=CONFIG))
    holder = holder_of(run)
    works = None if holder is None else f"process {holder.pid} on {holder.host}"
    left = [stage for stage in chain if not _finished(run, stage)]
    if not left:
        return Status(len(chain), len(chain), works=works)
    file = run / left[0].name / METRICS
    logged = read_metrics(file) if file.is_file() else []
    return Status(
        len(chain) - len(left),
        len(chain),
        left[0].name,
        left[0].title.strip(),
        logged[-1] if logged else None,
        left[0].iterations or 0,
        works,
    )


def _finished(run: Path, stage: Stage) -> bool:
    """Whether a stage is, as far as its files say without reading every byte of them."""
    if stage.name == "data":
        return (run / DATA).is_file()
    if stage.iterations is None:
        return (run / stage.name / "shards" / INDEX).is_file()
    newest = Store(run / stage.name / "checkpoints").paths()[:1]
    return bool(newest) and verify_sizes(newest[0]) is None and bool(read_state(newest[0])["finished"])
