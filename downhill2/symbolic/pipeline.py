"""The stages of a step, in order: from measured gradients to the new value of every variable.

Measure, gates, gradient transforms, rule, momentum and rate, new value, and one switch that holds all of it
back where a gate is closed. Everything after the first stage uses no data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytensor.tensor as pt

from . import graph, refused
from .averaging import EMA, SWA, Lookahead
from .functional import transform
from .graph import Variable
from .layout import Bundle, Layout, Values
from .measure import Measured
from .projections import chosen
from .rule import Rule
from .transforms import (
    Centralize,
    ClipAdaptive,
    ClipElement,
    ClipGlobalNorm,
    ClipNorm,
    GradientNoise,
    Mechanic,
    Momentum,
    Rate,
    WeightDecay,
)

Projecting = Callable[[Variable], Variable]

AVERAGES = (Lookahead, EMA, SWA)


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
    groups = [Stages(part, measured, of_part) for part, of_part in rule.parts(layout)]
    whole = groups[0] if is_whole(rule, layout) else Stages(rule, measured, moving(rule, layout))
    for stages in groups:
        stages.clip()
    clip_together(rule, groups, measured)
    for stages in groups:
        stages.clip_adaptively()
    whole.gather(groups)
    whole.transform()
    whole.scatter(groups)
    for stages in groups:
        stages.step()
    whole.gather(groups)
    whole.new_values(projections_of(rule, layout))
    new = {v: x for stages in [*groups, whole] for v, x in stages.new.items()}
    for bundle in whole.layout.bundles("element"):
        new |= bundle.updates(bundle.params, whole.values.read(bundle))
    new[rule.context.clock] = rule.context.clock + 1
    known = [*layout.params, *measured.outputs, *new]
    return finish(new, known, gate)


def evaluated(rule: Rule, layout: Layout) -> dict[Variable, Variable]:
    """Return what to evaluate in place of each parameter, where that is not the parameter itself."""
    point, part = Values(dict(zip(layout.params, layout.params, strict=True))), moving(rule, layout)
    out = rule.evaluations(layout, point)
    for average in averages(rule):
        out |= average.evaluations(part, point)
    projections = projections_of(rule, layout)
    return {p: p.type.filter_variable(projections[p](x)) if p in projections else x for p, x in out.items()}


def follow(rule: Rule, layout: Layout) -> None:
    """Set state that stands for parameters to their present values."""
    rule.follow(layout)
    for average in averages(rule):
        average.follow(moving(rule, layout))


def moving(rule: Rule, layout: Layout) -> Layout:
    """Return the layout of the parameters that are not frozen."""
    parts = rule.parts(layout)
    if len(parts) == 1 and parts[0][1] is layout:
        return layout
    found = {p for _, part in parts for p in part.params}
    return layout.part([p for p in layout.params if p in found], layout.owner)


def averages(rule: Rule) -> list[Rule]:
    """Return the stages that average parameters, in their order."""
    return [stage(rule.context) for stage in AVERAGES if rule.hyper.present(stage.__name__.lower())]


def check(rule: Rule, layout: Layout) -> None:
    """Raise ValueError for settings that make no sense together, or projections that do not fit the parameters."""
    refused.check(rule, [part for part, _ in rule.parts(layout)])
    projections_of(rule, layout)


def projections_of(rule: Rule, layout: Layout) -> dict[Variable, Projecting]:
    """Return the projection of each parameter that has one; ValueError if `project` does not fit the parameters."""
    names = [name for bundle in layout.singles for name in bundle.names]
    return chosen(rule.hyper["project"], layout.params, names)


def is_whole(rule: Rule, layout: Layout) -> bool:
    """Whether the rule updates all parameters of the layout itself, with no groups and none frozen."""
    return rule.parts(layout) == [(rule, layout)]


def clip_together(rule: Rule, groups: Sequence[Stages], measured: Measured) -> None:
    """Clip the gradients of all groups by their common norm."""
    if rule.hyper.present("max_global_norm"):
        size = measured.global_norm([x for stages in groups for x in stages.pieces()])
        for stages in groups:
            stages.through(ClipGlobalNorm(rule.context), size)


class Stages:
    """The values of one group that pass from stage to stage, and the state that stages update on the way."""

    def __init__(self, rule: Rule, measured: Measured, layout: Layout) -> None:
        self.rule, self.measured, self.layout = rule, measured, layout
        self.point = layout.point()
        grads = dict(zip(measured.params, measured.grads, strict=True))
        self.values = Values({p: grads[p] for p in layout.params})
        self.gradient = self.values
        self.new: dict[Variable, Variable] = {}

    def step(self) -> None:
        """Turn clipped gradients into the step to subtract."""
        self.decay(coupled=True)
        self.through(self.rule)
        self.momentum_and_rate()

    def gather(self, groups: Sequence[Stages]) -> None:
        """Take the values of all groups, unless they are these."""
        if self not in groups:
            self.values = Values({p: x for stages in groups for p, x in stages.values.parts.items()})

    def scatter(self, groups: Sequence[Stages]) -> None:
        """Give each group its values, unless they are these; and the gradient that rules are to see."""
        self.gradient = self.values
        if self not in groups:
            for stages in groups:
                stages.values = Values({p: self.values.parts[p] for p in stages.layout.params})

    def clip(self) -> None:
        """Centralize, then clip what is clipped for each parameter."""
        present = self.rule.hyper.present
        if present("centralize"):
            self.through(Centralize(self.rule.context))
        if present("max_gradient_elem"):
            self.through(ClipElement(self.rule.context))
        elif present("max_gradient_norm"):  # as in downhill, a bound on elements wins over one on the norm
            self.through(ClipNorm(self.rule.context))

    def clip_adaptively(self) -> None:
        """Clip by the size of the parameter."""
        if self.rule.hyper.present("clip_adaptive"):
            self.through(ClipAdaptive(self.rule.context))

    def transform(self) -> None:
        """Add noise, and do what functions of the caller do."""
        hyper, context = self.rule.hyper, self.rule.context
        if hyper.present("gradient_noise"):
            self.through(GradientNoise(context))
        for f in hyper["transforms"]:
            self.through(transform(f)(context))

    def new_values(self, projections: Mapping[Variable, Projecting]) -> None:
        """Scale the step, subtract it, project and average."""
        if self.rule.hyper.present("mechanic"):
            self.through(Mechanic(self.rule.context))
        moved = Values()
        for bundle in self.layout.bundles("element"):
            moved.write(bundle, self.point.read(bundle) - self.values.read(bundle))
        self.values = moved
        self.project(projections)
        for average in averages(self.rule):
            self.through(average)
            if isinstance(average, Lookahead):  # between two values is not always in the set, to the last bit
                self.project(projections)

    def project(self, projections: Mapping[Variable, Projecting]) -> None:
        """Move new values into their sets."""
        parts = self.values.parts
        moved = {p: f(graph.cast(parts[p], p.type.dtype)) for p, f in projections.items() if p in parts}
        if moved:
            self.values = Values(parts | moved)

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
        own = self.rule.own_decay or not hyper.present("weight_decay")
        if not own and coupled == (hyper["decay"] == "coupled"):
            self.through(WeightDecay(self.rule.context))

    def through(self, rule: Rule, size: Variable = None) -> None:
        """Pass the values through one rule; `size` is their norm, where it is not that of this group alone."""
        self.values, new = rule.apply(self.layout, self.point, self.values, self.batch(rule, size))
        self.new |= new

    def batch(self, rule: Rule, size: Variable = None) -> dict[str, Any]:
        """Return what the rule needs besides the gradient."""
        source: dict[str, Callable[[], Any]] = {
            "loss": lambda: self.measured.loss,
            "hvp": lambda: self.hessian_vector,
            "shape": lambda: lambda bundle: bundle.shapes[0],
            "gradient": lambda: self.gradient.read,
            "global_norm": lambda: self.measured.global_norm(self.pieces()) if size is None else size,
        }
        return {n: source[n]() for n in rule.needs}

    def pieces(self) -> list[Variable]:
        """Return all values, each once, in the form in which they are at hand."""
        return [self.values.read(bundle) for bundle in self.layout.bundles("element")]

    def hessian_vector(self, bundle: Bundle, r: Variable, method: str) -> Variable:
        """Return the Hessian over the group's parameters times a vector."""
        vectors = dict(zip(bundle.params, bundle.split(r), strict=True))
        everywhere = [vectors.get(p, pt.zeros_like(p)) for p in self.measured.params]
        products = self.measured.hessian_vector(everywhere, method)
        return bundle.join([x for p, x in zip(self.measured.params, products, strict=True) if p in vectors])


def finish(new: dict[Variable, Variable], known: list[Variable], gate: Variable | None) -> dict[Variable, Variable]:
    tensors = {v: e for v, e in new.items() if graph.is_tensor(v)}
    narrowed = graph.narrow(list(tensors.values()), known)
    out = dict(new)
    for v, e in zip(tensors, narrowed, strict=True):
        e = v.type.filter_variable(graph.cast(e, v.type.dtype))
        out[v] = e if gate is None else pt.switch(gate, e, v)
    return out
