"""Algorithm: a rule with the settings of all stages, its groups and a name; it knows no loss, no data and no runs."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NoReturn

from ..checks import kind_of, shown
from . import synonyms
from .graph import Variable
from .groups import Groups
from .hyper import Hyper, Setting, declared
from .layout import Layout, Values
from .legacy import PairRule, declare_arguments, passed_on
from .registry import registry
from .rule import DECLARED, Needed, Rule, RuleState
from .stages import SETTINGS, WITH_STATE

FIXED = ("hyper", "context", "rule", "fit")
MISSING = object()


class AlgorithmType(type):
    """Lets a class of algorithms return an optimizer when it is called with a loss, and pass as its class."""

    def __call__(cls, loss: Variable = None, *args: object, **kwargs: object) -> Any:
        """Return an optimizer that has the rule; without a loss, the rule alone."""
        if loss is None and not args:
            return super().__call__(**kwargs)
        return registry.optimizer(cls, loss, *args, **kwargs)

    def __instancecheck__(cls, instance: object) -> bool:
        """Whether something is a rule of this class, or an optimizer that has one."""
        return super().__instancecheck__(instance) or super().__instancecheck__(
            getattr(instance, "__dict__", {}).get("rule")
        )


class Algorithm(Rule, metaclass=AlgorithmType):
    """An equation with the settings of all that happens before and after it.

    Subclasses register themselves by name. Called with a loss, a subclass makes an `Optimizer`; without one, it makes
    what a group takes: ``Adam(learning_rate=0.01)``.

    The settings act in this order: `accumulate` or `sam`, `centralize`, `max_gradient_elem` or `max_gradient_norm`,
    `max_global_norm`, `clip_adaptive`, `gradient_noise`, `transforms`, coupled `weight_decay`, the algorithm,
    `momentum` and the learning rate, other `weight_decay`, `mechanic`, `project`, `lookahead`, `ema` or `swa`.

    A number switches on a setting with options, and so do True (for the number in brackets) and a dict:
    ``gradient_noise=dict(eta=0.1, gamma=0.55)`` sets the hyperparameters `gradient_noise` and `gradient_noise_gamma`.

    Parameters
    ----------
    groups : sequence of dict, optional
        Separate settings for some parameters; see `Optimizer`.
    accumulate : int
        Batches that make one update, at least 1. Their gradients are averaged, weighted by rows, so that they count as
        one large batch does; the end of an epoch makes an update from those that are left. Losses and monitors are
        reported for each batch; `max_updates`, schedules and averages count updates. With ``on_nonfinite='skip'``, a
        batch that is not finite is left out, and the next one takes its place. Default 1.
    reduction : {'mean', 'sum'}
        Whether the loss of a batch is a mean over its rows, or a sum: then gradients are added. Default ``'mean'``.
    sam : float, or dict of rho (0.05) and adaptive (False)
        How far uphill from the parameters gradients are taken, in units of the parameters (adaptive: relative to the
        magnitude of each element); at least 0. Losses are taken at the parameters. A step costs two gradients.
        Default 0: gradients are taken at the parameters.
    centralize : bool
        Whether each slice of a gradient along its first axis loses its mean, as in optax; vectors stay as they are.
        Default False.
    clip_adaptive : float, or dict of clipping (0.01) and epsilon (1e-3)
        Largest norm of a unit's gradient relative to the norm of the unit, or to `epsilon` if that is larger. Units are
        those of optax: the elements along all axes but the last (with three axes: along the first); a scalar or vector
        is one unit. Default 0: no limit.
    gradient_noise : float, or dict of eta (0.01), gamma (0.55) and seed (0)
        Variance of the normal numbers added to the gradient at the first update, in units of the gradient squared; at
        update t it is ``eta / t**gamma``. They are added after clipping, which would change the variance; other
        libraries have either order. Default 0: none.
    transforms : sequence of functions
        Each takes a parameter and its gradient so far, as PyTensor expressions, and returns the gradient. State is
        declared as default values: ``def f(param, grad, v=downhill2.Zeros()): ...; return new_grad, dict(v=v_t)``.
        Default: none.
    mechanic : float, or dict of s_init (1e-6), decay (0.01), epsilon (1e-8) and betas (6)
        The first factor of the steps; the next ones are learned. Use a learning rate of 1, or a schedule that begins
        with 1. Equal to ``optax.contrib.mechanize``. Default 0: the steps stay as they are; where a schedule reaches
        0, learning goes on without a new stake.
    project : dict
        From parameters, by variable or name pattern, to the sets that they are kept in: those of
        `downhill2.projections`, or any function of a new value. The first value of a parameter stays until the first
        update. Default: none.
    lookahead : int, or dict of k (5) and alpha (0.5)
        After every so many updates, a slow point moves by the fraction alpha towards the parameters, and they go back
        to it. The slow point is evaluated, kept and restored. Default 0: never.
    ema : float, or dict of decay (0.999) and debias (False)
        Decay of an exponential average of parameters, in [0, 1). The average is evaluated, kept and restored. It
        begins with the value after the first update. That value keeps a large weight for a long time, unless `debias`
        gives all values the relative weights that they have in a long run. Default 0: no average.
    swa : int, or dict of start (1) and every (1)
        The first update after which parameters enter an average; the next ones follow after every `every` updates. The
        average is evaluated, kept and restored. Default 0: no average.
    **hyper
        The algorithm's own hyperparameters and settings, those that `Optimizer` documents, and `preset`.

    Raises
    ------
    TypeError, ValueError
        For wrong arguments; TypeError for a class that declares a name which is taken.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    frozen = Setting(False)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _check_body(cls)
        _check_names(cls)
        if "_get_updates_for" in vars(cls):
            cls.owns_rate = True
        if "_prepare" in vars(cls):
            declare_arguments(cls)
        registry.add(cls)

    def __init__(self, groups: Sequence[Mapping[str, object]] = (), **hyper: object) -> None:
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

    def _prepare(self, **passed: object) -> None:
        """Set as attributes what `_prepare` of a subclass written for downhill passes to its parent."""
        owner = next(c for c in self.__class__.__mro__ if getattr(c, "_prepare", None) is Algorithm._prepare)
        for name, value in passed_on(owner, self, passed):
            setattr(self, name, value)

    def __getattr__(self, name: str) -> Any:
        """Raise AttributeError; say so if an optimizer has the name."""
        kind, pairs = type(self).__name__, vars(self).get("_pairs")
        if pairs is not None and name in vars(pairs.myself):
            return vars(pairs.myself)[name]
        if hasattr(type(self), name):  # a property raised AttributeError, and its message says more
            return super().__getattribute__(name)
        if name in registry.members:
            raise AttributeError(f"{kind} needs a loss for {name!r}; make an optimizer by {kind}(loss, ...) or build")
        raise AttributeError(f"{kind!r} object has no attribute {name!r}{synonyms.method(name)}", name=name, obj=self)

    def __setattr__(self, name: str, value: object) -> None:
        if "_pairs" in vars(self):
            check_attribute(self, name, self)
        super().__setattr__(name, value)

    def __copy__(self) -> Any:
        """Raise TypeError: a shallow copy would share its numbers and its state."""
        raise TypeError(f"{type(self).__name__} must not be copied in part; copy.deepcopy copies all of it")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={value!r}' for n, value in self.hyper.chosen().items())})"

    def __call__(self, *args: object, **kwargs: object) -> NoReturn:
        """Raise TypeError with advice: other packages call their optimizers."""
        raise TypeError(
            f"{type(self).__name__} must not be called; where a package calls its optimizer with gradients, "
            f"write downhill2.updates({self.as_settings()})"
        )

    def as_settings(self) -> str:
        """Return the arguments of `build` that make the same algorithm."""
        given = {"algo": type(self).__name__.lower()} | self.hyper.chosen()
        return ", ".join(f"{n}={value!r}" for n, value in given.items())

    @classmethod
    def with_defaults(cls) -> Algorithm:
        """Return the rule with its defaults, also where a caller's subclass has a constructor with other arguments."""
        rule = cls.__new__(cls)
        Rule.__init__(rule, RuleState(cls))
        return rule

    def _of_group(self, algo: object, settings: dict[str, Any]) -> Rule:
        """Make the rule of a group."""
        if isinstance(algo, Algorithm):
            if not isinstance(type(algo), AlgorithmType) or algo.groups:
                raise ValueError(f"algo of a group must be an algorithm without a loss or groups, got {shown(algo)}")
            algo.hyper.assign(algo.hyper.parse(settings, registry.elsewhere))
            return algo
        made: Rule = algorithm(type(self) if algo is None else algo)(**settings)
        return made

    def bind(self, params: Sequence[Variable], names: Sequence[str]) -> None:
        """Distribute parameters, labelled by `names`, among the groups, if there are any."""
        if self.groups:
            self._groups.bind(params, names)

    @property
    def groups(self) -> list[Rule]:
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
        """Return the rules that update parameters, each with the layout of its own ones."""
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
        self, layout: Layout, point: Values, grads: Values, batch: Mapping[str, Needed]
    ) -> tuple[Values, dict[Variable, Variable]]:
        """Run the equation, in whichever form the class states it."""
        if self._pairs:
            return self._pairs.apply(layout, grads)
        return super().apply(layout, point, grads, batch)


