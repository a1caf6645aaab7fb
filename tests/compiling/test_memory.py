"""In place, aliasing, layouts, and calls that overlap."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from generated import compiled, details
from numba import types
from pytensor.graph.fg import FunctionGraph

from downhill2.compiling import fast_mode, private
from downhill2.compiling.caller import CallPool


def shared(values: Any, **options: Any) -> Any:
    return pytensor.shared(np.array(values, "float64"), **options)


def address(variable: Any) -> int:
    return variable.get_value(borrow=True).ctypes.data


@pytest.mark.parametrize("shape", [(8, 3), (None, None)])
def test_an_elementwise_update_stays_in_its_memory(shape: Any) -> None:
    w, m = shared(np.ones((8, 3)), shape=shape), shared(np.zeros((8, 3)), shape=shape)
    step = compiled([], (w * w).sum(), updates=[(m, 0.5 * m + w), (w, w - 0.1 * m)])
    step()
    places = [address(w), address(m)]
    step()
    assert [address(w), address(m)] == places
    np.testing.assert_allclose(m.get_value(), 1.5)
    np.testing.assert_allclose(w.get_value(), 0.9)


def test_swapped_variables_swap() -> None:
    a, b = shared([1.0, 2.0]), shared([3.0, 4.0])
    swap = compiled([], a + b, updates=[(a, b), (b, a)])
    np.testing.assert_array_equal(swap(), [4, 6])
    np.testing.assert_array_equal(a.get_value(), [3, 4])
    np.testing.assert_array_equal(b.get_value(), [1, 2])
    swap()
    np.testing.assert_array_equal(a.get_value(), [1, 2])


@pytest.mark.parametrize("shape", [(3,), (None,)])
def test_an_input_is_remembered_in_place_in_the_loop_that_reads_it(shape: Any) -> None:
    w, old, new = (shared(values, shape=shape) for values in ([1, 2, 3], [1, 1, 1], [0, 5, 7]))
    step = compiled([], [], updates=[(w, w - (new - old)), (old, new)])
    assert details(step).kernel.__source__.count("for ") == 1
    step()
    place = address(old)
    new.set_value(np.array([1.0, 5, 6]))
    step()
    assert address(old) == place != address(new)
    np.testing.assert_array_equal(w.get_value(), [1, -2, -2])
    np.testing.assert_array_equal(old.get_value(), [1, 5, 6])
    np.testing.assert_array_equal(new.get_value(), [1, 5, 6])


def test_an_input_remembered_may_be_an_output_too() -> None:
    old, new = shared([1.0, 2.0]), shared([3.0, 4.0])
    f = compiled([], [new, old, old + new], updates=[(old, new), (new, new)])
    now, before, total = f()
    np.testing.assert_array_equal([now, before, total], [[3, 4], [1, 2], [4, 6]])
    new.get_value(borrow=True)[:] = 9
    np.testing.assert_array_equal([now, old.get_value()], [[3, 4], [3, 4]])


def test_two_variables_that_take_one_value_share_no_memory() -> None:
    a, b, c = shared([0.0]), shared([0.0]), shared([7.0])
    compiled([], [], updates=[(a, c), (b, c)])()
    c.get_value(borrow=True)[0] = 1
    assert (a.get_value()[0], b.get_value()[0]) == (7, 7)
    assert not np.shares_memory(a.get_value(borrow=True), b.get_value(borrow=True))


def test_one_expression_twice_is_two_arrays() -> None:
    x = pt.dvector("x")
    first, second = compiled([x], [x * 2, x * 2])(np.ones(3))
    assert not np.shares_memory(first, second)


@pytest.mark.parametrize("size", [3, None])
def test_an_output_is_not_overwritten_by_the_next_call(size: int | None) -> None:
    x = pt.tensor("x", dtype="float64", shape=(size,))
    f = compiled([x], [x.sum(), x + 1, pt.concatenate([x] * 999)])
    before = f(np.ones(3))
    kept = [np.copy(result) for result in before]
    f(np.zeros(3))
    for result, copy in zip(before, kept, strict=True):
        np.testing.assert_array_equal(result, copy)


def test_an_input_handed_out_is_a_copy() -> None:
    x = pt.dvector("x")
    values = np.ones(3)
    assert not np.shares_memory(compiled([x], x)(values), values)


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda a: a[::-1], lambda a: np.repeat(a, 2, 1)[:, ::2]])
def test_a_variable_in_another_layout_is_updated(layout: Any) -> None:
    w = shared(np.zeros((2, 3)))
    w.set_value(layout(np.arange(6.0).reshape(2, 3)), borrow=True)
    wanted = w.get_value() + 3
    step = compiled([], w * 1, updates=[(w, w + 1)])
    for _ in range(3):
        step()
    np.testing.assert_array_equal(w.get_value(), wanted)


def test_a_read_only_array_is_not_written_to() -> None:
    values = np.arange(3.0)
    values.flags.writeable = False
    w = shared(np.zeros(3))
    w.set_value(values, borrow=True)
    compiled([], [], updates=[(w, w * 2)])()
    np.testing.assert_array_equal(values, [0, 1, 2])
    np.testing.assert_array_equal(w.get_value(), [0, 2, 4])


def test_a_strided_input_that_changes_between_calls_is_read_again() -> None:
    x = pt.dvector("x")
    f = compiled([x], x * 2)
    values = np.zeros(6)
    part = values[::2]
    f(part)
    values[:] = 1
    np.testing.assert_array_equal(f(part), [2, 2, 2])


def test_an_update_that_is_a_view_of_its_variable_is_stored() -> None:
    w = shared(np.arange(6.0).reshape(2, 3))
    compiled([], [], updates=[(w, (w.T * 2).T)])()
    np.testing.assert_array_equal(w.get_value(), [[0, 2, 4], [6, 8, 10]])


def test_integer_counters_count() -> None:
    t = pytensor.shared(np.array(0))
    step = compiled([], t, updates=[(t, t + 1)])
    assert [int(step()) for _ in range(3)] == [0, 1, 2]
    assert t.get_value() == 3


def test_a_number_is_updated_in_place() -> None:
    t = pytensor.shared(np.array(0))
    step = compiled([], [], updates=[(t, t + 1)])
    step()
    place = address(t)
    step()
    assert address(t) == place
    assert t.get_value() == 2


def test_one_array_for_two_inputs_is_fine() -> None:
    x, y = pt.dvector("x"), pt.dvector("y")
    values = np.arange(3.0)
    np.testing.assert_array_equal(compiled([x, y], x + 2 * y)(values, values), 3 * values)


def test_batches_of_changing_size_need_no_new_compile() -> None:
    x = pt.dmatrix("x")
    f = compiled([x], [pt.tanh(x @ x.T).sum(), (x * 2).T])
    for rows in (3, 50, 2, 0, 70):
        values = np.full((rows, 4), 0.1)
        total, twice = f(values)
        np.testing.assert_allclose(total, rows * rows * np.tanh(0.04))
        assert twice.shape == (4, rows)
    assert len(details(f).kernel.overloads) == 1


def test_calls_from_several_threads_do_not_mix() -> None:
    x = pt.dmatrix("x")
    f = details(compiled([x], [pt.tanh(x @ x).sum(axis=0)]))
    f(np.eye(2))
    wrong: list[float] = []

    def work(number: float) -> None:
        call = CallPool(f, [[np.eye(20) * number]])
        wanted = np.tanh(number**2)
        wrong.extend(number for _ in range(300) if not np.allclose(call()[0], wanted))

    threads = [threading.Thread(target=work, args=(number,)) for number in (0.1, 0.5, 0.9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_generated_function_takes_arrays_too() -> None:
    w = shared([1.0, 2.0])
    function = details(compiled([], w.sum(), updates=[(w, w + 1)]))
    values = np.array([5.0, 6.0])
    total, following = function(values)
    np.testing.assert_array_equal([total, *following], [11, 6, 7])
    np.testing.assert_array_equal(values, [5, 6])  # where it lies, compiled loops must not write


def test_a_function_without_updates_of_its_own_fills_the_cells_of_outputs() -> None:
    x = pt.dvector("x")
    graph = FunctionGraph([x], [x * 2], clone=True)
    call, [argument], [result] = fast_mode().linker.accept(graph).make_thunk()
    argument.storage[0] = np.ones(3)
    call()
    np.testing.assert_array_equal(result.storage[0], [2, 2, 2])


def test_a_value_that_is_set_between_calls_is_taken() -> None:
    w, rate = shared([1.0, 2.0]), shared(0.5)
    step = compiled([], [], updates=[(w, w - rate)])
    for value, wanted in ((0.5, [0.5, 1.5]), (0.25, [0.25, 1.25])):
        rate.set_value(np.array(value))
        step()
        np.testing.assert_array_equal(w.get_value(), wanted)
    w.set_value(np.array([8.0, 9.0]))
    rate.get_value(borrow=True)[...] = 2
    step()
    np.testing.assert_array_equal(w.get_value(), [6, 7])


def test_a_call_inside_a_call_has_a_frame_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    x = pt.dvector("x")
    f = compiled([x], x * 2)
    f(np.zeros(2))
    inner: list[np.ndarray] = []
    pointer = private.pointer

    def interrupted(array: Any) -> Any:  # where the address of a new array is taken
        monkeypatch.setattr(private, "pointer", pointer)
        inner.append(f(np.full(2, 5.0)))
        return pointer(array)

    monkeypatch.setattr(private, "pointer", interrupted)
    np.testing.assert_array_equal(f(np.full(2, 3.0)), [6, 6])
    np.testing.assert_array_equal(inner[0], [10, 10])


def test_equal_updates_of_many_variables_are_compiled_once() -> None:
    params = [shared(np.full((2, 3), float(i)), shape=(2, 3)) for i in range(20)]
    states = [shared(np.zeros((2, 3)), shape=(2, 3)) for _ in params]
    updates = [(s, 0.9 * s + p) for s, p in zip(states, params, strict=True)]
    updates += [(p, p - 0.1 * new) for p, (_, new) in zip(params, updates, strict=True)]
    f = compiled([], [], updates=updates)
    f()
    for i, p in enumerate(params):
        np.testing.assert_allclose(p.get_value(), 0.9 * i)
    kernels = [name for name in details(f).kernel.py_func.__globals__ if name.startswith("loops_")]
    assert len(kernels) == 1


def test_a_large_graph_has_all_its_loops_outside() -> None:
    x = pt.dvector("x")
    h = x
    for i in range(20):
        h = pt.cumsum(h, axis=0) * (0.1 + i)
        h = h / h.max()
    f = compiled([x], h)
    wanted = np.arange(1.0, 4)
    for i in range(20):
        wanted = np.cumsum(wanted) * (0.1 + i)
        wanted = wanted / wanted.max()
    np.testing.assert_allclose(f(np.arange(1.0, 4)), wanted)
    assert "for " not in details(f).kernel.py_func.__source__


def test_the_address_of_an_array_is_found_where_numpy_keeps_it() -> None:
    array = np.arange(12.0).reshape(3, 4)[1:, 2:]
    assert private.pointer(array) == private.data_of(array) == array.ctypes.data


@pytest.mark.parametrize("other", ["same", "read-only", "other length", "Fortran", "subclass"])
def test_a_new_array_is_bound_like_the_first(other: str) -> None:
    x = pt.fmatrix("x")
    f = compiled([x], x.sum(axis=0))
    values = np.arange(6, dtype="f").reshape(2, 3)
    f(values)
    new = {
        "same": values + 1,
        "read-only": np.broadcast_to(np.float32(2), (2, 3)),
        "other length": np.ones((4, 3), "f"),
        "Fortran": np.asfortranarray(values * 2),
        "subclass": (values * 3).view(type("Array", (np.ndarray,), {})),
    }[other]
    for array in (new, values, new):
        np.testing.assert_array_equal(f(array), np.asarray(array).sum(axis=0))


def test_a_function_that_pytensor_runs_has_no_address() -> None:
    x = pt.vector("x")
    function = details(compiled([x], x + 1))
    function.kernel = SimpleNamespace()  # nothing that Numba could compile
    with pytest.raises(ValueError, match="function must run as it was generated"):
        function.address()


def test_machine_code_that_is_nowhere_is_an_error() -> None:
    nowhere = SimpleNamespace(get_pointer_to_function=lambda name: 0)
    made = SimpleNamespace(library=nowhere, fndesc=SimpleNamespace(llvm_func_name="step"))
    with pytest.raises(ValueError, match="the machine code of a function must have an address"):
        private.address_of(SimpleNamespace(overloads={(types.int64,): made}))
