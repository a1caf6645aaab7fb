"""Projections: each against optax and its definition, to the last bit where it can be, and what does not fit."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import downhill2
from downhill2.projections import Box, L1Ball, L2Ball, NonNegative, Simplex, UnitColumns
from downhill2.stepping.one_by_one import mode

every_dtype = pytest.mark.parametrize("dtype", ["float64", "float32"])
SHAPES = [(5,), (4, 1), (2, 3, 4)]
VECTORS = arrays("f4", 7, elements=st.floats(-1e4, 1e4, width=32))


def applied(projection, *xs, dtype=None):
    """Return projections of values of one number of axes."""
    x = pt.tensor("x", dtype=dtype or xs[0].dtype, shape=(None,) * xs[0].ndim)
    f = pytensor.function([x], projection(x))
    out = [f(v) for v in xs]
    assert {o.dtype for o in out} == {np.dtype(x.type.dtype)}
    return out if len(out) > 1 else out[0]


def sample(shape, dtype, seed=0, scale=3):
    return np.random.default_rng(seed).normal(scale=scale, size=shape).astype(dtype)


OPTAX = {
    "non-negative": (NonNegative(), lambda p, x: p.projection_non_negative(x)),
    "box": (Box(-0.5, 2), lambda p, x: p.projection_box(x, -0.5, 2)),
    "simplex": (Simplex(), lambda p, x: p.projection_simplex(x)),
    "simplex of another size": (Simplex(2.5), lambda p, x: p.projection_simplex(x, 2.5)),
    "l1 ball": (L1Ball(1.5), lambda p, x: p.projection_l1_ball(x, 1.5)),
    "l2 ball": (L2Ball(1.5), lambda p, x: p.projection_l2_ball(x, 1.5)),
    "large l1 ball": (L1Ball(1e4), lambda p, x: p.projection_l1_ball(x, 1e4)),
    "large l2 ball": (L2Ball(1e4), lambda p, x: p.projection_l2_ball(x, 1e4)),
}


@pytest.mark.parametrize(("projection", "theirs"), OPTAX.values(), ids=OPTAX)
def test_a_projection_is_that_of_optax(projection, theirs):
    import jax
    from optax import projections

    for shape in SHAPES:
        x = sample(shape, "float32")  # so that both begin with the same values
        with jax.enable_x64(True):
            expected = np.asarray(theirs(projections, x.astype("f8")))
        np.testing.assert_allclose(applied(projection, x.astype("f8")), expected, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(applied(projection, x), expected, rtol=3e-6, atol=1e-6)


@every_dtype
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("kind", [Simplex, L1Ball, L2Ball])
def test_a_projection_along_an_axis_is_that_of_each_slice(kind, axis, dtype):
    x = sample((4, 5), dtype)
    whole = applied(kind(0.8, axis=axis), x)
    slices = applied(kind(0.8), *np.moveaxis(x, axis, -1).reshape(-1, x.shape[axis]))
    np.testing.assert_allclose(np.moveaxis(whole, axis, -1), slices, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize(("lower", "upper"), [(0.1, 0.3), (-1 / 3, 1 / 3), (1e-3, 1e3)])
def test_bounds_of_a_box_are_never_violated_though_the_dtype_has_them_not(lower, upper, dtype):
    y = applied(Box(lower, upper), np.linspace(-2 * upper, 2 * upper, 101).astype(dtype))
    assert y.min() >= np.float64(lower)
    assert y.max() <= np.float64(upper)
    assert y.min() == pytest.approx(lower, rel=2e-3)


def test_the_bounds_of_a_box_may_be_arrays_and_one_may_be_left_out():
    x = sample((4, 3), "float64")
    lower = np.array([0.0, -1, 1])
    np.testing.assert_array_equal(applied(Box(lower), x), np.maximum(x, lower))
    np.testing.assert_array_equal(applied(Box(upper=[[1], [0], [2], [0.5]]), x), np.minimum(x, [[1], [0], [2], [0.5]]))


@given(VECTORS)
def test_a_simplex_sums_to_one_and_has_no_negative_element(x):
    p = SIMPLEX(x)
    assert (p >= 0).all()
    assert p.astype("f8").sum() == pytest.approx(1, abs=3e-7)
    # the nearest point: all elements that stay positive moved by the same amount, the others at least by it
    moved = x.astype("f8") - p
    assert np.ptp(moved[p > 0]) <= 1e-3 + 2e-7 * np.abs(x).max()


@given(VECTORS)
def test_a_ball_is_never_left_to_the_last_bit(x):
    for f, order in ((L1, 1), (L2, 2)):
        y = f(x).astype("f8")
        assert np.linalg.norm(y, order) <= 0.7
        if np.linalg.norm(x.astype("f8"), order) < 0.699:
            np.testing.assert_array_equal(y, x)


@given(arrays("f4", (3, 2), elements=st.floats(-(2.0**100), 2.0**100, width=32)))
def test_columns_have_norm_one_or_are_zero(x):
    norms = np.linalg.norm(COLUMNS(x).astype("f8"), axis=0)
    zero = (x == 0).all(axis=0)
    np.testing.assert_array_equal(norms[zero], 0)
    np.testing.assert_allclose(norms[~zero], 1, rtol=3e-7)


with pytensor.config.change_flags(mode="FAST_COMPILE"):
    _x, _X = pt.fvector("x"), pt.fmatrix("X")
    SIMPLEX, L1, L2 = (pytensor.function([_x], f(_x)) for f in (Simplex(), L1Ball(0.7), L2Ball(0.7)))
    COLUMNS = pytensor.function([_X], UnitColumns()(_X))


def test_a_ball_keeps_what_is_zero_or_at_its_centre():
    for ball in (L1Ball(), L2Ball()):
        np.testing.assert_array_equal(applied(ball, np.zeros(3)), np.zeros(3))


# -- in an optimizer


def problem(project, dtype="float64", algo="sgd", **settings):
    W = pytensor.shared(np.full((3, 2), 0.4, dtype), name="W")
    b = pytensor.shared(np.full(3, 0.2, dtype), name="bias")
    loss = (W * np.arange(6.0).reshape(3, 2).astype(dtype)).sum() + (b * np.arange(3.0).astype(dtype)).sum()
    return downhill2.build(algo, loss, [W, b], project=project(W, b), **{"learning_rate": 0.3, **settings})


def run(opt, updates=5):
    step = pytensor.function([], [], updates=opt.get_updates())
    for _ in range(updates):
        step()
    return [p.get_value() for p in opt.params]


@every_dtype
@pytest.mark.parametrize("algo", ["sgd", "adam", "rprop"])
def test_new_values_are_projected_after_each_update(algo, dtype):
    project = lambda W, b: {W: Box(-0.1, 0.1), "bi*": Simplex()}  # noqa: E731
    W, b = run(problem(project, dtype, algo, momentum=0.9))
    assert W.dtype == dtype
    assert abs(W.astype("f8")).max() <= 0.1
    assert b.sum() == pytest.approx(1, abs=2e-7)
    W_free, b_free = run(problem(lambda W, b: {}, dtype, algo, momentum=0.9))
    assert W_free.min() < -0.1
    assert b_free.min() < 0


def test_values_may_be_kept_from_becoming_negative():
    W, b = run(problem(lambda W, b: {"W": NonNegative()}))
    np.testing.assert_array_equal(W, np.maximum(0.4 - 5 * 0.3 * np.arange(6.0).reshape(3, 2), 0))
    assert b.min() < 0


def test_a_projection_may_be_any_function():
    W, _ = run(problem(lambda W, b: {W: pt.round}))
    np.testing.assert_array_equal(W, np.round(W))


def test_what_is_averaged_and_evaluated_is_in_the_set_too():
    settings = {"lookahead": {"k": 2, "alpha": 0.7}, "ema": 0.7, "algo": "adam"}
    opt = problem(lambda W, b: {W: UnitColumns(), b: Box(0.1, 0.3)}, "float32", **settings)
    opt.minimize(max_epochs=7, train_batches=1, patience=None)
    W, b = opt.params
    np.testing.assert_allclose(np.linalg.norm(W.get_value(), axis=0), 1, rtol=1e-6)
    assert b.get_value().astype("f8").min() >= 0.1
    raw = run(problem(lambda W, b: {W: UnitColumns(), b: Box(0.1, 0.3)}, "float32", **settings), 7)
    np.testing.assert_allclose(np.linalg.norm(raw[0], axis=0), 1, rtol=1e-6)
    assert raw[1].astype("f8").min() >= 0.1


def test_equal_projections_share_a_compiled_function():
    settings = [{"W": Box([0.0, 1], 2)}, {"W": Box([0.0, 1], 2)}, {"W": Box([0.0, 1], 3)}, {"W": Simplex()}]
    structures = []
    for project in settings:
        opt = problem(lambda W, b, project=project: project)
        structures.append([s for s in opt.hyper.structure() if s[0] == "project"])
    assert structures[0] == structures[1]
    assert hash(Box(0, 1)) == hash(Box(0, 1))
    assert structures[1] != structures[2]
    assert structures[2] != structures[3]
    assert Simplex(2) != L1Ball(2)


@pytest.mark.parametrize(
    ("project", "kind", "message"),
    [
        ({"V": NonNegative()}, ValueError, "project must name parameters, which are ['W', 'bias'], got 'V'"),
        ({"W": NonNegative(), "*": Box(0)}, ValueError, "project must name each parameter once, got 'W' again by '*'"),
        ({"bias": UnitColumns()}, ValueError, "parameter 'bias' must be of at least two axes for the projection Unit"),
        (
            {"bias": Simplex(axis=1)},
            ValueError,
            "parameter 'bias' must be of a shape with an axis 1 for",
        ),
        (
            {"bias": Box([0.0, 1])},
            ValueError,
            "parameter 'bias' must be of a shape that bounds of shape (2,)",
        ),
        (
            {"bias": Box(np.zeros((2, 3)))},
            ValueError,
            "parameter 'bias' must be of a shape that bounds of shape",
        ),
        ({3: NonNegative()}, TypeError, "project must name parameters by variable or pattern, got 3"),
        ({"W": "simplex"}, TypeError, "project must have projections such as downhill2.projections.Box(0, 1), got"),
        ([NonNegative()], TypeError, "project must be a dict of parameters or name patterns, got"),
    ],
    ids=str,
)
def test_projections_that_do_not_fit_are_refused_before_anything_is_compiled(project, kind, message):
    for call in (
        lambda: problem(lambda W, b: project),
        lambda: problem(lambda W, b: {}).get_updates(project=project),
        lambda: problem(lambda W, b: {}).minimize(max_epochs=1, project=project),
    ):
        with pytest.raises(kind) as caught:
            call()
        assert str(caught.value).startswith(message)


def test_a_parameter_without_elements_has_no_sum():
    empty = pytensor.shared(np.zeros((0, 3)), name="empty")
    with pytest.raises(ValueError, match="parameter 'empty' must be of a shape with elements"):
        downhill2.SGD((empty**2).sum(), project={"empty": Simplex()})


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: Box("0"), TypeError, "lower must be a number or an array of numbers, got '0'"),
        (lambda: Box(2, 1), ValueError, "lower must be at most upper, got 2.0 and 1.0"),
        (lambda: Simplex(0), ValueError, "size must be positive, got 0"),
        (lambda: L2Ball(np.inf), ValueError, "size must be finite and positive, got inf"),
        (lambda: L1Ball("1"), TypeError, "size must be a number, got '1'"),
        (lambda: Simplex(axis=0.5), TypeError, "axis must be an integer, got 0.5; None means all elements together"),
    ],
)
def test_wrong_sets_are_refused(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


def test_a_checkpoint_tells_projections_apart(tmp_path):
    opt = problem(lambda W, b: {W: Box(0, 1)})
    opt.save(tmp_path / "a")
    problem(lambda W, b: {W: Box(0, 1)}).load(tmp_path / "a")
    with pytest.raises(downhill2.CheckpointError, match="of other settings of project"):
        problem(lambda W, b: {W: Box(0, 2)}).load(tmp_path / "a")
    assert run(problem(lambda W, b: {W: lambda x: x}))


@pytest.mark.thorough
@pytest.mark.default_mode
def test_all_projections_are_in_the_default_mode_what_they_are_in_the_other():
    xs = [sample((4, 3), "float32", seed) for seed in range(3)]
    x = pt.fmatrix("x")
    sets = [NonNegative(), Box(-0.1, 0.3), Simplex(axis=0), Simplex(), L1Ball(), L2Ball(0.5, axis=1), UnitColumns()]
    outputs = [s(x) for s in sets]
    compiled, other = pytensor.function([x], outputs, mode=mode()), pytensor.function([x], outputs, mode="FAST_COMPILE")
    for value in xs:
        for a, b in zip(compiled(value), other(value), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-7)
