import contextlib
import dataclasses
import gc
import itertools
import json
import logging
import math
import signal
import sys
import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downhill2.loop import signals
from downhill2.loop.run import Limits, Progress, Record, Run
from downhill2.loop.work import MEMBERS, changed


class NonFinite(ArithmeticError):
    pass


class World:
    """A model whose only parameter `x` is the number of updates that made it, and data without any.

    `losses[x]` is the validation loss (default: 1 / (1 + x)), `during[x]` is called inside update x, those in
    `bad` are held back. The training loss is 2**-x, whose sums are exact.
    """

    def __init__(self, length=10, losses=None, during=None, bad=(), stretch=None, **limits):
        self.length, self.losses, self.during = length, losses or {}, during or {}
        self.bad, self.stretch, self.limits = bad, stretch, limits
        self.x = self.position = 0
        self.kept, self.records, self.validated = None, [], []
        self.every = self.recorded = None
        self.now = 0.0
        self.report = self.records.append

    def step(self, tally, n, halt):
        tally.sums = {"loss": 0.0, "x": 0.0} | tally.sums
        most = min(n if n is not None else math.inf, self.stretch or math.inf)
        while tally.updates < most and not tally.end:
            self.during.get(self.x + 1, lambda: None)()
            if self.x + 1 in self.bad:
                tally.bad = True
                return
            self.x += 1
            assert self.x < 100_000, "the run does not end"
            self.position = (self.position + 1) % self.length
            self.now += 1.0
            weight = 1.0 + self.x % 2
            tally.updates += 1
            tally.rows += weight
            tally.sums["loss"] += weight * 2.0**-self.x
            tally.sums["x"] += weight * self.x
            tally.end = self.position == 0
            if halt():
                return

    def fault(self, progress):
        raise NonFinite(f"update {self.x + 1}")

    def validate(self, progress):
        self.validated.append(self.x)
        loss = self.losses.get(self.x, 1 / (1 + self.x))
        return {"loss": loss() if callable(loss) else loss, "x": float(self.x)}

    def keep(self, progress):
        self.kept = self.x

    def restore(self):
        self.x = self.kept

    def hyper(self):
        return {}

    def reduce(self, plan):
        return None

    def tick(self):
        pass

    def save(self, progress):
        return None

    def finish(self, progress, pair):
        pass

    def release(self):
        pass

    def run(self, progress=None):
        return Run(Limits(**self.limits), self, progress, lambda: self.now)


def raising(error):
    def act(*args):
        raise error

    return act


def signalling(*names):
    def act():
        for name in names:
            signal.raise_signal(getattr(signal, name))

    return act


@pytest.fixture(autouse=True)
def handlers():
    """Return what reads the signal handlers; they must be the same after the test."""

    def read():
        return [signal.getsignal(getattr(signal, name)) for name in ("SIGINT", "SIGTERM", "SIGUSR1")]

    before = read()
    yield read
    assert read() == before


@pytest.fixture(params=["iterate", "drain"])
def finish(request):
    """Run to the end in either way and return the last pair; `drain` has one where nothing was yielded."""

    def iterate(run):
        pair = None
        for pair in run.iterate():  # noqa: B007
            pass
        return pair

    return iterate if request.param == "iterate" else Run.drain


def test_the_updates_before_an_exception_count():
    world = World(during={15: raising(OSError("disk"))})
    run = world.run()
    with pytest.raises(OSError, match="disk"):
        run.drain()
    assert run.progress.updates == world.x == 14


def test_averages_do_not_depend_on_how_an_epoch_is_cut_into_stretches():
    pairs = [list(World(max_epochs=2, stretch=stretch).run().iterate()) for stretch in (1, 3, None)]
    assert pairs[0] == pairs[1] == pairs[2]


# ---- validation


def test_epoch_0_is_validated_before_the_first_update_and_reported():
    world = World(max_epochs=1)
    pairs = world.run().iterate()
    next(pairs)
    assert world.validated[0] == 0
    assert world.records[0] == Record(0, 0, 0.0, {}, {"loss": 1.0, "x": 0.0}, validated=True, improved=True)
    pairs.close()


def test_an_epoch_is_validated_directly_after_its_last_update(finish):
    world = World(max_epochs=6, validate_every=2)
    finish(world.run())
    assert world.validated == [0, 20, 40, 60]
    assert [record.validated for record in world.records] == [True, False, True, False, True, False, True]


def test_between_validations_valid_monitors_is_the_latest_one():
    world = World(max_epochs=4, validate_every=2)
    assert [valid["x"] for _, valid in world.run().iterate()] == [0.0, 20.0, 20.0, 40.0]


