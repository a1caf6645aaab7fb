"""State of rules: declared on the class, so that its names, shapes and cost are known before a graph exists."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from . import graph
from .graph import Variable

First = np.ndarray | np.random.Generator
"""The first value of a state."""

Init = float | Callable[[Any, np.ndarray], Any]
"""A first value before it has its shape and dtype, or a function of rule and parameter that returns it."""


class State:
    """One state variable of a rule.

    Parameters
    ----------
    init : float or function, optional
        Its first value, broadcast to `shape`; a function is called as ``init(rule, value)`` with the value of
        what the rule updates and may return a number, an array or a NumPy generator. Default 0.
    shape : function, optional
        ``shape(rule, value)`` returns the shape as a tuple; by default that of what the rule updates.
    when : function, optional
        ``when(rule)`` says whether these settings of the rule use the state; by default they do.
    follows : bool
        Whether it stands for the parameter and is set to it when best parameters are restored.
    dtype : str, optional
        By default that of what the rule updates.
    """

    def __init__(
        self,
        init: Init = 0.0,
        shape: Callable[[Any, np.ndarray], tuple[int, ...]] | None = None,
        *,
        when: Callable[[Any], bool] | None = None,
        follows: bool = False,
        dtype: str | None = None,
    ) -> None:
        self.init, self.shape, self.when, self.follows, self.dtype = init, shape, when, follows, dtype
        self._place: tuple[type, str] | None = None

    def __set_name__(self, owner: type, name: str) -> None:
        self._place = owner, name

    def __reduce__(self) -> Any:
        """Pickle the place of the declaration, since its functions may have no name."""
        return (getattr, self._place) if self._place else super().__reduce__()

    @property
    def like_param(self) -> bool:
        """Whether there is one for each parameter, of its shape, rather than one of its own shape."""
        return self.shape is None

    def shape_for(self, rule: object, value: np.ndarray) -> tuple[int, ...]:
        """Return its shape, for a rule that updates `value`."""
        return value.shape if self.shape is None else self.shape(rule, value)

    def first(self, rule: object, value: np.ndarray, owner: str) -> First:
        """Return the first value, for a rule that updates `value`, which state names call `owner`."""
        start = self.init(rule, value) if callable(self.init) else self.init
        if isinstance(start, np.random.Generator):
            return start
        return np.array(np.broadcast_to(np.asarray(start, self.dtype or value.dtype), self.shape_for(rule, value)))


def Zeros(when: Callable[[Any], bool] | None = None) -> State:
    """Declare a state of the parameter's shape that starts at 0."""
    return State(when=when)


def Copy(follows: bool = False) -> State:
    """Declare a state that starts as a copy of the parameter; one that `follows` is restored with it."""
    return State(lambda rule, value: value, follows=follows)


def Number(init: Init = 0.0) -> State:
    """Declare a state that is one number, float64 as all numbers are: parameters of any width may share it."""
    return State(init, lambda rule, value: (), dtype="float64")


class Generator(State):
    """Declare a random generator, seeded by the rule's setting `seed`.

    In a rule of scope ``'tensor'``, each parameter has a generator of its own, with independent numbers: the seed
    comes from the setting and from the parameter's name.
    """

    def __init__(self) -> None:
        super().__init__(shape=lambda rule, value: ())

    def first(self, rule: Any, value: np.ndarray, owner: str) -> np.random.Generator:
        """Return a new generator."""
        key = tuple(owner.encode()) if rule.scope == "tensor" else ()
        return np.random.default_rng(np.random.SeedSequence(rule.seed, spawn_key=key))


class Store:
    """The state variables of one optimizer by name, made at first use and kept while it lives."""

    def __init__(self) -> None:
        self.variables: dict[str, Variable] = {}
        self._first: dict[str, Callable[[], First]] = {}

    def variable(self, name: str, first: Callable[[], First], shape: Sequence[int | None] = ()) -> Variable:
        """Return the variable called `name`; if there is none of static `shape`, make it with the value of ``first()``.

        A variable of another shape is replaced: settings that shape it have changed.
        """
        known = self.variables.get(name)
        if known is None or getattr(known.type, "shape", tuple(shape)) != tuple(shape):
            self.adopt(name, graph.shared_like(first(), name, shape), first)
        return self.variables[name]

    def adopt(self, name: str, variable: Variable, first: Callable[[], First]) -> None:
        """Add a variable that was made elsewhere."""
        self.variables[name], self._first[name] = variable, first

    def discard(self, names: Iterable[str]) -> None:
        """Forget the variables of these names."""
        for name in list(names):
            del self.variables[name], self._first[name]

    @contextlib.contextmanager
    def undone_on_error(self) -> Iterator[None]:
        """Forget the variables that the body makes if it raises."""
        before = {*self.variables}
        try:
            yield
        except BaseException:
            self.discard(self.variables.keys() - before)
            raise

    def values(self) -> dict[str, Any]:
        """Return copies of the present values by name."""
        return {n: v.get_value() for n, v in self.variables.items()}

    def reset(self) -> None:
        """Set every variable to its first value."""
        for name, v in self.variables.items():
            graph.assign({v: self._first[name]()})
