"""What is saved and loaded, and what is refused: with clear errors, and nothing changed."""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from training import Crash, Training, after, contents, plain, records, rows

import downhill2
from downhill2 import CheckpointError, Dataset
from downhill2.keeping import checkpoint, lock
from downhill2.keeping.checkpoint import Directory, read, write
from downhill2.keeping.history import History
from downhill2.keeping.history_file import HistoryFile


@functools.cache
def training(algo="adam", **kwargs):
    return Training(algo, **kwargs)


@pytest.fixture
def saved(tmp_path):
    """A directory with a run of adam that was stopped after eight updates."""
    directory = tmp_path / "run"
    training(noise=True).run(checkpoint=directory, max_updates=8)
    return directory


def everything(train):
    """Return all that a refused call must leave as it was."""
    opt = train.opt
    values = {p.name: p.get_value() for p in opt.params} | opt.state | {v.name: v.get_value() for v in train.loose}
    return {n: plain(v) for n, v in values.items()}, dict(opt.hyper), opt.context.clock.get_value().item()


def untouched(train):
    """Return all that a refused run must leave as it was: besides, what the run before has left."""
    opt = train.opt
    best = [plain(v) for v in opt.fit.best.values]
    return everything(train), best, opt.best_monitors, records(opt.history), opt.stopped, opt.limits


# -- what is refused


OTHERS = {
    "an algorithm": ({"algo": "sgd"}, {}, "the checkpoint is of adam, got sgd"),
    "settings": ({"decay": "decoupled"}, {}, "the checkpoint is of other settings of decay"),
    "a model with other variables": (
        {"counter": True},
        {},
        "the checkpoint is of another model: missing: 'updates.count'",
    ),
    "a model without generators": (
        {"noise": False},
        {},
        r"the checkpoint has the generators \['updates.generator'\], got \[\]",
    ),
    "a dtype": ({"dtype": "float32"}, {}, "'params.W' must have dtype float32, got float64"),
    "a batch size": ({}, {"batch_size": 5}, "other training data: .*rows a batch 4, got 5; resume='params'"),
    "a length": ({}, {"train": rows(24, 2)}, "other training data: rows 23, got 24; resume='params'"),
    "an order": ({}, {"shuffle": "batches"}, "other training data: state must be of the same data"),
    "epochs": ({}, {"train_batches": 3}, "other training data: batches an epoch 6, got 3"),
}


@pytest.mark.parametrize(("kwargs", "given", "message"), OTHERS.values(), ids=OTHERS)
def test_a_checkpoint_of_something_else_is_refused(kwargs, given, message, saved, monkeypatch):
    monkeypatch.chdir(saved.parent)
    train = training(**{"noise": True, **kwargs})
    train.run(max_updates=8, learning_rate=0.02)
    (saved / ".update-000000012.safetensors.abcdef12.tmp").write_bytes(b"of a run that may be on")
    before, files = untouched(train), contents(saved)
    changed = {"learning_rate": 0.5, "momentum": 0.9, "patience": 3}
    with pytest.raises(CheckpointError, match=message):
        train.run(anew=False, checkpoint=saved, resume=True, **given, **changed)
    assert untouched(train) == before
    assert contents(saved) == files


def test_a_history_that_is_a_folder_is_refused(saved):
    train, path = training(noise=True), saved / "history.jsonl"
    train.run(max_updates=8)
    path.unlink()
    path.mkdir()
    generator = np.random.default_rng(9)
    before, files, drawn = untouched(train), contents(saved), str(generator.bit_generator.state)
    with pytest.raises(
        ValueError, match=f"history must be a file, got the directory {path}; name {path}/run.jsonl, say"
    ):
        train.run(anew=False, checkpoint=saved, resume=True, rng=generator)
    assert untouched(train) == before
    assert contents(saved) == files
    assert str(generator.bit_generator.state) == drawn


HARMS = {
    # what becomes of the lines of a history, two before the checkpoint and one after it; which of the two can be read;
    # and whether the file is kept aside
    "it is gone": (lambda lines: None, [], False),
    "it is empty": (lambda lines: [], [], False),
    "it is shorter": (lambda lines: lines[:1], [0], False),
    "it is torn": (lambda lines: [lines[0], lines[1][:20]], [0], False),
    "its first line": (lambda lines: [lines[0].replace(b'"epoch"', b"       "), *lines[1:]], [1], True),
    "its second line": (lambda lines: [lines[0], b"\0" * len(lines[1][1:]) + b"\n", lines[2]], [0], True),
    "the end of a line": (lambda lines: [lines[0].replace(b"\n", b" "), *lines[1:]], [], True),
    "all of it": (lambda lines: [b"\0" * sum(map(len, lines))], [], False),
    "it is somebody's": (lambda lines: [b"precious\n"], [], True),
}


@pytest.mark.parametrize(("harm", "left", "aside"), HARMS.values(), ids=HARMS)
def test_a_run_goes_on_from_a_whole_checkpoint_whatever_became_of_its_history(harm, left, aside, saved, caplog):
    train, path, whole = training(noise=True), saved / "history.jsonl", training(noise=True).run()
    before = harm(path.read_bytes().splitlines(keepends=True))
    path.unlink()
    if before is not None:
        path.write_bytes(b"".join(before))
    resumed = train.run(checkpoint=saved, resume=True)
    history = [*(whole["history"][i] for i in left), *whole["history"][2:]]
    assert resumed == {**whole, "history": history}
    assert records(History.from_json_lines(path)) == history
    [told] = caplog.messages
    assert f"{path} does not hold all records up to the checkpoint" in told
    assert (f"the file as it was is now {saved / 'history-1.jsonl'}" in told) == aside
    if aside:
        assert (saved / "history-1.jsonl").read_bytes() == b"".join(before)
    assert train.run(checkpoint=saved, resume=True) == resumed
    assert caplog.messages == [told]  # what was mended is whole


@pytest.mark.parametrize("harm", ["a model's file", "another version's file"])
def test_a_checkpoint_that_says_nothing_of_a_run_is_refused(harm, saved):
    train, path = training(noise=True), saved / "update-000000009.safetensors"
    train.run(max_updates=8)
    if harm == "a model's file":
        message = r"the checkpoint is of no run; opt\.load sets an optimizer to it"
        train.opt.save(path)
    else:
        message = r"the checkpoint is of another version of downhill2: .*'mood'"
        tensors, meta = read(saved / "update-000000008.safetensors")
        write(path, tensors, {**meta, "progress": {**meta["progress"], "mood": "good"}})
    before, files = untouched(train), contents(saved)
    with pytest.raises(CheckpointError, match=message):
        train.run(anew=False, checkpoint=saved, resume=True)
    assert untouched(train) == before
    assert contents(saved) == files


def test_a_refused_run_leaves_no_state_that_it_made():
    first, second = Training("sgd", momentum=0.5), Training("sgd")
    first.run(max_updates=2)
    state = first.opt.state_dict()
    state["params.W"] = np.zeros(5)
    with pytest.raises(CheckpointError, match=r"'params\.W' must have shape"):
        second.opt.load_state_dict(state)
    assert second.opt.state == {}


