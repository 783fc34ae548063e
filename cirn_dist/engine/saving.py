"""How a stage's training is kept: saved in the background by rank 0, resumed by all ranks."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from cirn_dist.checkpoint.folder import MANIFEST, Checkpoint, Tensors
from cirn_dist.checkpoint.hostcopy import HostCopy
from cirn_dist.checkpoint.state import assert_classes, class_facts, load_component
from cirn_dist.display.checkpoints import saves_line
from cirn_dist.engine.players import Player
from cirn_dist.engine.run import Run
from cirn_dist.engine.shared_files import await_files
from cirn_dist.formats import CHECKPOINT
from cirn_dist.models.norm import average_running_stats
from cirn_dist.rundir.parents import origins, parent_records
from cirn_dist.rundir.saves import Save, append_save
from cirn_dist.rundir.settings import assert_unchanged, config_fingerprint, record


class Memory(Protocol):
    """State of a stage beyond networks and optimizers, kept whole on every rank's behalf."""

    def tensors(self) -> dict[str, Tensor]:
        """Return this rank's part of the state; each name is on one rank."""

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take this rank's part of the whole state."""


class Validated(NamedTuple):
    """A score on labelled target images in the course of training, and whether it is the best so far."""

    score: float | None
    best: bool


class Saver:
    """Saves and resumes one stage's training; a context manager that leaves no write unfinished.

    Training is delayed by the copy to host memory alone. One thread of rank 0 writes the copy while training goes on;
    it is waited for before the next save and at the end, on all ranks together, so that its error is everybody's.

    Args:
        stage: whose checkpoints.
        data: stream -> fingerprint of its shard set.
        parents: stage -> path of the checkpoint it starts from.
    """

    def __init__(
        self,
        run: Run,
        stage: str,
        players: Mapping[str, Player],
        memory: Mapping[str, Memory],
        data: Mapping[str, str],
        parents: Mapping[str, str],
    ) -> None:
        self.run, self.stage, self.players, self.memory = run, stage, players, memory
        self.data, self.parents = dict(data), dict(parents)
        self._record: dict[str, Any] = {}
        self.store = run.store(stage)
        self._copy = HostCopy()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[Save] | None = None
        self._saves: list[Save] = []

    def __enter__(self) -> Saver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.shutdown()  # waits for the thread
        if self._saves:
            self.run.progress.print(saves_line(self._saves))

    @property
    def failed(self) -> bool:
        """Whether the write under way has failed; the next `save` raises it on all ranks."""
        return self._pending is not None and self._pending.done() and self._pending.exception() is not None

    def resume(self) -> int:
        """Load the newest valid checkpoint of this stage, if there is one; returns the step to start with.

        Raises:
            ConfigError: it was trained on other data, or from other parents; says which.
        """
        checkpoint = self.run.runtime.on_main(self._newest)
        if checkpoint is None:
            return 0
        await_files(self.run.runtime, [checkpoint.path / MANIFEST])
        for name, player in self.players.items():
            for component, network in player.networks.items():
                load_component(network, checkpoint, component)
            player.load_optimizer_state(checkpoint.read(f"{name}.optimizer"))
            player.load_scaler_state(checkpoint.state["scalers"][name])
        for component in self.memory.keys() & set(checkpoint.components):  # an older version may not have kept all
            self.memory[component].load(checkpoint.read(component))
        return int(checkpoint.state["step"])

    def save(self, step: int, *, finished: bool, score: float | None = None, wait: bool = False) -> None:
        """Save every component, optimizer, scaler and memory as one checkpoint; called on all ranks.

        Args:
            score: the target metric at this step, if it was measured.
            wait: return only when it is on the disk.

        Raises:
            CheckpointError: this save (with `wait`) or the one before it could not be written; on all ranks.
        """
        began = time.perf_counter()
        self.wait()
        free = time.perf_counter()
        for player in self.players.values():
            for network in player.networks.values():
                average_running_stats(network)
        memory = {name: self.run.runtime.tensors_on_main(one.tensors()) for name, one in self.memory.items()}
        components = self._components(memory)  # on all ranks: each may hold a part of an optimizer
        if self.run.runtime.main:
            state = self._state(step, finished, score)
            copied = self._copy.take(components)
            stalled = time.perf_counter() - free
            self._pending = self._writer.submit(self._write, step, copied, state, free - began, stalled)
        if wait:
            self.wait()

    def wait(self) -> None:
        """Wait for the write under way.

        Raises:
            CheckpointError: it failed; on all ranks.
        """
        self.run.runtime.on_main(self._join)

    def _join(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            save = pending.result()
            self._saves.append(save)
            self.run.stop.took(save.stalled_ms / 1000 + save.written_s)

    def _write(
        self, step: int, components: Mapping[str, Tensors], state: dict[str, Any], waited: float, stalled: float
    ) -> Save:
        """Write one checkpoint, and report it once it is in its place; runs in the thread."""
        copied = self._copy.wait()
        began = time.perf_counter()
        if self.run.lock is not None:
            self.run.lock.assert_held()
        saved = self.store.save(step, components, state)
        save = Save(
            step=step,
            iteration=state["iteration"],
            waited_ms=1000 * waited,
            stalled_ms=1000 * max(stalled, copied),
            written_s=time.perf_counter() - began,
            bytes=saved.bytes,
        )
        append_save(self.run.stage_folder(self.stage), save)
        if self.run.recorder is not None:
            self.run.recorder.reached(save.iteration)
        return save

    def _components(self, memory: Mapping[str, Tensors | None]) -> dict[str, Tensors]:
        components: dict[str, Tensors] = {}
        for name, player in self.players.items():
            components |= {component: network.state_dict() for component, network in player.networks.items()}
            components[f"{name}.optimizer"] = player.optimizer_state()
        return components | {name: tensors for name, tensors in memory.items() if tensors is not None}

    def _state(self, step: int, finished: bool, score: float | None) -> dict[str, Any]:
        """Return what `state.json` says; nothing of it depends on how often the run was interrupted."""
        state = {
            "format": CHECKPOINT,
            "stage": self.stage,
            "step": step,
            "iteration": step * self.run.config.engine.images_per_step,
            "finished": finished,
            **class_facts(self.run.labels),
            **self._record,
            "scalers": {name: player.scaler_state() for name, player in self.players.items()},
            "world": self.run.runtime.world,
            "versions": {"torch": torch.__version__},
        }
        return state if score is None else state | {"score": score}

    def _newest(self) -> Checkpoint | None:
        """Find the checkpoint to go on from, and check that it has the same origins."""
        self._record = {
            "data": self.data,
            "parents": parent_records(self.run.folder, self.parents),
            "config": config_fingerprint(self.run.config),
        }
        checkpoint = self.store.latest()
        if checkpoint is not None:
            assert_classes(checkpoint, self.run.labels)
            before, now = origins(checkpoint.state), origins(self._record)
            changes = assert_unchanged("other data or parents", checkpoint.path, before, now, self.run.allow)
            if changes:
                record(self.run.folder, changes)
        return checkpoint
