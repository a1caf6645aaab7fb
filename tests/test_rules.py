"""The contract of a rule: hyperparameters, state, direction; one tensor or many; rules written for downhill."""

from __future__ import annotations

import itertools

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import downhill2
from downhill2 import Copy, Generator, Hyper, Number, Optimizer, Setting, State, Zeros, ema, util
from downhill2.symbolic import graph, pipeline
from downhill2.symbolic.layout import Layout, Values
from downhill2.symbolic.legacy import is_new_value
from downhill2.symbolic.measure import Measured
from downhill2.symbolic.rule import Rule, RuleState

pytestmark = pytest.mark.usefixtures("registry")


def shared(value, dtype="float64", name=None, static=True):
    array = np.array(value, dtype)
    return pytensor.shared(array, name=name, shape=array.shape if static else (None,) * array.ndim)


def sum_of_squares(params):
    return sum((p.astype("float64") ** 2).sum() for p in params) / 2  # so that a gradient is its parameter


def run(updates, times=1):
    step = pytensor.function([], [], updates=updates)
    for _ in range(times):
        step()


def updates_of(opt, packed):
    """Return the updates on separate parameters, or on one vector for each dtype."""
    layout = Layout(opt.params, graph.labels(opt.params), opt.params if packed else ())
    return pipeline.update(opt.rule, Measured(sum_of_squares(opt.params), opt.params), layout)


SHAPES = [(), (3,), (1, 3), (2, 1), (4, 3), (1, 1)]


def params_of_all_shapes(dtypes=("float64",), static=True):
    kinds = itertools.cycle(dtypes)
    return [shared(1 + np.arange(np.prod(s)).reshape(s), next(kinds), f"p{k}", static) for k, s in enumerate(SHAPES)]


# -- direction


def test_the_direction_times_the_learning_rate_is_subtracted():
    class Constant(Optimizer):
        def direction(self, param, grad):
            return 2 * pt.ones_like(param), {}

    w = shared([5, 6], name="w")
    run(Constant((w**2).sum(), learning_rate=0.5).get_updates())
    np.testing.assert_array_equal(w.get_value(), [4, 5])


def test_a_rule_that_owns_its_rate_is_not_scaled():
    class Own(Optimizer):
        owns_rate = True

        def direction(self, param, grad):
            return self.learning_rate + pt.zeros_like(param), {}

    w = shared([5, 6], name="w")
    run(Own((w**2).sum(), learning_rate=0.5).get_updates())
    np.testing.assert_array_equal(w.get_value(), [4.5, 5.5])


def test_t_counts_updates_from_1():
    class Counts(Optimizer):
        seen = Zeros()

        def direction(self, param, grad, seen):
            return 0 * grad, {"seen": seen + self.t * 10 ** (self.t - 1)}

    w = shared([1.0], name="w")
    opt = Counts((w**2).sum())
    run(opt.get_updates(), 3)
    assert opt.state["w.counts.seen"].tolist() == [321]


def test_a_rule_may_need_the_loss_and_the_norm_of_all_gradients():
    class Needs(Optimizer):
        needs = ("loss", "global_norm")

        def direction(self, param, grad):
            return pt.zeros_like(grad) + self.loss + self.global_norm, {}

    v, w = shared([3.0], name="v"), shared([4.0, 0.0], "float32", name="w")
    run(Needs(sum_of_squares([v, w]), learning_rate=1).get_updates())
    assert v.get_value() == 3 - (12.5 + 5)
    assert w.get_value().tolist() == [4 - 17.5, -17.5]


def test_a_rule_alone_has_no_groups():
    assert Rule(RuleState(Rule)).members == []


def test_a_rule_without_a_direction_is_refused():
    class Nothing(Optimizer):
        pass

    with pytest.raises(TypeError, match=r"Nothing must define direction\(param, grad, \*\*state\)"):
        Nothing(shared(1.0) ** 2)
    with pytest.raises(TypeError, match="rule must be an algorithm such as Adam\\(\\), got Pow"):
        Optimizer(shared(1.0) ** 2)


