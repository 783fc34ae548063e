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
    one_line,
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


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\x07\x9b31mb", "a\\x07\\x9b31mb"),
        ("a\nb\tc", "a b c"),
        ("a\u202eb", "a\\u202eb"),  # turns the writing direction round
        ("caf\udce9.png", "caf\\udce9.png"),  # a name that is no UTF-8
        ("straße 図.png", "straße 図.png"),
    ],
)
def test_a_files_name_cannot_command_the_terminal(name: str, shown: str) -> None:
    assert str(DataError("is damaged", where=name)) == f"{shown}: is damaged"
    assert one_line(name).isprintable()
    one_line(name).encode("utf-8")
