"""Other rules that measure gradients element by element."""

from __future__ import annotations

from oracles.adaptive import (
    acprop,
    adabelief,
    adagrad_window,
    adan,
    ademamix,
    adopt,
    nadam_of_optax,
    simplified_ademamix,
    smorms3,
    yogi,
)
from oracles.online import optimistic
from oracles.reference import adam, descent, halflife

from . import Case, inverse

BETAS = {"beta1": 0.9, "beta2": 0.999}
BELIEF = {**BETAS, "epsilon": 1e-16, "epsilon_root": 1e-16}
ADAN = {"beta1": 0.98, "beta2": 0.92, "beta3": 0.99, "epsilon": 1e-8}
MIX = {**BETAS, "beta3": 0.9999, "alpha": 5, "epsilon": 1e-8}
SIMPLIFIED = {"beta1": 0.99, "beta2": 0.95, "alpha": 0, "epsilon": 1e-8}

# fmt: off
CASES = [
    Case("adabelief", "own defaults", {},
         descent(adabelief(**BELIEF), 1e-4)),
    Case("adabelief", "optax", dict(preset="optax", learning_rate=inverse),
         descent(adabelief(**BELIEF), inverse),
         optax=lambda optax: optax.adabelief(inverse)),
    Case("adabelief", "large epsilons",
         {"learning_rate": 0.1, "beta1_halflife": 3, "beta2": 0.9, "epsilon": 0.1, "epsilon_root": 0.01},
         descent(adabelief(beta1=halflife(3), beta2=0.9, epsilon=0.1, epsilon_root=0.01), 0.1),
         optax=lambda optax: optax.adabelief(0.1, b1=halflife(3), b2=0.9, eps=0.1, eps_root=0.01)),

    Case("acprop", "own defaults", {},
         descent(acprop(**BELIEF), 1e-4)),
    Case("acprop", "optax", dict(preset="optax", learning_rate=1e-4),
         descent(acprop(**BELIEF, form="optax"), 1e-4),
         optax=lambda optax: optax.contrib.acprop(1e-4)),
    Case("acprop", "optax, large epsilons, decoupled decay",
         {"learning_rate": 0.01, "beta2": 0.9, "epsilon": 0.1, "epsilon_root": 0.01, "form": "optax",
          "weight_decay": 0.1, "decay": "decoupled"},
         descent(acprop(beta1=0.9, beta2=0.9, epsilon=0.1, epsilon_root=0.01, form="optax"), 0.01,
                 weight_decay=0.1, decay="decoupled"),
         optax=lambda optax: optax.contrib.acprop(
             0.01, b2=0.9, eps=0.1, eps_root=0.01, weight_decay=0.1)),

    Case("yogi", "own defaults", {},
         descent(yogi(**BETAS, epsilon=1e-3), 1e-4)),
    Case("yogi", "optax", dict(preset="optax", learning_rate=0.01),
         descent(yogi(**BETAS, epsilon=1e-3, first_m=1e-6), 0.01),
         optax=lambda optax: optax.yogi(0.01)),
    Case("yogi", "large start", {"learning_rate": 0.1, "beta2": 0.9, "initial_accumulator": 1},
         descent(yogi(beta1=0.9, beta2=0.9, epsilon=1e-3, first_v=1), 0.1)),

    Case("adopt", "own defaults", {},
         descent(adopt(beta1=0.9, beta2=0.9999, epsilon=1e-6), 1e-4)),
    Case("adopt", "optax", dict(preset="optax", learning_rate=0.01),
         descent(adopt(beta1=0.9, beta2=0.9999, epsilon=1e-6), 0.01),
         optax=lambda optax: optax.contrib.adopt(0.01)),
    Case("adopt", "optax, not clipped", {"learning_rate": 0.01, "beta2": 0.9, "epsilon": 0.1, "clipped": False},
         descent(adopt(beta1=0.9, beta2=0.9, epsilon=0.1, clipped=False), 0.01),
         optax=lambda optax: optax.contrib.adopt(0.01, b2=0.9, eps=0.1, use_clipping=False)),

    # optax weights differences by 1 - beta2, where the paper, its authors' code and BrainPy have beta2
    Case("adan", "own defaults", {},
         descent(adan(**ADAN), 1e-3)),
    Case("adan", "BrainPy", {"weight_decay": 0.02},
         descent(adan(**ADAN), 1e-3, weight_decay=0.02, decay="proximal")),
    Case("adan", "BrainPy, decay not proximal", {"weight_decay": 0.02, "decay": "decoupled"},
         descent(adan(**ADAN), 1e-3, weight_decay=0.02, decay="decoupled")),
    Case("adan", "optax", dict(preset="optax", learning_rate=inverse, weight_decay=0.1),
         descent(adan(**ADAN, epsilon_root=1e-8, form="optax"), inverse, weight_decay=0.1, decay="decoupled"),
         optax=lambda optax: optax.adan(inverse, weight_decay=0.1)),

    Case("ademamix", "own defaults", {},
         descent(ademamix(**MIX), 1e-4)),
    Case("ademamix", "optax", dict(preset="optax", learning_rate=inverse, weight_decay=0.1),
         descent(ademamix(**MIX), inverse, weight_decay=0.1, decay="decoupled"),
         optax=lambda optax: optax.contrib.ademamix(inverse, weight_decay=0.1)),
    Case("ademamix", "strong slow mean", {"learning_rate": 0.01, "beta3": 0.95, "alpha": 8},
         descent(ademamix(**{**MIX, "beta3": 0.95, "alpha": 8}), 0.01),
         optax=lambda optax: optax.contrib.ademamix(0.01, b3=0.95, alpha=8.0)),

    Case("simplifiedademamix", "own defaults", {},
         descent(simplified_ademamix(**SIMPLIFIED), 1e-4)),
    Case("simplifiedademamix", "optax",
         dict(preset="optax", learning_rate=1e-3, alpha=10, beta1=0.9, weight_decay=0.1),
         descent(simplified_ademamix(**{**SIMPLIFIED, "alpha": 10, "beta1": 0.9}), 1e-3, weight_decay=0.1,
                 decay="decoupled"),
         optax=lambda optax: optax.contrib.simplified_ademamix(
             1e-3, alpha=10.0, b1=0.9, weight_decay=0.1)),

    Case("smorms3", "own defaults (PuzzleLib)", {},
         descent(smorms3(epsilon=1e-16), 1e-3, owns_rate=True)),
    Case("smorms3", "long steps, large epsilon", {"learning_rate": 0.5, "epsilon": 0.01},
         descent(smorms3(epsilon=0.01), 0.5, owns_rate=True)),

    Case("adagradwindow", "own defaults (PyMC)", {},
         descent(adagrad_window(window=10, epsilon=0.1), 1e-3)),
    Case("adagradwindow", "short window", {"learning_rate": 0.1, "window": 3, "epsilon": 1e-3, "epsilon_at": "outside"},
         descent(adagrad_window(window=3, epsilon=1e-3, at="outside"), 0.1)),

    Case("optimisticadam", "own defaults", {},
         descent(optimistic(adam(beta1=halflife(7), beta2=halflife(69), epsilon=1e-8)), 1e-4)),
    Case("optimisticadam", "optax", dict(preset="optax", learning_rate=inverse),
         descent(optimistic(nadam_of_optax(**BETAS, epsilon=1e-8)), inverse),
         optax=lambda optax: optax.optimistic_adam_v2(inverse)),
    Case("optimisticadam", "optax without nesterov",
         {"learning_rate": 0.01, **BETAS, "alpha": 0.5, "beta": 2},
         descent(optimistic(adam(**BETAS, epsilon=1e-8), alpha=0.5, beta=2), 0.01),
         optax=lambda optax: optax.optimistic_adam_v2(0.01, alpha=0.5, beta=2.0, nesterov=False)),
]
