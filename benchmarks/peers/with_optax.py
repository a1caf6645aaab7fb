"""Problems in JAX and optax."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax  # type: ignore[import-untyped]

from ..problems import Problem
from ..timing import Contender, stepping
from . import ADAM


def cross_entropy(logits: Any, labels: Any) -> Any:
    """Return the mean negative logarithm of the probability of the labels."""
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1).mean()


OPS = SimpleNamespace(relu=lambda x: jnp.maximum(x, 0), cross_entropy=cross_entropy, stack=jnp.stack)


class Training:
    """Parameters and state on the device, given away to each step and taken back from it."""

    def __init__(self, problem: Problem) -> None:
        self.loss, self.chunk = partial(problem.loss, OPS), problem.chunk
        self.adam = optax.adam(problem.learning_rate, ADAM["beta1"], ADAM["beta2"], ADAM["epsilon"])
        params = [jnp.array(p) for p in problem.first()]
        self.carry = params, self.adam.init(params)
        self.jitted = jax.jit(self.update, donate_argnums=0)
        self.jitted_many = jax.jit(self.many, donate_argnums=0)

    def update(self, carry: Any, batch: Any) -> Any:
        """Make one update."""
        params, state = carry
        loss, gradient = jax.value_and_grad(self.loss)(params, *batch)
        return self.applied(params, state, gradient), loss

    def applied(self, params: Any, state: Any, gradient: Any) -> Any:
        """Return the parameters and state after a gradient."""
        change, state = self.adam.update(gradient, state, params)
        return optax.apply_updates(params, change), state

    def many(self, carry: Any, batches: Any) -> Any:
        """Make a chunk of updates."""
        return jax.lax.scan(self.update, carry, batches, length=self.chunk)

    def step(self, *batch: Any) -> Any:
        """Make one update in place."""
        self.carry, loss = self.jitted(self.carry, batch)
        return loss

    def params(self) -> list[np.ndarray]:
        """Return the parameters."""
        return [np.array(p) for p in self.carry[0]]

    def wait(self, loss: Any) -> float | None:
        """Wait for the last update."""
        jax.block_until_ready(self.carry)  # type: ignore[no-untyped-call]
        return None if loss is None else float(loss)


def on_device(problem: Problem) -> list[Any]:
    """Return the batches."""
    return [tuple(jnp.asarray(a) for a in batch) for batch in problem.batches]


def one_call(problem: Problem) -> Contender:
    """A jitted step with donated buffers, called in a plain Python loop."""
    training = Training(problem)
    return stepping(training.step, on_device(problem), training.params, training.wait)


def fed(problem: Problem) -> Contender:
    """The same on batches that are copied to the device when their turn comes."""
    training = Training(problem)
    return stepping(training.step, problem.batches, training.params, training.wait)


def update_only(problem: Problem) -> Contender:
    """The jitted update alone, donated, the only batch being the gradient."""
    training = Training(problem)
    jitted = jax.jit(training.applied, donate_argnums=(0, 1))

    def step(gradient: Any) -> None:
        training.carry = jitted(*training.carry, [gradient])

    return stepping(step, on_device(problem), training.params, training.wait)


def scan(problem: Problem) -> Contender:
    """A chunk of updates in one call through lax.scan."""
    training = Training(problem)
    batches = jax.tree.map(lambda *parts: jnp.stack(parts), *on_device(problem)) if problem.data else ()

    def advance(n: int) -> float | None:
        losses = None
        for _ in range(n // problem.chunk):
            training.carry, losses = training.jitted_many(training.carry, batches)
        return training.wait(None if losses is None else losses[-1])

    return Contender(advance, training.params, quantum=problem.chunk)
