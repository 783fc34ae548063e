"""What a run was begun with, settings and data, and whether a later start may go on with something else."""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cirn_dist.chain import stages
from cirn_dist.checkpoint.store import UNFINISHED
from cirn_dist.config.load import parse
from cirn_dist.config.recorded import dump, followed, recorded
from cirn_dist.config.schema import Config, flatten, marked, within
from cirn_dist.errors import ConfigError, DataError
from cirn_dist.files import PARTIAL, atomic, digest, read_json, write_json, writing_into
from cirn_dist.rundir.made import FILE_NAME as MADE
from cirn_dist.rundir.standing import Standing, Verdict, is_begun

CONFIG, DATA, CHANGES, FACTS = "config.yaml", "data.json", "changes.jsonl", "run.json"

NOT_BINDING = frozenset(marked("not binding"))


def assert_run(folder: Path) -> None:
    """Check that a run was begun in a folder.

    Raises:
        DataError: none was.
    """
    if not (folder / CONFIG).is_file():
        raise DataError("no run was begun here", where=folder, fix="give the folder of a run")


def binding(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that results depend on, {dotted key: value}."""
    return {key: value for key, value in flatten(dict(settings)).items() if key not in NOT_BINDING}


def config_fingerprint(config: Config) -> str:
    """Return the sha256 of the settings that results depend on."""
    return digest(binding(config.model_dump(mode="json")))


class Claim:
    """A run's folder, taken for a configuration.

    `take` compares it with what the folder was begun with, `settle` writes what differs once a stage works with it, and
    `withdraw` leaves the folder as it was found.

    Args:
        allow: settings, or groups of them, that may differ.
        facts: of run.json.
    """

    def __init__(self, folder: Path, config: Config, allow: Sequence[str] = (), facts: Mapping[str, Any] = {}) -> None:
        self.folder, self.config, self.allow, self.facts = folder, config, tuple(allow), facts
        self.changes: list[Change] = []
        self._began = False

    def take(self) -> None:
        """Begin a folder in which nothing was trained yet, or check that it was begun with the same configuration.

        Raises:
            ConfigError: it was begun with another; lists what changed, and what no stage would see.
        """
        saved, now = self.folder / CONFIG, binding(self.config.model_dump(mode="json"))
        before = followed(binding(_settings(saved)), now) if saved.is_file() else None
        if before is not None and is_begun(self.folder):
            standing = Standing(self.folder, stages(self.config))
            self.changes = assert_unchanged("another configuration", self.folder, before, now, self.allow, standing)
            return
        self._began = before is None
        if before != now:
            self._write()
            with atomic(self.folder / FACTS) as file:
                file.write(json.dumps(self.facts, indent=1).encode())

    def settle(self) -> None:
        """Make the configuration the run's, and write what changed to changes.jsonl; once."""
        if self.changes:
            self._write()
            record(self.folder, self.changes)
        self.changes = []

    def withdraw(self) -> None:
        """Take back what `take` wrote, where this start began the folder and no stage has worked in it."""
        if self._began and not any(self.folder.glob(f"*/{MADE}")) and not is_begun(self.folder):
            for name in (CONFIG, FACTS, DATA):
                (self.folder / name).unlink(missing_ok=True)

    def _write(self) -> None:
        with atomic(self.folder / CONFIG) as file:
            file.write(dump(self.config, self.folder).encode())


def _settings(saved: Path) -> dict[str, Any]:
    """Read the settings a folder was begun with; one that did not exist then has its default."""
    tree = recorded(saved)
    try:
        return parse(tree, where=saved).model_dump(mode="json")
    except ConfigError:  # of a version with other settings: the comparison names them
        return tree


def claim_data(folder: Path, fingerprints: Mapping[str, str], config: Config, allow: Sequence[str] = ()) -> None:
    """Remember the shard sets a run is begun with, or check that they are still the same once something was trained.

    Args:
        fingerprints: {"data.source": fingerprint, ...}.

    Raises:
        ConfigError: a set is another one.
    """
    saved = folder / DATA
    if saved.is_file() and is_begun(folder):
        standing = Standing(folder, stages(config))
        changes = assert_unchanged("other data", folder, read_json(saved), fingerprints, allow, standing)
        if not changes:
            return
        record(folder, changes)
    write_json(saved, dict(fingerprints))


def clear_leftovers(folder: Path) -> None:
    """Remove what killed processes left half-written or half-deleted; only for who holds the folder's lock."""
    for path in folder.rglob(".*"):
        if path.name.startswith(UNFINISHED):
            shutil.rmtree(path, ignore_errors=True)
        elif path.name.endswith(PARTIAL):
            path.unlink(missing_ok=True)


class Change(BaseModel):
    """A line of changes.jsonl: a setting or data set that differs from what was before, and was allowed to.

    Attributes:
        kept: finished stages that depend on it, and were made with another value.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="ignore")

    time: str
    key: str
    was: Any = None
    now: Any = Field(None, alias="is")
    kept: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.key} was {_brief(self.was)}, is {_brief(self.now)}"


def assert_unchanged(
    what: str,
    where: Path,
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    allow: Sequence[str],
    standing: Standing | None = None,
    fix: str = "choose a new folder",
) -> list[Change]:
    """Compare old and new values; return the changes that are allowed, raise on any other.

    Args:
        what: that it was begun with, for the message.
        allow: keys, or groups of keys (`adapt` allows every `adapt.` key).
        standing: of the run's stages; a change that none of them would see is refused even where it is allowed.
        fix: what to do instead of allowing it.

    Raises:
        ConfigError: something else differs; says how it was and how it is.
    """
    changed = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    verdicts = {key: standing.verdict(key, before.get(key)) if standing else Verdict() for key in changed}
    unseen = [key for key in changed if verdicts[key].refused]
    refused = [key for key in changed if key in unseen or not within(key, allow)]
    if refused:
        told = []
        for key in refused:
            why = f" ({verdicts[key].refused})" if key in unseen else ""
            told.append(f"{key} was {_brief(before.get(key))}, is {_brief(now.get(key))}{why}")
        remedies = list(dict.fromkeys(text for key in unseen if (text := verdicts[key].remedy)))
        insist = [f"insist: {' '.join(f'--allow {key}' for key in refused)}"] if not unseen else []
        fixes = [fix, *remedies, *(insist or [f"leave {', '.join(unseen)} as it was"])]
        raise ConfigError(f"begun with {what}: {', '.join(told)}", where=where, fix=", or ".join(fixes))
    time = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return [
        Change(time=time, key=key, was=before.get(key), now=now.get(key), kept=verdicts[key].kept) for key in changed
    ]


def record(run: Path, changes: Sequence[Change]) -> None:
    """Add changes to a run's changes.jsonl.

    Raises:
        DataError: it cannot be written.
    """
    with writing_into(run), (run / CHANGES).open("a", encoding="utf-8") as file:
        file.writelines(f"{change.model_dump_json(by_alias=True)}\n" for change in changes)


def read_changes(run: Path) -> list[Change]:
    """Return what a run's changes.jsonl says, in order; a line cut off by a kill is passed over."""
    path, found = run / CHANGES, []
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        try:
            found.append(Change.model_validate_json(line))
        except ValidationError:
            continue
    return found


def _brief(value: Any) -> str:
    """Show a value; of a fingerprint its first digits."""
    text = repr(value)
    return f"{text[1:13]}..." if isinstance(value, str) and len(value) == 64 else text
