"""Trackers: what they leave in real files and stores, read back by those who read them."""

from __future__ import annotations

import contextlib
import csv
import json
import logging
import math
import os
import pathlib
import signal
import struct
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytensor
import pytensor.tensor as pt
import pytest
from training import Crash, Training, records

import downhill2
from downhill2 import schedules, trackers
from downhill2.keeping.history import History
from downhill2.loop.run import Record
from downhill2.reporting.trackers import stores
from downhill2.reporting.trackers.tracker import MonitorSeries, Tracker, configuration, undone

EXTRAS = {
    "TensorBoard": ("tensorboardX", "tensorboard"),
    "MLflow": ("mlflow", "mlflow"),
    "WandB": ("wandb", "wandb"),
    "Optuna": ("optuna", "optuna"),
}


@pytest.fixture(scope="module")
def training():
    made = Training()
    problem = made.opt.fit.problem
    made.opt = downhill2.build("adam", problem.loss, problem.params, monitor_gradients=True, learning_rate=0.01)
    return made


@pytest.fixture
def runs(training):
    """Return what makes a fresh run of three epochs with callbacks."""

    def run(*callbacks, **settings):
        return training.run(callbacks=callbacks, **{"max_epochs": 3, **settings})

    return run


def crash_after(epoch):
    """Return a callback that ends a run as a kill would, but for the process."""

    def crash(opt, record):
        if record.epoch == epoch:
            raise Crash

    return crash


def interrupt(opt, record):
    """End a run after its second epoch as Ctrl-C does."""
    if record.epoch == 2:
        signal.raise_signal(signal.SIGINT)


def interrupt_and_resume(training, directory, make, **settings):
    """Run to a crash in epoch 3 with a save after epoch 2, then to the end, with a tracker of its own each time."""
    saving = {"checkpoint": directory / "saved", "checkpoint_every": 2, "max_epochs": 5, **settings}
    with pytest.raises(Crash):
        training.run(**saving, callbacks=[make(), crash_after(3)])
    training.run(**saving, resume="auto", callbacks=[make()])


def warnings_of(caplog):
    return [r.message for r in caplog.records if r.levelno >= logging.WARNING]


def fake_record(**values):
    given = {"epoch": 1, "updates": 10, "seconds": 0.5, "train": {}, "valid": {}, "validated": False, "improved": False}
    return Record(**{**given, **values})


# -- files

READERS = {"CSV": History.from_csv, "JSONLines": History.from_json_lines}


@pytest.mark.parametrize("kind", READERS)
def test_a_file_holds_the_history(kind, training, runs, tmp_path):
    path = tmp_path / "run"
    runs(getattr(trackers, kind)(path))
    assert list(READERS[kind](path)) == list(training.opt.history)
    assert len(training.opt.history) == 4


def test_a_csv_file_is_read_by_others(training, runs, tmp_path):
    runs(trackers.CSV(str(tmp_path / "run.csv")))
    frame = pd.read_csv(tmp_path / "run.csv")
    history = training.opt.history
    assert frame["epoch"].tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(frame["train.loss"], history["train.loss"])
    assert math.isnan(frame["train.loss"][0])
    with open(tmp_path / "run.csv", newline="") as file:
        assert next(csv.reader(file)) == history.columns


def test_a_file_of_json_lines_is_read_by_others(training, runs, tmp_path):
    runs(trackers.JSONLines(tmp_path / "run.jsonl"))
    lines = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert [line["valid.loss"] for line in lines] == training.opt.history["valid.loss"].tolist()
    assert "train.loss" not in lines[0]


@pytest.mark.parametrize("kind", READERS)
def test_a_file_is_whole_after_each_epoch(kind, training, tmp_path):
    seen = []

    def look(opt, record):
        seen.append(list(READERS[kind](tmp_path / "run")) == list(opt.history))

    training.run(max_epochs=3, callbacks=[getattr(trackers, kind)(tmp_path / "run"), look])
    assert seen == [True] * 4


@pytest.mark.parametrize("kind", READERS)
def test_a_line_costs_one_line_and_not_the_whole_file(kind, training, tmp_path, monkeypatch):
    written = []
    for name in ("to_csv", "to_json_lines"):
        plain = getattr(History, name)
        monkeypatch.setattr(History, name, lambda h, path, f=plain: (written.append(len(h)), f(h, path)))
    training.run(max_epochs=6, callbacks=[getattr(trackers, kind)(tmp_path / "run")])
    # the record of epoch 0 has no training monitors, and that of epoch 1 brings columns to a table
    assert written == ([1, 2] if kind == "CSV" else [1])


@pytest.mark.parametrize("kind", READERS)
def test_the_file_of_a_resumed_run_is_that_of_a_run_without_a_break(kind, training, tmp_path):
    path = tmp_path / "run"
    training.run(max_epochs=5)
    whole = records(training.opt.history)
    training.fresh()
    interrupt_and_resume(training, tmp_path, lambda: getattr(trackers, kind)(path), anew=False)
    assert records(READERS[kind](path)) == whole
    assert list(READERS[kind](path)) == list(training.opt.history)