def test_the_first_pair_is_yielded_before_the_next_epoch_is_begun():
    world = World()
    pairs = world.run().iterate()
    assert world.validated == []
    next(pairs)
    assert world.x == 10
    pairs.close()


def test_train_monitors_are_averages_weighted_by_rows_with_loss_first():
    train, _ = next(World(length=2, max_epochs=1).run().iterate())
    assert list(train) == ["loss", "x"]
    assert train == {"loss": pytest.approx((2 / 2 + 1 / 4) / 3), "x": pytest.approx((2 * 1 + 1 * 2) / 3)}


def test_an_epoch_whose_rows_weigh_nothing_has_no_averages():
    world = World(max_updates=1, validate_every=None)

    def weightless(tally, n, halt):
        tally.updates, tally.sums, tally.end = 1, {"loss": 0.0}, True

    world.step = weightless
    run = world.run()
    ((train, _),) = run.iterate()
    assert math.isnan(train["loss"])


def test_what_the_caller_does_to_the_monitors_stays_with_the_caller():
    world = World(max_epochs=3)
    seen = []
    for train, valid in world.run().iterate():
        seen.append((len(train), len(valid)))
        train.clear()
        valid.clear()
    assert seen == [(2, 2)] * 3


def test_a_run_that_never_validates_restores_nothing_and_has_no_patience(finish):
    world = World(length=1, validate_every=None, patience=0, max_epochs=30, losses=dict.fromkeys(range(31), 1))
    run = world.run()
    assert finish(run)[1] == {}
    assert world.validated == []
    assert (world.x, world.kept, run.progress.stopped) == (30, None, "max_epochs")
    assert not any(record.validated for record in world.records)


def test_a_closed_run_that_never_validates_does_not_validate_at_the_end():
    world = World(validate_every=None)
    for _ in world.run().iterate():
        break
    assert world.validated == []


# ---- the best


def test_the_best_parameters_are_restored_at_the_end(finish):
    world = World(validate_every=1, max_epochs=4, losses={10: 0.5, 20: 0.1, 30: 0.3, 40: 0.2})
    finish(world.run())
    assert world.x == 20
    assert [record.improved for record in world.records] == [True, True, True, False, False]


def test_restore_best_false_leaves_the_last_parameters(finish):
    world = World(validate_every=1, max_epochs=4, losses={20: 0.0}, restore_best=False)
    finish(world.run())
    assert (world.x, world.kept) == (40, 20)


def test_a_run_shorter_than_validate_every_keeps_its_progress(finish):
    world = World(max_epochs=3)
    train, valid = finish(world.run())
    assert world.validated == [0, 30]
    assert valid == {"loss": pytest.approx(1 / 31), "x": 30.0}
    assert train == world.records[-1].train
    assert world.records[-1].validated
    assert world.records[-1].improved
    assert world.x == 30


def test_a_short_run_that_made_things_worse_restores_the_start(finish):
    world = World(max_epochs=3, losses={30: 2.0})
    finish(world.run())
    assert world.x == 0


def test_a_nan_is_never_best_and_counts_as_a_failure(finish):
    world = World(validate_every=1, patience=1, losses={0: math.nan, 10: 0.5, 20: math.nan, 30: math.nan})
    run = world.run()
    finish(run)
    assert (run.progress.stopped, run.progress.best, world.x) == ("patience", 0.5, 10)


def test_where_no_validation_was_finite_the_last_parameters_stay(finish, caplog):
    caplog.set_level(logging.INFO, "downhill2")
    world = World(max_epochs=1, losses={0: math.nan, 10: math.inf})
    finish(world.run())
    assert (world.x, world.kept) == (10, None)
    assert caplog.messages == ["stopped after 10 updates: max_epochs; of the parameters, the last stay"]


def test_the_monitors_of_the_best_are_there_when_it_is_kept():
    world = World(max_epochs=1)
    run = world.run()
    kept = []
    world.keep = lambda progress: kept.append(run.progress.validation["x"])
    world.restore = lambda: None
    run.drain()
    assert kept == [0.0, 10.0]


def test_a_best_that_could_not_be_kept_is_no_best():
    world = World(validate_every=1)
    run = world.run()
    pairs = run.iterate()
    next(pairs)
    world.keep = raising(MemoryError)
    with pytest.raises(MemoryError):
        next(pairs)
    assert run.progress.best == pytest.approx(1 / 11)
    assert world.x == 10


# ---- the end


