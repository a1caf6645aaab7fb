"""Files of the size of a checkpoint: written as one, read as one, and written plainly."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from downhill2.keeping import checkpoint

from ..timing import Contender, repeating


def tensors(elements: int) -> dict[str, np.ndarray]:
    """Return parameters and the two moments of Adam."""
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(elements, "f") for name in ("params.W", "state.W.adam.m", "state.W.adam.v")}


def _file() -> Path:
    return Path(tempfile.mkdtemp()) / "checkpoint.safetensors"


def written(elements: int) -> Contender:
    """Write a checkpoint, checksums and fsync included."""
    return repeating(partial(checkpoint.write, _file(), tensors(elements), {}))


def loaded(elements: int) -> Contender:
    """Read a checkpoint and verify it."""
    file = _file()
    checkpoint.write(file, tensors(elements), {})
    return repeating(partial(checkpoint.read, file))


def plain(elements: int) -> Contender:
    """Write the bytes over a file, and wait for the disk."""
    file, data = _file(), np.concatenate([*tensors(elements).values()]).tobytes()

    def write() -> None:
        with open(file, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())

    return repeating(write)
