"""Which graphs go PyTensor's way, and what is said then."""

from __future__ import annotations

import logging

logger = logging.getLogger("downhill2")


class KernelError(Exception):
    """Raised for loops that use a name which they neither took nor made, or that are no Python.

    It is a fault of the emitter that wrote them. PyTensor's way would hide that the emitter never works.
    """


def log_fallback(error: Exception) -> None:
    """Say that PyTensor's own linker compiles a function, and why."""
    logger.info("PyTensor's Numba linker compiles this function: %s: %s", type(error).__name__, error)
