"""What the tests of generated functions share: compile, run both ways, compare."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor
from pytensor.compile.mode import Mode

from downhill2.compiling import fast_mode

REFERENCE = Mode("py", "fast_compile")


def compiled(inputs: Sequence[Any], outputs: Any, mode: Any = None, **options: Any) -> Any:
    """Return a function in the fast mode."""
    mode = fast_mode() if mode is None else mode
    return pytensor.function(inputs, outputs, mode=mode, trust_input=True, on_unused_input="ignore", **options)


def details(function: Any) -> Any:
    """Return the generated function inside a PyTensor function."""
    return function.vm.jit_fn


def python_results(inputs: Sequence[Any], outputs: Sequence[Any], values: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return what PyTensor's Python linker computes."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        f = pytensor.function(inputs, outputs, mode=REFERENCE, on_unused_input="ignore")
        return [np.asarray(result) for result in f(*values)]


def assert_equal_to_python(
    inputs: Sequence[Any], outputs: Sequence[Any], values: Sequence[np.ndarray], tolerance: float = 1e-9
) -> Any:
    """Compare two calls with the Python linker, and return the PyTensor function."""
    wanted = python_results(inputs, outputs, [value.copy() for value in values])
    f = compiled(inputs, outputs)
    for _ in range(2):
        for have, want in zip(f(*values), wanted, strict=True):
            assert have.dtype == want.dtype
            assert have.shape == want.shape
            np.testing.assert_allclose(have, want, rtol=tolerance, atol=tolerance)
    return f
