"""Optimizer: a rule with a loss, its updates, its compiled functions and its runs."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from . import climate
from .checks import flag, kind_of, shown
from .compiling import backends
from .fitting.fit import Fit
from .fitting.runs import Runs
from .fitting.settings import NAMES
from .running.history import History
from .running.loop import Run
from .symbolic import graph
from .symbolic.common import STAGES, Common
from .symbolic.graph import Variable
from .symbolic.groups import Groups
from .symbolic.hyper import nearest
from .symbolic.layout import Layout, Values
from .symbolic.legacy import PairRule
from .symbolic.problem import Pairs, Problem, monitored
from .symbolic.rule import Context, Rule

logging = climate.get_logger("downhill2")  # by this name old scripts reach the package's logger


class Optimizer(Runs, Common):
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
        Changes of other variables, made with every training update.
    monitors : dict or sequence of (str, scalar expression) pairs, optional
        What to report beside the loss. The name of a hyperparameter, in place of an expression, reports its value.
    monitor_gradients : bool, optional
        Report ``grad(name)``, the squared Euclidean norm of each parameter's gradient.
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
        Largest Euclidean norm of all gradients together. Default 0: no limit.
    accumulate, reduction, sam, centralize, clip_adaptive, gradient_noise, transforms, mechanic, project, lookahead, \
    ema, swa
        What else may happen before and after the equation: see `downhill2.symbolic.common.Common`.

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

    registry: ClassVar[dict[str, type[Optimizer]]] = {}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        name = cls.__name__.lower()
        for stage in STAGES:
            if name == stage.__name__.lower():
                raise TypeError(
                    f"an algorithm must not be called {cls.__name__}; its state would be that of the setting {name}"
                )
        former = cls.registry.get(name, cls)
        if former.__module__ != cls.__module__:
            logging.warning("the algorithm %r of %s is replaced by that of %s", name, former.__module__, cls.__module__)
        cls.registry[name] = cls
        if "_get_updates_for" in vars(cls):
            cls.owns_rate = True

    def __init__(
        self,
        loss: Variable = None,
        params: Sequence[Variable] | None = None,
        inputs: Sequence[Variable] | None = None,
        updates: Pairs = (),
        monitors: Pairs = (),
        monitor_gradients: bool = False,
        groups: Sequence[Mapping[str, Any]] = (),
        backend: Any = None,
        **hyper: Any,
    ) -> None:
        pairs = getattr(self, "_get_updates_for", None)
        if pairs is None and not hasattr(self, "direction"):
            raise TypeError(f"{type(self).__name__} must define direction(param, grad, **state)")
        backends.check(backend)
        flag("monitor_gradients", monitor_gradients)
        super().__init__(Context(type(self)))
        self.hyper.assign(self.hyper.parse(hyper, NAMES))
        self._groups = Groups(groups, self.context, self._of_group)
        self._pairs = pairs and PairRule(pairs, type(self).__name__.lower(), self.context)
        self._run: Run | None = None
        self.history = History()
        self._fit: Fit | None = None
        if loss is not None:
            given = graph.shared_inputs(self.hyper.symbols().values())
            expressions, reported = monitored(monitors, self.hyper)
            problem = Problem(loss, params, inputs, updates, expressions, monitor_gradients, given)
            self.bind(problem.params, problem.names)
            self._fit = Fit(problem, self, reported, backend)
            self._fit.check()

    def _of_group(self, algo: Any, settings: dict[str, Any]) -> Rule:
        """Make the rule of a group."""
        if isinstance(algo, Optimizer):
            if algo._fit is not None or algo.groups:
                raise ValueError(f"algo of a group must be an algorithm without a loss or groups, got {shown(algo)}")
            algo.hyper.assign(algo.hyper.parse(settings))
            return algo
        return build(type(self) if algo is None else algo, None, **settings)

    def bind(self, params: Sequence[Variable], names: Sequence[str]) -> None:
        """Share parameters, called by `names`, out among the groups, if there are any."""
        if self.groups:
            self._groups.bind(params, names)

    def __setattr__(self, name: str, value: Any) -> None:
        if not hasattr(self, name):
            near = difflib.get_close_matches(name, self.hyper if "hyper" in vars(self) else (), 1, 0.85)
            if near:
                raise AttributeError(f"{type(self).__name__} has no hyperparameter {name!r}; did you mean {near[0]!r}?")
        super().__setattr__(name, value)

    # -- what is known

    @property
    def groups(self) -> list[Any]:
        """The algorithm of each parameter group, without a loss."""
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

    @property
    def fit(self) -> Fit:
        """The rule on its loss: update expressions, compiled functions and runs.

        Raises
        ------
        ValueError
            If the algorithm was made without a loss.
        """
        if self._fit is None:
            name = type(self).__name__
            raise ValueError(f"loss must be given for this, got none; make it by {name}(loss, ...) or build")
        return self._fit

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
        return self.context.store.values()

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

    def get_updates(self, **hyper: Any) -> list[tuple[Variable, Variable]]:
        """Return the update expressions.

        Parameters
        ----------
        **hyper
            Hyperparameters to set first.

        Returns
        -------
        list of (shared variable, expression) pairs
            The new value of every parameter, state variable, generator and clock, each once, ready for
            ``pytensor.function(updates=...)``. The pairs that were given as `updates` are not among them.
            Repeated calls, and runs, work on the same state.

        Raises
        ------
        TypeError, ValueError
            For a hyperparameter that is unknown or out of range.
        """
        fit = self.fit
        with self.hyper.tried(self.hyper.parse(hyper)):
            fit.check()
            return list(fit.alone().items())


def build(
    algo: str | type[Optimizer],
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
    if isinstance(algo, type) and issubclass(algo, Optimizer):
        cls = algo
    elif isinstance(algo, str):
        cls = _named(algo)
    else:
        raise TypeError(f"algo must be a name or a subclass of Optimizer, got {kind_of(algo)}")
    return cls(loss, params, inputs, updates, monitors, monitor_gradients, groups, backend, **hyper)


def _named(algo: str) -> type[Optimizer]:
    found = Optimizer.registry.get(algo.lower())
    if found is None:
        hint = nearest(algo.lower(), Optimizer.registry) or ";"
        raise ValueError(f"unknown algorithm {shown(algo)}{hint} downhill2.list_algorithms() lists all")
    return found
