"""Problems in PyTensor: by downhill2, and by the design of the old downhill."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt

import downhill2
from downhill2.compiling import fast_mode
from downhill2.stepping import nonfinite as faults

from ..problems import Problem
from ..timing import Contender, stepping
from . import ADAM


def cross_entropy(logits: Any, labels: Any) -> Any:
    """Return the mean negative logarithm of the probability of the labels."""
    return -pt.special.log_softmax(logits, axis=1)[pt.arange(labels.shape[0]), labels].mean()


OPS = SimpleNamespace(relu=lambda x: pt.maximum(x, 0), cross_entropy=cross_entropy, stack=pt.stack)

PLAIN = "NUMBA"


def symbols(problem: Problem, known: bool = True) -> tuple[list[Any], list[Any], Any]:
    """Return inputs, shared parameters and loss; `known` says whether the inputs' shapes are."""
    params = [pytensor.shared(p, name=f"p{i}", shape=p.shape, borrow=True) for i, p in enumerate(problem.first())]
    inputs = [
        pt.tensor(f"x{i}", dtype=a.dtype.name, shape=a.shape if known else (None,) * a.ndim)
        for i, a in enumerate(problem.batches[0])
    ]
    return inputs, params, problem.loss(OPS, params, *inputs)


def values(params: list[Any]) -> Callable[[], list[np.ndarray]]:
    """Return a function that returns the values of shared variables."""
    return lambda: [p.get_value() for p in params]


def built(problem: Problem, known: bool = True) -> Any:
    """Return the optimizer that all cases use: Adam."""
    inputs, params, loss = symbols(problem, known)
    return downhill2.build("adam", loss, params, inputs, learning_rate=problem.learning_rate, **ADAM)


def one_call(problem: Problem, mode: Any = None, known: bool = True) -> Contender:
    """downhill2's updates in a function of one's own; by default one generated function."""
    opt = built(problem, known)
    step = pytensor.function(
        opt.inputs, opt.fit.problem.loss, updates=opt.get_updates(), mode=mode or fast_mode(), trust_input=True
    )
    return stepping(step, problem.batches, values(opt.params))


def gated(problem: Problem) -> Contender:
    """Updates held back where loss or gradients are not finite: what `minimize` adds, but for the new values."""
    opt = built(problem)
    fit = opt.fit
    gate = faults.gate(fit.problem, fit.layout)
    step = pytensor.function(
        opt.inputs, [fit.problem.loss, gate], updates=fit.updates(gate), mode=fast_mode(), trust_input=True
    )
    return stepping(step, problem.batches, values(opt.params), lambda monitors: float(monitors[0]))


def update_only(problem: Problem, mode: Any = None) -> Contender:
    """downhill2's updates without the loss, the only batch being the gradient."""
    opt = built(problem)
    step = pytensor.function(opt.inputs, [], updates=opt.get_updates(), mode=mode or fast_mode(), trust_input=True)
    return stepping(step, problem.batches, values(opt.params), lambda _: None)


def minimizing(problem: Problem) -> Contender:
    """What users call: ``opt.minimize`` on arrays, here without validation."""
    return driven(problem, dataset(problem), problem.chunk)


def looping(problem: Problem, epoch: int) -> Contender:
    """``opt.minimize`` on ready-made batches, so many an epoch, each update in a call of its own."""
    batches = None
    if problem.data:
        batches = downhill2.Dataset.from_batches(problem.batches, iteration_size=epoch, shuffle=False)
    return driven(problem, batches, epoch, Forgetful(), updates_per_call=1)


class Forgetful:
    """A history that keeps nothing."""

    def append(self, record: Any) -> None:
        """Forget a record."""


def driven(problem: Problem, data: Any, epoch: int, history: Any = None, **settings: Any) -> Contender:
    """``opt.minimize`` without validation."""
    opt = built(problem)
    opt.history = opt.history if history is None else history

    def advance(n: int) -> None:
        opt.minimize(data, max_updates=n, train_batches=epoch, validate_every=None, **settings)

    return Contender(advance, values(opt.params), quantum=problem.chunk)


def validated(problem: Problem) -> None:
    """One epoch of ``opt.minimize`` with a validation before and after."""
    built(problem).minimize(dataset(problem), max_updates=problem.chunk, train_batches=problem.chunk, valid_batches=1)


def dataset(problem: Problem) -> Any:
    """Return the rows of all batches, in order; None for a loss without data."""
    if not problem.data:
        return None
    return downhill2.Dataset(problem.data, "train", problem.rows, shuffle=False)


def bare(problem: Problem, check: str = "gradients") -> Contender:
    """The step that ``opt.minimize`` compiles, called in a plain Python loop."""
    opt = built(problem)
    batches = problem.batches if problem.data else None
    step = opt.fit.step(downhill2.Dataset(batches, shuffle=False).bind(opt.inputs), check)
    return stepping(step, problem.batches, values(opt.params), lambda monitors: float(monitors[0]))


def called_by_pytensor(problem: Problem) -> Contender:
    """The same step compiled by PyTensor's own linker, and called as PyTensor calls its functions."""
    generated, downhill2.config.generated = downhill2.config.generated, False
    try:
        contender = bare(problem)
        contender.advance(1)
    finally:
        downhill2.config.generated = generated
    return contender


def old_design(problem: Problem) -> Contender:
    """The old downhill's: state and clock for each parameter, literals in the graph, one checked call a batch."""
    inputs, params, loss = symbols(problem)
    step = pytensor.function(inputs, [loss], updates=old_adam(loss, params, problem.learning_rate), mode=PLAIN)
    return stepping(step, problem.batches, values(params), lambda monitors: float(monitors[0]))


def old_adam(loss: Any, params: list[Any], rate: float) -> list[tuple[Any, Any]]:
    """Return the updates of Adam with every number as a literal."""
    one, eta, b1, b2, epsilon = (np.float32(c) for c in (1, rate, *ADAM.values()))
    updates = []
    for p, g in zip(params, pytensor.grad(loss, params), strict=True):
        t = pytensor.shared(np.zeros((), "f"))
        m, v = (pytensor.shared(np.zeros_like(p.get_value()), shape=p.type.shape) for _ in "mv")
        t_t, m_t, v_t = t + one, b1 * m + (one - b1) * g, b2 * v + (one - b2) * g * g
        step = eta * (m_t / (one - b1**t_t)) / (pt.sqrt(v_t / (one - b2**t_t)) + epsilon)
        updates += [(t, t_t), (m, m_t), (v, v_t), (p, p - step)]
    return updates
