"""A run that is stopped anywhere and resumed is, to the last bit, the run that never was."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training import Crash, Training, after, records, rows

import downhill2
from downhill2 import Dataset, NonFiniteError
from downhill2.keeping import checkpoint
from downhill2.keeping.history import History

ALGORITHMS = ("sgd", "nag", "rprop", "rmsprop", "adagrad", "adadelta", "esgd", "adam")


def falling(updates):
    return 0.02 * 0.95**updates


CONFIGURATIONS = {
    **{algo: {"algo": algo} for algo in ALGORITHMS},
    "momentum": {"algo": "sgd", "momentum": 0.9},
    "nesterov, rate outside": {"algo": "sgd", "momentum": 0.9, "nesterov": True, "momentum_rate": "outside"},
    "coupled decay": {"algo": "adam", "weight_decay": 0.1},
    "decoupled decay": {"algo": "adam", "weight_decay": 0.1, "decay": "decoupled"},
    "clipped elements": {"algo": "rmsprop", "max_gradient_elem": 0.1},
    "clipped norms": {"algo": "sgd", "max_gradient_norm": 0.1},
    "clipped global norm": {"algo": "adam", "max_global_norm": 0.1},
    "a schedule": {"algo": "adam", "learning_rate": falling},
    "gradient noise": {"algo": "sgd", "gradient_noise": 0.01, "clip_adaptive": 0.1},
    "mechanic": {"algo": "adam", "mechanic": 0.01, "sam": 0.05},
    "a bound of the loss": {"algo": "momoadam", "adapt_lower_bound": True},
    "a rate that is found": {"algo": "prodigy", "estim_lr0": 0.01, "learning_rate": 1.0},
    "random updates": {"algo": "adam", "noise": True},
    "updates of statistics": {"algo": "sgd", "counter": True, "noise": True, "momentum": 0.9},
}


@functools.cache
def training(name, dtype="float64"):
    """Return the training of a configuration; each is compiled once."""
    return Training(dtype=dtype, **CONFIGURATIONS[name])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_run_resumed_thrice_is_the_uninterrupted_one(name, dtype, tmp_path):
    train = training(name, dtype)
    whole = train.run()
    # in the middle of an epoch, at its end, and one later
    assert train.interrupted(tmp_path, [3, 12, 13]) == whole


@pytest.mark.parametrize("stop", range(1, 25))
def test_a_run_can_be_stopped_at_any_update(stop, tmp_path):
    train = training("random updates")
    assert train.interrupted(tmp_path, [stop]) == train.run()


@pytest.mark.parametrize("every", [1, 3, "1 update", "5 updates", "2 epochs", "0.0001 s", "10 min", "1 h"])
def test_it_does_not_matter_how_often_a_run_is_saved(every, tmp_path):
    train = training("random updates")
    assert train.interrupted(tmp_path, [8, 15], checkpoint_every=every) == train.run()


DATA = {
    "rows in their order": {"shuffle": False},
    "batches shuffled": {"shuffle": "batches"},
    "short epochs": {"iteration_size": 4},
    "epochs of several passes": {"iteration_size": 9, "shuffle": "batches"},
    "the last batch left out": {"drop_last": True},
    "one batch": {"batch_size": 0},
    "weights": {"weights": np.linspace(0.5, 2, 23)},
}


@pytest.mark.parametrize("how", DATA.values(), ids=DATA)
def test_a_run_goes_on_with_the_batches_that_were_to_come(how, tmp_path):
    train = training("random updates")

    def data():
        return Dataset(train.data["train"], rng=11, **{"batch_size": 5, **how})

    whole = train.run(train=data(), max_epochs=6)
    for updates in (2, 5, 11):
        train.run(train=data(), max_epochs=6, max_updates=updates, checkpoint=tmp_path, resume="auto")
    assert train.run(train=data(), max_epochs=6, checkpoint=tmp_path, resume=True) == whole


def test_ready_made_batches_are_resumed_too(tmp_path):
    train = training("random updates")
    batches = [rows(n, n) for n in (3, 5, 2, 4)]
    whole = train.run(train=batches)
    assert train.interrupted(tmp_path, [6], train=batches) == whole


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937, np.random.Philox])
def test_the_callers_own_generator_is_put_where_it_was(kind, tmp_path):
    train = training("random updates")

    def run(**given):
        generator = np.random.Generator(kind(3))
        return train.run(rng=generator, **given), generator.bit_generator.state["state"]

    whole, state = run()
    run(checkpoint=tmp_path, max_updates=8)
    resumed, again = run(checkpoint=tmp_path, resume=True)
    assert (resumed, str(again)) == (whole, str(state))


LIMITS = {
    "patience": {"learning_rate": 0.8, "patience": 1, "validate_every": 1, "max_epochs": 40},
    "plateau": {"plateau": {"block": 2, "blocks": 3, "min_fall": 0.5, "max_error": 1.0}, "max_epochs": 40},
    "target": {"target": 0.9, "validate_every": 1, "max_epochs": 400, "learning_rate": 0.05},
    "diverged": {"diverged": 1.01, "learning_rate": 0.8, "validate_every": 1, "max_epochs": 40, "patience": None},
    "max_updates": {"max_updates": 21},
    "max_epochs": {"validate_every": None},
}


@pytest.mark.parametrize(("reason", "limits"), LIMITS.items(), ids=LIMITS)
@pytest.mark.parametrize("every", [1, "1 update"])
def test_a_resumed_run_stops_for_the_same_reason_at_the_same_update(reason, limits, every, tmp_path):
    train = training("adam")
    whole = train.run(**limits)
    assert whole["stopped"] == reason
    end = whole["updates"]
    assert train.interrupted(tmp_path, [2, end // 2, end - 1], checkpoint_every=every, **limits) == whole


def test_the_training_data_may_serve_for_validation_too(tmp_path):
    train = training("adam")
    assert train.interrupted(tmp_path, [8], valid=None) == train.run(valid=None)


def test_the_last_parameters_may_stay(tmp_path):
    train = training("adam")
    whole = train.run(restore_best=False, learning_rate=0.1)
    assert whole["W"] != train.run(learning_rate=0.1)["W"]
    assert train.interrupted(tmp_path, [8, 18], restore_best=False, learning_rate=0.1) == whole


# -- ways to be interrupted


def limited(train, directory, update, **given):
    train.run(checkpoint=directory, resume="auto", **{**given, "max_updates": update})
    assert train.opt.stopped == "max_updates"


def crashed(train, directory, update, **given):
    def act():
        raise Crash

    # the hook counts the updates of this call
    with after(max(1, update - begun(directory)), act), pytest.raises(Crash):
        train.run(checkpoint=directory, resume="auto", **given)
    assert train.opt.stopped == "exception: Crash"


def signalled(train, directory, update, number=signal.SIGTERM, **given):
    with after(max(1, update - begun(directory)), lambda: signal.raise_signal(number)):
        train.run(checkpoint=directory, resume="auto", on_signal="stop", **given)
    assert train.opt.stopped == f"signal {number.name}"


def left(train, directory, update, **given):
    train.fresh()
    data = {**train.data, "rng": 5, "batch_size": 4, "validate_every": 2, "max_epochs": 4, **train.hyper}
    for _ in train.opt.iterate(checkpoint=directory, resume="auto", **{**data, **given}):
        if train.opt.history[-1].updates >= update:
            break
    assert train.opt.stopped == "closed"


def called_off(train, directory, update, **given):
    def callback(opt, record):
        if record.updates >= update:
            opt.stop("enough")

    train.run(checkpoint=directory, resume="auto", **given, callbacks=[callback])
    assert train.opt.stopped == "callback: enough"


def begun(directory):
    """Return the number of updates of the newest checkpoint."""
    files = sorted(Path(directory).glob("update-*.safetensors"))
    return int(files[-1].stem[7:]) if files else 0


WAYS = {f.__name__: f for f in (limited, crashed, signalled, left, called_off)}
WAYS["before pre-emption"] = functools.partial(signalled, number=signal.SIGUSR1)
WAYS["Ctrl-C"] = functools.partial(signalled, number=signal.SIGINT)


@pytest.mark.parametrize("updates", [(1,), (5, 6), (7, 12), (5, 8, 17)], ids=str)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_it_does_not_matter_how_a_run_was_interrupted(way, updates, tmp_path):
    train = training("random updates")
    for update in updates:
        way(train, tmp_path, update)
    assert train.run(checkpoint=tmp_path, resume="auto") == train.run()


POOL = ("random updates", "updates of statistics", "esgd", "a schedule")


@st.composite
def interruptions(draw):
    """Return ways to interrupt a run of 24 updates, in the order of their updates."""
    updates = sorted(draw(st.lists(st.integers(1, 23), min_size=1, max_size=4)))
    return [(draw(st.sampled_from([limited, crashed, signalled])), update) for update in updates]


intervals = st.one_of(st.integers(1, 4), st.integers(1, 25).map("{} updates".format), st.just("0.001 s"))


@pytest.mark.thorough
@given(st.sampled_from(POOL), interruptions(), st.lists(intervals, min_size=5, max_size=5), st.integers(1, 3))
@settings(max_examples=30)
def test_any_number_of_interruptions_leaves_no_trace(name, stops, every, keep):
    train = training(name)
    with tempfile.TemporaryDirectory() as directory:
        for (way, update), interval in zip(stops, every, strict=False):
            if update > begun(directory):
                way(train, directory, update, checkpoint_every=interval, keep=keep)
        assert train.run(checkpoint=directory, resume="auto", checkpoint_every=every[-1]) == train.run()


def test_the_same_optimizer_may_go_on_as_it_stands(tmp_path):
    train = training("random updates")
    whole = train.run()
    train.run(checkpoint=tmp_path, max_updates=8)
    assert train.run(anew=False, checkpoint=tmp_path, resume=True) == whole


@pytest.mark.parametrize("every", [1, "5 updates"])
def test_the_same_optimizer_goes_back_to_the_checkpoint_after_an_error(every, tmp_path):
    train = training("random updates")
    whole = train.run()

    def fail(opt, record):
        if record.epoch == 3:
            opt.learning_rate = 0.5
            raise Crash

    with pytest.raises(Crash):
        train.run(checkpoint=tmp_path, checkpoint_every=every, callbacks=[fail])
    train.hyper, given = {}, train.hyper
    try:
        assert train.run(anew=False, checkpoint=tmp_path, resume=True) == whole
    finally:
        train.hyper = given


def test_a_run_can_be_resumed_in_another_process(tmp_path):
    script = f"""
