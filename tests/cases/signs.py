"""Rules whose steps have one size."""

from __future__ import annotations

from oracles.online import lion, sign, signum
from oracles.reference import descent

from . import Case, inverse

# Steps of one size round alike from update to update, so that 100 roundings add up; no sign differs.
ADDED_UP = 1e-5

# fmt: off
CASES = [
    Case("signsgd", "own defaults", {},
         descent(sign(), 1e-4), float32=ADDED_UP),
    Case("signsgd", "optax", dict(preset="optax", learning_rate=inverse),
         descent(sign(), inverse),
         optax=lambda optax: optax.sign_sgd(inverse)),

    Case("signum", "own defaults", {},
         descent(signum(beta=0.9), 1e-4), float32=ADDED_UP),
    Case("signum", "optax", dict(preset="optax", learning_rate=0.1, beta=0.7),
         descent(signum(beta=0.7), 0.1),
         optax=lambda optax: optax.signum(0.1, beta=0.7)),

    Case("lion", "own defaults", {},
         descent(lion(beta1=0.9, beta2=0.99), 1e-4), float32=ADDED_UP),
    Case("lion", "optax", dict(preset="optax", learning_rate=inverse),
         descent(lion(beta1=0.9, beta2=0.99), inverse, weight_decay=1e-3, decay="decoupled"),
         optax=lambda optax: optax.lion(inverse)),
    Case("lion", "Keras", dict(preset="keras", weight_decay=0.1),
         descent(lion(beta1=0.9, beta2=0.99), 1e-3, weight_decay=0.1, decay="decoupled")),
]
