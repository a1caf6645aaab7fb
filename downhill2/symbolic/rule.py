"""Rule: declared hyperparameters, declared state and one pure method that holds the equation."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, TypeAlias

from . import graph
from .graph import Variable
from .hyper import Hyper, Hyperparameters, Setting, declared
from .layout import Bundle, Layout, Values
from .state import First, State, Store

DECLARED = Hyper | Setting | State

Needed: TypeAlias = Variable | Callable[..., Variable]
"""What `needs` names: a value, or a function of a bundle."""


class RuleState:
    """What the rules of one optimizer share: hyperparameters, state, clocks, the rate factor."""

    def __init__(self, owner: type) -> None:
        self.clock = graph.shared_scalar(0, "updates", "int64")
        self.epochs = graph.shared_scalar(0, "epochs", "int64")
        self.rate_factor = graph.shared_scalar(1.0, "rate_factor")
        self.hyper = Hyperparameters(owner, self.clock.astype("float64"), self.epochs.astype("float64"))
        self.store = Store()
        self.joined = False

    def join(self, other: RuleState) -> None:
        """Share clocks, state and the rate factor with another optimizer; keep the hyperparameters."""
        self.clock, self.epochs, self.rate_factor, self.store = (
            other.clock, other.epochs, other.rate_factor, other.store
        )  # fmt: skip
        self.joined = True
        self.hyper.recount(other.hyper.count, other.hyper.epochs)


class Rule:
    """From a gradient to a direction.

    A rule declares its hyperparameters (`Hyper`, `Setting`) and its state (`Zeros()`, `Copy()`, `Number()`,
    `State()`, `Generator()`) as class attributes, and defines ``direction(param, grad, **state)``, which
    returns the direction and a dict with the new value of each state. The direction, times the learning rate,
    is subtracted from the parameter. The same text runs on a parameter and on a vector of many.

    A rule may also define ``evaluated(param, **state)``: the value to validate, keep and return in place of
    the parameter.

    Attributes
    ----------
    scope : {'element', 'tensor', 'all'}
        What the equation calls x. An element rule treats every element alike and may see several parameters
        as one vector; a tensor rule sees one parameter at a time; for ``'all'``, x is all parameters as one.
    owns_rate : bool
        Whether `direction` already contains the learning rate.
    needs : tuple of str
        What else the equation uses: ``'loss'`` (`self.loss`), ``'hvp'`` (`self.hvp(r)`), ``'global_norm'``
        (`self.global_norm`), ``'shape'`` (`self.shape`), ``'gradient'`` (`self.gradient`, for what acts on steps).
    own_decay : bool
        Whether the equation itself contains `weight_decay`, which then is applied nowhere else.
    """

    scope: ClassVar[str] = "element"
    owns_rate: ClassVar[bool] = False
    own_decay: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()
    direction: Callable[..., tuple[Variable, dict[str, Variable]]]
    evaluated: Callable[..., Variable]

    context: RuleState
    hyper: Hyperparameters

    learning_rate = Hyper(1e-4, at_least=0)
    learning_rate_factor = Hyper(1.0, at_least=0, off=1.0)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, declaration in declared(cls, DECLARED).items():
            if name in ("param", "grad") or _is_taken(cls, name, declaration):
                raise TypeError(f"{cls.__name__} must not declare {name!r}, a name that it uses itself; choose another")

    def __init__(self, context: RuleState) -> None:
        self.context, self.hyper = context, context.hyper
        self._batch: Mapping[str, Needed] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes for a copy or a pickle, without the graph that was built last."""
        return {**vars(self), "_batch": {}}

    @property
    def t(self) -> Variable:
        """Number of this update, from 1: a float64 scalar."""
        return self.hyper.count + 1

    @property
    def rate(self) -> Variable:
        """The effective learning rate, times its own factor and the rate factor that runs set: a scalar."""
        rate = self.learning_rate * self.context.rate_factor
        return rate * self.learning_rate_factor if self.hyper.present("learning_rate_factor") else rate

    @property
    def members(self) -> list[tuple[Rule, list[Variable]]]:
        """The rule and the parameters of each group, if there are any."""
        return []

    def parts(self, layout: Layout) -> list[tuple[Rule, Layout]]:
        """Return the rules that update parameters, each with its layout: without groups, this rule with all."""
        return [(self, layout)]

    @property
    def loss(self) -> Variable:
        """The loss before this update: a scalar."""
        return self._needed("loss")

    @property
    def global_norm(self) -> Variable:
        """The norm of all gradients taken as one vector: a scalar."""
        return self._needed("global_norm")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of x, a parameter's."""
        shape: tuple[int, ...] = self._needed("shape")()
        return shape

    @property
    def gradient(self) -> Variable:
        """The gradient that the algorithm received, for stages after it."""
        return self._needed("gradient")()

    def hvp(self, r: Variable, method: str = "rop") -> Variable:
        """Return the Hessian of the loss over all parameters times `r`, a tensor like x (scope ``'all'``)."""
        return self._needed("hvp")(r, method)

    def _needed(self, name: str) -> Needed:
        if name not in self._batch:
            raise AttributeError(
                f"{type(self).__name__}.{name} has a value inside direction only, if the rule declares "
                f"needs = ({name!r},)"
            )
        return self._batch[name]

    def apply(
        self, layout: Layout, point: Values, grads: Values, batch: Mapping[str, Needed]
    ) -> tuple[Values, dict[Variable, Variable]]:
        """Run the equation on every bundle: return the directions, and the new value of each state variable.

        `batch` holds what `needs` may name; its ``'hvp'`` is a function of a bundle and a tensor.
        """
        directions = Values()
        new: dict[Variable, Variable] = {}
        for bundle in layout.bundles(self.scope):
            self._batch = {n: _for_bundle(batch[n], bundle) for n in self.needs}
            states = self.states(bundle)
            old = {n: s.value if graph.is_tensor(s.value) else _drawing(s.value, new) for n, s in states.items()}
            direction, state_t = self._checked(self.direction(point.read(bundle), grads.read(bundle), **old), old)
            # the next rule sees the dtype; numbers stay float64 until they meet a tensor
            number = graph.is_number(direction)
            directions.write(bundle, direction if number else graph.cast(direction, bundle.dtype))
            for n, s in states.items():
                new.update(s.updates(state_t[n]))
        self._batch = {}
        return directions, new

    def evaluations(self, layout: Layout, point: Values) -> dict[Variable, Variable]:
        """Return what to evaluate in place of each parameter; empty if that is the parameter itself."""
        if not hasattr(self, "evaluated"):
            return {}
        out = Values()
        for bundle in layout.bundles(self.scope):
            old = {n: s.value for n, s in self.states(bundle).items()}
            out.write(bundle, self.evaluated(point.read(bundle), **old))
        return {p: p.type.filter_variable(graph.cast(x, p.type.dtype)) for p, x in out.parts.items()}

    def follow(self, layout: Layout) -> None:
        """Set state that stands for parameters to their present values."""
        following = [n for n, s in declared(type(self), State).items() if s.follows]
        for bundle in layout.bundles(self.scope) if following else ():
            states = self.states(bundle)
            for n in following:
                for variable, param in zip(states[n].variables, bundle.params, strict=True):
                    value = param.get_value(borrow=True).astype(variable.type.dtype, copy=False)
                    graph.assign({variable: value})

    def states(self, bundle: Bundle) -> dict[str, Held]:
        """Return the state of a bundle by symbol; it is made at first use."""
        used = {n: s for n, s in declared(type(self), State).items() if s.when is None or s.when(self)}
        return {n: self._held(n, s, bundle) for n, s in used.items()}

    def _held(self, symbol: str, state: State, bundle: Bundle) -> Held:
        suffix, store = f"{type(self).__name__.lower()}.{symbol}", self.context.store
        if state.like_param:
            singles = [Bundle([p], [n], False) for p, n in zip(bundle.params, bundle.names, strict=True)]
            return Held(bundle, [
                store.variable(f"{b.name}.{suffix}", partial(_first, state, self, b, b.name), b.shape) for b in singles
            ])  # fmt: skip
        # an element rule may see parameters one by one or packed: state of no single one is shared by all
        owner = bundle.owner if self.scope == "element" else bundle.name
        first, shape = partial(_first, state, self, bundle, owner), state.shape_for(self, bundle.blank())
        return Held(None, [store.variable(f"{owner}.{suffix}", first, shape)])

    def _checked(self, returned: object, old: Mapping[str, Variable]) -> tuple[Variable, Mapping[str, Variable]]:
        """Return the result of `direction`; TypeError if it is no direction with new states."""
        if not (isinstance(returned, tuple | list) and len(returned) == 2 and isinstance(returned[1], Mapping)):
            raise TypeError(
                f"{type(self).__name__}.direction must return a pair, the direction and a dict of new states (which "
                f"may be empty), got {returned!r}"
            )
        new = returned[1]
        if set(old) != set(new):
            raise TypeError(
                f"{type(self).__name__}.direction must return a new value for each of its states "
                f"{sorted(old)}, got {sorted(new)}"
            )
        return returned[0], new


