"""downhill2: minimize any scalar PyTensor expression.

Three levels of use, each a thin layer over the next::

    downhill2.minimize(loss, train, valid, algo='adam')          # everything

    opt = downhill2.build('adam', loss)                          # your loop
    for train_monitors, valid_monitors in opt.iterate(train, valid):
        ...

    updates = opt.get_updates(learning_rate=0.1)                 # just the graph
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from . import adaptive, base, climate, config, first_order, projections, schedules, util
from .adaptive import ADADELTA, ADAGRAD, ESGD, Adam, RMSProp, RProp
from .algorithms.adagrad import AdagradWindow
from .algorithms.adam_variants import AdamW, AMSGrad, NAdam, NAdamW, RAdam
from .algorithms.adamax import Adamax, AdamaxW
from .algorithms.averaged import ASGD, MADGRAD
from .algorithms.belief import ADOPT, ACProp, AdaBelief, Yogi
from .algorithms.factored import SM3, Adafactor
from .algorithms.layerwise import LAMB, LARS, Fromage, NovoGrad
from .algorithms.loss_scaled import SPS, MoMo, MoMoAdam, Polyak, SPSPlus
from .algorithms.mixtures import Adan, AdEMAMix, SimplifiedAdEMAMix
from .algorithms.parameter_free import DAdaptAdamW, DoG, DoWG, Prodigy
from .algorithms.regret import COCOB, FTRL, OptimisticAdam, OptimisticGD
from .algorithms.schedule_free import ScheduleFree, ScheduleFreeAdamW
from .algorithms.sgd import NoisySGD
from .algorithms.sign import Lion, SignSGD, Signum
from .algorithms.smorms3 import SMORMS3
from .catalogue import list_algorithms
from .data.dataset import Dataset
from .first_order import NAG, SGD
from .fitting.fit import params_beside_data
from .fitting.settings import NAMES
from .keeping.checkpoint import CheckpointError
from .keeping.history import History
from .loop.run import Record
from .optimizer import Optimizer, build
from .plugin import updates
from .rules import rule
from .stepping.nonfinite import NonFiniteError
from .symbolic import synonyms
from .symbolic.algorithm import Algorithm
from .symbolic.formulas import ema, norm, root
from .symbolic.graph import Variable
from .symbolic.hyper import Hyper, Setting, nearest
from .symbolic.problem import Pairs
from .symbolic.state import Copy, Generator, Number, State, Zeros
from .version import __version__ as __version__

__all__ = [
    "ADADELTA",
    "ADAGRAD",
    "ADOPT",
    "ASGD",
    "COCOB",
    "ESGD",
    "FTRL",
    "LAMB",
    "LARS",
    "MADGRAD",
    "NAG",
    "SGD",
    "SM3",
    "SMORMS3",
    "SPS",
    "ACProp",
    "AMSGrad",
    "AdEMAMix",
    "AdaBelief",
    "Adafactor",
    "AdagradWindow",
    "Adam",
    "AdamW",
    "Adamax",
    "AdamaxW",
    "Adan",
    "CheckpointError",
    "Copy",
    "DAdaptAdamW",
    "Dataset",
    "DoG",
    "DoWG",
    "Fromage",
    "Generator",
    "History",
    "Hyper",
    "Lion",
    "MoMo",
    "MoMoAdam",
    "NAdam",
    "NAdamW",
    "NoisySGD",
    "NonFiniteError",
    "NovoGrad",
    "Number",
    "OptimisticAdam",
    "OptimisticGD",
    "Optimizer",
    "Polyak",
    "Prodigy",
    "RAdam",
    "RMSProp",
    "RProp",
    "Record",
    "SPSPlus",
    "ScheduleFree",
    "ScheduleFreeAdamW",
    "Setting",
    "SignSGD",
    "Signum",
    "SimplifiedAdEMAMix",
    "State",
    "Yogi",
    "Zeros",
    "adaptive",
    "base",
    "build",
    "climate",
    "config",
    "ema",
    "first_order",
    "list_algorithms",
    "minimize",
    "norm",
    "projections",
    "root",
    "rule",
    "schedules",
    "updates",
    "util",
]


def minimize(
    loss: Variable,
    train: object,
    valid: object = None,
    params: Sequence[Variable] | None = None,
    inputs: Sequence[Variable] | None = None,
    algo: str | type[Algorithm] = "rmsprop",
    updates: Pairs = (),
    monitors: Pairs = (),
    monitor_gradients: bool = False,
    batch_size: int = 32,
    train_batches: int | None = None,
    valid_batches: int | None = None,
    **kwargs: Any,
) -> tuple[dict[str, float], dict[str, float]]:
    """Minimize a loss.

    Parameters
    ----------
    loss : scalar TensorVariable
        What to minimize.
    train : Dataset, or what a Dataset takes; None
        Training data, one array per input; None if the loss needs none.
    valid : the same, optional
        Validation data. Default: the training data.
    params, inputs, updates, monitors, monitor_gradients
        As for `Optimizer`.
    algo : str or subclass of Optimizer
        The algorithm. Default ``'rmsprop'``.
    batch_size, train_batches, valid_batches : int
        Rows per batch, and batches per epoch and per validation, of data that is not yet a `Dataset`.
    **kwargs
        Hyperparameters, and what `Optimizer.iterate` takes.

    Returns
    -------
    train_monitors, valid_monitors : dict of str to float
        Averages over the last epoch, and the last validation. The best parameters are in the shared variables.

    Raises
    ------
    TypeError, ValueError
        For wrong arguments, before anything is compiled.
    NonFiniteError
        When the training loss is not finite; the best parameters are restored.

    Examples
    --------
    >>> import numpy as np, pytensor, pytensor.tensor as pt
    >>> x, w = pt.matrix("x"), pytensor.shared(np.zeros(2), name="w")
    >>> data = np.array([[1.0, 2.0], [2.0, 1.0]])
    >>> train, valid = downhill2.minimize(
    ...     ((x @ w - 3) ** 2).mean(), [data], algo="sgd", learning_rate=0.1, max_epochs=50
    ... )
    >>> [round(float(v), 2) for v in w.get_value()]
    [1.0, 1.0]
    """
    sizes = {"batch_size": batch_size, "train_batches": train_batches, "valid_batches": valid_batches}
    run = {n: kwargs.pop(n) for n in NAMES if n in kwargs}
    if params is None:
        params = params_beside_data(loss, (train, valid), updates, kwargs)
    opt = build(algo, loss, params, inputs, updates, monitors, monitor_gradients, **kwargs)
    return opt.minimize(train, valid, **sizes, **run)


_FORMER = {c.lower(): c for c in __all__}
_LATER = {
    "find_learning_rate": "tuning.learning_rate",
    "plots": "reporting.plots",
    "pymc": "integrations.pymc",
    "sklearn": "integrations.sklearn",
    "trackers": "reporting.trackers",
}
"""Names whose modules are imported at first use, and their modules."""


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})


def __getattr__(name: str) -> Any:
    if name in _LATER:
        module = import_module(f".{_LATER[name]}", __name__)
        return globals().setdefault(name, getattr(module, name, module))
    near = _FORMER.get(name.lower())
    hint = f"; did you mean {near!r}?" if near else synonyms.algorithm(name, [])
    hint = hint or nearest(name, [*__all__, *_LATER])
    raise AttributeError(f"module 'downhill2' has no attribute {name!r}{hint}")
