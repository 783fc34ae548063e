"""Errors are one line, and survive the way from another process."""

from __future__ import annotations

import pickle

import pytest

from cirn_dist.errors import (
    CheckpointError,
    CirnError,
    ConfigError,
    CorruptSample,
    DataError,
    Stopped,
    TrainingError,
    nearest,
)


@pytest.mark.parametrize("kind", [CirnError, ConfigError, DataError, CorruptSample, CheckpointError, TrainingError])
def test_an_error_is_the_same_in_another_process(kind: type[CirnError]) -> None:
    error = kind("is broken\nin two", where="/data/x", fix="mend it")
    assert str(error) == "/data/x: is broken in two; mend it"
    other = pickle.loads(pickle.dumps(error))
    assert type(other) is kind
    assert (str(other), other.exit_code) == (str(error), error.exit_code)


def test_a_stop_keeps_its_exit_code() -> None:
    for reason, code in (("Ctrl-C", 130), ("SIGTERM", 0)):
        other = pickle.loads(pickle.dumps(Stopped("stopped", "adapt", reason)))
        assert (other.exit_code, str(other)) == (code, f"adapt: stopped ({reason}); start again to continue")


def test_a_wrong_word_is_told_the_nearest_or_all() -> None:
    assert nearest("cycelgan", ("fda", "cyclegan")) == "did you mean cyclegan?"
    assert nearest("CIR", iter(("source", "cir"))) == "did you mean cir?"
    assert nearest("mars", ("fda", "cyclegan")) == "one of: fda, cyclegan"
