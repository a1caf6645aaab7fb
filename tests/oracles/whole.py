"""Rules that see all parameters as one vector, in NumPy, and Schedule-Free; from the papers; see `reference`.

`together` turns a rule for one vector into one for several parameters.
"""

from __future__ import annotations

import numpy as np

from . import Arrays
from .reference import Number, Rule, value

EPSILON = np.finfo("f8").eps  # below it, optax has no direction


def polyak(*, c: float = 1, f_min: float = 0, longest: float = 1, epsilon: float = 0, positive: bool = False) -> Rule:
    """Return the step of Polyak, its stochastic form (eq. 3 of Loizou et al., 2020), and, positive, SPS+."""

    def direction(g, s, t):
        gap = max(s["loss"] - f_min, 0) if positive else s["loss"] - f_min
        size = c * np.sum(g**2) + epsilon
        return g * (min(gap / size, longest) if size > EPSILON else 0)

    return direction


def momo(*, beta: float, least: float = 0, adapt: bool = False, weight_decay: float = 0) -> Rule:
    """Return MoMo of Schaipp et al. (2023), algorithms 1 and 3; what it returns has rate and decay in it."""

    def direction(g, s, t):
        x, b = s["x"], beta if t > 1 else 0
        s["d"] = b * s["d"] + (1 - b) * g
        s["f"] = b * s["f"] + (1 - b) * s["loss"]
        s["gamma"] = b * s["gamma"] + (1 - b) * np.vdot(g, x)
        return truncated(x, s["d"], s["d"], s, 1, least, adapt, weight_decay, t)

    return direction


def momo_adam(
    *, beta1: float, beta2: float, epsilon: float, least: float = 0, adapt: bool = False, weight_decay: float = 0
) -> Rule:
    """Return MoMo-Adam of Schaipp et al. (2023), algorithm 2, like `momo`."""

    def direction(g, s, t):
        x = s["x"]
        s["d"] = beta1 * s["d"] + (1 - beta1) * g
        s["v"] = beta2 * s["v"] + (1 - beta2) * g**2
        s["f"] = beta1 * s["f"] + (1 - beta1) * s["loss"]
        s["gamma"] = beta1 * s["gamma"] + (1 - beta1) * np.vdot(g, x)
        along = s["d"] / (np.sqrt(s["v"] / (1 - beta2**t)) + epsilon)
        return truncated(x, s["d"], along, s, 1 - beta1**t, least, adapt, weight_decay, t)

    return direction


def truncated(x, d, along, s, share, least, adapt, weight_decay, t):
    """Return the step along a direction to where the averaged model of the loss meets its bound."""
    rate, grown = s["rate"], 1 + s["rate"] * weight_decay
    bound = s["bound"] if adapt and t > 1 else least
    model, size = s["f"] - s["gamma"], np.vdot(d, along)
    if adapt and grown * model + np.vdot(d, x) < grown * share * bound:
        bound = max((grown * model + np.vdot(d, x)) / (2 * grown * share), least)
    height = max(grown * (model - share * bound) + np.vdot(d, x), 0)
    tau = min(rate / share, height / size) if size > EPSILON else 0
    s["bound"] = max((model + np.vdot(d, x) - tau * size / 2) / share, least)
    return x - (x / grown - tau * along)


def dog(*, size: float = 1e-6, kind: str = "heuristic", epsilon: float = 1e-8) -> Rule:
    """Return DoG of Ivgi et al. (2023), section 1."""

    def direction(g, s, t):
        if t == 1:
            s["x0"] = s["x"]
            s["r"] = {"heuristic": size * (1 + np.linalg.norm(s["x"])), "distance": size, "learning_rate": 0}[kind]
        s["r"] = max(s["r"], np.linalg.norm(s["x"] - s["x0"]))
        s["G"] += np.sum(g**2)
        return g * (size if t == 1 and kind == "learning_rate" else s["r"] / np.sqrt(s["G"] + epsilon))

    return direction


def dowg(*, first: float = 1e-4, epsilon: float = 1e-4) -> Rule:
    """Return DoWG of Khaled et al. (2023), algorithm 1."""

    def direction(g, s, t):
        if t == 1:
            s["x0"], s["r2"] = s["x"], first
        s["r2"] = max(s["r2"], np.sum((s["x"] - s["x0"]) ** 2))
        s["G"] += s["r2"] * np.sum(g**2)
        return g * s["r2"] / (np.sqrt(s["G"]) + epsilon)

    return direction


