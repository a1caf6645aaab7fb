"""Algorithm: a rule with the settings of all stages, its groups and a name; nothing of a loss, of data or of runs."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ..checks import kind_of, shown
from . import synonyms
from .graph import Variable
from .groups import Groups
from .hyper import Hyper, Setting, declared
from .layout import Layout, Values
from .legacy import PairRule, declare_arguments, passed_on
from .registry import registry
from .rule import DECLARED, Rule, RuleState
from .stages import SETTINGS, WITH_STATE

FIXED = ("hyper", "context", "rule", "fit")
MISSING = object()


class AlgorithmType(type):
    """Lets a class of algorithms make an optimizer where it is called with a loss, and answer for that optimizer."""

    def __call__(cls, loss: Variable = None, *args: Any, **kwargs: Any) -> Any:
        """Return an optimizer that has the rule; without a loss, the rule alone."""
        if loss is None and not args:
            return super().__call__(**kwargs)
        return registry.optimizer(cls, loss, *args, **kwargs)

    def __instancecheck__(cls, instance: object) -> bool:
        """Whether something is of this algorithm: a rule, or an optimizer that has it."""
        return super().__instancecheck__(instance) or super().__instancecheck__(
            getattr(instance, "__dict__", {}).get("rule")
        )


class Algorithm(Rule, metaclass=AlgorithmType):
    """An equation with the settings of all that happens before and after it.

    Subclasses register themselves by name. Called with a loss, a subclass makes an `Optimizer`; without one, it makes
    what a group takes: ``Adam(learning_rate=0.01)``.

    They act in this order: `accumulate` or `sam`, `centralize`, `max_gradient_elem` or `max_gradient_norm`,
    `max_global_norm`, `clip_adaptive`, `gradient_noise`, `transforms`, coupled `weight_decay`, the algorithm,
    `momentum` and the learning rate, other `weight_decay`, `mechanic`, `project`, `lookahead`, `ema` or `swa`.

    Those with options are switched on by a number, by True (with the number given below), or by a dict: of
    ``gradient_noise=dict(eta=0.1, gamma=0.55)`` the hyperparameters are `gradient_noise` and `gradient_noise_gamma`.

    Parameters
    ----------
    groups : sequence of dict, optional
        Settings of their own for some parameters; see `Optimizer`.
    accumulate : int
        Batches that make one update, at least 1. Their gradients are averaged, weighted by rows, so that they count as
        one large batch does; an epoch's end makes an update from those that are left over. Losses and monitors are
        reported for each batch; `max_updates`, schedules and averages count updates. A batch that is not finite is
        left out, under ``on_nonfinite='skip'``, and the next one takes its place. Default 1.
    reduction : {'mean', 'sum'}
        Whether the loss of a batch is a mean over its rows or a sum, so that gradients are added. Default ``'mean'``.
    sam : float, or dict of rho (0.05) and adaptive (False)
        Distance at which gradients are taken, uphill, in units of the parameters (adaptive: relative to the magnitude
        of each element); at least 0. Losses are those where the parameters are. A step costs two gradients.
        Default 0: where the parameters are.
    centralize : bool
        Whether from each slice of a gradient along its first axis the mean is subtracted, as optax does; not from
        vectors. Default False.
    clip_adaptive : float, or dict of clipping (0.01) and epsilon (1e-3)
        Largest norm of a unit's gradient relative to the norm of the unit, which counts as `epsilon` at least. Units
        are those of optax: what lies along all axes but the last (of three axes: along the first); a scalar or vector.
        Default 0: no limit.
    gradient_noise : float, or dict of eta (0.01), gamma (0.55) and seed (0)
        Variance of the normal numbers added to the gradient at the first update, in units of the gradient squared; at
        update t it is ``eta / t**gamma``. They are added after clipping, which would make the variance another; code
        elsewhere has either order. Default 0: none.
    transforms : sequence of functions
        Each is given a parameter and its gradient so far, as PyTensor expressions, and returns the gradient. State is
        declared as default values: ``def f(param, grad, v=downhill2.Zeros()): ...; return new_grad, dict(v=v_t)``.
        Default: none.
    mechanic : float, or dict of s_init (1e-6), decay (0.01), epsilon (1e-8) and betas (6)
        First factor of the steps, which is then learned; take 1 for the learning rate, or a schedule that begins
        with 1. Equal to ``optax.contrib.mechanize``. Default 0: the steps stay as they are; where a schedule comes to
        0, only nothing new is staked.
    project : dict
        Of parameters, by variable or name pattern, and the sets to keep them in, of `downhill2.projections`, or any
        function of a new value. What a parameter starts with stays until the first update. Default: none.
    lookahead : int, or dict of k (5) and alpha (0.5)
        Updates after which parameters go back to a slow point, which has moved by the fraction alpha towards them.
        The slow point is evaluated, kept and restored. Default 0: never.
    ema : float, or dict of decay (0.999) and debias (False)
        What remains, from update to update, of the weights of an average of parameters, in [0, 1). The average is
        evaluated, kept and restored. It begins with the value after the first update, which keeps a large weight for
        long unless `debias` gives all values the relative weights of a long run. Default 0: no average.
    swa : int, or dict of start (1) and every (1)
        The first update after which parameters are averaged; then after every so many. The average is evaluated, kept
        and restored. Default 0: no average.
    **hyper
        The algorithm's own hyperparameters and settings, those that `Optimizer` documents, and `preset`.

    Raises
    ------
    TypeError, ValueError
        For arguments that are wrong; TypeError for a class that declares a name which is taken.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    frozen = Setting(False)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _check_names(cls)
        if "_get_updates_for" in vars(cls):
            cls.owns_rate = True
        if "_prepare" in vars(cls):
            declare_arguments(cls)
        registry.add(cls)

    def __init__(self, groups: Sequence[Mapping[str, Any]] = (), **hyper: Any) -> None:
        self._check_methods()
        super().__init__(RuleState(type(self)))
        self.hyper.assign(self.hyper.parse(hyper, registry.elsewhere))
        self._groups = Groups(groups, self.context, self._of_group)
        self._pairs = PairRule(self) if hasattr(self, "_get_updates_for") else None

    def _check_methods(self) -> None:
        """Raise TypeError if the class does not state its equation."""
        name, is_old = type(self).__name__, hasattr(self, "_get_updates_for")
        if not is_old and not hasattr(self, "direction"):
            raise TypeError(f"{name} must define direction(param, grad, **state)")
        if not is_old and type(self)._prepare is not Algorithm._prepare:
            raise TypeError(
                f"{name} must define _get_updates_for beside _prepare, or declare numbers as downhill2.Hyper"
            )

    def _prepare(self, **passed: Any) -> None:
        """Take what `_prepare` of a subclass written for downhill passes on; its `self` has it as attributes."""
        owner = next(c for c in self.__class__.__mro__ if getattr(c, "_prepare", None) is Algorithm._prepare)
        for name, value in passed_on(owner, self, passed):
            setattr(self, name, value)

    def __getattr__(self, name: str) -> Any:
        """Say what an algorithm lacks that an optimizer has."""
        kind, pairs = type(self).__name__, vars(self).get("_pairs")
        if pairs is not None and name in vars(pairs.myself):
            return vars(pairs.myself)[name]
        if hasattr(type(self), name):  # a property that raised AttributeError, which says more
            return super().__getattribute__(name)
        if name in registry.members:
            raise AttributeError(f"{kind} needs a loss for {name!r}; make an optimizer by {kind}(loss, ...) or build")
        raise AttributeError(f"{kind!r} object has no attribute {name!r}{synonyms.method(name)}", name=name, obj=self)

    def __setattr__(self, name: str, value: Any) -> None:
        if "_pairs" in vars(self):
            check_attribute(self, name, self)
        super().__setattr__(name, value)

    def __copy__(self) -> Any:
        """Raise TypeError: a shallow copy would share its numbers and its state."""
        raise TypeError(f"{type(self).__name__} must not be copied in part; copy.deepcopy copies all of it")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={value!r}' for n, value in self.hyper.chosen().items())})"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raise TypeError: other packages call what they take as an optimizer."""
        raise TypeError(
            f"{type(self).__name__} must not be called; where a package calls its optimizer with gradients, "
            f"write downhill2.updates({self.as_settings()})"
        )

    def as_settings(self) -> str:
        """Return what says the same in a call of `build`."""
        given = {"algo": type(self).__name__.lower()} | self.hyper.chosen()
        return ", ".join(f"{n}={value!r}" for n, value in given.items())

    @classmethod
    def with_defaults(cls) -> Algorithm:
        """Return the rule under its defaults, whatever the constructor of a caller's subclass asks for."""
        rule = cls.__new__(cls)
        Rule.__init__(rule, RuleState(cls))
        return rule

    def _of_group(self, algo: Any, settings: dict[str, Any]) -> Rule:
        """Make the rule of a group."""
        if isinstance(algo, Algorithm):
            if not isinstance(type(algo), AlgorithmType) or algo.groups:
                raise ValueError(f"algo of a group must be an algorithm without a loss or groups, got {shown(algo)}")
            algo.hyper.assign(algo.hyper.parse(settings, registry.elsewhere))
            return algo
        made: Rule = algorithm(type(self) if algo is None else algo)(**settings)
        return made

    def bind(self, params: Sequence[Variable], names: Sequence[str]) -> None:
        """Share parameters, called by `names`, out among the groups, if there are any."""
        if self.groups:
            self._groups.bind(params, names)

    @property
    def groups(self) -> list[Any]:
        """The algorithm of each parameter group."""
        return self._groups.rules

    @property
    def members(self) -> list[tuple[Rule, list[Variable]]]:
        """The algorithm and the parameters of each group."""
        return list(zip(self._groups.rules, self._groups.params, strict=True))

    @property
    def preset(self) -> str | None:
        """The preset that was named last."""
        return self.hyper.preset

    @preset.setter
    def preset(self, name: str) -> None:
        self.hyper.assign(self.hyper.parse({"preset": name}))

    def parts(self, layout: Layout) -> list[tuple[Rule, Layout]]:
        """Return the rules that update parameters, each with its own."""
        if self.groups:
            return self._groups.parts(layout)
        return [] if self.hyper["frozen"] else super().parts(layout)

    def evaluations(self, layout: Layout, point: Values) -> dict[Variable, Variable]:
        """Return what to evaluate in place of each parameter; empty if that is the parameter itself."""
        if not self.groups:
            return super().evaluations(layout, point)
        return {p: x for rule, part in self.parts(layout) for p, x in rule.evaluations(part, point).items()}

    def follow(self, layout: Layout) -> None:
        """Set state that stands for parameters to their present values."""
        for rule, part in self.parts(layout):
            if rule is self:
                super().follow(part)
            else:
                rule.follow(part)

    def apply(
        self, layout: Layout, point: Values, grads: Values, batch: Mapping[str, Any]
    ) -> tuple[Values, dict[Variable, Variable]]:
        """Run the equation, in whichever form the class states it."""
        if self._pairs:
            return self._pairs.apply(layout, grads)
        return super().apply(layout, point, grads, batch)


