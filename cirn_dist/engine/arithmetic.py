"""How a GPU's kernels compute: the same each time or as fast as can be, in TF32 or in whole float32."""

from __future__ import annotations

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
