"""What is done to gradients before a rule and to its steps: against optax, in order, by function."""

from __future__ import annotations

import numpy as np
import pytensor
import pytest
from oracles import optax_oracle
from oracles.driven import Driven
from test_algorithms import GRADIENTS, START, assert_equal_points, inverse

import downhill2
from downhill2.stepping.one_by_one import mode
from downhill2.symbolic.transforms import _unit_axes

STEPS = (1, 10, 100)
every_dtype = pytest.mark.parametrize("dtype", ["float64", "float32"])


def linear(grads, starts=None, dtype="float64", algo="sgd", **settings):
    """Return an optimizer of a loss that has these gradients wherever its parameters are, with a rate of 1."""
    starts = [np.zeros_like(g) for g in grads] if starts is None else starts
    params = [pytensor.shared(np.array(x, dtype), name=f"p{i}") for i, x in enumerate(starts)]
    loss = sum((p * np.array(g, dtype)).sum() for p, g in zip(params, grads, strict=True))
    return downhill2.build(algo, loss, params, **{"learning_rate": 1, **settings})


def steps(opt, updates=1):
    """Return what each update subtracted from the first parameter."""
    function, [p] = pytensor.function([], [], updates=opt.get_updates()), opt.params[:1]
    seen = [p.get_value()]
    for _ in range(updates):
        function()
        seen.append(p.get_value())
    return -np.diff(seen, axis=0)


# -- against optax

CASES = {
    "centralize": ({"centralize": True}, lambda optax: optax.chain(optax.centralize(), optax.sgd(0.1))),
    "adaptive clipping": (
        {"clip_adaptive": 0.1},
        lambda optax: optax.chain(optax.adaptive_grad_clip(0.1, 1e-3), optax.sgd(0.1)),
    ),
    "adaptive clipping, large epsilon": (
        {"clip_adaptive": {"clipping": 0.3, "epsilon": 2}},
        lambda optax: optax.chain(optax.adaptive_grad_clip(0.3, 2), optax.sgd(0.1)),
    ),
    "all that clips": (
        {"centralize": True, "max_gradient_elem": 1, "max_global_norm": 2, "clip_adaptive": 0.1, "momentum": 0.9},
        lambda optax: optax.chain(
            optax.centralize(), optax.clip(1), optax.clip_by_global_norm(2), optax.adaptive_grad_clip(0.1),
            optax.sgd(0.1), optax.trace(0.9),
        ),
    ),
}  # fmt: skip


@every_dtype
@pytest.mark.parametrize("packed", [False, True], ids=["separate", "packed"])
@pytest.mark.parametrize(("settings", "optax"), CASES.values(), ids=CASES)
def test_a_trajectory_is_that_of_optax(settings, optax, packed, dtype):
    driven = Driven("sgd", {"learning_rate": 0.1, **settings}, START, dtype, packed=packed, static=not packed)
    points = driven.trajectory(GRADIENTS, STEPS)
    assert_equal_points(points, optax_oracle.trajectory(optax, START, GRADIENTS, STEPS))


MECHANICS = {
    "defaults over sgd": ({"mechanic": True}, "sgd", {}, lambda o: o.contrib.mechanize(o.sgd(1.0))),
    "over adam with a decaying rate": (
        {"mechanic": 1e-3, "learning_rate": inverse},
        "adam",
        {"beta1": 0.9, "beta2": 0.999},
        lambda o: o.contrib.mechanize(o.adam(inverse), s_init=1e-3),
    ),
    "every option, over clipping and momentum": (
        {"mechanic": {"s_init": 0.01, "decay": 0.1, "epsilon": 1e-3, "betas": 3}},
        "sgd",
        {"momentum": 0.5, "max_global_norm": 1},
        lambda o: o.chain(
            o.clip_by_global_norm(1),
            o.contrib.mechanize(o.sgd(1.0, 0.5), weight_decay=0.1, eps=1e-3, s_init=0.01, num_betas=3),
        ),
    ),
}


@pytest.mark.parametrize(("settings", "algo", "base", "optax"), MECHANICS.values(), ids=MECHANICS)
def test_mechanic_is_that_of_optax(settings, algo, base, optax):
    driven = Driven(algo, {"learning_rate": 1, **base, **settings}, START)
    points = driven.trajectory(GRADIENTS, STEPS)
    # the way that Mechanic goes is short at first: what it is made of is compared with the parameters
    for step, reference in optax_oracle.trajectory(optax, START, GRADIENTS, STEPS).items():
        for x, y in zip(points[step], reference, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-12)


