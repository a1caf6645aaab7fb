"""The state of a source of batches that can save and restore it, as JSON holds it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np

from ..jsonable import nested
from .sources import as_array, is_array

ARRAY = "array of downhill2"  # the key that marks an array among what JSON takes


class Stateful(Protocol):
    """A source that can save and restore its position."""

    def state_dict(self) -> object:
        """Return the position."""

    def load_state_dict(self, state: object) -> object:
        """Go to a position."""


def frozen(state: object, where: str) -> Any:
    """Return the state of a source as JSON holds it; an array or tensor becomes a list."""
    return nested(state, _frozen_leaf, where, _text_keys)


def _text_keys(state: Mapping[Any, object], where: str) -> Iterable[object]:
    if not all(isinstance(key, str) for key in state):
        raise _unknown(state, where)
    return state


def _frozen_leaf(state: object, where: str) -> object:
    if state is None or isinstance(state, bool | int | float | str):
        return state
    if is_array(state) or isinstance(state, np.generic):
        array = as_array(state)
        if array.dtype.kind in "biuf":
            kind = "tensor" if hasattr(type(state), "detach") else "array"
            return {ARRAY: [kind, array.dtype.str, array.shape, array.ravel().tolist()]}
    raise _unknown(state, where)


def _unknown(state: object, where: str) -> TypeError:
    wanted = "numbers, strings, lists, arrays and dicts with strings as keys"
    return TypeError(f"{where} must hold {wanted}, got {state!r}")


def thawed(state: object) -> Any:
    """Return the state that :func:`frozen` converted."""
    if isinstance(state, list):
        return [thawed(value) for value in state]
    if not isinstance(state, dict):
        return state
    if ARRAY not in state:
        return {key: thawed(value) for key, value in state.items()}
    kind, dtype, shape, values = state[ARRAY]
    array = np.array(values, dtype).reshape(shape)
    # A source whose state has tensors has imported torch.
    return sys.modules["torch"].from_numpy(array) if kind == "tensor" else array
