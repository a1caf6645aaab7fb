"""Many updates in one compiled call: bit for bit what as many calls make."""

import functools
import logging
import signal

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from training import BATCH, ROWS, Training, after, plain, records

import downhill2
from downhill2 import NonFiniteError, config
from downhill2.compiling import fast_mode, update_loop
from downhill2.compiling import many as many_module
from downhill2.compiling.estimate import CALL, NODE, PRODUCT, seconds, updates_in_a_call
from downhill2.data.stretches import Stretch
from downhill2.loop.run import Tally
from downhill2.stepping.one_by_one import Steps

native = pytest.mark.default_mode


@pytest.fixture
def calls(monkeypatch):
    """How many updates the calls of this test had, in turn."""
    made, call = [], many_module.ManyUpdates.__call__

    def counted(self, stretch, totals, losses):
        made.append(len(stretch))
        call(self, stretch, totals, losses)

    monkeypatch.setattr(many_module.ManyUpdates, "__call__", counted)
    return made


def falling(t):
    """A schedule: the rate after `t` updates."""
    return 0.02 / (1 + 0.1 * t)


@pytest.fixture(scope="module", params=["float64", "float32"])
def training(request):
    """A training that is compiled once; in single precision its rate depends on the number of updates."""
    if request.param == "float64":
        return Training(counter=True)
    return Training(dtype="float32", learning_rate=falling)


def weighted(training, **settings):
    """The training data with weights of its rows."""
    weights = np.random.default_rng(4).uniform(size=ROWS)
    return downhill2.Dataset(training.data["train"], "train", BATCH, rng=5, weights=weights, **settings)


RUNS = {
    "shuffled, a short last batch": {},
    "without the short last batch": {"drop_last": True},
    "in stored order": {"shuffle": False},
    "batches shuffled": {"shuffle": "batches"},
    "epochs that are no passes": {"train_batches": 4, "max_epochs": 7},
    "epochs of several passes": {"train_batches": 15},
    "several passes in stored order": {"train_batches": 15, "shuffle": False},
    "all rows in a batch": {"batch_size": 0, "train_batches": 5},
    "an end inside an epoch": {"max_updates": 9},
    "no validation": {"validate_every": None},
    "a plateau": {"plateau": {"block": 4, "blocks": 3, "max_error": 1.0}, "max_epochs": 30, "validate_every": None},
    "a target": {"target": 0.7},
}


@native
@pytest.mark.parametrize("per_call", [2, 5, 1000])
@pytest.mark.parametrize("settings", RUNS.values(), ids=RUNS)
def test_many_updates_in_a_call_are_the_same_to_the_bit(training, calls, settings, per_call):
    alone = training.run(updates_per_call=1, **settings)
    assert not calls
    assert training.run(updates_per_call=per_call, **settings) == alone
    assert max(calls) == min(per_call, max(calls)) > 1


@native
@pytest.mark.parametrize("settings", [{}, {"shuffle": False}, {"shuffle": "batches"}], ids=["rows", "none", "batches"])
def test_weights_of_rows_count_the_same(training, calls, settings):
    alone = training.run(updates_per_call=1, train=weighted(training, **settings))
    assert training.run(updates_per_call=4, train=weighted(training, **settings)) == alone
    assert calls


@native
@pytest.mark.parametrize("policy", ["raise", "stop", "skip", "rollback"])
def test_an_update_that_is_not_finite_is_met_where_it_is(training, calls, policy):
    x, y = training.data["train"]
    broken = x.copy()
    broken[7] = np.nan

    def outcome(per_call):
        try:
            return training.run(updates_per_call=per_call, train=[broken, y], on_nonfinite=policy, nonfinite_limit=3)
        except NonFiniteError as error:
            return {**training.outcome(None), "error": str(error)}

    alone = outcome(1)
    assert outcome(4) == alone
    assert "error" in alone or "after update" in str(alone["history"])
    assert calls


@native
def test_a_checkpoint_between_two_calls_and_a_resumed_run_are_the_same(training, calls, tmp_path):
    alone = training.run(updates_per_call=1)
    settings = {"updates_per_call": 4, "checkpoint_every": "5 updates"}
    assert training.interrupted(tmp_path, [7, 9, 16], **settings) == alone
    assert {1, 4} <= set(calls)  # to the checkpoint, and on


