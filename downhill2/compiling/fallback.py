"""Which graphs go PyTensor's way, and what is said then."""

from __future__ import annotations

import logging

logger = logging.getLogger("downhill2")


class KernelError(Exception):
    """Raised for loops that use a name which they neither took nor made, or that are no Python.

    The emitter that wrote them is wrong. If it is a caller's, PyTensor's way would hide that it never works.

    Attributes
    ----------
    own : bool
        Whether the emitter is one of this package: then a warning tells of it, and PyTensor compiles the function.
    """

    def __init__(self, message: str, own: bool) -> None:
        super().__init__(message)
        self.own = own


def log_fallback(error: Exception) -> None:
    """Say that PyTensor's own linker compiles a function, and why."""
    logger.info("PyTensor's Numba linker compiles this function: %s: %s", type(error).__name__, error)
