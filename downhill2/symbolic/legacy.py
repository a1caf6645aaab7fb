"""Rules written for downhill: `_get_updates_for(param, grad)` yields pairs; that of `param` is its step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from functools import partial

from . import graph
from .graph import Variable
from .layout import Layout, Values
from .rule import Context

PairsOf = Callable[[Variable, Variable], Iterable[tuple[Variable, Variable]]]


class PairRule:
    """Runs such a method once per parameter, on a stand-in for the gradient.

    The method makes its state anew at each call, so its expressions are kept, and each use puts the gradient
    of that use in the place of the stand-in.

    Parameters
    ----------
    pairs_of : callable
        The method.
    kind : str
        What its state is called by.
    context : Context
        Takes the state in.
    """

    def __init__(self, pairs_of: PairsOf, kind: str, context: Context) -> None:
        self._pairs_of, self._kind, self._context = pairs_of, kind, context
        self._made: dict[Variable, tuple[Variable, dict[Variable, Variable]]] = {}

    def apply(self, layout: Layout, grads: Values) -> tuple[Values, dict[Variable, Variable]]:
        """Return the step of each parameter and the new values of state."""
        steps, new = Values(), {}
        for bundle in layout.singles:
            [param], [label] = bundle.params, bundle.names
            grad = grads.read(bundle)
            if param not in self._made:
                self._made[param] = self._make(param, label, grad)
            stand_in, pairs = self._made[param]
            grad = graph.cast(grad, stand_in.type.dtype)
            values = graph.replaced(list(pairs.values()), {stand_in: grad})
            placed = dict(zip(pairs, values, strict=True))
            steps.write(bundle, placed.pop(param))
            new.update(placed)
        return steps, new

    def _make(self, param: Variable, label: str, grad: Variable) -> tuple[Variable, dict[Variable, Variable]]:
        stand_in = grad.type(name=f"gradient of {label}")
        pairs = dict(self._pairs_of(param, stand_in))
        if param not in pairs:
            raise TypeError(f"_get_updates_for must yield a pair for its parameter, got none for {label!r}")
        state = [v for v in pairs if v is not param]
        for variable, symbol in zip(state, graph.labels(state), strict=True):
            first = partial(copy.deepcopy, variable.get_value())
            self._context.store.adopt(f"{label}.{self._kind}.{symbol}", variable, first)
        return stand_in, pairs