@pytest.mark.parametrize(("patience", "validations"), [(0, 2), (1, 3), (5, 7)])
def test_patience_tolerates_so_many_failures_in_a_row_and_stops_at_the_next(finish, patience, validations):
    world = World(validate_every=1, patience=patience, losses=dict.fromkeys(range(0, 1000, 10), 1.0))
    run = world.run()
    finish(run)
    assert len(world.validated) == validations
    assert run.progress.stopped == "patience"


def test_an_improvement_gives_fresh_patience():
    losses = {0: 1.0, 10: 2.0, 20: 0.5, 30: 2.0, 40: 2.0}
    world = World(validate_every=1, patience=1, losses=losses)
    world.run().drain()
    assert world.validated == [0, 10, 20, 30, 40]


def test_an_improvement_below_min_improvement_counts_as_a_failure():
    losses = {0: -1.0, 10: -1.05, 20: -1.08, 30: -1.2, 40: -1.25, 50: -1.25}
    world = World(validate_every=1, patience=1, min_improvement=0.1, losses=losses)
    world.run().drain()
    assert [record.improved for record in world.records] == [True, True, True]
    assert world.x == 20


def test_the_lowest_loss_is_the_best_and_patience_counts_from_the_latest_improvement_by_enough():
    losses = {0: 1.0, 10: 0.97, 20: 0.94, 30: 0.91, 40: 0.95, 50: 0.9, 60: 0.89}
    world = World(validate_every=1, patience=2, min_improvement=0.05, losses=losses)
    run = world.run()
    run.drain()  # 0.94 is enough after 1.0, and 0.89 would be after 0.94, had it come in time
    assert [record.improved for record in world.records] == [True, True, True, True, False, True]
    assert (run.progress.best, run.progress.reference, run.progress.failures) == (0.9, 0.94, 3)
    assert (world.x, run.progress.stopped) == (50, "patience")


@given(
    losses=st.lists(st.sampled_from([math.nan, math.inf, -math.inf, -2.0, -1.9, 0.0, 1.0, 1.05, 1.1, 3.0]), min_size=1),
    patience=st.none() | st.integers(0, 3),
    min_improvement=st.sampled_from([0.0, 0.04, 0.5]),
)
def test_the_best_is_the_lowest_finite_loss_however_patience_counts(losses, patience, min_improvement):
    table = {10 * i: loss for i, loss in enumerate(losses)}
    limits = {"validate_every": 1, "max_epochs": len(losses) - 1, "patience": patience}
    world = World(losses=table, min_improvement=min_improvement, **limits)
    run = world.run()
    run.drain()
    seen = [table[x] for x in world.validated]
    finite = [loss for loss in seen if math.isfinite(loss)]
    assert run.progress.best == min(finite, default=None)
    lowest = itertools.accumulate((loss if math.isfinite(loss) else math.inf for loss in seen), min, initial=math.inf)
    fell = [new < old for old, new in itertools.pairwise(lowest)]
    assert [record.improved for record in world.records] == fell
    if finite and world.validated[-1]:
        assert table[world.x] == min(finite)


def test_a_run_from_a_checkpoint_of_before_counts_patience_from_its_best():
    losses = {20: 0.97, 30: 0.96, 40: 0.5}
    world = World(validate_every=1, patience=1, min_improvement=0.05, losses=losses)
    world.x = world.kept = 10
    saved = dataclasses.asdict(Progress(updates=10, epoch=1, seconds=5.0, best=1.0, validated_at=10, loss=1.0))
    del saved["reference"]
    run = world.run(Progress(**saved))
    run.drain()
    assert (run.progress.reference, run.progress.best, world.x) == (1.0, 0.96, 30)


def test_without_patience_failures_do_not_stop_the_run():
    world = World(length=1, validate_every=1, patience=None, max_epochs=50, losses=dict.fromkeys(range(1, 51), 2))
    run = world.run()
    run.drain()
    assert run.progress.stopped == "max_epochs"


@pytest.mark.parametrize("updates", [1, 9, 10, 11, 25])
def test_max_updates_counts_updates_and_the_partial_epoch_is_yielded_and_validated(updates):
    world = World(max_updates=updates, validate_every=5)
    run = world.run()
    pairs = list(run.iterate())
    assert world.x == updates
    assert len(pairs) == math.ceil(updates / 10)
    assert world.validated == [0, updates]
    assert pairs[-1][1]["x"] == updates
    assert [(record.epoch, record.updates) for record in world.records[-1:]] == [(len(pairs), updates)]
    assert run.progress.stopped == "max_updates"


