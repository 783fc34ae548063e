"""Starting a run: the ranks, the folder, the configuration it was begun with, the display, the report at the end."""

from __future__ import annotations

import contextlib
import datetime
import sys
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

import cirn_dist
from cirn_dist.chain import stage_titles, stages
from cirn_dist.config.schema import Config, flatten
from cirn_dist.data.plan import Plan
from cirn_dist.data.run_sets.label_space import settled
from cirn_dist.display.progress import Progress
from cirn_dist.display.tables import results_table
from cirn_dist.display.trackers import require
from cirn_dist.engine.deepspeed import assert_usable
from cirn_dist.engine.environment import circumstances
from cirn_dist.engine.join import join
from cirn_dist.engine.placement import described, left_behind, read_notes
from cirn_dist.engine.replicas import assert_same_arithmetic, assert_same_facts
from cirn_dist.engine.run import Run
from cirn_dist.engine.runtime import WORK_TIMEOUT, Runtime, lost_contact
from cirn_dist.engine.stop import PREEMPTED, STOP, StopRequest
from cirn_dist.engine.watchdog import HANG
from cirn_dist.errors import TRY_AGAIN, CirnError, ConfigError, Stopped
from cirn_dist.files import replace_text, writing_into
from cirn_dist.inputs import check_inputs
from cirn_dist.pipeline import run_pipeline
from cirn_dist.report.html import write_report
from cirn_dist.rundir.lock import RunLock
from cirn_dist.rundir.made import Circumstances, Recorder
from cirn_dist.rundir.results import Results
from cirn_dist.rundir.settings import Claim, binding, clear_leftovers
from cirn_dist.rundir.standing import is_begun
from cirn_dist.schedule import OPTIMIZERS, lr_factor


def start(
    config: Config,
    out: Path,
    json_file: Path | None = None,
    *,
    until: str | None = None,
    deadline: float | None = None,
    allow: Sequence[str] = (),
) -> int:
    """Run the pipeline of a configuration in the folder `out`, on the ranks that this process is one of.

    Args:
        until: end after this stage; the last one unless given.
        deadline: save and end before this moment of `time.monotonic()`.
        allow: settings and data sets that may differ from those the folder was begun with.

    Returns:
        The exit code: 0 when finished or asked to stop, 130 after Ctrl-C, else the error's.
    """
    found = out.exists()
    # First of all, so that a signal finds its handler while ranks still look for each other.
    with StopRequest(out / STOP, deadline=deadline) as stop:
        engine = config.engine
        runtime = join(
            engine.precision,
            backbone=config.model.backbone,
            ranks=engine.ranks,
            folder=out,
            start_timeout=engine.start_timeout,
            backend=engine.backend,
            zero_stage=engine.zero_stage,
            deterministic=engine.deterministic,
            tf32=engine.tf32,
            time_reductions=engine.time_reductions,
        )
        with RunLock(out) as lock:
            code = _walk(config, out, json_file, runtime, stop, until, lock, allow)
        if code and not found:
            _leave_nothing(out, runtime)
        runtime.leave(code)
    return code


def _walk(
    config: Config,
    out: Path,
    json_file: Path | None,
    runtime: Runtime,
    stop: StopRequest,
    until: str | None,
    lock: RunLock,
    allow: Sequence[str],
) -> int:
    code, titles = 0, stage_titles(config)
    made_by = circumstances(config, runtime, allow)
    claim: Claim | None = None
    try:
        _assert_possible(config, out, runtime, until)
        config = runtime.on_main(lambda: settled(config))
        runtime.on_main(partial(_look, config, out, begun=False), timeout=WORK_TIMEOUT)
        claim = Claim(out, config, allow, _facts(config, made_by))
        runtime.on_main(partial(_take, claim, lock))
        runtime.on_main(partial(_look, config, out, begun=True), timeout=WORK_TIMEOUT)
        ended = runtime.on_main(lambda: left_behind(out / HANG))
        if ended and runtime.main:
            say(ended)
        runtime.watchdog.open()
        with writing_into(out):
            with Progress(titles, quiet=not runtime.main, notice=lambda: stop.notice) as progress:
                for change in claim.changes:
                    kept = f"; {', '.join(change.kept)} kept as made" if change.kept else ""
                    progress.print(f"{change} from here on{kept}")
                settings = binding(config.model_dump(mode="json"))
                recorder = Recorder(out, stages(config), settings, made_by, begin=claim.settle)
                results = run_pipeline(Run(config, out, runtime, progress, stop, lock, tuple(allow), recorder), until)
            if runtime.main:
                claim.settle()
                stop.file.unlink(missing_ok=True)
                _conclude(out, results, progress, json_file)
                if until not in (None, titles[-1][0]):
                    progress.print(f"{until} is done; start again without --until to go on")
    except Stopped as stopped:
        code = _stopped(out, stopped, runtime)
    except CirnError as error:
        code = error.exit_code
        if runtime.main and claim is not None:
            claim.withdraw()
        if runtime.main or not error.everywhere:
            say(error, runtime)
    except RuntimeError as error:  # a collective that failed: another rank hangs, or has said what happened
        reason = lost_contact(error)
        if reason is None:
            raise
        if stop:  # as asked; it could not wait for the others to agree
            return _stopped(out, stop.stopped(f"{reason}; what was saved is kept", str(out)).alone(), runtime)
        code = TRY_AGAIN
        runtime.watchdog.dump(f"{reason}\n{''.join(traceback.format_exception(error))}")
        notes = read_notes(out / HANG)
        where = f" ({described(notes)})" if len({note.number for note in notes}) > 1 else ""
        say(f"{reason}{where}; this one's stacks are in {runtime.watchdog.path}", runtime)
    except KeyboardInterrupt:
        code = 130
        say("interrupted; what was finished is kept, start again to continue", runtime)
    return code