for _name, _declaration in SETTINGS.items():
    setattr(Algorithm, _name, _declaration)


def algorithm(algo: object) -> type[Algorithm]:
    """Return a class of algorithms by name or as it is; TypeError or ValueError for anything else."""
    if isinstance(algo, type) and issubclass(algo, Algorithm):
        return algo
    if isinstance(algo, str):
        found: type[Algorithm] = registry.find(algo)
        return found
    hint = f"; write {getattr(algo, 'rule', algo).as_settings()}" if isinstance(algo, Algorithm) else ""
    raise TypeError(f"algo must be a name or a subclass of Optimizer, got {kind_of(algo)}{hint}")


def check_attribute(owner: object, name: str, rule: Algorithm) -> None:
    """Raise AttributeError if a new attribute has nearly the name of a setting, or of an argument."""
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
    """Whether the attribute exists and can be set."""
    found = getattr(type(owner), name, MISSING)
    return name in vars(owner) or (found is not MISSING and getattr(found, "fset", MISSING) is not None)


def _misplaced(rule: Algorithm, name: str) -> str | None:
    """Return what an error says of an unknown attribute; None if no known name is near."""
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


def _check_body(cls: type) -> None:
    """Raise TypeError if a class defines what belongs to runs: the optimizer that has the rule would never use it."""
    name = cls.__name__
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


def _check_names(cls: type) -> None:
    """Raise TypeError if the name of a class, or of what it declares, is taken."""
    name = cls.__name__
    if any(name.lower() == stage.__name__.lower() for stage in WITH_STATE):
        raise TypeError(
            f"an algorithm must not be called {name}; its state would be that of the setting {name.lower()}"
        )
    if name in ("Optimizer", "Algorithm"):
        raise TypeError(f"an algorithm must not be called {name}, as all of them are; choose another name")
    for symbol, declaration in declared(cls, DECLARED).items():
        if symbol in registry.members:
            raise TypeError(f"{name} must not declare {symbol!r}, a name that every optimizer has; choose another")
        for keyword in declaration.names if isinstance(declaration, Hyper | Setting) else ():
            if keyword in registry.arguments:
                raise TypeError(
                    f"{name} must not declare {keyword!r}, an argument of build or of a run; choose another"
                )