def test_mechanic_in_float32_is_near_that_in_float64():
    settings = {"learning_rate": 1, "mechanic": 0.01}
    wide, narrow = (Driven("sgd", settings, START, dtype).trajectory(GRADIENTS, STEPS) for dtype in ("f8", "f4"))
    assert {x.dtype.name for x in narrow[1]} == {"float32"}
    for step in STEPS:
        for x, y in zip(narrow[step], wide[step], strict=True):
            # each update recovers the sum of steps from the rounded parameters, less where they began
            np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


def test_mechanic_begins_where_parameters_were_set_after_its_state_was_made():
    driven = [Driven("sgd", {"learning_rate": 1, "mechanic": 0.01}, x) for x in (START, [0 * x for x in START])]
    for param, x in zip(driven[1].params, START, strict=True):
        param.set_value(x)
    first, second = (d.trajectory(GRADIENTS, (10,))[10] for d in driven)
    for x, y in zip(first, second, strict=True):
        np.testing.assert_array_equal(x, y)


# -- units and slices


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((), None),
        ((1, 1), None),
        ((3,), None),
        ((1, 3), None),
        ((3, 1), None),
        ((4, 3), (0,)),
        ((4, 2, 3), (0,)),
        ((3, 3, 2, 5), (0, 1, 2)),
        ((2, 3, 3, 2, 5), (0, 1, 2, 3)),
    ],
    ids=str,
)
def test_the_axes_of_a_unit_are_those_of_optax(shape, axes):
    from optax.transforms import unitwise_norm

    assert _unit_axes(shape) == axes
    x = np.random.default_rng(0).normal(size=shape).astype("f4")
    norms = np.sqrt(np.sum(x**2, axis=axes, keepdims=True))
    np.testing.assert_allclose(np.broadcast_to(norms, shape), unitwise_norm(x), rtol=1e-6)


def test_adaptive_clipping_leaves_a_gradient_of_zero_and_one_below_the_limit_alone():
    grads = [np.array([[0.0, 0.125], [0.0, 0.125]])]
    [step] = steps(linear(grads, [np.ones((2, 2))], clip_adaptive=0.5))
    np.testing.assert_array_equal(step, grads[0])


# -- noise


def noises(updates=4, n=20000, **noise):
    return steps(linear([np.zeros(n)], gradient_noise=noise), updates)


def test_noise_has_the_variance_of_the_paper_and_of_optax():
    import jax
    import optax

    eta, gamma = 0.3, 0.7
    transformation = optax.add_noise(eta, gamma, key=1)
    state = transformation.init(jax.numpy.zeros(20000))
    for t, noise in enumerate(noises(eta=eta, gamma=gamma), 1):
        theirs, state = transformation.update(jax.numpy.zeros(20000), state)
        # the standard deviation of 20,000 numbers is known to half a percent
        assert noise.std() == pytest.approx(np.sqrt(eta / t**gamma), rel=0.02)
        assert noise.std() == pytest.approx(float(theirs.std()), rel=0.03)
        assert abs(noise.mean()) < 4 * noise.std() / np.sqrt(20000)
        assert np.mean(abs(noise) < noise.std()) == pytest.approx(0.6827, abs=0.015)  # of a normal distribution


def test_noise_differs_between_updates_parameters_and_seeds_and_is_the_same_again():
    a, b = noises(2, 5, eta=1)
    assert len({*a, *b}) == 10
    np.testing.assert_array_equal(noises(2, 5, eta=1), [a, b])
    assert not np.isin(noises(2, 5, eta=1, seed=1), [a, b]).any()
    opt = linear([np.zeros(3), np.zeros(3)], gradient_noise=True)
    pytensor.function([], [], updates=opt.get_updates())()
    assert len({*opt.params[0].get_value(), *opt.params[1].get_value()}) == 6


@pytest.mark.parametrize("before", [{"clip_adaptive": 0.1}, {"centralize": True}, {"max_global_norm": 1}], ids=str)
def test_every_element_has_noise_of_its_own_whatever_was_done_to_the_gradient(before):
    [noise] = steps(linear([np.zeros((4, 3))], gradient_noise=1, **before))
    assert len({*noise.ravel()}) == 12


def test_the_generator_moves_on_for_all_parameters_whatever_was_done_to_their_gradients():
    settings = {"centralize": True, "clip_adaptive": 0.1, "gradient_noise": 0.1}
    grads = [np.ones((2, 1)), np.arange(12.0).reshape(4, 3)]  # of which nothing remains of the first, centralized
    noise = steps(linear([0 * g for g in grads], gradient_noise=0.1), 3)
    np.testing.assert_allclose(steps(linear(grads, **settings), 3), noise, rtol=1e-12)