for _name, _declaration in SETTINGS.items():
    setattr(Algorithm, _name, _declaration)


def algorithm(algo: Any) -> Any:
    """Return a class of algorithms by name or as it is; TypeError or ValueError for anything else."""
    if isinstance(algo, AlgorithmType):
        return algo
    if isinstance(algo, str):
        return registry.find(algo)
    hint = f"; write {getattr(algo, 'rule', algo).as_settings()}" if isinstance(algo, Algorithm) else ""
    raise TypeError(f"algo must be a name or a subclass of Optimizer, got {kind_of(algo)}{hint}")


def check_attribute(owner: object, name: str, rule: Algorithm) -> None:
    """Raise AttributeError if a name that is to be set anew is nearly that of something that is set elsewhere."""
    kind = type(rule).__name__
    is_fixed = name in FIXED or (name in registry.members and not _is_settable(owner, name))
    if is_fixed and name not in registry.arguments:
        hint = "; call opt.stop('why') in a callback" if name == "stop" else ""
        raise AttributeError(f"{kind} must keep its {name!r}, which cannot be replaced{hint}")
    if not name.startswith("_") and not _may_set(owner, name):
        why = _misplaced(rule, name)
        if why:
            raise AttributeError(f"{kind} has {why}")


def _is_settable(owner: object, name: str) -> bool:
    """Whether an attribute of every optimizer may be set: a property that says so, or the history."""
    return name == "history" or getattr(getattr(type(owner), name, None), "fset", None) is not None


