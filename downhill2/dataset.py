"""The old import path of `Dataset`."""

from __future__ import annotations

from .data.dataset import Dataset, Feed

__all__ = ["Dataset", "Feed"]