@pytest.mark.parametrize("kind", READERS)
def test_a_second_run_goes_on_in_the_file(kind, training, runs, tmp_path):
    tracker = getattr(trackers, kind)(tmp_path / "run")
    runs(tracker)
    runs(tracker, anew=False)
    assert READERS[kind](tmp_path / "run")["epoch"].tolist() == [0, 1, 2, 3] * 2


@pytest.mark.parametrize("kind", READERS)
def test_a_file_that_cannot_be_written_costs_one_warning(kind, training, runs, tmp_path, caplog):
    expected = runs()
    (tmp_path / "here").touch()
    assert runs(getattr(trackers, kind)(tmp_path / "here" / "run"))["pair"] == expected["pair"]
    [told] = warnings_of(caplog)
    assert told.startswith(f"trackers.{kind} cannot write its store; the run goes on, each record tries again; ")
    assert "NotADirectoryError" in told
    assert training.opt.stopped == "max_epochs"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device")
@pytest.mark.parametrize("kind", READERS)
def test_a_full_disk_costs_one_warning(kind, runs, caplog):
    runs(getattr(trackers, kind)("/dev/full"))
    [told] = warnings_of(caplog)
    assert "OSError: [Errno" in told  # there is no space, or a device cannot be cut


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("failing", [{1}, {2}, {1, 2}, {3}, {0, 1, 2, 3}], ids=str)
def test_what_could_not_be_written_is_made_good(kind, failing, training, runs, tmp_path, monkeypatch, caplog):
    path, cls = tmp_path / "run", getattr(trackers, kind)
    write, append, now = cls._anew, cls._append, []

    def fails(method):
        def attempt(tracker, *args):
            if now[0] in failing:
                raise OSError(28, "No space left on device")
            return method(tracker, *args)

        return attempt

    monkeypatch.setattr(cls, "_anew", fails(write))
    monkeypatch.setattr(cls, "_append", fails(append))
    runs(lambda opt, record: now.__setitem__(slice(None), [record.epoch]), cls(path), lambda *_: now.insert(0, None))
    assert list(READERS[kind](path)) == list(training.opt.history)
    assert len(warnings_of(caplog)) == 1


def test_a_file_that_cannot_be_closed_is_written_again(training, runs, tmp_path, monkeypatch, caplog):
    tracker = trackers.JSONLines(tmp_path / "run")

    class Torn:
        def append(self, record):
            pass

        def close(self):
            raise OSError(5, "Input/output error")

    def tear(opt, record):
        if record.epoch == 2:
            tracker._file = Torn()

    runs(tracker, tear)
    assert list(History.from_json_lines(tmp_path / "run")) == list(training.opt.history)
    assert not warnings_of(caplog)


@pytest.mark.parametrize("kind", READERS)
def test_a_run_without_a_record_leaves_a_file_as_it_was(kind, training, runs, tmp_path):
    path = tmp_path / "run"
    runs(getattr(trackers, kind)(path), checkpoint=tmp_path / "saved")
    before = path.read_bytes()
    runs(getattr(trackers, kind)(path), checkpoint=tmp_path / "saved", resume=True)  # is at its end already
    assert path.read_bytes() == before


