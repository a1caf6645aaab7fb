"""Rewrites of graphs that are to become generated functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush
from typing import Any

from pytensor.graph.basic import Apply, Constant
from pytensor.graph.destroyhandler import DestroyHandler, inplace_candidates
from pytensor.graph.fg import Output
from pytensor.graph.rewriting.basic import GraphRewriter, copy_stack_trace, in2out, node_rewriter
from pytensor.graph.utils import InconsistencyError
from pytensor.scalar import identity
from pytensor.tensor import specify_shape
from pytensor.tensor.blockwise import Blockwise
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.math import Dot, Sum

from .plan import is_tensor
from .values import SUPPORTED

BEFORE_PRODUCTS = 1.65
"""A position in PyTensor's sequence of rewrites, where it chooses routines of BLAS at 1.7."""

BEFORE_FUSION = 48.5
"""A position in PyTensor's sequence of rewrites, where it melts elementwise operations together at 49."""

GUARD = "add_destroy_handler"
"""The name of the rewrite before which PyTensor overwrites nothing."""

IN_PLACE = "inplace_elemwise"
"""The name of the rewrite by which PyTensor lets elementwise operations work in place."""

same_elements = Elemwise(identity)


@node_rewriter([Sum])  # type: ignore[untyped-decorator, unused-ignore]
def sum_of_products(fgraph: Any, node: Any) -> list[Any] | None:
    """Write a sum over products of the matrices of two stacks as one product of two long matrices.

    It is the gradient of a dense layer ``x @ W`` whose input has more than two dimensions; the products, each as
    large as W, are never made. Only where each stack becomes one matrix without a copy: the left ones are transposed,
    the right ones are not, and what is summed over are the last axes before those of the matrices.
    """
    [stack] = node.inputs
    product, ndim = stack.owner, stack.type.ndim
    axes = sorted(range(ndim) if node.op.axis is None else node.op.axis)
    if not axes or not _is_product(product) or axes != [*range(axes[0], ndim - 2)] or len(fgraph.clients[stack]) > 1:
        return None
    left, right = product.inputs
    alike = all(v.type.dtype == node.outputs[0].type.dtype for v in (left, right))
    repeated = any(v.type.broadcastable[axis] for v in (left, right) for axis in axes)
    if not alike or repeated or not _is_transposed(left) or _is_transposed(right):
        return None
    first = axes[0]
    # that one long matrix has as many rows as the other does not say that the stacks are equally long
    right = specify_shape(right, [left.shape[axis] if axis in axes else None for axis in range(ndim)])
    new = _joined(left.mT, first).mT @ _joined(right, first)
    copy_stack_trace(node.outputs[0], new)
    return [node.outputs[0].type.filter_variable(new)]


one_product = in2out(sum_of_products, name="sum_of_products")


def _is_product(node: Any) -> bool:
    return node is not None and isinstance(node.op, Blockwise) and isinstance(node.op.core_op, Dot)


def _is_transposed(variable: Any) -> bool:
    node, ndim = variable.owner, variable.type.ndim
    swapped = [*range(ndim - 2), ndim - 1, ndim - 2]
    return node is not None and isinstance(node.op, DimShuffle) and [*node.op.new_order] == swapped


def _joined(stack: Any, first: int) -> Any:
    """Return matrices with those along the axes from `first` on below one another."""
    rows: Any = 1
    for axis in range(first, stack.type.ndim - 1):
        rows = rows * stack.shape[axis]
    return stack.reshape((*(stack.shape[axis] for axis in range(first)), rows, stack.shape[-1]))


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


class Requirements(GraphRewriter):  # type: ignore[misc]
    """Attach to a graph what the rewrites after this one need."""

    def __init__(self, rewrites: Sequence[Any]) -> None:
        self._rewrites = rewrites

    def apply(self, fgraph: Any) -> None:
        """Attach it."""
        for rewrite in self._rewrites:
            rewrite.add_requirements(fgraph)