@native
def test_a_signal_ends_the_run_after_a_call(training, monkeypatch):
    interrupt = lambda: signal.raise_signal(signal.SIGINT)  # noqa: E731
    with after(6, interrupt):
        alone = training.run()
    made, call = [], many_module.ManyUpdates.__call__

    def interrupted(self, *args):
        call(self, *args)
        made.append(self.made)
        if sum(made) == 6:
            interrupt()

    monkeypatch.setattr(many_module.ManyUpdates, "__call__", interrupted)
    assert training.run(updates_per_call=3) == alone
    assert made == [3, 2, 1]  # the last batch of an epoch is shorter


@native
def test_a_rate_that_a_callback_changes_holds_from_the_next_epoch_on():
    training = Training(algo="sgd")

    def halve(opt, record):
        if record.train:
            opt.learning_rate = opt.hyper["learning_rate"] / 2
        if record.epoch == 2:
            opt.momentum = 0.5  # compiles anew

    alone = training.run(updates_per_call=1, callbacks=[halve])
    assert training.run(updates_per_call=4, callbacks=[halve]) == alone
    assert alone["hyper"] == {"learning_rate": 0.01 / 2**4, "momentum": 0.5} | alone["hyper"]


@native
def test_weights_updates_and_rows_in_any_place_of_a_larger_model_are_the_same(calls):
    """All that a step can hand the loop, in one compilation: see the names below."""
    rng = np.random.default_rng(8)
    data = [rng.normal(size=(3, 17)).astype("f"), rng.integers(0, 2, (2, 17)) > 0]
    x, chosen, unused = pt.matrix("x", dtype="float32"), pt.matrix("chosen", dtype="bool"), pt.matrix("unused")
    w = pytensor.shared(np.ones(3, "f"), name="w")
    mixed = pytensor.shared(np.eye(3, dtype="f"), name="not in place", shape=(3, 3))
    seen = pytensor.shared(np.array(0), name="counted")
    loss = ((w @ x) ** 2 * (1 + chosen[0])).mean() + 0.1 * (mixed @ w).sum() ** 2
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0].astype("f")
    opt = downhill2.build(
        "adam",
        loss,
        [w],
        [x, chosen, unused],
        updates={mixed: mixed @ turn, seen: seen + x.shape[1]},
        monitors={"single": w.sum(), "double": w.sum().astype("float64") / 3, "counted": seen, "any": chosen.any()},
        monitor_gradients=True,
        learning_rate=0.05,
    )
    start = [v.get_value() for v in (w, mixed, seen)]

    def run(per_call):
        opt.reset()
        for v, value in zip((w, mixed, seen), start, strict=True):
            v.set_value(value)
        train = downhill2.Dataset([*data, np.zeros((4, 17))], batch_size=5, axis=1, rng=3)
        opt.minimize(train, max_epochs=4, validate_every=2, updates_per_call=per_call)
        return [plain(v.get_value()) for v in (w, mixed, seen)], records(opt.history)

    alone = run(1)
    assert not calls
    assert run(2) == run(100) == alone
    assert calls


def parabola(**settings):
    w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    return downhill2.build("adam", (w**2).sum(), [w], learning_rate=0.1, **settings)


@native
def test_updates_without_data_share_calls_by_themselves(calls):
    losses = []
    for settings in ({"updates_per_call": 1}, {}):
        opt = parabola()
        train, _ = opt.minimize(train_batches=300, max_updates=700, validate_every=None, rng=1, **settings)
        losses.append((train, [plain(p.get_value()) for p in opt.params], opt.stopped, records(opt.history)))
    assert losses[0] == losses[1]
    opt.minimize(train_batches=300, max_updates=2, validate_every=None)
    assert calls == [300, 300, 100, 2]


@native
def test_the_loop_compiles_where_nothing_is_kept_on_disk(monkeypatch, calls):
    opt = downhill2.build("sgd", (w := pytensor.shared(np.ones(2), name="w")).sum() ** 2, [w], learning_rate=0.125)
    with pytensor.config.change_flags(numba__cache=False):
        monkeypatch.setattr(update_loop, "updates", functools.cache(update_loop.updates.__wrapped__))
        opt.minimize(train_batches=3, max_updates=3, validate_every=None, updates_per_call=3)
    np.testing.assert_array_equal(w.get_value(), [0.125, 0.125])
    assert calls == [3]