FOREIGN = {
    "a line": b"precious\n",
    "a word": b"precious",
    "a table": b"x,y\n1,2\n",
    "an array": b"\x93NUMPY\x01\x00v\x00{'descr': '<f8'}\n" + bytes(range(256)),
    "records of others": b'{"epoch": 1, "loss": 0.5}\n',
    "half a record of others": b'{"epoch": 1, "loss"',
}


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_a_file_that_is_no_history_is_not_replaced(kind, content, tmp_path):
    path = tmp_path / "data"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"path must be a new file or that of a history, got .*data, which holds some"):
        getattr(trackers, kind)(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("kind", READERS)
def test_a_file_that_is_empty_or_of_a_former_run_is_replaced(kind, training, runs, tmp_path):
    path = tmp_path / "run"
    path.touch()
    for _ in range(2):
        runs(getattr(trackers, kind)(path))
        assert list(READERS[kind](path)) == list(training.opt.history)


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("path", [None, 3, b"run", ["run"]], ids=str)
def test_a_path_that_is_none_is_refused(kind, path):
    with pytest.raises(TypeError, match="path must be a path, got"):
        getattr(trackers, kind)(path)


# -- the end of a run


class Closing:
    """A callback that notes when it is closed, and raises something then."""

    def __init__(self, error=None):
        self.error, self.closed = error, []

    def __call__(self, opt, record):
        pass

    def close(self, opt):
        self.closed.append((opt.stopped, opt.best_monitors["loss"]))
        if self.error is not None:
            raise self.error


def test_a_callback_is_closed_once_with_the_best_restored(training):
    at_end = []
    closing = Closing()
    closing.close = lambda opt: at_end.append((opt.stopped, opt.evaluate(training.data["valid"])["loss"]))
    training.run(callbacks=[closing, lambda *_: None], max_epochs=3)
    assert at_end == [("max_epochs", pytest.approx(training.opt.best_monitors["loss"], rel=1e-12))]


def test_a_callback_is_closed_at_an_exception_and_at_a_break(training):
    for closing in (Closing(), Closing(ValueError("too late"))):
        training.fresh()
        with pytest.raises(Crash):
            training.run(callbacks=[closing, crash_after(2)])
        for _ in training.opt.iterate(**training.data, rng=5, callbacks=[closing]):
            break
        assert [why.split(":")[0] for why, _ in closing.closed] == ["exception", "closed"]


def test_a_callback_is_closed_at_a_signal(training):
    closing = Closing()
    training.run(callbacks=[closing, interrupt])
    assert [why for why, _ in closing.closed] == ["signal SIGINT"]


def test_what_closing_raises_after_a_break_is_logged(training, caplog):
    training.fresh()
    for _ in training.opt.iterate(**training.data, callbacks=[Closing(ValueError("too late"))]):
        break
    [told] = warnings_of(caplog)
    assert told.startswith("closing the callback <")
    assert told.endswith("raised ValueError: too late")


def test_the_first_exception_of_closing_is_raised_after_all_are_closed(training, caplog):
    closing = [Closing(ValueError("first")), Closing(KeyError("second")), Closing()]
    with pytest.raises(ValueError, match="first"):
        training.run(callbacks=closing, max_epochs=1)
    assert [len(c.closed) for c in closing] == [1, 1, 1]
    [told] = warnings_of(caplog)
    assert "KeyError: 'second'" in told
    assert training.opt.stopped == "max_epochs"


def test_a_run_that_never_begins_opens_nothing(training, tmp_path):
    training.fresh()
    run = training.opt.iterate(**training.data, callbacks=[trackers.CSV(tmp_path / "run.csv")])
    run.close()
    assert not list(tmp_path.iterdir())


# -- what all trackers do


class Failing(Tracker):
    """Fails in one of its methods."""

    def __init__(self, where):
        self.where, self.calls = where, []

    def begin(self, opt, record):
        self._do("begin")

    def write(self, opt, record):
        self._do("write")

    def end(self, opt):
        self._do("end")

    def _do(self, what):
        self.calls.append(what)
        if what == self.where:
            raise RuntimeError("the store\nis gone")


@pytest.mark.parametrize(
    ("where", "calls"),
    [("begin", ["begin"]), ("write", ["begin", "write", "end"]), ("end", ["begin", *["write"] * 4, "end"])],
)
def test_a_store_that_fails_is_told_of_once_a_run(where, calls, runs, caplog):
    tracker = Failing(where)
    runs(tracker)
    assert tracker.calls == calls
    [told] = warnings_of(caplog)
    assert told.startswith(f"trackers.Failing cannot {'close' if where == 'end' else 'write'} its store; ")
    runs(tracker)
    assert tracker.calls == calls * 2
    assert len(warnings_of(caplog)) == 2


def test_a_keyboard_interrupt_is_not_swallowed():
    class Interrupted(Tracker):
        def write(self, opt, record):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Interrupted()(None, fake_record())


def test_an_error_is_not_hidden_by_what_undoing_raises():
    def undo():
        raise OSError("the store is gone")

    with pytest.raises(ValueError, match="the first"), undone(undo):
        raise ValueError("the first")


def test_a_tracker_without_write_is_none():
    with pytest.raises(TypeError, match="abstract method"):
        type("Half", (Tracker,), {})()


@pytest.mark.parametrize(
    ("monitor", "name"),
    [
        ("loss", "train/loss"),
        ("grad(W)", "train/grad.W"),
        ("grad(layer 1[0])", "train/grad.layer_1_0_"),
        ("top/5", "train/top/5"),
        ("/a//b/", "train/a/b"),
        ("..", "train/__"),
        ("50 %", "train/50__"),
        ("λ-2.5", "train/λ-2.5"),
    ],
)
def test_names_are_such_that_stores_accept_them(monitor, name):
    assert list(MonitorSeries().values(fake_record(train={monitor: 1.0}))) == [name, "epoch", "rows_per_second"]


def test_the_settings_of_a_run_are_those_that_were_chosen():
    w, b = (pytensor.shared(np.ones(2), name=n) for n in "wb")
    groups = [{"params": w, "algo": "rmsprop", "centered": False}, {"nesterov": True}]
    opt = downhill2.build("sgd", (w**2 + b**2).sum(), groups=groups, accumulate=2)
    found = configuration(opt, fake_record(hyper={"learning_rate": 0.5}))
    chosen = {"accumulate": 2, "group0.centered": False, "group1.nesterov": True}
    versions = {n: found.pop(n) for n in ("downhill2_version", "pytensor_version", "numpy_version", "python_version")}
    assert versions["numpy_version"] == np.__version__
    assert versions["pytensor_version"] == pytensor.__version__
    assert found == {"algorithm": "SGD", "parameters": 4, "learning_rate": 0.5, **chosen}


@pytest.mark.parametrize("how", ["arrays", "Dataset", "seed drawn", "RandomState", "no data"])
def test_the_settings_of_a_run_have_its_limits_its_batches_and_its_seed(how):
    x, w = pt.vector("x"), pytensor.shared(1.0, name="w")
    data, rng = [np.ones(10)], {"seed drawn": None, "RandomState": np.random.RandomState(3)}.get(how, 3)
    train = downhill2.Dataset(data, batch_size=4, rng=3) if how == "Dataset" else data
    loss = w**2 if how == "no data" else ((x - w) ** 2).mean()
    opt, found = downhill2.build("sgd", loss), {}
    note = [lambda opt, record: found.update(configuration(opt, record))]
    limits = {"max_epochs": 2, "patience": 7, "target": 0.25, "on_nonfinite": "skip"}
    opt.minimize(None if how == "no data" else train, batch_size=4, rng=rng, callbacks=note, **limits)
    assert (limits | {"validate_every": 10, "restore_best": True}).items() <= found.items()
    assert found.get("batch_size") == (None if how == "no data" else 4)
    assert found.get("rows") == (None if how == "no data" else 10)
    seed = found.get("seed")
    assert seed == 3 if how in ("arrays", "Dataset") else isinstance(seed, int) == (how == "seed drawn")
    json.dumps(found)


def test_no_two_monitors_get_one_name():
    series, record = MonitorSeries(), fake_record(train={"a+b": 1.0, "a*b": 2.0, "a_b": 3.0})
    expected = {"train/a_b": 1.0, "train/a_b_2": 2.0, "train/a_b_3": 3.0, "epoch": 1.0, "rows_per_second": 0.0}
    assert series.values(record) == series.values(record) == expected


def test_a_validation_counts_once_and_a_hyperparameter_from_when_it_moves():
    series = MonitorSeries()
    common = {"valid": {"loss": 2.0}}
    shown = [
        series.values(fake_record(**common, validated=validated, hyper={"rate": rate, "beta": 0.9}))
        for validated, rate in [(True, 0.1), (False, 0.1), (False, 0.05), (True, 0.05)]
    ]
    values = [{n: v for n, v in s.items() if n.partition("/")[1]} for s in shown]
    assert values == [{"valid/loss": 2.0}, {}, {"hyper/rate": 0.05}, {"valid/loss": 2.0, "hyper/rate": 0.05}]


@pytest.mark.parametrize("kind", EXTRAS)
def test_a_missing_package_is_named_at_once(kind, monkeypatch):
    package, extra = EXTRAS[kind]
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"pip install 'downhill2\[{extra}\]'"):
        getattr(trackers, kind)("anything")


