"""Contents of a checkpoint: random generators as JSON, and names compared with those expected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..jsonable import arrays_as_lists

__all__ = ["Differences", "compare_names", "generator_from", "generator_state"]

_GENERATORS = {
    kind.__name__: kind
    for kind in (np.random.MT19937, np.random.PCG64, np.random.PCG64DXSM, np.random.Philox, np.random.SFC64)
}


@dataclass(frozen=True)
class Differences:
    """How the names, shapes and dtypes that were found differ from those expected.

    Attributes
    ----------
    missing, unexpected : tuple of str
    shapes, dtypes : dict of str to pair
        For each name with a difference, the expected and the found one.
    moved : tuple of str
        Variables without a name of their own where certainly others stand now, and their state.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    dtypes: dict[str, tuple[np.dtype, np.dtype]]
    moved: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Return whether there is any difference."""
        return bool(self.missing or self.unexpected or self.shapes or self.dtypes or self.moved)

    def __str__(self) -> str:
        """Return one line that names every difference."""
        parts = [f"{what}: {', '.join(map(repr, names))}" for what, names in self._names() if names]
        parts += [f"{n!r} must have shape {want}, got {got}" for n, (want, got) in self.shapes.items()]
        parts += [f"{n!r} must have dtype {want}, got {got}" for n, (want, got) in self.dtypes.items()]
        return "; ".join(parts)

    def _names(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return ("missing", self.missing), ("unexpected", self.unexpected), ("in another order", self.moved)


def compare_names(
    expected: Mapping[str, tuple[tuple[int, ...], DTypeLike]], found: Mapping[str, np.ndarray]
) -> Differences:
    """Compare tensors with the names, shapes and dtypes they should have.

    Parameters
    ----------
    expected : mapping of str to pair of shape and dtype
    found : mapping of str to ndarray

    Returns
    -------
    Differences
        False if there are none. Missing names are in the order of `expected`, the others in that of `found`.
    """
    both = {name: (expected[name], np.asarray(found[name])) for name in expected if name in found}
    return Differences(
        missing=tuple(name for name in expected if name not in found),
        unexpected=tuple(name for name in found if name not in expected),
        shapes={n: (tuple(shape), got.shape) for n, ((shape, _), got) in both.items() if tuple(shape) != got.shape},
        dtypes={n: (np.dtype(dtype), got.dtype) for n, ((_, dtype), got) in both.items() if dtype != got.dtype},
    )


def generator_state(generator: np.random.Generator) -> dict[str, Any]:
    """Return the whole state of a random generator, as JSON holds it.

    Parameters
    ----------
    generator : numpy.random.Generator
        Over one of NumPy's own bit generators.

    Returns
    -------
    dict
        ``generator.bit_generator.state``, with lists for arrays; and under `seed` the seed sequence, which
        ``generator.spawn`` draws from (None if the generator has none).
    """
    bits = generator.bit_generator
    if type(bits).__name__ not in _GENERATORS:
        raise TypeError(f"generator must be over one of {', '.join(_GENERATORS)}, got {type(bits).__name__}")
    sequence = bits.seed_seq
    seed = sequence.state if isinstance(sequence, np.random.SeedSequence) else None
    state: dict[str, Any] = arrays_as_lists({**bits.state, "seed": seed})
    return state


def generator_from(state: Mapping[str, Any]) -> np.random.Generator:
    """Return the random generator that `generator_state` described.

    Raises
    ------
    ValueError
        If `state` is not what `generator_state` returns.
    """
    try:
        seed = state["seed"]
        sequence = None if seed is None else np.random.SeedSequence(**seed)
        bits: Any = _GENERATORS[state["bit_generator"]](sequence)
        # integers stay integers of Python; lists become arrays again
        bits.state = {key: _arrayed(value) for key, value in state.items() if key != "seed"}
    except (LookupError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"state must be what generator_state returns, got {state!r}") from error
    return np.random.Generator(bits)


def _arrayed(value: object) -> Any:
    if isinstance(value, Mapping):
        return {key: _arrayed(item) for key, item in value.items()}
    return np.array(value, np.uint64) if isinstance(value, list) else value
