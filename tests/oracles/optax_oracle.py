"""Trajectories of optax, run live on the CPU in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import optax

from . import Arrays


def trajectory(
    factory: Callable[[Any], optax.GradientTransformation],
    start: Arrays,
    gradients: Sequence[Arrays],
    steps: Sequence[int],
    evaluated: bool = False,
) -> dict[int, Arrays]:
    """Return the parameters after each of `steps`; the factory is given the module `optax`.

    With `evaluated`, for what is Schedule-Free, the parameters to evaluate.
    """
    transformation, seen = optax.with_extra_args_support(factory(optax)), {}

    @jax.jit
    def update(params, state, gs):
        loss = sum(jax.tree.leaves(jax.tree.map(lambda x, g: jax.numpy.sum((x + 1) * g), params, gs)))
        change, state = transformation.update(gs, state, params, value=loss)
        return optax.apply_updates(params, change), state

    with jax.enable_x64(True):
        params = jax.tree.map(jax.numpy.asarray, start)
        state = transformation.init(params)
        for k in range(max(steps)):
            params, state = update(params, state, gradients[k])
            seen[k + 1] = optax.contrib.schedule_free_eval_params(state, params) if evaluated else params
        return {step: [np.asarray(x) for x in seen[step]] for step in steps}
