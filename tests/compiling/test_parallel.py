"""Large loops on several threads: bit for bit what one thread computes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from generated import compiled, details

from downhill2.compiling import fast_mode, parallel

SIZE = 7 * parallel.CHUNK + 13


@pytest.fixture(autouse=True)
def four_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Split loops over 5000 elements and more."""
    monkeypatch.setattr(parallel, "ALONE", 5000)
    monkeypatch.setattr(parallel, "BESIDE_MKL", 4000)
    monkeypatch.setattr(parallel, "threads", lambda: min(4, numba.config.NUMBA_NUM_THREADS))
    parallel.private.launch_threads()
    if parallel.threads() == 1:
        pytest.skip("needs two cores")


@pytest.fixture
def restored() -> Any:
    """Give back the number of threads that a test changes."""
    yield parallel.THREADS
    parallel.THREADS[0] = parallel.threads()


def is_split(function: Any) -> bool:
    return any(entry[-1] is parallel.THREADS for entry in details(function).layout.table)


def numbers(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(size).astype("f")


def step(size: int, mode: Any, known: bool = True, bad: float = 0.0) -> tuple[Any, list[Any]]:
    """Return a step with state, a gate and an inspection, and its shared variables."""
    shape = (size,) if known else (None,)
    w, m = (pytensor.shared(numbers(size, k), shape=shape, name="wm"[k]) for k in range(2))
    w.get_value(borrow=True)[-1] += bad
    gate, rate, g = pt.scalar("gate", dtype="bool"), pt.scalar("rate", dtype="float32"), pt.vector("g", dtype="float32")
    m_t = pt.switch(gate, np.float32(0.9) * m + g, m)
    w_t = pt.switch(gate, w - rate * m_t / (pt.sqrt(pt.abs(m_t)) + np.float32(1e-3)), w)
    sound = pt.all(pt.isfinite(w_t) & pt.isfinite(m_t))
    return compiled([gate, rate, g], [sound], mode, updates=[(w, w_t), (m, m_t)]), [w, m]


@pytest.mark.parametrize("bad", [0.0, np.nan], ids=["finite", "not finite"])
@pytest.mark.parametrize("known", [True, False], ids=["known size", "size of the value"])
def test_an_update_on_threads_equals_that_on_one_bit_for_bit(known: bool, bad: float) -> None:
    results = []
    for on in (False, True):
        f, variables = step(SIZE, fast_mode(parallel=on), known, bad)
        assert is_split(f) == on
        args = [np.array(True), np.array(0.1, "f"), numbers(SIZE, 3)]
        results.append([*f(*args), *f(*args), *(v.get_value() for v in variables)])
    for want, have in zip(*results, strict=True):
        np.testing.assert_array_equal(have, want)
    assert results[0][0] == (bad == 0)


@pytest.mark.parametrize("size", [5000, 5 * parallel.CHUNK])
def test_any_number_of_threads_computes_the_same(size: int, restored: np.ndarray) -> None:
    results = []
    for count in range(1, parallel.threads() + 1):
        f, variables = step(size, fast_mode())
        parallel.THREADS[0] = count
        f(np.array(True), np.array(0.1, "f"), numbers(size, 3))
        results.append([v.get_value() for v in variables])
    for have in results[1:]:
        np.testing.assert_array_equal(have, results[0])


def test_small_loops_stay_on_one_thread() -> None:
    assert not is_split(step(4999, fast_mode())[0])


@pytest.mark.parametrize(
    "expression",
    [
        lambda x: pt.sum(x * 2),
        lambda x: x[::2] * 2,
        lambda x: x.reshape((-1, 2)) + pt.arange(2, dtype="float32"),
    ],
    ids=["sum", "strided", "two axes"],
)
def test_what_would_not_be_the_same_stays_on_one_thread(expression: Any) -> None:
    x = pt.tensor("x", dtype="float32", shape=(20_000,))
    f = compiled([x], [expression(x)])
    assert not is_split(f)
    np.testing.assert_allclose(f(numbers(20_000))[0], expression(pt.constant(numbers(20_000))).eval(), rtol=1e-5)


def test_a_repeated_number_is_read_by_all_threads() -> None:
    x, y = pt.tensor("x", dtype="float32", shape=(SIZE,)), pt.tensor("y", dtype="float32", shape=(SIZE,))
    f = compiled([x, y], [x * y[0] < y[5:6]])
    assert is_split(f)
    a, b = numbers(SIZE), numbers(SIZE, 1)
    np.testing.assert_array_equal(f(a, b)[0], a * b[0] < b[5])


@pytest.mark.parametrize(("library", "split"), [("scipy", False), ("mkl", True)])
def test_beside_products_loops_are_split_only_with_mkl(
    library: str, split: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "blas_library", lambda: library)
    x = pt.tensor("x", dtype="float32", shape=(70, 70))
    f = compiled([x], [pt.tanh(x @ x)])
    assert is_split(f) == split
    a = numbers(4900).reshape(70, 70)
    np.testing.assert_allclose(f(a)[0], np.tanh(a @ a), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("limit", "most"), [("1", 1), ("1,4", 1), ("", 64), ("many", 64), ("0", 64)])
def test_threads_are_as_many_as_omp_num_threads_allows(limit: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("OMP_NUM_THREADS", limit)
    assert parallel.threads() == min(most, numba.config.NUMBA_NUM_THREADS)


def test_with_one_thread_nothing_is_split(monkeypatch: pytest.MonkeyPatch, restored: np.ndarray) -> None:
    monkeypatch.setattr(parallel, "threads", lambda: 1)
    assert not is_split(step(SIZE, fast_mode())[0])


FORK = """
import os, numpy as np, pytensor, pytensor.tensor as pt
from downhill2.compiling import fast_mode, parallel
parallel.ALONE = 5000
x = pt.vector("x", shape=(8000,))
f = pytensor.function([x], x * 2, mode=fast_mode(), trust_input=True)
f(np.ones(8000))
child = os.fork()
if not child:
    pytensor.function([x], x * 3, mode=fast_mode(), trust_input=True)(np.ones(8000))
    os._exit(int((f(np.ones(8000)) != 2).any()) + 10 * int(parallel.THREADS[0] != 1))
print(parallel.THREADS[0], os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(parallel.os, "fork"), reason="this system does not fork")
def test_a_forked_process_goes_on_with_one_thread() -> None:
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK], capture_output=True, text=True, check=True, cwd=root
    )
    threads, code = run.stdout.split()
    assert int(threads) > 1
    assert code == "0"
