"""Taking a stage from another run of `share`'s folder, where all that makes it is the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from cirn_dist.engine.run import Run
from cirn_dist.engine.runtime import WORK_TIMEOUT
from cirn_dist.rundir.sharing import Wanted, find_set, take, taking_turns


@contextmanager
def sharing(run: Run, stage: str, data: Mapping[str, str]) -> Iterator[None]:
    """Give the run a training stage that another one has finished, or let it make the stage while others wait.

    Nothing happens without `share`, and where the stage was begun here.

    Args:
        data: stream -> fingerprint of its shard set.
    """
    runs, recorder = run.config.share, run.recorder
    if runs is None or recorder is None or run.latest(stage) is not None:
        yield
        return
    wanted = Wanted(stage, recorder.settings_of(stage), data, recorder.circumstances)
    told = ""

    def waiting(who: str) -> None:
        nonlocal told
        if who and who != told:
            run.progress.print(f"{stage}: another run makes the same stage ({who}); waiting for it")
            told = who
        if run.stop:
            raise run.stop.stopped("nothing was begun", f"waiting for {stage}")

    with ExitStack() as until_done:

        def come() -> str | None:
            found = until_done.enter_context(taking_turns(runs, run.folder, wanted, waiting))
            return None if found is None else str(found)

        found = run.runtime.on_main(come, timeout=WORK_TIMEOUT)
        if found is not None:
            run.progress.print(f"{stage}: taken from {found}, which has made the same")
        yield


def take_set(run: Run, stage: str, made: dict[str, str]) -> bool:
    """Give the run a derived set that another one has made of the same things; whether there is one. On rank 0."""
    runs, recorder = run.config.share, run.recorder
    if runs is None or recorder is None or (run.stage_folder(stage) / "shards").exists():
        return False
    found = find_set(runs, run.folder, stage, made, recorder.circumstances)
    if found is None:
        return False
    take(found, run.folder, stage)
    run.progress.print(f"{stage}: taken from {found}, which has made the same")
    return True
