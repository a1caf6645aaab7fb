"""Walking graphs, naming variables, and casting numbers where they meet tensors."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.graph.traversal import toposort

from downhill2.symbolic import graph


def shared(value, dtype="float64", name=None, shape=None):
    array = np.array(value, dtype)
    return pytensor.shared(array, name=name, shape=shape or (None,) * array.ndim)


def test_leaves_come_in_the_order_in_which_the_expression_reads():
    x, y = pt.matrix("x"), pt.vector("y")
    W, b = shared(np.ones((2, 2)), name="W"), shared([0, 0], name="b")
    loss = ((x @ W + b - y) ** 2).mean()
    assert graph.explicit_inputs([loss]) == [x, y]
    assert graph.shared_inputs([loss]) == [W, b]
    assert [v for v in graph.leaves([loss]) if v.name] == [x, W, b, y]


def test_a_leaf_that_occurs_twice_is_found_once_where_it_is_seen_first():
    x, y = pt.scalars("x", "y")
    assert graph.leaves([y * x + y, x, x - y]) == [y, x]


def test_leaves_of_a_graph_deeper_than_the_recursion_limit_are_found():
    x = y = pt.scalar("x")
    for _ in range(2000):
        y = y + x
    assert graph.leaves([y]) == [x]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["W", "b"], ["W", "b"]),
        (["W", "W", "W"], ["W", "W#2", "W#3"]),
        (["W", "W#2", "W"], ["W", "W#2", "W#3"]),
        ([None, "W", None], ["unnamed0", "W", "unnamed1"]),
        (["unnamed0", None], ["unnamed0", "unnamed0#2"]),
        (["", ""], ["", "#2"]),
    ],
)
def test_labels_are_unique(names, expected):
    assert graph.labels([shared(0, name=name) for name in names]) == expected


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        (shared(np.zeros((784, 10)), "float32", "W", (784, 10)), "W (784, 10) float32"),
        (shared([1, 2], "float16", "b"), "b (?,) float16"),
        (shared([1, 2], "int64", None, (2,)), "unnamed (2,) int64"),
        (shared(3, name="s"), "s () float64"),
        (shared([[1]], name="m", shape=(None, 1)), "m (?, 1) float64"),
    ],
)
def test_a_description_has_name_shape_and_dtype(variable, expected):
    assert graph.describe(variable) == expected


def test_kinds_of_variables_are_told_apart():
    generator = pt.random.shared_rng(np.random.default_rng(0))
    x, w = pt.vector("x"), shared([1.0])
    rows = [(v, graph.is_variable(v), graph.is_shared(v), graph.is_tensor(v)) for v in (x, w, generator, 3.0)]
    assert rows == [
        (x, True, False, True),
        (w, True, True, True),
        (generator, True, True, False),
        (3.0, False, False, False),
    ]


def test_replacing_nothing_returns_the_same_expressions():
    x = pt.scalar("x")
    assert graph.replaced([x + 1], {}) != []
    outputs = [x + 1]
    assert graph.replaced(outputs, {}) == outputs
    assert graph.replaced([], {x: pt.scalar("y")}) == []


def test_replacing_reaches_every_occurrence_and_ignores_what_does_not_occur():
    x, y, z = pt.scalars("x", "y", "z")
    doubled, same = graph.replaced([x * x, z + 1], {x: 2 * y, pt.scalar("elsewhere"): y})
    assert doubled.eval({y: 3.0}) == 36
    assert same.eval({z: 1.0}) == 2


def test_a_shared_copy_owns_its_value():
    value = np.zeros(3)
    v = graph.shared_like(value, "v", (3,))
    value[:] = 5
    assert v.get_value().tolist() == [0, 0, 0]
    assert v.type.shape == (3,)


def large(value, order="C"):
    return np.full((512, 512), value, order=order)


def test_a_large_value_is_written_over_the_one_before():
    v, value = shared(large(1.0), shape=(512, 512)), large(2.0, "F")
    before = v.get_value(borrow=True)
    graph.assign({v: value})
    value[:] = 3
    assert v.get_value(borrow=True) is before
    assert (before == 2).all()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (np.zeros(3), np.ones(3)),
        (np.zeros(2**18), np.ones(2**18 + 1)),
        (np.zeros(2**18), np.ones(2**18, "float32")),
        (large(0.0, "F"), large(1.0)),
        (np.broadcast_to(np.zeros(()), (512, 512)), large(1.0)),
        (np.random.default_rng(1), np.random.default_rng(2)),
    ],
    ids=["small", "of another length", "of another dtype", "in another order", "read only", "a generator"],
)
def test_what_cannot_take_a_new_value_is_replaced_by_a_copy(old, new):
    v = pytensor.shared(old, borrow=True, **({"shape": (None,) * old.ndim} if isinstance(old, np.ndarray) else {}))
    graph.assign({v: new})
    found = v.get_value(borrow=True)
    assert found is not old
    assert found is not new
    if isinstance(new, np.ndarray):
        np.testing.assert_array_equal(found, new)
        assert not np.asarray(old).any()
    else:
        assert found.random() == new.random()


def test_variables_can_be_given_each_others_values():
    v, w = shared(large(1.0)), shared(large(2.0))
    graph.assign({v: w.get_value(borrow=True), w: v.get_value(borrow=True)})
    assert (v.get_value() == 2).all()
    assert (w.get_value() == 1).all()


def test_variables_of_the_same_memory_can_be_given_different_values():
    value = large(1.0)
    v, w = (pytensor.shared(value, borrow=True) for _ in "vw")
    graph.assign({v: large(2.0), w: large(3.0)})
    assert (v.get_value() == 2).all()
    assert (w.get_value() == 3).all()


def test_a_shared_generator_keeps_the_stream_of_its_seed():
    v = graph.shared_like(np.random.default_rng(3), "rng", ())
    assert v.get_value().random() == np.random.default_rng(3).random()


def test_a_shared_number_is_a_float64_scalar_whatever_floatx_is():
    with pytensor.config.change_flags(floatX="float32"):
        x = graph.shared_scalar(0.1, "x")
    assert (x.type.dtype, x.type.ndim, x.get_value(), x.name) == ("float64", 0, 0.1, "x")


@pytest.mark.parametrize("value", [1.0, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("ndim", [0, 1])
def test_finite_says_whether_every_element_is(value, ndim):
    x = pt.as_tensor(np.array(value) if ndim == 0 else np.array([1.0, value]))
    assert bool(graph.finite(x).eval()) == (value == 1.0)


def test_evaluating_needs_no_compiled_backend(monkeypatch):
    x = shared(2.0)
    modes = []
    function = pytensor.function
    monkeypatch.setattr(pytensor, "function", lambda *a, mode, **k: modes.append(mode) or function(*a, mode=mode, **k))
    assert graph.evaluate(x) == 2
    assert modes == []
    assert graph.evaluate(3 * x) == 6
    assert type(modes[0].linker).__name__ == "PerformLinker"


# -- narrow


@pytest.mark.parametrize("floatx", ["float32", "float64"])
@pytest.mark.parametrize("number", ["float64", "int64", "int32"])
def test_a_number_does_not_widen_a_float32_tensor(floatx, number):
    x, t = shared([1, 2, 3], "float32"), shared(3, number)
    with pytensor.config.change_flags(floatX=floatx):
        y = (1 - 0.1**t) * x / pt.sqrt(t + 1e-8)
    assert y.type.dtype == "float64"
    [z] = graph.narrow([y], [x, t])
    assert z.type.dtype == "float32"
    np.testing.assert_allclose(z.eval(), (1 - 0.1**3) * np.array([1, 2, 3]) / np.sqrt(3), rtol=1e-6)


def test_numbers_are_computed_in_float64_before_they_meet_a_tensor():
    # 1 - 0.999**1 has lost four of its digits when it is computed in float32
    x, beta, t = shared([1.0], "float32", shape=(None,)), shared(0.999), shared(1, "int64")
    [z] = graph.narrow([x / (1 - beta**t)], [x, beta, t])
    np.testing.assert_allclose(z.eval(), [1 / (1 - 0.999)], rtol=1e-7)


def test_float64_tensors_stay_as_they_are():
    x, y = shared([1, 2], "float64"), shared([3, 4], "float32")
    wide = 0.1 * x
    assert graph.narrow([wide], [x]) == [wide]
    [mixed] = graph.narrow([0.1 * y + x], [x, y])
    assert mixed.type.dtype == "float64"


def test_what_is_summed_keeps_the_dtype_of_what_is_summed():
    x = shared([1, 2], "float32")
    [norm] = graph.narrow([x / pt.sqrt(pt.sum((0.1 * x) ** 2))], [x])
    assert norm.type.dtype == "float32"
    np.testing.assert_allclose(norm.eval(), np.array([1, 2]) / np.sqrt(0.05), rtol=1e-6)


def test_the_sums_along_an_axis_of_a_float32_matrix_are_float32():
    x = shared([[1, 2], [3, 4]], "float32")
    [rows] = graph.narrow([pt.sum(0.1 * x, axis=1)], [x])
    assert rows.type.dtype == "float32"


def test_masks_of_float32_tensors_do_not_widen_what_they_choose():
    x, c = shared([-1, 2], "float32"), shared(0.5)
    [y] = graph.narrow([pt.switch(pt.gt(x, 0), c, 2 * c)], [x, c])
    assert y.type.dtype == "float32"


def test_what_is_known_is_not_looked_into():
    x = shared([1, 2], "float32")
    wide = 0.1 * x
    [y] = graph.narrow([wide + x], [x, wide])
    assert y.type.dtype == "float64"


def test_a_graph_of_float64_only_is_not_rebuilt():
    x, c = shared([1.0]), shared(0.5)
    y = c * x**2 + 1
    assert graph.narrow([y], [x, c]) == [y]


def test_what_parameters_compute_alike_is_computed_once() -> None:
    rate = graph.shared_scalar(0.1, "rate")
    params = [pytensor.shared(np.ones(n, "float32"), name=f"p{n}") for n in (2, 3)]
    news = graph.narrow([p - (1 - rate) ** 2 * p for p in params], params)
    powers = [
        node for node in toposort(news, blockers=params) if "Sub" in str(node.op) and node.inputs[0] not in params
    ]
    assert len(powers) == 1
    for p, new in zip(params, news, strict=True):
        assert new.type.dtype == "float32"
        np.testing.assert_allclose(new.eval(), (1 - 0.9**2) * p.get_value(), rtol=1e-6)


def test_constants_of_different_value_or_dtype_stay_apart() -> None:
    p = pytensor.shared(np.array([1.0, 2.0], "float32"), name="p")
    a, b, c = graph.narrow([p * 2, p * 3, p * np.float64(2)], [p])
    assert [x.eval().tolist() for x in (a, b, c)] == [[2, 4], [3, 6], [2, 4]]
