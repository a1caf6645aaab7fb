"""The update rules in NumPy, written from the papers, a line of code per line of an equation; plain on purpose.

A rule is a function of a gradient, of a dict that holds what it remembers of one parameter (each symbol is 0
before the first update; x is the parameter, rate the learning rate and loss that of `driven`), and of the number t of
the update, from 1. `descent` turns it into a trajectory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from . import Arrays, join, split

Memory = defaultdict[str, Any]
Rule = Callable[[np.ndarray, Memory, int], np.ndarray]
Number = float | Callable[[int], float]
Gradients = Sequence[Arrays] | Callable[[int, Arrays], Arrays]
Trajectory = Callable[[Arrays, Gradients, Sequence[int]], dict[int, Arrays]]


def halflife(updates: float) -> float:
    """Return the decay after which the weight of a value halves in so many updates."""
    return float(np.exp(-np.log(2) / updates))


def sgd() -> Rule:
    return lambda g, s, t: g


def rprop(*, first: float, increase: float, decrease: float, low: float, high: float) -> Rule:
    """Return iRprop- of Igel and Hüsken (2000): after a change of sign the gradient counts as zero."""

    def direction(g, s, t):
        agree = np.sign(s["g"] * g)
        s["step"] = first if t == 1 else s["step"]
        s["step"] = np.clip(s["step"] * np.choose((agree + 1).astype(int), [decrease, 1, increase]), low, high)
        s["g"] = np.where(agree < 0, 0, g)
        return np.sign(s["g"]) * s["step"]

    return direction


def adagrad(*, epsilon: float, at: str = "outside", initial: float = 0) -> Rule:
    """Return the diagonal Adagrad of Duchi et al. (2011), figure 1."""

    def direction(g, s, t):
        s["G"] = (initial if t == 1 else s["G"]) + g**2
        return g / root(s["G"], epsilon, at)

    return direction


def rmsprop(*, rho: float, epsilon: float, at: str = "inside", centered: bool = False) -> Rule:
    """Return RMSProp; centred, it is that of Graves (2013), equations 38 to 41."""

    def direction(g, s, t):
        s["n"] = rho * s["n"] + (1 - rho) * g**2
        s["g"] = rho * s["g"] + (1 - rho) * g
        return g / root(s["n"] - centered * s["g"] ** 2, epsilon, at)

    return direction


def adadelta(*, rho: float, epsilon: float) -> Rule:
    """Return ADADELTA of Zeiler (2012), algorithm 1, without the minus sign of its step."""

    def direction(g, s, t):
        s["g2"] = rho * s["g2"] + (1 - rho) * g**2
        x = np.sqrt(s["x2"] + epsilon) / np.sqrt(s["g2"] + epsilon) * g
        s["x2"] = rho * s["x2"] + (1 - rho) * x**2
        return x

    return direction


def adam(*, beta1: float, beta2: float, epsilon: float, at: str = "outside") -> Rule:
    """Return Adam of Kingma and Ba (2015), algorithm 1; `at="hat"` is the other order of its section 2."""

    def direction(g, s, t):
        s["m"] = beta1 * s["m"] + (1 - beta1) * g
        s["v"] = beta2 * s["v"] + (1 - beta2) * g**2
        if at == "hat":
            return np.sqrt(1 - beta2**t) / (1 - beta1**t) * s["m"] / (np.sqrt(s["v"]) + epsilon)
        return s["m"] / (1 - beta1**t) / root(s["v"] / (1 - beta2**t), epsilon, at)

    return direction


def esgd(products: Iterable[np.ndarray], *, rho: float, epsilon: float) -> Rule:
    """Return the equilibrated SGD of Dauphin et al. (2015), algorithm 1, from the product H r of each update.

    The paper averages (H r)^2 over all updates; this is an exponential average, as downhill has it.
    """
    products = iter(products)

    def direction(g, s, t):
        s["D"] = rho * s["D"] + (1 - rho) * next(products) ** 2
        return g / (np.sqrt(s["D"]) + epsilon)

    return direction


def root(x: np.ndarray, epsilon: float, at: str) -> np.ndarray:
    return np.sqrt(x + epsilon) if at == "inside" else np.sqrt(x) + epsilon


def descent(
    rule: Rule,
    rate: Number,
    *,
    momentum: Number = 0,
    nesterov: bool = False,
    momentum_rate: str = "inside",
    owns_rate: bool = False,
    weight_decay: float = 0,
    decay: str = "coupled",
    elem: float = 0,
    norm: float = 0,
    global_norm: float = 0,
) -> Trajectory:
    """Return what leads a rule from a start, along given gradients, to the parameters after some updates.

    `rate` and `momentum` are numbers, or functions of the number of updates made before. `owns_rate` says
    that what the rule returns is not to be multiplied by the rate.
    """

    def update(x, g, s, k, loss):
        beside = {"coupled": 0, "decoupled": value(rate, k), "independent": 1, "proximal": 0}[decay]
        g = g + weight_decay * x if decay == "coupled" else g
        inside, outside = (value(rate, k), 1) if momentum_rate == "inside" else (1, value(rate, k))
        s["rule"].update(x=x, rate=value(rate, k), loss=loss)
        u = (1 if owns_rate else inside) * rule(g, s["rule"], k + 1)
        mu, v = value(momentum, k), s["velocity"]
        v["v"] = mu * v["v"] + u
        step = (1 if owns_rate else outside) * (mu * v["v"] + u if nesterov else v["v"])
        x = x - step - beside * weight_decay * x
        return x / (1 + value(rate, k) * weight_decay) if decay == "proximal" else x

    def trajectory(start, gradients, steps):
        xs, seen = [np.asarray(x) for x in start], {}
        memories = [{"rule": defaultdict(float), "velocity": defaultdict(float)} for _ in xs]
        for k in range(max(steps)):
            gs = gradients(k, xs) if callable(gradients) else gradients[k]
            loss = sum(np.sum((x + 1) * g) for x, g in zip(xs, gs, strict=True))
            gs = clipped(gs, elem, norm, global_norm)
            xs = [update(x, g, s, k, loss) for x, g, s in zip(xs, gs, memories, strict=True)]
            seen[k + 1] = xs
        return {step: seen[step] for step in steps}

    return trajectory


def together(trajectory: Trajectory) -> Trajectory:
    """Return the same for a rule that sees all parameters as one vector."""

    def joined(start, gradients, steps):
        shapes = [np.shape(x) for x in start]
        points = trajectory([join(start)], [[join(gs)] for gs in gradients], steps)
        return {step: split(x, shapes) for step, [x] in points.items()}

    return joined


def value(number: Number, k: int) -> float:
    return number(k) if callable(number) else number


def clipped(gs: Arrays, elem: float, norm: float, global_norm: float) -> Arrays:
    """Clip elements, or else each gradient to a norm; then all of them together."""
    if elem:
        gs = [np.clip(g, -elem, elem) for g in gs]
    elif norm:
        gs = [g * min(1, norm / np.linalg.norm(g)) if g.any() else g for g in gs]
    if global_norm:
        size = np.sqrt(sum(np.sum(g**2) for g in gs))
        gs = [g * min(1, global_norm / size) for g in gs]
    return gs


def look_ahead(rate: float, momentum: float) -> Trajectory:
    """Return Nesterov's method as Sutskever et al. (2013), equations 3 and 4, write it.

    The gradient is that of the point looked at, which is the point reported: it is where the optimizer's
    parameter stands before each update.
    """

    def trajectory(start, gradients, steps):
        ahead, seen = start, {}
        x, v = start, [np.zeros_like(p) for p in start]
        for k in range(max(steps)):
            gs = gradients(k, ahead) if callable(gradients) else gradients[k]
            v = [momentum * w - rate * g for w, g in zip(v, gs, strict=True)]
            x = [p + w for p, w in zip(x, v, strict=True)]
            ahead = [p + momentum * w for p, w in zip(x, v, strict=True)]
            seen[k + 1] = ahead
        return {step: seen[step] for step in steps}

    return trajectory