def test_trackers_import_none_of_the_packages():
    program = "import sys, downhill2; downhill2.trackers.CSV; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "downhill2.reporting.trackers" in loaded
    assert not loaded & {package for package, _ in EXTRAS.values()}


@pytest.mark.extras
@pytest.mark.parametrize("kind", ["TensorBoard", "MLflow", "WandB"])
@pytest.mark.parametrize("config", [3, [("a", 1)], {1: 2}], ids=str)
def test_a_config_that_is_no_mapping_is_refused(kind, config, tmp_path):
    with pytest.raises(TypeError, match="config must be a mapping with names, got"):
        getattr(trackers, kind)(str(tmp_path), config=config)


CONFIG = {"data": "made up", "depth": 1, "seeds": [1, 2]}


def expected_points(history, column):
    """Return the points of a curve as the history has them."""
    values = zip(history["updates"].tolist(), history[column].tolist(), history["validated"].tolist(), strict=True)
    return [(u, v) for u, v, validated in values if not math.isnan(v) and (validated or not column.startswith("valid"))]


# -- TensorBoard


def events(directory):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(directory), size_guidance={"scalars": 0})
    found.Reload()
    return found


def curve_names(directory):
    return events(directory).Tags()["scalars"]


def curve(directory, tag):
    return [(event.step, event.value) for event in events(directory).Scalars(tag)]


def single(points):
    """Return points in single precision, which is all that TensorBoard keeps."""
    return [(step, float(np.float32(value))) for step, value in points]


@pytest.mark.extras
def test_tensorboard_shows_curves_and_settings(training, runs, tmp_path):
    runs(trackers.TensorBoard(tmp_path, config=CONFIG))
    history, found = training.opt.history, events(tmp_path)
    assert curve(tmp_path, "train/loss") == single(expected_points(history, "train.loss"))
    assert curve(tmp_path, "valid/loss") == single(expected_points(history, "valid.loss"))
    assert curve(tmp_path, "train/grad.W") == single(expected_points(history, "train.grad(W)"))
    assert curve(tmp_path, "best/loss") == single([(18, training.opt.best_monitors["loss"])])
    [stopped] = found.Tensors("stopped/text_summary")
    assert stopped.tensor_proto.string_val == [b"max_epochs"]
    plugin = pytest.importorskip("tensorboard.plugins.hparams.metadata")
    content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    hparams = plugin.parse_session_start_info_plugin_data(content).hparams
    assert hparams["algorithm"].string_value == "Adam"
    assert hparams["learning_rate"].number_value == 0.01
    assert hparams["parameters"].number_value == 18
    assert hparams["data"].string_value == "made up"
    assert hparams["seeds"].string_value == "[1, 2]"


