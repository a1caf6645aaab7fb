"""Checkpoints of versions from before: they load, and their runs go on to the bit."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import downhill2

STORED = Path(__file__).parent / "goldens"
DATA = [np.arange(24.0).reshape(8, 3) / 16]
RUN = {"batch_size": 4, "rng": 5, "validate_every": 2, "patience": None}


def made():
    """The optimizer that wrote them: nothing in its updates is rounded otherwise on another machine."""
    x = pt.matrix("x")
    w, b = pytensor.shared(np.array([3.0, -2.0, 0.5]), name="w"), pytensor.shared(np.array(1.0), name="b")
    given = {"learning_rate": 0.0625, "momentum": 0.5, "ema": 0.75, "rho": 0.75}
    return downhill2.build("rmsprop", ((x * w + b - 1) ** 2).mean(), [w, b], [x], **given)


def told(opt):
    """What a run has come to, times and events left out."""
    records = [(r.epoch, r.updates, r.train, r.valid, r.improved, r.hyper) for r in opt.history]
    return [p.get_value().tolist() for p in opt.params], {n: v.tolist() for n, v in opt.state.items()}, records


@pytest.mark.parametrize("version", ["run-of-0.1.0"])
def test_a_run_of_a_former_version_goes_on_to_the_bit(version, tmp_path):
    shutil.copytree(STORED / version, tmp_path / "run")
    whole = made()
    whole.minimize(DATA, **RUN, max_epochs=9)
    resumed = made()
    resumed.minimize(DATA, **RUN, max_epochs=9, checkpoint=tmp_path / "run", resume=True)
    assert told(resumed) == told(whole)


@pytest.mark.parametrize("version", ["run-of-0.1.0"])
def test_a_checkpoint_of_a_former_version_is_a_file_to_load(version):
    whole, loaded = made(), made()
    whole.minimize(DATA, **RUN, max_epochs=4, restore_best=False)
    loaded.load(max((STORED / version).glob("update-*.safetensors")))
    assert [p.get_value().tolist() for p in loaded.params] == [p.get_value().tolist() for p in whole.params]