def _may_set(owner: object, name: str) -> bool:
    """Whether there is such an attribute, and it is no property that can only be read."""
    found = getattr(type(owner), name, MISSING)
    return name in vars(owner) or (found is not MISSING and getattr(found, "fset", MISSING) is not None)


def _misplaced(rule: Algorithm, name: str) -> str | None:
    """Return what there is in place of an attribute that is not there, None if its name is like no other."""
    if written := synonyms.attribute(name):
        return f"no attribute {name!r} to set; write {written}"
    names = {n: d.symbol for d in rule.hyper.declared.values() for n in d.names}
    near = difflib.get_close_matches(name, [*names, *registry.arguments], 1, 0.85)
    if not near:
        is_foreign = any(name in declared(cls, Hyper | Setting) for cls in registry.algorithms.values())
        return f"no hyperparameter {name!r}" if is_foreign else None
    [found] = near
    if found in names:
        return f"no hyperparameter {name!r}; did you mean {names[found]!r}?"
    return f"no attribute {name!r} to set; give {found}= to {registry.arguments[found]}"


def _check_names(cls: type) -> None:
    """Raise TypeError if a class, or what it declares, has a name that means something else."""
    name = cls.__name__
    if any(name.lower() == stage.__name__.lower() for stage in WITH_STATE):
        raise TypeError(
            f"an algorithm must not be called {name}; its state would be that of the setting {name.lower()}"
        )
    if name in ("Optimizer", "Algorithm"):
        raise TypeError(f"an algorithm must not be called {name}, as all of them are; choose another name")
    for defined in vars(cls):
        if defined in registry.members and not isinstance(vars(cls)[defined], DECLARED):
            raise TypeError(
                f"{name} must not define {defined!r}: a subclass is the equation, and runs are not its own; write a "
                f"function of the optimizer instead"
            )
    if "__init__" in vars(cls) and "loss" in inspect.signature(vars(cls)["__init__"]).parameters:
        raise TypeError(
            f"{name}.__init__ must take hyperparameters only, got an argument 'loss': a subclass is the equation, and "
            "the loss is that of the optimizer which has it"
        )
    for symbol, declaration in declared(cls, DECLARED).items():
        if symbol in registry.members:
            raise TypeError(f"{name} must not declare {symbol!r}, a name that every optimizer has; choose another")
        for keyword in declaration.names if isinstance(declaration, Hyper | Setting) else ():
            if keyword in registry.arguments:
                raise TypeError(
                    f"{name} must not declare {keyword!r}, an argument of build or of a run; choose another"
                )
