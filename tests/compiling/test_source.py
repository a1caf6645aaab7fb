"""The text of loops, sizes as text, blocks of memory."""

from __future__ import annotations

import numpy as np
import pytest

from downhill2.compiling.assemble import TYPES
from downhill2.compiling.plan import Workspace
from downhill2.compiling.scalars import literal
from downhill2.compiling.source import Block, Kernel, is_atom
from downhill2.compiling.values import EqualSizes, Value, dense_strides, merge_axes, offset, times


@pytest.mark.parametrize(
    ("factors", "product"),
    [
        ((), 1),
        ((2, 3), 6),
        (("b", "a"), "a*b"),
        ((2, "a", 3), "6*a"),
        (("-1*a", 2), "-2*a"),
        ((0, "a"), 0),
        (("2*a", "3*a"), "6*a*a"),
    ],
)
def test_products_of_sizes(factors: tuple[int | str, ...], product: int | str) -> None:
    assert times(*factors) == product


def test_strides_of_a_dense_array() -> None:
    assert dense_strides((2, "n", 4)) == ("4*n", 4, 1)


@pytest.mark.parametrize(
    ("shape", "strides", "merged"),
    [
        ((2, 3), [(3, 1), (3, 1)], ([6], [[1], [1]])),
        (("n", "m"), [("m", 1)], (["m*n"], [[1]])),
        ((2, 3), [(3, 1), (0, 1)], ([2, 3], [[3, 1], [0, 1]])),
        ((2, 1, 3), [(3, 7, 1)], ([6], [[1]])),
        ((1, 1), [(9, 9)], ([], [[]])),
        ((4, 5), [(0, 0)], ([20], [[0]])),
    ],
)
def test_axes_merge_when_all_arrays_go_on_without_a_gap(shape: object, strides: object, merged: object) -> None:
    assert merge_axes(shape, strides) == merged  # type: ignore[arg-type]


def test_an_offset_leaves_out_what_is_zero() -> None:
    assert offset(["i", "j", "0"], [4, 0, 3]) == "4*i"
    assert offset([], []) == "0"


def test_sizes_found_equal_have_one_name() -> None:
    sizes = EqualSizes()
    sizes.join("a", "b")
    sizes.join("b", 7)
    sizes.join("a*b", 3)
    assert sizes.canonical("a*n") == "7*n"
    assert sizes.canonical(5) == 5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("number", [0.1, -1e-30, np.inf, -np.inf, np.nan, 3])
def test_a_literal_is_its_number(number: float, dtype: str) -> None:
    import math

    value = eval(literal(np.dtype(dtype).type(number), dtype), {**TYPES, "math": math})
    np.testing.assert_array_equal(np.dtype(dtype).type(value), np.dtype(dtype).type(number))


@pytest.mark.parametrize(
    ("value", "dtype", "text"), [(True, "bool", "True"), (3, "int64", "3"), (3, "uint8", "uint8(3)")]
)
def test_literals_of_whole_numbers(value: int, dtype: str, text: str) -> None:
    assert literal(value, dtype) == text


@pytest.mark.parametrize(
    ("text", "atom"), [("t1", True), ("t1$", True), ("12", True), ("1.5", True), ("-1", False), ("a + b", False)]
)
def test_names_and_literals_are_atoms(text: str, atom: bool) -> None:
    assert is_atom(text) is atom


def doubled(pointer: str, size: int) -> Kernel:
    kernel = Kernel()
    value = Value("float64", (size,), (1,), pointer=pointer)
    with kernel.loops([kernel.size(size)]) as index:
        element = kernel.load(value, index, [1])
        kernel.put(f"{kernel.pointer(value)}[{index[0]}] = 2 * {element}")
    return kernel


def test_equal_loops_have_equal_text_whatever_they_work_on() -> None:
    first, second = doubled("p1", 3), doubled("p2", 5)
    assert first.function("f") == second.function("f")
    assert first.call("f") == "f(3, p1)"


def test_a_loop_does_the_same_in_place_and_as_a_function() -> None:
    kernel = doubled("p1", 3)
    scope: dict[str, object] = {}
    exec(kernel.function("f"), scope)
    array = [1, 2, 3]
    scope["f"](3, array)  # type: ignore[operator]
    assert array == [2, 4, 6]
    exec("\n".join(kernel.inline(7)), {"p1": array})
    assert array == [4, 8, 12]


def test_results_and_long_arguments_get_names() -> None:
    kernel = Kernel()
    total = kernel.let(f"1 + {kernel.take('2*n', 'n')}")
    kernel.give(total, "s9")
    scope: dict[str, object] = {"n": 3}
    exec("\n".join(kernel.inline(1)), scope)
    assert scope["s9"] == 7
    assert kernel.call("f") == "s9 = f(2*n)"
    assert kernel.function("f").endswith("return t2")


def test_a_name_is_not_named_again() -> None:
    block = Block()
    assert block.let("a") == "a"
    assert block.lines == []


def test_blocks_are_used_again_when_they_fit() -> None:
    workspace = Workspace()
    first = workspace.take(100)
    assert first == (0, 128)
    workspace.give_back(first)
    assert workspace.take(1) == (0, 128) or workspace.size == 192
    small = workspace.take(8)
    assert small[0] == 128
    workspace.give_back((0, 4096))
    assert workspace.take(64)[0] == 192


def test_rooms_are_used_again_for_the_same_size() -> None:
    workspace = Workspace()
    assert workspace.take_room("8*n") is None
    workspace.give_room("8*n", 4)
    assert workspace.take_room("8*m") is None
    assert workspace.take_room("8*n") == 4
    assert workspace.take_room("8*n") is None
