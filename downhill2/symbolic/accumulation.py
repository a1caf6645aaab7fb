"""Accumulation: one update from the gradients of several batches, in two halves.

The first half uses data: it adds the loss and the gradients of a batch to sums, which are state, like momenta. The
second uses none: it makes an update from the sums, and empties them. So everything after the gradient runs once for all
batches, and costs as much; and the batches that are left when an epoch ends need the second half alone.
"""

from __future__ import annotations

import numpy as np
import pytensor.tensor as pt

from . import graph
from .graph import Variable
from .hyper import Setting
from .layout import Layout
from .measure import Measured
from .options import Count
from .rule import Rule
from .state import Zeros

TINY = 1e-30


class Accumulate(Rule):
    """Sums of loss and gradients over batches, weighted by rows where the loss is a mean over rows."""

    accumulate = Count(1)
    reduction = Setting("mean", ("mean", "sum"))
    sum = Zeros()

    def number(self, symbol: str) -> Variable:
        """Return a float64 state that is one number: ``'weight'``, ``'loss'`` and ``'batches'`` of the sums."""
        return self.context.store.variable(f"all.accumulate.{symbol}", _zero)

    def sums(self, layout: Layout) -> dict[Variable, Variable]:
        """Return the sum of gradients of each parameter."""
        return {b.params[0]: self.states(b)["sum"].variables[0] for b in layout.singles}

    def added(self, measured: Measured, layout: Layout, weight: Variable, gate: Variable) -> dict[Variable, Variable]:
        """Return the sums with a batch of `weight` rows added where the gate is open."""
        factor = weight if self.reduction == "mean" else 1
        grads = dict(zip(measured.params, measured.grads, strict=True))
        new = {s: s + factor * grads[p] for p, s in self.sums(layout).items()}
        for symbol, term in (("weight", weight), ("loss", factor * measured.loss), ("batches", 1.0)):
            new[self.number(symbol)] = self.number(symbol) + term
        return graph.gated(new, [*measured.outputs, weight, *new], gate)

    def measured(self, params: list[Variable], layout: Layout) -> Measured:
        """Return loss and gradients of all batches so far, as of one batch; 0 for parameters that do not move."""
        rows = pt.maximum(self.number("weight"), TINY) if self.reduction == "mean" else 1
        sums = self.sums(layout)
        return Measured.of(
            self.number("loss") / rows, params, [sums[p] / rows if p in sums else pt.zeros_like(p) for p in params]
        )

    def clear(self, layout: Layout) -> None:
        """Set the sums to 0."""
        for s in self.emptied(layout):
            graph.assign({s: np.zeros_like(s.get_value(borrow=True))})

    def emptied(self, layout: Layout) -> dict[Variable, Variable]:
        """Return the new values that set the sums to 0."""
        sums = [*self.sums(layout).values(), *(self.number(n) for n in ("weight", "loss", "batches"))]
        return {s: pt.zeros_like(s) for s in sums}


def _zero() -> np.ndarray:
    return np.zeros(())
