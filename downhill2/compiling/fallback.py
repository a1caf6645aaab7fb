"""What is said where a graph goes PyTensor's way."""

from __future__ import annotations

import logging

logger = logging.getLogger("downhill2")


def log_fallback(error: Exception) -> None:
    """Say that PyTensor's own linker compiles a function, and why."""
    logger.info("PyTensor's Numba linker compiles this function: %s: %s", type(error).__name__, error)
