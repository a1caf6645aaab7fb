"""Who makes the updates. A module is imported when its contenders are made: what is not installed fails then."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

ADAM: dict[str, Any] = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}


def makes(module: str, function: str, *args: Any, **kwargs: Any) -> Callable[[], Any]:
    """Return what calls a function of a module in here."""
    return lambda: getattr(import_module(f"{__package__}.{module}"), function)(*args, **kwargs)