def test_noise_comes_after_clipping_and_before_decay():
    grads, start = [np.full(50, 9.0)], [np.ones(50)]
    plain = steps(linear([np.zeros(50)], gradient_noise=0.5))
    settings = {"max_gradient_elem": 2, "weight_decay": 0.1, "gradient_noise": 0.5}
    np.testing.assert_allclose(steps(linear(grads, start, **settings)), 2 + plain + 0.1, rtol=1e-12)


def test_a_reset_brings_the_noise_of_the_beginning_back():
    opt = linear([np.zeros(5)], gradient_noise=1)
    function, [p] = pytensor.function([], [], updates=opt.get_updates()), opt.params
    function()
    first = p.get_value()
    opt.reset()
    p.set_value(np.zeros(5))
    function()
    np.testing.assert_array_equal(p.get_value(), first)


# -- options


def test_options_are_hyperparameters_that_stay_live():
    opt = linear([np.zeros(5000)], gradient_noise={"eta": 1, "gamma": 0})
    assert opt.hyper["gradient_noise"] == 1
    assert opt.hyper["gradient_noise_gamma"] == 0
    function, [p] = pytensor.function([], [], updates=opt.get_updates()), opt.params
    function()
    opt.gradient_noise = 100
    before = p.get_value()
    function()
    assert (p.get_value() - before).std() == pytest.approx(10, rel=0.1)


def test_true_and_false_switch_a_wrapper_on_and_off():
    opt = linear([np.zeros(2)], gradient_noise=True)
    assert opt.hyper["gradient_noise"] == 0.01
    opt.get_updates(gradient_noise=False)
    assert opt.hyper["gradient_noise"] == 0
    assert "gradient_noise_gamma" not in opt.hyper.present_numbers()


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        (
            {"gradient_noise": {"eta": 1, "gama": 2}},
            TypeError,
            "gradient_noise must be a number or a dict with",
        ),
        ({"gradient_noise": -1}, ValueError, "gradient_noise must be at least 0, got -1"),
        ({"gradient_noise": {"gamma": -1}}, ValueError, "gradient_noise_gamma must be at least 0, got -1"),
        ({"gradient_noise": {"seed": -1}}, ValueError, "gradient_noise_seed must be at least 0, got -1"),
        ({"gradient_noise": {"gamma": 1}, "gradient_noise_gamma": 2}, TypeError, "gradient_noise_gamma and"),
        ({"clip_adaptive": "strong"}, TypeError, "clip_adaptive must be a number"),
        ({"centralize": 1}, TypeError, "centralize must be True or False, got 1"),
        ({"mechanic": {"betas": 0}}, ValueError, "mechanic_betas must be at least 1, got 0"),
        ({"mechanic": {"betas": 2.5}}, TypeError, "mechanic_betas must be an integer, got 2.5"),
        ({"mechanic": {"epsilon": 0}}, ValueError, "mechanic_epsilon must be positive, got 0"),
        ({"transforms": np.tanh}, TypeError, "transforms must be a sequence of functions, got"),
    ],
    ids=str,
)
def test_wrong_options_are_refused(settings, kind, message):
    with pytest.raises(kind, match=message):
        linear([np.zeros(2)], **settings)


def test_names_of_stages_with_state_are_no_names_of_algorithms():
    for name in ("Momentum", "GradientNoise", "Mechanic", "EMA", "SWA", "Lookahead", "Accumulate"):
        with pytest.raises(TypeError, match=f"must not be called {name}; its state would be that of the setting"):
            type(name, (downhill2.Optimizer,), {"direction": lambda self, param, grad: (grad, {})})


# -- by function


def heavy(param, grad, v=downhill2.Zeros()):
    v_t = 0.5 * v + grad
    return v_t, {"v": v_t}


def test_transforms_are_functions_in_their_order_after_noise_and_before_decay():
    grads = [np.array([1.0, -2.0])]
    opt = linear(grads, [np.ones(2)], transforms=[lambda p, g: 2 * g, lambda p, g: g + p], weight_decay=0.5)
    np.testing.assert_allclose(steps(opt), [2 * grads[0] + 1 + 0.5])


def test_a_transform_declares_its_state_by_default_values():
    opt = linear([np.array([1.0, -2.0])], transforms=[heavy])
    np.testing.assert_allclose(steps(opt, 3), [[1, -2], [1.5, -3], [1.75, -3.5]])
    assert opt.state["p0.heavy.v"].tolist() == [1.75, -3.5]


