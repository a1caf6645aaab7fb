"""Processes that are killed at any moment, and start again: nothing may be lost, and nothing be wrong."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import digits_run
import numpy as np
import pytest

import downhill2

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes that it forks")

KILLS = int(os.environ.get("DOWNHILL2_KILLS", 8))


@pytest.fixture(scope="module")
def data(digits, tmp_path_factory):
    """A file with a part of the digits: the workers need not import scikit-learn."""
    path = tmp_path_factory.mktemp("digits") / "data.npz"
    images, labels = digits.train
    np.savez(path, images=images[:400].astype("float32"), labels=labels[:400])
    return path


class Worker:
    """A process that trains again and again, each time as if begun anew."""

    def __init__(self, data):
        packages = os.pathsep.join([str(Path(downhill2.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        # a process that has threads is not safe to fork
        environment = {**os.environ, "PYTHONPATH": packages, "OPENBLAS_NUM_THREADS": "1"}
        command, pipe = [sys.executable, digits_run.__file__, str(data)], subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True, env=environment
        )
        self.said = ""

    def tell(self, line):
        print(line, file=self.process.stdin, flush=True)

    def begin(self, directory, **settings):
        self.said = ""
        self.tell(json.dumps({"directory": str(directory), **settings}))

    def wait_for(self, word):
        """Return the rest of the first line that begins with a word; no training goes on beyond ``over``."""
        for line in self.process.stdout:
            self.said += line
            if line.startswith((word, "over")):
                break
        assert line.startswith(word), self.said
        return line.removeprefix(word).strip()

    def ended(self):
        """Return the exit code of a training that was begun, waiting for it."""
        return int(self.wait_for("over"))

    def result(self):
        """Return what a training that was begun came to."""
        assert self.ended() == 0, self.said
        return self.said.splitlines()[-2]

    def whole(self, directory):
        """Return what a training comes to that nobody kills."""
        self.begin(directory)
        return self.result()


@pytest.fixture(scope="module")
def workers(data):
    """Two processes in turn, so that a run goes on in another than it began in, in which sets have another order."""
    both = [Worker(data), Worker(data)]
    yield itertools.cycle(both)
    for worker in both:
        with worker.process:
            worker.process.kill()


@pytest.fixture(scope="module")
def whole(workers, tmp_path_factory):
    """What a training comes to that nobody kills, and at how many moments it changed files."""
    worker = next(workers)
    result = worker.whole(tmp_path_factory.mktemp("whole") / "run")
    return result, int(worker.said.splitlines()[-3].removeprefix("moments"))


def unfinished(directory):
    """Return what a kill has left half written."""
    history = directory / "history.jsonl"
    found = {
        "checkpoint": any(directory.glob(".*.tmp")),
        "history": history.exists() and not history.read_bytes().endswith(b"\n"),
    }
    return {name for name, half in found.items() if half}


@pytest.mark.parametrize(
    ("moments_left", "torn"),
    [(None, {"checkpoint", "history"}), (20, {"checkpoint"})],
    ids=["from the beginning", "at the end"],
)
def test_a_run_that_dies_at_every_moment_of_its_writing_ends_as_one_that_does_not(
    moments_left, torn, workers, whole, tmp_path
):
    result, moments = whole
    directory, found = tmp_path / "run", set()
    first = moments - moments_left if moments_left else 1
    for last in itertools.chain([first], itertools.count(1)):  # each gets one moment further than that before
        worker = next(workers)
        worker.begin(directory, last=last)
        if worker.ended() != -signal.SIGKILL:
            break
        found |= unfinished(directory)
    assert worker.said.splitlines()[-2] == result
    assert found == torn
    assert unfinished(directory) == set()


@pytest.mark.parametrize("seconds", [0.0, 0.005], ids=["writes as they are", "writes made slow"])
def test_a_run_that_is_killed_whenever_ends_as_one_that_is_not(seconds, workers, whole, tmp_path):
    result, _ = whole
    draw, runs = np.random.default_rng(int(1000 * seconds)), 0
    for _ in range(KILLS // 2):
        worker = next(workers)
        worker.begin(tmp_path / f"run{runs}", alarm=draw.uniform(0, 0.5), seconds=seconds)
        if worker.ended() != -signal.SIGALRM:
            assert worker.said.splitlines()[-2] == result
            runs += 1  # what is killed next is another
    assert next(workers).whole(tmp_path / f"run{runs}") == result
    assert not any(tmp_path.glob("*/.*.tmp"))


@pytest.fixture
def small_disk(tmp_path):
    """A directory on a disk of its own, of 256 KiB."""
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(path)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("needs the right to mount a file system")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def fill(disk):
    """Write a file that leaves no room."""
    with open(disk / "ballast", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1024))


def begun_on_a_full_disk(worker, directory, **settings):
    """Begin a training whose disk is full from the end of an epoch on."""
    worker.begin(directory, wait=True, **settings)
    worker.wait_for("training")
    fill(directory.parent)
    worker.tell("")


def test_a_run_outlives_a_disk_that_is_full(workers, whole, small_disk):
    directory, worker = small_disk / "run", next(workers)
    begun_on_a_full_disk(worker, directory)
    before = sorted(directory.glob("update-*"))
    assert worker.result() == whole[0]  # nobody killed it, and it needs no disk to end
    assert "No space left on device; the run goes on" in worker.said
    assert sorted(directory.glob("update-*")) == before
    (small_disk / "ballast").unlink()
    assert next(workers).whole(directory) == whole[0]


def test_a_run_that_is_killed_while_the_disk_is_full_goes_on_from_before(workers, whole, small_disk):
    directory = small_disk / "run"
    for last in range(1, 1 + max(3, KILLS // 10)):
        worker = next(workers)
        begun_on_a_full_disk(worker, directory, last=last)
        assert worker.ended() == -signal.SIGKILL
        (small_disk / "ballast").unlink()
    assert next(workers).whole(directory) == whole[0]