class InPlace(GraphRewriter):  # type: ignore[misc]
    """Let elementwise operations write over an input that nothing reads after them.

    PyTensor changes one node after another, and each time looks for cycles in the whole graph. Here one order of the
    nodes is fixed before: what is overwritten by the last that reads it, in that order, makes no cycle.

    Parameters
    ----------
    one_by_one : GraphRewriter
        PyTensor's own, for graphs that allow less: ``cycle_detection = fast`` knows of no order.
    """

    def __init__(self, one_by_one: Any) -> None:
        self.name, self._one_by_one = one_by_one.name, one_by_one

    def add_requirements(self, fgraph: Any) -> None:
        """Have the graph keep nodes that overwrite a variable behind all others that read it."""
        fgraph.attach_feature(DestroyHandler())

    def apply(self, fgraph: Any) -> None:
        """Rewrite a graph."""
        nodes = _late_updates(fgraph)
        memory = _Memory(fgraph, nodes)
        changes = []
        for position, node in enumerate(nodes):
            if isinstance(node.op, Elemwise) and not node.op.destroy_map:
                over = memory.overwritten(node, position)
                if over:
                    changes.append((node, {i: node.inputs.index(variable) for i, variable in over.items()}))
        pairs: list[tuple[Any, Any]] = []
        # from the last to the first: a new node reads the old outputs of those before it, which are replaced after it
        for node, places in reversed(changes):
            op = type(node.op)(node.op.scalar_op, places)
            new = Apply(op, node.inputs, [output.clone() for output in node.outputs])
            pairs += zip(node.outputs, new.outputs, strict=True)
        try:
            fgraph.replace_all_validate(pairs, reason=type(self).__name__)
        except InconsistencyError:
            self._one_by_one.apply(fgraph)


class _Memory:
    """Who reads which memory last, and which may be overwritten.

    Parameters
    ----------
    fgraph
        The graph.
    nodes
        Its nodes, in an order that will do.
    """

    def __init__(self, fgraph: Any, nodes: Sequence[Any]) -> None:
        self._viewed: dict[Any, Any] = {}
        self._last: dict[Any, int] = {}
        self._kept: set[Any] = set()
        for position, node in enumerate(nodes):
            self._last.update((self._root(variable), position) for variable in node.inputs)
            for output, (source, *_) in node.op.view_map.items():
                self._viewed[node.outputs[output]] = self._root(node.inputs[source])
            self._keep(node.inputs[source] for source, *_ in node.op.destroy_map.values())
        self._keep(fgraph.outputs)
        self._keep(v for v in fgraph.variables if isinstance(v, Constant) or getattr(v.tag, "indestructible", False))
        free = set(inplace_candidates(fgraph, fgraph.inputs))
        self._keep(variable for variable in fgraph.inputs if variable not in free)
        updates = fgraph.update_mapping or {}
        self._home = {variable: variable for variable in fgraph.inputs}
        # other outputs have none: in the memory of an input they would be copied
        self._goal: dict[Any, Any] = dict.fromkeys(fgraph.outputs)
        self._goal.update((fgraph.outputs[output], fgraph.inputs[i]) for output, i in updates.items())

    def overwritten(self, node: Any, position: int) -> dict[int, Any]:
        """Return over which variable each output of an elementwise node is to be written, by its index."""
        roots = Counter(map(self._root, node.inputs))
        free = [v for v in node.inputs if roots[self._root(v)] == 1 and self._free(v, position)]
        # those that have a place of their own choose first
        choosing = sorted(enumerate(node.outputs), key=lambda pair: self._goal.get(pair[1]) is None)
        over = {}
        for index, output in choosing:
            fitting = [v for v in free if v.type == output.type and self._suits(v, output)]
            if fitting:
                best = over[index] = max(fitting, key=lambda v: v in self._home)
                free.remove(best)
                self._kept.add(self._root(best))
                if best in self._home:
                    self._home[output] = self._home[best]
        return over

    def _suits(self, variable: Any, output: Any) -> bool:
        home = self._home.get(variable)
        return output not in self._goal or home is None or home is self._goal[output]

    def _free(self, variable: Any, position: int) -> bool:
        root = self._root(variable)
        return self._last[root] == position and root not in self._kept

    def _root(self, variable: Any) -> Any:
        return self._viewed.get(variable, variable)

    def _keep(self, variables: Iterable[Any]) -> None:
        self._kept.update(map(self._root, variables))


def _late_updates(fgraph: Any) -> list[Any]:
    """Return the nodes in an order that has updates as late as can be, and elementwise ones late: they overwrite."""
    updated = {fgraph.outputs[i] for i in fgraph.update_mapping or {}}
    nodes = list(fgraph.toposort())
    before = {node: {v.owner for v in node.inputs if v.owner is not None} for node in nodes}
    for node, others in fgraph.orderings().items():
        before[node].update(others)
    after: dict[Any, list[Any]] = {node: [] for node in nodes}
    for node, others in before.items():
        for other in others:
            after[other].append(node)
    urgency = {
        node: (not updated.isdisjoint(node.outputs), isinstance(node.op, Elemwise), position)
        for position, node in enumerate(nodes)
    }
    waiting = {node: len(others) for node, others in before.items()}
    ready = [(urgency[node], node) for node in nodes if not waiting[node]]
    heapify(ready)
    order = []
    while ready:
        _, node = heappop(ready)
        order.append(node)
        for other in after[node]:
            waiting[other] -= 1
            if not waiting[other]:
                heappush(ready, (urgency[other], other))
    return order


def _has_loops(variable: Any) -> bool:
    return is_tensor(variable) and variable.type.dtype in SUPPORTED