def test_a_transform_sees_one_parameter_at_a_time_in_its_shape():
    seen = []
    opt = linear([np.ones((2, 3)), np.ones(())], transforms=[lambda p, g: seen.append((p.ndim, g.ndim)) or g])
    opt.get_updates()
    assert seen == [(2, 2), (0, 0)]


def test_a_transform_may_use_what_rules_know():
    def normalized(param, grad, global_norm, t):
        return grad / global_norm * t

    np.testing.assert_allclose(
        steps(linear([np.array([3.0, 4.0])], transforms=[normalized]), 2), [[0.6, 0.8], [1.2, 1.6]]
    )


def with_hyper(param, grad, beta=downhill2.Hyper(0.5)):
    return beta * grad


@pytest.mark.parametrize(
    ("transforms", "kind", "message"),
    [
        ([3], TypeError, "a rule must be a function of a parameter and its gradient, got 3"),
        ([lambda g: g], TypeError, "<lambda> must take a parameter and its gradient, got"),
        ([lambda p, g, extra: g], TypeError, "<lambda> must take t, rate, loss, global_norm or what it declares"),
        ([with_hyper], TypeError, "with_hyper must declare states only"),
        ([heavy, heavy], ValueError, "transforms with state must have names of their own, got 'heavy' twice"),
    ],
    ids=["number", "one argument", "unknown", "hyper", "twice"],
)
def test_functions_that_are_no_transforms_are_refused(transforms, kind, message):
    with pytest.raises(kind, match=message):
        linear([np.zeros(2)], transforms=transforms)


def test_a_transform_that_forgets_its_state_is_told():
    def forgetful(param, grad, v=downhill2.Zeros()):
        return grad

    with pytest.raises(TypeError, match="must return a new value for each of its states"):
        linear([np.zeros(2)], transforms=[forgetful]).get_updates()


def test_a_rule_by_function_is_an_algorithm_like_any_other(registry):
    @downhill2.rule
    def mine(param, grad, v=downhill2.Zeros(), beta=downhill2.Hyper(0.5, at_least=0, below=1)):
        """Heavy ball."""
        v_t = beta * v + grad
        return v_t, {"v": v_t}

    opt = linear([np.array([1.0, -2.0])], algo="mine", beta=0.25, max_gradient_elem=1)
    np.testing.assert_allclose(steps(opt, 2), [[1, -1], [1.25, -1.25]])
    assert mine.__doc__ == "Heavy ball."
    assert opt.state["p0.mine.v"].tolist() == [1.25, -1.25]
    assert registry["mine"] is mine


def test_a_rule_by_function_may_say_that_it_treats_each_element_alike(registry):
    @downhill2.rule(scope="element")
    def plain(param, grad):
        return grad

    assert plain.scope == "element"
    np.testing.assert_allclose(steps(linear([np.array([1.0, -2.0])], algo="plain")), [[1, -2]])


def test_a_rule_by_function_may_have_its_rate_and_scope_in_its_own_hands(registry):
    seen = []

    def direct(param, grad, rate, loss):
        seen.append(param.ndim)
        return rate * grad * (loss > 0)

    opt = downhill2.rule(direct, name="Direct", scope="all")
    x = pytensor.shared(np.ones((2, 2)), name="x")
    assert linear([np.ones(2)], algo=opt).hyper["learning_rate"] == 1
    steps(opt((x**2).sum(), learning_rate=0.5))
    np.testing.assert_array_equal(x.get_value(), np.zeros((2, 2)))
    assert seen == [1]


@pytest.mark.parametrize(
    ("f", "options", "kind", "message"),
    [
        (lambda p, g: g, {}, ValueError, "name must be an identifier, got '<lambda>'; give name="),
        (lambda p, g: g, {"name": "a b"}, ValueError, "name must be an identifier, got 'a b'"),
        (
            lambda p, g: g,
            {"name": "x", "scope": "row"},
            ValueError,
            "scope must be 'element' or 'tensor' or 'all', got 'row'",
        ),
        (lambda p, g, params=downhill2.Zeros(): g, {"name": "x"}, TypeError, "must not declare 'params'"),
        (lambda p, g, momentum=downhill2.Zeros(): g, {"name": "x"}, TypeError, "must not declare 'momentum'"),
        (3, {}, TypeError, "a rule must be a function of a parameter and its gradient, got 3"),
    ],
    ids=["lambda", "name", "scope", "member", "setting", "number"],
)
def test_functions_that_are_no_rules_are_refused(f, options, kind, message, registry):
    before = dict(registry)
    with pytest.raises(kind, match=message):
        downhill2.rule(f, **options)
    assert registry == before


