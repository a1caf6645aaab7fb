"""Processes that are killed at any moment, and start again: nothing may be lost, and nothing be wrong."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import digits_run
import numpy as np
import pytest

import downhill2

KILLS = int(os.environ.get("DOWNHILL2_KILLS", 8))


@pytest.fixture(scope="module")
def data(digits, tmp_path_factory):
    """A file with a part of the digits: the workers need not import scikit-learn."""
    path = tmp_path_factory.mktemp("digits") / "data.npz"
    images, labels = digits.train
    np.savez(path, images=images[:400].astype("float32"), labels=labels[:400])
    return path


class Worker:
    """A process that trains."""

    def __init__(self, data, directory, seconds=0.0):
        packages = os.pathsep.join([str(Path(downhill2.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, digits_run.__file__, str(data), str(directory), str(seconds)]
        environment = {**os.environ, "PYTHONPATH": packages}
        self.said = ""
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )

    def wait_for(self, word):
        """Read on to a word, or to the end; return the last line."""
        line = ""
        for line in self.process.stdout:
            self.said += line
            if line.strip() == word:
                break
        return line.strip()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def result(self):
        """Return what it came to."""
        line = self.wait_for("")
        self.process.stdout.close()
        assert self.process.wait() == 0, self.said
        return line


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """What a process comes to that nobody kills."""
    return Worker(data, tmp_path_factory.mktemp("whole") / "run").result()


def killed(data, directory, moment, draw, seconds=0.0):
    """Start a process and kill it some time after a moment; whether there was somebody to kill."""
    worker = Worker(data, directory, seconds)
    worker.wait_for(moment)
    time.sleep(draw.uniform(0, 0.3))
    alive = worker.process.poll() is None
    worker.kill()
    return alive


@pytest.mark.parametrize("seconds", [0.0, 0.005], ids=["writes as they are", "writes made slow"])
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_is_not(seconds, data, whole, tmp_path):
    draw, kills, runs, torn = np.random.default_rng(int(1000 * seconds)), 0, 0, 0
    while kills < KILLS // 2:
        directory = tmp_path / f"run{runs}"
        moment = "loading" if draw.random() < 0.3 else "training"
        if killed(data, directory, moment, draw, seconds):
            kills += 1
            torn += any(directory.glob(".*.tmp"))
        else:
            runs += 1  # it had ended: what was killed next would be nothing
            assert Worker(data, directory).result() == whole
    assert Worker(data, tmp_path / f"run{runs}").result() == whole
    # of a slow writer, most of the time is spent in writing
    assert torn or not seconds
    assert not any(tmp_path.glob("*/.*"))


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
    """Write a file that leaves no room, not even that of checkpoints which are removed meanwhile."""
    with open(disk / "ballast", "wb", buffering=0) as file:
        for _ in range(20):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(1024))
            time.sleep(0.01)


def test_a_run_outlives_a_disk_that_is_full(data, whole, small_disk):
    directory = small_disk / "run"
    worker = Worker(data, directory)
    worker.wait_for("training")
    fill(small_disk)
    before = sorted(directory.glob("update-*"))
    assert worker.result() == whole  # nobody killed it, and it needs no disk to end
    assert "No space left on device; the run goes on" in worker.said
    assert len(sorted(directory.glob("update-*"))) <= len(before) + 1
    (small_disk / "ballast").unlink()
    assert Worker(data, directory).result() == whole


def test_a_run_that_is_killed_while_the_disk_is_full_goes_on_from_before(data, whole, small_disk):
    directory, draw = small_disk / "run", np.random.default_rng(5)
    for _ in range(max(2, KILLS // 10)):
        worker = Worker(data, directory)
        worker.wait_for("training")
        fill(small_disk)
        time.sleep(draw.uniform(0, 0.1))
        worker.kill()
        (small_disk / "ballast").unlink()
    assert Worker(data, directory).result() == whole
