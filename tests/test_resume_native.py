"""A run that is resumed is the uninterrupted one in what users run too: generated Numba functions, C, and readers."""

from __future__ import annotations

import functools
import signal

import numpy as np
import pytensor
import pytest
from training import BATCH, ROWS, Crash, Training, after, rows

from downhill2 import Dataset


def falling(updates):
    return 0.02 * 0.95**updates


CONFIGURATIONS = {
    "adam": {"algo": "adam", "dtype": "float32", "noise": True, "learning_rate": falling},
    "esgd": {"algo": "esgd", "dtype": "float64", "noise": True, "counter": True},
    "momentum": {"algo": "sgd", "dtype": "float32", "counter": True, "momentum": 0.9, "max_global_norm": 0.1},
}


@functools.cache
def training(name):
    """Return the training of a configuration; each is compiled once for each mode."""
    return Training(**CONFIGURATIONS[name])


def killed():
    raise Crash


def interrupted(train, directory, **settings):
    """Run with a crash, a limit within an epoch, a limit at its end and a signal; return what the rest comes to."""
    given = {"checkpoint": directory, "resume": "auto", "checkpoint_every": "2 updates", **settings}
    with after(4, killed), pytest.raises(Crash):
        train.run(**given)
    for updates in (9, 12):
        train.run(**{**given, "max_updates": updates})
        assert train.opt.stopped == "max_updates"
    with after(2, functools.partial(signal.raise_signal, signal.SIGTERM)):
        train.run(**given, on_signal="stop")
    assert train.opt.stopped == "signal SIGTERM"
    return train.run(**given)


@pytest.mark.default_mode
@pytest.mark.parametrize("name", ["adam", *(pytest.param(n, marks=pytest.mark.thorough) for n in ("esgd", "momentum"))])
def test_generated_functions_resume_exactly(name, tmp_path):
    train = training(name)
    whole = train.run()
    assert interrupted(train, tmp_path) == whole


@pytest.mark.thorough
@pytest.mark.skipif(not pytensor.config.cxx, reason="needs a C++ compiler")
def test_c_resumes_exactly(tmp_path):
    train = Training("sgd", "float32", noise=True, momentum=0.9)
    # each of its operations is a file to compile; optimized or not, all updates are the same code
    with pytensor.config.change_flags(mode="CVM", gcc__cxxflags="-O0"):
        whole = train.run()
        assert interrupted(train, tmp_path) == whole


def mapped(folder, arrays):
    """Return the arrays as memory maps of files in a folder."""
    for name, array in zip("xy", arrays, strict=True):
        np.save(folder / f"{name}.npy", array)
    return [np.load(folder / f"{name}.npy", mmap_mode="r") for name in "xy"]


def hierarchical(folder, arrays):
    """Return the arrays as datasets of an HDF5 file in a folder."""
    h5py = pytest.importorskip("h5py")
    file = h5py.File(folder / "data.h5", "w")
    return [file.create_dataset(name, data=array) for name, array in zip("xy", arrays, strict=True)]


@pytest.mark.default_mode
@pytest.mark.parametrize("ahead", [1, 3])
@pytest.mark.parametrize("source", [mapped, hierarchical])
def test_a_run_on_files_that_are_read_ahead_resumes_exactly(source, ahead, tmp_path):
    train = training("adam")
    arrays = source(tmp_path, rows(ROWS, 2, "float32"))

    def data(prefetch):
        return Dataset(arrays, batch_size=BATCH, rng=5, prefetch=prefetch)

    whole = train.run(train=data(0))
    assert train.run(train=data(ahead)) == whole
    results = []
    for updates in (3, 9, 12, 20, None):
        given = {"checkpoint": tmp_path / "run", "resume": "auto", "max_updates": updates}
        results.append(train.run(train=data(ahead), **given))
    assert results[-1] == whole
    if hasattr(arrays[0], "file"):
        arrays[0].file.close()
