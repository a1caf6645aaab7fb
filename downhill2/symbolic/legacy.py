"""Rules written for downhill: `_get_updates_for(param, grad)` yields pairs; one has the step or value of `param`.

Their hyperparameters are the arguments of `_prepare`, which sets attributes.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from functools import partial
from types import FunctionType
from typing import Any

import numpy as np
import pytensor.tensor as pt

from . import graph
from .declared import Hyper, Setting, declared
from .graph import Variable
from .hyper import Hyperparameters
from .layout import Layout, Values
from .rule import Rule

OF_ITERATE = ("learning_rate", "momentum", "nesterov", "max_gradient_norm", "max_gradient_elem")
"""Arguments that downhill's `iterate` took for itself, also if `_prepare` has them."""


class Argument(Setting):
    """An argument of `_prepare`: any value, unchanged."""

    def __init__(self, keyword: str, symbol: str, default: object) -> None:
        super().__init__(default, object)
        self.keyword, self.symbol = keyword, symbol

    @property
    def names(self) -> tuple[str, ...]:
        return (self.keyword,)

    def check(self, name: str, value: object) -> object:
        """Return `value`; an array as a constant, since settings are compared."""
        value = value.item() if isinstance(value, np.generic) else value
        return pt.constant(value) if isinstance(value, np.ndarray) else value

    def plain(self, value: object) -> object:
        """Return a value as a checkpoint has it, in terms of JSON."""
        return value if isinstance(value, bool | int | float | str | None) else repr(value)


def declare_arguments(cls: type) -> None:
    """Declare the arguments of a class's own `_prepare`; they win over settings of the package with their names."""
    _, *parameters = inspect.signature(vars(cls)["_prepare"]).parameters.values()
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if named == parameters:  # without **kwargs it takes none of its parents' arguments
        for symbol in declared(cls, Argument):
            setattr(cls, symbol, None)
    for p in named:
        if p.name not in OF_ITERATE:
            is_taken = not isinstance(getattr(cls, p.name, None), Argument | None)
            symbol = f"{cls.__name__.lower()}_{p.name}" if is_taken else p.name
            setattr(cls, symbol, Argument(p.name, symbol, p.default))


class Myself:
    """The `self` of methods written for downhill: it keeps the attributes that they set; all others are the rule's.

    So an attribute may have the name of a hyperparameter of the package.
    """

    def __init__(self, rule: Rule) -> None:
        vars(self)["_rule"] = rule

    @property  # type: ignore[misc]  # `super()` in their methods asks for it
    def __class__(self) -> Any:
        return type(self._rule)

    def __getattr__(self, name: str) -> Any:
        found = inspect.getattr_static(type(self._rule), name, None)
        return found.__get__(self) if isinstance(found, FunctionType | property) else getattr(self._rule, name)


class PairRule:
    """Runs `_get_updates_for` once per parameter, on a stand-in for the gradient.

    The method makes new state at each call. So its expressions are kept until the arguments of `_prepare` change, and
    each use replaces the stand-in by its gradient.

    Parameters
    ----------
    rule : Rule
        The rule that has the method.
    """

    def __init__(self, rule: Rule) -> None:
        self._rule, self._kind = rule, type(rule).__name__.lower()
        self._prepared: dict[str, Any] | None = None
        self._yields_values: bool | None = None
        self._made: dict[Variable, tuple[Variable, dict[Variable, Variable]]] = {}
        self.myself: Any = Myself(rule)

    def apply(self, layout: Layout, grads: Values) -> tuple[Values, dict[Variable, Variable]]:
        """Return the step of each parameter and the new values of state."""
        self._prepare()
        steps, new = Values(), {}
        for bundle in layout.singles:
            [param], [label] = bundle.params, bundle.names
            grad = grads.read(bundle)
            if param not in self._made:
                self._made[param] = self._make(param, label, grad)
            stand_in, pairs = self._made[param]
            grad = graph.cast(grad, stand_in.type.dtype)
            values = graph.replaced(list(pairs.values()), {stand_in: grad})
            placed = dict(zip(pairs, values, strict=True))
            steps.write(bundle, placed.pop(param))
            new.update(placed)
        return steps, new

    def _prepare(self) -> None:
        """Run `_prepare`, which sets attributes, if its arguments have changed."""
        hyper = self._rule.hyper
        arguments = declared(type(self._rule), Argument).items()
        given = {d.keyword: hyper[n] for n, d in arguments if hyper[n] is not d.default}
        if given != self._prepared:
            self.myself, self._made = Myself(self._rule), {}
            self.myself._prepare(**given)
            self._prepared = given

    def _make(self, param: Variable, label: str, grad: Variable) -> tuple[Variable, dict[Variable, Variable]]:
        stand_in = grad.type(name=f"gradient of {label}")
        pairs = dict(self.myself._get_updates_for(param, stand_in))
        if param not in pairs:
            raise TypeError(f"_get_updates_for must yield a pair for its parameter, got none for {label!r}")
        if self._yields_values is None:
            self._yields_values = is_new_value(pairs[param], param, stand_in)
        if self._yields_values:
            pairs[param] = param - pairs[param]
        state = [v for v in pairs if v is not param]
        kept = {v: self._kept(f"{label}.{self._kind}.{n}", v) for v, n in zip(state, graph.labels(state), strict=True)}
        values = graph.replaced(list(pairs.values()), {v: old for v, old in kept.items() if v is not old})
        return stand_in, {kept.get(v, v): new for v, new in zip(pairs, values, strict=True)}

    def _kept(self, name: str, variable: Variable) -> Variable:
        """Return the earlier state of that name and type, if `_prepare` had other arguments then; else the new one."""
        store, first = self._rule.context.store, partial(copy.deepcopy, variable.get_value())
        known = store.variables.get(name)
        kept = variable if known is None or known.type != variable.type else known
        store.adopt(name, kept, first)
        return kept


def is_new_value(yielded: Variable, param: Variable, grad: Variable) -> bool:
    """Whether what a rule yields for its parameter is the new value, as in downhill 0.2, and not the step, as in 0.4.

    A new value follows the parameter where that moves and the gradient stays. Steps hardly do.
    """
    if param not in graph.leaves([yielded]):
        return False
    like = param.get_value(borrow=True)

    def at(value: float) -> Variable:
        point = {param: pt.constant(np.full_like(like, value)), grad: pt.constant(np.ones(like.shape, grad.type.dtype))}
        [out] = graph.replaced([yielded], point)
        return out

    return bool(graph.evaluate(pt.max(at(0.75) - at(0.5))) > 0.125)


def passed_on(owner: type, rule: Rule, given: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yield the attributes that `_prepare` of the class `owner` of the package would set: expressions, or settings."""
    hyper = Hyperparameters(owner, rule.hyper.count, rule.hyper.epochs)
    for symbol, value in hyper.parse(given).items():
        if isinstance(hyper.declared[symbol], Hyper):
            value = pt.constant(np.asarray(value.number)) if value.variable is None else value.variable
        yield symbol, value