@native
def test_packed_parameters_share_calls_too(calls):
    params = [pytensor.shared(np.full(2, float(k)), name=f"p{k}") for k in range(12)]
    opt = downhill2.build("sgd", sum((p**2).sum() for p in params), params, learning_rate=0.25)
    settings = {"train_batches": 4, "validate_every": None}
    opt.minimize(max_updates=2, updates_per_call=2, **settings)
    params[1].set_value(np.array([8.0, -8.0]))
    opt.minimize(max_updates=2, updates_per_call=2, **settings)
    assert calls == [2, 2]
    for k, p in enumerate(params):
        np.testing.assert_array_equal(p.get_value(), [2.0, -2.0] if k == 1 else np.full(2, k / 16))


@native
def test_the_user_sees_new_values_and_sets_them_between_runs(calls):
    w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    opt = downhill2.build("sgd", (w**2).sum(), [w], learning_rate=0.25)
    own = w.get_value(borrow=True)
    for value in ([4.0, -2.0], [1.0, 8.0]):
        w.set_value(np.array(value), borrow=True)
        opt.minimize(max_updates=2, train_batches=2, updates_per_call=2, validate_every=None)
        np.testing.assert_array_equal(w.get_value(), np.array(value) / 4)
    np.testing.assert_array_equal(own, [4.0, -2.0])  # what was taken from the user is left alone
    w.set_value(np.array([4.0, -2.0, 6.0]))  # of another shape
    opt = downhill2.build("sgd", (w**2).sum(), [w], learning_rate=0.25)
    opt.minimize(max_updates=2, train_batches=2, updates_per_call=2, validate_every=None)
    np.testing.assert_array_equal(w.get_value(), [1.0, -0.5, 1.5])


@native
@pytest.mark.parametrize("per_call", [1, 3])
def test_an_update_that_raises_ends_the_run_as_alone(per_call):
    table, rows = pytensor.shared(np.arange(6.0), name="table"), pt.lvector("rows")
    opt = downhill2.build("sgd", table[rows].sum(), [table], [rows], learning_rate=1.0)
    data = np.array([0, 1, 2, 3, 4, 99])
    with pytest.raises(IndexError, match="out of"):
        opt.minimize(data, batch_size=1, shuffle=False, max_epochs=1, validate_every=None, updates_per_call=per_call)
    assert opt.stopped == "exception: IndexError"
    np.testing.assert_array_equal(table.get_value(), [-1, 0, 1, 2, 3, 5])
    assert opt.context.clock.get_value() == 5


@native
def test_random_numbers_are_drawn_one_update_a_call(calls, caplog):
    caplog.set_level(logging.INFO, "downhill2")
    training = Training(algo="sgd", noise=True)
    alone = training.run(updates_per_call=1)
    assert training.run(updates_per_call="auto") == alone
    assert "a call of its own" not in caplog.text
    assert training.run(updates_per_call=4) == alone
    assert "each update has a call of its own: ValueError: function must" in caplog.text
    assert not calls


@native
@pytest.mark.parametrize("broken", ["parts", "address_of"])
def test_where_a_private_name_is_gone_updates_are_made_one_by_one(monkeypatch, calls, caplog, broken):
    def gone(*args):
        raise AttributeError("no such thing")

    caplog.set_level(logging.INFO, "downhill2")
    monkeypatch.setattr(many_module.private, broken, gone)
    opt = parabola()
    opt.minimize(train_batches=300, max_updates=3, validate_every=None)
    assert opt.context.clock.get_value() == 3
    assert "each update has a call of its own: AttributeError: no such thing" in caplog.text
    assert not calls


def exchange(dtype):
    """Return two shared variables and a step that exchanges them."""
    p, q = (pytensor.shared(np.array([k, k], dtype), name=f"p{k}", shape=(2,)) for k in (1.0, 2.0))
    step = pytensor.function([], [pt.constant(0.0), pt.constant(True)], updates={p: q, q: p}, mode=fast_mode())
    return p, q, step


@native
@pytest.mark.parametrize("count", [1, 2, 3])
def test_updates_may_exchange_variables(count):
    p, q, step = exchange("float32")
    stretch = Stretch((), 0, np.zeros(count, int), None, np.ones(count))
    many_module.many(step, (), 0, count)(stretch, np.zeros(2), np.zeros(count))
    assert [p.get_value()[0], q.get_value()[0]] == ([2, 1] if count % 2 else [1, 2])


