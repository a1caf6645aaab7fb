"""The graph that a model function returns for a number of features and outputs, and its compiled functions."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import pytensor
from pytensor.compile.mode import Mode
from pytensor.graph.basic import equal_computations

from .. import config
from ..compiling import backends
from ..optimizer import Optimizer, build
from ..stepping.needs import Backend
from ..stepping.one_by_one import mode
from ..symbolic import graph
from ..symbolic.graph import Variable
from ..symbolic.problem import check_loss

FORM = "(inputs, target, prediction, loss)"


class Model(NamedTuple):
    """A graph with its values: inputs, target, prediction and loss.

    Attributes
    ----------
    x, target : TensorVariable
        A matrix, one row per example; a vector or a matrix.
    prediction : TensorVariable
    loss : scalar TensorVariable
    """

    x: Variable
    target: Variable
    prediction: Variable
    loss: Variable

    @classmethod
    def checked(cls, made: object) -> Model:
        """Return the result of a model function as a Model.

        Raises
        ------
        TypeError, ValueError
            If it is something else; the message names the part.
        """
        if not isinstance(made, Sequence) or len(made) != len(cls._fields):
            raise TypeError(f"model must return {FORM}, got {made!r}")
        x, target, prediction, loss = made
        if isinstance(x, list | tuple) and len(x) == 1:
            [x] = x
        _check_fed("inputs", x, (2,), "a matrix such as pt.matrix('x')")
        _check_fed("target", target, (1, 2), "a vector or a matrix such as pt.vector('y')")
        if not graph.is_tensor(prediction) or prediction.type.ndim not in (1, 2):
            raise TypeError(f"the prediction of model must be a vector or a matrix, got {prediction!r}")
        check_loss("the loss of model", loss)
        _check_reach("prediction", prediction, [x])
        _check_reach("loss", loss, [x, target])
        return cls(x, target, prediction, loss)

    @property
    def shared(self) -> list[Variable]:
        """The shared variables: parameters, and others that it is computed from."""
        return graph.shared_inputs([self.prediction, self.loss])

    def values(self) -> dict[str, np.ndarray]:
        """Return copies of the values of shared variables by name, but for random generators."""
        named = zip(graph.labels(self.shared), self.shared, strict=True)
        return {n: v.get_value() for n, v in named if not graph.is_generator(v)}

    def set_values(self, values: Mapping[str, np.ndarray]) -> None:
        """Set the shared variables to what `values` returned."""
        named = zip(graph.labels(self.shared), self.shared, strict=True)
        graph.assign({v: values[n] for n, v in named if not graph.is_generator(v)})

    def take(self, other: Model) -> None:
        """Take over the values of another of the same graph."""
        pairs = zip(self.shared, other.shared, strict=True)
        graph.assign({own: v.get_value(borrow=True) for own, v in pairs})

    def same_graph(self, other: Model) -> bool:
        """Whether another computes the same from variables of the same names, types and shapes."""
        own, others = ([m.x, m.target, *m.shared] for m in (self, other))
        if graph.labels(self.shared) != graph.labels(other.shared):  # groups and `params_` use these names
            return False
        if [_kind(v) for v in own] != [_kind(v) for v in others]:
            return False
        results = [[m.prediction, m.loss] for m in (self, other)]
        return bool(equal_computations(*results, own, others))

    def check_rows(self, x: np.ndarray, n_outputs: int) -> None:
        """Raise ValueError unless the prediction has a row for each row of `x`, and a column for each output.

        For one output it may be a vector.
        """
        # on the Python linker: it compiles nothing
        predict = pytensor.function([self.x], self.prediction, mode=Mode("py", None), on_unused_input="ignore")
        with np.errstate(all="ignore"):
            shape = np.shape(predict(np.asarray(x, self.x.type.dtype)))
        if shape != (len(x), n_outputs) and (shape != (len(x),) or n_outputs != 1):
            raise ValueError(
                f"the prediction of model must have shape {(len(x), n_outputs)} for {len(x)} rows, got {shape}"
            )


def _check_fed(name: str, v: Variable, ndims: Sequence[int], wanted: str) -> None:
    if not graph.is_tensor(v) or v.owner is not None or graph.is_shared(v) or v.type.ndim not in ndims:
        raise TypeError(f"the {name} of model must be {wanted}, got {v!r}; model must return {FORM}")


def _check_reach(name: str, result: Variable, fed: Sequence[Variable]) -> None:
    for v in graph.explicit_inputs([result]):
        if v not in fed:
            raise ValueError(f"the {name} of model must be computed from {', '.join(map(str, fed))}, got {v} too")


def _kind(v: Variable) -> tuple[Any, ...]:
    shape = np.shape(v.get_value(borrow=True)) if graph.is_shared(v) and graph.is_tensor(v) else None
    return v.type, shape


class Network:
    """A graph with its compiled functions, for all models with the same graph.

    Parameters
    ----------
    model : Model
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        # each fit may bring other schedules: of several optimizers, the oldest is dropped
        self._optimizers: deque[tuple[dict[str, Any], Optimizer]] = deque(maxlen=4)
        self._predictions: dict[Any, Any] = {}

    def optimizer(self, build_settings: Mapping[str, Any], hyper: Mapping[str, object]) -> Optimizer:
        """Return an optimizer of the loss, as after `build`, for a run with these hyperparameters."""
        # numbers can change later, anything else shapes the graph
        form = {**build_settings, **{n: None if isinstance(v, Real) else v for n, v in hyper.items()}}
        for known, opt in self._optimizers:
            if _equal(form, known):
                return opt
        opt = build(loss=self.model.loss, inputs=[self.model.x, self.model.target], **build_settings)
        self._optimizers.append((form, opt))
        return opt

    def predict(self, x: np.ndarray, backend: Backend) -> np.ndarray:
        """Return the prediction for rows."""
        key = (*backends.key(backend), config.generated, config.products, config.parallel)
        if key not in self._predictions:
            with backends.explained(backend):
                self._predictions[key] = pytensor.function(
                    [self.model.x], self.model.prediction, mode=mode(backend), on_unused_input="ignore"
                )
        return np.array(self._predictions[key](np.asarray(x, self.model.x.type.dtype, order="C")))


def _equal(a: Mapping[str, object], b: Mapping[str, object]) -> bool:
    try:
        return bool(a == b)
    except ValueError:  # they hold arrays, whose equality has no single truth value
        return False


class Pool:
    """Unused networks: a thread takes one out while it uses it, so that no two threads share one.

    Parameters
    ----------
    most : int
        How many networks to keep.
    """

    def __init__(self, most: int) -> None:
        self._idle: deque[Network] = deque(maxlen=most)
        self._lock = threading.Lock()

    @contextmanager
    def lent(self, model: Model) -> Iterator[Network]:
        """Lend a network of the graph of a model, with its values."""
        network = self._taken(model) or Network(model)
        network.model.take(model)
        yield network
        with self._lock:  # not after an error, which may have left it in any state
            self._idle.append(network)

    def _taken(self, model: Model) -> Network | None:
        with self._lock:
            for network in self._idle:
                if network.model.same_graph(model):
                    self._idle.remove(network)
                    return network
        return None
