"""Every algorithm against NumPy references, optax, torch and published numbers."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytensor
import pytest
from algorithms import CASES, MOVES, QUIET, TYPICAL
from cases import Case, inverse
from oracles import GOLDENS, SHAPES, STEPS, inputs, join, split
from oracles.driven import Driven, hessian
from pytensor.scalar import Cast, Mul, Pow, Sqr
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.shape import Shape, Shape_i

import downhill2
from downhill2.base import Optimizer
from downhill2.stepping import one_by_one as functions

START, GRADIENTS = inputs()
SHORT = (1, 10)

every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_algorithm = pytest.mark.parametrize("case", TYPICAL.values(), ids=TYPICAL)
every_dtype = pytest.mark.parametrize("dtype", ["float64", "float32"])


def drive(case, start=START, dtype="float64", **how):
    return Driven(case.algo, case.settings, start, dtype, curvature=case.curvature, **how)


def expected(case, driven, steps, start=START, gradients=GRADIENTS):
    """Return what the NumPy reference makes of what `driven` is fed; before `driven` moves."""
    if not case.curvature:
        return case.reference(start, gradients, steps)
    # such a rule sees all parameters as one vector, so its reference has one parameter
    H, shapes = hessian(join(start).size), [x.shape for x in start]
    descent = case.reference(driven.products())
    points = descent([join(start)], lambda k, xs: [join(gradients[k]) + H @ xs[0]], steps)
    return {step: split(x, shapes) for step, [x] in points.items()}


def assert_equal_points(points, reference, start=START, float32=2e-6, float64=1e-9):
    """Compare, in float64 in units of how far a parameter went, in float32 of its largest absolute value."""
    assert points.keys() == reference.keys()
    for step in points:
        for x, y, x0 in zip(points[step], reference[step], start, strict=True):
            assert x.shape == y.shape
            size, way = np.abs(y).max(), np.abs(y - x0).max()
            limit = float64 * min(size, way) if x.dtype == "float64" else float32 * size
            assert np.abs(x - y).max() <= limit, f"after {step} updates, shape {x.shape}"


@functools.cache
def run(case: Case, dtype: str):
    """Return the trajectory of a case, and that of its reference."""
    driven = drive(case, dtype=dtype)
    reference = expected(case, driven, STEPS)
    return driven.trajectory(GRADIENTS, STEPS), reference


def test_every_algorithm_of_the_package_is_in_the_table():
    ours = {name for name, algo in Optimizer.registry.items() if algo.__module__.startswith("downhill2.algorithms.")}
    assert ours == {case.algo for case in CASES}


@every_dtype
@every_case
def test_a_trajectory_is_that_of_the_reference(case, dtype):
    points, reference = run(case, dtype)
    assert_equal_points(points, reference, float32=case.float32)


@pytest.mark.parametrize("case", [case for case in CASES if case.torch], ids=str)
def test_a_trajectory_is_that_of_torch(case):
    with np.load(GOLDENS / "torch.npz") as goldens:
        golden = {step: split(row) for step, row in zip(STEPS, goldens[str(case)], strict=True)}
    points, _ = run(case, "float64")
    assert_equal_points(points, golden)


@pytest.mark.oracle_torch
@pytest.mark.parametrize("case", [case for case in CASES if case.torch], ids=str)
def test_the_golden_numbers_are_those_of_torch(case):
    pytest.importorskip("torch")
    from oracles import torch_oracle

    live = torch_oracle.trajectory(case.torch, START, GRADIENTS, STEPS, case.rate)
    with np.load(GOLDENS / "torch.npz") as goldens:
        np.testing.assert_allclose(goldens[str(case)], [join(live[step]) for step in STEPS], rtol=1e-12)


@pytest.mark.parametrize("case", [case for case in CASES if case.optax], ids=str)
def test_a_trajectory_is_that_of_optax(case):
    from oracles import optax_oracle

    live = optax_oracle.trajectory(case.optax, START, GRADIENTS, STEPS)
    points, _ = run(case, "float64")
    assert_equal_points(points, live, float64=case.optax_within)


# With float64 numbers everywhere and known shapes all cases have been through above.
@every_algorithm
@pytest.mark.parametrize(
    ("dtype", "floatx", "static"),
    [("float64", "float32", False), ("float32", "float64", False), ("float32",) * 2 + (True,)],
)
def test_a_trajectory_does_not_depend_on_floatx_or_static_shapes(case, dtype, floatx, static):
    with pytensor.config.change_flags(floatX=floatx):
        driven = drive(case, dtype=dtype, static=static)
        reference = expected(case, driven, SHORT)
        points = driven.trajectory(GRADIENTS, SHORT)
    assert {x.dtype.name for x in points[10]} == {dtype}
    assert_equal_points(points, reference, float32=case.float32)


@pytest.mark.thorough
@every_algorithm
@pytest.mark.parametrize("index", range(len(SHAPES)), ids=[str(shape) for shape in SHAPES])
def test_a_parameter_may_be_alone_and_of_any_shape(case, index):
    start, gradients = START[index : index + 1], [gs[index : index + 1] for gs in GRADIENTS]
    driven = drive(case, start, static=index % 2 == 0)
    reference = expected(case, driven, SHORT, start, gradients)
    assert_equal_points(driven.trajectory(gradients, SHORT), reference, start)


@every_algorithm
def test_parameters_may_be_set_between_the_making_of_state_and_the_first_update(case):
    driven = drive(case, [x + 1 for x in START])
    for param, x in zip(driven.params, START, strict=True):
        param.set_value(x)
    reference = expected(case, driven, SHORT)
    assert_equal_points(driven.trajectory(GRADIENTS, SHORT), reference)


MIXED = ["W", None, "W", None, "W#2"]


@pytest.mark.parametrize(
    ("case", "names"),
    [(case, MIXED) for case in TYPICAL.values()] + [(TYPICAL["adam"], [name] * 5) for name in (None, "W")],
    ids=str,
)
def test_parameters_may_be_unnamed_and_equally_named(case, names):
    driven = drive(case, names=names)
    reference = expected(case, driven, SHORT)
    assert_equal_points(driven.trajectory(GRADIENTS, SHORT), reference)
    variables = [variable.name for variable, _ in driven.updates if variable not in driven.params]
    assert len(variables) == len(set(variables))


@every_algorithm
@pytest.mark.parametrize(("floatx", "packed"), [("float64", False), ("float32", True)])
def test_parameters_of_both_widths_go_together(case, floatx, packed):
    widths = ["float32", "float64", "float64", "float32", "float32"]
    with pytensor.config.change_flags(floatX=floatx):
        # a vector for each width would draw in another order than the reference
        driven = drive(case, dtype=widths, packed=packed and not case.draws)
        reference = expected(case, driven, SHORT)
        points = driven.trajectory(GRADIENTS, SHORT)
    assert [x.dtype.name for x in points[10]] == widths
    # what becomes of the wide ones may depend on the narrow ones: on all, in a rule that sees them as one vector
    float64 = case.float32 if Optimizer.registry[case.algo].scope == "all" else 1e-9
    assert_equal_points(points, reference, float32=case.float32, float64=float64)


@every_algorithm
@pytest.mark.parametrize(("dtype", "static"), [("float64", True), ("float32", False)])
def test_a_trajectory_is_the_same_on_packed_parameters(case, dtype, static):
    driven = drive(case, dtype=dtype, packed=True, static=static)
    reference = expected(case, driven, SHORT)
    assert_equal_points(driven.trajectory(GRADIENTS, SHORT), reference, float32=case.float32)


MANY = {"learning_rate": inverse, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "max_gradient_elem": 0.5}
TRANSFORMS = [
    {**MANY, "nesterov": False},
    {**MANY, "learning_rate": 0.1, "decay": "decoupled", "max_gradient_elem": 0, "max_gradient_norm": 0.5},
    {**MANY, "momentum_rate": "outside", "decay": "independent", "max_gradient_elem": 0, "max_global_norm": 1},
    {**MANY, "decay": "proximal"},
]


def computed(outputs):
    """Yield all that has to be computed for `outputs`: not what is only asked for its shape."""
    found, stack = set(), list(outputs)
    while stack:
        v = stack.pop()
        if v in found:
            continue
        found.add(v)
        yield v
        if v.owner and not isinstance(v.owner.op, Shape | Shape_i):
            stack.extend(v.owner.inputs)


def dtypes(variables):
    """Return the dtypes of the floating-point tensors that have, or may have, more than one element."""
    types = [v.type for v in variables if getattr(v.type, "dtype", "").startswith(("float", "complex"))]
    return {t.dtype for t in types if 0 not in t.shape and any(n != 1 for n in t.shape)}


def is_wide_on_purpose(v):
    """Whether `v` is the factor or product in float64 of a norm, of which the loop that makes it keeps none."""
    op = v.owner and v.owner.op
    if not isinstance(op, Elemwise):
        return False
    if isinstance(op.scalar_op, Cast):
        return op.scalar_op.o_type.dtype == "float64" and dtypes(v.owner.inputs) == {"float32"}
    tensors = [i for i in v.owner.inputs if dtypes([i])]
    return isinstance(op.scalar_op, Mul | Pow | Sqr) and all(map(is_wide_on_purpose, tensors))


@pytest.mark.parametrize(
    ("case", "transform"),
    [pytest.param(case, {}, id=str(case)) for case in TYPICAL.values()]
    + [pytest.param(TYPICAL["adam"], transform, id=f"adam-transforms{i}") for i, transform in enumerate(TRANSFORMS)],
)
@pytest.mark.parametrize(("floatx", "packed"), [("float64", False), ("float64", True), ("float32", False)])
def test_no_tensor_of_an_update_is_wider_than_its_parameter(case, transform, floatx, packed):
    with pytensor.config.change_flags(floatX=floatx):
        changed = replace(case, settings={**case.settings, **transform})
        driven = drive(changed, dtype="float32", static=False, packed=packed)
        found = computed(new for _, new in driven.updates)
        assert dtypes(v for v in found if not is_wide_on_purpose(v)) == {"float32"}


@every_algorithm
def test_zero_gradients_leave_fresh_parameters_as_they_are(case):
    # with curvature, the gradient is zero where the parameters are
    start = [0 * x for x in START] if case.curvature else START
    zeros = [[0 * x for x in START]] * 3
    moves = case.algo in MOVES
    driven = drive(case if moves else replace(case, settings={"weight_decay": 0, **QUIET.get(case.algo, {})}), start)
    reference = expected(case, driven, (1, 3), start, zeros) if moves else {1: start, 3: start}
    points = driven.trajectory(zeros, (1, 3))
    for step in (1, 3):
        for x, y in zip(points[step], reference[step], strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-12 if moves else 0)
    states = [v.get_value() for v, _ in driven.updates]
    assert all(np.isfinite(x).all() for x in states if not isinstance(x, np.random.Generator))


def test_sm3_is_that_of_optax_where_optax_has_it():
    from oracles import optax_oracle

    start, gradients = START[1:], [gs[1:] for gs in GRADIENTS]  # it takes no scalars
    live = optax_oracle.trajectory(lambda optax: optax.sm3(0.1), start, gradients, STEPS)
    driven = Driven("sm3", {"learning_rate": 0.1}, start)
    assert_equal_points(driven.trajectory(gradients, STEPS), live, start)


@pytest.mark.parametrize("at", ["inside", "outside"])
def test_centred_rmsprop_stays_finite_under_a_constant_gradient(at):
    g = np.array([0, 1e-12, 1e-4, 1, 3.3, 1e4, 1e12])
    driven = Driven("rmsprop", {"epsilon_at": at}, [np.ones(7)], "float32")
    points = driven.trajectory(lambda k, xs: [g], (1, 1000))
    assert np.isfinite(points[1000][0]).all()
    # all the time downhill, where the step is more than a rounding of the parameter
    assert (points[1000][0][2:] < points[1][0][2:]).all()


# A function for each algorithm would take minutes to compile, one for all of them too.
BATCHES = [list(TYPICAL)[i::4] for i in range(4)]


@pytest.mark.default_mode
@pytest.mark.parametrize(("packed", "few"), [(False, slice(4, 5)), (True, slice(1, 3))], ids=["separate", "packed"])
@pytest.mark.parametrize("algorithms", BATCHES, ids=range(4))
def test_trajectories_in_the_mode_that_users_run_are_those_of_the_reference(algorithms, packed, few):
    start, gradients = START[few], [gs[few] for gs in GRADIENTS]
    runs = [(TYPICAL[algo], drive(TYPICAL[algo], start, "float32", packed=packed)) for algo in algorithms]
    references = [expected(case, driven, SHORT, start, gradients) for case, driven in runs]
    step = pytensor.function(
        [g for _, driven in runs for g in driven.inputs],
        [],
        updates=[pair for _, driven in runs for pair in driven.updates],
        mode=functions.mode(),
    )
    seen = {}
    for k in range(max(SHORT)):
        step(*[np.asarray(g, "f4") for g in gradients[k]] * len(runs))
        seen[k + 1] = [driven.values() for _, driven in runs]
    for i, (case, _) in enumerate(runs):
        points = {step: seen[step][i] for step in SHORT}
        assert_equal_points(points, references[i], start, case.float32)


# -- parameters without elements

EMPTY = [(0, 3), (0,), (3, 0), (2, 0, 3)]


def trained(algo, settings, shapes):
    """Return two parameters after three updates, beside others of these shapes; all else is checked to be finite."""
    empty = [pytensor.shared(np.zeros(shape), name=f"e{i}") for i, shape in enumerate(shapes)]
    w, b = pytensor.shared(np.array([[1.0, 2.0], [3.0, -1.0]]), name="w"), pytensor.shared(1.5, name="b")
    loss = (w**2).sum() + b**4 + sum((e**2).sum() for e in empty)
    opt = downhill2.build(algo, loss, [*empty, w, b], **settings)
    opt.minimize(max_updates=3, validate_every=None)
    assert all(np.isfinite(x).all() for x in opt.state.values() if not isinstance(x, np.random.Generator))
    return w.get_value(), b.get_value()


def assert_empty_changes_nothing(algo, settings):
    for x, y in zip(trained(algo, settings, EMPTY), trained(algo, settings, []), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12)


@pytest.mark.parametrize("algo", sorted(TYPICAL))
def test_parameters_without_elements_change_nothing_for_others(algo):
    assert_empty_changes_nothing(algo, {})


@pytest.mark.parametrize(
    "settings",
    [
        {"max_gradient_norm": 1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "ema": 0.9},
        {"max_gradient_elem": 0.5, "decay": "proximal", "weight_decay": 0.1, "swa": 1},
        {"max_global_norm": 1, "clip_adaptive": 0.1, "centralize": True, "gradient_noise": 0.1, "lookahead": 2},
        {"sam": {"rho": 0.1, "adaptive": True}, "mechanic": True},
        {"accumulate": 2, "project": {"*": downhill2.projections.NonNegative()}},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_settings_take_parameters_without_elements(settings):
    assert_empty_changes_nothing("adam", settings)


@pytest.mark.parametrize("at", ["floor", "each"])
def test_adafactor_factors_nothing_where_there_are_no_elements(at):
    at = {} if at == "each" else {"epsilon_at": at}
    assert_empty_changes_nothing("adafactor", {"factor_from": 0, "factored_axes": "largest", **at})


@pytest.mark.parametrize("algo", ["sm3", "adafactor", "lars", "dog"])
def test_parameters_without_elements_may_be_all_that_there_are(algo):
    e = pytensor.shared(np.zeros((0, 3)), name="e")
    opt = downhill2.build(algo, (e**2).sum(), [e])
    opt.minimize(max_updates=2, validate_every=None)
    assert "max_updates" in opt.stopped
    assert e.get_value().shape == (0, 3)
