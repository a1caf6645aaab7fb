"""Which memory elementwise operations write over."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from generated import compiled
from pytensor.compile.io import In
from pytensor.compile.mode import Mode, get_mode
from pytensor.graph.rewriting.basic import GraphRewriter, MergeOptimizer

import downhill2
from downhill2.compiling import fast_mode
from downhill2.compiling.plan import aliased_input

SIZE = 7


def shared(name: str, *shape: int) -> Any:
    rng = np.random.default_rng(len(name))
    return pytensor.shared(rng.normal(size=shape or SIZE).astype("float32"), name=name, shape=shape or (SIZE,))


def graph(function: Any) -> Any:
    return function.maker.fgraph


def overwritten(function: Any) -> dict[Any, Any]:
    """Return the node that writes over each variable."""
    nodes = graph(function).apply_nodes
    return {node.inputs[i]: node for node in nodes for [i] in node.op.destroy_map.values()}


def memory(variable: Any) -> Any:
    """Return the variable in whose memory one ends up."""
    while variable.owner is not None and (source := aliased_input(variable.owner, variable)) is not None:
        variable = source
    return variable


def stay(function: Any) -> list[bool]:
    """Return for each update whether it is made where the value before was."""
    fgraph = graph(function)
    return [memory(fgraph.outputs[k]) is fgraph.inputs[i] for k, i in fgraph.update_mapping.items()]


def test_all_updates_of_a_network_are_made_in_place() -> None:
    x, w1, b1, w2 = pt.matrix("x", dtype="float32"), shared("w1", 4, 5), shared("b1", 5), shared("w2", 5, 3)
    loss = ((pt.tanh(x @ w1 + b1) @ w2) ** 2).mean()
    updates = downhill2.build("adam", loss, [w1, b1, w2], [x]).get_updates()
    function = compiled([x], loss, updates=updates)
    assert stay(function) == [True] * len(updates) == [True] * 10


def test_what_others_read_is_overwritten_after_them() -> None:
    """A product reads the parameter that the update writes over, and comes later in the order of the outputs."""
    p, q = shared("p", 3, 3), shared("q", 3, 3)
    start = p.get_value()
    function = compiled([], [(p @ q).sum()], updates=[(p, p * 2)])
    assert stay(function) == [True]
    np.testing.assert_allclose(function()[0], (start @ q.get_value()).sum(), rtol=1e-5)
    np.testing.assert_array_equal(p.get_value(), start * 2)


def test_two_updates_that_read_each_other_take_turns() -> None:
    p, q = shared("p"), shared("qq")
    before = p.get_value(), q.get_value()
    compiled([], [], updates=[(p, p + q), (q, pt.exp(p))])()
    np.testing.assert_array_equal(p.get_value(), before[0] + before[1])
    np.testing.assert_allclose(q.get_value(), np.exp(before[0]), rtol=1e-6)


def test_what_is_not_to_change_does_not() -> None:
    x, p = pt.vector("x", dtype="float32"), shared("p")
    constant = pt.constant(np.arange(SIZE, dtype="float32"))
    shifted = x[::-1] + 1
    function = compiled(
        [x], [pt.exp(x), constant * 2, shifted, pt.exp(shifted), p.T + p.reshape((SIZE,))], updates=[(p, p)]
    )
    assert overwritten(function) == {}
    values = np.linspace(0, 1, SIZE, dtype="float32")
    for _ in range(2):
        found = function(values)
    np.testing.assert_array_equal(values, np.linspace(0, 1, SIZE, dtype="float32"))
    np.testing.assert_allclose(found[2], values[::-1] + 1)


def test_what_lies_in_the_memory_of_an_output_is_kept() -> None:
    x = pt.matrix("x", dtype="float32")
    square = pt.tanh(x)
    function = compiled([x], [square.T, square.sum(axis=0), pt.exp(square.ravel())])
    assert overwritten(function) == {}


def test_an_indestructible_variable_is_kept() -> None:
    x = pt.vector("x", dtype="float32")
    assert len(overwritten(compiled([In(x, mutable=True)], [pt.exp(x).sum() + 1, pt.exp(x * 2).sum()]))) > 0
    x.tag.indestructible = True
    function = compiled([In(x, mutable=True)], [pt.exp(x).sum() + 1])
    assert not any(variable in graph(function).inputs for variable in overwritten(function))


def test_what_has_an_indestructible_view_is_kept() -> None:
    p = shared("p", 2, 3)
    view = p.T
    view.tag.indestructible = True
    function = compiled([], [pt.exp(view).sum()], updates=[(p, pt.exp(p) * 2)])
    assert stay(function) == [False]


def test_a_graph_may_allow_less_than_its_order_does() -> None:
    """PyTensor's quick search for cycles lets nothing be overwritten that two nodes read."""
    p, q, r = shared("p", 3, 3), shared("q", 3, 3), shared("r")
    wanted = (p.get_value() @ q.get_value()).sum(), p.get_value() * 2, np.exp(r.get_value())
    with pytensor.config.change_flags(cycle_detection="fast", on_opt_error="raise"):
        function = compiled([], [(p @ q).sum()], updates=[(p, p * 2), (r, pt.exp(r))])
    assert stay(function) == [False, True]
    for want, have in zip(wanted, (function()[0], p.get_value(), r.get_value()), strict=True):
        np.testing.assert_allclose(have, want, rtol=1e-5)


