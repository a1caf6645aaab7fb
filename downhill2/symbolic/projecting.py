"""The stage `project`: it moves new values into the sets of their parameters."""

from __future__ import annotations

from collections.abc import Mapping

from . import graph
from .graph import Variable
from .layout import Layout, Values
from .rule import Needed, Rule
from .sets import Chosen, Project, chosen, named


class Projecting(Rule):
    """Move each new value into the set of its parameter."""

    project = Project()

    def apply(
        self, layout: Layout, point: Values, values: Values, batch: Mapping[str, Needed]
    ) -> tuple[Values, dict[Variable, Variable]]:
        """Return the nearest points of the sets."""
        found = named(self.hyper["project"], layout.params, names_of(layout))
        if not found:
            return values, {}
        moved = {p: f(graph.cast(values.parts[p], p.type.dtype)) for p, f in found.items()}
        return Values(values.parts | moved), {}


def projections_of(rule: Rule, layout: Layout) -> dict[Variable, Chosen]:
    """Return the projection of each parameter that has one; ValueError if `project` does not fit the parameters."""
    return chosen(rule.hyper["project"], layout.params, names_of(layout))


def names_of(layout: Layout) -> list[str]:
    """Return the names of the parameters."""
    return [name for bundle in layout.singles for name in bundle.names]
