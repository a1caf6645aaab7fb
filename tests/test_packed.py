"""Many small parameters in one buffer: everything but the time is as without it."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import downhill2
from downhill2 import Copy, Hyper, Number, Optimizer, Zeros, config
from downhill2.compiling import storage
from downhill2.compiling.storage import Pack, PackedFunction, PackedStorage, worth_packing
from downhill2.stepping.one_by_one import mode
from downhill2.symbolic import graph, pipeline
from downhill2.symbolic.layout import Layout

SHAPES = {"a": (), "b": (3,), "c": (1, 3), "d": (0, 2), "e": (4, 3)}
ROWS = np.random.default_rng(0).normal(size=(24, 3))


@pytest.fixture(autouse=True)
def _from_one_parameter_on(monkeypatch):
    monkeypatch.setattr(storage, "FEWEST", 1)


def params_of(dtypes=("float64",), shapes=SHAPES, static=False):
    """Return parameters with values in turn of each dtype."""
    kinds, draw = itertools.cycle(dtypes), np.random.default_rng(1)
    values = {name: draw.normal(size=shape).astype(next(kinds)) for name, shape in shapes.items()}
    return [pytensor.shared(x, name=n, **({"shape": x.shape} if static else {})) for n, x in values.items()]


def model(algo="adam", params=None, **settings):
    """Return an optimizer of a loss in which every parameter has its own curvature and some noise."""
    params = params_of() if params is None else params
    x = pt.matrix("x", dtype="float64")
    noise = (x @ np.array([1.0, -2.0, 0.5])).mean()
    loss = sum((k * p**2 + noise * p).sum() for k, p in enumerate(params, 1)).astype("float64")
    settings = {"learning_rate": 0.05, **settings}
    if isinstance(algo, str):
        return downhill2.build(algo, loss, params, [x], **settings)
    return algo(loss, params, [x], **settings)


def driven(algo="adam", params=None, **settings):
    """Return an optimizer whose gradients are rows of data, by a product: rewriting mixes nothing into the rule."""
    params = params_of() if params is None else params
    inputs = [pt.tensor(p.name, dtype=p.type.dtype, shape=(None, *p.get_value().shape)) for p in params]
    products = [p.reshape((1, -1)) @ g.reshape((-1, 1)) for p, g in zip(params, inputs, strict=True)]
    loss = sum(product.sum() for product in products).astype("float64")
    return downhill2.build(algo, loss, params, inputs, **{"learning_rate": 0.05, **settings})


def drive(opt, **settings):
    draw = np.random.default_rng(2)
    data = [draw.normal(size=(10, *p.get_value().shape)).astype(p.type.dtype) for p in opt.params]
    given = {"shuffle": False, "batch_size": 1, "max_epochs": 1, "restore_best": False, "validate_every": 1, **settings}
    return opt.minimize(data, **given)


def train(opt, **settings):
    given = {"train": [ROWS], "batch_size": 4, "max_epochs": 2, "rng": 3, "validate_every": 1, **settings}
    return opt.minimize(**given)


def outcome(opt):
    return {p.name: p.get_value() for p in opt.params} | opt.state


def assert_equal(one, other, rtol=0.0):
    assert one.keys() == other.keys()
    for name, x in one.items():
        if isinstance(x, np.random.Generator):
            assert x.bit_generator.state == other[name].bit_generator.state
            continue
        assert (np.shape(x), x.dtype) == (np.shape(other[name]), other[name].dtype), name
        np.testing.assert_allclose(x, other[name], rtol=rtol, atol=rtol, err_msg=name)


def is_packed(opt):
    return [isinstance(f, PackedFunction) for key, f in opt.fit._functions.items() if key[0] == "step"][-1]


def both(make, run, rtol=0.0):
    """Run what `make` returns packed and not, and compare parameters and state."""
    results = []
    for packed in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(config, "packed", packed)
            opt = make()
            told = run(opt)
            assert is_packed(opt) == packed
            results.append((told, outcome(opt)))
    (told, one), (untold, other) = results
    assert_equal(one, other, rtol)
    return told, untold


# -- the buffer


def variables(*values):
    return [pytensor.shared(np.array(v, "float64"), name=f"v{k}") for k, v in enumerate(values)]


def test_values_become_views_of_one_buffer():
    a, b = variables([1, 2], [[3]])
    pack = Pack([a, b])
    pack.take()
    assert pack.buffer.tolist() == [1, 2, 3]
    pack.buffer[:] = 4, 5, 6
    assert (a.get_value().tolist(), b.get_value().tolist()) == ([4, 5], [[6]])


@pytest.mark.parametrize(
    "value",
    [
        np.array([[1.0, 2.0], [3.0, 4.0]]),
        np.array([[1.0, 3.0], [2.0, 4.0]]).T,
        np.array([[1.0, 9.0, 2.0], [3.0, 9.0, 4.0]])[:, ::2],
    ],
    ids=["C", "Fortran", "strided"],
)
@pytest.mark.parametrize("borrow", [True, False])
@pytest.mark.parametrize("writeable", [True, False])
def test_a_value_that_was_set_is_taken_over(value, borrow, writeable):
    a, b = variables(np.zeros((2, 2)), 0)
    pack = Pack([a, b])
    pack.take()
    value.flags.writeable = writeable
    a.set_value(value, borrow=borrow)
    pack.take()
    assert pack.buffer.tolist() == [1, 2, 3, 4, 0]
    pack.buffer[0] = 7
    assert a.get_value()[0, 0] == 7
    assert value[0, 0] == 1


def test_a_borrowed_value_can_be_changed_in_place():
    [a] = variables([1, 2])
    pack = Pack([a])
    pack.take()
    a.get_value(borrow=True)[:] = 5
    pack.take()
    assert pack.buffer.tolist() == [5, 5]


def test_variables_may_exchange_their_values_without_copying():
    a, b = variables([1, 2], [3, 4])
    pack = Pack([a, b])
    pack.take()
    of_a, of_b = (v.get_value(borrow=True) for v in (a, b))
    a.set_value(of_b, borrow=True)
    b.set_value(of_a, borrow=True)
    pack.take()
    assert pack.buffer.tolist() == [3, 4, 1, 2]


def test_a_vector_that_moved_is_brought_back():
    [a] = variables([1, 2])
    pack = Pack([a])
    pack.take()
    pytensor.function([], [], updates={pack.flat: pack.flat + 1})()
    pack.keep()
    assert a.get_value().tolist() == [2, 3]
    assert pack.flat.get_value(borrow=True) is pack.buffer


def test_the_pack_that_takes_last_has_the_variable():
    a, b, c = variables(1, 2, 3)
    one, other = Pack([a, b]), Pack([b, c])
    for pack in (one, other, one, other):
        pack.take()
        pack.buffer += 1
    assert [v.get_value() for v in (a, b, c)] == [3, 6, 5]


@pytest.mark.parametrize("value", [[1, 2, 3], [1], []], ids=str)
def test_another_shape_is_refused_before_anything_changes(value):
    a, b = variables([1, 2], [5, 5])
    pack = Pack([a, b])
    pack.take()
    a.set_value(np.zeros(2))
    b.set_value(np.array(value, "float64"))
    with pytest.raises(ValueError, match=r"the value of 'v1' must keep its shape \(2,\), got \(.*\); build the"):
        pack.take()
    assert pack.buffer.tolist() == [1, 2, 5, 5]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))], ids=["copy", "pickle"])
def test_a_copy_of_a_pack_is_a_pack_of_copies(copied):
    [a] = variables([1, 2])
    pack = Pack([a])
    pack.take()
    other = copied(pack)
    other.take()
    other.buffer[:] = 5
    assert other.variables[0].get_value().tolist() == [5, 5]
    assert a.get_value().tolist() == [1, 2]


def test_a_copy_of_a_variable_is_by_itself():
    [a] = variables([1, 2])
    pack = Pack([a])
    pack.take()
    others = copy.deepcopy(a), pickle.loads(pickle.dumps(a))
    pack.buffer[:] = 5
    assert [v.get_value().tolist() for v in others] == [[1, 2]] * 2


# -- what is packed


def linker(name):
    return pytensor.compile.mode.get_mode(name).linker


def test_small_parameters_are_packed_where_there_are_enough_of_a_dtype(monkeypatch):
    monkeypatch.setattr(storage, "FEWEST", 3)
    monkeypatch.setattr(storage, "SMALL", 4)
    shapes = {"a": (2, 2), "b": (5,), "c": (), "d": (4,), "e": (0,)}
    params = params_of(["float32", "float32", "float32", "float32", "float64"], shapes)
    assert [p.name for p in worth_packing(params, linker("FAST_COMPILE"))] == ["a", "c", "d"]
    assert worth_packing(params[1:], linker("FAST_COMPILE")) == []


def test_parameters_of_half_precision_and_of_other_storage_stay_separate():
    half = pytensor.shared(np.zeros(2, "float16"), name="half")
    mapped = pytensor.shared(np.zeros(2), name="mapped", borrow=True)
    mapped.container.storage[0] = np.zeros(2).view(np.memmap)
    assert worth_packing([half, mapped], linker("FAST_COMPILE")) == []


def test_backends_that_keep_values_elsewhere_get_separate_parameters():
    assert worth_packing(params_of(), linker("JAX")) == []


def test_without_the_private_name_nothing_is_packed_and_the_log_tells(monkeypatch, caplog):
    params = params_of()
    monkeypatch.setattr(pytensor.link.basic.Container, "storage", property(), raising=False)
    with caplog.at_level("INFO", "downhill2"):
        assert worth_packing(params, linker("FAST_COMPILE")) == []
    assert "parameters are not packed: " in caplog.text


def test_a_value_that_is_not_where_it_is_read_is_not_packed(monkeypatch):
    params = params_of()
    monkeypatch.setattr(params[0], "get_value", lambda borrow: np.zeros(()))
    assert worth_packing(params, linker("FAST_COMPILE")) == []


# -- steps are the same


@pytest.mark.default_mode
@pytensor.config.change_flags(numba__fastmath=False)  # LLVM would turn one formula into several, to save divisions
def test_element_rules_make_bit_for_bit_the_same_steps():
    algos, shapes = ("adam", "adadelta", "rprop"), {"a": (17,), "b": (4, 3)}
    draw, results = np.random.default_rng(2), []
    batches = [[draw.normal(size=(1, *s)).astype("float32") for s in shapes.values()] for _ in range(10)]
    for packed in (True, False):
        opts = [driven(algo, params_of(["float32"], shapes)) for algo in algos]
        store, updates, givens = PackedStorage({}), {}, {}
        for opt in opts:
            layout = Layout(opt.params, opt.fit.problem.names, opt.params if packed else (), store)
            given = dict(zip(opt.inputs, opts[0].inputs, strict=True))
            new = pipeline.update(opt.rule, opt.fit.problem.measured, layout)
            updates.update(zip(new, graph.replaced(list(new.values()), given), strict=True))
        givens = store.parts(graph.shared_inputs(updates.values()))
        step = PackedFunction(pytensor.function(opts[0].inputs, [], updates=updates, givens=givens, mode=mode()), store)
        for batch in batches:
            step(*batch)
        results.append({f"{type(opt).__name__}.{n}": x for opt in opts for n, x in outcome(opt).items()})
    assert_equal(*results)


@pytest.mark.parametrize("algo", ["adam", "rprop", "esgd"])
def test_an_algorithm_makes_the_same_steps(algo):
    both(lambda: model(algo, **({"seed": 1} if algo == "esgd" else {})), train, rtol=1e-12)


@pytest.mark.parametrize(
    "settings",
    [
        {"momentum": 0.9, "nesterov": True},
        {"weight_decay": 0.1, "decay": "decoupled", "max_gradient_elem": 1},
        {"max_gradient_norm": 0.5, "learning_rate": lambda t: 0.1 / (1 + t), "check": "all"},
        {"max_global_norm": 0.5},
    ],
    ids=lambda given: " ".join(given),
)
def test_what_is_laid_over_an_algorithm_is_the_same(settings):
    both(lambda: driven("sgd", params_of(static="momentum" in settings)), lambda opt: drive(opt, **settings), 1e-12)


class Normed(Optimizer):
    """A rule of whole tensors, with a number for each."""

    scope = "tensor"
    size, v = Number(0.0), Zeros()

    def direction(self, param, grad, size, v):
        size_t = downhill2.norm(grad) + 1
        return grad / size_t + 0.1 * param, {"size": size_t, "v": v + grad}


class Whole(Optimizer):
    """A rule of all parameters as one vector."""

    scope = "all"
    m, total = Zeros(), Number(0.0)

    def direction(self, param, grad, m, total):
        m_t = m + grad
        return m_t / (1 + downhill2.norm(m_t)), {"m": m_t, "total": total + param.sum()}


class Averaged(Optimizer):
    """A rule whose average is evaluated, with a state that stands for the parameter."""

    decay = Hyper(0.5)
    mean, seen = Copy(follows=True), Number(0.0)

    def direction(self, param, grad, mean, seen):
        return grad, {"mean": self.decay * mean + (1 - self.decay) * param, "seen": seen + 1}

    def evaluated(self, param, mean, seen):
        return mean


class Pairs(Optimizer):
    """A rule as downhill had them."""

    def _get_updates_for(self, param, grad):
        v = pytensor.shared(np.zeros(param.get_value().shape), name="v")
        v_t = 0.5 * v + grad.astype("float64")
        yield v, v_t
        yield param, 0.1 * v_t


@pytest.mark.parametrize("rule", [Normed, Whole, Averaged, Pairs])
def test_rules_of_every_scope_make_the_same_steps(rule):
    both(lambda: model(rule, params_of(["float64", "float32"])), lambda opt: train(opt, max_epochs=1), rtol=1e-5)


def test_monitors_and_updates_see_the_parameters_before_the_step():
    def make():
        params, count = params_of(), pytensor.shared(np.zeros(()), name="count")
        b = params[1]
        x = pt.matrix("x")
        loss = sum((p**2).sum() for p in params) + 0 * x.sum()
        return downhill2.build(
            "sgd", loss, params, [x], {count: count + b.sum()}, {"b": b[0]}, monitor_gradients=True, learning_rate=0.1
        )

    def run(opt):
        [count] = opt.fit.problem.updates
        return train(opt, max_epochs=3)[0], count.get_value()

    told, untold = both(make, run)
    assert told == untold
    assert told[0]["b"] != 0


def test_a_graph_that_scans_over_packed_parameters_is_the_same():
    def make():
        w, h = (pytensor.shared(np.array(v), name=n) for n, v in (("w", [[0.5, 0.1], [0.0, 0.4]]), ("h", [1.0, 2.0])))
        x = pt.matrix("x")
        hs = pytensor.scan(lambda x, h, w: pt.tanh(h @ w + x[:2]), [x], [h], [w], return_updates=False)
        return downhill2.build("adam", (hs**2).sum(), [w, h], [x], learning_rate=0.1)

    both(make, train, rtol=1e-12)


def test_a_variable_of_state_must_not_be_among_the_updates():
    params = params_of()
    first = model(params=params)
    train(first, max_epochs=1)
    m = first.context.store.variables["b.adam.m"]
    x = pt.matrix("x")
    opt = downhill2.Adam(sum((p**2).sum() for p in params) + x.sum(), params, [x], {m: m + 1})
    opt.context.store.adopt("b.adam.m", m, lambda: 0)
    with pytest.raises(ValueError, match=r"updates must not change 'b\.adam\.m'; it is state of Adam"):
        train(opt)


# -- values come and go as they do unpacked


def test_updates_are_one_pair_for_each_variable():
    opt = model()
    train(opt)
    variables = [v for v, _ in opt.get_updates()]
    state = opt.context.store.variables.values()
    assert {*variables} == {*opt.params, *state, opt.context.clock}


def test_own_functions_compiled_before_and_after_follow():
    def run(opt):
        total = pt.concatenate([p.ravel() for p in opt.params]).sum()
        before = pytensor.function([], total)
        own = pytensor.function([], [], updates=[(p, p + 1) for p in opt.params])
        seen = []
        for _ in range(2):
            train(opt)
            own()
            seen += [before(), pytensor.function([], total)()]
        assert seen[0] == seen[1] != seen[2]
        return seen

    told, untold = both(model, run)
    assert told == untold


def test_values_set_between_steps_are_what_the_next_step_begins_with():
    def run(opt):
        b, e = opt.params[1], opt.params[4]
        for k in range(3):
            train(opt, restore_best=False)
            b.get_value(borrow=True)[0] = k
            e.set_value(np.asfortranarray(np.full((4, 3), k / 2)), borrow=True)
            opt.context.store.variables["e.adam.v"].set_value(np.full((4, 3), 1.0 + k))
        return train(opt)

    told, untold = both(model, run)
    assert told == untold


def test_another_shape_is_refused_at_the_next_step():
    opt = model()
    train(opt)
    opt.params[1].set_value(np.zeros(5))
    with pytest.raises(ValueError, match=r"the value of 'b' must keep its shape \(3,\), got \(5,\)"):
        train(opt, validate_every=None)


def test_state_is_saved_set_and_forgotten_by_name(tmp_path):
    def run(opt):
        train(opt)
        saved, told = opt.state_dict(), [opt.evaluate([ROWS])]
        opt.save(tmp_path / "saved")
        opt.set_params([np.ones_like(p.get_value()) for p in opt.params])
        opt.reset()
        told += [train(opt, restore_best=False), opt.evaluate([ROWS])]
        opt.set_params("best")
        told.append(opt.evaluate([ROWS]))
        opt.load_state_dict(saved)
        told.append(train(opt, restore_best=False))
        opt.load(tmp_path / "saved")
        return [*told, train(opt)]

    told, untold = both(model, run)
    assert told == untold


@pytest.mark.parametrize("packed", [(True, False), (False, True)])
def test_a_run_goes_on_from_a_checkpoint_of_either_storage(packed, tmp_path):
    through = model(params=params_of())
    train(through, max_epochs=2)
    for now, epochs in zip(packed, (1, 2), strict=True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(config, "packed", now)
            opt = model(params=params_of())
            train(opt, max_epochs=epochs, checkpoint=tmp_path, resume="auto")
            assert is_packed(opt) == now
    assert_equal(outcome(opt), outcome(through))


def test_a_rollback_goes_back_to_the_best():
    def run(opt):
        rows = ROWS.copy()
        rows[:4] = np.nan
        return train(opt, train=[rows], valid=[ROWS], on_nonfinite="rollback", shuffle=False)

    told, untold = both(model, run)
    assert told == untold


@pytest.mark.parametrize("packed", [(True, True), (False, True)])
def test_optimizers_take_turns_on_one_model(packed):
    def play(storages):
        params = params_of(["float64", "float32"])
        players = [driven(algo, params) for algo in ("adam", "rmsprop")]
        for _ in range(2):
            for opt, now in zip(players, storages, strict=True):
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(config, "packed", now)
                    drive(opt)
                    assert is_packed(opt) == now
        return {f"{k}.{n}": x for k, opt in enumerate(players) for n, x in outcome(opt).items()}

    assert_equal(play(packed), play([False, False]), rtol=1e-6)


def test_a_copy_of_an_optimizer_trains_parameters_of_its_own():
    opt = model()
    train(opt)
    start, twin = outcome(opt), copy.deepcopy(opt)
    train(twin)
    assert is_packed(twin)
    assert_equal(outcome(opt), start)
    train(opt)
    assert_equal(outcome(opt), outcome(twin))


# -- what users run


@pytest.mark.default_mode
def test_the_default_backend_updates_packed_parameters_in_place(monkeypatch):
    def make():
        draw, x = np.random.default_rng(2), pt.matrix("x", dtype="float32")
        params, h = [], x
        for k in range(2):
            params.append(pytensor.shared(draw.normal(size=(3, 3)).astype("float32"), name=f"W{k}"))
            params.append(pytensor.shared(np.zeros(3, "float32"), name=f"b{k}"))
            h = pt.tanh(h @ params[-2] + params[-1])
        return downhill2.build("adam", (h**2).mean(), params, [x], learning_rate=0.01)

    data, moved, opts = [ROWS.astype("float32")], [], []
    monkeypatch.setattr(Pack, "keep", lambda pack: moved.append(pack._cell[0] is not pack.buffer))

    def run(opt):
        opts.append(opt)
        return train(opt, train=data, restore_best=False, updates_per_call=1)

    told, untold = both(make, run, rtol=1e-5)  # float32, rounded otherwise
    assert told[0] == pytest.approx(untold[0], rel=1e-5)
    assert moved
    assert not any(moved)

    opt, _ = opts
    alone = outcome(opt)
    opt.reset()
    opt.set_params([p.get_value() for p in make().params])
    train(opt, train=data, restore_best=False, updates_per_call=4)
    assert_equal(outcome(opt), alone)
    feed = downhill2.Dataset(data, batch_size=4).bind(opt.inputs)
    many = opt.fit.step(feed).many(feed.sources, feed.size, 4)
    assert (many.most, many.made) == (4, 0)


def test_packed_updates_have_calls_of_their_own_where_others_have():
    opt = driven()
    drive(opt)
    [step] = [f for f in opt.fit._functions.values() if isinstance(f, PackedFunction)]
    assert step.many([], 1, None) is None
