"""Small computations that `doctor` runs."""

from __future__ import annotations

import importlib
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytensor
import pytensor.tensor as pt

import downhill2

from ..compiling import blas_library
from ..stepping.one_by_one import mode

SIZES, ROWS = (64, 128, 10), 64
SIDE = 768
REPEATS = 5


def fit(backend: str) -> tuple[float, list[str]]:
    """Fit a number with a backend; return the seconds for that, and the warnings.

    Raises
    ------
    ArithmeticError
        If the number is wrong.
    """
    x = pytensor.shared(np.array([4.0, -2.0]), name="x")
    begun = time.perf_counter()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        opt = downhill2.build("sgd", ((x - 3) ** 2).sum(), backend=backend)
        opt.minimize(learning_rate=0.25, max_updates=2, validate_every=None, progress=False, on_signal="raise")
    if not np.allclose(x.get_value(), [3.25, 1.75]):
        raise ArithmeticError(f"two updates must give 3.25 and 1.75, got {x.get_value()}")
    return time.perf_counter() - begun, [str(w.message) for w in warned]


def device(backend: str) -> str:
    """Return on which device JAX computes; nothing for other backends, which compute on the processor."""
    return f" on {importlib.import_module('jax').default_backend()}" if backend == "jax" else ""


def blas() -> str:
    """Return which library multiplies matrices."""
    if blas_library() == "mkl":
        return "Intel MKL"
    import scipy

    found = scipy.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{'OpenBLAS' if 'openblas' in found['name'] else found['name']} {found['version']} of SciPy"


def product_rate() -> float:
    """Return how many operations a second a product of two float32 matrices makes."""
    a, b = pt.fmatrix("a"), pt.fmatrix("b")
    values = np.ones((2, SIDE, SIDE), "float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTensor warns that its C linker has no BLAS; the rate shows that
        multiply = pytensor.function([a, b], a @ b, mode=mode())
        return 2 * SIDE**3 / min(_seconds(multiply, *values) for _ in range(REPEATS))


@dataclass(frozen=True)
class Training:
    """What training a small network took.

    Attributes
    ----------
    first : float
        Seconds to the end of the first update, compiling included.
    update : float
        Seconds for each later one.
    was_cached : bool
        Whether the cache had all that was compiled.
    """

    first: float
    update: float
    was_cached: bool


def training() -> Training:
    """Train a small network by Adam, alone and then many times over."""
    opt, rng = _network(), np.random.default_rng(0)
    data = [rng.normal(size=(ROWS, SIZES[0])).astype("float32"), rng.integers(SIZES[-1], size=ROWS)]
    settings = dict(batch_size=ROWS, validate_every=None, updates_per_call=1, rng=0, progress=False, on_signal="raise")
    before = size_of(Path(pytensor.config.base_compiledir))
    first = _seconds(opt.minimize, data, max_updates=1, **settings)
    was_cached = size_of(Path(pytensor.config.base_compiledir)) == before
    runs = []
    for _ in range(REPEATS):
        opt.minimize(data, max_updates=100, **settings)
        runs.append(opt.history[-1].seconds / 100)
    return Training(first, min(runs), was_cached)


def _network() -> downhill2.Optimizer:
    """Return Adam on the loss of a network with two layers."""
    x, y = pt.fmatrix("x"), pt.lvector("y")
    rng, out = np.random.default_rng(0), x
    for i, shape in enumerate(pairwise(SIZES)):
        W = pytensor.shared(rng.normal(scale=0.1, size=shape).astype("float32"), name=f"W{i}")
        out = (pt.tanh(out) if i else out) @ W
    loss = -pt.special.log_softmax(out, axis=1)[pt.arange(y.shape[0]), y].mean()
    return downhill2.build("adam", loss, inputs=[x, y])


def size_of(folder: Path) -> tuple[int, int]:
    """Return bytes and number of the files below a directory."""
    sizes = [_bytes(os.path.join(path, name)) for path, _, names in os.walk(folder) for name in names]
    return sum(sizes), len(sizes)


def _bytes(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except FileNotFoundError:  # another process has removed it
        return 0


def _seconds(function: Callable[..., object], *args: object, **kwargs: object) -> float:
    begun = time.perf_counter()
    function(*args, **kwargs)
    return time.perf_counter() - begun
