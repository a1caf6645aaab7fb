"""Memory that generated functions keep from call to call: the C library's, called by an external name of ours."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

RESIZE = "downhill2_resize"

GAP = 1024
"""Bytes without use before all that compiled loops write.

Where a loop writes to memory that begins less than a few vectors behind what it reads, LLVM's vectorised form steps
aside for a scalar one, as if the two might overlap. That one rounds otherwise: results would depend on where arrays
happen to lie. In one buffer of temporaries they always lie alike.
"""

SHORT = 2**20
"""Bytes up to which an array may follow another closely: longer ones have pages of their own."""


def apart(shape: Sequence[int], dtype: Any) -> np.ndarray:
    """Return new memory for an array that compiled loops write."""
    nbytes = prod(shape) * np.dtype(dtype).itemsize
    array: np.ndarray = np.empty(GAP + nbytes, np.uint8)[GAP:].view(dtype).reshape(shape)
    return array


def is_apart(array: np.ndarray) -> bool:
    """Whether compiled loops may write to an array where it lies."""
    base = array.base
    return array.nbytes > SHORT or (type(base) is np.ndarray and array.ctypes.data - base.ctypes.data >= GAP)


def moved_apart(array: np.ndarray) -> np.ndarray:
    """Return a copy of an array where compiled loops may write to it."""
    copy = apart(array.shape, array.dtype)
    copy[...] = array
    return copy


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