def test_the_averages_of_a_partial_epoch_are_of_its_own_updates():
    *_, (train, _) = World(length=2, max_updates=3).run().iterate()
    assert train == {"loss": 1 / 8, "x": 3.0}


@pytest.mark.parametrize("limit", [{"max_updates": 0}, {"max_epochs": 0}, {"max_seconds": 0}, {"target": 1.0}])
def test_a_limit_that_is_reached_at_the_start_leaves_only_the_first_validation(limit):
    world = World(**limit)
    assert list(world.run().iterate()) == []
    assert world.run().drain() == ({}, {"loss": 1.0, "x": 0.0})
    assert world.x == 0


def test_max_epochs_counts_epochs(finish):
    world = World(max_epochs=3)
    run = world.run()
    finish(run)
    assert (run.progress.epoch, run.progress.updates, run.progress.stopped) == (3, 30, "max_epochs")


def test_max_seconds_ends_the_run_inside_an_epoch(finish):
    world = World(max_seconds=14.5)
    run = world.run()
    finish(run)
    assert (world.validated, run.progress.stopped) == ([0, 15], "max_seconds")
    assert [record.seconds for record in world.records] == [0.0, 10.0, 15.0]


def test_the_time_of_the_callers_body_counts():
    world = World(max_seconds=100)
    for _ in world.run().iterate():
        world.now += 200
    assert world.validated == [0, 11]


def test_time_that_runs_out_during_a_validation_ends_the_run_there():
    world = World(max_seconds=100, validate_every=1)

    def slow():
        world.now += 500
        return 0.5

    world.losses[10] = slow
    assert len(list(world.run().iterate())) == 2
    assert world.validated == [0, 10, 11]


def test_target_stops_when_the_validation_loss_reaches_it(finish):
    world = World(validate_every=1, target=0.5, losses={10: 0.6, 20: 0.5, 30: 0.4})
    run = world.run()
    finish(run)
    assert (world.x, run.progress.stopped) == (20, "target")


def test_a_target_that_the_last_validation_reaches_is_the_reason():
    run = World(max_epochs=3, target=0.5).run()
    run.drain()
    assert run.progress.stopped == "target"


def test_without_validation_the_target_is_for_the_training_loss():
    world = World(length=1, validate_every=None, target=2.0**-10)
    run = world.run()
    train, _ = run.drain()
    assert (world.x, train["loss"], run.progress.stopped) == (10, 2.0**-10, "target")


def test_a_limit_is_not_hidden_by_the_failure_of_the_last_validation():
    run = World(max_epochs=1, patience=0, losses={10: 2.0}).run()
    run.drain()
    assert run.progress.stopped == "max_epochs"


def test_stopped_is_none_until_the_run_is_over():
    run = World(max_epochs=3).run()
    assert [run.progress.stopped for _ in run.iterate()] == [None] * 3
    assert run.progress.stopped == "max_epochs"


def test_the_end_is_logged(caplog):
    caplog.set_level(logging.INFO, "downhill2")
    World(max_epochs=3).run().drain()
    expected = "stopped after 30 updates: max_epochs; of the parameters, the best (loss 0.0322581) are restored"
    assert caplog.messages == [expected]


# ---- the caller ends it; the collector is off, so that only the absence of cycles can close the generator


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def leave_by_break(run):
    for _ in run.iterate():
        break


def leave_by_an_exception(run):
    with contextlib.suppress(ZeroDivisionError):
        for _ in run.iterate():
            raise ZeroDivisionError


def leave_by_return(run):
    return next(pair for pair in run.iterate())


def leave_by_close(run):
    pairs = run.iterate()
    next(pairs)
    pairs.close()


def leave_by_closing(run):
    with contextlib.closing(run.iterate()) as pairs:
        next(pairs)


def leave_by_dropping(run):
    pairs = run.iterate()
    next(pairs)
    del pairs


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize(
    "leave",
    [
        leave_by_break,
        leave_by_an_exception,
        leave_by_return,
        leave_by_close,
        leave_by_closing,
        leave_by_dropping,
    ],
)
@pytest.mark.parametrize(("loss", "expected"), [(0.5, 10), (2.0, 0)])
def test_the_last_parameters_are_validated_and_the_best_restored_at_once(leave, loss, expected):
    world = World(losses={10: loss})
    run = world.run()
    leave(run)
    assert world.validated == [0, 10]
    assert world.x == expected
    assert run.progress.stopped == "closed"
    assert world.records[-1] == Record(1, 10, 10.0, {}, {"loss": loss, "x": 10.0}, True, expected == 10)


