"""The errors a user can cause or meet; each prints as one line: what, where, what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, Self


class CirnError(Exception):
    """An expected failure, shown to the user as one line instead of a traceback.

    Args:
        what: what is wrong, a sentence without its full stop.
        where: the file, folder, key or sample it concerns.
        fix: what to do about it.
    """

    exit_code = 1
    everywhere = False  # raised on all ranks alike: one of them prints it

    def __init__(self, what: str, *, where: str | Path | None = None, fix: str | None = None) -> None:
        self.what, self.where, self.fix = what, where, fix
        super().__init__(what, where, fix)

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross from loader workers and from rank to rank; the default cannot pass keywords.
        return partial(type(self), where=self.where, fix=self.fix), (self.what,)

    def on_all_ranks(self) -> Self:
        """Mark an error that every rank raises, so that it is printed once; returns it."""
        self.everywhere = True
        return self

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where is not None else ""
        advice = f"; {self.fix}" if self.fix else ""
        return one_line(f"{place}{self.what}{advice}")


def one_line(text: str) -> str:
    """Return a text that stays on its line, without secrets: names of files may hold commands to the terminal."""
    return masked("".join(char if char.isprintable() else _visible(char) for char in text))


_SECRET = re.compile(
    r"(?i)([\w.-]*(?:api_?key|access_?key|token|secret|passw(?:or)?d|credential)[\w.-]*['\"]?\s*[=:]\s*['\"]?)([^\s'\",;]+)"
)
_PASSWORD_IN_URL = re.compile(r"(\w+://)[^\s/@]+@")


def masked(text: str) -> str:
    """Return a text with the values of what is called a key, a token, a secret or a password as ***."""
    return _PASSWORD_IN_URL.sub(r"\1***@", _SECRET.sub(r"\1***", text))


def _visible(char: str) -> str:
    return " " if char in "\n\r\t" else char.encode("unicode_escape", "surrogatepass").decode("ascii")


def nearest(word: str, names: Iterable[str]) -> str:
    """Return the advice on a word that is none of `names`: the one it was probably meant to be, or all of them."""
    known = list(names)
    near = get_close_matches(word.lower(), known, n=1)
    return f"did you mean {near[0]}?" if near else f"one of: {', '.join(known)}"


class ConfigError(CirnError):
    """A configuration that cannot be used: unknown key, wrong type, out of bounds, contradiction."""

    exit_code = 2


class DataError(CirnError):
    """A folder, file or shard set that cannot be used."""


class CorruptSample(DataError):
    """One sample that cannot be read; training replaces and counts it, packing stops on it."""


class CheckpointError(CirnError):
    """A checkpoint that is missing, damaged, or of another network, label space or data set."""


INTERRUPT = "Ctrl-C"
TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: started again, the run goes on from its last checkpoint


class Stopped(CirnError):
    """The run was asked to stop and has saved; started again it continues. After Ctrl-C it exits 130, else 0.

    Args:
        reason: what asked for it: a signal's name, STOP, --max-minutes, or Ctrl-C.
    """

    def __init__(self, what: str, where: str, reason: str) -> None:
        super().__init__(f"{what} ({reason})", where=where, fix="start again to continue")
        self.said, self.reason, self.agreed = what, reason, True
        self.exit_code = 130 if reason == INTERRUPT else 0

    def alone(self) -> Self:
        """Mark a stop that the ranks could not agree on: this one leaves, by an exit code that a launcher ends the
        others for; returns it.
        """
        self.agreed, self.exit_code = False, self.exit_code or TRY_AGAIN
        return self

    def __reduce__(self) -> tuple[type[Stopped], tuple[str, str, str]]:
        return Stopped, (self.said, str(self.where), self.reason)


class TrainingError(CirnError):
    """A run that cannot go on: non-finite losses in a row, replicas that differ."""
