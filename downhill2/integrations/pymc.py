"""PyMC: the point of highest posterior density of a model, found on mini-batches.

For variational inference PyMC takes an algorithm of this package as it is:
``pm.fit(obj_optimizer=downhill2.updates(algo="adam", learning_rate=0.01))``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.rewriting.basic import dfs_rewriter
from pytensor.graph.rewriting.utils import rewrite_graph
from pytensor.graph.traversal import ancestors
from pytensor.tensor.shape import Shape_i

from .. import extras
from ..checks import flag
from ..fitting.settings import NAMES
from ..loop.run import Record
from ..optimizer import Optimizer, build
from ..schedules import Cosine
from ..symbolic import draws, graph
from ..symbolic.algorithm import Algorithm
from ..symbolic.graph import Variable
from ..symbolic.hyper import nearest
from .additive import check_sums

__all__ = ["Posterior", "find_MAP"]

ENDS = ("max_updates", "max_epochs", "max_seconds")
MOST = 10_000
"""Updates to make at most, where the caller sets no end."""
START = 0.1
"""Where the rate of Adam then begins: in all, an unconstrained value may move by half of ``START * MOST``."""
TOLERANCE = 1e-10
"""Of what fraction of its magnitude the loss may still differ where it has settled."""


class Posterior:
    """The posterior of a PyMC model as a loss: its negative logarithm, up to a constant.

    `find_MAP` minimizes it. By hand: ``downhill2.build("adam", p.loss, p.params, p.inputs, p.updates)``, then
    ``opt.minimize(p.data, ...)`` and ``p.point()``.

    Parameters
    ----------
    model : pymc.Model, optional
        Default: that of the ``with`` context.
    rows : sequence of str, or mapping of str to array, optional
        The names of those `pm.Data` of the model whose rows, all along the first axis, make up the data: batches of
        rows take their place. With a mapping the rows are its arrays and not what the model holds. Default: all data is
        used in each update, or what the model draws by `pm.Minibatch`.
    vars : sequence of variables of the model, optional
        What to optimize; the others stay at their initial values. Default: all continuous free variables.
    initvals : dict, optional
        Where to start, as for `pm.sample`, by variable or name.
    random_seed : int, optional
        Of what `pm.Minibatch` draws, and of random initial values.

    Attributes
    ----------
    loss : scalar TensorVariable
        The negative logarithm of the joint density of the constrained variables and the data, without the Jacobian of
        the transformations, as `pm.find_MAP` has it. What the rows of a batch contribute is multiplied by the number of
        all rows over theirs, so that the average over an epoch is that of all data.
    params : list of shared variables
        The unconstrained value variables.
    inputs : list of TensorVariable
        What batches are fed to; empty without `rows`.
    data : list of arrays, or None
        The rows.
    updates : dict of shared variable to expression
        How the generators of `pm.Minibatch` advance.
    batches : int
        Updates for one pass over the data that `pm.Minibatch` draws from; otherwise 1.

    Raises
    ------
    ImportError
        If PyMC is not installed.
    TypeError, ValueError
        For wrong arguments, and models whose posterior is no sum over rows: on some rows, at values near the start,
        each term is compared with what it comes to in batches.
    """

    def __init__(
        self,
        model: Any = None,
        rows: Sequence[str] | Mapping[str, Any] | None = None,
        vars: Sequence[Variable] | None = None,
        initvals: Mapping[Any, Any] | None = None,
        random_seed: int | None = None,
    ) -> None:
        self._pm = pm = extras.need("pymc", "pymc")
        self.model = model = pm.modelcontext(model)
        free = _free(model, vars)
        start = pm.initial_point.make_initial_point_fn(model=model, overrides=_started(model, initvals))(random_seed)
        values = {v: np.asarray(start[v.name], v.type.dtype) for v in model.value_vars}
        shared = {v: graph.shared_like(values[v], v.name, v.type.shape) for v in free}
        self.params = [*shared.values()]
        self._values = {v: shared[v] if v in shared else pt.constant(values[v], name=v.name) for v in model.value_vars}
        fed, arrays = _rows(model, rows)
        self.inputs, self.data = [*fed.values()], arrays or None
        terms = self._scaled(fed, len(arrays[0])) if fed else {}
        logp = pt.add(*terms.values()) if fed else model.logp(jacobian=False)
        placed = {**self._values, **fed}
        self.loss = _unchecked(model, *graph.replaced([-logp], placed))
        if fed:
            summed = {n: _unchecked(model, *graph.replaced([x], placed)) for n, x in terms.items() if _depends(x, fed)}
            check_sums(summed, self.params, self.inputs, arrays)
        self._find_draws(random_seed)

    def _scaled(self, fed: Mapping[Variable, Variable], count: int) -> dict[str, Variable]:
        """Return the terms of the log density by name; terms over rows times `count` over the rows of a batch."""
        from pymc.variational.minibatch_rv import MinibatchRandomVariable  # it has total_size, and scales itself

        model, factor = self.model, count / next(iter(fed)).shape[0]
        variables = [*model.free_RVs, *model.observed_RVs, *model.potentials]
        terms = model.logp(vars=variables, jacobian=False, sum=False)
        out = {}
        for variable, term in zip(variables, terms, strict=True):
            ndim, term = term.ndim, pt.sum(term)
            if _depends(term, fed):
                _check_observed(model, variable, fed, ndim)
                scales_itself = variable.owner is not None and isinstance(variable.owner.op, MinibatchRandomVariable)
                term = term if scales_itself else term * graph.cast(factor, term.type.dtype)
            out[variable.name] = term
        if not any(_depends(term, fed) for term in out.values()):
            raise ValueError(f"rows must be what an observed variable depends on, got {_names(fed)}")
        return out

    def _find_draws(self, random_seed: int | None) -> None:
        """Find the generators of `pm.Minibatch`, and the number of batches in a pass."""
        from pymc.data import MinibatchOp
        from pymc.pytensorf import reseed_rngs

        self.updates = draws.advanced([self.loss], {})
        if random_seed is not None:
            reseed_rngs([*self.updates], random_seed)
        # a model may have copies of the node that draws, all with one generator
        owners = {v.owner for v in ancestors([self.loss])}
        nodes = [node for node in owners if node is not None and isinstance(node.op, MinibatchOp)]
        drawn = [(o, i) for node in nodes for o, i in zip(node.outputs, node.inputs, strict=True) if graph.is_tensor(o)]
        self.batches = math.ceil(max((graph.evaluate(i.shape[0] / o.shape[0]) for o, i in drawn), default=1))

    def point(self, include_transformed: bool = True) -> dict[str, Any]:
        """Return the present values of the model's variables by name, as `pm.find_MAP` does.

        Parameters
        ----------
        include_transformed : bool
            Whether the unconstrained values (``sigma_log__``) are among them. Default True.

        Returns
        -------
        dict of str to array
            Free variables and deterministic ones, these on the data that the model holds.
        """
        unobserved, values = self.model.unobserved_value_vars, self.model.value_vars
        # it is called once, so that a long compilation does not pay
        settings = {"point_fn": False, "on_unused_input": "ignore", "mode": "FAST_COMPILE"}
        function = self.model.compile_fn(unobserved, inputs=values, **settings)
        present = [v.get_value() if graph.is_shared(v) else v.data for v in self._values.values()]
        out = {v.name: x for v, x in zip(unobserved, function(*present), strict=True)}
        names = self._pm.util.get_default_varnames(out, include_transformed)
        return {name: out[name] for name in names}


def find_MAP(
    *,
    model: object = None,
    rows: Sequence[str] | Mapping[str, Any] | None = None,
    vars: Sequence[Variable] | None = None,
    initvals: Mapping[Any, Any] | None = None,
    random_seed: int | None = None,
    include_transformed: bool = True,
    algo: str | type[Algorithm] = "adam",
    **settings: Any,
) -> dict[str, Any]:
    """Find the point of highest posterior density of a PyMC model, on batches of its data if need be.

    Parameters
    ----------
    model, rows, vars, initvals
        As for `Posterior`: which data comes in batches, what to optimize and where to start.
    random_seed : int, optional
        Of the order of rows, of `pm.Minibatch` and of random initial values.
    include_transformed : bool
        Whether the unconstrained values (``sigma_log__``) are among the result. Default True.
    algo : str or subclass of Optimizer
        The algorithm. Default ``'adam'``.
    **settings
        Hyperparameters, and what `Optimizer.iterate` takes: ``learning_rate=``, ``batch_size=``, ``max_epochs=``,
        ``callbacks=`` ... With a fixed rate, batches leave the point restless; a schedule that falls settles it.

        Without ``max_updates``, ``max_epochs`` and ``max_seconds``, at most 10 000 updates are made. If there is no
        ``learning_rate`` either, that of Adam falls over these from 0.1 to 0 along a cosine, and the run ends earlier
        where the density has settled: validations, 100 updates apart without `rows`, that differ by less than 1e-10 of
        its logarithm. An unconstrained value can move by 500 then: begin nearer, by `initvals`, or set both.

    Returns
    -------
    dict of str to array
        Free variables and deterministic ones by name, as `pm.find_MAP` returns them.

    Raises
    ------
    ImportError
        If PyMC is not installed.
    TypeError, ValueError
        For wrong arguments, before anything is compiled.

    Examples
    --------
    ::

        with pm.Model():
            x, y = pm.Data("x", features), pm.Data("y", target)
            w = pm.Normal("w", shape=10)
            pm.Normal("obs", x @ w, 1, observed=y)
            point = downhill2.pymc.find_MAP(rows=["x", "y"], batch_size=64, learning_rate=0.01)
    """
    include_transformed = flag("include_transformed", include_transformed)
    posterior = Posterior(model, rows, vars, initvals, random_seed)
    run = {"rng": random_seed, **_end(algo, settings, posterior.data is None)}
    if posterior.updates:  # batches that are drawn anew each time cannot show which point is better
        run |= {"train_batches": posterior.batches, "validate_every": None}
    run |= {name: settings.pop(name) for name in NAMES if name in settings}
    opt = build(algo, posterior.loss, posterior.params, posterior.inputs, posterior.updates, **settings)
    opt.minimize(posterior.data, **run)
    return posterior.point(include_transformed)


def _end(algo: str | type[Algorithm], settings: dict[str, Any], whole: bool) -> dict[str, Any]:
    """Return the limits of a run for which the caller has set none."""
    if any(name in settings for name in ENDS):
        return {}
    if algo != "adam" or "learning_rate" in settings or "preset" in settings:
        return {"max_updates": MOST}
    settings["learning_rate"] = Cosine(START, MOST)
    given = settings.get("callbacks", ())
    settings["callbacks"] = [_settled(), *given] if isinstance(given, Sequence) else given  # minimize refuses it
    often = {"validate_every": 100} if whole else {}
    return {"max_updates": MOST, "patience": None, **often}  # at a high rate the best loss may come early by chance


def _settled() -> Callable[[Optimizer, Record], None]:
    """Return the callback that stops a run when two validations in a row are the same."""
    before = math.nan

    def stop(opt: Optimizer, record: Record) -> None:
        nonlocal before
        if record.validated:
            loss = record.valid["loss"]
            if abs(loss - before) <= TOLERANCE * max(1.0, abs(loss)):
                opt.stop("settled")
            before = loss

    return stop


def _started(model: Any, initvals: Mapping[Any, Any] | None) -> dict[Any, Any]:
    """Return `initvals` as a dict, checked: all names belong to the model."""
    if initvals is not None and not isinstance(initvals, Mapping):
        raise TypeError(f"initvals must map variables of the model or their names to values, got {initvals!r}")
    known = [v.name for v in [*model.free_RVs, *model.value_vars]]
    for name in filter(lambda key: isinstance(key, str), initvals or {}):
        if name not in known:
            raise ValueError(f"initvals must be of free variables of the model, got {name!r}{nearest(name, known)}")
    return dict(initvals or {})


def _free(model: Any, chosen: Sequence[Variable] | None) -> list[Variable]:
    """Return the value variables to optimize, in the order of the model."""
    values = model.value_vars
    if chosen is None:
        out = [v for v in values if v.type.dtype in graph.FLOATS]
        if not out:
            raise ValueError("model must have continuous free variables, got none")
        return out
    wanted = [model.rvs_to_values.get(v, v) for v in chosen]
    for variable, value in zip(chosen, wanted, strict=True):
        if value not in values:
            raise ValueError(f"vars must be free variables of the model, got {variable!r}")
        if value.type.dtype not in graph.FLOATS:
            raise ValueError(f"vars must be continuous, got {variable!r}, whose values are {value.type.dtype}")
    return [v for v in values if v in wanted]


def _depends(expression: Variable, fed: Mapping[Variable, Variable]) -> bool:
    """Whether an expression depends on rows or their number; their width does not count, as batches share it."""
    shapes = (v for v in ancestors([expression]) if v.owner is not None and isinstance(v.owner.op, Shape_i))
    widths = [v for v in shapes if v.owner.op.i > 0 and v.owner.inputs[0] in fed]
    return not {*fed}.isdisjoint(ancestors([expression], blockers=widths))


def _names(fed: Mapping[Variable, Variable]) -> str:
    return ", ".join(repr(v.name) for v in fed)


def _check_observed(model: Any, variable: Variable, fed: Mapping[Variable, Variable], ndim: int) -> None:
    """Raise ValueError if a variable depends on rows, but has no value for each row."""
    if variable in model.free_RVs:
        raise ValueError(
            f"rows must be of observed variables, got {_names(fed)}, which the free variable {variable.name!r} depends "
            "on; it has a part for each row, which batches do not share"
        )
    if variable in model.observed_RVs and not _depends(model.rvs_to_values[variable], fed):
        raise ValueError(f"rows must name what is observed of {variable.name!r} too, as pm.Data, got {_names(fed)}")
    if variable in model.observed_RVs and not ndim:
        raise ValueError(
            f"rows must be an axis of the log density of {variable.name!r}, got {_names(fed)}, for all of which it is "
            "one number, as that of a series is; leave rows out, or, where it is a sum over rows, write a pm.Potential"
        )


def _rows(model: Any, rows: Sequence[str] | Mapping[str, Any] | None) -> tuple[dict[Variable, Variable], list[Any]]:
    """Return which variables of a model are replaced by inputs, and the arrays to feed these."""
    if rows is None:
        return {}, []
    if isinstance(rows, str) or not isinstance(rows, Sequence | Mapping) or not rows:
        raise TypeError(f"rows must be names of pm.Data of the model, or map them to arrays, got {rows!r}")
    known = {v.name: v for v in model.data_vars if graph.is_shared(v)}
    for name in rows:
        if not isinstance(name, str) or name not in known:
            hint = nearest(name, known) if isinstance(name, str) else ""
            raise ValueError(
                f"rows must name pm.Data of the model, one of {', '.join(known) or 'none'}, got {name!r}{hint}"
            )
        kind = known[name].type
        if not graph.is_tensor(known[name]) or kind.ndim == 0 or kind.shape[0] is not None:
            raise ValueError(f"rows must name pm.Data of any number of rows, got {name!r} of {kind}")
    given = rows if isinstance(rows, Mapping) else {n: known[n].get_value(borrow=True) for n in rows}
    arrays = [x if hasattr(x, "shape") else np.asarray(x) for x in given.values()]
    return {known[n]: known[n].type(n) for n in rows}, arrays


def _unchecked(model: Any, output: Variable) -> Variable:
    """Return an expression that is infinite where PyMC's checks of parameters would raise, as PyMC compiles it."""
    from pymc.logprob import utils

    rewrite = utils.local_check_parameter_to_ninf_switch if model.check_bounds else utils.local_remove_check_parameter
    return rewrite_graph(output, include=(), custom_rewrite=dfs_rewriter(rewrite))