class Held:
    """The variables behind one state of one bundle: one per parameter, or a single one outside any bundle."""

    def __init__(self, bundle: Bundle | None, variables: list[Variable]) -> None:
        self.bundle, self.variables = bundle, variables
        self.value = variables[0] if bundle is None else bundle.held(variables)

    def updates(self, new: Variable) -> dict[Variable, Variable]:
        """Return the new value of each variable."""
        return {self.variables[0]: new} if self.bundle is None else self.bundle.updates(self.variables, new)


def _is_taken(cls: type, name: str, declaration: object) -> bool:
    """Whether a class or a base of it uses a declared name for something else than such a declaration."""
    kind = State if isinstance(declaration, State) else Hyper | Setting
    announced = any(name in inspect.get_annotations(base) and name not in vars(base) for base in cls.__mro__)
    return announced or any(name in vars(base) and not isinstance(vars(base)[name], kind) for base in cls.__mro__)


def _first(state: State, rule: Rule, bundle: Bundle, owner: str) -> First:
    return state.first(rule, bundle.value(), owner)


def _drawing(rng: Variable, new: Mapping[Variable, Variable]) -> Variable:
    """Return a generator as the bundle before has left it; otherwise all bundles would draw the same."""
    rng.tag.used = False  # PyTensor's mark; every call builds a graph of its own, in which nothing has drawn yet
    return new.get(rng, rng)


def _for_bundle(needed: Needed, bundle: Bundle) -> Needed:
    return partial(needed, bundle) if callable(needed) and not graph.is_variable(needed) else needed
