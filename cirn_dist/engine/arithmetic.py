"""How a process computes: a GPU's kernels the same each time or as fast as can be, a CPU's memory kept."""

from __future__ import annotations

import contextlib
import ctypes
import os

import torch


def choose_kernels(*, deterministic: bool, tf32: bool) -> None:
    """Choose kernels for all that this process computes; called before anything is computed on the GPU.

    Args:
        deterministic: the same bits each time on the same device; torch refuses an operation that has no such form.
            Else cuDNN tries its algorithms on each new shape and takes the fastest, as the lineage lets it: shapes are
            few, crops and packed sizes.
        tf32: convolutions of float32 on tensor cores, their inputs rounded to 10 bits. Matrix products stay whole:
            they are few, and interpolation's weights are among them.
    """
    if deterministic and os.environ.get("CUBLAS_WORKSPACE_CONFIG") not in (":4096:8", ":16:8"):
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # read when cuBLAS starts; other sizes are shared by streams
    torch.use_deterministic_algorithms(deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # none of it is read
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cuda.matmul.allow_tf32 = False


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # mallopt(3)


def keep_host_memory() -> None:
    """Let glibc's allocator keep what a step frees for the next one, where the C library is glibc.

    It gives blocks over 32 MB back at once, and the kernel then clears every page of the next step's activations
    anew: a quarter of the time of a step of MobileNetV2 on a CPU. The most memory used stays the same.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
