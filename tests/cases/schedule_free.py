"""Rules that average their points; what is compared here is y, the parameter: `test_schedule_free` has x."""

from __future__ import annotations

from oracles.whole import ScheduleFree

from . import Case, growing, inverse

# fmt: off
CASES = [
    Case("schedulefree", "own defaults", {},
         ScheduleFree(1),
         optax=lambda optax: optax.contrib.schedule_free_sgd()),
    Case("schedulefree", "optax, decay", dict(preset="optax", learning_rate=0.1, beta1=0.6, weight_decay=0.1),
         ScheduleFree(0.1, beta=0.6, weight_decay=0.1),
         optax=lambda optax: optax.contrib.schedule_free_sgd(0.1, None, 0.6, 0.1)),
    # under a falling rate all weights are those of the first; optax takes them from one update later
    Case("schedulefree", "falling rate", dict(learning_rate=inverse),
         ScheduleFree(inverse),
         optax=lambda optax: optax.contrib.schedule_free(optax.sgd(inverse), inverse)),
    Case("schedulefree", "warm-up", dict(learning_rate=growing, weight_power=1),
         ScheduleFree(growing, power=1)),

    Case("schedulefreeadamw", "own defaults", {},
         ScheduleFree(0.0025, beta2=0.999),
         optax=lambda optax: optax.contrib.schedule_free_adamw()),
    Case("schedulefreeadamw", "optax, decay",
         dict(preset="optax", learning_rate=0.1, beta1=0.6, beta2=0.9, epsilon=0.1, weight_decay=0.1),
         ScheduleFree(0.1, beta=0.6, beta2=0.9, epsilon=0.1, weight_decay=0.1),
         optax=lambda optax: optax.contrib.schedule_free_adamw(0.1, None, 0.6, 0.9, 0.1, 0.1)),
    Case("schedulefreeadamw", "Keras, warm-up", dict(preset="keras", learning_rate=growing),
         ScheduleFree(growing, beta2=0.999, power=0)),
]
