"""Everything of a step that depends on the batch: the loss, its gradients, Hessian-vector products."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytensor
import pytensor.tensor as pt
from pytensor.gradient import pullback

from . import graph
from .formulas import norm
from .graph import Variable


class Measured:
    """A loss and its gradients.

    Parameters
    ----------
    loss : scalar TensorVariable
    params : sequence of shared variables

    Attributes
    ----------
    grads : list of TensorVariable
        One per parameter, in the dtype in which the parameter is updated.
    outputs : list of TensorVariable
        All that was measured: the loss, the gradients, and the Hessian-vector products that rules use.

    Raises
    ------
    ValueError
        If the loss has no gradient with respect to one of the parameters.
    RecursionError
        If the graph is deeper than Python's recursion limit allows.
    """

    def __init__(self, loss: Variable, params: Sequence[Variable]) -> None:
        self.loss, self.params = loss, list(params)
        try:
            raw = pytensor.grad(loss, self.params, disconnected_inputs="ignore", return_disconnected="none")
        except RecursionError as error:
            limit = sys.getrecursionlimit()
            raise RecursionError(
                f"loss has more operations one upon another than Python's recursion limit of {limit} allows; raise it "
                f"before, for example by sys.setrecursionlimit({10 * limit})"
            ) from error
        for param, label, g in zip(self.params, graph.labels(self.params), raw, strict=True):
            if g is None or not graph.is_tensor(g):
                raise ValueError(
                    f"the loss has no gradient with respect to parameter {label!r}; leave it out of params "
                    f"({graph.describe(param)} reaches the loss only through operations without a gradient)"
                )
        self._raw = raw
        self.grads = [graph.cast(g, graph.work_dtype(p.type.dtype)) for p, g in zip(self.params, raw, strict=True)]
        self.outputs = [loss, *self.grads]

    @classmethod
    def of(cls, loss: Variable | None, params: Sequence[Variable], grads: Sequence[Variable]) -> Measured:
        """Return a loss and gradients that were computed elsewhere; they have no Hessian-vector products."""
        new = cls.__new__(cls)
        new.loss, new.params, new.grads, new._raw = loss, list(params), list(grads), []
        new.outputs = [*grads] if loss is None else [loss, *grads]
        return new

    def moved(self, offsets: Sequence[Variable]) -> Measured:
        """Return the same loss with its gradients at the parameters moved by offsets."""
        there = {p: p + graph.cast(e, p.type.dtype) for p, e in zip(self.params, offsets, strict=True)}
        new = Measured.of(self.loss, self.params, graph.replaced(self.grads, there))
        new._raw = self._raw
        return new

    def global_norm(self, grads: Sequence[Variable]) -> Variable:
        """Return the Euclidean norm of several gradients taken as one vector."""
        return norm(*grads)

    def hessian_vector(self, vectors: Sequence[Variable], method: str) -> list[Variable]:
        """Return the product of the Hessian over all parameters with a vector, in parts like the parameters.

        `method` is ``'rop'`` (push the vector forward through the gradient), ``'lop'`` (pull it back: the
        Hessian is symmetric) or ``'grad'`` (the gradient of the product of gradient and vector).
        """
        vs = [graph.cast(v, p.type.dtype) for v, p in zip(vectors, self.params, strict=True)]
        products = self._product(vs, method)
        self.outputs += products
        return products

    def _product(self, vs: list[Variable], method: str) -> list[Variable]:
        wrt, grads = self.params, self._raw
        if method == "rop":  # the transpose of pulling back, which is linear: pull back through it again
            us = [pt.zeros_like(g) for g in grads]
            return _pulled_back(_pulled_back(grads, wrt, us), us, vs)
        if method == "lop":
            return _pulled_back(grads, wrt, vs)
        along = sum(pt.sum(g * v) for g, v in zip(grads, vs, strict=True))
        return list(pytensor.grad(along, wrt, consider_constant=vs, disconnected_inputs="ignore"))


def _pulled_back(outputs: Sequence[Variable], wrt: Sequence[Variable], vectors: Sequence[Variable]) -> list[Variable]:
    # Parameters that are added share one gradient, the same variable, and PyTensor's pullback and pushforward
    # keep one vector for each variable: of two, the first would be lost. Copies keep them apart.
    copies = [o.copy() for o in outputs]
    vectors = [graph.cast(v, o.type.dtype) for v, o in zip(vectors, outputs, strict=True)]
    return list(pullback(copies, wrt, vectors, disconnected_inputs="ignore"))