@native
def test_updates_that_exchange_variables_without_loops_are_made_one_by_one(caplog):
    caplog.set_level(logging.INFO, "downhill2")
    p, q, step = exchange("float16")
    assert many_module.many(step, (), 0, 2) is None
    assert "ValueError: function must not give one input the value of another" in caplog.text
    step()
    assert [p.get_value()[0], q.get_value()[0]] == [2, 1]


def test_what_was_not_generated_makes_no_many_updates():
    with pytest.raises(TypeError, match="function must be a generated one, got function"):
        many_module.ManyUpdates(lambda: None, [], {}, [], 2)


@native
def test_the_measure_can_be_switched_off(monkeypatch, calls):
    monkeypatch.setattr(config, "many", False)
    parabola().minimize(train_batches=300, max_updates=3, validate_every=None, updates_per_call=3)
    assert not calls


@native
def test_monitors_of_other_kinds_and_updates_of_large_models_have_calls_of_their_own(calls):
    w, count = pytensor.shared(np.zeros(3), name="w"), pytensor.shared(np.int8(1), name="count")
    opt = downhill2.build("sgd", (w**2).sum(), [w], monitors={"count": count}, learning_rate=0.1)
    opt.minimize(train_batches=3, max_updates=3, validate_every=None, updates_per_call=3)
    w, x = pytensor.shared(np.zeros(2_000_000), name="w"), pt.vector("x")
    opt = downhill2.build("sgd", (w * x).sum(), [w], [x], learning_rate=0.1)
    opt.minimize([np.zeros((2, 2_000_000))[0]], batch_size=0, max_updates=1, validate_every=None)
    assert not calls


def test_other_backends_make_updates_one_by_one():
    training = Training()
    assert training.run(updates_per_call=4) == training.run(updates_per_call=1) == training.run()


def streamed():
    yield [np.zeros((2, 4)), np.zeros(2)]


STREAMS = {
    "a generator": streamed,
    "a list of batches": [[np.zeros((2, 4)), np.zeros(2)]],
    "read ahead": downhill2.Dataset([np.zeros((9, 4)), np.zeros(9)], batch_size=2, prefetch=1),
    "read again": downhill2.Dataset([np.zeros((9, 4)), np.zeros(9)], batch_size=2, retries=1),
}


@pytest.mark.parametrize("data", STREAMS.values(), ids=STREAMS)
def test_data_that_comes_batch_by_batch_cannot_share_calls(data):
    training = Training()
    with pytest.raises(ValueError, match=r"updates_per_call must be 'auto' or 1 for .*, whose batches are made one by"):
        training.run(train=data, updates_per_call=2)
    assert not training.opt.history
    training.run(train=data, updates_per_call=1, max_updates=1)


@pytest.mark.parametrize(
    ("given", "error"), [(0, ValueError), (-3, ValueError), ("all", TypeError), (2.0, TypeError), (True, TypeError)]
)
def test_a_wrong_number_of_updates_per_call_is_refused(given, error):
    with pytest.raises(error, match=r"updates_per_call must be .*; or 'auto'$"):
        parabola().minimize(max_updates=1, updates_per_call=given)


def test_the_facade_takes_it_too():
    w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    downhill2.minimize((w**2).sum(), None, algo="sgd", learning_rate=0.25, max_updates=2, updates_per_call=2)
    np.testing.assert_array_equal(w.get_value(), [1.0, -0.5])


FEEDS = {
    "rows": {},
    "batches": {"shuffle": "batches"},
    "none": {"shuffle": False},
    "several passes": {"iteration_size": 11, "shuffle": False},
    "part of a pass": {"iteration_size": 3},
    "all": {"batch_size": 0, "iteration_size": 4},
    "weighted": {"weights": np.random.default_rng(1).uniform(size=23)},
}