@pytest.mark.parametrize("returned", [{}, {"n": 0}, {"m": 0}, {"m": 0, "v": 0, "n": 0}])
def test_a_missing_or_misspelt_state_is_an_error_that_lists_both(returned):
    class Wrong(Optimizer):
        m, v = Zeros(), Zeros()

        def direction(self, param, grad, m, v):
            return grad, returned

    with pytest.raises(TypeError) as caught:
        Wrong((shared([1.0], name="w") ** 2).sum()).get_updates()
    assert str(caught.value) == (
        f"Wrong.direction must return a new value for each of its states ['m', 'v'], got {sorted(returned)}"
    )


@pytest.mark.parametrize("wrap", [lambda g: g, lambda g: (g,), lambda g: (g, g), lambda g: None])
def test_what_is_no_direction_with_its_states_is_an_error_that_says_so(wrap):
    class Wrong(Optimizer):
        def direction(self, param, grad):
            return wrap(grad)

    with pytest.raises(TypeError, match=r"Wrong\.direction must return a pair, the direction and a dict of new states"):
        Wrong((shared([1.0], name="w") ** 2).sum()).get_updates()


def test_a_rule_made_without_a_loss_is_just_its_hyperparameters():
    rule = downhill2.Adam(learning_rate=0.01)
    assert rule.hyper["learning_rate"] == 0.01
    assert not isinstance(rule, Optimizer)
    for name in ("get_updates", "minimize", "params", "best_monitors", "state", "stopped", "history", "stop"):
        with pytest.raises(AttributeError, match=rf"Adam needs a loss for '{name}'; make an optimizer by"):
            getattr(rule, name)


def test_a_subclass_inherits_declarations_and_may_change_or_drop_them():
    class Child(downhill2.Adam):
        beta1 = Hyper(0.5, at_least=0)
        weight_decay = None

    child = Child(shared(1.0, name="w") ** 2)
    assert child.hyper["beta1"] == 0.5
    assert child.hyper["beta2"] == downhill2.Adam.beta2.default
    with pytest.raises(TypeError, match="Child has no hyperparameter 'weight_decay'"):
        child.get_updates(weight_decay=0.1)
    assert downhill2.build("child", shared(1.0) ** 2).hyper["beta1"] == 0.5


# -- state


class Everything(Optimizer):
    """Declares every kind of state."""

    seed = Setting(3)
    with_extra = Setting(False)
    m, start = Zeros(), Copy()
    total = Number(2.0)
    rng = Generator()
    rows = State(1.5, lambda rule, value: value.shape[:1])
    extra = State(lambda rule, value: 2 * value, when=lambda rule: rule.with_extra)

    def direction(self, param, grad, **state):
        rng, r = state.pop("rng").normal()
        return grad, {**{n: s + 1 for n, s in state.items()}, "total": state["total"] + 1 + 0 * r, "rng": rng}


def test_state_is_declared_and_made_at_first_need():
    w = shared([[1, 2, 3], [4, 5, 6]], name="w")
    opt = Everything((w**2).sum())
    assert opt.state == {}
    opt.get_updates()
    state = opt.state
    generator = state.pop("all.everything.rng")
    assert generator.random() == np.random.default_rng(3).random()
    expected = {
        "w.everything.m": np.zeros((2, 3)),
        "w.everything.start": w.get_value(),
        "all.everything.total": 2.0,
        "all.everything.rows": [1.5, 1.5],
    }
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(state[name], value)


def test_state_that_the_settings_do_not_use_is_not_made():
    w = shared([1.0, 2.0], name="w")
    opt = Everything((w**2).sum())
    opt.get_updates()
    assert "w.everything.extra" not in opt.state
    opt.get_updates(with_extra=True)
    assert opt.state["w.everything.extra"].tolist() == [2, 4]


