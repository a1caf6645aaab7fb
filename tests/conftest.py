"""What all tests share: the compile mode, Hypothesis' settings, a small real problem."""

from __future__ import annotations

import collections
import gc
import itertools
import os
import signal
from types import SimpleNamespace

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from hypothesis import HealthCheck, settings

from downhill2.symbolic.registry import registry as registered

DEFAULT_MODE = pytensor.config.mode
# Set at import, so that they hold for what test modules compile at module level too.
pytensor.config.mode = "FAST_COMPILE"
pytensor.config.floatX = "float64"

settings.register_profile(
    "downhill2",
    max_examples=int(os.environ.get("DOWNHILL2_FUZZ", 50)),
    derandomize=True,
    database=None,
    # An example may compile, and a machine may be busy: time says nothing about right and wrong.
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("downhill2")


# No test can see what outlives a power failure, and waiting for the disk takes a fifth of their time.
os.fsync = os.fstat


def pytest_addoption(parser):
    parser.addoption("--slowest-files", type=int, default=15, metavar="N", help="of how many files to tell the seconds")


def pytest_configure(config):
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts jobs in the background so. A run heeds what its program ignores: tests of Ctrl-C would not end.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Where PyTensor was installed by pip, its C linker finds no BLAS and says so once. These tests compile to
    # Python and Numba code, which never calls that BLAS.
    config.addinivalue_line("filterwarnings", "ignore:PyTensor could not link to a BLAS:UserWarning")
    # PyTensor silences this of Numba when it first compiles something, which may be inside another test.
    config.addinivalue_line("filterwarnings", "ignore:.*is faster on contiguous arrays")


def pytest_collection_finish():
    """Let no search for garbage walk over thousands of collected tests and all modules."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter, config):
    """Tell how many seconds the tests of a file took, so that who makes them slower sees it."""
    seconds = collections.Counter()
    for report in itertools.chain(*terminalreporter.stats.values()):
        if hasattr(report, "duration"):
            seconds[report.nodeid.partition("::")[0]] += report.duration
    if len(seconds) > 1:
        terminalreporter.section(f"seconds of the slowest files, of {seconds.total():.0f} in all")
        for file, each in seconds.most_common(config.option.slowest_files):
            terminalreporter.write_line(f"{each:7.1f} {file}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Give a test marked `default_mode` PyTensor's default mode, the one that users run, back."""
    mode = DEFAULT_MODE if item.get_closest_marker("default_mode") else pytensor.config.mode
    with pytensor.config.change_flags(mode=mode):
        return (yield)


@pytest.fixture
def own_algorithms(monkeypatch):
    """The registry with what the package has, whatever test modules have added; put back afterwards."""
    own = {n: c for n, c in registered.algorithms.items() if c.__module__.startswith("downhill2.algorithms.")}
    monkeypatch.setattr(registered, "algorithms", own)
    return own


@pytest.fixture
def registry(monkeypatch):
    """The algorithms by name; what a test registers is forgotten after it."""
    monkeypatch.setattr(registered, "algorithms", dict(registered.algorithms))
    return registered.algorithms


@pytest.fixture(scope="session")
def digits():
    """Scikit-learn's handwritten digits: `train` and `valid`, each [images in [0, 1], labels]."""
    images, labels = pytest.importorskip("sklearn.datasets").load_digits(return_X_y=True)
    images = images / 16
    return SimpleNamespace(train=[images[:600], labels[:600]], valid=[images[600:900], labels[600:900]])


@pytest.fixture
def softmax_regression(digits):
    """A fresh ten-class linear classifier of the digits: `loss`, `inputs`, `params`, `train` and `valid`."""
    x, y = pt.matrix("x"), pt.lvector("y")
    W, b = pytensor.shared(np.zeros((64, 10)), name="W"), pytensor.shared(np.zeros(10), name="b")
    log_p = pt.special.log_softmax(x @ W + b, axis=1)
    loss = -log_p[pt.arange(y.shape[0]), y].mean()
    return SimpleNamespace(loss=loss, inputs=[x, y], params=[W, b], train=digits.train, valid=digits.valid)
