"""Memory that generated functions keep from call to call: the C library's, called by an external name of ours."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

RESIZE = "downhill2_resize"


def _library() -> Any:
    """Return the C library of this process."""
    return ctypes.CDLL("ucrtbase" if os.name == "nt" else None)


def register() -> None:
    """Give the external name its address; compiled functions, also from the disk cache, find it there."""
    from llvmlite import binding

    address = ctypes.cast(_library().realloc, ctypes.c_void_p).value
    binding.add_symbol(RESIZE, address)


def free(table: np.ndarray, positions: Sequence[int]) -> None:
    """Give back the memory whose addresses stand at these positions of a table."""
    release = _library().free
    release.argtypes = [ctypes.c_void_p]
    for position in positions:
        release(int(table[position]))
