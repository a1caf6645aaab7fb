"""How a rule's scope meets storage: what the equation calls x is a parameter, or several as one flat vector."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import pytensor.tensor as pt

from . import graph
from .graph import Variable


class Bundle:
    """Parameters that a rule sees as one x.

    Parameters
    ----------
    params : sequence of shared variables
        One parameter, or, if `flat`, one or more of them.
    names : sequence of str
        Their labels in state names.
    flat : bool
        Whether x is the vector of all their elements, in C order, rather than the parameter itself.
    owner : str
        What state that belongs to none of them is called by.
    """

    def __init__(self, params: Sequence[Variable], names: Sequence[str], flat: bool, owner: str = "all") -> None:
        self.params, self.names, self.flat, self.owner = list(params), list(names), flat, owner
        self.shapes = [p.get_value(borrow=True).shape for p in params]
        self.dtype = np.result_type(*(graph.work_dtype(p.type.dtype) for p in params)).name

    @property
    def name(self) -> str:
        """What state that belongs to no single parameter is called by."""
        return self.owner if self.flat else self.names[0]

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Static shape of x."""
        return (sum(map(math.prod, self.shapes)),) if self.flat else self.params[0].type.shape

    def value(self) -> np.ndarray:
        """Return the present value of x."""
        values = [p.get_value(borrow=True) for p in self.params]
        x = np.concatenate([v.ravel() for v in values]) if self.flat else values[0]
        return x.astype(self.dtype, copy=False)

    def blank(self) -> np.ndarray:
        """Return zeros of the shape of x, in no memory."""
        shape = self.shape if self.flat else self.shapes[0]
        return np.broadcast_to(np.zeros((), self.dtype), shape)  # type: ignore[arg-type]  # a flat one's is known

    def join(self, xs: Sequence[Variable]) -> Variable:
        """Return one tensor of what is given per parameter."""
        if not self.flat:
            return graph.cast(xs[0], self.dtype)
        flat = [graph.cast(x, self.dtype).ravel() for x in xs]
        return pt.specify_shape(pt.concatenate(flat), self.shape) if len(flat) > 1 else flat[0]

    def split(self, x: Variable) -> list[Variable]:
        """Return, per parameter, its part of `x` in its shape."""
        if not self.flat:
            return [x]
        starts = np.cumsum([0, *map(math.prod, self.shapes)]).tolist()
        return [_part(x, *of) for of in zip(starts[:-1], self.params, self.shapes, strict=True)]


def _part(x: Variable, start: int, param: Variable, shape: tuple[int, ...]) -> Variable:
    """Return the part of a vector that is `param`'s, in its shape."""
    if None not in param.type.shape:
        return x[start : start + math.prod(shape)].reshape(shape)
    # a dimension that is known to be 1 is another type to PyTensor, and no update of a variable without it
    return x[start : start + param.size].reshape(param.shape, ndim=param.ndim)


class Layout:
    """The bundles of an optimizer's parameters, for each scope.

    With `packed`, parameters of element rules become one flat vector per dtype: for many small parameters one
    loop over a vector costs less than a loop for each.
    """

    def __init__(
        self, params: Sequence[Variable], names: Sequence[str], packed: bool = False, owner: str = "all"
    ) -> None:
        self.params, self.packed, self.owner = list(params), packed, owner
        self.singles = [Bundle([p], [n], False, owner) for p, n in zip(params, names, strict=True)]
        self._names = dict(zip(params, names, strict=True))

    @cached_property
    def whole(self) -> list[Bundle]:
        """All parameters as one vector."""
        return [self._flat(self.params)]

    @cached_property
    def by_dtype(self) -> list[Bundle]:
        """One vector for each dtype among the parameters."""
        kinds = [b.dtype for b in self.singles]
        return [
            self._flat([p for p, k in zip(self.params, kinds, strict=True) if k == d]) for d in dict.fromkeys(kinds)
        ]

    def _flat(self, params: Sequence[Variable]) -> Bundle:
        return Bundle(params, [self._names[p] for p in params], True, self.owner)

    def part(self, params: Sequence[Variable], owner: str) -> Layout:
        """Return the layout of some of the parameters, which own what state belongs to none of them."""
        return Layout(params, [self._names[p] for p in params], self.packed, owner)

    def bundles(self, scope: str) -> list[Bundle]:
        """Return what a rule of `scope` sees as its x, one after the other."""
        if scope == "all":
            return self.whole
        return self.by_dtype if scope == "element" and self.packed else self.singles


class Values:
    """One tensor per parameter, kept as the bundles in which it was written."""

    def __init__(self, parts: Mapping[Variable, Variable] | None = None) -> None:
        self.parts = dict(parts or {})
        self._whole: dict[Bundle, Variable] = {}

    def read(self, bundle: Bundle) -> Variable:
        """Return the bundle's x; what was written as this bundle is not taken apart and joined again."""
        if bundle not in self._whole:
            self._whole[bundle] = bundle.join([self.parts[p] for p in bundle.params])
        return self._whole[bundle]

    def write(self, bundle: Bundle, x: Variable) -> None:
        """Set the bundle's x."""
        self._whole[bundle] = x
        self.parts.update(zip(bundle.params, bundle.split(x), strict=True))