def test_values_of_state_are_copies():
    w = shared([1.0], name="w")
    opt = downhill2.Adam((w**2).sum())
    opt.get_updates()
    opt.state["w.adam.m"][:] = 7
    assert opt.state["w.adam.m"].tolist() == [0]


def test_repeated_calls_use_the_same_state():
    w = shared([1.0], name="w")
    opt = downhill2.Adam((w**2).sum())
    first, second = (dict(opt.get_updates()) for _ in range(2))
    assert first.keys() == second.keys()


def test_repeated_calls_of_a_rule_that_draws_raise_no_warning():
    w = shared([1.0], name="w")
    opt = downhill2.ESGD((w**2).sum())
    assert dict(opt.get_updates()).keys() == dict(opt.get_updates()).keys()


@pytest.mark.parametrize("static", [True, False])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_state_has_the_static_shape_of_its_parameter_and_a_dtype_not_too_coarse(dtype, static):
    params = params_of_all_shapes([dtype], static)
    updates = downhill2.Adam(sum_of_squares(params)).get_updates()
    states = {v.name: v for v, _ in updates}
    for p in params:
        assert states[f"{p.name}.adam.v"].type.shape == p.type.shape
        assert states[f"{p.name}.adam.v"].type.dtype == ("float32" if dtype == "float16" else dtype)
    assert all(new.type.dtype == v.type.dtype for v, new in updates)


@pytest.mark.parametrize(
    ("names", "labels"),
    [([None, None], ["unnamed0", "unnamed1"]), (["w", "w"], ["w", "w#2"]), (["w#2", "w"], ["w#2", "w"])],
)
def test_names_of_state_are_unique(names, labels):
    params = [shared([1.0], name=name) for name in names]
    opt = downhill2.SGD(sum_of_squares(params), params, momentum=0.5)
    opt.get_updates()
    assert list(opt.state) == [f"{label}.momentum.v" for label in labels]


def test_reset_gives_state_and_clock_their_first_values_and_leaves_the_rest():
    w = shared([1.0, 2.0], name="w")
    opt = Everything((w**2).sum(), learning_rate=0.25, with_extra=True)
    run(opt.get_updates(), 2)
    assert opt.context.clock.get_value() == 2
    assert opt.state["all.everything.total"] == 4
    opt.reset()
    assert opt.context.clock.get_value() == 0
    assert opt.hyper["learning_rate"] == 0.25
    assert w.get_value().tolist() == [0.25, 0.5]
    state = opt.state
    assert state["all.everything.total"] == 2
    assert state["w.everything.m"].tolist() == [0, 0]
    assert state["w.everything.start"].tolist() == [0.25, 0.5]  # a copy of the parameter as it is now
    assert state["all.everything.rng"].random() == np.random.default_rng(3).random()


# -- one tensor, a packed vector, or all


class Elementwise(Optimizer):
    """An element rule with state, a number and hyperparameters."""

    beta = Hyper(0.5, at_least=0)
    m, n = Zeros(), Number(1.0)

    def direction(self, param, grad, m, n):
        m_t = ema(self.beta, m, grad)
        return m_t / (n + pt.abs(param)), {"m": m_t, "n": n + 1}


@pytest.mark.parametrize("static", [True, False])
@pytest.mark.parametrize("dtypes", [["float64"], ["float32"], ["float32", "float64"], ["float16", "float32"]])
def test_an_element_rule_is_the_same_on_parameters_and_on_packed_vectors(dtypes, static):
    results = []
    for packed in (False, True):
        params = params_of_all_shapes(dtypes, static)
        opt = Elementwise(sum_of_squares(params), learning_rate=0.1)
        run(updates_of(opt, packed), 3)
        results.append({p.name: p.get_value() for p in params} | opt.state)
    separate, vector = results
    assert separate.keys() == vector.keys()
    for name, x in separate.items():
        assert (x.shape, x.dtype) == (vector[name].shape, vector[name].dtype)
        np.testing.assert_allclose(x, vector[name], rtol=1e-12 if dtypes == ["float64"] else 1e-6)


