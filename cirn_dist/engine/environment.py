"""How a start is executed: its command line, the code, the ranks and the device."""

from __future__ import annotations

import hashlib
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch

import cirn_dist
from cirn_dist.config.schema import Config
from cirn_dist.engine.runtime import Runtime
from cirn_dist.errors import masked
from cirn_dist.rundir.made import Circumstances


def circumstances(config: Config, runtime: Runtime, allow: Sequence[str] = ()) -> Circumstances:
    """Return how this process is executed; `allow` is what may differ from what its folder was begun with."""
    on_gpu = runtime.device.type == "cuda"
    return Circumstances(
        command=masked(command(sys.argv)),
        version=cirn_dist.__version__,
        commit=commit(Path(cirn_dist.__file__).parents[1]),
        code=code(Path(cirn_dist.__file__).parent),
        python=platform.python_version(),
        torch=torch.__version__,
        ranks=runtime.world,
        device=torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} threads",
        precision=runtime.precision,
        backend=runtime.backend,
        micro_batch=config.engine.micro_batch,
        allow=tuple(allow),
    )


def command(words: Sequence[str]) -> str:
    """Return a process's words as one would type them; `python -m cirn_dist` is `cirn-dist`."""
    name, *rest = words or [""]
    program = Path(name)
    own = program.name in ("cirn-dist", "__main__.py") or program.stem == "cirn_dist"
    return shlex.join(["cirn-dist" if own else name, *rest])


@cache
def code(package: Path) -> str:
    """Return a hash of the package's source, by which two starts know that they are of the same code."""
    files = sorted(package.rglob("*.py"))
    whole = hashlib.sha256()
    for file in files:
        whole.update(f"{file.relative_to(package)}\0".encode() + file.read_bytes() + b"\0")
    return whole.hexdigest()[:16]


def commit(checkout: Path) -> str | None:
    """Return the commit of a checkout, with `-dirty` where its files differ; None where there is none, or no git."""
    if not (checkout / ".git").exists():
        return None
    words = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        found = subprocess.run(words, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
