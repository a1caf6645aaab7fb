"""From a graph to a fast function, whichever backend compiles it.

:func:`fast_mode` is a PyTensor mode that writes a whole graph as one function and lets Numba compile that: the
first call of a training step comes after about a second. :mod:`.backends` chooses between this mode, PyTensor's
own, JAX and PyTorch. :func:`emits` teaches the one function one more operation.

Everything that other packages use of this one stands here, and this one uses nothing of downhill2.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import backends
from .blas import blas_library, use_blas
from .fallback import KernelError
from .garbage import uncollected
from .half import without_half
from .jax_step import DeviceStep
from .linker import direct, many_updates
from .protocol import Many
from .storage import PackedFunction, PackedStorage, worth_packing

if TYPE_CHECKING:
    from .emitters import Kernel, Program, Unsupported, Value, emits
    from .mode import fast_mode

__all__ = [
    "DeviceStep",
    "Kernel",
    "KernelError",
    "Many",
    "PackedFunction",
    "PackedStorage",
    "Program",
    "Unsupported",
    "Value",
    "backends",
    "blas_library",
    "direct",
    "emits",
    "fast_mode",
    "many_updates",
    "uncollected",
    "use_blas",
    "without_half",
    "worth_packing",
]


# Emitters import Numba, and the mode loads our rewrites: only who compiles waits for them.
_LATER = {"fast_mode": "mode"} | dict.fromkeys(("Kernel", "Program", "Unsupported", "Value", "emits"), "emitters")


def __getattr__(name: str) -> Any:
    """Return what is loaded when it is asked for."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_LATER[name]}", __name__), name)
