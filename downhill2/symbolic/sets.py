"""Sets that parameters are kept in: each is a function of a new value, which it moves to the nearest point of the set.

``project={"W": NonNegative(), "theta*": Simplex()}`` names parameters by variable or by pattern. A projection acts on
the value itself, and not on the step to it: a step is rounded when it is subtracted, and would leave bounds violated.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pytensor.tensor as pt

from ..checks import conform, integer, number, shown
from . import graph
from .formulas import HIGHEST, norm, times
from .graph import Variable
from .hyper import Setting

__all__ = ["Box", "L1Ball", "L2Ball", "NonNegative", "Projection", "Simplex", "UnitColumns"]


class Projection(abc.ABC):
    """A set to keep a parameter in; equal ones share compiled functions."""

    @abc.abstractmethod
    def __call__(self, x: Variable) -> Variable:
        """Return the point of the set that is nearest to `x`, of the same shape and dtype."""

    def misfit(self, shape: tuple[int, ...]) -> str | None:
        """Return in words what the set asks of a parameter, if one of this shape does not fit; else None."""
        return None

    def _key(self) -> tuple[object, ...]:
        values = astuple(self)  # type: ignore[call-overload]
        return type(self), *((v.shape, v.tobytes()) if isinstance(v, np.ndarray) else v for v in values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Projection) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


@dataclass(frozen=True, eq=False)
class NonNegative(Projection):
    """All elements at least 0."""

    def __call__(self, x: Variable) -> Variable:
        """Return the elements; negative ones become 0."""
        return pt.maximum(x, np.zeros((), x.type.dtype))


@dataclass(frozen=True, eq=False)
class Box(Projection):
    """All elements between two bounds.

    Parameters
    ----------
    lower, upper : float or array that broadcasts to the parameter's shape, optional
        In units of the parameter. Default: no bound. A bound that the parameter's dtype cannot hold exactly is moved
        into the box, so that it is never violated.
    """

    lower: Any = -np.inf
    upper: Any = np.inf

    def __post_init__(self) -> None:
        for name in ("lower", "upper"):
            bound = np.asarray(getattr(self, name))
            if bound.dtype.kind not in "fiu":
                raise TypeError(f"{name} must be a number or an array of numbers, got {getattr(self, name)!r}")
            object.__setattr__(self, name, bound.astype("float64"))
        if not np.all(self.lower <= self.upper):
            raise ValueError(f"lower must be at most upper, got {self.lower} and {self.upper}")

    def __call__(self, x: Variable) -> Variable:
        """Return the elements; those beyond a bound become the bound."""
        lower, upper = _inside(self.lower, x.type.dtype, np.inf), _inside(self.upper, x.type.dtype, -np.inf)
        return pt.minimum(pt.maximum(x, lower), upper)

    def misfit(self, shape: tuple[int, ...]) -> str | None:
        """Return in words what the set asks of a parameter, if one of this shape does not fit; else None."""
        bounds = np.broadcast_shapes(self.lower.shape, self.upper.shape)
        try:
            fits = np.broadcast_shapes(bounds, shape) == shape
        except ValueError:
            fits = False
        return None if fits else f"of a shape that bounds of shape {bounds} broadcast to"


def _inside(bound: np.ndarray, dtype: str, towards: float) -> np.ndarray:
    """Return a bound in another dtype; where rounding moved it outwards, the next number `towards` the inside."""
    with np.errstate(over="ignore"):
        rounded = bound.astype(dtype)
    outside = rounded < bound if towards > 0 else rounded > bound
    return np.where(outside, np.nextafter(rounded, np.asarray(towards, dtype)), rounded).astype(dtype)


@dataclass(frozen=True, eq=False)
class _Sized(Projection):
    """A set with a size, along an axis or for all elements together."""

    size: float = 1.0
    axis: int | None = None

    def __post_init__(self) -> None:
        conform(self, "size", number, above=0)
        conform(self, "axis", integer, none="all elements together")

    def misfit(self, shape: tuple[int, ...]) -> str | None:
        """Return in words what the set asks of a parameter, if one of this shape does not fit; else None."""
        if self.axis is not None and not -len(shape) <= self.axis < len(shape):
            return f"of a shape with an axis {self.axis}"
        return None if np.prod(shape) else "of a shape with elements"


class Simplex(_Sized):
    """All elements at least 0, their sum `size`: 1 makes them probabilities.

    Parameters
    ----------
    size : float, optional
        The sum. Default 1.
    axis : int, optional
        The axis along which they sum to it. Default: all elements together.

    References
    ----------
    .. [1] J. Duchi, S. Shalev-Shwartz, Y. Singer and T. Chandra (2008). "Efficient projections onto the l1-ball for
       learning in high dimensions." ICML. Figure 1.
    """

    def __call__(self, x: Variable) -> Variable:
        """Return the elements less one number, with 0 for negative ones, so that they sum to `size`."""
        return _along(x, self.axis, lambda rows: _simplex(rows, self.size))


def _along(x: Variable, axis: int | None, f: Callable[[Variable], Variable]) -> Variable:
    """Apply a function of the last axis to another axis, or to all elements together."""
    if axis is None:
        return f(x.ravel()).reshape(x.shape, ndim=x.ndim)
    return pt.moveaxis(f(pt.moveaxis(x, axis, -1)), -1, axis)


def _simplex(x: Variable, size: float) -> Variable:
    # x less a constant has the same projection, and numbers near 0 are more exact
    x = x - x.max(axis=-1, keepdims=True)
    u = pt.sort(x, axis=-1)[..., ::-1]
    number = pt.arange(1, x.shape[-1] + 1).astype(x.type.dtype)
    excess = (pt.cumsum(u, axis=-1) - np.asarray(size, x.type.dtype)) / number
    # excess rises while elements are above it and falls after: its largest value is where they stop
    p = pt.maximum(x - excess.max(axis=-1, keepdims=True), np.zeros((), x.type.dtype))
    return p * (np.asarray(size, x.type.dtype) / p.sum(axis=-1, keepdims=True))


class L1Ball(_Sized):
    """Magnitudes whose sum is at most `size`.

    Parameters
    ----------
    size : float, optional
        The radius, in units of the parameter. Default 1.
    axis : int, optional
        The axis of the sum. Default: all elements together.
    """

    def __call__(self, x: Variable) -> Variable:
        """Return the elements; outside the ball, all move towards 0 by the same amount."""
        dtype = x.type.dtype
        outside = pt.abs(x).sum(axis=self.axis, keepdims=True) > _inner(self.size, dtype)
        onto = _along(pt.abs(x), self.axis, lambda rows: _simplex(rows, float(_inner(self.size, dtype))))
        return pt.switch(outside, pt.sign(x) * onto, x)


def _inner(size: float, dtype: str) -> np.ndarray:
    # smaller by what rounding may add when elements are scaled, so that they stay in the ball itself
    return np.asarray(size * (1 - 8 * float(np.finfo(dtype).eps)), dtype)


class L2Ball(_Sized):
    """A Euclidean norm of at most `size`.

    Parameters
    ----------
    size : float, optional
        The radius, in units of the parameter. Default 1.
    axis : int, optional
        The axis of the norm; ``axis=0`` bounds each column of a matrix. Default: all elements together.
    """

    def __call__(self, x: Variable) -> Variable:
        """Return the elements, scaled if they are outside the ball."""
        length, size = norm(x, axis=self.axis), _inner(self.size, x.type.dtype)
        return pt.switch(length > size, times(size / length, x), x)


@dataclass(frozen=True, eq=False)
class UnitColumns(Projection):
    """Columns, along the first axis, of Euclidean norm 1. A column of zeros has no direction, and stays."""

    def __call__(self, x: Variable) -> Variable:
        """Return the columns, each divided by its norm."""
        length = norm(x, axis=0)
        return times(pt.switch(pt.eq(length, 0), 1.0, pt.minimum(1 / length, HIGHEST)), x)

    def misfit(self, shape: tuple[int, ...]) -> str | None:
        """Return in words what the set asks of a parameter, if one of this shape does not fit; else None."""
        return None if len(shape) > 1 else "of at least two axes"


# -- which parameter has which

Chosen = Callable[[Variable], Variable]

Keyed = tuple[str | Variable, Chosen]
"""A parameter or a pattern of names, and its projection."""


class Project(Setting):
    """The setting `project`: parameters by variable or name pattern, and functions of their new values."""

    def __init__(self) -> None:
        super().__init__(())

    def check(self, name: str, value: object) -> tuple[Keyed, ...]:
        """Return pairs, or raise an error that names what is wrong."""
        if not isinstance(value, Mapping | tuple):
            raise TypeError(f"{name} must be a dict of parameters or name patterns, got {shown(value)}")
        items = value.items() if isinstance(value, Mapping) else value
        for key, projection in items:
            if not isinstance(key, str) and not graph.is_shared(key):
                raise TypeError(f"{name} must name parameters by variable or pattern, got {shown(key)}")
            if not callable(projection):
                example = "downhill2.projections.Box(0, 1)"
                raise TypeError(f"{name} must have projections such as {example}, got {projection!r}")
        return tuple(items)

    def plain(self, value: Any) -> list[list[str]]:
        """Return a value as a checkpoint has it."""
        return [[str(key), getattr(f, "__name__", None) or repr(f)] for key, f in value]


def named(pairs: Sequence[Keyed], params: Sequence[Variable], names: Sequence[str]) -> dict[Variable, Chosen]:
    """Return the projection of each parameter that a key names."""
    return {p: f for key, f in pairs for p, n in zip(params, names, strict=True) if _is_named(p, n, key)}


def chosen(pairs: Sequence[Keyed], params: Sequence[Variable], names: Sequence[str]) -> dict[Variable, Chosen]:
    """Return the projection of each parameter that has one.

    Raises
    ------
    ValueError
        If a key names no parameter, two name the same one, or a projection does not fit the parameter's shape.
    """
    labels, out = dict(zip(params, names, strict=True)), dict[Variable, Chosen]()
    for key, projection in pairs:
        found = named([(key, projection)], params, names)
        if not found:
            raise ValueError(f"project must name parameters, which are {list(names)}, got {shown(key)}")
        for p in found:
            if p in out:
                raise ValueError(f"project must name each parameter once, got {labels[p]!r} again by {key!r}")
            _check_shape(p, labels[p], projection)
        out |= found
    return out


def _is_named(param: Variable, name: str, key: str | Variable) -> bool:
    return fnmatchcase(name, key) if isinstance(key, str) else param is key


def _check_shape(param: Variable, name: str, projection: Chosen) -> None:
    shape = param.get_value(borrow=True).shape
    wanted = projection.misfit(shape) if isinstance(projection, Projection) else None
    if wanted:
        raise ValueError(f"parameter {name!r} must be {wanted} for the projection {projection!r}, got shape {shape}")
