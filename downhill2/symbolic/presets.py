"""Presets: by name, the settings that make an algorithm's defaults and conventions those of another library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..checks import shown


def preset(owner: type, name: object) -> Mapping[str, Any]:
    """Return the settings of a preset of an algorithm.

    Parameters
    ----------
    owner : type
        Declares them as ``presets``: a mapping of names to mappings of settings. What a preset does not name keeps
        the algorithm's own default.
    name : str

    Raises
    ------
    ValueError
        If the algorithm has no such preset; lists those that it has.
    """
    known: Mapping[str, Mapping[str, Any]] = getattr(owner, "presets", {})
    if not known:
        raise ValueError(f"preset must be left out, as {owner.__name__} has none, got {shown(name)}")
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"preset must be {' or '.join(map(repr, known))} for {owner.__name__}, got {shown(name)}")
    return known[name]
