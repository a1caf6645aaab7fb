"""Optimizer: a rule with a loss, its updates, its compiled functions and its runs."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from . import climate
from .compiling import backends
from .fitting.fit import Fit
from .fitting.persistence import Persistent
from .fitting.session import Session
from .fitting.settings import NAMES, Feeding, Settings, evaluated_monitors
from .running.history import History
from .running.loop import Limits, Pair, Run
from .symbolic import graph
from .symbolic.graph import Variable
from .symbolic.hyper import nearest
from .symbolic.layout import Layout, Values
from .symbolic.legacy import PairRule
from .symbolic.problem import Pairs, Problem
from .symbolic.rule import Context, Rule
from .symbolic.transforms import ClipElement, ClipGlobalNorm, ClipNorm, Momentum, WeightDecay

logging = climate.get_logger("downhill2")  # by this name old scripts reach the package's logger


class Optimizer(Persistent, Rule):
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
        What to report beside the loss.
    monitor_gradients : bool, optional
        Report ``grad(name)``, the squared Euclidean norm of each parameter's gradient.
    backend : {'numba', 'c', 'jax', 'pytorch'}, PyTensor mode or its name, optional
        What compiles updates and evaluations. Default: what PyTensor's ``config.mode`` says, which is Numba. ``'c'``
        needs a C++ compiler, ``'jax'`` and ``'pytorch'`` their packages. With JAX, parameters, state and data in
        memory are on its device while updates are made; callbacks, checkpoints and the caller find arrays of NumPy.
        It repeats runs, resumed ones too, to rounding and not to the bit, and draws other random numbers.
    learning_rate : float
        Factor of the direction; dimensionless, at least 0. Like every number below it may also be a shared
        variable, a symbolic scalar, or a function of the number of updates made so far. Default 1e-4.
    momentum : float
        What remains of the velocity from update to update, in [0, 1). Default 0: no momentum.
    nesterov : bool
        Whether momentum is Nesterov's. Default False.
    momentum_rate : {'inside', 'outside'}
        Whether the velocity sums steps, with the learning rate of their time in them (downhill, Keras,
        Lasagne), or directions, and the present rate scales all of it (torch, optax). Default ``'inside'``.
    weight_decay : float
        Strength of the decay of parameters; at least 0. Default 0: none.
    decay : {'coupled', 'decoupled', 'independent'}
        Whether ``weight_decay * param`` is added to the gradient (L2), subtracted from the parameter times the
        learning rate (AdamW), or subtracted without the rate. Default ``'coupled'``.
    max_gradient_elem : float
        Largest magnitude of a gradient's element; wins over `max_gradient_norm`. Default 0: no limit.
    max_gradient_norm : float
        Largest Euclidean norm of each parameter's gradient. Default 0: no limit.
    max_global_norm : float
        Largest Euclidean norm of all gradients together. Default 0: no limit.

    Attributes
    ----------
    hyper : mapping of str to float
        The hyperparameters' present values: ``opt.hyper['learning_rate']``. They are set by
        ``opt.learning_rate = 0.01``; ``opt.learning_rate`` itself is the symbolic scalar.
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

    # settings that every algorithm takes, each declared by the stage that uses it
    momentum, nesterov, momentum_rate = Momentum.momentum, Momentum.nesterov, Momentum.momentum_rate
    weight_decay, decay = WeightDecay.weight_decay, WeightDecay.decay
    max_gradient_elem = ClipElement.max_gradient_elem
    max_gradient_norm = ClipNorm.max_gradient_norm
    max_global_norm = ClipGlobalNorm.max_global_norm

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        name = cls.__name__.lower()
        if name == Momentum.__name__.lower():
            raise TypeError("an algorithm must not be called Momentum; its state would be that of the setting momentum")
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
        backend: Any = None,
        **hyper: Any,
    ) -> None:
        pairs = getattr(self, "_get_updates_for", None)
        if pairs is None and not hasattr(self, "direction"):
            raise TypeError(f"{type(self).__name__} must define direction(param, grad, **state)")
        backends.check(backend)
        super().__init__(Context(type(self)))
        self.hyper.assign(self.hyper.parse(hyper, NAMES))
        self._pairs = pairs and PairRule(pairs, type(self).__name__.lower(), self.context)
        self._run: Run | None = None
        self.history = History()
        self._fit: Fit | None = None
        if loss is not None:
            given = graph.shared_inputs(self.hyper.symbols().values())
            problem = Problem(loss, params, inputs, updates, monitors, monitor_gradients, given)
            self._fit = Fit(problem, self, backend)

    def __setattr__(self, name: str, value: Any) -> None:
        if not hasattr(self, name):
            near = difflib.get_close_matches(name, self.hyper if "hyper" in vars(self) else (), 1, 0.85)
            if near:
                raise AttributeError(f"{type(self).__name__} has no hyperparameter {name!r}; did you mean {near[0]!r}?")
        super().__setattr__(name, value)

    # -- what is known

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

    @property
    def stopped(self) -> str | None:
        """Why the latest run ended; None before the first one, and while one runs."""
        return self._run.progress.stopped if self._run else None

    @property
    def best_monitors(self) -> dict[str, float]:
        """The validation monitors of the best parameters; empty before the first validation."""
        return dict(self.fit.best.monitors)

    @property
    def limits(self) -> Limits:
        """The limits of the latest run."""
        return self._run.limits if self._run else Limits()

    @property
    def patience(self) -> int | None:
        """Validations in a row that may fail to improve the best."""
        return self.limits.patience

    @property
    def validate_every(self) -> int | None:
        """Epochs from one validation to the next."""
        return self.limits.validate_every

    @property
    def min_improvement(self) -> float:
        """What an improvement must exceed, as a fraction of the best loss."""
        return self.limits.min_improvement

    # -- just the graph

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
        self.hyper.assign(self.hyper.parse(hyper))
        return list(fit.updates().items())

    # -- runs

    def iterate(
        self, train: Any = None, valid: Any = None, max_updates: int | None = None, **settings: Any
    ) -> Iterator[Pair]:
        """Run, epoch by epoch, as a generator.

        The best parameters are put back when the run ends, however it ends: a limit, a signal, an exception,
        the `break` of a `for`. Whoever holds the generator closes it, best by `contextlib.closing`.

        Parameters
        ----------
        train : Dataset, or what a Dataset takes; None
            Training data, with one array per input. None: the loss needs no data.
        valid : the same; None
            Validation data. Default: the training data.
        max_updates : int, optional
            Updates to make at most.
        max_epochs : int, optional
            Epochs to run at most.
        max_seconds : float, optional
            Seconds after which no update is begun.
        target : float, optional
            Validation loss at or below which to stop.
        patience : int or None
            Validations in a row that may fail to improve the best; the next one stops the run. None: no early
            stopping. Default 5.
        validate_every : int or None
            Epochs from one validation to the next; there is one before the first update and one at the end.
            None: no validation, and nothing is restored. Default 10.
        min_improvement : float
            What an improvement must exceed, as a fraction of the magnitude of the best loss. Default 0.
        restore_best : bool
            Whether the parameters of the lowest validation loss are put back at the end. Default True.
        valid_loss : scalar TensorVariable, optional
            What to validate in place of the loss (without dropout, say).
        valid_monitors : dict or sequence of (str, scalar expression) pairs, optional
            What to report of validations in place of the monitors.
        batch_size, train_batches, valid_batches, rng, shuffle, drop_last
            How data that is not yet a `Dataset` becomes one: rows per batch (32), batches per epoch and per validation
            (all), the seed or generator that shuffles (drawn and logged), ``'rows'``, ``'batches'`` or False
            (``'rows'``), and whether a short last batch is left out (False).
        plateau : bool or dict, optional
            Stop when the training loss no longer falls by more than its noise; `downhill2.running.stopping.Plateau`.
        diverged : float, optional
            Stop when the loss is above this many times the lowest.
        on_nonfinite, check, nonfinite_limit, rollback_factor
            What happens at an update that is not finite: ``'raise'``, ``'stop'``, ``'skip'`` or ``'rollback'``; see
            `downhill2.fitting.faults.Guard`. Default: `NonFiniteError`.
        checkpoint : path, optional
            Directory to save the run in, with its history in ``history.jsonl``.
        checkpoint_every : int or str
            How often: epochs, or ``'100 updates'``, ``'30 s'``, ``'10 min'``. Default 1.
        keep : int
            How many of the newest checkpoints stay, besides the best. Default 2.
        resume : bool, 'auto' or 'params'
            Go on with the run in `checkpoint`, to the bit: True, there must be one; ``'auto'``, if there is one;
            ``'params'``, with its parameters only. Limits count from that run's start. Default False: there is none.
        history : path, optional
            File of JSON lines to append each epoch's record to.
        backend : {'numba', 'c', 'jax', 'pytorch'}, PyTensor mode or its name, optional
            What compiles from now on. Default: as before.
        callbacks : sequence of callables
            Called as ``f(opt, record)`` after each epoch and validation; may call ``opt.stop('why')``.
        updates_per_call : int or 'auto'
            How many updates to make in one compiled call, where there is no data or arrays in memory; the numbers are
            the same to the bit. A signal, `max_seconds` and a time in `checkpoint_every` wait for the end of a call.
            Default ``'auto'``: as many as take about 0.2 s by an estimate from sizes, if one takes less than 1 ms.
        **settings
            Hyperparameters to set first.

        Yields
        ------
        train_monitors, valid_monitors : dict of str to float
            Averages over the updates of the epoch, and the latest validation; ``'loss'`` comes first.

        Raises
        ------
        TypeError, ValueError
            For wrong arguments; at the call, before anything is compiled or changed.
        NonFiniteError
            When a loss, a gradient or a new value is not finite, unless `on_nonfinite` says otherwise.
        """
        return self._begin(train, valid, max_updates, settings).iterate()

    def minimize(self, train: Any = None, valid: Any = None, max_updates: int | None = None, **settings: Any) -> Pair:
        """Run to the end.

        Parameters
        ----------
        train, valid, max_updates, **settings
            As for `iterate`.

        Returns
        -------
        train_monitors, valid_monitors : dict of str to float
            The last pair that `iterate` would have yielded.

        Raises
        ------
        TypeError, ValueError
            As `iterate`; also if nothing could ever end the run.
        NonFiniteError
            As `iterate`.
        """
        return self._begin(train, valid, max_updates, settings, must_end=True).drain()

    def evaluate(
        self, dataset: Any, batch_size: int = 32, loss: Variable = None, monitors: Pairs | None = None
    ) -> dict[str, float]:
        """Evaluate the loss and the monitors on data.

        Parameters
        ----------
        dataset : Dataset, or what a Dataset takes
        batch_size : int
            Rows per batch of what is not yet a Dataset.
        loss : scalar TensorVariable, optional
            What to evaluate in place of the loss: what a run was given as `valid_loss`, say. It must use no inputs
            but those of the loss.
        monitors : dict or sequence of (str, scalar expression) pairs, optional
            What to evaluate in place of the monitors; likewise.

        Returns
        -------
        dict of str to float
            Averages over the rows, ``'loss'`` first.

        Raises
        ------
        TypeError, ValueError
            If `loss` is no scalar expression, or a monitor is not or has no name, or they use other inputs.
        """
        chosen = evaluated_monitors(self.fit.problem, loss, monitors)
        return self.fit.evaluate(Feeding(batch_size).dataset(dataset, "valid"), chosen)

    def set_params(self, targets: Any = "best") -> None:
        """Set the parameters.

        Parameters
        ----------
        targets : 'best' or sequence of arrays
            The best parameters of the latest run, or one array per parameter.

        Raises
        ------
        ValueError
            If there is no best yet, or the arrays do not fit.
        """
        if isinstance(targets, str) and targets == "best":
            if not self.fit.best.values:
                raise ValueError("targets must be arrays while there are no best parameters, got 'best'")
            self.fit.restore(self.fit.best)
            return
        arrays = [np.asarray(t) for t in targets]
        shapes = [p.get_value(borrow=True).shape for p in self.params]
        if [a.shape for a in arrays] != shapes:
            raise ValueError(f"targets must be arrays of shapes {shapes}, got {[a.shape for a in arrays]}")
        for array in arrays:
            if not np.can_cast(array.dtype, "float16", "same_kind"):
                raise TypeError(f"targets must be arrays of real numbers, got {array.dtype}")
        for param, array in zip(self.params, arrays, strict=True):
            param.set_value(array.astype(param.type.dtype))

    def stop(self, why: str) -> None:
        """End the run that is on at its next boundary; for callbacks. `stopped` is then ``'callback: <why>'``."""
        if self._run is not None:
            self._run.stop(f"callback: {why}")

    def reset(self) -> None:
        """Start anew: state, clock and best as after `build`. Parameters and hyperparameters stay."""
        self.context.store.reset()
        self.context.clock.set_value(0)
        self.context.rate_factor.set_value(1.0)
        self._run = None
        self.history = History()
        if self._fit:
            self._fit.best = self._fit.no_best()

    def _begin(
        self, train: Any, valid: Any, max_updates: int | None, given: dict[str, Any], must_end: bool = False
    ) -> Run:
        """Check everything, then set hyperparameters, compile and put the run together."""
        fit, rest = self.fit, {"max_updates": max_updates, **given}
        settings = Settings.taken_from(rest)
        if must_end:
            settings.check_end()
        monitors = settings.monitors(fit.problem)
        parsed = self.hyper.parse(rest, NAMES)
        dataset, valid_dataset = settings.feeding.datasets(train, valid)
        data = dataset.bind(self.inputs)
        valid_data = data if valid_dataset is dataset else valid_dataset.bind(self.inputs)
        settings.calls.check(data)
        self._check_reach(parsed)
        with self.hyper.tried(parsed), fit.tried(settings.backend):
            session = Session(fit, settings, monitors, data, valid_data, self.history, self, not must_end)
            self._run = session.run()
        return self._run

    def _check_reach(self, parsed: Mapping[str, Any]) -> None:
        """Raise if a hyperparameter depends on an input that a run cannot feed."""
        for name, variable in self.hyper.symbols(parsed).items():
            for v in graph.explicit_inputs([variable]):
                if v not in self.inputs:
                    raise ValueError(f"{name} must depend on shared variables or inputs of the loss, got {v}")


def build(
    algo: str | type[Optimizer],
    loss: Variable,
    params: Sequence[Variable] | None = None,
    inputs: Sequence[Variable] | None = None,
    updates: Pairs = (),
    monitors: Pairs = (),
    monitor_gradients: bool = False,
    backend: Any = None,
    **hyper: Any,
) -> Optimizer:
    """Make an optimizer by the name of its algorithm.

    Parameters
    ----------
    algo : str or subclass of Optimizer
        A name, in upper or lower case; `list_algorithms` lists them.
    loss, params, inputs, updates, monitors, monitor_gradients, backend, **hyper
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
        raise TypeError(f"algo must be a name or a subclass of Optimizer, got {algo!r}")
    return cls(loss, params, inputs, updates, monitors, monitor_gradients, backend, **hyper)


def _named(algo: str) -> type[Optimizer]:
    found = Optimizer.registry.get(algo.lower())
    if found is None:
        hint = nearest(algo.lower(), Optimizer.registry) or ";"
        raise ValueError(f"unknown algorithm {algo!r}{hint} downhill2.list_algorithms() lists all")
    return found


def list_algorithms() -> list[str]:
    """Return the names of all algorithms, those of a caller's own subclasses included."""
    return sorted(Optimizer.registry)