import sys
sys.path[:0] = {sys.path!r}
import pytensor
pytensor.config.mode = "FAST_COMPILE"
from training import Training
train = Training(noise=True, counter=True)
for updates in map(int, sys.argv[2:]):
    train.run(checkpoint=sys.argv[1], resume="auto", max_updates=updates)
print(repr(train.outcome(None)))
"""

    def run(directory, *updates):
        command = [sys.executable, "-W", "ignore", "-c", script, str(tmp_path / directory), *updates]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    whole = run("whole", "20")
    run("parts", "7")
    assert run("parts", "15", "20") == whole


# -- the end of a run


ENDS = {
    "in the middle of an epoch": {"max_updates": 8},
    "at the end of an epoch": {"max_updates": 12},
    "after an epoch": {"max_epochs": 3},
    "by patience": LIMITS["patience"],
    "by plateau": LIMITS["plateau"],
    "before it began": {"max_updates": 0},
    "without validations": {"max_updates": 8, "validate_every": None},
}


@pytest.mark.parametrize("every", [1, "1 update"])
@pytest.mark.parametrize("limits", ENDS.values(), ids=ENDS)
def test_equal_limits_return_the_recorded_result_at_once(limits, every, tmp_path):
    train = training("random updates")
    whole = train.run(checkpoint=tmp_path, checkpoint_every=every, **limits)
    lines = (tmp_path / "history.jsonl").read_bytes()

    def forbidden():
        pytest.fail("an update was made")

    with after(1, forbidden):
        for _ in range(2):
            assert train.run(checkpoint=tmp_path, resume=True, checkpoint_every=every, **limits) == whole
            assert (tmp_path / "history.jsonl").read_bytes() == lines


@pytest.mark.parametrize("limits", ENDS.values(), ids=ENDS)
def test_larger_limits_continue_a_finished_run(limits, tmp_path):
    train = training("random updates")
    larger = {**limits, "max_epochs": 45, "max_updates": None, "patience": 3, "plateau": None}
    whole = train.run(**larger)
    for _ in range(2):  # also after a result that was only returned again
        train.run(checkpoint=tmp_path, resume="auto", **limits)
    assert train.run(checkpoint=tmp_path, resume=True, **larger) == whole


@pytest.mark.parametrize("every", [1, "1 update", "4 updates"])
@pytest.mark.parametrize("limits", [*ENDS.values(), LIMITS["target"], LIMITS["diverged"]], ids=str)
def test_a_run_killed_before_its_result_was_written_still_ends_as_it_did(limits, every, tmp_path):
    train = training("adam")
    whole = train.run(checkpoint=tmp_path, checkpoint_every=every, **limits)
    for _ in range(2):
        (tmp_path / "result.safetensors").unlink()
        assert train.run(checkpoint=tmp_path, resume=True, checkpoint_every=every, **limits) == whole


def test_a_run_resumed_before_its_first_record_has_no_history_of_another(tmp_path):
    train = training("adam")
    whole = train.run(validate_every=None)
    crashed(train, tmp_path, 2, validate_every=None, checkpoint_every="1 update")
    train.run()
    assert train.run(anew=False, checkpoint=tmp_path, resume=True, validate_every=None) == whole


# -- what is live


def cutting(opt, record):
    opt.learning_rate = 0.01 * 0.5**record.epoch
    opt.momentum = 0.5 if record.epoch in (2, 3) else 0


@pytest.mark.parametrize("stop", [4, 6, 8, 12, 14, 18, 20, 23])
@pytest.mark.parametrize("way", [limited, signalled, crashed])
def test_hyperparameters_that_a_callback_sets_are_kept(way, stop, tmp_path):
    train = training("adam")
    whole = train.run(callbacks=[cutting])
    assert whole["hyper"]["learning_rate"] == 0.01 / 16
    way(train, tmp_path, stop, callbacks=[cutting])
    assert train.run(checkpoint=tmp_path, resume="auto", callbacks=[cutting]) == whole


def test_a_hyperparameter_that_is_given_otherwise_wins(tmp_path, caplog):
    train = training("adam")
    caplog.set_level("INFO", "downhill2")
    train.run(checkpoint=tmp_path, max_updates=7, callbacks=[cutting])
    train.run(checkpoint=tmp_path, resume=True, max_updates=8, learning_rate=0.25)
    assert train.opt.hyper["learning_rate"] == 0.25
    assert "learning_rate is 0.25, as it is given now, and not as in the checkpoint" in caplog.text
    # what was given then counts from then on: a cut that follows is kept
    train.run(checkpoint=tmp_path, resume=True, max_updates=13, learning_rate=0.25, callbacks=[cutting])
    train.run(checkpoint=tmp_path, resume=True, max_updates=14, learning_rate=0.25)
    assert train.opt.hyper["learning_rate"] == 0.01 / 4


def test_a_shared_hyperparameter_is_kept_though_the_updates_change_it(tmp_path):
    w, rate = pytensor.shared(np.ones(3), name="w"), pytensor.shared(np.array(0.1), name="rate")
    x = pt.matrix("x")
    opt = downhill2.build("sgd", ((x @ w - 1) ** 2).mean(), updates={rate: 0.9 * rate}, learning_rate=rate)

    def run(**given):
        w.set_value(np.ones(3))
        rate.set_value(np.array(0.1))
        opt.reset()
        opt.minimize([rows(10, 0)[0][:, :3]], rng=0, batch_size=4, **{"max_updates": 12, **given})
        return w.get_value().tobytes(), rate.get_value().tobytes()

    whole = run()
    run(max_updates=5, checkpoint=tmp_path)
    assert run(checkpoint=tmp_path, resume=True) == whole


def test_a_schedule_and_a_number_may_take_each_others_place(tmp_path):
    for first, then in [(falling, 0.125), (0.125, falling)]:
        train = Training("sgd", learning_rate=first)
        directory = tmp_path / type(first).__name__
        train.run(checkpoint=directory, max_updates=5)
        train.hyper["learning_rate"] = then
        train.run(checkpoint=directory, resume=True, max_updates=6)
        assert train.opt.hyper["learning_rate"] == (then(6) if callable(then) else then)


# -- faults


@pytest.mark.parametrize("policy", ["skip", "rollback"])
@pytest.mark.parametrize("stop", [6, 8, 9, 10, 11])
def test_faults_before_an_interruption_are_still_told_of(policy, stop, tmp_path):
    train = training("adam")
    x, y = train.data["train"]
    x = x.copy()
    x[20] = np.nan
    given = {"train": [x, y], "on_nonfinite": policy, "shuffle": False, "nonfinite_limit": 100, "validate_every": 1}
    whole = train.run(**given)
    assert any(record.events for record in whole["history"])
    assert train.interrupted(tmp_path, [stop], checkpoint_every="1 update", **given) == whole


def test_a_run_that_a_fault_ended_goes_on_with_better_data(tmp_path):
    train = training("adam")
    whole, (x, y) = train.run(), train.data["train"]
    broken = y.copy()
    broken[7] = np.nan
    with pytest.raises(NonFiniteError):
        train.run(train=[x, broken], checkpoint=tmp_path, checkpoint_every="1 update")
    assert train.run(checkpoint=tmp_path, resume=True) == whole


# -- the history


def test_the_file_of_the_history_has_the_records_of_the_run(tmp_path):
    train = training("adam")
    whole = train.run()
    train.interrupted(tmp_path, [3, 8, 14], checkpoint_every="2 updates")
    assert records(History.from_json_lines(tmp_path / "history.jsonl")) == whole["history"]


def test_the_history_may_have_a_place_of_its_own(tmp_path):
    train = training("adam")
    whole = train.run()
    file = tmp_path / "elsewhere.jsonl"
    train.interrupted(tmp_path / "run", [8], history=file)
    assert records(History.from_json_lines(file)) == whole["history"]
    assert file.read_bytes() == (tmp_path / "run" / "history.jsonl").read_bytes()


def test_without_checkpoints_a_history_is_appended_to(tmp_path):
    train, file = training("adam"), tmp_path / "run.jsonl"
    first, second = train.run(history=file)["history"], train.run(history=file, max_epochs=2)["history"]
    assert records(History.from_json_lines(file)) == first + second


def test_a_line_that_a_kill_tore_is_cut_off(tmp_path):
    train = training("adam")
    whole = train.run()
    train.run(checkpoint=tmp_path, max_updates=8)
    with open(tmp_path / "history.jsonl", "ab") as file:
        file.write(b'{"epoch": 7, "upd')
    assert train.run(checkpoint=tmp_path, resume=True) == whole
    assert records(History.from_json_lines(tmp_path / "history.jsonl")) == whole["history"]


# -- damage


@pytest.mark.parametrize("hurt", [lambda b: b[: len(b) // 2], lambda b: b[:-9] + bytes([b[-9] ^ 4]) + b[-8:]])
def test_a_damaged_checkpoint_is_refused_and_the_one_before_it_used(hurt, tmp_path, caplog):
    train = training("random updates")
    whole = train.run()
    train.run(checkpoint=tmp_path, max_updates=11, checkpoint_every="4 updates")
    newest = tmp_path / "update-000000011.safetensors"
    newest.write_bytes(hurt(newest.read_bytes()))
    assert train.run(checkpoint=tmp_path, resume=True) == whole
    assert "trying the checkpoint before it" in caplog.text


def test_a_result_that_is_damaged_is_made_again(tmp_path):
    train = training("adam")
    whole = train.run(checkpoint=tmp_path, max_updates=8)
    (tmp_path / "result.safetensors").write_bytes(b"")
    assert train.run(checkpoint=tmp_path, resume=True, max_updates=8) == whole


def checkpoints(directory):
    return {path.name: path.read_bytes() for path in directory.glob("update-*")}


@pytest.mark.parametrize(
    ("every", "full", "told"),
    [
        (1, (12, 18), {3: "checkpoint after update 12 failed"}),
        ("4 updates", (8, 9), {2: "checkpoint after update 8 failed"}),
        ("4 updates", (24, 99), {4: "checkpoint after update 24 failed"}),
        ("5 updates", (24, 99), {4: "checkpoint after update 24 failed"}),
    ],
)
def test_a_checkpoint_that_cannot_be_written_is_an_event_and_the_one_before_it_stays(
    every, full, told, tmp_path, monkeypatch, caplog
):
    train, real, seen = training("adam"), checkpoint._put, []
    whole = train.run()

    def put(file, data):
        if file.name.startswith(str(tmp_path / ".update")) and full[0] <= train.opt.context.clock.get_value() < full[1]:
            seen.append(checkpoints(tmp_path))
            raise OSError(28, "No space left on device")
        real(file, data)

    monkeypatch.setattr(checkpoint, "_put", put)
    assert train.run(checkpoint=tmp_path, checkpoint_every=every, keep=1) == whole
    assert len(seen) == 1
    assert seen[0]
    assert caplog.messages.count(f"cannot write {failing(tmp_path, full[0])}: No space left on device; the run goes on")
    events = {r.epoch: r.events for r in train.opt.history if any("failed" in event for event in r.events)}
    assert events.keys() == told.keys()
    for epoch, event in told.items():
        assert f"{event}: cannot write {failing(tmp_path, full[0])}: No space left on device" in events[epoch]
        assert f"checkpoint after update {full[0]}" not in events[epoch]
    assert History.from_json_lines(tmp_path / "history.jsonl")["events"] == train.opt.history["events"]
    assert train.run(checkpoint=tmp_path, resume=True, checkpoint_every=every) == whole


def failing(directory, updates):
    return directory / f"update-{updates:09d}.safetensors"


def test_a_directory_that_loses_its_rights_costs_no_more_than_the_checkpoints(caplog):
    train = training("adam")
    whole = train.run()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        directory = Path(name)

        def lock(opt, record):
            if record.epoch == 2:
                stack.enter_context(locked(directory))
            elif record.epoch == 3:
                stack.close()

        assert train.run(checkpoint=directory, callbacks=[lock]) == whole
        told = [event for event in train.opt.history[-2].events if "failed" in event]
        assert told == [f"checkpoint after update 12 failed: cannot write {failing(directory, 12)}: Permission denied"]
        assert train.run(checkpoint=directory, resume=True) == whole


@contextlib.contextmanager
def locked(directory):
    """Let nobody write in a directory."""
    user = os.geteuid()
    directory.chmod(0o555)
    if user == 0:  # who may write anywhere
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        directory.chmod(0o755)


def test_a_disk_that_is_full_for_a_while_costs_no_more_than_the_checkpoints(tmp_path, monkeypatch, caplog):
    train, real = training("random updates"), checkpoint._put
    whole = train.run()

    def put(file, data):
        if 4 <= train.opt.context.clock.get_value() < 18:
            raise OSError(28, "No space left on device")
        real(file, data)

    monkeypatch.setattr(checkpoint, "_put", put)
    crashed(train, tmp_path, 20, checkpoint_every="1 update")
    assert "No space left on device; the run goes on" in caplog.text
    assert train.run(checkpoint=tmp_path, resume=True) == whole
    assert not list(tmp_path.glob(".*"))
