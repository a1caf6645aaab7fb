"""Backends: what each is called, what it refuses, and that all compute the same."""

import importlib.util
import logging

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from cases.downhill import CASES
from pytensor.compile.mode import CVM, JAX, Mode
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.vm import VMLinker
from training import Training, plain, rows

import downhill2
from downhill2.compiling import backends
from downhill2.compiling.jax_linker import DeviceLinker
from downhill2.compiling.jax_step import explained
from downhill2.compiling.jax_values import generator_of, key_of
from downhill2.compiling.linker import FunctionLinker
from downhill2.compiling.torch_linker import TorchLinker

torch = pytest.mark.oracle_torch
default = pytest.mark.default_mode
jax = pytest.importorskip("jax")

from pytensor.link.jax.dispatch import jax_typify as PYTENSORS  # noqa: E402  (after JAX was found)

# JAX's own conversions of PyTensor's operations round otherwise than NumPy: in sums, exp, log.
TOLERANCE = {"float32": 1e-6, "float64": 1e-12}


class Doubled(Op):
    """Twice a scalar: an operation that only Python computes."""

    def make_node(self, x):
        return Apply(self, [x], [x.type()])

    def perform(self, node, inputs, outputs):
        outputs[0][0] = 2 * inputs[0]

    def pullback(self, inputs, outputs, cotangents):
        return [2 * cotangents[0]]

    grad = pullback


@pytest.fixture(autouse=True)
def quick_compiler():
    """Have g++ not optimize, which takes it a fifth of the time."""
    with pytensor.config.change_flags(gcc__cxxflags="-O0"):
        yield


def quadratic(**given):
    """Return a parameter of three numbers and an optimizer of its squares."""
    w = pytensor.shared(np.array([3.0, -2.0, 1.0]), name="w", shape=(3,))
    return w, downhill2.build("sgd", (w**2).sum(), learning_rate=0.1, **given)