def names_of_an_optimizer():
    """All that an optimizer or its rule has under a name, but for what algorithms declare."""
    opt = downhill2.build("sgd", pytensor.shared(1.0, name="w") ** 2)
    declared = opt.rule.hyper.declared
    return sorted({*dir(opt), *dir(opt.rule), "param", "grad"} - declared.keys())


@pytest.mark.parametrize("declare", [lambda: downhill2.Hyper(0.5), lambda: downhill2.Setting(10), downhill2.Zeros])
def test_no_declaration_hides_what_every_optimizer_has(declare, registry):
    before = dict(registry)
    hidden = [n for n in names_of_an_optimizer() if not n.startswith("_")]
    assert {"stop", "stopped", "history", "hyper", "minimize", "state", "fit", "t"} <= {*hidden}
    for name in hidden:
        for base in (downhill2.Optimizer, downhill2.Adam):
            with pytest.raises(TypeError, match=f"Mine must not declare {name!r}, a name that"):
                type("Mine", (base,), {name: declare()})
    for name in ("stop", "history", "hyper"):
        with pytest.raises(TypeError, match=f"f must not declare {name!r}, a name that"):
            downhill2.rule(eval(f"lambda p, g, {name}=d: g", {"d": declare()}), name="f")
    assert registry == before


def test_a_declaration_that_comes_from_beside_the_optimizer_hides_nothing_either(registry):
    class Beside:
        stop = downhill2.Hyper(0.5)

    with pytest.raises(TypeError, match="Mine must not declare 'stop'"):
        type("Mine", (Beside, downhill2.Adam), {})


@pytest.mark.parametrize("name", ["patience", "train", "loss", "batch_size", "max_updates", "checkpoint", "algo"])
def test_no_keyword_of_a_hyperparameter_is_an_argument_of_a_run(name, registry):
    for declaration in (downhill2.Hyper(0.5, name), downhill2.Hyper(0.5, former=(name,))):
        with pytest.raises(TypeError, match=f"Mine must not declare '{name}', an argument of build or of a run"):
            type("Mine", (downhill2.Adam,), {"mine": declaration})


def test_state_and_hyperparameters_take_no_name_of_each_other(registry):
    with pytest.raises(TypeError, match="Mine must not declare 'beta1'"):
        type("Mine", (downhill2.Adam,), {"beta1": downhill2.Zeros()})
    with pytest.raises(TypeError, match="Mine must not declare 'm'"):
        type("Mine", (downhill2.Adam,), {"m": downhill2.Hyper(0.5)})
    replaced = type("Mine", (downhill2.Adam,), {"beta1": downhill2.Hyper(0.5), "m": downhill2.Copy()})
    assert replaced().hyper["beta1"] == 0.5


# -- in the mode that users run


@pytest.mark.thorough
@pytest.mark.default_mode
def test_all_transforms_in_one_function_are_in_the_default_mode_what_they_are_in_the_other():
    common = {"learning_rate": 1, "centralize": True, "clip_adaptive": 0.1, "gradient_noise": 0.1}
    project = {"*": downhill2.projections.L2Ball(3.0)}
    both = [
        {**common, "transforms": [heavy], "lookahead": 3, "ema": 0.9, "project": project},
        {**common, "mechanic": 0.1, "swa": {"start": 2, "every": 2}},
    ]
    one, other = ([Driven("sgd", settings, START[3:], "float32") for settings in both] for _ in range(2))
    inputs, updates = [x for d in one for x in d.inputs], [pair for d in one for pair in d.updates]
    step, references = pytensor.function(inputs, [], updates=updates, mode=mode()), [d.compile() for d in other]
    for gs in GRADIENTS[:7]:
        arrays = [np.asarray(g, "f4") for g in gs[3:]]
        step(*arrays, *arrays)
        for reference in references:
            reference(*arrays)
    for d, reference in zip(one, other, strict=True):
        expected = reference.optimizer.state | {p.name: p.get_value() for p in reference.params}
        values = d.optimizer.state | {p.name: p.get_value() for p in d.params}
        for name, value in values.items():
            if not isinstance(value, np.random.Generator):
                np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_a_schedule_drives_what_is_no_structure():
    opt = linear([np.array([3.0])], clip_adaptive={"clipping": lambda t: 1 + t, "epsilon": 1.0})
    np.testing.assert_allclose(steps(opt, 2), [[1], [2]])
