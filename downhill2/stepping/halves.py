"""Updates from several batches each: the two compiled halves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NoReturn

import pytensor.tensor as pt

from ..compiling import DeviceStep
from ..symbolic.accumulation import Accumulate
from . import nonfinite as faults
from .one_by_one import Compiled, compiled


@dataclass(frozen=True)
class Halves:
    """What adds a batch to the sums, and what makes an update of them.

    Attributes
    ----------
    add : callable
        A batch and its weight in; out the monitors before, how many batches are in the sums, and whether this one is:
        it is left out if it is not finite.
    apply : callable
        Nothing in; out the mean loss of the batches, and whether the update was made. The sums are empty then.
    size : int
        Batches that make an update.
    pending : callable
        Returns how many batches are in the sums.
    """

    add: Compiled
    apply: Compiled
    size: int
    pending: Callable[[], int]

    def renew(self) -> None:
        """As `DeviceStep.renew`, where the halves are such."""
        for half in self._on_device():
            half.renew()

    def settle(self) -> None:
        """As `DeviceStep.settle`, where the halves are such."""
        for half in self._on_device():
            half.settle()

    def _on_device(self) -> list[DeviceStep]:
        return [half for half in (self.add, self.apply) if isinstance(half, DeviceStep)]

    def __call__(self, *arrays: Any) -> NoReturn:
        raise ValueError(f"accumulate must stay 1 in a run that began with 1, got {self.size}; begin another run")


def halves(fit: Any, feed: Any, check: str) -> Halves:
    """Compile both halves of a fit's updates."""
    rule, problem, layout = Accumulate(fit.rule.context), fit.problem, fit.moving
    own, sound = fit.guarded(check, fit.layout)
    nothing = SimpleNamespace(inputs=[], givens={})
    apply = compiled(nothing, [fit.source().loss, sound], own | fit.drawn([]), backend=fit.backend)
    weight = pt.dscalar("weight")
    gate = faults.gate(problem, layout, rule.hyper)
    added = rule.added(problem.measured, layout, weight, gate)
    batches = rule.number("batches")
    outputs = [*fit.monitors.values(), added[batches], gate]
    taking = SimpleNamespace(inputs=[*feed.inputs, weight], givens=feed.givens)
    given = fit.given_updates(gate, own | added, problem.updates)
    given |= fit.drawn([*fit.monitors.values(), *problem.updates.values()])
    add = compiled(taking, outputs, added | given, backend=fit.backend)
    return Halves(add, apply, rule.accumulate, lambda: int(batches.get_value(borrow=True)))