@pytest.mark.extras
def test_tensorboard_shows_a_resumed_run_as_one_without_a_break(training, tmp_path):
    training.fresh()
    interrupt_and_resume(training, tmp_path, lambda: trackers.TensorBoard(tmp_path / "board"), anew=False)
    for column, tag in [("train.loss", "train/loss"), ("valid.loss", "valid/loss")]:
        assert curve(tmp_path / "board", tag) == single(expected_points(training.opt.history, column))


@pytest.mark.extras
def test_tensorboard_hides_nothing_of_an_earlier_run(training, runs, tmp_path):
    tracker = trackers.TensorBoard(tmp_path)
    runs(tracker, validate_every=None)
    runs(tracker, anew=False, validate_every=None)
    assert [step for step, _ in curve(tmp_path, "train/loss")] == [6, 12, 18] * 2


@pytest.mark.extras
def test_tensorboard_cannot_write(runs, tmp_path, caplog):
    (tmp_path / "here").touch()
    runs(trackers.TensorBoard(tmp_path / "here" / "board"))
    [told] = warnings_of(caplog)
    assert told.startswith("trackers.TensorBoard cannot write its store; the run goes on, the rest of it is not")


@pytest.fixture(params=["begin", "end"])
def halfway(request, monkeypatch):
    """Have stores fail after they were opened: at the first record of a run, or when it is over."""

    def failing(*args):
        raise OSError("the disk is full")

    of = {"begin": (stores, "configuration"), "end": (MonitorSeries, "best")}
    monkeypatch.setattr(*of[request.param], failing)
    return request.param


def told_of(caplog):
    """Whether the log has a tracker's one warning of what failed."""
    [told] = [m for m in warnings_of(caplog) if m.startswith("trackers")]
    return told.endswith("; OSError: the disk is full")


@pytest.mark.extras
def test_tensorboard_is_closed_where_it_fails(halfway, runs, tmp_path, caplog):
    runs(trackers.TensorBoard(tmp_path))
    assert told_of(caplog)
    assert "_EventLoggerThread" not in {type(thread).__name__ for thread in threading.enumerate()}
    assert bool(curve_names(tmp_path)) == (halfway == "end")


@pytest.mark.extras
def test_a_logdir_that_is_no_path_is_refused():
    with pytest.raises(TypeError, match="logdir must be a path, got 3"):
        trackers.TensorBoard(3)


# -- MLflow


