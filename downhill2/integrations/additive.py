"""A check that a density is a sum over the rows of data, as training on batches of rows needs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytensor
from pytensor.compile.mode import Mode

from ..data.dataset import Dataset
from ..stepping.one_by_one import averages, compiled
from ..symbolic import graph
from ..symbolic.graph import Variable

FEW = 64
"""Rows to look at: a sum over all rows is one over some."""
DISTANCES = (0.5, 0.05, 0.005, 0.0)
"""How far from the start to look, in units of parameters; nearer where the density is not finite."""


def check_sums(
    terms: Mapping[str, Variable], params: Sequence[Variable], inputs: Sequence[Variable], rows: Sequence[object]
) -> None:
    """Raise ValueError for a term of a density that is not a sum over rows.

    The check is made at a distance from the parameters, as a term may be zero there for any rows.

    Parameters
    ----------
    terms : mapping of str to scalar TensorVariable
        Each multiplied by the number of all rows over that of a batch.
    params : sequence of shared variables
    inputs : sequence of TensorVariable
        What batches of rows are fed to.
    rows : sequence of arrays
        All rows.
    """
    names = ", ".join(repr(x.name) for x in inputs)
    some = _some(rows)
    whole = Dataset(some, "rows", 0).bind(inputs)
    mixed = np.random.default_rng(0).permutation(len(some[0]))
    parts = Dataset([np.asarray(x)[mixed] for x in some], "rows", -(-len(mixed) // 3)).bind(inputs)
    moved = {p: graph.shared_like(p.get_value(), p.name, p.type.shape) for p in params}
    with pytensor.config.change_flags(cxx=""):  # PyTensor would compile graphs inside of operations to C
        function = compiled(whole, [*terms.values()], {}, moved, Mode("py", "fast_compile"))
    for distance in DISTANCES:
        _move(moved, distance)
        try:
            one, sums = (averages(function, [*terms], feed) for feed in (whole, parts))
        except (ValueError, IndexError, AssertionError) as error:
            raise ValueError(
                f"rows must name all data that has a row for each of theirs, got {names}, of which the model does not "
                f"take a part: {error}"
            ) from error
        if np.isfinite([*one.values()]).all():
            _compare(one, sums, names)
            break


def _some(rows: Sequence[Any]) -> list[Any]:
    """Return a few rows of each array, in slices, which any kind of array has; all rows if lengths differ."""
    count, block = len(rows[0]), FEW // 4
    if count <= FEW or any(len(x) != count for x in rows):
        return list(rows)
    starts = np.linspace(0, count - block, 4).astype(int).tolist()
    return [np.concatenate([np.asarray(x[i : i + block]) for i in starts]) for x in rows]


def _move(moved: Mapping[Variable, Variable], distance: float) -> None:
    noise = np.random.default_rng(0)
    for p, x in moved.items():
        start = p.get_value()
        x.set_value((start + distance * noise.normal(size=start.shape)).astype(start.dtype))


def _compare(whole: Mapping[str, float], parts: Mapping[str, float], names: str) -> None:
    """Raise ValueError if a term over all rows differs from its sum over batches."""
    tolerance = max(1e-9, 200 * np.finfo(pytensor.config.floatX).eps)
    for name, value in whole.items():
        if not abs(value - parts[name]) <= tolerance * (abs(value) + abs(parts[name])):
            raise ValueError(
                f"rows must add up to the log density of {name!r}, one by one, got {names}: of some rows it is "
                f"{value:.6g} at once and {parts[name]:.6g} in batches; a series, a Gaussian process, a mean over rows "
                "need all rows: leave rows out, or compute what needs all of them before the model"
            )
