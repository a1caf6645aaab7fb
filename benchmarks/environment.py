"""Where and when something was measured."""

from __future__ import annotations

import datetime
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("pytensor", "numba", "numpy", "scipy", "torch", "jax", "optax", "mkl")


def use_cores(n: int) -> None:
    """Let this process and its children run on at most `n` cores, where the system can limit that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n])


def cores() -> int:
    """Return how many cores this process may use: the number of threads of every contender."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment() -> dict[str, Any]:
    """Return the date, the machine and the versions."""
    return {
        "date": os.environ.get("BENCHMARK_DATE") or datetime.date.today().isoformat(),
        "cpu": cpu(),
        "cores": cores(),
        "load before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "system": platform.system(),
        **{package: version(package) for package in PACKAGES},
    }


def cpu() -> str:
    """Return what the processor calls itself."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def version(package: str) -> str | None:
    """Return the version of a package, None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
