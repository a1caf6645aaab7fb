import numpy as np
import pytensor
import pytest
from pytensor.compile.mode import get_default_mode

import downhill2
from downhill2 import config
from downhill2.compiling.linker import FunctionLinker
from downhill2.stepping import one_by_one as functions


def test_where_pytensors_default_is_no_numba_that_is_taken():
    assert functions.mode() is get_default_mode()  # FAST_COMPILE, in these tests


@pytest.mark.default_mode
def test_where_pytensors_default_is_numba_a_graph_becomes_one_function():
    assert isinstance(functions.mode().linker, FunctionLinker)


@pytest.mark.default_mode
def test_generated_functions_can_be_switched_off(monkeypatch):
    monkeypatch.setattr(config, "generated", False)
    assert functions.mode() is get_default_mode()


@pytest.mark.default_mode
def test_a_switch_between_two_runs_compiles_anew_and_goes_on(monkeypatch):
    w = pytensor.shared(np.array([4.0, -2.0]), name="w")
    opt = downhill2.build("sgd", (w**2).sum(), learning_rate=0.1)
    opt.minimize(max_updates=2, validate_every=None)
    monkeypatch.setattr(config, "generated", False)
    opt.minimize(max_updates=1, validate_every=None)
    np.testing.assert_allclose(w.get_value(), 0.8**3 * np.array([4.0, -2.0]), rtol=1e-12)
