"""Rules whose steps follow the norm of the parameter."""

from __future__ import annotations

from oracles.reference import descent
from oracles.tensors import fromage, lamb, lars, novograd

from . import Case, inverse, preset

# fmt: off
CASES = [
    Case("lars", "own defaults", {},
         descent(lars(), 1, momentum=0.9),
         optax=lambda optax: optax.lars(1.0)),
    Case("lars", "optax, decay and schedule",
         preset("lars", "optax", learning_rate=inverse, weight_decay=0.1, trust_coefficient=0.02, epsilon=0.01),
         descent(lars(trust=0.02, epsilon=0.01, weight_decay=0.1), inverse, momentum=0.9),
         optax=lambda optax: optax.lars(inverse, weight_decay=0.1, trust_coefficient=0.02, eps=0.01)),
    Case("lars", "BrainPy", {"norms": "apart", "epsilon": 1e-5, "weight_decay": 1e-4, "learning_rate": 0.5},
         descent(lars(epsilon=1e-5, weight_decay=1e-4, apart=True), 0.5, momentum=0.9)),

    Case("lamb", "own defaults", {},
         descent(lamb(beta1=0.9, beta2=0.999, epsilon=1e-6), 1e-3),
         optax=lambda optax: optax.lamb(1e-3)),
    Case("lamb", "optax, decay and schedule", preset("lamb", "optax", learning_rate=inverse, weight_decay=0.1),
         descent(lamb(beta1=0.9, beta2=0.999, epsilon=1e-6, weight_decay=0.1), inverse),
         optax=lambda optax: optax.lamb(inverse, weight_decay=0.1)),
    Case("lamb", "Keras, decay", preset("lamb", "keras", weight_decay=0.1, learning_rate=0.01),
         descent(lamb(beta1=0.9, beta2=0.999, epsilon=1e-7), 0.01, weight_decay=0.1, decay="decoupled")),

    Case("novograd", "own defaults", {},
         descent(novograd(beta1=0.9, beta2=0.25, epsilon=1e-6), 0.01),
         optax=lambda optax: optax.novograd(0.01)),
    Case("novograd", "optax, decay and schedule", preset("novograd", "optax", learning_rate=inverse, weight_decay=0.1),
         descent(novograd(beta1=0.9, beta2=0.25, epsilon=1e-6, weight_decay=0.1), inverse),
         optax=lambda optax: optax.novograd(inverse, weight_decay=0.1)),

    Case("fromage", "own defaults", {},
         # the parameter shrinks to a fifth, and keeps the roundings of when it was larger
         descent(fromage(), 0.01, owns_rate=True), float32=1e-5,
         optax=lambda optax: optax.fromage(0.01)),
    Case("fromage", "optax, schedule", preset("fromage", "optax", learning_rate=inverse),
         descent(fromage(), inverse, owns_rate=True),
         optax=lambda optax: optax.fromage(inverse)),
]

MOVES = ["fromage"]
