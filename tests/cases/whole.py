"""Rules that see all parameters as one vector: by the value of the loss, or by how far they have come."""

from __future__ import annotations

from oracles.reference import descent, together
from oracles.whole import dadapt_adamw, dog, dowg, momo, momo_adam, polyak, prodigy

from . import Case, growing, inverse


def along(rule, rate, **how):
    return together(descent(rule, rate, **how))


MOMO = {"learning_rate": inverse, "weight_decay": 0.1}

# On a linear loss a learning rate that is found grows exponentially, and the roundings of its beginning with it: those
# of a step, beside the parameter, where the way from the start is what it is found from: optax, in float32, differs by
# 1.1e-2 from itself in float64.
GROWN, GROWN_FROM_A_STEP = 1e-5, 0.05

# fmt: off
CASES = [
    Case("polyak", "own defaults", {},
         along(polyak(), 1),
         optax=lambda optax: optax.polyak_sgd()),
    Case("polyak", "optax, long steps, a bound",
         dict(preset="optax", learning_rate=0.5, f_min=-3, max_learning_rate=20, epsilon=0.1),
         along(polyak(f_min=-3, longest=20, epsilon=0.1), 0.5),
         # its own scaling is of the gradient, before the step is found
         optax=lambda optax: optax.chain(optax.polyak_sgd(20.0, f_min=-3.0, eps=0.1), optax.scale(0.5))),

    Case("sps", "own defaults", {},
         along(polyak(c=0.5), 1)),
    Case("sps", "optax, momentum", dict(preset="optax", max_learning_rate=0.1, f_min=-1, momentum=0.5),
         along(polyak(f_min=-1, longest=0.1), 1, momentum=0.5),
         optax=lambda optax: optax.chain(optax.polyak_sgd(0.1, f_min=-1.0, variant="sps"), optax.trace(0.5))),
    Case("sps", "large epsilon", {"c": 2, "epsilon": 3, "max_learning_rate": 20},
         along(polyak(c=2, epsilon=3, longest=20), 1)),

    Case("spsplus", "own defaults", {},
         along(polyak(c=0.5, positive=True), 1)),
    Case("spsplus", "optax", dict(preset="optax", learning_rate=0.5, max_learning_rate=20, f_min=0.5),
         along(polyak(positive=True, longest=20, f_min=0.5), 0.5),
         optax=lambda optax: optax.chain(optax.polyak_sgd(20.0, f_min=0.5, variant="sps+"), optax.scale(0.5))),

    Case("momo", "own defaults", {},
         along(momo(beta=0.9), 1, owns_rate=True),
         optax=lambda optax: optax.contrib.momo()),
    Case("momo", "optax, decay and schedule", dict(preset="optax", lower_bound=-2, beta=0.7, **MOMO),
         along(momo(beta=0.7, least=-2, weight_decay=0.1), inverse, owns_rate=True),
         optax=lambda optax: optax.contrib.momo(inverse, 0.7, -2.0, 0.1)),
    Case("momo", "adapted bound", {"lower_bound": -5, "adapt_lower_bound": True, "weight_decay": 0.1},
         along(momo(beta=0.9, least=-5, adapt=True, weight_decay=0.1), 1, owns_rate=True),
         float32=1e-5,  # the height over the bound is a difference of sums many times as large
         optax=lambda optax: optax.contrib.momo(1.0, 0.9, -5.0, 0.1, True)),

    Case("momoadam", "own defaults", {},
         along(momo_adam(beta1=0.9, beta2=0.999, epsilon=1e-8), 0.01, owns_rate=True),
         optax=lambda optax: optax.contrib.momo_adam()),
    Case("momoadam", "optax, decay and schedule",
         dict(preset="optax", lower_bound=-2, beta1=0.7, beta2=0.9, epsilon=0.1, **MOMO),
         along(momo_adam(beta1=0.7, beta2=0.9, epsilon=0.1, least=-2, weight_decay=0.1), inverse, owns_rate=True),
         optax=lambda optax: optax.contrib.momo_adam(inverse, 0.7, 0.9, 0.1, -2.0, 0.1)),
    Case("momoadam", "adapted bound",
         {"learning_rate": 0.1, "lower_bound": -5, "adapt_lower_bound": True, "weight_decay": 0.1},
         along(momo_adam(beta1=0.9, beta2=0.999, epsilon=1e-8, least=-5, adapt=True, weight_decay=0.1), 0.1,
               owns_rate=True),
         optax=lambda optax: optax.contrib.momo_adam(0.1, lower_bound=-5.0, weight_decay=0.1, adapt_lower_bound=True)),

    Case("dog", "own defaults", {},
         along(dog(), 1),
         optax=lambda optax: optax.contrib.dog()),
    Case("dog", "optax, a distance, decay",
         dict(preset="optax", init_step=0.1, init_step_kind="distance", epsilon=0.01, weight_decay=0.1),
         along(dog(size=0.1, kind="distance", epsilon=0.01), 1, weight_decay=0.1),
         optax=lambda optax: optax.contrib.dog(1.0, ("distance", 0.1), 0.01, 0.1)),
    Case("dog", "a learning rate", {"learning_rate": 0.5, "init_step": 0.1, "init_step_kind": "learning_rate"},
         along(dog(size=0.1, kind="learning_rate"), 0.5),
         optax=lambda optax: optax.contrib.dog(0.5, ("learning_rate", 0.1))),

    Case("dowg", "own defaults", {},
         along(dowg(), 1), float32=GROWN,
         optax=lambda optax: optax.contrib.dowg()),
    Case("dowg", "optax, decay", dict(preset="optax", init_distance2=0.1, epsilon=0.01, weight_decay=0.1),
         along(dowg(first=0.1, epsilon=0.01), 1, weight_decay=0.1),
         optax=lambda optax: optax.contrib.dowg(1.0, 0.1, 0.01, 0.1)),

    Case("dadaptadamw", "own defaults", {},
         along(dadapt_adamw(), 1, owns_rate=True), float32=GROWN,
         optax=lambda optax: optax.contrib.dadapt_adamw()),
    Case("dadaptadamw", "optax, decay",
         dict(preset="optax", learning_rate=0.5, estim_lr0=0.01, beta1=0.8, beta2=0.99, epsilon=0.1, weight_decay=0.1),
         along(dadapt_adamw(d0=0.01, beta1=0.8, beta2=0.99, epsilon=0.1, weight_decay=0.1), 0.5, owns_rate=True),
         float32=GROWN,
         optax=lambda optax: optax.contrib.dadapt_adamw(0.5, (0.8, 0.99), 0.1, 0.01, 0.1)),
    Case("dadaptadamw", "schedule", {"learning_rate": growing, "estim_lr0": 1e-3},
         along(dadapt_adamw(d0=1e-3), growing, owns_rate=True), float32=GROWN,
         optax=lambda optax: optax.contrib.dadapt_adamw(growing, estim_lr0=1e-3)),

    Case("prodigy", "own defaults", {},
         along(prodigy(), 1, owns_rate=True), float32=GROWN_FROM_A_STEP,
         optax=lambda optax: optax.contrib.prodigy()),
    Case("prodigy", "optax, decay and schedule",
         dict(preset="optax", learning_rate=growing, estim_lr0=0.01, beta1=0.8, beta2=0.9, epsilon=0.1,
              weight_decay=0.1, estim_lr_coef=2),
         along(prodigy(d0=0.01, beta1=0.8, beta2=0.9, epsilon=0.1, weight_decay=0.1, factor=2), growing,
               owns_rate=True),
         optax=lambda optax: optax.contrib.prodigy(growing, (0.8, 0.9), None, 0.1, 0.01, 2.0, 0.1)),
    Case("prodigy", "safeguard", {"safeguard_warmup": True, "estim_lr0": 1e-3, "learning_rate": 0.5},
         along(prodigy(d0=1e-3, warm=True), 0.5, owns_rate=True), float32=GROWN,
         optax=lambda optax: optax.contrib.prodigy(0.5, estim_lr0=1e-3, safeguard_warmup=True)),
]
