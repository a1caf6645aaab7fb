"""Optimizer: a rule on a loss, with its updates, its runs and its files; `build` makes one by name."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from pytensor.compile.mode import Mode

from . import climate
from .checks import flag, shown
from .compiling import backends
from .fitting.fit import Fit
from .fitting.running import Runs
from .fitting.settings import BESIDE_BUILD, BESIDE_UPDATES, NAMES
from .keeping.history import History
from .loop.run import Run
from .symbolic import graph, synonyms
from .symbolic.algorithm import FIXED, Algorithm, AlgorithmType, algorithm, check_attribute
from .symbolic.graph import Variable
from .symbolic.hyper import Hyper, Hyperparameters, Setting, declared
from .symbolic.problem import Pairs, Problem, monitored
from .symbolic.registry import registry
from .symbolic.rule import Rule

logging = climate.get_logger("downhill2")  # by this name old scripts reach the package's logger

OF_BUILD = ("algo", "loss", "params", "inputs", "updates", "monitors", "monitor_gradients", "groups")
OF_RUN = ("train", "valid", *NAMES)


class OptimizerType(type):
    """Turns ``class Mine(Optimizer)`` into an algorithm: the class that a caller defines is a rule."""

    def __new__(mcls, name: str, bases: tuple[type, ...], body: dict[str, Any], **kwargs: Any) -> Any:
        """Return a class of algorithms in place of a subclass."""
        if any(isinstance(base, OptimizerType) for base in bases):
            rules = tuple(Algorithm if isinstance(base, OptimizerType) else base for base in bases)
            return AlgorithmType(name, rules, body, **kwargs)
        return super().__new__(mcls, name, bases, body, **kwargs)

    @property
    def registry(cls) -> dict[str, type[Algorithm]]:
        """All algorithms by name."""
        return registry.algorithms


class Optimizer(Runs, metaclass=OptimizerType):
    """Minimizes a loss by the updates of one algorithm.

    Subclasses are the algorithms. `build` makes an optimizer, and so does a call of the class. A call without a loss
    makes the rule alone, with its hyperparameters.

    Parameters
    ----------
    loss : scalar TensorVariable, optional
        What to minimize, of a floating-point dtype. Usually a mean over the rows of a batch.
    params : sequence of shared variables, optional
        What to change. Default: every floating-point shared variable of the loss, in graph order (depth first,
        left to right), except those that `updates` change and hyperparameters.
    inputs : sequence of TensorVariable, optional
        The variables that receive the data, in its order. Default: the explicit inputs of the loss, in graph order.
    updates : dict or sequence of (shared variable, expression) pairs, optional
        New values of other variables, set with every training update. A random generator needs no pair: it advances
        by itself where something is drawn from it. ``{rng: rng}`` keeps it still.
    monitors : dict or sequence of (str, scalar expression) pairs, optional
        What to report beside the loss. The name of a hyperparameter, in place of an expression, reports its value.
    monitor_gradients : bool, optional
        Report ``grad(name)``, the squared Euclidean norm of each parameter's gradient, a float64.
    groups : sequence of dict, optional
        Separate settings for some parameters. A group has ``params`` (a parameter, a pattern of names such as
        ``'*bias'``, a function of a parameter that returns a bool, or a list of these), settings, and, for another
        algorithm with its own defaults, ``algo`` (a name, a class, or ``Adam(learning_rate=0.01)``). A group without
        ``algo`` and ``preset`` takes what it does not set from the optimizer. One group may leave out ``params``: it
        takes the rest. Every parameter must have a group. `max_global_norm` and the like act on all groups together.
    backend : {'numba', 'c', 'jax', 'pytorch'}, PyTensor mode or its name, optional
        What compiles updates and evaluations. Default: what PyTensor's ``config.mode`` says, which is Numba. ``'c'``
        needs a C++ compiler, ``'jax'`` and ``'pytorch'`` their packages. With JAX, parameters, state and data in
        memory are on its device during updates; callbacks, checkpoints and the caller get NumPy arrays. JAX repeats
        runs, also resumed ones, up to rounding and not to the bit, and draws other random numbers.
    preset : {'torch', 'optax', 'keras', 'downhill'}, optional
        The library whose defaults and conventions apply to all that is not set, here or in an earlier call. It
        applies until another preset is named. `list_algorithms` shows which presets an algorithm has.
    learning_rate : float
        Factor of the direction; dimensionless, at least 0. Like every number below it may also be a shared
        variable, a symbolic scalar, a schedule (`downhill2.schedules`) or a function of the number of updates made
        so far. Default 1e-4.
    learning_rate_factor : float
        Factor of the learning rate; for groups. At least 0. Default 1.
    frozen : bool
        Whether parameters stay as they are; for groups. Default False.
    momentum : float
        Fraction of the velocity that the next update keeps, in [0, 1). Default 0: no momentum.
    nesterov : bool
        Whether momentum is Nesterov's. Default False.
    momentum_rate : {'inside', 'outside'}
        ``'inside'``: the velocity sums steps, each with the learning rate of its own update (downhill, Keras,
        Lasagne). ``'outside'``: it sums directions, and the present rate multiplies the sum (torch, optax).
        Default ``'inside'``.
    weight_decay : float
        Strength of the decay of parameters; at least 0. Default 0: none.
    decay : {'coupled', 'decoupled', 'independent', 'proximal'}
        ``'coupled'``: ``weight_decay * param`` is added to the gradient (L2). ``'decoupled'``: it is multiplied by the
        learning rate and subtracted from the parameter (AdamW). ``'independent'``: it is subtracted without the rate.
        ``'proximal'``: the new parameter is divided by ``1 + learning_rate * weight_decay`` (Adan).
        Default ``'coupled'``.
    max_gradient_elem : float
        Largest magnitude of a gradient's element; wins over `max_gradient_norm`. Default 0: no limit.
    max_gradient_norm : float
        Largest Euclidean norm of each parameter's gradient. Default 0: no limit.
    max_global_norm : float
        Largest Euclidean norm of all gradients together. Default 0: no limit. A schedule or variable that reaches 0
        means the same, here and for all numbers above that are off at 0.
    accumulate, reduction, sam, centralize, clip_adaptive, gradient_noise, transforms, mechanic, project, lookahead, \
    ema, swa
        What happens before and after the equation: see `downhill2.symbolic.algorithm.Algorithm`.

    Attributes
    ----------
    hyper : mapping of str to float
        The present values of hyperparameters: ``opt.hyper['learning_rate']``. ``opt.learning_rate = 0.01`` sets one;
        ``opt.learning_rate`` itself is the symbolic scalar. Groups have theirs under
        ``opt.hyper['group0.learning_rate']``.
    groups : list of Algorithm
        The algorithm of each group, without a loss: ``opt.groups[0].learning_rate = 0.01``.
    state : dict of str to array
        Copies of the state of the algorithm: ``opt.state['W.adam.m']``.
    stopped : str or None
        Why the latest run ended; None before the first run and during a run.
    best_monitors : dict of str to float
        The validation monitors of the best parameters of the latest run.

    Raises
    ------
    TypeError, ValueError
        For wrong arguments, before anything is compiled.
    """

    def __init__(
        self,
        rule: Algorithm,
        loss: Variable = None,
        params: Sequence[Variable] | None = None,
        inputs: Sequence[Variable] | None = None,
        updates: Pairs = (),
        monitors: Pairs = (),
        monitor_gradients: bool = False,
        backend: str | Mode | None = None,
    ) -> None:
        if not isinstance(type(rule), AlgorithmType):
            raise TypeError(
                f"rule must be an algorithm such as Adam(), got {shown(rule)}; build makes an optimizer by name"
            )
        backends.check(backend)
        flag("monitor_gradients", monitor_gradients)
        self.rule = rule
        self._run: Run | None = None
        self._on: Run | None = None
        self.history = History()
        beside = graph.shared_inputs(rule.hyper.symbols().values())
        expressions, reported = monitored(monitors, rule.hyper)
        problem = Problem(loss, params, inputs, updates, expressions, monitor_gradients, beside)
        rule.bind(problem.params, problem.names)
        self.fit = Fit(problem, rule, reported, backend)
        self.fit.check()

    # -- the rule's hyperparameters, as attributes

    def __getattr__(self, name: str) -> Any:
        """Return what the rule has under a name: a hyperparameter as a symbolic scalar, a setting, a method."""
        rule = self.__dict__.get("rule")
        if rule is None or name.startswith("_") or not (hasattr(type(rule), name) or hasattr(rule, name)):
            kind = type(self if rule is None else rule).__name__
            message = f"{kind!r} object has no attribute {name!r}{synonyms.method(name)}"
            raise AttributeError(message, name=name, obj=self)
        return getattr(rule, name)

    def __setattr__(self, name: str, value: object) -> None:
        rule = self.__dict__.get("rule")
        if rule is not None and "fit" in vars(self):
            if name in rule.hyper.declared or name == "preset" or (name in vars(rule) and name not in FIXED):
                setattr(rule, name, value)
                return
            check_attribute(self, name, rule)
        super().__setattr__(name, value)

    def __copy__(self) -> Any:
        """Raise TypeError: a shallow copy would share parameters, numbers and state."""
        raise TypeError(f"{type(self.rule).__name__} must not be copied in part; copy.deepcopy copies all of it")

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a pickle has: no run is on."""
        return {**vars(self), "_on": None}

    def __dir__(self) -> list[str]:
        """Return the names that all optimizers have, and the settings that the algorithm declares or a caller set."""
        hyper, everywhere = self.rule.hyper, declared(Algorithm, Hyper | Setting)
        own = [n for n, d in hyper.declared.items() if everywhere.get(n) is not d or n in hyper.explicit]
        return sorted({*super().__dir__(), *own, "learning_rate"})

    def __call__(self, *args: object, **kwargs: object) -> NoReturn:
        """Raise TypeError with advice: other packages call their optimizers."""
        self.rule(*args, **kwargs)

    def __repr__(self) -> str:
        return summary(self)

    # -- parts of the rule and of the problem

    @property
    def hyper(self) -> Hyperparameters:
        """The hyperparameters' present values by name."""
        return self.rule.hyper

    @property
    def groups(self) -> list[Rule]:
        """The algorithm of each parameter group."""
        return self.rule.groups

    @property
    def preset(self) -> str | None:
        """The preset that was named last."""
        return self.rule.preset

    @property
    def params(self) -> list[Variable]:
        """The parameters."""
        return self.fit.problem.params

    @property
    def inputs(self) -> list[Variable]:
        """The variables that receive the data, in its order."""
        return self.fit.problem.inputs

    @property
    def state(self) -> dict[str, Any]:
        """Copies of the algorithm's state by name; it lacks state that nothing has used yet."""
        return self.rule.context.store.values()

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write an HTML file about the runs: curves, settings, parameters, events, environment; it needs no network.

        Parameters
        ----------
        path : path
            The file. The old one stays until the new one is complete.

        Raises
        ------
        ImportError
            If jinja2 or matplotlib is missing.
        ValueError
            If there was no run yet.
        OSError
            If the file cannot be written.
        """
        from .reporting import report

        report.write(path, self)

    # -- just the graph

    def get_updates(self, **hyper: object) -> list[tuple[Variable, Variable]]:
        """Return the update expressions.

        Parameters
        ----------
        **hyper
            Hyperparameters to set first.

        Returns
        -------
        list of (shared variable, expression) pairs
            The new value of every parameter, state variable, clock and generator that the loss draws from, each
            once, ready for ``pytensor.function(updates=...)``. The pairs of the argument `updates` are not
            among them. Repeated calls, and runs, use the same state.

        Raises
        ------
        TypeError, ValueError
            For a hyperparameter that is unknown or out of range.
        """
        fit, known = self.fit, self.rule.hyper
        with known.undone_on_error(known.parse(hyper, BESIDE_UPDATES)):
            fit.check()
            return list(fit.alone().items())

    def get_evaluated(self) -> dict[Variable, Variable]:
        """Return the averages to use in place of parameters.

        `ema`, `swa`, `lookahead`, ASGD and the Schedule-Free algorithms have them. Runs validate, keep and restore
        averages. In a loop of your own, ``pytensor.function(..., givens=opt.get_evaluated())`` computes with them,
        and ``pytensor.function([], [], updates=opt.get_evaluated())()``, after the last update, sets parameters to
        them.

        Returns
        -------
        dict of shared variable to expression
            Empty where the parameters themselves are to be used.
        """
        return self.fit.evaluated()


def build(
    algo: str | type[Algorithm],
    loss: Variable,
    params: Sequence[Variable] | None = None,
    inputs: Sequence[Variable] | None = None,
    updates: Pairs = (),
    monitors: Pairs = (),
    monitor_gradients: bool = False,
    groups: Sequence[Mapping[str, object]] = (),
    backend: str | Mode | None = None,
    **hyper: Any,
) -> Optimizer:
    """Make an optimizer by the name of its algorithm.

    Parameters
    ----------
    algo : str or subclass of Optimizer
        A name, in upper or lower case; `list_algorithms` lists them.
    loss, params, inputs, updates, monitors, monitor_gradients, groups, backend, **hyper
        As for `Optimizer`.

    Raises
    ------
    ValueError
        If there is no algorithm of that name.
    """
    cls = algorithm(algo)
    made: Optimizer = optimizer(
        cls, loss, params, inputs, updates, monitors, monitor_gradients, groups, backend, **hyper
    )
    return made


def optimizer(
    cls: type[Algorithm],
    loss: Variable,
    params: Sequence[Variable] | None = None,
    inputs: Sequence[Variable] | None = None,
    updates: Pairs = (),
    monitors: Pairs = (),
    monitor_gradients: bool = False,
    groups: Sequence[Mapping[str, object]] = (),
    backend: str | Mode | None = None,
    **hyper: Any,
) -> Any:
    """Return an optimizer of an algorithm; without a loss, its rule."""
    given = {"groups": groups} if groups else {}
    rule = cls(**given, **hyper)
    if loss is None:
        return rule
    return Optimizer(rule, loss, params, inputs, updates, monitors, monitor_gradients, backend)


def summary(opt: Optimizer) -> str:
    """Return an optimizer in a line: its algorithm, its settings, its parameters, and how far it ran."""
    params, clock = opt.fit.problem.params, opt.rule.context.clock
    values = sum(p.get_value(borrow=True).size for p in params)
    sizes = f"{len(params):,} parameter{_s(len(params))} with {values:,} value{_s(values)}"
    made = int(clock.get_value())
    ended = f", stopped by {opt.stopped}" if opt.stopped else ""
    return f"<{opt.rule!r}: {sizes}; {made:,} update{_s(made)}{ended}>"


def _s(count: int) -> str:
    return "" if count == 1 else "s"


registry.optimizer = optimizer
registry.elsewhere = BESIDE_BUILD
registry.arguments = dict.fromkeys(OF_RUN, "minimize or iterate") | dict.fromkeys(OF_BUILD, "build")
registry.members = frozenset(n for n in dir(Optimizer) if not n.startswith("_")) | {"rule", "fit", "history"}
