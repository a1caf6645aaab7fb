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
) -> dict[int, Arrays]:
    """Return the parameters after each of `steps`; the factory is given the module `optax`."""
    transformation, seen = factory(optax), {}

    @jax.jit
    def update(params, state, gs):
        change, state = transformation.update(gs, state, params)
        return optax.apply_updates(params, change), state

    with jax.enable_x64(True):
        params = jax.tree.map(jax.numpy.asarray, start)
        state = transformation.init(params)
        for k in range(max(steps)):
            params, state = update(params, state, gradients[k])
            seen[k + 1] = params
        return {step: [np.asarray(x) for x in seen[step]] for step in steps}
