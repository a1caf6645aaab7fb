"""Updates from several batches each: the two compiled halves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import pytensor.tensor as pt

from ..compiling import DeviceStep
from ..symbolic.accumulation import Accumulate
from . import nonfinite as faults
from .needs import Compiled, Expressions, Fed, OwnInputs
from .one_by_one import compiled


@dataclass(frozen=True)
class Halves:
    """The function that adds a batch to the sums, and the one that makes an update from them.

    Attributes
    ----------
    add : callable
        Takes a batch and its weight; returns the monitors before, the number of batches in the sums, and whether this
        batch is among them: it is left out if it is not finite.
    apply : callable
        Takes nothing, empties the sums; returns the mean loss of the batches, and whether the update was made.
    size : int
        Batches for one update.
    pending : callable
        Returns how many batches are in the sums.
    """

    add: Compiled
    apply: Compiled
    size: int
    pending: Callable[[], int]

    def renew(self) -> None:
        """Call `DeviceStep.renew` of the halves, if they are on a device."""
        for half in self._on_device():
            half.renew()

    def settle(self) -> None:
        """Call `DeviceStep.settle` of the halves, if they are on a device."""
        for half in self._on_device():
            half.settle()

    def _on_device(self) -> list[DeviceStep]:
        return [half for half in (self.add, self.apply) if isinstance(half, DeviceStep)]

    def __call__(self, *arrays: object) -> NoReturn:
        raise ValueError(f"accumulate must stay 1 in a run that began with 1, got {self.size}; begin another run")


def halves(fit: Expressions, feed: Fed, check: str) -> Halves:
    """Compile both halves of a fit's updates."""
    rule, problem, layout = Accumulate(fit.rule.context), fit.problem, fit.moving
    own, sound = fit.guarded(check, fit.layout)
    apply = compiled(OwnInputs(), [fit.source().loss, sound], own | fit.drawn([]), backend=fit.backend)
    weight = pt.dscalar("weight")
    gate = faults.gate(problem, layout)  # hyperparameters are looked at where the update uses them
    added = rule.added(problem.measured, layout, weight, gate)
    batches = rule.number("batches")
    outputs = [*fit.monitors.values(), added[batches], gate]
    taking = OwnInputs(inputs=[*feed.inputs, weight], givens=feed.givens)
    given = fit.given_updates(gate, own | added, problem.updates)
    given |= fit.drawn([*fit.monitors.values(), *problem.updates.values()])
    add = compiled(taking, outputs, added | given, backend=fit.backend)
    return Halves(add, apply, rule.accumulate, lambda: int(batches.get_value(borrow=True)))
