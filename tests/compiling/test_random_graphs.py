"""Generated functions against PyTensor's Python linker, on random graphs.

``DOWNHILL2_FUZZ=500`` sets the number of graphs; the default keeps the run short.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
import pytensor
import pytest
from generated import REFERENCE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytensor.compile.mode import Mode
from pytensor.graph.traversal import ancestors
from random_graphs import Case, laid_out, random_case

from downhill2.compiling import assemble, fast_mode, parallel


def tolerance(case: Case) -> float:
    """Return 1e-9, or what float32 allows where any part of a result is computed in it."""
    variables = ancestors([*case.outputs, *(new for _, new in case.updates)])
    return 2e-4 if any(getattr(variable, "dtype", "") == "float32" for variable in variables) else 1e-9


def results(case: Case, mode: Mode) -> list[np.ndarray]:
    """Return outputs of two calls, and what the shared variables are after them."""
    for variable, values, layout in case.shared:
        variable.set_value(laid_out(values, layout), borrow=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        f = pytensor.function(
            case.inputs, case.outputs, updates=case.updates, mode=mode, trust_input=True, on_unused_input="ignore"
        )
        with np.errstate(all="ignore"):
            outputs = [*f(*case.values), *f(*case.values)]
    return [*map(np.asarray, outputs), *(variable.get_value() for variable, *_ in case.shared)]


EXAMPLES = int(os.environ.get("DOWNHILL2_FUZZ", "16"))


def fuzz(examples: int) -> Any:
    """Return the decorator that runs a test on so many random graphs."""
    options = {"derandomize": True, "deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
    cases = given(seed=st.integers(0, 2**32 - 1), operations=st.integers(1, 40))
    return lambda test: settings(max_examples=examples, **options)(cases(test))


@fuzz(EXAMPLES)
def test_a_random_graph_gives_what_python_gives(seed: int, operations: int) -> None:
    compare(random_case(seed, operations))


@fuzz(max(3, EXAMPLES // 8))
def test_a_random_graph_on_threads_gives_what_python_gives(seed: int, operations: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # two elements are enough, also beside products
        patch.setattr(parallel, "worth_from", lambda nodes, least=parallel.worth_from: least([]) and 2)
        patch.setattr(parallel, "CHUNK", 1)
        compare(random_case(seed, operations))


@fuzz(max(6, EXAMPLES // 2))
def test_a_random_graph_in_steps_gives_what_python_gives(seed: int, operations: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assemble, "INLINE_UP_TO", 0)
        compare(random_case(seed, operations))


def compare(case: Case) -> None:
    """Check that generated functions give what Python gives, and change nothing else."""
    before = [values.copy() for values in case.values]
    wanted, found = results(case, REFERENCE), results(case, fast_mode())
    assert len(wanted) == len(found)
    for want, have in zip(wanted, found, strict=True):
        assert have.dtype == want.dtype
        assert have.shape == want.shape
        if have.dtype.kind == "f":
            scale = max(1.0, float(np.abs(want[np.isfinite(want)]).max(initial=0)))
            np.testing.assert_allclose(have, want, rtol=0, atol=scale * tolerance(case))
        else:
            np.testing.assert_array_equal(have, want)
    for old, values in zip(before, case.values, strict=True):
        np.testing.assert_array_equal(old, values)