def test_a_tensor_rule_sees_one_parameter_at_a_time_packed_or_not():
    class Normed(Optimizer):
        scope = "tensor"
        size = Number(0.0)

        def direction(self, param, grad, size):
            size_t = downhill2.norm(grad)
            return grad / size_t, {"size": size_t}

    params = [shared([3.0, 4.0], name="a"), shared([[6.0, 8.0]], name="b")]
    opt = Normed(sum_of_squares(params), learning_rate=5)
    run(updates_of(opt, packed=True))
    assert params[0].get_value().tolist() == [0, 0]
    assert params[1].get_value().tolist() == [[3, 4]]
    assert opt.state == {"a.normed.size": 5, "b.normed.size": 10}


def test_a_rule_of_scope_all_sees_every_parameter_as_one_vector():
    class Whole(Optimizer):
        scope = "all"
        total, m = Number(0.0), Zeros()

        def direction(self, param, grad, total, m):
            assert param.type.ndim == grad.type.ndim == 1
            return grad / downhill2.norm(grad), {"total": total + param.sum(), "m": m + param}

    params = [shared(3.0, "float32", name="a"), shared([[4.0, 0.0]], name="b")]
    opt = Whole(sum_of_squares(params), learning_rate=5)
    run(opt.get_updates())
    np.testing.assert_allclose(params[0].get_value(), 0, atol=1e-6)  # a rounding of 3 in float32
    np.testing.assert_allclose(params[1].get_value(), [[0, 0]], atol=1e-12)
    assert [v.type.dtype for v in params] == ["float32", "float64"]
    state = opt.state
    assert state["all.whole.total"] == 7
    assert state["a.whole.m"] == 3
    assert state["b.whole.m"].tolist() == [[4, 0]]


class Noise(Optimizer):
    """Moves by random numbers alone."""

    seed = Setting(0)
    rng = Generator()

    def direction(self, param, grad, rng):
        rng_t, r = rng.normal(size=param.shape, dtype=param.dtype)
        return r, {"rng": rng_t}


@pytest.mark.parametrize("packed", [False, True])
def test_one_generator_draws_for_all_parameters_one_after_the_other(packed):
    params = [shared([0.0, 0.0], name="a"), shared([0.0, 0.0], name="b")]
    opt = Noise(sum_of_squares(params), learning_rate=1, seed=5)
    run(updates_of(opt, packed), 2)
    normal = np.random.default_rng(5).normal
    a, b = -normal(size=2), -normal(size=2)
    np.testing.assert_allclose(params[0].get_value(), a - normal(size=2), rtol=1e-12)
    np.testing.assert_allclose(params[1].get_value(), b - normal(size=2), rtol=1e-12)


class TensorNoise(Noise):
    """The same, with a generator for each parameter."""

    scope = "tensor"


def test_generators_of_several_parameters_draw_different_numbers_and_the_same_ones_again():
    def drawn(seed):
        params = [shared([0.0, 0.0], name=n) for n in ("a", "b", None)]
        opt = TensorNoise(sum_of_squares(params), learning_rate=1, seed=seed)
        run(updates_of(opt, False), 2)
        before = [p.get_value().tolist() for p in params]
        opt.reset()
        opt.set_params([[0.0, 0.0]] * 3)
        run(updates_of(opt, False), 2)
        assert [p.get_value().tolist() for p in params] == before
        return before

    first = drawn(5)
    assert drawn(5) == first
    assert len({*map(tuple, first), *map(tuple, drawn(6))}) == 6


def test_values_are_read_as_they_were_written():
    a, b = shared([1.0, 2.0]), shared([[3.0]])
    [bundle] = Layout([a, b], ["a", "b"]).bundles("all")
    values = Values({a: a, b: b})
    assert values.read(bundle).eval().tolist() == [1, 2, 3]
    x = pt.arange(3.0)
    values.write(bundle, x)
    assert values.read(bundle) is x
    assert [values.parts[p].eval().tolist() for p in (a, b)] == [[0, 1], [[2]]]


