"""The formats of what is kept on disk; one that a later version wrote is named as such, never read as damaged.

A number goes up where an older version would read something wrongly; what is only added keeps it. Folders and files
of before there were numbers have none, and are read.
"""

from __future__ import annotations

from pathlib import Path

from cirn_dist.errors import CirnError

RUN, CHECKPOINT, SHARDS, NETWORK = "cirn-run/1", "cirn-checkpoint/1", "cirn-shards/1", "network/1"


def is_format(found: object, ours: str, where: Path, kind: type[CirnError]) -> bool:
    """Whether `found` is the format `ours`, of this version's number or an earlier one; None is none.

    Args:
        where: whose format it is.
        kind: of the error.

    Raises:
        CirnError: it is that format, of a later version.
    """
    name, _, number = ours.partition("/")
    if not isinstance(found, str) or not found.startswith(f"{name}/"):
        return False
    theirs = found.partition("/")[2]
    if theirs.isdecimal() and int(theirs) <= int(number):
        return True
    raise kind(
        f"was made by a later version: its format is {found}, this one reads {ours}",
        where=where, fix="install that version of cirn_dist, or a newer one",
    )  # fmt: skip
