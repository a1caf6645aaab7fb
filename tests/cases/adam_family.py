"""Adam's variants."""

from __future__ import annotations

from oracles.adaptive import adamax, amsgrad, nadam, nadam_of_optax, radam
from oracles.reference import adam, descent, halflife

from . import Case, inverse

OURS = {"beta1": halflife(7), "beta2": halflife(69), "epsilon": 1e-8}
COMMON = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
KERAS = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-7}

# fmt: off
CASES = [
    Case("adamw", "own defaults", {},
         descent(adam(**OURS), 1e-4, weight_decay=0.01, decay="decoupled")),
    Case("adamw", "torch", dict(preset="torch"),
         descent(adam(**COMMON), 1e-3, weight_decay=0.01, decay="decoupled"),
         lambda optim, params: optim.AdamW(params)),
    Case("adamw", "optax", dict(preset="optax", learning_rate=inverse),
         descent(adam(**COMMON), inverse, weight_decay=1e-4, decay="decoupled"),
         optax=lambda optax: optax.adamw(inverse)),
    Case("adamw", "Keras", dict(preset="keras"),
         descent(adam(**KERAS, at="hat"), 1e-3, weight_decay=0.004, decay="decoupled")),

    Case("amsgrad", "own defaults", {},
         descent(amsgrad(**OURS), 1e-4)),
    Case("amsgrad", "torch", dict(preset="torch"),
         descent(amsgrad(**COMMON), 1e-3),
         lambda optim, params: optim.Adam(params, amsgrad=True)),
    Case("amsgrad", "torch, large epsilon, decoupled decay",
         dict(preset="torch", epsilon=0.1, weight_decay=0.1, decay="decoupled"),
         descent(amsgrad(**{**COMMON, "epsilon": 0.1}), 1e-3, weight_decay=0.1, decay="decoupled"),
         lambda optim, params: optim.AdamW(params, eps=0.1, weight_decay=0.1, amsgrad=True)),
    Case("amsgrad", "optax", dict(preset="optax", learning_rate=0.1),
         descent(amsgrad(**COMMON, form="optax"), 0.1),
         optax=lambda optax: optax.amsgrad(0.1)),
    Case("amsgrad", "paper", dict(preset="optax", learning_rate=0.1, form="paper", epsilon=1e-3),
         descent(amsgrad(**{**COMMON, "epsilon": 1e-3}, form="paper"), 0.1),
         optax=lambda optax: optax.amsgrad(
             0.1, eps=1e-3, bias_correction_mu=False, bias_correction_nu=False)),
    Case("amsgrad", "Keras", dict(preset="keras", weight_decay=0.1),
         descent(amsgrad(**KERAS, at="hat"), 1e-3, weight_decay=0.1, decay="decoupled")),

    Case("adamax", "own defaults", {},
         descent(adamax(**OURS), 1e-4)),
    Case("adamax", "torch", dict(preset="torch"),
         descent(adamax(**COMMON, at="inside"), 2e-3),
         lambda optim, params: optim.Adamax(params)),
    Case("adamax", "torch, large epsilon", dict(preset="torch", epsilon=0.1, weight_decay=0.1),
         descent(adamax(**{**COMMON, "epsilon": 0.1}, at="inside"), 2e-3, weight_decay=0.1),
         lambda optim, params: optim.Adamax(params, eps=0.1, weight_decay=0.1)),
    Case("adamax", "optax", dict(preset="optax", learning_rate=inverse),
         descent(adamax(**COMMON, at="inside"), inverse),
         optax=lambda optax: optax.adamax(inverse)),
    Case("adamax", "Keras", dict(preset="keras", weight_decay=0.1),
         descent(adamax(**KERAS), 1e-3, weight_decay=0.1, decay="decoupled")),

    Case("adamaxw", "own defaults", {},
         descent(adamax(**OURS), 1e-4, weight_decay=0.01, decay="decoupled")),
    Case("adamaxw", "optax", dict(preset="optax", learning_rate=0.1),
         descent(adamax(**COMMON, at="inside"), 0.1, weight_decay=1e-4, decay="decoupled"),
         optax=lambda optax: optax.adamaxw(0.1)),

    Case("nadam", "own defaults", {},
         descent(nadam(**OURS), 1e-4)),
    Case("nadam", "torch", dict(preset="torch"),
         descent(nadam(**COMMON), 2e-3),
         lambda optim, params: optim.NAdam(params)),
    Case("nadam", "torch, faster schedule, coupled decay",
         dict(preset="torch", momentum_decay=0.1, weight_decay=0.1),
         descent(nadam(**COMMON, decay=0.1), 2e-3, weight_decay=0.1),
         lambda optim, params: optim.NAdam(params, momentum_decay=0.1, weight_decay=0.1)),
    Case("nadam", "optax", dict(preset="optax", learning_rate=inverse),
         descent(nadam_of_optax(**COMMON), inverse),
         optax=lambda optax: optax.nadam(inverse)),
    Case("nadam", "Keras", dict(preset="keras", weight_decay=0.1),
         descent(nadam(**KERAS, decay=1), 1e-3, weight_decay=0.1, decay="decoupled")),

    Case("nadamw", "own defaults", {},
         descent(nadam(**OURS), 1e-4, weight_decay=0.01, decay="decoupled")),
    Case("nadamw", "torch", dict(preset="torch"),
         descent(nadam(**COMMON), 2e-3, weight_decay=0.01, decay="decoupled"),
         lambda optim, params: optim.NAdam(params, weight_decay=0.01, decoupled_weight_decay=True)),
    Case("nadamw", "optax", dict(preset="optax", learning_rate=0.1),
         descent(nadam_of_optax(**COMMON), 0.1, weight_decay=1e-4, decay="decoupled"),
         optax=lambda optax: optax.nadamw(0.1)),

    Case("radam", "own defaults", {},
         descent(radam(**OURS), 1e-4)),
    Case("radam", "torch", dict(preset="torch"),
         descent(radam(**COMMON, at="hat"), 1e-3),
         lambda optim, params: optim.RAdam(params)),
    Case("radam", "torch, large epsilon, decoupled decay",
         dict(preset="torch", epsilon=0.1, weight_decay=0.1, decay="decoupled"),
         descent(radam(**{**COMMON, "epsilon": 0.1}, at="hat"), 1e-3, weight_decay=0.1, decay="decoupled"),
         lambda optim, params: optim.RAdam(
             params, eps=0.1, weight_decay=0.1, decoupled_weight_decay=True)),
    Case("radam", "optax, large epsilon, other threshold",
         dict(preset="optax", learning_rate=inverse, epsilon=0.1, threshold=20),
         descent(radam(**{**COMMON, "epsilon": 0.1}, threshold=20), inverse),
         optax=lambda optax: optax.radam(inverse, eps=0.1, threshold=20)),
    Case("radam", "averages too short to divide by", {"learning_rate": 0.1, "beta1": 0.9, "beta2": 0.5},
         descent(radam(beta1=0.9, beta2=0.5, epsilon=1e-8), 0.1),
         optax=lambda optax: optax.radam(0.1, b2=0.5)),
]
