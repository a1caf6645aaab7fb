"""The old import path of `Optimizer` and `build`."""

from __future__ import annotations

from .optimizer import Optimizer, build, logging

__all__ = ["Optimizer", "build", "logging"]
