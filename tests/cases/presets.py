"""The presets of the algorithms that downhill had: the defaults and conventions of the other libraries."""

from __future__ import annotations

from oracles.reference import adadelta, adagrad, adam, descent, esgd, halflife, rmsprop, rprop, sgd

from . import Case, geometric

# fmt: off
CASES = [
    Case("sgd", "preset torch", {"preset": "torch"},
         descent(sgd(), 1e-3),
         lambda optim, params: optim.SGD(params)),
    Case("sgd", "preset torch, decaying rate, momentum",
         {"preset": "torch", "learning_rate": geometric, "momentum": 0.9},
         descent(sgd(), geometric, momentum=0.9, momentum_rate="outside"),
         lambda optim, params: optim.SGD(params, momentum=0.9)),
    Case("sgd", "preset optax", {"preset": "optax", "learning_rate": geometric, "momentum": 0.9, "nesterov": True},
         descent(sgd(), geometric, momentum=0.9, nesterov=True, momentum_rate="outside"),
         optax=lambda optax: optax.sgd(geometric, momentum=0.9, nesterov=True)),
    Case("sgd", "preset keras", {"preset": "keras", "momentum": 0.9, "weight_decay": 0.1},
         descent(sgd(), 0.01, momentum=0.9, weight_decay=0.1, decay="decoupled")),
    Case("sgd", "preset downhill", {"preset": "downhill"}, descent(sgd(), 1e-4)),

    Case("nag", "preset torch", {"preset": "torch", "learning_rate": geometric, "momentum": 0.9},
         descent(sgd(), geometric, momentum=0.9, nesterov=True, momentum_rate="outside"),
         lambda optim, params: optim.SGD(params, momentum=0.9, nesterov=True)),
    Case("nag", "preset keras", {"preset": "keras", "momentum": 0.9},
         descent(sgd(), 0.01, momentum=0.9, nesterov=True)),

    Case("rprop", "preset torch", {"preset": "torch"},
         descent(rprop(first=0.01, increase=1.2, decrease=0.5, low=1e-6, high=50), 1, owns_rate=True),
         lambda optim, params: optim.Rprop(params),
         float32=1e-5),  # as the case "torch"
    # not optax.rprop itself, which subtracts the step of the update before
    Case("rprop", "preset optax", {"preset": "optax", "learning_rate": 0.02},
         descent(rprop(first=0.02, increase=1.2, decrease=0.5, low=1e-6, high=50), 1, owns_rate=True),
         float32=1e-5),
    Case("rprop", "preset downhill", {"preset": "downhill"},
         descent(rprop(first=1e-4, increase=1.01, decrease=0.99, low=0, high=100), 1, owns_rate=True)),

    Case("adagrad", "preset torch", {"preset": "torch"},
         descent(adagrad(epsilon=1e-10), 0.01),
         lambda optim, params: optim.Adagrad(params)),
    Case("adagrad", "preset optax", {"preset": "optax", "learning_rate": 0.1},
         descent(adagrad(epsilon=1e-7, at="inside", initial=0.1), 0.1),
         optax=lambda optax: optax.adagrad(0.1)),
    Case("adagrad", "preset keras", {"preset": "keras", "weight_decay": 0.1},
         descent(adagrad(epsilon=1e-7, at="inside", initial=0.1), 1e-3, weight_decay=0.1, decay="decoupled")),
    Case("adagrad", "preset downhill", {"preset": "downhill"}, descent(adagrad(epsilon=1e-8), 1e-4)),

    Case("rmsprop", "preset torch", {"preset": "torch"},
         descent(rmsprop(rho=0.99, epsilon=1e-8, at="outside"), 0.01),
         lambda optim, params: optim.RMSprop(params)),
    Case("rmsprop", "preset torch, centred, decaying rate, momentum",
         {"preset": "torch", "learning_rate": geometric, "centered": True, "momentum": 0.9},
         descent(rmsprop(rho=0.99, epsilon=1e-8, at="outside", centered=True), geometric, momentum=0.9,
                 momentum_rate="outside"),
         lambda optim, params: optim.RMSprop(params, centered=True, momentum=0.9)),
    Case("rmsprop", "preset optax", {"preset": "optax", "learning_rate": geometric, "momentum": 0.9},
         descent(rmsprop(rho=0.9, epsilon=1e-8), geometric, momentum=0.9),
         optax=lambda optax: optax.rmsprop(geometric, momentum=0.9)),
    Case("rmsprop", "preset keras", {"preset": "keras", "momentum": 0.9},
         descent(rmsprop(rho=0.9, epsilon=1e-7), 1e-3, momentum=0.9)),
    Case("rmsprop", "preset downhill", {"preset": "downhill"},
         descent(rmsprop(rho=halflife(14), epsilon=1e-8, centered=True), 1e-4)),

    Case("adadelta", "preset torch", {"preset": "torch"},
         descent(adadelta(rho=0.9, epsilon=1e-6), 1),
         lambda optim, params: optim.Adadelta(params)),
    Case("adadelta", "preset optax", {"preset": "optax"},
         descent(adadelta(rho=0.9, epsilon=1e-6), 1),
         optax=lambda optax: optax.adadelta(1.0)),
    Case("adadelta", "preset keras", {"preset": "keras"},
         descent(adadelta(rho=0.95, epsilon=1e-7), 1e-3),
         optax=lambda optax: optax.adadelta(1e-3, rho=0.95, eps=1e-7)),
    Case("adadelta", "preset downhill", {"preset": "downhill"}, descent(adadelta(rho=halflife(14), epsilon=1e-8), 1)),

    Case("esgd", "preset downhill", {"preset": "downhill"},
         lambda products: descent(esgd(products, rho=halflife(14), epsilon=1e-8), 1e-4), curvature=True),

    Case("adam", "preset torch", {"preset": "torch", "weight_decay": 0.1},
         descent(adam(beta1=0.9, beta2=0.999, epsilon=1e-8), 1e-3, weight_decay=0.1),
         lambda optim, params: optim.Adam(params, weight_decay=0.1)),
    Case("adam", "preset optax", {"preset": "optax", "learning_rate": 0.01},
         descent(adam(beta1=0.9, beta2=0.999, epsilon=1e-8), 0.01),
         optax=lambda optax: optax.adam(0.01)),
    Case("adam", "preset keras", {"preset": "keras", "weight_decay": 0.1},
         descent(adam(beta1=0.9, beta2=0.999, epsilon=1e-7, at="hat"), 1e-3, weight_decay=0.1, decay="decoupled")),
    Case("adam", "preset downhill", {"preset": "downhill"},
         descent(adam(beta1=halflife(7), beta2=halflife(69), epsilon=1e-8), 1e-4)),
]
# fmt: on
