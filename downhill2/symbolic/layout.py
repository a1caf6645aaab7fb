"""From a rule's scope to storage: the x of an equation is one parameter, or several as one flat vector."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pytensor.tensor as pt

from . import graph
from .graph import Variable

Store = Callable[[Sequence[Variable]], Variable]


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
        The name of state that belongs to no single parameter.
    store : callable, optional
        Returns the shared vector that holds the elements of several shared variables, one per parameter: x and state
        are read from such vectors and written to them. By default they are joined and split.
    """

    def __init__(
        self,
        params: Sequence[Variable],
        names: Sequence[str],
        flat: bool,
        owner: str = "all",
        store: Store | None = None,
    ) -> None:
        self.params, self.names, self.flat, self.owner = list(params), list(names), flat, owner
        self._store = store
        self.shapes = [p.get_value(borrow=True).shape for p in params]
        self.dtype = np.result_type(*(graph.work_dtype(p.type.dtype) for p in params)).name

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes for a copy or a pickle, without the vectors of compiled functions."""
        return {**vars(self), "_store": None}

    @property
    def name(self) -> str:
        """The name of state that belongs to no single parameter."""
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

    def held(self, variables: Sequence[Variable]) -> Variable:
        """Return shared variables, one per parameter, as one tensor."""
        return self._store(variables) if self._store else self.join(variables)

    def updates(self, variables: Sequence[Variable], x: Variable) -> dict[Variable, Variable]:
        """Return the new values with which shared variables, one per parameter, hold `x`."""
        if self._store:
            return {self._store(variables): x}
        return dict(zip(variables, self.split(x), strict=True))

    def blank(self) -> np.ndarray:
        """Return zeros of the shape of x, which take no memory."""
        shape = self.shape if self.flat else self.shapes[0]
        return np.broadcast_to(np.zeros((), self.dtype), shape)  # type: ignore[arg-type]  # a flat one's is known

    def join(self, xs: Sequence[Variable]) -> Variable:
        """Return tensors, one per parameter, as one."""
        if not self.flat:
            return graph.cast(xs[0], self.dtype)
        flat = [graph.cast(x, self.dtype).ravel() for x in xs]
        return pt.specify_shape(pt.concatenate(flat), self.shape) if len(flat) > 1 else flat[0]

    def split(self, x: Variable) -> list[Variable]:
        """Return the part of `x` of each parameter, in its shape."""
        if not self.flat:
            return [x]
        starts = np.cumsum([0, *map(math.prod, self.shapes)]).tolist()
        return [_part(x, *of) for of in zip(starts[:-1], self.params, self.shapes, strict=True)]


def _part(x: Variable, start: int, param: Variable, shape: tuple[int, ...]) -> Variable:
    """Return a parameter's part of a vector, in its shape."""
    if None not in param.type.shape:
        return x[start : start + math.prod(shape)].reshape(shape)
    # to PyTensor, a dimension known to be 1 is another type, which cannot update a variable without it
    return x[start : start + param.size].reshape(param.shape, ndim=param.ndim)


class Layout:
    """The bundles of an optimizer's parameters, for each scope.

    Parameters
    ----------
    params : sequence of shared variables
    names : sequence of str
    packed : collection of shared variables
        Parameters that element rules see as one flat vector per dtype: for many small parameters one loop over a
        vector costs less than a loop for each.
    owner : str
        The name of state that belongs to no single parameter.
    store : callable, optional
        As for `Bundle`: where packed parameters, and their state, are held.
    """

    def __init__(
        self,
        params: Sequence[Variable],
        names: Sequence[str],
        packed: Collection[Variable] = (),
        owner: str = "all",
        store: Store | None = None,
    ) -> None:
        self.params, self.owner = list(params), owner
        self.singles = [Bundle([p], [n], False, owner) for p, n in zip(params, names, strict=True)]
        self._names = dict(zip(params, names, strict=True))
        self._packed, self._store = set(packed), store

    @cached_property
    def whole(self) -> list[Bundle]:
        """All parameters as one vector."""
        if len(self.elementwise) == 1 and self.elementwise[0].flat:
            return self.elementwise
        return [self._flat(self.params)]

    @cached_property
    def elementwise(self) -> list[Bundle]:
        """One vector for each dtype among the packed parameters, then the others one by one."""
        kinds: dict[str, list[Variable]] = {}
        for single in self.singles:
            if single.params[0] in self._packed:
                kinds.setdefault(single.dtype, []).extend(single.params)
        vectors = [self._flat(params, self._store) for params in kinds.values()]
        return [*vectors, *(single for single in self.singles if single.params[0] not in self._packed)]

    def _flat(self, params: Sequence[Variable], store: Store | None = None) -> Bundle:
        return Bundle(params, [self._names[p] for p in params], True, self.owner, store)

    def part(self, params: Sequence[Variable], owner: str) -> Layout:
        """Return the layout of some of the parameters; `owner` names their common state."""
        return Layout(params, [self._names[p] for p in params], self._packed & {*params}, owner, self._store)

    def bundles(self, scope: str) -> list[Bundle]:
        """Return the bundles that a rule of `scope` sees as its x."""
        if scope == "all":
            return self.whole
        return self.elementwise if scope == "element" else self.singles

    def point(self) -> Values:
        """Return the parameters themselves."""
        values = Values(dict(zip(self.params, self.params, strict=True)))
        for bundle in self.elementwise:
            values.note(bundle, bundle.held(bundle.params))
        return values


class Values:
    """One tensor per parameter, kept in the bundles in which they were written."""

    def __init__(self, parts: Mapping[Variable, Variable] | None = None) -> None:
        self._parts = dict(parts or {})
        self._whole: dict[Bundle, Variable] = {}
        self._unsplit: list[Bundle] = []

    @property
    def parts(self) -> dict[Variable, Variable]:
        """The tensor of each parameter; vectors are split only here, since most are never needed in parts."""
        for bundle in self._unsplit:
            self._parts.update(zip(bundle.params, bundle.split(self._whole[bundle]), strict=True))
        self._unsplit = []
        return self._parts

    def read(self, bundle: Bundle) -> Variable:
        """Return the bundle's x; a vector that was written as this bundle is not split and joined again."""
        if bundle not in self._whole:
            parts = self.parts
            self._whole[bundle] = bundle.join([parts[p] for p in bundle.params])
        return self._whole[bundle]

    def note(self, bundle: Bundle, x: Variable) -> None:
        """Note that `x` is the joined tensors of the bundle's parameters."""
        self._whole[bundle] = x

    def write(self, bundle: Bundle, x: Variable) -> None:
        """Set the bundle's x."""
        self._whole[bundle] = x
        self._unsplit.append(bundle)
