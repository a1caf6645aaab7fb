"""Train on a thousand epochs of ten updates with history and checkpoints, and say how memory grows.

Usage: python memory_run.py directory
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pytensor
import pytensor.tensor as pt

import downhill2


def resident():
    """Return the kilobytes of this process that are in memory."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def main(directory):
    """Print by how many kilobytes the process grew from the 100th epoch to the last."""
    pytensor.config.mode = "FAST_COMPILE"
    warnings.simplefilter("ignore")
    x, w = pt.matrix("x"), pytensor.shared(np.zeros(20), name="w")
    opt = downhill2.build("adam", ((x @ w - 1) ** 2).mean(), monitors={"size": abs(w).max()})
    rows, sizes = np.random.default_rng(0).normal(size=(100, 20)), {}

    def watch(opt, record):
        if record.epoch in (100, 1000):
            sizes[record.epoch] = resident()

    opt.minimize([rows], batch_size=10, rng=0, max_epochs=1000, patience=None, checkpoint=directory, callbacks=[watch])
    print(sizes[1000] - sizes[100])


if __name__ == "__main__":
    main(*sys.argv[1:])
