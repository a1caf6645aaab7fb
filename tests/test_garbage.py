"""The search for garbage rests while graphs are built, and is taken up again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytensor
import pytest

import downhill2
from downhill2.compiling import fast_mode
from downhill2.compiling.garbage import uncollected


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    gc.enable()


@pytest.mark.parametrize("before", [True, False])
def test_the_search_is_what_it_was(before: bool) -> None:
    if not before:
        gc.disable()
    with uncollected(), uncollected():
        assert not gc.isenabled()
    assert gc.isenabled() is before
    with pytest.raises(ZeroDivisionError), uncollected():
        raise ZeroDivisionError
    assert gc.isenabled() is before


def test_rewriting_goes_without() -> None:
    seen = []

    class Looking(pytensor.graph.rewriting.basic.GraphRewriter):
        def apply(self, fgraph: Any) -> None:
            seen.append(gc.isenabled())

    x = pytensor.shared(np.ones(3), name="x")
    mode = fast_mode(pytensor.compile.get_mode("NUMBA").register((Looking(), 1)))
    pytensor.function([], (x**2).sum(), mode=mode)
    assert seen == [False]
    assert gc.isenabled()


def test_a_direction_goes_without() -> None:
    seen = []

    class Watched(downhill2.Optimizer):
        def direction(self, param: Any, grad: Any) -> Any:
            seen.append(gc.isenabled())
            return grad, {}

    x = pytensor.shared(np.ones(3), name="x")
    opt = Watched((x**2).sum())
    opt.get_updates()
    opt.minimize(max_updates=1)
    assert set(seen) == {False}
    assert gc.isenabled()
    downhill2.Optimizer.registry.pop("watched")


def test_it_is_taken_up_after_a_failure() -> None:
    class Failing(downhill2.Optimizer):
        def direction(self, param: Any, grad: Any) -> Any:
            raise ZeroDivisionError

    x = pytensor.shared(np.ones(3), name="x")
    with pytest.raises(ZeroDivisionError):
        Failing((x**2).sum()).get_updates()
    assert gc.isenabled()
    downhill2.Optimizer.registry.pop("failing")
