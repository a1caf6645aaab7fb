"""Where a run was made: versions, machine, threads, BLAS."""

from __future__ import annotations

import os
import platform
from importlib import metadata

PACKAGES = ("downhill2", "pytensor", "numpy", "scipy", "numba", "jax", "torch")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def environment() -> dict[str, str]:
    """Return what is known of this machine and process, by name."""
    return {
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": f"{cores()} of {os.cpu_count()}",
        **{name: os.environ[name] for name in THREADS if name in os.environ},
        **{package: v for package in PACKAGES if (v := version_of(package))},
    }


def libraries() -> dict[str, str]:
    """Return what this process compiles with and calls for matrix products."""
    from pytensor import config

    from ..compiling import blas_library

    blas = {"mkl": "Intel MKL", "scipy": "that of SciPy"}[blas_library()]
    return {"BLAS": blas, "floatX": config.floatX}


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def version_of(package: str) -> str | None:
    """Return the version of an installed package, None of one that is not."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
