"""What a run was begun with, settings and data, and whether a later start may go on with something else."""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cirn_dist.checkpoint.store import UNFINISHED
from cirn_dist.config import Config, flatten
from cirn_dist.configfile import dump, parse
from cirn_dist.data.files import PARTIAL, atomic, digest, read_json, write_json, writing_into
from cirn_dist.errors import ConfigError
from cirn_dist.yamlfile import read_mapping

CONFIG, DATA, CHANGES = "config.yaml", "data.json", "changes.jsonl"

# How a run is executed, not what it computes: these may change between starts.
FREE = frozenset([
    "data.workers", "data.max_bad", "data.source.raw", "data.target.raw",
    "engine.precision", "engine.micro_batch", "engine.keep", "engine.keep_every", "engine.checkpoint_every",
    "engine.log_every", "engine.trackers", "engine.check_replicas_every", "engine.max_nonfinite",
    "engine.ranks", "engine.start_timeout", "engine.step_timeout",
    "engine.backend", "engine.zero_stage", "engine.time_reductions",
    "translate.checkpoint_activations", "translate.panel_every", "translate.quality_images",
    "render.batch", "render.precision", "evaluate.batch", "evaluate.panels",
])  # fmt: skip


def binding(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that results depend on, {dotted key: value}."""
    return {key: value for key, value in flatten(dict(settings)).items() if key not in FREE}


def config_fingerprint(config: Config) -> str:
    """Return the sha256 of the settings that results depend on."""
    return digest(binding(config.model_dump(mode="json")))


def claim_settings(folder: Path, config: Config, allow: Sequence[str] = ()) -> None:
    """Begin a folder with a configuration, or check that it was begun with the same.

    Raises:
        ConfigError: it was begun with another; lists what changed.
    """
    saved = folder / CONFIG
    if saved.is_file():
        before = binding(_settings(saved))
        now = binding(config.model_dump(mode="json"))
        if not agree("another configuration", folder, before, now, allow):
            return
    with atomic(saved) as file:
        file.write(dump(config).encode())


def _settings(saved: Path) -> dict[str, Any]:
    """Read the settings a folder was begun with; one that did not exist then has its default."""
    tree = read_mapping(saved)
    try:
        return parse(tree, where=saved).model_dump(mode="json")
    except ConfigError:  # of a version with other settings: the comparison names them
        return tree


def claim_data(folder: Path, fingerprints: Mapping[str, str], allow: Sequence[str] = ()) -> None:
    """Remember the shard sets a run is begun with, or check that they are still the same.

    Args:
        fingerprints: {"data.source": fingerprint, ...}.

    Raises:
        ConfigError: a set is another one.
    """
    saved = folder / DATA
    if saved.is_file() and not agree("other data", folder, read_json(saved), fingerprints, allow):
        return
    write_json(saved, dict(fingerprints))


def clear_leftovers(folder: Path) -> None:
    """Remove what killed processes left half-written or half-deleted; only for who holds the folder's lock."""
    for path in folder.rglob(".*"):
        if path.name.startswith(UNFINISHED):
            shutil.rmtree(path, ignore_errors=True)
        elif path.name.endswith(PARTIAL):
            path.unlink(missing_ok=True)


def agree(
    what: str,
    where: Path,
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    allow: Sequence[str],
    run: Path | None = None,
) -> list[str]:
    """Compare what was with what is; returns the keys that differ and may, and writes them to changes.jsonl.

    Args:
        allow: keys, or groups of keys (`adapt` allows every `adapt.` key).
        run: the run's folder; `where` by default.

    Raises:
        ConfigError: something else differs; says how it was and how it is.
    """
    changed = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    refused = [key for key in changed if not _allowed(key, allow)]
    if refused:
        diff = ", ".join(f"{key} was {_brief(before.get(key))}, is {_brief(now.get(key))}" for key in refused)
        options = " ".join(f"--allow {key}" for key in refused)
        raise ConfigError(f"begun with {what}: {diff}", where=where, fix=f"choose a new folder, or insist: {options}")
    time = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    lines = [json.dumps({"time": time, "key": key, "was": before.get(key), "is": now.get(key)}) for key in changed]
    if lines:
        with writing_into(where), ((run or where) / CHANGES).open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
    return changed


def _allowed(key: str, allow: Sequence[str]) -> bool:
    return any(key == one or key.startswith(f"{one}.") for one in allow)


def _brief(value: Any) -> str:
    """Show a value; of a fingerprint its first digits."""
    text = repr(value)
    return f"{text[1:13]}..." if isinstance(value, str) and len(value) == 64 else text
