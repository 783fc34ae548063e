"""A run in this process, from its folder to its report; `train` is the way to it from Python."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

import cirn_dist
from cirn_dist.chain import stage_titles, stages
from cirn_dist.config.load import load
from cirn_dist.config.schema import Config, flatten
from cirn_dist.data.loading.plan import Plan
from cirn_dist.data.run_sets.label_space import settled
from cirn_dist.display.progress import Progress
from cirn_dist.display.tables import results_table
from cirn_dist.display.trackers import require
from cirn_dist.engine.deepspeed import assert_usable
from cirn_dist.engine.environment import circumstances
from cirn_dist.engine.join import join
from cirn_dist.engine.placement import left_behind
from cirn_dist.engine.replicas import assert_same_arithmetic, assert_same_facts
from cirn_dist.engine.run import Run
from cirn_dist.engine.runtime import WORK_TIMEOUT, Runtime
from cirn_dist.engine.stop import PREEMPTED, STOP, StopRequest
from cirn_dist.engine.watchdog import HANG
from cirn_dist.errors import TRY_AGAIN, CirnError, ConfigError, Stopped
from cirn_dist.files import replace_text, writing_into
from cirn_dist.formats import RUN
from cirn_dist.inputs import check_inputs
from cirn_dist.pipeline import run_pipeline
from cirn_dist.report.html import write_report
from cirn_dist.rundir.lock import RunLock
from cirn_dist.rundir.made import Circumstances, Recorder
from cirn_dist.rundir.results import Results
from cirn_dist.rundir.settings import Claim, binding, clear_leftovers
from cirn_dist.rundir.standing import is_begun
from cirn_dist.schedule import OPTIMIZERS, lr_factor


def train(
    config: Config | str | Path,
    overrides: Sequence[str] = (),
    out: str | Path | None = None,
    *,
    until: str | None = None,
    max_minutes: float | None = None,
    allow: Sequence[str] = (),
) -> Results:
    """Run a configuration's pipeline in this process, or continue it; returns the scores of its stages.

    It is what `cirn-dist run` does, on one process; several are started by a launcher and that command.

    Args:
        config: a configuration, its file, or the name of one that ships.
        overrides: settings as on the command line, `"source.lr=1e-3"`.
        out: the run's folder; `runs/NAME` by default.
        until: end after this stage; the last one unless given.
        max_minutes: save and end in time to be gone after so many minutes.
        allow: settings and data sets that may differ from those the folder was begun with.

    Raises:
        Stopped: asked to stop by a signal, a STOP file or `max_minutes`; the same call goes on from what was saved.
        CirnError: as the command says it in one line.
    """
    deadline = None if max_minutes is None else time.monotonic() + 60 * max_minutes
    if not isinstance(config, Config):
        config = load(str(config), overrides)
    elif overrides:
        raise ConfigError("a whole configuration takes no overrides", fix="give them to cirn_dist.config.load.load")
    out = Path("runs") / config.name if out is None else Path(out)
    with beginning(config, out, deadline) as (runtime, stop), leaving_no_trace(out, runtime), RunLock(out) as lock:
        return walk(config, out, runtime, stop, lock, until=until, allow=allow)


@contextlib.contextmanager
def beginning(config: Config, out: Path, deadline: float | None) -> Iterator[tuple[Runtime, StopRequest]]:
    """Meet the other ranks, with the signals that ask to stop caught from the first moment on."""
    with StopRequest(out / STOP, deadline=deadline) as stop:
        engine = config.engine
        yield (
            join(
                engine.precision,
                ranks=engine.ranks,
                folder=out,
                start_timeout=engine.start_timeout,
                backend=engine.backend,
                zero_stage=engine.zero_stage,
                deterministic=engine.deterministic,
                tf32=engine.tf32,
                compile_mode=engine.compile,
                time_reductions=engine.time_reductions,
            ),
            stop,
        )


@contextlib.contextmanager
def leaving_no_trace(out: Path, runtime: Runtime) -> Iterator[None]:
    """Remove the folder, if it was not there before and nothing came into it; each rank tries, the last one can."""
    found = out.exists()
    try:
        yield
    finally:
        runtime.watchdog.close()
        if not found:
            for folder in (out / "data", out):
                with contextlib.suppress(OSError):  # it holds something, or is gone
                    folder.rmdir()


def walk(
    config: Config,
    out: Path,
    runtime: Runtime,
    stop: StopRequest,
    lock: RunLock,
    *,
    json_file: Path | None = None,
    until: str | None = None,
    allow: Sequence[str] = (),
) -> Results:
    """Take the folder, walk the pipeline in it, and write the report; on all ranks.

    Raises:
        Stopped: asked to stop; the folder is marked with the reason.
        CirnError: another process works there, settings or data cannot be used, training cannot go on.
    """
    titles = stage_titles(config)
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
        runtime.watchdog.open()
        with writing_into(out):
            with Progress(titles, quiet=not runtime.main, notice=lambda: stop.notice) as progress:
                if ended:
                    progress.print(ended)
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
        return results
    except Stopped as stopped:
        mark_stopped(out, stopped, runtime)
        raise
    except CirnError:
        if runtime.main and claim is not None:
            claim.withdraw()
        raise


def mark_stopped(out: Path, stopped: Stopped, runtime: Runtime) -> None:
    """Leave a marker that tells a stopped run from a finished one, and take the request away.

    It is taken away once all ranks have met it: where one leaves alone, its launcher may start them all again, and
    that start is to stop at once.
    """
    if runtime.main or not stopped.agreed:
        if stopped.exit_code in (0, TRY_AGAIN):
            with writing_into(out):
                replace_text(out / PREEMPTED, f"{stopped.reason}\n{stopped}\n")
        if stopped.agreed:
            (out / STOP).unlink(missing_ok=True)


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


def _facts(config: Config, made_by: Circumstances) -> dict[str, Any]:
    """Return what run.json says of the start that began the run."""
    rule, images = config.engine.lr_scaling, config.engine.images_per_step
    return {
        "format": RUN,
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
