"""Schedules: hyperparameters as functions of the number of updates, or of epochs, made so far.

Any hyperparameter takes one::

    downhill2.minimize(loss, train, algo="adam", learning_rate=schedules.Cosine(0.01, 5000))
    opt.iterate(train, learning_rate=schedules.WarmUp(schedules.Step(0.1, every=30, per="epoch"), 500))

Call a schedule with a number, or an array, to see its values: ``plt.plot(schedule(np.arange(5000)))``.

Before anything is compiled, a run checks it as far as ``max_updates`` and ``max_epochs`` reach: a schedule that leaves
the range of its hyperparameter, such as below 0 for a learning rate, is a ValueError. Your own functions and
expressions are not checked, and neither is a schedule in `Optimizer.get_updates`.
"""

from __future__ import annotations

from ..loop.plateau import ReduceOnPlateau
from .joined import Join, WarmUp
from .schedule import Constant, Function, Product, Schedule
from .shapes import (
    Cosine,
    CosineRestarts,
    CosineWave,
    Cyclic,
    Exponential,
    InverseTime,
    Linear,
    MultiStep,
    OneCycle,
    Piecewise,
    Polynomial,
    Step,
)

__all__ = [
    "Constant",
    "Cosine",
    "CosineRestarts",
    "CosineWave",
    "Cyclic",
    "Exponential",
    "Function",
    "InverseTime",
    "Join",
    "Linear",
    "MultiStep",
    "OneCycle",
    "Piecewise",
    "Polynomial",
    "Product",
    "ReduceOnPlateau",
    "Schedule",
    "Step",
    "WarmUp",
]