def say(message: object, runtime: Runtime | None = None) -> None:
    """Print one line to standard error, from the rank it concerns."""
    rank = f"[rank {runtime.rank}] " if runtime is not None and not runtime.main else ""
    print(f"{rank}cirn-dist: {message}", file=sys.stderr, flush=True)


def _stopped(out: Path, stopped: Stopped, runtime: Runtime) -> int:
    """Say that the run was stopped, and mark it; returns the exit code.

    The marker tells a stopped run from a finished one. The request is taken away once all ranks have met it: where
    one leaves alone, its launcher may start them all again, and that start is to stop at once.
    """
    if runtime.main or not stopped.agreed:  # all ranks at once: one line is enough
        if stopped.exit_code in (0, TRY_AGAIN):
            with writing_into(out):
                replace_text(out / PREEMPTED, f"{stopped.reason}\n{stopped}\n")
        if stopped.agreed:
            (out / STOP).unlink(missing_ok=True)
        say(stopped, runtime)
    return stopped.exit_code


# What may differ between the machines of one run: where data lies, and how many loader processes suit them.
_LOCAL = ("data.source.raw", "data.target.raw", "data.target.score_raw", "data.workers")


def _assert_possible(config: Config, out: Path, runtime: Runtime, until: str | None) -> None:
    """Check, before anything is written, that all ranks were started alike, on like devices, divide a step, and have
    the backend.

    Raises:
        ConfigError: on all ranks.
    """
    settings = flatten(config.model_dump(mode="json"))
    facts = {key: value for key, value in settings.items() if key not in _LOCAL}
    facts |= {"--out": str(out), "--until": until, "cirn_dist": cirn_dist.__version__, "torch": torch.__version__}
    assert_same_facts(runtime, facts, "its start")
    assert_same_arithmetic(runtime, config)
    engine = config.engine
    try:
        Plan(engine.images_per_step, runtime.world, runtime.rank, engine.micro_batch)
        if runtime.backend == "deepspeed":
            assert_usable(runtime)
    except ConfigError as error:
        raise error.on_all_ranks() from None


def _look(config: Config, out: Path, *, begun: bool) -> None:
    """Check a run's inputs: before its folder is taken, or after what was begun there was compared."""
    if is_begun(out) == begun:
        check_inputs(config, out)


def _take(claim: Claim, lock: RunLock) -> None:
    """Take the folder for this process, and begin it, or check that it was begun with the same configuration.

    Raises:
        RunLocked: another process works in it.
        ConfigError: it was begun with another configuration; lists the keys that differ.
    """
    require(claim.config.engine.trackers)
    try:
        lock.acquire()
        clear_leftovers(claim.folder)
        claim.take()
        (claim.folder / PREEMPTED).unlink(missing_ok=True)
    except OSError as error:
        raise CirnError(
            f"cannot be written: {error.strerror}", where=claim.folder, fix="choose another folder"
        ) from None


def _leave_nothing(out: Path, runtime: Runtime) -> None:
    """Remove the folder, which was not there before, if nothing came into it; each rank tries, the last one can."""
    runtime.watchdog.close()
    for folder in (out / "data", out):
        with contextlib.suppress(OSError):  # it holds something, or is gone
            folder.rmdir()


def _facts(config: Config, made_by: Circumstances) -> dict[str, Any]:
    """Return what run.json says of the start that began the run."""
    rule, images = config.engine.lr_scaling, config.engine.images_per_step
    return {
        "name": config.name,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "ranks": made_by.ranks,
        "device": made_by.device,
        "precision": made_by.precision,
        "python": made_by.python,
        "torch": made_by.torch,
        "cirn_dist": made_by.version,
        "commit": made_by.commit,
        "images_per_step": images,
        "lr_scaling": rule,
        # what the batch-1 rates of the configuration are multiplied by
        "lr_factor": {optimizer: lr_factor(rule, optimizer, images) for optimizer in OPTIMIZERS},
    }


def _conclude(out: Path, results: Results, progress: Progress, json_file: Path | None) -> None:
    progress.print(results_table(results))
    if json_file is not None:
        replace_text(json_file, results.model_dump_json(indent=2))
    progress.print(f"report: {write_report(out)}")
