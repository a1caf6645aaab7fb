"""Calls of a compiled function without what PyTensor does around them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from generated import REFERENCE, compiled

from downhill2.compiling.linker import direct

x = pt.dvector("x")


def counting(**options: Any) -> tuple[Any, Any]:
    count = pytensor.shared(np.array(0.0))
    return count, compiled([x], [x.sum(), count], updates=[(count, count + x.sum())], **options)


def test_a_direct_call_does_what_the_function_does() -> None:
    count, f = counting()
    call = direct(f)
    assert call is not f
    for batch, before in ((np.ones(3), 0), (np.ones(2), 3), (np.full(2, 4.0), 5)):
        np.testing.assert_array_equal(call(batch), [batch.sum(), before])
    np.testing.assert_array_equal(f(np.ones(1)), [1, 13])
    assert count.get_value() == 14


def test_a_direct_call_of_a_function_without_input_sees_what_was_set() -> None:
    w = pytensor.shared(np.zeros(2))
    call = direct(compiled([], [w.sum()], updates=[(w, w + 1)]))
    call()
    w.set_value(np.array([5.0, 6.0]))
    np.testing.assert_array_equal(call(), [11])
    np.testing.assert_array_equal(w.get_value(), [6, 7])


def test_a_direct_call_raises_what_the_function_raises() -> None:
    _, f = counting()
    with pytest.raises(TypeError, match="input x must have dtype float64, got float32"):
        direct(f)(np.ones(2, "f"))


def test_a_function_whose_calls_are_profiled_is_called_as_it_is() -> None:
    _, f = counting(profile=True)
    f.profile.print_summary = False  # it would print when the process ends
    assert direct(f) is f


@pytest.mark.parametrize("what", [len, pytensor.function([x], x, mode=REFERENCE)], ids=["plain", "other linker"])
def test_what_is_not_generated_is_called_as_it_is(what: Any) -> None:
    assert direct(what) is what