def test_files_that_killed_writers_left_go_when_the_run_goes_on(saved):
    left = [saved / ".update-000000012.safetensors.abcdef12.tmp", saved / ".result.safetensors.01234567.tmp"]
    other = saved / ".notes.tmp"
    for path in (*left, other):
        path.write_bytes(b"half")
    training(noise=True).run(checkpoint=saved, resume=True, max_updates=8)
    assert not any(path.exists() for path in left)
    assert other.exists()


@pytest.mark.parametrize("given", [{"batch_size": 5}, {"train": rows(24, 2)}, {"shuffle": False}])
def test_the_parameters_alone_may_meet_other_data(given, saved):
    train = training(noise=True)
    tensors, _ = read(saved / "update-000000008.safetensors")
    train.run(checkpoint=saved, resume="params", max_updates=0, **given)
    assert all((p.get_value() == tensors[f"params.{p.name}"]).all() for p in train.opt.params)
    assert train.opt.context.clock.get_value() == 0
    assert not any(value.any() for value in train.opt.state.values())


def test_the_parameters_must_be_those_of_the_model(saved):
    train = training(dtype="float32")
    train.run(max_updates=2)
    values, files = everything(train), contents(saved)
    with pytest.raises(CheckpointError, match=r"another model: 'params.W' must have dtype float32, got float64"):
        train.run(anew=False, checkpoint=saved, resume="params")
    assert everything(train) == values
    assert contents(saved) == files


def test_a_run_that_is_there_is_not_overwritten(saved):
    train, files = training(noise=True), contents(saved)
    with pytest.raises(ValueError, match=r"must name a directory without a run, got .*; resume='auto' goes on with it"):
        train.run(checkpoint=saved)
    assert contents(saved) == files


@pytest.mark.parametrize("resume", [True, "params"])
def test_a_run_that_is_not_there_is_missed(resume, tmp_path):
    with pytest.raises(ValueError, match=r"must name a directory with a run to resume, got .*nothing"):
        training().run(checkpoint=tmp_path / "nothing", resume=resume)
    assert not (tmp_path / "nothing").exists()


def test_a_run_may_begin_where_there_is_none(tmp_path):
    train = training()
    assert train.run(checkpoint=tmp_path / "new" / "run", resume="auto") == train.run()


def test_a_run_without_a_readable_checkpoint_is_not_begun_anew(saved):
    for path in saved.glob("update-*"):
        path.write_bytes(b"no checkpoint")
    files = contents(saved)
    with pytest.raises(CheckpointError, match=r"none of the 2 checkpoints in .* can be read"):
        training(noise=True).run(checkpoint=saved, resume="auto")
    assert contents(saved) == files


SETTINGS = {
    "resume": ({"resume": "yes"}, ValueError, "resume must be False, True, 'auto' or 'params', got 'yes'"),
    "nowhere": ({"resume": True}, ValueError, "checkpoint must name a directory to resume from, got None"),
    "keep": ({"checkpoint": "x", "keep": 0}, ValueError, "keep must be at least 1, got 0"),
    "kept": ({"checkpoint": "x", "keep": 1.5}, TypeError, "keep must be an integer, got 1.5"),
    "negative": ({"checkpoint_every": -1}, ValueError, "checkpoint_every must be at least 1, got -1"),
    "zero": ({"checkpoint_every": "0 s"}, ValueError, "checkpoint_every must be positive, and at most"),
    "signed": ({"checkpoint_every": "-5 updates"}, ValueError, "checkpoint_every must be like '5 epochs'"),
    "unit": ({"checkpoint_every": "5 weeks"}, ValueError, "checkpoint_every must be like '5 epochs'"),
    "half": ({"checkpoint_every": "1.5 epochs"}, ValueError, "checkpoint_every must be a whole number of epochs"),
    "kind": ({"checkpoint_every": None}, TypeError, "checkpoint_every must be a number of epochs or a string"),
    "nothing to go back to": (
        {"on_nonfinite": "rollback", "validate_every": None},
        ValueError,
        "on_nonfinite='rollback' must have validations to go back to, got validate_every=None",
    ),
    "callbacks": ({"callbacks": [3]}, TypeError, "callbacks must be functions of an optimizer and a Record, got 3"),
    "one callback": ({"callbacks": print}, TypeError, "callbacks must be a sequence of functions, got .* in a list"),
    "progress": ({"progress": "bar"}, TypeError, "progress must be True or False, got 'bar'"),
}


@pytest.mark.parametrize(("given", "kind", "message"), SETTINGS.values(), ids=SETTINGS)
def test_wrong_settings_are_refused_before_anything_is_made(given, kind, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train = training()
    train.fresh()
    values = everything(train)
    with pytest.raises(kind, match=message):
        train.run(anew=False, **given)
    assert everything(train) == values
    assert not contents(tmp_path)


def test_a_directory_that_cannot_be_written_is_refused():
    with tempfile.TemporaryDirectory() as name:
        folder, user = Path(name), os.geteuid()
        folder.chmod(0o555)
        if user == 0:  # who may write anywhere
            os.seteuid(65534)
        try:
            with pytest.raises(CheckpointError, match=r"cannot keep checkpoints in .*: Permission denied"):
                training().run(checkpoint=folder)
        finally:
            os.seteuid(user)
            folder.chmod(0o755)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("missing/run.jsonl", "history must be in a directory that exists, got {0}; make {0.parent} first"),
        ("file/run.jsonl", "history must be in a directory that exists, got {0}; make {0.parent} first"),
        ("", "history must be a file, got the directory {0}; name {0}/run.jsonl, say"),
        ("pipe", "history must be a regular file, got {0}, which is none; name another"),
        ("/dev/null", "history must be a regular file, got {0}, which is none; name another"),
        ("x" * 300, "history must be a file that can be written, got {0}: File name too long; name another"),
    ],
)
def test_a_history_that_cannot_be_written_is_refused_before_anything_is_compiled(place, message, tmp_path):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    path, names = tmp_path / place, sorted(os.listdir(tmp_path))
    w = pytensor.shared(1.0, name="w")
    opt = downhill2.build("sgd", w**2, [w])
    with pytest.raises(ValueError, match=f"^{re.escape(message.format(path))}$"):
        opt.minimize(max_updates=1, history=path)
    assert (w.get_value(), opt.fit._functions, sorted(os.listdir(tmp_path))) == (1.0, {}, names)


def test_a_run_that_never_begins_leaves_nothing_open(tmp_path):
    train = training()
    train.fresh()
    run = train.opt.iterate(**train.data, rng=5, checkpoint=tmp_path)
    del run  # an unclosed file would warn, which is an error here


# -- two runs in one place


