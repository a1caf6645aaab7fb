"""Trackers: callbacks that write the records of a run to files, or to the stores of other packages.

Pass them to a run in `callbacks`. A tracker is closed when the run ends, however it ends, and serves one run at a
time::

    opt.minimize(train, valid, callbacks=[downhill2.trackers.CSV("run.csv"), downhill2.trackers.TensorBoard("runs/1")])

A store that cannot be written costs the run nothing but a warning in the log.
"""

from __future__ import annotations

from .plain_files import CSV, JSONLines
from .pruning import Optuna
from .stores import MLflow, TensorBoard, WandB
from .tracker import Tracker

__all__ = ["CSV", "JSONLines", "MLflow", "Optuna", "TensorBoard", "Tracker", "WandB"]
