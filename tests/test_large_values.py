"""Putting values back, and saving them, takes no memory for another copy of a large parameter."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytensor
import pytest

import downhill2

N = 2**20


@pytest.fixture(scope="module")
def opt():
    w = pytensor.shared(np.linspace(0, 1, N), name="w", shape=(N,))
    opt = downhill2.build("adam", ((w - 1) ** 2).sum())
    opt.fit.best.keep({"loss": 0.0})
    return opt


def growth(function):
    """Return the most memory that a call needed, in units of the parameter."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1] / (8 * N)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("wanted", ["best", "arrays", "state", "checkpoint"])
def test_putting_values_back_takes_no_memory_for_them(opt, wanted, tmp_path):
    [w], state = opt.params, opt.state_dict()
    actions = {
        "best": lambda: opt.set_params("best"),
        "arrays": lambda: opt.set_params([state["params.w"]]),
        "state": lambda: opt.load_state_dict(state),
        "checkpoint": lambda: opt.save(tmp_path / "all.safetensors"),
    }
    if wanted != "checkpoint":
        w.get_value(borrow=True)[:] = 7
    assert growth(actions[wanted]) < 0.1
    np.testing.assert_array_equal(w.get_value(borrow=True), np.linspace(0, 1, N))


def test_state_begins_anew_with_one_array_at_a_time(opt):
    opt.state_dict()  # makes the state
    assert growth(opt.reset) < 1.1
