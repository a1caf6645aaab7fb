"""The table of algorithms: what each is set to, and what it then equals. Every generic test runs over it.

To add an algorithm, add its cases: a registered one that is missing here fails a test. After a change of what
torch is asked for, run `make_goldens.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from oracles.reference import (
    adadelta,
    adagrad,
    adam,
    descent,
    esgd,
    halflife,
    look_ahead,
    rmsprop,
    rprop,
    sgd,
)


@dataclass(frozen=True, eq=False)
class Case:
    """One algorithm under some settings.

    Parameters
    ----------
    algo : str
        The name in the registry.
    label : str
        What is special about the settings.
    settings : dict
        Hyperparameters, as `build` takes them. Functions among them are of the number of updates made before.
    reference : callable
        The NumPy oracle: `(start, gradients, steps) -> {step: parameters}`; with `curvature`, a function that
        makes this from the products of the Hessian matrix with the rule's random vectors, one per update.
    torch, optax : callable, optional
        What the case must equal there: `torch(torch.optim, params) -> optimizer`,
        `optax(optax) -> transformation`.
    curvature : bool
        Whether the rule needs a loss whose Hessian matrix is not zero.
    float32 : float
        What a float32 run may differ from the float64 reference, in units of the tensor's largest absolute
        value; a larger value than the usual one has its reason beside it.
    """

    algo: str
    label: str
    settings: Mapping[str, Any]
    reference: Callable[..., Any]
    torch: Callable[..., Any] | None = None
    optax: Callable[..., Any] | None = None
    curvature: bool = False
    float32: float = 2e-6

    def __str__(self) -> str:
        return f"{self.algo}-{self.label.replace(' ', '_')}"

    @property
    def rate(self) -> Callable[[int], float] | None:
        """The learning rate, if it depends on the number of updates."""
        rate = self.settings.get("learning_rate")
        return rate if callable(rate) else None


def geometric(k):
    return 0.1 * 0.9**k


def inverse(k):
    return 0.1 / (1 + 0.05 * k)


def growing(k):
    return 1 - 1 / (2 + k)


# fmt: off
# A row is: algorithm, label, settings | reference | torch and optax.
CASES = [
    Case("sgd", "downhill defaults", {},
         descent(sgd(), 1e-4)),
    Case("sgd", "plain", {"learning_rate": 0.1},
         descent(sgd(), 0.1),
         lambda optim, params: optim.SGD(params, lr=0.1), lambda optax: optax.sgd(0.1)),
    Case("sgd", "momentum", {"learning_rate": 0.01, "momentum": 0.9},
         descent(sgd(), 0.01, momentum=0.9),
         lambda optim, params: optim.SGD(params, lr=0.01, momentum=0.9),
         lambda optax: optax.sgd(0.01, momentum=0.9)),
    Case("sgd", "nesterov", {"learning_rate": 0.01, "momentum": 0.9, "nesterov": True},
         look_ahead(0.01, 0.9),
         lambda optim, params: optim.SGD(params, lr=0.01, momentum=0.9, nesterov=True),
         lambda optax: optax.sgd(0.01, momentum=0.9, nesterov=True)),
    Case("sgd", "decaying rate", {"learning_rate": inverse},
         descent(sgd(), inverse),
         lambda optim, params: optim.SGD(params), lambda optax: optax.sgd(inverse)),
    Case("sgd", "rate inside momentum (Keras, Lasagne, BrainPy)",
         {"learning_rate": geometric, "momentum": 0.9},
         descent(sgd(), geometric, momentum=0.9),
         optax=lambda optax: optax.chain(optax.scale_by_learning_rate(geometric), optax.trace(0.9))),
    Case("sgd", "rate outside momentum (torch, optax)",
         {"learning_rate": geometric, "momentum": 0.9, "momentum_rate": "outside"},
         descent(sgd(), geometric, momentum=0.9, momentum_rate="outside"),
         lambda optim, params: optim.SGD(params, momentum=0.9),
         lambda optax: optax.sgd(geometric, momentum=0.9)),
    Case("sgd", "growing momentum", {"learning_rate": 0.01, "momentum": growing},
         descent(sgd(), 0.01, momentum=growing)),
    Case("sgd", "coupled decay", {"learning_rate": 0.1, "weight_decay": 0.1, "momentum": 0.5},
         descent(sgd(), 0.1, weight_decay=0.1, momentum=0.5),
         lambda optim, params: optim.SGD(params, lr=0.1, weight_decay=0.1, momentum=0.5),
         lambda optax: optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1, momentum=0.5))),
    Case("sgd", "decoupled decay, rate inside momentum",
         {"learning_rate": inverse, "weight_decay": 0.1, "momentum": 0.9, "decay": "decoupled"},
         descent(sgd(), inverse, weight_decay=0.1, momentum=0.9, decay="decoupled")),
    Case("sgd", "decoupled decay, rate outside momentum",
         {"learning_rate": inverse, "weight_decay": 0.1, "momentum": 0.9, "momentum_rate": "outside",
          "decay": "decoupled"},
         descent(sgd(), inverse, weight_decay=0.1, momentum=0.9, momentum_rate="outside", decay="decoupled"),
         optax=lambda optax: optax.chain(
             optax.trace(0.9), optax.add_decayed_weights(0.1), optax.scale_by_learning_rate(inverse))),
    Case("sgd", "independent decay (BrainPy)",
         {"learning_rate": 0.01, "weight_decay": 0.02, "momentum": 0.9, "decay": "independent"},
         descent(sgd(), 0.01, weight_decay=0.02, momentum=0.9, decay="independent"),
         optax=lambda optax: optax.chain(optax.sgd(0.01, momentum=0.9), optax.add_decayed_weights(-0.02))),
    Case("sgd", "clipped elements", {"learning_rate": 0.1, "max_gradient_elem": 0.5},
         descent(sgd(), 0.1, elem=0.5),
         optax=lambda optax: optax.chain(optax.clip(0.5), optax.sgd(0.1))),
    Case("sgd", "clipped norms", {"learning_rate": 0.1, "max_gradient_norm": 1},
         descent(sgd(), 0.1, norm=1)),
    Case("sgd", "clipped elements win over clipped norms",
         {"learning_rate": 0.1, "max_gradient_elem": 0.5, "max_gradient_norm": 0.1},
         descent(sgd(), 0.1, elem=0.5)),
    Case("sgd", "clipped global norm", {"learning_rate": 0.1, "max_global_norm": 1},
         descent(sgd(), 0.1, global_norm=1),
         optax=lambda optax: optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1))),
    Case("sgd", "clipped norms, then global norm",
         {"learning_rate": 0.1, "max_gradient_norm": 1, "max_global_norm": 1.5},
         descent(sgd(), 0.1, norm=1, global_norm=1.5)),
    Case("sgd", "clipped elements, then coupled decay",
         {"learning_rate": 0.1, "max_gradient_elem": 0.5, "weight_decay": 0.1},
         descent(sgd(), 0.1, elem=0.5, weight_decay=0.1),
         optax=lambda optax: optax.chain(optax.clip(0.5), optax.add_decayed_weights(0.1), optax.sgd(0.1))),

    Case("nag", "without momentum", {"learning_rate": 0.1},
         descent(sgd(), 0.1),
         lambda optim, params: optim.SGD(params, lr=0.1), lambda optax: optax.sgd(0.1)),
    Case("nag", "momentum", {"learning_rate": 0.01, "momentum": 0.9},
         look_ahead(0.01, 0.9),
         lambda optim, params: optim.SGD(params, lr=0.01, momentum=0.9, nesterov=True),
         lambda optax: optax.sgd(0.01, momentum=0.9, nesterov=True)),
    Case("nag", "rate inside momentum (Keras, Lasagne, BrainPy)",
         {"learning_rate": geometric, "momentum": 0.9},
         descent(sgd(), geometric, momentum=0.9, nesterov=True),
         optax=lambda optax: optax.chain(
             optax.scale_by_learning_rate(geometric), optax.trace(0.9, nesterov=True))),
    Case("nag", "rate outside momentum (torch, optax)",
         {"learning_rate": geometric, "momentum": 0.9, "momentum_rate": "outside"},
         descent(sgd(), geometric, momentum=0.9, nesterov=True, momentum_rate="outside"),
         lambda optim, params: optim.SGD(params, momentum=0.9, nesterov=True),
         lambda optax: optax.sgd(geometric, momentum=0.9, nesterov=True)),
    Case("nag", "coupled decay", {"learning_rate": 0.01, "momentum": 0.9, "weight_decay": 0.1},
         descent(sgd(), 0.01, momentum=0.9, nesterov=True, weight_decay=0.1),
         lambda optim, params: optim.SGD(params, lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.1),
         lambda optax: optax.chain(
             optax.add_decayed_weights(0.1), optax.sgd(0.01, momentum=0.9, nesterov=True))),

    # optax.rprop subtracts the step of the update before, so no setting of ours can equal it
    Case("rprop", "downhill defaults", {},
         descent(rprop(first=1e-4, increase=1.01, decrease=0.99, low=0, high=100), 1, owns_rate=True)),
    Case("rprop", "torch",
         {"learning_rate": 0.01, "step_increase": 1.2, "step_decrease": 0.5, "min_step": 1e-6,
          "max_step": 50},
         descent(rprop(first=0.01, increase=1.2, decrease=0.5, low=1e-6, high=50), 1, owns_rate=True),
         lambda optim, params: optim.Rprop(params),
         # a step is a product of up to 100 factors, and float32 has 1.2 but to 4e-8: that adds up, in torch too
         float32=1e-5),
    Case("rprop", "narrow limits, by the names of downhill",
         {"learning_rate": 0.01, "rprop_increase": 1.5, "rprop_decrease": 0.5, "rprop_min_step": 0.005,
          "rprop_max_step": 0.02},
         descent(rprop(first=0.01, increase=1.5, decrease=0.5, low=0.005, high=0.02), 1, owns_rate=True),
         lambda optim, params: optim.Rprop(params, etas=(0.5, 1.5), step_sizes=(0.005, 0.02))),
    Case("rprop", "momentum", {"learning_rate": 0.01, "momentum": 0.5},
         descent(rprop(first=0.01, increase=1.01, decrease=0.99, low=0, high=100), 1, owns_rate=True,
                 momentum=0.5)),

    Case("adagrad", "downhill defaults", {},
         descent(adagrad(epsilon=1e-8), 1e-4)),
    Case("adagrad", "torch", {"learning_rate": 0.01, "epsilon": 1e-10},
         descent(adagrad(epsilon=1e-10), 0.01),
         lambda optim, params: optim.Adagrad(params)),
    Case("adagrad", "decaying rate (torch)", {"learning_rate": inverse, "rms_regularizer": 1e-10},
         descent(adagrad(epsilon=1e-10), inverse),
         lambda optim, params: optim.Adagrad(params, lr=0.1, lr_decay=0.05)),
    Case("adagrad", "initial accumulator",
         {"learning_rate": 0.1, "epsilon": 1e-3, "initial_accumulator": 0.1},
         descent(adagrad(epsilon=1e-3, initial=0.1), 0.1),
         lambda optim, params: optim.Adagrad(params, lr=0.1, initial_accumulator_value=0.1, eps=1e-3)),
    Case("adagrad", "optax, Keras",
         {"learning_rate": 0.1, "epsilon": 1e-7, "epsilon_at": "inside", "initial_accumulator": 0.1},
         descent(adagrad(epsilon=1e-7, at="inside", initial=0.1), 0.1),
         optax=lambda optax: optax.adagrad(0.1)),
    Case("adagrad", "BrainPy",
         {"learning_rate": 0.1, "epsilon": 1e-6, "epsilon_at": "inside", "weight_decay": 0.01,
          "decay": "independent"},
         descent(adagrad(epsilon=1e-6, at="inside"), 0.1, weight_decay=0.01, decay="independent"),
         optax=lambda optax: optax.chain(
             optax.adagrad(0.1, initial_accumulator_value=0, eps=1e-6), optax.add_decayed_weights(-0.01))),
    Case("adagrad", "coupled decay", {"learning_rate": 0.1, "epsilon": 1e-10, "weight_decay": 0.1},
         descent(adagrad(epsilon=1e-10), 0.1, weight_decay=0.1),
         lambda optim, params: optim.Adagrad(params, lr=0.1, weight_decay=0.1)),
    Case("adagrad", "nesterov",
         {"learning_rate": 0.01, "epsilon": 1e-7, "epsilon_at": "inside", "momentum": 0.9, "nesterov": True},
         descent(adagrad(epsilon=1e-7, at="inside"), 0.01, momentum=0.9, nesterov=True),
         optax=lambda optax: optax.chain(
             optax.adagrad(0.01, initial_accumulator_value=0), optax.trace(0.9, nesterov=True))),

    Case("rmsprop", "downhill defaults", {},
         descent(rmsprop(rho=halflife(14), epsilon=1e-8, centered=True), 1e-4)),
    Case("rmsprop", "torch", {"learning_rate": 0.01, "rho": 0.99, "centered": False, "epsilon_at": "outside"},
         descent(rmsprop(rho=0.99, epsilon=1e-8, at="outside"), 0.01),
         lambda optim, params: optim.RMSprop(params),
         lambda optax: optax.rmsprop(0.01, decay=0.99, eps_in_sqrt=False)),
    Case("rmsprop", "centred (torch)",
         {"learning_rate": 0.01, "rho": 0.99, "epsilon": 1e-4, "epsilon_at": "outside"},
         descent(rmsprop(rho=0.99, epsilon=1e-4, at="outside", centered=True), 0.01),
         lambda optim, params: optim.RMSprop(params, eps=1e-4, centered=True),
         lambda optax: optax.rmsprop(0.01, decay=0.99, eps=1e-4, eps_in_sqrt=False, centered=True)),
    Case("rmsprop", "centred, rate outside momentum (torch)",
         {"learning_rate": inverse, "rho": 0.99, "epsilon_at": "outside", "momentum": 0.9,
          "momentum_rate": "outside"},
         descent(rmsprop(rho=0.99, epsilon=1e-8, at="outside", centered=True), inverse, momentum=0.9,
                 momentum_rate="outside"),
         lambda optim, params: optim.RMSprop(params, centered=True, momentum=0.9)),
    Case("rmsprop", "coupled decay (torch)",
         {"learning_rate": 0.01, "rho": 0.9, "centered": False, "epsilon_at": "outside", "weight_decay": 0.1},
         descent(rmsprop(rho=0.9, epsilon=1e-8, at="outside"), 0.01, weight_decay=0.1),
         lambda optim, params: optim.RMSprop(params, alpha=0.9, weight_decay=0.1)),
    Case("rmsprop", "optax", {"learning_rate": 0.01, "rho": 0.9, "centered": False},
         descent(rmsprop(rho=0.9, epsilon=1e-8), 0.01),
         optax=lambda optax: optax.rmsprop(0.01)),
    Case("rmsprop", "centred, rate inside momentum (optax)",
         {"learning_rate": inverse, "rho": 0.9, "epsilon": 1e-3, "momentum": 0.9, "nesterov": True},
         descent(rmsprop(rho=0.9, epsilon=1e-3, centered=True), inverse, momentum=0.9, nesterov=True),
         optax=lambda optax: optax.rmsprop(inverse, eps=1e-3, centered=True, momentum=0.9, nesterov=True)),
    Case("rmsprop", "Keras",
         {"learning_rate": 1e-3, "rho": 0.9, "epsilon": 1e-7, "centered": False, "momentum": 0.9},
         descent(rmsprop(rho=0.9, epsilon=1e-7), 1e-3, momentum=0.9),
         optax=lambda optax: optax.rmsprop(1e-3, eps=1e-7, momentum=0.9)),
    Case("rmsprop", "BrainPy",
         {"learning_rate": 0.01, "rho": 0.9, "rms_regularizer": 1e-6, "centered": False, "weight_decay": 0.01,
          "decay": "independent"},
         descent(rmsprop(rho=0.9, epsilon=1e-6), 0.01, weight_decay=0.01, decay="independent"),
         optax=lambda optax: optax.chain(optax.rmsprop(0.01, eps=1e-6), optax.add_decayed_weights(-0.01))),
    Case("rmsprop", "half-life, clipped elements",
         {"learning_rate": 0.01, "rms_halflife": 5, "max_gradient_elem": 0.3},
         descent(rmsprop(rho=halflife(5), epsilon=1e-8, centered=True), 0.01, elem=0.3)),

    Case("adadelta", "downhill defaults", {},
         descent(adadelta(rho=halflife(14), epsilon=1e-8), 1)),
    Case("adadelta", "torch, optax", {"rho": 0.9, "epsilon": 1e-6},
         descent(adadelta(rho=0.9, epsilon=1e-6), 1),
         lambda optim, params: optim.Adadelta(params), lambda optax: optax.adadelta(1.0)),
    Case("adadelta", "Lasagne, Keras, BrainPy", {"learning_rate": 0.5, "rho": 0.95, "rms_regularizer": 1e-7},
         descent(adadelta(rho=0.95, epsilon=1e-7), 0.5),
         lambda optim, params: optim.Adadelta(params, lr=0.5, rho=0.95, eps=1e-7),
         lambda optax: optax.adadelta(0.5, rho=0.95, eps=1e-7)),
    Case("adadelta", "decaying rate, coupled decay",
         {"learning_rate": inverse, "rho": 0.9, "epsilon": 1e-6, "weight_decay": 0.1},
         descent(adadelta(rho=0.9, epsilon=1e-6), inverse, weight_decay=0.1),
         lambda optim, params: optim.Adadelta(params, weight_decay=0.1),
         lambda optax: optax.adadelta(inverse, weight_decay=0.1)),
    Case("adadelta", "half-life, momentum", {"rms_halflife": 7, "momentum": 0.9},
         descent(adadelta(rho=halflife(7), epsilon=1e-8), 1, momentum=0.9),
         optax=lambda optax: optax.chain(optax.adadelta(1.0, rho=halflife(7), eps=1e-8), optax.trace(0.9))),

    Case("esgd", "downhill defaults", {},
         lambda products: descent(esgd(products, rho=halflife(14), epsilon=1e-8), 1e-4), curvature=True),
    Case("esgd", "names of the paper, product by rop",
         {"learning_rate": 0.01, "rho": 0.9, "epsilon": 1e-2, "hv_method": "rop"},
         lambda products: descent(esgd(products, rho=0.9, epsilon=1e-2), 0.01), curvature=True),
    Case("esgd", "half-life, nesterov and decay, product by lop",
         {"learning_rate": inverse, "rms_halflife": 5, "rms_regularizer": 1e-3, "hv_method": "lop",
          "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
         lambda products: descent(esgd(products, rho=halflife(5), epsilon=1e-3), inverse, momentum=0.9,
                                  nesterov=True, weight_decay=0.1), curvature=True),
    Case("esgd", "product by grad", {"learning_rate": 0.01, "epsilon": 1e-2, "hv_method": "grad"},
         lambda products: descent(esgd(products, rho=halflife(14), epsilon=1e-2), 0.01), curvature=True),

    Case("adam", "downhill defaults", {},
         descent(adam(beta1=halflife(7), beta2=halflife(69), epsilon=1e-8), 1e-4)),
    Case("adam", "torch, optax", {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999},
         descent(adam(beta1=0.9, beta2=0.999, epsilon=1e-8), 1e-3),
         lambda optim, params: optim.Adam(params), lambda optax: optax.adam(1e-3)),
    Case("adam", "large epsilon", {"learning_rate": 0.1, "beta1": 0.9, "beta2": 0.999, "epsilon": 0.1},
         descent(adam(beta1=0.9, beta2=0.999, epsilon=0.1), 0.1),
         lambda optim, params: optim.Adam(params, lr=0.1, eps=0.1), lambda optax: optax.adam(0.1, eps=0.1)),
    Case("adam", "Keras, Lasagne, BrainPy",
         {"learning_rate": 0.1, "beta1": 0.9, "beta2": 0.999, "rms_regularizer": 0.1, "epsilon_at": "hat",
          "weight_decay": 0.01, "decay": "independent"},
         descent(adam(beta1=0.9, beta2=0.999, epsilon=0.1, at="hat"), 0.1, weight_decay=0.01,
                 decay="independent")),
    Case("adam", "coupled decay", {"learning_rate": 0.01, "beta1": 0.9, "beta2": 0.999, "weight_decay": 0.1},
         descent(adam(beta1=0.9, beta2=0.999, epsilon=1e-8), 0.01, weight_decay=0.1),
         lambda optim, params: optim.Adam(params, lr=0.01, weight_decay=0.1),
         lambda optax: optax.chain(optax.add_decayed_weights(0.1), optax.adam(0.01))),
    Case("adam", "decoupled decay (AdamW)",
         {"learning_rate": inverse, "beta1": 0.9, "beta2": 0.999, "weight_decay": 0.1, "decay": "decoupled"},
         descent(adam(beta1=0.9, beta2=0.999, epsilon=1e-8), inverse, weight_decay=0.1, decay="decoupled"),
         lambda optim, params: optim.AdamW(params, weight_decay=0.1),
         lambda optax: optax.adamw(inverse, weight_decay=0.1)),
    Case("adam", "half-lives, momentum",
         {"learning_rate": 0.01, "beta1_halflife": 3, "beta2_halflife": 30, "momentum": 0.5},
         descent(adam(beta1=halflife(3), beta2=halflife(30), epsilon=1e-8), 0.01, momentum=0.5),
         optax=lambda optax: optax.chain(
             optax.adam(0.01, b1=halflife(3), b2=halflife(30)), optax.trace(0.5))),
]
# fmt: on

# Of each algorithm the case with most settings and no schedule, for tests that vary something else.
TYPICAL = {case.algo: case for case in sorted(CASES, key=lambda c: len(c.settings)) if not case.rate}
