"""Optimizer: a rule on a loss, with its updates, its runs and its files; `build` makes one by name."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

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
from .symbolic.hyper import Hyper, Setting, declared
from .symbolic.problem import Pairs, Problem, monitored
from .symbolic.registry import registry

logging = climate.get_logger("downhill2")  # by this name old scripts reach the package's logger

OF_BUILD = ("algo", "loss", "params", "inputs", "updates", "monitors", "monitor_gradients", "groups")
OF_RUN = ("train", "valid", *NAMES)


class OptimizerType(type):
    """Makes of ``class Mine(Optimizer)`` an algorithm: what a caller defines by it is a rule."""

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

    Subclasses are the algorithms. One is made by `build`, or by calling its class. Made without a loss, it is
    just its rule and hyperparameters.

    Parameters
    ----------
    loss : scalar TensorVariable, optional
        What to minimize, of a floating-point dtype. Its mean over the rows of a batch, as a rule.
    params : sequence of shared variables, optional
        What to change. Default: every floating-point shared variable of the loss, in graph order (depth first,
        left to right), except those that `updates` change and hyperparameters.
    inputs : sequence of TensorVariable, optional
        What data is fed to, in the order of the data. Default: the explicit inputs of the loss, in graph order.
    updates : dict or sequence of (shared variable, expression) pairs, optional
        Changes of other variables, made with every training update. A random generator that is drawn from needs none:
        it advances by itself, unless there is a pair for it (``{rng: rng}`` keeps it still).
    monitors : dict or sequence of (str, scalar expression) pairs, optional
        What to report beside the loss. The name of a hyperparameter, in place of an expression, reports its value.
    monitor_gradients : bool, optional
        Report ``grad(name)``, the squared Euclidean norm of each parameter's gradient, a float64.
    groups : sequence of dict, optional
        Settings of their own for some parameters. A group has ``params`` (a parameter, a pattern of names such as
        ``'*bias'``, a function of a parameter that returns a bool, or a list of these), settings, and, for another
        algorithm with its own defaults, ``algo`` (a name, a class, or ``Adam(learning_rate=0.01)``). What a group
        without ``algo`` and ``preset`` does not set is the optimizer's. One group without ``params`` takes the rest;
        every parameter must have a group. `max_global_norm` and the like span all groups.
    backend : {'numba', 'c', 'jax', 'pytorch'}, PyTensor mode or its name, optional
        What compiles updates and evaluations. Default: what PyTensor's ``config.mode`` says, which is Numba. ``'c'``
        needs a C++ compiler, ``'jax'`` and ``'pytorch'`` their packages. With JAX, parameters, state and data in
        memory are on its device while updates are made; callbacks, checkpoints and the caller find arrays of NumPy.
        It repeats runs, resumed ones too, to rounding and not to the bit, and draws other random numbers.
    preset : {'torch', 'optax', 'keras', 'downhill'}, optional
        Whose defaults and conventions hold for what is not set, here or in an earlier call; until another is named.
        `list_algorithms` tells which an algorithm has.
    learning_rate : float
        Factor of the direction; dimensionless, at least 0. Like every number below it may also be a shared
        variable, a symbolic scalar, a schedule (`downhill2.schedules`) or a function of the number of updates made
        so far. Default 1e-4.
    learning_rate_factor : float
        What the learning rate is multiplied by; for groups. At least 0. Default 1.
    frozen : bool
        Whether parameters stay as they are; for groups. Default False.
    momentum : float
        What remains of the velocity from update to update, in [0, 1). Default 0: no momentum.
    nesterov : bool
        Whether momentum is Nesterov's. Default False.
    momentum_rate : {'inside', 'outside'}
        Whether the velocity sums steps, with the learning rate of their time in them (downhill, Keras,
        Lasagne), or directions, and the present rate scales all of it (torch, optax). Default ``'inside'``.
    weight_decay : float
        Strength of the decay of parameters; at least 0. Default 0: none.
    decay : {'coupled', 'decoupled', 'independent', 'proximal'}
        Whether ``weight_decay * param`` is added to the gradient (L2), subtracted from the parameter times the
        learning rate (AdamW), or subtracted without the rate; or whether the new parameter is divided by
        ``1 + learning_rate * weight_decay`` (Adan). Default ``'coupled'``.
    max_gradient_elem : float
        Largest magnitude of a gradient's element; wins over `max_gradient_norm`. Default 0: no limit.
    max_gradient_norm : float
        Largest Euclidean norm of each parameter's gradient. Default 0: no limit.
    max_global_norm : float
        Largest Euclidean norm of all gradients together. Default 0: no limit. For this and all numbers above that are
        off at 0, a schedule or variable that comes to 0 means the same.
    accumulate, reduction, sam, centralize, clip_adaptive, gradient_noise, transforms, mechanic, project, lookahead, \
    ema, swa
        What else may happen before and after the equation: see `downhill2.symbolic.algorithm.Algorithm`.

    Attributes
    ----------
    hyper : mapping of str to float
        The hyperparameters' present values: ``opt.hyper['learning_rate']``. They are set by
        ``opt.learning_rate = 0.01``; ``opt.learning_rate`` itself is the symbolic scalar. Those of a group are
        ``opt.hyper['group0.learning_rate']``.
    groups : list of Optimizer
        The algorithm of each group, without a loss: ``opt.groups[0].learning_rate = 0.01``.
    state : dict of str to array
        Copies of the state of the algorithm: ``opt.state['W.adam.m']``.
    stopped : str or None
        Why the latest run ended; None before and while one runs.
    best_monitors : dict of str to float
        The validation monitors of the best parameters of the latest run.

    Raises
    ------
    TypeError, ValueError
        For arguments that are wrong, before anything is compiled.
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
        backend: Any = None,
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

    def __setattr__(self, name: str, value: Any) -> None:
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
        """Return the names of runs, and of the settings that are of this algorithm or set."""
        hyper, everywhere = self.rule.hyper, declared(Algorithm, Hyper | Setting)
        own = [n for n, d in hyper.declared.items() if everywhere.get(n) is not d or n in hyper.explicit]
        return sorted({*super().__dir__(), *own, "learning_rate"})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raise TypeError: other packages call what they take as an optimizer."""
        return self.rule(*args, **kwargs)

    def __repr__(self) -> str:
        return summary(self)

    # -- what is known

    @property
    def hyper(self) -> Any:
        """The hyperparameters' present values by name."""
        return self.rule.hyper

    @property
    def groups(self) -> list[Any]:
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
        """What data is fed to, in the order of the data."""
        return self.fit.problem.inputs

    @property
    def state(self) -> dict[str, Any]:
        """Copies of the algorithm's state by name, as far as it was needed yet."""
        return self.rule.context.store.values()

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write an HTML file about the runs: curves, settings, parameters, events, environment; it needs no network.

        Parameters
        ----------
        path : path
            The file. What was there stays until the report is whole.

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

    def get_updates(self, **hyper: Any) -> list[tuple[Variable, Variable]]:
        """Return the update expressions.

        Parameters
        ----------
        **hyper
            Hyperparameters to set first.

        Returns
        -------
        list of (shared variable, expression) pairs
            The new value of every parameter, state variable, clock and generator that the loss draws from, each
            once, ready for ``pytensor.function(updates=...)``. The pairs that were given as `updates` are not among
            them. Repeated calls, and runs, work on the same state.

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
        """Return what to use in place of parameters, where that is not the parameter itself but an average.

        That is so with `ema`, `swa` and `lookahead`, for ASGD and for the Schedule-Free algorithms. Runs validate,
        keep and restore it. Who makes updates alone uses it: ``pytensor.function(..., givens=opt.get_evaluated())``
        computes with it, and ``pytensor.function([], [], updates=opt.get_evaluated())()``, after the last update,
        sets parameters to it.

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
    groups: Sequence[Mapping[str, Any]] = (),
    backend: Any = None,
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
    made: Optimizer = cls(loss, params, inputs, updates, monitors, monitor_gradients, groups, backend, **hyper)
    return made


def optimizer(
    cls: type[Algorithm],
    loss: Variable,
    params: Sequence[Variable] | None = None,
    inputs: Sequence[Variable] | None = None,
    updates: Pairs = (),
    monitors: Pairs = (),
    monitor_gradients: bool = False,
    groups: Sequence[Mapping[str, Any]] = (),
    backend: Any = None,
    **hyper: Any,
) -> Any:
    """Return what calling an algorithm with these arguments makes: an optimizer, or without a loss its rule."""
    given = {"groups": groups} if groups else {}
    rule = cls(**given, **hyper)
    if loss is None:
        return rule
    return Optimizer(rule, loss, params, inputs, updates, monitors, monitor_gradients, backend)


def summary(opt: Optimizer) -> str:
    """Return an optimizer in a line: its algorithm, its parameters, what is set, and how far it ran."""
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
