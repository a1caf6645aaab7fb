"""Updates written by hand in float32, and downhill2's of the same settings; rates are shared scalars in both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt

import downhill2
from downhill2.compiling import fast_mode

from ..problems import Problem
from ..timing import Contender, stepping
from .symbolic import symbols, values

Updates = list[tuple[Any, Any]]

ONE = np.float32(1)


def ours(algo: str, problem: Problem, **settings: Any) -> Contender:
    """downhill2's update."""
    inputs, params, loss = symbols(problem)
    opt = downhill2.build(algo, loss, params, inputs, learning_rate=problem.learning_rate, **settings)
    return contender(inputs, params, opt.get_updates(), problem)


def contender(inputs: list[Any], params: list[Any], updates: Updates, problem: Problem) -> Contender:
    """Return what makes these updates."""
    step = pytensor.function(inputs, [], updates=updates, mode=fast_mode(), trust_input=True)
    return stepping(step, problem.batches, values(params), lambda _: None)


def by_hand(problem: Problem, rule: Callable[[Any, Any, Any], Updates]) -> Contender:
    """Return what makes the updates that ``rule(parameter, gradient, rate)`` returns."""
    inputs, params, loss = symbols(problem)
    rate = shared(problem.learning_rate)
    return contender(inputs, params, rule(params[0], pytensor.grad(loss, params[0]), rate), problem)


def shared(number: float) -> Any:
    """Return a shared float32 scalar."""
    return pytensor.shared(np.array(number, "f"))


def like(p: Any) -> Any:
    """Return zeros of a parameter's shape."""
    return pytensor.shared(np.zeros_like(p.get_value()), shape=p.type.shape)


def sgd(problem: Problem) -> Contender:
    """Momentum 0.9."""
    mu = shared(0.9)

    def rule(p: Any, g: Any, rate: Any) -> Updates:
        v = like(p)
        v_t = mu * v + rate * g
        return [(v, v_t), (p, p - v_t)]

    return by_hand(problem, rule)


def rmsprop(problem: Problem) -> Contender:
    """The plain form."""
    rho, epsilon = shared(0.9), shared(1e-4)

    def rule(p: Any, g: Any, rate: Any) -> Updates:
        v = like(p)
        v_t = rho * v + (ONE - rho) * g * g
        return [(v, v_t), (p, p - rate * g / pt.sqrt(v_t + epsilon))]

    return by_hand(problem, rule)


def adam(problem: Problem) -> Contender:
    """With both corrections."""
    b1, b2, epsilon = shared(0.9), shared(0.999), shared(1e-8)

    def rule(p: Any, g: Any, rate: Any) -> Updates:
        t, m, v = shared(0), like(p), like(p)
        t_t, m_t, v_t = t + ONE, b1 * m + (ONE - b1) * g, b2 * v + (ONE - b2) * g * g
        m_hat, v_hat = m_t / (ONE - b1**t_t), v_t / (ONE - b2**t_t)
        return [(t, t_t), (m, m_t), (v, v_t), (p, p - rate * m_hat / (pt.sqrt(v_hat) + epsilon))]

    return by_hand(problem, rule)
