"""Compiled functions are kept on disk: a second process compiles nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import numpy as np, pytensor, pytensor.tensor as pt
from downhill2.compiling import fast_mode
x, y = pt.fmatrix("x"), pt.fvector("y")
w = [pytensor.shared(np.full((3, 3), 0.1 * i, "float32")) for i in range(3)]
h = x
for p in w:
    h = pt.tanh(h @ p) + CONSTANT
loss = pt.sqr(h.sum(axis=1) - y).mean()
updates = [(p, p - np.float32(0.1) * g) for p, g in zip(w, pytensor.grad(loss, w))]
f = pytensor.function([x, y], [loss, pt.outer(y, y)], updates=updates, mode=fast_mode(), trust_input=True)
f(np.ones((4, 3), "float32"), np.ones(4, "float32"))
kernel = f.vm.jit_fn.kernel
functions = [kernel] + [v for k, v in kernel.py_func.__globals__.items() if k.startswith("loops_")]
print(sum(sum(f.stats.cache_hits.values()) for f in functions),
      sum(sum(f.stats.cache_misses.values()) for f in functions))
"""


def hits_and_misses(folder: Path, constant: str = "np.float32(0.5)", flags: str = "") -> tuple[int, int]:
    environment = {**os.environ, "PYTENSOR_FLAGS": f"base_compiledir={folder},{flags}"}
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("CONSTANT", constant)],
        env=environment,
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    hits, misses = run.stdout.split()
    return int(hits), int(misses)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compiled")
    hits, misses = hits_and_misses(folder)
    assert hits == 0
    assert misses > 1
    return folder


def test_a_second_process_compiles_nothing(cache: Path) -> None:
    hits, misses = hits_and_misses(cache)
    assert misses == 0
    assert hits == 1


def test_another_constant_is_another_function(cache: Path) -> None:
    assert hits_and_misses(cache, constant="np.float32(0.25)")[1] > 0


def test_other_floating_point_rules_are_another_function(cache: Path) -> None:
    assert hits_and_misses(cache, flags="numba__fastmath=False")[1] > 0


def test_importing_the_package_does_not_import_numba() -> None:
    code = "import sys, downhill2.compiling; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)
