"""The cases, each a module with `jobs(size)`: what to run, each job in a process of its own."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

NAMES = {
    "a": "overhead",
    "b": "mlp",
    "c": "large",
    "d": "first_step",
    "e": "many_tensors",
    "f": "memory",
    "g": "feeding",
    "h": "algorithms",
    "loop": "loop",
    "narrow": "narrow",
    "safety": "safety",
}


def case(name: str) -> ModuleType:
    """Return the module of a case."""
    return import_module(f"{__package__}.{NAMES[name]}")
