"""The checks of `doctor`: each returns a state, what it found, and what to do."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytensor

import downhill2

from ..compiling import backends
from ..reporting.environment import THREADS, cores, version_of
from . import probes

OK, MISSING, SLOW, BROKEN = "ok", "missing", "slow", "broken"

NEEDED = ("pytensor", "numpy", "scipy", "numba", "safetensors")
EXTRAS = {
    "jax": "jax",
    "torch": "torch",
    "mkl": "mkl",
    "matplotlib": "plot",
    "jinja2": "report",
    "rich": "progress",
    "scikit-learn": "sklearn",
    "pymc": "pymc",
    "tensorboardX": "tensorboard",
    "mlflow-skinny": "mlflow",
    "wandb": "wandb",
    "optuna": "optuna",
}
"""Optional packages, and the extra of downhill2 that installs each."""

Verdict = tuple[str, str, str]
"""What a check returns: the state, what it found, and what to do."""

SLOW_MODES = ("FAST_COMPILE", "DebugMode", "DEBUG_MODE", "NanGuardMode")
LARGE_CACHE = 5e9
SLOW_COLD, SLOW_WARM = 30.0, 8.0
"""Seconds to a first update: with an empty cache, and when it has been compiled before."""

SLOW_UPDATE = 2e-3
SLOW_PRODUCT = 2e9


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes
    ----------
    check : str
        What was looked at.
    state : {'ok', 'missing', 'slow', 'broken'}
    found : str
        What is there.
    advice : str
        What to do; empty if nothing is to be done.
    """

    check: str
    state: str
    found: str
    advice: str = ""


def examine() -> list[Finding]:
    """Make all checks; one that fails is itself a finding."""
    tried: dict[str, Callable[[], Verdict]] = {f"backend {name}": partial(backend, name) for name in backends.MODES}
    return [_made(name, check) for name, check in {**CHECKS, **tried}.items()]


def _made(name: str, check: Callable[[], Verdict]) -> Finding:
    try:
        return Finding(name, *check())
    except Exception as error:
        line = " ".join(str(error).split())
        return Finding(
            name, BROKEN, f"{type(error).__name__}: {line[:300]}", "this must work: mend it as the error says"
        )


def packages() -> Verdict:
    """Look at the packages without which nothing works."""
    python = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    found = [f"downhill2 {downhill2.__version__}", python, *(f"{name} {version_of(name)}" for name in NEEDED)]
    absent = [name for name in NEEDED if not version_of(name)]
    return (BROKEN, ", ".join(found), f"pip install {' '.join(absent)}") if absent else (OK, ", ".join(found), "")


def extras() -> Verdict:
    """Look at the optional packages."""
    found = {name: version_of(name) for name in EXTRAS}
    absent = [EXTRAS[name] for name, there in found.items() if not there]
    there = ", ".join(f"{name} {v}" for name, v in found.items() if v) or "none"
    advice = f"where wanted: pip install 'downhill2[EXTRA]', EXTRA being one of {', '.join(absent)}"
    return (MISSING, there, advice) if absent else (OK, there, "")


def settings() -> Verdict:
    """Look at PyTensor's configuration."""
    config, flags = pytensor.config, os.environ.get("PYTENSOR_FLAGS", "")
    compiler = type(backends.base(None).linker).__name__.removesuffix("Linker")
    found = f"mode {config.mode} ({compiler}), floatX {config.floatX}" + (
        f", PYTENSOR_FLAGS={flags!r}" if flags else ""
    )
    if config.mode in SLOW_MODES:
        return SLOW, found, f"mode={config.mode} is for finding faults; take it out of PYTENSOR_FLAGS or .pytensorrc"
    return OK, found, ""


def threads() -> Verdict:
    """Look at how many threads may run, and how many want to."""
    usable = cores()
    given = {name: os.environ[name] for name in THREADS if name in os.environ}
    found = ", ".join([f"{usable} cores", *(f"{name}={value}" for name, value in given.items())])
    crowded = [name for name, value in given.items() if value.isdecimal() and int(value) > usable]
    if crowded:
        return SLOW, found, f"set {' and '.join(crowded)} to {usable} at most: threads wait where cores are fewer"
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > 1.5 * usable:
        busy = f"the machine is busy (load {load:.1f}): the times here are too long, and so are those of your runs"
        return SLOW, found, busy
    return OK, found, ""


def cache() -> Verdict:
    """Look at the directory where compiled functions are kept."""
    path = Path(pytensor.config.base_compiledir)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            size, files = probes.size_of(path)
    except OSError as error:
        advice = "name one that can be written: PYTENSOR_FLAGS=base_compiledir=DIRECTORY"
        return BROKEN, f"{path}: {error.strerror or error}", advice
    found = f"{path}, {size / 1e6:.0f} MB in {files} files"
    if not pytensor.config.numba__cache:
        return SLOW, found, "nothing is kept: take numba__cache=False out of PYTENSOR_FLAGS or .pytensorrc"
    return OK, found, "it may be removed at any time" if size > LARGE_CACHE else ""


def products() -> Verdict:
    """Try a matrix product, which takes most of the time of large models."""
    library, rate = probes.blas(), probes.product_rate()
    found = f"{library}, {rate / 1e9:.0f} GFLOP/s in float32"
    if rate < SLOW_PRODUCT:
        return SLOW, found, "a BLAS library should do ten times this; see the threads above"
    if library.startswith("OpenBLAS") and platform.machine() in ("x86_64", "AMD64"):
        return OK, found, "large products may be quicker by Intel's library: pip install 'downhill2[mkl]'"
    return OK, found, ""


def step() -> Verdict:
    """Try to train a small network."""
    probe = probes.training()
    known = "cached" if probe.was_cached else "compiled for the first time"
    found = f"first update after {probe.first:.1f} s ({known}), then {probe.update * 1e6:.0f} µs each"
    if probe.first > (SLOW_WARM if probe.was_cached else SLOW_COLD):
        return SLOW, found, "compiling is slow: if the cache is on a network, PYTENSOR_FLAGS=base_compiledir=DIRECTORY"
    if probe.update > SLOW_UPDATE:
        return SLOW, found, "an update should take less than 1 ms; see settings, threads and products above"
    return OK, found, ""


CHECKS: dict[str, Callable[[], Verdict]] = {
    "packages": packages,
    "extras": extras,
    "settings": settings,
    "threads": threads,
    "cache": cache,
    "products": products,
    "training": step,
}


def backend(name: str) -> Verdict:
    """Try a backend: let it fit a number."""
    try:
        backends.check(name)
    except (ImportError, ValueError) as error:
        found, _, advice = str(error).partition("; ")
        return MISSING, found, advice
    seconds, warned = probes.fit(name)
    return OK, f"works{probes.device(name)}, {seconds:.1f} s", _first(warned)


def _first(lines: Iterable[str]) -> str:
    return next((" ".join(line.split())[:200] for line in lines), "")
