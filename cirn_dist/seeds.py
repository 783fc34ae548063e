"""Randomness as a pure function: every draw is named by integers and strings, none depends on what was drawn before.

A generator with state would tie a sample's augmentation to the number of ranks and workers; a hash of
(seed, stream, k) does not. NumPy does not promise that a Generator gives the same numbers in its next version
(NEP 19), so the hash is our own: splitmix64 (Steele, Lea and Flood, OOPSLA 2014).
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

UInt64Array = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def splitmix64(x: UInt64Array) -> UInt64Array:
    """Hash each uint64 to a uint64, a bijection that passes BigCrush as a counter-based generator."""
    with np.errstate(over="ignore"):
        z = x + _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def derive(*parts: int | str) -> int:
    """Hash integers and strings, in order, to one 64-bit integer."""
    state = np.zeros(1, np.uint64)
    for part in parts:
        number = zlib.crc32(part.encode()) if isinstance(part, str) else part & 0xFFFFFFFFFFFFFFFF
        state = splitmix64(state ^ splitmix64(np.array([number], np.uint64)))
    return int(state[0])


def uniforms(count: int, *parts: int | str) -> npt.NDArray[np.float64]:
    """Draw `count` numbers in [0, 1) named by `parts`; shape (count,)."""
    keys = np.arange(count, dtype=np.uint64) ^ np.uint64(derive(*parts))
    return (splitmix64(splitmix64(keys)) >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def permutation(size: int, *parts: int | str) -> npt.NDArray[np.int64]:
    """Permute range(size), named by `parts`; shape (size,)."""
    keys = splitmix64(splitmix64(np.arange(size, dtype=np.uint64) ^ np.uint64(derive(*parts))))
    return np.argsort(keys, kind="stable").astype(np.int64)