HOLDER = """
import pathlib, sys
from downhill2.keeping.lock import DirectoryLock
lock = DirectoryLock(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def process(script, *arguments):
    """Start a Python process; wait for a line of it, and kill it in the end."""
    command = [sys.executable, "-W", "ignore", "-c", script, *map(str, arguments)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    package = str(Path(downhill2.__file__).parents[1])
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": package}, **pipes) as started:
        try:
            assert started.stdout.readline()
            yield started
        finally:
            started.kill()


def test_a_directory_that_another_process_has_is_refused_until_that_ends(saved):
    train, whole = Training(noise=True), training(noise=True).run()
    with process(HOLDER, saved) as holder:
        files = contents(saved)
        who = rf"got .*, where process {holder.pid} on \S+ does since \d{{4}}-.*; wait for its end, or name another"
        with pytest.raises(ValueError, match=f"checkpoint must name a directory that no other run writes to, {who}"):
            train.run(checkpoint=saved, resume="auto")
        assert contents(saved) == files
        assert not train.opt.fit._functions  # before anything was compiled
    assert (saved / "downhill2.lock").exists()  # a killed process leaves its file, and no lock
    assert training(noise=True).run(checkpoint=saved, resume="auto") == whole
    assert not (saved / "downhill2.lock").exists()


def test_a_process_that_a_run_has_forked_does_not_keep_its_directory(saved):
    # the child says that it is there, so that no moment matters; it lives on, as nobody closes what it reads
    forking = HOLDER.replace("print", "import os\nif os.fork() == 0: print")
    with process(forking, saved) as holder:
        holder.kill()
        holder.wait()
        training(noise=True).run(checkpoint=saved, resume="auto", max_updates=9)


@pytest.mark.parametrize("other", ["another optimizer", "another iterator"])
def test_a_directory_has_one_run_at_a_time_in_a_process_too(other, saved):
    train = training(noise=True)
    train.fresh()
    given = {**train.data, "rng": 5, "batch_size": 4, "validate_every": 2, "checkpoint": saved, "resume": True}
    with contextlib.closing(train.opt.iterate(**given)) as first:
        next(first)
        second = training(noise=True, counter=False) if other == "another optimizer" else train
        kind, message = {
            "another optimizer": (
                ValueError,
                r"this process does since .*; end that run, by closing its iterator",
            ),
            "another iterator": (RuntimeError, "must make one run at a time"),
        }[other]
        with pytest.raises(kind, match=message):
            second.opt.iterate(**given)
        next(first)
    second.run(checkpoint=saved, resume=True)


def failing(opt, record):
    raise Crash


def crashed(run):
    with pytest.raises(Crash):
        next(run)


ENDINGS = {
    "by a limit": lambda run: list(run),
    "by a break": lambda run: next(run) and run.close(),
    "before it began": lambda run: None,
    "by an exception": crashed,
}


@pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS)
def test_a_run_gives_its_files_back_however_it_ends(end, tmp_path):
    train = training(noise=True)
    train.fresh()
    files = {"checkpoint": tmp_path / "run", "history": tmp_path / "log.jsonl"}
    callbacks = [failing] if end is ENDINGS["by an exception"] else []
    run = train.opt.iterate(**train.data, rng=5, batch_size=4, max_epochs=2, callbacks=callbacks, **files)
    end(run)
    del run
    assert not (tmp_path / "run" / "downhill2.lock").exists()
    train.run(**files, resume="auto")


@pytest.mark.parametrize("wrong", ["a function that does not compile", "a history of others", "a checkpoint of others"])
def test_a_run_that_is_refused_gives_its_directory_back(wrong, saved, monkeypatch):
    train = training("sgd" if wrong == "a checkpoint of others" else "adam", noise=True)
    given = {"checkpoint": saved, "resume": True}
    with monkeypatch.context() as patch:
        if wrong == "a function that does not compile":
            patch.setattr("downhill2.fitting.session.drive", lambda *_: {}["missing"])
        elif wrong == "a history of others":
            (saved.parent / "data").write_text("precious")
            given["history"] = saved.parent / "data"
        with pytest.raises((KeyError, ValueError, CheckpointError)) as held:
            train.run(**given)
    training(noise=True).run(checkpoint=saved, resume=True)
    assert held.value.__traceback__  # though that holds the frames of the run


def test_a_run_whose_directory_was_removed_leaves_that_of_the_next_alone(tmp_path):
    train, path, later = training(noise=True), tmp_path / "run", []

    def replace(opt, record):
        if record.epoch == 2:
            shutil.rmtree(path)
            path.mkdir()
            later.append(lock.DirectoryLock(path))  # as another process that begins a run there

    train.run(checkpoint=path, callbacks=[replace])
    assert [file.name for file in path.iterdir()] == ["downhill2.lock"]
    assert not later[0].lost
    assert f"cannot write in {path}: it was removed, and another run has it now" in train.opt.history[-1].events[-1]
    later[0].release()


@pytest.mark.parametrize("content", [b"precious", b'{"name": "mine"}', b"\xff\x00", b'{"pid"!', b"\n"])
def test_a_file_of_somebody_else_in_the_place_of_the_lock_is_refused_and_stays(content, tmp_path):
    path = tmp_path / "downhill2.lock"
    path.write_bytes(content)
    w = pytensor.shared(1.0, name="w")
    opt = downhill2.build("sgd", w**2, [w])
    with pytest.raises(
        ValueError, match=f"whose downhill2.lock a run has made, got {path}, which holds something else"
    ):
        opt.minimize(max_updates=1, checkpoint=tmp_path)
    assert (os.listdir(tmp_path), path.read_bytes(), w.get_value()) == ([path.name], content, 1.0)
    path.unlink()
    opt.minimize(max_updates=1, checkpoint=tmp_path)


@pytest.mark.parametrize("content", [b"", b'{"pi', b'{"pid": 7, "host": "a", "since": "2026-01-01 00:00:00"}'])
def test_the_file_of_a_run_that_was_killed_locks_nothing_whatever_it_could_write(content, tmp_path):
    (tmp_path / "downhill2.lock").write_bytes(content)
    held = lock.DirectoryLock(tmp_path)
    assert json.loads((tmp_path / "downhill2.lock").read_text())["pid"] == os.getpid()
    held.release()
    assert not os.listdir(tmp_path)


def test_a_file_system_without_locks_is_used_without(tmp_path, monkeypatch, caplog):
    def unsupported(file):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(lock, "_lock", unsupported)
    caplog.set_level("INFO", "downhill2")
    whole = training().run(checkpoint=tmp_path)
    assert whole == training().run()
    assert "downhill2.lock cannot be locked: No locks available; see that no other run writes there" in caplog.text


def test_who_has_a_directory_and_has_not_said_so_yet_is_another_run(tmp_path):
    with open(tmp_path / "downhill2.lock", "wb") as file:
        assert lock.take(file)
        with pytest.raises(ValueError, match=r"where another run does; wait for its end, or name another directory"):
            lock.DirectoryLock(tmp_path)


def test_a_lock_whose_file_goes_as_it_is_taken_is_taken_anew(tmp_path, monkeypatch):
    real, seen = lock.take, []

    def take(file):
        if not seen:  # a run that ends between here and there
            seen.append((tmp_path / "downhill2.lock").unlink())
        return real(file)

    monkeypatch.setattr(lock, "take", take)
    held = lock.DirectoryLock(tmp_path)
    assert (tmp_path / "downhill2.lock").exists()
    assert not held.lost
    held.release()
    assert not list(tmp_path.iterdir())


# -- whose files they are


def test_a_history_that_runs_share_keeps_the_records_of_all(tmp_path):
    train, log = training(), tmp_path / "all.jsonl"
    one = {"checkpoint": tmp_path / "one", "resume": "auto", "history": log}
    two = {**one, "checkpoint": tmp_path / "two"}
    first = train.run(history=log)["history"]
    second, third = (train.run(**where, max_epochs=2)["history"] for where in (one, two))
    assert records(History.from_json_lines(log)) == first + second + third
    for where in (one, two):  # that are over, as of a script that is started again
        train.run(**where, max_epochs=2)
    assert records(History.from_json_lines(log)) == first + second + third
    whole = train.run(**one)["history"]
    # each has to make its last record once more, after those that the other has written meanwhile
    resumed = whole[len(second) - 1 :]
    assert records(History.from_json_lines(log)) == first + second + third + resumed
    assert train.run(**two)["history"] == whole
    assert records(History.from_json_lines(log)) == first + second + third + resumed + resumed


def test_a_history_named_in_the_directory_is_written_once(tmp_path):
    whole = training().run(checkpoint=tmp_path, history=tmp_path / "." / "history.jsonl")["history"]
    assert records(History.from_json_lines(tmp_path / "history.jsonl")) == whole


@pytest.mark.parametrize("resume", [False, "auto"])
@pytest.mark.parametrize("name", ["history.jsonl", "result.safetensors"])
def test_a_file_of_others_in_the_directory_is_refused_and_stays(resume, name, tmp_path):
    path = tmp_path / name
    if name == "history.jsonl":
        path.write_text("precious\n")
    else:
        training().opt.save(path)
    files = contents(tmp_path)
    with pytest.raises(
        ValueError, match=rf"(history must be a new file|checkpoint must name a directory) .*{tmp_path}"
    ):
        training().run(checkpoint=tmp_path, resume=resume)
    assert contents(tmp_path) == files


def test_a_model_of_others_is_not_replaced_by_the_result_of_a_run_that_goes_on(saved):
    training(noise=True).opt.save(saved / "result.safetensors")
    files = contents(saved)
    for resume in (True, "params"):
        with pytest.raises(ValueError, match=r"checkpoint must name a directory where result.safetensors is that of a"):
            training(noise=True).run(checkpoint=saved, resume=resume)
        assert contents(saved) == files


@pytest.mark.parametrize("resume", [False, "auto"])
def test_a_run_that_begins_anew_says_so_and_keeps_the_records_of_the_one_before(resume, saved, caplog):
    train, path = training(noise=True), saved / "history.jsonl"
    for file in saved.glob("*.safetensors"):
        file.unlink()
    before = path.read_bytes()
    whole = train.run(checkpoint=saved, resume=resume)
    assert caplog.messages == [f"{saved} has the history of a run, and no checkpoint: the run begins anew"]
    assert path.read_bytes().startswith(before)
    assert (
        records(History.from_json_lines(path))[-len(whole["history"]) :] == whole["history"] == train.run()["history"]
    )
    assert train.run(checkpoint=saved, resume=True) == whole


# -- a run that begins with the parameters of another


def test_a_kill_right_after_the_parameters_were_taken_leaves_a_run_that_goes_on(saved, monkeypatch):
    train = training(noise=True)

    def killed(self):
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr("downhill2.keeping.checkpoint.Directory.tidy", killed)
        with pytest.raises(Crash):
            train.run(checkpoint=saved, resume="params")
    go_on = train.run(checkpoint=saved, resume=True)
    again = saved.parent / "again"
    train.run(checkpoint=again, max_updates=8)
    assert train.run(checkpoint=again, resume="params") == go_on
    assert go_on["updates"] == 24
    written = records(History.from_json_lines(saved / "history.jsonl"))
    assert written[-len(go_on["history"]) :] == go_on["history"]
    assert max(record.updates for record in written[: -len(go_on["history"])]) == 8  # those of the other run stay


@pytest.mark.parametrize("algo", ["sgd", "rmsprop", "esgd"])
def test_another_algorithm_may_begin_with_the_parameters(algo, saved):
    train = training(algo)
    tensors, _ = read(saved / "update-000000008.safetensors")
    train.fresh()
    train.opt.set_params([tensors[f"params.{p.name}"] for p in train.opt.params])
    whole = train.run(anew=False)
    assert train.run(checkpoint=saved, resume="params") == whole
    assert not (saved / "update-000000008.safetensors").exists()


class Anchored(downhill2.Optimizer):
    """Is drawn back to where it began."""

    start = downhill2.Copy()

    def direction(self, param, grad, start):
        return grad + param - start, {"start": start}


def test_state_that_copies_parameters_begins_with_those_that_were_taken(tmp_path):
    def build(value):
        w = pytensor.shared(np.array(value), name="w")
        return Anchored(w**2, learning_rate=0.1)

    first, second = build(1.0), build(5.0)
    first.minimize(max_updates=0, checkpoint=tmp_path)
    second.minimize(max_updates=2, checkpoint=tmp_path, resume="params", train_batches=2)
    assert second.state["w.anchored.start"] == 1


def test_where_a_run_cannot_begin_the_one_whose_parameters_it_takes_stays(saved, monkeypatch):
    train = training(noise=True)
    train.run(max_updates=2)

    def full(*_):
        raise OSError(28, "No space left on device")

    before, files = untouched(train), contents(saved)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_put", full)
        with pytest.raises(CheckpointError, match="No space left on device"):
            train.run(anew=False, checkpoint=saved, resume="params")
    assert untouched(train) == before
    assert contents(saved) == files
    assert train.run(checkpoint=saved, resume=True) == train.run()


@pytest.mark.parametrize("way", ["its parameters were taken", "its checkpoints were removed"])
def test_the_result_of_a_former_run_is_not_taken_for_that_of_the_next(way, saved):
    train = training(noise=True)
    result = saved / "result.safetensors"
    assert result.exists()
    if way == "its checkpoints were removed":
        for path in saved.glob("update-*"):
            path.unlink()

    def crash():
        raise Crash

    resume = "params" if way == "its parameters were taken" else False
    with after(8, crash), pytest.raises(Crash):
        train.run(checkpoint=saved, resume=resume, checkpoint_every="4 updates")
    assert not result.exists()


# -- settings that come and go while a run is on


class Setting:
    """A callback that sets momentum by the epoch."""

    def __init__(self, *momenta):
        self.momenta = momenta

    def __call__(self, opt, record):
        if record.epoch:
            opt.momentum = self.momenta[record.epoch - 1]


@pytest.mark.parametrize("momenta", [(0.5, 0.5, 0.5, 0.5), (0.5, 0, 0, 0.5), (0.5, 0.5, 0, 0)], ids=str)
@pytest.mark.parametrize("stop", [8, 14, 20])
def test_another_process_goes_on_with_the_state_of_what_a_callback_set(momenta, stop, tmp_path):
    setting = [Setting(*momenta)]
    train = training("sgd")
    whole = train.run(callbacks=setting)
    train.run(callbacks=setting, checkpoint=tmp_path, max_updates=stop)
    anew = Training("sgd")
    resumed = anew.run(callbacks=setting, checkpoint=tmp_path, resume=True)
    assert resumed == whole


def test_state_that_a_checkpoint_does_not_need_begins_anew(tmp_path):
    train = Training("sgd")
    whole = train.run()
    train.run(checkpoint=tmp_path, max_updates=8)
    train.run(callbacks=[Setting(0.5, 0.5, 0.5, 0.5)])
    resumed = train.run(checkpoint=tmp_path, resume=True)
    velocities = {n: resumed.pop(n) for n in [*resumed] if n.endswith("momentum.v")}
    assert resumed == whole
    assert velocities
    assert not any(b.strip(b"\0") for _, b in velocities.values())


def test_what_only_a_callback_changes_of_a_symbolic_hyperparameter_goes_on(tmp_path):
    w, x, scale = pytensor.shared(np.ones(3), name="w"), pt.matrix("x"), pytensor.shared(np.array(1.0), name="scale")
    opt = downhill2.build("adam", ((x @ w - 1) ** 2).mean(), learning_rate=0.1 * scale, momentum=1 - 0.5**scale)

    def halve(opt, record):
        scale.set_value(scale.get_value() / 2)

    def run(**given):
        w.set_value(np.ones(3))
        scale.set_value(np.array(1.0))
        opt.reset()
        data = [rows(10, 0)[0][:, :3]]
        opt.minimize(data, rng=0, batch_size=4, callbacks=[halve], **{"max_epochs": 6, **given})
        return plain(w.get_value()), scale.get_value().item(), records(opt.history)

    whole = run()
    run(checkpoint=tmp_path, max_epochs=3)
    assert run(checkpoint=tmp_path, resume=True) == whole
    assert "hyper.scale" in opt.state_dict()


def test_a_generator_and_a_count_with_default_updates_go_on(tmp_path):
    w, x = pytensor.shared(np.ones(3), name="w"), pt.matrix("x")
    generator = pt.random.shared_rng(np.random.default_rng(3), name="generator")
    count = pytensor.shared(np.array(0.0), name="count")
    with pytest.warns(DeprecationWarning, match="default_update"):
        generator.default_update, noise = generator.normal(size=(3,))
    with pytest.warns(DeprecationWarning, match="default_update"):
        count.default_update = count + 1
    loss = ((x @ (w + 0.1 * noise) - 1 / (1 + count)) ** 2).mean()
    opt = downhill2.build("adam", loss, [w], learning_rate=0.1)

    def run(**given):
        w.set_value(np.ones(3))
        generator.set_value(np.random.default_rng(3))
        count.set_value(np.array(0.0))
        opt.reset()
        opt.minimize([rows(10, 0)[0][:, :3]], rng=0, batch_size=4, **{"max_updates": 12, **given})
        return [plain(v.get_value()) for v in (w, generator, count)], records(opt.history)

    whole = run()
    run(checkpoint=tmp_path, max_updates=5)
    assert run(checkpoint=tmp_path, resume=True) == whole


def test_what_only_validations_advance_goes_on_too(tmp_path):
    w, x = pytensor.shared(np.ones(3), name="w"), pt.matrix("x")
    generator = pt.random.shared_rng(np.random.default_rng(3), name="generator")
    count, steps = (pytensor.shared(np.array(0.0), name=name) for name in ("count", "count"))
    with pytest.warns(DeprecationWarning, match="default_update"):
        generator.default_update, noise = generator.normal(size=(3,))
    with pytest.warns(DeprecationWarning, match="default_update"):
        count.default_update = count + steps
    with pytest.warns(DeprecationWarning, match="default_update"):
        steps.default_update = steps + 1
    loss = ((x @ w - 1) ** 2).mean()
    opt = downhill2.build("adam", loss, [w], learning_rate=0.1)
    shaken = ((x @ (w + 0.1 * noise) - 1) ** 2).mean()

    def run(**given):
        w.set_value(np.ones(3))
        generator.set_value(np.random.default_rng(3))
        for v in (count, steps):
            v.set_value(np.array(0.0))
        opt.reset()
        usual = {"rng": 0, "batch_size": 4, "max_updates": 12, "valid_loss": shaken, "valid_monitors": {"n": count}}
        opt.minimize([rows(10, 0)[0][:, :3]], validate_every=1, **{**usual, **given})
        return [plain(v.get_value()) for v in (w, generator, count, steps)], records(opt.history)

    whole = run()
    assert opt.history[-1].valid["n"] > 1
    run(checkpoint=tmp_path, max_updates=5)
    assert run(checkpoint=tmp_path, resume=True) == whole
    # an optimizer alone has no validations
    values = [plain(v.get_value()) for v in (generator, count)]
    run(max_updates=0)
    opt.load(tmp_path / "update-000000012.safetensors")
    assert opt.context.clock.get_value() == 12
    assert [plain(v.get_value()) for v in (generator, count)] != values
    with pytest.raises(CheckpointError, match=r"another model: unexpected: 'valid\.count'"):
        opt.minimize([rows(10, 0)[0][:, :3]], batch_size=4, checkpoint=tmp_path, resume=True)


def test_a_learning_rate_that_is_computed_from_what_moves_goes_on(tmp_path):
    w, age = pytensor.shared(np.ones(3), name="w"), pytensor.shared(np.array(0.0), name="age")
    with pytest.warns(DeprecationWarning, match="default_update"):
        age.default_update = age + 1
    opt = downhill2.build("sgd", (w**2).sum(), learning_rate=0.1 / (1 + age))

    def run(**given):
        w.set_value(np.ones(3))
        age.set_value(np.array(0.0))
        opt.reset()
        opt.minimize(**{"max_updates": 9, "train_batches": 4, **given})
        return plain(w.get_value()), age.get_value(), records(opt.history)

    whole = run()
    run(checkpoint=tmp_path, max_updates=5)
    assert run(checkpoint=tmp_path, resume=True) == whole


# -- an optimizer to a file and back


def halved(updates):
    return 1.0 * 0.5**updates


def test_what_was_saved_is_loaded_to_the_last_bit(tmp_path):
    train = training(noise=True, counter=True)
    train.run(max_updates=9)
    values, best = everything(train), train.opt.best_monitors
    train.opt.save(tmp_path / "model.safetensors")
    train.opt.set_params("best")
    kept = {p.name: plain(p.get_value()) for p in train.opt.params}
    train.fresh()
    train.opt.learning_rate = 0.5
    train.opt.load(tmp_path / "model.safetensors")
    assert everything(train) == values
    assert train.opt.best_monitors == best
    train.opt.set_params("best")
    assert {p.name: plain(p.get_value()) for p in train.opt.params} == kept


def test_a_checkpoint_of_a_run_can_be_loaded(saved):
    train = training(noise=True)
    train.fresh()
    train.opt.load(saved / "update-000000008.safetensors")
    assert train.opt.context.clock.get_value() == 8
    assert train.opt.best_monitors


def test_an_optimizer_that_never_ran_is_saved_with_its_state(tmp_path):
    Training().opt.save(tmp_path / "new")
    tensors, meta = read(tmp_path / "new")
    assert {"params.W", "state.W.adam.m", "state.W.adam.v"} <= tensors.keys()
    assert meta["updates"] == 0


@pytest.mark.parametrize("kwargs", [{"algo": "sgd"}, {"dtype": "float32"}, {"counter": True}, {"decay": "decoupled"}])
def test_a_file_of_something_else_changes_nothing(kwargs, saved):
    train = training(**{"noise": True, **kwargs})
    train.run(max_updates=2)
    values = everything(train)
    with pytest.raises(CheckpointError, match="the checkpoint is of"):
        train.opt.load(saved / "update-000000008.safetensors")
    assert everything(train) == values


def test_a_file_of_no_optimizer_is_refused(tmp_path):
    write(tmp_path / "other", {"params.W": np.zeros(3)}, {"algorithm": "adam"})
    with pytest.raises(CheckpointError, match="the checkpoint is of no optimizer: it has no 'updates'"):
        training().opt.load(tmp_path / "other")


def test_a_state_dict_is_a_copy_that_can_be_loaded():
    train = training(noise=True)
    train.run(max_updates=7)
    values, state = everything(train), train.opt.state_dict()
    train.run(max_updates=9)
    assert not train.opt.load_state_dict(state)
    assert everything(train) == values


def test_a_strict_state_dict_reports_what_does_not_fit_and_changes_nothing():
    train = training()
    train.run(max_updates=3)
    state = train.opt.state_dict()
    del state["state.b.adam.m"]
    state["params.W"] = np.zeros((3, 3))
    state["params.X"] = np.zeros(2)
    values = everything(train)
    with pytest.raises(CheckpointError) as caught:
        train.opt.load_state_dict(state)
    for part in (
        "missing: 'state.b.adam.m'",
        "unexpected: 'params.X'",
        r"'params.W' must have shape (4, 3), got (3, 3)",
    ):
        assert part in str(caught.value)
    assert everything(train) == values


def test_a_loose_state_dict_sets_what_fits_and_reports_the_rest():
    train = training()
    train.run(max_updates=3)
    state = train.opt.state_dict()
    train.run(max_updates=5)
    before = everything(train)[0]
    removed, state["params.W"] = state.pop("state.b.adam.m"), np.zeros((3, 3))
    state["params.X"], state["params.v"] = np.zeros(2), state["params.v"].astype("float32")
    differences = train.opt.load_state_dict(state, strict=False)
    assert (differences.missing, differences.unexpected) == (("state.b.adam.m",), ("params.X",))
    assert differences.shapes.keys() == {"params.W"}
    assert differences.dtypes.keys() == {"params.v"}
    values = everything(train)[0]
    assert {n for n in values if values[n] == before[n]} == {"W", "v", "b.adam.m"}
    assert values["b.adam.m"] != plain(removed)


def test_tensors_alone_may_be_loaded_without_the_rest():
    train = training()
    train.run(max_updates=3)
    state = train.opt.state_dict()
    del state["meta"]
    assert not train.opt.load_state_dict(state)
    assert train.opt.context.clock.get_value() == 3


def test_a_generator_that_is_none_changes_nothing():
    train = training(noise=True)
    train.run(max_updates=3)
    state, values = train.opt.state_dict(), everything(train)
    state["meta"]["generators"]["updates.generator"] = {"bit_generator": "dice"}
    state["params.W"] = state["params.W"] + 1
    with pytest.raises(CheckpointError, match="state must be what generator_state returns"):
        train.opt.load_state_dict(state)
    with pytest.raises(ValueError, match="state must be what generator_state returns"):
        train.opt.load_state_dict(state, strict=False)
    assert everything(train) == values


def test_a_file_with_a_generator_that_is_none_changes_nothing(tmp_path):
    train = training(noise=True)
    train.run(max_updates=3)
    train.opt.save(tmp_path / "model")
    tensors, meta = read(tmp_path / "model")
    write(tmp_path / "model", tensors, {**meta, "generators": {"updates.generator": {"bit_generator": "dice"}}})
    values = everything(train)
    with pytest.raises(CheckpointError, match="random generator that is none: state must be"):
        train.opt.load(tmp_path / "model")
    assert everything(train) == values


def test_a_variable_that_no_checkpoint_can_hold_is_told_before_the_run(tmp_path):
    w, phase = pytensor.shared(np.ones(2), name="w"), pytensor.shared(np.ones(2, "complex128"), name="phase")
    opt = downhill2.build("sgd", (w**2).sum(), updates={phase: 1j * phase})
    with pytest.raises(TypeError, match=r"the dtype of tensor 'updates\.phase' must be one of .*, got complex128"):
        opt.minimize(max_updates=3, checkpoint=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_parameters_without_a_name_are_known_by_their_order():
    def build():
        w = [pytensor.shared(np.full(2, k)) for k in (1.0, 2.0)] + [pytensor.shared(np.ones(2), "w") for _ in range(2)]
        return downhill2.build("sgd", sum((k + 1) * (v**2).sum() for k, v in enumerate(w)), w)

    first, second = build(), build()
    first.minimize(max_updates=3)
    state = first.state_dict()
    assert [n for n in state if n.startswith("params.")] == [
        "params.unnamed0",
        "params.unnamed1",
        "params.w",
        "params.w#2",
    ]
    second.load_state_dict(state)
    assert [p.get_value().tolist() for p in second.params] == [p.get_value().tolist() for p in first.params]


def nameless(*order, names=(None, None), rate=0.1):
    """An optimizer of two tensors of one shape, whose terms are written in some order."""
    a, b = (pytensor.shared(np.array([k, k + 1.0]), name=name) for k, name in zip((1.0, 3.0), names, strict=True))
    terms = {"square": (a**2).sum(), "fourth": (b**4).sum()}
    loss = sum((terms[name] for name in order[1:]), terms[order[0]])
    return downhill2.build("adam", loss, learning_rate=rate), a, b


THERE, BACK = ("square", "fourth"), ("fourth", "square")
MOVED = r"has params\.\S+, params\.\S+ in another order: where one of them stood in the loss, another stands now"


@pytest.mark.parametrize("names", [(None, None), ("W", "W")])
def test_a_file_whose_nameless_parameters_stand_elsewhere_is_refused(names, tmp_path):
    opt, a, _ = nameless(*THERE, names=names)
    opt.minimize(max_updates=3, validate_every=None, checkpoint=tmp_path / "run")
    opt.save(tmp_path / "file.npz")
    again, *values = nameless(*BACK, names=names)
    before = [v.get_value().tolist() for v in values]
    calls = {
        "load": lambda: again.load(tmp_path / "file.npz"),
        "load_state_dict": lambda: again.load_state_dict(opt.state_dict()),
        "resume": lambda: again.minimize(max_updates=5, checkpoint=tmp_path / "run", resume="auto"),
        "params": lambda: again.minimize(max_updates=5, checkpoint=tmp_path / "run", resume="params"),
    }
    for call in calls.values():
        with pytest.raises(CheckpointError, match=MOVED):
            call()
    assert [v.get_value().tolist() for v in values] == before
    same, first, _ = nameless(*THERE, names=names)
    same.load(tmp_path / "file.npz")
    assert first.get_value().tolist() == a.get_value().tolist()


@pytest.mark.parametrize("names", [(None, None), ("W", "W")])
def test_what_fits_is_set_but_for_nameless_parameters_that_stand_elsewhere_and_their_state(names):
    opt, *_ = nameless(*THERE, names=names)
    opt.minimize(max_updates=3, validate_every=None)
    again, *values = nameless(*BACK, names=names)
    before = [v.get_value().tolist() for v in values]
    found = again.load_state_dict(opt.state_dict(), strict=False)
    labels = again.fit.problem.names
    assert found.moved == (
        *(f"params.{label}" for label in labels),
        *(f"state.{label}.adam.{s}" for label in labels for s in "mv"),
    )
    assert bool(found)
    assert str(found).startswith(f"in another order: 'params.{labels[0]}'")
    assert [v.get_value().tolist() for v in values] == before
    assert not any(again.state[f"{label}.adam.{s}"].any() for label in labels for s in "mv")
    same, first, _ = nameless(*THERE, names=names)
    assert not same.load_state_dict(opt.state_dict(), strict=False)
    assert first.get_value().tolist() == opt.params[0].get_value().tolist()


def test_of_three_nameless_parameters_the_one_in_its_place_is_set():
    def build(*powers):
        w = [pytensor.shared(np.full(2, float(k))) for k in (1, 2, 3)]
        return downhill2.build("sgd", sum((v**n).sum() for v, n in zip(w, powers, strict=True)), w)

    there, back = build(2, 4, 6), build(4, 2, 6)
    there.set_params([np.full(2, 9.0)] * 3)
    found = back.load_state_dict(there.state_dict(), strict=False)
    assert found.moved == ("params.unnamed0", "params.unnamed1")
    assert [p.get_value()[0] for p in back.params] == [1, 2, 9]


def test_nameless_variables_of_updates_that_stand_elsewhere_are_refused():
    def build(swapped):
        w, mean, scale = (
            pytensor.shared(np.ones(2), name="w"),
            pytensor.shared(np.zeros(2)),
            pytensor.shared(np.ones(2)),
        )
        terms = [((w - mean) ** 2).sum(), (w * scale).sum()]
        updates = [(mean, 0.9 * mean + w), (scale, 0.9 * scale + w)]
        order = -1 if swapped else 1
        return downhill2.build("sgd", sum(terms[::order]), [w], updates=updates[::order])

    state = build(False).state_dict()
    build(False).load_state_dict(state)
    with pytest.raises(CheckpointError, match=r"has updates\.unnamed0, updates\.unnamed1 in another order"):
        build(True).load_state_dict(state)
    found = build(True).load_state_dict(state, strict=False)
    assert found.moved == ("updates.unnamed0", "updates.unnamed1")


def test_parameters_that_may_change_places_and_another_loss_are_loaded_by_order():
    def build(*powers):
        w = [pytensor.shared(np.full(2, float(k))) for k in (1, 2)]
        return downhill2.build("sgd", sum((v**n).sum() for v, n in zip(w, powers, strict=True)))

    state = build(2, 2).state_dict()
    for powers in ((2, 2), (3, 5)):  # alike; and a loss of which nothing certain is known
        opt = build(*powers)
        opt.load_state_dict(state)
        assert [p.get_value()[0] for p in opt.params] == [1, 2]


@pytest.mark.parametrize(
    ("names", "shapes", "warned"),
    [
        ((None, None), (2, 2), "params.unnamed0, params.unnamed1 have no name of their own"),
        (("W", "W"), (2, 2), "params.W, params.W#2 have no name of their own"),
        ((None, None), (2, 3), None),
        ((None, "b"), (2, 2), None),
        (("a", "b"), (2, 2), None),
    ],
)
def test_saving_warns_once_of_variables_that_only_their_order_tells_apart(names, shapes, warned, tmp_path, caplog):
    params = [pytensor.shared(np.ones(n), name=name) for n, name in zip(shapes, names, strict=True)]
    opt = downhill2.build("sgd", sum((p**2).sum() for p in params), params)
    for _ in range(2):
        opt.save(tmp_path / "file")
        opt.load(tmp_path / "file")
    opt.minimize(max_updates=2, checkpoint=tmp_path / "run")
    found = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len(found) == (warned is not None)
    assert all(message.startswith(warned) for message in found)


def test_a_file_of_a_version_that_knew_no_places_is_loaded():
    opt, *_ = nameless(*THERE)
    state = opt.state_dict()
    del state["meta"]["places"]
    again, *_ = nameless(*BACK)
    again.load_state_dict(state)
    assert again.state_dict()["params.unnamed0"].tolist() == state["params.unnamed0"].tolist()


@pytest.mark.parametrize(("then", "now"), [(0.25, halved), (halved, 0.25)], ids=["schedule", "number"])
def test_a_rate_that_is_of_another_kind_stays_as_it_is_given(then, now, tmp_path):
    first, second = Training("sgd", learning_rate=then), Training("sgd", learning_rate=now)
    first.opt.save(tmp_path / "model")
    second.opt.load(tmp_path / "model")
    assert second.opt.hyper["learning_rate"] == (now if now == 0.25 else 1.0)


# -- what goes wrong on the way


def test_a_history_that_cannot_be_written_for_a_while_is_whole_in_the_end(tmp_path, monkeypatch, caplog):
    train = training()
    whole = train.run()
    failures = []

    class Full:
        """A file on a disk that is full until the third epoch is over."""

        def __init__(self, file):
            self.file = file

        def write(self, data):
            if len(train.opt.history) < 4:
                failures.append(len(data))
                if len(failures) == 1:
                    return self.file.write(bytes(data[:10]))  # as much as there was room for
                raise OSError(28, "No space left on device")
            return self.file.write(data)

        def __getattr__(self, name):
            return getattr(self.file, name)

    def opened(path, offset=None):
        file = HistoryFile(path, offset)
        file._file = Full(file._file)
        return file

    monkeypatch.setattr("downhill2.keeping.journal.HistoryFile", opened)
    assert train.run(checkpoint=tmp_path) == whole
    assert "cannot write the history: [Errno 28] No space left on device; the run goes on" in caplog.text
    assert records(History.from_json_lines(tmp_path / "history.jsonl")) == whole["history"]


@pytest.mark.parametrize(
    "end", [{"patience": 0, "learning_rate": 0}, {"target": 1e9}, {"diverged": 2, "learning_rate": 10}]
)
def test_a_save_that_fails_after_the_last_record_is_told_by_one_of_its_own(end, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    train, seen = training(), []
    monkeypatch.setattr("downhill2.keeping.checkpoint.Directory.save", full)
    train.run(checkpoint=tmp_path, validate_every=1, callbacks=[lambda opt, record: seen.append(record)], **end)
    history = train.opt.history
    assert history[-1].events == (
        f"checkpoint after update {history[-1].updates} failed: [Errno 28] No space left on device; "
        "the run has no checkpoint yet",
    )
    assert not history[-1].train
    assert not history[-1].validated
    assert seen == list(history)[:-1]
    assert list(History.from_json_lines(tmp_path / "history.jsonl")) == list(history)


def test_a_history_that_can_never_be_written_does_not_hide_the_result(tmp_path, monkeypatch, caplog):
    def full(self):
        raise OSError(28, "No space left on device")

    train = training()
    whole = train.run()
    monkeypatch.setattr(HistoryFile, "_write", full)
    assert train.run(checkpoint=tmp_path) == whole
    assert not list(tmp_path.glob("update-*"))  # none without the history that belongs to it
    *_, lines, saves = caplog.messages
    assert lines == f"the last records are missing in {tmp_path / 'history.jsonl'}: [Errno 28] No space left on device"
    assert saves.startswith("4 of 4 checkpoints of the run could not be written, and there is none to go on from; ")


def test_a_result_is_not_taken_for_that_of_another_end(tmp_path):
    train = training()
    train.run(checkpoint=tmp_path, max_updates=8)

    def crash():
        raise Crash

    with after(1, crash), pytest.raises(Crash):
        train.run(checkpoint=tmp_path, resume=True, max_updates=20)
    assert not (tmp_path / "result.safetensors").exists()
    assert train.run(checkpoint=tmp_path, resume=True, max_updates=8) == train.run(max_updates=8)


def test_an_epoch_of_a_stream_begins_again_and_so_do_its_sums(tmp_path):
    train, made = training(), [rows(4, k) for k in range(5)]

    def batches():
        yield from made

    def data():
        return Dataset(batches, "stream")

    train.run(train=data(), checkpoint=tmp_path, max_updates=8)
    train.run(train=data(), checkpoint=tmp_path, resume=True, max_epochs=2, validate_every=None)
    last = train.opt.history[-1]
    assert (last.epoch, last.updates) == (2, 13)


def test_memory_does_not_grow_with_a_run(tmp_path):
    w, sizes = pytensor.shared(np.zeros(20), name="w"), {}
    x = pt.matrix("x")
    opt = downhill2.build("adam", ((x @ w - 1) ** 2).mean(), monitors={"size": abs(w).max()})
    data, given = np.random.default_rng(0).normal(size=(20, 20)), {"batch_size": 10, "rng": 0, "patience": None}

    def watch(opt, record):
        if record.epoch == 20:
            tracemalloc.start()  # only here, as it slows all that allocates
        elif record.epoch in (30, 80):
            gc.collect()
            sizes[record.epoch], _ = tracemalloc.get_traced_memory()

    tracing, in_threads = sys.gettrace(), threading.gettrace()
    sys.settrace(None)  # coverage notes lines in memory of its own, of each thread that hashes a checkpoint too
    threading.settrace(None)
    try:
        opt.minimize([data], **given, max_epochs=80, checkpoint=tmp_path / "run", callbacks=[watch])
    finally:
        sys.settrace(tracing)
        threading.settrace(in_threads)
        tracemalloc.stop()
    # a record takes half of it with its event and what arrays keep in reserve; nothing else may stay
    assert (sizes[80] - sizes[30]) / 50 < 1000


@given(
    failing=st.sets(st.integers(0, 12)), every=st.sampled_from([1, 2, "1 update", "2 updates"]), end=st.integers(1, 12)
)
def test_each_save_is_told_of_once_when_it_is_known_how_it_went(failing, every, end):
    opt, tried, real = square(), [], Directory.save

    def save(directory, updates, *rest, **marks):
        tried.append(updates)
        if updates in failing:
            raise OSError(28, "No space left on device")
        return real(directory, updates, *rest, **marks)

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Directory, "save", save)
        opt.reset()
        opt.minimize(max_updates=end, train_batches=3, validate_every=1, checkpoint=folder, checkpoint_every=every)
        left = sorted(int(path.stem[7:]) for path in Path(folder).glob("update-*"))
    events = [(int(event.split()[3]), event) for record in opt.history for event in record.events]
    assert len({updates for updates, _ in events}) == len(events)
    assert {updates for updates, event in events if "failed" in event} == failing & {*tried}
    assert {updates for updates, event in events if "failed" not in event} <= {*tried} - failing
    if not left:
        assert "the run has no checkpoint yet" in opt.history[-1].events[-1]


@functools.cache
def square():
    w = pytensor.shared(np.ones(2), name="w")
    return downhill2.build("sgd", (w**2).sum(), learning_rate=0.1)


@pytest.mark.parametrize("is_full", [False, True])
def test_without_any_logging_set_up_a_run_prints_what_goes_wrong_and_nothing_else(
    is_full, tmp_path, monkeypatch, capsys
):
    def full(*args, **kwargs):
        raise CheckpointError("cannot write it: No space left on device")

    monkeypatch.setattr(logging.root, "handlers", [])  # those of pytest
    if is_full:
        monkeypatch.setattr(Directory, "save", full)
    opt = square()
    opt.reset()
    opt.minimize(max_epochs=3, checkpoint=tmp_path / "run")
    first, last = (
        "cannot write it: No space left on device; the run goes on\n",
        "3 of 3 checkpoints of the run could not",
    )
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"{first}{last}" if is_full else "")
    assert printed.err.count("\n") == 2 * is_full
    opt.minimize(max_epochs=3, checkpoint=tmp_path / "run", resume="auto")
    begun_anew = f"{tmp_path / 'run'} has the history of a run, and no checkpoint: the run begins anew\n"
    printed = capsys.readouterr()
    assert printed.err.startswith(f"{begun_anew}{first}{last}" if is_full else "")
    assert printed.err.count("\n") == 3 * is_full


def test_a_disk_that_stays_full_is_told_of_at_first_and_at_the_end(tmp_path, monkeypatch, caplog):
    def full(*args, **kwargs):
        raise CheckpointError("cannot write it: No space left on device")

    opt = square()
    opt.reset()
    monkeypatch.setattr(Directory, "save", full)
    opt.minimize(max_epochs=100, checkpoint=tmp_path)
    assert caplog.messages == [
        "cannot write it: No space left on device; the run goes on",
        "100 of 100 checkpoints of the run could not be written, and there is none to go on from; why the last one: "
        "cannot write it: No space left on device",
    ]
    assert opt.stopped == "max_epochs"
    [event] = opt.history[-1].events[-1:]
    assert event.endswith("failed: cannot write it: No space left on device; the run has no checkpoint yet")


@pytest.mark.parametrize(
    ("every", "told"),
    [
        (2, [(), (), (), ("checkpoint after update 2",), ()]),
        ("3 updates", [(), (), (), ("checkpoint after update 3",), ()]),
    ],
)
def test_the_history_tells_of_checkpoints(tmp_path, every, told):
    w = pytensor.shared(np.ones(2), name="w")
    opt = downhill2.build("sgd", (w**2).sum(), learning_rate=0.1)
    opt.minimize(max_epochs=4, checkpoint=tmp_path, checkpoint_every=every)
    assert opt.history["events"] == told