def classifier(dtype="float64", **given):
    """Return parameters and an optimizer of a softmax regression, with what shapes alone decide in its loss."""
    x, y = pt.matrix("x", dtype=dtype), pt.lvector("y")
    W, b = (pytensor.shared(np.zeros(s, dtype), name=n) for n, s in {"W": (4, 3), "b": (3,)}.items())
    scores = x.reshape((x.shape[0] // 2 * 2 + x.shape[0] % 2, -1)) @ W + b
    loss = -pt.special.log_softmax(scores, axis=1)[pt.arange(y.shape[0]), y].mean()
    return [W, b], downhill2.build("adam", loss, learning_rate=0.1, monitors={"size": (W**2).sum()}, **given)


def classes(count, dtype="float64", seed=0):
    x, y = rows(count, seed, dtype)
    return [x, np.digitize(y, [-0.5, 0.5])]


def trained(opt, params, data, **settings):
    """Return what a run yields, and parameters and state after it."""
    settings = {"max_epochs": 4, "validate_every": 2, "rng": 1, **settings}
    pairs = list(opt.iterate(data, **settings))
    values = [p.get_value() for p in params] + list(opt.state.values())
    assert all(type(v) is np.ndarray for v in values)
    return [[*train.values(), *valid.values()] for train, valid in pairs], values


# -- names and refusals


@pytest.mark.parametrize(
    ("backend", "linker"),
    [("numba", FunctionLinker), ("c", VMLinker), ("jax", DeviceLinker), ("JAX", DeviceLinker), ("CVM", VMLinker)],
)
def test_a_backend_is_a_mode_with_its_linker(backend, linker):
    assert isinstance(backends.mode(backend).linker, linker)


def test_pytorch_is_a_mode_with_its_linker():
    assert isinstance(backends.mode("pytorch").linker, TorchLinker)


def test_a_mode_is_taken_as_it_is_but_for_jax():
    given = Mode("py", "fast_compile")
    assert backends.mode(given) is given
    assert isinstance(backends.mode(JAX).linker, DeviceLinker)


@pytest.mark.parametrize(
    ("backend", "error", "message"),
    [
        ("jaxx", ValueError, r"backend must be one of 'numba', 'c', 'jax', 'pytorch', got 'jaxx'; did you mean 'jax'"),
        ("tpu!", ValueError, r"got 'tpu!'; a mode of PyTensor may be given too"),
        (3, TypeError, r"backend must be a name or a PyTensor mode, got int"),
    ],
)
def test_an_unknown_backend_is_refused_before_anything_is_compiled(backend, error, message):
    w, opt = quadratic()
    for call in (
        lambda: quadratic(backend=backend),
        lambda: opt.minimize(backend=backend, max_updates=1),
        lambda: opt.iterate(backend=backend),
        lambda: downhill2.minimize((w**2).sum(), None, backend=backend, max_updates=1),
    ):
        with pytest.raises(error, match=message):
            call()
    assert w.get_value().tolist() == [3, -2, 1]


@pytest.mark.parametrize(("backend", "package"), [("jax", "jax"), ("pytorch", "torch")])
def test_a_backend_that_is_not_installed_says_what_to_install(backend, package, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ImportError, match=rf"backend='{backend}' needs {package}; pip install 'downhill2\[{package}\]'"
    ):
        quadratic(backend=backend)


def test_the_c_backend_needs_a_compiler():
    with pytensor.config.change_flags(cxx=""), pytest.raises(ValueError, match=r"backend must have a C\+\+ compiler"):
        quadratic(backend="c")


def test_an_operation_that_a_backend_lacks_is_named_and_nothing_is_changed():
    w = pytensor.shared(np.array(3.0), name="w")
    opt = downhill2.build("sgd", Doubled()(w) ** 2, learning_rate=0.1)
    with pytest.raises(ValueError, match=r"backend must have every operation of the graph, got 'jax': .*Doubled"):
        opt.minimize(max_updates=1, backend="jax", learning_rate=7)
    assert opt.hyper["learning_rate"] == 0.1
    assert w.get_value() == 3
    opt.minimize(max_updates=1)  # where it was before
    np.testing.assert_allclose(w.get_value(), 3 - 0.1 * 8 * 3)


def test_a_graph_whose_shapes_depend_on_values_is_refused_by_jax():
    w = pytensor.shared(np.array([3.0, -2.0]), name="w")
    opt = downhill2.build("sgd", (w[w > 0] ** 2).sum(), backend="jax")
    with pytest.raises(ValueError, match="shapes of all arrays must follow from those of the inputs for backend='jax'"):
        opt.minimize(max_updates=1)
    assert w.get_value().tolist() == [3, -2]


def test_a_check_in_the_graph_is_left_out_by_jax_and_told_of(caplog):
    w = pytensor.shared(np.array(3.0), name="w")
    loss = pytensor.raise_op.Assert("w must be large")(w, w > 10) ** 2
    opt = downhill2.build("sgd", loss, learning_rate=0.1, backend="jax")
    with caplog.at_level(logging.WARNING, "downhill2"):
        opt.minimize(max_updates=1, validate_every=None)
    assert "the JAX backend leaves out the check 'w must be large'" in caplog.messages
    np.testing.assert_allclose(w.get_value(), 0.8 * 3)


# -- all compute the same


@pytest.mark.parametrize(
    ("backend", "dtype"),
    [
        *(pytest.param("pytorch", dtype, marks=torch) for dtype in TOLERANCE),
        *(pytest.param("numba", dtype, marks=default) for dtype in TOLERANCE),
        ("jax", "float32"),
        ("jax", "float64"),
        pytest.param("c", "float32", marks=pytest.mark.thorough),  # the other one would be twenty more files for g++
    ],
)
def test_a_run_is_the_same_on_every_backend(backend, dtype):
    data = classes(150, dtype)
    expected, values = trained(*classifier(dtype)[::-1], data, batch_size=140)
    found, others = trained(*classifier(dtype, backend=backend)[::-1], data, batch_size=140)
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE[dtype])
    for value, other in zip(values, others, strict=True):
        assert value.dtype == other.dtype
        np.testing.assert_allclose(other, value, rtol=0, atol=10 * TOLERANCE[dtype] * np.abs(value).max())


@pytest.mark.parametrize("backend", ["jax", pytest.param("pytorch", marks=torch)])
def test_sizes_powers_and_operations_with_several_results_are_computed(backend):
    x, y = pt.vector("x"), pt.vector("y")
    power = pytensor.compile.builders.OpFromGraph([y], [y**2.5])
    half, rest = pt.split(x, [2, 3])
    size = x.shape[0]
    outputs = [power(x), x % 3, half, rest, size, pt.arange(size // 2), x[: size // 2 * 2].reshape((size // 2, -1))]
    found, expected = (
        pytensor.function([x], outputs, mode=mode)(np.arange(1.0, 6.0))
        for mode in (backends.mode(backend), "FAST_COMPILE")
    )
    for value, other in zip(found, expected, strict=True):
        assert np.asarray(value).dtype == other.dtype
        np.testing.assert_allclose(value, other, rtol=1e-14)


@torch
def test_an_operation_that_pytorch_has_under_no_name_is_named():
    x = pt.scalar("x")
    with pytest.raises(NotImplementedError, match="PyTorch conversion for the given `Op`: Kve"):
        pytensor.function([x], pt.kve(1, x), mode=backends.mode("pytorch"))


def stepping(dtype, mode):
    """Return what ten updates of each of downhill's algorithms make of parameters and state; one function makes all."""
    x, updates = pt.matrix("x", dtype=dtype), {}
    for case in {case.algo: case for case in CASES if not case.curvature}.values():
        W = pytensor.shared(np.linspace(-1, 1, 12, dtype=dtype).reshape(4, 3), name=f"{case.algo}.W", shape=(4, 3))
        loss = pt.sqr(x.mean(axis=0)[:, None] * W - 0.3).mean() + pt.cos(W).sum() / 7
        opt = downhill2.build(case.algo, loss, **case.settings)
        updates.update(opt.fit.guarded("gradients", opt.fit.layout)[0])
    function = pytensor.function([x], [], updates=updates, mode=mode)
    for seed in range(10):
        function(rows(5, seed, dtype)[0])
    return [(v.name, np.asarray(v.get_value())) for v in updates]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "backend", ["jax", pytest.param("c", marks=pytest.mark.thorough), pytest.param("pytorch", marks=torch)]
)
def test_algorithms_take_the_same_way_on_every_backend(backend, dtype):
    # in C as one file: g++ takes a second for each of the files that the backend makes, one for each kernel
    mode = Mode("c", CVM.provided_optimizer) if backend == "c" else backends.mode(backend)
    for (name, value), (_, expected) in zip(stepping(dtype, mode), stepping(dtype, "FAST_COMPILE"), strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(value, expected, rtol=0, atol=TOLERANCE[dtype] * scale, err_msg=name)


def test_another_backend_compiles_anew_and_goes_on(caplog):
    w, opt = quadratic(momentum=0.5)
    with caplog.at_level(logging.INFO, "downhill2"):
        for backend in ("jax", None, Mode("py", "fast_compile")):
            opt.minimize(max_updates=1, validate_every=None, backend=backend)
    assert caplog.messages.count("compiling the training step again, because of new settings") == 1
    x, velocity = np.array([3.0, -2.0, 1.0]), 0
    for _ in range(3):
        velocity = 0.5 * velocity + 0.1 * 2 * x
        x = x - velocity
    np.testing.assert_allclose(w.get_value(), x, rtol=1e-14)


# -- JAX: what is on the device, and when it comes back


def test_whoever_may_look_finds_arrays_of_numpy():
    params, opt = classifier("float32", backend="jax")
    probe = pytensor.function([], params[0].sum(), mode="FAST_COMPILE")
    looked = []

    def look(*_):
        held = [v.get_value(borrow=True) for v in (*params, *opt.context.store.variables.values(), opt.context.clock)]
        assert all(type(v) is np.ndarray and v.flags.writeable for v in held)
        assert {v.dtype.name for v in held} == {"float32", "int64"}
        np.testing.assert_allclose(probe(), params[0].get_value().sum(), rtol=1e-5)
        looked.append(opt.context.clock.get_value().item())

    data, settings = classes(40, "float32"), {"batch_size": 16, "rng": 1, "max_epochs": 2}
    for _ in opt.iterate(data, validate_every=None, **settings):
        look()
    opt.minimize(data, callbacks=[look], **settings)
    assert looked == [3, 6, 6, 9, 12]
    look()
    with pytest.raises(ZeroDivisionError):
        opt.minimize(lambda: data if len(looked) == 7 else 1 / 0, max_epochs=1, callbacks=[look], validate_every=None)
    assert not isinstance(params[0].get_value(borrow=True), jax.Array)
    assert opt.evaluate(data)["loss"] > 0
    look()


def test_values_that_are_written_in_place_between_runs_are_seen():
    w, rate = (pytensor.shared(np.array([x]), name=n, shape=(1,)) for n, x in {"w": 4.0, "rate": 0.5}.items())
    opt = downhill2.build("sgd", rate[0] * (w**2).sum(), params=[w], learning_rate=1.0, backend="jax")
    opt.minimize(max_updates=1, validate_every=None)
    assert w.get_value() == 0
    assert opt.evaluate(None)["loss"] == 0
    w.get_value(borrow=True)[0] = 8
    rate.get_value(borrow=True)[0] = 0.25
    assert opt.evaluate(None)["loss"] == 16
    opt.minimize(max_updates=1, validate_every=None)
    assert w.get_value() == 4


def test_no_array_of_the_caller_is_written_to():
    start, data = np.full(64, 2.0), np.ones((64, 64))
    w, x = pytensor.shared(start, name="w", borrow=True), pt.matrix("x")
    downhill2.minimize(((x * w) ** 2).sum(), [data], algo="sgd", max_epochs=1, validate_every=None, backend="jax")
    assert w.get_value()[0] < 2
    assert start.tolist() == [2] * 64
    assert (data == 1).all()


@pytest.mark.parametrize("wide", [False, True])
def test_float64_is_float64_whatever_jax_is_set_to_and_that_stays(wide):
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", wide)
    try:
        w = pytensor.shared(np.array(1.0), name="w")
        opt = downhill2.build("sgd", (w - 1 / 3) ** 2, learning_rate=0.5, backend="jax")
        opt.minimize(max_updates=2)
        assert w.get_value() == 1 / 3
        assert jax.numpy.ones(1).dtype == ("float64" if wide else "float32")
    finally:
        jax.config.update("jax_enable_x64", before)


def test_a_value_that_is_lost_on_the_device_is_told_of(caplog):
    w, opt = quadratic(backend="jax")
    opt.minimize(max_updates=1, validate_every=None)
    w.container.storage[0] = lost = jax.numpy.ones(3)
    lost.delete()
    opt.fit.settle()
    assert caplog.messages == ["the value of w is lost on the device"]


def test_an_error_that_is_not_of_shapes_passes_through():
    with pytest.raises(TypeError, match="int"):
        explained(int, None)


def test_variables_that_take_each_others_values_are_swapped():
    a, b = (pytensor.shared(np.arange(3.0) + k, name=n) for k, n in enumerate("ab"))
    w = pytensor.shared(np.array(1.0), name="w")
    opt = downhill2.build("sgd", w**2, params=[w], updates={a: b, b: a}, backend="jax")
    opt.minimize(max_updates=3, validate_every=None, updates_per_call=1)
    assert a.get_value().tolist() == [1, 2, 3]
    assert b.get_value().tolist() == [0, 1, 2]


# -- JAX: many updates in one call


def afresh(opt, params):
    """Set parameters and state to what they were at first."""
    opt.reset()
    for p in params:
        p.set_value(np.zeros_like(p.get_value()))


def test_many_updates_in_a_call_are_those_of_as_many_calls():
    params, opt = classifier("float32", backend="jax")
    ways = [{}, {"shuffle": False}, {"weights": np.arange(50.0)}]
    for how in ways:
        results = []
        for per_call in (1, 3, "auto"):
            afresh(opt, params)
            data = downhill2.Dataset(classes(50, "float32"), batch_size=16, rng=3, **how)
            results.append(trained(opt, params, data, plateau=True, max_updates=11, updates_per_call=per_call))
        for found, values in results[1:]:
            np.testing.assert_allclose(found, results[0][0], rtol=1e-6)
            for value, expected in zip(values, results[0][1], strict=True):
                np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-7)


def test_nothing_of_a_call_counts_after_an_update_that_is_not_finite():
    params, opt = classifier(backend="jax")
    x, y = classes(48)
    x[17] = np.nan
    results = []
    for per_call in (1, "auto"):
        afresh(opt, params)
        settings = {"shuffle": False, "batch_size": 8, "validate_every": None, "updates_per_call": per_call}
        with pytest.raises(
            downhill2.NonFiniteError, match=r"loss is not finite at update 3; .*, row 17 \(rows 16 to 23"
        ):
            opt.minimize([x, y], max_epochs=1, **settings)
        assert opt.context.clock.get_value() == 2
        found = trained(opt, params, [x, y], max_epochs=2, on_nonfinite="skip", **settings)
        assert opt.context.clock.get_value() == 12
        assert [r.events for r in opt.history][-1] == ("skipped an update after update 7",)
        results.append(found)
    np.testing.assert_allclose(*(found for found, _ in results), rtol=1e-12)
    for pair in zip(*(values for _, values in results), strict=True):
        np.testing.assert_allclose(*pair, rtol=1e-12, atol=1e-15)


# -- JAX: random numbers, and runs that are saved


def test_a_key_is_the_generator_that_it_came_from():
    generator = np.random.default_rng(3)
    key = key_of(generator)
    assert (key_of(generator_of(jax.numpy.asarray(key))) == key).all()
    assert (key == PYTENSORS(generator)["jax_state"]).all()


def test_a_generator_that_is_not_of_pcg64_is_refused_by_jax():
    rng = pt.random.shared_rng(np.random.Generator(np.random.MT19937(1)), name="rng")
    w, (following, noise) = pytensor.shared(np.array(1.0), name="w"), rng.normal()
    opt = downhill2.build("sgd", (w - noise) ** 2, params=[w], updates={rng: following}, backend="jax")
    with pytest.raises(TypeError, match=r"random generators must be over PCG64 for backend='jax', got MT19937"):
        opt.minimize(max_updates=1)


def assert_close(found, expected):
    """Raise unless two runs ended at the same point, but for rounding."""
    assert (found["updates"], found["stopped"]) == (expected["updates"], expected["stopped"])
    for part, other in zip((*found["pair"], found["best"]), (*expected["pair"], expected["best"]), strict=True):
        assert part == pytest.approx(other, rel=1e-9)


def test_a_run_with_random_numbers_is_resumed_under_jax_with_those_that_were_to_come(tmp_path):
    train = Training(noise=True)
    whole = train.run(backend="jax")
    draws = [plain(v.get_value()) for v in train.loose]
    train.fresh()
    assert [plain(v.get_value()) for v in train.loose] != draws
    parts = train.interrupted(tmp_path, stops=[5, 12])
    assert [plain(v.get_value()) for v in train.loose] == draws
    assert_close(parts, whole)


def test_updates_under_jax_draw_anew_and_evaluations_leave_them_alone():
    rng = pt.random.shared_rng(np.random.default_rng(1), name="rng")
    w = pytensor.shared(np.zeros(3), name="w", shape=(3,))
    opt = downhill2.SGD((w * rng.normal(size=(3,))[1]).sum(), [w], learning_rate=1, backend="jax")
    steps = []
    for validate_every in (None, 1):
        w.set_value(np.zeros(3))
        rng.set_value(np.random.default_rng(1))
        settings = {"max_epochs": 3, "train_batches": 2, "valid_batches": 2, "restore_best": False}
        *_, (_, valid) = opt.iterate(validate_every=validate_every, **settings)
        steps.append(w.get_value())
    assert steps[0].tolist() == steps[1].tolist()
    assert len({r.train["loss"] for r in opt.history if r.train}) == 3
    state = rng.get_value().bit_generator.state
    one, two = (opt.evaluate(downhill2.Dataset(None, iteration_size=n))["loss"] for n in (1, 2))
    assert one != two == valid["loss"]
    assert rng.get_value().bit_generator.state == state


@pytest.mark.parametrize(("first", "then"), [("jax", "FAST_COMPILE"), ("FAST_COMPILE", "jax")])
def test_a_run_that_was_saved_under_one_backend_goes_on_under_another(first, then, tmp_path):
    train = Training()
    whole = train.run()
    train.run(checkpoint=tmp_path, max_updates=9, backend=first)
    assert_close(train.run(checkpoint=tmp_path, resume=True, backend=then), whole)


# -- half precision, which Numba lacks


def halves(parameter="float32", inputs="float16", rows=8):
    """Return a fit of data in float16, with its loss, parameter and inputs."""
    x, y = pt.matrix("x", dtype=inputs), pt.vector("y", dtype=inputs)
    w = pytensor.shared(np.zeros(3, parameter), name="w")
    features = np.arange(3 * rows).reshape(rows, 3).astype("float16") / 8
    data = [features, features @ np.array([1, 2, 3], "float16")]
    return ((x @ w - y) ** 2).mean(), w, [x, y], data


def fit(loss, w, inputs, data, **settings):
    return downhill2.minimize(
        loss,
        data,
        params=[w],
        inputs=inputs,
        algo="adam",
        learning_rate=0.1,
        max_updates=5,
        validate_every=2,
        **settings,
    )


@default
def test_data_in_half_precision_is_what_it_is_in_single_precision():
    results = []
    for inputs in ("float16", "float32"):
        loss, w, (x, y), data = halves(inputs=inputs)
        mean = pytensor.shared(np.zeros(3, "f4"), name="mean")
        monitors, updates = {"mean": x.mean(), "third": (x * 0.25).max()}, {mean: x.mean(axis=0)}
        train, valid = fit(loss, w, [x, y], data, batch_size=4, monitors=monitors, updates=updates, rng=0)
        results.append([*train.values(), *valid.values(), *w.get_value(), *mean.get_value()])
    np.testing.assert_allclose(*results, rtol=1e-6)


@default
def test_what_a_loss_computes_in_half_precision_is_computed_in_single_precision():
    loss, w, inputs, data = halves()
    x, y = inputs
    half = ((x * w.astype("float16")).sum(axis=1) - y) ** 2
    mean = half.mean()
    assert mean.type.dtype == "float16"
    fit(mean, w, inputs, data)
    found = w.get_value()
    w.set_value(np.zeros(3, "f4"))
    fit(loss, w, inputs, data)
    np.testing.assert_allclose(found, w.get_value(), rtol=1e-4)


@default
def test_parameters_in_half_precision_are_refused_by_name_before_anything_is_compiled():
    loss, w, inputs, data = halves(parameter="float16")
    with pytest.raises(TypeError, match=r"for Numba, which compiles no float16, got 'w' of shape \(3,\); make it"):
        fit(loss, w, inputs, data)
    assert not w.get_value().any()


@default
def test_shared_data_and_draws_in_half_precision_are_refused():
    loss, w, inputs, data = halves()
    shared = [pytensor.shared(d, name=f"data{i}") for i, d in enumerate(data)]
    with pytest.raises(TypeError, match=r"got 'data[01]' of shape"):
        fit(loss, w, inputs, shared, batch_size=4)
    rng = pt.random.shared_rng(np.random.default_rng(0))
    with pytest.raises(TypeError, match="operations must make float32 or float64 for Numba"):
        fit(loss + pt.zeros(3, dtype="float16").sum() + _draw(rng), w, inputs, data)


def _draw(rng):
    return rng.normal(size=3, dtype="float16")[1].sum()


@pytest.mark.parametrize("backend", [None, "jax"])
def test_backends_that_have_half_precision_train_in_it(backend):
    loss, w, inputs, data = halves(parameter="float16")
    before, _ = fit(loss, w, inputs, data, backend=backend)
    assert w.get_value().dtype == "float16"
    after, _ = fit(loss, w, inputs, data, backend=backend)
    assert after["loss"] < before["loss"]


@default
def test_inputs_of_every_other_dtype_are_compiled():
    names = ["bool", "int8", "int32", "uint8", "uint16", "uint64", "float32", "float64"]
    inputs = [pt.vector(n, dtype=n) for n in names]
    w = pytensor.shared(np.float32([1, 2]), name="w")
    loss = sum(((x.astype("float32") - w) ** 2).sum() for x in inputs)
    opt = downhill2.build("sgd", loss, [w], inputs, learning_rate=0.5 / len(names))
    opt.minimize([np.array([1, 0], n) for n in names], max_updates=1, validate_every=None)
    np.testing.assert_allclose(w.get_value(), [1, 0], atol=1e-6)
