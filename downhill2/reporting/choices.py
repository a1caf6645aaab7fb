"""The settings of an algorithm that differ from their default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..symbolic.hyper import Hyperparameters, Setting, declared


def choices(hyper: Hyperparameters) -> dict[str, Any]:
    """Return the structural choices of an optimizer that differ from their default, by name."""

    def default(group: str, symbol: str) -> Any:
        declaration = (hyper.groups[group] if group else hyper).declared[symbol]
        assert isinstance(declaration, Setting), "settings() has settings only"
        return _plain(declaration)

    return {name: value for name, value in hyper.settings().items() if value != default(*_parts(name))}


def recorded_choices(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a checkpoint; for an algorithm that is not known here, all of them."""
    from ..symbolic.algorithm import Algorithm
    from ..symbolic.registry import registry

    algorithms = {"": meta.get("algorithm", "")} | {f"group{i}": of[0] for i, of in enumerate(meta.get("groups", []))}
    known = {group: registry.algorithms.get(name, Algorithm) for group, name in algorithms.items()}
    defaults = {group: {n: _plain(d) for n, d in declared(of, Setting).items()} for group, of in known.items()}

    def is_chosen(name: str, value: object) -> bool:
        group, symbol = _parts(name)
        return symbol not in defaults[group] or value != defaults[group][symbol]

    return {name: value for name, value in meta.get("settings", {}).items() if is_chosen(name, value)}


def _parts(name: str) -> tuple[str, str]:
    """Return the group and the symbol of a name."""
    group, _, symbol = name.rpartition(".")
    return group, symbol


def _plain(setting: Setting) -> Any:
    """Return the default as a checkpoint has it."""
    return setting.plain(setting.default)