@pytest.mark.usefixtures("no_collector")
def test_the_run_itself_leaves_no_cycle_behind():
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for settings in ({"max_epochs": 1}, {"during": {5: raising(ZeroDivisionError)}}):
            with contextlib.suppress(ZeroDivisionError):
                World(**settings).run().drain()
        gc.collect()
        assert not [thing for thing in gc.garbage if isinstance(thing, (Run, Record, Progress))]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


def test_what_was_just_validated_is_not_validated_again_at_a_break():
    world = World(validate_every=1)
    leave_by_break(world.run())
    assert world.validated == [0, 10]


def test_a_break_after_the_last_epoch_leaves_the_reason_of_the_limit():
    world = World(max_epochs=1)
    run = world.run()
    leave_by_break(run)
    assert run.progress.stopped == "max_epochs"


def test_a_run_that_was_never_begun_does_nothing_when_it_is_closed():
    world = World()
    run = world.run()
    run.iterate().close()
    assert (world.validated, run.progress.stopped) == ([], None)


def test_an_exception_thrown_into_the_generator_restores_without_validation():
    world = World(validate_every=2, losses={20: 0.1})
    run = world.run()
    pairs = run.iterate()
    for _ in range(3):
        next(pairs)
    with pytest.raises(ZeroDivisionError):
        pairs.throw(ZeroDivisionError)
    assert (world.validated, world.x) == ([0, 20], 20)
    assert run.progress.stopped == "exception: ZeroDivisionError"


def test_a_validation_that_fails_at_the_end_restores_the_best_all_the_same():
    world = World(validate_every=2, losses={30: raising(OSError("no data"))})
    run = world.run()
    pairs = run.iterate()
    for _ in range(3):
        next(pairs)
    with pytest.raises(OSError, match="no data"):
        pairs.close()
    assert (world.x, run.progress.stopped) == (20, "exception: OSError")


# ---- exceptions


@pytest.mark.parametrize("error", [ValueError("bad batch"), SystemExit(1)])
def test_an_exception_in_an_epoch_restores_the_best_without_validation(finish, error):
    world = World(validate_every=1, during={15: raising(error)})
    run = world.run()
    with pytest.raises(type(error)):
        finish(run)
    assert (world.validated, world.x) == ([0, 10], 10)
    assert run.progress.stopped == f"exception: {type(error).__name__}"


def test_before_an_update_was_validated_an_exception_leaves_the_last_parameters(finish, caplog):
    caplog.set_level(logging.INFO, "downhill2")
    world = World(during={15: raising(ZeroDivisionError)})
    with pytest.raises(ZeroDivisionError):
        finish(world.run())
    assert (world.validated, world.x) == ([0], 14)
    assert caplog.messages[0].endswith("exception: ZeroDivisionError; of the parameters, the last stay")


def test_an_exception_of_a_report_is_the_reason_even_after_the_last_epoch():
    world = World(max_epochs=1)
    world.report = lambda record: record.epoch and 1 / 0
    run = world.run()
    with pytest.raises(ZeroDivisionError):
        run.drain()
    assert (world.x, run.progress.stopped) == (10, "exception: ZeroDivisionError")


def test_an_exception_while_restoring_leaves_a_reason():
    world = World(max_epochs=1)
    world.restore = raising(MemoryError)
    run = world.run()
    with pytest.raises(MemoryError):
        run.drain()
    assert run.progress.stopped == "max_epochs"


def test_a_loss_that_is_not_finite_restores_the_best_and_raises(finish):
    world = World(validate_every=1, bad={15})
    run = world.run()
    with pytest.raises(NonFinite, match="update 15"):
        finish(run)
    assert (world.x, run.progress.updates, run.progress.stopped) == (10, 14, "non-finite")


def test_a_fault_before_an_update_was_validated_leaves_the_last_good_parameters(finish):
    world = World(bad={5})
    with pytest.raises(NonFinite):
        finish(world.run())
    assert (world.x, world.validated) == (4, [0])


# ---- signals


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_a_signal_ends_the_run_after_the_running_update_without_validation(finish, name):
    world = World(validate_every=1, during={15: signalling(name)})
    run = world.run()
    train, valid = finish(run)
    assert (run.progress.updates, run.progress.stopped) == (15, f"signal {name}")
    assert (world.validated, world.x) == ([0, 10], 10)
    assert train == world.records[-1].train
    assert valid["x"] == 10.0