def test_an_output_does_not_take_the_memory_of_a_parameter() -> None:
    """It would be copied out again, as the parameter is the caller's."""
    p = shared("p")
    function = compiled([], [pt.exp(p)], updates=[(p, pt.zeros_like(p))])
    assert graph(function).inputs[0] not in overwritten(function)
    start = p.get_value()
    np.testing.assert_allclose(function()[0], np.exp(start), rtol=1e-6)


def test_an_update_by_way_of_another_value_ends_where_it_began() -> None:
    """The maximum keeps the two operations apart."""
    p = shared("p")
    between = pt.exp(p)
    start = p.get_value()
    function = compiled([], [], updates=[(p, between / between.max())])
    assert stay(function) == [True]
    function()
    np.testing.assert_allclose(p.get_value(), np.exp(start) / np.exp(start).max(), rtol=1e-5)


@pytest.mark.parametrize(
    "mode",
    [
        fast_mode(get_mode("NUMBA").excluding("inplace")),
        fast_mode(get_mode("NUMBA").excluding("inplace_elemwise")),
        fast_mode(Mode("numba", "fast_compile")),
        fast_mode().excluding("inplace"),
        fast_mode().excluding("inplace_elemwise_opt"),
        fast_mode().clone(optimizer=MergeOptimizer()),
    ],
)
def test_a_mode_that_does_nothing_in_place_stays_so(mode: Mode) -> None:
    p = shared("p")
    start = p.get_value()
    function = compiled([], [], mode, updates=[(p, pt.exp(p))])
    assert overwritten(function) == {}
    function()
    np.testing.assert_allclose(p.get_value(), np.exp(start), rtol=1e-6)


def guarded(*positions: float, **options: Any) -> list[bool]:
    """Return whether a graph is guarded against wrong overwriting when rewrites at these positions see it."""
    seen = []

    class Looking(GraphRewriter):
        def apply(self, fgraph: Any) -> None:
            seen.append(hasattr(fgraph, "destroyers"))

    x = pt.vector("x", dtype="float32")
    mode = fast_mode(get_mode("NUMBA").register(*((Looking(), position) for position in positions)))
    output = pt.set_subtensor(pt.exp(x)[:1], 0, inplace=bool(options))
    function = pytensor.function([x], output, mode=mode, **options)
    np.testing.assert_array_equal(function(np.zeros(3, "float32")), [0, 1, 1])
    return seen


def test_a_graph_is_guarded_before_anything_is_overwritten() -> None:
    """Nothing is overwritten before PyTensor's position 49.5; looking out for it earlier takes time."""
    assert guarded(0.1, 49.2, 49.6, 80) == [False, False, True, True]
    assert guarded(0.1, 80, accept_inplace=True) == [True, True]