@pytest.mark.parametrize("settings", FEEDS.values(), ids=FEEDS)
@pytest.mark.parametrize("shared", [False, True], ids=["arrays", "shared"])
def test_stretches_are_the_batches_that_would_have_come(settings, shared):
    x = pt.vector("x")
    values = np.arange(23.0)
    feeds = [
        downhill2.Dataset(
            pytensor.shared(values) if shared else values, **{"batch_size": 5, "rng": 2, **settings}
        ).bind([x])
        for _ in range(2)
    ]
    rng = np.random.default_rng(3)
    for _ in range(4):
        expected = [([np.array(a) for a in arrays], weight) for arrays, weight in feeds[0].train()]
        found = []
        assert feeds[1].begin() == 0
        while len(found) < feeds[1].length:
            stretch = feeds[1].stretch(int(rng.integers(1, 7)))
            taken = int(rng.integers(0, len(stretch) + 1))
            feeds[1].move(stretch, taken)
            for i in range(taken):
                found.append(([s.array[stretch.rows(i)] for s in stretch.sources], stretch.weights[i]))
            if taken:
                for latest, array in zip(feeds[1].latest(), found[-1][0], strict=True):
                    np.testing.assert_array_equal(latest, array)
        assert feeds[0].state() == feeds[1].state()
        for (arrays, weight), (others, other) in zip(expected, found, strict=True):
            assert weight == other
            assert [a.tolist() for a in arrays] == [a.tolist() for a in others]


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 33, 127, 128, 129, 1000])
def test_weights_of_batches_are_summed_as_each_alone(size):
    rng = np.random.default_rng(size)
    weights, order = rng.uniform(size=5 * size), rng.permutation(5 * size)
    starts = np.arange(0, 5 * size, size)
    for given in (None, order):
        stretch = Stretch((), size, starts, given, np.ones(5)).weighted(weights)
        assert stretch.weights.tolist() == [weights[stretch.rows(i)].sum() for i in range(5)]


def test_stretches_and_single_batches_may_alternate_in_an_epoch():
    w, x = pytensor.shared(np.array(0.0), name="w"), pt.vector("x")
    opt = downhill2.build("sgd", ((w - x) ** 2).mean(), [w], [x], learning_rate=0.25)
    feed = downhill2.Dataset(np.arange(12.0), batch_size=2, shuffle=False).bind([x])
    functions = [Fake(), opt.fit.step(feed)]
    chosen = []
    steps = Steps(lambda: functions[chosen[-1]], ["loss"], feed)
    tally = Tally({}, 0.0)
    for kind in (0, 1, 0, 1, 1, 0):
        chosen.append(kind)
        tally = Tally(tally.sums, tally.rows)
        steps(tally, 1, lambda: False)
    assert tally.end
    assert functions[0].seen == [0.0, 4.0, 10.0]
    np.testing.assert_allclose(w.get_value(), ((2.5 / 2 + 6.5) / 2 + 8.5) / 2, rtol=1e-15)


class Fake:
    """A compiled step with a way of its own to make many updates: it notes the first row of each batch."""

    most, made = 3, 0

    def __init__(self):
        self.seen = []

    def many(self, sources, size, count):
        assert size == 2
        return self

    def __call__(self, stretch, totals, losses):
        self.seen += stretch.starts.tolist()
        losses[:] = 1
        self.made = len(stretch)


def test_the_time_of_a_graph_is_estimated_from_sizes():
    x, y = pt.matrix("x"), pt.matrix("y", shape=(None, 4))
    graph = pytensor.function([x, y], pt.dot(x, y), mode=pytensor.compile.mode.Mode("py", None)).maker.fgraph
    shapes = [(50, 30), (30, 4)]
    assert seconds(graph, shapes) == pytest.approx(2 * NODE + PRODUCT * 50 * 30 * 4)
    assert updates_in_a_call(graph, shapes) == int(CALL / seconds(graph, shapes))
    assert updates_in_a_call(graph, [(10**6, 10**6), (10**6, 4)]) == 1


@pytest.mark.parametrize(
    "expression",
    [
        lambda x: pt.exp(x.T),
        lambda x: x.sum(axis=0),
        lambda x: x.reshape((-1,)) * 2,
        lambda x: x[1:] + 1,
        lambda x: pt.alloc(1.0, x.shape[0], 3),
    ],
)
def test_larger_arrays_take_longer_by_the_estimate(expression):
    x = pt.matrix("x")
    graph = pytensor.function([x], expression(x), mode=pytensor.compile.mode.Mode("py", "fast_run")).maker.fgraph
    assert seconds(graph, [(1000, 20)]) > 1.5 * seconds(graph, [(10, 2)])
