"""The step of Numba's compiler that is replaced finds what Numba's finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import pytest
from numba.core import lowering

from downhill2.compiling import numba_passes, private


def straight(x: float) -> float:
    y = x * 2.0
    z = y + x
    return z - y


def assigned_twice(x: float) -> float:
    y = x
    y = y * x
    return y + x


def with_branches(x: float) -> float:
    y = x + 1.0
    z = y
    if x > 0.5:
        z = y * 2.0
        w = z - y
        z = w * w
    return z


def with_loops(x: float) -> float:
    total, other = 0.0, x
    for i in range(3):
        term = x * i
        for _ in range(i):
            total += term
            x = other
    return total


@pytest.mark.parametrize("function", [straight, assigned_twice, with_branches, with_loops])
def test_the_same_variables_need_no_memory(function: Callable[..., float], monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[Any, Any]] = []

    class Compared(numba_passes.Lowering):
        def _find_singly_assigned_variable(self) -> None:
            lowering.Lower._find_singly_assigned_variable(self)
            wanted = self._singly_assigned_vars
            super()._find_singly_assigned_variable()
            found.append((self._singly_assigned_vars, wanted))

    monkeypatch.setattr(numba_passes, "Lowering", Compared)
    compiled = numba.njit(function, pipeline_class=numba_passes.Pipeline)
    assert compiled(0.75) == function(0.75)
    assert found
    for have, want in found:
        assert have == want
        assert want


def test_what_only_compiled_code_calls_is_compiled_once_for_all_sizes() -> None:
    inner = private.compiled("def loops(n):\n    return n * n", "loops", {}, None, entry=False)
    source = "def generated(table):\n    return loops(3) + loops(4) + loops(table)"
    outer = private.compiled(source, "generated", {"loops": inner}, None, entry=True)
    assert outer(5) == 9 + 16 + 25
    assert list(inner.overloads) == [(numba.types.int64,)]


def test_what_only_compiled_code_calls_is_machine_code_within_its_caller_alone() -> None:
    inner = private.compiled("def loops(x):\n    return x * 2.0", "loops", {}, None, entry=False)
    middle = private.compiled("def middle(x):\n    return f(x) + 1.0", "middle", {"f": inner}, None, entry=False)
    outer = private.compiled(
        "def outer(x):\n    return f(x) + g(x)", "outer", {"f": inner, "g": middle}, None, entry=True
    )
    assert outer(3.0) == 13.0
    for function in (inner, middle):
        [made] = function.overloads.values()
        with pytest.raises(ValueError, match="object caching not enabled"):
            made.library.serialize_using_object_code()
        assert made.fndesc.llvm_func_name in next(iter(outer.overloads.values())).library.get_asm_str()
