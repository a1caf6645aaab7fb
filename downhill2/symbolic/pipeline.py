"""From measured gradients to the new value of every variable: they pass the stages of the table, one after another.

The stages that the table calls measured have run before, on data; everything here uses none. Where a gate is closed,
one switch at the end keeps all old values.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytensor.tensor as pt

from . import conflicts, graph
from .graph import Variable
from .layout import Bundle, Layout, Values
from .measure import Measured
from .projecting import projections_of
from .rule import Needed, Rule
from .stages import EACH, ORDER, averages


def update(rule: Rule, measured: Measured, layout: Layout, gate: Variable | None = None) -> dict[Variable, Variable]:
    """Return the new value of every variable: one update by `rule` with its stages.

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
    groups = [Passing(part, measured, of_part) for part, of_part in rule.parts(layout)]
    whole = groups[0] if is_whole(rule, layout) else Passing(rule, measured, moving(rule, layout))
    spanned = EACH
    for stage in ORDER:
        if stage.spans != spanned:
            whole.gather(groups) if stage.spans else whole.scatter(groups)
        spanned = stage.spans
        for passing in [whole] if spanned else groups:
            for active in stage.active(passing.rule):
                passing.through(active)
    new = {v: x for passing in [*groups, whole] for v, x in passing.new.items()}
    for bundle in whole.layout.bundles("element"):
        new |= bundle.updates(bundle.params, whole.values.read(bundle))
    new[rule.context.clock] = rule.context.clock + 1
    return graph.gated(new, [*layout.params, *measured.outputs, *new], gate)


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


def check(rule: Rule, layout: Layout) -> None:
    """Raise ValueError for settings that make no sense together, or projections that do not fit the parameters."""
    conflicts.check(rule, [part for part, _ in rule.parts(layout)])
    projections_of(rule, layout)


def is_whole(rule: Rule, layout: Layout) -> bool:
    """Whether the rule updates all parameters of the layout itself, with no groups and none frozen."""
    return rule.parts(layout) == [(rule, layout)]


class Passing:
    """The values of some parameters on their way through the stages, and the new state.

    Parameters
    ----------
    rule : Rule
        Has the settings.
    measured : Measured
    layout : Layout
        The parameters.

    Attributes
    ----------
    point : Values
        The parameters as they are.
    values : Values
        Their gradients, as the stages so far have changed them.
    gradient : Values
        The gradients that later stages may read: the values at the last `scatter`.
    new : dict
        The new value of each state variable.
    """

    def __init__(self, rule: Rule, measured: Measured, layout: Layout) -> None:
        self.rule, self.measured, self.layout = rule, measured, layout
        self.point = layout.point()
        grads = dict(zip(measured.params, measured.grads, strict=True))
        self.values = self.gradient = Values({p: grads[p] for p in layout.params})
        self.new: dict[Variable, Variable] = {}

    def gather(self, groups: Sequence[Passing]) -> None:
        """Take the values of all groups, unless this is one of them."""
        if self not in groups:
            self.values = Values({p: x for group in groups for p, x in group.values.parts.items()})

    def scatter(self, groups: Sequence[Passing]) -> None:
        """Give each group its values, unless this is one of them."""
        self.gradient = self.values
        if self not in groups:
            for group in groups:
                group.values = Values({p: self.values.parts[p] for p in group.layout.params})

    def through(self, rule: Rule) -> None:
        """Pass the values through one rule."""
        needed = {n: self.needed(n) for n in rule.needs}
        self.values, new = rule.apply(self.layout, self.point, self.values, needed)
        self.new |= new

    def needed(self, name: str) -> Needed:
        """Return a value that a rule needs beside the gradient, or a function that returns it for a bundle."""
        if name == "loss":
            return self.measured.loss
        if name == "global_norm":
            return self.measured.global_norm([self.values.read(b) for b in self.layout.bundles("element")])
        return {"hvp": self.hessian_vector, "shape": _shape, "gradient": self.gradient.read}[name]

    def hessian_vector(self, bundle: Bundle, r: Variable, method: str) -> Variable:
        """Return the Hessian over the group's parameters times a vector."""
        vectors = dict(zip(bundle.params, bundle.split(r), strict=True))
        everywhere = [vectors.get(p, pt.zeros_like(p)) for p in self.measured.params]
        products = self.measured.hessian_vector(everywhere, method)
        return bundle.join([x for p, x in zip(self.measured.params, products, strict=True) if p in vectors])


def _shape(bundle: Bundle) -> tuple[int, ...]:
    shape: tuple[int, ...] = bundle.shapes[0]
    return shape