def test_before_an_update_was_validated_a_signal_leaves_the_last_parameters(finish, caplog):
    caplog.set_level(logging.INFO, "downhill2")
    world = World(during={15: signalling("SIGTERM")})
    finish(world.run())
    assert (world.validated, world.x) == ([0], 15)
    assert caplog.messages[-1] == "stopped after 15 updates: signal SIGTERM; of the parameters, the last stay"


def test_a_signal_at_the_last_update_of_an_epoch_omits_its_validation(finish):
    world = World(validate_every=1, during={20: signalling("SIGTERM")})
    finish(world.run())
    assert (world.validated, world.x) == ([0, 10], 10)


def test_a_signal_during_the_first_validation_ends_the_run_before_an_update():
    def loss():
        signalling("SIGTERM")()
        return 1.0

    world = World(losses={0: loss})
    run = world.run()
    assert run.drain()[0] == {}
    assert (world.x, run.progress.stopped) == (0, "signal SIGTERM")


def test_a_signal_during_the_last_validation_is_not_lost(finish):
    def loss():
        signalling("SIGINT")()
        return 0.5

    world = World(max_epochs=1, losses={10: loss})
    run = world.run()
    finish(run)
    assert (world.x, run.progress.stopped) == (10, "signal SIGINT")


def test_an_interrupt_that_surfaces_in_an_update_ends_the_run_as_the_signal_would(finish):
    world = World(validate_every=1, during={15: raising(KeyboardInterrupt)})
    run = world.run()
    finish(run)
    assert (world.validated, world.x) == ([0, 10], 10)
    assert run.progress.stopped == "signal SIGINT"


def test_an_interrupt_that_surfaces_in_the_first_validation_ends_the_run(finish):
    world = World(losses={0: raising(KeyboardInterrupt)})
    run = world.run()
    finish(run)
    assert (world.x, world.records, run.progress.stopped) == (0, [], "signal SIGINT")


def test_an_interrupt_that_surfaces_in_the_validation_at_a_break_restores_the_best():
    world = World(validate_every=2, losses={30: raising(KeyboardInterrupt)})
    run = world.run()
    for _ in itertools.islice(run.iterate(), 3):
        pass
    assert (world.x, run.progress.stopped) == (20, "signal SIGINT")


def test_an_interrupt_that_the_caller_throws_is_the_callers():
    world = World(validate_every=1)
    run = world.run()
    pairs = run.iterate()
    next(pairs)
    with pytest.raises(KeyboardInterrupt):
        pairs.throw(KeyboardInterrupt)
    assert (world.x, run.progress.stopped) == (10, "exception: KeyboardInterrupt")


def test_a_second_signal_raises_at_once_and_the_best_is_restored(finish):
    world = World(validate_every=1, during={15: signalling("SIGTERM", "SIGINT")})
    run = world.run()
    with pytest.raises(KeyboardInterrupt):
        finish(run)
    assert (world.validated, world.x) == ([0, 10], 10)
    assert run.progress.stopped == "signal SIGTERM"


def test_a_second_signal_between_two_epochs_of_a_drain_is_not_delayed_by_a_validation():
    world = World(during={15: signalling("SIGTERM")})
    run = world.run()
    lines = iter(range(100))

    def trace(frame, event, argument):
        if frame.f_code is Run.drain.__code__ and run.progress.updates == 15 and next(lines) == 0:
            signal.raise_signal(signal.SIGTERM)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with pytest.raises(KeyboardInterrupt):
            run.drain()
    finally:
        sys.settrace(before)
    assert (world.validated, run.progress.stopped) == ([0], "signal SIGTERM")


def test_a_second_signal_does_not_interrupt_the_keeping_of_the_best():
    world = World(validate_every=1)
    run = world.run()
    pairs = run.iterate()
    next(pairs)

    def keep(progress):
        signalling("SIGINT", "SIGINT")()
        world.kept = world.x

    world.keep = keep
    with pytest.raises(KeyboardInterrupt):
        next(pairs)
    assert (world.kept, world.x, run.progress.best) == (20, 20, pytest.approx(1 / 21))


def test_a_second_signal_does_not_interrupt_the_restoring_of_the_best(finish):
    world = World(max_epochs=2, losses={20: 0.5})

    def restore():
        signalling("SIGINT", "SIGINT", "SIGINT")()
        world.x = world.kept

    world.restore = restore
    run = world.run()
    with pytest.raises(KeyboardInterrupt):
        finish(run)
    assert (world.x, run.progress.stopped) == (20, "signal SIGINT")