def of_mlflow(test):
    # MLflow makes its tables in a way that SQLAlchemy no longer likes
    return pytest.mark.extras(pytest.mark.filterwarnings("ignore::DeprecationWarning")(test))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Return the address of a store in a file: making one takes seconds."""
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def client(store):
    return pytest.importorskip("mlflow").MlflowClient(store)


def metrics(client, run_id, name):
    return [(point.step, point.value) for point in client.get_metric_history(run_id, name)]


@of_mlflow
def test_mlflow_has_metrics_and_parameters(training, runs, store, client):
    tracker = trackers.MLflow("digits", store, run_name="first", config=CONFIG)
    runs(tracker, learning_rate=schedules.Cosine(0.1, 20))
    runs(fresh_rate := trackers.MLflow("digits", store))
    run, history = client.get_run(tracker.run_id), training.opt.history
    assert client.get_experiment(run.info.experiment_id).name == "digits"
    assert (run.info.run_name, run.info.status, run.data.tags["stopped"]) == ("first", "FINISHED", "max_epochs")
    assert {**CONFIG, "algorithm": "Adam", "seeds": "[1, 2]"}.items() <= {**run.data.params, "depth": 1}.items()
    assert run.data.params["learning_rate"] == "0.1"
    assert run.data.params["parameters"] == "18"
    assert [step for step, _ in metrics(client, tracker.run_id, "hyper/learning_rate")] == [6, 12, 18]
    other = fresh_rate.run_id
    assert client.get_run(other).info.experiment_id == run.info.experiment_id
    for column, name in [("train.loss", "train/loss"), ("valid.grad(W)", "valid/grad.W"), ("epoch", "epoch")]:
        assert metrics(client, other, name) == expected_points(history, column)
    assert metrics(client, other, "best/loss") == [(18, training.opt.best_monitors["loss"])]


@of_mlflow
def test_mlflow_goes_on_with_a_run_without_doubling_points(training, tmp_path, store, client):
    made = []

    def make():
        made.append(trackers.MLflow("resumed", store, run_id=made[0].run_id if made else None))
        return made[-1]

    training.fresh()
    interrupt_and_resume(training, tmp_path, make, anew=False)
    assert made[1].run_id == made[0].run_id
    assert metrics(client, made[0].run_id, "train/loss") == expected_points(training.opt.history, "train.loss")
    assert client.get_run(made[0].run_id).info.status == "FINISHED"


@of_mlflow
@pytest.mark.parametrize(
    ("end", "status", "stopped"), [(crash_after(2), "FAILED", "exception"), (interrupt, "KILLED", "signal")]
)
def test_mlflow_is_told_how_a_run_was_cut_short(end, status, stopped, training, store, client):
    tracker = trackers.MLflow("failed", store)
    with contextlib.suppress(Crash):
        training.run(callbacks=[tracker, end])
    run = client.get_run(tracker.run_id)
    assert (run.info.status, run.data.tags["stopped"].partition(" ")[0].strip(":")) == (status, stopped)
    assert [step for step, _ in metrics(client, tracker.run_id, "train/loss")] == [6, 12]


@of_mlflow
def test_mlflow_takes_the_run_that_is_open(training, runs, store, client):
    mlflow = pytest.importorskip("mlflow")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(store)
    try:
        mlflow.set_experiment("open")
        with mlflow.start_run() as run:
            runs(trackers.MLflow())
            assert client.get_run(run.info.run_id).info.status == "RUNNING"
    finally:
        mlflow.set_tracking_uri(before)
    assert metrics(client, run.info.run_id, "train/loss") == expected_points(training.opt.history, "train.loss")


@of_mlflow
def test_mlflow_gets_more_than_it_takes_at_once_in_parts(training, store, client):
    many = {f"p{i}": i for i in range(150)}
    tracker = trackers.MLflow("many", store, config=many, flush_seconds=1e9)
    training.run(callbacks=[tracker], max_epochs=110, validate_every=None)
    assert len(client.get_run(tracker.run_id).data.params) > 150
    assert len(metrics(client, tracker.run_id, "train/grad.v")) == 110


@of_mlflow
@pytest.mark.parametrize(("seconds", "sent"), [(0, [0, 1, 2, 3]), (1e9, [0, 0, 0, 0])])
def test_mlflow_is_sent_metrics_now_and_then(seconds, sent, training, store, client):
    seen = []

    def look(opt, record):
        seen.append(len(metrics(client, tracker.run_id, "train/loss")))

    tracker = trackers.MLflow("flushed", store, flush_seconds=seconds)
    training.run(callbacks=[tracker, look], max_epochs=3)
    assert seen == sent


@of_mlflow
def test_mlflow_cannot_write(runs, tmp_path, caplog):
    (tmp_path / "here").touch()
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    runs(trackers.MLflow(uri=f"file://{tmp_path}/here/runs"))
    [told] = [m for m in warnings_of(caplog) if m.startswith("trackers")]
    assert told.startswith("trackers.MLflow cannot write its store; the run goes on")


@of_mlflow
@pytest.mark.parametrize("again", [False, True], ids=["new", "gone on with"])
def test_mlflow_leaves_no_run_that_seems_to_run_where_it_fails(again, halfway, runs, store, client, caplog):
    experiment = client.get_experiment_by_name("digits")
    given = client.create_run(experiment.experiment_id if experiment else "0").info.run_id if again else None
    tracker = trackers.MLflow("halfway", store, run_id=given)
    runs(tracker)
    assert told_of(caplog)
    assert client.get_run(tracker.run_id).info.status == ("FAILED" if halfway == "begin" else "FINISHED")


@of_mlflow
def test_mlflow_leaves_the_run_that_is_open_to_its_owner_where_it_fails(halfway, runs, store, client):
    mlflow = pytest.importorskip("mlflow")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(store)
    try:
        with mlflow.start_run() as run:
            runs(trackers.MLflow())
            assert client.get_run(run.info.run_id).info.status == "RUNNING"
    finally:
        mlflow.set_tracking_uri(before)


# -- Weights & Biases


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """Keep wandb from the network, the home directory and the terminal."""
    pytest.importorskip("wandb")
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    for name in ("WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def messages(path):
    """Yield what a file of wandb holds: a log in the form of LevelDB, in blocks of 32 kB, behind seven bytes."""
    pb = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    data, at, whole = pathlib.Path(path).read_bytes(), 7, b""
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole message, or the last part of one
            yield pb.Record.FromString(whole)
            whole = b""


def read_wandb(directory):
    """Return the rows, config, summary and exit code of the one run of a directory."""
    pytest.importorskip("wandb").teardown()  # what writes the file is another process, which ends with this
    [path] = pathlib.Path(directory).glob("wandb/offline-run-*/*.wandb")
    rows, config, summary, code = [], {}, {}, None
    for message in messages(path):
        kind = message.WhichOneof("record_type")
        if kind == "history":
            items = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in message.history.item}
            rows.append({"_step": message.history.step.num, **items})
        elif kind in ("config", "run"):
            update = message.config.update if kind == "config" else message.run.config.update
            config |= {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in update}
        elif kind == "summary":
            summary |= {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in message.summary.update}
        elif kind == "exit":
            code = message.exit.exit_code
    return rows, config, summary, code


@pytest.mark.extras
def test_wandb_keeps_a_run_in_files(training, runs, offline):
    runs(trackers.WandB("digits", name="first", dir=offline, config=CONFIG, tags=["a"]))
    rows, config, summary, code = read_wandb(offline)
    history = training.opt.history
    for column, name in [("train.loss", "train/loss"), ("valid.loss", "valid/loss"), ("train.grad(W)", "train/grad.W")]:
        assert [(r["_step"], r[name]) for r in rows if name in r] == expected_points(history, column)
    assert {**CONFIG, "algorithm": "Adam", "learning_rate": 0.01, "parameters": 18}.items() <= config.items()
    assert summary["best/loss"] == training.opt.best_monitors["loss"]
    assert summary["stopped"] == "max_epochs"
    assert code == 0


@pytest.mark.extras
def test_wandb_is_told_that_a_run_failed(training, offline):
    with pytest.raises(Crash):
        training.run(callbacks=[trackers.WandB(dir=offline), crash_after(2)])
    rows, _, summary, code = read_wandb(offline)
    assert (rows[-1]["epoch"], summary["stopped"].split(":")[0], code) == (2, "exception", 1)


@pytest.mark.extras
def test_wandb_takes_the_run_that_is_open(training, runs, offline):
    import wandb

    with wandb.init(project="mine", dir=offline) as run:
        runs(trackers.WandB())
        assert wandb.run is run
        run.log({"after": 1.0})
    rows, *_ = read_wandb(offline)
    assert rows[-1]["after"] == 1.0
    assert [r["train/loss"] for r in rows if "train/loss" in r] == training.opt.history["train.loss"].tolist()[1:]


@pytest.mark.extras
def test_wandb_goes_on_with_a_run_without_doubling_points(training, offline, monkeypatch):
    # what the server would tell of a run that has points up to update 12; there is none here
    monkeypatch.setattr("wandb.Run.starting_step", property(lambda run: 13))
    training.run(callbacks=[trackers.WandB(dir=offline, id="abc")], max_epochs=3)
    rows, *_ = read_wandb(offline)
    assert [r["_step"] for r in rows if "train/loss" in r] == [18]


@pytest.mark.extras
@pytest.mark.parametrize(
    ("given", "environment", "logged_in", "mode"),
    [
        ("online", None, False, "online"),
        ("disabled", "online", True, "disabled"),
        (None, "offline", True, None),
        (None, None, True, "online"),
        (None, None, False, "offline"),
    ],
)
def test_wandb_works_without_an_account(given, environment, logged_in, mode, offline, monkeypatch):
    monkeypatch.delenv("WANDB_MODE")
    if environment is not None:
        monkeypatch.setenv("WANDB_MODE", environment)
    monkeypatch.setattr("wandb.login", lambda **given: logged_in)
    assert trackers.WandB(mode=given)._chosen_mode() == mode


@pytest.mark.extras
def test_wandb_cannot_begin(runs, offline, caplog):
    runs(trackers.WandB("a/b:c", dir=offline))  # no name for a project
    [told] = warnings_of(caplog)
    assert told.startswith("trackers.WandB cannot write its store; the run goes on")


@pytest.mark.extras
def test_wandb_is_told_that_its_run_is_over_where_it_fails(halfway, runs, offline, caplog):
    import wandb

    runs(trackers.WandB(dir=offline))
    assert told_of(caplog)
    assert wandb.run is None
    *_, code = read_wandb(offline)
    assert code == int(halfway == "begin")


@pytest.mark.extras
def test_a_mode_that_wandb_does_not_have_is_refused():
    with pytest.raises(ValueError, match="mode must be 'online', 'offline' or 'disabled', got 'on'"):
        trackers.WandB(mode="on")


# -- Optuna


@pytest.fixture
def optuna():
    module = pytest.importorskip("optuna")
    module.logging.set_verbosity(module.logging.ERROR)
    return module


@pytest.fixture
def quadratic():
    """Return an optimizer whose loss falls by a rate that it is given."""
    w = pytensor.shared(np.ones(2), name="w")
    return downhill2.build("sgd", (w**2).sum(), monitors={"size": abs(w).max()})


def journal(optuna, path):
    storages = optuna.storages
    return storages.JournalStorage(storages.journal.JournalFileBackend(str(path)))


def objective_of(opt, rates, ends, **settings):
    """Return an objective that notes how each of its runs ended, and with which loss."""

    def objective(trial):
        trial.suggest_float("rate", 0, 1)
        opt.reset()
        opt.set_params([np.ones(2)])
        run = {"learning_rate": rates[trial.number], "validate_every": 1, "max_epochs": 6, **settings}
        try:
            opt.minimize(callbacks=[trackers.Optuna(trial)], **run)
        finally:
            ends.append((opt.stopped, opt.evaluate(None)["loss"], opt.best_monitors["loss"]))
        return opt.best_monitors["loss"]

    return objective


@pytest.mark.extras
def test_a_trial_that_promises_nothing_is_pruned(optuna, quadratic, tmp_path):
    pruner, ends = optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=2), []
    study = optuna.create_study(storage=journal(optuna, tmp_path / "journal"), pruner=pruner, study_name="s")
    study.optimize(objective_of(quadratic, [0.1, 0.1, 0.001, 0.2], ends), n_trials=4)
    found = optuna.load_study(study_name="s", storage=journal(optuna, tmp_path / "journal")).trials
    assert [t.state.name for t in found] == ["COMPLETE", "COMPLETE", "PRUNED", "COMPLETE"]
    assert list(found[0].intermediate_values) == [1, 2, 3, 4, 5, 6]
    assert found[0].intermediate_values[3] == pytest.approx(2 * 0.8**6)
    assert list(found[2].intermediate_values) == [1, 2]
    assert [why for why, *_ in ends] == ["max_epochs", "max_epochs", "callback: pruned at epoch 2", "max_epochs"]
    assert all(now == best for _, now, best in ends)  # the best is put back before the trial is pruned


@pytest.mark.extras
def test_a_pruned_loop_over_iterate_raises_at_its_end(optuna, quadratic):
    trial = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(upper=0.5)).ask()
    epochs = []
    run = quadratic.iterate(learning_rate=0.01, validate_every=1, callbacks=[trackers.Optuna(trial)])
    with pytest.raises(optuna.TrialPruned, match=r"the trial was pruned at epoch 1 by its 'valid.loss'"):
        epochs.extend(run)
    assert len(epochs) == 1


@pytest.mark.extras
def test_a_pruned_run_that_its_caller_leaves_is_only_told_of(optuna, quadratic, caplog):
    trial = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(upper=0.5)).ask()
    for _ in quadratic.iterate(learning_rate=0.01, validate_every=1, callbacks=[trackers.Optuna(trial)]):
        break
    assert "TrialPruned" in warnings_of(caplog)[0]


@pytest.mark.extras
def test_a_monitor_of_training_is_reported_each_epoch_and_once(optuna, quadratic):
    study = optuna.create_study()
    trial = study.ask()
    for rate in (0.1, 0.2):  # the second run of a trial reports nothing that the first one has
        quadratic.minimize(
            learning_rate=rate, max_epochs=3, callbacks=[trackers.Optuna(trial, "train.size")], validate_every=None
        )
    values = study.trials[0].intermediate_values
    assert {n: round(v, 6) for n, v in values.items()} == {1: 1.0, 2: 0.8, 3: 0.64}


@pytest.mark.extras
def test_a_trial_with_fixed_parameters_is_never_pruned(optuna, quadratic):
    trial = optuna.trial.FixedTrial({"rate": 0.1})
    quadratic.minimize(learning_rate=0.1, max_epochs=3, validate_every=1, callbacks=[trackers.Optuna(trial)])
    assert quadratic.stopped == "max_epochs"


@pytest.mark.extras
def test_a_study_that_cannot_be_written_costs_one_warning(optuna, quadratic, caplog, monkeypatch):
    trial = optuna.create_study().ask()
    monkeypatch.setattr(type(trial), "report", lambda *_: (_ for _ in ()).throw(OSError("gone")))
    quadratic.minimize(learning_rate=0.1, max_epochs=3, validate_every=1, callbacks=[trackers.Optuna(trial)])
    assert len(warnings_of(caplog)) == 1
    assert quadratic.stopped == "max_epochs"


@pytest.mark.extras
def test_a_monitor_that_is_not_there_ends_the_run_at_once(optuna, quadratic):
    tracker = trackers.Optuna(optuna.create_study().ask(), "valid.lss")
    with pytest.raises(ValueError, match=r"monitor must be one of 'valid.loss', 'valid.size', got 'valid.lss'"):
        quadratic.minimize(max_epochs=3, callbacks=[tracker])


@pytest.mark.extras
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3,), TypeError, "trial must be a trial of Optuna, got 3"),
        ((None, 3), TypeError, "monitor must be a str, got 3"),
        ((None, "loss"), ValueError, r"monitor must be 'valid.<name>' or 'train.<name>', got 'loss'"),
        ((None, "valid."), ValueError, r"monitor must be 'valid.<name>' or 'train.<name>', got 'valid.'"),
        ((None, "hyper.momentum"), ValueError, "monitor must be 'valid"),
    ],
)
def test_arguments_that_optuna_cannot_serve_are_refused(arguments, error, message, optuna):
    given = [optuna.create_study().ask() if a is None else a for a in arguments]
    with pytest.raises(error, match=message):
        trackers.Optuna(*given)


@pytest.mark.extras
def test_a_study_with_two_objectives_is_refused(optuna):
    trial = optuna.create_study(directions=["minimize", "maximize"]).ask()
    with pytest.raises(ValueError, match="trial must be of a study with one objective, got 2"):
        trackers.Optuna(trial)
