"""Python's search for cyclic garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Do without that search while graphs are built and compiled; also a decorator.

    Nearly all that is made there stays, and to look through it again and again takes a seventh of the time.
    """
    looking = gc.isenabled()
    try:
        gc.disable()
        yield
    finally:
        if looking:
            gc.enable()
