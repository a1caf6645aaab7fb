"""Rules that remember rows and columns."""

from __future__ import annotations

import numpy as np
from oracles.reference import descent
from oracles.tensors import adafactor, sm3

from . import Case, inverse, preset

TORCH_EPSILON = float(np.finfo("f4").eps)

# fmt: off
CASES = [
    # optax takes no scalars: see the test of SM3
    Case("sm3", "own defaults", {},
         descent(sm3(beta=0.9, epsilon=1e-8), 1e-4)),
    Case("sm3", "BrainPy's epsilon", {"beta": 0, "epsilon": 1e-30, "learning_rate": inverse},
         descent(sm3(beta=0, epsilon=1e-30), inverse)),

    Case("adafactor", "own defaults", {},
         descent(adafactor(added=1e-30), 0.01, owns_rate=True)),
    Case("adafactor", "torch, decay", preset("adafactor", "torch", weight_decay=0.1),
         descent(adafactor(floor=TORCH_EPSILON), 0.01, owns_rate=True, weight_decay=0.1, decay="decoupled"),
         torch=lambda optim, params: optim.Adafactor(params, eps=(TORCH_EPSILON, 1e-3), weight_decay=0.1)),
    Case("adafactor", "optax", preset("adafactor", "optax", learning_rate=0.01),
         descent(adafactor(added=1e-30, relative=False, factor_from=128), 0.01, owns_rate=True),
         # optax computes the power of the decay in float32
         optax=lambda optax: optax.adafactor(0.01), optax_within=1e-6),
    Case("adafactor", "optax, factored", preset("adafactor", "optax", learning_rate=inverse, factor_from=2),
         descent(adafactor(added=1e-30, relative=False, factor_from=2), inverse, owns_rate=True),
         optax=lambda optax: optax.adafactor(inverse, min_dim_size_to_factor=2), optax_within=1e-6),
    Case("adafactor", "Keras", preset("adafactor", "keras", learning_rate=0.2),
         descent(adafactor(added=1e-30), 0.2, owns_rate=True)),
]