def test_handlers_stand_while_the_loop_runs_and_never_in_the_callers_body(handlers):
    outside, inside = handlers(), []
    world = World(max_epochs=3, validate_every=1, during={5: lambda: inside.append(handlers())})
    world.losses[20] = lambda: inside.append(handlers()) or 0.5
    pairs = world.run().iterate()
    assert handlers() == outside
    for _ in pairs:
        assert handlers() == outside
    assert handlers() == outside
    assert len(inside) == 2
    assert not any(handler in outside for seen in inside for handler in seen)


def test_handlers_stand_during_the_validation_after_a_break(handlers):
    outside, inside = handlers(), []
    world = World(losses={10: lambda: inside.append(handlers()) or 0.5})
    leave_by_break(world.run())
    assert inside
    assert inside[0] != outside


def test_a_drain_sets_the_handlers_once(monkeypatch):
    calls = []
    install = signal.signal
    monkeypatch.setattr(signals, "_exchange", lambda *args: calls.append(args) or install(*args))
    World(max_epochs=50).run().drain()
    assert len(calls) == 6


def test_a_run_outside_the_main_thread_leaves_the_handlers_alone(handlers):
    outside, inside = handlers(), []
    world = World(max_epochs=2, during={5: lambda: inside.append(handlers()), 15: raising(KeyboardInterrupt)})
    run = world.run()
    thread = threading.Thread(target=run.drain)
    thread.start()
    thread.join()
    assert inside == [outside]
    assert run.progress.stopped == "signal SIGINT"


# ---- stretches, and going on


@given(
    length=st.integers(1, 7),
    stretch=st.integers(1, 8),
    limits=st.fixed_dictionaries(
        {
            "max_updates": st.integers(0, 30),
            "validate_every": st.none() | st.integers(1, 4),
            "patience": st.none() | st.integers(0, 2),
            "max_seconds": st.none() | st.integers(0, 30),
        }
    ),
    losses=st.lists(st.floats(-1, 1) | st.just(math.nan), min_size=31, max_size=31).map(
        lambda values: dict(enumerate(values))
    ),
)
def test_the_stretches_that_make_an_epoch_change_nothing(length, stretch, limits, losses):
    outcomes = []
    for most in (None, stretch):
        world = World(length, losses, stretch=most, **limits)
        run = world.run()
        pairs = list(run.iterate())
        outcomes.append(repr((pairs, world.records, world.x, world.validated, run.progress)))
    assert outcomes[0] == outcomes[1]


@given(updates=st.integers(1, 29))
def test_a_run_goes_on_from_its_progress(updates):
    whole, parts = World(max_epochs=3, validate_every=None), World(max_updates=updates, validate_every=None)
    whole.run().drain()
    first = parts.run()
    first.drain()
    progress = Progress(**json.loads(json.dumps(dataclasses.asdict(first.progress))))
    parts.limits = whole.limits
    parts.run(progress).drain()
    assert parts.records[-1] == whole.records[-1]


def test_a_run_that_goes_on_is_not_validated_at_its_start():
    world = World(max_epochs=2, validate_every=1)
    world.x = 10
    run = world.run(Progress(updates=10, epoch=1, seconds=5.0, best=0.1, validated_at=10, loss=0.1))
    run.drain()
    assert world.validated == [20]
    assert (run.progress.epoch, run.progress.seconds) == (2, 15.0)


# ---- plateau, divergence, speed


class Noisy(World):
    """A world whose training loss at update x is ``training(x)``."""

    def __init__(self, training, **settings):
        super().__init__(**settings)
        self.training = training

    def step(self, tally, n, halt):
        before = self.x
        super().step(tally, n, halt)
        tally.losses.extend(map(self.training, range(before + 1, self.x + 1)))


def ragged(x):
    """A loss that falls for 40 updates, and jumps up and down by up to 5 %."""
    return max(1.0, 5 - x / 10) * (1 + math.sin(x * x) / 20)


def test_a_plateau_ends_the_run_at_the_end_of_a_block_with_a_validation(finish):
    world = Noisy(lambda x: 1.0, plateau={"block": 3, "blocks": 3})
    run = world.run()
    finish(run)
    assert (world.validated, run.progress.stopped) == ([0, 18], "plateau")
    assert [(record.epoch, record.updates) for record in world.records[1:]] == [(1, 10), (2, 18)]


def test_without_a_plateau_test_no_losses_are_asked_for():
    asked = []
    world = World(max_epochs=1)
    step = world.step
    world.step = lambda tally, n, halt: asked.append(tally.losses) or step(tally, n, halt)
    world.run().drain()
    assert asked == [None]


