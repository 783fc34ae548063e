"""The training loop of every stage."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch

from cirn_dist.data.loading.stream import Plan, Stream, loader
from cirn_dist.display.progress import place
from cirn_dist.engine.meter import Meter, passed_multiple_of
from cirn_dist.engine.players import Player
from cirn_dist.engine.replicas import assert_replicas_equal
from cirn_dist.engine.run import Run
from cirn_dist.engine.saving import Memory, Saver, Validated
from cirn_dist.engine.step import Batch, Pass, Passes, StepResult, train_step
from cirn_dist.engine.upload import Uploads
from cirn_dist.errors import ConfigError
from cirn_dist.seeds import derive


@dataclass
class Training:
    """What a stage hands to the loop.

    Attributes:
        name: the stage's folder.
        turns: of each pass of a step, the player it trains.
        passes: a micro-batch's passes, in the order of `turns`.
        memory: component of the checkpoint -> state beyond networks and optimizers.
        after_step: called once per optimizer step with the number of steps done and what the step reported; where an
            average of the weights follows them. On all ranks.
        parents: stage -> path of the checkpoint it starts from, for the record.
        validate: called with the iteration every `evaluate.every` iterations, on all ranks.
    """

    name: str
    iterations: int
    players: Mapping[str, Player]
    turns: Sequence[str]
    passes: Passes
    streams: Mapping[str, Stream]
    memory: Mapping[str, Memory] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    validate: Callable[[int], Validated] | None = None
    after_step: Callable[[int, StepResult], None] | None = None


def seeded(passes: Passes, seed: int, stage: str) -> Passes:
    """Return passes in which torch's own draws, dropout's among them, follow from a micro-batch's first image.

    So they are the same on any number of ranks, and after a resume.
    """

    def walk(batch: Batch, iteration: int) -> Iterator[Pass]:
        first = min(part["k"].tolist()[0] for part in batch.values())
        torch.manual_seed(derive(seed, stage, first))
        yield from passes(batch, iteration)

    return walk


def fit(training: Training, run: Run) -> None:
    """Train a stage to its last iteration, from its newest checkpoint if it has one.

    Raises:
        Stopped: asked to stop; a checkpoint was saved.
        TrainingError: non-finite gradients in too many steps in a row, or replicas that differ.
    """
    engine, runtime = run.config.engine, run.runtime
    plan = Plan(engine.images_per_step, runtime.world, runtime.rank, engine.micro_batch)
    last_step = math.ceil(training.iterations / engine.images_per_step)
    data = {name: stream.shards.fingerprint for name, stream in training.streams.items()}
    saver = Saver(run, training.name, training.players, training.memory, data, training.parents)
    first_step = saver.resume()
    if first_step >= last_step:  # of a stage that has not finished, or it would not be here
        done = first_step * engine.images_per_step
        what = f"has trained for {done:,} iterations already, {training.iterations:,} are asked for"
        fix = f"give it more, or remove {run.stage_folder(training.name)} to train it again"
        raise ConfigError(what, where=training.name, fix=fix).on_all_ranks()
    run.work(first_step * engine.images_per_step)
    workers = run.config.data.workers
    batches = loader(training.streams, plan, first_step=first_step, last_step=last_step, workers=workers)
    passes = seeded(training.passes, run.config.seed, training.name)
    per_step = engine.images_per_step
    run.progress.start(training.name, training.iterations, done=first_step * per_step, per_step=per_step)
    with Meter(run, training.name, first_step) as meter, saver, Uploads(batches, run, training.name) as uploads:
        runtime.watchdog.note(f"{training.name}, before its first step")
        uploads.begin()
        for step in range(first_step, last_step):
            meter.begin()
            runtime.watchdog.note(f"{training.name}, step {step}")
            iteration = step * engine.images_per_step
            rates = {name: player.set_rate(iteration) for name, player in training.players.items()}
            micro_batches = uploads.of_step(plan.accumulation)
            result = train_step(
                training.players, training.turns, passes, micro_batches, iteration, runtime,
                stop=lambda: bool(run.stop) or saver.failed,
            )  # fmt: skip

            done = step + 1
            if training.after_step is not None:
                training.after_step(done, result)
            meter.add(done, result, rates, uploads.take_waited())
            reached = done * engine.images_per_step
            due_now = partial(passed_multiple_of, done, images_per_step=engine.images_per_step)
            last = result.stop or done == last_step
            saving = last or due_now(engine.checkpoint_every)
            if engine.check_replicas_every and (saving or due_now(engine.check_replicas_every)):
                assert_replicas_equal(training.players, runtime, f"{training.name}, iteration {reached}")
            runtime.allow(None)  # what is not a step may take longer
            found = Validated(None, best=False)
            if training.validate and due_now(run.config.evaluate.every):
                found = training.validate(reached)
            if saving or found.best:
                saver.save(done, finished=done == last_step, score=found.score, wait=last)
            if result.stop:
                raise run.stopped(f"stopped at {place(reached, per_step)} and saved", training.name)
            runtime.allow(engine.step_timeout if done < last_step else None)
