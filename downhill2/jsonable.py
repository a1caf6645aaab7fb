"""Values as JSON holds them: one walk through mappings and lists, and what becomes of the other values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

__all__ = ["arrays_as_lists", "nested", "scalar_or_text"]

Leaf = Callable[[Any, str], object]
Names = Callable[[Mapping[Any, object], str], Iterable[object]]


def _as_they_are(mapping: Mapping[Any, object], where: str) -> Iterable[object]:
    return mapping


def nested(value: object, leaf: Leaf, where: str = "", names: Names = _as_they_are) -> Any:
    """Return dicts for mappings and lists for sequences, with each other value replaced by `leaf`.

    Parameters
    ----------
    value : object
    leaf : callable
        Takes a value that is no mapping, list or tuple, and its place; returns what replaces it, or raises.
    where : str
        What `value` is called; places are ``where['key'][0]``.
    names : callable, optional
        Takes a mapping and its place; returns its keys as they are to be, in their order, or raises.
    """
    if isinstance(value, Mapping):
        pairs = zip(names(value, where), value.items(), strict=True)
        return {name: nested(item, leaf, f"{where}[{key!r}]", names) for name, (key, item) in pairs}
    if isinstance(value, list | tuple):
        return [nested(item, leaf, f"{where}[{i}]", names) for i, item in enumerate(value)]
    return leaf(value, where)


def arrays_as_lists(value: object) -> Any:
    """Return a value with lists in place of arrays, and numbers of Python in place of those of NumPy."""
    return nested(value, lambda item, _: item.tolist() if isinstance(item, np.ndarray | np.generic) else item)


def scalar_or_text(value: object) -> bool | int | float | str:
    """Return a value if it is a bool, a number or a str, else as text."""
    return value if isinstance(value, bool | int | float | str) else str(value)
