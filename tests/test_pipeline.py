"""The stages of a step: what each does, in which order, and the gate that holds all of it back."""

from __future__ import annotations

import itertools
import runpy
from pathlib import Path

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import downhill2
from downhill2.symbolic import pipeline, stages
from downhill2.symbolic.layout import Layout
from downhill2.symbolic.measure import Measured

A = np.array([3.0, -0.5, 0.0])  # of Euclidean norm just above 3
B = np.array([[4.0], [-0.25]])
START = [np.array([1.0, 2.0, -3.0]), np.array([[5.0], [-0.5]])]


def linear(dtype="float64", **hyper):
    """Return an optimizer of a loss whose gradients are A and B wherever the parameters are."""
    a, b = (pytensor.shared(x.astype(dtype), name=n) for x, n in zip(START, "ab", strict=True))
    return downhill2.build("sgd", (a * A.astype(dtype)).sum() + (b * B.astype(dtype)).sum(), [a, b], **hyper)


def moves(opt, updates=1):
    """Return how far each update went: one pair of steps for each."""
    step = pytensor.function([], [], updates=opt.get_updates())
    points = [[p.get_value() for p in opt.params]]
    for _ in range(updates):
        step()
        points.append([p.get_value() for p in opt.params])
    return [[x - y for x, y in zip(old, new, strict=True)] for old, new in itertools.pairwise(points)]


def assert_moves(actual, expected, rtol=1e-12):
    for xs, ys in zip(actual, expected, strict=True):
        for x, y in zip(xs, ys, strict=True):
            np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-6 if rtol > 1e-9 else 1e-14)


def norm(*xs):
    return np.sqrt(sum((x**2).sum() for x in xs))


# -- each stage by itself


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("hyper", "expected"),
    [
        ({}, [A, B]),
        ({"max_gradient_elem": 2}, [np.clip(A, -2, 2), np.clip(B, -2, 2)]),
        ({"max_gradient_norm": 2}, [2 * A / norm(A), 2 * B / norm(B)]),
        ({"max_gradient_norm": 3.5}, [A, 3.5 * B / norm(B)]),
        ({"max_global_norm": 2}, [2 * A / norm(A, B), 2 * B / norm(A, B)]),
        ({"max_global_norm": 9}, [A, B]),
        ({"weight_decay": 0.1}, [A + 0.1 * START[0], B + 0.1 * START[1]]),
        ({"weight_decay": 0.1, "decay": "independent"}, [A + 0.2 * START[0], B + 0.2 * START[1]]),
        ({"weight_decay": 0.1, "decay": "decoupled"}, [A + 0.1 * START[0], B + 0.1 * START[1]]),
    ],
    ids=str,
)
def test_a_transform_does_what_it_says(hyper, expected, dtype):
    opt = linear(dtype, learning_rate=0.5, **hyper)
    assert_moves(moves(opt), [[0.5 * x for x in expected]], 1e-12 if dtype == "float64" else 1e-5)


@pytest.mark.parametrize("limit", ["max_gradient_elem", "max_gradient_norm", "max_global_norm"])
def test_clipping_leaves_a_gradient_of_zero_at_zero(limit):
    a = pytensor.shared(np.zeros(2), name="a")
    opt = downhill2.SGD((a**2).sum(), learning_rate=1, **{limit: 1})
    assert_moves(moves(opt), [[np.zeros(2)]])


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum_rate", ["inside", "outside"])
def test_momentum_under_a_changing_rate(momentum_rate, nesterov):
    def rate(t):
        return 1 / (1 + t)

    hyper = {"momentum": 0.5, "momentum_rate": momentum_rate, "nesterov": nesterov, "learning_rate": rate}
    v, expected = 0, []
    for t in range(3):
        inside, outside = (rate(t), 1) if momentum_rate == "inside" else (1, rate(t))
        v = 0.5 * v + inside
        expected.append([outside * (0.5 * v + inside if nesterov else v) * g for g in (A, B)])
    assert_moves(moves(linear(**hyper), 3), expected)


# -- their order


def test_an_element_bound_wins_over_one_on_the_norm():
    assert_moves(
        moves(linear(learning_rate=1, max_gradient_elem=2, max_gradient_norm=0.1)),
        [[np.clip(A, -2, 2), np.clip(B, -2, 2)]],
    )


@pytest.mark.parametrize("each", ["max_gradient_elem", "max_gradient_norm"])
def test_gradients_are_clipped_one_by_one_and_then_together(each):
    a, b = [np.clip(x, -2, 2) if each == "max_gradient_elem" else 2 * x / norm(x) for x in (A, B)]
    opt = linear(learning_rate=1, max_global_norm=1, **{each: 2})
    assert_moves(moves(opt), [[a / norm(a, b), b / norm(a, b)]])


def test_coupled_decay_comes_after_clipping_and_before_momentum():
    opt = linear(learning_rate=0.5, max_gradient_elem=2, weight_decay=0.1, momentum=0.5)
    point, v, expected = START, [0, 0], []
    for _ in range(2):
        grads = [np.clip(g, -2, 2) + 0.1 * x for g, x in zip((A, B), point, strict=True)]
        v = [0.5 * u + 0.5 * g for u, g in zip(v, grads, strict=True)]
        point = [x - u for x, u in zip(point, v, strict=True)]
        expected.append(v)
    assert_moves(moves(opt, 2), expected)


@pytest.mark.parametrize(("decay", "factor"), [("decoupled", 0.05), ("independent", 0.1)])
def test_decay_beside_the_step_is_no_part_of_the_velocity(decay, factor):
    opt = linear(learning_rate=0.5, weight_decay=0.1, momentum=0.5, decay=decay)
    point, v, expected = START, [0, 0], []
    for _ in range(2):
        v = [0.5 * u + 0.5 * g for u, g in zip(v, (A, B), strict=True)]
        expected.append([u + factor * x for u, x in zip(v, point, strict=True)])
        point = [x - s for x, s in zip(point, expected[-1], strict=True)]
    assert_moves(moves(opt, 2), expected)


