"""Schedules: hyperparameters as functions of the number of updates, or of epochs, made so far.

Any hyperparameter takes one::

    downhill2.minimize(loss, train, algo="adam", learning_rate=schedules.Cosine(0.01, 5000))
    opt.iterate(train, learning_rate=schedules.WarmUp(schedules.Step(0.1, every=30, per="epoch"), 500))

A schedule is called with a number, or an array of them, to look at it: ``plt.plot(schedule(np.arange(5000)))``.

A run looks at it too, before anything is compiled, as far as ``max_updates`` and ``max_epochs`` tell how far it goes:
where it leaves the range of what it drives, below 0 for a learning rate, that is a ValueError. A function or an
expression of one's own has to keep within that range by itself, as has a schedule in `Optimizer.get_updates`.
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