# -- Hessian-vector products


def quadratic(params, H):
    x = pt.concatenate([p.ravel() for p in params])
    return x @ H @ x / 2


@pytest.mark.parametrize("method", ["rop", "lop", "grad"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_product_is_of_the_hessian_over_all_parameters(method, dtype):
    a, b = shared([1.0, 2.0], dtype, "a"), shared([[3.0]], dtype, "b")
    H = np.array([[2, 1, 0.5], [1, 3, -1], [0.5, -1, 4]], dtype)
    measured = Measured(quadratic([a, b], H), [a, b])
    r = [pt.constant(np.array([1, -1], dtype)), pt.constant(np.array([[2]], dtype))]
    products = measured.hessian_vector(r, method)
    assert [p.type.dtype for p in products] == [dtype] * 2
    np.testing.assert_allclose(np.hstack([p.eval().ravel() for p in products]), H @ [1, -1, 2], rtol=1e-6)
    assert measured.outputs[-2:] == products


@pytest.mark.parametrize("method", ["rop", "lop", "grad"])
@pytest.mark.parametrize("value", [3.0, [3.0, 3.0]])
def test_a_product_is_right_where_parameters_have_the_same_gradient(method, value):
    # added parameters share one gradient variable
    a, b = shared(value, name="a"), shared(value, name="b")
    measured = Measured(((a + b) ** 2).sum() / 2, [a, b])
    r = [pt.ones_like(a), 10 * pt.ones_like(b)]
    for product in measured.hessian_vector(r, method):
        np.testing.assert_allclose(product.eval(), np.full_like(a.get_value(), 11))


@pytest.mark.parametrize("method", ["rop", "lop", "grad"])
def test_a_product_is_zero_where_the_loss_is_linear(method):
    a, b = shared([1.0, 2.0], name="a"), shared(3.0, name="b")
    r = [pt.ones_like(a), pt.ones_like(b)]
    for loss, expected in ((a.sum() + b**2, 2), (a.sum() + b, 0)):
        at_a, at_b = Measured(loss, [a, b]).hessian_vector(r, method)
        assert at_a.eval().tolist() == [0, 0]
        assert at_b.eval() == expected


# -- values to evaluate


class Averaged(Optimizer):
    """Steps, and evaluates the mean of the points."""

    mean, seen = Copy(follows=True), Number(0.0)

    def direction(self, param, grad, mean, seen):
        return grad, {"mean": (mean * self.t + param - self.learning_rate * grad) / (self.t + 1), "seen": seen + 1}

    def evaluated(self, param, mean, seen):
        return mean


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_what_a_rule_evaluates_is_validated_kept_and_returned(dtype):
    w = shared([1.0, 2.0], dtype, "w")
    opt = Averaged((w.astype("float64") ** 2).sum(), learning_rate=0.25)
    train, valid = opt.minimize(max_epochs=1)
    assert train == {"loss": 5}
    assert valid == {"loss": 5 * 0.75**2}  # the mean of w and w / 2
    np.testing.assert_array_equal(w.get_value(), [0.75, 1.5])
    assert w.get_value().dtype == dtype
    assert opt.state["w.averaged.mean"].tolist() == [0.75, 1.5]  # it stands for the parameter, and follows it
    assert opt.state["all.averaged.seen"] == 1


def test_state_of_its_own_parameter_follows_when_the_best_is_set():
    w = shared([2.0], name="w")
    opt = Averaged((w**2).sum(), learning_rate=0.25)
    for _ in opt.iterate(max_epochs=3, validate_every=1, restore_best=False):
        pass
    best = np.sqrt(opt.best_monitors["loss"])
    assert w.get_value() != best
    opt.set_params("best")
    assert w.get_value() == opt.state["w.averaged.mean"] == best


def test_a_rule_that_evaluates_its_parameter_itself_says_so():
    w = shared([1.0], name="w")
    rule = downhill2.SGD((w**2).sum())
    assert rule.fit.evaluated() == {}


def test_a_bare_rule_needs_no_optimizer():
    class Halves(Rule):
        def direction(self, param, grad):
            return param / 2, {}

    w = shared([8.0])
    layout, values = Layout([w], ["w"]), Values({w: w})
    directions, new = Halves(RuleState(Halves)).apply(layout, values, values, {})
    assert directions.parts[w].eval() == 4
    assert new == {}


# -- rules written for downhill


class Old(Optimizer):
    """Heavy ball, as one wrote it for downhill; its state is made at each call."""

    def _get_updates_for(self, param, grad):
        velocity = shared(np.zeros_like(param.get_value()), param.type.dtype, "velocity")
        v_t = 0.5 * velocity + self.learning_rate * grad
        yield velocity, v_t
        yield param, v_t


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_rule_written_for_downhill_yields_its_step_rate_included(dtype):
    w = shared([8.0, 4.0], dtype, "w")
    opt = downhill2.build("old", sum_of_squares([w]), learning_rate=0.25)
    opt.minimize(max_updates=2, validate_every=None)
    # v = 2, 1; then 0.5 * 2 + 0.25 * 6 = 2.5
    np.testing.assert_array_equal(w.get_value(), [8 - 2 - 2.5, 4 - 1 - 1.25])
    assert opt.state["w.old.velocity"].tolist() == [2.5, 1.25]
    assert w.get_value().dtype == dtype


def test_its_state_is_kept_over_calls_and_reset():
    w = shared([8.0], name="w")
    opt = Old(sum_of_squares([w]), learning_rate=0.25)
    run(opt.get_updates())
    run(opt.get_updates())
    assert w.get_value() == 8 - 2 - 2.5
    opt.reset()
    assert opt.state == {"w.old.velocity": [0]}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_transforms_apply_to_it_and_may_come_and_go(dtype):
    w = shared([[8.0, 0.0]], dtype, "w")
    opt = Old(sum_of_squares([w]), learning_rate=0.25)
    opt.get_updates()
    updates = opt.get_updates(max_gradient_elem=4, momentum=0.5, weight_decay=0.5)
    assert {new.type.dtype for v, new in updates if v.type.ndim} == {dtype}
    run(updates)
    # the clipped gradient 4 and the decay 4 make a step of 2
    assert w.get_value().tolist() == [[6, 0]]
    run(opt.get_updates(max_gradient_elem=0, max_gradient_norm=1, momentum=0, weight_decay=0))
    assert w.get_value().tolist() == [[6 - (0.5 * 2 + 0.25), 0]]


def test_it_has_to_yield_its_parameter():
    class Forgets(Optimizer):
        def _get_updates_for(self, param, grad):
            yield shared(0.0), grad.sum()

    with pytest.raises(TypeError, match="_get_updates_for must yield a pair for its parameter, got none for 'w'"):
        Forgets(sum_of_squares([shared([1.0], name="w")])).get_updates()


def test_its_state_must_not_be_changed_by_updates():
    mine = shared([0.0], name="mine")

    class Clashes(Optimizer):
        def _get_updates_for(self, param, grad):
            yield mine, grad
            yield param, grad

    w = shared([1.0], name="w")
    opt = Clashes(sum_of_squares([w]), updates=[(mine, mine + 1)])
    with pytest.raises(ValueError, match="updates must not change 'mine'; it is state of Clashes"):
        opt.minimize(max_epochs=1)
    assert w.get_value() == 1


def test_its_generator_may_be_state():
    class Draws(Optimizer):
        def _get_updates_for(self, param, grad):
            rng = pt.random.shared_rng(np.random.default_rng(2), name="rng")
            rng_t, r = rng.normal(size=param.shape)
            yield rng, rng_t
            yield param, r

    w = shared([0.0], name="w")
    opt = Draws(sum_of_squares([w]))
    run(opt.get_updates())
    moved = w.get_value()
    np.testing.assert_allclose(moved, -np.random.default_rng(2).normal(size=1))
    opt.reset()
    run(opt.get_updates())
    np.testing.assert_allclose(w.get_value(), 2 * moved)


class Follows(Optimizer):
    """As one wrote it for downhill 0.2: the new value, and a hyperparameter with the name of a setting of ours."""

    def _prepare(self, decay=0.5, scale=1, **kwargs):
        self.decay, self.scale = util.as_float(decay), scale
        super()._prepare(**kwargs)

    def _get_updates_for(self, param, grad):
        mean = util.shared_like(param, "mean")
        mean_t = self.decay * mean + (1 - self.decay) * grad
        yield mean, mean_t
        yield param, self.moved(param, mean_t)

    def moved(self, param, mean_t):
        return param - self.scale * self.learning_rate * mean_t


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_arguments_of_prepare_are_hyperparameters_wherever_they_are_given(dtype):
    ends = []
    for given, later in [
        ({"decay": 0.25, "scale": 2}, {}),
        ({"scale": 2}, {"decay": 0.25}),
        ({}, {"decay": 0.25, "scale": 2}),
    ]:
        w = shared([8.0], dtype, "w")
        opt = downhill2.build("follows", sum_of_squares([w]), learning_rate=0.125, **given)
        opt.minimize(max_updates=2, validate_every=None, **later)
        ends.append(w.get_value().tolist())
    # means 0.75 * 8 and 0.25 * 6 + 0.75 * 6.5
    assert ends == [[8 - 0.25 * 6 - 0.25 * (1.5 + 0.75 * 6.5)]] * 3
    assert opt.state["w.follows.w_mean"].dtype == dtype


def test_other_arguments_of_prepare_compile_anew_and_keep_state():
    w = shared([8.0], name="w")
    opt = Follows(sum_of_squares([w]), learning_rate=0.0)
    run(opt.get_updates())
    run(opt.get_updates(decay=0.0))
    assert opt.state == {"w.follows.w_mean": [8]}
    run(opt.get_updates(decay=0.75))
    run(opt.get_updates(decay=0.0))
    run(opt.get_updates(decay=0.75))
    assert opt.state == {"w.follows.w_mean": [8]}
    opt.reset()
    assert opt.state == {"w.follows.w_mean": [0]}


def test_what_prepare_sets_is_read_from_outside_unless_it_is_ours():
    opt = Follows(sum_of_squares([shared([8.0], name="w")]), scale=3)
    opt.get_updates()
    assert opt.scale == 3
    assert opt.hyper["decay"] == "coupled"
    assert opt.hyper["follows_decay"] == 0.5
    assert repr(Follows(decay=np.float64(0.25), scale=np.int64(2))) == "Follows(decay=0.25, scale=2)"
    assert downhill2.list_algorithms()["follows"].settings == {"learning_rate": 1e-4, "follows_decay": 0.5, "scale": 1}


def test_prepare_of_a_child_may_pass_on_what_its_parents_and_ours_take():
    class Base(Follows):
        def _prepare(self, scale=2, **kwargs):
            super()._prepare(scale=scale, **kwargs)

    class Ours(downhill2.RMSProp):
        def _prepare(self, rms_halflife=1, **kwargs):
            super()._prepare(rms_halflife=rms_halflife, **kwargs)

        def _get_updates_for(self, param, grad):
            yield param, param - self.learning_rate * self.rho * grad

    for cls, moved in [(Base, 2 * 0.5), (Ours, 0.5)]:
        w = shared([8.0], name="w")
        run(cls(sum_of_squares([w]), learning_rate=0.25).get_updates())
        assert w.get_value() == 8 - moved * 0.25 * 8
    w = shared([8.0], name="w")
    run(Base(sum_of_squares([w]), learning_rate=0.25, decay=0.75).get_updates())
    assert w.get_value() == 8 - 2 * 0.25 * 0.25 * 8
    with pytest.raises(TypeError, match="Base has no hyperparameter 'scal'; did you mean 'scale'"):
        Base(sum_of_squares([w]), scal=3)


def test_prepare_without_an_equation_of_its_own_is_refused():
    class Halved(downhill2.SGD):
        def _prepare(self, **kwargs):
            super()._prepare(**kwargs)

    with pytest.raises(TypeError, match="Halved must define _get_updates_for beside _prepare, or declare numbers as"):
        Halved(sum_of_squares([shared([8.0], name="w")]))


YIELDED = {
    "a step": (False, lambda p, g: 0.1 * g),
    "a step with decay": (False, lambda p, g: 0.1 * (g + 0.5 * p)),
    "a step times a norm": (False, lambda p, g: 0.1 * pt.sqrt((p**2).sum()) * g),
    "a new value": (True, lambda p, g: p - 0.1 * g),
    "a new value with decay": (True, lambda p, g: (1 - 0.1) * p - 0.1 * g),
    "a new value in a box": (True, lambda p, g: pt.clip(p - 0.1 * g, 0, 1)),
    "a new value by signs": (True, lambda p, g: p - 0.1 * pt.sign(g)),
    "a new value that is cast": (True, lambda p, g: pt.cast(p.astype("float64") - 0.1 * g, "float32")),
}


@pytest.mark.parametrize("what", YIELDED)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_a_new_value_is_told_from_a_step(what, shape):
    is_new, formula = YIELDED[what]
    w = shared(np.zeros(shape), "float32", "w")
    grad = w.type("g")
    assert is_new_value(formula(w, grad), w, grad) == is_new
    assert (w.get_value() == 0).all()


def test_what_downhills_util_had_is_there():
    w = shared(np.ones((2, 3)), "float32", "w")
    for init in (0, 0.5, np.arange(3.0)):
        like = util.shared_like(w, "acc", init)
        assert (like.name, like.type.dtype, like.type.ndim) == ("w_acc", "float32", 2)
        np.testing.assert_array_equal(like.get_value(), np.broadcast_to(init, (2, 3)))
    for x in (3, 0.5, np.float32(1.5), pt.iscalar("n"), np.arange(3)):
        assert util.as_float(x).type.dtype == pytensor.config.floatX
    x = pt.vector("x")
    assert util.find_inputs_and_params((w * x[:3]).sum()) == ([x], [w])


def test_a_run_with_arguments_of_prepare_is_resumed_to_the_bit(tmp_path):
    def trained(updates, **how):
        w = shared([3.0, 4.0], name="w")
        opt = Follows(sum_of_squares([w]), learning_rate=0.1, decay=0.8)
        opt.minimize(max_updates=updates, validate_every=1, **how)
        return w.get_value().tolist(), opt.state["w.follows.w_mean"].tolist()

    trained(3, checkpoint=tmp_path)
    assert trained(6, checkpoint=tmp_path, resume=True) == trained(6)


def test_groups_may_have_arguments_of_prepare_of_their_own():
    w, b = shared([3.0], name="w"), shared([1.0], name="b")
    groups = [dict(params="w", scale=2), {}]
    run(Follows(sum_of_squares([w, b]), decay=0.75, learning_rate=0.5, groups=groups).get_updates())
    assert [w.get_value(), b.get_value()] == [3 - 2 * 0.5 * 0.25 * 3, 1 - 0.5 * 0.25]


def test_an_array_may_be_an_argument_of_prepare():
    w = shared([3.0, 1.0], name="w")
    run(Follows(sum_of_squares([w]), learning_rate=0.5, scale=np.array([2, 0])).get_updates())
    assert w.get_value().tolist() == [3 - 2 * 0.5 * 0.5 * 3, 1]