def test_the_rule_sees_transformed_gradients():
    a = pytensor.shared(START[0], name="a")
    opt = downhill2.ADAGRAD((a * A).sum(), learning_rate=1, max_gradient_elem=0.5)
    moves(opt)
    np.testing.assert_allclose(opt.state["a.adagrad.g2"], np.clip(A, -0.5, 0.5) ** 2)


def test_decoupled_decay_of_a_rule_that_owns_its_rate_is_scaled_by_it():
    a = pytensor.shared(START[0], name="a")
    settings = {"learning_rate": 0.5, "weight_decay": 0.1, "decay": "decoupled"}
    assert_moves(moves(downhill2.RProp((a * A).sum(), **settings)), [[0.5 * np.sign(A) + 0.05 * START[0]]])


# -- what comes out


@pytest.mark.parametrize("dtypes", [("float64", "float32"), ("float16", "float64"), ("float32", "float16")])
@pytest.mark.parametrize("floatx", ["float32", "float64"])
def test_every_new_value_has_the_type_of_its_variable(dtypes, floatx):
    with pytensor.config.change_flags(floatX=floatx):
        a, b = (pytensor.shared(x.astype(d), name=n) for x, n, d in zip(START, "ab", dtypes, strict=True))
        loss = (a.astype("float64") ** 2).sum() + (b.astype("float64") ** 2).sum()
        opt = downhill2.Adam(loss, momentum=0.5, max_global_norm=1, weight_decay=0.1, learning_rate=0.1)
        updates = opt.get_updates()
        pytensor.function([], [], updates=updates)()
    assert all(v.type.is_super(new.type) for v, new in updates)
    assert [p.get_value().dtype for p in (a, b)] == list(dtypes)
    assert all(np.abs(p.get_value() - x).min() > 0.05 for p, x in zip((a, b), START, strict=True))


def test_updates_have_each_variable_once_and_nothing_that_was_given_as_updates():
    a, seen = pytensor.shared(START[0], name="a"), pytensor.shared(0.0, name="seen")
    opt = downhill2.ESGD((a**2).sum(), updates=[(seen, seen + 1)], momentum=0.5)
    names = [v.name for v, _ in opt.get_updates()]
    assert sorted(names) == ["a", "a.esgd.D", "a.momentum.v", "all.esgd.rng", "updates"]


def test_a_closed_gate_holds_back_everything_but_generators():
    a, gate = pytensor.shared(START[0], name="a"), pt.bscalar("gate")
    opt = downhill2.ESGD((a**2).sum(), learning_rate=0.5, momentum=0.5)
    updates = pipeline.update(opt.rule, Measured(opt.fit.problem.loss, [a]), Layout([a], ["a"]), gate.astype(bool))
    step = pytensor.function([gate], [], updates=updates)
    before = opt.state
    rng = before.pop("all.esgd.rng")
    step(0)
    after = opt.state
    drawn = after.pop("all.esgd.rng")
    np.testing.assert_array_equal(a.get_value(), START[0])
    assert opt.context.clock.get_value() == 0
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)
    rng.normal(size=3)
    assert drawn.random() == rng.random()
    step(1)
    assert (a.get_value() != START[0]).all()
    assert opt.context.clock.get_value() == 1
    assert opt.state["a.esgd.D"].all()


def test_all_but_the_first_stage_needs_no_data():
    x, a = pt.matrix("x"), pytensor.shared(np.ones(2), name="a")
    opt = downhill2.Adam(((x @ a) ** 2).mean(), momentum=0.5, weight_decay=0.1, max_global_norm=1)
    grads = [a.type("gradient")]
    measured = Measured(opt.fit.problem.loss, [a])
    measured.grads = measured.outputs[1:] = grads
    step = pytensor.function(grads, [], updates=pipeline.update(opt.rule, measured, Layout([a], ["a"])))
    step(np.ones(2))
    assert opt.context.clock.get_value() == 1
    assert (a.get_value() < 1).all()


# -- the table


def test_everything_that_must_know_the_stages_is_derived_from_their_table():
    own = {n for stage in stages.ORDER for n in stages.settings(stage.declares)}
    assert own - {"learning_rate", "learning_rate_factor"} == {*stages.SETTINGS}
    assert all(getattr(downhill2.Adam, n) is d for n, d in stages.SETTINGS.items())
    assert [s.__name__ for s in stages.AVERAGES] == ["Lookahead", "EMA", "SWA"]
    assert {s.__name__ for s in stages.WITH_STATE} >= {"Accumulate", "Momentum", "Mechanic", "GradientNoise"}


@pytest.mark.parametrize("name", stages.SPANNING)
def test_what_acts_on_all_parameters_is_no_setting_of_a_group(name):
    on = {"accumulate": 2, "reduction": "sum", "transforms": [lambda p, g: g], "project": {"a": abs}}
    with pytest.raises(ValueError, match=rf"groups\[0\] must not have {name}, which spans all groups"):
        linear(groups=[{"params": "*", name: on.get(name, 1 if name in ("lookahead", "swa") else 0.5)}])


def test_the_picture_of_the_stages_shows_the_table():
    folder = Path(__file__).parents[1] / "docs"
    picture = runpy.run_path(str(folder / "pictures" / "stages.py"))["drawing"]()
    assert picture == (folder / "explanation" / "stages.svg").read_text(encoding="utf-8")
    for stage in stages.CLASSES:
        if stages.settings(stage):
            assert f"{next(iter(stages.settings(stage)))}=" in picture
