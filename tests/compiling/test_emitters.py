"""Emitters from outside the package: registered, used, and told what they did wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from generated import assert_equal_to_python, compiled, details
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op

from downhill2.compiling import Kernel, KernelError, Program, Unsupported, Value, emits, fast_mode


class Smooth(Op):  # type: ignore[misc]  # PyTensor has no annotations
    """A mean along a vector that forgets."""

    __props__ = ("rate",)

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def make_node(self, x: Any) -> Apply:
        x = pt.as_tensor_variable(x)
        return Apply(self, [x], [x.type()])

    def perform(self, node: Any, inputs: Any, outputs: Any) -> None:
        mean, means = 0.0, []
        for element in inputs[0]:
            mean += self.rate * (element - mean)
            means.append(mean)
        outputs[0][0] = np.array(means, node.outputs[0].dtype)


class SmoothAgain(Smooth):
    """The same, by another name."""


@emits(Smooth)
def smooth(program: Program, node: Any) -> None:
    if not node.op.rate:
        raise Unsupported("a rate of 0")
    x = program.in_memory(program.value(node.inputs[0]))
    y = program.allocate(node.outputs[0], x.shape)
    kernel = Kernel()
    mean = kernel.let(f"{x.dtype}(0)", "m")
    with kernel.loops(kernel.sizes(x.shape)) as at:
        element = kernel.load(x, at, kernel.sizes(x.strides))
        kernel.put(f"{mean} += {x.dtype}({node.op.rate}) * ({element} - {mean})")
        kernel.store(y, at, kernel.sizes(y.strides), mean)
    program.add(kernel)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-13)])
@pytest.mark.parametrize("size", [9, None])
def test_an_emitter_from_outside_is_part_of_the_one_function(dtype: str, tolerance: float, size: Any) -> None:
    x = pt.tensor("x", dtype=dtype, shape=(size,))
    values = np.random.default_rng(0).standard_normal(9).astype(dtype)
    outputs = [Smooth(0.25)(pt.exp(x)), Smooth(0.5)(x[::-2]).sum(), SmoothAgain(0.5)(x)]
    f = assert_equal_to_python([x], outputs, [values], tolerance)
    assert details(f).fallbacks == []


def test_what_an_emitter_refuses_goes_to_the_kernel_of_pytensor() -> None:
    x = pt.dvector("x")
    with pytest.warns(UserWarning, match="object mode"):
        f = assert_equal_to_python([x], [Smooth(0)(x), Smooth(0.5)(x)], [np.ones(3)])
    assert details(f).fallbacks == ["Smooth{rate=0}"]


Writer = Callable[[Kernel, Value, Value], None]


def one_element(how: Callable[[Kernel, Value, str], str]) -> Writer:
    def write(kernel: Kernel, x: Value, y: Value) -> None:
        with kernel.loops(kernel.sizes(x.shape)) as at:
            kernel.store(y, at, [1], how(kernel, x, at[0]))

    return write


def loops_over_a_size_that_was_not_taken(kernel: Kernel, x: Value, y: Value) -> None:
    with kernel.loops(x.shape) as at:
        kernel.store(y, at, [1], kernel.load(x, at, [1]))


def a_result_that_nothing_assigns(kernel: Kernel, x: Value, y: Value) -> None:
    kernel.give(kernel.new("r"), "s1")


def a_block_without_statements(kernel: Kernel, x: Value, y: Value) -> None:
    kernel.put("if 1 > 0:")


def of_another(kernel: Kernel, x: Value, i: str) -> str:
    other = Kernel()
    for _ in range(9):
        other.new("t")
    return other.let("1.0 + 1.0")


FAULTS: list[tuple[Writer, str]] = [
    (one_element(lambda k, x, i: f"{x.pointer}[{i}]"), "use 'p[0-9]', an address that was not taken; call kernel.load"),
    (loops_over_a_size_that_was_not_taken, r"use 'e[0-9]', which was not taken; call kernel.size\(size\)"),
    (one_element(lambda k, x, i: f"tahn({k.load(x, [i], [1])})"), "use 'tahn', which is no tool; did you mean 'tan"),
    (one_element(lambda k, x, i: f"gemm_float64({k.load(x, [i], [1])})"), "no tool; .*program.tool"),
    (one_element(of_another), r"use 't10\$', which belongs to another kernel, or is never assigned"),
    (a_result_that_nothing_assigns, r"use 'r1\$', which belongs to another kernel, or is never assigned"),
    (a_block_without_statements, "must be Python, got 'if 1 > 0:'; expected an indented block"),
]


@pytest.mark.parametrize(("write", "message"), FAULTS, ids=[message for _, message in FAULTS])
def test_a_kernel_that_uses_what_it_did_not_take_is_named(write: Writer, message: str) -> None:
    class Faulty(Smooth):
        """An Op of this test alone."""

    @emits(Faulty)
    def faulty(program: Program, node: Any) -> None:
        x = program.in_memory(program.value(node.inputs[0]))
        y = program.allocate(node.outputs[0], x.shape)
        kernel = Kernel()
        write(kernel, x, y)
        program.add(kernel)

    x = pt.dvector("x")
    with pytest.raises(KernelError, match=message) as raised:
        compiled([x], Faulty(0.5)(x))
    assert str(raised.value).startswith("loops of Faulty{rate=0.5}, written by ")
    assert "faulty" in str(raised.value)


def test_a_kernel_may_use_builtins_tools_and_what_an_emitter_puts_into_the_scope() -> None:
    class Known(Smooth):
        """An Op of this test alone."""

    @emits(Known)
    def known(program: Program, node: Any) -> None:
        x = program.in_memory(program.value(node.inputs[0]))
        y = program.allocate(node.outputs[0], x.shape)
        program.scope["half"] = 0.5
        program.keys.append(("half", "0.5"))
        kernel = Kernel()
        with kernel.loops(kernel.sizes(x.shape)) as at:
            element = kernel.let(kernel.load(x, at, kernel.sizes(x.strides)))
            kernel.store(y, at, [1], f"max(select({element} > 0, {element}, math.cos({element})), float64(half))")
        program.add(kernel)

    x = pt.dvector("x")
    f = compiled([x], Known(0.5)(x))
    np.testing.assert_allclose(f(np.array([2.0, -1.0, 0.1, -1.5])), [2, np.cos(1), 0.5, 0.5], rtol=1e-12)


def test_a_fault_of_an_emitter_of_the_package_is_a_warning_and_no_end(monkeypatch, caplog):
    """PyTensor compiles the function: a user is not stopped by it."""

    def fails(kernels, tools):
        raise KernelError("loops of Some{op} use 'p2'", own=True)

    monkeypatch.setattr("downhill2.compiling.assemble.check_names", fails)
    x = pt.vector("x")
    f = pytensor.function([x], x * 3.25 + 1, mode=fast_mode(), trust_input=True)
    np.testing.assert_array_equal(f(np.arange(3.0)), np.arange(3.0) * 3.25 + 1)
    [message] = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert message.startswith("loops of Some{op} use 'p2'; please report this.")
