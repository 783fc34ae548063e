"""What a step is, how it is executed, and how a run is kept."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from cirn_dist.choices import AskedPrecision, Backend, CompileMode, LrScaling, TrackerName
from cirn_dist.config.groups.marks import Iterations, NotBinding
from cirn_dist.config.section import Section


class Engine(Section):
    """What a step is and how a run is kept."""

    images_per_step: int = Field(1, ge=1, description="B, the global batch: world x micro_batch x accumulation")
    micro_batch: NotBinding[int] = Field(1, ge=1, description="b, images in one forward pass of one rank")
    precision: NotBinding[AskedPrecision] = Field(
        "auto", description="auto goes by the hardware; fp64 is for comparing runs, not for training"
    )
    backend: NotBinding[Backend] = Field(
        "ddp", description="who sums gradients over ranks; exact: in integers, for the same bits on any number of ranks"
    )
    zero_stage: NotBinding[Literal[0, 1, 2]] = Field(
        1, description="of deepspeed: 1 shards optimizer state over ranks, 2 gradients too, 0 neither"
    )
    deterministic: NotBinding[bool] = Field(
        False,
        description="on GPUs: a resumed run has the bits of an undisturbed one, at some speed; on CPUs it always has",
    )
    tf32: NotBinding[bool] = Field(
        False,
        description="on GPUs since A100, of fp32 alone: convolutions round what they multiply to 10 bits, and are fast",
    )
    compile: NotBinding[CompileMode | None] = Field(
        None,
        description="torch.compile's mode for networks in training, with ddp; reduce-overhead replays CUDA graphs",
    )
    lr_scaling: LrScaling = "auto"
    lr_warmup: float = Field(
        0.05, ge=0, le=1, description="share of a stage in which a scaled rate grows from batch 1's; no effect unscaled"
    )
    checkpoint_every: NotBinding[Iterations] = Field(2000, ge=1, description="images between checkpoints")
    keep: NotBinding[int] = Field(2, ge=2, description="newest checkpoints kept")
    keep_every: NotBinding[Iterations] = Field(
        0, ge=0, description="images between checkpoints kept for good; 0 is none"
    )
    log_every: NotBinding[Iterations] = Field(100, ge=1, description="images between lines of metrics.jsonl")
    max_nonfinite: NotBinding[int] = Field(10, ge=1, description="skipped steps in a row before the run ends")
    time_reductions: NotBinding[bool] = Field(False, description="log what the gradients' all-reduces cost; with ddp")
    trackers: NotBinding[tuple[TrackerName, ...]] = Field((), description="beside metrics.jsonl")
    ranks: NotBinding[int | None] = Field(
        None, ge=1, description="how many there must be; null takes the launcher's word"
    )
    start_timeout: NotBinding[float] = Field(
        1800, gt=0, le=10**7, description="seconds a rank waits for the others outside a step"
    )
    step_timeout: NotBinding[float] = Field(600, ge=0, le=10**7, description="seconds a step may take; 0 is no limit")
    check_replicas_every: NotBinding[Iterations] = Field(
        1000, ge=0, description="images between comparisons over ranks; 0: never"
    )

    @model_validator(mode="after")
    def _compiled_by_ddp_alone(self) -> Engine:
        if self.compile is not None and self.backend != "ddp":
            raise ValueError(f"compile is for backend ddp: set it to null, or change backend {self.backend}")
        return self

    @field_validator("zero_stage", mode="before")
    @classmethod
    def _parameters_stay_whole(cls, stage: object) -> object:
        if stage == 3:
            raise ValueError("3 shards the parameters, which others' passes and evaluation need whole: 0, 1 or 2")
        return stage