def test_a_fall_is_no_plateau(finish):
    world = Noisy(lambda x: 1 / x, plateau={"block": 3, "blocks": 3, "max_error": 1}, max_updates=500)
    run = world.run()
    finish(run)
    assert run.progress.stopped == "max_updates"


@given(length=st.integers(1, 20), stretch=st.integers(1, 8), rest=st.integers(1, 100))
def test_neither_stretches_nor_a_rest_change_when_a_plateau_ends_the_run(length, stretch, rest):
    limits = {"plateau": {"block": 4, "blocks": 3, "max_error": 0.05}, "validate_every": None}
    stops = []
    for most, pause in ((None, None), (stretch, None), (None, rest)):
        world = Noisy(ragged, length=length, stretch=most, **limits, max_updates=pause)
        run = world.run()
        run.drain()
        if run.progress.stopped == "max_updates":
            world.limits = {**world.limits, "max_updates": None}
            run = world.run(Progress(**json.loads(json.dumps(dataclasses.asdict(run.progress)))))
            run.drain()
        stops.append((run.progress.updates, run.progress.blocks, run.progress.stopped))
    assert stops[0] == stops[1] == stops[2]
    assert stops[0][2] == "plateau"


def test_a_validation_far_above_the_best_ends_the_run_and_the_best_is_restored(finish):
    world = World(validate_every=1, diverged=3, losses={10: 0.5, 20: 1.4, 30: 1.6})
    run = world.run()
    finish(run)
    assert (world.validated, world.x, run.progress.stopped) == ([0, 10, 20, 30], 10, "diverged")


def test_without_validation_divergence_is_of_the_training_loss():
    world = World(length=1, validate_every=None, diverged=2, max_epochs=20)
    step, losses = world.step, iter([1.0, 0.5, 0.9, 1.1, 0.1])

    def stepping(tally, n, halt):
        step(tally, n, halt)
        tally.sums["loss"] = next(losses) * tally.rows

    world.step = stepping
    run = world.run()
    run.drain()
    assert (world.x, run.progress.stopped) == (4, "diverged")


def test_rows_per_second_are_of_the_updates_alone():
    world = World(max_epochs=2, validate_every=1)

    def slow():
        world.now += 500
        return 0.5

    world.losses[10] = slow
    for _ in world.run().iterate():
        world.now += 200
    assert [record.rows_per_second for record in world.records] == [0.0, 1.5, 1.5]


def test_updates_that_take_no_time_have_no_speed():
    world = World(max_epochs=1)
    run = world.run()
    run._clock = lambda: 7.0
    run.drain()
    assert world.records[-1].rows_per_second == 0.0


# ---- work


def test_changed_work_has_what_is_changed_and_the_rest_as_it_was():
    world = World()
    assert {"step", "validate", "every", "recorded", "release"} <= {*MEMBERS}
    for name in MEMBERS:
        work = changed(world, **{name: print})
        assert getattr(work, name) is print
        assert all(getattr(work, other) == getattr(world, other) for other in MEMBERS if other != name)


def test_a_run_asks_changed_work_as_it_does_the_works_own(finish):
    world, seen = World(max_epochs=2, validate_every=1), []

    def keep(progress):
        seen.append(progress.validation["x"])
        world.keep(progress)

    run = Run(Limits(**world.limits), changed(world, keep=keep), clock=lambda: world.now)
    finish(run)
    assert (seen, world.kept, run.progress.stopped) == ([0, 10, 20], 20, "max_epochs")


class Counted(World):
    """A world that counts how often each member is asked for."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.asked = Counter()
        for name in MEMBERS:
            if callable(own := getattr(self, name)):
                setattr(self, name, self.counted(name, own))

    def counted(self, name, own):
        return lambda *args: self.asked.update([name]) or own(*args)


REDUCED = {"reduce_on_plateau": {"patience": 0, "threshold": 1e9, "threshold_mode": "absolute"}}


@pytest.mark.parametrize("limits", [{}, {"validate_every": None}, REDUCED], ids=str)
def test_each_is_asked_no_more_often_than_it_is_needed(finish, limits):
    world = Counted(max_epochs=3, **{"validate_every": 1, **limits})
    finish(world.run())
    validations = len(world.validated)
    asked = {"step": 3, "tick": 3, "save": 1, "finish": 1, "release": 1, "report": len(world.records)}
    asked |= {"hyper": len(world.records), "validate": validations, "keep": validations, "restore": validations and 1}
    asked["reduce"] = 3 if limits is REDUCED else 0
    assert world.asked == {name: count for name, count in asked.items() if count}
