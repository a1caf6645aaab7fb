"""Rewrites of graphs that are to become generated functions."""

from __future__ import annotations

from typing import Any

from pytensor.graph.fg import Output
from pytensor.graph.rewriting.basic import GraphRewriter
from pytensor.scalar import identity
from pytensor.tensor.elemwise import Elemwise

from .plan import is_tensor
from .values import SUPPORTED

BEFORE_FUSION = 48.5
"""A position in PyTensor's sequence of rewrites, where it melts elementwise operations together at 49."""

same_elements = Elemwise(identity)


class ElementwiseUpdates(GraphRewriter):  # type: ignore[misc]  # PyTensor has no annotations
    """Make an update that is another input, a gradient to be remembered say, an elementwise operation.

    What is an output and an input PyTensor copies to new memory, in a loop of its own; this is melted with the loops
    that read either of the two, and works in place.
    """

    def apply(self, fgraph: Any) -> None:
        """Rewrite a graph."""
        for position, updated in (fgraph.update_mapping or {}).items():
            new = fgraph.outputs[position]
            if new in fgraph.inputs and new is not fgraph.inputs[updated] and _has_loops(new):
                ends = [(node, i) for node, i in fgraph.clients[new] if node.op == Output(position)]
                for node, i in ends:
                    fgraph.change_node_input(node, i, same_elements(new), reason=type(self).__name__)


def _has_loops(variable: Any) -> bool:
    return is_tensor(variable) and variable.type.dtype in SUPPORTED