def dadapt_adamw(
    *, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8, d0: float = 1e-6, weight_decay: float = 0
) -> Rule:
    """Return D-Adapt AdamW of Defazio and Mishchenko (2023), algorithm 5, with rate and decay."""

    def direction(g, s, t):
        d = d0 if t == 1 else s["d"]
        alpha = d * s["rate"] * np.sqrt(1 - beta2**t) / (1 - beta1**t)
        k = np.sqrt(beta2)
        s["r"] = k * s["r"] + (1 - k) * alpha * np.sum(g * s["s"] / (np.sqrt(s["v"]) + epsilon))
        s["m"] = beta1 * s["m"] + (1 - beta1) * alpha * g
        s["v"] = beta2 * s["v"] + (1 - beta2) * g**2
        s["s"] = k * s["s"] + (1 - k) * alpha * g
        s["d"] = max(d, s["r"] / ((1 - k) * np.abs(s["s"]).sum()) if np.any(s["s"]) else d)
        return s["m"] / (np.sqrt(s["v"]) + epsilon) + alpha * weight_decay * s["x"]

    return direction


def prodigy(
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    d0: float = 1e-6,
    factor: float = 1,
    warm: bool = False,
    weight_decay: float = 0,
) -> Rule:
    """Return Prodigy of Mishchenko and Defazio (2023), algorithm 4, with rate and decay."""

    def direction(g, s, t):
        d = d0 if t == 1 else s["d"]
        s["x0"] = s["x"] if t == 1 else s["x0"]
        alpha = d * s["rate"] * np.sqrt(1 - beta2**t) / (1 - beta1**t)
        s["m"] = beta1 * s["m"] + (1 - beta1) * d * g
        s["v"] = beta2 * s["v"] + (1 - beta2) * d**2 * g**2
        k = np.sqrt(beta2)
        s["r"] = k * s["r"] + d / d0 * alpha * np.sum(g * (s["x0"] - s["x"]))
        s["s"] = k * s["s"] + d / d0 * (d if warm else alpha) * g
        s["d"] = max(d, factor * s["r"] / np.abs(s["s"]).sum() if np.any(s["s"]) else d)
        return alpha * s["m"] / (np.sqrt(s["v"]) + s["d"] * epsilon) + alpha * weight_decay * s["x"]

    return direction


class ScheduleFree:
    """Schedule-Free of Defazio et al. (2024), equations 3 to 5 and algorithm 1, with all three sequences at hand.

    Called as a trajectory it has those of y, where gradients are taken; `evaluated` has those of x.
    """

    def __init__(
        self,
        rate: Number,
        *,
        beta: float = 0.9,
        power: float = 2,
        weight_decay: float = 0,
        beta2: float | None = None,
        epsilon: float = 1e-8,
    ) -> None:
        self.rate, self.beta, self.power, self.weight_decay = rate, beta, power, weight_decay
        self.beta2, self.epsilon = beta2, epsilon

    def __call__(self, start, gradients, steps):
        return self.points(start, gradients, steps)[0]

    def evaluated(self, start: Arrays, gradients: list[Arrays], steps) -> dict[int, Arrays]:
        """Return x after some updates."""
        return self.points(start, gradients, steps)[1]

    def points(self, start, gradients, steps):
        """Return y and x after some updates."""
        x, y, z = ([np.asarray(p) for p in start] for _ in "xyz")
        v, weights, seen = [0 * p for p in x], [], ({}, {})
        for k in range(max(steps)):
            rate = value(self.rate, k)
            weights.append(max(value(self.rate, i) for i in range(k + 1)) ** self.power)
            c = weights[-1] / sum(weights) if sum(weights) else 0
            for i, g in enumerate(gradients[k]):
                if self.beta2 is not None:
                    v[i] = self.beta2 * v[i] + (1 - self.beta2) * g**2
                    g = g / (np.sqrt(v[i] / (1 - self.beta2 ** (k + 1))) + self.epsilon)
                z[i] = z[i] - rate * (g + self.weight_decay * y[i])
                x[i] = (1 - c) * x[i] + c * z[i]
                y[i] = self.beta * x[i] + (1 - self.beta) * z[i]
            seen[0][k + 1], seen[1][k + 1] = list(y), list(x)
        return tuple({step: points[step] for step in steps} for points in seen)
