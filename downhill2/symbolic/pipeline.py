"""The stages of a step, in order: from measured gradients to the new value of every variable.

Measure, gates, gradient transforms, rule, momentum and rate, new value, and one switch that holds all of it
back where a gate is closed. Everything after the first stage uses no data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytensor.tensor as pt

from . import graph
from .graph import Variable
from .layout import Bundle, Layout, Values
from .measure import Measured
from .rule import Rule
from .transforms import ClipElement, ClipGlobalNorm, ClipNorm, Momentum, Rate, WeightDecay


def update(rule: Rule, measured: Measured, layout: Layout, gate: Variable | None = None) -> dict[Variable, Variable]:
    """Return the new value of every variable: one update by `rule` and the transforms that it was given.

    Parameters
    ----------
    rule : Rule
    measured : Measured
        Loss and gradients: all that depends on data.
    layout : Layout
        The parameters, one by one or packed.
    gate : symbolic bool, optional
        Where false, every variable but the random generators keeps its value.
    """
    stages = Stages(rule, measured, layout)
    step, new = stages.run()
    for bundle in layout.bundles("element"):
        new |= bundle.updates(bundle.params, stages.point.read(bundle) - step.read(bundle))
    new[rule.context.clock] = rule.context.clock + 1
    known = [*layout.params, *measured.outputs, *new]
    return _finish(new, known, gate)


class Stages:
    """The values that pass from stage to stage, and the state that stages update on the way."""

    def __init__(self, rule: Rule, measured: Measured, layout: Layout) -> None:
        self.rule, self.measured, self.layout = rule, measured, layout
        self.point = layout.point()
        self.values = Values(dict(zip(measured.params, measured.grads, strict=True)))
        self.new: dict[Variable, Variable] = {}

    def run(self) -> tuple[Values, dict[Variable, Variable]]:
        """Return the step to subtract, per parameter, and the new values of state."""
        self.gradient_transforms()
        self.through(self.rule)
        self.momentum_and_rate()
        return self.values, self.new

    def gradient_transforms(self) -> None:
        """Clip, then add coupled decay."""
        present = self.rule.hyper.present
        if present("max_gradient_elem"):
            self.through(ClipElement(self.rule.context))
        elif present("max_gradient_norm"):  # as in downhill, a bound on elements wins over one on the norm
            self.through(ClipNorm(self.rule.context))
        if present("max_global_norm"):
            self.through(ClipGlobalNorm(self.rule.context))
        self.decay(coupled=True)

    def momentum_and_rate(self) -> None:
        """Velocity of steps, rate inside, or of directions, rate outside; then decay beside the step."""
        context, hyper = self.rule.context, self.rule.hyper
        stages: list[Rule] = [] if self.rule.owns_rate else [Rate(context)]
        if hyper.present("momentum"):
            stages.insert(len(stages) if hyper["momentum_rate"] == "inside" else 0, Momentum(context))
        for stage in stages:
            self.through(stage)
        self.decay(coupled=False)

    def decay(self, coupled: bool) -> None:
        """Weight decay, at the one of its two places that the setting names."""
        hyper = self.rule.hyper
        if hyper.present("weight_decay") and coupled == (hyper["decay"] == "coupled"):
            self.through(WeightDecay(self.rule.context))

    def through(self, rule: Rule) -> None:
        """Pass the values through one rule."""
        self.values, new = rule.apply(self.layout, self.point, self.values, self.batch(rule))
        self.new |= new

    def batch(self, rule: Rule) -> dict[str, Any]:
        """Return what the rule needs besides the gradient."""
        source: dict[str, Callable[[], Any]] = {
            "loss": lambda: self.measured.loss,
            "hvp": lambda: self.hessian_vector,
            "global_norm": self.global_norm,
        }
        return {n: source[n]() for n in rule.needs}

    def global_norm(self) -> Variable:
        """Return the norm of all values taken as one vector."""
        return self.measured.global_norm([self.values.read(b) for b in self.layout.bundles("element")])

    def hessian_vector(self, bundle: Bundle, r: Variable, method: str) -> Variable:
        """Return the Hessian times a vector over all parameters."""
        return bundle.join(self.measured.hessian_vector(bundle.split(r), method))


def _finish(new: dict[Variable, Variable], known: list[Variable], gate: Variable | None) -> dict[Variable, Variable]:
    tensors = {v: e for v, e in new.items() if graph.is_tensor(v)}
    narrowed = graph.narrow(list(tensors.values()), known)
    out = dict(new)
    for v, e in zip(tensors, narrowed, strict=True):
        e = v.type.filter_variable(graph.cast(e, v.type.dtype))
        out[v] = e if gate is None else pt.switch(gate, e, v)
    return out
