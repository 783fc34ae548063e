"""How worker processes are started and how they end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext

import torch

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # what asks a run to stop
_PRELOADED = ("cirn_dist.data.workers.feed", "cirn_dist.data.loading.stream", "cirn_dist.data.pack.encode")


def start_method() -> BaseContext:
    """Return how this process starts others: as the platform does, or by a fork server once it holds a GPU.

    CUDA and NCCL run threads, whose locks a fork copies in whatever state they are: their documentation calls a fork
    undefined. The server is a fresh interpreter that has imported what workers need: it takes as long to start as
    importing torch does, once per process, and forks as fast as this process would.
    """
    holds_gpu: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return fork_server() if holds_gpu else multiprocessing.get_context()


def fork_server() -> BaseContext:
    """Start the fork server, unless it runs; returns the context that starts processes by it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_PRELOADED))
    # SLURM and launchers signal whole process groups, and neither the server nor the tracker of semaphores may end
    # before the run does. What is blocked here is blocked in them for good, from their first instruction on.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # it has unblocked what it blocked itself
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def begin_worker() -> None:
    """Leave the signals that stop a run to the process that started this one, and end with it.

    They go to whole process groups; it still needs this one until all ranks have agreed on the stop.
    """
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)  # after kill -9 no worker may linger
