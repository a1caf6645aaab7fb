"""Rules that follow from where they started, or from all gradients so far, and gradient descent with a twist."""

from __future__ import annotations

import numpy as np
from oracles.online import asgd, cocob, ftrl, madgrad, optimistic
from oracles.reference import descent, sgd

from . import Case, inverse


def noisy(rate, *, eta, gamma, seed):
    """Return gradient descent with the noise that the rule's generator will draw, begun anew for each trajectory."""

    def trajectory(start, gradients, steps):
        rng = np.random.default_rng([seed, 1])
        return descent(lambda g, s, t: g + np.sqrt(eta / t**gamma) * rng.normal(size=g.shape), rate)(
            start, gradients, steps
        )

    return trajectory


ROOT_OF_OPTAX = 1e-6  # it takes the root of its count of updates, an int32 number, in float32

# How the algorithms that change gradients by themselves are kept from it, and those that move without a gradient.
QUIET = {"asgd": {"lambd": 0}, "noisysgd": {"gradient_noise": 0}}
MOVES = ("ftrl",)  # the parameter is a function of all gradients: after none it is 0

# fmt: off
CASES = [
    Case("optimisticgd", "own defaults", {},
         descent(optimistic(sgd()), 1e-4)),
    Case("optimisticgd", "optax", dict(preset="optax", learning_rate=inverse, alpha=0.5, beta=2),
         descent(optimistic(sgd(), alpha=0.5, beta=2), inverse),
         optax=lambda optax: optax.optimistic_gradient_descent(inverse, alpha=0.5, beta=2.0)),

    Case("noisysgd", "own defaults", {},
         noisy(1e-4, eta=0.01, gamma=0.55, seed=0), draws=True),
    Case("noisysgd", "much noise, another seed",
         {"learning_rate": 0.01, "gradient_noise": 1, "gradient_noise_gamma": 0.3, "gradient_noise_seed": 3},
         noisy(0.01, eta=1, gamma=0.3, seed=3), draws=True),

    Case("asgd", "own defaults", {},
         descent(asgd(lambd=1e-4, alpha=0.75), 0.01, owns_rate=True)),
    Case("asgd", "torch", dict(preset="torch", weight_decay=0.1),
         descent(asgd(lambd=1e-4, alpha=0.75), 0.01, owns_rate=True, weight_decay=0.1),
         lambda optim, params: optim.ASGD(params, weight_decay=0.1)),
    Case("asgd", "torch, fast", {"learning_rate": 0.1, "lambd": 0.5, "alpha": 0.6, "t0": 5},
         descent(asgd(lambd=0.5, alpha=0.6), 0.1, owns_rate=True),
         lambda optim, params: optim.ASGD(params, lr=0.1, lambd=0.5, alpha=0.6, t0=5)),

    Case("madgrad", "own defaults", {},
         descent(madgrad(beta=0.9, epsilon=1e-6), 0.01, owns_rate=True)),
    Case("madgrad", "optax", dict(preset="optax", learning_rate=inverse, weight_decay=0.1),
         descent(madgrad(beta=0.9, epsilon=1e-6), inverse, owns_rate=True, weight_decay=0.1),
         optax=lambda optax: optax.contrib.madgrad(inverse, weight_decay=0.1), optax_within=ROOT_OF_OPTAX),
    Case("madgrad", "little momentum, large epsilon", {"learning_rate": 0.1, "beta": 0.5, "epsilon": 0.1},
         descent(madgrad(beta=0.5, epsilon=0.1), 0.1, owns_rate=True),
         optax=lambda optax: optax.contrib.madgrad(0.1, momentum=0.5, eps=0.1), optax_within=ROOT_OF_OPTAX),

    Case("ftrl", "own defaults (Keras)", dict(preset="keras"),
         descent(ftrl(), 1e-3, owns_rate=True)),
    Case("ftrl", "Keras, all terms",
         {"learning_rate": 0.1, "initial_accumulator": 0.5, "power": 0.7, "l1": 0.1, "l2": 0.2,
          "l2_shrinkage": 0.05, "beta": 0.3},
         descent(ftrl(initial=0.5, power=0.7, l1=0.1, l2=0.2, shrinkage=0.05, beta=0.3), 0.1,
                 owns_rate=True),
         # the first step leads from wherever the parameter starts to near 0, and is rounded as the start is
         float32=1e-4),

    Case("cocob", "own defaults", {},
         descent(cocob(), 1)),
    Case("cocob", "optax", dict(preset="optax", alpha=10, weight_decay=0.1),
         descent(cocob(alpha=10), 1, weight_decay=0.1),
         optax=lambda optax: optax.contrib.cocob(alpha=10.0, weight_decay=0.1),
         # what is won is a multiple of how far the parameter is from its start: a small difference of large numbers
         float32=2e-5),
]
